"""Pictures of what is mapped: `python -m benchmarks.cores.maps out=docs/figures/maps.png`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from benchmarks.cli import parse, run_main
from benchmarks.cores.mapping import JUDGED_ON, MAPPERS, SIDE, learned, walked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAMES = {"multigrid": "multigrid: told", "one_level": "one level: told", "dnc_mapper": "DNC: told"}


@dataclass
class Maps:
    """Train each mapper, and draw what it says of mazes after a walk beside what was seen of them.

    python -m benchmarks.cores.maps out=maps.png seed=1

    mazes: how many, a column each.
    seed: of the mappers and of their walks; the mazes that are drawn are always the same.
    tiny: two updates, for a test.
    out: the image.
    """

    mazes: int = 5
    seed: int = 0
    tiny: bool = False
    out: str = "maps.png"


def main(arguments: Sequence[str]) -> int:
    """Train, draw, and say where the image is."""
    from matplotlib.figure import Figure

    given = parse(Maps, list(arguments))
    torch.set_num_threads(1)
    walks = walked(given.mazes, 4 if given.tiny else JUDGED_ON, torch.Generator().manual_seed(10**6))
    shown = {"maze": walks.walls, "seen of it": torch.where(walks.seen[-1], walks.walls, torch.nan)}
    for mapper in MAPPERS:
        torch.manual_seed(given.seed)
        net, _, _ = learned(mapper, torch.Generator().manual_seed(given.seed), 2 if given.tiny else 10**6)
        with torch.no_grad():
            told, _ = net(walks.inputs)
        shown[NAMES[mapper]] = torch.where(walks.seen[-1], told[-1].sigmoid(), torch.nan)
    figure = Figure(figsize=(1.3 * given.mazes + 1, 1.35 * len(shown)), dpi=110, layout="constrained")
    axes = figure.subplots(len(shown), given.mazes, squeeze=False)
    for row, (what, grids) in zip(axes, shown.items(), strict=True):
        row[0].set_ylabel(what, fontsize=8)
        for place, grid in zip(row, grids, strict=True):
            _grid(place, grid)
    figure.savefig(given.out)
    print(f"Drawn to {Path(given.out).resolve()}: walls dark, cells that were never in view hatched.")
    return 0


def _grid(axes: Axes, grid: Tensor) -> None:
    axes.set_facecolor("#f3f3f7")
    axes.patch.set_hatch("////")
    axes.patch.set_edgecolor("#c9c9d4")
    axes.imshow(grid.view(SIDE, SIDE).numpy(), cmap="Greys", vmin=0, vmax=1)
    axes.set_xticks([])
    axes.set_yticks([])


if __name__ == "__main__":
    run_main(main)
