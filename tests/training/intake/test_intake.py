"""What environments give is taken in once: what is not of its space is named, what nobody reads breaks nothing."""

import math
import re
import sys
from collections import OrderedDict
from decimal import Decimal
from fractions import Fraction
from functools import partial
from itertools import count
from types import MappingProxyType

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config
from engram_rl.agents.goal_directed.views import Columns
from engram_rl.agents.random import RandomAgent
from engram_rl.envs.shifting.schedules import Periodic
from engram_rl.envs.shifting.wrapper import ConstructorArgument, ShiftingTarget
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.environments import make_environments
from engram_rl.training.errors import UsageError, raised_by_user, say_once
from engram_rl.training.evaluation import evaluate
from engram_rl.training.intake.frames import image
from engram_rl.training.intake.infos import action_masks
from engram_rl.training.intake.observations import Bounds
from engram_rl.training.rollout import act, allowed, environment_metrics, finished, step

PAIR = spaces.Box(-1, 1, (2,), np.float32)


class Walk(gym.Env):
    """Ten steps; what it observes, pays and says is given."""

    def __init__(self, space=PAIR, observe=None, reward=0.0, info=None, actions=2, ended=False):
        self.observation_space, self.action_space = space, spaces.Discrete(actions)
        self.observe = observe or (lambda t: np.full(2, t / 10, np.float32))
        self.reward, self.info, self.ended = reward, info or (lambda t: {}), ended

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observe(self.t), self.info(self.t)

    def step(self, action):
        self.t += 1
        reward = self.reward(self.t) if callable(self.reward) else self.reward
        return self.observe(self.t), reward, self.ended, self.t >= 10, self.info(self.t)


gym.register("test/Walk-v0", Walk)


def play(steps=12, vectorization="sync", **given):
    environments = make_environments("test/Walk-v0", 2, vectorization=vectorization, kwargs=given)
    observation, _ = environments.reset(seed=0)
    transitions = []
    for _ in range(steps):
        transitions.append(step(environments, observation, np.zeros(2, np.int64)))
        observation = transitions[-1].reset_observation
    environments.close()
    return transitions


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_an_environment_that_reuses_its_array_changes_nothing_that_was_given(vectorization):
    array = np.zeros(2, np.float32)

    def observe(t):
        array[:] = t / 10
        return array

    seen = play(10, vectorization, observe=observe)
    assert [round(float(one.observation[1, 0]), 1) for one in seen] == [t / 10 for t in range(10)]
    assert seen[-1].next_observation[:, 0].tolist() == [1, 1]
    assert seen[-1].reset_observation[:, 0].tolist() == [0, 0]


BYTES = spaces.Box(0, 255, (3,), np.uint8)
WRONG = {
    "floats for bytes": (BYTES, np.array([0, 0.6, 1]), r"0\.6.*at \[1\] is none of its values"),
    "too large for bytes": (BYTES, np.array([0, 1, 300]), r"300.*at \[2\]"),
    "negative for bytes": (BYTES, [0, -1, 0], r"-1.*at \[1\]"),
    "shape": (PAIR, np.zeros(3), r"has shape \(3,\)"),
    "no numbers": (PAIR, ["a", "b"], "no array of numbers"),
    "code above": (spaces.Discrete(5), 5, "5 is no code of it"),
    "code below": (spaces.Discrete(5, start=2), 1, "1 is no code of it"),
    "half a code": (spaces.Discrete(5), 1.5, "1.5 is no code of it"),
    "huge code": (spaces.Discrete(5), 10**30, "is no code of it"),
    "code of many": (spaces.MultiDiscrete([3, 3]), np.array([1, 4]), r"holds 4 at \[1\].*take 0 to 2"),
    "bit": (spaces.MultiBinary(2), np.array([1, 2], np.int8), r"holds 2 at \[1\]"),
    "nan": (PAIR, np.array([0, np.nan], np.float32), r"environment 0 holds nan at \[1\]"),
    "inf": (spaces.Box(-np.inf, np.inf, (2,)), np.array([0, np.inf], np.float32), "holds inf"),
    "enormous": (spaces.Box(-np.inf, np.inf, (2,)), np.array([0, 1e30], np.float32), r"1e\+30.*take -1e\+12 to 1e\+12"),
    "missing part": (spaces.Dict(a=PAIR, b=PAIR), {"a": np.zeros(2, np.float32)}, "lacks 'b'"),
    "extra part": (spaces.Dict(a=PAIR), {"a": np.zeros(2, np.float32), "z": 1}, "adds 'z'"),
    "no parts": (spaces.Dict(a=PAIR), np.zeros(2), "has no parts by name"),
    "deep": (spaces.Dict(arm=spaces.Dict(grip=spaces.Discrete(2))), {"arm": {"grip": 2}}, r"'arm\.grip'.*no code"),
    "short tuple": (spaces.Tuple((PAIR, PAIR)), (np.zeros(2),), "no tuple of as many parts"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("from_step", [0, 3])
def test_what_is_not_of_its_space_is_named(case, from_step):
    space, wrong, message = WRONG[case]
    right = space.sample()
    with pytest.raises(UsageError, match=message) as caught:
        play(space=space, observe=lambda t: wrong if t >= from_step else right)
    assert "test/Walk-v0" in str(caught.value) and "Mend the environment" in str(caught.value)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounds_that_are_but_the_largest_numbers_allow_no_such_numbers(dtype):
    largest = float(np.finfo(np.float32).max)
    bounds = Bounds(spaces.Box(-largest, largest, (2,), dtype), "X-v0")
    bounds.check(np.array([[1e11, -1e11]], dtype))
    with pytest.raises(UsageError, match=r"e\+37 at \[0\] .*take -1e\+12 to 1e\+12"):
        bounds.check(np.array([[-3e37, 1]], dtype))


def test_a_script_that_calls_us_is_not_to_blame_for_what_we_refuse_and_what_we_call_is():
    with pytest.raises(ValueError, match=r"columns of a vector, .*FlattenObservation") as ours:
        Columns(spaces.Discrete(3), [0], [])
    assert not raised_by_user(ours.value)

    def reset(t):
        raise KeyError("speed")

    with pytest.raises(
        UsageError, match=r"In your environment .*KeyError: 'speed'\n  at .*test_intake\.py, line"
    ) as theirs:
        play(observe=reset)
    assert raised_by_user(theirs.value) and isinstance(theirs.value.__cause__, KeyError)


def test_what_only_has_another_dtype_is_read():
    seen = play(space=BYTES, observe=lambda t: [t, 2.0, 255])
    assert seen[2].next_observation.dtype == np.uint8 and seen[2].next_observation[0].tolist() == [3, 2, 255]
    assert play(space=spaces.Discrete(20), observe=lambda t: np.array([t]))[2].next_observation.tolist() == [3, 3]


@pytest.mark.parametrize("far", [1.01, 2.9, 50.0, -1e11])
@pytest.mark.parametrize("space", [PAIR, spaces.Dict(a=PAIR), spaces.Box(-1, 1, (2,), np.float64)])
def test_numbers_outside_end_no_training_are_told_once_and_stay(far, space, capfd):
    say_once.cache_clear()
    dtype = np.float64 if space.dtype == np.float64 else np.float32

    def observe(t):
        one = np.full(2, far + t if t else 0.5, dtype)
        return {"a": one} if isinstance(space, spaces.Dict) else one

    seen = play(space=space, observe=observe)[0].next_observation
    assert (seen["a"] if isinstance(seen, dict) else seen)[0, 0] == dtype(far + 1)
    told = capfd.readouterr().err
    assert told.count("passed on as they are") == 2  # of an observation, and of the last one of an episode
    assert f"holds {dtype(far + 1)!s} at [0]" in told


def test_numbers_far_outside_in_a_first_observation_mean_that_the_space_is_wrong():
    with pytest.raises(UsageError, match=r"environment 0 holds 50.0 at \[1\] .*take -1 to 1"):
        play(observe=lambda t: np.array([0, 50], np.float32))
    with pytest.raises(UsageError, match=r"holds 200 at \[0\] .*take 0 to 1"):
        play(space=spaces.Box(0, 1, (2,), np.uint8), observe=lambda t: np.array([200, 0], np.uint8))
    play(space=spaces.Box(0.5, 0.5, (2,)), observe=lambda t: np.full(2, 0.5 + 1e-4, np.float32))


def test_enormous_numbers_are_an_error_also_where_a_box_has_bounds():
    with pytest.raises(UsageError, match=r"holds 1e\+13 at \[0\]"):
        play(observe=lambda t: np.full(2, 1e13 if t == 3 else 0, np.float32))


def test_a_tuple_is_shown_as_a_dict_at_any_depth():
    space = spaces.Dict(at=PAIR, bag=spaces.Tuple((spaces.Discrete(9), spaces.Tuple((spaces.Discrete(9),)))))
    seen = play(space=space, observe=lambda t: {"at": np.zeros(2, np.float32), "bag": (min(t, 8), (8,))})
    assert seen[2].next_observation["bag"]["0"].tolist() == [3, 3]
    assert seen[2].next_observation["bag"]["1"]["0"].tolist() == [8, 8]


@pytest.mark.parametrize("name", ["items", "keys", "values", "arm.pos", "", "0"])
def test_parts_keep_their_names(name):
    seen = play(space=spaces.Dict({name: PAIR}), observe=lambda t: {name: np.full(2, t / 10, np.float32)})
    assert seen[-3].next_observation[name][0, 0] == 1


UNSIZED = {
    "Sequence": spaces.Sequence(PAIR),
    "Graph": spaces.Graph(PAIR, None),
    "OneOf": spaces.OneOf([spaces.Discrete(3), PAIR]),
}


@pytest.mark.parametrize("kind", UNSIZED)
def test_what_has_no_fixed_size_is_refused_with_a_wrapper_that_works(kind):
    space = spaces.Dict(at=PAIR, tail=UNSIZED[kind])
    with pytest.raises(UsageError, match=rf"'tail'.*A {kind} has no fixed size") as caught:
        make_environments("test/Walk-v0", 1, kwargs={"space": space})
    wrappers = str(caught.value).split("env.wrappers=")[1].split("]}]")[0] + "]}]"
    config = {"id": "test/Walk-v0", "num_envs": 1, "vectorization": "sync", "kwargs": {}}
    config |= {"wrappers": OmegaConf.create(f"w: {wrappers}").w}
    config["kwargs"] = {"space": {"_target_": f"{__name__}.tailed", "kind": kind}}
    made = build_environments(OmegaConf.create(config))
    assert list(made.single_observation_space) == ["at"]
    with pytest.raises(UsageError, match=f"A {kind} has no fixed size.*TransformObservation"):
        make_environments("test/Walk-v0", 1, kwargs={"space": UNSIZED[kind]})


@pytest.mark.parametrize("empty", [spaces.Box(-1, 1, (0,)), spaces.Dict(a=spaces.Box(-1, 1, (3, 0)))])
def test_observations_without_a_number_are_refused_and_empty_parts_beside_others_are_not(empty):
    with pytest.raises(UsageError, match="hold no numbers"):
        make_environments("test/Walk-v0", 1, kwargs={"space": empty})
    both = spaces.Dict(at=PAIR, none=spaces.Box(-1, 1, (0,)))
    seen = play(space=both, observe=lambda t: {"at": np.full(2, t / 10), "none": []})
    assert seen[0].next_observation["none"].shape == (2, 0)


@pytest.mark.parametrize(("given", "shown"), [(">f4", "f4"), (">i2", "i2"), (np.longdouble, "f8")])
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_numbers_that_torch_has_not_are_shown_as_those_it_has(given, shown, vectorization):
    given = np.dtype(given)
    space = spaces.Dict(a=spaces.Box(np.zeros(2, given), np.full(2, 9, given), dtype=given))
    seen = play(vectorization=vectorization, space=space, observe=lambda t: {"a": np.full(2, min(t, 9), given)})
    assert seen[2].next_observation["a"].dtype == np.dtype(shown) and seen[2].next_observation["a"][0, 0] == 3
    assert torch.as_tensor(seen[2].next_observation["a"]).tolist() == [[3, 3], [3, 3]]


def tailed(kind):
    return spaces.Dict(at=PAIR, tail=UNSIZED[kind])


ONES = [1, True, np.float32(1), np.float16(1), np.array(1.0), np.array([1.0]), np.int64(1), Decimal(1), Fraction(1)]


@pytest.mark.parametrize("reward", ONES)
def test_one_number_is_a_reward_however_it_comes(reward):
    assert play(reward=reward)[0].reward.tolist() == [1, 1]


NONE = [None, [1.0], (1.0,), np.ones(2), "1", np.nan, -np.inf, 1e300, 10**400, 1j, Decimal("nan"), Decimal("1e400")]


@pytest.mark.parametrize("reward", NONE)
def test_what_is_no_number_is_no_reward(reward):
    with pytest.raises(UsageError, match="reward of environment 0"):
        play(reward=reward)


OVER = [True, 1, 1.0, np.True_, np.array(True), np.array([1]), torch.tensor(True)]


@pytest.mark.parametrize("ended", OVER)
def test_one_truth_value_ends_an_episode_however_it_comes(ended):
    assert play(1, ended=ended)[0].terminated.tolist() == [True, True]


UNTRUE = [None, "False", {"__all__": False}, [False], np.zeros(2, bool), np.nan, np.array("False")]


@pytest.mark.parametrize("ended", UNTRUE)
def test_what_is_no_truth_value_ends_no_episode(ended):
    with pytest.raises(UsageError, match=r"terminated of environment 0 \(test/Walk-v0\) is .*, not one truth value"):
        play(1, ended=ended)


INFOS = {
    "None in one": lambda t: {"winner": t if t % 2 else None},
    "ragged": lambda t: {"path": np.arange(t + 1)},
    "words": lambda t: {"task_index": "approach", "phase": None},
    "of many": lambda t: {"engram/stepped": False, "_engram/stepped": 3, "engram/lost": "all"},
    "ours": lambda t: {"episode": 3, "_episode": "x", "final_obs": 7, "final_info": [], "shifted": None},
    "nested": lambda t: {"a": {"b": None if t % 3 else {"c": t}}},
    "none at all": lambda t: None,
}


@pytest.mark.parametrize("case", INFOS)
@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_infos_that_nobody_reads_are_nobodys_business(case, vectorization):
    seen = play(vectorization=vectorization, info=INFOS[case])
    assert seen[9].next_observation[0, 0] == 1 and "episode" in seen[9].info
    assert all(environment_metrics(one.info) in ({}, {"env/task_index": 0.0}) for one in seen)


class TestActionMasks:
    def test_masks_are_handed_on_for_each_observation(self):
        masks = np.array([[1, 0, 1], [0, 1, 1], [1, 1, 0]], np.int8)
        seen = play(info=lambda t: {"action_mask": masks[t % 3]}, actions=3)
        assert seen[0].next_mask.tolist() == [[False, True, True]] * 2 == seen[0].reset_mask.tolist()
        assert seen[9].next_mask.tolist() == [[False, True, True]] * 2  # the last observation of an episode
        assert seen[9].reset_mask.tolist() == [[True, False, True]] * 2  # the first of the next

    @pytest.mark.parametrize(
        "given", [None, "all", np.ones(5), [1], {0, 1}, np.ones((1, 3)), np.array([1, np.nan, 0]), [math.nan] * 3]
    )
    def test_what_is_no_mask_is_not_read(self, given):
        assert play(info=lambda t: {"action_mask": given}, actions=3)[0].next_mask is None

    def test_a_mask_with_nan_is_told_and_allows_everything(self, capfd):
        say_once.cache_clear()
        assert action_masks({"action_mask": np.array([[0, np.nan]])}, spaces.Discrete(2), 1) is None
        assert "it is of shape (2,) and float64, partly NaN, not 2 truth values" in capfd.readouterr().err

    def test_what_is_no_mask_is_told_once_whatever_it_holds(self, capfd):
        say_once.cache_clear()
        play(info=lambda t: {"action_mask": np.arange(4) == t}, actions=3)
        assert capfd.readouterr().err.count("is not read: it is of shape (4,) and bool, not 3 truth values") == 1

    @pytest.mark.parametrize("kind", [OrderedDict, MappingProxyType])
    @pytest.mark.parametrize("vectorization", ["sync", "async"])
    def test_a_mask_is_read_from_any_mapping(self, kind, vectorization):
        seen = play(1, vectorization, info=lambda t: kind({"action_mask": np.array([1, 0])}))
        assert seen[0].reset_mask.tolist() == [[True, False]] * 2

    def test_none_beside_a_mask_allows_everything(self):
        said = count()  # each environment is asked in its turn
        seen = play(3, info=lambda t: {"action_mask": None if next(said) % 2 else np.array([True, False])})
        assert [one.reset_mask.tolist() for one in seen] == [[[True, False], [True, True]]] * 3

    def test_a_mask_of_actions_that_have_none_is_told(self, capfd):
        say_once.cache_clear()
        parts = (np.array([1, 0]), np.array([1, 1, 0]))
        assert action_masks({"action_mask": parts}, spaces.MultiDiscrete([2, 3]), 1) is None
        assert "not read: the actions are MultiDiscrete([2 3]), and only" in capfd.readouterr().err

    def test_environments_that_say_nothing_allow_everything(self):
        given = np.full(2, None, dtype=object)
        given[1] = np.array([0, 1, 0])
        found = action_masks({"action_mask": given, "_action_mask": np.array([False, True])}, spaces.Discrete(3), 2)
        assert found.tolist() == [[True] * 3, [False, True, False]]

    def test_a_mask_that_allows_nothing_is_refused_but_at_an_end(self):
        with pytest.raises(UsageError, match="environment 0 allows no action"):
            play(info=lambda t: {"action_mask": np.zeros(2)})
        nothing = {"action_mask": np.zeros((1, 2))}
        assert action_masks(nothing, spaces.Discrete(2), 1, acting=False).all()

    def test_taxi_says_what_is_allowed(self):
        environments = make_environments("Taxi-v4", 2)
        _, info = environments.reset(seed=0)
        assert allowed(environments, info).shape == (2, 6) and not allowed(environments, info).all()

    def test_only_agents_that_take_masks_are_given_them(self):
        class Plain:
            def act(self, observation, *, explore=True):
                return "plain"

        class Masked:
            def act(self, observation, *, explore=True, mask=None):
                return mask

        mask = np.ones((1, 2), bool)
        assert act(Plain(), None, mask) == "plain" and act(Masked(), None, mask) is mask
        assert act(Masked(), None, None) is None


class Vector(VectorEnv):
    """Somebody's own vectorised environment, whose arrays are always the same."""

    def __init__(self, num_envs=2, mode=AutoresetMode.SAME_STEP, final="final_obs", kind=np.asarray, cut=np.zeros_like):
        self.num_envs, self.final, self.kind, self.cut = num_envs, final, kind, cut
        self.metadata = {"autoreset_mode": mode}
        self.single_observation_space, self.single_action_space = spaces.Tuple((PAIR,)), spaces.Discrete(2)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.array = np.zeros((num_envs, 2), np.float32)

    def look(self):
        self.array[:] = self.t / 10
        return (self.kind(self.array),)

    def reset(self, *, seed=None, options=None):
        self.t = 0
        return self.look(), {}

    def step(self, actions):
        self.t += 1
        done = np.full(self.num_envs, self.t == 3)
        info = {self.final: tuple(part.copy() for part in self.look())} if done.any() else {}
        self.t %= 3
        return self.look(), np.ones((self.num_envs, 1), np.float32), done, self.cut(done), info


gym.register("test/Vector-v0", Vector, vector_entry_point=Vector)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, "SameStep"])
def test_vectorised_environments_of_others_are_taken_in_as_well(mode):
    environments = make_environments("test/Vector-v0", 2, vectorization="vector_entry_point", kwargs={"mode": mode})
    observation, _ = environments.reset(seed=0)
    seen = []
    for _ in range(3):
        seen.append(step(environments, observation, np.zeros(2, np.int64)))
        observation = seen[-1].reset_observation
    assert [round(float(one.observation["0"][0, 0]), 1) for one in seen] == [0, 0.1, 0.2]
    assert seen[2].next_observation["0"][0, 0] == np.float32(0.3) and seen[2].reward.tolist() == [1, 1]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("cut", [lambda done: None, lambda done: np.zeros(3, bool), lambda done: np.full(2, np.nan)])
def test_vectorised_environments_say_of_each_episode_whether_it_is_over(cut):
    environments = make_environments("test/Vector-v0", 2, vectorization="vector_entry_point", kwargs={"cut": cut})
    environments.reset(seed=0)
    with pytest.raises(UsageError, match=r"truncated of test/Vector-v0 is .*, not 2 truth values"):
        environments.step(np.zeros(2, np.int64))


def test_vectorised_environments_that_lose_the_last_observation_are_refused():
    environments = make_environments(
        "test/Vector-v0", 2, vectorization="vector_entry_point", kwargs={"final": "final_observation"}
    )
    environments.reset(seed=0)
    with pytest.raises(UsageError, match=r"gives no info.'final_obs'"):
        for _ in range(3):
            environments.step(np.zeros(2, np.int64))


class Broken(Walk):
    """Fails where it is told to."""

    def __init__(self, where="step"):
        super().__init__()
        self.where = where
        if where == "making it":
            raise RuntimeError("no licence")
        if where == "leaves at once":
            sys.exit("no licence")

    def reset(self, *, seed=None, options=None):
        if self.where == "reset":
            return super().reset(seed=seed)[0]
        return super().reset(seed=seed)

    def step(self, action):
        if self.where == "step":
            int("twelve")
        if self.where == "leaves":
            sys.exit(0)
        return super().step(action)[:4] if self.where == "four" else super().step(action)


gym.register("test/Broken-v0", Broken)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("step", r"In your environment test/Broken-v0, in step: ValueError: .*twelve.*\n.*test_intake.py, line \d+"),
        ("making it", r"In your environment .*, in making it: RuntimeError: no licence\n.*test_intake.py, line \d+"),
        ("reset", r"reset of environment \d .* must give \(observation, info\)"),
        ("leaves", r"In your environment .*, in step: SystemExit: 0\n.*test_intake.py, line \d+"),
        ("leaves at once", r"In your environment .*, in making it: SystemExit: no licence\n.*test_intake.py, line \d+"),
        ("four", r"step of environment \d .* gave 4 values"),
    ],
)
def test_errors_in_somebody_elses_code_have_their_file_and_line(where, message, vectorization):
    with pytest.raises(UsageError, match=message):
        environments = make_environments("test/Broken-v0", 1, vectorization=vectorization, kwargs={"where": where})
        environments.reset(seed=0)
        environments.step(np.zeros(1, np.int64))


def test_each_environment_gets_objects_of_its_own():
    config = {"id": "test/Walk-v0", "num_envs": 2, "vectorization": "sync", "wrappers": []}
    config |= {"kwargs": {"space": {"_target_": f"{__name__}.tailless"}}}
    made = build_environments(OmegaConf.create(config))
    first, second = (environment.unwrapped.observation_space for environment in made.unwrapped.envs)
    assert first == second and first is not second


def tailless():
    return spaces.Box(-1, 1, (2,), np.float32)


def test_a_limit_ends_what_would_not_end():
    made = make_environments("CliffWalking-v1", 1, max_episode_steps=5)
    made.reset(seed=0)
    assert [bool(made.step(np.zeros(1, np.int64))[3][0]) for _ in range(5)] == [False] * 4 + [True]
    with pytest.raises(UsageError, match=r"max_episode_steps is 5.*vectorization=sync"):
        make_environments("engram/ShiftWall-v0", 1, vectorization="vector_entry_point", max_episode_steps=5)


class TestFrames:
    @pytest.mark.parametrize(
        "frame",
        [
            np.full((4, 6, 3), 0.8),
            np.full((4, 6), 204, np.uint8),
            np.full((4, 6, 1), 204, np.uint8),
            np.full((4, 6, 4), 204, np.uint8),
            np.full((3, 4, 6), 204, np.uint8),
            np.full((4, 6, 3), 204.0),
            [[[204, 204, 204]] * 6] * 4,
        ],
    )
    def test_any_layout_becomes_a_picture(self, frame):
        made = image(frame, "X")
        assert made.shape == (4, 6, 3) and made.dtype == np.uint8 and (made == 204).all()

    def test_a_frame_is_a_copy(self):
        frame = np.zeros((4, 6, 3), np.uint8)
        made = image(frame, "X")
        frame[:] = 9
        assert not made.any()

    @pytest.mark.parametrize("frame", [None, "x", np.zeros(3), np.zeros((5, 6, 9)), np.zeros((0, 0, 3))])
    def test_what_is_no_picture_is_named(self, frame):
        with pytest.raises(UsageError, match="X renders"):
            image(frame, "X")


class Acting(Walk):
    """Takes actions of a space that is given."""

    def __init__(self, space):
        super().__init__()
        self.action_space = space


gym.register("test/Acting-v0", Acting)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,)))),
        spaces.Tuple((spaces.Discrete(3), spaces.Discrete(2))),
        spaces.Dict(move=spaces.Discrete(3), aim=spaces.Box(-1, 1, (2,))),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(spaces.Box(-1, 1, (2,)), None),
        spaces.OneOf([spaces.Discrete(2), spaces.Discrete(3)]),
        spaces.Text(5),
        spaces.MultiBinary(3),
        spaces.Box(0, 9, (1,), np.int64),
    ],
    ids=lambda space: type(space).__name__,
)
@pytest.mark.parametrize("agent", ["nec", "mfec", "episodic_continuous", "ppo", "fast_slow", "retrieval_ppo"])
def test_actions_that_an_agent_cannot_take_are_refused_by_what_it_acts_in(space, agent):
    environments = make_environments("test/Acting-v0", 2, kwargs={"space": space})
    said = f"(chooses among|acts in) .*but this environment has {re.escape(str(space))[:40]}"
    with pytest.raises(ValueError, match=said):
        build_agent(OmegaConf.create(agent_config(agent)), environments, 0)
    environments.close()


class Shaped(gym.RewardWrapper):
    """Makes ten of one."""

    def reward(self, reward):
        return 10.0 * reward


class Repeated(gym.Wrapper):
    """Takes each action twice, after one step at each reset, and says nothing of what these pay but the last."""

    def reset(self, **options):
        self.env.reset(**options)
        observation, _, _, _, info = self.env.step(0)
        return observation, info

    def step(self, action):
        self.env.step(action)
        return self.env.step(action)


class Sum(gym.RewardWrapper):
    """Makes one number of several."""

    def reward(self, reward):
        return float(np.sum(reward))


def test_where_an_environment_pays_several_numbers_the_score_is_what_a_wrapper_makes_of_them():
    environments = make_environments(
        "test/Walk-v0", 2, kwargs={"reward": lambda t: np.array([1.0, 2.0])}, wrappers=[Sum]
    )
    played = evaluate(RandomAgent(environments.action_space, 0), environments, 2, 0)
    assert played.returns.tolist() == [30.0, 30.0]
    environments.close()


@pytest.mark.parametrize("vectorization", ["sync", "async"])
@pytest.mark.parametrize(
    ("wrappers", "learned_from", "score"),
    [
        ([], 1.0, 10.0),
        ([Shaped], 10.0, 10.0),
        ([gym.wrappers.FlattenObservation], 1.0, 10.0),
        ([partial(gym.wrappers.ClipReward, max_reward=0.25)], 0.25, 10.0),
        ([Repeated, Shaped], 10.0, 10.0),
    ],
)
def test_scores_are_what_the_environment_itself_paid(vectorization, wrappers, learned_from, score):
    environments = make_environments(
        "test/Walk-v0", 2, vectorization=vectorization, kwargs={"reward": 1.0}, wrappers=wrappers
    )
    observation, _ = environments.reset(seed=0)
    seen, ended = set(), []
    for _ in range(20):
        transition = step(environments, observation, np.zeros(2, np.int64))
        observation = transition.reset_observation
        seen |= set(transition.reward.tolist())
        ended += finished(transition.info).returns.tolist()
    assert seen == {learned_from}
    expected = score if Repeated not in wrappers else 10.0  # 1 at the reset is nobody's, 2 a step, and 1 beyond the end
    assert set(ended) == {expected}
    played = evaluate(RandomAgent(environments.action_space, 0), environments, 4, 0)
    assert set(played.returns.tolist()) == {expected}
    environments.close()


def test_an_environment_that_a_wrapper_makes_anew_still_says_what_it_pays():
    shifting = partial(ShiftingTarget, schedule=Periodic([9.8, 5.0], period=1), mover=ConstructorArgument("gravity"))
    gym.register("test/Falling-v0", Falling, max_episode_steps=5)
    environments = make_environments("test/Falling-v0", 1, wrappers=[shifting, Shaped])
    played = evaluate(RandomAgent(environments.action_space, 0), environments, 4, 0)
    assert played.returns.tolist() == [49.0, 25.0, 49.0, 25.0]
    environments.close()


class Falling(Walk):
    """Pays its gravity."""

    def __init__(self, gravity=1.0):
        super().__init__(reward=gravity)
