"""The weakest entries of many, at a cost per write that does not grow with their number."""

from __future__ import annotations

import torch
from torch import Tensor

SIZE = 4096
"""Candidates, about, when they have just been gathered."""

CHUNK = 32_768
"""Slots that one call looks through at most, unless the candidates have run out."""

SAMPLE = 8192
"""Scores from which the next bound is estimated."""


class WeakestEntries:
    """All slots up to a bound in the order of (score, slot), so the weakest of all are the weakest of these.

    Scores that rise past the bound leave on sight; scores that fall are reported by `lowered`. When half of these
    candidates are used up, the next are gathered below a bound estimated from a sample, a chunk of slots per call, so
    that no call passes over all slots. The answer is exact whatever the sample says: with too few of them left the
    gathering is finished at once, and too low a bound is raised to the true one.
    """

    def __init__(self, score: Tensor) -> None:
        self._score = score
        self._members = _none(score)
        """Ascending slots."""
        self._bound = (-float("inf"), -1)
        self._full = 0
        self._next: _Gathering | None = None

    def lowest(self, n: int, used: int) -> Tensor:
        """The `n` lowest in order among the first `used` slots; fewer if there are fewer.  `[n]`."""
        if n == 0:
            return _none(self._score)
        value = self._score.index_select(0, self._members)
        self._members = self._members[_inside(value, self._members, self._bound)]
        if self._next is None and len(self._members) < max(self._full // 2, n):
            in_time = 4 * n * (1 + used // CHUNK)  # so many that half of them outlast the next gathering
            self._next = _Gathering(self._score, used, max(in_time, min(SIZE, used // 8)))
        if self._next is not None and (self._next.step() or len(self._members) < n):
            self._replace(n, used)
        return _lowest(self._score, self._members, n)

    def lowered(self, slots: Tensor) -> None:
        """Scores were set anew, so some of these may be candidates now."""
        inside = slots[_inside(self._score[slots], slots, self._bound)]
        if len(inside):
            self._members = torch.unique(torch.cat([self._members, inside]))
        if self._next is not None:
            self._next.lowered(slots)

    def _replace(self, n: int, used: int) -> None:
        assert self._next is not None
        members = self._next.finish()
        if len(members) < n:
            self._next.raise_bound(float(self._score[:used].topk(min(n, used), largest=False).values.max()))
            members = self._next.finish()
        self._members, self._bound = self._next.cut(members)
        self._full, self._next = len(self._members), None


class _Gathering:
    """Candidates to come: slots up to a bound, found a chunk at a time."""

    def __init__(self, score: Tensor, used: int, target: int) -> None:
        self._score, self._used, self._target = score, used, target
        sample = score[: used : max(1, used // SAMPLE)]
        rank = min(len(sample), 1 + len(sample) * target // max(1, used))
        self.raise_bound(float(sample.kthvalue(rank).values))

    def raise_bound(self, bound: float) -> None:
        """Start over with another bound."""
        self._bound = (bound, len(self._score))
        self._found: list[Tensor] = []
        self._cursor = 0

    def step(self) -> bool:
        """Look through one more chunk; True at the end."""
        end = min(self._used, self._cursor + CHUNK)
        low = (self._score[self._cursor : end] <= self._bound[0]).nonzero().squeeze(1)
        self._found.append(low + self._cursor)
        self._cursor = end
        return end == self._used

    def lowered(self, slots: Tensor) -> None:
        """Take in what may have fallen below the bound behind the cursor."""
        self._found.append(slots[self._score[slots] <= self._bound[0]])

    def finish(self) -> Tensor:
        """All slots up to the bound, ascending."""
        while not self.step():
            pass
        slots = torch.unique(torch.cat(self._found))
        score = self._score[slots]
        return slots[(score <= self._bound[0]) & score.isfinite()]

    def cut(self, slots: Tensor) -> tuple[Tensor, tuple[float, int]]:
        """At most four times the target, where many scores are equal; and the bound that this leaves."""
        if len(slots) <= 4 * self._target:
            return slots, self._bound
        kept = _lowest(self._score, slots, self._target)
        return kept.sort().values, (float(self._score[kept[-1]]), int(kept[-1]))


def _none(score: Tensor) -> Tensor:
    return torch.empty(0, dtype=torch.int64, device=score.device)


def _inside(value: Tensor, slots: Tensor, bound: tuple[float, int]) -> Tensor:
    return (value < bound[0]) | ((value == bound[0]) & (slots <= bound[1]))


def _lowest(score: Tensor, slots: Tensor, n: int) -> Tensor:
    """The first `n` of ascending `slots` in the order of (score, slot).  `[n]`."""
    value = score.index_select(0, slots)
    if len(slots) > n:
        low = value <= value.topk(n, largest=False).values.max()
        slots, value = slots[low], value[low]
    return slots[value.sort(stable=True).indices][:n]
