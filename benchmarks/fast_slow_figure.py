"""What the fast/slow agent remembers, plans and walks, before and after the wall shifts.

`python -m benchmarks.fast_slow_figure out=docs/figures/fast_slow_shift.png`
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from benchmarks.cli import parse
from benchmarks.configuration import agent_config
from engram_rl.agents.fast_slow import FastSlow
from engram_rl.agents.goal_directed.look_ahead import Search
from engram_rl.training.construction import build_agent
from engram_rl.training.environments import make_environments
from engram_rl.training.rollout import step
from engram_rl.training.seeding import use_threads

WALL, DOUBTED, BLOCKED = "#343a46", "#f3c6c0", "#c0392b"
REMEMBERED, PLANNED, WALKED, GOAL, START = "#9aa3b5", "#2563cd", "#f59e42", "#26a05c", "#78788a"


@dataclass
class Options:
    """Draw episodes of ShiftWall as the agent sees them.

    episodes: which to draw; the wall shifts before episode 50.
    seed: of the agent.
    out: the image.
    """

    episodes: list[int] = field(default_factory=lambda: [0, 49, 51, 52, 99])
    seed: int = 1
    out: str = "docs/figures/fast_slow_shift.png"


@dataclass
class Scene:
    """One episode: the world, what was known and planned at its start, and the walk that followed."""

    episode: int
    walls: np.ndarray  # [n, n] of bool, row y, column x
    remembered: np.ndarray  # [N, 2, 2], from and to
    blocked: np.ndarray  # [M, 2, 2], from and towards
    doubted: np.ndarray  # [K, 2]
    planned: np.ndarray  # [L, 2]
    goal: np.ndarray  # [2]
    walked: list[np.ndarray]
    shortest: int


def main(arguments: list[str]) -> int:
    """Play a run and draw the episodes asked for."""
    options = parse(Options, arguments)
    use_threads(1)
    scenes = play(options.episodes, options.seed)
    figure = draw(scenes)
    Path(options.out).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(options.out, dpi=110)
    print(f"figure: {options.out}")
    return 0


def play(episodes: list[int], seed: int) -> list[Scene]:
    """Play the published run; the scenes of the episodes wanted."""
    environments = make_environments("engram/ShiftWall-v0", 1, vectorization="vector_entry_point")
    core: Any = environments.unwrapped.core  # type: ignore[attr-defined]
    agent: Any = build_agent(OmegaConf.create(agent_config("fast_slow")), environments, seed)
    observation, _ = environments.reset(seed=seed)
    scenes: list[Scene] = []
    for episode in range(max(episodes) + 1):
        scene, done = None, False
        while not done:
            action = agent.act(observation)
            scene = scene or _scene(agent, core, observation[0], episode)
            transition = step(environments, observation, action)
            agent.observe(transition)
            agent.learn()
            scene.walked.append(transition.next_observation[0, :2])  # type: ignore[index]
            observation, done = transition.reset_observation, bool(transition.done[0])
        if scene and episode in episodes:
            scenes.append(scene)
    return scenes


def draw(scenes: list[Scene]) -> Figure:
    """One panel an episode, and a legend below."""
    figure = Figure(figsize=(3.1 * len(scenes), 4.1), layout="constrained")
    axes = figure.subplots(1, len(scenes), squeeze=False)[0]
    for panel, scene in zip(axes, scenes, strict=True):
        _draw_scene(panel, scene)
    handles, labels = axes[-1].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    return figure


def _scene(agent: FastSlow, core: Any, observation: np.ndarray, episode: int) -> Scene:
    assert isinstance(agent.slow, Search)
    memory, planner = agent.memory, agent.slow.planner
    vectors, n = memory.states.vectors, core.geometry.n
    ids = memory.ids()
    row, action = np.nonzero(memory.known(ids))
    starts, ends = ids[row], memory.table.next[ids[row], action]
    moved = starts != ends
    refused_from, refused = planner.refusals(ids)
    towards = planner.imagined(refused_from, refused)
    here, goal = (memory.name(place[None]) for place in (observation[:2], observation[2:4]))
    path = planner.shortest_path(here, [goal])
    length = int(path.lengths[0])
    return Scene(
        episode=episode,
        walls=core.walls[0].reshape(n + 2, n + 2)[1:-1, 1:-1].copy(),
        remembered=np.stack([vectors[starts[moved]], vectors[ends[moved]]], 1),
        blocked=np.stack([vectors[refused_from], vectors[towards]], 1),
        doubted=vectors[np.unique(towards)],
        planned=vectors[path.states[0, : length + 1]] if length >= 0 else np.zeros((0, 2)),
        goal=observation[2:4],
        walked=[observation[:2]],
        shortest=int(core.oracle_steps[0]),
    )


def _draw_scene(panel: Axes, scene: Scene) -> None:
    n = len(scene.walls)
    for y, x in zip(*np.nonzero(scene.walls), strict=True):
        panel.fill([x - 0.5, x + 0.5, x + 0.5, x - 0.5], [y - 0.5, y - 0.5, y + 0.5, y + 0.5], color=WALL, lw=0)
    panel.scatter(
        scene.doubted[:, 0],
        scene.doubted[:, 1],
        marker="s",
        s=70,
        color=DOUBTED,
        zorder=2,
        label="doubted: refused entry before",
    )
    lines = scene.remembered.transpose(1, 0, 2)  # [2, N, 2]
    panel.plot(lines[..., 0], lines[..., 1], color=REMEMBERED, lw=1.2, zorder=3)
    panel.plot([], [], color=REMEMBERED, lw=1.2, label="remembered step")
    middle = scene.blocked.mean(1)
    panel.scatter(middle[:, 0], middle[:, 1], marker="x", s=22, color=BLOCKED, zorder=6, label="remembered as blocked")
    walked = np.array(scene.walked)
    panel.plot(*walked.T, color=WALKED, lw=6, alpha=0.55, zorder=4, solid_capstyle="round", label="walked")
    panel.plot(*scene.planned.T, color=PLANNED, lw=2, ls=(0, (2, 1)), zorder=5, label="planned at the start")
    panel.scatter(walked[0, 0], walked[0, 1], s=70, facecolor="white", edgecolor=START, lw=2, zorder=7, label="start")
    panel.scatter(scene.goal[0], scene.goal[1], marker="s", s=70, color=GOAL, zorder=7, label="goal")
    panel.plot([], [], color=WALL, lw=7, label="wall (not shown to the agent)")
    steps = len(scene.walked) - 1
    panel.set_title(f"episode {scene.episode}: {steps} steps, shortest {scene.shortest}", fontsize=10)
    panel.set(xlim=(-0.5, n - 0.5), ylim=(n - 0.5, -0.5), xticks=[], yticks=[], aspect="equal")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
