"""Gated cross-attention from a policy's features to what was retrieved: one module that any policy can take."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Retrieval(nn.Module):
    """Adds to features what attention reads from retrieved neighbours: `h + tanh(a) W attend(h, neighbours)`.

    Attention with several heads (Vaswani et al. 2017) over the neighbours' tokens and one learned null token, which is
    there to be attended to where no neighbour helps. The gate is that of Flamingo (Alayrac et al. 2022), but it begins
    open: begun at 0 it learns much later. A gate held at 0 gives back the features bit for bit, and nothing is trained.

    Args:
        features: Numbers in h, H.
        token_size: Numbers in a token, F.
        width: Numbers in a query, key or value, over all heads.
        heads: Their number; divides the width.
        gate: a at first.
        learn_gate: Whether a is trained.

    Raises:
        ValueError: The heads do not divide the width.
    """

    def __init__(
        self, features: int, token_size: int, *, width: int, heads: int, gate: float, learn_gate: bool = True
    ) -> None:
        super().__init__()
        if heads < 1 or width % heads:
            raise ValueError(f"{heads} heads do not divide a width of {width}: choose a multiple.")
        self.heads = heads
        self.embed = nn.Sequential(nn.Linear(token_size, width), nn.ReLU())
        self.null = nn.Parameter(torch.zeros(width))
        self.query = nn.Linear(features, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, features)
        self.a = nn.Parameter(torch.tensor(float(gate)), requires_grad=learn_gate)
        if gate == 0 and not learn_gate:
            self.requires_grad_(False)

    @property
    def gate(self) -> Tensor:
        """How much of what is read is let in, -1 to 1."""
        return torch.tanh(self.a)

    def forward(self, features: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """What a policy should go on with. `[B, H]`, `[B, K, F]`, `[B, K]` of bool -> `[B, H]`."""
        return self.read(features, tokens, valid)[0]

    def read(self, features: Tensor, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the attention to each neighbour and to the null token. `[B, H]`, `[B, heads, K + 1]`."""
        embedded = self.embed(tokens)  # [B, K, W]
        null = self.null.expand(len(tokens), 1, -1)
        keys, values = self.key_value(torch.cat([embedded, null], 1)).chunk(2, dim=-1)  # [B, K + 1, W] each
        query = self._split(self.query(features).unsqueeze(1))  # [B, heads, 1, W / heads]
        scores = query @ self._split(keys).transpose(2, 3) / math.sqrt(query.shape[-1])  # [B, heads, 1, K + 1]
        absent = torch.nn.functional.pad(~valid, (0, 1))[:, None, None]  # [B, 1, 1, K + 1]; the null token never is
        weights = torch.softmax(scores.masked_fill(absent, -torch.inf), dim=-1)
        read = (weights @ self._split(values)).transpose(1, 2).flatten(1)  # [B, W]
        return features + self.gate * self.out(read), weights.squeeze(2)

    def _split(self, rows: Tensor) -> Tensor:
        """`[B, K, W]` to `[B, heads, K, W / heads]`."""
        return rows.unflatten(-1, (self.heads, -1)).transpose(1, 2)
