"""Evaluate a trained run: `engram evaluate run=<run folder> episodes=20` (`run=latest` is the newest)."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from gymnasium.vector import VectorEnv
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from engram_rl.agents.agent import Agent
from engram_rl.agents.random import RandomAgent
from engram_rl.training.cli import require_positive, stored_config
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.errors import UsageError, did_you_mean
from engram_rl.training.evaluation import evaluate
from engram_rl.training.logging.video import gif, record
from engram_rl.training.rollout import Episodes
from engram_rl.training.runs.folder import RunFolder, write_atomically
from engram_rl.training.runs.restoring import restore_agent
from engram_rl.training.seeding import EVALUATION_SEED, seed_everything, use_threads
from engram_rl.training.statistics import Interval, stratified_bootstrap

MEMORY = ("frozen", "carry", "fresh")
REMEMBERED = (
    "memories",
    "memory",
    "planner",
    "replay",
    "returns",
    "goals",
    "trace",
    "visits",
    "size",
    "values",
    "rollout",
    "extras",
    "imitation",
)
"""Parts of agents' states that hold what was experienced, rather than what was trained."""


def main() -> Any:
    """Evaluate; `memory=carry` is a value here, although a group of the configuration bears that name."""
    sys.argv[1:] = [f"memory_mode{word[6:]}" if word.startswith("memory=") else word for word in sys.argv[1:]]
    return evaluate_run()


@hydra.main(version_base="1.3", config_path="pkg://engram_rl.conf", config_name="evaluate")
def evaluate_run(config: DictConfig) -> float:
    """Play with a random, the untrained and the trained agent; print a table, keep it as JSON, record an episode."""
    require_positive(config, "episodes")
    if config.memory_mode not in MEMORY:
        raise UsageError(f"memory is {config.memory_mode!r}. {did_you_mean(config.memory_mode, MEMORY)}")
    folder = RunFolder.open(Path(config.run))
    stored = stored_config(folder, config)
    seed_everything(stored.seed)
    use_threads(stored.threads)
    environments = build_environments(stored.env)
    checkpoint = folder.load_checkpoint(config.checkpoint)
    untrained = build_agent(stored.agent, environments, stored.seed)
    trained = build_agent(stored.agent, environments, stored.seed)
    restore_agent(trained, _with_memory(checkpoint, untrained, config.memory_mode), folder.path)
    players = {
        "random": RandomAgent(environments.action_space, config.seed),
        "untrained": untrained,
        "trained": trained,
    }
    frames = record(trained, stored.env, EVALUATION_SEED + config.seed) if config.video else []
    results = {
        name: _play(agent, environments, config, remember=agent is trained and config.memory_mode != "frozen")
        for name, agent in players.items()
    }
    intervals = {name: stratified_bootstrap(played.returns, np.mean) for name, played in results.items()}
    _show(results, intervals, config, stored)
    out = Path(config.out or folder.path)
    out.mkdir(parents=True, exist_ok=True)
    if frames:
        (out / "evaluation.gif").write_bytes(gif(frames))
        print(f"Video: {out / 'evaluation.gif'}")
    report = {"step": checkpoint["step"], "checkpoint": config.checkpoint, "memory": config.memory_mode}
    report |= {"episodes": config.episodes, "seed": config.seed, "agents": _rows(results, intervals)}
    write_atomically(out / "evaluation.json", json.dumps(report, indent=2) + "\n")
    print(f"Written to {out / 'evaluation.json'}")
    print(f"Learning curve: {folder.path / 'learning_curve.png'}\nTensorBoard: tensorboard --logdir {folder.path}")
    return float(results["trained"].returns.mean())


def _with_memory(checkpoint: dict[str, Any], untrained: Agent, memory: str) -> dict[str, Any]:
    """The checkpoint, with nothing remembered if the memory is to be fresh."""
    if memory != "fresh":
        return checkpoint
    empty = untrained.state_dict()
    forgotten = {name: part for name, part in empty.items() if name in REMEMBERED}
    return checkpoint | {"agent": checkpoint["agent"] | forgotten}


def _play(agent: Agent, environments: VectorEnv, config: DictConfig, remember: bool) -> Episodes:
    return evaluate(agent, environments, config.episodes, EVALUATION_SEED + config.seed, remember=remember)


def _rows(results: dict[str, Episodes], intervals: dict[str, Interval]) -> dict[str, Any]:
    return {
        name: {
            "mean": float(intervals[name].point),
            "interval": [float(intervals[name].low), float(intervals[name].high)],
            "returns": played.returns.tolist(),
            "lengths": played.lengths.tolist(),
        }
        for name, played in results.items()
    }


def _show(results: dict[str, Episodes], intervals: dict[str, Interval], config: DictConfig, stored: DictConfig) -> None:
    table = Table(title=f"{stored.env.id}, {config.episodes} episodes each, memory {config.memory_mode}")
    for column in ("agent", "mean return", "95 % interval", "worst", "best", "steps"):
        table.add_column(column, justify="left" if column == "agent" else "right")
    for name, played in results.items():
        mean, worst, best = intervals[name], played.returns.min(), played.returns.max()
        interval = f"{mean.low:.1f} to {mean.high:.1f}"
        table.add_row(
            name, f"{mean.point:.1f}", interval, f"{worst:.1f}", f"{best:.1f}", f"{played.lengths.mean():.1f}"
        )
    Console().print(table)
