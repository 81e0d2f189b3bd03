"""What happens to the stored value when an entry is written again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from engram_rl.memory.checks import number, offers, takes, unknown


@dataclass(frozen=True)
class WriteContext:
    """What is known of entries that are written again, beside their values.

    Attributes:
        slots: Where they are, distinct. `[n]`
        count: How often each has been written so far, at least 1. `[n]` int32
        priority: Of the write now. `[n]`
    """

    slots: Tensor
    count: Tensor
    priority: Tensor


class WriteRule(Protocol):
    """How a new value meets the stored one of the same entry; both members are required."""

    matches: bool
    """Whether a known identity updates its entry; otherwise every write is a new entry."""

    def combine(self, stored: Tensor, value: Tensor, context: WriteContext) -> Tensor:
        """The value to keep.  `[n, V]`, `[n, V]` -> `[n, V]`."""


@dataclass(frozen=True)
class Append:
    """Every write is a new entry; an identity stands for the newest of them."""

    matches = False

    def combine(self, stored: Tensor, value: Tensor, context: WriteContext) -> Tensor:
        """The new value."""
        return value


@dataclass(frozen=True)
class Blend:
    """`Q_i <- Q_i + alpha (Q^(N) - Q_i)`: Neural Episodic Control (Pritzel et al. 2017), equation 4."""

    alpha: float = 0.1
    matches = True

    def __post_init__(self) -> None:
        number("alpha", self.alpha, most=1, above=0)

    def combine(self, stored: Tensor, value: Tensor, context: WriteContext) -> Tensor:
        """A step of `alpha` from the stored value towards the new one."""
        return stored + self.alpha * (value - stored)


@dataclass(frozen=True)
class Last:
    """The new value replaces the stored one."""

    matches = True

    def combine(self, stored: Tensor, value: Tensor, context: WriteContext) -> Tensor:
        """The new value."""
        return value


@dataclass(frozen=True)
class Max:
    """`Q_i <- max(Q_i, R)`: Model-Free Episodic Control (Blundell et al. 2016), equation 1."""

    matches = True

    def combine(self, stored: Tensor, value: Tensor, context: WriteContext) -> Tensor:
        """The larger of the two."""
        return torch.maximum(stored, value)


@dataclass(frozen=True)
class RunningMean:
    """`Q_i <- Q_i + (R - Q_i) / (n + 1)` after n writes: the mean of all values that the entry was ever given."""

    matches = True

    def combine(self, stored: Tensor, value: Tensor, context: WriteContext) -> Tensor:
        """A step towards the new value, the smaller the more there were before."""
        return stored + (value - stored) / (context.count + 1).unsqueeze(1)


@dataclass(frozen=True)
class SurpriseGated:
    """The larger of the two, but a positive prediction that ended in failure (a value of 0 or less) is cut."""

    keep: float = 0.5
    matches = True
    blames = True
    """A failure is blamed on the stored promise; so who writes must not blame one that was made only afterwards."""

    def __post_init__(self) -> None:
        number("keep", self.keep, 0, below=1)

    def combine(self, stored: Tensor, value: Tensor, context: WriteContext) -> Tensor:
        """`keep` times the stored value where it promised something and nothing came, else the larger."""
        failed = (stored > 0) & (value <= 0)
        return torch.where(failed, self.keep * stored, torch.maximum(stored, value))


WRITE_RULES = {
    "append": Append,
    "blend": Blend,
    "last": Last,
    "max": Max,
    "mean": RunningMean,
    "surprise_gated": SurpriseGated,
}


def make_write_rule(rule: WriteRule | str) -> WriteRule:
    """A write rule from its name, with its defaults."""
    if isinstance(rule, str):
        if rule not in WRITE_RULES:
            raise unknown("write rule", rule, WRITE_RULES)
        return WRITE_RULES[rule]()
    offers("write_rule", rule, ("matches", "combine"), WRITE_RULES)
    takes("write_rule", rule, "combine", "stored", "value", "context")
    return rule
