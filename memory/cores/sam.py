"""Sparse access memory (Rae et al. 2016, arXiv 1610.09027): many slots, of which a step touches few."""

from __future__ import annotations

import torch
from torch import Tensor

from engram_rl.memory.cores.addressing import SMALL, entropy, linear, oneplus
from engram_rl.memory.cores.core import State, require_sizes
from engram_rl.memory.cores.derivatives import content
from engram_rl.memory.cores.steered import Steered

ACCESSED = 0.005
"""A slot counts as accessed where a weight is above this: delta in the paper."""


class SAM(Steered):
    """An LSTM beside a memory that is read at the K most similar slots and written where it last read or long did not.

        h    = LSTM([x; r_{t-1}])
        w^w  = alpha (gamma w^r_{t-1} + (1 - gamma) I^u)      (5), I^u the least recently accessed slot
        M    = M_{t-1}, its slot I^u set to 0, + w^w a^T      (3)
        w^r  = softmax over the K largest beta cos(q, M_i)    (4), exact
        r    = w^r M,    y = W [h; r]

    alpha and gamma are sigmoids, beta is 1 + softplus. A slot is accessed where w^r + w^w is above .005 (U^2 in the
    paper). Which slots are the K is not differentiated; gradients reach only their rows. With several reading heads,
    gamma writes where all of them read, in equal shares. The memory is copied at each step, where the paper changes it
    in place and undoes that on the way back: a state that is given stays as it was.

    No parameter depends on the number of slots, which may be raised after training: `core.slots = 4096`.

    Args:
        input_size: D.
        hidden_size: H, of the controller, and numbers in an output.
        slots: N, rows of memory.
        width: W, numbers in a row.
        reads: R, heads that read; one writes.
        k: K, rows that a head reads.
    """

    reads_by = "slot"

    def __init__(
        self, input_size: int, hidden_size: int, slots: int = 128, width: int = 16, reads: int = 1, k: int = 4
    ) -> None:
        super().__init__(input_size, hidden_size, width, reads)
        require_sizes(self, slots=slots, k=k)
        if k > slots:
            raise ValueError(f"SAM reads the k={k} most similar of slots={slots}; k can be at most that many")
        self.slots, self.k = slots, k
        self.heads = linear(hidden_size, width + 2 + reads * (width + 1))

    def _empty(self, batch_size: int, like: Tensor) -> State:
        idle = torch.arange(self.slots, 0, -1, device=like.device)  # the first slot is the first to be written
        return {
            "memory": like.new_zeros(batch_size, self.slots, self.width),
            "rows": torch.zeros(batch_size, self.reads, self.k, dtype=torch.int64, device=like.device),
            "weights": like.new_zeros(batch_size, self.reads, self.k),
            "written": like.new_zeros(batch_size),
            "idle": idle.repeat(batch_size, 1),
            "ages": idle.new_zeros(batch_size, self.slots),
        }

    def _turn(self, hidden: Tensor, state: State) -> tuple[Tensor, State]:
        writing, reading = self.heads(hidden).split([self.width + 2, self.reads * (self.width + 1)], -1)
        add, gates = writing.split([self.width, 2], -1)
        alpha, gamma = gates.sigmoid().unsqueeze(1).unbind(-1)  # [B, 1]
        oldest = least_recent(state["idle"])  # [B, 1]
        at = torch.cat([state["rows"].flatten(1), oldest], -1)  # [B, R K + 1]
        shares = torch.cat([gamma / self.reads * state["weights"].flatten(1), 1 - gamma], -1)
        memory, weights = self._write(state["memory"], at, alpha * shares, add.tanh())

        keys, beta = reading.unflatten(-1, (self.reads, -1)).split([self.width, 1], -1)
        rows, read_weights, found = self._read(memory, keys.tanh(), oneplus(beta))
        read = (read_weights.unsqueeze(2) @ found).flatten(1)  # [B, R W]
        touched = weights.detach().scatter_add(1, rows.flatten(1), read_weights.detach().flatten(1))
        after = {
            "memory": memory,
            "rows": rows,
            "weights": read_weights,
            "written": weights.sum(-1),
            "idle": (state["idle"] + 1).masked_fill(touched > ACCESSED, 0),
            "ages": (state["ages"] + 1).masked_fill(weights.detach() > ACCESSED, 0),
        }
        return read, after

    def _write(self, memory: Tensor, at: Tensor, shares: Tensor, add: Tensor) -> tuple[Tensor, Tensor]:
        """Clear the oldest slot, the last of `at`, and add to all of them. The memory and w^w `[B, N]`."""
        columns = at.unsqueeze(-1).expand(-1, -1, self.width)  # [B, R K + 1, W]
        added = shares.unsqueeze(-1) * add.unsqueeze(1)
        memory = memory.scatter(1, columns[:, -1:], 0.0).scatter_add(1, columns, added)
        return memory, shares.new_zeros(len(at), self.slots).scatter_add(1, at, shares)

    def _read(self, memory: Tensor, keys: Tensor, beta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The K rows most like each key, their weights and what they hold. `[B, R, K]` twice and `[B, R, K, W]`."""
        with torch.no_grad():
            lengths = memory.square().sum(-1).add_(SMALL).rsqrt_().unsqueeze(1)  # [B, 1, N]
            rows = ((keys @ memory.mT) * lengths).topk(self.k, -1).indices
        columns = rows.flatten(1).unsqueeze(-1).expand(-1, -1, self.width)
        found = memory.gather(1, columns).unflatten(1, (self.reads, self.k))  # [B, R, K, W]
        heads = (keys.flatten(0, 1).unsqueeze(1), found.flatten(0, 1), beta.flatten(0, 1).unsqueeze(1))
        weights = content(*heads).squeeze(1).unflatten(0, (-1, self.reads))
        return rows, weights, found

    def _read_weights(self, state: State) -> Tensor:
        none = state["weights"].new_zeros(len(state["weights"]), self.reads, self.slots)
        return none.scatter(-1, state["rows"], state["weights"])

    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Core.inspect`; `usage` is the share of slots that were accessed in the last N steps."""
        weights = state["weights"].detach()
        ages = state["ages"].gather(1, state["rows"].flatten(1)).unflatten(1, (self.reads, self.k))
        return {
            "write_strength": state["written"].detach(),
            "read_entropy": entropy(weights).mean(-1),
            "read_age": (weights * ages).sum(-1).mean(-1),
            "usage": (state["idle"] < self.slots).to(weights.dtype).mean(-1),
        }


def least_recent(idle: Tensor) -> Tensor:
    """The slot that was not accessed for longest; of several, the first. `[B, N]` -> `[B, 1]`."""
    slots = idle.shape[1]
    return (idle * slots - torch.arange(slots, device=idle.device)).argmax(-1, keepdim=True)
