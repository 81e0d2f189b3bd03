"""TMaze: the cue is seen at one end only, and names the arm that pays at the other."""

from itertools import pairwise

import gymnasium
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401 (registers the suite)

LEFT, UP, RIGHT, DOWN = range(4)
kinds = pytest.mark.parametrize("active", [False, True])
lengths = pytest.mark.parametrize("length", [1, 10, 100])


def solve(environment, choose) -> tuple[float, int, np.ndarray]:
    """Return, steps and observations of one episode of: fetch the cue, go to the junction, turn as chosen."""
    observation, _ = environment.reset()
    seen = [observation]
    core = environment.unwrapped.core
    way = [LEFT] * int(core.place[0]) + [RIGHT] * core.junction
    for action in way:
        observation, _, terminated, truncated, _ = environment.step(action)
        assert not (terminated or truncated)
        seen.append(observation)
    cue = next(each[0] for each in seen if each[0])
    *_, reward, terminated, _, _ = environment.step(choose(cue))
    assert terminated
    return float(reward), len(way) + 1, np.array(seen)


@kinds
@lengths
def test_who_remembers_the_cue_is_paid_in_the_fewest_steps(active, length):
    environment = gymnasium.make("engram/TMaze-v0", length=length, active=active)
    environment.reset(seed=0)
    for _ in range(5):
        reward, steps, _ = solve(environment, lambda cue: UP if cue > 0 else DOWN)
        assert reward == 1.0
        assert steps - 2 * active == environment.reset()[1]["oracle_steps"] == length + 1


def test_who_does_not_remember_is_right_half_the_time():
    environment = gymnasium.make("engram/TMaze-v0", length=2)
    environment.reset(seed=0)
    assert np.mean([solve(environment, lambda _: UP)[0] for _ in range(400)]) == pytest.approx(0.5, abs=0.08)


@kinds
def test_the_cue_shows_at_its_place_only_and_corridor_cells_look_alike(active):
    environment = gymnasium.make("engram/TMaze-v0", length=6, active=active)
    environment.reset(seed=0)
    _, _, seen = solve(environment, lambda _: UP)
    shows_cue = [bool(each[0]) for each in seen]
    assert shows_cue == [False] * active + [True] + [False] * (6 + active)
    corridor = seen[[i for i, each in enumerate(seen) if each[2]]]
    assert len(np.unique(corridor, axis=0)) == 1
    assert seen[-1].tolist() == [0, 0, 0, 1]


def test_walls_hold_in_the_corridor_and_a_wrong_arm_ends_unpaid():
    environment = gymnasium.make("engram/TMaze-v0", length=3)
    environment.reset(seed=0)
    for action in (UP, DOWN, LEFT):
        observation, *_ = environment.step(action)
        assert observation[1] == 1
    environment.reset()
    reward, _, _ = solve(environment, lambda cue: DOWN if cue > 0 else UP)
    assert reward == 0.0


def test_a_shift_is_a_cue_that_differs_from_the_last():
    environment = gymnasium.make("engram/TMaze-v0").unwrapped
    shifted, cues = [], []
    for _ in range(50):
        shifted.append(environment.reset()[1]["shifted"])
        cues.append(int(environment.core.cue[0]))
    assert [one != other for one, other in pairwise(cues)] == shifted[1:]
    assert len(set(cues)) == 2


def test_a_corridor_needs_a_step():
    with pytest.raises(ValueError, match="length must be at least 1"):
        gymnasium.make("engram/TMaze-v0", length=0)
