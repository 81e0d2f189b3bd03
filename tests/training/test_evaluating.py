"""Evaluating agents: what goes on remembering, what rests, and that nothing is stitched together."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config
from engram_rl.agents.common.observations import batch_size
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.evaluation import MODES, evaluate, memory_parts, player_of, require_mode, rested, shares
from engram_rl.training.rollout import step

AGENTS = {
    "mfec": "hiddengoal",
    "nec learn_after=50": "hiddengoal",
    "episodic": "hiddengoal",
    "episodic_continuous": "pointmassshift",
    "fast_slow": "hiddengoal",
    "ppo num_steps=16": "hiddengoal",
    "ppo_gru_carried num_steps=16": "hiddengoal",
    "retrieval_ppo num_steps=16": "newgoal_searched",
    "retrieval_ppo_view num_steps=16": "minigrid",
    "self_imitation_ppo num_steps=16": "newgoal_searched",
}


def environments(name, num_envs=2):
    config = environment_config(name, {"num_envs": num_envs})
    return build_environments(OmegaConf.create(config))


def practised(agent, name, steps=60, num_envs=2):
    envs = environments(name, num_envs)
    made = build_agent(OmegaConf.create(agent_config(agent)), envs, 0)
    observation, _ = envs.reset(seed=0)
    for _ in range(steps):
        transition = step(envs, observation, made.act(observation))
        made.observe(transition)
        made.learn()
        observation = transition.reset_observation
    return made


def trained_parts(made):
    """Of an agent's state, what gradients or running statistics have made."""
    state = made.state_dict()
    parts = {name: state[name] for name in ("encoder", "policy", "perception", "descent", "fast") if name in state}
    return [np.array(leaf) for leaf in leaves(parts)]


def leaves(value):
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves(part)]
    if isinstance(value, list | tuple):
        return [leaf for part in value for leaf in leaves(part)]
    return [value.numpy() if isinstance(value, torch.Tensor) else value]


@pytest.mark.parametrize("agent", AGENTS)
def test_every_agent_goes_on_remembering_while_its_weights_rest(agent):
    made = practised(agent, AGENTS[agent])
    before = trained_parts(made)
    played = evaluate(made, environments(AGENTS[agent]), 12, seed=5, remember=True)
    assert len(played.returns) == 12
    assert played.lengths.sum() > 2 * 16  # more than a rollout holds
    assert all(np.array_equal(a, b) for a, b in zip(before, trained_parts(made), strict=True))


@pytest.mark.parametrize("agent", ["mfec", "nec"])
def test_what_is_remembered_then_is_of_whole_episodes(agent):
    made = practised(agent, "hiddengoal", steps=0, num_envs=1)
    envs, written = environments("hiddengoal", num_envs=1), []
    observation, _ = envs.reset(seed=0)
    for _ in range(5):  # episodes that are left in the middle
        transition = step(envs, observation, made.act(observation))
        made.observe(transition)
        observation = transition.reset_observation
    push = made._returns.push
    made._returns.push = lambda *given: written.append(push(*given)) or written[-1]
    played = evaluate(made, envs, 2, seed=5, remember=True)
    flushed = [len(one.target) for one in written if len(one.target)]
    assert max(flushed) <= max(played.lengths)


def test_observations_may_be_dicts_of_dicts():
    inner = {"place": np.arange(3), "speed": np.zeros((3, 2), np.float32)}
    following = {"inner": inner, "flag": np.ones(3, np.int64)}
    assert batch_size(following) == 3
    last = {"inner": {"place": 7, "speed": np.ones(2, np.float32)}, "flag": 0}
    final = np.array([None, last, None], dtype=object)

    class Ends:
        num_envs = 3

        def step(self, action):
            done = np.array([False, True, False])
            return following, np.zeros(3), done, np.zeros(3, bool), {"final_obs": final}

    transition = step(Ends(), following, np.zeros(3, np.int64))
    assert transition.next_observation["inner"]["place"].tolist() == [0, 7, 2]
    assert transition.next_observation["inner"]["speed"].tolist() == [[0, 0], [1, 1], [0, 0]]
    assert transition.next_observation["flag"].tolist() == [1, 0, 1]
    assert transition.reset_observation is following


class Marching:
    """Environment i pays i + 1 a step and ends after so many steps; the first step of each episode shows 0."""

    single_action_space = None

    def __init__(self, *lengths):
        self.lengths, self.num_envs, self.seeds, self.info = np.array(lengths), len(lengths), [], {}

    def reset(self, *, seed):
        self.seeds.append(seed)
        self.at = np.zeros(self.num_envs, int)
        return self.at.copy(), {}

    def step(self, action):
        self.at += 1
        done = self.at == self.lengths
        final = self.at.copy()
        self.at[done] = 0
        return self.at.copy(), np.arange(self.num_envs) + 1.0, done, np.zeros_like(done), {"final_obs": final}


class Watches:
    """An agent that keeps what it was asked and told."""

    def __init__(self):
        self.asked, self.told, self.begun, self.frozen = [], [], 0, False

    def act(self, observation, *, explore=True):
        self.asked.append((observation.tolist(), explore))
        return np.zeros(len(observation), int)

    def observe(self, transition):
        self.told.append(transition)

    def begin_episodes(self):
        self.begun += 1


@pytest.mark.parametrize(
    ("episodes", "num_envs", "expected"),
    [(7, 3, [3, 2, 2]), (6, 3, [2, 2, 2]), (2, 3, [1, 1, 0]), (8, 3, [3, 3, 2]), (0, 2, [0, 0]), (5, 1, [5])],
)
def test_episodes_are_shared_out_evenly(episodes, num_envs, expected):
    assert shares(episodes, num_envs).tolist() == expected


def test_short_episodes_are_not_counted_more_often():
    agent, where = Watches(), Marching(2, 5)
    played = evaluate(agent, where, 5, seed=9)
    assert played.returns.tolist() == [2, 2, 10, 2, 10] and played.lengths.tolist() == [2, 2, 5, 2, 5]
    assert played.cut == 0 and where.seeds == [9]
    assert len(agent.asked) == 10 and agent.asked[0] == ([0, 0], False)
    assert not agent.told and not agent.begun and not agent.frozen


def test_an_agent_that_remembers_is_told_everything_and_only_remembers():
    agent = Watches()
    evaluate(agent, Marching(2, 5), 2, seed=9, remember=True)
    assert len(agent.told) == len(agent.asked) == 5 and all(explore for _, explore in agent.asked)
    assert agent.begun == 1 and agent.frozen


def test_a_player_is_told_what_followed_and_the_agent_nothing():
    agent, player = Watches(), Watches()
    agent.player = lambda num_envs: player if num_envs == 2 else None
    evaluate(agent, Marching(2, 3), 2, seed=9)
    assert len(player.told) == 3 and not agent.told and not agent.asked
    assert player_of(agent, Marching(1, 1)) is player and player_of(player, Marching(1)) is player


@pytest.mark.parametrize(
    ("max_steps", "returns", "lengths", "cut"),
    [
        (None, [2, 2, 10], [2, 2, 5], 0),
        (10, [2, 2, 10], [2, 2, 5], 0),  # exactly as many as it takes
        (9, [2, 2, 10], [2, 2, 5], 0),
        (8, [2, 2, 8], [2, 2, 4], 1),
        (6, [2, 1, 6], [2, 1, 3], 2),
        (1, [1, 2], [1, 1], 2),
    ],
)
def test_what_is_open_when_the_steps_are_spent_counts_with_what_it_got(max_steps, returns, lengths, cut):
    played = evaluate(Watches(), Marching(2, 5), 3, seed=9, max_steps=max_steps)
    assert (played.returns.tolist(), played.lengths.tolist(), played.cut) == (returns, lengths, cut)


def test_episodes_that_were_open_and_those_that_others_saw_are_not_counted():
    class Dearer(Marching):
        """Pays what episode it is."""

        def reset(self, *, seed):
            self.episode = np.ones(self.num_envs)
            return super().reset(seed=seed)

        def step(self, action):
            shown, _, done, *rest = super().step(action)
            reward = self.episode.copy()
            self.episode[done] += 1
            return shown, reward, done, *rest

    counted = lambda **given: evaluate(Watches(), Dearer(2, 3), 4, 0, **given).returns.tolist()  # noqa: E731
    assert counted() == [2, 3, 4, 6]
    assert counted(uncounted=1) == [4, 6, 6, 9]
    assert counted(uncounted=3) == [8, 10, 12, 15]
    where, agent = Dearer(2, 3), Watches()
    shown, _ = where.reset(seed=0)
    shown = where.step(None)[0]
    played = evaluate(agent, where, 4, 7, going_on_from=shown, uncounted=1, remember=True)
    assert played.returns.tolist() == [6, 8, 9, 12] and where.seeds == [0]
    assert agent.asked[0] == ([1, 1], True) and not agent.begun and agent.frozen and len(agent.told) == len(agent.asked)


def test_what_an_agent_has_not_is_not_asked_of_it():
    plain = type("Plain", (), {})()
    assert rested(plain) is plain and not hasattr(plain, "frozen")
    assert memory_parts(plain) == () and player_of(plain, Marching(1)) is plain


def test_a_mode_is_one_of_three_or_left_to_the_agent():
    for mode in (None, *MODES):
        require_mode(mode, "memory")
    with pytest.raises(UsageError, match=r"memory is 'frozn'\. Did you mean frozen"):
        require_mode("frozn", "memory")
