"""Every episode counts, intervals are averaged, curves are what was recorded, and cadence never drifts."""

import json
import os
import signal

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engram_rl.training.cadence import Every
from engram_rl.training.interrupt import StopRequest
from engram_rl.training.logging.curves import draw_learning_curve, draw_learning_curves, running_mean, running_mean_at
from engram_rl.training.logging.logger import EPISODES, METRICS, RunLogger, read_rows
from engram_rl.training.rollout import Episodes, environment_metrics


def episodes(*returns):
    return Episodes(np.array(returns, dtype=float), np.full(len(returns), 7))


def test_an_interval_averages_all_episodes_and_all_metrics(tmp_path):
    logger = RunLogger(tmp_path, success_above=2.0)
    for step, returns in ((8, (1.0, 2.0)), (16, ()), (24, (6.0,))):
        logger.record({"train/loss": float(step)})
        logger.record_episodes(step, episodes(*returns))
    logger.write(24)
    logger.write(32)
    logger.close()
    first, second = read_rows(tmp_path / METRICS)
    assert first["rollout/ep_rew_mean"] == 3.0
    assert first["rollout/ep_len_mean"] == 7.0
    assert first["rollout/success_rate"] == pytest.approx(1 / 3)
    assert first["train/loss"] == 16.0
    assert "rollout/ep_rew_mean" not in second
    assert [row["return"] for row in read_rows(tmp_path / EPISODES)] == [1.0, 2.0, 6.0]


def test_tensorboard_holds_the_same_numbers(tmp_path):
    logger = RunLogger(tmp_path)
    logger.record({"train/loss": 2.5})
    logger.write(100)
    logger.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    (event,) = events.Scalars("train/loss")
    assert (event.step, event.value) == (100, 2.5)


def test_a_continued_logger_drops_what_came_after_the_checkpoint_and_keeps_the_open_interval(tmp_path):
    logger = RunLogger(tmp_path)
    logger.record_episodes(5, episodes(10.0))
    state = logger.state_dict()
    logger.record_episodes(9, episodes(99.0))
    logger.write(9)
    logger.close()
    again = RunLogger(tmp_path, step=5, state=state)
    again.record_episodes(7, episodes(20.0))
    again.write(10)
    again.close()
    assert [row["return"] for row in read_rows(tmp_path / EPISODES)] == [10.0, 20.0]
    assert [row["rollout/ep_rew_mean"] for row in read_rows(tmp_path / METRICS)] == [15.0]


def test_a_line_cut_short_by_a_crash_is_left_out(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"step": 1}) + '\n{"st')
    assert read_rows(path) == [{"step": 1}]
    assert read_rows(tmp_path / "absent") == []


def test_running_mean_against_a_loop():
    values = np.random.default_rng(0).normal(size=50)
    slow = [values[max(0, i - 6) : i + 1].mean() for i in range(50)]
    assert np.allclose(running_mean(values, window=7), slow)


def test_the_curve_holds_its_last_value_until_the_next_episode_ends():
    at = running_mean_at(np.array([0, 10, 15, 20, 30]), np.array([10, 20]), np.array([4.0, 8.0]))
    assert at.tolist() == [4.0, 4.0, 4.0, 6.0, 6.0]


def test_curves_are_drawn_for_one_run_for_several_and_for_none(tmp_path):
    folders = []
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        rows = [{"step": 10 * i, "return": float(i + seed), "length": 1} for i in range(1, 30)]
        (folder / EPISODES).write_text("".join(json.dumps(row) + "\n" for row in rows))
        folders.append(folder)
    (tmp_path / "empty").mkdir()
    for name, runs in (("one", folders[:1]), ("none", [tmp_path / "empty"])):
        assert draw_learning_curve(runs, tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    several = draw_learning_curves({"a": folders, "b": folders[:1]}, tmp_path / "several.png", title="two")
    assert several.read_bytes() != (tmp_path / "one.png").read_bytes()


def test_something_happens_every_so_many_steps_whatever_the_stride():
    every = Every(100)
    assert [step for step in range(8, 500, 8) if every(step)] == [104, 200, 304, 400]
    assert not any(Every(0)(step) for step in range(100))


def test_a_resumed_cadence_goes_on_where_it_was():
    every = Every(100, step=200)
    assert [step for step in range(208, 420, 8) if every(step)] == [304, 400]


def test_the_first_signal_asks_to_stop_and_the_handler_is_put_back():
    before = signal.getsignal(signal.SIGTERM)
    with StopRequest() as stop:
        assert not stop
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert signal.getsignal(signal.SIGTERM) is before
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_task_index_is_logged_where_there_is_one():
    assert environment_metrics({"task_index": np.array([0, 1])}) == {"env/task_index": 0.5}
    assert environment_metrics({}) == {}
