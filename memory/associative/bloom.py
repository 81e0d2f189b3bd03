"""The neural Bloom filter (Rae, Bartunov and Lillicrap 2019, arXiv 1906.04304): was something like this stored?"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engram_rl.memory.checks import real, require_precision, whole
from engram_rl.memory.modes import unrounded


class NeuralBloomFilter(nn.Module):
    """Says of an item whether it belongs to the set that was stored, from a memory that does not grow with the set.

        z = f(x),  a = softmax(A q(z)),  w = W_w z          code, address, word                  (algorithm 1)
        write:  M <- M + a w^T                              additive: any order, all at once
        read:   logit = g([a_1 M_1; ...; a_K M_K; w; z])

    f, q, g, A and W_w are learned over many sets, by `loss`; then a set is stored in one write. A filter that makes no
    false negatives is one whose threshold is low enough: `threshold` gives the highest that lets in all of a set.

        filter = NeuralBloomFilter(width=32)
        filter.loss(items, others).backward()                      # for many sets, as any net is trained
        memory = filter.write(filter.empty(1), items)              # [1, N, 32]
        filter.logits(memory, others) >= filter.threshold(memory, items)

    As a bonus for what is new: `filter.novelty(memory, x)`, from 0 to 1, before x is written.

    Deviation: the paper whitens q(z) by moving averages; here it is normalised, so that nothing is kept on the module.

    Args:
        width: Numbers in an item.
        hidden: Units in f and g, and numbers in z.
        slots: K, rows of M.
        word: Numbers in a row.

    Raises:
        ValueError: A size below 1.
    """

    def __init__(self, width: int, hidden: int = 64, slots: int = 16, word: int = 16) -> None:
        super().__init__()
        self.width, self.slots, self.word = whole("width", width), whole("slots", slots), whole("word", word)
        whole("hidden", hidden)
        self.code = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, hidden))  # f
        self.query = nn.Sequential(nn.Linear(hidden, word), nn.LayerNorm(word))  # q
        self.addresses = nn.Parameter(torch.randn(slots, word) / math.sqrt(word))  # A
        self.words = nn.Linear(hidden, word)
        self.answer = nn.Sequential(nn.Linear(slots * word + word + hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1))

    def empty(self, batch_size: int) -> Tensor:
        """M of so many empty sets. `[B, K, W]`."""
        return self.addresses.new_zeros(whole("batch_size", batch_size), self.slots, self.word)

    @unrounded
    def write(self, memory: Tensor, items: Tensor) -> Tensor:
        """M after a set was added; several calls are one call. `[B, K, W]`, `[B, N, width]` -> `[B, K, W]`.

        Raises:
            ValueError: Another shape, or NaN or infinity.
        """
        _, at, word = self._coded(items, memory)
        return memory + at.mT @ word

    @unrounded
    def logits(self, memory: Tensor, items: Tensor) -> Tensor:
        """How much items seem to belong to the set. `[B, K, W]`, `[B, N, width]` -> `[B, N]`.

        Raises:
            ValueError: Another shape, or NaN or infinity.
        """
        z, at, word = self._coded(items, memory)
        seen = (at.unsqueeze(-1) * memory.unsqueeze(1)).flatten(2)  # [B, N, K W]
        logits: Tensor = self.answer(torch.cat([seen, word, z], -1)).squeeze(-1)
        return logits

    def threshold(self, memory: Tensor, stored: Tensor) -> Tensor:
        """The highest threshold at which none of these items is denied. `[B, N, width]` -> `[B, 1]`."""
        return self.logits(memory, stored).amin(1, keepdim=True)

    @torch.no_grad()
    def novelty(self, memory: Tensor, items: Tensor) -> Tensor:
        """How probable it is that items do not belong to the set, from 0 to 1. `[B, N, width]` -> `[B, N]`."""
        return torch.sigmoid(-self.logits(memory, items))

    def loss(self, items: Tensor, others: Tensor) -> Tensor:
        """Cross-entropy of members and others, once the members are stored; to be descended over many sets.

        Args:
            items: `[B, N, width]`
            others: Which do not belong to the set. `[B, M, width]`
        """
        memory = self.write(self.empty(len(items)), items)
        inside, outside = self.logits(memory, items), self.logits(memory, others)
        softplus = nn.functional.softplus
        return (softplus(-inside).mean() + softplus(outside).mean()) / 2

    def _coded(self, items: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """z, a and w. `[B, N, .]`."""
        real("items", items)
        if items.dim() != 3 or len(items) != len(memory) or items.shape[2] != self.width or not items.numel():
            raise ValueError(
                f"items have shape {list(items.shape)}; this memory takes [{len(memory)}, N, {self.width}]"
            )
        if not torch.isfinite(items).all():
            raise ValueError("items hold NaN or infinity, which the memory would keep for ever")
        require_precision("items", items, self.addresses.dtype)
        z = self.code(items)
        return z, (self.query(z) @ self.addresses.mT).softmax(-1), self.words(z)
