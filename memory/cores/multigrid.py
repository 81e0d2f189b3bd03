"""Multigrid memory (Huynh, Maire and Walter 2020, arXiv 1906.05948): cells that remember what lies where they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.memory.cores.addressing import linear
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes


class Multigrid(Core):
    """Layers of convolutional LSTMs on grids of several sizes, and a net that reads them beside the input.

        e^0                                           the input, on the coarsest grid
        H_j^l    = [up(h_{j-1}^{l-1}); h_j^{l-1}; down(h_{j+1}^{l-1})]     what grid j of layer l is told      (3)
        h_j^l, c_j^l = ConvLSTM(H_j^l, h_j^l, c_j^l of t - 1)              the memory                          (4)
        r_j^l    = relu(conv [up(r_{j-1}^{l-1}); r_j^{l-1}; down(r_{j+1}^{l-1}); h_j^l])       the reader
        y        = W [r_0^L; r_1^L; ...]                                   all grids of its last layer

    up is to the nearest, by two; down takes the largest of two by two; convolutions are 3 x 3. Layer l has l grids, up
    to `levels` of them. As what is told goes up and down, two layers a level are enough for any cell to hear of any
    other in one step; so a place may be remembered in the small and in the large, and no kernel grows with the grids.

    Deviations: what is on the coarsest grid is a linear map of x; no sums with layers before, for these are few.

    Args:
        input_size: D.
        hidden_size: H, numbers in an output.
        levels: Grids in the last layers: base, 2 base, 4 base, ... cells wide.
        layers: L, of at least as many as levels.
        channels: Numbers in a cell.
        base: Cells along an edge of the coarsest grid.

    Raises:
        ValueError: A size below 1, or fewer layers than levels.
    """

    def __init__(
        self, input_size: int, hidden_size: int, levels: int = 2, layers: int = 3, channels: int = 8, base: int = 3
    ) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, levels=levels, layers=layers, channels=channels, base=base)
        if layers < levels:
            raise ValueError(f"Multigrid's layers={layers} leave no layer for each of levels={levels}; give {levels}")
        self.channels, self.base = channels, base
        self.grids = [min(layer + 1, levels) for layer in range(layers)]  # of each layer
        self.inputs = linear(input_size, channels * base * base)
        self.writers, self.readers = nn.ModuleList(), nn.ModuleList()
        for before, grids in zip([1, *self.grids], self.grids, strict=False):
            heard = [channels * sum(0 <= k < before for k in (j - 1, j, j + 1)) for j in range(grids)]
            self.writers.append(nn.ModuleList(_told(size + channels, 4 * channels) for size in heard))
            self.readers.append(nn.ModuleList(_told(size + channels, channels) for size in heard))
        for name, parameter in self.writers.named_parameters():
            if name.endswith("bias"):
                nn.init.constant_(parameter[channels : 2 * channels], 1.0)  # forget gates begin open
        self.output = linear(channels * sum((base * 2**j) ** 2 for j in range(levels)), hidden_size)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {
            f"{part}_{layer}_{j}": like.new_zeros(batch_size, self.channels, self.base * 2**j, self.base * 2**j)
            for layer, grids in enumerate(self.grids)
            for j in range(grids)
            for part in ("hidden", "cell")
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        seen = self.inputs(x).unflatten(1, (self.channels, self.base, self.base))
        told, read, after = [seen], [seen], {}
        for layer, (writers, readers) in enumerate(zip(self.writers, self.readers, strict=True)):
            hidden = []
            for j, writer in enumerate(cast(nn.ModuleList, writers)):
                h, c = state[f"hidden_{layer}_{j}"], state[f"cell_{layer}_{j}"]
                i, f, o, g = writer(torch.cat([*around(told, j), h], 1)).chunk(4, 1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                after[f"hidden_{layer}_{j}"], after[f"cell_{layer}_{j}"] = h, c
                hidden.append(h)
            told = hidden
            convs = enumerate(cast(nn.ModuleList, readers))
            read = [functional.relu(conv(torch.cat([*around(read, j), told[j]], 1))) for j, conv in convs]
        return self.output(torch.cat([grid.flatten(1) for grid in read], 1)), after, {}

    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Core.inspect`; `usage` is the mean size of what the finest cells of the last layer hold, at most 1."""
        finest = state[f"hidden_{len(self.grids) - 1}_{self.grids[-1] - 1}"]
        return {"usage": finest.detach().abs().mean((1, 2, 3))}


def around(grids: Sequence[Tensor], j: int) -> list[Tensor]:
    """What the next layer's grid j hears of: the coarser, the same and the finer one, as far as there are."""
    heard = [functional.interpolate(grids[j - 1], scale_factor=2.0, mode="nearest")] if 0 <= j - 1 < len(grids) else []
    heard += [grids[j]] if j < len(grids) else []
    return heard + ([functional.max_pool2d(grids[j + 1], 2)] if j + 1 < len(grids) else [])


def _told(inputs: int, outputs: int) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, 3, padding=1)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(cast(Tensor, conv.bias))
    return conv
