"""What a lookup makes of the neighbours it is given: weights by a kernel, the value they give, what is counted.

A kernel gives the logarithm of a similarity, so that far neighbours fade smoothly instead of dividing 0 by 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.checks import number, offers, unknown
from engram_rl.memory.indexes.exact import Neighbours
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.store import KeyStore
from engram_rl.memory.keys.subsets import evidence
from engram_rl.memory.waiting import AT_HAND

SHOWN_QUERIES, SHOWN_NEIGHBOURS, SHOWN_NUMBERS = 8, 3, 4
"""What `repr` shows of an answer."""

RECENT = 0.01
"""Weight of one lookup in the running means."""


LEAST, MOST = 1e-15, 1e15
"""Of what a kernel adds to distances or divides them by."""


class Kernel(Protocol):
    """How similar two keys are, given their squared distance; `log_similarity` is required, and differentiable."""

    def log_similarity(self, squared_distances: Tensor) -> Tensor:
        """`log k(d)`, of any shape."""


@dataclass(frozen=True)
class InverseDistance:
    """`k(h, h_i) = 1 / (|h - h_i|^2 + delta)`: Neural Episodic Control (Pritzel et al. 2017), equation 5."""

    delta: float = 1e-3

    def __post_init__(self) -> None:
        number("delta", self.delta, LEAST, most=MOST)

    def log_similarity(self, squared_distances: Tensor) -> Tensor:
        """`-log(d + delta)`."""
        return -torch.log(squared_distances + self.delta)


@dataclass(frozen=True)
class Gaussian:
    """`k(h, h_i) = exp(-|h - h_i|^2 / (2 bandwidth^2))`: Nadaraya-Watson regression, attention on unit keys."""

    bandwidth: float = 1.0

    def __post_init__(self) -> None:
        number("bandwidth", self.bandwidth, LEAST, most=MOST)

    def log_similarity(self, squared_distances: Tensor) -> Tensor:
        """`-d / (2 bandwidth^2)`, no less than can be held."""
        lowest = torch.finfo(squared_distances.dtype).min
        return (squared_distances / self.bandwidth / self.bandwidth / -2).clamp(min=lowest)


@dataclass(frozen=True)
class Uniform:
    """`k = 1`, the mean of the neighbours: Model-Free Episodic Control (Blundell et al. 2016), equation 2."""

    def log_similarity(self, squared_distances: Tensor) -> Tensor:
        """0 everywhere; the gradient to the keys is 0 too."""
        return squared_distances * 0


def weigh(log_similarities: Tensor, valid: Tensor | None) -> Tensor:
    """Weights that sum to 1 over the valid neighbours (None: all of them), 0 elsewhere and where there is none."""
    if valid is None:
        return torch.softmax(log_similarities, dim=-1)
    lacking = ~valid & valid.any(-1, keepdim=True)  # where there is none at all, a softmax of nothing would be NaN
    return torch.softmax(log_similarities.masked_fill(lacking, -torch.inf), dim=-1) * valid


KERNELS = {"inverse_distance": InverseDistance, "gaussian": Gaussian, "uniform": Uniform}


def log_similarity(kernel: Kernel, squared_distances: Tensor) -> Tensor:
    """What a kernel says; where one of the user's own calls nobody similar, all are equally so."""
    said = kernel.log_similarity(squared_distances)
    if isinstance(kernel, InverseDistance | Gaussian | Uniform):
        return said
    return said.clamp(min=torch.finfo(said.dtype).min)


def make_kernel(kernel: Kernel | str) -> Kernel:
    """A kernel from its name, with its defaults."""
    if not isinstance(kernel, str):
        return offers("kernel", kernel, ("log_similarity",), KERNELS)
    if kernel not in KERNELS:
        raise unknown("kernel", kernel, KERNELS)
    return KERNELS[kernel]()


@dataclass(frozen=True)
class Found:
    """The neighbours of each query, nearest first, and the value they give together.

    Where a query has fewer than k neighbours the rest is `valid = False` with slot -1 and weight, distance and
    values 0; one without any has the value 0. With S key subsets (`references`), k stands for `S * k`: the neighbours
    under the first subset, then those under the second, and so on.

    Attributes:
        value: Sum of the neighbours' values by weight. `[B, V]`
        slots: Where the neighbours are stored. `[B, k]` int64
        weights: Sum to 1 over the neighbours. `[B, k]`
        distances: Weighted squared distances over the modalities that were asked for. `[B, k]`
        valid: Whether there is a neighbour. `[B, k]` bool
        values: The neighbours' values; a leaf that collects a gradient if gradients are on. `[B, k, V]`
        keys: Likewise the vectors of their keys; None if gradients are off. `[B, k, D]`
        generation: Which entry a slot held when it was read; `same_entries` of the dictionary compares it. `[B, k]`
        evidence: What share of the value each key subset gave; None if there was one only. `[B, S]`
        source: Which memory was asked, the `id` of what holds its keys; None if that is not known.
    """

    value: Tensor
    slots: Tensor
    weights: Tensor
    distances: Tensor
    valid: Tensor
    values: Tensor
    keys: Tensor | None
    generation: Tensor
    evidence: Tensor | None = None
    source: int | None = None

    def __repr__(self) -> str:
        rows, k = self.slots.shape
        lines = [f"Found: {rows} queries, {int(self.valid.sum())} of {rows * k} neighbours"]
        for row in range(min(rows, SHOWN_QUERIES)):
            at = self.valid[row].nonzero().squeeze(1)[:SHOWN_NEIGHBOURS]
            parts = zip(self.slots[row, at], self.weights[row, at], self.distances[row, at], strict=True)
            near = [f"{int(slot)} ({weight:.3g} at {distance:.3g})" for slot, weight, distance in parts]
            value = ", ".join(f"{v:.4g}" for v in self.value[row, :SHOWN_NUMBERS].tolist())
            more = ", ..." if self.value.shape[1] > SHOWN_NUMBERS else ""
            rest = int(self.valid[row].sum()) - len(near)
            found = ", ".join(near) + (f" and {rest} more" if rest else "") if near else "nobody"
            lines.append(f"  {row}: value [{value}{more}]; slot (weight at distance): {found}")
        lines += [f"  ... {rows - SHOWN_QUERIES} more queries"] * (rows > SHOWN_QUERIES)
        return "\n".join(lines)


class Usage:
    """Counts and running means over lookups with `touch=True`.

    Attributes:
        hits: How often each entry was a neighbour. `[N]` int32
        lookups: How many lookups there were.
        hit_distance: Running mean of the nearest neighbour's squared distance.
        top_weight: Running mean of the largest weight.
    """

    def __init__(self, capacity: int, device: torch.device) -> None:
        self.hits = zeros(capacity, dtype=torch.int32, device=device)
        self.lookups = 0
        self._means = torch.zeros(2, dtype=torch.float32, device=device)

    @property
    def hit_distance(self) -> Tensor:
        """A view of the number."""
        return self._means[0]

    @property
    def top_weight(self) -> Tensor:
        """A view of the number."""
        return self._means[1]

    @torch.no_grad()
    def add(self, found: Found, complete: bool = False) -> None:
        """Count one lookup and its neighbours, of which none lacks if it is `complete`; one of no queries is none."""
        if len(found.slots):
            self._count(found, complete)
            self.note(found, complete)

    @torch.no_grad()
    def note(self, found: Found, complete: bool = False) -> None:
        """Count one lookup, as `add` does, but not its neighbours."""
        if len(found.slots):
            self._mean(found, found.weights.amax(1), complete)

    def _count(self, found: Found, complete: bool) -> None:
        slots = found.slots if complete else found.slots.clamp(min=0)
        self.hits.index_add_(0, slots.reshape(-1), found.valid.reshape(-1).to(torch.int32))

    def _mean(self, found: Found, top_weights: Tensor, complete: bool) -> None:
        """Take the nearest distances of a lookup and its largest weights, `[B]`, into the running means."""
        hits = found.slots.shape[0] if complete else found.valid[:, 0].sum().clamp(min=1)
        self._follow(torch.stack([found.distances[:, 0].sum() / hits, top_weights.mean()]))

    def _follow(self, means: Tensor) -> None:
        """Count a lookup whose mean nearest distance and mean largest weight these are.  `[2]`."""
        self.lookups += 1
        self._means.lerp_(means.to(self._means), max(RECENT, 1 / self.lookups))

    def state_dict(self, used: int) -> dict[str, Any]:
        """The counts of the first `used` slots and the means."""
        return {
            "hits": self.hits[:used].clone(),
            "lookups": self.lookups,
            "hit_distance": self.hit_distance.clone(),
            "top_weight": self.top_weight.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.hits[: len(state["hits"])] = state["hits"].to(self.hits)
        self.lookups = int(state["lookups"])
        self.hit_distance.copy_(state["hit_distance"])
        self.top_weight.copy_(state["top_weight"])


@torch.no_grad()
def note_each(usages: Sequence[Usage], found: Sequence[Found], complete: Sequence[bool]) -> None:
    """As `add` of one after the other, each with its lookup, which has a query at least."""
    for usage, one, whole in zip(usages, found, complete, strict=True):
        usage._count(one, whole)
    top_weights = torch.cat([one.weights for one in found]).amax(1)  # [R]
    rows = [one.slots.shape[0] for one in found]
    if all(complete) and max(rows) == 1:
        nearest = torch.cat([one.distances[:, 0] for one in found])
        for usage, means in zip(usages, torch.stack([nearest, top_weights], dim=1).unbind(), strict=True):
            usage._follow(means)
        return
    for usage, one, top, whole in zip(usages, found, top_weights.split_with_sizes(rows), complete, strict=True):
        usage._mean(one, top, whole)


def read(
    store: KeyStore, stored: Tensor, generation: Tensor, asked: Keys, near: Neighbours, subsets: int, kernel: Kernel
) -> Found:
    """What the neighbours of each query give together; with gradients on, they are leaves.

    Args:
        store: Holds their keys.
        stored: The value of each slot. `[N, V]`
        generation: Of the entry in each slot. `[N]`
        asked: B queries under each of S key subsets. `[B S]`
        near: Their neighbours. `[B S, k]`
        subsets: S.
        kernel: Distance to weight.
    """
    valid = None if near.complete else near.valid
    at = near.slots if valid is None else near.slots.clamp(min=0)
    shape = (at.shape[0] // subsets, subsets * at.shape[1])  # [B, S k]
    slots = at.reshape(shape) if subsets > 1 else at  # each small call counts in a lookup
    values = torch.embedding(stored, slots)  # [B, S k, V]
    keys = torch.embedding(store.vectors, slots) if torch.is_grad_enabled() else None
    if valid is not None:
        lacking = ~valid.reshape(*shape, 1)
        values = values.masked_fill(lacking, 0)
        keys = None if keys is None else keys.masked_fill(lacking, 0)
    if keys is not None:  # leaves: a gradient for the rows that were read, not for the buffers
        values.requires_grad_()
        keys.requires_grad_()
    entries = None if keys is None else keys.reshape(*at.shape, keys.shape[2])  # [B S, k, D]
    distances, shares = near.distances, None
    if subsets > 1 or (entries is not None and valid is not None):
        parts = store.parts_at(asked, at, entries).masked_fill(~near.valid.unsqueeze(2), 0)  # [B S, k, M]
        distances = store.weighted(parts, asked)
    elif entries is not None:
        distances = store.distances_at(asked, at, entries)
    weights = weigh(log_similarity(kernel, distances), valid)  # [B S, k]
    if subsets > 1:
        shares = evidence(parts, asked.present, store.penalties(), weights, subsets)  # [B, S]
        weights, distances = (weights * shares.reshape(-1, 1)).reshape(shape), distances.reshape(shape)
        near = near._replace(slots=near.slots.reshape(shape), valid=near.valid.reshape(shape))
    return Found(
        value=torch.bmm(weights.unsqueeze(1), values).squeeze(1),
        slots=near.slots,
        weights=weights,
        distances=distances,
        valid=near.valid,
        values=values,
        keys=keys,
        generation=generation.take(slots),
        evidence=shares,
        source=id(store),
    )


def slots_found(found: Found, nobody: bool) -> Tensor:
    """The slots that were found, with repeats in place of those that were not if these are not at hand.  `[n]`."""
    if nobody or found.valid.device.type in AT_HAND:
        return found.slots[:0].reshape(-1) if nobody else found.slots[found.valid]
    return found.slots.where(found.valid, found.slots.amax(keepdim=True)).reshape(-1)
