"""An ensemble over key subsets (multi-referencing): one query matched under several subsets of its modalities.

The answers are averaged by evidence. A part that is corrupted spoils every subset it is in, and only those; the others
still find the entry, and the more parts agree on it, the more their answer weighs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from engram_rl.memory.checks import shown, unknown
from engram_rl.memory.keys.space import Keys, KeySpace

References: TypeAlias = Literal["all"] | Sequence[Sequence[str]]
"""Every non-empty subset of the modalities that are given, or a list of subsets by name."""

MOST_MODALITIES = 6
"""Beyond this "all" would be more than 63 lookups for one query."""

SHARPNESS = 0.01
"""Share of the typical distance below which nearer is hardly better evidence."""


def subsets_of(space: KeySpace, given: Sequence[str], references: References) -> list[tuple[str, ...]]:
    """The subsets to match, each a tuple of modalities in the space's order."""
    names = [name for name in space.names if name in given]
    if references == "all":
        if len(names) > MOST_MODALITIES:
            raise ValueError(
                f"references='all' with {len(names)} modalities means {2 ** len(names) - 1} subsets; "
                f"list the subsets that matter, or give at most {MOST_MODALITIES} modalities"
            )
        return [c for size in range(1, len(names) + 1) for c in combinations(names, size)]
    if isinstance(references, str) or not isinstance(references, Sequence):
        raise TypeError(f"references is {shown(references)}; give 'all' or a list of subsets of the modalities")
    for subset in references:
        if isinstance(subset, str) or not isinstance(subset, Sequence) or not len(subset):
            raise ValueError(f"reference {subset!r} is no subset of the modalities; write it as a tuple of names")
        for name in subset:
            if name not in names:
                raise unknown("modality in a reference (the query must give it)", str(name), names)
    chosen = [tuple(name for name in names if name in subset) for subset in references]
    if not chosen:
        raise ValueError("references is empty; give at least one subset of the modalities, or 'all'")
    return chosen


def under_each(query: Keys, space: KeySpace, chosen: list[tuple[str, ...]]) -> Keys:
    """Each query once per subset, asking for that only; nothing where the query lacks a part.  `[B * S]` rows."""
    masks = torch.tensor([[name in c for name in space.names] for c in chosen])
    masks = masks.to(query.present.device, non_blocking=True)  # [S, M]
    given = query.present.unsqueeze(1)  # [B, 1, M]
    complete = (given | ~masks).all(2, keepdim=True)  # [B, S, 1]
    S = len(chosen)
    return Keys(
        query.vectors.repeat_interleave(S, 0), query.codes.repeat_interleave(S, 0), (masks & complete).flatten(0, 1)
    )


def evidence(parts: Tensor, asked: Tensor, typical: Tensor, weights: Tensor, subsets: int) -> Tensor:
    """How much each subset has to say: how many times nearer than typical its neighbours are, part by part.

    `e_s = prod_{m in s} (t_m + c) / (d_m + c)` with `c = 0.01 t_m`, where t_m is the typical squared distance of part m
    and d_m that of the neighbours, averaged by weight: likelihood ratios of independent parts, as in naive Bayes.

    Args:
        parts: Squared distances by part, `[B * S, k, M]`.
        asked: Which parts the subset asks for, `[B * S, M]`.
        typical: `[M]`
        weights: Of the neighbours, 0 where there is none. `[B * S, k]`
        subsets: S.

    Returns:
        Sums to 1 over the subsets that found something, 0 for the others. `[B, S]`
    """
    parts = parts.masked_fill(~(asked.unsqueeze(1) & (weights > 0).unsqueeze(2)), 0)  # others may be infinitely far
    near = (weights.unsqueeze(2) * parts).sum(1)  # [B * S, M]
    typical = typical.clamp(min=torch.finfo(parts.dtype).tiny / SHARPNESS)
    ratio = torch.log((1 + SHARPNESS) * typical) - torch.log(near + SHARPNESS * typical)
    logarithm = (ratio * asked).sum(1)
    found = (weights > 0).any(1) & asked.any(1)
    logarithm = logarithm.masked_fill(~found, torch.finfo(parts.dtype).min)
    shape = (len(found) // subsets, subsets)
    return torch.softmax(logarithm.reshape(shape), dim=1) * found.reshape(shape)
