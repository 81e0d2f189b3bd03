"""A memory that an LSTM steers, which sees what was read of it: what the cores with slots have in common."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from engram_rl.memory.cores.addressing import linear
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes


class Steered(Core):
    """`h = LSTM([x; r_{t-1}])`, `r` is what h has the memory read, and `y = W [h; r]`.

    A memory writes `_empty` and `_turn`, and names in `interface` the maps by which h tells it what to do.
    What depends on inputs alone, and what nothing depends on, is worked out for all steps at once.

    Args:
        input_size: D.
        hidden_size: H, of the controller, and numbers in an output.
        width: W, numbers in a row of memory.
        reads: R, heads that read.
    """

    interface: tuple[str, ...] = ("heads",)
    """Linear maps of h, by name."""

    def __init__(self, input_size: int, hidden_size: int, width: int, reads: int) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, width=width, reads=reads)
        self.width, self.reads = width, reads
        self.controller = controller(input_size + reads * width, hidden_size)
        self.output = linear(hidden_size + reads * width, hidden_size)

    def _empty(self, batch_size: int, like: Tensor) -> State:
        """The memory before the first step."""
        raise NotImplementedError

    def _turn(self, hidden: Tensor, state: State) -> tuple[Tensor, State]:
        """What is read `[B, R W]`, and the memory after it, as `_empty` has it. `[B, H]`."""
        raise NotImplementedError

    def _initial(self, batch_size: int, like: Tensor) -> State:
        sizes = {"hidden": self.output_size, "cell": self.output_size, "read": self.reads * self.width}
        state = {name: like.new_zeros(batch_size, size) for name, size in sizes.items()}
        return state | self._empty(batch_size, like)

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self._sequence(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        told, again = self._told(xs)
        seen = []
        for gates in told:
            hidden, cell = self._controlled(gates, again, state)
            read, memory = self._turn(hidden, state)
            state = {"hidden": hidden, "cell": cell, "read": read, **memory}
            seen.append(torch.cat([hidden, read], 1))
        return self.output(torch.stack(seen)), state, {}

    def _told(self, xs: Tensor) -> tuple[Tensor, Tensor]:
        """What inputs tell the gates `[T, B, 4 H]`, and the map of what the step before tells them."""
        unit = self.controller
        by_input, by_read = unit.weight_ih.split([self.input_size, self.reads * self.width], 1)
        told = functional.linear(xs, by_input, unit.bias_ih + unit.bias_hh)
        return told, torch.cat([by_read, unit.weight_hh], 1).mT

    def _controlled(self, gates: Tensor, again: Tensor, state: State) -> tuple[Tensor, Tensor]:
        """H and c of the controller after a step. `[B, H]`."""
        return lstm(torch.addmm(gates, torch.cat([state["read"], state["hidden"]], 1), again), state["cell"])


def controller(input_size: int, hidden_size: int) -> nn.LSTMCell:
    """An LSTM that steers a memory; its forget gate begins open, its other biases at 0."""
    cell = nn.LSTMCell(input_size, hidden_size)
    with torch.no_grad():
        for weight in (cell.weight_ih, cell.weight_hh):
            for gate in weight.chunk(4):
                nn.init.xavier_uniform_(gate)
        cell.bias_ih.zero_()
        cell.bias_hh.zero_()
        cell.bias_ih[hidden_size : 2 * hidden_size] = 1.0  # torch adds two biases; its gates are i, f, g, o
    return cell


def lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """`c = sigmoid(f) c + sigmoid(i) tanh(g)`, `h = sigmoid(o) tanh(c)`.

    Args:
        gates: What i, f, g and o are told, in torch's order. `[B, 4 H]`
        cell: c. `[B, H]`

    Returns:
        h and c. `[B, H]`
    """
    after: tuple[Tensor, Tensor] = _LSTM.apply(gates, cell)
    return after


class _LSTM(Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        opened = gates.sigmoid()
        i, f, _, o = opened.chunk(4, -1)
        g = gates.chunk(4, -1)[2].tanh()
        after = torch.addcmul(f * cell, i, g)
        shown = after.tanh()
        ctx.save_for_backward(opened, g, cell, shown)
        return o * shown, after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Tensor, d_after: Tensor) -> tuple[Tensor, Tensor]:
        opened, g, cell, shown = ctx.saved_tensors
        i, f, _, o = opened.chunk(4, -1)
        d_cell = torch.addcmul(d_after, d_hidden * o, 1 - shown * shown)
        d_opened = torch.cat([d_cell * g, d_cell * cell, d_cell * i, d_hidden * shown], -1)
        slope = opened * (1 - opened)
        slope.chunk(4, -1)[2].copy_(1 - g * g)
        return d_opened.mul_(slope), d_cell * f
