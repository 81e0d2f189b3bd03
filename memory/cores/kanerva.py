"""The Kanerva machine as a core: each step is written by inference (Wu et al. 2018, arXiv 1804.01756, 1811.09556)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.memory.associative.kanerva import Belief, address, read, write
from engram_rl.memory.cores.addressing import SMALL, linear
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes


class Kanerva(Core):
    """A belief M ~ N(R, U) of K rows, to which each step adds what it saw, by Bayes' rule, at an address of its own.

        w = W_w x / |.|,  w_q = W_q x / |.|,  z = W_z x,  s^2 = softplus(v.x)        addresses, item, noise
        s = w^T U w + s^2,   R += U w (z - R^T w)^T / s,   U -= (U w) (U w)^T / s      (first paper, 9 to 12)
        y = W_y [R^T w_q; x]

    So R is at each step the best linear answer to all that was written in the episode, of each step as much as its
    noise lets through; where the delta rule follows the last pair, this weighs all of them. R and U begin at 0 and 1.

    Deviations: addresses are linear in x and of length 1, for they are learned through the task; noise is told by x, so
    that a step may leave the memory as it is; trained by the task alone, without the bound of the generative model.

    Args:
        input_size: D.
        hidden_size: H, numbers in an item, and in an output.
        slots: K, rows.
        noise: s^2 at the beginning.
    """

    def __init__(self, input_size: int, hidden_size: int, slots: int = 32, noise: float = 1.0) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, slots=slots)
        require_noise(self, noise)
        self.slots = slots
        self.addresses = nn.Linear(input_size, slots)
        self.queries = nn.Linear(input_size, slots)
        self.items = linear(input_size, hidden_size)
        self.noise = beginning_at(noise, input_size)
        self.output = linear(hidden_size + input_size, hidden_size)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {
            "mean": like.new_zeros(batch_size, self.slots, self.output_size),
            "covariance": torch.eye(self.slots, dtype=like.dtype, device=like.device).repeat(batch_size, 1, 1),
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        w, query = (functional.normalize(layer(x), dim=-1) for layer in (self.addresses, self.queries))
        belief = write(Belief(**state), w, self.items(x), noise_of(self.noise, x))
        found = read(belief, query.unsqueeze(1)).squeeze(1)
        return self.output(torch.cat([found, x], 1)), belief._asdict(), {}

    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Core.inspect`; `usage` is the share of what was uncertain that is known by now."""
        return {"usage": 1 - state["covariance"].detach().diagonal(dim1=-2, dim2=-1).mean(-1)}


class DynamicKanerva(Core):
    """The same, with addresses that are inferred too: a step is written where the memory would look for it.

        k = W_k x / |.|,  q = W_q x / |.|,  z = [k; W_v x],  s^2 = softplus(v.x)
        w   = (R R^T + lambda I)^-1 R z                                   (second paper, 7)
        R, U as in `Kanerva`
        w_q = (R_k R_k^T + lambda I)^-1 R_k q                             R_k the columns of the key
        y   = W_y [R_v^T w_q; x]                                          R_v those of the value

    An item is a key and a value, of which a query knows the key alone: what is read completes it. For a memory of zeros
    every address is 0, so R begins at rows that are drawn at random, and learned.

    Deviations: those of `Kanerva`; the address is the mean of its posterior, from which the paper draws.

    Args:
        input_size: D.
        hidden_size: H, numbers in a value, and in an output.
        slots: K, rows.
        key_size: Numbers in a key.
        noise: s^2 at the beginning.
        ridge: lambda, the noise over the spread of addresses.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        slots: int = 32,
        key_size: int = 16,
        noise: float = 0.1,
        ridge: float = 1.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, slots=slots, key_size=key_size)
        require_noise(self, noise)
        if not (isinstance(ridge, float | int) and 0 < ridge < math.inf):
            raise ValueError(f"DynamicKanerva's ridge is {ridge!r}; it must be a number above 0")
        self.slots, self.key_size, self.ridge = slots, key_size, ridge
        self.keys = nn.Linear(input_size, key_size)
        self.queries = nn.Linear(input_size, key_size)
        self.values = linear(input_size, hidden_size)
        self.noise = beginning_at(noise, input_size)
        self.prior = nn.Parameter(torch.randn(slots, key_size + hidden_size) / math.sqrt(key_size))
        self.output = linear(hidden_size + input_size, hidden_size)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {
            "mean": self.prior.to(like).expand(batch_size, -1, -1),
            "covariance": torch.eye(self.slots, dtype=like.dtype, device=like.device).repeat(batch_size, 1, 1),
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        key, query = (functional.normalize(layer(x), dim=-1) for layer in (self.keys, self.queries))
        item = torch.cat([key, self.values(x)], 1)
        w = address(state["mean"], item.unsqueeze(1), self.ridge).squeeze(1)
        belief = write(Belief(**state), w, item, noise_of(self.noise, x))
        by_key, by_value = belief.mean.split([self.key_size, self.output_size], -1)
        found = (address(by_key, query.unsqueeze(1), self.ridge) @ by_value).squeeze(1)
        return self.output(torch.cat([found, x], 1)), belief._asdict(), {}

    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Core.inspect`; `usage` is the share of what was uncertain that is known by now."""
        return {"usage": 1 - state["covariance"].detach().diagonal(dim1=-2, dim2=-1).mean(-1)}


def require_noise(core: Core, noise: float) -> None:
    """Raise unless it is a variance above 0."""
    if not (isinstance(noise, float | int) and 0 < noise < math.inf):
        raise ValueError(f"{type(core).__name__}'s noise is {noise!r}; it must be a number above 0")


def beginning_at(noise: float, input_size: int) -> nn.Linear:
    """A map of which the softplus is about this at the beginning."""
    layer = nn.Linear(input_size, 1)
    nn.init.constant_(layer.bias, math.log(math.expm1(noise)))
    return layer


def noise_of(layer: nn.Linear, x: Tensor) -> Tensor:
    """s^2 of each step; never 0, at which a belief would have no doubt left. `[B]`."""
    return functional.softplus(layer(x)).squeeze(-1) + SMALL
