"""Which action of a Box is best, by what came of others in similar states: kernel regression, or a plane."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from engram_rl.agents.episodic_control.candidates import Candidates
from engram_rl.agents.episodic_control.state_action_memory import StateActionMemory
from engram_rl.memory import Found
from engram_rl.memory.checks import number


class Choice(NamedTuple):
    """The best action of each state.

    Attributes:
        action: From -1 to 1. `[B, A]`
        value: What it promises. `[B]`
        found: The states whose actions were looked at.
    """

    action: Tensor
    value: Tensor
    found: Found


class KernelRegression:
    """The best of some candidates, each valued by the nearest (state, action) that are remembered.

    Args:
        candidates: What is asked about, beginning with what was done in the nearest states.
    """

    def __init__(self, candidates: Candidates):
        self._candidates = candidates

    def __call__(self, memory: StateActionMemory, states: Tensor, generator: torch.Generator, touch: bool) -> Choice:
        """Of states `[B, D]`: one lookup proposes for all, another values all candidates."""
        found = memory.similar(states, self._candidates.proposals, touch)
        asked = self._candidates(memory.remembered(found)[1], found.valid, generator)  # [B, C, A]
        best = memory.values(states, asked).max(dim=1)  # [B] each
        return Choice(asked[torch.arange(len(asked), device=asked.device), best.indices], best.values, found)


CONSTANT = 1e-9
"""A deviation that is a smaller share of the numbers, of a column or of the values, is their rounding."""


ALIKE = 1e-12
"""Tricubes that sum to less are of neighbours that are equally far but for rounding: none is nearer by .004 %."""


class LocalLinearRegression:
    """The best action by a plane through what came of the actions in the nearest states.

    Locally weighted linear regression of the value on state and action (Cleveland 1979; for control: Atkeson, Moore and
    Schaal 1997), with their tricube weights and a ridge. What a plane promises most is at the corner of the box that
    its slope points to. A number of the action in which it does not rise, and the whole action where a lookup does not
    find as many as it asks for, is uniform.

    A plane promises ever more beyond what was seen, and a bootstrap from that would grow without end; so what is
    promised is at most the best that any of these neighbours gave, and at least the worst.

    Args:
        ridge: Added to each column's variance, which is 1 among the neighbours; above 0.
    """

    fewest = 3
    """Neighbours: the farthest weighs nothing, and through one no plane has a slope."""

    def __init__(self, ridge: float):
        self._ridge = number("ridge", ridge, above=0)

    def __call__(self, memory: StateActionMemory, states: Tensor, generator: torch.Generator, touch: bool) -> Choice:
        """Of states `[B, D]`, all in one lookup by the states alone."""
        found = memory.similar(states, memory.neighbours, touch)
        where, done = memory.remembered(found)  # [B, k, D] and [B, k, A]
        A = done.shape[2]
        weights = tricube(found.distances, found.valid)  # [B, k]
        columns = torch.cat([where.double() - states.double().unsqueeze(1), done.double()], dim=2)  # [B, k, D + A]
        height, slopes = plane(columns, found.values[..., 0], weights, self._ridge)
        known = found.valid.all(dim=1, keepdim=True) & bool(found.valid.shape[1])  # [B, 1]
        anywhere = 2 * torch.rand(len(states), A, generator=generator).to(states) - 1
        slope = slopes[:, -A:]
        action = torch.where(known & (slope != 0), slope.sign().to(states), anywhere)
        promised = torch.where(known.squeeze(1), height + slope.abs().sum(dim=1), height)
        value = _within(promised, found.values[..., 0].double(), found.valid)
        return Choice(action, value.to(states), found)


def _within(promised: Tensor, values: Tensor, valid: Tensor) -> Tensor:
    """Between the least and the most of the valid values, 0 where there are none. `[B]`, `[B, k]` each."""
    if not values.shape[1]:
        return torch.zeros_like(promised)
    least = values.masked_fill(~valid, torch.inf).amin(dim=1)
    most = values.masked_fill(~valid, -torch.inf).amax(dim=1)
    return torch.where(valid.any(dim=1), promised.maximum(least).minimum(most), 0.0)


def tricube(distances: Tensor, valid: Tensor) -> Tensor:
    """Weights that fall to 0 at the farthest neighbour and sum to 1; all alike where all are equally far. `[B, k]`.

    Args:
        distances: Squared. `[B, k]`
        valid: Which neighbours there are; the others weigh nothing. `[B, k]`
    """
    far = distances.double().clamp(min=0).sqrt().masked_fill(~valid, 0.0)
    share = far / far.amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    weights = (1 - share**3) ** 3 * valid
    total = weights.sum(dim=1, keepdim=True)
    weights = torch.where(total > ALIKE, weights, valid.double())
    return weights / weights.sum(dim=1, keepdim=True).clamp(min=ALIKE)


def plane(columns: Tensor, values: Tensor, weights: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Weighted ridge regression of values on columns, whose height is not shrunk; in float64.

    Each column is divided by its weighted deviation first, so the units of a column change nothing; a column that does
    not vary has slope 0, and so have all where the values do not.

    Args:
        columns: `[B, k, P]`
        values: `[B, k]`
        weights: Sum to 1, or are all 0. `[B, k]`
        ridge: Above 0.

    Returns:
        Its height where all columns are 0, `[B]`, and its slopes, `[B, P]`.
    """
    columns, values, weights = columns.double(), values.double(), weights.unsqueeze(2)
    middle = (weights * columns).sum(dim=1, keepdim=True)  # [B, 1, P]
    mean = (weights[..., 0] * values).sum(dim=1, keepdim=True)  # [B, 1]
    deviation = (weights * (columns - middle) ** 2).sum(dim=1).sqrt()  # [B, P]
    varies = deviation > CONSTANT * columns.abs().amax(dim=1)
    unit = torch.where(varies, deviation, 1.0)
    scaled = (columns - middle) / unit.unsqueeze(1) * varies.unsqueeze(1)  # [B, k, P]
    moments = scaled.mT @ (weights * scaled)  # [B, P, P]
    moments = moments + ridge * torch.eye(moments.shape[1], dtype=moments.dtype, device=moments.device)
    rest = (values - mean).unsqueeze(2)  # [B, k, 1]
    differ = (weights * rest**2).sum(dim=1).sqrt() > CONSTANT * values.abs().amax(dim=1, keepdim=True)  # [B, 1]
    towards = scaled.mT @ (weights * rest * differ.unsqueeze(2))  # [B, P, 1]
    slopes = torch.linalg.solve(moments, towards).squeeze(2) / unit
    return mean.squeeze(1) - (slopes * middle.squeeze(1)).sum(dim=1), slopes
