"""Tensors that take memory as they fill: zeros of which no page is touched before something is written there."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

LINE = 64
"""Bytes of a cache line, at which rows begin."""


def zeros(*shape: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """What `torch.zeros` gives; on the CPU the system hands out its memory page by page, when it is first written."""
    if torch.device(device).type != "cpu":
        return torch.zeros(*shape, dtype=dtype, device=device)
    size = math.prod(shape) * dtype.itemsize
    raw = np.zeros(size + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return torch.from_numpy(raw[start : start + size]).view(dtype).reshape(shape)
