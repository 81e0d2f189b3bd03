"""The quick view is MiniGrid's own, bit for bit, wherever the agent stands and whatever it does."""

import gymnasium as gym
import numpy as np
import pytest
from minigrid.minigrid_env import MiniGridEnv

from engram_rl.envs.minigrid_view import partial_view, quicken
from engram_rl.training.environments import make_environments

IDS = {
    "a door, a key and walls": "MiniGrid-DoorKey-6x6-v0",
    "rooms": "MiniGrid-FourRooms-v0",
    "lava and a goal": "MiniGrid-LavaCrossingS9N2-v0",
    "boxes and doors": "MiniGrid-ObstructedMaze-1Dlhb-v0",
    "a view of three": "MiniGrid-MemoryS7-v0",
    "moving balls": "MiniGrid-Dynamic-Obstacles-6x6-v0",
}


def same(a, b):
    return a["image"].dtype == b["image"].dtype and np.array_equal(a["image"], b["image"]) and (
        a["direction"], a["mission"]) == (b["direction"], b["mission"])  # fmt: skip


@pytest.mark.parametrize("id", IDS.values(), ids=IDS)
@pytest.mark.parametrize("see_through_walls", [False, True])
def test_it_is_the_stock_view_on_random_walks(id, see_through_walls):
    environment = gym.make(id, disable_env_checker=True)
    core = environment.unwrapped
    rng = np.random.default_rng(0)
    seen = set()
    for seed in range(6):
        environment.reset(seed=seed)
        core.see_through_walls = see_through_walls
        for _ in range(60):
            stock = MiniGridEnv.gen_obs(core)
            assert same(partial_view(core), stock)
            seen.add(stock["image"].tobytes())
            if any(environment.step(rng.integers(environment.action_space.n))[2:4]):
                break
    assert len(seen) > 30


def test_what_is_carried_shows_where_the_agent_stands():
    environment = gym.make("MiniGrid-DoorKey-5x5-v0")
    core = environment.unwrapped
    environment.reset(seed=0)
    core.carrying = next(one for one in core.grid.grid if one is not None and one.type == "key")
    assert same(partial_view(core), MiniGridEnv.gen_obs(core))
    assert partial_view(core)["image"][3, 6].tolist() == list(core.carrying.encode())


def test_every_way_of_making_environments_gets_it():
    environments = make_environments("MiniGrid-DoorKey-5x5-v0", 2)
    assert all("gen_obs" in vars(one.unwrapped) for one in environments.unwrapped.envs)


def test_an_environment_that_observes_in_its_own_way_is_left_alone():
    class Own(MiniGridEnv):
        def gen_obs(self):
            raise NotImplementedError

    own = Own.__new__(Own)
    own.gen_obs_before = own.gen_obs
    assert quicken(own) is own and "gen_obs" not in vars(own)
    other = gym.make("CartPole-v1")
    assert quicken(other) is other
