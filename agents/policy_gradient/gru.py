"""A gated recurrent unit over sequences in which episodes end."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from engram_rl.memory.checks import require_ram


class ResettingGRU(nn.Module):
    """The unit of Cho et al. (2014, arXiv 1406.1078), whose state is emptied where an episode begins.

    However many episodes a sequence holds, it is unrolled in one call, as long as its longest piece without a
    beginning: the pieces are laid side by side.

    Args:
        in_features: F.
        size: H, numbers of state.
    """

    def __init__(self, in_features: int, size: int):
        super().__init__()
        self.size = size
        require_ram(f"a recurrent core of {size} units", 12 * size * (in_features + size + 2), "lower agent.recurrent")
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
        state = state.masked_fill(starts[0].unsqueeze(1), 0.0)
        if len(inputs) == 1 or not starts[1:].any():
            output, last = self._gru(inputs, state.unsqueeze(0))
            return output, last.squeeze(0)
        piece, place = _pieces(starts)  # [N] each, N = T * B
        longest_first = piece.bincount().argsort(descending=True, stable=True)  # [K]
        rank = longest_first.argsort()  # [K]
        order = (place * len(rank) + rank[piece]).argsort()  # [N] step after step of all pieces side by side
        initial = state.new_zeros(len(rank), self.size).index_copy(0, piece[: starts.shape[1]], state)  # [K, H]
        packed = PackedSequence(inputs.flatten(0, 1)[order], place.bincount().cpu())
        found = self._gru(packed, initial[longest_first].unsqueeze(0))[0].data  # [N, H]
        output = found[order.argsort()].unflatten(0, starts.shape)  # [T, B, H]
        return output, output[-1]


def _pieces(starts: Tensor) -> tuple[Tensor, Tensor]:
    """Which piece without a beginning each step belongs to, and its place there. `[T, B]` to `[T * B]`, `[T * B]`."""
    begins = starts.clone()
    begins[0] = True
    flat = begins.T.flatten()  # [B * T], one row's steps after the other's
    piece = flat.cumsum(0) - 1
    first = flat.nonzero().flatten()  # [K]
    place = torch.arange(len(flat), device=starts.device) - first[piece]
    return _in_time(piece, starts), _in_time(place, starts)


def _in_time(rows: Tensor, starts: Tensor) -> Tensor:
    """One row's steps after the other's to one step's rows after the other's. `[B * T]` to `[T * B]`."""
    return rows.unflatten(0, (starts.shape[1], starts.shape[0])).T.flatten()
