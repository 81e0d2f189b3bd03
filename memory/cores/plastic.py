"""Plastic recurrent nets: differentiable plasticity (Miconi et al. 2018, 2019, arXiv 1804.02464, 2002.10585)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engram_rl.memory.checks import unknown
from engram_rl.memory.cores.core import Core, Losses, State

RULES = ("hebb", "oja")


class Plastic(Core):
    """Each connection has a fixed weight and a Hebbian trace that its own activity writes within an episode.

        y_j(t) = tanh(sum_i (w_ij + alpha_ij H_ij(t)) y_i(t - 1) + in_j(t))               (1, 2)
        hebb: H_ij(t + 1) = (1 - eta) H_ij(t) + eta y_i(t - 1) y_j(t)                     (3)
        oja:  H_ij(t + 1) = H_ij(t) + eta y_j(t) (y_i(t - 1) - y_j(t) H_ij(t))            (4)

    w, alpha and eta are learned; H begins at 0 in each episode. Learning is of what to connect and how plastic to be;
    what an episode is about is in H. A trace that is only added to diverges; both rules here forget.

    Each input begins by driving a unit of its own, as in the paper, where inputs are clamped to units; a gain of 3 or
    more all but clamps inputs of -1 and 1. w begins orthogonal, so that activity lasts while nothing is learned yet.

    Args:
        input_size: D.
        hidden_size: H, units; the output is y.
        rule: "hebb" or "oja".
        rate: eta at the beginning.
        gain: Weight of an input on its unit at the beginning.
        plasticity: alpha at the beginning, about which it is drawn. At 0.3, with `recurrent` 0, patterns that are shown
            are completed before anything is learned.
        recurrent: Length of the columns of w at the beginning.

    Raises:
        ValueError: There is no such rule.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        rule: str = "hebb",
        rate: float = 0.01,
        gain: float = 1.0,
        plasticity: float = 0.0,
        recurrent: float = 1.0,
    ) -> None:
        super().__init__(input_size, hidden_size)
        if rule not in RULES:
            raise unknown("rule", rule, RULES)
        self.rule = rule
        self.inputs = nn.Linear(input_size, hidden_size)
        begin = nn.init.orthogonal_(torch.empty(hidden_size, hidden_size), gain=recurrent)
        self.fixed = nn.Parameter(begin)  # w, rows i, columns j
        self.plasticity = nn.Parameter(plasticity + 0.01 * torch.randn(hidden_size, hidden_size))  # alpha
        self.rate = nn.Parameter(torch.tensor(rate))  # eta
        with torch.no_grad():
            self.inputs.weight.copy_(gain * torch.eye(hidden_size, input_size))
            self.inputs.bias.zero_()

    def _initial(self, batch_size: int, like: Tensor) -> State:
        size = self.output_size
        return {"hidden": like.new_zeros(batch_size, size), "trace": like.new_zeros(batch_size, size, size)}

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        before = state["hidden"]
        weights = torch.addcmul(self.fixed, self.plasticity, state["trace"])  # [B, H, H]
        hidden = torch.tanh((before.unsqueeze(1) @ weights).squeeze(1) + self.inputs(x))
        return hidden, {"hidden": hidden, **self._traces(state, before, hidden)}, {}

    def _traces(self, state: State, before: Tensor, hidden: Tensor) -> State:
        """All leaves but the hidden state after a step from `before` to `hidden`, both `[B, H]`."""
        trace, post = state["trace"], hidden.unsqueeze(1)
        if self.rule == "hebb":
            return {"trace": torch.lerp(trace, before.unsqueeze(2) * post, self.rate)}
        return {"trace": trace + self.rate * post * (before.unsqueeze(2) - post * trace)}


class Neuromodulated(Plastic):
    """Plasticity that the net itself turns on and off, and to either side (Miconi et al. 2019, equation 3).

        H_ij(t + 1) = clip(H_ij(t) + m_j(t) y_i(t - 1) y_j(t)),   m(t) = W_f tanh(W_m y(t))

    One signal for all units, fanned out to each of them as in the authors' maze.

    Args:
        input_size: D.
        hidden_size: H, units; the output is y.
        limit: H stays within it.
        gain: Weight of an input on its unit at the beginning.
    """

    def __init__(self, input_size: int, hidden_size: int, limit: float = 2.0, gain: float = 1.0) -> None:
        super().__init__(input_size, hidden_size, gain=gain)
        del self.rate  # m says how fast
        self.limit = limit
        self.modulator = nn.Linear(hidden_size, 1)
        self.fan_out = nn.Linear(1, hidden_size)

    def _traces(self, state: State, before: Tensor, hidden: Tensor) -> State:
        written = before.unsqueeze(2) * (self._modulation(hidden) * hidden).unsqueeze(1)
        return {"trace": (state["trace"] + written).clamp(-self.limit, self.limit)}

    def _modulation(self, hidden: Tensor) -> Tensor:
        """The signal m of each unit: `[B, H]` -> `[B, H]`."""
        modulation: Tensor = self.fan_out(torch.tanh(self.modulator(hidden)))
        return modulation


class Retroactive(Neuromodulated):
    """Modulation that reaches back: what was active a while ago may be learned now (ibid., equations 4 and 5).

        H_ij(t + 1) = clip(H_ij(t) + m_j(t) E_ij(t)),   E_ij(t + 1) = (1 - eta) E_ij(t) + eta y_i(t - 1) y_j(t)

    E, the eligibility trace, is a leaf of the state beside H.

    Args:
        input_size: D.
        hidden_size: H, units; the output is y.
        limit: H stays within it.
        rate: eta at the beginning.
        gain: Weight of an input on its unit at the beginning.
    """

    def __init__(
        self, input_size: int, hidden_size: int, limit: float = 1.0, rate: float = 0.1, gain: float = 1.0
    ) -> None:
        super().__init__(input_size, hidden_size, limit, gain)
        self.rate = nn.Parameter(torch.tensor(rate))

    def _initial(self, batch_size: int, like: Tensor) -> State:
        state = super()._initial(batch_size, like)
        return state | {"eligibility": torch.zeros_like(state["trace"])}

    def _traces(self, state: State, before: Tensor, hidden: Tensor) -> State:
        written = self._modulation(hidden).unsqueeze(1) * state["eligibility"]
        return {
            "trace": (state["trace"] + written).clamp(-self.limit, self.limit),
            "eligibility": torch.lerp(state["eligibility"], before.unsqueeze(2) * hidden.unsqueeze(1), self.rate),
        }
