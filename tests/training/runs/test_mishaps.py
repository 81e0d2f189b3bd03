"""Whatever goes wrong in code that is not ours, what the run had is kept; a run goes on with what is asked of it."""

import json
import sys
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from omegaconf import OmegaConf

from engram_rl.training import train
from engram_rl.training.configuration.overrides import merged, split
from engram_rl.training.errors import UsageError
from engram_rl.training.logging import closing
from engram_rl.training.runs import checkpoint
from engram_rl.training.runs.folder import RunFolder

QUIET = ("progress=false", "evaluation.every=0", "evaluation.episodes=2", "log.memory=false", "agent=mfec", "env=gym")


class Walk(gym.Env):
    """Ends after five steps; fails at step `fails`, draws from `draws`, renders as told."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012
    observation_space, action_space = spaces.Box(0, 99, (1,)), spaces.Discrete(2)

    def __init__(self, fails=10**9, draws=None, render_mode=None, ends=5, leaves=None):
        self.fails, self.draws, self.render_mode, self.total, self.ends = fails, draws, render_mode, 0, ends
        self.leaves = leaves

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        drawn = {"global": np.random.random, "own": np.random.default_rng().random, None: lambda: 0}[self.draws]()
        self.shift = drawn
        return np.array([self.shift], np.float32), {}

    def step(self, action):
        self.t, self.total = self.t + 1, self.total + 1
        if self.total == self.fails:
            if self.leaves == "step":
                sys.exit(0)
            raise KeyError("speed")
        return np.array([self.t + self.shift], np.float32), 1.0, self.t == self.ends, False, {}

    def render(self):
        if self.leaves == "render":
            sys.exit("no display")
        raise NotImplementedError

    def close(self):
        if self.leaves == "close":
            sys.exit(4)


gym.register("test/Mishap-v0", Walk)


def run(command, *given):
    status, printed = command(train.main, *QUIET, "env.id=test/Mishap-v0", "steps=60", *given)
    return status, printed, RunFolder.open(Path("latest")).path


def test_a_run_in_which_no_episode_ends_says_so_and_the_remedy_works(command):
    endless = ("+env.kwargs.ends=0", "evaluation.max_steps=80", "log.video=false")
    _, printed, _ = run(command, *endless)
    assert "No episode ended in 64 steps" in printed
    _, printed, _ = run(command, *endless, "env.max_episode_steps=5")
    assert "No episode ended" not in printed and "Score 5.0 online" in printed


def test_a_render_that_fails_costs_the_video_alone(command):
    status, printed, folder = run(command)
    assert status == 0 and "No video of an episode: In your code" in printed and "test_mishaps.py, line" in printed
    assert json.loads((folder / "summary.json").read_text())["score"] == 5.0
    assert (folder / "learning_curve.png").exists() and "Score 5.0 online" in printed


@pytest.mark.parametrize("where", ["render", "close"])
def test_an_environment_that_leaves_where_it_is_drawn_or_closed_costs_no_more_than_one_that_fails(command, where):
    status, printed, folder = run(command, f"+env.kwargs.leaves={where}")
    assert status == 0 and "SystemExit" in printed and "test_mishaps.py, line" in printed
    assert json.loads((folder / "summary.json").read_text())["score"] == 5.0 and "Score 5.0 online" in printed


def test_an_environment_that_leaves_ends_a_run_as_an_error_does(command):
    status, printed, folder = run(command, "+env.kwargs.leaves=step", "+env.kwargs.fails=3", "env.num_envs=1")
    assert status == 2 and "in step: SystemExit: 0" in printed
    assert "SystemExit" in json.loads((folder / "summary.json").read_text())["error"]
    assert folder_steps(folder) == ["step_000000000002"]


def folder_steps(folder):
    return [path.name for path in (folder / "checkpoints").iterdir()]


class Sticky(Walk):
    """Counts who is open; closing fails where it is told to, making the one of a number likewise."""

    open_ones = 0

    def __init__(self, refuse_close=False, limit=99, **options):
        super().__init__(**options)
        if Sticky.open_ones >= limit:
            raise OSError("address in use")
        self.refuse_close = refuse_close
        Sticky.open_ones += 1

    def close(self):
        Sticky.open_ones -= 1
        if self.refuse_close:
            raise RuntimeError("the simulator does not answer")


gym.register("test/Sticky-v0", Sticky)


@pytest.mark.parametrize("refuse", [False, True])
def test_every_environment_is_closed_and_a_close_that_fails_costs_nothing(command, refuse):
    given = ("env.id=test/Sticky-v0", "env.num_envs=3", f"+env.kwargs.refuse_close={refuse}", "steps=60")
    Sticky.open_ones = 0
    status, printed = command(train.main, *QUIET, *given, "evaluation.every=30")
    assert status == 0, printed
    assert ("In your environment test/Sticky-v0, in close: RuntimeError: the simulator" in printed) is refuse
    assert "Exception ignored" not in printed and "Score 5.0" in printed
    folder = RunFolder.open(Path("latest")).path
    assert json.loads((folder / "summary.json").read_text())["score"] == 5.0
    assert Sticky.open_ones <= 0


def test_where_one_environment_cannot_be_made_those_before_it_are_closed(command):
    Sticky.open_ones = 0
    given = ("env.id=test/Sticky-v0", "env.num_envs=3", "+env.kwargs.limit=2", "steps=60")
    status, printed = command(train.main, *QUIET, *given)
    assert status == 2 and "In your environment test/Sticky-v0, in making it: OSError: address in use" in printed
    assert Sticky.open_ones == 0


def test_a_disk_that_fills_at_the_video_costs_the_video_alone(command, monkeypatch):
    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(closing, "record", full)
    status, printed, folder = run(command)
    assert status == 0 and "No space left on device" in printed
    assert (folder / "summary.json").exists() and not (folder / "episode.gif").exists()


def test_an_exception_in_an_environment_leaves_checkpoint_summary_and_curve(command):
    status, printed, folder = run(command, "+env.kwargs.fails=23", "env.num_envs=1")
    assert status == 2 and "In your environment test/Mishap-v0, in step: KeyError: 'speed'" in printed
    assert "test_mishaps.py, line" in printed and "Traceback" not in printed
    assert json.loads((folder / "summary.json").read_text())["score"] is None
    assert (folder / "learning_curve.png").exists() and RunFolder(folder).load_checkpoint()["step"] == 22
    status, printed = command(train.main, f"resume={folder}", "env.kwargs.fails=1000")
    assert status == 0, printed
    assert json.loads((folder / "summary.json").read_text())["steps"] == 60


@pytest.mark.parametrize(("draws", "same"), [("global", True), ("own", False), (None, True)])
def test_where_a_replay_leads_elsewhere_it_is_told(command, draws, same):
    _, _, folder = run(command, f"+env.kwargs.draws={draws or 'null'}")
    status, printed = command(train.main, f"resume={folder}", "steps=80")
    assert status == 0 and ("did not come back to where they were" in printed) is not same


def test_what_a_run_goes_on_with_is_stored_and_typed(command):
    _, _, folder = run(command, "log.video=false")
    given = ("agent.discount=0.5", "++env.kwargs.fails=1000", "+env.kwargs={draws: null}")
    status, printed = command(train.main, f"resume={folder}", "steps='9x1'", *given)
    assert status == 2 and "steps" in printed
    status, printed = command(train.main, f"resume={folder}", "steps='90'", *given)
    assert status == 0, printed
    stored = RunFolder(folder).config()
    assert (stored.steps, stored.agent.discount, stored.env.kwargs) == (90, 0.5, {"fails": 1000, "draws": None})
    status, printed = command(train.main, f"resume={folder}")
    assert status == 0, printed
    assert "after 96 steps" in printed, printed  # whole steps of eight environments
    assert len(list(folder.glob("*.hparams"))) == 1


REFUSED = {
    "agent=nec": "agent=nec would swap a part of the run",
    "agent.learn_every=3": "no key 'learn_every' under 'agent'",
    "+steps=5": "the run has steps already; leave out the plus",
    "~agent.nothing": "the run has no agent.nothing",
    "seed=1,2": "names several values",
    "agent.discount.start=1": "agent.discount is 0.99. Give agent.discount=... as a whole",
    "seeding=odd": "began with seeding=spawned",
    "env.kwargs={new: 1}": "env.kwargs takes new keys with a plus: +env.kwargs.new=...",
    "evaluation.mode=onlin": "Did you mean online",
}


@pytest.fixture(scope="module")
def stored():
    return OmegaConf.create({"agent": {"discount": 0.99}, "steps": 60, "seed": 1, "env": {"kwargs": {}}})


@pytest.mark.parametrize("given", REFUSED)
def test_what_a_run_cannot_go_on_with_is_refused_and_nothing_changes(command, given):
    _, _, folder = run(command, "log.video=false")
    before = (folder / "config.yaml").read_text()
    status, printed = command(train.main, f"resume={folder}", given)
    assert status == 2 and REFUSED[given] in printed, printed
    assert (folder / "config.yaml").read_text() == before


def test_only_what_is_for_the_run_is_taken_off_the_command_line():
    line = ["--config-dir", "a=b", "resume=x", "+a=1", "~b", "hydra.verbose=true", "-m", "steps=3"]
    kept = ["--config-dir", "a=b", "resume=x", "hydra.verbose=true", "-m"]
    assert split(line, "resume") == (kept, ["+a=1", "~b", "steps=3"])
    assert split(["resume=null", "steps=3"], "resume") == (["resume=null", "steps=3"], [])


def test_values_merge_as_hydra_merges_them(stored):
    given = ["+env.kwargs={a: 1}", "+env.kwargs.b=[1,2]", "++agent.discount=0.5", "steps=7"]
    config = merged(stored, given, [], Path("r"))
    assert config == {"agent": {"discount": 0.5}, "steps": 7, "seed": 1, "env": {"kwargs": {"a": 1, "b": [1, 2]}}}
    assert merged(config, ["~env.kwargs.a"], [], Path("r")).env.kwargs == {"b": [1, 2]}
    with pytest.raises(UsageError, match="would swap"):
        merged(stored, ["memory@agent.memory=nec"], [], Path("r"))


@pytest.mark.parametrize(("key", "other"), [("seed", "5"), ("seeding", "spawned")])
def test_what_a_run_began_with_is_not_swapped_under_it(stored, key, other):
    stored.seeding = "counted"
    with pytest.raises(
        UsageError, match=f"^{key}={other}: the run in r began with {key}={stored[key]}, .* start a new"
    ):
        merged(stored, ["steps=7", f"{key}={other}"], [], Path("r"))
    assert merged(stored, [f"{key}={stored[key]}", "steps=7"], [], Path("r")).steps == 7


def test_a_system_that_opens_no_folders_saves_all_the_same(tmp_path, monkeypatch):
    opened = checkpoint.os.open

    def windows(path, flags, *more):
        if Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, flags, *more)

    monkeypatch.setattr(checkpoint.os, "open", windows)
    checkpoint.save_checkpoint(tmp_path / "c", {"a": 1})
    assert checkpoint.load_checkpoint(tmp_path / "c") == {"a": 1}


class Own:
    """An agent of somebody's own, with one thing wrong with it."""

    def __init__(self, wrong, num_envs):
        self.wrong, self.num_envs, self.steps = wrong, num_envs, 0
        if wrong == "no state":
            self.state_dict = None

    def act(self, observation, *, explore=True):
        actions = np.zeros(self.num_envs, np.int64)
        wrong = {"shape": actions[:1], "kind": actions + 0.5, "outside": actions + 7, "list": None}
        return wrong.get(self.wrong, actions)

    def observe(self, transition):
        self.steps += 1
        if self.wrong == "fails":
            raise ZeroDivisionError("one")
        if self.wrong == "leaves later" and self.steps > 3:
            sys.exit(0)

    def learn(self):
        if self.wrong == "words later" and self.steps > 3:
            return {"train/mood": "good"}
        return None if self.wrong == "learn" else {}

    def state_dict(self):
        if self.wrong == "unsavable later" and self.steps > 3:
            return {"a": object()}
        return {"a": object() if self.wrong == "unsavable" else 1}

    def load_state_dict(self, state):
        if self.wrong == "unfit":
            raise KeyError("weights")


def make_own(observation_space, action_space, num_envs, seed, *, wrong):
    return Own(wrong, num_envs)


WRONG = {
    "no state": "Own has no state_dict",
    "shape": r"act of Own gave .* of shape \(1,\)",
    "kind": "act of Own gave .* of shape .* and type float64",
    "outside": "act of Own gave .*7",
    "list": "act of Own gave None",
    "learn": "learn of Own gave None",
    "fails": r"In your agent Own, in a first step: ZeroDivisionError: one\n.*test_mishaps.py, line",
    "unsavable": "state of Own cannot be saved.*cannot hold object",
    "unfit": "state of Own cannot be saved and given back: KeyError",
}


LATER = {
    "words later": "train/mood, which learning told, is 'good'; learn",
    "unsavable later": "A checkpoint cannot hold object .at /agent/a.*. state_dict",
    "leaves later": "SystemExit: 0",
}
"""What no trial finds: the run had begun, so that its summary is there."""


@pytest.mark.parametrize("wrong", [*WRONG, *LATER])
def test_an_agent_of_ones_own_is_tried_before_anything_is_trained(command, tmp_path, wrong):
    import re

    (tmp_path / "conf" / "agent").mkdir(parents=True)
    (tmp_path / "conf" / "agent" / "own.yaml").write_text(f"_target_: {__name__}.make_own\nwrong: {wrong}\n")
    given = [one for one in QUIET if one != "agent=mfec"]
    status, printed = command(
        train.main, "--config-dir", str(tmp_path / "conf"), *given, "agent=own", "env.id=test/Mishap-v0", "steps=60"
    )
    assert status == 2 and re.search((WRONG | LATER)[wrong], printed), printed
    assert "Traceback" not in printed and not list(Path().rglob("metrics.jsonl"))
    summaries = list(Path().rglob("summary.json"))
    assert len(summaries) == (wrong in LATER)
    assert all(re.search(LATER[wrong], json.loads(one.read_text())["error"]) for one in summaries)
