"""Tiers of memory, each with a price for what is written to it: registers, RAM, disk, and a table that is read only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engram_rl.memory.checks import number
from engram_rl.memory.cores.addressing import linear
from engram_rl.memory.cores.core import Losses, State, mean_losses, require_sizes
from engram_rl.memory.cores.dual import part_of
from engram_rl.memory.cores.gru import GRU
from engram_rl.memory.cores.lifelong import MEMORY, RECALLED, Lifelong
from engram_rl.memory.cores.store import StoreCore
from engram_rl.memory.cores.wrapper import MakeCore, made
from engram_rl.memory.dictionary import DifferentiableNeuralDictionary

GATED = ("registers", "ram")
"""Tiers that learn when to keep a step."""


class Tiers(Lifelong):
    """A small fast memory, one of the episode, one of all episodes, and one that no step changes; writing has a price.

        h, s'  = registers(x, s)       any core
        m, S'  = ram(x, S)             a core that keeps an episode, such as `StoreCore`
        d      = disk(x)               as `Lifelong` reads its dictionary
        o      = softmax over j of (Q x)^T (P R_j) / sqrt k   of the rows R of a table: a read-only tier
        y      = W [h; m; d; o]

    All tiers are read at every step. Whether a step is kept is decided for each that can be written:

        registers, RAM   p_i = sigmoid(w_i . [x; h]),   g_i = [p_i > 1/2];  s = s' where g_i, else as it was
        disk             g   = [min_k |x_{t-1} - key_k|^2 + |x_t - value_k|^2 > price], over the entries near x_{t-1}
        loss "writing"   sum_i price_i g_i, a mean over steps

    dg_i/dp_i is taken for 1 (Bengio et al. 2013, arXiv 1308.3432: straight-through), so a gate opens where what it
    keeps is worth its price. Of what the disk keeps no gradient tells, as it is read in other episodes; so a pair is
    worth its squared distance from what is there already. A lower price writes more; 0 leaves out repetitions alone.

    It outlives episodes as `Lifelong` does, which says what that means for `commit` and for updates.

    Args:
        input_size: D.
        hidden_size: H, numbers in an output, and of registers and RAM.
        registers: Makes the first tier.
        ram: Makes the second.
        memory: Makes the dictionary of the disk.
        rows: Of the table R.
        prices: Of a write to registers, RAM and disk.
        heads: Reads of the disk at each step.
        key_size: k, numbers in which a row is compared, and a head of the disk compares.

    Raises:
        ValueError: A price below 0, another number of prices than 3, or registers or RAM that outlive episodes.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        registers: MakeCore = GRU,
        ram: MakeCore = StoreCore,
        memory: Callable[[int, int], DifferentiableNeuralDictionary] = MEMORY,
        rows: int = 16,
        prices: Sequence[float] = (0.0, 0.01, 0.1),
        heads: int = 4,
        key_size: int = 16,
    ) -> None:
        super().__init__(input_size, hidden_size, memory, heads, key_size)
        require_sizes(self, rows=rows)
        listed = list(prices) if isinstance(prices, Iterable) and not isinstance(prices, str) else []
        if len(listed) != 3:
            raise ValueError(f"{self._name}'s prices are {prices!r}; list one of registers, RAM and disk each")
        self.prices = [number("a price", price, 0.0) for price in listed]
        self.registers, self.ram = (made(self._name, make, input_size, hidden_size) for make in (registers, ram))
        for core in (self.registers, self.ram):
            if core.lifelong:
                raise ValueError(f"{self._name} has a disk of its own; registers and RAM end with an episode")
        self.table = nn.Parameter(torch.randn(rows, input_size))  # R
        self.asked_of_table = nn.Linear(input_size, key_size, bias=False)  # Q
        self.key_of_table = nn.Linear(input_size, key_size, bias=False)  # P
        self.gates = linear(input_size + self.registers.output_size, len(GATED))  # w
        nn.init.constant_(self.gates.bias, 1.0)  # all is kept at first
        sizes = self.registers.output_size, self.ram.output_size, hidden_size, input_size
        self.output = linear(sum(sizes), hidden_size)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """See `Core.parameter_groups`: parts of registers and RAM keep the rates that they have there."""
        special = [group for core in (self.registers, self.ram) for group in core.parameter_groups(lr)[1:]]
        theirs = {id(one) for group in special for one in group["params"]}
        return [{"params": [one for one in self.parameters() if id(one) not in theirs], "lr": lr}, *special]

    def _initial(self, batch_size: int, like: Tensor) -> State:
        parts = {f"{tier}_": getattr(self, tier)._initial(batch_size, like) for tier in GATED}
        return {
            **super()._initial(batch_size, like),
            **{prefix + name: leaf for prefix, part in parts.items() for name, leaf in part.items()},
            "written": like.new_zeros(batch_size, 3),  # to which tiers the last step was
        }

    def _unrolled(
        self, xs: Tensor, state: State, found: Mapping[str, Tensor], reset: Tensor | None
    ) -> tuple[Tensor, State, Losses]:
        outputs, losses = [], []
        for t, x in enumerate(xs):
            if reset is not None:
                state = self._where(reset[t], self._initial(len(x), x), state)
            output, state, loss = self._turn(x, state, {name: found[name][t] for name in RECALLED})
            outputs.append(output)
            losses.append(loss)
        return torch.stack(outputs), state, mean_losses(losses)

    def _turn(self, x: Tensor, state: State, found: Mapping[str, Tensor]) -> tuple[Tensor, State, Losses]:
        read, kept = [], {}
        losses: Losses = {}
        before = {tier: part_of(state, f"{tier}_") for tier in GATED}
        for tier in GATED:
            output, kept[tier], loss = getattr(self, tier)._step(x, before[tier])
            read.append(output)
            losses |= {f"{tier}_{name}": one for name, one in loss.items()}
        probable = self.gates(torch.cat([x, read[0]], 1)).sigmoid()  # p, [B, 2]
        kept = {tier: gated(p, kept[tier], before[tier]) for tier, p in zip(GATED, probable.unbind(1), strict=True)}
        disk = self._disk(x, state, found)
        learned = (probable > 0.5).to(x) + (probable - probable.detach())
        written = torch.cat([learned, disk["emitted"].to(x).unsqueeze(1)], 1)
        losses["writing"] = (written * x.new_tensor(self.prices)).sum(1).mean()
        alike = self.asked_of_table(x) @ self.key_of_table(self.table).mT / math.sqrt(self.key_of_table.out_features)
        answered = self._answered(x.unsqueeze(0), {name: found[name].unsqueeze(0) for name in RECALLED})[0]
        output = self.output(torch.cat([*read, answered, alike.softmax(1) @ self.table], 1))
        leaves = {f"{tier}_{name}": leaf for tier in GATED for name, leaf in kept[tier].items()}
        return output, {**disk, **leaves, "written": written.detach()}, losses

    def _disk(self, x: Tensor, state: State, found: Mapping[str, Tensor]) -> State:
        """The disk's leaves after a step; a pair that says nothing new is not emitted."""
        after = self._after(x.unsqueeze(0), state, {name: found[name].unsqueeze(0) for name in RECALLED})
        keys, values, valid = (state[name] for name in RECALLED)  # near the step before
        apart = (keys - state["value"].unsqueeze(1)).square().sum(-1) + (values - x.unsqueeze(1)).square().sum(-1)
        news = apart.masked_fill(~valid, torch.inf).amin(1) > self.prices[2]
        return after | {"emitted": after["emitted"] & news}

    @torch.no_grad()
    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Lifelong.inspect`; and to which tiers the last step was written, and what that cost."""
        written = state["written"]
        tiers = {f"written_{tier}": written[:, i] for i, tier in enumerate((*GATED, "disk"))}
        return super().inspect(state) | tiers | {"write_cost": written @ written.new_tensor(self.prices)}


def gated(p: Tensor, after: State, before: State) -> State:
    """The state after a step where p is above a half, else the one before; its gradient by p is as if p were the share.

    Args:
        p: `[B]`
        after: `[B, ...]` by name.
        before: Likewise.
    """
    kept = {}
    for name, leaf in after.items():
        rows = (-1, *[1] * (leaf.dim() - 1))
        kept[name] = torch.where((p > 0.5).reshape(rows), leaf, before[name])
        if leaf.is_floating_point():
            kept[name] = kept[name] + (p - p.detach()).reshape(rows) * (leaf - before[name]).detach()
    return kept
