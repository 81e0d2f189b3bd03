"""Rows and commands of earlier versions in today's words.

Rows stay as they were written. Whoever reads them gets today's columns, names of agents and policies, and settings, and
the key that a run of these settings has today.
"""

from __future__ import annotations

import re
from typing import Any

from benchmarks.identity import adaptation_key, control_key
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
        today["key"] = _key(today)
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
