"""Dead reckoning knows where the agent is from its own view and actions alone."""

import gymnasium
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401
from engram_rl.envs.dead_reckoning import DeadReckoning


@pytest.mark.parametrize("name", ["engram/EmptyShift-v0", "engram/DoorKeyShift-v0", "MiniGrid-LavaGapS7-v0"])
def test_the_place_counted_is_the_place_stood_on(name):
    env, rng = DeadReckoning(gymnasium.make(name)), np.random.default_rng(0)
    moved = set()
    for episode in range(6):
        observation, _ = env.reset(seed=episode)
        done = False
        while not done:
            grid = env.unwrapped
            assert observation["place"].tolist() == [*grid.agent_pos, grid.agent_dir]
            assert env.observation_space["place"].contains(observation["place"])
            moved.add(tuple(observation["place"]))
            observation, _, terminated, truncated, _ = env.step(int(rng.choice([0, 1, 2, 2, 2, 3, 5])))
            done = terminated or truncated
    assert len(moved) > 10


def test_what_has_no_partial_view_is_refused():
    with pytest.raises(ValueError, match="partial view"):
        DeadReckoning(gymnasium.make("CartPole-v1"))
    with pytest.raises(ValueError, match="partial view"):
        DeadReckoning(gymnasium.make("engram/ShiftWall-v0"))
