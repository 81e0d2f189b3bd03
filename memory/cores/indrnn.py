"""The independently recurrent network (Li et al. 2018, arXiv 1803.04831)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_rl.memory.cores.core import Core, Losses, State, require_sizes


class IndRNN(Core):
    """`h_t = relu(W x_t + u * h_{t-1} + b)`: each unit remembers itself alone, by one weight (equation 2).

    Layers are stacked, as units meet only between them (figure 1a). `|u|` is at most `2^(1/horizon)`, so that a unit
    neither explodes nor forgets over so many steps (section 3.1). `u` begins uniform in [0, 1]; in the last layer it
    begins where a unit remembers `horizon` steps, in `[.1^(1/horizon), 2^(1/horizon)]` (section 4).

    Deviation: where the paper clips `u` after an update, the clipped u is used here and the gradient passes as if it
    were not clipped, so that a step changes nothing on the module and a weight beyond the bound can come back.

    Args:
        input_size: D.
        hidden_size: H, units in each layer; the output is the last layer.
        layers: How many layers; two made the published results on POPGym (Morad et al. 2023, arXiv 2303.01859).
        horizon: Steps over which a unit at most doubles.
    """

    def __init__(self, input_size: int, hidden_size: int, layers: int = 2, horizon: int = 1024) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, layers=layers, horizon=horizon)
        self.bound = 2.0 ** (1 / horizon)
        sizes = [input_size, *[hidden_size] * (layers - 1)]
        self.inputs = nn.ModuleList(_orthogonal(size, hidden_size) for size in sizes)
        self.recurrent = nn.ParameterList(torch.rand(hidden_size) for _ in range(layers))  # u
        nn.init.uniform_(self.recurrent[-1], 0.1 ** (1 / horizon), self.bound)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {"hidden": like.new_zeros(batch_size, len(self.inputs), self.output_size)}

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self._sequence(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        """Layer by layer, so that one product serves the inputs of all steps."""
        last = []
        for layer, weight, hidden in zip(self.inputs, self.recurrent, state["hidden"].unbind(1), strict=True):
            u = weight + (weight.clamp(-self.bound, self.bound) - weight).detach()
            hiddens = []
            for driven in layer(xs):  # [B, H]
                hidden = torch.relu(torch.addcmul(driven, u, hidden))
                hiddens.append(hidden)
            xs = torch.stack(hiddens)  # [T, B, H]
            last.append(hidden)
        return xs, {"hidden": torch.stack(last, 1)}, {}


def _orthogonal(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
