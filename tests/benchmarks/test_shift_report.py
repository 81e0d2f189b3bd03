"""What the table and the figures of the shifting-target bench promise, on rows made by hand."""

import numpy as np
import pytest

from benchmarks.shift.figures import draw
from benchmarks.shift.report import is_published_setting, table
from benchmarks.shift.results import areas, entrants, improvement

TASK_INDEX = [0] * 10 + [1] * 10
OPTIMUM = [4] * 20


def row(agent, costs, seed=0, layout_seed=None, budget="own", **changes):
    costs = np.broadcast_to(costs, 20).astype(int).tolist()
    regret = sum(costs) - sum(OPTIMUM)
    return {
        "agent": agent,
        "seed": seed,
        "layout_seed": layout_seed,
        "budget": budget,
        "episodes": 20,
        "measure": "steps",
        "solved": 20,
        "steps": sum(costs),
        "mean_return": 1.0,
        "regret": regret,
        "regret_after_shift": sum(costs[10:15]) - 20,
        "recovery": 0,
        "recoveries": [0],
        "env_steps": sum(costs),
        "gradient_steps": 7,
        "seconds": 1.5,
        "entries": 42,
        "privileged": "goal",
        "costs": costs,
        "returns": [1.0] * 20,
        "optimum": OPTIMUM,
        "task_index": TASK_INDEX,
        **changes,
    }


def cells(rows, quote_published=False):
    lines = table(entrants(rows), quote_published).splitlines()
    split = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return [dict(zip(split[0], line, strict=True)) for line in split[2:]]


def test_runs_are_grouped_by_agent_and_budget_the_best_first():
    rows = [row("slow", 9), row("fast", 5, seed=1), row("fast", 6), row("fast", 4, budget=64)]
    assert [(e.agent, e.budget, len(e.rows)) for e in entrants(rows)] == [
        ("fast", 64, 1),
        ("fast", "own", 2),
        ("slow", "own", 1),
    ]


def test_where_returns_are_the_measure_the_highest_is_best():
    rows = [row("low", 1, measure="return", mean_return=0.1), row("high", 9, measure="return", mean_return=0.9)]
    assert [entrant.agent for entrant in entrants(rows)] == ["high", "low"]
    assert [line["return"] for line in cells(rows)] == ["0.900", "0.100"]


def test_every_line_carries_what_the_agent_took_and_knew():
    (line,) = cells([row("fast", 5)])
    assert (line["env steps"], line["gradient steps"], line["seconds"], line["entries"], line["privileged"]) == (
        "100",
        "7",
        "1.5",
        "42",
        "goal",
    )


def test_figures_come_with_intervals_over_runs_and_a_lone_run_has_none():
    several, alone = cells([row("fast", 5, seed=seed) for seed in range(10)] + [row("slow", 9)])
    assert several["regret"] == "20 [20, 20]" and several["runs"] == "10"
    assert alone["regret"] == "100"


def test_layouts_with_several_runs_each_are_strata_and_layouts_with_one_are_the_sample():
    crossed = [row("a", 4 + layout, seed=seed, layout_seed=layout) for layout in range(3) for seed in range(2)]
    (entrant,) = entrants(crossed)
    np.testing.assert_array_equal(entrant.by_task(entrant.values("steps")), [[80, 100, 120], [80, 100, 120]])
    (entrant,) = entrants(crossed[::2])
    np.testing.assert_array_equal(entrant.by_task(entrant.values("steps")), [[80], [100], [120]])


def test_a_recovery_that_never_came_counts_as_infinite():
    never = {"recovery": None, "recoveries": [None]}
    (line,) = cells([row("a", 5, seed=seed, **(never if seed else {})) for seed in range(4)])
    assert line["recovery"].startswith("inf") and line["recovered"] == "1 of 4"


def test_columns_without_any_value_are_left_out():
    unknown = {"regret": None, "regret_after_shift": None, "recovery": None, "recoveries": None}
    (line,) = cells([row("a", 5, optimum=[None] * 20, **unknown)])
    assert not {"regret", "after shift", "recovery", "recovered", "area", "published"} & set(line)


def test_the_area_compares_with_random_on_the_same_episodes():
    everyone = entrants([row("random", 24), row("random", 44, seed=1), row("half", 19), row("best", 4)])
    found = {entrant.agent: areas(entrant, everyone).mean() for entrant in everyone}
    assert found == pytest.approx({"best": 1.0, "half": 0.5, "random": 0.0})
    others = entrants([row("random", 24, optimum=[5] * 20), row("best", 4)])
    assert np.isnan(areas(others[0], others)).all(), "random played other episodes"


def test_published_figures_are_quoted_beside_the_measured_ones_where_the_setting_is_theirs():
    quoted, own = cells([row("sb3_ppo", 5, budget=2048), row("sb3_ppo", 6)], quote_published=True)
    assert quoted["published"].startswith("54 (arXiv 2301.13758)") and own["published"].startswith("24")
    assert "published" not in cells([row("sb3_ppo", 5, budget=2048)])[0]


@pytest.mark.parametrize(
    ("kwargs", "layout_seed", "published"),
    [
        ({"n": 10, "layout_seed": None}, None, True),
        ({}, None, True),
        ({"n": 20}, None, False),
        ({}, 3, False),
        ({"layout_seed": 3}, None, False),
        ({"tell_shift": True}, None, False),
    ],
)
def test_only_shift_wall_as_published_is_the_published_setting(kwargs, layout_seed, published):
    played = row("sb3_ppo", 5, env_id="engram/ShiftWall-v0", env_kwargs=kwargs, layout_seed=layout_seed)
    assert is_published_setting(played) == published


def test_each_agent_is_compared_with_the_next():
    text = table(
        entrants([row("slow", 9, seed=s) for s in range(3)] + [row("fast", 5, seed=s) for s in range(3)]), False
    )
    assert "- fast over slow: 1.00 (1.00 to 1.00)" in text


def test_agents_are_compared_on_the_same_layout_where_layouts_differ_between_runs():
    """Run by run the first agent always wins; pooled, the spread of the layouts would hide it."""
    spread = [(seed, [4 + 3 * seed] * 20) for seed in range(4)]
    rows = [row("a", at[0] + 1, seed=seed, optimum=at, regret=20) for seed, at in spread]
    rows += [row("b", at[0] + 2, seed=seed, optimum=at, regret=40) for seed, at in spread]
    first, second = entrants(rows)
    assert improvement(first, second).point == 1.0
    assert np.isclose(improvement(second, first).point, 0.0)


def test_figures_are_drawn_with_and_without_a_limit_and_for_shifts_that_differ_between_runs(tmp_path):
    jittered = [0] * 8 + [1] * 12
    rows = [row("a", 5), row("a", 6, seed=1, task_index=jittered), row("b", 9)]
    assert [path.name for path in draw(entrants(rows), tmp_path, "x")] == ["shift_x_cost.png", "shift_x_recovery.png"]
    endless = [row("a", 5, regret=None, optimum=[None] * 20)]
    assert [path.name for path in draw(entrants(endless), tmp_path, "y")] == ["shift_y_cost.png"]


def test_shifts_without_enough_episodes_around_them_have_no_recovery_figure(tmp_path):
    for task_index in (list(range(20)), [0] * 3 + [1] * 17):
        rows = [row("a", 5, task_index=task_index, recoveries=[], recovery=None)]
        assert [path.name for path in draw(entrants(rows), tmp_path, "z")] == ["shift_z_cost.png"]


def test_where_the_target_is_hidden_the_first_episode_after_a_shift_has_a_column():
    costs = [4] * 10 + [30] + [5] * 9
    (line,) = cells([row("fast", costs, after_find=1.25, first_on_return=30)])
    assert (line["first"], line["on return"], line["after find"]) == ("30.0", "30.0", "1.25")
    assert not {"first", "on return", "after find"} & cells([row("old", costs)])[0].keys()
