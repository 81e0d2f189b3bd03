"""Training runs with one value of the configuration replaced: they run, or end in an error that names it."""

from __future__ import annotations

import contextlib
import io
import json
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis.strategies as st
from hydra import compose, initialize_config_dir
from hypothesis.strategies import DataObject
from omegaconf import DictConfig

from benchmarks.configuration import CONF
from benchmarks.fuzz.outcome import CrashError
from engram_rl.training import train
from engram_rl.training.cli import SHOWN_PLAINLY, explain
from engram_rl.training.configuration.prepared import prepare
from engram_rl.training.runs.folder import RunFolder

VALUES = ["-1", "0", "1", "1.5", "nan", "inf", "abc", "''", "null", "true", "[]", "[1,2]", "{}", "{a: 1}"]
TINY = ["progress=false", "steps=24", "log.every=8", "evaluation.every=0", "evaluation.episodes=1", "env.num_envs=2"]
RUNS = {
    "nec": ["env=cartpole", "agent.learn_after=8", "agent.memory.capacity=30", "+agent.replay_capacity=30"],
    "mfec": ["env=cartpole", "agent.memory.capacity=30"],
    "episodic": ["env=cornergoal", "agent.memory.capacity=30"],
    "episodic_continuous": ["env=pointmassshift", "agent.memory.capacity=30"],
    "fast_slow": ["env=shiftwall"],
}
"""By agent: settings under which every part is built in a blink."""


def spoil_run(data: DataObject) -> dict[str, int]:
    """Train for a moment with one value replaced.

    Raises:
        CrashError: It ended in an error that a user would not be shown plainly, or that names neither key nor value.
    """
    agent = data.draw(st.sampled_from(sorted(RUNS)), label="agent")
    key = data.draw(st.sampled_from(keys_of(agent)), label="key")
    value = data.draw(st.sampled_from(VALUES), label="value")
    try:
        run([f"agent={agent}", *TINY, *RUNS[agent], f"{key}={value}"])
    except SHOWN_PLAINLY as error:
        said, names = explain(error), (key.rsplit(".", 1)[-1], value, value.strip("'\""), json.dumps(value))
        if not any(name and name in said for name in names):
            raise CrashError(f"{agent} {key}={value}: {said!r} names neither") from error
        return {"done": 0, "refused": 1}
    except Exception as error:
        raise CrashError(f"{agent} {key}={value} ended in {error!r}") from error
    return {"done": 1, "refused": 0}


def run(overrides: list[str]) -> None:
    """Train with these overrides in a folder of its own, silently."""
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        train.train(composed(overrides), RunFolder(Path(folder) / "run"))


def composed(overrides: list[str]) -> DictConfig:
    """The configuration that these overrides make."""
    prepare()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", overrides)


@cache
def keys_of(agent: str) -> list[str]:
    """Every value that can be given on the command line."""
    config = composed([f"agent={agent}", *RUNS[agent]])
    return [key for key in _leaves(config, "") if not key.startswith("resume") and key not in ("steps", "threads")]


def _leaves(node: Any, place: str) -> list[str]:
    if isinstance(node, DictConfig) and len(node):
        return [leaf for name in node for leaf in _leaves(node._get_node(name), f"{place}{name!s}.")]
    return [place.rstrip(".")]
