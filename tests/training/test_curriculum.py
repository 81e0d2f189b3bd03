"""The curriculum: its equations, that it goes where progress is and moves on, and that it goes on from its state."""

import math

import numpy as np
import pytest

from engram_rl.training.curriculum import Curriculum


def slow_weights(steps, lessons, rate, explore, bias):
    """Exp3.S number by number; quantiles of all progress so far."""
    w, seen = [0.0] * lessons, []
    for t, (lesson, progress) in enumerate(steps, 1):
        seen.append(progress)
        low, high = np.percentile(seen, 20), np.percentile(seen, 80)
        r = 0.0 if high == low else min(1.0, max(-1.0, 2 * (progress - low) / (high - low) - 1))
        total = sum(math.exp(one) for one in w)
        pi = [(1 - explore) * math.exp(one) / total + explore / lessons for one in w]
        raised = [w[i] + rate * ((r if i == lesson else 0.0) + bias) / pi[i] for i in range(lessons)]
        alpha = 1 / (t + 1)
        w = [
            math.log(
                (1 - alpha) * math.exp(raised[i])
                + alpha / (lessons - 1) * sum(math.exp(raised[j]) for j in range(lessons) if j != i)
            )
            for i in range(lessons)
        ]
    total = sum(math.exp(one) for one in w)
    return [(1 - explore) * math.exp(one) / total + explore / lessons for one in w]


def test_it_is_its_equations():
    chance = np.random.default_rng(0)
    steps = [(int(chance.integers(4)), float(chance.normal())) for _ in range(60)]
    curriculum = Curriculum(4, rate=0.2, explore=0.1, bias=0.05)
    for lesson, progress in steps:
        curriculum.learned(lesson, progress)
    np.testing.assert_allclose(curriculum.probabilities, slow_weights(steps, 4, 0.2, 0.1, 0.05), rtol=1e-9)


def test_it_goes_where_progress_is_and_on_when_that_is_over():
    curriculum, chance = Curriculum(3, rate=0.05, explore=0.1), np.random.default_rng(1)
    for good in (0, 2):
        for _ in range(600):
            lesson = curriculum.draw()
            curriculum.learned(lesson, (lesson == good) + 0.1 * chance.normal())
        assert curriculum.probabilities.argmax() == good and curriculum.probabilities[good] > 0.6


def test_every_lesson_is_taken_now_and_then():
    curriculum = Curriculum(3, rate=1.0, explore=0.3)
    for _ in range(2000):
        lesson = curriculum.draw()
        curriculum.learned(lesson, float(lesson == 1))
    assert np.isfinite(curriculum.probabilities).all() and curriculum.probabilities.min() >= 0.1 - 1e-9
    assert curriculum.probabilities.sum() == pytest.approx(1)


def test_it_goes_on_as_if_it_had_not_been_saved():
    one, other = Curriculum(4, seed=3), Curriculum(4, seed=9)
    for i in range(20):
        one.learned(one.draw(), float(i % 3))
    other.load_state_dict(one.state_dict())
    for i in range(20):
        lesson = one.draw()
        assert lesson == other.draw()
        one.learned(lesson, float(i))
        other.learned(lesson, float(i))
    assert np.array_equal(one.probabilities, other.probabilities)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Curriculum(1), "lessons is 1; it must be at least 2"),
        (lambda: Curriculum(3, rate=0.0), "rate is 0.0"),
        (lambda: Curriculum(3, rate=-0.5), "rate is -0.5"),
        (lambda: Curriculum(3, explore=1.5), "explore is 1.5"),
        (lambda: Curriculum(3, explore=0.0), "explore is 0.0"),
        (lambda: Curriculum(3, bias=-0.5), "bias is -0.5; it must be at least 0"),
        (lambda: Curriculum(3, history=1), "history is 1; it must be at least 2"),
        (lambda: Curriculum(3).learned(-1, 0.0), "lesson is -1; it must be at least 0"),
        (lambda: Curriculum(3).load_state_dict(Curriculum(2).state_dict()), "of 2 lessons; the curriculum has 3"),
        (lambda: Curriculum(3).learned(3, 0.0), "lesson is 3; it must be at most 2"),
        (lambda: Curriculum(3).learned(0, math.nan), "progress is nan"),
        (lambda: Curriculum(3).load_state_dict(Curriculum(4).state_dict()), "of 4 lessons; the curriculum has 3"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_left_out_is_as_published_and_documented():
    said, unsaid = Curriculum(3, 0.01, 0.05, 0.0, 500, 0), Curriculum(3)
    chance = np.random.default_rng(4)
    for _ in range(510):
        lesson = said.draw()
        assert lesson == unsaid.draw()
        progress = float(chance.normal())
        said.learned(lesson, progress)
        unsaid.learned(lesson, progress)
    assert unsaid.state_dict() == said.state_dict()
    assert len(said.state_dict()["latest"]) == 500


def test_the_limits_themselves_are_taken():
    curriculum = Curriculum(2, rate=0.5, explore=1.0, bias=0.0, history=2)
    for progress in (1.0, 2.0, 3.0):
        curriculum.learned(1, progress)
    assert curriculum.state_dict()["latest"] == [2.0, 3.0]
    assert curriculum.probabilities.tolist() == [0.5, 0.5]


def test_what_is_long_past_counts_no_more_also_after_it_was_restored():
    short, restored = Curriculum(3, history=4), Curriculum(3, history=4)
    for i in range(9):
        short.learned(i % 3, float(i))
    restored.load_state_dict(short.state_dict())
    restored.learned(0, 9.0)
    assert restored.state_dict()["latest"] == [6, 7, 8, 9] and restored.state_dict()["taken"] == 10


def test_no_rate_is_too_high_to_compute_with():
    curriculum = Curriculum(3, rate=100.0, explore=0.01)
    for i in range(6):
        curriculum.learned(i % 3, float(i))
        assert np.isfinite(curriculum.probabilities).all() and curriculum.probabilities.sum() == pytest.approx(1)


def test_lessons_are_drawn_as_probable_as_they_are():
    curriculum = Curriculum(3, rate=0.2, explore=0.2, seed=1)
    for i in range(30):
        curriculum.learned(1, float(i))
    shares = np.bincount([curriculum.draw() for _ in range(5000)], minlength=3) / 5000
    np.testing.assert_allclose(shares, curriculum.probabilities, atol=0.03)
