"""The minimal gated recurrent unit (Feng et al. 2024, arXiv 2410.01201)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_rl.memory.cores.core import Core, Losses, State, require_sizes


class MinGRU(Core):
    """`h_t = (1 - z_t) h_{t-1} + z_t c_t`, where gate `z = sigmoid(W_z x)` and candidate `c = W_c x` see x alone.

    As neither sees h, a sequence needs no loop (section 3.1.3); what one layer cannot do for that reason, several can
    (table 1), so layers are stacked, each on the outputs of the one below. Gates begin at a bias of -1, at which a
    quarter of the memory is written in a step.

    Deviation: c is not pushed through the positive g of appendix B, which only their sum in logarithms needs.

    Args:
        input_size: D.
        hidden_size: H, units in each layer; the output is the last layer.
        layers: How many layers.
    """

    def __init__(self, input_size: int, hidden_size: int, layers: int = 2) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, layers=layers)
        self.maps = nn.ModuleList(nn.Linear(hidden_size if i else input_size, 2 * hidden_size) for i in range(layers))
        for layer in self.maps:
            nn.init.zeros_(layer.bias)
            nn.init.constant_(layer.bias[:hidden_size], -1.0)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {"hidden": like.new_zeros(batch_size, len(self.maps), self.output_size)}

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        hiddens = []
        for layer, hidden in zip(self.maps, state["hidden"].unbind(1), strict=True):
            gate, candidate = layer(x).chunk(2, -1)  # [B, H]
            x = torch.lerp(hidden, candidate, torch.sigmoid(gate))
            hiddens.append(x)
        return x, {"hidden": torch.stack(hiddens, 1)}, {}

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        last = []
        for layer, hidden in zip(self.maps, state["hidden"].unbind(1), strict=True):
            gate, candidate = layer(xs).chunk(2, -1)  # [T, B, H]
            z = torch.sigmoid(gate)
            xs = decayed_sums(1 - z, z * candidate, hidden)
            last.append(xs[-1])
        return xs, {"hidden": torch.stack(last, 1)}, {}


def decayed_sums(decay: Tensor, added: Tensor, initial: Tensor) -> Tensor:
    """`h_t = decay_t h_{t-1} + added_t` of all t in log2 T passes, without a division and so without an overflow.

    After a pass over a distance of s, `added_t` holds the sum, and `decay_t` the product, of the 2 s steps up to t.

    Args:
        decay: Between 0 and 1.  `[T, ...]`
        added: `[T, ...]`
        initial: `h_{-1}`.  `[...]`
    """
    added = torch.cat([torch.addcmul(added[:1], decay[:1], initial.unsqueeze(0)), added[1:]])
    distance = 1
    while distance < len(added):
        earlier, factor = added[:-distance], decay[distance:]
        added = torch.cat([added[:distance], torch.addcmul(added[distance:], factor, earlier)])
        decay = torch.cat([decay[:distance], factor * decay[:-distance]])
        distance *= 2
    return added
