"""Signs that stand for discrete codes in a search by inner products: equal codes agree in all of them."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

SIGNATURE = 16
"""Columns of +-1 that stand for one discrete modality in the search."""

TABLED = 1024
"""Codes from 0 to below this have their signatures tabled."""


def signature(codes: Tensor) -> Tensor:
    """+-1 columns of codes: they always differ between small codes, mostly between others.  `[..., S]` -> `[..., 16]`.

    Small is below 2**15 in size for one column, below 125 for two.
    """
    if codes.shape[-1] == 1 and codes.device.type == "cpu" and codes.numel():
        low, high = torch.aminmax(codes)
        if low >= 0 and high < TABLED:
            return _tabled()[codes.squeeze(-1)]
    return _computed_signature(codes)


@cache
def _tabled() -> Tensor:
    """Signatures of the codes that are met most.  `[TABLED, 16]`."""
    return _computed_signature(torch.arange(TABLED).unsqueeze(1))


def _computed_signature(codes: Tensor) -> Tensor:
    folded = torch.zeros_like(codes[..., 0])
    for code in codes.unbind(-1):
        mixed = folded * 251 + ((code << 1) ^ (code >> 63))  # signed to unsigned: 0, -1, 1, -2, ...
        folded = (mixed ^ (mixed >> 16) ^ (mixed >> 32) ^ (mixed >> 48)) & 0xFFFF
    folded = folded * 0x9E3779B1  # spreads small codes over all bits; odd, so codes stay distinct
    return ((folded.unsqueeze(-1) >> torch.arange(SIGNATURE, device=codes.device)) & 1) * 2 - 1
