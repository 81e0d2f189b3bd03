"""Small tasks that need memory, and which core claims which: a new one is a function that draws, and two lines.

Every task is bits: at some steps a core is asked for bits, all else is left to it. Episodes are drawn anew for every
update, so nothing is ever seen twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engram_rl.memory.cores import CORES, WRAPPERS


@dataclass(frozen=True)
class Episodes:
    """A batch of them.

    Attributes:
        inputs: `[T, B, D]`
        bits: What is asked for, 0 or 1.  `[T, B, n]`
        asked: At which steps.  `[T]` of bool
    """

    inputs: Tensor
    bits: Tensor
    asked: Tensor


Draw = Callable[[int, torch.Generator, bool], Episodes]
"""Draws so many episodes, all of one length; the hardest that the task has if the flag is set, else any."""


@dataclass(frozen=True)
class Task:
    """What is learned, from how much, and when it counts as learned.

    Attributes:
        draw: Draws episodes.
        measure: `answers` is the share of answers of which every bit is right, `bits` the wrong bits in an episode,
            `share` the share of wrong bits.
        limit: What the measure must be on the hardest episodes, such as ">= 0.99".
        hidden: Size of the core.
        batch: Episodes in an update.
        rate: Of Adam.
        updates: No more than so many.
        seconds: No more processor time than that.
        stops: Whether training ends as soon as no more than half of what the limit allows is wrong.
        clip: Largest norm of a gradient.
        itself: Whether what the core puts out is the answer, units being clamped to bits; else a linear map of it is.
        falls: Updates over which the rate falls in a straight line to a tenth of itself, and stays; None if never.
    """

    draw: Draw
    measure: str
    limit: str
    hidden: int
    batch: int
    rate: float
    updates: int = 1_000_000
    seconds: float = 180.0
    stops: bool = True
    clip: float = 5.0
    itself: bool = False
    falls: int | None = None

    def rate_at(self, update: int) -> float:
        """The rate after so many updates."""
        return self.rate * (1.0 if self.falls is None else max(0.1, 1 - 0.9 * update / self.falls))


def recall_first(episodes: int, chance: torch.Generator, hardest: bool) -> Episodes:
    """Twenty steps, each with one of two symbols; at all of them, which was the first? (memax's test of its models)."""
    symbols = torch.randint(2, (20, episodes), generator=chance)  # [T, B]
    opens = (torch.arange(20) == 0).expand(episodes, 20).T
    inputs = torch.cat([functional.one_hot(symbols, 2), opens.unsqueeze(2)], 2).float()
    return Episodes(inputs, symbols[:1, :, None].expand(20, episodes, 1).float(), torch.ones(20, dtype=torch.bool))


def copy(episodes: int, chance: torch.Generator, hardest: bool, width: int = 6, longest: int = 8) -> Episodes:
    """A sequence of bit vectors, then the same again without seeing it (Graves et al. 2014, section 4.1)."""
    length = _length(longest, chance, hardest)
    vectors = _bits(length, episodes, width, chance)
    shown, then = _framed(vectors, 2), torch.zeros(length, episodes, width + 2)
    return _answered(torch.cat([shown, then]), vectors)


def copy_longer(episodes: int, chance: torch.Generator, hardest: bool, width: int = 6, longest: int = 8) -> Episodes:
    """The same, judged on sequences of twice the longest that were trained on."""
    return copy(episodes, chance, hardest, width, 2 * longest if hardest else longest)


def copy_few(episodes: int, chance: torch.Generator, hardest: bool) -> Episodes:
    """Always twelve vectors; for memories that have fewer slots than that."""
    return copy(episodes, chance, True, longest=12)


def repeat_copy(
    episodes: int, chance: torch.Generator, hardest: bool, width: int = 6, longest: int = 4, most: int = 4
) -> Episodes:
    """A sequence, and how often to give it, which its end mark says, over the most that there can be (ibid., 4.2)."""
    length, times = _length(longest, chance, hardest), _length(most, chance, hardest)
    vectors = _bits(length, episodes, width, chance)
    shown, then = _framed(vectors, 2), torch.zeros(length * times, episodes, width + 2)
    shown[-1, :, -1] = times / most
    return _answered(torch.cat([shown, then]), vectors.repeat(times, 1, 1))


def associative_recall(
    episodes: int, chance: torch.Generator, hardest: bool, width: int = 6, rows: int = 3, most: int = 6
) -> Episodes:
    """Items of three vectors, one after the other; then one of them again: which came next? (Ibid., 4.3)."""
    items = 1 + _length(most - 1, chance, hardest)
    vectors = _bits(items * rows, episodes, width, chance).unflatten(0, (items, rows))
    asked = torch.randint(items - 1, (episodes,), generator=chance)
    row = torch.arange(episodes)
    query, answer = (vectors.transpose(0, 2)[row, :, asked + next_one].transpose(0, 1) for next_one in (0, 1))
    shown = [_framed(item, 2, end=False) for item in vectors]  # a mark, then the rows
    asking = _framed(query, 2)
    return _answered(torch.cat([*shown, asking, torch.zeros(rows, episodes, width + 2)]), answer)


def retrieval(episodes: int, chance: torch.Generator, hardest: bool, pairs: int = 4, keys: int = 16) -> Episodes:
    """Pairs of a key and four bits, a pair a step; then each key alone, in another order: its bits?"""
    order = torch.rand(episodes, keys, generator=chance).argsort(1)[:, :pairs]  # [B, K]
    bits = _bits(pairs, episodes, 4, chance)
    shown = torch.cat([functional.one_hot(order.T, keys), 2 * bits - 1], 2)
    again = torch.rand(episodes, pairs, generator=chance).argsort(1)  # [B, K]
    query = functional.one_hot(order.gather(1, again).T, keys)
    answer = bits.gather(0, again.T.unsqueeze(2).expand(pairs, episodes, 4))
    return _answered(torch.cat([shown, functional.pad(query, (0, 4))]).float(), answer)


def dictionary(episodes: int, chance: torch.Generator, hardest: bool) -> Episodes:
    """The same with eight pairs."""
    return retrieval(episodes, chance, hardest, pairs=8)


def two_sources(episodes: int, chance: torch.Generator, hardest: bool, pairs: int = 3, keys: int = 6) -> Episodes:
    """Retrieval from two sources at once: at each step a pair of either; then a key of either, and the bits of both?"""
    one, other = (retrieval(episodes, chance, hardest, pairs, keys) for _ in range(2))
    return Episodes(torch.cat([one.inputs, other.inputs], 2), torch.cat([one.bits, other.bits], 2), one.asked)


def two_tasks(episodes: int, chance: torch.Generator, hardest: bool) -> Episodes:
    """Copy of up to four vectors, and then associative recall of up to four items of one vector each."""
    one, other = copy(episodes, chance, hardest, longest=4), associative_recall(episodes, chance, hardest, 6, 1, 4)
    parts = zip((one.inputs, one.bits, one.asked), (other.inputs, other.bits, other.asked), strict=True)
    return Episodes(*(torch.cat(part) for part in parts))


def completion(episodes: int, chance: torch.Generator, hardest: bool, patterns: int = 3, size: int = 100) -> Episodes:
    """Patterns of bits, then one with half of them missing: the whole one? (Miconi et al. 2018, section 4.1).

    Each is shown for three steps, with two of silence after it. A unit for each bit, whose activity is the answer.
    """
    bits = _bits(patterns, episodes, size, chance)
    which = torch.randint(patterns, (episodes,), generator=chance)
    answer = bits[which, torch.arange(episodes)]  # [B, size]
    there = torch.rand(episodes, size, generator=chance).argsort(1) < size // 2
    shown = torch.stack([2 * bits - 1] * 3 + [torch.zeros_like(bits)] * 2, 1).flatten(0, 1)
    damaged = ((2 * answer - 1) * there).expand(3, -1, -1)
    inputs = torch.cat([shown, damaged])
    asked = torch.arange(len(inputs)) == len(inputs) - 1
    return Episodes(inputs, answer.expand(len(inputs), -1, -1), asked)


def recall_far(episodes: int, chance: torch.Generator, hardest: bool, steps: int = 40) -> Episodes:
    """Two bits at the first step, bits that do not matter at all others; at the last: the first two?"""
    bits = _bits(steps, episodes, 2, chance)
    marks = torch.zeros(steps, episodes, 2)
    marks[0, :, 0], marks[-1, :, 1] = 1.0, 1.0
    inputs = torch.cat([2 * bits - 1, marks], 2)
    return Episodes(inputs, bits[:1].expand(steps, -1, -1), torch.arange(steps) == steps - 1)


def traversal(
    episodes: int, chance: torch.Generator, hardest: bool, nodes: int = 5, labels: int = 2, most: int = 3
) -> Episodes:
    """The edges of a graph, one a step; then a node, and labels to follow: the nodes on the way? (Graves et al. 2016).

    From every node an edge of each label leads somewhere; the edges come in any order.
    """
    row, one_hot = torch.arange(episodes), functional.one_hot
    targets = torch.randint(nodes, (episodes, nodes, labels), generator=chance)
    order = torch.rand(episodes, nodes * labels, generator=chance).argsort(1).T  # [edges, B]
    source, label = order // labels, order % labels
    edges = torch.cat([one_hot(source, nodes), one_hot(label, labels), one_hot(targets[row, source, label], nodes)], 2)
    node = torch.randint(nodes, (episodes,), generator=chance)
    asked, answers = [functional.pad(one_hot(node, nodes), (0, labels + nodes))], []
    for _ in range(_length(most, chance, hardest)):
        label = torch.randint(labels, (episodes,), generator=chance)
        node = targets[row, node, label]
        asked.append(functional.pad(one_hot(label, labels), (nodes, nodes)))
        answers.append(one_hot(node, nodes))
    shown = functional.pad(edges, (0, 1))
    asking = functional.pad(torch.stack(asked), (0, 1), value=1)
    return _answered(torch.cat([shown, asking]).float(), torch.stack(answers).float())


TASKS: dict[str, Task] = {
    "recall_first": Task(recall_first, "answers", ">= 0.99", 8, 5, 3e-3, updates=400, stops=False),
    "copy": Task(copy, "bits", "<= 0.05", 64, 16, 3e-3, clip=1.0, falls=5000),
    "copy_longer": Task(copy_longer, "bits", "<= 1.0", 64, 16, 3e-3, clip=1.0, falls=5000),
    "copy_few": Task(copy_few, "bits", "<= 10", 64, 16, 3e-3, seconds=60, clip=1.0, falls=5000),
    "recall_far": Task(recall_far, "answers", ">= 0.98", 32, 16, 3e-3, updates=400, stops=False),
    "traversal": Task(traversal, "answers", ">= 0.9", 64, 16, 3e-3, seconds=600),
    "associative_recall": Task(associative_recall, "bits", "<= 1.0", 100, 16, 1e-3, seconds=600),
    "repeat_copy": Task(repeat_copy, "bits", "<= 1.0", 100, 16, 1e-3, seconds=600),
    "two_tasks": Task(two_tasks, "bits", "<= 1.0", 64, 16, 3e-3, seconds=60, clip=1.0, falls=3000),
    "two_sources": Task(two_sources, "answers", ">= 0.9", 32, 16, 3e-3, seconds=60, clip=1.0),
    "retrieval": Task(retrieval, "answers", ">= 0.98", 64, 32, 3e-3, seconds=120),
    "dictionary": Task(dictionary, "answers", ">= 0.98", 64, 32, 3e-3, seconds=100, clip=1.0),
    "completion": Task(completion, "share", "<= 0.01", 100, 4, 1e-3, seconds=90, itself=True, falls=3000),
}
"""By name; `speed` is measured beside them."""

SPEED = "speed"

CLAIMS: dict[str, dict[str, dict[str, Any]]] = {
    "recall_first": {name: {} for name in (*CORES, *WRAPPERS, "elman")},
    "copy": {"ntm": {}, "dnc": {}, "sam": {"k": 8}},
    "copy_longer": {"ntm": {}, "dnc": {}, "sam": {"k": 8}},
    "copy_few": {  # to compare
        "dnc": {"slots": 3},
        "uniform_writing": {"core": "dnc", "of_core": {"slots": 3}, "write_every": 3},
        "cached_uniform_writing": {"core": "dnc", "of_core": {"slots": 3}, "write_every": 3},
    },
    "recall_far": {
        "compressive": {"window": 8, "compressed": 16, "compression": 4},
        "gtrxl": {"window": 8},  # to compare: two layers see 16 steps back
    },
    "traversal": {"dnc": {}},
    "associative_recall": {"ntm": {}, "stored_programs": {"core": "ntm"}},  # to compare
    "repeat_copy": {},
    "two_tasks": {"ntm": {}, "stored_programs": {"core": "ntm"}},  # to compare
    "two_sources": {  # to compare
        "dual": {"core": "ntm", "of_core": {"slots": 8}, "first": 10},
        "dual_early": {"core": "ntm", "of_core": {"slots": 8}, "first": 10},
        "ntm": {"slots": 8},
        "gru": {},
    },
    "retrieval": {"delta": {}, "gated_delta": {}},
    "dictionary": {"mnm": {}, "kanerva": {}, "delta": {}},
    "completion": {
        "plastic": {"gain": 3.0, "plasticity": 0.03, "recurrent": 0.0},
        "not_plastic": {"gain": 3.0},  # to compare
    },
    SPEED: {name: {} for name in (*CORES, *WRAPPERS)},
}
"""Which core claims which task, with its settings there; `core` and `of_core` say what a wrapper is around."""

LIMITS = {
    ("recall_first", "indrnn"): ">= 0.9",
    ("recall_first", "elman"): "",
    ("completion", "not_plastic"): "",
    ("recall_far", "gtrxl"): "<= 0.4",
    ("traversal", "dnc"): "",
    ("associative_recall", "ntm"): "",
    ("associative_recall", "stored_programs"): "",
    **{("two_tasks", core): "" for core in ("ntm", "stored_programs")},
    **{("two_sources", core): "" for core in ("dual", "dual_early", "ntm", "gru")},
    ("copy_few", "dnc"): "",
    ("copy_few", "uniform_writing"): "",
    ("copy_few", "cached_uniform_writing"): "",
    ("dictionary", "delta"): "",
    (SPEED, "delta"): "<= 4",
    (SPEED, "gated_delta"): "<= 4",
    (SPEED, "dnc"): "<= 10",
    (SPEED, "ntm"): "<= 10",
}
"""Where a core's limit is another than the task's; speed has one only here: times an LSTM cell in a loop."""


def _length(longest: int, chance: torch.Generator, hardest: bool) -> int:
    """One for the whole batch, so that nothing is padded."""
    drawn = int(torch.randint(1, longest + 1, (), generator=chance))
    return longest if hardest else drawn


def _bits(steps: int, episodes: int, width: int, chance: torch.Generator) -> Tensor:
    return torch.randint(2, (steps, episodes, width), generator=chance).float()


def _framed(vectors: Tensor, marks: int, end: bool = True) -> Tensor:
    """A mark before them, and perhaps another after, in channels of their own.  `[T, B, n]` -> `[.., B, n + marks]`."""
    padded = functional.pad(vectors, (0, marks))
    before, after = torch.zeros_like(padded[:1]), torch.zeros_like(padded[:1])
    before[..., -2], after[..., -1] = 1.0, 1.0
    return torch.cat([before, padded, after] if end else [before, padded])


def _answered(inputs: Tensor, bits: Tensor) -> Episodes:
    """The bits are asked for in the last steps."""
    before = len(inputs) - len(bits)
    return Episodes(inputs, functional.pad(bits, (0, 0, 0, 0, before, 0)), torch.arange(len(inputs)) >= before)
