"""Environments: SAME_STEP, honest transitions, replayable, and clear when they cannot be made."""

import os
import sys
from contextlib import closing
from types import ModuleType

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from engram_rl.agents.ppo import make_ppo
from engram_rl.training import making
from engram_rl.training.distributed import environments as distributed
from engram_rl.training.environments import CountEpisodes, Resumable, make_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.evaluation import evaluate
from engram_rl.training.intake.environments import Intake
from engram_rl.training.intake.infos import LOST, STEPPED, SyncEnvironments
from engram_rl.training.intake.observations import Bounds
from engram_rl.training.making import REGISTERED_BY, import_owner, keep_parts, make_environment, single_there, unmade
from engram_rl.training.rollout import finished, step
from engram_rl.training.runs.checkpoint import load_checkpoint, save_checkpoint

PAIR = spaces.Discrete(2)


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


@pytest.mark.parametrize(
    ("vectorization", "most"),
    [("sync", 4096), ("async", 512), ("ray", 4096), ("vector_entry_point", 1048576), ("warp", 1048576)],
)
def test_as_many_are_made_as_have_room_and_no_more(monkeypatch, vectorization, most):
    monkeypatch.setitem(REGISTERED_BY, "Missing/", "not_there")
    for count in (1, most):  # so many may be asked for, so that it is looked who has them
        with pytest.raises(UsageError, match="belongs to the package not_there"):
            make_environments("Missing/Thing-v0", count, vectorization=vectorization)
    for count in (0, most + 1):
        with pytest.raises(UsageError, match=f"num_envs is {count}; .*={vectorization}, at most {most}"):
            make_environments("Missing/Thing-v0", count, vectorization=vectorization)


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


def test_a_package_that_registers_when_it_is_imported_or_not_at_all_is_told_nothing(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "never", ModuleType("never"))
    monkeypatch.setitem(REGISTERED_BY, "Never/", "never")
    import_owner("Never/Walk-v0")
    made = "gymnasium.register('Early/Walk-v0', 'gymnasium.envs.classic_control:CartPoleEnv')"
    (tmp_path / "early_17.py").write_text(f"import gymnasium\n{made}\ndef register_envs():\n    1 / 0\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setitem(REGISTERED_BY, "Early/", "early_17")
    try:
        import_owner("Early/Walk-v0")
        assert "Early/Walk-v0" in gym.registry
    finally:
        gym.registry.pop("Early/Walk-v0", None)
        sys.modules.pop("early_17", None)


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


def test_environments_on_workers_are_in_step_and_reserve_nothing_beside_others(monkeypatch):
    asked = []

    def on_workers(makers, cluster, *, asynchronous, reserve):
        asked.append((cluster.workers, asynchronous, reserve))
        return SyncEnvironments(makers, autoreset_mode=AutoresetMode.SAME_STEP)

    monkeypatch.setattr(distributed, "RayEnvironments", on_workers)
    for together in (False, True):
        for beside in ({}, {"beside": False}, {"beside": True}):
            cluster = {"workers": 2, "asynchronous": together}
            environments = make_environments("test/Counter-v0", 2, vectorization="ray", cluster=cluster, **beside)
            assert [t.next_observation[0, 0] for t in play(environments, 4)] == [1, 2, 3, 1]
    assert asked == [
        (2, False, True), (2, False, True), (2, False, False), (2, True, True), (2, True, True), (2, False, False),
    ]  # fmt: skip


def test_one_that_is_made_where_it_is_not_known_is_registered_there_first():
    spec = gym.spec("test/Counter-v0")

    class Make:
        args = ("test/Elsewhere-v0", dict)

        def __init__(self, id):
            self.id = id

        def __call__(self):
            return gym.make(self.id)

    other = gym.envs.registration.EnvSpec("test/Elsewhere-v0", Counter, max_episode_steps=7)
    try:
        assert single_there(other, Make("test/Elsewhere-v0")).spec.max_episode_steps == 7
        again = gym.envs.registration.EnvSpec("test/Elsewhere-v0", Counter, max_episode_steps=9)
        assert single_there(again, Make("test/Elsewhere-v0")).spec.max_episode_steps == 7  # what is known there stays
    finally:
        gym.registry.pop("test/Elsewhere-v0")
    assert single_there(None, Make(spec.id)).spec.id == spec.id
    with pytest.raises(UsageError, match="No environment is registered as"):
        single_there(None, Make("test/Elsewhere-v0"))


class Mode(VectorEnv):
    """Says how it resets."""

    num_envs = 2
    single_observation_space, single_action_space = spaces.Dict({"a": spaces.Box(0, 1), "b": spaces.Box(0, 1)}), PAIR
    observation_space, action_space = batch_space(single_observation_space, 2), batch_space(PAIR, 2)
    closed_ones = 0

    def __init__(self, num_envs, **metadata):
        self.metadata = metadata

    def close(self):
        Mode.closed_ones += 1


gym.register("test/Mode-v0", vector_entry_point=Mode)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Gymnasium's own, of what says no mode
@pytest.mark.parametrize("mode", [None, "", "NextStep", "Zero", AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_environments_that_do_not_reset_within_the_step_are_closed_and_refused(mode):
    before = Mode.closed_ones
    given = {} if mode is None else {"autoreset_mode": mode}
    with pytest.raises(UsageError, match="resets in mode"):
        make_environments("test/Mode-v0", 2, vectorization="vector_entry_point", kwargs=given)
    assert Mode.closed_ones == before + 1


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, "SameStep", "".join(["Same", "Step"])])
def test_a_vectorised_implementation_shows_every_part_or_is_refused(mode):
    given = {"vectorization": "vector_entry_point", "kwargs": {"autoreset_mode": mode}}
    for parts in (None, ["a", "b"], ["b", "a", "c"]):
        environments = make_environments("test/Mode-v0", 2, parts=parts, **given)
        assert environments.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        assert environments.unwrapped.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    before = Mode.closed_ones
    with pytest.raises(UsageError, match="leaves out b, which cannot be hidden"):
        make_environments("test/Mode-v0", 2, parts=["a", "c"], **given)
    with pytest.raises(UsageError, match=r"max_episode_steps is 5, which environments of env\.vectorization=vector"):
        make_environments("test/Mode-v0", 2, max_episode_steps=5, **given)
    assert Mode.closed_ones == before + 1
    assert make_environments("CartPole-v1", 2, parts=["a"], vectorization="vector_entry_point").num_envs == 2


def test_parts_that_are_not_named_are_hidden():
    shown = lambda parts: list(make_environments("test/Parts-v0", 2, parts=parts).single_observation_space)  # noqa: E731
    assert shown(None) == shown(["b", "a"]) == shown(["a", "b", "c"]) == shown(["a", "c"]) == ["a", "b"]
    assert shown(["b"]) == ["b"]
    assert keep_parts(Counter(), ["a"]).observation_space == Counter.observation_space


gym.register(
    "test/Parts-v0",
    lambda: gym.wrappers.TransformObservation(
        Counter(),
        lambda o: {"a": o, "b": o},
        spaces.Dict({"a": Counter.observation_space, "b": Counter.observation_space}),
    ),
)


class Scripted(VectorEnv):
    """Three side by side, of which it is written what each step gives and says."""

    num_envs, metadata = 3, {"autoreset_mode": AutoresetMode.SAME_STEP}
    single_observation_space, single_action_space = spaces.Box(0, 9, (1,)), spaces.Discrete(2)
    observation_space = batch_space(single_observation_space, 3)
    action_space = batch_space(single_action_space, 3)

    def __init__(self, script):
        self.script = list(script)

    def reset(self, *, seed=None, options=None):
        return np.zeros((3, 1), np.float32), {}

    def step(self, actions):
        rewards, terminated, truncated, info = self.script.pop(0)
        shown = np.zeros((3, 1), np.float32)
        ends = np.array(terminated, bool), np.array(truncated, bool)
        return shown, np.array(rewards, float), *ends, {**info, "final_obs": shown}


def test_returns_and_lengths_are_of_the_episodes_that_ended_and_of_no_step_that_was_not_taken():
    first, last = np.array([True, True, False]), np.array([True, True, True])
    environments = CountEpisodes(
        Intake(
            Scripted([
                ([1, 2, 0], [0, 0, 0], [0, 0, 0], {STEPPED: first}),
                ([3, 4, 5], [1, 0, 0], [0, 0, 1], {STEPPED: last}),
                ([1, 1, 1], [1, 1, 0], [0, 1, 1], {LOST: np.array([False, True, False])}),
                ([1, 1, 1], [0, 0, 0], [0, 0, 0], {}),
            ]),
            "test/Scripted-v0",
            checked=False,
        )
    )  # fmt: skip
    environments.reset(seed=0)
    steps = [environments.step(np.zeros(3, int))[4] for _ in range(4)]
    assert "episode" not in steps[0] and "episode" not in steps[3]
    assert {name: rows.tolist() for name, rows in steps[1]["episode"].items()} == {"r": [4, 0, 5], "l": [2, 0, 1]}
    assert steps[1]["_episode"].tolist() == [True, False, True]
    assert {name: rows.tolist() for name, rows in steps[2]["episode"].items()} == {"r": [1, 7, 1], "l": [1, 3, 1]}
    assert steps[2]["_episode"].tolist() == [True, False, True]  # the one of a process that died was not whole
    assert environments.episode_returns.tolist() == [1, 1, 1] and environments.episode_lengths.tolist() == [1, 1, 1]


def test_what_is_kept_to_replay_is_every_action_since_the_last_reset():
    environments = make_environments("test/Counter-v0", 2)
    for count in (3, 1500):
        environments.reset(seed=4)
        actions = np.random.default_rng(count).integers(2, size=(count, 2))
        for action in actions:
            environments.step(action)
        kept = environments.state_dict()
        assert kept["seed"] == 4 and np.array_equal(kept["actions"], actions)
    assert kept["actions"].base is None, "a copy, which later steps leave alone"
    suite = played(make_environments("engram/TMaze-v0", 2, vectorization="vector_entry_point"), steps=3)
    assert suite._steps == 0, "nobody needs the actions of what has a state"


def test_actions_that_are_no_arrays_are_not_kept():
    class Pair(Counter):
        action_space = spaces.Dict({"go": spaces.Discrete(2)})

        def step(self, action):
            return super().step(action["go"])

    gym.register("test/Pair-v0", Pair)
    environments = make_environments("test/Pair-v0", 2)
    environments.reset(seed=0)
    environments.step({"go": np.array([1, 0])})
    assert environments.state_dict()["actions"].shape == (1, 0)


@pytest.mark.parametrize("others", [2, 4])
def test_the_actions_of_another_number_of_environments_are_refused(others):
    saved = played(make_environments("CartPole-v1", others), 5).state_dict()
    with pytest.raises(UsageError, match=rf"took actions of shape \({others},\), these take \(3,\)"):
        make_environments("CartPole-v1", 3).load_state_dict(saved)


def test_the_state_of_environments_that_have_one_is_refused_by_those_that_have_none():
    saved = played(make_environments("engram/TMaze-v0", 2, vectorization="vector_entry_point"), 5).state_dict()
    with pytest.raises(UsageError, match="environments that have a state, these have none"):
        make_environments("CartPole-v1", 2).load_state_dict(saved)


def test_what_workers_did_in_step_is_replayed_without_them():
    environments = played(make_environments("CartPole-v1", 3), 40)
    actions = environments.state_dict()["actions"]
    seeds, still = [5, 6, 7], np.zeros(3, bool)
    history = {"seeds": seeds, "actions": actions, "counts": np.full(3, 40), "stepping": still}
    copy = make_environments("CartPole-v1", 3)
    copy.load_state_dict({"history": history, "counts": {}})
    assert_same_future(environments, copy)
    assert environments.waiting is None
    for other in ({"counts": np.array([40, 39, 40])}, {"stepping": np.array([False, True, False])}):
        with pytest.raises(UsageError, match="did not take the same number of steps each"):
            copy.load_state_dict({"history": history | other, "counts": {}})


class Elsewhere(Scripted):
    """Remembers what it did itself, as those on workers do."""

    waiting = np.array([0, 2])

    def __init__(self):
        super().__init__([([1, 2, 3], [0, 0, 0], [0, 0, 0], {})])

    def history(self):
        return {"steps": 4}

    def replay(self, history):
        self.replayed = history
        return np.full((3, 1), 7, np.float32), {"said": "there"}


def test_what_remembers_itself_is_asked_and_replays_itself():
    def made():
        return Resumable(CountEpisodes(Intake(Elsewhere(), "test/Elsewhere-v0", checked=False)))

    environments, copy = made(), made()
    environments.reset(seed=1)
    environments.step(np.zeros(3, int))
    saved = environments.state_dict()
    assert saved["history"] == {"steps": 4} and saved["counts"]["episode_returns"].tolist() == [1, 2, 3]
    shown = copy.load_state_dict(saved)
    assert shown.tolist() == [[7], [7], [7]] and copy.info == {"said": "there"}
    assert copy.unwrapped.replayed == {"steps": 4} and copy.waiting.tolist() == [0, 2]
    assert copy.env.episode_returns.tolist() == [1, 2, 3] and copy.env.episode_lengths.tolist() == [1, 1, 1]


def test_the_info_is_that_of_the_last_reset_or_step():
    environments = make_environments("test/Counter-v0", 2)
    assert environments.info == {}
    assert environments.reset(seed=0)[1] is environments.info
    for _ in range(3):
        info = environments.step(np.zeros(2, int))[4]
        assert environments.info is info
    assert info["_episode"].all()


def test_environments_of_one_process_are_each_their_own_and_closed_where_one_cannot_be_made():
    closed = []

    class Last(Counter):
        made = 0

        def __init__(self):
            super().__init__()
            Last.made += 1
            self.number = Last.made
            if self.number == 4:
                raise ValueError("no more")

        def close(self):
            closed.append(self.number)
            if self.number == 2:
                raise RuntimeError("of its own")

    gym.register("test/Last-v0", Last)
    assert len({id(one.unwrapped) for one in make_environments("test/Last-v0", 2).unwrapped.envs}) == 2
    with pytest.raises(UsageError, match="no more"):
        make_environments("test/Last-v0", 2)
    assert closed == [3]
    Last.made = 1
    with pytest.raises(UsageError, match="no more"):
        make_environments("test/Last-v0", 3)
    assert closed == [3, 2, 3]


@pytest.mark.skipif(not hasattr(os, "getsid"), reason="sessions are of Unix")
def test_environments_in_processes_leave_the_session_of_this_one_as_it_is():
    before = os.getsid(0)
    with closing(make_environments("CartPole-v1", 2, vectorization="async")) as environments:
        assert {os.getsid(process.pid) for process in environments.unwrapped.processes}.isdisjoint({before})
    assert os.getsid(0) == before


@pytest.mark.parametrize(
    ("wrapper", "remedy"),
    [
        (gym.wrappers.NormalizeObservation, r"\+agent.normalise_observations=true"),
        (gym.wrappers.NormalizeReward, r"\+agent.scale_rewards=true"),
    ],
)
def test_wrappers_with_statistics_of_their_own_are_refused_with_what_does_the_same(wrapper, remedy):
    with pytest.raises(UsageError, match=rf"names {wrapper.__name__}, which keeps .* with {remedy}, and saves"):
        make_environment("test/Counter-v0", dict, [wrapper], None)


def test_a_limit_of_steps_takes_the_place_of_the_registered_one():
    assert make_environment("CartPole-v1", dict, [], None).spec.max_episode_steps == 500
    assert make_environment("CartPole-v1", dict, [], 7).spec.max_episode_steps == 7
    assert "PassiveEnvChecker" not in str(make_environment("CartPole-v1", dict, [], None)), "it costs time"


@pytest.mark.parametrize(
    ("id", "missing", "said"),
    [
        ("away:Maze-v0", "away", "no module 'away', which away:Maze-v0 is to come from"),
        ("away.deep:Maze-v0", "away", r"no module 'away.deep', which .* that away lies in"),
        ("away:Maze-v0", "awayward", "No module named 'awayward'"),
        ("away:Maze-v0", "other", r"kwargs \{'size': 3\}: No module named 'other'"),
        ("Maze-v0", "Maze-v0", "could not be made"),
        ("Maze-v0", "", "could not be made with"),
    ],
)
def test_a_module_that_is_missing_is_told_apart_from_one_that_it_needs(id, missing, said):
    error = unmade(id, lambda: {"size": 3}, ModuleNotFoundError(f"No module named {missing!r}", name=missing))
    assert isinstance(error, UsageError)
    with pytest.raises(UsageError, match=said):
        raise error


def test_what_could_not_be_made_is_said_by_whose_fault_it_is():
    said = lambda error: str(unmade("X-v0", dict, error))  # noqa: E731
    ours = UsageError("as it is")
    assert unmade("X-v0", dict, ours) is ours
    assert said(gym.error.DependencyNotInstalled("box2d")) == "Environment 'X-v0' could not be made: box2d"
    assert "No environment is registered as 'X-v0'" in said(gym.error.NameNotFound("none"))
    for error in (TypeError("size"), ValueError("size")):
        assert said(error) == "Environment X-v0 could not be made with kwargs {}: size"
    assert "In your environment X-v0, in making it: KeyError" in said(KeyError("size"))
    try:
        raise ValueError("of a user")
    except ValueError as error:
        assert "In your environment X-v0, in making it: ValueError: of a user" in said(error)


def test_views_of_minigrid_are_quickened_only_where_it_is_there(monkeypatch):
    environment = Counter()
    monkeypatch.delitem(sys.modules, "minigrid", raising=False)
    assert making.quicken_view(environment) is environment
