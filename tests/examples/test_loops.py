"""The loops of one's own in examples/ learn."""

from pathlib import Path

import numpy as np

from examples import memory_wrapper, plain_loop


def test_the_plain_loop_learns():
    scores = plain_loop.train(episodes=30)
    assert np.mean(scores[-8:]) > 2 * np.mean(scores[:8])


def test_the_plain_loop_fits_on_a_page():
    assert len(Path(plain_loop.__file__).read_text().splitlines()) <= 40


def test_the_wrapped_environment_is_solved():
    environment, generator = memory_wrapper.make(), np.random.default_rng(0)
    for episode in range(40):
        memory_wrapper.play(environment, generator, seed=episode)
    environment.learning = False
    assert all(memory_wrapper.play(environment, generator) == 1 for _ in range(3))
