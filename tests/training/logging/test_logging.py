"""Every episode counts, intervals are averaged, curves are what was recorded, and cadence never drifts."""

import json
import math
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from engram_rl.training.cadence import Every
from engram_rl.training.errors import UsageError
from engram_rl.training.interrupt import StopRequest
from engram_rl.training.logging import logger as module
from engram_rl.training.logging.curves import draw_learning_curve, draw_learning_curves, running_mean, running_mean_at
from engram_rl.training.logging.logger import (
    EPISODES,
    METRICS,
    DivergedError,
    RunLogger,
    read_episodes,
    read_metrics,
    read_rows,
)
from engram_rl.training.rollout import Episodes, environment_metrics
from engram_rl.training.statistics import performance_curve


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


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_ends_learning_and_nothing_else_does(tmp_path, value):
    logger = RunLogger(tmp_path)
    with pytest.raises(DivergedError, match=f"train/q_loss is {value}: learning has diverged"):
        logger.record({"train/q_loss": value})
    logger.record({"train/gradient": value, "eval/loss": value, "memory/age": 2.0})
    logger.write(10)
    logger.close()
    (row,) = read_rows(tmp_path / METRICS)
    assert row["memory/age"] == logger.last["memory/age"] == 2.0
    assert not {"train/gradient", "eval/loss"} & (row.keys() | logger.last.keys()), "JSON knows no such numbers"


def test_what_is_no_number_is_named(tmp_path):
    logger = RunLogger(tmp_path)
    with pytest.raises(UsageError, match="train/mood, which learning told, is 'good'"):
        logger.record({"train/mood": "good"})
    logger.record({"train/loss": np.float32(2)})
    assert logger.state_dict()["values"] == {"train/loss": [2.0]}


class Clock:
    def __init__(self, *times):
        self.perf_counter = iter(times).__next__
        self.process_time = time.process_time


def test_a_row_has_all_means_the_speed_of_its_interval_and_what_the_process_takes(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "time", Clock(100.0, 100.5, 101.0, 105.0, 106.0, 106.0, 106.0))
    logger = RunLogger(tmp_path, step=1000)
    for step in (1200, 1300, 1400):
        logger.record({"train/loss": 1.0})
        logger.write(step)
    logger.close()
    rows = read_rows(tmp_path / METRICS)
    assert [row["time/fps"] for row in rows] == [200 / 0.5, 100 / 4, 100 / 1e-9]  # the clock may stand still
    names = {"step", "train/loss", "time/fps", "time/processor_s", "time/rss_mb"}
    assert [set(row) for row in rows] == [names] * 3
    assert rows[0]["time/processor_s"] == pytest.approx(time.process_time(), rel=0.5)
    status = Path("/proc/self/status").read_text()
    resident = 1024 * int(status.partition("VmRSS:")[2].split()[0]) / 1e6
    assert rows[-1]["time/rss_mb"] == pytest.approx(resident, rel=0.05)


def test_where_the_system_tells_no_memory_there_is_none_in_the_row(tmp_path, monkeypatch):
    def absent(path, *given, **more):
        raise FileNotFoundError(path)

    logger = RunLogger(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(module.Path, "read_text", absent)
        logger.write(10)
    (row,) = read_rows(tmp_path / METRICS)
    assert row.keys() == {"step", "time/fps", "time/processor_s"}


@pytest.mark.parametrize(
    ("values", "returns", "closing", "rows"),
    [
        (False, False, False, 1), (False, False, True, 0), (True, False, True, 1), (False, True, True, 1),
        (True, True, True, 1), (True, True, False, 1),
    ],
)  # fmt: skip
def test_the_interval_that_an_end_cuts_short_is_marked_and_left_out_where_nothing_was_recorded(
    tmp_path, values, returns, closing, rows
):
    logger = RunLogger(tmp_path)
    if values:
        logger.record({"train/loss": 1.0})
    logger.record_episodes(3, episodes(*[5.0] * returns))
    logger.write(10, closing=closing)
    logger.close()
    written = read_rows(tmp_path / METRICS)
    assert len(written) == rows
    assert all(row.get("closing", False) is closing for row in written)
    assert (tmp_path / EPISODES).exists() is returns, "no episode, no line"
    plain = RunLogger(tmp_path / "plain")
    (tmp_path / "plain").mkdir(exist_ok=True)
    plain.write(10)
    assert "closing" not in read_rows(tmp_path / "plain" / METRICS)[0], "an interval is whole unless told otherwise"


def test_rows_up_to_the_checkpoint_stay_but_for_the_one_that_an_end_cut_short(tmp_path):
    rows = [{"step": 4, "a": 1.0}, {"step": 5, "a": 2.0}, {"step": 5, "closing": True}, {"step": 6, "a": 3.0}]
    for name in (METRICS, EPISODES):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    RunLogger(tmp_path, step=5).close()
    for name in (METRICS, EPISODES):
        assert (tmp_path / name).read_text() == '{"step": 4, "a": 1.0}\n{"step": 5, "a": 2.0}\n'
    (tmp_path / METRICS).write_text('{"step": 1}\n')
    RunLogger(tmp_path).close()
    assert (tmp_path / METRICS).read_text() == "", "a run begins at step 0"


def test_tensorboard_shows_a_continued_run_as_one_curve(tmp_path):
    for step, points in ((0, (4, 5, 6, 7)), (5, (6, 8))):
        for file in tmp_path.glob("events.*"):  # which TensorBoard orders by the second in their names
            file.rename(file.with_name(file.name.replace(".tfevents.", ".tfevents.0")))
        logger = RunLogger(tmp_path, step=step)
        for point in points:
            logger.record({"train/loss": float(100 * step + point)})
            logger.write(point)
        logger.close()
    events = EventAccumulator(str(tmp_path)).Reload().Scalars("train/loss")
    assert [(event.step, event.value) for event in events] == [(4, 4), (5, 5), (6, 506), (8, 508)]


def test_episodes_have_a_return_and_a_length_each(tmp_path):
    logger = RunLogger(tmp_path)
    logger.record_episodes(7, Episodes(np.array([1.5, 2.0]), np.array([3, 4])))
    rows = [{"step": 7, "return": 1.5, "length": 3}, {"step": 7, "return": 2.0, "length": 4}]
    assert (tmp_path / EPISODES).read_text() == "".join(json.dumps(row) + "\n" for row in rows)
    logger.write(8)
    assert "rollout/success_rate" not in logger.last, "no limit is known"
    with pytest.raises(ValueError, match="zip"):
        logger.record_episodes(9, Episodes(np.array([1.5, 2.0]), np.array([3])))


class Beside:
    def __init__(self):
        self.points, self.closed = [], 0

    def write(self, step, means):
        self.points.append((step, means))

    def close(self):
        self.closed += 1


def test_others_are_told_every_point_and_the_end(tmp_path):
    others = [Beside(), Beside()]
    logger = RunLogger(tmp_path, beside=others)
    logger.record({"train/loss": 1.0})
    logger.record({"train/loss": 3.0})
    logger.write(10)
    logger.close()
    for other in others:
        ((step, means),) = other.points
        assert step == 10 and means["train/loss"] == 2.0 and "time/fps" in means and other.closed == 1


def test_the_progress_bar_shows_the_last_return_and_size_of_memory(tmp_path):
    logger = RunLogger(tmp_path)
    assert logger.headline() == {}
    logger.record({"memory/size": 41.0})
    logger.write(10)
    assert logger.headline() == {"memory": "41"}
    logger.record_episodes(11, episodes(1.0, 2.2))
    logger.write(20)
    assert logger.headline() == {"return": "2", "memory": "41"}


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


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved."""
    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: saved.append(figure))
    return saved


def folder_of(path, *rows):
    """A run's folder with episodes of these steps and returns."""
    path.mkdir()
    lines = [json.dumps({"step": step, "return": value, "length": 1}) + "\n" for step, value in rows]
    (path / EPISODES).write_text("".join(lines))
    return path


def points_of(line):
    return np.column_stack(line.get_data()).tolist()


def test_the_curve_of_one_run_is_every_episode_and_the_mean_of_the_last_twenty(tmp_path, figures):
    rows = [(10 * n, float(n % 7)) for n in range(1, 31)]
    draw_learning_curve([folder_of(tmp_path / "a", *rows)], tmp_path / "curve.png")
    (figure,) = figures
    (axes,) = figure.axes
    dots, mean = axes.lines
    assert points_of(dots) == [list(map(float, row)) for row in rows]
    assert (dots.get_marker(), dots.get_linestyle(), dots.get_markersize(), dots.get_alpha()) == (".", "None", 3, 0.3)
    assert dots.get_color() == mean.get_color() == "C0"
    grid = np.linspace(0, 300, 200)
    slow = [np.mean([value for step, value in rows if step <= max(at, 10)][-20:]) for at in grid]
    np.testing.assert_allclose(points_of(mean), np.column_stack([grid, slow]))
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["mean of the last 20 episodes"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("environment steps", "episode return", "")
    assert not axes.get_legend().get_frame_on()
    assert {line.get_alpha() for line in axes.get_xgridlines()} == {0.3}


def test_the_curve_of_several_runs_is_their_interquartile_mean_with_its_interval(tmp_path, figures):
    runs = [[(10 * n, float(n + 3 * seed)) for n in range(1, 5 + seed)] for seed in range(3)]
    folders = [folder_of(tmp_path / f"{number}", *rows) for number, rows in enumerate(runs)]
    groups = {"three": folders, "one": folders[:1], "unfinished": [folders[0], folder_of(tmp_path / "none")]}
    draw_learning_curves(groups, tmp_path / "curve.png", title="of both")
    (axes,) = figures[0].axes
    three, dots, one, unfinished = axes.lines
    grid = np.linspace(0, 60, 200)  # as far as the longest got
    slow = np.array([[np.mean([v for step, v in rows if step <= max(at, 10)][-20:]) for at in grid] for rows in runs])
    curve = performance_curve(slow)
    np.testing.assert_allclose(points_of(three), np.column_stack([grid, curve.point]))
    (band,) = axes.collections
    vertices = band.get_paths()[0].vertices
    for at, low, high in zip(grid[1:-1:20], curve.low[1:-1:20], curve.high[1:-1:20], strict=True):
        there = vertices[np.isclose(vertices[:, 0], at), 1]
        assert (there.min(), there.max()) == pytest.approx((low, high))
    assert band.get_alpha() == 0.2
    assert [line.get_color() for line in (three, dots, one, unfinished)] == ["C0", "C1", "C1", "C2"]
    assert len(unfinished.get_xdata()) == 0
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["three", "one", "unfinished (no episode ended)"] and axes.get_title() == "of both"


def test_a_curve_is_an_image_of_840_by_480(tmp_path):
    with Image.open(draw_learning_curve([folder_of(tmp_path / "a", (1, 2.0))], tmp_path / "curve.png")) as image:
        assert image.size == (840, 480)


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


GOOD = '{"step": 8, "return": 1.0, "length": 8}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "is no JSON"),
        ("[1]", r"is \[1\], no JSON object"),
        ("null", "is null, no JSON object"),
        ('{"step": 8, "length": 8}', "has no 'return'"),
        ('{"return": 1.0, "length": 8}', "has no 'step'"),
        ('{"step": "8", "return": 1.0, "length": 8}', "has 'step': '8', which is no number"),
        ('{"step": 8, "return": null, "length": 8}', "has 'return': None, which is no number"),
    ],
)
def test_an_episode_that_was_changed_is_named_by_file_and_line(tmp_path, line, message):
    (tmp_path / EPISODES).write_text(f"{GOOD}\n{line}\n{GOOD}\n")
    with pytest.raises(UsageError, match=rf"Line 2 of .*{EPISODES} {message}.*Put back what was there, or remove it"):
        read_episodes(tmp_path)


def test_a_curve_that_was_changed_is_named_by_file_and_line(tmp_path):
    (tmp_path / METRICS).write_text('{"step": 1, "train/loss": 0.5}\n{"train/loss": 0.5}\n')
    with pytest.raises(UsageError, match=rf"Line 2 of .*{METRICS} has no 'step'"):
        read_metrics(tmp_path)
    with pytest.raises(UsageError, match=rf"Line 2 of .*{METRICS} has no 'step'"):
        RunLogger(tmp_path, 1)
    (tmp_path / METRICS).write_bytes(b"\xff\xfe\n")
    with pytest.raises(UsageError, match=rf"{METRICS} is no text"):
        read_metrics(tmp_path)


def test_a_last_line_cut_short_by_a_crash_is_left_out(tmp_path):
    (tmp_path / EPISODES).write_text(f"{GOOD}\n{GOOD[:9]}")
    assert len(read_episodes(tmp_path)) == 1
    assert read_episodes(tmp_path / "none") == []
