"""The layer that the transformers here are made of: attention that knows how long ago, and gates that begin closed."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engram_rl.memory.cores import band
from engram_rl.memory.cores.addressing import linear


class Gate(nn.Module):
    """A GRU over depth, which lets x pass at first (Parisotto et al. 2019, arXiv 1910.06764, section 3.2).

        r = sigmoid(W_r y + U_r x)
        z = sigmoid(W_z y + U_z x - b)
        g = (1 - z) x + z tanh(W_g y + U_g (r x))

    Args:
        size: Numbers in x, in y and in g.
        bias: b, 2 in the paper.
    """

    def __init__(self, size: int, bias: float) -> None:
        super().__init__()
        self.told = nn.Linear(size, 3 * size, bias=False)  # W_r, W_z, W_g
        self.kept = nn.Linear(size, 2 * size, bias=False)  # U_r, U_z
        self.candidate = nn.Linear(size, size, bias=False)  # U_g
        self.bias = nn.Parameter(torch.full((size,), bias))
        for weight in (*self.told.weight.chunk(3), *self.kept.weight.chunk(2), self.candidate.weight):
            nn.init.xavier_uniform_(weight)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """`[..., size]` twice -> `[..., size]`."""
        y_reset, y_update, y_new = self.told(y).chunk(3, -1)
        x_reset, x_update = self.kept(x).chunk(2, -1)
        new = torch.tanh(y_new + self.candidate((y_reset + x_reset).sigmoid() * x))
        return torch.lerp(x, new, (y_update + x_update - self.bias).sigmoid())


class Attention(nn.Module):
    """Attention over steps that are so and so long ago (Dai et al. 2019, arXiv 1901.02860, section 3.3).

        score(t, i) = ((q_t + u) k_i + (q_t + v) W_R R(t - i)) / sqrt d

    with R the sines and cosines of an age, and u and v learned.

    Args:
        size: Numbers in what is attended to, and in the result.
        heads: Of attention.
    """

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, max(1, size // heads)
        inner = heads * self.head_size
        self.query, self.key, self.value, self.age = (nn.Linear(size, inner, bias=False) for _ in range(4))
        self.output = nn.Linear(inner, size, bias=False)
        for layer in (self.query, self.key, self.value, self.age, self.output):
            nn.init.xavier_uniform_(layer.weight)
        self.by_content = nn.Parameter(torch.zeros(heads, 1, self.head_size))  # u
        self.by_age = nn.Parameter(torch.zeros(heads, 1, self.head_size))  # v

    def forward(self, now: Tensor, past: Tensor, outside: Tensor, older: Older | None = None) -> Tensor:
        """What the last T steps of `past` read of the N up to themselves, and of what is older.

        Args:
            now: What asks. `[B, T, size]`
            past: N - 1 steps before, then the T. `[B, N - 1 + T, size]`
            outside: What is not seen. `[B, T, N]` of bool
            older: Entries that every step may see as well.

        Returns:
            `[B, T, size]`
        """
        window = outside.shape[-1]
        weights = self.weights(now, past, outside, older)
        read = band.along_the_band(weights[..., :window]) @ self.split(self.value(past))
        if older is not None:
            read = read + weights[..., window:] @ self.split(self.value(older.entries))
        return self.output(self.join(read))

    def weights(self, now: Tensor, past: Tensor, outside: Tensor, older: Older | None = None) -> Tensor:
        """How much each head reads of each of the N, the oldest first, then of the C older ones. `[B, h, T, N + C]`."""
        window = outside.shape[-1]
        query = self.split(self.query(now))  # [B, h, T, d]
        asking, aging = query + self.by_content, query + self.by_age
        distances = self.split(self.age(sinusoids(band.ages(window, now.device), now)))  # [h, N, d]
        scores = band.of_the_band(asking @ self.split(self.key(past)).mT, window) + aging @ distances.mT
        scores = scores.masked_fill(outside.unsqueeze(1), -torch.inf)
        if older is not None:
            distances = self.split(self.age(sinusoids(older.ages, now)))  # [h, C, d]
            further = asking @ self.split(self.key(older.entries)).mT + aging @ distances.mT
            further = further.masked_fill(older.outside[:, None, None], -torch.inf)
            scores = torch.cat([scores, further], -1)
        return (scores / math.sqrt(self.head_size)).softmax(-1)

    def split(self, x: Tensor) -> Tensor:
        """`[..., T, heads d]` -> `[..., heads, T, d]`."""
        return x.unflatten(-1, (self.heads, self.head_size)).transpose(-2, -3)

    def join(self, x: Tensor) -> Tensor:
        """`[..., heads, T, d]` -> `[..., T, heads d]`."""
        return x.transpose(-2, -3).flatten(-2)


class Older:
    """Entries that are not single steps.

    Args:
        entries: `[B, C, size]`
        ages: How many steps ago they are. `[C]`
        outside: Which are empty. `[B, C]` of bool
    """

    def __init__(self, entries: Tensor, ages: Tensor, outside: Tensor) -> None:
        self.entries, self.ages, self.outside = entries, ages, outside

    def normalised(self, norm: nn.LayerNorm) -> Older:
        """The same, entries normalised."""
        return Older(norm(self.entries), self.ages, self.outside)


class Layer(nn.Module):
    """A layer of the gated TransformerXL (Parisotto et al. 2019, section 3).

        Y = gate(E, relu(attention(norm(E), norm([M; E]))))
        E = gate(Y, relu(W_2 relu(W_1 norm(Y))))

    Args:
        size: Numbers in an activation.
        heads: Of attention.
        bias: Of the gates.
    """

    def __init__(self, size: int, heads: int, bias: float) -> None:
        super().__init__()
        self.norm, self.norm_inner = nn.LayerNorm(size), nn.LayerNorm(size)
        self.attention = Attention(size, heads)
        self.first, self.second = linear(size, 2 * size), linear(2 * size, size)
        self.gate, self.gate_inner = Gate(size, bias), Gate(size, bias)

    def forward(self, past: Tensor, outside: Tensor, older: Older | None = None) -> Tensor:
        """The layer's output at the last T steps.

        Args:
            past: Its inputs at N - 1 steps before, then at the T. `[B, N - 1 + T, size]`
            outside: What is not seen. `[B, T, N]` of bool
            older: Entries that every step may see as well.
        """
        steps = outside.shape[1]
        normed = self.norm(past)
        read = self.attention(normed[:, -steps:], normed, outside, older and older.normalised(self.norm))
        inner = self.gate(past[:, -steps:], read.relu())
        return self.gate_inner(inner, self.second(self.first(self.norm_inner(inner)).relu()).relu())


def sinusoids(ages: Tensor, like: Tensor) -> Tensor:
    """R: sines and cosines of ages, of wavelengths from 2 pi to 10,000 times that. `[...]` -> `[..., size]`."""
    size = like.shape[-1]
    powers = torch.arange(0, size, 2, dtype=like.dtype, device=like.device) / size
    angles = ages.to(like.dtype).unsqueeze(-1) * torch.exp(-math.log(10_000) * powers)
    return torch.cat([angles.sin(), angles.cos()], -1)[..., :size]
