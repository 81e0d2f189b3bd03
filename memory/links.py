"""Directed links between the entries of a memory: recalling one can activate those it leads to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from engram_rl.memory.checks import INTEGERS, LARGEST_VALUE, limited, number, real, require_ram, slots_of, whole
from engram_rl.memory.keys.identity import occurrence
from engram_rl.memory.modes import in_own_mode

NOTHING = -1
KINDS = 256

MOST_LINKS = 1024
"""From one entry."""

MOST_STEPS = 10_000


@dataclass(frozen=True)
class Reached:
    """Entries that following links led to, the strongest first.

    Attributes:
        slots: -1 where nothing more was reached. `[B, W]`
        weights: How strongly each was reached; 0 where nothing was. `[B, W]`
    """

    slots: Tensor
    weights: Tensor

    @property
    def valid(self) -> Tensor:
        """Where an entry was reached.  `[B, W]` bool."""
        return self.slots >= 0


class Links:
    """Links (source, target, weight, kind), up to L from each slot, in tensors.

    An end is named by its slot and the slot's generation, so a link is gone as soon as the entry at either end is: no
    eviction has to look for links, and an entry that moves into the slot inherits none. Rows are by source:
    following is one gather. The price is memory for L links in every slot, `13 L + 4` bytes (8 links: 108), taken at
    the first link.

    A kind tells relations apart (0 what came next, 1 what caused it, ...); to follow a relation backwards store it a
    second time, the other way round, as another kind.

    Args:
        alive: Whether each slot holds an entry; kept up to date by the memory. `[N]` bool
        generation: Counts the entries that each slot has held; likewise. `[N]` int32
        per_source: Links kept from one entry, L. One more takes the place of a broken one, or else of the weakest.
    """

    def __init__(self, alive: Tensor, generation: Tensor, per_source: int = 8) -> None:
        whole("links_per_entry", per_source, most=MOST_LINKS)
        self._alive, self._generation = alive, generation
        self.per_source = per_source
        self._allocate(0)

    def __len__(self) -> int:
        """Number of links that have both ends; a pass over all."""
        return int(self._live(torch.arange(len(self.target), device=self.target.device)).sum())

    def _allocate(self, slots: int) -> None:
        shape, device = (slots, self.per_source), self._alive.device
        what = f"memory for links_per_entry={self.per_source} links from each of {slots} slots"
        require_ram(what, slots * (13 * self.per_source + 4), "lower links_per_entry or the capacity", device)
        self.target = torch.full(shape, NOTHING, dtype=torch.int32, device=device)  # [N, L]
        self.target_generation = torch.zeros(shape, dtype=torch.int32, device=device)  # [N, L]
        self.weight = torch.zeros(shape, dtype=torch.float32, device=device)  # [N, L]
        self.kind = torch.zeros(shape, dtype=torch.uint8, device=device)  # [N, L]
        self.source_generation = torch.zeros(slots, dtype=torch.int32, device=device)  # [N]

    @in_own_mode
    @torch.no_grad()
    def add(self, sources: Tensor, targets: Tensor, weights: Tensor | float = 1.0, kinds: Tensor | int = 0) -> None:
        """Link entries, as if one pair after another; a link that is there already becomes stronger by the weight.

        Args:
            sources: Slots of the entries that the links start from. `[B]`
            targets: Slots of the entries that they lead to. `[B]`
            weights: How strong, above 0. `[B]` or one for all
            kinds: Which relation, 0 to 255. `[B]` or one for all

        Raises:
            ValueError: Shapes differ, a slot holds no entry, or a weight or kind is out of range. Nothing has been
                changed then.
        """
        sources, targets = self._ends(sources, targets)
        weights, kinds = self._checked(weights, kinds, len(sources))
        if not len(self.target):
            self._allocate(len(self._alive))
        nth = torch.from_numpy(occurrence(sources.cpu().numpy())).to(sources.device)
        for turn in range(int(nth.max()) + 1 if len(nth) else 0):
            now = nth == turn
            self._add_one_each(sources[now], targets[now], weights[now], kinds[now])

    @in_own_mode
    def follow(self, slots: Tensor, steps: int = 1, *, kind: int | None = None, width: int = 64) -> Reached:
        """Where ways of exactly `steps` links lead; a way weighs the product of its links, an entry all its ways.

        The order of the entries is that of their weights however long the ways; weights that are smaller or larger than
        a float32 can hold come out as the smallest or the largest that it can.

        Args:
            slots: Where to start; -1 leads nowhere. `[B]`
            steps: Links to follow, at least 1.
            kind: Which relation; None follows all.
            width: Most entries kept at every step, the strongest; exact while no more are reached.
        """
        _check_walk(steps, width, kind)
        at = slots_of("slots", slots, len(self._alive), self._alive.device).unsqueeze(1)  # [B, 1]
        logarithms = (at >= 0).to(torch.float64).log()  # [B, W], in which no weight is too small or too large
        for _ in range(steps):
            targets, weights = self._onward(at, kind)
            at, logarithms = _merge_logarithms(targets, (logarithms.unsqueeze(2) + weights.log()).flatten(1), width)
        limits = torch.finfo(torch.float32)
        weights = torch.where(at >= 0, logarithms.exp().clamp(limits.tiny, limits.max), 0)
        return Reached(at, weights.to(torch.float32))

    @in_own_mode
    @torch.no_grad()
    def spread(
        self,
        slots: Tensor,
        activation: Tensor | None = None,
        *,
        steps: int = 3,
        decay: float = 0.5,
        kind: int | None = None,
        width: int = 64,
    ) -> Reached:
        """Spreading activation (Collins and Loftus 1975): what comes to mind with some entries, the entries included.

        An active entry passes on the share `decay` of what it just received, divided among its links by weight (the
        fan effect of Anderson 1983), `steps` times; what an entry received in all is its activation.

        Args:
            slots: The entries recalled, such as `found.slots`; -1 for none. `[B, k]`
            activation: How active each is to begin with, such as `found.weights`; 1 by default. `[B, k]`
            steps: How often activation is passed on.
            decay: Share passed on, in [0, 1].
            kind: Which relation; None follows all.
            width: Most entries active at every step, the strongest; exact while no more are reached.
        """
        _check_walk(steps, width, kind)
        number("decay", decay, 0, most=1)
        slots = slots_of("slots", slots, len(self._alive), self._alive.device, dims=2)
        activation = self.weight.new_ones(slots.shape) if activation is None else activation
        activation = real("activation", activation).to(self.weight)
        if activation.shape != slots.shape or not limited(activation, LARGEST_VALUE) or (activation < 0).any():
            raise ValueError(
                f"activation has shape {list(activation.shape)}; expected finite {list(slots.shape)}, all at least 0"
            )
        wave = total = _merge(slots, activation, width)
        for _ in range(steps):
            targets, shares = self._onward(wave.slots, kind)
            shares = shares / shares.sum(2, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
            passed = (wave.weights.unsqueeze(2) * decay * shares).flatten(1).to(self.weight)
            wave = _merge(targets, passed, width)
            slots, weights = torch.cat([total.slots, wave.slots], 1), torch.cat([total.weights, wave.weights], 1)
            total = _merge(slots, weights, width)
        return total

    def state_dict(self, used: int) -> dict[str, Tensor]:
        """The links from the first `used` slots; of none if nothing was ever linked."""
        return {name: buffer[:used].clone() for name, buffer in self._buffers().items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; with other numbers of links per entry as long as all fits.

        Raises:
            ValueError: There are more slots or more links from one entry. Nothing has been changed then.
        """
        self.check(state)
        used, width = state["target"].shape
        self._allocate(len(self._alive) if used else 0)
        self.source_generation[:used] = state["source_generation"].to(self.source_generation)
        for name in ("target", "target_generation", "weight", "kind"):
            buffer = self._buffers()[name]
            buffer[:used, :width] = state[name].to(buffer)

    def check(self, state: dict[str, Any]) -> None:
        """Raise what `load_state_dict` would raise."""
        used, width = state["target"].shape
        if used > len(self._alive) or width > self.per_source:
            raise ValueError(
                f"saved links have {used} slots with places for {width} each, here are {len(self._alive)} with "
                f"{self.per_source}; raise capacity or links_per_entry"
            )

    def _buffers(self) -> dict[str, Tensor]:
        names = ("target", "target_generation", "weight", "kind", "source_generation")
        return {name: getattr(self, name) for name in names}

    def _add_one_each(self, sources: Tensor, targets: Tensor, weights: Tensor, kinds: Tensor) -> None:
        """Add a link to each of distinct sources.  `[b]` each."""
        live = self._live(sources)  # [b, L]
        same = live & (self.target[sources] == targets.unsqueeze(1)) & (self.kind[sources] == kinds.unsqueeze(1))
        strength = torch.where(live, self.weight[sources], -1)
        column = torch.where(same.any(1), same.to(torch.int8).argmax(1), strength.argmin(1))
        before = torch.where(same.any(1), self.weight[sources, column], 0)
        fresh = self.source_generation[sources] != self._generation[sources]
        self.target[sources[fresh]] = NOTHING
        self.source_generation[sources] = self._generation[sources]
        self.target[sources, column] = targets.to(torch.int32)
        self.target_generation[sources, column] = self._generation[targets]
        self.weight[sources, column] = (before + weights).clamp(max=LARGEST_VALUE)
        self.kind[sources, column] = kinds

    def _live(self, sources: Tensor) -> Tensor:
        """Which links from slots of any shape have both ends.  `[..., L]` bool."""
        start = self._alive[sources] & (self.source_generation[sources] == self._generation[sources])
        target = self.target[sources]
        end = target.clamp(min=0)
        same = self._generation[end] == self.target_generation[sources]
        return start.unsqueeze(-1) & (target >= 0) & self._alive[end] & same

    def _onward(self, slots: Tensor, kind: int | None) -> tuple[Tensor, Tensor]:
        """Where links lead from entries `[B, W]`, `[B, W * L]`, and what each weighs, `[B, W, L]` float64."""
        if not len(self.target):
            return torch.full_like(slots, NOTHING), torch.zeros(
                *slots.shape, 1, dtype=torch.float64, device=slots.device
            )
        sources = slots.clamp(min=0)
        live = self._live(sources) & (slots >= 0).unsqueeze(2)  # [B, W, L]
        if kind is not None:
            live &= self.kind[sources] == kind
        targets = torch.where(live, self.target[sources], NOTHING).to(torch.int64)
        return targets.flatten(1), (self.weight[sources] * live).to(torch.float64)

    def _ends(self, sources: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Both as int64, the only integers that torch takes for slots wherever it indexes."""
        for name, slots in (("source", sources), ("target", targets)):
            if real(f"{name} slots", slots).dtype not in INTEGERS:
                raise TypeError(f"{name} slots must be integers, as write and lookup return them, got {slots.dtype}")
        if sources.shape != targets.shape or sources.dim() != 1:
            raise ValueError(f"sources and targets must both be [B], got {list(sources.shape)}, {list(targets.shape)}")
        sources, targets = sources.to(torch.int64), targets.to(torch.int64)
        for name, slots in (("source", sources), ("target", targets)):
            inside = (slots >= 0) & (slots < len(self._alive))
            missing = slots[~(inside & self._alive[slots * inside])]
            if len(missing):
                raise ValueError(
                    f"{name} slot {int(missing[0])} holds no entry; link what write or lookup returned, without -1"
                )
        return sources, targets

    def _checked(self, weights: Tensor | float, kinds: Tensor | int, batch: int) -> tuple[Tensor, Tensor]:
        weights = _tensor_of("the weight of a link", weights, float).to(self.weight)
        kinds = _tensor_of("the kind of a link (kinds)", kinds, int).to(self.kind.device)
        for name, given in (("weights", weights), ("kinds", kinds)):
            if given.shape not in ((), (batch,)):
                raise ValueError(f"{name} must be one number or [{batch}], got {list(given.shape)}")
        if not ((weights > 0) & (weights <= LARGEST_VALUE)).all():
            raise ValueError(f"weights of links must be above 0 and at most {LARGEST_VALUE:g}; leave out what has none")
        if kinds.dtype not in INTEGERS or not ((kinds >= 0) & (kinds < KINDS)).all():
            raise ValueError(f"kinds of links must be integers from 0 to {KINDS - 1}")
        return weights.expand(batch), kinds.to(torch.uint8).expand(batch)


def _merge(slots: Tensor, weights: Tensor, width: int) -> Reached:
    """Add up the weights of equal slots in each row and keep the `width` heaviest, of equals the lower slot."""
    weights = weights * (slots >= 0)
    named, group, order = _grouped(slots)
    total = torch.zeros_like(weights).scatter_add_(1, group, weights.gather(1, order))
    return Reached(*_heaviest(named, total, 0, width))


def _merge_logarithms(slots: Tensor, logarithms: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The same of logarithms of weights; -inf where there is nobody.  `[B, M]` each."""
    logarithms = logarithms.masked_fill(slots < 0, -torch.inf)
    named, group, order = _grouped(slots)
    logarithms = logarithms.gather(1, order)
    largest = torch.full_like(logarithms, -torch.inf).scatter_reduce_(1, group, logarithms, "amax")
    largest = largest.masked_fill(largest == -torch.inf, 0)
    total = torch.zeros_like(largest).scatter_add_(1, group, (logarithms - largest.gather(1, group)).exp())
    return _heaviest(named, largest + total.log(), -torch.inf, width)


def _grouped(slots: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Distinct slots of each row, ascending; in which of them each falls once sorted; and its order.  `[B, M]` each."""
    slots, order = slots.sort(dim=1)
    starts = torch.ones_like(slots, dtype=torch.bool)
    starts[:, 1:] = slots[:, 1:] != slots[:, :-1]
    group = starts.cumsum(1) - 1
    return torch.full_like(slots, NOTHING).scatter_(1, group, slots), group, order


def _heaviest(slots: Tensor, weights: Tensor, nothing: float, width: int) -> tuple[Tensor, Tensor]:
    """Of each row those that weigh more than nothing, the heaviest first.  `[B, <= width]` each."""
    weights, order = weights.sort(dim=1, descending=True, stable=True)
    slots = torch.where(weights > nothing, slots.gather(1, order), NOTHING)
    kept = max(1, min(width, int((weights > nothing).sum(1).max()) if len(weights) else 1))
    return slots[:, :kept], weights[:, :kept]


def _check_walk(steps: int, width: int, kind: int | None) -> None:
    whole("steps", steps, most=MOST_STEPS)
    whole("width", width)
    if kind is not None:
        whole("kind of link", kind, 0, KINDS - 1)


def _tensor_of(name: str, given: Any, kind: type) -> Tensor:
    """A tensor, or one number as a tensor."""
    if isinstance(given, Tensor):
        return real(name, given)
    return torch.as_tensor(number(name, given, above=0) if kind is float else whole(name, given, 0, KINDS - 1))
