"""PointMassShift: what it promises of pushes, ends, goals that shift, and who knows them."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from engram_rl.envs.oracles.point_mass import PointMassOracle
from engram_rl.envs.point_mass import FASTEST, GOALS, NEAREST, REACHED, pushed

ID = "engram/PointMassShift-v0"


def episodes(count, seed=0, act=None, **options):
    """Steps, return, goal, oracle's steps and how it ended, of each episode."""
    env = gymnasium.make(ID, **options)
    env.action_space.seed(seed)
    played = []
    for number in range(count):
        _, info = env.reset(seed=seed if number == 0 else None)
        steps, total, ended, cut = 0, 0.0, False, False
        while not (ended or cut):
            _, reward, ended, cut, _ = env.step(env.action_space.sample() if act is None else act)
            steps, total = steps + 1, total + reward
        played.append((steps, total, info["target"], info["oracle_steps"], ended))
    return played


def test_it_keeps_gymnasiums_promises():
    check_env(gymnasium.make(ID).unwrapped, skip_render_check=False)
    assert gymnasium.make(ID, render_mode="rgb_array").unwrapped.render().shape == (128, 128, 3)


def test_the_goal_stays_for_a_period_and_then_is_elsewhere():
    goals = np.array([goal for _, _, goal, _, _ in episodes(9, period=3)])
    assert (np.abs(goals) <= GOALS).all()
    assert (goals[0:3] == goals[0]).all() and (goals[3:6] == goals[3]).all() and not (goals[0] == goals[3]).any()
    assert (np.array([goal for _, _, goal, _, _ in episodes(9, period=3)]) == goals).all()
    assert (goals != np.array([goal for _, _, goal, _, _ in episodes(9, seed=1, period=3)])).all()
    shared = [[goal for _, _, goal, _, _ in episodes(3, seed=seed, period=1, layout_seed=4)] for seed in (0, 1)]
    assert shared[0] == shared[1]


def test_an_episode_pays_for_progress_and_time_and_is_cut_at_its_limit():
    env = gymnasium.make(ID, step_limit=7)
    observation, _ = env.reset(seed=3)
    goal = np.array(env.unwrapped.goal)
    first, total = np.linalg.norm(observation[:2] - goal), 0.0
    assert first >= NEAREST
    for step in range(7):
        observation, reward, ended, cut, _ = env.step(np.ones(2, np.float32))
        total += reward
        assert (ended, cut) == (False, step == 6)
    assert total == pytest.approx(10 * (first - np.linalg.norm(observation[:2] - goal)) - 7, abs=1e-4)


def test_a_mass_keeps_its_momentum_never_leaves_and_what_is_beyond_the_bounds_is_the_bound():
    position, velocity = pushed(np.zeros(2), np.array([0.05, 0.0]), np.array([0.0, -3.0]))
    assert position == pytest.approx([0.04, -0.02]) and velocity == pytest.approx([0.04, -0.02])
    position, velocity = pushed(np.array([0.99, 0.0]), np.array([0.1, 0.0]), np.zeros(2))
    assert position == pytest.approx([1.0, 0.0]) and velocity == pytest.approx([0.0, 0.0])
    for _ in range(100):
        position, velocity = pushed(np.full(2, -1.0), velocity, np.ones(2))
    assert (velocity <= FASTEST).all()


def test_the_oracle_goes_straight_and_is_as_fast_as_the_info_says():
    mode = {"autoreset_mode": AutoresetMode.SAME_STEP}
    environments = gymnasium.make_vec(ID, 3, vectorization_mode="sync", vector_kwargs=mode)
    observation, info = environments.reset(seed=5)
    oracle, steps, ended = PointMassOracle(environments), np.zeros(3, int), 0
    wanted = info["oracle_steps"]
    for _ in range(100):
        observation, _, terminated, truncated, info = environments.step(oracle.act(observation))
        steps += 1
        assert not truncated.any()
        assert (steps[terminated] == wanted[terminated]).all()
        ended += int(terminated.sum())
        wanted = np.where(terminated, info["oracle_steps"], wanted)
        steps[terminated] = 0
    assert ended > 15
    assert environments.single_action_space.contains(oracle.act(observation)[0])


def test_who_pushes_at_random_hardly_ever_arrives():
    played = episodes(40)
    assert sum(ended for *_, ended in played) < 8
    assert np.mean([steps for steps, *_ in played]) > 4 * np.mean([best for *_, best, _ in played])
    assert REACHED < NEAREST


@pytest.mark.parametrize("push", [[np.nan, 0], [[1, 1]], 1.0, [0, 0, 0]])
def test_what_is_no_push_is_refused_and_moves_nothing(push):
    env = gymnasium.make(ID).unwrapped
    first, _ = env.reset(seed=0)
    with pytest.raises(ValueError, match="is no push; give two numbers"):
        env.step(np.array(push, np.float32))
    assert (env.unwrapped.position.astype(np.float32) == first[:2]).all()


def test_wrong_options_are_refused_by_name():
    with pytest.raises(ValueError, match="layout_seed must be at least 0"):
        gymnasium.make(ID, layout_seed=-1)
    with pytest.raises(ValueError, match="step_limit must be at least 1 step, got 0"):
        gymnasium.make(ID, step_limit=0)
    with pytest.raises(ValueError, match="period must be at least 1 episode, got 0"):
        gymnasium.make(ID, period=0)
    with pytest.raises(ValueError, match='render_mode must be None or "rgb_array"'):
        gymnasium.make(ID, render_mode="text")
