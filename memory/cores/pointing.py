"""Scores of choices by what is known of each of them, with one small network for all (a pointer network)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

HIDDEN = 32
"""Units that a choice is judged by."""

SMALL = 0.01
"""Gain of the last layer: choices begin near equally good (Andrychowicz et al. 2021, arXiv 2006.05990)."""


class Pointer(nn.Module):
    """How well each of A choices suits a situation.

        h_j = tanh(W e_j + U y)
        u_j = v^T tanh(L h_j + G max_i h_i)

    What is learned of one choice holds for all of them: they differ by what is known of each, e_j, and by nothing else.
    The scores are those of a pointer network (Vinyals et al. 2015, arXiv 1506.03134, equation 3); that a choice is seen
    amid the others is the layer of Zaheer et al. 2017 (Deep Sets, arXiv 1703.06114, equation 4).

    Args:
        known: Numbers that are known of a choice.
        context: Numbers that are known of the situation, y.
    """

    def __init__(self, known: int, context: int) -> None:
        super().__init__()
        self.known, self.context = nn.Linear(known, HIDDEN), nn.Linear(context, HIDDEN, bias=False)  # W, U
        self.own, self.others = nn.Linear(HIDDEN, HIDDEN), nn.Linear(HIDDEN, HIDDEN, bias=False)  # L, G
        self.judged = nn.Parameter(nn.init.orthogonal_(torch.empty(1, HIDDEN), SMALL).squeeze(0))  # v

    def forward(self, known: Tensor, context: Tensor) -> Tensor:
        """`[..., A, K]` and `[..., C]` to scores `[..., A]`."""
        each = torch.tanh(self.known(known) + self.context(context).unsqueeze(-2))
        amid = self.others(each.amax(-2, keepdim=True))
        return torch.tanh(self.own(each) + amid) @ self.judged


def columns_of_choices(blocks: Sequence[Sequence[int]], choices: int, width: int) -> Tensor:
    """Which columns of a row tell of each choice: an equal share of each block, in order. `[A, K]` of int64.

    Args:
        blocks: The first column of each block and the one after its last.
        choices: A.
        width: Columns of a row.

    Raises:
        ValueError: There is no block, one is not within the row, or it has not as many columns for each choice.
    """
    if not blocks:
        raise ValueError(
            f"choice_columns is empty; say which columns of the {width} tell of the {choices} choices, such as "
            f"[[0, {choices}]]"
        )
    for block in blocks:
        pair = list(block) if isinstance(block, Sequence) else [block]
        whole = all(isinstance(column, int | np.integer) and not isinstance(column, bool) for column in pair)
        if len(pair) != 2 or not whole or not 0 <= pair[0] < pair[1] <= width:
            raise ValueError(
                f"choice_columns has {block!r}; give the first column and the one after the last, of {width}, such as "
                f"[[0, {choices}]]"
            )
        if (block[1] - block[0]) % choices:
            raise ValueError(
                f"choice_columns has {list(block)!r}, which are {block[1] - block[0]} columns; they are to be as many "
                f"for each of the {choices} choices"
            )
    return torch.cat([torch.arange(*block).reshape(choices, -1) for block in blocks], 1)
