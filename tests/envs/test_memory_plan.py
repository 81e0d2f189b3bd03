"""MemoryPlan: a map per episode, many tasks on it, and a limit of 2.67 + 1 steps a task."""

import gymnasium
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401 (registers the suite)

COLLECT = 4


def planned(core) -> int:
    """An action of a shortest solution, by reading the environment's mind."""
    here, there = (core.geometry.coordinates[cell[0]] for cell in (core.cell, core.goal))
    across, down = there - here
    if across:
        return 2 if across > 0 else 0
    if down:
        return 3 if down > 0 else 1
    return COLLECT


def symbols(observation: np.ndarray) -> tuple[int, int]:
    here, wanted = observation.reshape(2, -1)
    assert here.sum() == wanted.sum() == 1
    return int(here.argmax()), int(wanted.argmax())


def test_collecting_pays_only_where_the_wanted_symbol_is():
    environment = gymnasium.make("engram/MemoryPlan-v0", step_limit=400).unwrapped
    observation, _ = environment.reset(seed=0)
    random = np.random.default_rng(0)
    for _ in range(400):
        here, wanted = symbols(observation)
        action = int(random.integers(5))
        observation, reward, *_ = environment.step(action)
        assert reward == float(action == COLLECT and here == wanted)


def test_a_task_takes_oracle_steps_and_on_average_3_67():
    environment = gymnasium.make("engram/MemoryPlan-v0", step_limit=20_000).unwrapped
    _, info = environment.reset(seed=0)
    taken, expected, steps = [], [info["oracle_steps"]], 0
    for _ in range(20_000):
        _, reward, *_, info = environment.step(planned(environment.core))
        steps += 1
        if reward:
            taken.append(steps)
            expected.append(info["oracle_steps"])
            steps = 0
    assert taken == expected[: len(taken)]
    assert np.mean(taken) == pytest.approx(2.667 + 1, abs=0.06)


def test_the_map_is_new_in_every_episode_and_stays_within_it():
    environment = gymnasium.make("engram/MemoryPlan-v0").unwrapped
    maps = []
    for _ in range(5):
        environment.reset()
        before = environment.core.symbol.copy()
        for _ in range(50):
            environment.step(planned(environment.core))
        assert np.array_equal(before, environment.core.symbol)
        maps.append(tuple(before[0]))
    assert len(set(maps)) == 5


def test_a_task_begins_elsewhere_than_its_goal():
    vector = gymnasium.make_vec("engram/MemoryPlan-v0", 500)
    for _ in range(5):
        observation, info = vector.reset()
        here, wanted = observation.reshape(500, 2, 16).argmax(axis=2).T
        assert (here != wanted).all()
        assert info["oracle_steps"].min() == 2
