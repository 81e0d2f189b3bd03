"""What recall says for each action, and that a policy's logits hear it."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hydra.utils import instantiate
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.configuration import agent_config
from engram_rl.agents.common.flattening import Flatten
from engram_rl.agents.policy_gradient.action_heads import make_action_head
from engram_rl.agents.retrieval.logit_bias import NEAR, ActionReturns, LogitBias
from engram_rl.agents.retrieval.tokens import ACTION_RETURNS


def ballot(returns=(0.0, 1.0)):
    made = ActionReturns()
    made.note(np.array(returns))
    return made


def one_situation(entries):
    """Tensors of one situation's neighbours, each (action of 3, return, squared distance, trust)."""
    action, gained, distance, trust = zip(*entries, strict=True)
    return torch.eye(3)[list(action)][None], torch.tensor([gained]), torch.tensor([distance]), torch.tensor([trust])


def slow_votes(entries, least, most):
    """One action after the other, in plain Python."""
    votes = [0.0, 0.0, 0.0]
    for a in range(3):
        mine = [
            (NEAR / (d + NEAR) * trust, (gained - least) / (most - least)) for x, gained, d, trust in entries if x == a
        ]
        total = sum(w for w, _ in mine)
        if total > 0:
            votes[a] = max(w for w, _ in mine) * sum(w * good for w, good in mine) / total
    return votes


TRUST = st.sampled_from([0.0, 0.5, 1.0])
entry = st.tuples(
    st.integers(0, 2), st.floats(-5, 5, width=32), st.floats(0, 4, width=32), st.sampled_from([0.0, 0.5, 1.0])
)


@given(st.lists(entry, min_size=1, max_size=12))
def test_votes_are_kernel_means_of_where_a_return_lies_between_the_extremes(entries):
    votes = ballot((-5.0, 5.0))(*one_situation(entries))
    assert votes[0].tolist() == pytest.approx(slow_votes(entries, -5.0, 5.0), abs=1e-5)


def test_the_least_return_follows_by_a_twentieth_of_the_way_and_falls_at_once():
    made = ActionReturns()
    assert (made.least, made.most) == (0.0, 0.0)
    for returns, least, most in (([-40.0], -40.0, 0.0), ([-8.0, 2.0], -38.4, 2.0), ([-39.0, 1.0], -39.0, 2.0)):
        made.note(np.array(returns))
        assert (made.least, made.most) == pytest.approx((least, most))


def test_an_entry_at_a_squared_distance_of_a_thousandth_counts_half():
    votes = ballot()(*one_situation([(0, 1.0, 0.0, 1.0), (1, 1.0, 0.001, 1.0), (2, 1.0, 0.003, 1.0)]))[0]
    assert votes.tolist() == pytest.approx([1, 1 / 2, 1 / 4])


def test_the_least_return_follows_what_returns_are_now_and_the_greatest_stays():
    made = ballot((-40.0, 2.0))
    for _ in range(200):
        made.note(np.array([-8.0, -1.0]))
    assert made.least == pytest.approx(-8.0, abs=0.01) and made.most == 2.0
    votes = made(*one_situation([(0, -8.0, 0.0, 1.0), (1, -40.0, 0.0, 1.0), (2, -3.0, 0.0, 1.0)]))[0]
    assert votes.tolist() == pytest.approx([0.0, 0.0, 0.5], abs=1e-3)
    made.note(np.array([-11.0]))
    assert made.least == -11.0


def test_where_nothing_costs_the_least_return_is_that_of_nothing_known():
    made = ballot((0.9, 0.8))
    made.note(np.array([0.5, 0.2]))
    assert (made.least, made.most) == (0.0, 0.9)


def test_the_very_situation_outweighs_others_and_an_action_not_known_there_has_none():
    votes = ballot()(*one_situation([(0, 0.9, 0.0, 1.0), (0, 0.0, 2.0, 1.0), (1, 1.0, 2.0, 1.0)]))[0]
    assert votes[0] == pytest.approx(0.9, abs=1e-3)
    assert votes[1] < 1e-3 and votes[2] == 0


def test_the_first_return_counts_against_nothing():
    assert ballot((0.5,))(*one_situation([(1, 0.5, 0.0, 1.0)]))[0].tolist() == [0, 1, 0]


@pytest.mark.parametrize("returns", [[], [0.0], [-3.0, -3.0]])
def test_while_no_return_was_better_nobody_is_preferred(returns):
    made = ActionReturns()
    if returns:
        made.note(np.array(returns))
    votes = made(*one_situation([(0, returns[0] if returns else 0.0, 0.0, 1.0)] * 2))
    assert votes.tolist() == [[0, 0, 0]]


def test_the_range_of_returns_is_kept():
    other = ActionReturns()
    other.load_state_dict(ballot((-2.0, 6.0)).state_dict())
    assert torch.equal(*(one(*one_situation([(1, 4.0, 0.0, 1.0)])) for one in (other, ballot((-2.0, 6.0)))))


def test_a_vote_is_added_to_the_logits_and_its_strength_is_trained():
    head, vote = make_action_head(spaces.Discrete(3), 4), LogitBias(50.0)
    features, votes = torch.randn(2, 4), torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 0.5]])
    plain, led = (head(features, added).log_probs for added in (None, vote({ACTION_RETURNS: votes})))
    expected = (plain + 50 * votes).log_softmax(1)
    assert torch.allclose(led, expected, atol=1e-5)
    led[1, 1].backward()
    assert vote.log_strength.grad < 0  # a stronger vote for another action makes this one less probable


def test_each_part_of_an_action_has_votes_of_its_own():
    code = Flatten(spaces.MultiDiscrete([2, 3]))
    actions = code(torch.tensor([[1, 0], [0, 2]]))[None]  # [1, K = 2, 5]
    votes = ballot()(actions, torch.tensor([[0.8, 0.2]]), torch.zeros(1, 2), torch.ones(1, 2))
    assert votes[0].tolist() == pytest.approx([0.2, 0.8, 0.8, 0.0, 0.2])


def test_any_strength_above_0_will_do():
    assert LogitBias(0.25).strength.item() == pytest.approx(0.25)


@pytest.mark.parametrize("strength", [0.0, -1.0])
def test_a_strength_must_be_positive(strength):
    with pytest.raises(ValueError, match="above 0"):
        LogitBias(strength)


def test_there_are_no_votes_on_continuous_actions():
    make = instantiate({**agent_config("retrieval_ppo_view"), "_partial_": True})
    with pytest.raises(ValueError, match=r"set agent\.retrieval\.logit_bias=0"):
        make(spaces.Box(-1, 1, (3,)), spaces.Box(-1, 1, (2,)), 2, 0)
