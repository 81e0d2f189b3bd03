"""The stable Hadamard memory (Le et al. 2024, arXiv 2410.10132)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_rl.memory.cores.core import Core, Losses, State, require_sizes


class StableHadamardMemory(Core):
    """A matrix whose every cell is weakened or strengthened on its own, by factors that are 1 on average.

        M_t = M_{t-1} * C_t + (eta_t v_t) k_t^T,   y_t = W_y [M_t q_t; x_t]           (3, 6)
        C_t = 1 + tanh(theta_l(t) v_c(t)^T)                                           (7)

    with `eta = sigmoid(w.e)`, v and v_c linear in e, k and q ReLU over their sum, and e = LN(W_e x). l(t) is drawn
    uniformly from the rows of theta, so that the product of many C is 1 on average.

    Deviations: l is not drawn afresh whenever the same step is computed, which would make learning see another memory
    than acting did; it follows from how many steps the episode has taken, a leaf of the state. M is clipped at `limit`,
    as in the authors' later code: an average of 1 does not keep single cells from growing. The published results on
    POPGym were made by code in which l was always 0, which is `rows=1`; the gradient of long sequences overflows there.
    Maps to keys, queries and values begin orthogonal: with smaller weights what is read back, a share of a share of
    what was written, drowns in what is written later, and half of all runs do not learn to recall a first input.

    Args:
        input_size: D.
        hidden_size: H; the output has as many numbers.
        memory_size: Rows and columns of M; `hidden_size` if None.
        rows: Rows of theta.
        limit: Largest number in M.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory_size: int | None = None,
        rows: int = 128,
        limit: float = 100.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.memory_size = size = hidden_size if memory_size is None else memory_size
        require_sizes(self, memory_size=size, rows=rows)
        self.limit = limit
        self.embed = nn.Sequential(nn.Linear(input_size, hidden_size), nn.LayerNorm(hidden_size))
        self.keys = nn.Linear(hidden_size, size, bias=False)
        self.queries = nn.Linear(hidden_size, size, bias=False)
        self.values = nn.Linear(hidden_size, size, bias=False)
        self.calibration = nn.Linear(hidden_size, size, bias=False)  # v_c
        self.strength = nn.Linear(hidden_size, 1, bias=False)  # eta, before the sigmoid
        for layer in (self.keys, self.queries, self.values):
            nn.init.orthogonal_(layer.weight)
        self.theta = nn.Parameter(nn.init.xavier_uniform_(torch.empty(rows, size)))
        self.read_out = nn.Linear(size + input_size, hidden_size)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        memory = like.new_zeros(batch_size, self.memory_size, self.memory_size)
        return {"memory": memory, "steps": torch.zeros(batch_size, dtype=torch.long, device=like.device)}

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self._sequence(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        """All that depends on x alone is worked out for all steps first."""
        e = self.embed(xs)  # [T, B, H]
        steps = state["steps"] + torch.arange(len(xs), device=xs.device).unsqueeze(1)  # [T, B]
        theta = self.theta[drawn(steps, len(self.theta))]  # [T, B, M]
        v_c, k, q = self.calibration(e), _shares(self.keys(e)), _shares(self.queries(e))
        written = torch.sigmoid(self.strength(e)) * self.values(e)
        memory, reads = state["memory"], []
        for t in range(len(xs)):
            factor = 1 + torch.tanh(theta[t].unsqueeze(2) * v_c[t].unsqueeze(1))  # C, [B, M, M]
            memory = torch.addcmul(memory * factor, written[t].unsqueeze(2), k[t].unsqueeze(1))
            memory = memory.clamp(-self.limit, self.limit)
            reads.append((memory @ q[t].unsqueeze(2)).squeeze(2))
        outputs = self.read_out(torch.cat([torch.stack(reads), xs], 2))
        return outputs, {"memory": memory, "steps": steps[-1] + 1}, {}


def drawn(steps: Tensor, rows: int) -> Tensor:
    """A row for each step, spread evenly and without a pattern: splitmix64's mixing of the step's number.

    The same step gives the same row, in any process and on any device. `[...]` of int64 -> `[...]`
    """
    mixed = (steps + 1) * -0x61C8864680B583EB  # int64 wraps around, as the mixing wants
    mixed = (mixed ^ _shifted(mixed, 30)) * -0x40A7B892E31B1A47
    mixed = (mixed ^ _shifted(mixed, 27)) * -0x6B2FB644ECCEEE15
    return (mixed ^ _shifted(mixed, 31)) % rows


def _shifted(number: Tensor, bits: int) -> Tensor:
    """To the right, filled with zeros rather than with the sign."""
    return (number >> bits) & ((1 << (64 - bits)) - 1)


def _shares(logits: Tensor) -> Tensor:
    """ReLU over its sum, along the last axis."""
    positive = torch.relu(logits)
    return positive / (positive.sum(-1, keepdim=True) + 1e-5)
