"""Generators that do not share their draws, from one seed."""

from __future__ import annotations

import zlib

import numpy as np
import torch


def generator_for(seed: int, purpose: str) -> torch.Generator:
    """A generator of its own for each purpose."""
    entropy = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())])
    return torch.Generator().manual_seed(int(entropy.generate_state(1)[0]))


def copied(generator: torch.Generator) -> torch.Generator:
    """Another that will draw the same, so that neither changes what the other draws."""
    return torch.Generator(generator.device).set_state(generator.get_state())
