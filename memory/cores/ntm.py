"""The neural Turing machine (Graves, Wayne and Danihelka 2014, arXiv 1410.5401)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from engram_rl.memory.cores.addressing import entropy, linear, mean_age, oneplus
from engram_rl.memory.cores.core import State, require_sizes
from engram_rl.memory.cores.derivatives import content, walked, written
from engram_rl.memory.cores.steered import Steered

BY_PLACE, ONWARDS = -2.0, 3.0
"""Biases at first, of the gate that lets contents decide, and of moving on by one slot."""


class NTM(Steered):
    """An LSTM beside a tape that it reads and writes with heads that find their place by content and by moving.

        h     = LSTM([x; r_{t-1}])
        w_c   = softmax(beta cos(k, M_{t-1}(i)))               (5, 6)
        w_g   = g w_c + (1 - g) w_{t-1}                        (7)
        w_s   = sum_j w_g(i - j) s(j), around the edges        (8)
        w     = w_s^gamma / sum w_s^gamma                      (9)
        M     = M_{t-1} (1 - w e^T) + w a^T                    (3, 4)
        r     = w M                                            (2)
        y     = W [h; r]

    beta is softplus and at least 0, gamma is 1 + softplus, g and e are sigmoids, s a softmax over moves. All heads take
    their place before anything is written; then the reading heads see what was.

    Where the paper leaves open how it begins: the memory is 1e-6 everywhere, which learns far more steadily than random
    or learned contents (Collier and Beel 2018, arXiv 1807.08518), every head stands on the first slot, and goes on by
    one in each step until it learns otherwise, as a tape does: where heads begin without a direction, what they write
    is spread over all slots, and whether they ever sort it out depends on the first weights. No parameter depends on
    the number of slots, which may be raised after training: `core.slots = 256`.

    Args:
        input_size: D.
        hidden_size: H, of the controller, and numbers in an output.
        slots: N, rows of memory.
        width: W, numbers in a row.
        reads: Heads that read.
        writes: Heads that write, one after the other.
        reach: How far a head may move in a step, in slots.
    """

    reads_by = "slot"
    interface = ("heads", "contents")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        slots: int = 128,
        width: int = 20,
        reads: int = 1,
        writes: int = 1,
        reach: int = 1,
    ) -> None:
        super().__init__(input_size, hidden_size, width, reads)
        require_sizes(self, slots=slots, writes=writes, reach=reach)
        if reach > slots:
            raise ValueError(f"NTM's reach={reach} goes beyond all of slots={slots}; a head moves by at most that many")
        self.slots, self.writes, self.reach = slots, writes, reach
        self.heads = linear(hidden_size, (reads + writes) * (width + 2 * reach + 4))
        self.contents = linear(hidden_size, writes * 2 * width)
        with torch.no_grad():
            _, _, gate, shift, _ = self._of_each_head(self.heads.bias)
            gate.fill_(BY_PLACE)
            shift[:, reach - 1] = ONWARDS

    def _empty(self, batch_size: int, like: Tensor) -> State:
        weights = like.new_zeros(batch_size, self.reads + self.writes, self.slots)
        weights[..., 0] = 1.0
        return {
            "memory": like.new_full((batch_size, self.slots, self.width), 1e-6),
            "weights": weights,
            "ages": like.new_zeros(batch_size, self.slots),
        }

    def _turn(self, hidden: Tensor, state: State) -> tuple[Tensor, State]:
        weights = self._addresses(hidden, state["memory"], state["weights"])
        reading, writing = weights.split([self.reads, self.writes], 1)
        memory, ages = state["memory"], state["ages"] + 1
        told = self.contents(hidden).unflatten(-1, (self.writes, 2, self.width))
        erase, add = told[:, :, 0].sigmoid(), told[:, :, 1].tanh()
        for w, e, a in zip(writing.unbind(1), erase.unbind(1), add.unbind(1), strict=True):
            memory, ages = written(memory, w, e, a), ages * (1 - w)
        return (reading @ memory).flatten(1), {"memory": memory, "weights": weights, "ages": ages}

    def _addresses(self, hidden: Tensor, memory: Tensor, before: Tensor) -> Tensor:
        """Where the heads stand, from where they stood. `[B, heads, N]`."""
        keys, beta, gate, shift, gamma = self._of_each_head(self.heads(hidden))
        found = content(keys.tanh(), memory, functional.softplus(beta))
        return walked(before, found, gate.sigmoid(), shift.softmax(-1), oneplus(gamma))

    def _of_each_head(self, told: Tensor) -> tuple[Tensor, ...]:
        """Keys, strengths, gates, moves from the farthest on to the farthest back, sharpness. `[.., heads, n]` each."""
        heads = told.unflatten(-1, (self.reads + self.writes, -1))
        return heads.split([self.width, 1, 1, 2 * self.reach + 1, 1], -1)

    def _read_weights(self, state: State) -> Tensor:
        return state["weights"][:, : self.reads]

    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Core.inspect`; `write_strength` is the largest share of a slot that the last write took."""
        reading, writing = state["weights"].detach().split([self.reads, self.writes], 1)
        return {
            "write_strength": writing.amax(-1).mean(-1),
            "read_entropy": entropy(reading).mean(-1),
            "read_age": mean_age(reading, state["ages"].detach()),
        }
