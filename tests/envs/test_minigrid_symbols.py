"""MiniGrid's image as codes: the same numbers, a space that says what they are, and agents that see each apart."""

from __future__ import annotations

import gymnasium as gym
import minigrid  # noqa: F401  registers its environments
import numpy as np
import pytest
from gymnasium import spaces
from minigrid.wrappers import FullyObsWrapper, ImgObsWrapper, RGBImgPartialObsWrapper, ViewSizeWrapper

from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.common.observations import to_tensors
from engram_rl.agents.goal_directed.cells import MiniGridCells, make_cells
from engram_rl.agents.goal_directed.minigrid_views import PartialGrid, SymbolGrid
from engram_rl.envs.dead_reckoning import DeadReckoning
from engram_rl.envs.minigrid_symbols import Symbols


def nine_wide(env):
    return ViewSizeWrapper(env, agent_view_size=9)


@pytest.mark.parametrize("wrap", [lambda env: env, FullyObsWrapper, ImgObsWrapper, nine_wide])
@pytest.mark.parametrize("world", ["MemoryS9", "DoorKey-8x8", "Dynamic-Obstacles-6x6"])
def test_what_is_shown_stays_and_is_of_its_space(world, wrap):
    plain, coded = (around(wrap(gym.make(f"MiniGrid-{world}-v0"))) for around in (lambda env: env, Symbols))
    draws = np.random.default_rng(0)
    for seed in range(3):
        (one, _), (other, _) = plain.reset(seed=seed), coded.reset(seed=seed)
        for _ in range(40):
            image, codes = (shown["image"] if isinstance(shown, dict) else shown for shown in (one, other))
            space = coded.observation_space
            space = space["image"] if isinstance(space, spaces.Dict) else space
            assert isinstance(space, spaces.MultiDiscrete) and space.contains(codes) and (image == codes).all()
            action = int(draws.integers(plain.action_space.n))
            (one, *_, over, cut, _), (other, *_) = plain.step(action), coded.step(action)
            if over or cut:
                break


def test_agents_see_a_key_and_a_ball_as_far_apart_as_any_two_things():
    space = Symbols(ImgObsWrapper(gym.make("MiniGrid-MemoryS9-v0"))).observation_space
    images = np.zeros((3, *space.shape), np.uint8)
    images[1:, 3, 4, 0] = 5, 6
    rows = Flatten(space)(to_tensors(images))
    assert rows.shape == (3, 7 * 7 * (11 + 6 + 4)) and (rows.sum(1) == 7 * 7 * 3).all()
    assert [(rows[i] - rows[j]).abs().sum() for i, j in ((0, 1), (0, 2), (1, 2))] == [2, 2, 2]


def test_what_is_no_image_of_symbols_is_refused():
    for env in (RGBImgPartialObsWrapper(gym.make("MiniGrid-Empty-5x5-v0")), gym.make("CartPole-v1")):
        with pytest.raises(ValueError, match="Symbols needs MiniGrid's own image"):
            Symbols(env)


def test_twice_is_refused_in_a_line():
    with pytest.raises(ValueError, match="Symbols needs MiniGrid's own image") as told:
        Symbols(Symbols(gym.make("MiniGrid-Empty-5x5-v0")))
    assert "\n" not in str(told.value) and len(str(told.value)) < 700


def test_views_and_cells_read_codes_as_they_read_bytes():
    full = FullyObsWrapper(gym.make("MiniGrid-Empty-5x5-v0"))
    partial = DeadReckoning(gym.make("MiniGrid-Empty-5x5-v0"))
    for view, env in ((SymbolGrid, full), (PartialGrid, partial)):
        observation, _ = env.reset(seed=0)
        batch = {name: np.asarray(part)[None] for name, part in observation.items() if name != "mission"}
        of_bytes, of_codes = view(env.observation_space), view(Symbols(env).observation_space)
        np.testing.assert_array_equal(of_bytes.states(batch), of_codes.states(batch))
        np.testing.assert_array_equal(of_bytes.goals(batch), of_codes.goals(batch))
    kinds = {type(make_cells(one.observation_space)) for one in (partial, Symbols(partial))}
    assert kinds == {MiniGridCells}
