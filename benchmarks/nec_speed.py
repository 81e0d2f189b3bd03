"""`python -m benchmarks.nec_speed out=FILE`: Neural Episodic Control beside loops that an outsider would write.

Both sides act, step, write and learn from full memories, with as many environments, the same encoder at first, keys,
values and learning schedule (`benchmarks.naive_nec`), in turns in one process on one thread. Both choose an action at
every step, and both are taken through the same ones, drawn evenly: minibatches of few actions need fewer searches.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor

from benchmarks.cli import parse, run_main
from benchmarks.configuration import environment_config, value_of
from benchmarks.control.runs import resolve_agent
from benchmarks.identity import digest
from benchmarks.naive_nec import Knn, NaiveNEC, Product, RebuiltIVF, Search, recall_of
from benchmarks.performance import NUMBERS, SHOWN
from benchmarks.runs import Row, carry_out, measured, status_of
from benchmarks.throughput import LEARNING
from engram_rl.agents.agent import Transition
from engram_rl.memory import IVFIndex
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import step
from engram_rl.training.seeding import seed_everything, use_threads

LOOPS: dict[str, Callable[[Tensor], Search]] = {"naive": Product, "faiss.knn": Knn, "IVF rebuilt": RebuiltIVF}
BARS = {
    ("naive", 10_000): 2.0,
    ("naive", 100_000): 8.0,
    ("faiss.knn", 10_000): 1.5,
    ("faiss.knn", 100_000): 1.5,
    ("IVF rebuilt", 100_000): 1.5,
    ("IVF rebuilt", 500_000): 1.5,
}
"""By loop and entries an action: how many times as fast ours has to be."""

RECALL = 0.95
"""What ours has to find of the true neighbours meanwhile."""

REBUILT_EVERY = 10_000
"""Environment steps."""

ACTIONS, EPISODE = 4, 50
ASKED = 64
"""Situations by which recall is measured, each for every action."""


@dataclass
class NECSpeed:
    """Environment steps a second of NEC, times those of a plain loop, once every memory is full.

    python -m benchmarks.nec_speed out=docs/results/nec_speed.jsonl
    python -m benchmarks.nec_speed entries=[10000] environments=[16] loops=[faiss.knn]

    A world of eight numbers that wander costs next to nothing; memories hold what the encoder makes of such walks.
    Times are of the processor (`times_wall` is by the clock). An index that is rebuilt is built anew once, and a share
    of that is added to every step. Recall is measured against all keys after the last turn.

    agent: of conf/agent, with values of its own after the name.
    loops: naive, faiss.knn, IVF rebuilt; each at those of the entries for which a limit is set.
    entries: of each of the four actions.
    environments: side by side, on both sides.
    seconds, rounds: processor time of a turn, and turns of each; the ratio is the median over the rounds.
    out: rows are appended here; what is already in it is not measured again.
    """

    agent: str = "nec memory.index=ivf"
    loops: list[str] = field(default_factory=lambda: list(LOOPS))
    entries: list[int] = field(default_factory=lambda: [10_000, 100_000, 500_000])
    environments: list[int] = field(default_factory=lambda: [1, 16])
    seconds: float = 0.5
    rounds: int = 3
    out: str = "results/nec_speed.jsonl"


@dataclass(frozen=True)
class Pair:
    """Two that are timed in turns: everything that defines a row."""

    agent: str
    loop: str
    entries: int
    environments: int
    seconds: float
    rounds: int

    @property
    def key(self) -> str:
        """A digest of all that defines the row."""
        return digest(asdict(self))

    def __str__(self) -> str:
        return f"{self.loop}, {self.entries:,} entries, {self.environments} environments"


def main(arguments: Sequence[str]) -> int:
    """Time what is missing, and print all that was asked for."""
    bench = parse(NECSpeed, list(arguments))
    pairs = [
        Pair(bench.agent, loop, entries, environments, bench.seconds, bench.rounds)
        for entries in bench.entries
        for environments in bench.environments
        for loop in bench.loops
        if (loop, entries) in BARS
    ]
    if not pairs:
        limits = ", ".join(f"{loop} at {entries}" for loop, entries in BARS)
        raise UsageError(f"loops={bench.loops} at entries={bench.entries} have no limit; give some of {limits}.")
    failures = carry_out(pairs, measure, Path(bench.out), workers=1)
    rows = {row["key"]: row for row in measured(Path(bench.out))}
    for pair in pairs:
        if row := rows.get(pair.key):
            print(
                f"{row['what']:<46} {row['steps_per_second']:7.0f} against {row['loop_steps_per_second']:7.0f} steps/s:"
                f" {row['times']:6.2f} x (>= {row['bar']})  recall {row['recall']:.3f} against {row['loop_recall']:.3f}"
            )
    return status_of(failures)


def measure(pair: Pair) -> Row:
    """Let both play on in turns."""
    use_threads(1)
    ours, loop = _Ours(pair), _Loop(pair)
    for turn in range(pair.rounds + 1):
        for side in (ours, loop):
            side.turn(pair.seconds)
            if not turn:  # to warm up
                side.turns.clear()
    taken = {side: side.seconds_a_step() for side in (ours, loop)}  # by the processor and by the clock
    times, times_wall = np.median(taken[loop] / taken[ours], axis=0)
    bar, recall = BARS[pair.loop, pair.entries], ours.recall()
    return {
        "what": str(pair),
        **asdict(pair),
        "key": pair.key,
        "steps_per_second": round(1 / float(np.median(taken[ours][:, 0])), 1),
        "loop_steps_per_second": round(1 / float(np.median(taken[loop][:, 0])), 1),
        "times": round(float(times), 3),
        "times_wall": round(float(times_wall), 3),
        "recall": round(recall, 4),
        "loop_recall": round(loop.recall(), 4),
        "bar": bar,
        "holds": bool(times >= bar and recall >= RECALL),
        "rebuild_seconds": round(float(loop.rebuild[0]), 4),
        "load": round(os.getloadavg()[0], 1),
    }


class _Side:
    """A player in environments of its own, and what its turns took."""

    def __init__(self, pair: Pair) -> None:
        seed_everything(0)
        world = environment_config(NUMBERS, {"num_envs": pair.environments}) | {"kwargs": {"actions": ACTIONS}}
        self.worlds = build_environments(OmegaConf.create(world))
        self.settings = resolve_agent(pair.agent, NUMBERS)
        self.settings["memory"] |= {"capacity": pair.entries}
        self.settings |= {"learn_after": 0}
        self.agent: Any = build_agent(OmegaConf.create(self.settings), self.worlds, seed=0)
        self.k = self.settings["memory"]["k"]
        self.observation = self.worlds.reset(seed=0)[0]
        self.draw = np.random.default_rng(0)
        self.turns: list[tuple[float, float, int]] = []
        self.rebuild = np.zeros(2)
        """Seconds, by the processor and by the clock, that every `REBUILT_EVERY` steps cost beside the turns."""

    def turn(self, seconds: float) -> None:
        """Play on for so long, by the processor."""
        began, clock, steps = time.process_time(), time.perf_counter(), 0
        while (worked := time.process_time() - began) < seconds:
            self.advance()
            steps += self.worlds.num_envs
        self.turns.append((worked, time.perf_counter() - clock, steps))

    def seconds_a_step(self) -> np.ndarray:
        """Of each turn, by the processor and by the clock. `[turns, 2]`."""
        turns = np.array(self.turns)
        return turns[:, :2] / turns[:, 2:] + self.rebuild / REBUILT_EVERY

    def advance(self) -> None:
        """Act, step, write, learn."""
        raise NotImplementedError

    def step(self, chosen: np.ndarray) -> Transition:
        """Take the step that the other side takes as well, whatever was chosen. `[E]`."""
        transition = step(self.worlds, self.observation, self.draw.integers(ACTIONS, size=len(chosen)))
        self.observation = transition.reset_observation
        return transition


class _Ours(_Side):
    """NEC of `conf/agent`."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        for action, memory in enumerate(self.agent.memories.per_action):
            keys, values = _stored(self.agent.encoder, pair.entries, action)
            for rows in torch.arange(pair.entries).split(50_000):
                memory.write(keys[rows], values[rows].unsqueeze(1))
            if isinstance(memory.index, IVFIndex) and pair.entries >= memory.index.start:
                memory.index.build(pair.entries)

    def advance(self) -> None:
        """Act, step, write, learn."""
        self.agent.observe(self.step(self.agent.act(self.observation)))
        self.agent.learn()

    def recall(self) -> float:
        """Of lookups now, the mean over actions."""
        queries = _keys(self.agent.encoder, ASKED, seed=-1)
        return float(
            np.mean(
                [
                    recall_of(memory.lookup(queries, touch=False).slots, queries, memory.key_vectors)
                    for memory in self.agent.memories.per_action
                ]
            )
        )


class _Loop(_Side):
    """The plain loop, with our encoder as it is at first and our schedule."""

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)
        encoder = deepcopy(self.agent.encoder)
        keys, values = zip(*[_stored(encoder, pair.entries, action) for action in range(ACTIONS)], strict=True)
        schedule = {key: value_of(self.settings, key) for key in LEARNING}
        self.loop = NaiveNEC(
            encoder, keys, values, k=self.k, seed=0, environments=pair.environments, search=LOOPS[pair.loop], **schedule
        )
        for search in self.loop.searches:
            if isinstance(search, RebuiltIVF):
                search.tune(_keys(encoder, ASKED, seed=-2), self.k)
                began, clock = time.process_time(), time.perf_counter()
                search.rebuild()
                self.rebuild += (time.process_time() - began, time.perf_counter() - clock)

    def advance(self) -> None:
        """Act, step, write, learn."""
        transition = self.step(self.loop.act(self.observation))
        before: Any = transition.observation
        self.loop.observe(before, transition.action, transition.reward, transition.done)

    def recall(self) -> float:
        """Of searches now, the mean over actions."""
        queries = _keys(self.loop.encoder, ASKED, seed=-1)
        found = zip(self.loop.searches, self.loop.keys, strict=True)
        return float(np.mean([recall_of(search.near(queries, self.k), queries, keys) for search, keys in found]))


def _stored(encoder: torch.nn.Module, entries: int, seed: int) -> tuple[Tensor, Tensor]:
    """What an encoder makes of walks through the world, and values. `[N, D]`, `[N]`."""
    generator = torch.Generator().manual_seed(seed)
    return _keys(encoder, entries, seed), torch.randn(entries, generator=generator)


@torch.no_grad()
def _keys(encoder: torch.nn.Module, count: int, seed: int) -> Tensor:
    """What an encoder makes of walks through the world, which last as long as its episodes. `[N, D]`."""
    generator = torch.Generator().manual_seed(1000 + seed)
    walks = -(-count // EPISODE)
    begin = torch.randn(walks, 1, SHOWN, generator=generator)
    shown = begin + 0.1 * torch.randn(walks, EPISODE, SHOWN, generator=generator).cumsum(dim=1)
    return torch.cat([encoder(part) for part in shown.flatten(0, 1)[:count].split(50_000)])


if __name__ == "__main__":
    run_main(main)
