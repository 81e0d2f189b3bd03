"""Epsilon-greedy choice, and the counts that make it search."""

import pytest
import torch

from engram_rl.agents.common.exploration import EpsilonGreedy
from engram_rl.agents.common.schedules import Linear


def chooser(epsilon=0.0, bonus=0.0):
    return EpsilonGreedy(Linear(epsilon, epsilon, 1), torch.Generator().manual_seed(0), bonus)


def shares(actions, count):
    return torch.bincount(actions, minlength=count) / len(actions)


def test_epsilon_is_the_share_of_random_actions():
    q = torch.tensor([[0.0, 1.0, 0.5, 0.0]]).expand(20_000, 4)
    assert shares(chooser(0.4)(q, 0), 4).tolist() == pytest.approx([0.1, 0.7, 0.1, 0.1], abs=0.02)


def test_equals_are_chosen_equally_often():
    q = torch.tensor([[1.0, 0.0, 1.0]]).expand(20_000, 3)
    assert shares(chooser()(q, 0), 3).tolist() == pytest.approx([0.5, 0, 0.5], abs=0.02)


def test_of_equals_the_least_tried_is_chosen_but_never_a_worse_one():
    q = torch.tensor([[1.0, 1.0, 0.0]])
    assert chooser()(q, 0, tries=torch.tensor([[3.0, 2.0, 0.0]])).item() == 1


def test_a_random_action_is_one_that_was_tried_least():
    tries = torch.tensor([[3.0, 0.0, 0.0]]).expand(2_000, 3)
    q = torch.tensor([[1.0, 0.0, 0.0]]).expand(2_000, 3)
    assert shares(chooser(1.0)(q, 0, tries), 3).tolist() == pytest.approx([0, 0.5, 0.5], abs=0.05)


def test_the_bonus_falls_with_the_root_of_the_tries():
    choose, tries = chooser(bonus=0.1), torch.tensor([[4.0, 1.0]])
    assert choose(torch.tensor([[0.04, 0.0]]), 0, tries).item() == 1  # 0.04 + 0.05 < 0 + 0.1
    assert choose(torch.tensor([[0.06, 0.0]]), 0, tries).item() == 0


def test_a_negative_bonus_is_refused():
    with pytest.raises(ValueError, match="bonus is -1"):
        chooser(bonus=-1.0)
