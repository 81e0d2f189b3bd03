"""A gated recurrent unit over sequences in which episodes end."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn


class ResettingGRU(nn.Module):
    """The unit of Cho et al. (2014, arXiv 1406.1078), whose state is emptied where an episode begins.

    Steps between two beginnings, in whichever row, run as one call: a sequence in which nothing begins costs one call,
    and none costs more than a call a step.

    Args:
        in_features: F.
        size: H, numbers of state.
    """

    def __init__(self, in_features: int, size: int):
        super().__init__()
        self.size = size
        self._gru = nn.GRU(in_features, size)
        for name, parameter in self._gru.named_parameters():
            if "weight" in name:
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)

    def forward(self, inputs: Tensor, state: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Unroll.

        Args:
            inputs: `[T, B, F]`
            state: Before the first step. `[B, H]`
            starts: Whether an episode begins with a step, so that the state before it is forgotten. `[T, B]` of bool

        Returns:
            The state after every step, `[T, B, H]`, and after the last, `[B, H]`.
        """
        begins = [0, *(starts[1:].any(dim=1).nonzero().flatten() + 1).tolist(), len(inputs)]
        outputs = []
        for first, end in pairwise(begins):
            state = state.masked_fill(starts[first].unsqueeze(1), 0.0)
            output, last = self._gru(inputs[first:end], state.unsqueeze(0))
            outputs.append(output)
            state = last.squeeze(0)
        return torch.cat(outputs), state
