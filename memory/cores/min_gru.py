"""The minimal gated recurrent unit (Feng et al. 2024, arXiv 2410.01201)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_rl.memory.cores.core import Core, Losses, State, require_sizes


class MinGRU(Core):
    """`h_t = (1 - z_t) h_{t-1} + z_t c_t`, where gate `z = sigmoid(W_z x)` and candidate `c = W_c x` see x alone.

    As neither sees h, all of both is worked out at once; what one layer cannot do for that reason, several can (table
    1), so layers are stacked, each on the outputs of the one below. Gates begin at a bias of -1, at which a quarter of
    the memory is written in a step.

    Deviations: c is not pushed through the positive g of appendix B, which only a sum in logarithms needs; the steps
    are a loop of one operation, which on a CPU took less than half the time of a scan in log T passes.

    Args:
        input_size: D.
        hidden_size: H, units in each layer; the output is the last layer.
        layers: How many layers.
    """

    def __init__(self, input_size: int, hidden_size: int, layers: int = 2) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, layers=layers)
        sizes = [input_size, *[hidden_size] * (layers - 1)]
        self.maps = nn.ModuleList(_gate_and_candidate(size, hidden_size) for size in sizes)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {"hidden": like.new_zeros(batch_size, len(self.maps), self.output_size)}

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self._sequence(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        last = []
        for layer, hidden in zip(self.maps, state["hidden"].unbind(1), strict=True):
            gate, candidate = layer(xs).chunk(2, -1)  # [T, B, H]
            hiddens = []
            for z, c in zip(torch.sigmoid(gate), candidate, strict=True):
                hidden = torch.lerp(hidden, c, z)
                hiddens.append(hidden)
            xs = torch.stack(hiddens)
            last.append(hidden)
        return xs, {"hidden": torch.stack(last, 1)}, {}


def _gate_and_candidate(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, 2 * outputs)
    nn.init.zeros_(layer.bias)
    nn.init.constant_(layer.bias[:outputs], -1.0)
    return layer
