"""The differentiable neural computer (Graves et al. 2016), with the three repairs of Csordas and Schmidhuber (2019)."""

from __future__ import annotations

from torch import Tensor

from engram_rl.memory.cores.addressing import entropy, linear, mean_age, oneplus
from engram_rl.memory.cores.core import State, require_sizes
from engram_rl.memory.cores.derivatives import content, followed, placed, written
from engram_rl.memory.cores.steered import Steered

LIMIT = 20.0
"""What the controller tells its heads lies between minus and plus this, as in Csordas's code."""


class DNC(Steered):
    """An LSTM beside a memory that knows which of its slots are free and in which order they were written.

    One step, in this order (Graves et al. 2016, Nature 538, Methods):

        h    = LSTM([x; r_{t-1}])
        psi  = prod_r (1 - f_r w^r_{t-1})                          what the reading heads do not free
        u    = (u + w^w - u w^w) psi, with w^w of t-1              usage
        a    = (1 - u_i) prod_{j less used than i} u_j             allocation
        w^w  = g_w (g_a a + (1 - g_a) C(M_{t-1}, k_w, beta_w))     where to write
        M    = M_{t-1} (1 - w^w e^T) + w^w v^T
        L_ij = (1 - w_i - w_j) L_ij + w_i p_{t-1,j}, L_ii = 0      i was written after j
        p    = (1 - sum w^w) p + w^w
        w^r  = pi_1 L^T w^r_{t-1} + pi_2 C(M, k_r, beta_r) + pi_3 L w^r_{t-1}
        r    = w^r M,    y = W [h; r]

    with `C(M, k, beta) = softmax(beta cos(k, M_i))`. The repairs (arXiv 1904.10278), each of which can be left out:

        masked      C(M, k, beta, m) = softmax(beta cos(m k, m M_i)), m a sigmoid: parts of a row may be asked for
        erase_freed M = M_{t-1} (1 - w^w e^T) psi + w^w v^T: what is freed is gone, and is not found by its content
        sharpened   L w^r becomes (L w^r)^s / sum (L w^r)^s, s of 1 + softplus: links do not blur with each write

    No parameter depends on the number of slots, which may be raised after training: `core.slots = 256`.

    Args:
        input_size: D.
        hidden_size: H, of the controller, and numbers in an output.
        slots: N, rows of memory. Links take N^2 numbers.
        width: W, numbers in a row.
        reads: R, heads that read; one writes.
        masked: Whether keys are masked.
        erase_freed: Whether what is freed is erased.
        sharpened: Whether links are sharpened.
    """

    reads_by = "slot"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        slots: int = 64,
        width: int = 16,
        reads: int = 1,
        masked: bool = True,
        erase_freed: bool = True,
        sharpened: bool = True,
    ) -> None:
        super().__init__(input_size, hidden_size, width, reads)
        require_sizes(self, slots=slots)
        self.slots = slots
        self.masked, self.erase_freed, self.sharpened = masked, erase_freed, sharpened
        columns = (1 + reads) * width
        self._sizes = {
            "sigmoid": [columns if masked else 0, width, reads, 1, 1],  # masks, erase, free, allocation and write gate
            "oneplus": [1, reads, 2 * reads if sharpened else 0],  # strength of writing, of reading, sharpness of links
            "plain": [columns, width, 3 * reads],  # keys, what is written, modes
        }
        self.heads = linear(hidden_size, sum(map(sum, self._sizes.values())))

    def _empty(self, batch_size: int, like: Tensor) -> State:
        shapes = {
            "memory": (self.slots, self.width),
            "usage": (self.slots,),
            "precedence": (self.slots,),
            "link": (self.slots, self.slots),
            "write_weights": (self.slots,),
            "read_weights": (self.reads, self.slots),
            "ages": (self.slots,),
        }
        return {name: like.new_zeros(batch_size, *shape) for name, shape in shapes.items()}

    def _turn(self, hidden: Tensor, state: State) -> tuple[Tensor, State]:
        told = self.heads(hidden).clamp(-LIMIT, LIMIT).split([sum(z) for z in self._sizes.values()], -1)
        masks, erase, free, allocate, write = told[0].sigmoid().split(self._sizes["sigmoid"], -1)
        beta, betas, sharpness = oneplus(told[1]).split(self._sizes["oneplus"], -1)
        keys, vector, modes = told[2].split(self._sizes["plain"], -1)
        write_key, read_keys = self._each(keys)
        write_mask, read_masks = self._each(masks) if self.masked else (None, None)

        found = content(write_key, state["memory"], beta.unsqueeze(1), write_mask).squeeze(1)  # [B, N]
        where = (state["usage"], state["write_weights"], state["read_weights"], free.unsqueeze(-1))
        usage, retained, w = placed(*where, found, allocate, write)
        memory = written(state["memory"], w, erase, vector, retained if self.erase_freed else None)

        found = content(read_keys, memory, betas.unsqueeze(-1), read_masks)  # [B, R, N]
        modes = modes.unflatten(-1, (self.reads, 3)).softmax(-1)
        before = (state["link"], w, state["precedence"], state["read_weights"])
        link, precedence, read_weights = followed(
            *before, found, modes, sharpness.unsqueeze(-1) if self.sharpened else None
        )
        after = {
            "memory": memory,
            "usage": usage,
            "precedence": precedence,
            "link": link,
            "write_weights": w,
            "read_weights": read_weights,
            "ages": (state["ages"] + 1) * (1 - w),
        }
        return (read_weights @ memory).flatten(1), after

    def _each(self, told: Tensor) -> tuple[Tensor, Tensor]:
        """What is told the writing head `[B, 1, W]` and each of the reading ones `[B, R, W]`."""
        writing, reading = told.unflatten(-1, (1 + self.reads, self.width)).split([1, self.reads], 1)
        return writing, reading

    def _read_weights(self, state: State) -> Tensor:
        return state["read_weights"]

    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Core.inspect`."""
        return {
            "write_strength": state["write_weights"].detach().sum(-1),
            "read_entropy": entropy(state["read_weights"].detach()).mean(-1),
            "read_age": mean_age(state["read_weights"].detach(), state["ages"].detach()),
            "usage": state["usage"].detach().mean(-1),
        }
