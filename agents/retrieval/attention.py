"""Gated cross-attention from a policy's features to what was retrieved: one module that any policy can take."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engram_rl.agents.common.perceptron import linear
from engram_rl.agents.retrieval.tokens import NEIGHBOURS, SHOWN


class RetrievalAttention(nn.Module):
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
        self.embed = nn.Sequential(linear(token_size, width), nn.ReLU())
        self.null = nn.Parameter(torch.zeros(width))
        self.query = linear(features, width)
        self.key_value = linear(width, 2 * width)
        self.out = linear(width, features)
        self.a = nn.Parameter(torch.tensor(float(gate)), requires_grad=learn_gate)
        self._closed = gate == 0 and not learn_gate
        if self._closed:
            self.requires_grad_(False)

    @property
    def gate(self) -> Tensor:
        """How much of what is read is let in, -1 to 1."""
        return torch.tanh(self.a)

    def forward(self, features: Tensor, tokens: Tensor, valid: Tensor) -> Tensor:
        """What a policy should go on with. `[B, H]`, `[B, K, F]`, `[B, K]` of bool -> `[B, H]`."""
        return features if self._closed else self.read(features, tokens, valid)[0]

    def read(self, features: Tensor, tokens: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and the attention to each neighbour and to the null token. `[B, H]`, `[B, heads, K + 1]`.

        Keys `U e + u` and values `V e + v` are never made for each token e: as there is one query q to a situation,
        `q . (U e + u) = (q U) . e + q . u`, of which the last term is the same for all tokens and so without effect;
        and as weights w sum to 1, `sum_k w_k (V e_k + v) = V (sum_k w_k e_k) + v`.
        """
        width = len(self.null)
        U, V = self.key_value.weight.view(2, self.heads, -1, width)  # [heads, D, W] each
        v = self.key_value.bias[width:]  # [W]
        embedded = torch.relu(self.embed[0](tokens))  # [B, K, W]
        query = self._by_head(self.query(features)) / math.sqrt(U.shape[1])  # [heads, B, D]
        asked = torch.bmm(query, U).transpose(0, 1)  # [B, heads, W]
        scores = torch.bmm(asked, embedded.transpose(1, 2)).masked_fill(~valid.unsqueeze(1), -torch.inf)
        weights = torch.softmax(torch.cat([scores, (asked @ self.null).unsqueeze(2)], 2), dim=2)  # [B, heads, K + 1]
        mean = torch.bmm(weights[..., :-1], embedded) + weights[..., -1:] * self.null  # [B, heads, W]
        read = torch.bmm(mean.transpose(0, 1), V.transpose(1, 2)).transpose(0, 1).flatten(1) + v  # [B, W]
        return features + self.gate * self.out(read), weights

    def _by_head(self, rows: Tensor) -> Tensor:
        """`[B, W]` to `[heads, B, D]`, D = W / heads."""
        return rows.view(len(rows), self.heads, -1).transpose(0, 1)


class Fusion(nn.Module):
    """Reads what a `MemoryInput` shows into a policy's features.

    Args:
        attention: Does it.
    """

    def __init__(self, attention: RetrievalAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, features: Tensor, extras: dict[str, Tensor]) -> Tensor:
        """`[N, H]` to `[N, H]`."""
        return self.read(features, extras)[0]

    def read(self, features: Tensor, extras: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The same, and the attention to each neighbour and to the null token. `[N, H]`, `[N, heads, K + 1]`."""
        return self.attention.read(features, extras[NEIGHBOURS], extras[SHOWN])
