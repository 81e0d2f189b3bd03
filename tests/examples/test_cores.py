"""A core in other people's loops."""

import inspect

import numpy as np
import pytest

from examples import cleanrl_core, core_supervised


@pytest.mark.parametrize("core", ["gru", "compressive"])
def test_it_learns_in_a_supervised_loop(core):
    accuracy = core_supervised.train(core, updates=50)
    assert np.mean(accuracy[-10:]) > np.mean(accuracy[:5]) + 0.1


@pytest.mark.parametrize("core", ["lstm", "store"])
def test_it_runs_in_another_ppo(core):
    returns = cleanrl_core.train(core, steps=256, num_envs=4, num_steps=32)
    assert len(returns) == 256 // 8 and 0 <= min(returns) <= max(returns) <= 8


def test_with_a_core_the_other_ppo_names_what_it_was_shown_once():
    returns = cleanrl_core.train("gru", steps=12_000, num_steps=64)
    assert np.mean(returns[:50]) < 4 < 6 < np.mean(returns[-100:])


def test_the_loops_are_of_others():
    for example in (core_supervised, cleanrl_core):
        assert "engram_rl.agents" not in inspect.getsource(example)
