"""Environments: SAME_STEP, honest transitions, replayable, and clear when they cannot be made."""

import os
import sys
from contextlib import closing
from types import ModuleType

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from engram_rl.agents.ppo import make_ppo
from engram_rl.training.environments import make_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.evaluation import evaluate
from engram_rl.training.intake.observations import Bounds
from engram_rl.training.making import REGISTERED_BY, import_owner
from engram_rl.training.rollout import finished, step
from engram_rl.training.runs.checkpoint import load_checkpoint, save_checkpoint


class Counter(gym.Env):
    """Counts up; the episode ends at `length`: terminated at an odd environment seed, truncated at an even one."""

    observation_space = spaces.Box(-np.inf, np.inf, (1,), np.float64)
    action_space = spaces.Discrete(2)

    def __init__(self, length=3, poison=False):
        self.length, self.poison = length, poison
        self.parity = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.parity = seed % 2 if seed is not None else self.parity
        self.count = 0
        return self.observe(), {}

    def step(self, action):
        self.count += 1
        over = self.count == self.length
        return self.observe(), float(action), over and self.parity == 1, over and self.parity == 0, {}

    def observe(self):
        return np.array([np.nan if self.poison and self.count == 2 else self.count], dtype=np.float64)


gym.register("test/Counter-v0", Counter)
gym.register(
    "test/Dict-v0",
    lambda: gym.wrappers.TransformObservation(
        Counter(),
        lambda o: {"count": o, "words": "hello"},
        spaces.Dict({"count": Counter.observation_space, "words": spaces.Text(10)}),
    ),
)


def play(environments, steps, seed=0):
    rng = np.random.default_rng(seed)
    observation, _ = environments.reset(seed=seed)
    transitions = []
    for _ in range(steps):
        transitions.append(step(environments, observation, rng.integers(2, size=environments.num_envs)))
        observation = transitions[-1].reset_observation
    return transitions


def test_the_last_observation_is_the_true_one_and_the_next_starts_anew():
    transitions = play(make_environments("test/Counter-v0", 2), 7)
    assert [t.next_observation[0, 0] for t in transitions] == [1, 2, 3, 1, 2, 3, 1]
    assert [t.reset_observation[0, 0] for t in transitions] == [1, 2, 0, 1, 2, 0, 1]
    assert [t.observation[0, 0] for t in transitions] == [0, 1, 2, 0, 1, 2, 0]


def test_the_two_ways_to_end_are_told_apart():
    ended = play(make_environments("test/Counter-v0", 2), 3)[-1]
    assert ended.truncated.tolist() == [True, False]
    assert ended.terminated.tolist() == [False, True]


def test_every_episode_is_counted_once_with_its_length():
    transitions = play(make_environments("test/Counter-v0", 2), 9)
    lengths = [length for t in transitions for length in finished(t.info).lengths]
    rewards = np.sum([t.reward for t in transitions])
    assert lengths == [3] * 6
    assert sum(r for t in transitions for r in finished(t.info).returns) == rewards


def test_text_is_dropped_and_numbers_stay():
    environments = make_environments("test/Dict-v0", 2)
    assert list(environments.single_observation_space) == ["count"]
    ended = play(environments, 3)[-1]
    assert ended.next_observation["count"].tolist() == [[3], [3]]
    assert ended.reset_observation["count"].tolist() == [[0], [0]]


@pytest.mark.parametrize("id", ["CartPole-v1", "MiniGrid-Empty-5x5-v0", "Pendulum-v1"])
def test_replay_brings_any_environment_to_where_it_was(id):
    environments = played(make_environments(id, 3), steps=1100)
    assert "actions" in environments.state_dict()
    copy = make_environments(id, 3)
    copy.load_state_dict(environments.state_dict())
    assert_same_future(environments, copy)


SUITE = [name for name in gym.registry if name.startswith("engram/") and gym.spec(name).vector_entry_point]


@pytest.mark.parametrize("id", SUITE)
def test_our_own_environments_are_put_where_they_were_without_a_replay(id, tmp_path):
    environments = played(make_environments(id, 3, vectorization="vector_entry_point"), steps=400)
    save_checkpoint(tmp_path / "saved", environments.state_dict())
    copy = make_environments(id, 3, vectorization="vector_entry_point")
    observation = copy.load_state_dict(load_checkpoint(tmp_path / "saved"))
    now = environments.unwrapped.core.observation()
    assert all(np.array_equal(a, b) for a, b in zip(leaves(observation), leaves(now), strict=True))
    assert_same_future(environments, copy)


def test_a_log_of_actions_still_brings_our_own_environments_back():
    """Checkpoints of before they had a state hold one."""
    environments = make_environments("engram/ShiftWall-v0", 3, vectorization="vector_entry_point")
    environments.action_space.seed(1)
    environments.reset(seed=5)
    actions = np.stack([environments.action_space.sample() for _ in range(300)])
    for action in actions:
        environments.step(action)
    copy = make_environments("engram/ShiftWall-v0", 3, vectorization="vector_entry_point")
    copy.load_state_dict({"seed": 5, "actions": actions})
    assert_same_future(environments, copy)


@pytest.mark.parametrize("other", [{"id": "engram/ShiftWall-v0", "kwargs": {"n": 7}}, {"id": "engram/TMaze-v0"}])
def test_the_state_of_other_environments_is_refused_and_nothing_changes(other):
    saved = played(make_environments(vectorization="vector_entry_point", num_envs=3, **other), 10).state_dict()
    environments = make_environments("engram/ShiftWall-v0", 3, vectorization="vector_entry_point")
    environments.reset(seed=0)
    before = environments.state_dict()["state"]["runs"]
    with pytest.raises(UsageError, match=r"other options: .* differ.*same env.id"):
        environments.load_state_dict(saved)
    after = environments.state_dict()["state"]["runs"]
    assert all(np.array_equal(before[name], after[name]) for name in before)


def played(environments, steps):
    environments.action_space.seed(1)
    environments.reset(seed=5)
    for _ in range(steps):
        environments.step(environments.action_space.sample())
    return environments


def assert_same_future(environments, copy):
    for _ in range(200):
        action = environments.action_space.sample()
        first, second = environments.step(action), copy.step(action)
        assert all(np.array_equal(a, b) for a, b in zip(leaves(first[0]), leaves(second[0]), strict=True))
        assert all(np.array_equal(a, b) for a, b in zip(first[1:4], second[1:4], strict=True))
        assert np.array_equal(finished(first[4]).returns, finished(second[4]).returns)
        assert all(
            np.array_equal(first[4][name], second[4][name]) for name in ("task_index", "shifted") if name in first[4]
        )


def leaves(observation):
    return list(observation.values()) if isinstance(observation, dict) else [observation]


def test_nan_is_reported_with_its_place():
    environments = make_environments("test/Counter-v0", 2, kwargs={"poison": True})
    with pytest.raises(UsageError, match=r"observation of environment 0 holds nan at \[0\]"):
        play(environments, 3)
    with pytest.raises(UsageError, match="'depth' of environment 1 holds inf"):
        space = spaces.Dict({"depth": spaces.Box(-np.inf, np.inf, (1,))})
        Bounds(space, "X-v0").check({"depth": np.array([[0.0], [np.inf]])})


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"id": "CartPol-v1", "num_envs": 1}, "CartPol-v1.*Did you mean CartPole-v1"),
        ({"id": "CartPole-v99", "num_envs": 1}, "CartPole-v99"),
        ({"id": "no/Such-v0", "num_envs": 1}, "no/Such-v0"),
        ({"id": "CartPole-v1", "num_envs": 0}, "num_envs is 0.*at least 1"),
        ({"id": "CartPole-v1", "num_envs": 5000}, "num_envs is 5000.*vectorization=sync, at most 4096"),
        ({"id": "engram/ShiftWall-v0", "num_envs": 2, "kwargs": {"n": 10**6}}, "grids of n=1000000.*lower n or"),
        ({"id": "CartPole-v1", "num_envs": 1, "kwargs": {"gravitas": 3}}, "gravitas"),
        ({"id": "nosuchmodule:Thing-v0", "num_envs": 1}, "nosuchmodule"),
        ({"id": "CartPole-v1", "num_envs": 1, "vectorization": "warp"}, "warp"),
    ],
)
def test_what_cannot_be_made_says_why(arguments, expected):
    with pytest.raises(UsageError, match=expected):
        make_environments(**arguments)


class Ones:
    def act(self, observation, *, explore=True):
        assert not explore
        return np.ones(len(observation), dtype=np.int64)


def test_evaluation_plays_exactly_what_was_asked_for():
    episodes = evaluate(Ones(), make_environments("test/Counter-v0", 3), 7, seed=0)
    assert episodes.returns.tolist() == [3.0] * 7
    assert episodes.lengths.tolist() == [3] * 7
    assert episodes.success_rate(2.5) == 1.0
    assert episodes.success_rate(None) is None


@pytest.mark.parametrize(("id", "package", "remedy"), [
    ("popgym-RepeatPreviousEasy-v0", "popgym", r"pip install 'engram-rl\[popgym\]'"),
    ("ALE/Pong-v5", "ale_py", r"pip install 'engram-rl\[atari\]'"),
])  # fmt: skip
def test_a_package_that_is_not_installed_is_named_with_what_brings_it(monkeypatch, id, package, remedy):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(gym.registry, id, raising=False)
    with pytest.raises(UsageError, match=f"package {package}, which is not installed here: {remedy}"):
        make_environments(id, 2)


def test_a_tuple_of_codes_and_parts_of_actions_are_taken_as_popgym_has_them():
    for id, size in (("popgym-AutoencodeEasy-v0", 6), ("popgym-BattleshipEasy-v0", 2)):
        environments = make_environments(id, 2)
        agent = make_ppo(environments.single_observation_space, environments.single_action_space, 2, 0, num_steps=4)
        observation, _ = environments.reset(seed=0)
        for _ in range(8):
            transition = step(environments, observation, agent.act(observation))
            agent.observe(transition)
            agent.learn()
            observation = transition.reset_observation
        assert agent.perceive(observation, learn=False).shape == (2, size)


def test_a_package_that_registers_only_when_told_is_told(monkeypatch):
    owner = ModuleType("late")
    owner.register_envs = lambda: gym.register("Late/Walk-v0", "gymnasium.envs.classic_control:CartPoleEnv")
    monkeypatch.setitem(sys.modules, "late", owner)
    monkeypatch.setitem(REGISTERED_BY, "Late/", "late")
    try:
        import_owner("Late/Walk-v0")
        assert "Late/Walk-v0" in gym.registry
        monkeypatch.setattr(owner, "register_envs", lambda: pytest.fail("told twice"))
        import_owner("Late/Walk-v0")
    finally:
        gym.registry.pop("Late/Walk-v0", None)


def test_the_package_that_is_missing_is_named(monkeypatch):
    monkeypatch.setitem(REGISTERED_BY, "Missing/", "not_there.gym")
    with pytest.raises(UsageError, match="belongs to the package not_there, which"):
        import_owner("Missing/Walk-v0")


@pytest.mark.skipif(not hasattr(os, "getpgid"), reason="groups of processes are of Unix")
def test_what_asks_all_processes_of_a_command_to_stop_does_not_reach_environments():
    with closing(make_environments("CartPole-v1", 2, vectorization="async")) as environments:
        environments.reset(seed=1)
        groups = {os.getpgid(process.pid) for process in environments.unwrapped.processes}
        assert len(groups) == 2 and os.getpgid(os.getpid()) not in groups
