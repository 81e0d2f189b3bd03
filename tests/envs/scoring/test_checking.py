"""Rows that others send: what is wrong is told by line, field, value and what it has to be."""

import json
import re

import numpy as np
import pytest

from engram_rl.envs.scoring import complaints, evaluate
from engram_rl.envs.scoring.rows import LISTS, scores


def walk(env, seed):
    random = np.random.default_rng(seed)
    while not env.finished:
        env.reset()
        done = False
        while not done:
            _, _, terminated, truncated, _ = env.step(int(random.integers(env.action_space.n)))
            done = terminated or truncated


@pytest.fixture(scope="module")
def rows():
    worlds = {"wall": "ShiftWall", "pole": "CartPoleShift"}
    return {name: next(evaluate(walk, world, [2], agent="walk", source="x")) for name, world in worlds.items()}


def wrong(*rows, replay=True):
    return list(complaints([json.dumps(row) for row in rows], replay))


def test_what_evaluate_gives_can_stand(rows):
    assert wrong(*rows.values()) == []
    bare = {name: value for name, value in rows["wall"].items() if name not in ("regret", "solved", "steps")}
    assert wrong(bare | {"provenance": {"anything": [1]}, "agent": "other"}) == []
    assert list(complaints(["", json.dumps(rows["wall"]), "  "])) == []


@pytest.mark.parametrize("name", ["schema", "agent", "versions", *LISTS])
def test_what_is_missing_is_named(rows, name):
    (one,) = wrong({key: value for key, value in rows["wall"].items() if key != name})
    assert one.startswith(f"line 1: {name} is missing: ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "engram-shift/0"}, 'schema is "engram-shift/0", but must be "engram-shift/1"'),
        ({"agent": " "}, "agent is "),
        ({"agent": 3}, "agent is 3, but must be a text"),
        ({"world": "shiftwall"}, r"world is .*did you mean ShiftWall\?"),
        ({"world": ["ShiftWall"]}, "world is .*must be one of"),
        ({"seed": -1}, "seed is -1, but must be a whole number"),
        ({"seed": True}, "seed is true"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"layout_seed": "a"}, "layout_seed is"),
        ({"budget": 0}, "budget is 0"),
        ({"budget": "all"}, 'budget is "all", but must be "own", or the practice steps'),
        ({"source": ""}, "source is "),
        ({"versions": {}}, 'versions is {}, but must be an object that names at least "gymnasium"'),
        ({"provenance": "me"}, "provenance is "),
        ({"episodes": 99}, "episodes is 99, but ShiftWall counts 100"),
        ({"costs": [1] * 99}, "costs has 99 items, but must be a list with one item for each of 100 episodes"),
        ({"costs": 3}, "costs is 3, but must be a list"),
        ({"solved": 1}, "solved is 1, but .* follows from the lists"),
        ({"regret": None}, "regret is null, but .* follows"),
        ({"recovery": 1}, "recovery is 1, but None follows"),
        ({"reward": 3}, r"'reward' is no field.*put what else"),
        ({"regrets": 3}, r"'regrets' is no field \(did you mean regret\?\)"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_what_it_must_be(rows, change, message):
    (one,) = wrong(rows["wall"] | change)
    assert one.startswith("line 1: ") and re.search(message, one), one


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("costs", 0, "whole number from 1"),
        ("costs", 2.5, "whole number from 1"),
        ("costs", 101, "an episode of ShiftWall ends after 100 steps"),
        ("costs", 10**400, "whole number from 1 to 9007199254740992"),
        ("returns", "1", "a finite number"),
        ("returns", 10**400, "a finite number"),
        ("solves", 2, "0 or 1"),
        ("solves", None, "0 or 1"),
        ("optimum", -1, "whole number from 0 to 9007199254740992, or null"),
        ("optimum", 10**400, "whole number from 0 to 9007199254740992, or null"),
        ("task_index", None, "whole number from 0 to 9007199254740992"),
        ("task_index", 10**400, "whole number from 0 to 9007199254740992"),
    ],
)
def test_an_item_of_a_list_that_is_wrong_is_named(rows, name, value, message):
    values = [*rows["wall"][name]]
    values[4] = value
    (one,) = wrong(rows["wall"] | {name: values})
    assert f"{name}[4] is" in one and message in one


def test_nan_is_no_return(rows):
    row = rows["wall"]
    (one,) = complaints([json.dumps(row | {"returns": [float("nan"), *row["returns"][1:]]})])
    assert "returns[0] is NaN, but must be a finite number" in one


def changed(row, **lists):
    """The row with other lists, and the scores that follow from them."""
    row = row | lists
    return row | scores(**{name: row[name] for name in LISTS})


def test_nobody_solves_an_episode_in_less_than_the_fewest_steps(rows):
    row = rows["wall"]
    at = next(i for i, solved in enumerate(row["solves"]) if solved and row["optimum"][i] > 1)
    costs = [*row["costs"]]
    costs[at] = row["optimum"][at] - 1
    (one,) = wrong(changed(row, costs=costs))
    assert f"costs[{at}] is {costs[at]}, but nobody solves this episode in fewer than" in one


def test_solved_is_what_the_world_calls_so(rows):
    (one,) = wrong(changed(rows["pole"], solves=[1, *rows["pole"]["solves"][1:]]))
    assert "solves[0] is 1" in one and "solved is above 474.99" in one


def test_rows_of_another_seed_or_other_settings_are_found(rows):
    row = rows["wall"]
    (one,) = wrong(row | {"layout_seed": 9})
    assert "optimum[" in one and "with this seed ShiftWall says" in one
    early = [0] * 40 + [1] * 60
    (one,) = wrong(changed(row, task_index=early))
    assert "task_index[40] is 1, but with this seed ShiftWall says 0 (10 of 100 episodes differ)" in one
    assert wrong(changed(row, task_index=early), replay=False) == []


def test_the_same_run_counts_once(rows):
    row = rows["wall"]
    (one,) = wrong(row, row | {"agent": "other"}, row)
    assert one.startswith("line 3: the same run as line 1")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "line 1: no JSON"),
        ("[1]", r"line 1: \[1\] is no JSON object"),
        ("3", "no JSON object"),
        ("[" * 100_000, "line 1: no JSON"),
        (f'{{"seed": {"9" * 5000}}}', "line 1: no JSON"),
    ],
)
def test_what_is_no_row_is_told(line, message):
    (one,) = complaints([line])
    assert re.search(message, one)
