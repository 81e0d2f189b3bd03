"""From a configuration to objects, and an agent of one's own is tried before anything is trained."""

import inspect
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from engram_rl.training import api, construction
from engram_rl.training import evaluate as evaluating
from engram_rl.training.cli import config_folders, set_aside, stored_config
from engram_rl.training.composing import composed, value_words
from engram_rl.training.construction import (
    build_agent,
    build_agent_for,
    build_curves,
    build_environment,
    build_environments,
    check_agent,
    space_shown,
)
from engram_rl.training.environments import make_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.evaluate import Evaluation, _frames, _show
from engram_rl.training.rollout import Episodes
from engram_rl.training.runs.folder import RunFolder
from engram_rl.training.seeding import generators

BOX = spaces.Box(-1, 1, (2,), np.float32)


class Own:
    """An agent that keeps how it was made; what it does may be replaced."""

    acts, learns, state = None, {}, {"a": 1}

    def __init__(self, **given):
        self.given = given
        self.__dict__.update(given.pop("does", {}))

    def act(self, observation, *, explore=True):
        return self.acts

    def observe(self, transition):
        np.random.random()  # noqa: NPY002

    def learn(self):
        return self.learns

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        pass


def make_plain(observation_space, action_space, num_envs, seed):
    return Own(observation_space=observation_space, action_space=action_space, num_envs=num_envs, seed=seed)


def make_with_core(observation_space, action_space, num_envs, seed, core):
    return Own(core=core)


def make_on_ppo(observation_space, action_space, num_envs, seed, *, ppo, core):
    return Own(core=core)


def make_of_any(observation_space, action_space, num_envs, seed, **given):
    return Own(**given)


def make_own(observation_space, action_space, num_envs, seed):
    return DOES["agent"]()


DOES = {}


def of(name, **given):
    return OmegaConf.create({"_target_": f"{__name__}.{name}"} | given)


def test_a_factory_is_given_the_spaces_the_number_and_the_seed():
    environments = make_environments("CartPole-v1", 3)
    assert build_agent(of("make_plain"), environments, 5).given == {
        "observation_space": environments.single_observation_space,
        "action_space": environments.single_action_space,
        "num_envs": 3,
        "seed": 5,
    }
    with pytest.raises(UsageError, match=r"test_construction\.make_plain cannot be built from these values: .*'extra'"):
        build_agent(of("make_plain", extra=1), environments, 5)


@pytest.mark.parametrize("core", ["mine.make_gru", {"_target_": "collections.make_gru", "size": 3}, {"size": 3}])
def test_a_memory_core_is_for_agents_that_take_one(core):
    with pytest.raises(
        UsageError, match=r"make_plain makes an agent without a memory core, .* \((make_gru)?\)\. Leave"
    ):
        build_agent_for(of("make_plain", core=core), BOX, BOX, 1, 0)


def test_a_memory_core_gives_numbers():
    with pytest.raises(UsageError, match=r"agent\.recurrent is 0, so the memory core would be left out"):
        build_agent_for(of("make_with_core", core=3, recurrent=0), BOX, BOX, 1, 0)


def test_agents_that_take_a_memory_core_are_given_it():
    for name in ("make_with_core", "make_of_any"):
        assert build_agent_for(of(name, core=3), BOX, BOX, 1, 0).given == {"core": 3}
    assert build_agent_for(of("make_on_ppo", core=3, ppo=1), BOX, BOX, 1, 0).given == {"core": 3}


def test_environments_are_made_as_the_configuration_says(monkeypatch):
    asked = []
    monkeypatch.setattr(construction, "make_environments", lambda *words, **given: asked.append((words, given)))
    wrapper = {"_target_": "gymnasium.wrappers.ClipReward", "_partial_": True, "max_reward": 1}
    config = OmegaConf.create({
        "id": "X-v0", "num_envs": 3, "vectorization": "sync", "kwargs": {"a": [1, {"b": 2}]}, "wrappers": [wrapper],
        "max_episode_steps": 9, "modalities": {"one": {"of": ["x"]}, "two": {"of": ["a"]}},
    })  # fmt: skip
    build_environments(config)
    build_environments(config, {"workers": 2}, beside=True)
    (words, given), (_, more) = asked
    assert words == ("X-v0", 3) and given["vectorization"] == "sync" and given["max_episode_steps"] == 9
    assert given["parts"] == ["a", "x"]
    made = given["kwargs"]()
    assert made == {"a": [1, {"b": 2}]} and type(made["a"]) is list and type(made["a"][1]) is dict
    assert given["wrappers"][0].func is gym.wrappers.ClipReward
    assert (given["cluster"], given["beside"]) == (None, False)
    assert (more["cluster"], more["beside"]) == ({"workers": 2}, True)


def test_one_environment_is_made_with_its_wrappers_or_it_is_said_why_not():
    config = {"id": "CartPole-v1", "kwargs": {"sutton_barto_reward": True}, "wrappers": [], "max_episode_steps": 9}
    one = build_environment(OmegaConf.create(config))
    assert one.spec.max_episode_steps == 9 and one.spec.kwargs == {"sutton_barto_reward": True}
    wrapper = {"_target_": "gymnasium.wrappers.ClipReward", "_partial_": True, "max_reward": 1}
    assert isinstance(build_environment(OmegaConf.create(config | {"wrappers": [wrapper]})), gym.wrappers.ClipReward)
    with pytest.raises(UsageError, match=r"could not be made with kwargs \{'gravitas': 3\}"):
        build_environment(OmegaConf.create(config | {"kwargs": {"gravitas": 3}}))


def test_curves_are_told_to_whom_is_chosen(tmp_path):
    assert build_curves(OmegaConf.create({"logger": None}), tmp_path) == []
    assert build_curves(OmegaConf.create({}), tmp_path) == []
    inner = {"_target_": "fractions.Fraction"}
    chosen = OmegaConf.create(
        {"steps": 3, "same": "${steps}", "logger": {"_target_": "types.SimpleNamespace", "a": inner}}
    )
    (made,) = build_curves(chosen, tmp_path)
    assert made.folder == tmp_path and made.a == inner and made.settings["same"] == 3 and type(made.settings) is dict


def test_an_agent_is_shown_the_parts_that_it_has_keys_of():
    space = spaces.Dict({"a": BOX, "b": BOX, "words": spaces.Text(3)})
    shown = lambda space, **given: space_shown(space, OmegaConf.create({"id": "X-v0"} | given))  # noqa: E731
    assert list(shown(space)) == list(shown(space, modalities=None)) == ["a", "b"]
    assert list(shown(space, modalities={"b": {}})) == ["b"]
    assert shown(BOX, modalities={"b": {}}) == BOX


@pytest.fixture
def tried():
    """Try an agent of one's own in two environments with these actions."""

    def attempt(kind, actions):
        gym.register("test/Tried-v0", lambda: gym.wrappers.TransformAction(Still(), lambda _: 0, actions))
        try:
            environments = make_environments("test/Tried-v0", 2)
        finally:
            gym.registry.pop("test/Tried-v0")
        observation, _ = environments.reset(seed=1)
        DOES["agent"] = kind
        config = OmegaConf.create({"agent": {"_target_": f"{__name__}.make_own"}, "seed": 3})
        before = str(generators())
        try:
            check_agent(kind(), config, environments, observation)
        finally:
            assert str(generators()) == before

    return attempt


class Still(gym.Env):
    observation_space, action_space = BOX, spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(2, np.float32), {}


def doing(**does):
    return type("Own", (Own,), does)


TWO = spaces.Discrete(2)


@pytest.mark.parametrize(
    ("acts", "space"),
    [
        (np.array([0, 1]), TWO), ([0, 1], TWO), (np.array([0, 1], np.uint8), TWO),
        (np.array([[0, 1], [1, 0]]), spaces.MultiBinary(2)), (np.zeros((2, 2), np.float32), BOX),
        (np.zeros((2, 2), np.float64), BOX), (np.zeros((2, 2), np.int64), BOX), (np.zeros((2, 2), bool), BOX),
    ],
)  # fmt: skip
def test_actions_that_fit_are_taken(tried, acts, space):
    tried(doing(acts=acts), space)


@pytest.mark.parametrize(
    ("acts", "space"),
    [
        (np.array([0, 2]), TWO), (np.array([2, 0]), TWO), (np.array([0.0, 1.0]), TWO), (np.array([False, True]), TWO),
        (np.array([0]), TWO), (np.array([[0, 1]]), TWO), (np.array(["0", "1"]), TWO), (None, TWO),
        (np.full((2, 2), 3.0), BOX), (np.full((2, 2), "a"), BOX), (np.zeros(2), BOX),
    ],
)  # fmt: skip
def test_actions_that_do_not_fit_are_refused(tried, acts, space):
    with pytest.raises(UsageError, match=r"(?s)^act of Own gave .*; 2 environments with actions"):
        tried(doing(acts=acts), space)


def broken(self, *given):
    raise ZeroDivisionError("one")


OK = {"acts": np.array([0, 1])}


@pytest.mark.parametrize(
    ("does", "said"),
    [
        ({"learn": None, "observe": 3}, "Own has no observe, learn; an agent offers act, observe"),
        ({"learns": None}, "learn of Own gave None; it gives numbers by name"),
        ({"learns": {"a": 1.0, "b": "good"}}, "learn of Own gave {'a': 1.0, 'b': 'good'}"),
        ({"observe": broken}, "In your agent Own, in a first step: ZeroDivisionError: one"),
        ({"state": {"a": object()}}, "The state of Own cannot be saved and given back: "),
        ({"load_state_dict": broken}, "cannot be saved and given back: ZeroDivisionError: one. state_dict gives dicts"),
        ({"memory_parts": ("a", "c", "b")}, "memory_parts of Own names b, c, which its state_dict does not have"),
    ],
)
def test_what_is_wrong_with_an_agent_is_said(tried, does, said):
    with pytest.raises(UsageError) as found:
        tried(doing(**OK | does), TWO)
    assert said in str(found.value)


def test_what_an_agent_refuses_itself_is_said_as_it_is(tried):
    def refuses(self, *given):
        raise UsageError("not here")

    for verb, said in (("observe", "not here"), ("state_dict", "The state of Own cannot be .* given back: not here")):
        with pytest.raises(UsageError, match=f"^{said}$"):
            tried(doing(**OK, **{verb: refuses}), TWO)


def test_an_agent_with_nothing_wrong_is_left_as_it_is(tried):
    for learns in ({}, {"a": 1, "b": 0.5, "c": np.float32(1), "d": True}):
        tried(doing(**OK, learns=learns, memory_parts=("a",)), TWO)
    with pytest.raises(UsageError, match=r"Own acts in Tuple.*, whose actions are no arrays"):
        tried(doing(**OK), spaces.Tuple([TWO, TWO]))
    ours = type("Ours", (), {"__module__": "engram_rl.agents.x"})
    check_agent(ours(), OmegaConf.create({}), None, None)


@pytest.mark.parametrize(
    ("function", "unsaid"),
    [
        (
            api.train,
            {"agent": "nec", "env": "cartpole", "folder": None, "resume": None, "config_dir": None, "callbacks": ()},
        ),
        (api.evaluate, {"episodes": 20, "memory": None, "checkpoint": "last", "seed": 0, "config_dir": None}),
        (api.make_agent, {"seed": 0, "config_dir": None}),
        (api.load_agent, {"checkpoint": "last", "config_dir": None}),
        (api.make_env, {"config_dir": None}),
    ],
)
def test_what_is_left_unsaid_from_python_is_as_documented(function, unsaid):
    found = {one.name: one.default for one in inspect.signature(function).parameters.values()}
    assert {name: value for name, value in found.items() if value is not inspect.Parameter.empty} == unsaid


def test_a_run_that_has_not_ended_has_no_score(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    run = api.Run(tmp_path)
    assert run.summary == {} and run.score is None and repr(run) == f"Run({str(tmp_path)!r}, score=None)"
    (tmp_path / "summary.json").write_text('{"error": "none"}')
    assert run.score is None and run.summary == {"error": "none"}
    (tmp_path / "summary.json").write_text('{"score": 5}')
    assert run.score == 5.0 and type(run.score) is float
    assert run.config.seed == 1 and run.episodes() == run.metrics() == []


def test_what_was_composed_before_is_there_again_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    with composed("train", ["seed=2"]) as outer:
        around = HydraConfig.get()
        with composed("evaluate", value_words({"run": "none"}), tmp_path) as inner:
            assert HydraConfig.get().job.config_name == "evaluate" and "hydra" not in inner
        assert HydraConfig.get() is around and outer.seed == 2
        with pytest.raises(UsageError), composed("train", ["nothing=1"]):
            pass
        assert HydraConfig.get() is around
    assert not GlobalHydra.instance().is_initialized()
    with composed("train", [], tmp_path):
        pass
    assert sys.path.count(str(tmp_path)) == 1


@pytest.mark.parametrize("error", [RuntimeError("no window"), OSError("no file"), UsageError("none")])
def test_a_video_that_cannot_be_made_is_told_and_costs_nothing_else(monkeypatch, capsys, error):
    def refuses(agent, stored, seed):
        raise error

    monkeypatch.setattr(evaluating, "record", lambda agent, stored, seed: [seed])
    assert _frames(Own(), OmegaConf.create({}), SimpleNamespace(seed=3)) == [3]
    monkeypatch.setattr(evaluating, "record", refuses)
    assert _frames(Own(), OmegaConf.create({}), SimpleNamespace(seed=3)) == []
    assert capsys.readouterr().err == f"No video: {error}\n"


def test_an_evaluation_is_its_means_and_intervals(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    ten = [8.0] * 10
    few, many = Episodes(np.array([10.0, 30.0]), np.array([3, 4])), Episodes(np.array(ten), np.array([5, 6] * 5))
    found = Evaluation("X-v0", "frozen", 40, {"random": few, "trained": many})
    assert found.mean == 8 and str(found) == "random: 20 (10 to 30)\ntrained: 8 [8, 8]"
    assert found.rows() == {
        "random": {"mean": 20, "interval": None, "returns": [10, 30], "lengths": [3, 4]},
        "trained": {"mean": 8, "interval": [8, 8], "returns": ten, "lengths": [5, 6] * 5},
    }
    assert found.intervals is found.intervals
    with pytest.raises(FrozenInstanceError):
        found.step = 3  # type: ignore[misc]
    _show(found, SimpleNamespace(episodes=2))
    printed = capsys.readouterr().out
    assert "X-v0, 2 episodes each, memory frozen: nothing was written or explored" in " ".join(printed.split())
    rows = [line.replace("┃", "│").split("│")[1:-1] for line in printed.splitlines() if "│" in line or "┃" in line]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["agent", "mean return", "95 % interval", "worst", "best", "steps"],
        ["random", "20.0", "-", "10.0", "30.0", "3.5"],
        ["trained", "8.0", "8.0 to 8.0", "8.0", "8.0", "5.5"],
    ]
    assert all(row[0].startswith(" ") and row[0][1] != " " and row[1][-2] != " " for row in rows)


def test_the_folders_of_a_command_are_ours_and_the_users(tmp_path):
    ours = Path(construction.__file__).resolve().parents[1] / "conf"
    for config_dir, folders in ((None, [ours]), (tmp_path, [ours, tmp_path]), (ours, [ours])):
        with composed("train", [], config_dir):
            assert config_folders() == folders


def test_a_run_that_exists_is_as_it_was_but_for_what_is_given(tmp_path, monkeypatch):
    folder, plain = RunFolder(tmp_path / "run"), lambda found: OmegaConf.to_container(found, resolve=True)
    with composed("train", ["agent=mfec", "steps=40", "seed=3", "log.every=9"]) as config:
        folder.start(config)
    with composed("train", ["steps=7", "agent=nec", "log.every=5"]) as other:
        assert plain(stored_config(folder, other, [])) == plain(config)
        assert plain(stored_config(folder, other, ["steps=50"])) == plain(config) | {"steps": 50}
        monkeypatch.setattr(sys, "argv", ["engram train", "resume=run", "steps=60", "hydra.verbose=true"])
        set_aside("resume")
        assert sys.argv == ["engram train", "resume=run", "hydra.verbose=true"]
        assert stored_config(folder, other).steps == 60
        older = plain(config)
        del older["seeding"], older["log"], older["cluster"]
        folder.keep(OmegaConf.create(older))
        found = stored_config(folder, other, [])
        assert found.seeding == "counted" and (found.log, found.cluster) == (other.log, other.cluster)
        first = {"bootstrap": False, "scale_rule": 1}  # as all runs were that say nothing of seeding
        assert plain(found.agent) == plain(config)["agent"] | first and found.steps == 40
    with composed("evaluate", ["run=none"]) as evaluation:
        assert stored_config(folder, evaluation, ["steps=70"]).steps == 40
    monkeypatch.setattr(sys, "argv", ["engram train"])
    set_aside("resume")
