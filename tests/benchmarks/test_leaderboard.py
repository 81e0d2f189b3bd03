"""The leaderboard: its page is of its rows, and rows of the bench come onto it with where they are from."""

import json

import pytest

from benchmarks.leaderboard import __main__ as command
from benchmarks.leaderboard.convert import converted, of_the_leaderboard, world_of
from benchmarks.leaderboard.page import PAGE, Standing, page, stored_rows
from benchmarks.report import stored
from engram_rl.envs.scoring import WORLDS
from engram_rl.envs.scoring.checking import of_row
from engram_rl.training.errors import UsageError


@pytest.fixture(scope="module")
def rows():
    return stored_rows()


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(stored_rows()), "python -m benchmarks.leaderboard"


def test_every_stored_row_can_stand(rows):
    assert rows and all(of_row(row, replay=False) == [] for row in rows)
    assert len({(row["agent"], row["world"], row["seed"], row["layout_seed"], row["budget"]) for row in rows}) == len(
        rows
    )


def test_a_row_of_the_bench_keeps_where_it_came_from():
    row = next(converted())
    assert row["provenance"]["file"].startswith("docs/results/") and row["provenance"]["seal"]
    name = row["provenance"]["file"].removeprefix("docs/results/").removesuffix(".jsonl")
    (origin,) = [one for one in stored.lines_of(name) if one["key"] == row["provenance"]["key"]]
    assert (origin["seal"], origin["command"]) == (row["provenance"]["seal"], row["source"])
    assert of_row(row) == []


def hidden(**changes):
    row = next(one for one in stored.lines_of("fast_slow_hiddengoal"))
    return row | changes


@pytest.mark.parametrize(
    ("changes", "world"),
    [
        ({}, "HiddenGoal"),
        ({"env_kwargs": {"n": 10, "period": 10, "jitter": 0, "layout_seed": None}}, None),
        ({"env_kwargs": {"n": 10, "period": 20, "jitter": 5, "layout_seed": None}}, None),
        ({"env_kwargs": {"n": 10, "period": 20, "jitter": 0, "layout_seed": None, "show_goal": True}}, None),
        ({"episodes": 100}, None),
    ],
)
def test_only_rows_of_a_worlds_own_settings_are_of_it(changes, world):
    assert world_of(hidden(**changes)) == world


def test_what_the_agent_was_shown_tells_worlds_apart():
    assert world_of(stored.lines_of("fast_slow_emptyshift")[0]) == "EmptyShift"
    assert world_of(stored.lines_of("fast_slow_emptyshift_partial")[0]) == "EmptyShiftPartial"


def test_scores_that_do_not_follow_are_refused():
    with pytest.raises(ValueError, match="do not follow"):
        of_the_leaderboard(hidden(regret=3), "HiddenGoal", "docs/results/x.jsonl")


def run(seed, regret):
    """A run of two episodes that cost so much above the fewest."""
    lists = {"costs": [5, 5 + regret], "returns": [1.0, 1.0], "solves": [1, 1], "optimum": [5, 5], "task_index": [0, 0]}
    said = {"agent": "a", "budget": "own", "seed": seed, "episodes": 2, "privileged": "nothing", "source": "here"}
    return said | lists | {"solved": 2, "regret": regret, "regret_after_shift": None, "recovery": None}


def test_intervals_are_of_ten_runs_and_fewer_come_last():
    few = Standing("few", "own", [run(seed, 1) for seed in range(9)], by_return=False)
    many = Standing("many", "own", [run(seed, seed) for seed in range(10)], by_return=False)
    assert few.cells()[3] == "1" and many.cells()[3].startswith("4 [")
    assert sorted([few, many], key=lambda one: one.place) == [many, few]


def test_an_agent_that_nobody_has_played_a_world_with_is_not_on_it(rows):
    nobody = page([row for row in rows if row["world"] != "ShiftWall"])
    assert "### ShiftWall\n" in nobody and "Nobody yet." in nobody
    assert all(f"### {name}\n" in nobody for name in WORLDS)


def test_check_says_what_is_wrong_by_file_and_line(tmp_path, capsys):
    good, bad = tmp_path / "good.jsonl", tmp_path / "bad.jsonl"
    row = next(converted())
    good.write_text(json.dumps(row) + "\n")
    bad.write_text(json.dumps(row | {"seed": -1}) + "\n{\n")
    assert command.main(["check", str(good)]) == 0
    assert command.main(["check", str(good), str(bad)]) == 1
    told = capsys.readouterr().err
    assert f"{bad}: line 1: seed is -1, but must be a whole number from 0" in told and "line 2: no JSON" in told


def test_a_file_without_rows_cannot_stand(tmp_path, capsys):
    (tmp_path / "empty.jsonl").write_text("\n")
    assert command.main(["check", str(tmp_path / "empty.jsonl")]) == 1
    assert "holds no row" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["chek", "x"], ["check"], ["convert", "x"], ["check", "no_such_file"]])
def test_what_is_no_command_is_refused(words):
    with pytest.raises(UsageError, match=r"check FILE, convert|There is no file"):
        command.main(words)
