"""Two modules that tick at different rates, decoupled on demand (Jaderberg et al. 2017, arXiv 1608.05343, 3.2)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from engram_rl.memory.cores.addressing import linear
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes, sums
from engram_rl.memory.cores.dual import part_of
from engram_rl.memory.cores.gru import GRU
from engram_rl.memory.cores.wrapper import MakeCore, made


class TwoLevel(Core):
    """A fast core that sees every step, and a slow one that hears of it at every L-th and tells it what it makes of it.

        h, f = fast([x; u])
        t mod L = 0:  u, s = slow(h)        (t = 1, 2, ... within an episode)
        else:         u and s as they were
        y = W [h; u]

    so that the slow core goes over an episode of T steps in T / L of its own.

    `decoupled` cuts what either learns from the other: of each message m (h on its way up, u on its way down) the
    sender is told not the gradient of later losses but a net's guess at it, and the net learns from the gradient that
    the receiver has for m:

        dL/dm  becomes  g(m),   g descends |g(m) - dL/dm|^2

    Each module then learns from its own losses and from what is foretold of the other's, as if neither waited. g begins
    at 0: at first neither hears anything of the other. To decouple in time as well, as windows shorter than L need it,
    `SyntheticGradients` goes around the whole.

    Args:
        input_size: D.
        hidden_size: H, numbers in either message and in an output.
        fast: Makes the fast core; any that does not outlive episodes.
        slow: Makes the slow one, likewise.
        every: L.
        decoupled: Whether gradients between the two are foretold.

    Raises:
        ValueError: A core that outlives episodes, or L below 1.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        fast: MakeCore = GRU,
        slow: MakeCore = GRU,
        every: int = 4,
        decoupled: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, every=every)
        self.every, self.decoupled = every, decoupled
        self.slow = made(self._name, slow, hidden_size, hidden_size)
        self.fast = made(self._name, fast, input_size + self.slow.output_size, hidden_size)
        for core in (self.slow, self.fast):
            if core.lifelong:
                raise ValueError(f"{self._name} takes cores whose memory ends with an episode; {core._name}'s does not")
        if self.fast.output_size != hidden_size:
            raise ValueError(
                f"{self._name}'s slow core is to hear {hidden_size} numbers; fast=... puts out {self.fast.output_size}"
            )
        self.output = linear(hidden_size + self.slow.output_size, hidden_size)
        if decoupled:
            self.up, self.down = guess(hidden_size), guess(self.slow.output_size)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {
            **{f"fast_{name}": leaf for name, leaf in self.fast._initial(batch_size, like).items()},
            **{f"slow_{name}": leaf for name, leaf in self.slow._initial(batch_size, like).items()},
            "told": like.new_zeros(batch_size, self.slow.output_size),  # u
            "tick": torch.zeros(batch_size, dtype=torch.int64, device=like.device),  # steps since the slow core's last
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        told, slow = state["told"], part_of(state, "slow_")
        heard = foretold(told, self.down(told.detach())) if self.decoupled else told
        hidden, fast, losses = self.fast._step(torch.cat([x, heard], 1), part_of(state, "fast_"))
        tick = state["tick"] + 1
        due = tick == self.every
        if due.any():
            message = foretold(hidden, self.up(hidden.detach())) if self.decoupled else hidden
            said, after, more = self.slow._step(message, slow)
            told = torch.where(due.unsqueeze(1), said, told)
            slow = self._where(due, after, slow)
            losses = losses | {f"slow_{name}": loss for name, loss in more.items()}
        after = {
            **{f"fast_{name}": leaf for name, leaf in fast.items()},
            **{f"slow_{name}": leaf for name, leaf in slow.items()},
            **{"told": told, "tick": tick.masked_fill(due, 0)},
        }
        return self.output(torch.cat([hidden, told], 1)), after, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, losses = [], []
        for x in xs:
            output, state, loss = self._step(x, state)
            outputs.append(output)
            losses.append({name: one / len(xs) for name, one in loss.items()})  # the slow core's only where it ticks
        return torch.stack(outputs), state, sums(losses)

    def inspect(self, state: State) -> dict[str, Tensor]:
        """What is told of the fast core."""
        return self.fast.inspect(part_of(state, "fast_"))


def guess(size: int, hidden: int = 64) -> nn.Sequential:
    """A net that foretells a gradient of so many numbers; it begins at 0."""
    last = nn.Linear(hidden, size)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), last)


def foretold(message: Tensor, guessed: Tensor) -> Tensor:
    """The message, whose gradient will be what was guessed, and what was guessed will learn from the true one.

    Args:
        message: m. `[B, n]`
        guessed: g(m), of a net of m detached. `[B, n]`
    """
    passed: Tensor = _Foretold.apply(message, guessed)
    return passed


class _Foretold(Function):
    @staticmethod
    def forward(ctx: Any, message: Tensor, guessed: Tensor) -> Tensor:
        ctx.save_for_backward(guessed)
        return message.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        (guessed,) = ctx.saved_tensors
        return guessed, 2 * (guessed - gradient)
