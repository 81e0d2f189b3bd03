"""Fast weights that attend to the recent past (Ba et al. 2016, arXiv 1610.06258)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_rl.memory.cores.core import Core, Losses, State, require_sizes


class FastWeights(Core):
    """A recurrent net whose hidden state is pulled towards its own recent ones.

        A_t = decay A_{t-1} + rate h_t h_t^T                                (1)
        h_{s+1} = relu(LN(W h_t + C x_t + A_t h_s)),  s = 0 .. steps - 1    (2)
        h_0 = relu(LN(W h_t + C x_t))

    W begins at .05 times the identity, C at random. It is the published cell, for comparison: the delta rule
    learns the same tasks in a fraction of the time.

    Args:
        input_size: D.
        hidden_size: H; the output is h.
        decay: Of A, lambda in the paper.
        rate: Of A, eta in the paper.
        steps: Inner steps in which the hidden state settles, S in the paper.
    """

    def __init__(
        self, input_size: int, hidden_size: int, decay: float = 0.95, rate: float = 0.5, steps: int = 1
    ) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, steps=steps)
        self.decay, self.rate, self.steps = decay, rate, steps
        self.slow = nn.Linear(hidden_size, hidden_size, bias=False)  # W
        self.inputs = nn.Linear(input_size, hidden_size)  # C
        self.norm = nn.LayerNorm(hidden_size)
        with torch.no_grad():
            self.slow.weight.copy_(0.05 * torch.eye(hidden_size))

    def _initial(self, batch_size: int, like: Tensor) -> State:
        size = self.output_size
        return {"hidden": like.new_zeros(batch_size, size), "fast": like.new_zeros(batch_size, size, size)}

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        before = state["hidden"]
        fast = self.decay * state["fast"] + self.rate * before.unsqueeze(2) * before.unsqueeze(1)  # [B, H, H]
        driven = self.slow(before) + self.inputs(x)
        hidden = torch.relu(self.norm(driven))  # [B, H]
        for _ in range(self.steps):
            hidden = torch.relu(self.norm(driven + (fast @ hidden.unsqueeze(2)).squeeze(2)))
        return hidden, {"hidden": hidden, "fast": fast}, {}
