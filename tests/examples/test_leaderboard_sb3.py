"""Another library's agent writes rows of the leaderboard."""

import pytest

from engram_rl.envs.scoring import World, evaluate

pytest.importorskip("stable_baselines3", reason="needs the extra `compare`")


def test_it_lives_through_a_run():
    from examples.leaderboard_sb3 import play

    world = World("Few", "engram/HiddenGoal-v0", 4, "the goal", {"n": 4, "period": 2})
    (row,) = evaluate(play, world, [0], agent="PPO", source="x")
    assert len(row["costs"]) == 4 and row["steps"] == sum(row["costs"]) and row["task_index"] == [0, 0, 1, 1]
