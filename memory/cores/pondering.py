"""Adaptive computation time (Graves 2016, arXiv 1603.08983): as many steps of a core for an input as it asks for."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_rl.memory.checks import number
from engram_rl.memory.cores.core import Losses, State, require_sizes
from engram_rl.memory.cores.gru import GRU
from engram_rl.memory.cores.wrapper import MakeCore, Wrapper, made

EPSILON = 0.01
"""What may be left to halt with, so that a single step can be enough."""


class AdaptiveComputation(Wrapper):
    """Takes each input several times, until a unit of its own says that it has thought enough.

        y_n, s_n = core([x; n = 1], s_{n-1}),   h_n = sigmoid(w . y_n + b)
        N   = min {n : h_1 + ... + h_n >= 1 - epsilon}, at most the limit      (7)
        R   = 1 - (h_1 + ... + h_{N-1})                                        (8)
        p_n = h_n for n < N, R for n = N                                       (6)
        y   = sum p_n y_n,   s = sum p_n s_n,   loss = tau (N + R)             (9 to 12)

    Of leaves of the state that are whole numbers, those of the last step are kept. The loss is "ponder"; its gradient
    is that of R, for N has none. b begins at -3, so that it thinks long at first: nets that begin at 0 stop too soon to
    learn what more steps are good for.

    Args:
        input_size: D; the core sees one more, which says whether an input is new.
        hidden_size: H, numbers in an output, for most cores.
        core: Makes the core; any that does not outlive episodes.
        limit: Steps for an input at most.
        ponder_cost: tau.
        halting_bias: b at the beginning.

    Raises:
        ValueError: A limit below 1, a cost below 0.
    """

    own = ("ponder",)

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        core: MakeCore = GRU,
        limit: int = 8,
        ponder_cost: float = 0.01,
        halting_bias: float = -3.0,
    ) -> None:
        super().__init__(input_size, made(self._name, core, input_size + 1, hidden_size))
        require_sizes(self, limit=limit, input_size=input_size)
        self.limit, self.ponder_cost = limit, number("ponder_cost", ponder_cost, 0.0)
        self.halting = nn.Linear(self.output_size, 1)
        nn.init.constant_(self.halting.bias, number("halting_bias", halting_bias))

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return super()._initial(batch_size, like) | {"ponder": like.new_zeros(batch_size)}

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        thought = self._inner(state)
        left, steps = x.new_ones(len(x)), x.new_zeros(len(x))  # 1 - (h_1 + ... + h_n), and n, of each row
        going = torch.ones(len(x), dtype=torch.bool, device=x.device)
        remainder, output = x.new_zeros(len(x)), x.new_zeros(len(x), self.output_size)
        mean: State = {}
        losses: list[Losses] = []
        for n in range(self.limit):
            new = x.new_full((len(x), 1), float(n == 0))
            y, thought, loss = self.core._step(torch.cat([x, new], 1), thought)
            h = torch.sigmoid(self.halting(y)).squeeze(1)
            ends = going & ((left - h <= EPSILON) | (n == self.limit - 1))
            p = torch.where(ends, left, h) * going  # 0 where a row has ended
            output = output + p.unsqueeze(1) * y
            mean = self._added(mean, thought, p, going)
            remainder, steps = torch.where(ends, left, remainder), steps + going.to(steps)
            left, going = left - h, going & ~ends
            losses.append(loss)
            if not going.any():
                break
        ponder = {"ponder": self.ponder_cost * (steps + remainder).mean()}
        inner = {name: torch.stack([one[name] for one in losses]).mean() for name in losses[0]}
        return output, {**mean, "ponder": steps}, inner | ponder

    @staticmethod
    def _added(mean: State, thought: State, p: Tensor, going: Tensor) -> State:
        """The mean of states, with one more in the rows that go on."""
        added = {}
        for name, leaf in thought.items():
            rows = (-1, *[1] * (leaf.dim() - 1))
            if leaf.is_floating_point():
                part = torch.where(going.reshape(rows), p.reshape(rows) * leaf, torch.zeros_like(leaf))
                added[name] = part if not mean else mean[name] + part
            else:
                added[name] = leaf if not mean else torch.where(going.reshape(rows), leaf, mean[name])
        return added

    def inspect(self, state: State) -> dict[str, Tensor]:
        """What is told of the core, and `ponder`, the steps that the last input took."""
        return super().inspect(state) | {"ponder": state["ponder"]}
