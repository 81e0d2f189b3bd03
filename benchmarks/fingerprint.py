"""A fingerprint of a run: a digest of what was done, paid and shown in its first 1,000 steps.

Of a core that learns a task it is one of the losses of its first updates.

It is taken while the run is measured and kept in its row. The same agent, environment, settings and seed give the same
fingerprint, so a row stays true for as long as the code gives the same one. Runs compute with one thread, so it does
not depend on how many there are; it does depend on the processor and on the versions of torch, numpy and the
environment's package, which the row names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from engram_rl.agents.agent import Observation, Transition
from engram_rl.training import rollout

STEPS = 1000
"""Vector steps: each of all environments side by side."""


class EnoughSeenError(Exception):
    """The steps of a fingerprint have been taken; the run need not go on."""


class Trace:
    """What has been seen of a run so far.

    Args:
        stops: Whether to end the run, by `EnoughSeenError`, when there is enough.
        steps: Of a fingerprint.
    """

    def __init__(self, stops: bool = False, steps: int = STEPS):
        self.steps = 0
        self._wanted, self._stops = steps, stops
        self._digest = hashlib.sha256()

    def take(self, action: Any, reward: Any, done: Any, observation: Any) -> None:
        """Take in a step: one, or one of several environments side by side.

        Raises:
            EnoughSeenError: There is enough, and this trace stops its run.
        """
        if self.steps < self._wanted:
            self.steps += 1
            for part in (action, np.asarray(reward, np.float64), np.asarray(done, np.bool_), observation):
                self._take(part)
        if self._stops and self.steps == self._wanted:
            raise EnoughSeenError

    def end(self) -> None:
        """There is no more to see.

        Raises:
            EnoughSeenError: This trace stops its run.
        """
        if self._stops:
            raise EnoughSeenError

    @property
    def fingerprint(self) -> str:
        """A digest of 16 letters."""
        return self._digest.hexdigest()[:16]

    def _take(self, part: Any) -> None:
        if isinstance(part, Mapping):
            for name in sorted(part):
                self._take(part[name])
        elif isinstance(part, tuple):
            for one in part:
                self._take(one)
        else:
            array = np.asarray(part)
            self._digest.update(repr(array.tolist()).encode() if array.dtype.hasobject else array.tobytes())


_watching: list[Trace] = []


@contextmanager
def watched(trace: Trace) -> Iterator[Trace]:
    """Steps that are taken meanwhile, by `step` or told by `note`, go into the trace."""
    _watching.append(trace)
    try:
        yield trace
    finally:
        _watching.remove(trace)


def note(action: Any, reward: Any, done: Any, observation: Any) -> None:
    """Tell of a step where another library steps."""
    for trace in _watching:
        trace.take(action, reward, done, observation)


def ended() -> None:
    """Tell that no more steps will be told of."""
    for trace in _watching:
        trace.end()


def step(
    environments: VectorEnv, observation: Observation, action: np.ndarray, mask: np.ndarray | None = None
) -> Transition:
    """`engram_rl.training.rollout.step`, seen by those who watch."""
    transition = rollout.step(environments, observation, action, mask)
    note(transition.action, transition.reward, transition.done, transition.reset_observation)
    return transition


def fingerprint_of(run: Any, measure: Callable[[Any], Any]) -> str:
    """The fingerprint that a run has today: its first steps are taken, no more."""
    with watched(Trace(stops=True)) as trace, suppress(EnoughSeenError):
        measure(run)
    return trace.fingerprint
