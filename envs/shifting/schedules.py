"""When a target shifts, and to what: abrupt, periodic, recurring, drifting, random, on success.

A schedule is a frozen description, so one may serve many environments; where a run stands is a `Moment`, which the
schedule turns into the next one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from engram_rl.envs.checks import at_least, integer, number

Target = Any
Bound = float | Sequence[float]


@dataclass(frozen=True)
class Moment:
    """Where a run stands in one of its episodes.

    Attributes:
        target: The current target.
        episode: From 0.
        task_index: Shifts so far.
        since: Episodes since the last shift, 0 in the first one.
        successes: Episodes solved since the last shift.
        stay: For how long the target stays, drawn when it came.
    """

    target: Target
    episode: int = 0
    task_index: int = 0
    since: int = 0
    successes: int = 0
    stay: int = 0

    def shifted_to(self, target: Target, stay: int | None = None) -> Moment:
        """The same episode with another target."""
        stay = self.stay if stay is None else stay
        return replace(self, target=target, task_index=self.task_index + 1, since=0, successes=0, stay=stay)


class Schedule(ABC):
    """Decides before each episode whether the target shifts, and to what."""

    def first(self, random: np.random.Generator) -> Moment:
        """The first episode of a run."""
        return Moment(self._begin(random), stay=self._stay(random))

    def following(self, moment: Moment, solved: bool, random: np.random.Generator) -> Moment:
        """The episode after this one.

        Args:
            moment: The episode that has ended.
            solved: Whether it was solved.
            random: The run's source of chance.
        """
        later = replace(
            moment, episode=moment.episode + 1, since=moment.since + 1, successes=moment.successes + int(solved)
        )
        if not self._due(later, random):
            return later
        return later.shifted_to(self._move(later, random), self._stay(random))

    @abstractmethod
    def _begin(self, random: np.random.Generator) -> Target:
        """The first target."""

    @abstractmethod
    def _due(self, moment: Moment, random: np.random.Generator) -> bool:
        """Whether the target shifts before this episode."""

    @abstractmethod
    def _move(self, moment: Moment, random: np.random.Generator) -> Target:
        """The target that follows; `moment` still holds the old one."""

    def _stay(self, random: np.random.Generator) -> int:
        """For how long a target that has just come will stay; 0 where the schedule does not plan it."""
        return 0


@dataclass(frozen=True)
class _Listed(Schedule):
    """Targets from a list, in its order and round again."""

    targets: Sequence[Target]

    def __post_init__(self) -> None:
        if isinstance(self.targets, str) or not isinstance(self.targets, Sequence | np.ndarray):
            raise TypeError(f"targets must be a list, got {self.targets!r}.")
        if len(self.targets) < 2:
            raise ValueError(f"A target that shifts needs at least 2 targets to shift between, got {self.targets!r}.")

    def _begin(self, random: np.random.Generator) -> Target:
        return self.targets[0]

    def _move(self, moment: Moment, random: np.random.Generator) -> Target:
        return self.targets[(moment.task_index + 1) % len(self.targets)]


@dataclass(frozen=True)
class Abrupt(_Listed):
    """The next target of the list before each of the episodes `at`, as in `Abrupt([left, right], at=[50])`."""

    at: Sequence[int] = (50,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.at, str | int | float):
            raise TypeError(f"at must be a list of episodes, got {self.at!r}.")
        object.__setattr__(
            self,
            "at",
            tuple(at_least(1, "each episode of at", one, "(none shifts before the first)") for one in self.at),
        )

    def _due(self, moment: Moment, random: np.random.Generator) -> bool:
        return moment.episode in self.at


@dataclass(frozen=True)
class Periodic(_Listed):
    """The next target of the list every `period` episodes."""

    period: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, "period", self.period, "episode")

    def _due(self, moment: Moment, random: np.random.Generator) -> bool:
        return moment.since >= self.period


@dataclass(frozen=True)
class Recurring(_Listed):
    """Another target of the list, drawn at random, after `period - jitter` to `period + jitter` episodes."""

    period: int = 20
    jitter: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, "period", self.period, "episode")
        within = 0 <= integer("jitter", self.jitter) < self.period
        alike = all(same(target, self.targets[0]) for target in self.targets)
        _refuse_unless(not alike, f"targets to move between must differ, got {self.targets!r}.")
        _refuse_unless(within, f"jitter must be from 0 to period - 1 = {self.period - 1}, got {self.jitter}.")

    def _due(self, moment: Moment, random: np.random.Generator) -> bool:
        return moment.since >= moment.stay

    def _move(self, moment: Moment, random: np.random.Generator) -> Target:
        others = [target for target in self.targets if not same(target, moment.target)]
        return others[random.integers(len(others))]

    def _stay(self, random: np.random.Generator) -> int:
        return int(random.integers(self.period - self.jitter, self.period + self.jitter + 1))


@dataclass(frozen=True)
class OnSuccess(_Listed):
    """The next target of the list as soon as `successes` episodes were solved since the last shift."""

    needed: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, "needed", self.needed, "solved episode")

    def _due(self, moment: Moment, random: np.random.Generator) -> bool:
        return moment.successes >= self.needed


@dataclass(frozen=True)
class Random(Schedule):
    """A number or a point, uniform between `low` and `high`, drawn anew every `period` episodes.

    Whole bounds give whole numbers, both bounds included; a bound for each coordinate gives a point, as a tuple.
    """

    low: Bound
    high: Bound
    period: int = 20

    def __post_init__(self) -> None:
        _refuse_crossed(self.low, self.high)
        finite = bool(np.isfinite(np.subtract(self.high, self.low, dtype=np.float64)).all())
        _refuse_unless(finite, f"low={self.low} and high={self.high} are too far apart to draw between.")
        at_least(1, "period", self.period, "episode")

    def _begin(self, random: np.random.Generator) -> Target:
        low, high = np.asarray(self.low), np.asarray(self.high)
        whole = low.dtype.kind in "iu" and high.dtype.kind in "iu"
        return _plain(random.integers(low, high, endpoint=True) if whole else random.uniform(low, high))

    def _due(self, moment: Moment, random: np.random.Generator) -> bool:
        return moment.since >= self.period

    def _move(self, moment: Moment, random: np.random.Generator) -> Target:
        return self._begin(random)


@dataclass(frozen=True)
class Drifting(Schedule):
    """A random walk: before an episode, with chance `q`, one coordinate moves by `step`, from `low` to `high`."""

    start: Bound
    low: Bound
    high: Bound
    step: float = 1
    q: float = 0.25

    def __post_init__(self) -> None:
        _refuse_crossed(self.low, self.high)
        shaped = all(np.shape(bound) in ((), np.shape(self.start)) for bound in (self.low, self.high))
        _refuse_unless(shaped, f"low={self.low} and high={self.high} must bound each number of start={self.start}.")
        for name in ("q", "step"):
            number(name, getattr(self, name))
        _refuse_unless(0 <= self.q <= 1, f"q is a probability, from 0 to 1; got {self.q}.")
        _refuse_unless(0 < self.step < np.inf, f"step must be above 0 and finite, got {self.step}.")
        _refuse_unless(bool(self._ways(self.start)), f"From {self.start} no step of {self.step} stays within bounds.")

    def _begin(self, random: np.random.Generator) -> Target:
        return _plain(np.asarray(self.start))

    def _due(self, moment: Moment, random: np.random.Generator) -> bool:
        return bool(random.random() < self.q)

    def _move(self, moment: Moment, random: np.random.Generator) -> Target:
        ways = self._ways(moment.target)
        return ways[random.integers(len(ways))] if ways else moment.target

    def _ways(self, target: Target) -> list[Target]:
        """Where one step may lead."""
        here = np.asarray(target)
        unit = np.eye(here.size, dtype=np.asarray(self.step).dtype).reshape(here.size, *here.shape)
        there = [here + sign * self.step * axis for axis in unit for sign in (1, -1)]
        slack = 1e-9 * self.step  # by which sums of fractions are off
        low, high = np.subtract(self.low, slack), np.add(self.high, slack)
        within = [each for each in there if (each >= low).all() and (each <= high).all()]
        return [_plain(np.clip(each, self.low, self.high).astype(each.dtype)) for each in within]


def same(one: Target, other: Target) -> bool:
    """Whether two targets are equal; arrays are if all their numbers are."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return bool(one == other)


def _plain(value: Any) -> Target:
    """A Python number, or a tuple of them."""
    listed = np.asarray(value).tolist()
    return tuple(listed) if isinstance(listed, list) else listed


def _refuse_crossed(low: Bound, high: Bound) -> None:
    same_shape = np.shape(low) == np.shape(high)
    _refuse_unless(same_shape and bool(np.all(np.less_equal(low, high))), f"low={low} must not exceed high={high}.")


def _refuse_unless(fine: bool, message: str) -> None:
    if not fine:
        raise ValueError(message)
