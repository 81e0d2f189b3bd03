"""Fast weights written by the delta rule (Schlag, Irie and Schmidhuber 2021, arXiv 2102.11174)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.memory.cores.core import Core, Losses, State, require_sizes

CHUNK = 64
"""Steps that are written together: work grows with its square, the number of loops falls with it."""


class DeltaRule(Core):
    """A matrix S that maps keys to values; what is written replaces what the same key had (section 4.2).

        k = silu(W_k x) / |.|,  q = silu(W_q x) / |.|,  v = W_v x,  beta = sigmoid(w.x)
        S_t = S_{t-1} + beta_t (v_t - S_{t-1} k_t) k_t^T,    y_t = W_y [S_t q_t; x_t]

    As |k| = 1, a write with beta = 1 is exact: `S_t k_t = v_t`. Whole sequences are written a chunk of steps at a time
    (Yang et al. 2024, arXiv 2406.06484): what each step changes is the solution of a triangular system.

    Deviations: keys are SiLU over their length, as in Yang et al., not DPFP over their sum; the read-out sees x beside
    what was read, so that a policy sees the present as well.

    Args:
        input_size: D.
        hidden_size: H; the output has as many numbers, and so have the values of all heads together.
        heads: Matrices; each holds values of `hidden_size / heads` numbers.
        key_size: Numbers in a key of a head, which is how many pairs it can hold apart; `hidden_size / heads` if None.
    """

    strongest = 1.0
    """The largest beta."""

    def __init__(self, input_size: int, hidden_size: int, heads: int = 1, key_size: int | None = None) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, heads=heads)
        if hidden_size % heads:
            raise ValueError(f"{self._name}'s hidden_size of {hidden_size} does not divide into heads={heads}")
        self.heads, self.value_size = heads, hidden_size // heads
        self.key_size = self.value_size if key_size is None else key_size
        require_sizes(self, key_size=self.key_size)
        self.keys = nn.Linear(input_size, heads * self.key_size)
        self.queries = nn.Linear(input_size, heads * self.key_size)
        self.values = nn.Linear(input_size, hidden_size)
        self.strength = nn.Linear(input_size, heads)  # beta, before the sigmoid
        self.read_out = nn.Linear(hidden_size + input_size, hidden_size)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {"fast": like.new_zeros(batch_size, self.heads, self.value_size, self.key_size)}

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        k, q, v, beta = self._written(x)
        decay = self._log_decay(x)
        fast = state["fast"] if decay is None else decay.exp()[..., None, None] * state["fast"]
        change = beta.unsqueeze(-1) * (v - _read(fast, k))  # [B, heads, V]
        fast = fast + change.unsqueeze(-1) * k.unsqueeze(-2)
        read = _read(fast, q).flatten(1)  # [B, H]
        return self.read_out(torch.cat([read, x], 1)), {"fast": fast}, {}

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        if len(xs) == 1:
            return super()._sequence(xs, state)
        fast, reads = state["fast"], []
        for chunk in xs.split(CHUNK):
            k, q, v, beta = (part.movedim(0, 2) for part in self._written(chunk))
            decay = self._log_decay(chunk)
            read, fast = write_and_read(fast, k, q, v, beta, None if decay is None else decay.movedim(0, 2))
            reads.append(read.movedim(2, 0).flatten(2))  # [B, heads, C, V] -> [C, B, H]
        return self.read_out(torch.cat([torch.cat(reads), xs], 2)), {"fast": fast}, {}

    def _written(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What k, q, v and beta are: `[..., D]` to `[..., heads, K]` twice, `[..., heads, V]`, `[..., heads]`."""
        k = functional.normalize(functional.silu(self.keys(x)).unflatten(-1, (self.heads, -1)), dim=-1)
        q = functional.normalize(functional.silu(self.queries(x)).unflatten(-1, (self.heads, -1)), dim=-1)
        v = self.values(x).unflatten(-1, (self.heads, -1))
        return k, q, v, self.strongest * torch.sigmoid(self.strength(x))

    def _log_decay(self, x: Tensor) -> Tensor | None:
        """Logarithm of the part of S that stays, if not all: `[..., D]` -> `[..., heads]`."""
        return None


def write_and_read(
    fast: Tensor, k: Tensor, q: Tensor, v: Tensor, beta: Tensor, log_decay: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """C steps of the delta rule at once: what each read, and the matrix after the last.

    With `D_ti` what is left at t of what was written at i, step t adds `c_t k_t^T` to the matrix, where

        c_t = beta_t (v_t - D_t0 S_0 k_t - sum_{i<t} D_ti (k_i.k_t) c_i),

    which is a unit lower triangular system in all c at once.

    Args:
        fast: S_0.  `[B, heads, V, K]`
        k: Of length 1.  `[B, heads, C, K]`
        q: `[B, heads, C, K]`
        v: `[B, heads, C, V]`
        beta: `[B, heads, C]`
        log_decay: Of the factor on S before each step is written, at most 0; None for no decay.  `[B, heads, C]`
    """
    by_key, by_query = k @ k.mT, q @ k.mT  # [B, heads, C, C], rows t, columns i
    from_key, from_query = k @ fast.mT, q @ fast.mT  # [B, heads, C, V]: S_0 k_t, S_0 q_t
    last = k
    if log_decay is not None:
        total = log_decay.cumsum(-1)
        between = (total.unsqueeze(-1) - total.unsqueeze(-2)).tril().exp()  # D; above the diagonal it is not used
        since = total.exp().unsqueeze(-1)
        by_key, by_query = between * by_key, between * by_query
        from_key, from_query = since * from_key, since * from_query
        last, fast = between[..., -1, :].unsqueeze(-1) * k, since[..., -1:, :] * fast
    beta = beta.unsqueeze(-1)
    others, alone = (beta * by_key).tril(-1), beta * (v - from_key)
    change = torch.linalg.solve_triangular(others, alone, upper=False, unitriangular=True)  # c, [B, heads, C, V]
    return from_query + by_query.tril() @ change, fast + change.mT @ last


def _read(fast: Tensor, key: Tensor) -> Tensor:
    """`[B, heads, V, K]`, `[B, heads, K]` -> `[B, heads, V]`."""
    return (fast @ key.unsqueeze(-1)).squeeze(-1)
