"""Neural stored-program memory (Le, Tran and Venkatesh 2020, arXiv 1906.08862): an interface that is chosen anew."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.memory.cores.core import Losses, State, require_sizes
from engram_rl.memory.cores.derivatives import content
from engram_rl.memory.cores.ntm import NTM
from engram_rl.memory.cores.steered import Steered
from engram_rl.memory.cores.wrapper import MakeCore, Wrapper, inside, made


class StoredPrograms(Wrapper):
    """A core with slots whose interface is a mixture of programs, chosen anew at each step by what the controller asks.

        k, beta = P(h),   w = softmax over i of beta cos(tanh k, tanh K_i)      (2, 3)
        W = sum_i w_i V_i,   what the memory is told is W h                     (4)

    in the place of each linear map by which the core's h tells its memory what to do; the mixture holds for its bias
    too. Programs V and their keys K are learned. The loss "programs" is the mean of cos(K_i, K_j), i < j, so that
    programs do not begin as one; the paper's weight for it is .1, and gone within a hundred updates.

    Deviation: a program memory for each of the core's maps, of which the DNC has one; the paper has one for each head.

    Args:
        input_size: D.
        hidden_size: H, of the controller, and numbers in an output.
        core: Makes the core: NTM, DNC or SAM.
        programs: How many, at least 2.
        key_size: Numbers in a program's key.

    Raises:
        ValueError: A core without an interface to slots, or a size that is too small.
    """

    def __init__(
        self, input_size: int, hidden_size: int, core: MakeCore = NTM, programs: int = 2, key_size: int = 2
    ) -> None:
        slotted = inside(self._name, made(self._name, core, input_size, hidden_size), Steered, "NTM, DNC or SAM")
        super().__init__(input_size, slotted)
        require_sizes(self, programs=programs, key_size=key_size)
        if programs < 2:
            raise ValueError(
                f"{self._name}'s programs is {programs}; of one there is nothing to choose, give 2 or more"
            )
        for name in slotted.interface:
            setattr(slotted, name, Programs(getattr(slotted, name), programs, key_size))

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        output, state, losses = self.core._step(x, state)
        return output, state, losses | self._likeness()

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self.core._sequence(xs, state)
        return outputs, state, losses | self._likeness()

    def _likeness(self) -> Losses:
        alike = [one.likeness() for one in self.core.children() if isinstance(one, Programs)]
        return {"programs": torch.stack(alike).mean()}


class Programs(nn.Module):
    """Several linear maps, of which each row takes a mixture.

    Args:
        like: A linear map of the sizes; the programs begin around it.
        programs: P.
        key_size: Numbers in a key.
    """

    def __init__(self, like: nn.Linear, programs: int, key_size: int) -> None:
        super().__init__()
        whole = torch.cat([like.weight.detach(), like.bias.detach().unsqueeze(1)], 1)  # [O, H + 1]
        drawn = nn.init.xavier_uniform_(torch.empty(programs, *whole.shape).flatten(1)).view(programs, *whole.shape)
        self.programs = nn.Parameter(whole + drawn)  # V
        self.keys = nn.Parameter(nn.init.xavier_uniform_(torch.empty(programs, key_size)))  # K
        self.ask = nn.Linear(like.in_features, key_size + 1)  # P

    def weights(self, hidden: Tensor) -> Tensor:
        """How much of each program. `[B, H]` -> `[B, P]`."""
        key, beta = self.ask(hidden).split([self.keys.shape[1], 1], -1)
        keys = torch.tanh(self.keys).expand(len(hidden), -1, -1)
        return content(torch.tanh(key).unsqueeze(1), keys, functional.softplus(beta).unsqueeze(1)).squeeze(1)

    def forward(self, hidden: Tensor) -> Tensor:
        """`[B, H]` -> `[B, O]`."""
        one = functional.pad(hidden, (0, 1), value=1.0)
        each = (one @ self.programs.flatten(0, 1).mT).unflatten(1, self.programs.shape[:2])  # [B, P, O]
        return (self.weights(hidden).unsqueeze(1) @ each).squeeze(1)

    def likeness(self) -> Tensor:
        """The mean cosine of two keys."""
        cosines = functional.cosine_similarity(self.keys.unsqueeze(0), self.keys.unsqueeze(1), dim=-1)
        return cosines.triu(1).sum() / math.comb(len(cosines), 2)
