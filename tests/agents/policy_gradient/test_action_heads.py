"""From distributions to actions: finite bounds are covered whatever they are, and what cannot be taken is said."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import distributions as reference

from engram_rl.agents.policy_gradient.action_heads import make_action_head, require_actions

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


@pytest.mark.parametrize(("low", "high"), [(5, np.inf), (1.01, np.inf), (-np.inf, -3), (-np.inf, -1.01)])
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


@pytest.mark.parametrize(("low", "high", "lowest", "highest"), [(1, np.inf, 1, 3), (-np.inf, -1, -3, -1)])
def test_a_half_infinite_box_that_reaches_to_1_is_taken_and_clipped(low, high, lowest, highest):
    head = make_action_head(spaces.Box(low, high, (1,), np.float32), 3)
    assert head.taken(torch.tensor([[-3.0], [3.0]])).ravel().tolist() == [lowest, highest]


@pytest.mark.parametrize(("low", "high"), [(-1e9, 1), (-1, 1e9), (-1e9, 1e9)])
def test_a_bound_of_a_billion_is_none(low, high):
    head = make_action_head(spaces.Box(low, high, (1,), np.float64), 3)
    assert head.taken(torch.tensor([[0.5]])).item() == 0.5
    below = make_action_head(spaces.Box(max(low, -9e8), min(high, 9e8), (1,), np.float64), 3)
    middle, half = (max(low, -9e8) + min(high, 9e8)) / 2, (min(high, 9e8) - max(low, -9e8)) / 2
    assert below.taken(torch.tensor([[0.5]])).item() == middle + 0.5 * half


def test_the_first_version_took_all_numbers_as_they_are():
    head = make_action_head(spaces.Box(-20, 20, (1,), np.float32), 3, scale_rule=1)
    assert head.taken(torch.tensor([[0.5], [2.0], [30.0]])).ravel().tolist() == [0.5, 2.0, 20.0]
    assert make_action_head(spaces.Box(5, np.inf, (1,), np.float32), 3, scale_rule=1).taken(torch.zeros(1, 1)) == 5


@pytest.mark.parametrize(
    ("most", "more"),
    [
        (spaces.Discrete(100_000), spaces.Discrete(100_001)),
        (spaces.MultiDiscrete([99_998, 2]), spaces.MultiDiscrete([99_998, 3])),
        (spaces.Box(-1, 1, (100_000,)), spaces.Box(-1, 1, (100_001,))),
    ],
)
def test_as_many_choices_as_a_layer_can_have_are_taken_and_one_more_is_not(most, more):
    require_actions(most)
    with pytest.raises(ValueError, match=r"PPO has an output .* has 100001, at most 100000"):
        require_actions(more)


@pytest.mark.parametrize("space", [spaces.Discrete(3), spaces.MultiDiscrete([2, 3]), spaces.Box(-1, 1, (2,))], ids=str)
@pytest.mark.parametrize("shift", [None, 1.5])
def test_parameters_are_linear_in_the_features_and_what_is_added_is_added(space, shift):
    draw, size = torch.Generator().manual_seed(0), spaces.flatdim(space)
    head = make_action_head(space, 4)
    head.weight.data, head.bias.data = torch.randn(size, 4, generator=draw), torch.randn(size, generator=draw)
    features, added = torch.randn(6, 4, generator=draw), torch.randn(6, size, generator=draw)
    found = head(features, None if shift is None else shift * added)
    parameters = features @ head.weight.T + head.bias + (shift or 0.0) * added
    action = found.mode()
    if isinstance(space, spaces.Box):
        parts = [reference.Normal(parameters, 1.0)]
        expected = parts[0].log_prob(action).sum(1)
        torch.testing.assert_close(action, parameters)
    else:
        parts = [reference.Categorical(logits=part) for part in parameters.split([3] if size == 3 else [2, 3], dim=1)]
        expected = sum(part.log_prob(one) for part, one in zip(parts, action.view(6, -1).T, strict=True))
        assert action.view(6, -1).tolist() == torch.stack([part.logits.argmax(1) for part in parts], 1).tolist()
    torch.testing.assert_close(found.log_prob(action), expected)


def test_each_part_of_an_action_needs_a_choice():
    head = make_action_head(spaces.MultiDiscrete([2, 3, 2]), 3)
    mask = np.array([[1, 0, 1, 0, 1, 0, 1], [0, 1, 1, 1, 1, 1, 1]], bool)
    allowed = head.allowed(mask, 2)
    assert allowed.tolist() == mask.tolist() and head.allowed(None, 2) is None
    for row in range(2):
        for part in (slice(0, 2), slice(2, 5), slice(5, 7)):
            nothing = mask.copy()
            nothing[row, part] = False
            with pytest.raises(ValueError, match="action mask"):
                head.allowed(nothing, 2)
    mask[:] = False
    assert allowed.any(), "what is kept of a mask is a copy"
