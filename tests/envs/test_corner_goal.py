"""CornerGoal: the goal stays in a corner for so many steps of the run, then is in another."""

from itertools import pairwise

import gymnasium
import numpy as np
from gymnasium.utils.env_checker import check_env

import engram_rl.envs  # noqa: F401  (registers engram/*)

CORNERS = {(0, 0), (0, 3), (3, 0), (3, 3)}


def goals(period, steps, seed):
    """Where the goal was, and how many steps of the run were taken, as each episode began."""
    env = gymnasium.make_vec("engram/CornerGoal-v0", 1, n=4, period=period)
    env.reset(seed=seed)
    core, began = env.unwrapped.core, []
    rng = np.random.default_rng(0)
    for t in range(steps):
        if core.elapsed[0] == 0:
            began.append((t, tuple(core.geometry.coordinates[core.goal[0]].tolist()), int(core.task_index[0])))
        env.step(rng.integers(4, size=1))
    return began


def test_it_is_a_gymnasium_environment():
    check_env(gymnasium.make("engram/CornerGoal-v0").unwrapped, skip_render_check=True)


def test_the_goal_moves_to_another_corner_with_the_first_episode_after_each_period():
    began = goals(period=100, steps=1000, seed=1)
    assert {place for _, place, _ in began} <= CORNERS
    for (_, place, task_index), (t, later, now) in pairwise(began):
        assert (now > task_index) == (later != place) == (t >= (task_index + 1) * 100)
    assert began[-1][2] >= 8


def test_the_seed_decides_the_run():
    assert goals(100, 500, seed=1) == goals(100, 500, seed=1)
    assert len({goals(100, 500, seed=seed)[0][1] for seed in range(20)}) == 4
