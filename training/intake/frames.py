"""Frames of renderers as images: uint8 RGB, copied, whatever layout they come in."""

from __future__ import annotations

from typing import Any

import numpy as np

from engram_rl.training.errors import UsageError


def image(frame: Any, who: str) -> np.ndarray:
    """What a renderer gave as `[H, W, 3]` of uint8, a copy.

    Numbers between 0 and 1 are taken for shares of full light, grey and transparent pictures for colour ones, and a
    first axis of 1, 3 or 4 for channels where the last is none.

    Args:
        frame: Of one environment.
        who: Whose, for the error.

    Raises:
        UsageError: It is no picture.
    """
    try:
        pixels = np.array(frame)
    except (TypeError, ValueError):
        pixels = np.array(None)
    if pixels.dtype.kind not in "biuf" or pixels.ndim not in (2, 3) or not pixels.size:
        given = f"shape {pixels.shape}" if isinstance(frame, np.ndarray) else repr(frame)[:60]
        raise UsageError(f"{who} renders {given}, which is no image: a video needs [height, width, 3] of uint8.")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.shape[-1] not in (1, 3, 4) and pixels.shape[0] in (1, 3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    if pixels.shape[-1] not in (1, 3, 4):
        raise UsageError(f"{who} renders shape {np.shape(frame)}: a video needs 1, 3 or 4 channels.")
    if pixels.dtype.kind in "bf" and pixels.max() <= 1.0:
        pixels = pixels * 255.0
    if pixels.dtype == np.uint16:
        pixels = pixels / 257.0
    if pixels.dtype != np.uint8:
        pixels = np.nan_to_num(pixels.astype(np.float64)).round().clip(0, 255).astype(np.uint8)
    return np.ascontiguousarray(np.repeat(pixels, 3, axis=-1) if pixels.shape[-1] == 1 else pixels[..., :3])
