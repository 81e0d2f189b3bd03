"""What a lookup of the slow memory finds: every distance by a loop, every weight by its formula."""

import math
from itertools import pairwise

import torch

from engram_rl.memory import Gaussian, InverseDistance
from engram_rl.memory.keys.subsets import SHARPNESS, subsets_of
from tests.memory.slow_memory import TIE, assert_close

CLOSE = 1e-4
"""Relative: what a float32 may get wrong of a distance between stored keys, or of a weight."""


def similarity(kernel, distance):
    if isinstance(kernel, InverseDistance):
        return 1 / (distance + kernel.delta)
    return math.exp(-distance / 2 / kernel.bandwidth**2) if isinstance(kernel, Gaussian) else 1.0


def assert_found(slow, found, queries, k, exclude, complete=True):
    """One lookup without references.

    Args:
        slow: The slow memory.
        found: What the memory found.
        queries: As lists, from `keys_of`.
        k: Neighbours that were asked for.
        exclude: Slots, for each query.
        complete: Whether nobody may have been missed.
    """
    penalties = slow.penalties()
    for row, query in enumerate(queries):
        slots, true = check_near(slow, found, row, slice(None), query, k, exclude[row], penalties, complete)
        check_sum(slow, found, row, weights_of(slow, slots, true))


def assert_referred(slow, found, queries, k, exclude, names, references, complete=True):
    """One lookup with references: each subset finds its own, and says as much as its evidence."""
    penalties, at = slow.penalties(), {part.name: m for m, part in enumerate(slow.space)}
    subsets = subsets_of(_Named(slow.space), names, references)
    for row, query in enumerate(queries):
        weights, evidence = [], []
        for s, subset in enumerate(subsets):
            asked = [at[name] for name in subset]
            whole = all(query[m] is not None for m in asked)
            part = [query[m] if m in asked and whole else None for m in range(len(query))]
            columns = slice(s * k, (s + 1) * k)
            if not whole:
                assert not found.valid[row, columns].any()
                weights.append({})
                evidence.append(-math.inf)
                continue
            slots, true = check_near(slow, found, row, columns, part, k, exclude[row], penalties, complete)
            weights.append(weights_of(slow, slots, true))
            evidence.append(log_evidence(slow, part, weights[-1], asked, penalties))
        most = max(evidence)
        shares = [0.0 if e == -math.inf else math.exp(e - most) for e in evidence]
        shares = [share / (sum(shares) or 1) for share in shares]
        assert_close(found.evidence[row].tolist(), shares, 1e-2, 1e-3)
        told = found.evidence[row].tolist()
        check_sum(slow, found, row, *({s: w * e for s, w in one.items()} for one, e in zip(weights, told, strict=True)))


def check_near(slow, found, row, columns, query, k, exclude, penalties, complete):
    """The slots found, and the true distance of every entry: the found are the nearest, nearest first."""
    near = []
    if any(part is not None for part in query):
        near = [(slow.distance(query, e.key, penalties), -e.number, s) for s, e in slow.held() if s not in exclude]
        near = sorted(one for one in near if one[0] < math.inf)
    valid = found.valid[row, columns]
    slots = found.slots[row, columns][valid].tolist()
    distances = found.distances[row, columns][valid].tolist()
    true = {slot: d for d, _, slot in near}
    assert set(slots) <= set(true) and len(set(slots)) == len(slots), (slots, near)
    assert (found.slots[row, columns][~valid] == -1).all() and (found.weights[row, columns][~valid] == 0).all()
    assert_close(distances, [true[slot] for slot in slots], CLOSE, 1e-37)
    assert all(a <= b * (1 + CLOSE) for a, b in pairwise(distances)), distances
    if complete:
        assert len(slots) == min(k, len(near)), (slots, near)
        for (wanted, _, _), slot in zip(near, slots, strict=False):
            assert true[slot] <= wanted * (1 + 2 * TIE) + 1e-37, (true[slot], wanted)
        if slow.only_codes(query):
            assert_latest(slow, query, slots, near)
    return slots, true


def assert_latest(slow, query, slots, near):
    """Of entries that have, and lack, the same of what is asked for, and are as near, the latest are found."""

    def lacking(slot):
        return [part is None for part, asked in zip(slow.slots[slot].key, query, strict=True) if asked is not None]

    for distance, number, slot in near:
        if slot in slots:
            like = [s for d, n, s in near if d == distance and n < number and lacking(s) == lacking(slot)]
            assert set(like) <= set(slots), (slots, near)


def weights_of(slow, slots, true):
    """Each slot's weight."""
    nearest = min((true[slot] for slot in slots), default=0.0)
    base = nearest if isinstance(slow.kernel, Gaussian) else 0.0  # so that not all round to 0
    similar = {slot: similarity(slow.kernel, true[slot] - base) for slot in slots}
    return {slot: s / sum(similar.values()) for slot, s in similar.items()}


def log_evidence(slow, query, weights, asked, penalties):
    """Of one subset; -inf if it found nobody."""
    if not weights:
        return -math.inf
    total, tiny = 0.0, torch.finfo(slow.dtype).tiny / SHARPNESS
    for m in asked:
        parts = {slot: slow.parts(query, slow.slots[slot].key, penalties)[m] for slot in weights}
        near, typical = sum(w * parts[slot] for slot, w in weights.items()), max(penalties[m], tiny)
        total += math.log((1 + SHARPNESS) * typical) - math.log(near + SHARPNESS * typical)
    return total


def check_sum(slow, found, row, *weights):
    """The value is the sum of the neighbours' by weight."""
    flat = [w for one in weights for w in one.values()]
    value = sum(w * slow.slots[slot].value for one in weights for slot, w in one.items())
    size = sum(w * abs(slow.slots[slot].value) for one in weights for slot, w in one.items())
    assert_close(found.weights[row, found.valid[row]].tolist(), flat, 1e-2, 1e-3)
    assert abs(found.value[row, 0].item() - value) <= 1e-2 * size + 1e-5
    assert found.value[row].isfinite().all()


class _Named:
    """What `subsets_of` needs to know of a key space."""

    def __init__(self, parts):
        self.names = [part.name for part in parts]
