"""An image of what the heads of a memory core read over the steps of an environment: a band for each head."""

from __future__ import annotations

import numpy as np
from torch.utils.tensorboard import SummaryWriter

from engram_rl.agents.agent import Agent
from engram_rl.agents.policy_gradient.read_weights import ReadWeights
from engram_rl.training.logging.tensorboard import add_image

TAG = "core/read_weights"
MOST = 8
"""Heads that are drawn."""


def show_read_weights(agent: Agent, writer: SummaryWriter, step: int) -> None:
    """Draw what the agent's memory core reads in its first environment, if it has one whose heads read."""
    read = agent.read_weights() if hasattr(agent, "read_weights") else None
    if read is not None:
        add_image(writer, TAG, image(read), step)


def image(read: ReadWeights) -> np.ndarray:
    """Steps to the right, ages or slots upwards, one band a head; white lines are beginnings of episodes.

    Returns:
        `[H, W, 3]` of uint8
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    weights = read.weights[:, :MOST]  # [T, H, N]
    shown = 1 + int(np.flatnonzero((weights > 0).any((0, 1))).max(initial=0))  # of ages and slots, those ever read
    heads = weights.shape[1]
    figure = Figure(figsize=(9, 1 + 2 * heads), dpi=80, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    bands = figure.subplots(heads, 1, sharex=True, squeeze=False)[:, 0]
    for head, axes in enumerate(bands):
        drawn = axes.imshow(
            weights[:, head, :shown].T, origin="lower", aspect="auto", interpolation="nearest", vmin=0, cmap="magma"
        )
        for start in np.flatnonzero(read.starts):
            axes.axvline(start - 0.5, color="white", linewidth=0.8)
        axes.set_ylabel(f"{read.by}, head {head + 1}")
        figure.colorbar(drawn, ax=axes, label="weight", fraction=0.03)
    bands[-1].set_xlabel("step of the last rollout; white: an episode begins")
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
