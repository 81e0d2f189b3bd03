"""Fast and forgetful memory (Morad et al. 2023, arXiv 2310.04128)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engram_rl.memory.cores.core import Core, Losses, State, require_sizes

CHUNK = 32
"""Steps that are added up together; work grows with its square."""


class FFM(Core):
    """Sums of past inputs that fade and turn at many rates at once: how far back is told by the phase.

        S_t = gamma * S_{t-1} + x~_t 1^T,   gamma_jk = exp(-|alpha_j|) exp(-i omega_k)          (3, 4)
        x~ = l_1(x) * sigmoid(l_2(x))
        y = LN(l_3(Re S, Im S)) * sigmoid(l_4(x)) + l_5(x) * (1 - sigmoid(l_4(x)))

    alpha and omega are learned. alpha begins evenly spaced between forgetting all but 1 % in seven steps and in
    `horizon` steps, and the periods of omega evenly between 1 step and `horizon`.

    S is two real numbers of the input's type like any other leaf, and no power of gamma above 1 is formed: a chunk of
    steps is a product with the matrix of `gamma^(t - i)`, so that there is no longest sequence, no float64 and nothing
    to clip.

    Args:
        input_size: D.
        hidden_size: H; the output has as many numbers.
        traces: Inputs that are summed, m in the paper.
        contexts: Frequencies of each, c in the paper.
        horizon: The longest period, and the longest time constant, at the beginning.
    """

    def __init__(
        self, input_size: int, hidden_size: int, traces: int = 32, contexts: int = 4, horizon: int = 1024
    ) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, traces=traces, contexts=contexts, horizon=horizon)
        self.traces, self.contexts = traces, contexts
        forgotten = -math.log(0.01)
        self.alpha = nn.Parameter(torch.linspace(forgotten / min(7, horizon), forgotten / horizon, traces))
        self.omega = nn.Parameter(2 * math.pi / torch.linspace(1, horizon, contexts))
        self.inputs = nn.Linear(input_size, 2 * traces)  # l_1, l_2
        self.read = nn.Linear(2 * traces * contexts, hidden_size)  # l_3
        self.bypass = nn.Linear(input_size, 2 * hidden_size)  # l_4, l_5
        self.norm = nn.LayerNorm(hidden_size, elementwise_affine=False)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {"sums": like.new_zeros(batch_size, 2, self.traces, self.contexts)}  # real, imaginary

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        sums = _turned(state["sums"], _powers(self.alpha, self.omega, 1)[1])
        sums = torch.cat([sums[:, :1] + self._written(x)[:, None, :, None], sums[:, 1:]], 1)
        return self._output(x, sums), {"sums": sums}, {}

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        if len(xs) == 1:
            return super()._sequence(xs, state)
        powers = _powers(self.alpha, self.omega, min(len(xs), CHUNK))
        sums, all_sums = state["sums"], []
        for written in self._written(xs).split(CHUNK):  # [C, B, m]
            chunk = _added_up(written, sums, powers[: len(written) + 1])  # [C, B, 2, m, c]
            sums = chunk[-1]
            all_sums.append(chunk)
        return self._output(xs, torch.cat(all_sums)), {"sums": sums}, {}

    def _written(self, x: Tensor) -> Tensor:
        """What is added, x~: `[..., D]` -> `[..., m]`."""
        value, gate = self.inputs(x).chunk(2, -1)
        return value * torch.sigmoid(gate)

    def _output(self, x: Tensor, sums: Tensor) -> Tensor:
        """The output, y: `[..., D]`, `[..., 2, m, c]` -> `[..., H]`."""
        gate, around = self.bypass(x).chunk(2, -1)
        return torch.lerp(around, self.norm(self.read(sums.flatten(-3))), torch.sigmoid(gate))


def _powers(alpha: Tensor, omega: Tensor, largest: int) -> Tensor:
    """Powers 0 to `largest` of gamma, real and imaginary parts: `[m]`, `[c]` -> `[largest + 1, 2, m, c]`."""
    size = torch.exp(-alpha.abs()).unsqueeze(1)  # [m, 1]
    gamma = torch.complex(size * torch.cos(omega), -size * torch.sin(omega))
    powers = torch.stack([torch.ones_like(gamma), *[gamma] * largest]).cumprod(0)
    return torch.stack([powers.real, powers.imag], 1)


def _turned(sums: Tensor, power: Tensor) -> Tensor:
    """The complex product: `[..., 2, m, c]`, `[..., 2, m, c]` -> `[..., 2, m, c]`."""
    (real, imaginary), (factor, turn) = sums.unbind(-3), power.unbind(-3)
    return torch.stack([real * factor - imaginary * turn, real * turn + imaginary * factor], -3)


def _added_up(written: Tensor, sums: Tensor, powers: Tensor) -> Tensor:
    """S after each of C steps: `gamma^(t + 1) S_{-1} + sum_{i <= t} gamma^(t - i) x~_i`.

    `[C, B, m]`, `[B, 2, m, c]`, `[C + 1, 2, m, c]` -> `[C, B, 2, m, c]`
    """
    age = torch.arange(len(written), device=written.device)
    age = age.unsqueeze(1) - age  # [C, C], t - i
    kernel = powers[age.clamp(min=0)] * (age >= 0)[:, :, None, None, None]  # [C, C, 2, m, c]
    return _turned(sums, powers[1:].unsqueeze(1)) + torch.einsum("tizmc,ibm->tbzmc", kernel, written)
