"""Rows of `python -m benchmarks.shift` as rows of the leaderboard, each with where it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

from benchmarks.configuration import environment_config
from benchmarks.provenance import complete
from benchmarks.report import stored
from benchmarks.runs import Row
from benchmarks.translation import row_today
from engram_rl.envs.scoring import SCHEMA, WORLDS
from engram_rl.envs.scoring.rows import LISTS, SCORES, scores

KEPT = (
    "commit",
    "dirty",
    "cpu",
    "date",
    "seconds",
    "code",
    "key",
    "fingerprint",
    "seal",
    "env_steps",
    "gradient_steps",
    "entries",
)
"""What is kept of how a row came about; its seal is that of the row in the file named beside it."""


def converted() -> Iterator[Row]:
    """The rows of docs/results of worlds of the leaderboard, file by file; those that stand, each run once."""
    seen = set()
    for name in stored.names():
        for written in stored.lines_of(name):
            row = row_today(written)
            world = world_of(row) if complete(written) and "task_index" in row and "env_kwargs" in row else None
            if world and row["key"] not in seen:
                seen.add(row["key"])
                yield of_the_leaderboard(row, world, f"docs/results/{name}.jsonl")


def of_the_leaderboard(row: Row, world: str, file: str) -> Row:
    """A row of `benchmarks.shift` in the form of the leaderboard.

    Raises:
        ValueError: The row's scores do not follow from its episodes.
    """
    lists = {name: row[name] for name in LISTS}
    own = scores(**lists)
    exact = [name for name in SCORES if name != "mean_return"]  # which is of returns that were not yet rounded
    if row["measure"] == "steps" and any(own[name] != row[name] for name in exact):
        raise ValueError(f"The scores of a row of {file} do not follow from its episodes: {row['key']}.")
    return {
        "schema": SCHEMA,
        "agent": row["agent"],
        "world": world,
        "seed": row["seed"],
        "layout_seed": row["layout_seed"],
        "budget": row["budget"],
        "episodes": row["episodes"],
        "privileged": row["privileged"],
        "source": row["command"],
        "versions": row["versions"],
        **own,
        **lists,
        "provenance": {"file": file} | {name: row[name] for name in KEPT if name in row},
    }


def world_of(row: Row) -> str | None:
    """The world of the leaderboard that a row was measured on; None where it was on none of them."""
    kwargs = json.dumps(row["env_kwargs"], sort_keys=True)
    return next((name for name in WORLDS if _is_of(name, row["env"], row["env_id"], kwargs, row["episodes"])), None)


@cache
def _is_of(world: str, env: str, env_id: str, kwargs: str, episodes: int) -> bool:
    """Whether what was played has the settings of a world; what the world does not name is as its YAML has it."""
    found = WORLDS[world]
    if (found.id, found.episodes) != (env_id, episodes):
        return False
    config = environment_config(env, {})
    wanted: dict[str, Any] = json.loads(json.dumps({**config["kwargs"], **found.kwargs}))
    shown = tuple(wrapper["_target_"] for wrapper in config["wrappers"])
    return json.loads(kwargs) == wanted and shown == tuple(one.replace(":", ".") for one in found.wrappers)
