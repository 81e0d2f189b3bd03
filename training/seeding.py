"""Seeds and threads: what makes the same command give the same numbers."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import faiss
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv

from engram_rl.training.errors import UsageError
from engram_rl.training.intake.infos import AnyInfo

EVALUATION_SEED = 1_000_000
"""Where protocols that count their seeds evaluate: seeds that no training run uses."""

Purpose = Literal["training", "selection", "score", "evaluate", "video"]
PURPOSES: tuple[Purpose, ...] = ("training", "selection", "score", "evaluate", "video")
"""What worlds are drawn for: training; choosing the best checkpoint; the score; `engram evaluate`; a video."""

SPAWNED, COUNTED = "spawned", "counted"
SEEDINGS = (SPAWNED, COUNTED)
"""How the seeds of worlds come from a run's: drawn apart, or counted up from it as the first version did."""


def seed_everything(seed: int) -> None:
    """Seed Python, NumPy and torch; environments and agents get seeds of their own.

    Raises:
        UsageError: NumPy takes no such seed.
    """
    random.seed(require_seed(seed))
    np.random.seed(seed)  # noqa: NPY002  (third-party environments may draw from it)
    torch.manual_seed(seed)


def require_seed(seed: Any) -> int:
    """The seed, if every generator takes it.

    Raises:
        UsageError: It is no whole number of at least 0 and below 2**32.
    """
    if not isinstance(seed, int | np.integer) or not 0 <= seed < 2**32:
        raise UsageError(f"seed is {seed!r}; it must be a whole number of at least 0 and below 2**32.")
    return int(seed)


def world_seeds(seed: int, purpose: Purpose, environments: Any, seeding: str = SPAWNED) -> int | list[int]:
    """What environments are reset with.

    Runs of neighbouring seeds share no worlds, and no purpose meets the worlds of another.

    Args:
        seed: Of the run, or of the evaluation.
        purpose: What for.
        environments: They get a seed each; those that take no list get one for all.
        seeding: `spawned`, or `counted`: seed, seed + 1, ... as runs of the first version, which shared worlds.
    """
    if seeding == COUNTED:
        return seed if purpose == "training" else EVALUATION_SEED + (seed if purpose == "evaluate" else 0)
    drawn = np.random.SeedSequence(seed, spawn_key=(PURPOSES.index(purpose),)).generate_state(environments.num_envs)
    seeds = [int(one) >> 1 for one in drawn]  # below 2**31, as simulators in C take them
    return seeds if takes_each(environments) else seeds[0]


def takes_each(environments: Any) -> bool:
    """Whether environments are reset with a list of seeds, one each, and not with one for all."""
    inner = environments.unwrapped
    ours = isinstance(inner, SyncVectorEnv | AsyncVectorEnv | AnyInfo) or getattr(inner, "takes_each_seed", False)
    return bool(ours or environments.metadata.get("restorable"))


def generators() -> dict[str, Any]:
    """The states of the generators that a process has anyway: Python's, NumPy's and torch's."""
    version, words, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, list(words), gauss],
        "numpy": [kind, keys, position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }


def set_generators(state: dict[str, Any]) -> None:
    """Put them where `generators` found them."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
    torch.set_rng_state(state["torch"])


@contextmanager
def undisturbed() -> Iterator[None]:
    """Whatever is drawn inside from the process's own generators is as if it had not been."""
    before = generators()
    try:
        yield
    finally:
        set_generators(before)


def use_threads(threads: int) -> None:
    """Let torch and FAISS use `threads` threads each.

    One is the fastest for the small batches of most agents, and two-thread BLAS calls collapse beside a busy process.

    Raises:
        UsageError: Less than one.
    """
    if threads < 1:
        raise UsageError(f"threads is {threads}; it must be at least 1.")
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
