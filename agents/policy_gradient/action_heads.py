"""From features to a distribution over the actions of a space, and from its samples to what environments take."""

from __future__ import annotations

import math

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.agents.common.actions import ActionCodes
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

    def forward(self, features: Tensor, added: Tensor | None = None) -> Distribution:
        """`[N, F]` to N distributions; what is added to their parameters is `[N, outputs]`."""
        raise NotImplementedError

    def taken(self, action: Tensor) -> np.ndarray:
        """A distribution's actions as the environments take them. `[N]` or `[N, A]` to `[N, ...]`."""
        raise NotImplementedError


class DiscreteHead(ActionHead):
    """One of n actions."""

    def __init__(self, space: spaces.Discrete, features: int):
        super().__init__(features, int(space.n))
        self._codes = ActionCodes(space)

    def forward(self, features: Tensor, added: Tensor | None = None) -> Distribution:
        """`[N, F]` to N distributions."""
        return Categorical(self._outputs(features, added))

    def taken(self, action: Tensor) -> np.ndarray:
        """`[N]` to `[N]`."""
        return self._codes.actions(action.cpu().numpy())


class MultiDiscreteHead(ActionHead):
    """Several parts, each one of its own number of choices, independent given the features."""

    def __init__(self, space: spaces.MultiDiscrete, features: int):
        super().__init__(features, int(space.nvec.sum()))
        self._codes = ActionCodes(space)

    def forward(self, features: Tensor, added: Tensor | None = None) -> Distribution:
        """`[N, F]` to N distributions."""
        return MultiCategorical(self._outputs(features, added), self._codes.sizes)

    def taken(self, action: Tensor) -> np.ndarray:
        """`[N, P]` to `[N, *shape]`."""
        return self._codes.actions(action.cpu().numpy())


class BoxHead(ActionHead):
    """Normal numbers, with one standard deviation a dimension that does not depend on the features.

    What leaves the box is clipped for the environment only: its density is that of the number drawn.
    """

    def __init__(self, space: spaces.Box, features: int):
        size = math.prod(space.shape)
        super().__init__(features, size)
        self.log_std = nn.Parameter(torch.zeros(size))
        self._low, self._high, self._dtype = space.low, space.high, space.dtype

    def forward(self, features: Tensor, added: Tensor | None = None) -> Distribution:
        """`[N, F]` to N distributions."""
        return DiagonalGaussian(self._outputs(features, added), self.log_std)

    def taken(self, action: Tensor) -> np.ndarray:
        """`[N, A]` to `[N, *shape]`, within the bounds."""
        numbers = action.cpu().numpy().reshape(-1, *self._low.shape)
        return np.clip(numbers, self._low, self._high).astype(self._dtype)


def make_action_head(space: spaces.Space, features: int, agent: str = "PPO") -> ActionHead:
    """The head for an action space.

    Raises:
        ValueError: The space is not Discrete, MultiDiscrete or a Box of floating-point numbers.
    """
    if isinstance(space, spaces.Discrete):
        return DiscreteHead(space, features)
    if isinstance(space, spaces.MultiDiscrete):
        return MultiDiscreteHead(space, features)
    if isinstance(space, spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return BoxHead(space, features)
    raise ValueError(
        f"{agent} acts in Discrete, MultiDiscrete and floating-point Box spaces, but this environment has {space}. "
        f"Convert its actions with a wrapper, such as gymnasium.wrappers.TransformAction."
    )
