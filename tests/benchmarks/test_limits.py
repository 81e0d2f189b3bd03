"""The limits come as a table and as JSON lines; the gallery as an image."""

import json
import sys

import numpy as np
import pytest

from benchmarks import gallery, limits
from benchmarks.episodes import Episodes
from engram_rl import envs
from engram_rl.envs.oracles import POLICIES


def run(module, monkeypatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments])
    return module.main()


def test_one_environment_can_be_asked_for(tmp_path, monkeypatch, capsys):
    out = tmp_path / "limits.jsonl"
    assert run(limits, monkeypatch, "only=MaskedKey", "runs=3", f"out={out}") == 0
    rows = [json.loads(each) for each in out.read_text().splitlines()]
    assert [(row["policy"], row["measure"]) for row in rows] == [
        ("oracle", "mean_return"),
        ("random", "mean_return"),
    ]
    assert (rows[0]["measured"], rows[0]["known"], rows[0]["agrees"]) == (16.0, 16.0, True)
    assert "MaskedKey" in capsys.readouterr().out


def test_an_unknown_environment_is_refused_with_the_known_ones(monkeypatch, capsys):
    assert run(limits, monkeypatch, "only=Chess") == 2
    assert "ShiftWall, ScatterShift" in capsys.readouterr().out


def test_every_figure_has_a_measure_and_a_policy():
    assert all(figure.measure in limits.MEASURES and figure.policy in POLICIES for figure in limits.figures())


def test_every_known_figure_of_the_suite_is_in_the_table():
    known = {
        (figure.environment, figure.measure, figure.known) for figure in limits.figures() if figure.known is not None
    }
    assert {
        ("ShiftWall", "steps", 755),
        ("ShiftWall", "regret", 59),
        ("ShiftWall", "regret", 326),
        ("ShiftWall", "regret", 7485),
        ("ShiftWall", "regret", 1430),
        ("ShiftWall", "solved", 92.8),
        ("HiddenGoal", "block", 180),
        ("RecurringGoal", "first_after_shift", 10.2),
        ("RecurringGoal", "first_after_shift", 14.2),
        ("DriftGoal", "mean_steps", 13.2),
    } <= known


@pytest.mark.parametrize(
    ("known", "mean", "margin", "agrees"),
    [(59, 58.6, 1.0, True), (59, 49.0, 1.0, False), ((6.8, 7.2), 7.0, 0.0, True), ((6.8, 7.2), 6.5, 0.1, False)],
)
def test_a_figure_agrees_if_its_interval_reaches_what_is_known(known, mean, margin, agrees):
    assert limits._agrees(known, mean, margin) == agrees


def test_measures_are_read_off_the_episodes_they_name():
    steps = np.arange(1, 201)[None, :].repeat(2, axis=0)
    shifted = np.zeros((2, 200), dtype=bool)
    shifted[:, [20, 150]] = True
    played = Episodes(steps, np.ones_like(steps), np.ones_like(shifted), shifted, np.ones((2, 200)), step_limit=100)
    measured = {name: each(played).tolist() for name, each in limits.MEASURES.items()}
    assert measured["steps"] == [20100, 20100]
    assert measured["regret"] == [19900, 19900]
    assert measured["regret_after_shift"] == [sum(range(50, 55))] * 2
    assert measured["solved"] == [49.5, 49.5]
    assert measured["first_after_shift"] == [151, 151]
    assert measured["other_episodes"] == [pytest.approx((sum(range(101, 201)) - 151) / 99)] * 2
    assert measured["mean_steps"] == [101, 101]
    assert measured["block"] == [sum(range(21, 201)) / 9] * 2


def test_the_gallery_shows_every_environment_before_and_after(tmp_path, monkeypatch):
    nothing_shifts = {"TimedTMaze", "MemoryChain"}
    assert [name for name, _, _ in gallery.SCENES] == [name for name in envs.SUITE if name not in nothing_shifts]
    out = tmp_path / "environments.png"
    assert run(gallery, monkeypatch, f"out={out}") == 0
    assert out.stat().st_size > 20_000
