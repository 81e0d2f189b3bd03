"""Rows and commands that the first version stored, in today's words: what they measured is the same, so they count.

Rows stay as they were written. Whoever reads them gets today's columns, names of agents and policies, and settings, and
the key that the same run has today.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from benchmarks import baselines
from benchmarks.identity import adaptation_key, control_key, digest, shift_key
from engram_rl.training.legacy import config_today, override_today

Row = dict[str, Any]

COLUMNS = {
    "excess": "regret",
    "excess_after_shift": "regret_after_shift",
    "phase": "task_index",
    "phases": "by_task",
    "times_obvious": "times_naive",
    "told": "privileged",
}
"""Columns, by what they are called today."""

NAMES = {
    "clairvoyant": "oracle",
    "obvious": "naive",
    "planner_told": "planner_informed",
    "recall": "last_site",
    "recall_sites": "known_sites",
    "recall_sites_told": "known_sites_informed",
    "recall_spiral": "last_site_spiral",
    "recall_told": "last_site_informed",
}
"""Policies and references, by what they are called today."""

FIRST_POLICIES = ("heuristic", "memoryless", "planner", "planner_fresh", "planner_vigilant", "random", *NAMES)

SETTINGS = Path(__file__).with_name("first_version.json")
"""What the agents and environments of the first version were by default: rows of the shift benchmark name them only."""


def row_today(row: Row) -> Row:
    """A row in today's words, with the key that its run has today; a row of today as it is."""
    today = {COLUMNS.get(name, name): value for name, value in row.items()}
    for column in ("agent", "policy"):
        if isinstance(today.get(column), str):
            today[column] = agent_today(today[column])
    if isinstance(today.get("measure"), str):
        today["measure"] = COLUMNS.get(today["measure"], today["measure"])
    if isinstance(today.get("command"), str):
        today["command"] = command_today(today["command"])
    if "settings" in today and "environment" in today:
        today |= _configured_today(today)
    if "key" in row:
        today["key"] = _shift_key(row) or str(row["key"]) if "costs" in row else _key(today)
    return today


def agent_today(given: str) -> str:
    """An agent as it is named on a command line, `nec horizon=10` for instance."""
    name, *overrides = given.split(" ")
    if not overrides:
        return NAMES.get(name, override_today(f"agent={name}").removeprefix("agent="))
    own = [one if one.startswith("env.") else _own_today(one) for one in overrides]
    return " ".join([override_today(f"agent={name}").removeprefix("agent="), *own])


def command_today(command: str) -> str:
    """The command that measures the same today."""
    listed = r"agents=\[((?:[^\[\]]|\[[^\]]*\])*)\]"  # brackets within belong to a value
    return re.sub(listed, lambda found: f"agents=[{_agents_today(found[1])}]", command)


def _agents_today(listed: str) -> str:
    """Agents between commas; those within brackets belong to a value."""
    return ",".join(agent_today(agent) for agent in re.split(r",(?![^\[]*\])", listed))


def _own_today(override: str) -> str:
    return override_today(f"agent.{override}").removeprefix("agent.")


def _configured_today(row: Row) -> Row:
    """Environment and settings with today's names and places."""
    whole = config_today({"agent": row["settings"], "env": row["environment"]})
    today = {"settings": whole.get("agent", {}), "environment": whole["env"]}
    if row.get("trained_in"):
        today["trained_in"] = config_today({"env": row["trained_in"]})["env"]
    return today


def _key(row: Row) -> str:
    """The key that a run has today; the stored one where the row does not say enough to know."""
    if not {"settings", "environment"} <= row.keys():
        return str(row["key"])
    seed, steps, made_of = row["seed"], row["steps"], (row["environment"], row["settings"])
    if "drawn" in row:
        policy = "" if row["settings"] else row["agent"]
        return adaptation_key(policy, *made_of, seed, steps, row["test"], row.get("trained_in"))
    return control_key(row["agent"].split()[0], *made_of, seed, steps, len(row.get("test") or []))


def _shift_key(row: Row) -> str | None:
    """Today's key of a row whose stored one is that of an agent of the first version; None for other rows.

    Such rows do not hold their settings: the stored key tells whether they are those of the first version.
    """
    name, *overrides = row["agent"].split()
    kind, settings = _first_settings(name, overrides)
    if kind is None:
        return None
    environment = {"id": row["env_id"], "kwargs": row["env_kwargs"], "wrappers": []}
    environment |= _first_version()["environments"].get(row["env"], {})
    run = {part: row[part] for part in ("seed", "layout_seed", "budget", "episodes")}
    stored = {"protocol": 1, "agent": baselines.own_name(name), "environment": environment, "kind": kind}
    if digest({**stored, "settings": settings, **run}) != row["key"]:
        return None
    today = config_today({"agent": settings, "env": environment})
    return shift_key(NAMES.get(name, name), kind, today["env"], today.get("agent", {}), **run)


def _first_settings(name: str, overrides: list[str]) -> tuple[str | None, Any]:
    """Where the first version found an agent, and its settings; None if it had none of that name."""
    given = OmegaConf.to_container(OmegaConf.from_dotlist(overrides))
    if name in baselines.ALGORITHMS:
        return "baseline", baselines.settings(name, given)  # type: ignore[arg-type]
    if name in _first_version()["agents"]:
        return "agent", OmegaConf.to_container(OmegaConf.merge(_first_version()["agents"][name], given))
    return ("policy", {}) if name in FIRST_POLICIES else (None, {})


@cache
def _first_version() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(SETTINGS.read_text(encoding="utf-8"))
    return content
