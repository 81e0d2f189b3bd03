"""The losses against their equations, number by number in float64."""

import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from engram_rl.agents.common.schedules import Constant, Linear
from engram_rl.agents.policy_gradient.distributions import Categorical
from engram_rl.agents.policy_gradient.objectives import (
    REPORTED,
    Objective,
    explained_variance,
    means,
    normalised,
    policy_loss,
    require_learnable,
    value_loss,
)
from engram_rl.agents.policy_gradient.policies import Judgement

N, CLIP = 40, 0.2


def slow_policy_loss(log_ratio, advantage, clip):
    """Schulman et al. (2017), equation 7."""
    terms = []
    for r, a in zip(np.exp(log_ratio), advantage, strict=True):
        terms.append(min(r * a, min(max(r, 1 - clip), 1 + clip) * a))
    return -float(np.mean(terms))


def slow_value_loss(value, old, target, clip):
    terms = []
    for v, o, t in zip(value, old, target, strict=True):
        held = o + min(max(v - o, -clip), clip)
        terms.append(max((v - t) ** 2, (held - t) ** 2))
    return float(np.mean(terms))


def numbers(seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(4, N)))


def test_the_clipped_surrogate_is_equation_7():
    log_ratio, advantage, *_ = numbers()
    expected = slow_policy_loss(log_ratio.numpy(), advantage.numpy(), CLIP)
    assert policy_loss(log_ratio, advantage, CLIP).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("ratio", "advantage", "moves"),
    [(1.1, 1, True), (1.3, 1, False), (1.3, -1, True), (0.7, 1, True), (0.7, -1, False)],
)
def test_only_what_would_go_further_than_the_clip_has_no_gradient(ratio, advantage, moves):
    log_ratio = torch.tensor([math.log(ratio)], requires_grad=True)
    policy_loss(log_ratio, torch.tensor([float(advantage)]), CLIP).backward()
    assert bool(log_ratio.grad) == moves


def test_the_value_loss_is_the_squared_error_or_the_worse_of_it_and_the_clipped_one():
    value, old, target, _ = numbers()
    assert value_loss(value, old, target, None).item() == pytest.approx(float(((value - target) ** 2).mean()))
    expected = slow_value_loss(value.numpy(), old.numpy(), target.numpy(), 0.3)
    assert value_loss(value, old, target, 0.3).item() == pytest.approx(expected, rel=1e-12)


def judged(logits, value):
    return Judgement(Categorical(logits), value, {}, {})


def batch(seed=0):
    log_prob, value, advantage, target = numbers(seed)
    action = torch.randint(0, 3, (N,), generator=torch.Generator().manual_seed(seed))
    return {"action": action, "log_prob": -log_prob.abs(), "value": value, "advantage": advantage, "target": target}


@pytest.mark.parametrize("normalise", [True, False])
def test_the_whole_is_equation_9_and_reports_its_parts(normalise):
    data, logits = batch(), torch.randn(N, 3, generator=torch.Generator().manual_seed(1)).double()
    value = numbers(5)[0]
    aim = Objective(
        Linear(0.2, 0.2, 1), value_clip=0.3, value_coefficient=0.7, entropy_coefficient=Constant(0.1),
        normalise_advantage=normalise,
    )  # fmt: skip
    loss, report = aim.loss(judged(logits, value), data, 0)

    advantage = data["advantage"].numpy()
    if normalise:
        advantage = (advantage - advantage.mean()) / (advantage.std(ddof=1) + 1e-8)
    log_probs = logits.numpy() - np.log(np.exp(logits.numpy()).sum(axis=1, keepdims=True))
    log_ratio = log_probs[np.arange(N), data["action"].numpy()] - data["log_prob"].numpy()
    actor = slow_policy_loss(log_ratio, advantage, CLIP)
    critic = slow_value_loss(value.numpy(), data["value"].numpy(), data["target"].numpy(), 0.3)
    entropy = float(-(np.exp(log_probs) * log_probs).sum(axis=1).mean())
    ratio = np.exp(log_ratio)
    divergence, clipped = (ratio - 1 - log_ratio).mean(), (np.abs(ratio - 1) > CLIP).mean()
    assert loss.item() == pytest.approx(actor + 0.7 * critic - 0.1 * entropy, rel=1e-9)
    assert report.tolist() == pytest.approx([actor, critic, entropy, divergence, clipped], rel=1e-6)


def test_without_weight_the_entropy_is_reported_and_moves_nothing():
    data = batch() | {"advantage": torch.zeros(N)}
    logits = torch.randn(N, 3, dtype=torch.float64, requires_grad=True)
    value = numbers(5)[0].requires_grad_()
    aim = Objective(Linear(0.2, 0.2, 1), normalise_advantage=False)
    loss, report = aim.loss(judged(logits, value), data, 0)
    loss.backward()
    assert (logits.grad == 0).all() and (value.grad != 0).all()
    assert report[REPORTED.index("entropy")] > 0


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf])
def test_a_schedule_that_gives_no_weight_is_named(weight):
    aim = Objective(Constant(0.2), entropy_coefficient=lambda step: weight)
    with pytest.raises(ValueError, match=f"entropy_coefficient is {weight}; it must be at least 0"):
        aim.loss(judged(torch.zeros(N, 3).double(), numbers(5)[0]), batch(), 0)


def test_an_update_has_gone_far_enough_beyond_one_and_a_half_times_the_divergence():
    aim = Objective(Linear(0.2, 0.2, 1), target_kl=0.02)
    assert not aim.diverged(torch.tensor([0, 0, 0, 0.0299, 0]))
    assert aim.diverged(torch.tensor([0, 0, 0, 0.0301, 0]))
    assert not Objective(Linear(0.2, 0.2, 1)).diverged(torch.tensor([0, 0, 0, 9.0, 0]))
    assert not Objective(Linear(0.2, 0.2, 1), target_kl=2.0).diverged(torch.tensor([0, 0, 0, 3.0, 0]))


@pytest.mark.parametrize("name", ["value_clip", "target_kl"])
def test_a_limit_that_is_not_positive_is_refused(name):
    for limit in (0, -0.5, -1.0):
        with pytest.raises(ValueError, match=rf"{name} is {limit};.*null"):
            Objective(Linear(0.2, 0.2, 1), **{name: limit})
    assert getattr(Objective(Linear(0.2, 0.2, 1), **{name: 1e-6}), name) == 1e-6


def test_a_weight_that_is_no_finite_number_is_refused():
    for weight in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=rf"value_coefficient is {weight}; it must be"):
            Objective(Linear(0.2, 0.2, 1), value_coefficient=weight)
    assert Objective(Linear(0.2, 0.2, 1), value_coefficient=-0.5).value_coefficient == -0.5


def test_the_clip_and_the_weight_of_the_entropy_are_those_of_the_step():
    data, logits = batch(), torch.randn(N, 3, generator=torch.Generator().manual_seed(1)).double()
    value = numbers(5)[0]
    falling = Objective(Linear(0.4, 0.0, 100), entropy_coefficient=Linear(0.3, 0.1, 100))
    for step, clip, weight in ((0, 0.4, 0.3), (50, 0.2, 0.2), (100, 0.0, 0.1), (1000, 0.0, 0.1)):
        still = Objective(Constant(clip), entropy_coefficient=Constant(weight))
        found, expected = (aim.loss(judged(logits, value), data, step)[0] for aim in (falling, still))
        assert found.item() == pytest.approx(expected.item(), rel=1e-12)


def test_an_objective_has_its_documented_defaults_and_cannot_be_changed():
    aim = Objective(Linear(0.2, 0.2, 1))
    defaults = {
        "value_clip": None, "value_coefficient": 0.5, "entropy_coefficient": Constant(0.0), "normalise_advantage": True,
        "target_kl": None, "core_losses": {},
    }  # fmt: skip
    assert {name: getattr(aim, name) for name in defaults} == defaults
    for name in ("clip", *defaults):
        with pytest.raises(FrozenInstanceError):
            setattr(aim, name, None)


def test_reports_are_means_over_minibatches():
    found = means([torch.arange(5.0), torch.arange(5.0) + 2])
    assert found == {f"train/{name}": i + 1.0 for i, name in enumerate(REPORTED)}
    with pytest.raises(ValueError, match="zip"):
        means([torch.arange(6.0)])


def test_the_explained_variance_is_1_for_true_values_and_0_for_a_constant():
    target = torch.randn(5, 3)
    assert explained_variance(target, target) == 1
    assert explained_variance(torch.zeros(5, 3), target) == pytest.approx(0)
    assert explained_variance(torch.zeros(5, 3), torch.ones(5, 3)) == 0
    assert explained_variance(torch.zeros(1, 1), torch.ones(1, 1)) == 0
    for size in (1e-3, 1.0, 1e3):
        assert explained_variance(0.5 * size * target, size * target) == pytest.approx(0.75, rel=1e-5)
        assert explained_variance(-size * target, size * target) == pytest.approx(-3, rel=1e-5)


def test_losses_of_a_core_are_added_by_weight_and_reported_as_they_are():
    made, given = judged(torch.randn(N, 3).double(), numbers(5)[0]), batch()
    alone, report = Objective(Linear(0.2, 0.2, 1)).loss(made, given, CLIP)
    own = {"compression": torch.tensor(3.0).double(), "other": torch.tensor(0.5).double()}
    weighted = Objective(Linear(0.2, 0.2, 1), core_losses={"compression": 10.0})
    loss, further = weighted.loss(made._replace(losses=own), given, CLIP)
    assert loss.item() == pytest.approx(alone.item() + 30.5)
    assert further.tolist() == [*report.tolist(), 3.0, 0.5]
    told = means([further, further], ["compression", "other"])
    assert (told["core/compression_loss"], told["core/other_loss"]) == (3.0, 0.5)
    assert told["train/policy_loss"] == report[0].item()


def test_advantages_are_normalised_where_there_is_something_to_compare():
    assert normalised(torch.tensor([3.0])).tolist() == [3.0]
    assert normalised(torch.tensor([1.0, 3.0])).tolist() == pytest.approx([-(0.5**0.5), 0.5**0.5])
    assert normalised(torch.full((4,), 2.0)).tolist() == [0.0] * 4
    small = torch.tensor([0.0, 2e-8]).double()  # as small as what is added to the deviation
    each = 1e-8 / (math.sqrt(2) * 1e-8 + 1e-8)
    assert normalised(small).tolist() == pytest.approx([-each, each])


def test_a_ratio_at_the_clip_is_not_clipped():
    data = batch()
    logits = torch.randn(N, 3).double()
    same = data | {"log_prob": Categorical(logits).log_prob(data["action"])}
    for clip in (0.0, 0.2):
        _, report = Objective(Linear(0.2, 0.2, 1)).loss(judged(logits, data["value"]), same, clip)
        assert report[REPORTED.index("clip_fraction")] == report[REPORTED.index("approx_kl")] == 0


def test_an_update_that_came_to_no_number_is_told_with_what_and_when():
    good = {"train/policy_loss": -1.0, "train/value_loss": 1e30}
    require_learnable(good, 7)
    for broken in (math.nan, math.inf, -math.inf):
        with pytest.raises(ValueError, match=rf"core/own_loss is {broken} in the update after 7 steps.*learning_rate"):
            require_learnable(good | {"core/own_loss": broken}, 7)
