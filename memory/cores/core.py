"""What every recurrent memory here is: one step, a state of tensors, and resets that nobody can forget."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from engram_rl.memory.checks import real
from engram_rl.memory.cores.pieces import Pieces

State: TypeAlias = dict[str, Tensor]
"""What a core remembers, by name; every leaf has the batch first. `[B, ...]`"""

Leaves: TypeAlias = dict[str, tuple[torch.Size, torch.dtype | None]]
"""What the leaves of a state are like."""

Losses: TypeAlias = dict[str, Tensor]
"""Auxiliary losses by name, scalars; to be weighted and added to whatever is minimised. Often none."""


class Core(nn.Module):
    """A memory that is carried from step to step; one class a paper, all behind these three verbs.

        core = make_core("dnc", input_size=8, hidden_size=32)
        state = core.initial_state(batch_size)                 # {name: [B, ...]}
        output, state, losses = core.step(x, state, reset)     # [B, D], ..., [B] -> [B, core.output_size]
        outputs, state, losses = core(xs, state, reset)        # [T, B, D], ..., [T, B] -> [T, B, core.output_size]

    What holds for each, and is tested for each: a sequence is its steps; `reset[t]` says that `x_t` opens an episode,
    so every leaf is as `initial_state` gives it before `x_t` is taken in; rows of a batch do not meet; nothing is kept
    on the module and nothing is drawn at random in a step, so that acting and learning compute the same; the given
    state is left as it was, and a state lies apart from inputs, outputs and parameters; it takes up the same memory at
    every step. Gradients flow through the steps of one call, and through the state into the call before unless it is
    detached.

    A core writes `_initial` and `_step`, and `_sequence` where whole sequences are faster; it never sees a reset. A
    sequence in which episodes begin is cut there, and its pieces are laid side by side (`pieces.py`).

    Args:
        input_size: Numbers in an input, D.
        output_size: Numbers in an output.

    Raises:
        ValueError: A size below 1.
    """

    reads_by: Literal["age", "slot", "entry"] | None = None
    """What `attention` has a column for: an age, a slot, or an entry, the nearest first; None of a core without heads
    that read."""

    choices: int = 0
    """How many numbers at the end of an output are scores of choices, for a policy to add to its logits."""

    lifelong: ClassVar[bool] = False
    """Whether what it remembers outlives episodes and is shared by the rows of a batch: see `Lifelong`."""

    def __init__(self, input_size: int, output_size: int) -> None:
        super().__init__()
        require_sizes(self, input_size=input_size, hidden_size=output_size)  # as it is called where it is given
        self.input_size, self.output_size = int(input_size), int(output_size)

    # ---- what a core is made of

    def _initial(self, batch_size: int, like: Tensor) -> State:
        """The state before the first step; learned parts are expanded parameters.

        Args:
            batch_size: B.
            like: A tensor of the device and the floating-point type that the state should have.
        """
        raise NotImplementedError

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        """One step of the recurrence. `[B, D]` -> `[B, output_size]`."""
        raise NotImplementedError

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        """Steps without a reset among them; losses are means over the steps. `[T, B, D]` -> `[T, B, output_size]`."""
        outputs, losses = [], []
        for x in xs:
            output, state, loss = self._step(x, state)
            outputs.append(output)
            losses.append(loss)
        return torch.stack(outputs), state, mean_losses(losses)

    def _side_by_side(self, rows: Tensor, states: State, pieces: Pieces) -> tuple[Tensor, State, Losses]:
        """Sequences of several lengths, without a reset among them; losses are means over all of their steps.

        Args:
            rows: Of `Pieces.laid_out`. `[N, D]`
            states: Before each of them. `[K, ...]`
            pieces: How long they are.

        Returns:
            `[N, output_size]`, and the states after each. `[K, ...]`
        """
        outputs, ended, losses, at = [], [], [], 0
        for going_on, steps in pieces.runs():
            ended.append({name: leaf[going_on:] for name, leaf in states.items()})
            xs = rows[at : at + going_on * steps].unflatten(0, (steps, going_on))
            output, states, loss = self._sequence(xs, {name: leaf[:going_on] for name, leaf in states.items()})
            outputs.append(output.flatten(0, 1))
            losses.append({name: value * (going_on * steps / len(rows)) for name, value in loss.items()})
            at += going_on * steps
        states = {name: torch.cat([leaf, *(one[name] for one in reversed(ended))]) for name, leaf in states.items()}
        return torch.cat(outputs), states, sums(losses)

    # ---- what is called

    def initial_state(self, batch_size: int) -> State:
        """The state before an episode's first step, on the device and of the type of the core's parameters.

        Args:
            batch_size: B, at least 1.
        """
        require_sizes(self, batch_size=batch_size)
        state = self._initial(batch_size, next(self.parameters()))
        return {name: leaf.clone() for name, leaf in state.items()}  # so that who writes into it changes no parameter

    def step(self, x: Tensor, state: State, reset: Tensor | None = None) -> tuple[Tensor, State, Losses]:
        """One step.

        Args:
            x: `[B, D]`
            state: From `initial_state` or the step before.
            reset: Which rows open an episode with `x`. `[B]` of bool; None for no row

        Returns:
            The output `[B, output_size]`, the state after it, and auxiliary losses.

        Raises:
            ValueError: A shape, a leaf of the state or a number is not what it must be. Nothing was computed then.
        """
        if torch.is_autocast_enabled(real("x", x).device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self.step(self._unrounded(x), state, reset)
        if x.dim() != 2:
            raise ValueError(f"{self._name}.step takes x of shape [B, {self.input_size}], got {list(x.shape)}")
        self._check(x.unsqueeze(0), state, None if reset is None else reset.unsqueeze(0))
        before = state if reset is None else self._where(reset, self._initial(len(x), x), state)
        output, state, losses = self._step(x, before)
        if any(output is leaf for leaf in state.values()):
            output = output.clone()  # so that who changes it in place does not change what is remembered
        return output, state, losses

    def forward(self, xs: Tensor, state: State, reset: Tensor | None = None) -> tuple[Tensor, State, Losses]:
        """A sequence of steps, time first.

        Args:
            xs: `[T, B, D]`
            state: From `initial_state`, or after the sequence before.
            reset: Which inputs open an episode. `[T, B]` of bool; None for none

        Returns:
            The outputs `[T, B, output_size]`, the state after the last, and auxiliary losses, means over the steps.

        Raises:
            ValueError: A shape, a leaf of the state or a number is not what it must be. Nothing was computed then.
        """
        if torch.is_autocast_enabled(real("xs", xs).device.type):
            with torch.autocast(xs.device.type, enabled=False):
                return self.forward(self._unrounded(xs), state, reset)
        self._check(xs, state, reset)
        if reset is None or not reset.any():
            return self._sequence(xs, state)
        state = self._where(reset[0], self._initial(xs.shape[1], xs), state)
        if not reset[1:].any():
            return self._sequence(xs, state)
        pieces = Pieces(reset)
        fresh = self._initial(pieces.count, xs)
        states = {name: leaf.index_copy(0, pieces.first, state[name]) for name, leaf in fresh.items()}
        outputs, states, losses = self._side_by_side(pieces.laid_out(xs), states, pieces)
        return pieces.put_back(outputs), {name: leaf[pieces.last] for name, leaf in states.items()}, losses

    # ---- what is told of it

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """The parameters, for an optimiser: `torch.optim.Adam(core.parameter_groups(1e-3))`.

        Args:
            lr: Learning rate of all that has none of its own, which is the first group; a few cores have more groups.
        """
        return [{"params": list(self.parameters()), "lr": lr}]

    def inspect(self, state: State) -> dict[str, Tensor]:
        """What is worth watching of a memory, told from its state alone and without gradients; of some cores nothing.

        Those with slots tell of the last step, under these names where they apply: `write_strength` (how much of a
        slot's share of writing was used), `read_entropy` (nats over which a read spreads; 0 is one slot), `read_age`
        (steps since that which was read was written), `usage` (share of the slots that hold something).

        Returns:
            Numbers by name, for each row of the batch. `[B]`
        """
        return {}

    @torch.no_grad()
    def attention(self, xs: Tensor, state: State, reset: Tensor | None = None) -> Tensor:
        """How much each head reads of what, at each step: of each age, 0 first, or of each slot, as `reads_by` says.

        Args:
            xs: `[T, B, D]`
            state: Before the first of them.
            reset: Which open an episode. `[T, B]` of bool

        Returns:
            `[T, B, H, N]`

        Raises:
            ValueError: It has no heads that read.
        """
        if self.reads_by is None:
            raise ValueError(f"{self._name} has no heads that read, so there is nothing to show of them")
        read = []
        for t, x in enumerate(xs):
            _, state, _ = self.step(x, state, None if reset is None else reset[t])
            read.append(self._read_weights(state))
        return torch.stack(read)

    def _read_weights(self, state: State) -> Tensor:
        """What was read at the step that led to a state. `[B, H, N]`."""
        raise NotImplementedError

    # ---- what is checked

    @property
    def _name(self) -> str:
        return type(self).__name__

    @staticmethod
    def _where(reset: Tensor, initial: State, state: State) -> State:
        """The initial state in the rows that open an episode, in every leaf.  `[B]` of bool."""
        return {
            name: torch.where(reset.reshape(-1, *[1] * (leaf.dim() - 1)), initial[name], leaf)
            for name, leaf in state.items()
        }

    def _unrounded(self, xs: Tensor) -> Tensor:
        """An input in the precision of the parameters, which autocast may have lowered."""
        return xs.to(next(self.parameters()).dtype) if xs.is_floating_point() else xs

    def _check(self, xs: Tensor, state: State, reset: Tensor | None) -> None:
        """Raise what is wrong with an input, before anything is computed."""
        if xs.dim() != 3 or xs.shape[2] != self.input_size or not xs.shape[0] or not xs.shape[1]:
            raise ValueError(
                f"{self._name} takes inputs [T, B, {self.input_size}] with T and B of at least 1, got {list(xs.shape)}"
            )
        if xs.dtype != (own := next(self.parameters()).dtype):
            raise ValueError(f"{self._name} takes inputs of {own}, as its parameters are, got {xs.dtype}")
        if not torch.isfinite(xs).all():
            raise ValueError(f"{self._name} was given NaN or infinity; its memory would keep it for ever")
        try:
            self._check_state(state, xs)
        except ValueError:  # but what is known of the leaves may be older than a setting such as `slots`
            self.__dict__.pop("_known", None)
            self._check_state(state, xs)
        if reset is not None and (real("reset", reset).shape != xs.shape[:2] or reset.dtype != torch.bool):
            raise ValueError(
                f"{self._name} takes a reset of bool {list(xs.shape[:2])}, got {reset.dtype} {list(reset.shape)}"
            )
        self._check_numbers(state, None if reset is None else reset[0])

    def _check_numbers(self, state: State, reset: Tensor | None) -> None:
        """Raise if a row that goes on remembers what is no number.  `[B]` of bool."""
        floating = {name: leaf for name, leaf in state.items() if leaf.is_floating_point()}
        if all(math.isfinite(leaf.sum().item()) for leaf in floating.values()):  # the fastest way to see none
            return
        for name, leaf in floating.items():
            lost = ~leaf.unsqueeze(-1).flatten(1).isfinite().all(1)  # [B]
            lost = lost if reset is None else lost & ~reset
            if lost.any():
                raise ValueError(
                    f"{self._name} got state {name!r} with NaN or infinity in row {int(lost.nonzero()[0])}: what it is "
                    f"trained with may have become so large; begin that row anew, with reset or from initial_state"
                )

    def _check_state(self, state: State, xs: Tensor) -> None:
        """Raise what is wrong with a state that goes with these inputs."""
        if not isinstance(state, Mapping):
            raise ValueError(f"{self._name} takes the state that initial_state gave, got {type(state).__name__}")
        expected = self._leaves()
        if state.keys() != expected.keys():
            raise ValueError(
                f"{self._name} has a state of {', '.join(expected)}, got {', '.join(map(str, state)) or 'nothing'}"
            )
        for name, leaf in state.items():
            shape, dtype = (xs.shape[1], *expected[name][0][1:]), expected[name][1] or xs.dtype
            if real(f"state {name!r}", leaf).shape != shape:
                raise ValueError(
                    f"{self._name} got state {name!r} of shape {list(leaf.shape)}; a batch of {xs.shape[1]} has "
                    f"{list(shape)}"
                )
            if leaf.dtype != dtype or leaf.device != xs.device:
                raise ValueError(
                    f"{self._name} got state {name!r} of {leaf.dtype} on {leaf.device}; with these inputs it is of "
                    f"{dtype} on {xs.device}"
                )

    def _leaves(self) -> Leaves:
        """Shape of each leaf of the state of a batch of one, and its type unless that is of the parameters."""
        if "_known" not in self.__dict__:  # a constant of the module, not a part of its state
            with torch.no_grad():
                self.__dict__["_known"] = {
                    name: (leaf.shape, None if leaf.is_floating_point() else leaf.dtype)
                    for name, leaf in self.initial_state(1).items()
                }
        known: Leaves = self.__dict__["_known"]
        return known


def sums(losses: list[Losses]) -> Losses:
    """The sums of losses by name; of a name that one does not have it has 0."""
    names = dict.fromkeys(name for one in losses for name in one)
    return {name: torch.stack([one[name] for one in losses if name in one]).sum() for name in names}


def mean_losses(losses: list[Losses]) -> Losses:
    """The means over steps that all have the same losses."""
    return {name: torch.stack([one[name] for one in losses]).mean() for name in losses[0]} if losses else {}


def require_sizes(core: nn.Module, **sizes: int) -> None:
    """Raise unless each is a whole number of at least 1.

    Raises:
        ValueError: One is not; it is named.
    """
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int | np.integer) or size < 1:
            raise ValueError(f"{type(core).__name__}'s {name} is {size!r}; it must be a whole number of at least 1")
