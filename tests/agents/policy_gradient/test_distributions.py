"""Distributions over actions against torch's own and against counting."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import distributions as reference

from engram_rl.agents.policy_gradient.action_heads import make_action_head
from engram_rl.agents.policy_gradient.distributions import Categorical, DiagonalGaussian, MultiCategorical

LOGITS = torch.tensor([[0.3, -1.2, 2.0], [5.0, 5.0, -40.0]])
MEAN, LOG_STD = torch.tensor([[0.5, -2.0], [0.0, 30.0]]), torch.tensor([0.2, -1.5])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_categorical_is_torchs():
    ours, theirs = Categorical(LOGITS), reference.Categorical(logits=LOGITS.double())
    action = torch.tensor([2, 0])
    torch.testing.assert_close(ours.log_prob(action).double(), theirs.log_prob(action), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.entropy().double(), theirs.entropy(), rtol=1e-6, atol=1e-6)
    assert ours.mode().tolist() == [2, 0]


def test_parts_of_an_action_are_independent():
    sizes = [2, 1, 3]
    logits = torch.randn(4, 6, generator=generator())
    action = torch.tensor([[0, 0, 2], [1, 0, 0], [1, 0, 1], [0, 0, 0]])
    ours = MultiCategorical(logits, sizes)
    theirs = [reference.Categorical(logits=part.double()) for part in logits.split(sizes, dim=1)]
    expected = sum(one.log_prob(action[:, i]) for i, one in enumerate(theirs))
    torch.testing.assert_close(ours.log_prob(action).double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(ours.entropy().double(), sum(one.entropy() for one in theirs), rtol=1e-6, atol=1e-6)
    assert ours.sample(generator()).shape == ours.mode().shape == (4, 3)


def test_gaussian_is_torchs():
    ours = DiagonalGaussian(MEAN, LOG_STD)
    theirs = reference.Independent(reference.Normal(MEAN.double(), LOG_STD.double().exp().expand(2, 2)), 1)
    action = torch.tensor([[0.1, -1.9], [1.0, 29.0]])
    torch.testing.assert_close(ours.log_prob(action).double(), theirs.log_prob(action.double()), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours.entropy().double(), theirs.entropy(), rtol=1e-6, atol=1e-6)
    assert torch.equal(ours.mode(), MEAN)


def test_samples_come_as_often_as_their_probability_says():
    logits = torch.log(torch.tensor([0.1, 0.6, 0.3])).expand(60_000, 3)
    drawn = Categorical(logits).sample(generator()).bincount(minlength=3) / 60_000
    assert drawn.tolist() == pytest.approx([0.1, 0.6, 0.3], abs=0.008)


def test_gaussian_samples_have_its_mean_and_deviation():
    drawn = DiagonalGaussian(MEAN[:1].expand(60_000, 2), LOG_STD).sample(generator())
    assert drawn.mean(dim=0).tolist() == pytest.approx(MEAN[0].tolist(), abs=0.02)
    assert drawn.std(dim=0).tolist() == pytest.approx(LOG_STD.exp().tolist(), rel=0.02)


def test_the_same_generator_draws_the_same():
    first, second = (Categorical(LOGITS.expand(50, 2, 3).reshape(100, 3)).sample(generator(3)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    "space",
    [
        spaces.Discrete(4, start=3),
        spaces.MultiDiscrete([2, 5], start=[0, 7]),
        spaces.MultiDiscrete([[2, 3], [4, 2]]),
        spaces.Box(-2, 2, (3,), np.float32),
        spaces.Box(np.array([[-1.0], [0.0]]), np.array([[1.0], [0.5]]), dtype=np.float64),
    ],
    ids=str,
)
def test_what_a_head_samples_is_an_action_of_the_space(space):
    head = make_action_head(space, 5)
    with torch.no_grad():
        distribution = head(50 * torch.randn(40, 5, generator=generator()))
        drawn = distribution.sample(generator())
    taken = head.taken(drawn)
    assert all(space.contains(one if one.shape else one[()]) for one in taken)
    assert len({one.tobytes() for one in taken}) > 1
    assert distribution.log_prob(drawn).shape == (40,)


def test_a_number_out_of_bounds_is_clipped_for_the_environment_only():
    head = make_action_head(spaces.Box(-1, 1, (1,)), 2)
    drawn = torch.tensor([[3.0], [0.25]])
    assert head.taken(drawn).tolist() == [[1.0], [0.25]]
    distribution = head(torch.zeros(2, 2))
    expected = reference.Normal(0.0, 1.0).log_prob(drawn[:, 0])
    torch.testing.assert_close(distribution.log_prob(drawn), expected)


def test_actions_begin_nearly_equally_probable():
    head = make_action_head(spaces.Discrete(3), 64)
    probabilities = head(torch.randn(100, 64, generator=generator())).log_probs.exp()
    assert (probabilities - 1 / 3).abs().max() < 0.02


@pytest.mark.parametrize("space", [spaces.MultiBinary(3), spaces.Box(0, 9, (2,), np.int64)], ids=str)
def test_other_spaces_are_refused_with_a_remedy(space):
    with pytest.raises(ValueError, match=r"Discrete, MultiDiscrete and floating-point Box.*TransformAction"):
        make_action_head(space, 4)


def test_entropy_and_its_gradient_are_finite_where_actions_have_no_probability():
    logits = torch.tensor([[0.5, -torch.inf, 0.5], [-torch.inf, -torch.inf, 2.0]], requires_grad=True)
    distribution = Categorical(logits)
    assert distribution.entropy().tolist() == pytest.approx([np.log(2), 0], abs=1e-6)
    (distribution.entropy().sum() + distribution.log_prob(torch.tensor([0, 2])).sum()).backward()
    assert logits.grad.isfinite().all()


def test_an_action_of_another_number_of_parts_has_no_probability():
    with pytest.raises(ValueError, match="zip"):
        MultiCategorical(torch.zeros(2, 5), [2, 3]).log_prob(torch.zeros(2, 1, dtype=torch.int64))
