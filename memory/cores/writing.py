"""Writing at regular intervals, which serves few slots best (Le, Tran and Venkatesh 2019, arXiv 1901.01347)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_rl.memory.cores.addressing import linear
from engram_rl.memory.cores.core import Losses, State, require_sizes
from engram_rl.memory.cores.dnc import DNC
from engram_rl.memory.cores.steered import Steered
from engram_rl.memory.cores.wrapper import MakeCore, Wrapper, inside, made


class UniformWriting(Wrapper):
    """A core with slots that turns to its memory at every L-th step only; between, its controller goes on alone.

        t mod L = 0:  h = LSTM([x; r]),  M and r as the core has them      (t = 1, 2, ... within an episode)
        else:         h = LSTM([x; r]),  M and r as they were
        y = W [h; r]

    Of all schedules of D writes this one keeps most of T inputs, if each matters alike: L = T / (D + 1) (theorem 3).
    Where T is not known, L is a guess at it. With L of 1 it is the core.

    Args:
        input_size: D.
        hidden_size: H, of the controller, and numbers in an output.
        core: Makes the core: DNC, NTM or SAM.
        write_every: L.

    Raises:
        ValueError: A core without an interface to slots, or L below 1.
    """

    core: Steered
    own: tuple[str, ...] = ("tick",)

    def __init__(self, input_size: int, hidden_size: int, core: MakeCore = DNC, write_every: int = 4) -> None:
        super().__init__(
            input_size, inside(self._name, made(self._name, core, input_size, hidden_size), Steered, "DNC, NTM or SAM")
        )
        require_sizes(self, write_every=write_every)
        self.write_every = write_every

    def _initial(self, batch_size: int, like: Tensor) -> State:
        none = torch.zeros(batch_size, dtype=torch.int64, device=like.device)
        return super()._initial(batch_size, like) | {"tick": none}  # steps since the last write

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self._sequence(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        core = self.core
        told, again = core._told(xs)
        seen = []
        for gates in told:
            tick, inner = state["tick"] + 1, self._inner(state)
            due = tick == self.write_every
            hidden, cell = core._controlled(gates, again, inner)
            hidden, more = self._recalled(hidden, due, state)
            inner = inner | {"hidden": hidden, "cell": cell} | self._turned(hidden, due, inner)
            state = {**inner, **more, "tick": tick.masked_fill(due, 0)}
            seen.append(torch.cat([hidden, inner["read"]], 1))
        return core.output(torch.stack(seen)), state, {}

    def _recalled(self, hidden: Tensor, due: Tensor, state: State) -> tuple[Tensor, State]:
        """What is told the memory, and leaves that are the wrapper's. `[B, H]`, `[B]` of bool."""
        return hidden, {}

    def _turned(self, hidden: Tensor, due: Tensor, inner: State) -> State:
        """All leaves but the controller's, of the rows whose turn it is as they are after it."""
        if not due.any():
            return {}
        read, memory = self.core._turn(hidden, inner)
        after = {"read": read, **memory}
        return self._where(due, after, {name: inner[name] for name in after})


class CachedUniformWriting(UniformWriting):
    """The same, but what is written at the L-th step is a mean of the controller's last L states, by attention.

        a = sum_j alpha_j d_j,   alpha = softmax over j of v . tanh(U d_j + V r_{t-1} + W h_{t-1})      (6, 7)

    with d_1 ... d_L the states since the last write, the present one included; a takes h's place at that step.

    Args:
        input_size: D.
        hidden_size: H, of the controller, and numbers in an output.
        core: Makes the core: DNC, NTM or SAM.
        write_every: L, states that are kept.
        attention: Numbers in which states are compared.
    """

    own = ("tick", "cache")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        core: MakeCore = DNC,
        write_every: int = 4,
        attention: int = 16,
    ) -> None:
        super().__init__(input_size, hidden_size, core, write_every)
        require_sizes(self, attention=attention)
        self.of_state = linear(hidden_size, attention)  # U
        self.of_context = linear(hidden_size + self.core.reads * self.core.width, attention)  # W and V
        self.score = nn.Linear(attention, 1, bias=False)  # v

    def _initial(self, batch_size: int, like: Tensor) -> State:
        cache = like.new_zeros(batch_size, self.write_every - 1, self.output_size)  # the newest last
        return super()._initial(batch_size, like) | {"cache": cache}

    def _recalled(self, hidden: Tensor, due: Tensor, state: State) -> tuple[Tensor, State]:
        states = torch.cat([state["cache"], hidden.unsqueeze(1)], 1)  # [B, L, H]
        context = self.of_context(torch.cat([state["hidden"], state["read"]], 1)).unsqueeze(1)
        alpha = self.score(torch.tanh(self.of_state(states) + context)).softmax(1)
        hidden = torch.where(due.unsqueeze(1), (alpha * states).sum(1), hidden)
        return hidden, {"cache": states[:, 1:]}
