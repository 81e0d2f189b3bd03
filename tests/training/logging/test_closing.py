"""What a run leaves at its end, whichever: a whole summary, what it told, and nothing lost for what only shows."""

import json
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from omegaconf import OmegaConf

from engram_rl.training.errors import BrokenCodeError, UsageError
from engram_rl.training.evaluation import MODES
from engram_rl.training.logging import closing
from engram_rl.training.logging.closing import close, rescue, shown
from engram_rl.training.logging.logger import DivergedError, RunLogger
from engram_rl.training.rollout import Episodes
from engram_rl.training.runs.checkpoint import UnwritableError
from engram_rl.training.runs.folder import RunFolder, versions

CONFIG = {"seed": 4, "evaluation": {"episodes": 3}, "log": {"video": False, "memory": False}, "checkpoint": {"keep": 2}}
PLAYED = {
    "online": Episodes(np.array([1.0, 2.0, 6.0]), np.array([4, 5, 6]), cut=1),
    "frozen": Episodes(np.array([20.0, 22.0]), np.array([4, 5]), cut=2),
}


class Judged:
    """Stands for the judge and for the environments: gives what is known of a mode, or fails."""

    def __init__(self, **played):
        self.played, self.asked, self.closed = played, [], 0

    def __call__(self, agent, mode, purpose, lives_in):
        self.asked.append((agent, mode, purpose, lives_in))
        if mode not in self.played:
            raise RuntimeError(f"no {mode}")
        return self.played[mode]

    metadata: ClassVar[dict] = {"restorable": True}

    def state_dict(self):
        return {"at": 7}

    def close(self):
        self.closed += 1


class Told:
    """Is told of a run's curves."""

    closed = 0

    def write(self, step, means):
        pass

    def close(self):
        self.closed += 1


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run")


@pytest.fixture
def told():
    return Told()


@pytest.fixture
def logger(folder, told):
    folder.path.mkdir()
    return RunLogger(folder.path, beside=[told])


def end(judge, folder, logger, mode="online", **log):
    config = OmegaConf.merge(CONFIG, {"log": log})
    return close("agent", judge, mode, Judged(), config, folder, logger, 1200, 3.6)


def summary_of(folder):
    return json.loads((folder.path / "summary.json").read_text())


def test_a_finished_run_has_a_whole_summary_and_says_what_it_came_to(folder, logger, told, capsys):
    logger.last |= {"memory/size": 5.0, "rollout/ep_len_mean": 5.0}
    judge = Judged(**PLAYED)
    assert end(judge, folder, logger) == 3.0
    assert judge.asked == [("agent", mode, "score", {"at": 7}) for mode in ("online", "frozen")]
    assert judge.closed == 1 and told.closed == 1
    assert summary_of(folder) == {
        "score": 3.0,
        "mode": "online",
        "scores": {"online": 3.0, "frozen": 21.0},
        "episodes": 3,
        "cut": 1,
        "steps": 1200,
        "seconds": 3.6,
        "seed": 4,
        "memory_entries": 5,
        "versions": versions(),
    }
    out, err = capsys.readouterr()
    assert out.splitlines() == [
        f"Score 3.0 online ({MODES['online']}), 21.0 frozen ({MODES['frozen']}), after 1200 steps in 4 s",
        f"Run folder: {folder.path}",
        f"Learning curve: {folder.path / 'learning_curve.png'}",
        f"TensorBoard: tensorboard --logdir {folder.path} (tab Custom Scalars)",
    ]
    assert err == ""
    assert (folder.path / "learning_curve.png").exists() and len(list(folder.path.glob("*.hparams"))) == 1
    assert not (folder.path / "episode.gif").exists() and not (folder.path / "memory_keys.tsv").exists()


def test_an_agent_that_is_judged_frozen_is_judged_once_and_one_without_memory_has_no_entries(folder, logger, capsys):
    judge = Judged(**PLAYED)
    assert end(judge, folder, logger, "frozen") == 21.0
    assert [mode for _, mode, _, _ in judge.asked] == ["frozen"]
    found = summary_of(folder)
    assert (found["scores"], found["cut"], found["memory_entries"]) == ({"frozen": 21.0}, 2, 0)
    out, err = capsys.readouterr()
    assert out.startswith(f"Score 21.0 frozen ({MODES['frozen']}), after")
    assert err.startswith("No episode ended in 1200 steps") and "env.max_episode_steps=1000" in err


@pytest.mark.parametrize(
    ("played", "score", "cut"), [({}, None, None), ({"online": PLAYED["online"]}, 3.0, 1)], ids=["first", "second"]
)
def test_a_judgement_that_fails_is_raised_once_what_the_run_had_is_written(folder, logger, told, played, score, cut):
    judge = Judged(**played)
    with pytest.raises(RuntimeError, match="no frozen" if played else "no online"):
        end(judge, folder, logger)
    found = summary_of(folder)
    assert (found["score"], found["cut"], found["scores"]) == (score, cut, {"online": 3.0} if played else {})
    assert (folder.path / "learning_curve.png").exists() and judge.closed == 1 and told.closed == 1
    assert not list(folder.path.glob("*.hparams"))


FRAMES = [np.full((8, 8, 3), 20 * n, np.uint8) for n in range(10)]


@pytest.mark.parametrize("encoder", [False, True])
def test_a_video_is_written_beside_the_rest_and_as_mp4_where_that_can_be(folder, logger, monkeypatch, encoder):
    written, agents = [], []
    monkeypatch.setattr(closing, "record", lambda agent, config: agents.append(agent) or FRAMES)
    monkeypatch.setattr(closing, "has_encoder", lambda: encoder)
    monkeypatch.setattr(closing, "write_mp4", lambda frames, path: written.append((frames, path)))
    monkeypatch.setattr(closing, "write_projector", lambda *given: written.append(given))
    end(Judged(**PLAYED), folder, logger, video=True, memory=True)
    assert agents == ["agent"] and (folder.path / "episode.gif").read_bytes().startswith(b"GIF8")
    assert written == [*([(FRAMES, folder.path / "episode.mp4")] * encoder), ("agent", folder.path, 1200)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (UsageError("no rgb_array"), "no rgb_array"),
        (OSError("no room"), "no room"),
        (ImportError("no pygame"), "no pygame"),
        (KeyError("speed"), "In your code, in video of an episode: KeyError: 'speed'\n  at {}"),
        (SystemExit(3), "In your code, in video of an episode: SystemExit: 3\n  at {}"),
    ],
)
def test_a_video_that_cannot_be_made_is_told_with_how_to_leave_it_out(
    folder, logger, monkeypatch, capsys, error, message
):
    def fails(*given):
        raise error

    monkeypatch.setattr(closing, "record", fails)
    monkeypatch.setattr(closing, "draw_learning_curve", fails)
    assert end(Judged(**PLAYED), folder, logger, video=True) == 3.0
    err = capsys.readouterr().err
    assert f"No video of an episode: {message.format(__file__)}" in err and "(log.video=false leaves it out)\n" in err
    curve = err[err.index("No learning curve: ") : err.index("No video")]
    assert "leaves it out" not in curve, "a curve is always drawn"


@pytest.mark.parametrize("begun", [False, True])
def test_a_video_that_the_disk_has_no_room_for_is_not_left_half_written(folder, logger, monkeypatch, capsys, begun):
    def full(path, content):
        if begun:
            path.touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(closing, "record", lambda agent, config: FRAMES)
    monkeypatch.setattr(Path, "write_bytes", full)
    assert end(Judged(**PLAYED), folder, logger, video=True) == 3.0
    assert "No video of an episode: [Errno 28] No space left" in capsys.readouterr().err
    assert not (folder.path / "episode.gif").exists()


def broken(error, folder, logger, step=9):
    with rescue(folder, OmegaConf.create(CONFIG), logger, lambda: {"part": 1}, lambda: step):
        raise error


def test_a_run_that_fails_in_the_users_code_is_kept_and_says_where(folder, logger, told, capsys):
    with pytest.raises(BrokenCodeError, match=r"In your code, in training: KeyError: 'speed'\n  at .*test_closing.py"):
        broken(KeyError("speed"), folder, logger)
    found = summary_of(folder)
    assert found["score"] is None and "KeyError: 'speed'" in found["error"]
    assert (found["steps"], found["seconds"], found["seed"]) == (9, None, 4)
    assert folder.load_checkpoint() == {"step": 9, "part": 1}
    assert (folder.path / "learning_curve.png").exists() and told.closed == 1
    assert capsys.readouterr().err == f"What the run had until step 9 is kept in {folder.path}\n"


def test_what_is_ours_or_meant_for_the_user_is_raised_as_it_is(folder, logger):
    with pytest.raises(UsageError, match=r"^give another$") as caught:
        broken(UsageError("give another"), folder, logger)
    assert caught.type is UsageError
    ours = ValueError("of ours")  # raised in none of the user's code
    rescued = rescue(folder, OmegaConf.create(CONFIG), logger, lambda: {"part": 2}, lambda: 11)
    rescued.__enter__()
    assert not rescued.__exit__(ValueError, ours, None)
    assert summary_of(folder)["error"] == "of ours" and folder.load_checkpoint()["part"] == 2
    with pytest.raises(UsageError, match=r"^first$") as caught:
        try:
            raise UsageError("first")
        except UsageError as first:
            broken(first, folder, logger)
    assert caught.type is UsageError


def test_only_the_newest_checkpoints_of_rescued_runs_are_kept(folder, logger):
    for step in (1, 2, 3):
        with pytest.raises(BrokenCodeError):
            broken(KeyError("speed"), folder, logger, step)
    assert len(list(folder.checkpoints.iterdir())) == CONFIG["checkpoint"]["keep"]


@pytest.mark.parametrize(("error", "step"), [(DivergedError("loss is nan"), 9), (UsageError("at once"), 0)])
def test_what_has_diverged_or_not_begun_is_not_saved_but_summed_up(folder, logger, error, step):
    with pytest.raises(type(error)):
        broken(error, folder, logger, step)
    assert summary_of(folder)["error"] == str(error) and not folder.checkpoints.exists()


def test_nothing_more_is_written_to_a_full_disk(folder, logger, told):
    before = {path.name for path in folder.path.iterdir()}
    with pytest.raises(UnwritableError, match="full"):
        broken(UnwritableError("full"), folder, logger)
    assert {path.name for path in folder.path.iterdir()} == before and told.closed == 1


def test_where_the_state_cannot_be_saved_the_summary_is_there_all_the_same(folder, logger):
    def fails():
        raise RuntimeError("no state")

    with (
        pytest.raises(BrokenCodeError),
        rescue(folder, OmegaConf.create(CONFIG), logger, fails, lambda: 9),
    ):
        raise KeyError("speed")
    assert "KeyError" in summary_of(folder)["error"] and not folder.checkpoints.exists()


def test_a_run_that_someone_leaves_by_exit_is_kept_and_one_that_ends_well_is_left_alone(folder, logger, told):
    with pytest.raises(UsageError, match="SystemExit: 0"):
        broken(SystemExit(0), folder, logger)
    assert folder.load_checkpoint()["step"] == 9
    (folder.path / "summary.json").unlink()
    with rescue(folder, OmegaConf.create(CONFIG), logger, lambda: {"part": 1}, lambda: 12):
        pass
    assert folder.load_checkpoint()["step"] == 9 and not (folder.path / "summary.json").exists()
    assert told.closed == 1


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.0"), (0.5, "0.5"), (-3.0, "-3.0"), (0.123, "0.123"), (0.567, "0.567"), (1.25, "1.250"),
        (9.876, "9.876"), (-9.876, "-9.876"), (10.0, "10.0"), (10.04, "10.0"), (-12.34, "-12.3"), (1234.56, "1234.6"),
    ],
)  # fmt: skip
def test_returns_have_one_decimal_where_they_are_large_or_need_no_more_and_else_three(number, text):
    assert shown(number) == text
