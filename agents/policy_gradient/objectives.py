"""What a policy-gradient update minimises: pure functions of a minibatch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from engram_rl.agents.common.schedules import Constant, Schedule
from engram_rl.agents.policy_gradient.policies import SCALE, Judgement
from engram_rl.memory.checks import number

REPORTED = ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction")
"""What a minibatch reports, in this order."""

NO_BONUS = Constant(0.0)


def policy_loss(log_ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """The clipped surrogate objective, negated (Schulman et al. 2017, equation 7). `[N], [N] -> []`."""
    ratio = log_ratio.exp()
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def value_loss(value: Tensor, old_value: Tensor, target: Tensor, clip: float | None) -> Tensor:
    """Mean squared error; with a clip, the worse of it and that of the value held within `clip` of the old one.

    `[N], [N], [N] -> []`. There is no factor 1/2: the coefficient of the value carries it, as in Stable-Baselines3.
    """
    if clip is None:
        return functional.mse_loss(value, target)
    held = old_value + (value - old_value).clamp(-clip, clip)
    return torch.maximum((value - target).square(), (held - target).square()).mean()


def normalised(advantage: Tensor) -> Tensor:
    """With mean 0 and standard deviation 1; a single one as it is. `[N]`."""
    if len(advantage) < 2:
        return advantage
    deviation, mean = torch.std_mean(advantage)
    return (advantage - mean) / (deviation + 1e-8)


@dataclass(frozen=True)
class Objective:
    """Equation 9 of Schulman et al. (2017, arXiv 1707.06347), and when to stop.

    Attributes:
        clip: By environment step; how far the probability ratio may leave 1.
        value_clip: How far a value may leave its old one within one update; None for as far as it likes.
        value_coefficient: Weight of the squared error of the value.
        entropy_coefficient: By environment step; weight of the entropy, which is maximised.
        normalise_advantage: Whether advantages have mean 0 and standard deviation 1 in each minibatch.
        target_kl: An update ends early once the approximate divergence exceeds 1.5 times this; None for never.
        core_losses: Weights of the losses that a core has of its own, by their names; 1 of those not named.

    Raises:
        ValueError: A limit that is not positive, or a weight that is no finite number.
    """

    clip: Schedule
    value_clip: float | None = None
    value_coefficient: float = 0.5
    entropy_coefficient: Schedule = NO_BONUS
    normalise_advantage: bool = True
    target_kl: float | None = None
    core_losses: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("value_clip", "target_kl"):
            limit = getattr(self, name)
            if limit is not None and limit <= 0:
                raise ValueError(f"{name} is {limit}; it must be positive, or null for none.")
        number("value_coefficient", self.value_coefficient)

    def loss(self, judged: Judgement, batch: dict[str, Tensor], steps: int) -> tuple[Tensor, Tensor]:
        """What to minimise, `[]`, and what is reported of it, `[5 + L]`: `REPORTED`, then the core's L losses.

        Args:
            judged: What the policy makes of a minibatch now.
            batch: Its `action`, and the `log_prob`, `value`, `advantage` and `target` that its rollout had. `[N, ...]`
            steps: Environment steps so far.

        Raises:
            ValueError: The schedule gives no weight of the entropy, but a negative number or none.
        """
        clip, entropy_coefficient = self.clip(steps), number("entropy_coefficient", self.entropy_coefficient(steps), 0)
        advantage = normalised(batch["advantage"]) if self.normalise_advantage else batch["advantage"]
        log_ratio = judged.distribution.log_prob(batch["action"]) - batch["log_prob"]
        actor = policy_loss(log_ratio, advantage, clip)
        critic = value_loss(judged.value, batch["value"], batch["target"], self.value_clip)
        loss = actor + self.value_coefficient * critic
        with torch.set_grad_enabled(bool(entropy_coefficient)):
            entropy = judged.distribution.entropy().mean()
        if entropy_coefficient:
            loss = loss - entropy_coefficient * entropy
        for name, own in judged.losses.items():
            loss = loss + self.core_losses.get(name, 1.0) * own
        with torch.no_grad():
            how_far = _how_far(log_ratio.detach(), clip)
            return loss, torch.stack([actor, critic, entropy, *how_far, *judged.losses.values()])

    def diverged(self, report: Tensor) -> bool:
        """Whether an update has gone far enough. `[5 + L]`."""
        return self.target_kl is not None and float(report[REPORTED.index("approx_kl")]) > 1.5 * self.target_kl


def _how_far(log_ratio: Tensor, clip: float) -> tuple[Tensor, Tensor]:
    """The approximate divergence from the policy that acted, and the share of clipped ratios. `[N] -> [], []`.

    The divergence is the estimator of low variance of Schulman (2020, http://joschu.net/blog/kl-approx.html).
    """
    excess = log_ratio.expm1()  # [N]
    return (excess - log_ratio).mean(), (excess.abs() > clip).float().mean()


def means(reports: list[Tensor], losses: Sequence[str] = ()) -> dict[str, float]:
    """Of each figure over minibatches, by TensorBoard name.

    Args:
        reports: Of `Objective.loss`. `[5 + L]` each
        losses: The L names of the core's own.
    """
    found = torch.stack(reports).mean(dim=0).tolist()
    names = [*(f"train/{name}" for name in REPORTED), *(f"core/{name}_loss" for name in losses)]
    return dict(zip(names, found, strict=True))


def require_learnable(metrics: dict[str, float], step: int) -> None:
    """Raise a ValueError if an update had a loss that is no number: what was learned is lost then."""
    broken = [name for name, value in metrics.items() if not math.isfinite(value)]
    if broken:
        raise ValueError(
            f"{broken[0]} is {metrics[broken[0]]} in the update after {step} steps, so the weights are of no use any "
            f"more. {SCALE}"
        )


def explained_variance(value: Any, target: Any) -> float:
    """Share of the targets' variance that the values explain; 0 where there is none. `[T, E], [T, E]`."""
    variance = float(target.var(correction=0))
    return 1 - float((target - value).var(correction=0)) / variance if variance > 0 else 0.0
