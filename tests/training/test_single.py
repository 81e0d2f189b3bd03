"""An agent in one's own loop is told, row for row, what a vector step would have told it."""

from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from gymnasium import spaces

from engram_rl.training.errors import UsageError
from engram_rl.training.single import SingleAgent, _Open

PLACES, CHOICES = spaces.Box(0, 9, (2,), np.float32), spaces.Discrete(3)
FIRST, NEXT, RESET = np.array([1, 1], np.float32), np.array([2, 2], np.float32), np.array([3, 3], np.float32)
ONLY_LAST = {"action_mask": np.array([0, 0, 1], np.int8)}


class Keeps:
    """A batched agent that keeps what it is asked and told."""

    def __init__(self, action=(2,)):
        self.action, self.asked, self.told, self.begun, self.learned = np.array(action), [], [], 0, 0

    def act(self, observation, *, explore=True, mask=None):
        self.asked.append((observation, explore, mask))
        return self.action

    def observe(self, transition):
        self.told.append(transition)

    def learn(self):
        self.learned += 1
        return {"train/loss": 0.5}

    def begin_episodes(self):
        self.begun += 1


def single(agent, actions=CHOICES, **given):
    return SingleAgent(agent, PLACES, actions, PLACES, **given)


def test_a_step_within_an_episode_is_learned_from_at_once():
    kept = Keeps()
    agent = single(kept)
    assert kept.begun == 1 and agent.learning is True
    assert agent.act(FIRST) == 2 and type(agent.act(FIRST)) is int
    assert agent.observe(NEXT, 5, False, False) == {"train/loss": 0.5}
    (told,) = kept.told
    assert told.observation.tolist() == [[1, 1]] and told.action.tolist() == [2] and told.reward.tolist() == [5]
    assert told.next_observation.tolist() == told.reset_observation.tolist() == [[2, 2]]
    assert told.terminated.tolist() == told.truncated.tolist() == [False]
    assert told.mask is told.next_mask is told.reset_mask is None
    assert [explore for _, explore, _ in kept.asked] == [True, True]


@pytest.mark.parametrize("ends", [(True, False), (False, True), (True, True)])
def test_the_last_step_of_an_episode_is_learned_from_once_the_next_has_begun(ends):
    kept = Keeps()
    agent = single(kept)
    agent.act(FIRST, ONLY_LAST)
    assert agent.observe(NEXT, 1.0, *ends, {"action_mask": np.zeros(3, np.int8)}) == {}
    assert not kept.told and not kept.learned
    agent.act(RESET, {"action_mask": np.array([1, 0, 1], np.int8)})
    (told,) = kept.told
    assert (told.terminated[0], told.truncated[0]) == ends and kept.learned == 1
    assert told.next_observation.tolist() == [[2, 2]] and told.reset_observation.tolist() == [[3, 3]]
    assert told.mask.tolist() == [[False, False, True]] and told.next_mask.tolist() == [[True, True, True]]
    assert told.reset_mask.tolist() == [[True, False, True]]
    agent.act(RESET)
    assert len(kept.told) == 1


def test_where_it_goes_on_something_has_to_be_allowed():
    agent = single(Keeps())
    agent.act(FIRST)
    with pytest.raises(UsageError, match="allows no action"):
        agent.observe(NEXT, 1.0, False, False, {"action_mask": np.zeros(3, np.int8)})


def test_a_reset_in_the_middle_drops_what_was_open():
    kept = Keeps()
    agent = single(kept)
    agent.act(FIRST)
    agent.begin()
    with pytest.raises(UsageError, match="call act"):
        agent.observe(NEXT, 1.0, False, False)
    agent.act(RESET)
    assert not kept.told and kept.begun == 2


def test_a_reset_after_the_end_drops_nothing():
    kept = Keeps()
    agent = single(kept)
    agent.act(FIRST)
    agent.observe(NEXT, 1.0, True, False)
    agent.begin()
    agent.act(RESET)
    assert [one.terminated.tolist() for one in kept.told] == [[True]] and kept.begun == 1


def test_every_environment_that_an_agent_was_made_for_sees_what_the_one_sees():
    kept = Keeps((2, 2, 2))
    agent = single(kept, num_envs=3)
    assert agent.act(FIRST, ONLY_LAST) == 2
    assert kept.asked[0][0].shape == (3, 2) and kept.asked[0][2].tolist() == [[False, False, True]] * 3
    agent.observe(NEXT, 4, False, True)
    agent.act(RESET)
    (told,) = kept.told
    assert told.reward.tolist() == [4, 4, 4] and told.truncated.tolist() == [True] * 3
    assert told.next_observation.shape == (3, 2)


def test_one_that_does_not_learn_acts_and_is_told_nothing():
    kept = Keeps()
    agent = single(kept, learning=False)
    agent.act(FIRST)
    assert agent.observe(NEXT, 1.0, True, False) == {}
    agent.act(RESET)
    assert agent.observe(NEXT, 1.0, False, False) == {}
    assert not kept.told and not kept.learned and not kept.begun
    assert [explore for _, explore, _ in kept.asked] == [False, False]


def test_who_plays_for_an_agent_with_a_state_is_alone_and_hears_what_followed():
    kept, player, made = Keeps((0, 0)), Keeps(), []
    kept.player = lambda num_envs: made.append(num_envs) or player
    agent = single(kept, num_envs=2, learning=False)
    assert agent.act(FIRST) == 2 and player.asked[0][0].shape == (1, 2)
    assert agent.observe(NEXT, 1.0, False, False) == {}
    assert len(player.told) == 1 and player.told[0].reward.shape == (1,)
    assert not kept.told and not kept.learned and not player.learned
    agent.begin()
    assert made == [1, 1] and not kept.begun
    learning = single(kept, num_envs=2)
    learning.act(FIRST)
    assert made == [1, 1] and len(kept.asked) == 1


def test_an_action_of_several_parts_is_an_array_of_ones_own():
    kept = Keeps(((1, 2),))
    action = single(kept, spaces.MultiDiscrete([2, 3])).act(FIRST)
    action[:] = 0
    assert kept.action.tolist() == [[1, 2]] and action.shape == (2,)


def test_what_is_given_may_be_written_to_afterwards():
    kept, shown = Keeps(), FIRST.copy()
    agent = single(kept)
    agent.act(shown)
    shown[:] = 9
    agent.observe(NEXT, 1.0, False, False)
    assert kept.told[0].observation.tolist() == [[1, 1]]


def test_an_open_step_stays_what_it_was():
    with pytest.raises(FrozenInstanceError):
        _Open(FIRST, np.zeros(1), None).mask = FIRST  # type: ignore[misc]
