"""Keys with codes against keys without: the search beside a discrete part, and the search for codes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks.memory.measure import Figure, Options, milliseconds, ratio, side_by_side
from engram_rl.memory import DifferentiableNeuralDictionary, Modality

K, QUERIES, ACTIONS = 50, 32, 8

CASES: dict[str, Callable[[int, torch.Generator], Tensor]] = {
    "cells": lambda n, g: torch.randint(40, (n, 2), generator=g).float(),
    "positions": lambda n, g: torch.rand(n, 2, generator=g) * 1000,
    "offset": lambda n, g: torch.randn(n, 64, generator=g) + 30,
    "outlier": lambda n, g: torch.randn(n, 64, generator=g),
    "normal": lambda n, g: torch.randn(n, 64, generator=g),
}
"""Vectors that have an action beside them.  `[n, D]`"""

OUTLIER = 1e4


def beside_codes(options: Options) -> Iterator[Figure]:
    """A lookup of vector and action by the lookup of the same vectors alone, for each kind of vectors."""
    entries = options.size(20_000, 300)
    ratios: dict[str, float] = {}
    sizes: dict[str, Any] = {"entries": entries, "queries": QUERIES, "k": K, "actions": ACTIONS}
    for name, vectors in CASES.items():
        calls = _either(vectors, entries, options, outlier=name == "outlier")
        with torch.no_grad():
            taken = side_by_side(options.size(100, 2), calls)
        ratios[name] = ratio(taken, "coded", "plain")
        sizes |= {f"{name}_{call}": value for call, value in milliseconds(taken).items()}
    sizes |= {f"{name}_ratio": round(value, 3) for name, value in ratios.items()}
    yield Figure("beside_codes", max(ratios.values()), "times the plain lookup, worst case", "<= 1.3", sizes)


def codes_alone(options: Options) -> Iterator[Figure]:
    """A lookup by action alone, in a large and a small memory, in turns."""
    small, large = options.size(10_000, 200), options.size(1_000_000, 2000)
    calls = {name: _by_code(entries, options) for name, entries in (("small", small), ("large", large))}
    with torch.no_grad():
        taken = side_by_side(options.size(200, 3), calls)
    sizes: dict[str, Any] = {"entries": large, "entries_small": small, "queries": QUERIES, "k": K}
    value = ratio(taken, "large", "small")
    yield Figure("codes_alone", value, f"times that at {small}", "<= 1.5", sizes | milliseconds(taken))


def _either(
    vectors: Callable[[int, torch.Generator], Tensor], entries: int, options: Options, outlier: bool
) -> dict[str, Callable[[], object]]:
    generator = torch.Generator().manual_seed(options.seed)
    keys, query = vectors(entries, generator), vectors(QUERIES, generator)
    size = keys.shape[1]
    plain = DifferentiableNeuralDictionary(size, 1, entries, K)
    coded = DifferentiableNeuralDictionary([Modality("v", size), Modality("a", kind="discrete")], 1, entries, K)
    actions = torch.randint(ACTIONS, (entries + QUERIES, 1), generator=generator)
    nothing = torch.zeros(entries, 1)
    if outlier:
        plain.write(keys[:1] + OUTLIER, nothing[:1])
        coded.write({"v": keys[:1] + OUTLIER, "a": actions[:1]}, nothing[:1])
    plain.write(keys, nothing)  # in the place of the outlier, if there was one
    coded.write({"v": keys, "a": actions[:entries]}, nothing)
    asked = {"v": query, "a": actions[entries:]}
    return {
        "plain": partial(plain.lookup, query, touch=False),
        "coded": partial(coded.lookup, asked, touch=False),
    }


def _by_code(entries: int, options: Options) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(options.seed)
    memory = DifferentiableNeuralDictionary([Modality("v", 4), Modality("a", kind="discrete")], 1, entries, K)
    for start in range(0, entries, 50_000):
        n = min(50_000, entries - start)
        keys = {"v": torch.randn(n, 4, generator=generator), "a": torch.randint(100, (n, 1), generator=generator)}
        memory.write(keys, torch.zeros(n, 1))
    return partial(memory.lookup, {"a": torch.randint(100, (QUERIES, 1), generator=generator)}, touch=False)
