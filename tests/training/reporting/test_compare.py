"""Runs side by side: grouped by what differs, with intervals, in a table that fits a screen."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from engram_rl.training.errors import UsageError
from engram_rl.training.reporting import compare
from engram_rl.training.reporting.drawing import draw_comparison
from engram_rl.training.reporting.finding import find_runs
from engram_rl.training.reporting.series import area, series_of
from engram_rl.training.reporting.settings import describe, grouped, read_given
from engram_rl.training.reporting.words import read, write_text_of
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
    assert (row["score"], row["score_range"], row["score_interval"]) == (8.0, [7.0, 9.0], None)
    assert row["area"] == 8.0 and row["seeds"] == [1, 2, 3]


@pytest.mark.parametrize(
    ("one", "other", "labels"),
    [
        ({"hidden": [64]}, {"hidden": [32, 32]}, ["hidden=[64]", "hidden=[32, 32]"]),
        ({"forgetting": {"name": "decay", "rate": 1}}, {}, ["name=decay rate=1", "nec"]),
        ({"given": ["agent=nec"]}, {"given": ["agent=nec_atari"], "discount": 0.9}, ["nec", "nec_atari"]),
        ({"top": {"name": "old"}}, {"top": {"name": "new"}}, ["old", "new"]),
        ({"top": {"steps": 7}}, {"top": {"steps": 9}}, ["steps=7", "steps=9"]),
        ({"core": {"_target_": "engram_rl.memory.cores.GRU"}}, {"core": {"_target_": "engram_rl.memory.cores.LSTM"}},
         ["core=GRU", "core=LSTM"]),
        ({"rate": {"_target_": "mine.Fast"}}, {"rate": {"_target_": "yours.Fast"}},
         ["rate=mine.Fast", "rate=yours.Fast"]),
        ({"a": {"rate": 1}, "b": {"rate": 1}}, {"a": {"rate": 2}, "b": {"rate": 2}},
         ["agent.a.rate=1 agent.b.rate=1", "agent.a.rate=2 agent.b.rate=2"]),
    ],
)  # fmt: skip
def test_labels_say_no_more_than_what_differs(tmp_path, one, other, labels):
    made = [run(tmp_path / "one", **one), run(tmp_path / "other", seed=2, **other)]
    assert [group.label for group in grouped([describe(path) for path in made])] == labels


def test_names_full_of_signs_are_drawn_as_they_are(tmp_path):
    names = ("$a_{$", "_b", r"c\$d$e")
    made = [run(tmp_path / f"{n}", seed=n, top={"name": name}) for n, name in enumerate(names)]
    drawn = draw_comparison(grouped([describe(path) for path in made]), tmp_path / "signs.svg").read_text()
    assert all(f"<!-- {shown} -->" in drawn for shown in ("$a_{$", " _b", r"c\$d$e"))


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
    assert "(1 open)" in told and "2.0 (1.0 to 3.0)" in told
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


def test_without_words_the_command_says_what_it_is_for_and_with_options_alone_it_takes_all_runs(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for words in ([], ["-h"], ["runs", "--help"]):
        assert compare.main(words) == 0
        assert capsys.readouterr().out == f"{compare.__doc__}\n"
    run(tmp_path / "runs" / "a", given=["agent=nec"])
    monkeypatch.setattr(sys, "argv", ["compare", "out=all.svg"])
    assert compare.main() == 0
    assert capsys.readouterr().out.endswith("Picture: all.svg\nTable: all.json\n")
    row = {
        "label": "nec", "setting": {}, "env": "CartPole-v1", "runs": ["runs/a"], "seeds": [1], "steps": 100,
        "unfinished": 0, "score": 10.0, "score_range": [10.0, 10.0], "score_interval": None,
            "area": 10.0, "area_range": [10.0, 10.0], "area_interval": None,
    }  # fmt: skip
    told = json.dumps({"metric": "return", "groups": [row]}, indent=2)
    assert (tmp_path / "all.json").read_text() == f"{told}\n"


def test_a_row_counts_what_is_open_and_estimates_what_is_there(tmp_path):
    made = [run(tmp_path / f"{seed}", seed=seed, score=score) for seed, score in enumerate([2.0, None, 4.0])]
    (made[0] / "episodes.jsonl").unlink()
    (made[2] / "summary.json").write_text('{"score": 4.0, "steps": 250}')
    (group,) = compare.compare(made)
    row = compare.row_of(group)
    assert (row["seeds"], row["steps"], row["unfinished"]) == ([0, 1, 2], 250, 1)
    score, curve = stratified_bootstrap([2.0, 4.0]), stratified_bootstrap([1.0, 4.0])
    assert (row["score"], row["score_range"], row["score_interval"]) == (score.point, [2.0, 4.0], None)
    assert (row["area"], row["area_range"], row["area_interval"]) == (curve.point, [1.0, 4.0], None)
    (made[1] / "episodes.jsonl").unlink()
    (group,) = compare.compare([made[1]])
    row = compare.row_of(group)
    assert [row[name] for name in ("steps", "score", "score_interval", "area", "area_interval")] == [0, *[None] * 4]


def test_ten_runs_have_an_interval(tmp_path):
    made = [run(tmp_path / f"{seed}", seed=seed, score=float(seed)) for seed in range(10)]
    (group,) = compare.compare(made)
    row, score = compare.row_of(group), stratified_bootstrap(np.arange(10.0))
    assert row["score_interval"] == [score.low, score.high] and row["score_range"] == [0, 9]


def test_within_an_environment_the_best_comes_first_and_what_has_no_score_last(tmp_path):
    scores = [("a", 1.0), ("b", None), ("c", 5.0), ("d", -3.0)]
    made = [run(tmp_path / env / agent, agent=agent, env=env, score=score) for env in "ZY" for agent, score in scores]
    groups = compare.compare(made)
    assert [(group.env, group.label) for group in groups] == [(env, agent) for env in "YZ" for agent in "cadb"]


def lines_of(text):
    return [line.split() for line in text.splitlines() if line.strip()]


def test_the_table_has_a_heading_for_each_of_several_environments(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    made = [run(tmp_path / f"{env[-1]}{agent}", agent=agent, env=env, score=score)
            for env in ("engram/Y", "Z") for agent, score in (("a", 2.0), ("b", 1.0))]  # fmt: skip
    made += [run(tmp_path / "open", agent="c", env="Z", score=None)]
    (tmp_path / "open" / "episodes.jsonl").unlink()
    groups = compare.compare(made)
    rows = [compare.row_of(group) for group in groups]
    compare.show(groups, rows)
    told = capsys.readouterr().out
    table, _, rest = told.partition("Interquartile means")
    lines = [line for line in lines_of(table) if not set(line[0]) <= set("─-")]
    assert lines == [
        ["5", "runs", "on", "Z,", "engram/Y"],
        ["what", "differs", "seeds", "steps", "score", "mean", "of", "the", "curve"],
        ["Z"], ["a", "1", "100", "2.0", "2.0"], ["b", "1", "100", "1.0", "1.0"],
        ["c", "1", "(1", "open)", "?", "-", "-"],
        ["Y"], ["a", "1", "100", "2.0", "2.0"], ["b", "1", "100", "1.0", "1.0"],
    ]  # fmt: skip
    assert rest.startswith(" over seeds [95 % bootstrap interval] or, of fewer than ten seeds, (least to most)")
    alone = [group for group in groups if group.env == "Z"]
    compare.show(alone, [compare.row_of(group) for group in alone])
    assert ["Z"] not in lines_of(capsys.readouterr().out)
    with pytest.raises(ValueError, match="zip"):
        compare.show(groups, rows[:-1])


@pytest.mark.parametrize(("columns", "width"), [("40", 80), ("80", 80), ("120", 120)])
def test_the_table_is_as_wide_as_the_terminal_but_no_narrower_than_80(tmp_path, capsys, monkeypatch, columns, width):
    monkeypatch.setenv("COLUMNS", columns)
    for number in range(2):
        run(tmp_path / f"{number}", **{f"a_rather_long_name_{n}": number for n in range(9)})
    groups = compare.compare(find_runs([str(tmp_path)]))
    compare.show(groups, [compare.row_of(group) for group in groups])
    assert max(map(len, capsys.readouterr().out.split("Interquartile")[0].splitlines())) == width


def test_where_no_run_has_a_tag_that_is_told(runs):
    with pytest.raises(UsageError, match=r"None of these 9 runs has the tag 'x'. None has a tag: train with tags="):
        compare.compare(find_runs([str(runs)]), tag="x")


def test_a_run_is_described_by_what_it_says_of_itself(tmp_path):
    given = ["+agent=odd.name", "env=gym", "agent=nec_atari"]
    path = run(tmp_path / "a", given=given, seed=7, top={"name": "x", "tags": ["t"], "seeding": "spawned"})
    described = describe(path)
    assert (described.path, described.agent, described.env, described.name) == (path, "nec_atari", "CartPole-v1", "x")
    assert (described.tags, described.seed, described.score) == (("t",), 7, 10.0)
    assert described.given == given
    assert described.values == {
        "agent.discount": 0.99, "agent.hidden": "[64]", "env.id": "CartPole-v1", "env.num_envs": 8, "steps": 100,
    }  # fmt: skip
    assert described.episodes()[0] == {"step": 10, "return": 10.0, "length": 10}
    (group,) = grouped([described])
    for one, name in ((described, "agent"), (group, "label")):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(one, name, "other")


def test_a_run_that_says_little_is_described_by_defaults(tmp_path):
    RunFolder(tmp_path / "a").start(OmegaConf.create({"env": {"id": "X-v0"}}))
    described = describe(tmp_path / "a")
    assert (described.agent, described.name, described.tags, described.given) == ("agent", "", (), [])
    assert (described.seed, described.summary, described.score) == (0, {}, None)
    config = {"env": {"id": "X-v0"}, "agent": {"_target_": "mine.make_walker"}}
    RunFolder(tmp_path / "b").start(OmegaConf.create(config))
    assert describe(tmp_path / "b").agent == "walker"
    for text, given in (("{", []), ('{"agent": "nec"}', []), ('["seed=1", 2]', ["seed=1", "2"])):
        (tmp_path / "b" / "overrides.json").write_text(text)
        assert read_given(tmp_path / "b") == given


@pytest.mark.parametrize(("count", "more"), [(5, ""), (6, ""), (7, " and 1 more"), (9, " and 3 more")])
def test_labels_name_six_differences(tmp_path, count, more):
    made = [run(tmp_path / f"{value}", **{f"k{n}": value for n in range(count)}) for value in (0.25, 1.23456)]
    labels = [group.label for group in grouped([describe(path) for path in made])]
    for label, value in zip(labels, ("0.25", "1.235"), strict=True):
        assert label == " ".join(f"k{n}={value}" for n in range(min(count, 6))) + more


def test_values_are_compared_among_runs_of_one_agent_or_one_environment(tmp_path):
    made = [
        run(tmp_path / "a", agent="nec", env="X", discount=0.9, modalities={"x": 1}),
        run(tmp_path / "b", agent="nec", env="X", discount=0.8, modalities={"x": 2}),
        run(tmp_path / "c", agent="ppo", env="X", discount=0.7, top={"steps": 100}),
    ]
    groups = grouped([describe(path) for path in made])
    assert [group.setting for group in groups] == [
        {"agent": "nec", "agent.discount": 0.9}, {"agent": "nec", "agent.discount": 0.8}, {"agent": "ppo"},
    ]  # fmt: skip
    made = [run(tmp_path / f"e{n}", env=env, top={"steps": 10 * n}) for n, env in enumerate("XYY", start=1)]
    for path, kwargs in zip(made, (1, 2, 3), strict=True):
        config = OmegaConf.load(path / "config.yaml")
        config.env.kwargs = {"size": kwargs}
        OmegaConf.save(config, path / "config.yaml")
    groups = grouped([describe(path) for path in made])
    assert [group.setting for group in groups] == [
        {"env": "X", "steps": 10}, {"env": "Y", "env.kwargs.size": 2, "steps": 20},
        {"env": "Y", "env.kwargs.size": 3, "steps": 30},
    ]  # fmt: skip
    assert groups[1].label == "size=2 steps=20"


def test_runs_that_differ_in_nothing_but_the_seed_are_one_group_in_the_order_of_the_first(tmp_path):
    made = [run(tmp_path / f"{n}", seed=n, score=score, discount=discount)
            for n, (score, discount) in enumerate([(1.0, 0.9), (2.0, 0.8), (None, 0.9), (4.0, 0.8)])]  # fmt: skip
    groups = grouped([describe(path) for path in made])
    assert [[one.seed for one in group.runs] for group in groups] == [[0, 2], [1, 3]]
    assert [group.scores() for group in groups] == [[1.0], [2.0, 4.0]]


def test_a_pattern_may_go_any_depth_and_what_is_no_run_is_told(runs, monkeypatch):
    monkeypatch.chdir(runs)
    run(runs / "deep" / "er" / "z1")
    (runs / "empty").mkdir()
    assert [path.name for path in find_runs(["**/z1", "a1/../a2"])] == ["z1", "a2"]
    assert [path.name for path in find_runs(["deep", "a1"])] == ["z1", "a1"]
    for word, state in (("empty", "holds no run"), ("emp*", "holds no run"), ("zzz*", "does not exist")):
        with pytest.raises(UsageError) as caught:
            find_runs([word])
        assert str(caught.value).startswith(f"{word} {state}: there is no config.yaml in it or below it.")


def test_words_that_name_no_option_are_places(runs, monkeypatch):
    monkeypatch.chdir(runs)
    for word in ("a1", "metric", "some-thing=1", "runs/a=1"):
        assert read([word], compare.OPTIONS) == ([word], compare.OPTIONS)


def test_a_command_of_one_run_takes_the_newest_or_the_one_that_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run(tmp_path / "runs" / "a")
    made = []

    def text(path):
        made.append(path)
        return "text"

    monkeypatch.setattr(sys, "argv", ["card", "out=deep/er/a.md"])
    assert write_text_of(None, "help", "A.md", text) == Path("deep/er/a.md")
    assert write_text_of(["run=runs/a", "out=deep/er/b.md"], "help", "A.md", text) == Path("deep/er/b.md")
    assert write_text_of(["run=runs/a"], "help", "A.md", text) == Path("runs/a/A.md")
    assert (tmp_path / "runs" / "a" / "A.md").read_text() == "text" and made == [Path("runs/a")] * 3
    assert write_text_of(["-h"], "help", "A.md", text) is None
    with pytest.raises(UsageError, match="Give one run as run=runs/a; engram compare shows several"):
        write_text_of(["runs/a"], "help", "A.md", text)


def judged(folder, given, said, seed=1, **more):
    """A run with what its configuration and its summary say of how it is judged."""
    run(folder, seed=seed, top={"evaluation": {"mode": given}}, **more)
    if said:
        summary = json.loads((folder / "summary.json").read_text())
        (folder / "summary.json").write_text(json.dumps(summary | {"mode": said}))
    return folder


@pytest.mark.parametrize(
    ("one", "other", "labels"),
    [
        (("online", "online"), ("frozen", "frozen"), ["mode=online", "mode=frozen"]),
        ((None, "online"), ("frozen", "frozen"), ["mode=online", "mode=frozen"]),
        ((None, "online"), ("fresh", None), ["mode=online", "mode=fresh"]),
        ((None, "online"), ("online", "online"), ["nec"]),
        ((None, "online"), (None, None), ["nec"]),
        ((None, None), (None, None), ["nec"]),
    ],
)
def test_runs_that_are_judged_otherwise_are_apart(tmp_path, one, other, labels):
    runs = [judged(tmp_path / "a", *one, seed=1), judged(tmp_path / "b", *other, seed=2)]
    assert [group.label for group in grouped([describe(path) for path in runs])] == labels


def test_agents_that_are_judged_as_they_are_for_are_told_apart_by_it_too(tmp_path):
    runs = [judged(tmp_path / "a", None, "online"), judged(tmp_path / "b", None, "frozen", agent="ppo")]
    assert [group.label for group in grouped([describe(path) for path in runs])] == [
        "nec mode=online",
        "ppo mode=frozen",
    ]
