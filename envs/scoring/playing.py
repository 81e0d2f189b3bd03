"""Anybody's agent through a world of the leaderboard, seed by seed, into rows."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from engram_rl.envs.checks import at_least
from engram_rl.envs.scoring.episodes import EpisodeLog
from engram_rl.envs.scoring.rows import SCHEMA, Row, lists_of, scores
from engram_rl.envs.scoring.worlds import World, world_named

Play = Callable[[EpisodeLog, int], Any]
"""Plays a run: given the environment and a seed, it goes on until `env.finished`, however it likes."""

MATTERING = ("engram-rl", "gymnasium", "numpy", "minigrid")
"""Packages whose versions a row bears."""


class UnfinishedRunError(RuntimeError):
    """Whoever played returned before all episodes that count had ended."""


def evaluate(
    play: Play,
    world: str | World,
    seeds: Iterable[int] = range(10),
    *,
    agent: str,
    layout_seed: int | None = None,
    privileged: str = "nothing",
    source: str = "",
    episodes: int | None = None,
) -> Iterator[Row]:
    """Let an agent live through a world once for each seed; a row each, as soon as its run has ended.

    Only the episodes that count are played, in order, once each: every step of exploration is part of the score.

    Args:
        play: Given the environment and a seed, plays until `env.finished`. It may hand the environment to a library,
            such as `PPO("MlpPolicy", env, seed=seed).learn(env.most_steps, lambda *_: not env.finished)` of
            Stable-Baselines3, or step it itself. What it learns in one run it should not know in the next.
        world: A name of `WORLDS`, or a `World`.
        seeds: Of the agent, and of the world's chance.
        agent: What the rows call it.
        layout_seed: Layouts are drawn from this instead of from the seed.
        privileged: What it knows beside what it is shown.
        source: Where others find what was run.
        episodes: Fewer than the world has, to try things; such rows are not for the leaderboard.

    Raises:
        ValueError: There is no such world, or a seed below 0, or a name that is empty.
        TypeError: What plays cannot be called, or a seed or a name is none.
        UnfinishedRunError: `play` returned too soon.
    """
    found = world_named(world) if isinstance(world, str) else world
    count = found.episodes if episodes is None else at_least(1, "episodes", episodes, "episode")
    if not callable(play):
        raise TypeError(f"play is {play!r}; it must be a function that plays, called as play(env, seed)")
    if isinstance(seeds, str) or not isinstance(seeds, Iterable):
        raise TypeError(f"seeds is {seeds!r}; it must hold the seeds of the runs, such as range(10) or [0]")
    if layout_seed is not None:
        layout_seed = at_least(0, "layout_seed", layout_seed, "(or None)")
    own = {"agent": _text("agent", agent), "privileged": _text("privileged", privileged), "source": source}
    return (_row(play, found, at_least(0, "seed", seed, ""), layout_seed, count) | own for seed in seeds)


def write_rows(path: str | Path, rows: Iterable[Row]) -> None:
    """Append rows to a file, one JSON object a line, each as soon as it is there."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()


def _text(name: str, value: Any) -> str:
    """The value; what is checked here need not be refused when a run of hours has ended."""
    if not isinstance(value, str):
        raise TypeError(f"{name} is {value!r}; it must be a text, as the rows bear it")
    if not value.strip():
        raise ValueError(f"{name} is {value!r}; it must not be empty, as the rows bear it")
    return value


def _row(play: Play, world: World, seed: int, layout_seed: int | None, episodes: int) -> Row:
    """One run, played to its end."""
    env = EpisodeLog(world.make(layout_seed), episodes, run_seed(seed, layout_seed), world.success_above)
    play(env, seed)
    if not env.finished:
        ended = len(env.record.solved)
        raise UnfinishedRunError(
            f"Seed {seed}: {ended} of the {episodes} episodes that count had ended when play(env, seed) returned. "
            f"Go on until env.finished."
        )
    env.close()
    lists = lists_of(env.record)
    return {
        "schema": SCHEMA,
        "world": world.name,
        "seed": seed,
        "layout_seed": layout_seed,
        "budget": "own",
        "episodes": episodes,
        "versions": {"python": platform.python_version()} | _versions(),
        **scores(**lists),
        **lists,
    }


def run_seed(seed: int, layout_seed: int | None) -> int:
    """What the world is reset with, the same for all who play the same run."""
    return seed if layout_seed is None else layout_seed


def _versions() -> dict[str, str]:
    found = {}
    for name in MATTERING:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
