"""What PPO is shown beside the observation: an update sees what the actor saw."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from engram_rl.agents.agent import Transition
from engram_rl.agents.policy_gradient.extra_inputs import PreviousStep
from engram_rl.agents.policy_gradient.policies import make_policy
from tests.agents.ppo_worlds import TWO, VECTOR, E, T, World, make_agent, play


class Notes:
    """Shows the number of the step, and remembers what it showed."""

    def __init__(self):
        self.count, self.finals, self.explored, self.begun = 0, [], [], 0

    def read(self, observation, *, explore):
        self.explored.append(explore)
        return {"note": torch.full((E, 1), float(self.count))}

    def read_final(self, transition, rows):
        self.finals.append((self.count, rows))
        return {"note": torch.full((len(rows), 1), -1.0)}

    def observe(self, transition):
        self.count += 1

    def begin_episodes(self):
        self.begun += 1

    def metrics(self):
        return {"memory/notes": float(self.count)}

    def player(self, num_envs):
        return self

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def test_an_update_sees_what_the_actor_saw_however_the_memory_has_changed():
    agent, notes = make_agent(minibatch_size=T * E), Notes()
    agent.extras = (notes,)
    shown = []
    forward = agent.policy.forward

    def listen(seen, state, starts, extras, *mask):
        shown.append(extras["note"])
        return forward(seen, state, starts, extras)

    agent.policy.forward = listen
    _, metrics = play(agent, World(ends=0.9), T)
    assert metrics["memory/notes"] == T
    assert len(shown) == 1 + 2, "once to judge the rollout, once an epoch"
    for one in shown:
        assert sorted(one.flatten().tolist()) == sorted(float(t) for t in range(T) for _ in range(E))
    assert notes.finals and all(count < T for count, _ in notes.finals), "read before the step is observed"


def test_extras_reach_actor_and_critic_through_fusions_and_beside_the_features():
    class Add(nn.Module):
        def forward(self, features, extras):
            return features + extras["note"]

    widths = []

    def fusion(width):
        widths.append(width)
        return Add()

    policy = make_policy(VECTOR, TWO, 0, hidden=[8], appended={"other": 2}, fusion=fusion)
    assert widths == [8, 8]
    nothing = torch.zeros(0)
    seen = torch.rand(4, 3)
    extras = {"note": torch.zeros(4, 1), "other": torch.zeros(4, 2)}
    base = policy(seen, nothing, nothing, extras)
    for name in extras:
        changed = policy(seen, nothing, nothing, extras | {name: torch.ones_like(extras[name])})
        assert not torch.equal(changed.value, base.value)
        assert not torch.equal(changed.distribution.log_probs, base.distribution.log_probs)


def with_notes(**changes):
    agent, notes = make_agent(**changes), Notes()
    agent.extras = (notes,)
    return agent, notes


def test_a_memory_is_told_which_reads_are_of_steps_that_are_learned_from():
    agent, notes = with_notes()
    world = World(ends=0)
    play(agent, world, T)
    assert notes.explored == [True] * T + [False], "the last is of what follows the rollout"
    notes.explored.clear()
    agent.act(world.shown, explore=False)
    assert notes.explored == [False]


def test_last_observations_are_judged_only_where_episodes_are_cut_and_ends_count():
    for changes, ends, some in (({}, 0, False), ({}, 0.9, True), ({"cut_at_episode_ends": False}, 0.9, False)):
        agent, notes = with_notes(**changes)
        transitions, _ = play(agent, World(ends=ends), T - 1, learn=False)
        expected = [(t, np.flatnonzero(one.truncated).tolist()) for t, one in enumerate(transitions)]
        cut = [(t, rows) for t, rows in expected if rows]
        assert bool(cut) == (ends > 0)
        assert [(t, rows.tolist()) for t, rows in notes.finals] == (cut if some else [])
        assert some or not agent._rollout._final_value.any()


def test_episodes_that_begin_anew_begin_for_every_extra_and_nothing_open_is_learned_from():
    agent, notes = with_notes(recurrent=4)
    world = World(ends=0)
    play(agent, world, 3, learn=False)
    agent.act(world.shown)
    agent.begin_episodes()
    assert notes.begun == 1 and len(agent._rollout) == 0 and agent.acted == {}
    assert agent.starts.all() and not agent.state["hidden"].any()


def test_the_reward_is_left_out_where_the_action_alone_is_shown():
    previous = PreviousStep(spaces.Discrete(3), 2, True, torch.device("cpu"), reward=False)
    assert previous.size == 4
    nothing, flags = np.zeros((2, 1)), np.array([False, True])
    step = Transition(nothing, np.array([2, 0]), np.array([0.5, 2.0]), flags, ~flags & False, nothing, nothing)
    assert previous.read_final(step, np.array([0]))["previous"].tolist() == [[0, 0, 1, 0]]
    previous.observe(step)
    assert previous.read(nothing, explore=True)["previous"].tolist() == [[0, 0, 1, 0], [1, 0, 0, 1]]
    assert previous.player(2).size == 4
    previous.begin_episodes()
    assert previous.read(nothing, explore=True)["previous"].tolist() == [[0.0] * 4] * 2


@pytest.mark.parametrize(("shown", "sizes"), [(False, []), (True, [4]), ("action", [3])])
def test_the_step_before_is_shown_as_asked(shown, sizes):
    agent = make_agent(recurrent=4, show_previous=shown)
    assert [extra.size for extra in agent.extras] == sizes
    assert agent.policy.core.input_size == 8 + sum(sizes)


def test_a_logit_bias_adds_to_the_logits():
    class Bias(nn.Module):
        def forward(self, extras):
            return extras["bias"]

    plain, biased = (make_policy(VECTOR, TWO, 0, hidden=[8], logit_bias=bias) for bias in (None, Bias()))
    seen, bias, nothing = torch.rand(4, 3), torch.randn(4, 2), torch.zeros(0)
    before, after = (one(seen, nothing, nothing, {"bias": bias}) for one in (plain, biased))
    expected = (before.distribution.log_probs + bias).log_softmax(1)
    torch.testing.assert_close(after.distribution.log_probs, expected)
    assert torch.equal(before.value, after.value)
