"""The limits do what their names say."""

from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest

import envs  # noqa: F401 (registers the suite)
from envs.oracle import make_policy


def play_runs(name: str, policy: str, num_envs: int, episodes: int, seed: int = 0, **options):
    """Steps, oracle steps and outcome of the first episodes of each run: `[E, episodes]` each."""
    env = gymnasium.make_vec(name, num_envs, **options)
    player = make_policy(policy, env, seed)
    steps, oracle, solved = (np.zeros((num_envs, episodes), dtype=int) for _ in range(3))
    seen, info = env.reset(seed=seed)
    counted = np.zeros(num_envs, dtype=int)
    elapsed = np.zeros(num_envs, dtype=int)
    while counted.min() < episodes:
        actions = player.act(seen)
        following, reward, terminated, truncated, info = env.step(actions)
        elapsed += 1
        true_next = following.copy()
        done = terminated | truncated
        if done.any():
            true_next[done] = np.stack(info["final_obs"][done])
            rows = np.flatnonzero(done & (counted < episodes))
            steps[rows, counted[rows]] = elapsed[rows]
            oracle[rows, counted[rows]] = info["final_info"]["oracle_steps"][rows]
            solved[rows, counted[rows]] = terminated[rows]
            counted[rows] += 1
            elapsed[done] = 0
        player.observe(
            SimpleNamespace(
                observation=seen,
                action=actions,
                reward=reward,
                terminated=terminated,
                truncated=truncated,
                next_observation=true_next,
                reset_observation=following,
            )
        )
        seen = following
    return steps, oracle, solved


@pytest.mark.parametrize("options", [{}, {"n": 7, "layout_seed": [1, 2, 3]}])
def test_the_clairvoyant_takes_exactly_the_shortest_path(options):
    steps, oracle, _ = play_runs("engram/ShiftWall-v0", "clairvoyant", 3, 60, **options)
    assert np.array_equal(steps, oracle)


def test_the_clairvoyant_needs_755_steps_for_the_published_run():
    steps, _, solved = play_runs("engram/ShiftWall-v0", "clairvoyant", 1, 100)
    assert steps.sum() == 755
    assert solved.all()


def test_an_unknown_policy_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'genius'; there are .*clairvoyant"):
        make_policy("genius", gymnasium.make_vec("engram/ShiftWall-v0", 1), seed=0)
