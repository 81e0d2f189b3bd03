"""Playing by a policy without learning: each environment from its first step on, as a policy unrolled by hand."""

import numpy as np
import pytest
import torch

from tests.agents.policy_gradient.test_extra_inputs import Notes
from tests.agents.ppo_worlds import World, make_agent, play

ROWS = 4


@pytest.mark.parametrize("carry", [False, True])
@pytest.mark.parametrize("seed", [None, 3])
def test_a_player_takes_what_the_policy_says_of_all_that_it_has_seen_of_an_episode(carry, seed):
    agent = make_agent(recurrent=6, show_previous=True, carry_state=carry)
    agent.policy.head.weight.data *= 300  # so that the most probable action is not always the same
    player = agent.player(ROWS, None if seed is None else torch.Generator().manual_seed(seed))
    drawn = torch.Generator().manual_seed(seed or 0)
    policy, previous, world = agent.policy, agent.extras[0].player(ROWS), World(rows=ROWS, seed=2, ends=0.5)
    state, taken = policy.initial_state(ROWS), []
    for _ in range(30):
        with torch.no_grad():
            before = previous.read(world.shown, explore=False)["previous"]
            seen = torch.cat([policy.encoder(torch.from_numpy(world.shown)), before], dim=1)
            output, state, _ = policy.core.step(seen, state)
            distribution = policy.distribution(output, {})
        expected = distribution.mode() if seed is None else distribution.sample(drawn)
        action = player.act(world.shown)
        assert action.tolist() == expected.tolist()
        taken.append(action)
        transition = world.step(action)
        player.observe(transition)
        previous.observe(transition)
        if not carry:
            ended = torch.from_numpy(transition.done)
            state = {name: torch.where(ended[:, None], 0.0, leaf) for name, leaf in state.items()}
    assert len(np.unique(taken)) == 2


def test_a_player_asks_memories_without_a_trace_and_tells_them_what_followed():
    agent, notes = make_agent(normalise_observations=True), Notes()
    world = World()
    play(agent, world, 3)
    agent.extras, count = (notes,), agent.perceive.moments.count
    player = agent.player(len(world.shown))
    for _ in range(2):
        player.observe(world.step(player.act(world.shown)))
    assert notes.explored == [False, False] and notes.count == 2
    assert agent.perceive.moments.count == count


def test_a_player_is_held_to_its_mask():
    agent = make_agent()
    player, only = agent.player(2), np.array([[True, False], [False, True]])
    assert player.act(np.zeros((2, 3), np.float32), mask=only).tolist() == [0, 1]
    with pytest.raises(ValueError, match=r"must be \(2, 2\)"):
        player.act(np.zeros((2, 3), np.float32), mask=only[:1])
