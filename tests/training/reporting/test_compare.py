"""Runs side by side: grouped by what differs, with intervals, in a table that fits a screen."""

import json

import numpy as np
import pytest
from omegaconf import OmegaConf

from engram_rl.training.errors import UsageError
from engram_rl.training.reporting import compare
from engram_rl.training.reporting.finding import find_runs
from engram_rl.training.reporting.series import area, series_of
from engram_rl.training.reporting.settings import describe, grouped
from engram_rl.training.reporting.words import read
from engram_rl.training.runs.folder import RunFolder
from engram_rl.training.statistics import stratified_bootstrap


def run(folder, *, agent="nec", env="CartPole-v1", seed=1, score=10.0, given=(), top=None, **settings):
    """A run's folder as training leaves it, with ten episodes of a return that is its score."""
    values = {"_target_": f"engram_rl.agents.{agent}.make_{agent}", "discount": 0.99, "hidden": [64], **settings}
    config = {
        "agent": values,
        "env": {"id": env, "num_envs": 8, "kwargs": {}},
        "seed": seed,
        "steps": 100,
        **(top or {}),
    }
    made = RunFolder(folder, given=given)
    made.start(OmegaConf.create(config))
    rows = [{"step": 10 * n, "return": score or 1.0, "length": 10} for n in range(1, 11)]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 50, "memory/size": 7.0 * seed}) + "\n")
    if score is not None:
        made.write_json("summary.json", {"score": score, "steps": 100})
    return folder


@pytest.fixture
def runs(tmp_path):
    """Two agents with three seeds each, one of them in two settings, as a sweep leaves them."""
    for seed, (low, high, other) in enumerate([(1, 4, 7), (2, 5, 8), (3, 6, 9)], start=1):
        run(tmp_path / f"a{seed}", seed=seed, score=float(low), given=["agent=nec"])
        run(tmp_path / f"b{seed}", seed=seed, score=float(high), given=["agent=nec"], discount=0.9)
        run(tmp_path / f"c{seed}", agent="ppo", seed=seed, score=float(other), given=["agent=ppo"], clip=0.2)
    return tmp_path


def test_seeds_are_one_group_and_what_differs_names_it(runs):
    groups = compare.compare(find_runs([str(runs)]))
    assert [(group.label, group.scores()) for group in groups] == [
        ("ppo", [7.0, 8.0, 9.0]), ("nec discount=0.9", [4.0, 5.0, 6.0]), ("nec discount=0.99", [1.0, 2.0, 3.0]),
    ]  # fmt: skip
    row = compare.row_of(groups[0])
    interval = stratified_bootstrap([7.0, 8.0, 9.0])
    assert row["score"] == interval.point and row["score_interval"] == [interval.low, interval.high]
    assert row["area"] == 8.0 and row["seeds"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("one", "other", "labels"),
    [
        ({"hidden": [64]}, {"hidden": [32, 32]}, ["hidden=[64]", "hidden=[32, 32]"]),
        ({"forgetting": {"name": "decay", "rate": 1}}, {}, ["name=decay rate=1", "nec"]),
        ({"given": ["agent=nec"]}, {"given": ["agent=nec_atari"], "discount": 0.9}, ["nec", "nec_atari"]),
        ({"top": {"name": "old"}}, {"top": {"name": "new"}}, ["old", "new"]),
        ({"top": {"steps": 7}}, {"top": {"steps": 9}}, ["steps=7", "steps=9"]),
        ({"a": {"rate": 1}, "b": {"rate": 1}}, {"a": {"rate": 2}, "b": {"rate": 2}},
         ["agent.a.rate=1 agent.b.rate=1", "agent.a.rate=2 agent.b.rate=2"]),
    ],
)  # fmt: skip
def test_labels_say_no_more_than_what_differs(tmp_path, one, other, labels):
    made = [run(tmp_path / "one", **one), run(tmp_path / "other", seed=2, **other)]
    assert [group.label for group in grouped([describe(path) for path in made])] == labels


def test_environments_have_panels_of_their_own_and_values_of_one_kind_are_compared_among_it(tmp_path):
    made = [run(tmp_path / "a", env="CartPole-v1"), run(tmp_path / "b", env="Acrobot-v1", seed=2)]
    groups = grouped([describe(path) for path in made])
    assert [group.setting for group in groups] == [{"env": "CartPole-v1"}, {"env": "Acrobot-v1"}]
    assert [group.label for group in groups] == ["nec", "nec"]


def test_the_command_draws_and_tells_within_80_columns(runs, capsys, monkeypatch):
    monkeypatch.chdir(runs)
    monkeypatch.setenv("COLUMNS", "80")
    run(runs / "d", agent="mfec", score=None, given=["agent=mfec"])
    assert compare.main(["a*", "b1", "c1", "d", "out=pictures/all.png"]) == 0
    told = capsys.readouterr().out
    table = told[: told.index("Interquartile")].splitlines()
    assert max(map(len, table)) <= 80
    assert "(1 open)" in told and "2.0 [1.0, 3.0]" in told
    assert (runs / "pictures" / "all.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((runs / "pictures" / "all.json").read_text())["groups"]) == 4


def test_a_score_that_is_no_number_counts_as_none(runs):
    run(runs / "broken", agent="mfec", score=float("nan"), given=["agent=mfec"])
    groups = compare.compare(find_runs([str(runs)]))
    assert groups[-1].label == "mfec" and compare.row_of(groups[-1])["score"] is None
    assert compare.row_of(groups[0])["score"] == 8.0


def test_many_differences_still_fit(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.chdir(tmp_path)
    for number in range(2):
        run(tmp_path / f"{number}", **{f"a_rather_long_name_{n}": number for n in range(50)})
    compare.main(["."])
    table = capsys.readouterr().out.split("Interquartile")[0].splitlines()
    assert max(map(len, table)) <= 80


def test_runs_are_found_by_folder_pattern_sweep_and_latest(runs, monkeypatch):
    monkeypatch.chdir(runs)
    assert [path.name for path in find_runs(["a1", "a*"])] == ["a1", "a2", "a3"]
    assert len(find_runs([str(runs)])) == 9
    run(runs / "runs" / "x=1,seed=2")
    assert find_runs(["latest"]) == find_runs(["runs/x=1,seed=2"])
    for word in ("nothing", "nothing*", "latest"):
        if word == "latest":
            monkeypatch.chdir(runs / "a1")
        with pytest.raises(UsageError, match=r"does not exist|There is no run"):
            find_runs([word])


def test_words_are_folders_or_options(runs, monkeypatch):
    monkeypatch.chdir(runs)
    run(runs / "lr=1")
    assert read(["a1", "lr=1", "out=x.png"], compare.OPTIONS) == (["a1", "lr=1"], compare.OPTIONS | {"out": "x.png"})
    for word, message in (("metrik=x", "Did you mean metric"), ("--fast", "no flag"), ("out=", "no value")):
        with pytest.raises(UsageError, match=message):
            read([word], compare.OPTIONS)


def test_tags_choose_and_metrics_are_drawn_by_name(runs, tmp_path, capsys):
    run(runs / "t", top={"tags": ["new"]})
    found = find_runs([str(runs)])
    assert [group.runs[0].path.name for group in compare.compare(found, tag="new")] == ["t"]
    with pytest.raises(UsageError, match="Did you mean new"):
        compare.compare(found, tag="nwe")
    with pytest.raises(UsageError, match="Did you mean memory/size"):
        compare.compare(found, metric="memory/sise")
    assert compare.main([str(runs), "metric=memory/size", f"out={tmp_path / 'm.svg'}"]) == 0
    with pytest.raises(UsageError, match="no image"):
        compare.main([str(runs), "out=x.txt"])


def test_a_curve_is_the_mean_of_the_last_twenty_and_its_area_the_mean_over_steps(tmp_path):
    folder = run(tmp_path / "a")
    returns = np.arange(40.0)
    rows = [{"step": int(10 * n + 10), "return": float(value), "length": 1} for n, value in enumerate(returns)]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    steps, values = series_of(folder)
    slow = [np.mean(returns[max(0, n - 19) : n + 1]) for n in range(40)]
    np.testing.assert_allclose(values, slow)
    grid = np.linspace(0, 400, 400)
    held = [slow[max(0, int(np.searchsorted(steps, point, side="right")) - 1)] for point in grid]
    assert area((steps, values), 400) == pytest.approx(np.mean(held))
