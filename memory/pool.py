"""The weakest entries of many, without passing over all of them at each write."""

from __future__ import annotations

import torch
from torch import Tensor

SIZE = 4096
"""Entries a pool holds when it has just been filled."""


class WeakestPool:
    """All slots up to a bound in the order of (score, slot), so the weakest are among them.

    Scores that rise past the bound leave on sight; scores that fall below it are reported by `lowered`. When too few
    are left, one selection over all scores fills it again.
    """

    def __init__(self, score: Tensor) -> None:
        self._score = score
        self._members = torch.empty(0, dtype=torch.int64, device=score.device)
        """Ascending slots."""
        self._bound = (-float("inf"), -1)

    def weakest(self, n: int, used: int) -> Tensor:
        """The `n` lowest in order among the first `used` slots; fewer if there are fewer.  `[n]`."""
        self._members = self._members[self._inside(self._members)]
        if len(self._members) < n:
            self._fill(max(n, min(SIZE, used // 4)), used)
        return _lowest(self._score, self._members, n)

    def lowered(self, slots: Tensor) -> None:
        """Scores were set anew, so some of these may belong in the pool now."""
        inside = self._inside(slots)
        if inside.any():
            self._members = torch.unique(torch.cat([self._members, slots[inside]]))

    def _fill(self, n: int, used: int) -> None:
        slots = torch.arange(used, device=self._score.device)
        score = self._score[:used]
        worst = score.topk(min(n, used), largest=False).values.max()
        weakest = _lowest(self._score, slots[(score <= worst) & score.isfinite()], n)
        self._members = weakest.sort().values
        if len(weakest):
            self._bound = (float(self._score[weakest[-1]]), int(weakest[-1]))

    def _inside(self, slots: Tensor) -> Tensor:
        score = self._score[slots]
        bound, last = self._bound
        return (score < bound) | ((score == bound) & (slots <= last))


def _lowest(score: Tensor, slots: Tensor, n: int) -> Tensor:
    """The first `n` of ascending `slots` in the order of (score, slot).  `[n]`."""
    if len(slots) > n:
        worst = score[slots].topk(n, largest=False).values.max()
        slots = slots[score[slots] <= worst]
    return slots[score[slots].sort(stable=True).indices][:n]
