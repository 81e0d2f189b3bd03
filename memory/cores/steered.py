"""A memory that an LSTM steers, which sees what was read of it: what the cores with slots have in common."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.memory.cores.addressing import linear
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes
from engram_rl.memory.cores.derivatives import lstm


class Steered(Core):
    """`h = LSTM([x; r_{t-1}])`, `r` is what h has the memory read, and `y = W [h; r]`.

    A memory writes `_empty` and `_turn`. What depends on inputs alone, and what nothing depends on, is worked out for
    all steps at once.

    Args:
        input_size: D.
        hidden_size: H, of the controller, and numbers in an output.
        width: W, numbers in a row of memory.
        reads: R, heads that read.
    """

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
        unit = self.controller
        by_input, by_read = unit.weight_ih.split([self.input_size, self.reads * self.width], 1)
        told = functional.linear(xs, by_input, unit.bias_ih + unit.bias_hh)  # [T, B, 4 H]
        again = torch.cat([by_read, unit.weight_hh], 1).mT
        seen = []
        for gates in told:
            gates = torch.addmm(gates, torch.cat([state["read"], state["hidden"]], 1), again)
            hidden, cell = lstm(gates, state["cell"])
            read, memory = self._turn(hidden, state)
            state = {"hidden": hidden, "cell": cell, "read": read, **memory}
            seen.append(torch.cat([hidden, read], 1))
        return self.output(torch.stack(seen)), state, {}


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
