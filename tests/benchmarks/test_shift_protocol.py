"""What playing a shifting environment promises: the episodes that count, and practice before them."""

import gymnasium as gym
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401  (registers engram/*)
from benchmarks.shift.protocol import EpisodeLog, PinnedEpisode, play
from benchmarks.shift.specs import resolve_budget
from engram_rl.training.errors import UsageError


def small_log(episodes=3, seed=0, **kwargs):
    return EpisodeLog(gym.make("engram/ShiftWall-v0", n=4, disable_env_checker=True, **kwargs), episodes, seed)


class Walker:
    """A learner that acts at random and writes down what it was given."""

    privileged, entries = "", 0

    def __init__(self):
        self.random = np.random.default_rng(0)
        self.practised, self.learned_from = [], []

    def live(self, log):
        while not log.finished:
            observation, _ = log.reset()
            self.learned_from.append(observation.tolist())
            self._walk(log)

    def practise(self, episode, steps):
        starts = [episode.reset()[0].tolist()]
        for _ in range(steps):
            _, _, terminated, truncated, _ = episode.step(self.random.integers(4))
            if terminated or truncated:
                starts.append(episode.reset()[0].tolist())
        self.practised.append(starts)

    def attempt(self, log, observation):
        self.learned_from.append(observation.tolist())
        self._walk(log)

    def _walk(self, env):
        done = False
        while not done:
            _, _, terminated, truncated, _ = env.step(self.random.integers(4))
            done = terminated or truncated


# Episodes that count


def test_the_log_counts_steps_returns_and_whether_an_episode_was_solved():
    log = small_log()
    play(Walker(), log, "own")
    record = log.record
    assert log.finished and len(record.steps) == len(record.returns) == len(record.solved) == 3
    for steps, gained, solved in zip(record.steps, record.returns, record.solved, strict=True):
        assert 1 <= steps <= 16
        assert solved == (gained == 1.0 and steps < 16)


def test_reaching_the_goal_with_the_very_last_step_is_not_solving():
    log = small_log(episodes=1, step_limit=2)
    log.reset()
    core = log.unwrapped.core
    core.walls[:], core.cell[0], core.goal[0] = False, core.geometry.cell(0, 0), core.geometry.cell(1, 1)
    log.step(2)
    _, reward, terminated, _, _ = log.step(3)
    assert (reward, terminated) == (1.0, True)
    assert log.record.solved == [False]


def test_after_the_last_episode_the_log_stands_still():
    log = small_log(episodes=1)
    play(Walker(), log, "own")
    seen = log.unwrapped.core.episode_index.item()
    log.reset()
    assert log.unwrapped.core.episode_index.item() == seen == 0
    with pytest.raises(RuntimeError, match="have been played"):
        log.step(0)


def test_an_episode_that_counts_cannot_be_thrown_away():
    log = small_log()
    log.reset()
    log.step(0)
    with pytest.raises(RuntimeError, match="left before its end"):
        log.reset()


def test_the_driver_cannot_choose_the_layout_by_its_own_seed():
    first, second = small_log(seed=3, layout_seed=5), small_log(seed=3, layout_seed=5)
    np.testing.assert_array_equal(first.reset(seed=1)[0], second.reset(seed=2)[0])


# Budgets


def test_budget_own_learns_from_the_very_episodes_that_count():
    walker, log = Walker(), small_log()
    assert play(walker, log, "own") == sum(log.record.steps)
    assert len(walker.learned_from) == 3 and not walker.practised


def test_a_practice_budget_gives_so_many_steps_of_each_episode_before_it_counts():
    walker, log = Walker(), small_log()
    taken = play(walker, log, 50)
    assert taken == 3 * 50 + sum(log.record.steps)
    for starts, scored in zip(walker.practised, walker.learned_from, strict=True):
        assert len(starts) > 1, "50 steps of at most 16 each restart"
        assert all(start == scored for start in starts), "practice is of the very episode that follows"


def test_practice_leaves_the_episode_that_counts_as_it_was():
    log = small_log()
    observation, info = log.reset()
    before = {name: getattr(log.unwrapped.core, name).copy() for name in ("cell", "goal", "elapsed", "episode_index")}
    episode = PinnedEpisode(log.env, observation, info)
    Walker().practise(episode, 40)
    assert episode.steps == 40 and log.record.steps == [0]
    for name, value in before.items():
        np.testing.assert_array_equal(getattr(log.unwrapped.core, name), value)


@pytest.mark.parametrize(("given", "budget"), [("own", "own"), ("paper", 2048), (64, 64)])
def test_a_budget_is_own_or_a_number_of_practice_steps(given, budget):
    assert resolve_budget(given) == budget


@pytest.mark.parametrize("given", ["all", 0, -5, 1.5])
def test_another_budget_is_refused(given):
    with pytest.raises(UsageError, match="own, paper, or the practice steps"):
        resolve_budget(given)
