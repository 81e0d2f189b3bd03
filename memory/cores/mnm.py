"""Metalearned neural memory (Munkhdalai, Sordoni, Wang and Trischler 2019, arXiv 1907.09720): a net as memory."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engram_rl.memory.checks import unknown
from engram_rl.memory.cores.addressing import linear
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes
from engram_rl.memory.cores.steered import controller

RULES = ("targets", "gradient")


class MNM(Core):
    """An LSTM beside a small net f that maps keys to values, whose weights change at each step so that it does.

        h        = LSTM([x; r_{t-1}])
        k, v, q  = tanh W h,   b_l = sigmoid W h                      what to write, what to ask for, how fast
        z^0 = k, z^l = tanh(W^l z^{l-1}),   f(k) = z^L                the net, of L layers without biases
        targets:  W^l -= (2 b_l / d) (z^l - t^l) z^{l-1}^T,  t^l = tanh(B^l v) for l < L,  t^L = v
        gradient: W^l -= (b_l / d) dE/dW^l,  E = |f(k) - v|^2
        r = f(q),   y = W [h; r]

    All layers change at once, by the activities before the change; with several heads by the mean of theirs. Targets
    are told to each layer by a feedback net of its own, so nothing is propagated back within a step: learning of all
    that happens in the slow weights, those of LSTM, feedback and the net's initial weights. The loss "writing" is
    |f(k) - v|^2 / d after the change, and teaches the writing to write.

    Args:
        input_size: D.
        hidden_size: H, of the LSTM, and numbers in an output.
        width: d, units in a layer of f, and numbers in a key and a value.
        layers: L.
        heads: Pairs that are written, and keys that are asked for, in a step.
        rule: "targets", or "gradient", which needs no feedback nets and propagates back through f.

    Raises:
        ValueError: There is no such rule, or a size below 1.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        width: int = 32,
        layers: int = 3,
        heads: int = 1,
        rule: str = "targets",
    ) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, width=width, layers=layers, heads=heads)
        if rule not in RULES:
            raise unknown("rule", rule, RULES)
        self.width, self.layers, self.heads, self.rule = width, layers, heads, rule
        self.controller = controller(input_size + heads * width, hidden_size)
        self.pairs = linear(hidden_size, heads * 3 * width)
        self.rates = linear(hidden_size, layers)
        self.feedback = nn.ModuleList(linear(width, width) for _ in range(layers - 1) if rule == "targets")
        self.weights = nn.Parameter(torch.randn(layers, width, width) / math.sqrt(width))
        self.output = linear(hidden_size + heads * width, hidden_size)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {
            "hidden": like.new_zeros(batch_size, self.output_size),
            "cell": like.new_zeros(batch_size, self.output_size),
            "read": like.new_zeros(batch_size, self.heads * self.width),
            "weights": self.weights.to(like).expand(batch_size, -1, -1, -1),
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        hidden, cell = self.controller(torch.cat([x, state["read"]], 1), (state["hidden"], state["cell"]))
        pairs = self.pairs(hidden).tanh().unflatten(1, (self.heads, 3, self.width))
        key, value, query = pairs.unbind(2)  # [B, heads, d]
        weights = self._write(state["weights"], key, value, self.rates(hidden).sigmoid())
        read, told = activities(weights, torch.cat([query, key], 1))[-1].chunk(2, 1)
        read, missed = read.flatten(1), (told - value.detach()).square().mean()
        after = {"hidden": hidden, "cell": cell, "read": read, "weights": weights}
        return self.output(torch.cat([hidden, read], 1)), after, {"writing": missed}

    def _write(self, weights: Tensor, key: Tensor, value: Tensor, rates: Tensor) -> Tensor:
        """The net after a step. `[B, L, d, d]`, `[B, heads, d]` twice, `[B, L]`."""
        active = activities(weights, key)
        errors = self._errors(weights, active, value)
        moves = torch.stack([e.mT @ z for e, z in zip(errors, active[:-1], strict=True)], 1)  # [B, L, d, d]
        return weights - 2 / (self.heads * self.width) * rates[..., None, None] * moves

    def _errors(self, weights: Tensor, active: list[Tensor], value: Tensor) -> list[Tensor]:
        """By what each layer is off: its target, or the gradient of |f(k) - v|^2 / 2. `[B, heads, d]`."""
        if self.rule == "targets":
            targets = [*(layer(value).tanh() for layer in self.feedback), value]
            return [z - target for z, target in zip(active[1:], targets, strict=True)]
        error = (active[-1] - value) * (1 - active[-1].square())
        errors = [error]
        for layer in range(self.layers - 1, 0, -1):
            error = (error @ weights[:, layer]) * (1 - active[layer].square())
            errors.append(error)
        return errors[::-1]


def activities(weights: Tensor, key: Tensor) -> list[Tensor]:
    """A key and what each layer makes of it. `[B, L, d, d]`, `[B, heads, d]` -> L + 1 of `[B, heads, d]`."""
    active = [key]
    for layer in weights.unbind(1):
        active.append(torch.tanh(active[-1] @ layer.mT))
    return active
