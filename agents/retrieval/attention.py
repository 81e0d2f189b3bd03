"""Gated cross-attention from a policy's features to what was retrieved: one module that any policy can take."""

from __future__ import annotations

import math
from typing import Any

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
        v = self.key_value.bias[width:].view(self.heads, 1, -1)  # [heads, 1, D]
        query = self.query(features).view(len(features), self.heads, -1).transpose(0, 1)  # [heads, B, D]
        asked = torch.bmm(query, U / math.sqrt(U.shape[1])).transpose(0, 1)  # [B, heads, W]
        attend = _Attend.apply if torch.is_grad_enabled() else _attend
        mean, weights, _ = attend(asked, tokens, valid, self.embed[0].weight, self.embed[0].bias, self.null)
        read = torch.baddbmm(v, mean.transpose(0, 1), V.transpose(1, 2)).transpose(0, 1).flatten(1)  # [B, W]
        return torch.addcmul(features, self.gate, self.out(read)), weights


def _attend(s: Tensor, x: Tensor, valid: Tensor, A: Tensor, a: Tensor, n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What is read of tokens `e = relu(A x + a)` and one more, n: `[w_1 .. w_K w_n] [e_1 .. e_K n]'`.

    The weights are `softmax(s [e_1 .. e_K n])` for what is asked, s, and 0 for tokens that are not there.

    Args:
        s: `[B, heads, W]`
        x: `[B, K, F]`
        valid: Which tokens are there. `[B, K]` of bool
        A: `[W, F]`
        a: `[W]`
        n: `[W]`

    Returns:
        It, `[B, heads, W]`, the weights, `[B, heads, K + 1]`, and e, `[B, K, W]`.
    """
    e = torch.addmm(a, x.flatten(0, 1), A.t()).relu_().view(*valid.shape, -1)
    scores = torch.bmm(s, e.mT).masked_fill_(~valid.unsqueeze(1), -torch.inf)
    w = _softmax(torch.cat([scores, (s @ n).unsqueeze(2)], 2))
    return _mean(w, e, n), w, e


class _Attend(torch.autograd.Function):
    """`_attend`, with a gradient by hand.

    Nobody needs that to x, and what lies between tokens and what is read of them is used twice: it takes a third of the
    operations of autograd.
    """

    @staticmethod
    def forward(ctx: Any, s: Tensor, x: Tensor, valid: Tensor, A: Tensor, a: Tensor, n: Tensor) -> Any:
        """As `_attend`."""
        mean, w, e = _attend(s, x, valid, A, a, n)
        ctx.save_for_backward(s, x, A, n, e, w)
        ctx.mark_non_differentiable(w, e)
        return mean, w, e

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        """From the gradient of what is read, `[B, heads, W]`, to all but what is there."""
        s, x, A, n, e, w = ctx.saved_tensors
        d = gradients[0]
        dw = torch.cat([torch.bmm(d, e.mT), (d @ n).unsqueeze(2)], 2)  # [B, heads, K + 1]
        ds = w * (dw - (dw * w).sum(2, keepdim=True))  # of the scores
        on, by = torch.cat([w, ds], 1), torch.cat([d, s], 1)  # [B, 2 heads, K + 1], [B, 2 heads, W]
        de = torch.bmm(on[..., :-1].mT, by).mul_(e.sign()).flatten(0, 1)  # [B K, W]; relu lets through what is above 0
        dx = (de @ A).view(x.shape) if ctx.needs_input_grad[1] else None
        dA, dn = (x.flatten(0, 1).t() @ de).t(), on[..., -1].flatten() @ by.flatten(0, 1)
        return _mean(ds, e, n), dx, None, dA, de.sum(0), dn


FEW = 8
"""Tokens below which products of small matrices and a softmax along them cost more than the same by sums."""


def _mean(w: Tensor, e: Tensor, n: Tensor) -> Tensor:
    """`[B, heads, K + 1]`, `[B, K, W]`, `[W]` -> `[B, heads, W]`."""
    w, w_n = w[..., :-1], w[..., -1:]
    mean = torch.bmm(w, e) if e.shape[1] >= FEW else (w.unsqueeze(3) * e.unsqueeze(1)).sum(2)
    return mean.addcmul_(w_n, n)


def _softmax(scores: Tensor) -> Tensor:
    """Along the last dimension. `[B, heads, K]`."""
    if scores.shape[2] > FEW:
        return torch.softmax(scores, 2)
    return torch.softmax(scores.flatten(0, 1).t().contiguous(), 0).t().contiguous().view_as(scores)


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
        return self.attention(features, extras[NEIGHBOURS], extras[SHOWN])  # type: ignore[no-any-return]

    def read(self, features: Tensor, extras: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The same, and the attention to each neighbour and to the null token. `[N, H]`, `[N, heads, K + 1]`."""
        return self.attention.read(features, extras[NEIGHBOURS], extras[SHOWN])
