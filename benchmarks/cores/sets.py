"""What memories that stand alone do with a set of patterns: give them back, and tell them from others."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.cores.tasks import completion
from benchmarks.runs import Row
from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.associative import EnergyMemory, KanervaMemory, NeuralBloomFilter

Reader = Callable[[Tensor, Tensor], Tensor]
"""What was asked for, probably, of each set: what was stored `[B, N, C]` and damaged items `[B, M, C]`."""

WIDTH, ROWS = 64, 32
"""Bits in a pattern and rows of the Kanerva memory, where capacity and noise are tried."""


def capacity(memory: str, tiny: bool, items: int) -> Row:
    """Mean squared error of what a Kanerva memory gives back of so many patterns of 64 bits, undamaged."""
    patterns = _bits(4 if tiny else 50, items, WIDTH)
    return _scored(lambda: kanerva(patterns, patterns, clean=None), lambda read: (read - patterns).square(), "error")


def denoising(memory: str, tiny: bool, kinds: int = 4, copies: int = 8, noise: float = 0.3) -> Row:
    """Copies of patterns with 30 % of their bits flipped are stored; what is asked for is another such copy."""
    clean = _bits(4 if tiny else 100, kinds, WIDTH)
    stored, asked = _flipped(clean.repeat(1, copies, 1), noise), _flipped(clean, noise)
    readers: dict[str, Reader] = {
        "kanerva_memory": lambda stored, asked: kanerva(stored, asked, noise=1.0, address_std=0.3, steps=5),
        "dictionary": lambda stored, asked: dictionary(stored, asked, k=5),
        "nearest": lambda stored, asked: dictionary(stored, asked, k=1),
    }
    return _scored(lambda: readers[memory](stored, asked), lambda read: (read.sign() != clean).float())


def half(memory: str, tiny: bool) -> Row:
    """The cores' task of completion: three patterns of a hundred bits, of one of which half is shown again."""
    episodes = completion(4 if tiny else 256, torch.Generator().manual_seed(torch.initial_seed()), True)
    stored = torch.stack([episodes.inputs[5 * i] for i in range(3)], 1)  # [B, 3, 100]
    asked, whole = episodes.inputs[-1].unsqueeze(1), 2 * episodes.bits[-1].unsqueeze(1) - 1
    readers: dict[str, Reader] = {
        "kanerva_memory": lambda stored, asked: kanerva(stored, asked, known=asked != 0),
        "dictionary": lambda stored, asked: dictionary(stored, asked, k=1),
    }
    return _scored(lambda: readers[memory](stored, asked), lambda read: (read.sign() != whole).float())


def flips(memory: str, tiny: bool, items: int = 8, width: int = 32, noise: float = 0.1) -> Row:
    """Eight patterns of 32 bits are stored; what is asked for has 10 % of its bits flipped."""

    def drawn(sets: int) -> tuple[Tensor, Tensor]:
        patterns = _bits(sets, items, width)
        return patterns, _flipped(patterns, noise)

    readers: dict[str, Reader] = {
        "kanerva_memory": lambda stored, asked: kanerva(stored, asked, rows=8, steps=5),
        "dictionary": lambda stored, asked: dictionary(stored, asked, k=1),
    }
    updates, seconds = 0, 0.0
    if memory == "energy_memory":
        energy = EnergyMemory(width, hidden=48, reads=3)
        losses = (energy.loss(*drawn(8)) for _ in iter(int, 1))
        updates, seconds = _trained(energy, losses, 8e-3, 2 if tiny else 10**6, 30.0, lambda: _wrong(energy, drawn))
        readers[memory] = lambda stored, asked: energy.read(energy.write(stored), asked)
    patterns, asked = drawn(4 if tiny else 256)
    row = _scored(lambda: readers[memory](patterns, asked), lambda read: (read.sign() != patterns).float())
    return row | {"updates": updates, "seconds": round(seconds + row["seconds"], 4)}


def familiarity(memory: str, tiny: bool, kinds: int = 20, members: int = 16, width: int = 32) -> Row:
    """Members of a set are noisy copies of two kinds of twenty, others of the rest: the share of them told apart.

    At the highest threshold that denies no member; a member that is denied for all that makes the score 0.
    """
    prototypes = _bits(1, kinds, width)[0]

    def drawn(sets: int) -> tuple[Tensor, Tensor]:
        order = torch.rand(sets, kinds).argsort(1)
        picked = (part[:, torch.randint(part.shape[1], (members,))] for part in order.split([2, kinds - 2], 1))
        inside, outside = (_flipped(prototypes[kind], 0.1) for kind in picked)
        return inside, outside

    bloom = NeuralBloomFilter(width)
    losses = (bloom.loss(*drawn(32)) for _ in iter(int, 1))
    updates, seconds = _trained(bloom, losses, 1e-3, 2 if tiny else 1000, 60.0)
    with torch.no_grad():
        stored, others = drawn(4 if tiny else 256)
        filled = bloom.write(bloom.empty(len(stored)), stored)
        threshold = bloom.threshold(filled, stored)
        denied = bool((bloom.logits(filled, stored) < threshold).any())
        told = (bloom.logits(filled, others) < threshold).float().mean()
    score = 0.0 if denied else (1 + float(told)) / 2
    return {"score": round(score, 5), "measure": "answers", "updates": updates, "seconds": round(seconds, 4)}


TRIALS: dict[str, Callable[[str, bool], Row]] = {
    **{f"capacity_{items}": partial(capacity, items=items) for items in (16, 32, 48)},
    "denoising": denoising,
    "half": half,
    "flips": flips,
    "familiarity": familiarity,
}
"""By name: from a memory's name, and whether it is to be a handful of updates only, to its score and what it took."""

MEMORIES = ("kanerva_memory", "energy_memory", "bloom_filter", "dictionary", "nearest")

SET_CLAIMS: dict[str, dict[str, str]] = {
    "capacity_16": {"kanerva_memory": "<= 0.0002"},
    "capacity_32": {"kanerva_memory": "<= 0.008"},
    "capacity_48": {"kanerva_memory": "<= 0.08"},
    "denoising": {"kanerva_memory": "<= 0.28", "dictionary": "", "nearest": ""},
    "half": {"kanerva_memory": "<= 0.01", "dictionary": "<= 0.01"},
    "flips": {"energy_memory": "<= 0.015", "kanerva_memory": "", "dictionary": ""},
    "familiarity": {"bloom_filter": ">= 0.98"},
}
"""Which memory claims which trial, and the limit; without one it is there to compare."""


def kanerva(
    stored: Tensor,
    asked: Tensor,
    rows: int = ROWS,
    noise: float = 0.1,
    address_std: float = 1.0,
    steps: int = 1,
    known: Tensor | None = None,
    clean: Callable[[Tensor], Tensor] | None = torch.sign,
) -> Tensor:
    """What a Kanerva memory reads of sets that were stored in it. `[B, N, C]`, `[B, M, C]` -> `[B, M, C]`."""
    memory = KanervaMemory(stored.shape[2], rows, noise=noise, address_std=address_std)
    belief = memory.write(memory.empty(len(stored)), stored)
    return memory.read(belief, asked, known, steps, clean)


def dictionary(stored: Tensor, asked: Tensor, k: int) -> Tensor:
    """What the dictionary finds in each set, k neighbours weighed. `[B, N, C]`, `[B, M, C]` -> `[B, M, C]`."""
    found = []
    for one, query in zip(stored, asked, strict=True):
        memory = DifferentiableNeuralDictionary(one.shape[1], one.shape[1], capacity=len(one), k=k)
        memory.write(one, one)
        found.append(memory.lookup(query, touch=False).value)
    return torch.stack(found)


def _bits(sets: int, items: int, width: int) -> Tensor:
    return 2.0 * torch.randint(2, (sets, items, width)) - 1


def _flipped(bits: Tensor, share: float) -> Tensor:
    return bits * torch.where(torch.rand_like(bits) < share, -1.0, 1.0)


@torch.no_grad()
def _wrong(energy: EnergyMemory, drawn: Callable[[int], tuple[Tensor, Tensor]]) -> bool:
    patterns, asked = drawn(64)
    return float((energy.read(energy.write(patterns), asked).sign() != patterns).float().mean()) < 0.0075


def _trained(
    memory: nn.Module,
    losses: Iterator[Tensor],
    rate: float,
    updates: int,
    seconds: float,
    enough: Callable[[], bool] = lambda: False,
) -> tuple[int, float]:
    """Updates made and processor seconds taken; the rate falls to a tenth by the last of them."""
    optimiser, began, update = torch.optim.Adam(memory.parameters(), rate), time.process_time(), 0
    while update < updates and time.process_time() - began < seconds:
        optimiser.zero_grad()
        optimiser.param_groups[0]["lr"] = rate * (1 - 0.9 * (time.process_time() - began) / seconds)
        next(losses).backward()
        nn.utils.clip_grad_norm_(memory.parameters(), 1.0)
        optimiser.step()
        update += 1
        if update % 200 == 0 and enough():
            break
    return update, time.process_time() - began


@torch.no_grad()
def _scored(read: Callable[[], Tensor], wrong: Callable[[Tensor], Tensor], measure: str = "share") -> Row:
    began = time.process_time()
    score = float(wrong(read()).mean())
    return {
        "score": round(score, 6),
        "measure": measure,
        "updates": 0,
        "seconds": round(time.process_time() - began, 4),
    }
