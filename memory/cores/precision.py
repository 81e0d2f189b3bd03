"""torch's recurrent cells on a GPU, in the precision that they have on the processor."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def unrounded(x: Tensor) -> Iterator[None]:
    """Have cuDNN take float32 as it is.

    By default it rounds to 10 bits (TF32), one way in a step and another in a sequence, so that acting and learning
    would differ by one part in a thousand.
    """
    if not x.is_cuda:
        yield
        return
    cudnn = torch.backends.cudnn
    by_kind = hasattr(cudnn, "rnn")  # from torch 2.9 on
    place, name, whole = (cudnn.rnn, "fp32_precision", "ieee") if by_kind else (cudnn, "allow_tf32", False)
    before = getattr(place, name)
    setattr(place, name, whole)
    try:
        yield
    finally:
        setattr(place, name, before)
