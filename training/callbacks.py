"""What somebody else is told after each step of a training run, and may end it by."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engram_rl.agents.agent import Agent, Transition


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


def end_asked(callbacks: Sequence[Callback], moment: Moment) -> bool:
    """Tell all of them; whether one asks for the end."""
    return True in [_is_true(callback(moment)) for callback in callbacks]


def _is_true(answer: Any) -> bool:
    """Whether an answer is True itself, NumPy's included, which comparisons of arrays give."""
    return isinstance(answer, bool | np.bool_) and bool(answer)
