"""`python -m benchmarks.gallery out=FILE`: an image of every environment, before and after its target shifts."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np
from matplotlib.figure import Figure

import engram_rl.envs  # noqa: F401 (registers the suite)
from benchmarks.cli import parse
from engram_rl.envs.oracles import make_policy
from engram_rl.envs.suite import SuiteVectorEnv
from engram_rl.training.rollout import step

COLUMNS = 3  # scenes side by side, two images each
MINIGRID = ("EmptyShift", "FourRoomsShift", "DoorKeyShift")
LEGEND = (
    "Blue: the agent. Green: the goal, shown to the agent or not. Ring: the start. Orange: the trail, deep if fresh.\n"
    "MaskedKey: the thing shown is framed; the lamps are place, colour and noise, dark if withheld. "
    "MemoryPlan: the symbol wanted is framed."
)
SCENES: list[tuple[str, str, dict[str, Any]]] = [
    ("ShiftWall", "planner", {}),
    ("ScatterShift", "planner", {}),
    ("HiddenGoal", "last_site", {}),
    ("RecurringGoal", "known_sites", {"period": 4, "jitter": 1}),
    ("NewGoal", "last_site", {"period": 4, "jitter": 1}),
    ("DriftGoal", "last_site_spiral", {"q": 0.5}),
    ("ContextGoal", "context_sites", {"period": 4, "jitter": 1}),
    ("MaskedKey", "random", {}),
    ("MemoryPlan", "random", {}),
    ("TMaze", "oracle", {"active": True}),
]


@dataclass
class GalleryBench:
    """Draw every environment of the suite, just before and just after a shift.

    out: the image.
    """

    out: str = "docs/figures/environments.png"


def minigrid_scenes() -> Iterator[tuple[str, np.ndarray]]:
    """The same for MiniGrid's environments, at the beginning of an episode."""
    for name in MINIGRID:
        environment = gymnasium.make(f"engram/{name}-v0", render_mode="rgb_array", layout_seed=3)
        _, info = environment.reset(seed=0)
        before: Any = None
        while not info["shifted"]:
            before = environment.render()
            _, info = environment.reset()
        yield f"{name}, before", before
        yield f"{name}, after the shift", cast(np.ndarray, environment.render())


def suite_scenes() -> Iterator[tuple[str, np.ndarray]]:
    """A title and an image, two for each environment: just before a shift, and in the episode it comes with."""
    for name, policy, options in SCENES:
        environments = cast(SuiteVectorEnv, gymnasium.make_vec(f"engram/{name}-v0", 1, layout_seed=3, **options))
        player = make_policy(policy, environments, seed=0)
        core = environments.core
        before = core.render(0)
        observation, _ = environments.reset(seed=0)
        while not core.shifted[0]:
            before = core.render(0)
            transition = step(environments, observation, player.act(observation))
            player.observe(transition)
            observation = transition.reset_observation
        yield f"{name}, before", before
        yield f"{name}, after the shift", _midway(environments, observation, player.act, player.observe)


def _midway(
    environments: SuiteVectorEnv, observation: Any, act: Callable[..., np.ndarray], observe: Callable[[Any], None]
) -> np.ndarray:
    """The image some steps into the current episode, or one step before its end."""
    core, image = environments.core, environments.core.render(0)
    episode = core.episode_index[0]
    while core.episode_index[0] == episode and core.elapsed[0] < 30:
        image = core.render(0)
        transition = step(environments, observation, act(observation))
        observe(transition)
        observation = transition.reset_observation
    return image


def contact_sheet(images: list[tuple[str, np.ndarray]]) -> Figure:
    """All images with their titles."""
    columns = 2 * COLUMNS
    rows = -(-len(images) // columns)
    figure = Figure(figsize=(2.3 * columns, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (title, image) in zip(axes, images, strict=False):
        axis.imshow(image, interpolation="nearest")
        axis.set_title(title, fontsize=9)
    figure.supxlabel(LEGEND, fontsize=9)
    return figure


def main() -> int:
    """Draw and save."""
    out = Path(parse(GalleryBench).out)
    out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet([*suite_scenes(), *minigrid_scenes()]).savefig(out, dpi=110)
    print(out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
