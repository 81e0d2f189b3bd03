"""The gated TransformerXL (Parisotto et al. 2019, arXiv 1910.06764), with a window that is a state."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from engram_rl.memory.cores import band
from engram_rl.memory.cores.addressing import linear
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes
from engram_rl.memory.cores.transformer import Layer


class GTrXL(Core):
    """A transformer whose every layer attends to the last N of its own inputs, with gates in place of sums.

        Y^l   = gate(E^{l-1}, relu(attention(norm(E^{l-1}), norm([M^{l-1}; E^{l-1}]))))
        E^l   = gate(Y^l, relu(MLP(norm(Y^l))))
        gate  = a GRU over depth whose bias of 2 lets its first argument pass

    `transformer.py` has the layer. Every step sees exactly the N steps before it, not its segment and the one before as
    in the paper; and gradients flow through the window within one call.

    Args:
        input_size: D.
        hidden_size: H, of activations, and numbers in an output.
        window: N, past steps that a layer attends to; L layers reach back N L steps.
        layers: L.
        heads: Of attention.
        gate_bias: How firmly a layer passes its input on at first.
    """

    reads_by = "age"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        window: int = 64,
        layers: int = 2,
        heads: int = 4,
        gate_bias: float = 2.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, window=window, layers=layers, heads=heads)
        self.window = window
        self.embedding = linear(input_size, hidden_size)
        self.layers = nn.ModuleList(Layer(hidden_size, heads, gate_bias) for _ in range(layers))

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {
            "window": like.new_zeros(batch_size, len(self.layers), self.window, self.output_size),  # the newest last
            "count": torch.zeros(batch_size, dtype=torch.int64, device=like.device),  # of it that is this episode's
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self._sequence(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outside = band.unseen(state["count"], len(xs), self.window + 1)
        activations = self.embedding(xs).transpose(0, 1)  # [B, T, H]
        windows = []
        for layer, before in zip(self.layers, state["window"].unbind(1), strict=True):
            past = torch.cat([before, activations], 1)  # [B, N + T, H]
            windows.append(past[:, -self.window :])
            activations = layer(past, outside)
        count = (state["count"] + len(xs)).clamp_max(self.window)
        return activations.transpose(0, 1), {"window": torch.stack(windows, 1), "count": count}, {}

    @torch.no_grad()
    def attention(self, xs: Tensor, state: State, reset: Tensor | None = None) -> Tensor:
        """See `Core.attention`; the heads of the first layer come first. `[T, B, L heads, N + 1]`."""
        read = []
        for t, x in enumerate(xs):
            if reset is not None:
                state = self._where(reset[t], self._initial(len(x), x), state)
            read.append(self._looked_at(x, state))
            _, state, _ = self.step(x, state)
        return torch.stack(read)

    def _looked_at(self, x: Tensor, state: State) -> Tensor:
        """What is read at the step after a state. `[B, L heads, N + 1]`, of age 0 first."""
        outside = band.unseen(state["count"], 1, self.window + 1)
        activations, weights = self.embedding(x).unsqueeze(1), []  # [B, 1, H]
        for layer, before in zip(self.layers, state["window"].unbind(1), strict=True):
            past = torch.cat([before, activations], 1)
            normed = cast(Layer, layer).norm(past)
            weights.append(cast(Layer, layer).attention.weights(normed[:, -1:], normed, outside))
            activations = layer(past, outside)
        return torch.cat(weights, 1).squeeze(2).flip(-1)

    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Core.inspect`; `usage` is the share of the window that is filled."""
        return {"usage": state["count"].to(state["window"].dtype) / self.window}
