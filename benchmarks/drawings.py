"""The drawings of docs/concepts.md: `python -m benchmarks.drawings`. What they show is looked up in a real memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from engram_rl.memory import Decay, DifferentiableNeuralDictionary, Modality

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "figures"
STORED, ASKED, QUIET = "#1f77b4", "#d62728", "#b8b8b8"


def lookup() -> Figure:
    """Entries in the plane, a query, its neighbours and the weights of their values."""
    from matplotlib.figure import Figure

    generator = torch.Generator().manual_seed(3)
    memory = DifferentiableNeuralDictionary(2, 1, 30, k=4)
    keys = torch.rand(14, 2, generator=generator)
    memory.write(keys, (keys.sum(1, keepdim=True) * 5).round())
    query = torch.tensor([[0.45, 0.5]])
    found = memory.lookup(query, touch=False)
    near = found.slots[0]
    figure = Figure(figsize=(8, 3.6), dpi=110, layout="constrained")
    plane, bars = figure.subplots(1, 2, width_ratios=(1.3, 1))
    plane.scatter(*keys.T, s=70, color=QUIET, label="stored keys")
    for slot in near:
        plane.plot(*torch.stack([query[0], keys[slot]]).T, color=STORED, lw=1)
    plane.scatter(*keys[near].T, s=90, color=STORED, label=f"the {len(near)} nearest")
    plane.scatter(*query.T, s=120, color=ASKED, marker="*", label="query", zorder=3)
    for slot, key in enumerate(keys):
        plane.annotate(f"{memory.values[slot, 0]:.0f}", key, xytext=(6, 5), textcoords="offset points", fontsize=8)
    _bare(plane, "keys in two dimensions, each with its value")
    plane.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=3, frameon=False, fontsize=8)
    labels = [f"value {memory.values[slot, 0]:.0f}" for slot in near]
    bars.barh(range(len(near)), found.weights[0].tolist(), color=STORED)
    bars.set_yticks(range(len(near)), labels)
    bars.invert_yaxis()
    bars.set_xlabel("weight, 1 / (squared distance + delta)")
    bars.set_title(f"what is read: {found.value.item():.2f}, the weighed mean", fontsize=10)
    bars.spines[["top", "right"]].set_visible(False)
    return figure


def keys() -> Figure:
    """Entries as rows of modalities; a query of one part, and whom it finds."""
    from matplotlib.figure import Figure

    space = [Modality("view", 4), Modality("place", 2), Modality("goal", 2)]
    memory = DifferentiableNeuralDictionary(space, 1, 10, k=1)
    generator = torch.Generator().manual_seed(1)
    parts = {part.name: torch.rand(5, part.size, generator=generator) for part in space}
    has = {"view": torch.tensor([True, True, False, True, True]), "goal": torch.tensor([True, False, True, True, True])}
    memory.write(parts, torch.arange(5.0).unsqueeze(1), present=has)
    queries = [{"place": parts["place"][2:3]}, {"view": parts["view"][3:4], "goal": parts["goal"][3:4]}]
    figure = Figure(figsize=(8, 3.2), dpi=110, layout="constrained")
    for axes, query in zip(figure.subplots(1, 2), queries, strict=True):
        found = int(memory.lookup(query, touch=False).slots[0, 0])
        rows = [*range(5), "query"]
        for y, row in enumerate(rows):
            _row(axes, y + 0.5 * (row == "query"), row, parts, has, query, found)
        axes.set(xlim=(-1.6, 8.6), ylim=(6.7, -1.0))
        _bare(axes, f"a query of {' and '.join(query)} finds entry {found}")
    return figure


def _row(axes: Axes, y: float, row: int | str, parts: dict, has: dict, query: dict, found: int) -> None:
    """One entry, or the query, as cells; what is lacking is dashed."""
    x = 0.0
    asking = row == "query"
    axes.text(-0.2, y + 0.5, "query" if asking else f"entry {row}", ha="right", va="center", fontsize=8)
    for name, part in parts.items():
        numbers = query[name][0] if asking and name in query else None if asking else part[int(row)]
        there = numbers is not None and (asking or name not in has or bool(has[name][int(row)]))
        for i in range(part.shape[1]):
            shade = 0.15 + 0.7 * float(numbers[i]) if there and numbers is not None else 0.0
            edge = ASKED if asking and there else STORED if row == found else QUIET
            face = (0.12, 0.47, 0.71, shade) if there else "none"
            axes.add_patch(_cell(x + i, y, face, edge, "-" if there else ":"))
        if y == 0:
            axes.text(x + part.shape[1] / 2, -0.35, name, ha="center", fontsize=9)
        x += part.shape[1] + 0.3


def _cell(x: float, y: float, face: object, edge: str, style: str) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((x, y + 0.1), 0.95, 0.8, facecolor=face, edgecolor=edge, linestyle=style, linewidth=1.4)


def forgetting() -> Figure:
    """Strength over time of an entry that is never used, one that is used twice, and one that was surprising."""
    from matplotlib.figure import Figure

    memory = DifferentiableNeuralDictionary(1, 1, 3, k=1, forgetting=Decay(20, unit="ticks", durability=0.5))
    slots = memory.write(torch.tensor([[0.0], [10.0], [20.0]]), torch.zeros(3, 1), torch.tensor([0.0, 0.0, 3.0]))
    strength = []
    for time in range(80):
        if time in (20, 40):
            memory.lookup(torch.tensor([[10.0]]))
        strength.append(memory.strength(slots).numpy())
        memory.tick()
    figure = Figure(figsize=(8, 3.2), dpi=110, layout="constrained")
    axes = figure.subplots()
    for curve, label in zip(
        np.array(strength).T, ("never used", "read at 20 and 40", "surprising (priority 3)"), strict=True
    ):
        axes.plot(curve, label=label)
    axes.axhline(0.1, color=QUIET, ls="--", lw=1)
    axes.text(0, 0.14, "threshold, if one is set", fontsize=8, color="0.4")
    axes.set(xlabel="time in ticks (half-life 20)", ylabel="strength", title="the weakest entry makes room")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def _bare(axes: Axes, title: str) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=10)
    axes.spines[:].set_visible(False)


DRAWINGS = {"concept_lookup": lookup, "concept_keys": keys, "concept_forgetting": forgetting}


if __name__ == "__main__":
    for name, draw in DRAWINGS.items():
        draw().savefig(FOLDER / f"{name}.png")
        print(f"Drawn: {FOLDER / name}.png")
