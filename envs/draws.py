"""Counter-based random draws: what episode i of run s holds is a pure function of (s, i), whoever asks and when.

A stateful generator per environment would need a Python loop at every reset; hashing counters draws for any batch of
runs at once, and a single environment sees exactly what the same run sees among a thousand others.
"""

from __future__ import annotations

import numpy as np

_STREAMS = 256
_GAMMA = np.uint64(0x9E3779B97F4A7C15)


def integers(seed: np.ndarray, counter: np.ndarray | int, stream: int, bound: np.ndarray | int) -> np.ndarray:
    """Uniform integers in [0, bound), by hashing their coordinates.

    Args:
        seed: The run's seed. `[B]` of uint64
        counter: The episode, or another count within the run. `[B]`, or one int for all
        stream: Which of the draws made at this count: two draws with the same coordinates are equal.
            From 0 to 255.
        bound: Exclusive upper limit, at least 1. `[B]`, or one int for all

    Returns:
        The draws. `[B]` of int64
    """
    bits = _bits(seed, counter, stream)
    return (bits % np.asarray(bound).astype(np.uint64)).astype(np.int64)


def uniforms(seed: np.ndarray, counter: np.ndarray | int, stream: int) -> np.ndarray:
    """Uniform floats in [0, 1), by hashing their coordinates as `integers` does. `[B]` of float64."""
    return _unit(_bits(seed, counter, stream))


def one_of(allowed: np.ndarray, seed: np.ndarray, counter: np.ndarray | int, stream: int) -> np.ndarray:
    """The index of one allowed cell, uniform over those allowed.

    Args:
        allowed: Which cells may be drawn, at least one in each row. `[B, C]` of bool
        seed: As for `integers`. `[B]`
        counter: As for `integers`.
        stream: As for `integers`.

    Returns:
        The cells drawn. `[B]` of int64
    """
    rank = np.cumsum(allowed, axis=1, dtype=np.int32)  # [B, C]: how many allowed cells up to here
    wanted = integers(seed, counter, stream, rank[:, -1]) + 1  # [B]
    return np.argmax(rank == wanted[:, None], axis=1)


def keys(seed: np.ndarray, counter: np.ndarray | int, stream: int, size: int) -> np.ndarray:
    """Random sort keys: the order of a row is a random permutation, its k smallest a random subset.

    Args:
        seed: As for `integers`. `[B]`
        counter: As for `integers`.
        stream: As for `integers`.
        size: C, how many keys in each row.

    Returns:
        Floats in [0, 1). `[B, C]`
    """
    places = _bits(seed, counter, stream)[:, None] + np.arange(size, dtype=np.uint64) * _GAMMA  # [B, C]
    return _unit(_mix(places))


def normals(seed: np.ndarray, counter: np.ndarray | int, stream: int, size: int) -> np.ndarray:
    """Standard normal numbers, by the transform of Box and Muller (1958). `[B, size]`."""
    uniform = keys(seed, counter, stream, 2 * size)  # [B, 2 * size]
    radius = np.sqrt(-2.0 * np.log1p(-uniform[:, :size]))
    return radius * np.cos(2.0 * np.pi * uniform[:, size:])


def smallest(keys: np.ndarray, count: int) -> np.ndarray:
    """Which entries are among the `count` smallest of their row. `keys [B, C]` -> `[B, C]` of bool."""
    chosen = np.zeros(keys.shape, dtype=np.bool_)
    if count:
        np.put_along_axis(chosen, np.argpartition(keys, count - 1, axis=1)[:, :count], True, axis=1)
    return chosen


def _bits(seed: np.ndarray, counter: np.ndarray | int, stream: int) -> np.ndarray:
    """64 random bits for each coordinate. `[B]` of uint64."""
    place = np.asarray(counter, dtype=np.int64) * _STREAMS + stream  # [B], or one for all
    return _mix(_mix(seed) ^ place.astype(np.uint64))


def _unit(bits: np.ndarray) -> np.ndarray:
    """The upper 53 bits as floats in [0, 1)."""
    return (bits >> np.uint64(11)) * 2.0**-53


def _mix(x: np.ndarray) -> np.ndarray:
    """One step of SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators")."""
    z = x + _GAMMA
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
