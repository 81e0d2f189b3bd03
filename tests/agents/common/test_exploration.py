"""Epsilon-greedy choice, and the counts that make it search."""

import pytest
import torch

from engram_rl.agents.common.exploration import EPSILON, EpsilonGreedy
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


def test_what_was_never_tried_has_twice_the_bonus_of_what_was_tried_once():
    choose, tries = chooser(bonus=0.1), torch.tensor([[1.0, 0.0]])
    assert choose(torch.tensor([[0.09, 0.0]]), 0, tries).item() == 1  # 0.09 + 0.1 < 0 + 0.2
    assert choose(torch.tensor([[0.11, 0.0]]), 0, tries).item() == 0


def test_without_a_bonus_what_was_never_tried_is_worth_no_more():
    choose = EpsilonGreedy(Linear(0.0, 0.0, 1), torch.Generator())
    assert choose(torch.tensor([[0.01, 0.0]]), 0, torch.tensor([[100.0, 0.0]])).item() == 0


@pytest.mark.parametrize(("share", "chosen"), [(0.5e-5, 1), (2e-5, 0)])
@pytest.mark.parametrize("scale", [1000.0, -1000.0])
def test_tries_settle_what_differs_by_less_than_a_hundred_thousandth(share, chosen, scale):
    q = torch.tensor([[scale, scale - abs(scale) * share]], dtype=torch.float64)
    assert chooser()(q, 0, torch.tensor([[1.0, 0.0]])).item() == chosen
    assert chooser()(q, 0).item() == 0  # where nothing was counted, the larger is the larger


@pytest.mark.parametrize("epsilon", [0.0, 1.0])
def test_what_is_not_allowed_is_never_chosen_however_good_or_untried(epsilon):
    q, allowed = torch.tensor([[5.0, 1.0, 0.0, 9.0]]).expand(2_000, 4), torch.tensor([[False, True, True, False]])
    allowed = allowed.expand(2_000, 4)
    expected = [0, 0.5, 0.5, 0] if epsilon else [0, 1, 0, 0]
    assert shares(chooser(epsilon)(q, 0, None, allowed), 4).tolist() == pytest.approx(expected, abs=0.05)
    tries = torch.tensor([[0.0, 2.0, 1.0, 0.0]]).expand(2_000, 4)
    expected = [0, 0, 1, 0] if epsilon else [0, 1, 0, 0]
    assert shares(chooser(epsilon)(q, 0, tries, allowed), 4).tolist() == expected


def test_the_least_draw_of_all_is_no_random_action_without_an_epsilon(monkeypatch):
    monkeypatch.setattr(torch, "rand", lambda *shape, generator: torch.zeros(*shape))
    assert chooser()(torch.tensor([[0.0, 1.0, 0.5]]), 0).item() == 1


def test_of_the_actions_a_hundredth_is_random_after_two_thousand_steps_unless_told_otherwise():
    assert [EPSILON(step) for step in (0, 1000, 2000, 9000)] == pytest.approx([1.0, 0.505, 0.01, 0.01])


def test_a_reloaded_chooser_chooses_the_same():
    q = torch.zeros(50, 4)
    original, copy = chooser(0.5), chooser(0.5)
    original(q, 0)
    copy.load_state_dict(original.state_dict())
    assert torch.equal(original(q, 0), copy(q, 0))


@pytest.mark.parametrize("bonus", [-1.0, -1e-9, float("nan")])
def test_a_negative_bonus_is_refused(bonus):
    with pytest.raises(ValueError, match=f"bonus is {bonus}"):
        chooser(bonus=bonus)
