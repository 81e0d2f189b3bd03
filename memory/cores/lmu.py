"""The Legendre memory unit (Voelker, Kajić and Eliasmith 2019, NeurIPS)."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.memory.cores.core import Core, Losses, State, require_sizes


class LMU(Core):
    """A linear memory m holds a window of `theta` steps of one signal u as Legendre coefficients; h reads it.

        u_t = e_x.x_t + e_h.h_{t-1} + e_m.m_{t-1}                   (7)
        m_t = A m_{t-1} + B u_t                                     (4)
        h_t = tanh(W_x x_t + W_h h_{t-1} + W_m m_t)                 (6)

    A and B are not learned: they are equations (1) to (3), the Padé approximant of a delay, discretised by zero-order
    hold with a step of 1. Encoders begin LeCun-uniform but for e_m, which begins at 0, weights Xavier-normal, all as in
    the paper. Sizes and theta are those of the published results on POPGym (Morad et al. 2023, arXiv 2303.01859).

    Args:
        input_size: D.
        hidden_size: H; the output is h.
        order: Legendre coefficients in m; as many as there are hidden units if None.
        theta: Steps in the window.
    """

    def __init__(self, input_size: int, hidden_size: int, order: int | None = None, theta: int = 64) -> None:
        super().__init__(input_size, hidden_size)
        self.order, self.theta = hidden_size if order is None else order, theta
        require_sizes(self, order=self.order, theta=theta)
        self.encode_x = nn.Parameter(_lecun_uniform(input_size))  # e_x
        self.encode_h = nn.Parameter(_lecun_uniform(hidden_size))
        self.encode_m = nn.Parameter(torch.zeros(self.order))
        self.W_x = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden_size, input_size)))
        self.W_h = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden_size, hidden_size)))
        self.W_m = nn.Parameter(nn.init.xavier_normal_(torch.empty(hidden_size, self.order)))

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {
            "hidden": like.new_zeros(batch_size, self.output_size),
            "memory": like.new_zeros(batch_size, self.order),
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        h, m = state["hidden"], state["memory"]
        A, B = _delay(self.order, self.theta, x.device, x.dtype)
        u = x @ self.encode_x + h @ self.encode_h + m @ self.encode_m  # [B]
        m = m @ A.T + u.unsqueeze(1) * B  # [B, order]
        h = torch.tanh(x @ self.W_x.T + h @ self.W_h.T + m @ self.W_m.T)  # [B, H]
        return h, {"hidden": h, "memory": m}, {}

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        """The same with (7) put into (4) and (4) into (6): all but the tanh is one product of [h, m] a step."""
        A, B = _delay(self.order, self.theta, xs.device, xs.dtype)
        to_m = torch.cat([torch.outer(self.encode_h, B), A.T + torch.outer(self.encode_m, B)])  # [H + order, order]
        to_h = to_m @ self.W_m.T + functional.pad(self.W_h.T, (0, 0, 0, self.order))  # [H + order, H]
        recurrent = torch.cat([to_h, to_m], 1)
        driven_m = (xs @ self.encode_x).unsqueeze(2) * B  # [T, B, order]
        driven = torch.cat([xs @ self.W_x.T + driven_m @ self.W_m.T, driven_m], 2)  # [T, B, H + order]
        h, m, hiddens = state["hidden"], state["memory"], []
        for one in driven:
            h, m = torch.addmm(one, torch.cat([h, m], 1), recurrent).split([self.output_size, self.order], 1)
            h = torch.tanh(h)
            hiddens.append(h)
        return torch.stack(hiddens), {"hidden": h, "memory": m}, {}


def _lecun_uniform(size: int) -> Tensor:
    return nn.init.uniform_(torch.empty(size), -((3 / size) ** 0.5), (3 / size) ** 0.5)


@cache
@torch.inference_mode(False)  # what is kept may be asked for next where gradients are
def _delay(order: int, theta: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A and B of a delay of theta, discretised: `exp [[A, B], [0, 0]] = [[A_bar, B_bar], [0, 1]]`."""
    i = torch.arange(order, dtype=torch.float64)
    scale = ((2 * i + 1) / theta).unsqueeze(1)
    sign = torch.where(i.unsqueeze(1) < i, -1.0, (-1.0) ** (i.unsqueeze(1) - i + 1))
    joint = torch.zeros(order + 1, order + 1, dtype=torch.float64)
    joint[:order] = scale * torch.cat([sign, ((-1.0) ** i).unsqueeze(1)], 1)
    joint = torch.linalg.matrix_exp(joint).to(device, dtype)
    return joint[:order, :order], joint[:order, order]
