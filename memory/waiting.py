"""What a call wants to know of its tensors, asked at once: a GPU works behind its caller, who waits for each answer."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

AT_HAND = {"cpu"}
"""Kinds of device of which an answer costs no waiting, so that each question is best asked where it comes up."""

Checks: TypeAlias = list[tuple[Tensor, Callable[[], Exception]]]
"""What must be true before anything is changed, and the error if it is not."""


def require(checks: Checks | None, holds: Tensor, error: Callable[[], Exception]) -> None:
    """Have this hold, `[]` bool: asked later with these checks, or now if there are none, as the answer is at hand.

    Raises:
        Exception: The error, if it does not.
    """
    if checks is not None:
        checks.append((holds, error))
    elif not holds:
        raise error()


def told(checks: Checks, *asked: Tensor) -> list[np.ndarray]:
    """What these tensors hold, and that all checks hold, after waiting once; each in its shape, as float64.

    Raises:
        Exception: That of the first check which fails.
    """
    parts = [holds for holds, _ in checks] + list(asked)
    if not parts:
        return []
    flat = torch.cat([part.detach().reshape(-1).to(torch.float64) for part in parts]).cpu().numpy()
    ends = np.cumsum([0, *(part.numel() for part in parts)])
    answers = [flat[start:end].reshape(part.shape) for part, (start, end) in zip(parts, pairwise(ends), strict=True)]
    for (_, error), holds in zip(checks, answers, strict=False):
        if not holds.all():
            raise error()
    checks.clear()
    return answers[len(parts) - len(asked) :]
