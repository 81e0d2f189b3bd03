"""Long short-term memory (Hochreiter and Schmidhuber 1997; with forget gates, Gers et al. 2000), torch's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from engram_rl.memory.cores.core import Core, Losses, State
from engram_rl.memory.cores.pieces import Pieces
from engram_rl.memory.cores.precision import unrounded


class LSTM(Core):
    """`c = f c + i g`, `h = o tanh(c)`; the output is h.

    Weights begin orthogonal and biases at 0, but for the forget gate's, which begins at 1 so that what is stored stays
    (Jozefowicz et al. 2015).

    Args:
        input_size: D.
        hidden_size: H, numbers in h and in c.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.unit = nn.LSTM(self.input_size, self.output_size)
        for name, parameter in self.unit.named_parameters():
            if "weight" in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)
        with torch.no_grad():  # torch adds two biases; its gates are i, f, g, o
            self.unit.get_parameter("bias_ih_l0")[hidden_size : 2 * hidden_size] = 1.0

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {name: like.new_zeros(batch_size, self.output_size) for name in ("hidden", "cell")}

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self._sequence(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        before = tuple(state[name].unsqueeze(0).contiguous() for name in ("hidden", "cell"))
        with unrounded(xs):
            outputs, (hidden, cell) = self.unit(xs, before)
        return outputs, {"hidden": hidden.squeeze(0), "cell": cell.squeeze(0)}, {}

    def _side_by_side(self, rows: Tensor, states: State, pieces: Pieces) -> tuple[Tensor, State, Losses]:
        before = tuple(states[name].unsqueeze(0) for name in ("hidden", "cell"))
        with unrounded(rows):
            outputs, (hidden, cell) = self.unit(PackedSequence(rows, pieces.sizes), before)
        return outputs.data, {"hidden": hidden.squeeze(0), "cell": cell.squeeze(0)}, {}
