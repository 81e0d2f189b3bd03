"""The weakest entries of many, at a cost per write that does not grow with their number."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

SIZE = 4096
"""Candidates, about, when they have just been gathered."""

CHUNK = 32_768
"""Slots that one call looks through at most, unless the candidates have run out."""

SAMPLE = 8192
"""Scores from which the next bound is estimated."""


class WeakestEntries:
    """All slots up to a bound in the order of (score, since, slot), so the weakest of all are the weakest of these.

    Scores that rise past the bound leave on sight; scores that fall are reported by `lowered`. When half of these
    candidates are used up, the next are gathered below a bound estimated from a sample, a chunk of slots per call, so
    that no call passes over all slots. The answer is exact whatever the sample says: with too few of them left the
    gathering is finished at once, and too low a bound is raised to the true one.

    Args:
        score: Of each slot; infinite where there is no entry. `[N]` float64
        since: What orders equal scores before their slots do; rises only. `[N]`
    """

    def __init__(self, score: Tensor, since: Tensor | None = None) -> None:
        self._order = _Order(score, since)
        self._members = _none(score)
        """Ascending slots."""
        self._bound = (-float("inf"), 0.0, -1)
        self._full = 0
        self._next: _Gathering | None = None

    def lowest(self, n: int, used: int) -> Tensor:
        """The `n` lowest in order among the first `used` slots; fewer if there are fewer.  `[n]`."""
        if n == 0:
            return _none(self._order.score)
        self._members = self._members[self._order.inside(self._members, self._bound)]
        if self._next is None and len(self._members) < max(self._full // 2, n):
            in_time = 4 * n * (1 + used // CHUNK)  # so many that half of them outlast the next gathering
            self._next = _Gathering(self._order, used, max(in_time, min(SIZE, used // 8)))
        if self._next is not None:
            self._next.used = used
            if self._next.step() or len(self._members) < n:
                self._replace(n, used)
        return self._order.lowest(self._members, n)

    def lowered(self, slots: Tensor) -> None:
        """Scores were set anew, so some of these may be candidates now."""
        inside = slots[self._order.inside(slots, self._bound)]
        if len(self._members):  # most often those that have just made room, and are members still
            place = torch.searchsorted(self._members, inside).clamp(max=len(self._members) - 1)
            inside = inside[self._members[place] != inside]
        if len(inside):
            self._members = torch.unique(torch.cat([self._members, inside]))
        if self._next is not None:
            self._next.lowered(slots)

    def _replace(self, n: int, used: int) -> None:
        assert self._next is not None
        members = self._next.finish()
        if len(members) < n:
            lowest = self._order.score[:used].topk(min(n, used), largest=False).values
            self._next.raise_bound(float(lowest.max()))
            members = self._next.finish()
        self._members, self._bound = self._next.cut(members, n)
        self._full, self._next = len(self._members), None


class WeakestOfAll:
    """The same by a pass over all, which a GPU has made before it would have said how many candidates there are.

    Args:
        score: Of each slot. `[N]` float64
        since: What orders equal scores before their slots do. `[N]`
    """

    def __init__(self, score: Tensor, since: Tensor | None = None) -> None:
        self._order = _Order(score, since)

    def lowest(self, n: int, used: int) -> Tensor:
        """The `n` lowest in order among the first `used` slots, which hold as many entries at least.  `[n]`."""
        if n == 0:
            return _none(self._order.score)
        keys = [key[:used] for key in (self._order.score, self._order.since) if key is not None]
        among = torch.zeros_like(keys[0], dtype=torch.bool)  # whatever the next key says
        equal = ~among
        for key in keys:
            key = key.masked_fill(~equal, torch.inf).masked_fill(among, -torch.inf)
            last = key.topk(n, largest=False).values.amax()
            among, equal = key < last, key == last
        slots = torch.arange(used, device=among.device).masked_fill(~equal, used).masked_fill(among, -1)
        return self._order.lowest(slots.topk(n, largest=False).indices.sort().values, n)

    def lowered(self, slots: Tensor) -> None:
        """Nothing is kept."""


class _Gathering:
    """Candidates to come: slots up to a bound, found a chunk at a time among the first `used`."""

    def __init__(self, order: _Order, used: int, target: int) -> None:
        self._order, self.used, self._target = order, used, target
        sample = order.score[: used : max(1, used // SAMPLE)]
        rank = min(len(sample), 1 + len(sample) * target // max(1, used))
        self.raise_bound(float(sample.kthvalue(rank).values))

    def raise_bound(self, bound: float) -> None:
        """Start over with another bound."""
        self._bound = (bound, float("inf"), len(self._order.score))
        self._found: list[Tensor] = []
        self._cursor = 0

    def step(self) -> bool:
        """Look through one more chunk; True at the end."""
        end = min(self.used, self._cursor + CHUNK)
        low = (self._order.score[self._cursor : end] <= self._bound[0]).nonzero().squeeze(1)
        self._found.append(low + self._cursor)
        self._cursor = end
        return end == self.used

    def lowered(self, slots: Tensor) -> None:
        """Take in what may have fallen below the bound behind the cursor."""
        self._found.append(slots[self._order.score[slots] <= self._bound[0]])

    def finish(self) -> Tensor:
        """All slots up to the bound, ascending."""
        while not self.step():
            pass
        slots = torch.unique(torch.cat(self._found))
        score = self._order.score[slots]
        return slots[(score <= self._bound[0]) & score.isfinite()]

    def cut(self, slots: Tensor, n: int) -> tuple[Tensor, Bound]:
        """At most four times the target, where many scores are equal, and `n` at least; and the bound this leaves."""
        target = max(n, self._target)
        if len(slots) <= 4 * target:
            return slots, self._bound
        kept = self._order.lowest(slots, target)
        return kept.sort().values, self._order.place(kept[-1])


Bound: TypeAlias = tuple[float, float, int]
"""A place in the order: score, since, slot."""


class _Order:
    """Slots by score, equal ones by what orders them then, and those by slot."""

    def __init__(self, score: Tensor, since: Tensor | None) -> None:
        self.score, self.since = score, since

    def place(self, slot: Tensor) -> Bound:
        return float(self.score[slot]), 0.0 if self.since is None else float(self.since[slot]), int(slot)

    def inside(self, slots: Tensor, bound: Bound) -> Tensor:
        """Whether these slots `[n]` come up to the bound.  `[n]` bool."""
        value = self.score.index_select(0, slots)
        early = slots <= bound[2]
        if self.since is not None:
            since = self.since.index_select(0, slots)
            early = (since < bound[1]) | ((since == bound[1]) & early)
        return (value < bound[0]) | ((value == bound[0]) & early)

    def lowest(self, slots: Tensor, n: int) -> Tensor:
        """The first `n` of ascending `slots`.  `[n]`."""
        value = self.score.index_select(0, slots)
        if len(slots) > n:
            low = value <= value.topk(n, largest=False).values.max()
            slots, value = slots[low], value[low]
        if self.since is not None:
            order = self.since.index_select(0, slots).sort(stable=True).indices
            slots, value = slots[order], value[order]
        return slots[value.sort(stable=True).indices][:n]


def _none(score: Tensor) -> Tensor:
    return torch.empty(0, dtype=torch.int64, device=score.device)
