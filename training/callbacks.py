"""What somebody else is told after each step of a training run, and may end it by."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engram_rl.agents.agent import Agent, Transition
from engram_rl.memory.checks import shown
from engram_rl.training.errors import UsageError


@dataclass(frozen=True)
class Moment:
    """A run just after an environment step.

    Attributes:
        step: Environment steps so far, summed over the environments.
        agent: As it is now; it is the run's own, so what is changed is changed.
        transition: What just happened, a row for each environment.
        metrics: What learning said of this step, by TensorBoard name.
        folder: Of the run.
    """

    step: int
    agent: Agent
    transition: Transition
    metrics: dict[str, Any]
    folder: Path


Callback = Callable[[Moment], Any]
"""Is called after each step; what it returns is ignored, but True, which ends the run as if it had taken all its
steps."""


def require_callable(callbacks: Any) -> None:
    """Raise unless these are functions of a `Moment`.

    Raises:
        UsageError: They are no list, or one of them cannot be called with a `Moment` alone.
    """
    if not isinstance(callbacks, Sequence) or isinstance(callbacks, str | bytes):
        raise UsageError(f"callbacks is {shown(callbacks)}; give a list of functions, callbacks=[...].")
    for place, callback in enumerate(callbacks):
        if isinstance(callback, type):
            raise UsageError(
                f"callbacks[{place}] is the class {callback.__name__}; give an object of it: "
                f"callbacks=[{callback.__name__}()]."
            )
        if not callable(callback):
            raise UsageError(
                f"callbacks[{place}] is {shown(callback)}, which cannot be called; give a function of one argument, "
                f"such as lambda moment: moment.step > 1_000."
            )
        if not _takes_one(callback):
            raise UsageError(
                f"callbacks[{place}] is {shown(callback)}, which does not take one argument alone; it is called with "
                f"a Moment: def told(moment): ..."
            )


def _takes_one(callback: Callable[..., Any]) -> bool:
    """Whether something can be called with one argument, as far as it says."""
    try:
        signature = inspect.signature(callback)
    except (TypeError, ValueError):  # of a function that is not of Python
        return True
    try:
        signature.bind(None)
    except TypeError:
        return False
    return True


def end_asked(callbacks: Sequence[Callback], moment: Moment) -> bool:
    """Tell all of them; whether one asks for the end."""
    return True in [_is_true(callback(moment)) for callback in callbacks]


def _is_true(answer: Any) -> bool:
    """Whether an answer is True itself, NumPy's included, which comparisons of arrays give."""
    return isinstance(answer, bool | np.bool_) and bool(answer)
