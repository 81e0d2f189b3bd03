"""What is wrong with rows that somebody sends: each complaint says where, what is there and what has to be.

Scores are counted again from the lists, and what the world says of each episode is asked of the world.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

from engram_rl.envs.scoring.episodes import EpisodeRecord, step_limit
from engram_rl.envs.scoring.playing import run_seed
from engram_rl.envs.scoring.rows import FIELDS, LISTS, OTHER, SCHEMA, SCORES, Row, scores
from engram_rl.envs.scoring.worlds import WORLDS, World, world_named

RUN = ("agent", "world", "seed", "layout_seed", "budget")
"""Two rows that agree in these are of the same run."""

MOST = 2**53
"""Whole numbers up to this are floating-point numbers as well."""

_CLOSE = 1e-6  # by which a mean that was rounded may differ


def complaints(lines: Iterable[str], replay: bool = True) -> Iterator[str]:
    """What is wrong with a file of rows, one complaint after the other; nothing where all of it can stand.

    Args:
        lines: One JSON object each; empty ones are passed over.
        replay: Whether the worlds are asked, by resets alone, what each episode takes at best and when targets shift.
    """
    first_of: dict[tuple[Any, ...], int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        row, wrong = _parsed(line)
        wrong = wrong or of_row(row, replay)
        yield from (f"line {number}: {one}" for one in wrong)
        run = tuple(repr(row.get(name)) for name in RUN)
        if not wrong and first_of.setdefault(run, number) != number:
            said = ", ".join(f"{name} {value}" for name, value in zip(RUN, run, strict=True))
            yield f"line {number}: the same run as line {first_of[run]} ({said}): a run counts once, leave one out"


def of_row(row: Row, replay: bool = True) -> list[str]:
    """What is wrong with one row; what rests on something wrong is not looked at."""
    return _fields(row) or _values(row) or _lists(row) or _scores(row) or (_replayed(row) if replay else [])


def _parsed(line: str) -> tuple[Row, list[str]]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:  # which also a number of thousands of digits is, and nested lists are
        return {}, [f"no JSON ({error}): write one object a line, as json.dumps gives it"]
    return (row, []) if isinstance(row, dict) else ({}, [f"{_short(row)} is no JSON object: write one a line"])


def _fields(row: Row) -> list[str]:
    known = [*FIELDS, *SCORES, *OTHER]
    missing = [f"{name} is missing: {FIELDS[name]}" for name in FIELDS if name not in row]
    return missing + [
        f"{name!r} is no field{_near(name, known)}: put what else there is to say into `provenance`, an object"
        for name in row
        if name not in known
    ]


def _values(row: Row) -> list[str]:
    """The fields that are not lists, each by itself."""
    checks: dict[str, tuple[Callable[[Any], bool], str]] = {
        "schema": (lambda value: value == SCHEMA, f'must be "{SCHEMA}"'),
        "agent": (_is_text, "must be a text that is not empty"),
        "world": (
            lambda value: isinstance(value, str) and value in WORLDS,
            f"must be one of {', '.join(WORLDS)}{_near(row['world'], WORLDS)}",
        ),
        "seed": (_is_count, "must be a whole number from 0"),
        "layout_seed": (lambda value: value is None or _is_count(value), "must be a whole number from 0, or null"),
        "budget": (
            lambda value: value == "own" or (_is_count(value) and value > 0),
            'must be "own", or the practice steps before each episode, a whole number from 1',
        ),
        "privileged": (_is_text, 'must be a text, such as "nothing"'),
        "source": (_is_text, "must be a text that is not empty: a command, an address or a paper"),
        "versions": (
            lambda value: isinstance(value, dict) and "gymnasium" in value,
            'must be an object that names at least "gymnasium"',
        ),
        "provenance": (lambda value: isinstance(value, dict), "must be an object"),
    }
    wrong = [
        f"{name} is {_short(row[name])}, but {must}"
        for name, (fits, must) in checks.items()
        if name in row and not fits(row[name])
    ]
    if wrong:
        return wrong
    count = WORLDS[row["world"]].episodes
    right = _is_count(row["episodes"]) and row["episodes"] == count
    return [] if right else [f"episodes is {_short(row['episodes'])}, but {row['world']} counts {count}"]


def _lists(row: Row) -> list[str]:
    """The lists, each by itself, then beside each other."""
    items: dict[str, tuple[Callable[[Any], bool], str]] = {
        "costs": (lambda value: _is_count(value) and 0 < value <= MOST, f"a whole number from 1 to {MOST}"),
        "returns": (_is_finite, "a finite number"),
        "solves": (lambda value: _is_count(value) and value <= 1, "0 or 1"),
        "optimum": (
            lambda value: value is None or (_is_count(value) and value <= MOST),
            f"a whole number from 0 to {MOST}, or null",
        ),
        "task_index": (lambda value: _is_count(value) and value <= MOST, f"a whole number from 0 to {MOST}"),
    }
    wrong = []
    for name in LISTS:
        values = row[name]
        if not isinstance(values, list) or len(values) != row["episodes"]:
            has = f"has {len(values)} items" if isinstance(values, list) else f"is {_short(values)}"
            wrong.append(f"{name} {has}, but must be a list with one item for each of {row['episodes']} episodes")
            continue
        fits, must = items[name]
        bad = [at for at, value in enumerate(values) if not fits(value)]
        wrong += [f"{name}[{at}] is {_short(values[at])}, but must be {must}" for at in bad[:1]]
    return wrong or _together(row, WORLDS[row["world"]])


def _together(row: Row, world: World) -> list[str]:
    wrong = []
    limit = _limit(world.name)
    for at, (cost, paid, solved, best) in enumerate(zip(*(row[name] for name in LISTS[:-1]), strict=True)):
        if limit is not None and cost > limit:
            wrong.append(f"costs[{at}] is {cost}, but an episode of {world.name} ends after {limit} steps")
        if solved and best is not None and cost < best:
            wrong.append(f"costs[{at}] is {cost}, but nobody solves this episode in fewer than {best} steps")
        if world.success_above is not None and bool(solved) != (paid > world.success_above):
            wrong.append(f"solves[{at}] is {solved}, but its return is {paid}: solved is above {world.success_above}")
    return wrong[:3]


def _scores(row: Row) -> list[str]:
    """The scores that the row gives, against those that follow."""
    own = scores(**{name: row[name] for name in LISTS})
    return [
        f"{name} is {_short(row[name])}, but {own[name]} follows from the lists: leave it out, or correct it"
        for name in SCORES
        if name in row and not _same(row[name], own[name])
    ]


def _replayed(row: Row) -> list[str]:
    """What the world says of the episodes, against what the row says it said."""
    told = _told(row["world"], run_seed(row["seed"], row["layout_seed"]), row["layout_seed"])
    for name in ("optimum", "task_index"):
        differ = [at for at, (given, own) in enumerate(zip(row[name], told[name], strict=True)) if given != own]
        if differ:
            at = differ[0]
            return [
                f"{name}[{at}] is {row[name][at]}, but with this seed {row['world']} says {told[name][at]} "
                f"({len(differ)} of {len(row[name])} episodes differ): this is another world, another seed, or an "
                f"episode was left before its end"
            ]
    return []


@lru_cache(maxsize=256)
def _told(world: str, seed: int, layout_seed: int | None) -> dict[str, Sequence[int | None]]:
    """What the resets of a run say, one after the other; targets here shift by episodes, whatever is done in them."""
    found = world_named(world)
    env, record = found.make(layout_seed), EpisodeRecord()
    for episode in range(found.episodes):
        _, info = env.reset(seed=seed if episode == 0 else None)
        record.begin(info)
    env.close()
    return {"optimum": record.optimum, "task_index": record.task_index}


@lru_cache
def _limit(world: str) -> int | None:
    env = world_named(world).make()
    limit = step_limit(env)
    env.close()
    return limit


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _same(given: Any, own: Any) -> bool:
    if given is None or own is None:
        return given is own
    return _is_finite(given) and abs(given - own) <= _CLOSE * max(1.0, abs(own))


def _near(name: Any, known: Iterable[str]) -> str:
    near = get_close_matches(name, list(known), n=1, cutoff=0.5) if isinstance(name, str) else []
    return f" (did you mean {near[0]}?)" if near and near[0] != name else ""


def _short(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 60 else f"{text[:57]}..."
