"""A run as a model card: a README for its folder, in the format that model hubs read. Nothing is sent anywhere.

  engram card run=latest                the newest run; written to its folder as README.md
  engram card run=runs/<folder> out=MODEL.md

The card says what the agent is, what it scored and by which protocol, how to load it, and its limits. A folder with a
card can be uploaded as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from engram_rl.training.errors import UsageError
from engram_rl.training.evaluation import MODES
from engram_rl.training.logging.closing import between, shown
from engram_rl.training.reporting.page import command_of, evaluation_of
from engram_rl.training.reporting.settings import Described, describe
from engram_rl.training.reporting.words import write_text_of
from engram_rl.training.runs.folder import SUMMARY
from engram_rl.training.runs.naming import shell

CARD = "README.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the card of the run that the command line names."""
    if out := write_text_of(arguments, __doc__, CARD, card):
        print(f"Model card: {out}")
    return 0


def card(folder: Path) -> str:
    """The card of a run that has ended.

    Args:
        folder: Its folder.

    Raises:
        UsageError: The run has no score: it has not ended, or it ended in an error.
    """
    run = describe(folder)
    if run.score is None:
        raise UsageError(f"{folder} has no score yet: a card says what an agent is worth. Let the run end first.")
    if missing := [name for name in ("mode", "scores", "steps", "episodes") if name not in run.summary]:
        raise UsageError(
            f"{folder / SUMMARY} says no {missing[0]}, which a run that has ended writes: put it back, or train anew."
        )
    front = OmegaConf.to_yaml(OmegaConf.create(_front(run)))
    return f"---\n{front}---\n{_text(run)}"


def _front(run: Described) -> dict[str, Any]:
    """The part that machines read: https://huggingface.co/docs/hub/model-cards."""
    metric = {"type": "mean_reward", "name": f"mean return, {run.summary['mode']}", "value": round(run.score or 0.0, 4)}
    task = {"type": "reinforcement-learning", "name": "reinforcement-learning"}
    result = {"task": task, "dataset": {"name": run.env, "type": run.env}, "metrics": [metric]}
    return {
        "library_name": "engram-rl",
        "tags": ["reinforcement-learning", "episodic-memory", run.env, run.agent, *run.tags],
        "model-index": [{"name": run.agent, "results": [result]}],
    }


def _text(run: Described) -> str:
    summary = run.summary
    scores = "\n".join(
        f"| {mode} | {shown(score)} | {MODES.get(mode, '')} |" for mode, score in summary["scores"].items()
    )
    video = "![An episode of the trained agent](episode.gif)\n\n" if (run.path / "episode.gif").exists() else ""
    command = f"    {command_of(run)}\n\n" if run.given else ""
    versions = ", ".join(f"{name} {version}" for name, version in summary.get("versions", {}).items())
    return f"""
# {run.agent} on {run.env}

An agent of engram-rl, trained for {summary["steps"]:,} environment steps with seed {run.seed}; it
holds {summary.get("memory_entries", 0):,} memories.

{video}## What it is worth

| judged | mean return | how |
|---|---|---|
{scores}

Over {summary["episodes"]} episodes at the end of training, of one seed: other seeds come out differently.
{_beside(run)}
## Load it

```python
from engram_rl import load_agent

agent = load_agent("{run.path.name}")  # this folder; loading it runs no code from it
```

    {shell("engram", "evaluate", f"run={run.path.name}", "episodes=100")}

## How it was made

{command}The whole configuration is `config.yaml`, what it lived through `metrics.jsonl` and `episodes.jsonl`; the
weights and the memory are in `checkpoints/` (safetensors and JSON). {versions}.

## Limits

It was trained in one environment and knows no other; {_limits(run)}
"""


def _beside(run: Described) -> str:
    found = evaluation_of(run.path)
    if not found:
        return ""
    rows = "\n".join(
        f"| {name} | {shown(one['mean'])} | {between(one['interval'])} |" for name, one in found["agents"].items()
    )
    told = f"Evaluated beside others, {found['episodes']} episodes each, memory {found['memory']}:"
    return f"\n{told}\n\n| agent | mean return | 95 % interval over episodes |\n|---|---|---|\n{rows}\n"


def _limits(run: Described) -> str:
    kwargs = json.dumps(OmegaConf.to_container(run.config.env.get("kwargs") or OmegaConf.create({})), default=str)
    return f"that one was `{run.env}` with the arguments `{kwargs}`."
