"""Charts of a run and of a comparison: what is drawn is what was recorded, and every run draws the same once more."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image

from engram_rl.training.errors import UsageError
from engram_rl.training.logging.tensorboard import LAYOUT
from engram_rl.training.reporting import charts
from engram_rl.training.reporting.drawing import draw_comparison
from engram_rl.training.reporting.series import area, at, require_metric, series_of
from engram_rl.training.reporting.settings import Described, Group
from engram_rl.training.statistics import performance_curve


@pytest.fixture
def figures(monkeypatch):
    """The figures that are saved."""
    saved = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, *given, **more: saved.append(figure))
    return saved


def recorded(path, episodes=(), rows=()):
    path.mkdir(parents=True, exist_ok=True)
    for name, lines in (
        ("episodes.jsonl", [{"step": step, "return": value, "length": 1} for step, value in episodes]),
        ("metrics.jsonl", rows),
    ):
        (path / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def points_of(line):
    return np.column_stack(line.get_data()).tolist()


def labels_of(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()] if axes.get_legend() else []


EVALUATED = [
    {"step": 100, "eval/online_mean_reward": 1.0, "eval/frozen_mean_reward": 2.0},
    {"step": 150, "train/loss": 1.0},
    {"step": 200, "eval/online_mean_reward": 3.0},
]


def test_a_learning_curve_has_every_episode_their_mean_and_the_evaluations(tmp_path, figures):
    charts.learning_curve(recorded(tmp_path, [(10, 1.0), (20, 3.0), (30, 8.0)], EVALUATED))
    (figure,) = figures
    assert figure.get_size_inches().tolist() == [9, 3.6]
    (axes,) = figure.axes
    dots, mean, online, frozen = axes.lines
    assert points_of(dots) == [[10, 1], [20, 3], [30, 8]] and points_of(mean) == [[10, 1], [20, 2], [30, 4]]
    assert points_of(online) == [[100, 1], [200, 3]] and points_of(frozen) == [[100, 2]]
    assert labels_of(axes) == ["3 episodes", "mean of the last 20", "evaluated online", "evaluated frozen"]
    assert [line.get_color() for line in axes.lines] == ["C0", "C0", "C1", "C2"]
    assert [line.get_markersize() for line in (dots, online, frozen)] == [3, 4, 4] and dots.get_alpha() == 0.25
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment steps", "return")
    assert {line.get_alpha() for line in axes.get_xgridlines()} == {0.3} and not axes.get_legend().get_frame_on()


def test_other_curves_stand_in_the_charts_of_the_layout_three_across(tmp_path, figures):
    one = {"train/loss": 1.0, "train/value_loss": 2.0, "rollout/ep_len_mean": 3.0, "memory/size": 4.0}
    rows = [{"step": 10, **one}, {"step": 20, **one, "rollout/ep_rew_mean": 5.0, "time/fps": 6.0, "odd/one": 7.0}]
    charts.curves(recorded(tmp_path, rows=rows))
    (figure,) = figures
    assert figure.get_size_inches().tolist() == [9, 4.2]
    drawn = [axes for axes in figure.axes if axes.axison]
    assert [axes.get_title() for axes in drawn] == ["losses", "episode length", "memory: entries", "steps a second"]
    assert len(figure.axes) == 6, "two rows"
    assert figure.axes[:4] == drawn
    assert labels_of(drawn[0]) == ["loss", "value_loss"] and [labels_of(axes) for axes in drawn[1:]] == [[], [], []]
    assert [points_of(line) for line in drawn[0].lines] == [[[10, 1], [20, 1]], [[10, 2], [20, 2]]]
    assert points_of(drawn[3].lines[0]) == [[20, 6]] and drawn[3].lines[0].get_linewidth() == 1
    assert {line.get_alpha() for axes in drawn for line in axes.get_xgridlines()} == {0.3}
    assert not drawn[0].get_legend().get_frame_on()


def test_every_chart_of_the_layout_can_be_drawn_but_the_return_which_has_its_own(tmp_path, figures):
    titles = [title for kind in LAYOUT.values() for title in kind if title != "return"]
    assert [title for title, _ in charts._charts()] == ["losses", "episode length", *titles]
    assert charts.curves(recorded(tmp_path, rows=[{"step": 10, "rollout/ep_rew_mean": 5.0}])) == "" and not figures
    for count, inches in ((1, 2.1), (3, 2.1), (4, 4.2)):
        names = ["train/loss", "rollout/ep_len_mean", "env/task_index", "memory/size"][:count]
        charts.curves(recorded(tmp_path, rows=[{"step": 10, **dict.fromkeys(names, 1.0)}]))
        assert figures[-1].get_size_inches().tolist() == [9, pytest.approx(inches)]


def laid_out(path, keys, **columns):
    path.mkdir(exist_ok=True)
    (path / "memory_keys.tsv").write_text("".join("\t".join(map(str, key)) + "\n" for key in keys))
    rows = ["\t".join(columns), *("\t".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    (path / "memory_metadata.tsv").write_text("\n".join(rows) + "\n")
    return path


def test_a_memory_is_drawn_along_the_two_directions_in_which_its_keys_differ_most(tmp_path, figures):
    """Along the second number by -4, -4, 4, 4 from the middle, along the first by -1, 1, -1, 1: 64 of 68, and 4."""
    keys = [[1, 1, 5], [3, 1, 5], [1, 9, 5], [3, 9, 5]]
    run = laid_out(tmp_path, keys, value=[1, 2, 3, 4], strength=[5, 6, 7, 8], hits=[0] * 4, age=[9, 8, 7, 6])
    _, count = charts.memory(run)
    assert count == 4
    (figure,) = figures
    assert figure.get_size_inches().tolist() == [9, 4]
    value, age = (axes for axes in figure.axes if axes.get_xlabel())
    bars = [axes.get_ylabel() for axes in figure.axes if not axes.get_xlabel()]
    assert bars == ["value", "age"]
    for axes, colours in ((value, [1, 2, 3, 4]), (age, [9, 8, 7, 6])):
        (dots,) = axes.collections
        at = dots.get_offsets() * np.sign(dots.get_offsets()[3])
        np.testing.assert_allclose(at, [[-4, -1], [-4, 1], [4, -1], [4, 1]], atol=1e-12)
        assert dots.get_array().tolist() == colours
        assert dots.get_sizes().tolist() == [6] and list(dots.get_linewidths()) == [0]
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("94% of the spread", "6%")
        assert not len(axes.get_xticks()) and not len(axes.get_yticks())


@pytest.mark.parametrize(
    ("keys", "share"), [([[1], [4]], "100%"), ([[2, 3]], "0%"), ([[2], [2]], "0%"), ([[1, 2, 3], [1, 2, 4]], "100%")]
)
def test_few_entries_and_keys_of_one_number_are_drawn_too(tmp_path, figures, keys, share):
    _, count = charts.memory(laid_out(tmp_path, keys, strength=list(range(len(keys)))))
    assert count == len(keys)
    axes, bar = figures[0].axes
    assert bar.get_ylabel() == "strength"
    assert (axes.get_xlabel(), axes.get_ylabel()) == (f"{share} of the spread", "0%")
    at = np.asarray(axes.collections[0].get_offsets())
    middle = np.mean(np.array(keys, float), axis=0)
    np.testing.assert_allclose(np.abs(at[:, 0]), np.linalg.norm(keys - middle, axis=1), atol=1e-12)
    assert not at[:, 1].any()


@pytest.mark.parametrize("missing", ["memory_keys.tsv", "memory_metadata.tsv", None])
def test_where_no_memory_was_laid_out_there_is_none_to_draw(tmp_path, missing):
    laid_out(tmp_path, [[1, 2], [3, 4]], value=[1, 2])
    if missing:
        (tmp_path / missing).unlink()
        assert charts.memory(tmp_path) == ("", 0)
    else:
        picture, count = charts.memory(tmp_path)
        assert picture.startswith("<?xml") and count == 2 and picture == charts.memory(tmp_path)[0]
        assert "<dc:date>" not in picture


def described(path, env="A", agent="nec", **more):
    given = {"config": OmegaConf.create({}), "name": "", "tags": (), "given": [], "seed": 1, "values": {}, "mode": ""}
    return Described(path=path, agent=agent, env=env, **(given | {"summary": {}} | more))


def group(label, *paths, env="A"):
    return Group(label, {}, [described(path, env) for path in paths])


def test_a_comparison_has_a_panel_for_each_environment_and_a_curve_for_each_group(tmp_path, figures):
    episodes = [[(10, 1.0), (20, 3.0)], [(10, 4.0), (30, 6.0)], [(10, 7.0), (40, 11.0)]]
    several = [recorded(tmp_path / f"{number}", given) for number, given in enumerate(episodes)]
    empty = recorded(tmp_path / "empty")
    fits, folded = f"{'x' * 40} yyy", f"{'x' * 40} yyyy"  # 44 characters are a line
    path = draw_comparison(
        [
            group("three", *several), group("one", several[0]), group("none", empty, env="B"),
            group(folded, several[0], empty, env="B"), group(fits, several[0], env="B"),
        ],
        tmp_path / "deep" / "er" / "a.png",
    )  # fmt: skip
    assert path.parent.is_dir()
    (figure,) = figures
    assert figure.get_size_inches().tolist() == [7.5, pytest.approx(7.8)] and figure.dpi == 120
    first, second = figure.axes
    assert (first.get_title(), second.get_title()) == ("A", "B")
    assert labels_of(first) == ["three (3 seeds)", "one"]
    wrapped = f"{folded.replace(' ', chr(10))} (1 seeds)"
    assert labels_of(second) == ["none (nothing recorded)", wrapped, fits]
    *thin, mean, one = first.lines
    means = [[[10, 1], [20, 2]], [[10, 4], [30, 5]], [[10, 7], [40, 9]]]
    assert [points_of(line) for line in thin] == means and points_of(one) == means[0]
    assert [(line.get_linewidth(), line.get_alpha()) for line in thin] == [(0.5, 0.35)] * 3
    grid = np.linspace(0, 20, 200)  # as far as all of them got
    curve = performance_curve(np.array([np.where(grid >= 20, 2, 1), np.full(200, 4), np.full(200, 7)], float))
    np.testing.assert_allclose(points_of(mean), np.column_stack([grid, curve.point]))
    (band,) = first.collections
    vertices = band.get_paths()[0].vertices
    assert vertices[:, 1].min() == curve.low.min() and vertices[:, 1].max() == curve.high.max()
    assert band.get_alpha() == 0.2 and list(band.get_linewidth()) == [0]
    assert [line.get_color() for line in (mean, one, *second.lines)] == ["C0", "C1", "C0", "C1", "C2"]
    assert {line.get_drawstyle() for line in (*thin, one)} == {"steps-post"}
    for axes in (first, second):
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("environment steps", "return, last 20 episodes")
        assert axes.get_xlim()[0] == 0 and not axes.get_legend().get_frame_on()
        assert {line.get_alpha() for line in axes.get_xgridlines()} == {0.3}


def test_many_groups_have_lines_of_their_own_and_another_metric_its_name(tmp_path, figures):
    run = recorded(tmp_path / "a", rows=[{"step": 10, "memory/size": 5.0}])
    draw_comparison([group(f"{number}", run) for number in range(45)], tmp_path / "a.svg", "memory/size")
    (axes,) = figures[0].axes
    assert axes.get_ylabel() == "memory/size"
    styles = [(line.get_color(), line.get_linestyle()) for line in axes.lines]
    assert styles == [(f"C{number % 10}", ["-", "--", ":", "-."][number // 10 % 4]) for number in range(45)]
    assert len(set(styles[:40])) == 40


def test_a_comparison_is_an_image_of_900_pixels_and_nothing_else(tmp_path):
    run = recorded(tmp_path / "a", [(10, 1.0)])
    with Image.open(draw_comparison([group("a", run)], tmp_path / "a.png")) as image:
        assert image.size == (900, 504)
    with pytest.raises(UsageError, match=r"out=a.txt is no image; let it end with .png, .svg, .pdf"):
        draw_comparison([group("a", run)], tmp_path.relative_to(tmp_path) / "a.txt")


def test_a_curve_holds_its_value_until_the_next_and_its_area_is_the_mean_of_400_points():
    series = np.array([10, 20, 30]), np.array([1.0, 5.0, 2.0])
    grid = np.array([0, 10, 19.9, 20, 29, 30, 99])
    assert at(grid, series).tolist() == [1, 1, 1, 5, 5, 2, 2]
    held = [1.0 if point < 20 else 5.0 if point < 30 else 2.0 for point in np.linspace(0, 40, 400)]
    assert area(series, 40) == pytest.approx(np.mean(held), abs=1e-12)


def test_a_metric_that_none_recorded_is_refused_with_those_that_were(tmp_path):
    rows = [{"step": 5, "memory/size": 3.0, "closing": True}, {"step": 6, "a/b": 1.0}]
    run = recorded(tmp_path / "a", [(1, 2.0)], rows)
    steps, values = series_of(run, "memory/size")
    assert (steps.tolist(), values.tolist()) == ([5], [3.0]) and not len(series_of(run, "z/z")[0])
    for name in ("return", "memory/size", "a/b"):
        require_metric(name, [recorded(tmp_path / "b"), run])
    for name in ("step", "closing", "zzz"):
        with pytest.raises(UsageError, match=f"None of these runs recorded '{name}'"):
            require_metric(name, [run])


def test_a_curve_of_one_point_is_seen(tmp_path, figures):
    rows = [{"step": 8, "memory/size": 3.0, "memory/lookup_ms": 1.0}, {"step": 16, "memory/size": 4.0}]
    charts.curves(recorded(tmp_path / "run", rows=rows))
    lines = {axes.get_title(): axes.lines for axes in figures[-1].axes if axes.lines}
    assert [line.get_marker() for line in lines["lookup ms"]] == ["."]
    assert [line.get_marker() for line in lines["memory: entries"]] in ([""], ["None"])
