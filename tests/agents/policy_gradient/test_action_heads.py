"""From distributions to actions: finite bounds are covered whatever they are, and what cannot be taken is said."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.policy_gradient.action_heads import make_action_head

BOXES = [(-1, 1), (5, 10), (10, 20), (-1e-4, 1e-4), (-1000, 1000), (-2, 0), (1, 8), (-1e6, -1e5)]


@pytest.mark.parametrize(("low", "high"), BOXES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16])
def test_a_fresh_policy_covers_any_box_with_finite_bounds(low, high, dtype):
    if abs(low) > 1e4 and dtype == np.float16:
        pytest.skip("float16 ends there")
    space = spaces.Box(low, high, (2, 2), dtype)
    torch.manual_seed(0)
    head = make_action_head(space, 3)
    with torch.no_grad():
        distribution = head(torch.zeros(4000, 3))
        drawn = distribution.sample(torch.Generator().manual_seed(0))
    taken = head.taken(drawn)
    assert taken.dtype == dtype and all(space.contains(one) for one in taken[:50])
    share = (taken.astype(np.float64) - space.low) / (space.high.astype(np.float64) - space.low)
    assert share.mean() == pytest.approx(0.5, abs=0.02)
    inside = (share > 0.001) & (share < 0.999)
    assert inside.mean() == pytest.approx(0.683, abs=0.02)  # of a normal number, within one deviation
    expected = torch.distributions.Normal(0, 1).log_prob(drawn).sum(1)
    assert distribution.log_prob(drawn).detach() == pytest.approx(expected, abs=1e-4)


def test_dimensions_are_mapped_each_by_its_own_bounds():
    space = spaces.Box(np.array([10, -np.inf, 0], np.float32), np.array([20, np.inf, np.inf], np.float32))
    taken = make_action_head(space, 3).taken(torch.tensor([[0.0, 5.0, 2.0], [1.0, -5.0, -2.0]]))
    assert taken.tolist() == [[15, 5, 2], [20, -5, 0]]


@pytest.mark.parametrize(("low", "high"), [(5, np.inf), (-np.inf, -3)])
def test_a_half_infinite_box_far_from_0_is_refused(low, high):
    with pytest.raises(ValueError, match="RescaleAction"):
        make_action_head(spaces.Box(low, high, (2,), np.float32), 3)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Tuple((spaces.Discrete(3), spaces.Box(-1, 1, (2,)))),
        spaces.Tuple((spaces.Discrete(3), spaces.Discrete(2))),
        spaces.Dict(move=spaces.Discrete(3)),
        spaces.Sequence(spaces.Discrete(2)),
        spaces.Graph(spaces.Box(-1, 1, (2,)), None),
        spaces.Text(5),
        spaces.OneOf([spaces.Discrete(2), spaces.Discrete(3)]),
        spaces.Box(0, 9, (1,), np.int64),
        spaces.Box(-1, 1, (0,)),
        spaces.MultiBinary(3),
    ],
    ids=str,
)
def test_other_spaces_get_what_the_agent_acts_in(space):
    with pytest.raises(ValueError, match="PPO acts in Discrete, MultiDiscrete and floating-point Box spaces"):
        make_action_head(space, 3)


@pytest.mark.parametrize(
    "space", [spaces.Discrete(10**7), spaces.MultiDiscrete([10**5, 2]), spaces.Box(-1, 1, (10**6,))]
)
def test_more_choices_than_a_layer_can_have_are_refused_before_it_is_made(space):
    with pytest.raises(ValueError, match=r"retrieval PPO has an output for each .* at most 100000 can be"):
        make_action_head(space, 64, agent="retrieval PPO")


def test_a_box_has_no_mask():
    with pytest.raises(ValueError, match="bounds"):
        make_action_head(spaces.Box(-1, 1, (2,)), 3).allowed(np.ones((1, 2), bool), 1)
