"""The gated recurrent unit (Cho et al. 2014, arXiv 1406.1078), torch's own."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from engram_rl.memory.cores.core import Core, Losses, State
from engram_rl.memory.cores.pieces import Pieces
from engram_rl.memory.cores.precision import unrounded


class GRU(Core):
    """`h = (1 - z) n + z h` with gates r, z and candidate n of x and h; the output is the state.

    Weights begin orthogonal and biases at 0, as is usual where a policy is learned (Andrychowicz et al. 2021).

    Args:
        input_size: D.
        hidden_size: H, numbers of state.
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.unit = nn.GRU(self.input_size, self.output_size)
        for name, parameter in self.unit.named_parameters():
            if "weight" in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {"hidden": like.new_zeros(batch_size, self.output_size)}

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self._sequence(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        with unrounded(xs):
            outputs, last = self.unit(xs, state["hidden"].unsqueeze(0).contiguous())
        return outputs, {"hidden": last.squeeze(0)}, {}

    def _side_by_side(self, rows: Tensor, states: State, pieces: Pieces) -> tuple[Tensor, State, Losses]:
        with unrounded(rows):
            outputs, last = self.unit(PackedSequence(rows, pieces.sizes), states["hidden"].unsqueeze(0))
        return outputs.data, {"hidden": last.squeeze(0)}, {}
