"""What the shifting-target bench promises."""

import json

import numpy as np
import pytest

import engram_rl.envs  # noqa: F401  (registers engram/*)
from benchmarks.runs import append_row, carry_out, counted_gradient_steps, read_rows
from benchmarks.shift.__main__ import main
from benchmarks.shift.environment import default_episodes, resolve_environment
from benchmarks.shift.measure import measure
from benchmarks.shift.specs import run_specs
from engram_rl.training.errors import UsageError

SMALL = {"id": "engram/ShiftWall-v0", "kwargs": {"n": 4}, "wrappers": []}
SCORES = ["episodes", "solved", "steps", "regret", "regret_after_shift", "recovery"]
FIELDS = ["env", "agent", "seed", *SCORES, "env_steps", "gradient_steps", "seconds", "entries", "privileged"]


def specs(agents, seeds=(0,), env="small", environment=SMALL, layouts=(None,), budget="own", episodes=6):
    return run_specs(env, environment, agents, seeds, layouts, budget, episodes)


# Which runs


def test_every_agent_plays_the_same_layouts():
    for layout in (None, 7):
        rows = [measure(spec) for spec in specs(["oracle", "random"], layouts=[layout], episodes=55)]
        assert rows[0]["optimum"] == rows[1]["optimum"] and rows[0]["task_index"] == rows[1]["task_index"]
        assert rows[0]["regret"] == 0 < rows[1]["regret"]


def test_layout_seeds_draw_other_layouts():
    rows = [measure(spec) for spec in specs(["oracle"], layouts=[None, 1, 2], episodes=20)]
    assert len({tuple(row["optimum"]) for row in rows}) == 3


def test_the_key_of_a_run_holds_everything_that_defines_it_and_not_its_name():
    base = specs(["random"])[0]
    others = [
        specs(["oracle"])[0],
        specs(["random"], seeds=[1])[0],
        specs(["random"], layouts=[1])[0],
        specs(["random"], episodes=7)[0],
        specs(["random"], environment={**SMALL, "kwargs": {"n": 5}})[0],
    ]
    assert len({spec.key for spec in [base, *others]}) == 6
    assert specs(["random"], env="another name")[0].key == base.key


def test_policies_have_their_own_budget_since_practice_teaches_them_nothing():
    assert specs(["random"], budget=2048)[0].budget == "own"


def test_runs_go_seed_by_seed_so_that_a_stopped_bench_can_be_compared():
    order = [(spec.seed, spec.agent) for spec in specs(["oracle", "random"], seeds=[0, 1])]
    assert order == [(0, "oracle"), (0, "random"), (1, "oracle"), (1, "random")]


def test_an_unknown_agent_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="Did you mean random"):
        specs(["randon"])


def test_settings_given_to_a_policy_are_refused():
    with pytest.raises(UsageError, match="has no settings"):
        specs(["random depth=3"])


def test_an_unknown_environment_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="engram/ShiftWall-v0"):
        resolve_environment("engram/ShiftWal-v0", {})


def test_arguments_that_the_environment_refuses_are_refused_before_any_run():
    with pytest.raises(UsageError, match="n"):
        resolve_environment("engram/ShiftWall-v0", {"n": 1})


@pytest.mark.parametrize(
    "name",
    [
        "shiftwall",
        "scattershift",
        "hiddengoal",
        "recurringgoal",
        "newgoal",
        "driftgoal",
        "memoryplan",
        "tmaze",
        "emptyshift",
    ],
)
def test_random_plays_every_environment_of_the_suite_by_its_short_name(name):
    row = measure(specs(["random"], env=name, environment=resolve_environment(name, {}), episodes=2)[0])
    assert row["env"] == name and len(row["costs"]) == 2


def test_random_plays_environments_with_dict_observations_and_of_others():
    for name, options in (("maskedkey", {}), ("MiniGrid-Empty-5x5-v0", {"max_steps": 10})):
        assert measure(specs(["random"], environment=resolve_environment(name, options), episodes=2)[0])["steps"] > 0


def test_a_policy_that_cannot_play_an_environment_says_so():
    spec = specs(["planner"], environment=resolve_environment("tmaze", {}))[0]
    with pytest.raises(UsageError, match="planner cannot play"):
        measure(spec)


def test_a_run_of_a_suite_environment_is_as_long_as_the_environment_says():
    assert default_episodes(resolve_environment("engram/ShiftWall-v0", {})) == 100
    assert default_episodes(resolve_environment("engram/MaskedKey-v0", {})) == 40


def test_where_the_fewest_steps_are_unknown_or_beside_the_point_the_return_is_the_measure():
    for name, options in (("tmaze", {"length": 3}), ("cartpoleshift", {"period": 2})):
        row = measure(specs(["random"], environment=resolve_environment(name, options))[0])
        assert row["measure"] == "return" and row["regret"] is None
        assert row["mean_return"] == pytest.approx(np.mean(row["returns"]), abs=1e-6)
    assert measure(specs(["random"])[0])["measure"] == "steps"


def test_where_the_configuration_says_what_return_is_a_success_falling_over_is_none():
    row = measure(specs(["random"], environment=resolve_environment("cartpoleshift", {}))[0])
    assert min(row["returns"]) > 0 and row["solved"] == 0


# Rows


def test_a_row_has_every_field_and_is_plain_json():
    row = measure(specs(["random"], episodes=60)[0])
    assert set(FIELDS) <= set(row)
    again = json.loads(json.dumps(row, allow_nan=False))
    assert again == row and len(row["costs"]) == row["episodes"] == 60
    assert row["steps"] == sum(row["costs"]) and row["solved"] == sum(row["solves"])
    assert row["regret"] == sum(row["costs"]) - sum(row["optimum"])
    assert row["regret_after_shift"] == sum(row["costs"][50:55]) - sum(row["optimum"][50:55])


@pytest.mark.parametrize(
    ("agent", "options", "privileged"),
    [
        ("random", {}, "goal"),
        ("random", {"show_goal": False}, "nothing"),
        ("random", {"tell_shift": True}, "goal, shift"),
        ("oracle", {"show_goal": False}, "everything"),
    ],
)
def test_a_row_says_what_the_agent_knew(agent, options, privileged):
    environment = {**SMALL, "kwargs": {"n": 4, **options}}
    assert measure(specs([agent], environment=environment)[0])["privileged"] == privileged


def test_savings_know_a_hidden_goal_that_returns():
    environment = resolve_environment("engram/RecurringGoal-v0", {"n": 4, "sites": 2, "period": 4, "jitter": 0})
    row = measure(specs(["random"], environment=environment, episodes=16)[0])
    assert row["task_index"] == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert len(row["savings"]) == 2, "each of the two sites returned once"


def test_gradient_steps_are_counted_whoever_owns_the_optimiser():
    import torch

    weight = torch.nn.Parameter(torch.ones(1))
    optimisers = [torch.optim.SGD([weight], lr=0.1), torch.optim.Adam([weight])]
    with counted_gradient_steps() as count:
        for optimiser in [*optimisers, optimisers[0]]:
            weight.grad = torch.ones(1)
            optimiser.step()
    optimisers[0].step()
    assert count == [3]


# Resuming


def test_a_second_call_runs_only_what_is_missing(tmp_path):
    out = tmp_path / "rows.jsonl"
    assert carry_out(specs(["random"], seeds=[0, 1]), measure, out, workers=1, progress=False) == {}
    before = out.read_text()
    carry_out(specs(["random"], seeds=[0, 1, 2]), measure, out, workers=1, progress=False)
    after = out.read_text()
    assert after.startswith(before)
    assert [row["seed"] for row in read_rows(out)] == [0, 1, 2]


def test_a_line_cut_short_by_a_crash_is_run_again_and_harms_no_other(tmp_path):
    out = tmp_path / "rows.jsonl"
    carry_out(specs(["random"], seeds=[0, 1]), measure, out, workers=1, progress=False)
    out.write_bytes(out.read_bytes()[:-40])
    assert [row["seed"] for row in read_rows(out)] == [0]
    carry_out(specs(["random"], seeds=[0, 1]), measure, out, workers=1, progress=False)
    assert [row["seed"] for row in read_rows(out)] == [0, 1]


def test_a_file_that_holds_something_else_is_refused_and_left_alone(tmp_path):
    out = tmp_path / "notes.txt"
    out.write_text("my notes\n")
    with pytest.raises(UsageError, match="no file of runs"):
        carry_out(specs(["random"]), measure, out, workers=1, progress=False)
    assert out.read_text() == "my notes\n"


def test_a_row_with_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        append_row(tmp_path / "rows.jsonl", {"key": "a", "steps": float("nan")})


def test_a_run_that_fails_is_reported_and_stops_no_other(tmp_path):
    def fail_for_seed_0(spec):
        if spec.seed == 0:
            raise ArithmeticError("diverged")
        return measure(spec)

    out = tmp_path / "rows.jsonl"
    (reason,) = carry_out(specs(["random"], seeds=[0, 1]), fail_for_seed_0, out, workers=1, progress=False).values()
    assert "fail_for_seed_0" in reason and reason.endswith("ArithmeticError: diverged")
    assert [row["seed"] for row in read_rows(out)] == [1]


def test_two_processes_give_the_rows_of_one(tmp_path):
    todo = specs(["random", "oracle"], seeds=[0, 1])
    for name, workers in (("one", 1), ("two", 2)):
        assert carry_out(todo, measure, tmp_path / name, workers=workers, progress=False) == {}
    when = {"seconds": 0, "date": "", "seal": ""}
    timeless = [{row["key"]: row | when for row in read_rows(tmp_path / name)} for name in ("one", "two")]
    assert timeless[0] == timeless[1] and len(timeless[0]) == 4


# The command


def run(tmp_path, *arguments):
    return main(["env=engram/ShiftWall-v0", "env.n=4", f"out={tmp_path / 'rows.jsonl'}", "progress=false", *arguments])


def test_the_command_writes_rows_a_table_and_figures(tmp_path, capsys):
    assert run(tmp_path, "agents=[oracle,random]", "seeds=2", "workers=1") == 0
    printed = capsys.readouterr().out
    assert len(read_rows(tmp_path / "rows.jsonl")) == 4
    for column in ("env steps", "gradient steps", "seconds", "entries", "privileged", "regret"):
        assert column in printed
    for figure in ("shift_engram_shiftwall-v0_n4_cost.png", "shift_engram_shiftwall-v0_n4_recovery.png"):
        assert (tmp_path / figure).stat().st_size > 10_000


def test_table_and_figures_come_back_from_the_file_alone(tmp_path, capsys):
    run(tmp_path, "agents=[oracle,random]", "seeds=2", "workers=1")
    first = capsys.readouterr().out
    rows = (tmp_path / "rows.jsonl").read_bytes()
    run(tmp_path, "agents=[]", "seeds=2", "workers=1")
    assert capsys.readouterr().out == first
    assert (tmp_path / "rows.jsonl").read_bytes() == rows


def test_rows_of_other_environments_and_layouts_stay_out_of_the_table(tmp_path, capsys):
    run(tmp_path, "agents=[random]", "seeds=2", "workers=1")
    run(tmp_path, "agents=[random]", "seeds=1", "layout_seeds=[0,1]", "workers=1", "episodes=5")
    capsys.readouterr()
    run(tmp_path, "agents=[]", "layout_seeds=[1]", "workers=1", "episodes=5")
    table = capsys.readouterr().out.splitlines()
    assert table[2].split("|")[3].strip() == "1"


# This project's agents


NEC = "nec learn_after=20 exploration.steps=20"


@pytest.mark.parametrize(("budget", "practised"), [("own", 0), (30, 60)])
def test_an_agent_of_the_project_learns_within_either_budget(budget, practised):
    row = measure(specs([NEC], budget=budget, episodes=2)[0])
    assert row["env_steps"] == practised + row["steps"]
    assert row["entries"] > 0 and row["gradient_steps"] > 0


def test_an_agents_settings_are_part_of_what_defines_a_run():
    assert specs(["nec"])[0].key != specs(["nec discount=0.9"])[0].key


def test_a_misspelt_setting_is_refused_with_the_nearest_name():
    with pytest.raises(UsageError, match="discount"):
        specs(["nec discout=0.9"])


def test_the_projects_own_agent_can_be_named_where_another_bears_the_name():
    assert specs(["agent/nec"])[0].settings == specs(["nec"])[0].settings
