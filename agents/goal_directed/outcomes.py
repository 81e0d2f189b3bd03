"""What hurts and what is a goal, relative to what a step usually pays: costs for every step hurt nobody."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from engram_rl.agents.agent import Transition

_RECENT = 1024  # rewards of steps from which the usual one is taken
_OFTEN = 64  # so many of them are looked at anew with every step; later less often
_FAR = 4.0  # median deviations from the usual reward that are still usual


class Outcome(NamedTuple):
    """What E steps came to.

    Attributes:
        harm: How much each hurt, 0 for what did not. `[E]`
        good: Whether it ended well, or found a reward that is none of the usual. `[E]` of bool
    """

    harm: np.ndarray
    good: np.ndarray


class Outcomes:
    """Judges steps by the rewards of the last steps that ended nothing.

    Usual is the median reward, give or take four median deviations. What pays less hurts, by as much as is missing. An
    end that pays more than usual ends well. Where every step costs, so does one that costs no more than usual, as it is
    the last cost, until an end that paid more has been seen. Every other end hurts, by at least 1.
    """

    def __init__(self) -> None:
        self._rewards = np.zeros(_RECENT)
        self._count = 0
        self._low = self._high = 0.0
        self._better_ends = False  # whether an end has paid more than a usual step

    def __call__(self, transition: Transition) -> Outcome:
        """Take in a vector step and judge it."""
        reward, ended = transition.reward, transition.terminated
        self._take_in(reward[~ended])
        above = reward > self._high
        self._better_ends = self._better_ends or bool((ended & above).any())
        relieved = (self._high < 0) & (reward >= self._low) & (not self._better_ends)
        good = np.where(ended, above | relieved, above & (reward > 0))
        missing = np.maximum(self._low - reward, 0.0)
        return Outcome(np.where(ended & ~good, np.maximum(missing, 1.0), missing), good)

    def _take_in(self, rewards: np.ndarray) -> None:
        """Rewards of steps that ended nothing. `[N]`."""
        if not len(rewards):
            return
        before = self._count
        rewards = rewards[-_RECENT:]
        self._rewards[np.arange(before, before + len(rewards)) % _RECENT] = rewards
        self._count += len(rewards)
        if before < _OFTEN or before // _OFTEN != self._count // _OFTEN:
            seen = self._rewards[: self._count]
            usual = float(np.median(seen))
            spread = _FAR * float(np.median(np.abs(seen - usual)))
            self._low, self._high = usual - spread, usual + spread

    def state_dict(self) -> dict[str, Any]:
        """The last rewards and what was taken from them."""
        kept = self._rewards[: self._count].copy()
        usual = {"low": self._low, "high": self._high, "better_ends": self._better_ends}
        return {"rewards": kept, "count": self._count, **usual}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._rewards[: len(state["rewards"])] = state["rewards"]
        self._count, self._better_ends = int(state["count"]), bool(state["better_ends"])
        self._low, self._high = float(state["low"]), float(state["high"])
