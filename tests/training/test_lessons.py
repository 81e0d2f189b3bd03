"""Lessons: the value of a parameter is chosen by what returns do, and a run goes on as it would have."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from engram_rl.envs import Attribute, ConstructorArgument, ResetOption
from engram_rl.training.lessons import QUICK, SLOW, Lessons
from engram_rl.training.rollout import environment_metrics


class Payer(gymnasium.Env):
    """Pays in one step what a function makes of its level and of how many episodes there were."""

    observation_space, action_space = Box(0, 1, (1,)), Discrete(2)

    def __init__(self, pays=lambda level, episode: 0.0):
        self.level, self.episode, self.pays = 0, 0, pays

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.episode += 1
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), self.pays(self.level, self.episode), True, False, {"level": self.level}


def taken(env, episodes, seed=0):
    lessons = [env.reset(seed=seed)[1]["lesson"]]
    for _ in range(episodes - 1):
        assert env.step(0)[-1]["level"] == 10 * lessons[-1]
        lessons.append(env.reset()[1]["lesson"])
    return lessons


def lessons_of(pays=lambda level, episode: 0.0, **settings):
    return Lessons(Payer(pays), Attribute("level"), [0, 10, 20], **settings)


def test_it_stays_with_the_lesson_whose_returns_change():
    """The second lesson's returns rise without an end; the first is known, the third pays nothing."""
    lessons = taken(lessons_of(lambda level, episode: {0: 1.0, 10: episode / 50, 20: 0.0}[level]), 400)
    assert lessons[200:].count(1) > 140 and min(lessons.count(0), lessons.count(2)) > 10


def test_progress_is_how_far_a_quick_mean_lies_from_a_slow_one():
    env = lessons_of(lambda level, episode: float(episode % 5))
    told = []
    env.reset(seed=3)
    learned = env.curriculum.learned
    env.curriculum.learned = lambda lesson, progress: told.append((lesson, progress)) or learned(lesson, progress)
    means, expected = {}, []
    for _ in range(30):
        lesson = env.step(0)[-1]["lesson"]
        gained = float(env.unwrapped.episode % 5)
        quick, slow = means.get(lesson, (gained, gained))
        means[lesson] = (1 - QUICK) * quick + QUICK * gained, (1 - SLOW) * slow + SLOW * gained
        expected.append((lesson, abs(means[lesson][0] - means[lesson][1])))
        env.reset()
    assert [one for one, _ in told] == [one for one, _ in expected]
    np.testing.assert_allclose([one for _, one in told], [one for _, one in expected])


def test_a_seed_begins_anew_and_the_same_seed_the_same():
    pays = lambda level, episode: float(level)  # noqa: E731
    env = lessons_of(pays)
    first = taken(env, 40, seed=1)
    assert taken(env, 40, seed=1) == first == taken(lessons_of(pays), 40, seed=1) != taken(env, 40, seed=2)


def test_an_episode_without_a_step_tells_nothing_of_its_lesson():
    env = lessons_of(lambda level, episode: 1.0)
    env.reset(seed=0)
    env.curriculum.learned = lambda lesson, progress: pytest.fail("nothing was paid")
    for _ in range(3):
        env.reset()


def test_an_argument_of_the_constructor_may_be_a_lesson():
    env = Lessons(gymnasium.make("engram/MemoryChain-v0", length=3), ConstructorArgument("length"), [2, 6])
    steps = {0: set(), 1: set()}
    env.reset(seed=0)
    for _ in range(20):
        count, over = 0, False
        while not over:
            *_, terminated, truncated, info = env.step(0)
            count, over = count + 1, terminated or truncated
        steps[info["lesson"]].add(count)
        env.reset()
    assert len(steps[0]) == len(steps[1]) == 1 and steps[0] != steps[1]


def test_lessons_are_a_curve():
    assert environment_metrics({"lesson": np.array([0, 1]), "_lesson": np.array([True, True])}) == {"env/lesson": 0.5}


def widened(env):
    def move(inner, value):
        inner.observation_space = Box(0, 1, (1 + value,))
        return inner, {}

    env.mover = type("Widener", (Attribute,), {"move": lambda self, inner, value: move(inner, value)})("level")
    return env


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Lessons(Payer(), Attribute("level"), 3), TypeError, "values is 3; it must be a list"),
        (lambda: Lessons(Payer(), "level", [0, 1]), TypeError, "mover is 'level'; it must be a Mover"),
        (lambda: Lessons(Payer(), Attribute("level"), [0]), ValueError, "lessons is 1; it must be at least 2"),
        (lambda: taken(lessons_of(lambda *_: np.nan), 2), ValueError, "reward of lesson .* is nan; it must be finite"),
        (lambda: taken(lessons_of(lambda *_: -np.inf), 2), ValueError, "reward of lesson .* is -inf"),
        (lambda: lessons_of(rate=0.0), ValueError, "rate is 0.0"),
        (lambda: lessons_of(explore=2.0), ValueError, "explore is 2.0"),
        (lambda: Lessons(Payer(), ResetOption("level"), [0, 1]).reset(), ValueError, "changes a reset"),
        (lambda: taken(widened(lessons_of()), 9), ValueError, "has other observations or actions"),
    ],
)
def test_what_makes_no_lessons_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
