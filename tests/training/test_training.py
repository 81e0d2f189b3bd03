"""The loop of a run: as many steps as asked for, the best kept, stopped when asked, timed over all its parts."""

import json
import math
import time
from types import SimpleNamespace

import pytest

from engram_rl.training import train as training
from engram_rl.training.composing import composed
from engram_rl.training.runs.folder import RunFolder

QUICK = (
    "agent=mfec", "env=cartpole", "env.num_envs=2", "agent.memory.capacity=50", "progress=false", "log.video=false",
    "log.memory=false", "log.every=8", "evaluation.every=0", "evaluation.episodes=1", "evaluation.max_steps=60",
)  # fmt: skip


def run(folder, *words, resume=False, callbacks=()):
    with composed("train", [*QUICK, *words]) as config:
        stored = RunFolder(folder)
        return training.train(config, stored, stored.load_checkpoint() if resume else None, callbacks)


def summary(folder):
    return json.loads((folder / "summary.json").read_text())


@pytest.fixture
def bars(monkeypatch):
    """What was asked of the progress bar."""
    asked = []
    bar = training.tqdm

    def recorded(**given):
        asked.append(SimpleNamespace(**given, bar=bar(**given)))
        return asked[-1].bar

    monkeypatch.setattr(training, "tqdm", recorded)
    return asked


def test_a_run_takes_as_many_steps_as_it_is_asked_for_and_is_timed_over_all_its_parts(tmp_path, bars):
    seen = []
    began = time.perf_counter()
    score = run(tmp_path / "a", "steps=16", callbacks=[lambda moment: seen.append(moment.step)])
    spent = time.perf_counter() - began
    first = summary(tmp_path / "a")
    assert first["steps"] == 16 and first["score"] == score and first["mode"] == "online"
    assert seen == list(range(2, 17, 2))
    assert 0 < first["seconds"] <= spent
    kept = RunFolder(tmp_path / "a").load_checkpoint()
    assert kept["step"] == 16 and 0 < kept["seconds"] <= first["seconds"] and kept["best"] is None

    began = time.perf_counter()
    run(tmp_path / "a", "steps=23", "progress=true", resume=True)
    more = time.perf_counter() - began
    second = summary(tmp_path / "a")
    assert second["steps"] == 24, "a step is of all environments"
    assert RunFolder(tmp_path / "a").load_checkpoint()["step"] == 24
    assert kept["seconds"] < second["seconds"] <= kept["seconds"] + more
    assert [(bar.total, bar.initial, bar.disable) for bar in bars] == [(16, 0, True), (23, 16, False)]
    assert bars[1].bar.n == 24
    assert bars[0].mininterval == 0.5, "twice a second is enough to look at"


def test_the_best_is_kept_where_it_is_better_than_all_before(tmp_path, monkeypatch):
    scores, saved = [1.0, 3.0, 2.0, 3.0, None, 5.0], []
    monkeypatch.setattr(training.Judge, "in_passing", lambda *given: scores[len(saved_at)])
    saved_at = []

    class Folder(RunFolder):
        def save_best(self, step, state):
            saved.append((step, state["best"]))
            super().save_best(step, state)

    def count(moment):
        if moment.step % 4 == 0:
            saved_at.append(moment.step)

    words = [*QUICK, "steps=24", "evaluation.every=4"]
    with composed("train", words) as config:
        training.train(config, Folder(tmp_path / "a"), callbacks=[count])
    assert saved == [(4, 1.0), (8, 3.0), (24, 5.0)]
    assert [path.name for path in (tmp_path / "a" / "checkpoints").glob("best*")] == ["best_step_000000000024"]
    assert RunFolder(tmp_path / "a").load_checkpoint()["best"] == 5.0
    rows = [json.loads(line) for line in (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()]
    assert [row.get("eval/online_mean_reward") for row in rows[:2]] == [2.0, 2.5]
    saved_at.clear()
    saved.clear()
    with composed("train", [*words, "checkpoint.best=false"]) as config:
        training.train(config, Folder(tmp_path / "b"), callbacks=[count])
    assert not saved and RunFolder(tmp_path / "b").load_checkpoint()["best"] is None


@pytest.mark.parametrize(("every", "kept"), [(0, [24]), (8, [8, 16, 24]), (12, [12, 24]), (16, [16, 24]), (1000, [24])])
def test_a_run_is_saved_as_often_as_asked_and_at_its_end(tmp_path, every, kept):
    run(tmp_path / "a", "steps=24", f"checkpoint.every={every}", "checkpoint.keep=9")
    assert sorted(int(path.name[5:]) for path in (tmp_path / "a" / "checkpoints").glob("step_*")) == kept


@pytest.mark.parametrize(("asked_at", "steps", "whole"), [(6, 16, False), (16, 16, True), (16, 15, True)])
def test_a_run_that_is_asked_to_stop_ends_with_the_step_in_hand(tmp_path, monkeypatch, capsys, asked_at, steps, whole):
    now = []

    class Asked(training.StopRequest):
        def __bool__(self):
            return len(now) * 2 + 2 >= asked_at

    monkeypatch.setattr(training, "StopRequest", Asked)
    words = (f"steps={steps}", "checkpoint.every=0")
    score = run(tmp_path / "a", *words, callbacks=[lambda moment: now.append(moment.step)])
    assert RunFolder(tmp_path / "a").load_checkpoint()["step"] == now[-1] == asked_at
    assert math.isnan(score) is not whole and (tmp_path / "a" / "summary.json").exists() is whole
    assert ("Stopped at step 6; continue with: engram train" in capsys.readouterr().out) is not whole


def test_a_callback_ends_a_run_as_if_it_had_taken_all_its_steps(tmp_path):
    run(tmp_path / "a", "steps=16", "checkpoint.every=0", callbacks=[lambda moment: moment.step == 6])
    assert summary(tmp_path / "a")["steps"] == 6 and RunFolder(tmp_path / "a").load_checkpoint()["step"] == 6


def test_a_run_is_judged_in_the_mode_that_it_names(tmp_path):
    run(tmp_path / "a", "steps=4", "evaluation.mode=frozen")
    assert summary(tmp_path / "a")["mode"] == "frozen"
