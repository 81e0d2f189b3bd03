"""An image of what an agent retrieves: a map where places are known, and a bar of attention for each entry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from engram_rl.agents.agent import Agent, Observation
from engram_rl.agents.retrieval.retrieved import Retrieved
from engram_rl.training.logging.tensorboard import add_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TAG = "memory/retrieved"
HERE, STEP, SITE, REWARD, NOTHING = "black", "tab:blue", "tab:orange", "tab:green", "lightgrey"


def show_retrieved(agent: Agent, observation: Observation, writer: SummaryWriter, step: int) -> None:
    """Draw what the agent retrieves in its first environment, if it is one that says so."""
    found = agent.retrieved(observation) if hasattr(agent, "retrieved") else None
    if found is not None:
        add_image(writer, TAG, image(found), step)


def image(found: Retrieved) -> np.ndarray:
    """`[H, W, 3]` of uint8."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mapped = len(found.place) == 2
    height = max(3.0, 1.2 + 0.32 * len(found.attention))
    figure = Figure(figsize=(10 if mapped else 6, height), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots(1, 1 + mapped, squeeze=False)[0]
    if mapped:
        draw_map(axes[0], found)
    draw_attention(axes[-1], found)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def draw_map(axes: Axes, found: Retrieved) -> None:
    """Where the agent is, and an arrow to where each entry says that reward was: the more attended to, the bolder."""
    share = found.attention / max(1e-9, float(found.attention.max(initial=0)))
    for i, strength in enumerate(share):
        color, alpha = _color(found, i), 0.2 + 0.8 * float(strength)
        axes.plot(*found.where[i], "s" if found.site[i] else "o", color=color, alpha=alpha, markersize=11)
        begin = found.place if found.site[i] else found.where[i]
        if found.rewarded[i] and not np.array_equal(begin, found.outcome[i]):
            arrow = {"arrowstyle": "->", "color": color, "alpha": alpha, "linewidth": 0.5 + 3 * float(strength)}
            axes.annotate("", tuple(found.outcome[i]), tuple(begin), arrowprops=arrow)
        axes.annotate(f"{i + 1}", tuple(found.where[i]), ha="center", va="center", fontsize=8)
    axes.plot(*found.place, "*", color=HERE, markersize=16)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel="x", ylabel="y")
    axes.set_title("star: here; squares: reward was found there; circles: steps", fontsize=8)
    axes.margins(0.25)
    axes.invert_yaxis()
    axes.grid(alpha=0.3)


def draw_attention(axes: Axes, found: Retrieved) -> None:
    """A bar for each entry, and one for the attention on nothing."""
    count = len(found.attention)
    colors = [*(_color(found, i) for i in range(count)), NOTHING]
    attention = [*found.attention, found.nothing]
    axes.barh(range(count + 1), attention, color=colors)
    axes.set_yticks(range(count + 1), [*(described(found, i) for i in range(count)), "nothing"], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.05 * max(attention)), xlabel="attention of the actor")


def described(found: Retrieved, i: int) -> str:
    """An entry in a line."""
    numbers = f"return {found.gained[i]:.2f}, confidence {found.confidence[i]:.2f}, age {found.age[i]:.0f}"
    if found.site[i]:
        return f"{i + 1}: reward at {_numbers(found.where[i])}, {numbers}"
    return f"{i + 1}: action {_action(found.action[i])}, {numbers}, distance {found.distance[i]:.2g}"


def _color(found: Retrieved, i: int) -> str:
    if found.site[i]:
        return SITE
    return REWARD if found.rewarded[i] else STEP


def _action(numbers: np.ndarray) -> str:
    """A choice by its number, anything else as it is."""
    chosen = set(numbers.tolist()) <= {0.0, 1.0} and numbers.sum() == 1
    return str(int(numbers.argmax())) if chosen else _numbers(numbers)


def _numbers(numbers: np.ndarray) -> str:
    return f"({', '.join(f'{number:.3g}' for number in numbers)})"
