"""A run's folder: what it is opened by, what it keeps, and what it says of anything that is no run."""

import importlib.util
import os
import platform
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from engram_rl.training.errors import UsageError
from engram_rl.training.runs import folder as module
from engram_rl.training.runs import lock as locks
from engram_rl.training.runs.folder import CONFIG, SUMMARY, RunFolder, runs_below, versions, write_atomically
from engram_rl.training.runs.lock import LOCK, lock
from engram_rl.training.runs.ownership import SIGNATURE, begun_here

NAMED = {"which": "mine.Agent", "agent": {"_target_": "${which}", "rate": 1}, "seed": 1}
"""A configuration whose code is named by reference."""


def begun(path, config=None, **more):
    folder = RunFolder(path, **more)
    folder.start(OmegaConf.create(NAMED if config is None else config))
    return folder


def aged(path, seconds):
    os.utime(path / CONFIG, (seconds, seconds))


def test_a_run_is_opened_by_its_folder_and_the_newest_by_latest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=f"There is no run below {tmp_path / 'runs'}. Train one first"):
        RunFolder.open(Path("latest"))
    for name, seconds in (("runs/a", 10), ("runs/sweep/b", 30), ("runs/c", 20)):
        begun(Path(name))
        aged(Path(name), seconds)
    of_wandb = Path("runs/a/wandb/files")
    of_wandb.mkdir(parents=True)
    (of_wandb / CONFIG).write_text("agent: {value: {}}")
    aged(of_wandb, 40)
    assert RunFolder.open(Path("latest")).path == Path("runs/sweep/b"), "what lies in a run is none"
    assert runs_below(Path("runs")) == [Path("runs/a"), Path("runs/c"), Path("runs/sweep/b")]
    assert runs_below(Path("runs/a")) == [Path("runs/a")]
    assert RunFolder.open(Path("runs/a")).path == Path("runs/a")
    assert RunFolder.open(tmp_path / "runs" / "c").path == tmp_path / "runs" / "c"


def test_what_is_no_run_says_what_it_is_and_which_folder_may_be_meant(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    told = "there is no config.yaml in it. Give the folder that `engram train` printed, such as"
    for name, state in (("folder", "holds no run"), ("file", "is a file"), ("nothing", "does not exist")):
        with pytest.raises(UsageError) as caught:
            RunFolder.open(Path(name))
        assert str(caught.value) == f"{name} {state}: {told} runs/2026-01-31_12-00-00_nec_cartpole_seed1."
    begun(Path("runs/a")).save_checkpoint(1, {}, keep=1)
    with pytest.raises(UsageError, match=r"such as runs/a\.$"):
        RunFolder.open(Path("folder"))
    begun(tmp_path / "elsewhere").save_checkpoint(1, {}, keep=1)
    with pytest.raises(UsageError, match=rf"holds no run: .* such as {tmp_path / 'elsewhere'}\.$"):
        RunFolder.open(tmp_path / "elsewhere" / "checkpoints" / "step_000000000001")


def test_a_run_begins_with_its_configuration_resolved_signed_and_what_was_given(tmp_path):
    folder = begun(tmp_path / "deep" / "er" / "run", given=["agent=nec", "+a.b=1", "c=x=y"])
    text = (folder.path / CONFIG).read_text()
    assert text == "which: mine.Agent\nagent:\n  _target_: mine.Agent\n  rate: 1\nseed: 1\n"
    assert begun_here(folder.path, {"mine.Agent"})
    assert (folder.path / "overrides.json").read_text() == '[\n  "agent=nec",\n  "+a.b=1",\n  "c=x=y"\n]\n'
    assert folder.overrides() == {"agent": "nec", "a.b": "1", "c": "x=y"}
    folder.start(OmegaConf.create({"seed": 2}))
    assert (folder.path / CONFIG).read_text() == text, "it has begun"
    with pytest.raises(UsageError, match=f"already holds a run; nothing was overwritten.*resume={folder.path}"):
        RunFolder(folder.path).start(OmegaConf.create({"seed": 2}))
    (tmp_path / "plain").mkdir()
    assert not (begun(tmp_path / "plain").path / "overrides.json").exists()


@pytest.mark.parametrize("text", [None, "[", '{"agent": "nec"}', "\x00"])
def test_what_was_given_is_unknown_where_it_was_not_kept(tmp_path, text):
    folder = begun(tmp_path)
    if text is not None:
        (tmp_path / "overrides.json").write_text(text)
    assert folder.overrides() == ({} if text and text.startswith("{") else None)


@pytest.mark.parametrize("rate", [0, 1, 2])
@pytest.mark.parametrize("signed", [False, True])
def test_what_a_run_goes_on_with_is_kept_and_its_signature_only_if_it_had_one(tmp_path, rate, signed):
    folder = begun(tmp_path)
    if not signed:
        (tmp_path / SIGNATURE).unlink()
    before = (tmp_path / CONFIG).stat().st_ino
    folder.write_json(SUMMARY, {"score": 1.0})
    which = "mine.Agent" if rate == 1 else "mine.Other"
    folder.keep(OmegaConf.create(NAMED | {"which": which, "agent": {"_target_": "${which}", "rate": rate}}))
    kept = folder.config()
    assert kept.agent.rate == rate and "${" not in (tmp_path / CONFIG).read_text()
    assert begun_here(tmp_path, {kept.agent._target_}) is signed
    assert not (tmp_path / SUMMARY).exists(), "a run that goes on has no score until it ends again"
    assert ((tmp_path / CONFIG).stat().st_ino == before) is (rate == 1), "what has not changed is left alone"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"a: [1", "is not readable YAML"),
        (b"a: 1\na: 2", "is not readable YAML"),
        (b"a: ${b", "is not readable YAML"),
        (b"a: \xff", "is not readable YAML"),
        ("a: 1".encode("utf-16"), "is not readable YAML"),
        (b"a: " + b"[" * 400 + b"]" * 400, "is not readable YAML"),
        (b"- 1\n- 2", "is not a run's configuration"),
        (b"", "is not a run's configuration"),
    ],
    ids=["cut", "twice", "grammar", "bytes", "utf-16", "deep", "list", "empty"],
)
def test_what_is_no_configuration_is_refused_with_the_file(tmp_path, content, why):
    (tmp_path / CONFIG).write_bytes(content)
    with pytest.raises(UsageError, match=f"{tmp_path / CONFIG} {why}"):
        RunFolder.open(tmp_path).config()


@pytest.mark.parametrize(("size", "read"), [(1_000_000, True), (1_000_001, False)])
def test_a_configuration_has_at_most_a_million_bytes(tmp_path, size, read):
    (tmp_path / CONFIG).write_text("seed: 3 #".ljust(size, "x"))
    if read:
        assert RunFolder.open(tmp_path).config().seed == 3
    else:
        with pytest.raises(UsageError, match="has 1000001 bytes; a run's configuration has at most 1000000"):
            RunFolder.open(tmp_path).config()


def names(folder):
    return sorted(path.name for path in folder.checkpoints.iterdir())


def test_the_newest_checkpoints_and_the_best_one_are_kept(tmp_path, monkeypatch):
    folder = begun(tmp_path)
    for step in (1, 2, 3, 10):
        folder.save_checkpoint(step, {"value": -step}, keep=2)
    assert names(folder) == ["step_000000000003", "step_000000000010"]
    assert folder.load_checkpoint() == {"step": 10, "value": -10}
    for step in (2, 3, 3):
        folder.save_best(step, {"value": -step})
    assert names(folder) == ["best_step_000000000003", "step_000000000003", "step_000000000010"]
    assert folder.load_checkpoint("best") == {"step": 3, "value": -3}
    monkeypatch.setattr(shutil, "rmtree", busy)
    folder.save_checkpoint(11, {}, keep=1)
    assert folder.load_checkpoint()["step"] == 11


def busy(path, ignore_errors=False):
    """Of a system on which nothing that is open can be removed."""
    if not ignore_errors:
        raise PermissionError(13, "it is being used by another process")


def test_a_checkpoint_that_is_not_there_is_told_with_the_remedy(tmp_path):
    folder = begun(tmp_path)
    with pytest.raises(UsageError, match=r"no last checkpoint yet: save more often with checkpoint.every=<steps>, or"):
        folder.load_checkpoint()
    with pytest.raises(UsageError, match="no best checkpoint yet: give checkpoint=last, or train on"):
        folder.load_checkpoint("best")
    with pytest.raises(UsageError, match="checkpoint is 'middle'; give last or best"):
        folder.load_checkpoint("middle")


def test_what_was_best_up_to_the_checkpoint_that_a_run_goes_on_from_stays(tmp_path, capsys):
    folder = begun(tmp_path)
    for step in (1, 2, 3, 4):
        folder.save_checkpoint(step, {}, keep=4)
    for step in (3, 4):
        (folder.checkpoints / f"step_{step:012d}" / "state.json").write_text("{")
    aside = folder.checkpoints / "step_000000000004.damaged"
    (aside / "of an earlier time").mkdir(parents=True)
    folder.save_best(2, {})
    assert folder.checkpoint_to_resume() == {"step": 2}
    told = capsys.readouterr()
    assert told.out == (
        f"Going on from {folder.checkpoints / 'step_000000000002'}; "
        f"the damaged ones are kept as step_000000000004.damaged, ...\n"
    )
    assert told.err.count("is damaged") == 2
    assert names(folder) == [
        "best_step_000000000002", "step_000000000001", "step_000000000002",
        "step_000000000003.damaged", "step_000000000004.damaged",
    ]  # fmt: skip
    assert [path.name for path in aside.iterdir() if path.name.startswith("of")] == []
    assert folder.checkpoint_to_resume() == {"step": 2} and capsys.readouterr().out == ""


def test_an_earlier_best_stays_and_a_run_without_checkpoints_says_that_it_begins_anew(tmp_path, capsys):
    folder = begun(tmp_path)
    assert folder.checkpoint_to_resume() is None
    assert "holds no checkpoint yet: it starts from the beginning." in capsys.readouterr().err
    folder.save_best(1, {})
    folder.save_checkpoint(2, {}, keep=1)
    assert folder.checkpoint_to_resume() == {"step": 2} and len(names(folder)) == 2


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = RunFolder(tmp_path).write_json("a.json", {"b": [1], "c": None})
    assert path.read_text() == '{\n  "b": [\n    1\n  ],\n  "c": null\n}\n' and path == tmp_path / "a.json"
    (tmp_path / "taken").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path / "taken", "text")
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "text")
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a.json", "taken"]


def full(*given, **more):
    raise OSError(28, "No space left on device")


def test_versions_are_those_of_what_is_installed():
    found = versions()
    assert found["python"] == platform.python_version()
    assert {"torch", "gymnasium", "numpy", "hydra-core", "engram-rl"} <= found.keys() and all(found.values())
    assert all(found[name] == metadata.version(name) for name in found.keys() - {"python"})
    assert module._version("no-such-package") == ""


def test_who_holds_a_folder_is_told_and_its_lock_stays(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LOCK).write_text("process of long ago " * 50)
    folder = RunFolder(tmp_path / "run")
    with folder.lock():
        held = (tmp_path / "run" / LOCK).read_text()
        assert held == f"process {os.getpid()} on {platform.node()}\n"
        with pytest.raises(UsageError, match=rf"run is in use by another run \({held.strip()}\)"), folder.lock():
            pass
        assert (tmp_path / "run" / LOCK).exists()
        (tmp_path / "run" / LOCK).write_text("")
        with pytest.raises(UsageError, match=r"another run \(an unknown process\)"), folder.lock():
            pass
    assert not list((tmp_path / "run").iterdir()), "no run began"
    with RunFolder(tmp_path / "new" / "er").lock():
        begun(tmp_path / "new" / "er")
    assert (tmp_path / "new" / "er" / LOCK).exists(), "a run has begun"


def test_a_lock_that_cannot_be_removed_while_it_is_open_goes_once_it_is_closed(tmp_path, monkeypatch):
    unlink, opened = Path.unlink, [True]

    def of_windows(path, missing_ok=False):
        if opened.pop():
            opened.append(False)
            raise PermissionError(13, "it is being used by another process")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", of_windows)
    with RunFolder(tmp_path).lock():
        pass
    assert not list(tmp_path.iterdir())


def test_where_there_are_no_locks_runs_go_without(tmp_path, monkeypatch):
    def unsupported(*given):
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patched:
        patched.setattr(locks.fcntl, "flock", unsupported)
        with lock(tmp_path / LOCK), lock(tmp_path / LOCK):
            assert str(os.getpid()) in (tmp_path / LOCK).read_text()
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location("lock_of_windows", locks.__file__)
    windows = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(windows)
    with windows.lock(tmp_path / "other"), windows.lock(tmp_path / "other"):
        assert (tmp_path / "other").read_text() == ""


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("", "is no JSON"),
        ("[]", "holds \\[\\], no JSON object"),
        ("null", "holds None, no JSON object"),
        ('{"score": "high"}', "says score: high, which is neither a number nor null"),
        ('{"score": true}', "says score: True"),
        ('{"scores": [1]}', "says scores: .* no object of numbers"),
        ('{"scores": {"online": null}}', "says scores"),
        ('{"steps": 1.5}', "says steps: 1.5, which is no number of steps"),
        ('{"steps": null}', "says steps: None"),
        ('{"episodes": -1}', "says episodes: -1"),
        ('{"seconds": "long"}', "says seconds: long"),
        ('{"memory_entries": {}}', "says memory_entries"),
        ('{"mode": 3}', "says mode: 3, which is no word"),
        ('{"versions": []}', "says versions"),
    ],
)
def test_a_summary_that_was_changed_is_named_with_what_is_wrong(tmp_path, text, message):
    (tmp_path / SUMMARY).write_text(text)
    with pytest.raises(UsageError, match=rf"{SUMMARY} {message}.*Put back what training wrote, or remove the file"):
        RunFolder(tmp_path).summary()


def test_a_summary_of_a_run_that_ended_in_an_error_is_one(tmp_path):
    assert RunFolder(tmp_path).summary() == {}
    (tmp_path / SUMMARY).write_text('{"score": null, "error": "x", "seconds": null, "steps": 3, "more": [1]}')
    assert RunFolder(tmp_path).summary()["steps"] == 3
