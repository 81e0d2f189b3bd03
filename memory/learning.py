"""Entries that learn: gradient steps on what lookups have read, and keys that follow an encoder.

Neither costs more the more is stored.

found = memory.lookup(query)             # gradients on: found.keys and found.values are leaves
loss(found.value).backward()
optimiser.step(found)                    # or step(found_a, found_b, ...) after several lookups
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.buffers import zeros
from engram_rl.memory.checks import number, real, slots_of, unknown, whole, within
from engram_rl.memory.dictionary import DifferentiableNeuralDictionary, move_each
from engram_rl.memory.modes import OwnMode, in_own_mode
from engram_rl.memory.reading import Found
from engram_rl.memory.waiting import AT_HAND, require, told

LARGEST_GRADIENT = 1e15
"""In size; its square is still far from what float32 can hold."""


class RowSGD(OwnMode):
    """`x <- x - lr g` on the rows that were read; a slot read several times has its gradients added up.

    Args:
        memory: Whose entries move.
        lr: Step size of the keys.
        value_lr: Step size of the values; `lr` by default.
    """

    def __init__(
        self, memory: DifferentiableNeuralDictionary, lr: float = 1e-3, *, value_lr: float | None = None
    ) -> None:
        for name, rate in (("lr", lr), ("value_lr", value_lr or 0.0)):
            number(name, rate, 0)
        self.memory = memory
        self.lr = lr
        self.value_lr = lr if value_lr is None else value_lr

    @in_own_mode
    @torch.no_grad()
    def step(self, *found: Found) -> None:
        """Move keys and values of what was found. An entry that was replaced since it was read is left alone.

        The gradients are used up by that: a second step with the same lookup needs another backward pass.

        Raises:
            RuntimeError: A lookup ran without gradients, or no backward pass has reached what has a step size above 0.
            ValueError: A gradient, or where it leads, is NaN, infinite or too large. Nothing has been changed then.
        """
        found, leaves = self._gradients_of(found)
        if found:
            _move([self] * len(found), found, leaves)
        _use_up(found)

    def _gradients_of(self, found: tuple[Found, ...]) -> tuple[tuple[Found, ...], list[tuple[Tensor, Tensor]]]:
        """The lookups, each once, and the gradients of keys and values of each; 0 where none is needed.

        Raises:
            RuntimeError: As `step` does.
        """
        found = tuple({id(one): one for one in found}.values())
        return found, [
            (_gradient(f.keys, "keys", self.lr), _gradient(f.values, "values", self.value_lr)) for f in found
        ]

    def state_dict(self) -> dict[str, Any]:
        """What the optimiser remembers of each slot: nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""

    def _like(self, other: RowSGD) -> bool:
        """Whether entries of another memory, of the same kinds of key and value, move as those of this one do."""
        return type(self) is type(other) and (self.lr, self.value_lr) == (other.lr, other.value_lr)

    def _remembered(self, slots: Tensor) -> list[Tensor]:
        """What is remembered of these slots. `[U, ...]`s."""
        return []

    def _directions(self, gradients: list[Tensor], remembered: list[Tensor]) -> list[Tensor]:
        """Where keys `[U, D]` and values `[U, V]` go, for their gradients; what is remembered changes in place."""
        return gradients

    def _remember(self, slots: Tensor, remembered: list[Tensor]) -> None:
        """They have gone there, and this is to be remembered of them."""


class RowRMSprop(RowSGD):
    """RMSProp (Tieleman and Hinton 2012), `v <- alpha v + (1 - alpha) g^2; x <- x - lr g / (sqrt(v) + eps)`, per row.

    The running square of a slot moves only when the slot is read, stays through inserts elsewhere, and starts anew
    when another entry takes the slot.

    Args:
        memory: Whose entries move.
        lr: Step size of the keys.
        value_lr: Step size of the values; `lr` by default.
        alpha: Decay of the running square.
        eps: Added to its root.
    """

    @in_own_mode
    def __init__(
        self,
        memory: DifferentiableNeuralDictionary,
        lr: float = 1e-5,
        *,
        value_lr: float | None = None,
        alpha: float = 0.9,
        eps: float = 0.01,
    ) -> None:
        super().__init__(memory, lr, value_lr=value_lr)
        number("alpha", alpha, 0, below=1)
        number("eps", eps, above=0)
        self.alpha, self.eps = alpha, eps
        self._squares = {
            name: zeros(*like.shape, dtype=like.dtype, device=like.device)
            for name, like in (("keys", memory.key_vectors), ("values", memory.values))
        }
        self._generation = zeros(memory.capacity, dtype=torch.int32, device=memory.device)  # an entry's is above 0

    def state_dict(self) -> dict[str, Any]:
        """The running squares of the used slots and whose they are."""
        used = self.memory.used
        squares = {name: square[:used].clone() for name, square in self._squares.items()}
        return squares | {"generation": self._generation[:used].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; load the memory first.

        Raises:
            ValueError: It is of a memory with other keys or values, or more slots. Nothing has been changed then.
        """
        used = len(state["generation"])
        for name, square in self._squares.items():
            if state[name].shape != (used, square.shape[1]) or used > len(square):
                raise ValueError(
                    f"saved squares of {name} have shape {list(state[name].shape)}; this memory takes those of at most "
                    f"{len(square)} slots, [{used}, {square.shape[1]}]: load it first, into one made as it was"
                )
        for name, square in self._squares.items():
            square.zero_()
            square[:used] = state[name].to(square.device)
        self._generation[:used] = state["generation"].to(self._generation.device)

    def _like(self, other: RowSGD) -> bool:
        alike = isinstance(other, RowRMSprop) and (self.alpha, self.eps) == (other.alpha, other.eps)
        return alike and super()._like(other)

    def _remembered(self, slots: Tensor) -> list[Tensor]:
        mine = self._generation.index_select(0, slots) == self.memory.generation.index_select(0, slots)  # [U]
        squares = [square.index_select(0, slots) for square in self._squares.values()]
        if mine.device.type not in AT_HAND or not mine.all():
            for square in squares:
                square.masked_fill_(~mine.unsqueeze(1), 0)
        return squares

    def _directions(self, gradients: list[Tensor], remembered: list[Tensor]) -> list[Tensor]:
        for square, gradient in zip(remembered, gradients, strict=True):
            square.mul_(self.alpha).addcmul_(gradient, gradient, value=1 - self.alpha)
        pairs = zip(gradients, remembered, strict=True)
        return [gradient / square.sqrt().add_(self.eps) for gradient, square in pairs]

    def _remember(self, slots: Tensor, remembered: list[Tensor]) -> None:
        self._generation[slots] = self.memory.generation[slots]
        for kept, square in zip(self._squares.values(), remembered, strict=True):
            kept.index_copy_(0, slots, square)


@in_own_mode
@torch.no_grad()
def step_each(optimisers: Sequence[RowSGD], found: Sequence[Found]) -> None:
    """As `step` of one optimiser after the other, each with its lookup, computed together if they are alike.

    Args:
        optimisers: Of distinct memories of the same kinds of key and value.
        found: What was found in the memory of each.

    Raises:
        RuntimeError, ValueError: As `step` does. No memory has changed then if they are alike.
    """
    first, pairs = optimisers[0], list(zip(optimisers, found, strict=True))
    at_hand = all(one.memory.device.type in AT_HAND for one in optimisers)
    if not at_hand or not all(first._like(one) and one.memory.space == first.memory.space for one in optimisers):
        for optimiser, one in pairs:
            optimiser.step(one)
        return
    _move(optimisers, found, [optimiser._gradients_of((one,))[1][0] for optimiser, one in pairs])
    _use_up(found)


class Reencoder(OwnMode):
    """Keeps the keys of a memory up to date with an encoder that moves, a bounded number of entries per call.

    The observation of each entry is kept beside it, `capacity * size of an observation` bytes. Entries are visited in
    turn; after `capacity / rows` calls every key is at most that many calls old.

    Args:
        memory: Whose keys to keep up to date.
        encoder: Observations `[n, ...]` to vectors `[n, D]`, such as a `SlowCopy`.
        observation_shape: Of one observation.
        dtype: In which observations are kept; they are given to the encoder in it.
        modality: Which part of the key the encoder makes; may be left out if there is only one.
    """

    @in_own_mode
    def __init__(
        self,
        memory: DifferentiableNeuralDictionary,
        encoder: Callable[[Tensor], Tensor],
        observation_shape: tuple[int, ...],
        dtype: torch.dtype = torch.float32,
        modality: str | None = None,
    ) -> None:
        names = [part.name for part in memory.space if part.kind != "discrete"]
        if modality is None and len(names) != 1:
            raise ValueError(f"the key has the parts {', '.join(names)}; say which of them the encoder makes")
        if modality is not None and modality not in names:
            raise unknown("modality that is a vector", modality, names)
        self.memory, self.encoder = memory, encoder
        self.columns = memory.space.columns[modality or names[0]]
        self.observations = zeros(memory.capacity, *observation_shape, dtype=dtype, device=memory.device)  # [N, ...]
        self.generation = zeros(memory.capacity, dtype=torch.int32, device=memory.device)  # [N], an entry's is above 0
        self._cursor = 0

    @torch.no_grad()
    def remember(self, slots: Tensor, observations: Tensor) -> None:
        """Keep what was observed for entries just written, at slots `[B]`, -1 for none; of repeats the last counts.

        Observations are `[B, ...]`.
        """
        slots = slots_of("slots", slots, self.memory.capacity)
        if real("observations", observations).shape != (len(slots), *self.observations.shape[1:]):
            expected = [len(slots), *self.observations.shape[1:]]
            raise ValueError(f"observations have shape {list(observations.shape)}, expected {expected}")
        stand = slots >= 0
        slots, observations = slots[stand], observations[stand.to(observations.device)]
        distinct, which = torch.unique(slots, return_inverse=True)
        last = torch.zeros_like(distinct).scatter_reduce_(0, which, torch.arange(len(slots)).to(which), "amax")
        self.observations[distinct] = observations[last].to(self.observations)
        self.generation[distinct] = self.memory.generation[distinct]

    @torch.no_grad()
    def refresh(self, rows: int = 256) -> Tensor:
        """Re-encode the next `rows` slots in turn; returns how far each key that has an observation moved.  `[n]`."""
        whole("rows", rows)
        used = max(self.memory.used, 1)
        slots = torch.arange(self._cursor, self._cursor + min(rows, used), device=self.memory.device) % used
        self._cursor = int(slots[-1] + 1) % used
        slots = slots[self.memory.alive[slots] & (self.generation[slots] == self.memory.generation[slots])]
        before = self.memory.key_vectors[slots].clone()
        if not len(slots):
            return before.new_zeros(0)
        after = before.clone()
        made, part = real("what the encoder made", self.encoder(self.observations[slots])), after[:, self.columns]
        if made.shape != part.shape:
            raise ValueError(
                f"the encoder made {list(made.shape)} of {len(slots)} observations; expected {list(part.shape)}"
            )
        part.copy_(made)
        self.memory.move(slots, keys=after)
        return (self.memory.key_vectors[slots] - before).norm(dim=1)

    def state_dict(self) -> dict[str, Any]:
        """The observations of all slots that were used."""
        used = self.memory.used
        return {
            "observations": self.observations[:used].clone(),
            "generation": self.generation[:used].clone(),
            "cursor": self._cursor,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, after the memory itself was restored."""
        saved = state["observations"]
        if saved.shape[1:] != self.observations.shape[1:] or len(saved) > len(self.observations):
            raise ValueError(f"saved observations {list(saved.shape)} do not fit {list(self.observations.shape)}")
        self.generation.fill_(0)
        self.observations[: len(saved)] = saved.to(self.observations)
        self.generation[: len(saved)] = state["generation"].to(self.generation)
        self._cursor = int(state["cursor"])


def _move(optimisers: Sequence[RowSGD], found: Sequence[Found], leaves: list[tuple[Tensor, Tensor]]) -> None:
    """Move what lookups have found by its gradients.

    Args:
        optimisers: Whose memory was asked, for each lookup: the same one, or several that are alike.
        found: The lookups, those of one memory one after the other.
        leaves: Gradients of the keys and values of each. `[B, k, D]`, `[B, k, V]`
    """
    movers = list({id(one): one for one in optimisers}.values())
    first, memories = movers[0], [one.memory for one in movers]
    starts = np.cumsum([0] + [memory.capacity for memory in memories])  # of their slots among those of all
    begin = dict(zip(map(id, movers), starts.tolist(), strict=False))
    parts = list(zip(optimisers, found, strict=True))
    read = _joined([_shifted(f.slots.reshape(-1), begin[id(one)]) for one, f in parts])  # [R]
    kept = _joined([one.memory.same_entries(f).reshape(-1) for one, f in parts])  # [R]
    at, place, rows = _distinct(read, kept)
    if not len(at):
        return
    flat = [_flat(list(parts), rows) for parts in zip(*leaves, strict=True)]  # [R, D] and [R, V]
    gradients = [_summed(one, place, len(at)) for one in flat]
    checks = first.memory._put_off()
    for one in gradients:
        require(checks, within(one, LARGEST_GRADIENT), too_steep)
    counts = [len(at)] if len(movers) == 1 else np.diff(np.searchsorted(at.numpy(), starts)).tolist()
    slots = [
        _shifted(part, -start) for part, start in zip(at.split_with_sizes(counts), starts.tolist(), strict=False)
    ]  # [U]s
    remembered = [one._remembered(part) for one, part in zip(movers, slots, strict=True)]
    latest = [_joined(list(parts)) for parts in zip(*remembered, strict=True)]
    key, value = first._directions(gradients, latest)
    keys = values = None
    if first.lr and key.shape[1]:
        keys = _joined([m.key_vectors.index_select(0, part) for m, part in zip(memories, slots, strict=True)])
        keys.sub_(key, alpha=first.lr)
    if first.value_lr:
        values = _joined([m.values.index_select(0, part) for m, part in zip(memories, slots, strict=True)])
        values.sub_(value, alpha=first.value_lr)
    move_each(memories, slots, keys, values, checks)
    for one, part, *latest_of in zip(movers, slots, *(part.split_with_sizes(counts) for part in latest), strict=True):
        one._remember(part, latest_of)


def _use_up(found: Sequence[Found]) -> None:
    for one in found:
        for leaf in (one.keys, one.values):
            if leaf is not None:
                leaf.grad = None


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _shifted(slots: Tensor, by: int) -> Tensor:
    return slots + by if by else slots


def _gradient(leaf: Tensor | None, name: str, rate: float) -> Tensor:
    """Of keys or values that were read; 0 where none has come and none is needed."""
    if leaf is None or not leaf.requires_grad:
        raise RuntimeError(f"this lookup ran without gradients, so its {name} cannot be trained; leave torch.no_grad()")
    if leaf.grad is None:
        if rate == 0 or not leaf.numel():
            return torch.zeros_like(leaf)
        raise RuntimeError(f"no gradient has reached the {name} of this lookup; call backward() on its value first")
    return leaf.grad


def too_steep() -> ValueError:
    """The error for a gradient that no step may take."""
    return ValueError(
        f"a gradient is NaN, infinite or above {LARGEST_GRADIENT:g} in size; lower the learning rate or clip it"
    )


def _distinct(read: Tensor, kept: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Slots that were read and whose entry was kept; a host that has to wait for them is told both at once.

    Args:
        read: Slots, with repeats. `[R]`
        kept: Which of them count. `[R]` bool

    Returns:
        The slots, each once and ascending, `[U]`; which of them each row that counts has read, `[r]`; and what picks
        these rows, None if all count.
    """
    if read.device.type in AT_HAND:
        marked = None if kept.all() else kept
        slots, place = torch.unique(read if marked is None else read[marked], return_inverse=True)
        return slots, place, marked
    told_slots, told_kept = told([], read, kept)
    rows = None if told_kept.all() else np.flatnonzero(told_kept)
    distinct, row_of = np.unique(told_slots if rows is None else told_slots[rows], return_inverse=True)
    host = (distinct.astype(np.int64), row_of) if rows is None else (distinct.astype(np.int64), row_of, rows)
    slots, place, *which = (torch.from_numpy(one).to(read.device, non_blocking=True) for one in host)
    return slots, place, which[0] if which else None


def _flat(parts: list[Tensor], rows: Tensor | None) -> Tensor:
    """Parts `[B, k, W]` as rows `[R, W]`, all of them or those marked."""
    flat = _joined([part.flatten(0, 1) for part in parts])
    return flat if rows is None else flat[rows]


def _summed(gradient: Tensor, place: Tensor, rows: int) -> Tensor:
    return gradient.new_zeros(rows, gradient.shape[1]).index_add_(0, place, gradient)
