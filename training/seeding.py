"""Seeds and threads: what makes the same command give the same numbers."""

from __future__ import annotations

import random

import faiss
import numpy as np
import torch

from engram_rl.training.errors import UsageError

EVALUATION_SEED = 1_000_000
"""Evaluation starts from seeds that no training run uses."""


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch; environments and agents get seeds of their own.

    Raises:
        UsageError: NumPy takes no such seed.
    """
    if not 0 <= seed < 2**32:
        raise UsageError(f"seed is {seed}; it must be at least 0 and below 2**32.")
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002  (third-party environments may draw from it)
    torch.manual_seed(seed)


def use_threads(threads: int) -> None:
    """Let torch and FAISS use `threads` threads each.

    One is the fastest for the small batches of most agents, and two-thread BLAS calls collapse beside a busy process.
    """
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
