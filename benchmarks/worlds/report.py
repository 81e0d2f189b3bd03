"""docs/worlds.md from stored rows: `python -m benchmarks.worlds.report`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import gettempdir

from benchmarks import costly_room
from benchmarks.report.stored import marked, names, rows_of
from benchmarks.runs import Row
from benchmarks.worlds import third_party
from benchmarks.worlds.corridor import ID
from benchmarks.worlds.kinds import KINDS, LEARNED, PLAYERS, REFUSED
from benchmarks.worlds.measure import ENOUGH, FAULT, NOT_FOR_IT

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "worlds.md"

OPENING = f"""# Other people's worlds

Written by `python -m benchmarks.worlds.report` from the rows in `docs/results`; a test says when it is out of date. An
agent with a † has no row of today's code: what is shown is of [the history](history.md).

## Every kind, every agent

One corridor of seven places, whose middle is the goal, shown, steered, paid and ended in every way there is
(`benchmarks/worlds/`); an episode begins at either end, so that who does not see where it is goes wrong half the time.
Each run is `engram train env=gym env.id={ID}`, with the `+env.kwargs.` of its row's `train`, in a process of its own,
with a limit of time. A number is the share of the way from random play (0) to the shortest way (1) that the score of
the run reached; {ENOUGH} is called learned. *Refused*: the run ended with a message that names what is wrong, before it
learned from it; the messages are below. *No*: the agent is not for such spaces, and says so before it trains.
An empty cell has not been measured yet.

    python -m benchmarks.worlds out=docs/results/worlds.jsonl
"""


def summary(rows: Sequence[Row]) -> str:
    """How many runs ended in what, and every fault."""
    counts = ", ".join(f"{number} {name}" for name, number in Counter(row["outcome"] for row in rows).most_common())
    faults = [
        f"fault: {row['agent']} in {row['kind']}: share {row.get('share')}, {row['message'][-300:]}"
        for row in rows
        if row["outcome"] == FAULT
    ]
    return "\n".join([*faults, f"{len(rows)} runs: {counts or 'none'}"])


def page() -> str:
    """The whole page, of the rows that fit what the kinds are now."""
    rows = current(rows_of("worlds") if "worlds" in names() else [])
    parts = [OPENING, *kinds_table(rows), "", summary(rows), "", *refusals(rows), "", *not_for_it(rows), ""]
    parts += [third_party.section(marked(rows_of("third_party"))), ""]
    parts += [costly_room.section(marked(rows_of("costly_room")))]
    return "\n".join(parts)


def current(rows: Iterable[Row]) -> list[Row]:
    """The latest row of each kind and agent that there are."""
    latest = {(row["kind"], row["agent"]): row for row in rows}
    return [latest[kind, agent] for kind in KINDS for agent in PLAYERS if (kind, agent) in latest]


def kinds_table(rows: Sequence[Row]) -> list[str]:
    """A line for each kind, a column for each agent."""
    lines = ["| kind | what it is | " + " | ".join(PLAYERS) + " |", "|---" * (len(PLAYERS) + 2) + "|"]
    found = {(row["kind"], row["agent"]): row for row in rows}
    for name, kind in KINDS.items():
        cells = [_cell(found.get((name, agent))) for agent in PLAYERS]
        lines.append(f"| {name} | {kind.says} | {' | '.join(cells)} |")
    return lines


def refusals(rows: Sequence[Row]) -> list[str]:
    """What is said of each kind that is refused."""
    lines = ["### What is refused, and how", "", "| kind | message |", "|---|---|"]
    said = {row["kind"]: row["message"] for row in reversed(rows) if row["outcome"] == REFUSED}
    return lines + [f"| {kind} | {_line(said[kind])} |" for kind in KINDS if kind in said]


def not_for_it(rows: Sequence[Row]) -> list[str]:
    """What agents say of worlds that they are not for, once for each agent and message."""
    lines = ["### What agents are not for", "", "| agent | kinds | the first message |", "|---|---|---|"]
    for agent in PLAYERS:
        own = [row for row in rows if row["agent"] == agent and row["outcome"] == NOT_FOR_IT]
        if own:
            lines.append(f"| {agent} | {', '.join(row['kind'] for row in own)} | {_line(own[0]['message'])} |")
    return lines


def _cell(row: Row | None) -> str:
    if row is None:
        return ""
    words = {REFUSED: "refused", NOT_FOR_IT: "no", FAULT: "**fault**"}
    return (
        f"{row['share']:.2f}"
        if row["outcome"] == LEARNED
        else words.get(row["outcome"], f"ends, {row.get('score', 0):.1f}")
    )


def _line(message: str) -> str:
    """One line of a table, without what differs from machine to machine."""
    line = " ".join(message.split()).replace("|", "\\|").replace(f"{ROOT}/", "").replace(gettempdir(), "")
    return line if len(line) <= 420 else f"{line[:417]}..."


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"Written to {PAGE}")
