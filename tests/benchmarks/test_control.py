"""What the control benchmark promises: one complete row a run, none done twice, a stated measure."""

import json

import numpy as np
import pytest

from benchmarks.control.__main__ import main
from benchmarks.control.baselines import build_model, scheduled
from benchmarks.control.record import MARKS, Record, scores, task_success
from benchmarks.control.report import steps_to_success, table
from benchmarks.control.runs import resolve, resolve_agent
from benchmarks.runs import append_row, read_rows
from engram_rl.training.errors import UsageError

TINY = "nec memory.k=5 learn_after=50 hidden=[8]"
FIELDS = {"env", "agent", "seed", "auc", "score", "env_steps", "gradient_steps", "seconds", "entries"}


def command(out, *arguments):
    return main(
        ["env=cartpole", f"agents=['{TINY}']", "steps=400", "workers=1", "progress=false", f"out={out}", *arguments]
    )


def test_a_run_is_one_complete_row_and_is_not_repeated(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    assert command(out, "seeds=[3]") == 0
    rows = read_rows(out)
    assert len(rows) == 1
    assert rows[0].keys() >= FIELDS
    assert rows[0]["env_steps"] == 400
    assert 60 < rows[0]["gradient_steps"] <= (400 - 48) // 4  # one every 4 steps, once 50 passed and an episode ended
    assert 0 < rows[0]["entries"] <= 400
    assert list(rows[0]["score"]) == [str(10 * (i + 1)) for i in range(MARKS)]

    assert command(out, "seeds=[3,4]") == 0
    assert [row["seed"] for row in read_rows(out)] == [3, 4]
    assert read_rows(out)[0] == rows[0]
    assert "| 2 |" in capsys.readouterr().out
    assert (tmp_path / "control_cartpole_400.png").stat().st_size > 1000


def test_the_score_is_the_mean_of_the_last_20_training_episodes():
    record = Record(steps=list(range(10, 410, 10)), returns=[float(i) for i in range(40)])
    found = scores(record, 400, success_above=20.5)
    assert found["score"]["400"] == np.mean(range(20, 40))
    assert found["score"]["100"] == np.mean(range(10))
    assert found["score"]["10"] == 0
    assert found["success"]["400"] == 19 / 20
    by_hand = [np.mean(range(max(0, n - 20), n)) for n in range(1, 40)]  # each for 10 steps, after the first's 10
    assert found["auc"] == pytest.approx(sum(by_hand) / 40, rel=0.005)


def test_a_run_in_which_no_episode_ended_has_no_score():
    found = scores(Record(), 100, None)
    assert found["auc"] is None
    assert set(found["score"].values()) == {None}


def test_what_differs_from_the_yaml_stands_in_the_name_and_makes_another_run():
    plain, changed = resolve("cartpole", {}, ["nec", "nec memory.k=11 +row_learning_rate=null"], [0], 100)
    assert (changed.settings["memory"]["k"], changed.settings["row_learning_rate"]) == (11, None)
    assert plain.key != changed.key
    assert plain.key == resolve("CartPole-v1", {"success_above": 474.99}, ["nec"], [0], 100)[0].key


@pytest.mark.parametrize(
    ("agent", "message"), [("nec2", "no agent 'nec2'.*nec"), ("nec memory.kk=3", "no key 'kk'.*k")]
)
def test_a_misspelt_agent_or_setting_is_refused_with_the_nearest_word(agent, message):
    with pytest.raises(UsageError, match=message):
        resolve_agent(agent, "CartPole-v1")


def test_what_the_library_normalises_it_keeps_as_it_is():
    """Its buffers have the observation's type: an integer's would cut what is normalised to whole numbers."""
    settings = "sb3_ppo n_envs=2 n_steps=8 batch_size=16 normalize=true"
    (run,) = resolve("minigrid", {"id": "MiniGrid-DoorKey-5x5-v0"}, [settings], [0], 16)
    model = build_model(run)
    model.learn(16)
    kept = model.rollout_buffer.observations
    assert np.abs(kept - kept.round()).max() > 0.1


@pytest.mark.parametrize(
    "agent",
    [
        "sb3_dqn learning_starts=50 train_freq=50 gradient_steps=3",
        "sb3_ppo n_epochs=2 counts=0.1",
        "sb3_recurrent_ppo n_steps=64 batch_size=64 n_epochs=1",
    ],
)
def test_baselines_train_within_the_same_budget_and_leave_the_same_row(tmp_path, agent):
    out = tmp_path / "rows.jsonl"
    assert command(out, f"agents=[{agent}]", "seeds=[0]") == 0
    row = read_rows(out)[0]
    assert row.keys() >= FIELDS
    assert 400 <= row["env_steps"] < 400 + 8 * 32  # whole rollouts
    assert row["gradient_steps"] > 0
    assert row["score"]["400"] > 9  # an episode of CartPole lasts at least that long


def test_baselines_have_the_zoos_settings_for_the_task():
    assert resolve_agent("sb3_dqn", "CartPole-v1")["target_update_interval"] == 10
    assert resolve_agent("sb3_ppo gamma=0.9", "CartPole-v1")["gamma"] == 0.9
    assert resolve_agent("sb3_ppo", "Unheard-v0") == {"n_envs": 1, "normalize": False}
    assert scheduled("lin_0.5")(0.1) == pytest.approx(0.05)


def test_a_misspelt_environment_is_refused():
    with pytest.raises(UsageError, match=r"no environment 'cartpol'.*cartpole"):
        resolve("cartpol", {}, ["nec"], [0], 100)


def test_a_line_cut_short_by_a_crash_is_passed_over(tmp_path):
    out = tmp_path / "rows.jsonl"
    append_row(out, {"key": "a"})
    with out.open("a") as file:
        file.write('{"key": "b", "sco')
    append_row(out, {"key": "c"})
    assert [row["key"] for row in read_rows(out)] == ["a", "c"]


def test_a_file_of_something_else_is_not_taken_for_rows(tmp_path):
    out = tmp_path / "rows.jsonl"
    out.write_text(json.dumps({"other": 1}) + "\n")
    with pytest.raises(UsageError, match="no file of runs"):
        read_rows(out)


def test_success_around_shifts_is_a_mean_over_tasks():
    record = Record(
        steps=[10, 25, 30, 31, 40, 55, 60, 70, 90],  # a task lasts 30 steps
        returns=[0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0, 0.0],
    )
    found = task_success(record, 30, success_above=0.5)
    assert found == {"first_end": 1.0, "later_begin": (0 + 1) / 2, "later_end": (1 + 0) / 2}
    assert task_success(Record(), 30, 0.5) == {"first_end": None, "later_begin": None, "later_end": None}


def test_an_agent_may_have_values_of_the_environment_of_its_own():
    alone, eight = resolve("cartpole", {}, ["nec env.num_envs=1 memory.k=7", "nec"], [0], 100)
    assert (alone.environment["num_envs"], eight.environment["num_envs"]) == (1, 8)
    assert alone.settings["memory"]["k"] == 7
    assert alone.key != eight.key


def test_our_ppo_takes_the_zoos_values_for_the_task():
    (run,) = resolve("Acrobot-v1", {}, ["zoo_ppo epochs=3"], [0], 1000)
    chosen = {"num_steps": 256, "minibatch_size": 64, "gae_lambda": 0.94, "normalise_observations": True, "epochs": 3}
    assert run.settings.items() >= chosen.items()
    assert run.environment["num_envs"] == 16 and not run.baseline
    (cartpole,) = resolve("cartpole", {}, ["zoo_ppo"], [0], 1000)
    falling = {"_target_": "engram_rl.agents.common.schedules.Linear", "start": 0.001, "end": 0.0, "steps": 1000}
    assert cartpole.settings["learning_rate"] == falling


def test_the_table_states_the_area_up_to_each_shown_step_count():
    row = {"agent": "a", "auc": 2.5, "success": None, "by_task": None, "gradient_steps": 1, "seconds": 1, "entries": 1}
    row["score"] = {"10": 1.0, "20": 3.0, "30": 3.0, "40": 3.0}
    header, _, line = table({"a": [row]}).splitlines()[:3]
    shown = dict(zip(*([cell.strip() for cell in text.split("|")] for text in (header, line)), strict=True))
    assert shown["AUC to 10"].startswith("1.00")  # before the first score, the first is taken
    assert shown["AUC to 20"].startswith("1.50")  # (1 + (1 + 3) / 2) / 2
    assert shown["AUC"].startswith("2.50")


@pytest.mark.parametrize(
    ("shares", "steps"),
    [([0.0, 0.8, 1.0], 200), ([0.9, 0.8, 1.0], 100), ([1.0, 0.7, 0.9], 300), ([1.0, 1.0, 0.7], 300)],
)
def test_success_counts_from_where_it_is_never_lost_again(shares, steps):
    assert steps_to_success({"success": dict(zip(["100", "200", "300"], shares, strict=True))}) == steps


def test_one_value_among_an_environments_arguments_can_be_changed():
    run = resolve("newgoal", {"kwargs": {"period": 7}}, ["nec"], [0], 100)[0]
    assert run.environment["kwargs"] == {"n": 10, "period": 7, "jitter": 5, "layout_seed": None}
