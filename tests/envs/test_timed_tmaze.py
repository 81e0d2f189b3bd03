"""TimedTMaze: the T-mazes of Ni et al. (2023), rule by rule, against a maze that is walked on a map."""

import gymnasium
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401 (registers the suite)

RIGHT, UP, LEFT, DOWN = range(4)
MOVES = {RIGHT: (1, 0), UP: (0, 1), LEFT: (-1, 0), DOWN: (0, -1)}


def maze(**options):
    environment = gymnasium.make("engram/TimedTMaze-v0", **options)
    environment.reset(seed=5)
    return environment


class Map:
    """What the paper's maze does, said by the set of its cells."""

    def __init__(self, length, active, cue):
        self.begin, self.end, self.cue, self.penalty = int(active), length + active, cue, 1 / length
        self.cells = {(x, 0) for x in range(self.end + 1)} | {(self.end, 1), (self.end, -1)}
        self.limit = length + 1 + 2 * active
        self.at, self.time, self.been = (self.begin, 0), 0, False

    def observation(self):
        x, y = self.at
        first = x == 0 and not self.been
        self.been |= x == 0
        return [float(x == self.end), float(self.cue if first else y)]

    def step(self, action):
        self.time += 1
        to = tuple(np.add(self.at, MOVES[action]))
        self.at = to if to in self.cells else self.at
        if self.time == self.limit:
            return float(self.at[1] == self.cue), True
        return -self.penalty * (self.at[0] < self.time - self.begin), False


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("length", [1, 2, 4])
def test_it_is_the_maze_on_a_map(length, active):
    environment, random = maze(length=length, active=active), np.random.default_rng(0)
    for _ in range(60):
        observation, _ = environment.reset()
        slow = Map(length, active, int(environment.unwrapped.core.cue[0]))
        assert observation.tolist() == slow.observation()
        over = False
        while not over:
            action = int(random.choice(4, p=[0.55, 0.15, 0.15, 0.15]))
            observation, reward, over, truncated, _ = environment.step(action)
            expected, ends = slow.step(action)
            assert (reward, over, truncated) == (pytest.approx(expected), ends, False)
            assert observation.tolist() == slow.observation()


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("length", [10, 250, 500])
def test_who_fetches_and_remembers_the_cue_loses_nothing(length, active):
    environment = maze(length=length, active=active)
    for _ in range(4):
        observation, info = environment.reset()
        gained, cue = 0.0, observation[1]
        way = [LEFT] * active + [RIGHT] * (length + active)
        for action in way:
            observation, reward, *_ = environment.step(action)
            gained, cue = gained + reward, cue or observation[1]
        _, reward, terminated, *_ = environment.step(UP if cue > 0 else DOWN)
        assert (gained + reward, terminated, info["oracle_steps"]) == (1.0, True, len(way) + 1)


def test_who_stands_still_pays_a_whole_reward():
    environment = maze(length=8)
    rewards = [environment.step(LEFT)[1] for _ in range(9)]
    assert sum(rewards) == pytest.approx(-1.0) and rewards[-1] == 0.0


@pytest.mark.parametrize(("wrong", "message"), [({"length": 0}, "at least 1 step"), ({"penalty": -1.0}, "at least 0")])
def test_bad_sizes_are_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        maze(**wrong)
