"""A user's own runs may name any class; those of strangers only what is ours, well known, or named by the user."""

import os
import secrets
import stat
from pathlib import Path

import pytest

from engram_rl.training import evaluate, train
from engram_rl.training.runs.ownership import SIGNATURE, begun_here, named_code, sign

TINY = ("progress=false", "agent=mfec", "env=cartpole", "log.every=40", "evaluation.every=0", "evaluation.episodes=1")
NAMES = {"mine.Agent", "mine:World-v0"}

OWN = """
from engram_rl.memory import Decay


class Slow(Decay):
    def __init__(self):
        super().__init__(half_life=1000)
"""


def test_what_decides_which_code_runs_is_found_at_any_depth():
    config = {
        "agent": {"_target_": "mine.Agent", "memory": {"forgetting": {"_target_": "mine.Slow", "half_life": 3}}},
        "env": {"id": "mine:World-v0", "wrappers": [{"_target_": "gymnasium.wrappers.TimeLimit", "id": 7}]},
        "name": {"id": "CartPole-v1"},
        **dict.fromkeys(("Zeta", "hub", "mode"), "other:Thing"),
    }
    assert named_code(config) == {"mine.Agent", "mine.Slow", "gymnasium.wrappers.TimeLimit", "mine:World-v0"}


def test_a_signature_is_of_these_names_by_this_user(tmp_path, monkeypatch):
    sign(tmp_path, NAMES)
    assert begun_here(tmp_path, NAMES)
    assert not begun_here(tmp_path, NAMES | {"subprocess.Popen"})
    assert not begun_here(tmp_path, NAMES - {"mine.Agent"})
    key = Path(os.environ["XDG_STATE_HOME"]) / "engram" / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(key.read_bytes()) == 32
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "other"))
    assert not begun_here(tmp_path, NAMES)
    assert not (tmp_path / "other").exists(), "looking makes no key"
    sign(tmp_path, NAMES)
    assert begun_here(tmp_path, NAMES)


def test_the_key_lies_in_the_users_state_and_stays_what_it_is(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    sign(tmp_path, NAMES)
    state = tmp_path / "home" / ".local" / "state" / "engram"
    key = (state / "key").read_bytes()
    assert [path.name for path in state.iterdir()] == ["key"]
    assert not begun_here(state, NAMES), "it bears no signature"
    sign(tmp_path, {"mine.Other"})
    assert (state / "key").read_bytes() == key
    assert begun_here(tmp_path, {"mine.Other"}) and not begun_here(tmp_path, NAMES)


def test_where_files_have_no_links_the_key_is_put_in_place_all_the_same(tmp_path, monkeypatch):
    def without(*given):
        raise PermissionError(1, "Operation not permitted")

    state = Path(os.environ["XDG_STATE_HOME"]) / "engram"
    state.mkdir(parents=True)
    monkeypatch.setattr(os, "link", without)
    sign(tmp_path, NAMES)
    assert begun_here(tmp_path, NAMES) and [path.name for path in state.iterdir()] == ["key"]


def test_of_two_runs_that_begin_at_once_the_first_key_stays(tmp_path, monkeypatch):
    state = Path(os.environ["XDG_STATE_HOME"]) / "engram"

    def drawn(size):
        """The other run is done while this one still draws."""
        (state / "key").write_bytes(b"1" * size)
        return b"2" * size

    monkeypatch.setattr(secrets, "token_bytes", drawn)
    sign(tmp_path, NAMES)
    assert (state / "key").read_bytes() == b"1" * 32 and [path.name for path in state.iterdir()] == ["key"]
    assert begun_here(tmp_path, NAMES)


def test_a_user_without_a_home_begins_runs_unsigned(tmp_path, monkeypatch):
    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setattr(Path, "home", nowhere)
    sign(tmp_path, NAMES)
    assert not (tmp_path / SIGNATURE).exists() and not begun_here(tmp_path, NAMES)


@pytest.mark.parametrize("forged", [b"", b"0" * 64, b"\xff" * 64, b"a" * 10_000_000])
def test_a_forged_signature_is_none(tmp_path, forged):
    sign(tmp_path, NAMES)
    (tmp_path / SIGNATURE).write_bytes(forged)
    assert not begun_here(tmp_path, NAMES)


def test_without_a_place_for_the_key_runs_begin_unsigned(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    sign(tmp_path, NAMES)
    assert not (tmp_path / SIGNATURE).exists()
    assert not begun_here(tmp_path, NAMES)


@pytest.mark.parametrize(
    "given",
    [
        "agent.memory.forgetting={_target_: engram_rl.memory.Decay, half_life: 10000}",
        "env.wrappers=[{_target_: gymnasium.wrappers.RescaleObservation, _partial_: true, min_obs: -1, max_obs: 1}]",
        "agent.memory.forgetting={_target_: own_slow.Slow}",
    ],
)
def test_what_was_named_on_the_command_line_resumes_and_is_evaluated(command, tmp_path, monkeypatch, given):
    Path("own_slow.py").write_text(OWN)
    folder = ("hydra.run.dir=run",)
    if "Rescale" in given:
        folder = (*folder, "env.id=MountainCar-v0", "env.max_episode_steps=40")
    status, printed = command(train.main, *TINY, given, *folder, "steps=40")
    assert status == 0, printed
    status, printed = command(train.main, "resume=run", "steps=80")
    assert status == 0, printed
    status, printed = command(evaluate.main, "run=run", "episodes=1")
    assert status == 0, printed
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "of_another_user"))
    status, printed = command(evaluate.main, "run=run", "episodes=1")
    assert (status == 0) == ("own_slow" not in given), printed
    if status:
        assert "asks to build own_slow.Slow" in printed
        assert "was not begun by you on this machine" in printed
        status, printed = command(train.main, "resume=run", given, "steps=120")
        assert status == 0, printed
