"""A variational memory encoder-decoder (Le, Tran, Nguyen and Venkatesh 2018, arXiv 1807.09950): answers are drawn."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.memory.checks import number, real, whole
from engram_rl.memory.cores.addressing import linear
from engram_rl.memory.cores.core import State, require_sizes
from engram_rl.memory.cores.dnc import DNC
from engram_rl.memory.cores.steered import Steered
from engram_rl.memory.cores.wrapper import MakeCore, inside, made

SMALLEST = 1e-3
"""No standard deviation is below this."""

THREE_MODES = partial(DNC, reads=3)

Gaussian = tuple[Tensor, Tensor]
"""Means and standard deviations. `[..., Z]` each."""


class VariationalMemory(nn.Module):
    """One core with slots takes a sequence in; another goes on from its memory and draws an answer, step by step.

        M, r_0   = encoder(x_1, ..., x_T)                                           K heads read
        p(z_t)   = sum_i pi_i N(mu(r^i_{t-1}), sigma(r^i_{t-1})^2)                  the prior: a mode for each head
        pi       = softmax over i of max_n w^i_{t-1, n}                             the surer of one slot, the more
        q(z_t)   = N(mu'(g_t, r_{t-1}), sigma'(g_t, r_{t-1})^2),  g = GRU(y_1, ..., y_t)          the posterior
        h_t, r_t = decoder([y_{t-1}; z_t]),   P(y_t = 1) = sigmoid(W h_t)           whose memory begins as M
        loss     = -log P(y) + KL(q | p),   KL(q | p) <= -log sum_i pi_i exp(-KL(q | p_i))

    Where there are several answers to one question, each of which is good and a mean of which is not, a mode is one of
    them. It stands alone, for a step of it draws at random, which no step of a core does.

        memory = VariationalMemory(8, 32, 6)
        memory.loss(xs, ys).backward()                    # of many pairs of a sequence and one of its answers
        memory.draw(xs, steps=4)                          # [4, B, 6] of 0 and 1

    Args:
        input_size: D, numbers in a step of what is asked.
        hidden_size: H, of both controllers.
        bits: C, in a step of an answer.
        core: Makes both cores, with K of its `reads`: DNC, NTM or SAM.
        latent: Z, numbers that are drawn at a step.

    Raises:
        ValueError: A core without slots, or a size below 1.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bits: int,
        core: MakeCore = THREE_MODES,
        latent: int = 8,
    ) -> None:
        super().__init__()
        require_sizes(self, input_size=input_size, hidden_size=hidden_size, bits=bits, latent=latent)
        self.bits, self.latent = bits, latent
        name = type(self).__name__
        self.encoder, self.decoder = (
            inside(name, made(name, core, size, hidden_size), Steered, "DNC, NTM or SAM")
            for size in (input_size, bits + latent)
        )
        width, reads = self.encoder.width, self.encoder.reads
        self.of_answers = nn.GRUCell(bits, hidden_size)  # g
        self.prior = linear(width, 2 * latent)
        self.posterior = linear(hidden_size + reads * width, 2 * latent)
        self.output = linear(hidden_size, bits)

    def loss(self, xs: Tensor, ys: Tensor, kl_weight: float = 1.0, generator: torch.Generator | None = None) -> Tensor:
        """A bound on the surprise at an answer, in nats a step, a mean over steps and rows; to be descended.

        Args:
            xs: What is asked. `[T, B, D]`
            ys: An answer, of 0 and 1. `[S, B, C]`
            kl_weight: Of the KL; what begins near 0 and grows to 1 keeps z from being left unused.
            generator: Of the draws.

        Raises:
            TypeError: What is given is no tensor, or answers are of another type than what is asked.
            ValueError: A shape or a number is not what it must be.
        """
        surprise, divergence = self.parts(xs, ys, generator)
        return surprise + number("kl_weight", kl_weight, 0.0) * divergence

    def parts(self, xs: Tensor, ys: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """`-log P(y)` and the bound on the KL, whose sum the loss is."""
        state = self._taken_in(xs)
        if real("ys", ys).dim() != 3 or ys.shape[1:] != (xs.shape[1], self.bits) or not len(ys):
            raise ValueError(f"ys has shape {list(ys.shape)}; answers are [S, {xs.shape[1]}, {self.bits}]")
        if ys.dtype != xs.dtype:
            raise TypeError(f"ys is of {ys.dtype}, but xs of {xs.dtype}; give both in one: ys.to(xs.dtype)")
        if not ((ys == 0) | (ys == 1)).all():
            raise ValueError("ys holds other numbers than 0 and 1; answers are bits")
        g = ys.new_zeros(len(ys[0]), self.of_answers.hidden_size)
        last, surprise, divergence = torch.zeros_like(ys[0]), [], []
        for y in ys:
            g = self.of_answers(y, g)
            q = _gaussian(self.posterior(torch.cat([g, state["read"]], 1)))
            divergence.append(mixture_kl(q, *self._prior(state)).mean())
            logits, state = self._answered(last, self._drawn(q, generator), state)
            surprise.append(functional.binary_cross_entropy_with_logits(logits, y, reduction="none").sum(1).mean())
            last = y
        return torch.stack(surprise).mean(), torch.stack(divergence).mean()

    @torch.no_grad()
    def draw(self, xs: Tensor, steps: int, generator: torch.Generator | None = None) -> Tensor:
        """An answer to each row: z of the prior, and of each bit what is more probable. `[S, B, C]` of 0 and 1.

        Args:
            xs: What is asked. `[T, B, D]`
            steps: S.
            generator: Of the draws.
        """
        state, answers = self._taken_in(xs), []
        last = xs.new_zeros(xs.shape[1], self.bits)
        for _ in range(whole("steps", steps)):
            (means, stds), shares = self._prior(state)
            mode = torch.multinomial(shares, 1, generator=generator)  # [B, 1]
            row = torch.arange(len(mode), device=mode.device)
            z = self._drawn((means[row, mode[:, 0]], stds[row, mode[:, 0]]), generator)
            logits, state = self._answered(last, z, state)
            last = (logits > 0).to(xs.dtype)
            answers.append(last)
        return torch.stack(answers)

    def _taken_in(self, xs: Tensor) -> State:
        """The encoder's state after what is asked, which the decoder goes on from."""
        batch = xs.shape[1] if real("xs", xs).dim() == 3 and xs.shape[1] else 1  # else the core says what is wrong
        state: State = self.encoder(xs, self.encoder.initial_state(batch))[1]
        return state

    def _prior(self, state: State) -> tuple[Gaussian, Tensor]:
        """The modes, `[B, K, Z]` each, and how probable each of them is. `[B, K]`."""
        modes = _gaussian(self.prior(state["read"].unflatten(1, (self.decoder.reads, -1))))
        return modes, self.decoder._read_weights(state).amax(-1).softmax(-1)

    def _drawn(self, q: Gaussian, generator: torch.Generator | None) -> Tensor:
        mean, std = q
        return mean + std * torch.randn(mean.shape, dtype=mean.dtype, device=mean.device, generator=generator)

    def _answered(self, last: Tensor, z: Tensor, state: State) -> tuple[Tensor, State]:
        output, state, _ = self.decoder.step(torch.cat([last, z], 1), state)
        return self.output(output), state


def mixture_kl(q: Gaussian, modes: Gaussian, shares: Tensor) -> Tensor:
    """A bound on the KL from a Gaussian to a mixture: `-log sum_i pi_i exp(-KL(q | p_i))` (Hershey and Olsen 2007).

    Args:
        q: `[B, Z]` each.
        modes: `[B, K, Z]` each.
        shares: pi. `[B, K]`

    Returns:
        Nats. `[B]`
    """
    (mean, std), (means, stds) = (part.unsqueeze(1) for part in q), modes
    each = (stds / std).log() + (std.square() + (mean - means).square()) / (2 * stds.square()) - 0.5  # [B, K, Z]
    return -torch.logsumexp(shares.log() - each.sum(-1), 1)


def _gaussian(told: Tensor) -> Gaussian:
    mean, spread = told.chunk(2, -1)
    return mean, functional.softplus(spread) + SMALLEST
