"""From features to a distribution over the actions of a space, and from its samples to what environments take."""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.agents.common.actions import ActionCodes, require_mask, unfit
from engram_rl.agents.common.flattening import MOST_CODES
from engram_rl.agents.common.scaling import SANE, SCALE_RULE
from engram_rl.agents.policy_gradient.distributions import Categorical, DiagonalGaussian, Distribution, MultiCategorical

SMALL = 0.01
"""Gain of the last layer: actions begin near equally probable (Andrychowicz et al. 2021, arXiv 2006.05990)."""


class ActionHead(nn.Module):
    """A linear layer whose outputs are the parameters of a distribution over actions.

    Args:
        features: Columns of its input.
        outputs: Parameters of one distribution.
    """

    def __init__(self, features: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(nn.init.orthogonal_(torch.empty(outputs, features), SMALL))
        self.bias = nn.Parameter(torch.zeros(outputs))

    def _outputs(self, features: Tensor, added: Tensor | None) -> Tensor:
        """`[N, F]` to `[N, outputs]`."""
        outputs = functional.linear(features, self.weight, self.bias)
        return outputs if added is None else outputs + added

    def forward(self, features: Tensor, added: Tensor | None = None, mask: Tensor | None = None) -> Distribution:
        """`[N, F]` to N distributions.

        Args:
            features: `[N, F]`
            added: What is added to the parameters. `[N, outputs]`
            mask: Which choices are allowed; None for all. `[N, outputs]` of bool
        """
        raise NotImplementedError

    def allowed(self, mask: np.ndarray | None, envs: int) -> Tensor | None:
        """A mask of actions as a tensor beside the weights; None for none. `[E, outputs]`.

        Raises:
            ValueError: It does not fit, or allows an environment nothing.
        """
        raise NotImplementedError

    def taken(self, action: Tensor) -> np.ndarray:
        """A distribution's actions as the environments take them. `[N]` or `[N, A]` to `[N, ...]`."""
        raise NotImplementedError


class CodesHead(ActionHead):
    """Actions that are choices: one, or several parts, each one of its own number of choices.

    Args:
        space: Of one environment.
        features: Columns of its input.
    """

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete, features: int):
        codes = ActionCodes(space)
        super().__init__(features, sum(codes.sizes))
        self._codes = codes

    def _logits(self, features: Tensor, added: Tensor | None, mask: Tensor | None) -> Tensor:
        """`[N, F]` to `[N, outputs]`, minus infinity for what is not allowed."""
        logits = self._outputs(features, added)
        return logits if mask is None else logits.masked_fill(~mask, -torch.inf)

    def allowed(self, mask: np.ndarray | None, envs: int) -> Tensor | None:
        """`[E, outputs]`; each part needs a choice."""
        if mask is None:
            return None
        allowed = require_mask(mask, envs, len(self.bias))
        for part in np.split(allowed, np.cumsum(self._codes.sizes)[:-1], axis=1):
            require_mask(part, envs, part.shape[1])
        return torch.as_tensor(allowed.copy(), device=self.bias.device)

    def taken(self, action: Tensor) -> np.ndarray:
        """`[N]` or `[N, P]` to `[N, ...]`."""
        return self._codes.actions(action.cpu().numpy())


class DiscreteHead(CodesHead):
    """One of n actions."""

    def forward(self, features: Tensor, added: Tensor | None = None, mask: Tensor | None = None) -> Distribution:
        """`[N, F]` to N distributions."""
        return Categorical(self._logits(features, added, mask))


class MultiDiscreteHead(CodesHead):
    """Several parts, independent given the features."""

    def forward(self, features: Tensor, added: Tensor | None = None, mask: Tensor | None = None) -> Distribution:
        """`[N, F]` to N distributions."""
        return MultiCategorical(self._logits(features, added, mask), self._codes.sizes)


class BoxHead(ActionHead):
    """Normal numbers, with one standard deviation a dimension that does not depend on the features.

    Where both bounds of a dimension are finite, -1 to 1 is mapped to what lies between them, so that a fresh policy
    covers any box; where one is infinite, numbers are taken as they are. What leaves the box is clipped for the
    environment only: the density is that of the number drawn, before it is mapped.

    Args:
        space: Of one environment.
        features: Columns of its input.
        mapped: Whether finite bounds are mapped; the first version took all numbers as they are.

    Raises:
        ValueError: A dimension whose numbers as they are would all but miss the box.
    """

    def __init__(self, space: spaces.Box, features: int, mapped: bool):
        size = math.prod(space.shape)
        super().__init__(features, size)
        self.log_std = nn.Parameter(torch.zeros(size))
        self._low, self._high, self._dtype = space.low, space.high, space.dtype
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        finite = (np.abs(low) < SANE) & (np.abs(high) < SANE)
        if mapped and (~finite & ((low > 1) | (high < -1))).any():
            raise ValueError(
                f"PPO draws actions about 0 where a bound is infinite, which misses {space}. Give both bounds with a "
                f"wrapper, such as gymnasium.wrappers.RescaleAction or gymnasium.wrappers.TransformAction."
            )
        low, high = (np.where(finite & mapped, bound, other) for bound, other in ((low, -1.0), (high, 1.0)))
        self._middle, self._half = (low + high) / 2, (high - low) / 2

    def forward(self, features: Tensor, added: Tensor | None = None, mask: Tensor | None = None) -> Distribution:
        """`[N, F]` to N distributions."""
        return DiagonalGaussian(self._outputs(features, added), self.log_std)

    def allowed(self, mask: np.ndarray | None, envs: int) -> Tensor | None:
        """None; such actions have no mask."""
        if mask is not None:
            raise ValueError(
                "A mask is for Discrete and MultiDiscrete actions; those of a Box are limited by its bounds."
            )
        return None

    def taken(self, action: Tensor) -> np.ndarray:
        """`[N, A]` to `[N, *shape]`, within the bounds."""
        numbers = self._middle + self._half * action.cpu().numpy().reshape(len(action), *self._low.shape)
        return np.clip(numbers.astype(self._dtype), self._low, self._high)


def make_action_head(
    space: spaces.Space, features: int, scale_rule: int = SCALE_RULE, agent: str = "PPO"
) -> ActionHead:
    """The head for an action space.

    Raises:
        ValueError: The space is not Discrete, MultiDiscrete or a Box of floating-point numbers, or there are too many
            choices.
    """
    require_actions(space, agent)
    if isinstance(space, spaces.Discrete):
        return DiscreteHead(space, features)
    if isinstance(space, spaces.MultiDiscrete):
        return MultiDiscreteHead(space, features)
    assert isinstance(space, spaces.Box)
    return BoxHead(space, features, mapped=scale_rule >= SCALE_RULE)


def require_actions(space: spaces.Space, agent: str = "PPO") -> None:
    """Raise a ValueError unless there is a head for these actions, of an output for each choice or number."""
    numbers = isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating) and math.prod(space.shape) > 0
    if not numbers and not isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        raise ValueError(unfit(agent, "acts in Discrete, MultiDiscrete and floating-point Box spaces", space))
    outputs = spaces.flatdim(space)
    if outputs > MOST_CODES:
        raise ValueError(
            f"{agent} has an output for each choice and number of an action; {space} has {outputs}, at most "
            f"{MOST_CODES} can be. Choose among fewer with a wrapper, such as gymnasium.wrappers.TransformAction: "
            f"parts of a MultiDiscrete that make one choice together, say."
        )
