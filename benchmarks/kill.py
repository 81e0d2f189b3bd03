"""`python -m benchmarks.kill kills=60 out=FILE`: runs that are killed at random moments against one that is not."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from benchmarks.cli import parse, write_lines
from benchmarks.configuration import CONF, parameters_of, plain
from benchmarks.same_run import differences
from engram_rl.training import train
from engram_rl.training.configuration.prepared import prepare
from engram_rl.training.logging.logger import METRICS, read_rows
from engram_rl.training.runs.checkpoint import whole_names
from engram_rl.training.runs.folder import CONFIG, RunFolder

SMALL = {
    "agent.memory.capacity": 300,
    "agent.learn_after": 50,
    "agent.replay_capacity": 200,
    "agent.n_step": 10,
    "agent.branches": 10,
    "agent.depth": 8,
    "agent.num_steps": 12,
    "agent.minibatch_size": 24,
}
"""Settings under which a short run passes every stage, eviction included; an agent takes those that it has."""

LARGER = {"fast_slow_partial": {"agent.memory.capacity": 2000}, "go_explore": {"agent.memory.capacity": 600}}
"""What an agent cannot do with less of."""
STARTING = 0.1
"""Share of the kills that do not wait for a step: they meet the run as it starts."""
MOMENT = 0.1
"""Longest wait, in seconds, between the step that a kill waits for and the kill."""


@dataclass
class KillBench:
    """Kill runs (SIGKILL) at random moments, go on, and compare with a run that was left alone.

    python -m benchmarks.kill kills=60
    python -m benchmarks.kill agents=[nec] kills=5 steps=800

    agents: names of conf/agent; none for all of them.
    kills: how many in all, spread evenly over the agents.
    steps: of each run, in the environment that the agent's YAML names in its first line.
    every: steps between two checkpoints.
    seed: of the moments.
    """

    agents: list[str] = field(default_factory=list)
    kills: int = 60
    steps: int = 1600
    every: int = 100
    seed: int = 0
    out: str = "results/kill.jsonl"


def main(arguments: list[str]) -> int:
    """Measure agent by agent; the exit status is 1 if any resumed run differs from the one left alone."""
    bench = parse(KillBench, arguments)
    agents = bench.agents or sorted(path.stem for path in (CONF / "agent").glob("*.yaml"))
    shares = [len(part) for part in np.array_split(np.arange(bench.kills), len(agents))]
    rows: list[dict[str, Any]] = []
    for number, (agent, kills) in enumerate(zip(agents, shares, strict=True)):
        rows += measure(agent, kills, bench, np.random.default_rng([bench.seed, number]))
        write_lines(bench.out, rows)
    _show(rows)
    return int(any(row["differences"] for row in rows))


def measure(agent: str, kills: int, bench: KillBench, chance: np.random.Generator) -> list[dict[str, Any]]:
    """One row for each run of this agent that was killed, until it was killed often enough in all."""
    overrides = overrides_of(agent, bench)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as scratch:
        whole = Path(scratch) / "whole"
        _finish(_start(overrides, whole))
        folders = (Path(scratch) / f"killed_{number}" for number in count())
        while kills > 0:
            folder = next(folders)
            moments = _kill_and_go_on(overrides, folder, kills, bench.steps, chance)
            kills -= len(moments)
            if moments:
                rows.append(_row(agent, bench, moments, differences(whole, folder)))
    return rows


def overrides_of(agent: str, bench: KillBench) -> list[str]:
    """The command line of a short run of this agent, in the environment of its own YAML's command."""
    first = (CONF / "agent" / f"{agent}.yaml").read_text(encoding="utf-8").splitlines()[0]
    named = [word for word in first.split() if word.startswith("env=")]
    chosen = [f"agent={agent}", *named, f"steps={bench.steps}", f"checkpoint.every={bench.every}"]
    cadence = ["log.every=16", "evaluation.every=400", "evaluation.episodes=1", "progress=false", "checkpoint.keep=2"]
    cadence += ["log.video=false", "log.memory=false"]
    prepare()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("train", chosen)
    sizes = SMALL | LARGER.get(agent, {})
    small = [word for key, value in sizes.items() if (word := _given(composed, key, value))]
    return [*chosen, *cadence, *small]


def _given(composed: DictConfig, key: str, value: int) -> str:
    """The word of a command line that gives an agent a value; empty for one that it does not take."""
    if OmegaConf.select(composed, key) is not None:
        return f"{key}={value}"
    taken = parameters_of(plain(composed.agent))
    return f"+{key}={value}" if key.removeprefix("agent.") in taken else ""


def _kill_and_go_on(
    overrides: list[str], folder: Path, most: int, steps: int, chance: np.random.Generator
) -> list[dict[str, Any]]:
    """Start, kill and go on until the run is done, killing it at most `most` times; what each kill met.

    Only those count that kept it from its last step.
    """
    moments: list[dict[str, Any]] = []
    while True:
        process = _start(overrides, folder)
        if len(moments) == most or _saved(folder) >= steps:
            _finish(process)
            return moments
        _wait_for_the_moment(process, folder, steps, chance)
        if not process.is_alive():
            _finish(process)
            return moments
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        moment = _moment(folder)
        if moment["reached"] < steps:
            moments.append(moment)


def _wait_for_the_moment(process: Any, folder: Path, steps: int, chance: np.random.Generator) -> None:
    """Until a random step between the last checkpoint and the end, and a little longer; at times only to the start."""
    saved = _saved(folder)
    target = -1 if chance.random() < STARTING else chance.integers(saved, steps)
    while target >= 0 and process.is_alive() and _reached(folder) > saved:  # what was killed had come farther than it
        time.sleep(0.002)
    while process.is_alive() and _reached(folder) < target:
        time.sleep(0.002)
    process.join(chance.uniform(0, MOMENT))


def _moment(folder: Path) -> dict[str, Any]:
    """How far a killed run had come, how far its last checkpoint goes, and whether one was being written."""
    writing = any((folder / "checkpoints").glob(".*.tmp"))
    return {"reached": _reached(folder), "saved": _saved(folder), "while_saving": writing}


def _reached(folder: Path) -> int:
    """The last step that the run wrote down."""
    rows = read_rows(folder / METRICS)
    return rows[-1]["step"] if rows else 0


def _saved(folder: Path) -> int:
    """The step of the newest checkpoint, 0 without one."""
    return max((int(name.rpartition("_")[2]) for name in whole_names(folder / "checkpoints")), default=0)


def _row(agent: str, bench: KillBench, moments: list[dict[str, Any]], differing: list[str]) -> dict[str, Any]:
    return {
        "agent": agent,
        "kills": len(moments),
        "while_saving": sum(moment["while_saving"] for moment in moments),
        "most_steps_lost": max(moment["reached"] - moment["saved"] for moment in moments),
        "interval": bench.every,
        "steps": bench.steps,
        "differences": differing,
        "moments": moments,
    }


def _start(overrides: list[str], folder: Path) -> Any:
    context = get_context("forkserver")  # a fresh process that need not import torch anew
    context.set_forkserver_preload(["train", "torch.utils.tensorboard", *_agent_modules()])
    process = context.Process(target=_run, args=(overrides, str(folder)))
    process.start()
    return process


def _agent_modules() -> list[str]:
    """The modules of the factories that the YAMLs of conf/agent name."""
    named = [OmegaConf.select(OmegaConf.load(path), "_target_") for path in (CONF / "agent").glob("*.yaml")]
    return sorted({str(target).rpartition(".")[0] for target in named if target})


def _finish(process: Any) -> None:
    process.join()
    if process.exitcode:
        raise RuntimeError(f"A run that was not killed ended with status {process.exitcode}.")


def _run(overrides: list[str], path: str) -> None:
    """Begin the run of this folder or go on with it, as `engram train` does."""
    tqdm.set_lock(threading.RLock())  # by default a lock between processes, which a killed one would leak
    begun = (Path(path) / CONFIG).exists()
    folder = RunFolder.open(Path(path)) if begun else RunFolder(Path(path))
    with Path(os.devnull).open("w") as silence, contextlib.redirect_stdout(silence), folder.lock():
        if begun:
            train.train(folder.config(), folder, folder.checkpoint_to_resume())
            return
        prepare()
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", overrides)
        train.train(config, folder)


def _show(rows: list[dict[str, Any]]) -> None:
    table = Table(title="Runs that were killed, against one that was not")
    for column in ("agent", "kills", "while saving", "most steps lost", "interval", "mismatches"):
        table.add_column(column, justify="left" if column == "agent" else "right")
    for agent in dict.fromkeys(row["agent"] for row in rows):
        mine = [row for row in rows if row["agent"] == agent]
        table.add_row(agent, *map(str, _sums(mine)))
    table.add_row("all", *map(str, _sums(rows)))
    Console().print(table)


def _sums(rows: list[dict[str, Any]]) -> list[int]:
    return [
        sum(row["kills"] for row in rows),
        sum(row["while_saving"] for row in rows),
        max(row["most_steps_lost"] for row in rows),
        rows[0]["interval"],
        sum(bool(row["differences"]) for row in rows),
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
