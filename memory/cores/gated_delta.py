"""Fast weights that the delta rule writes and a gate lets fade (Yang, Kautz and Hatamizadeh 2024, arXiv 2412.06464)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from engram_rl.memory.cores.delta import DeltaRule


class GatedDeltaRule(DeltaRule):
    """The delta rule with a forget gate for the whole matrix (equation 10).

        S_t = alpha_t S_{t-1} (I - beta_t k_t k_t^T) + beta_t v_t k_t^T

    `alpha = sigmoid(w_a.x + b)` begins near 1, at `b = 4`; `beta = 2 sigmoid(w_b.x)`, so that what a key had may be
    turned around and not only erased (Grazzi et al. 2024, arXiv 2411.12537). All else as `DeltaRule`.

    Deviations: no short convolutions and no output gate around it, which belong to their language model.

    Args:
        input_size: D.
        hidden_size: H; the output has as many numbers, and so have the values of all heads together.
        heads: Matrices; each holds values of `hidden_size / heads` numbers.
        key_size: Numbers in a key of a head; `hidden_size / heads` if None.
    """

    strongest = 2.0

    def __init__(self, input_size: int, hidden_size: int, heads: int = 1, key_size: int | None = None) -> None:
        super().__init__(input_size, hidden_size, heads, key_size)
        self.stays = nn.Linear(input_size, heads)  # alpha, before the sigmoid
        nn.init.constant_(self.stays.bias, 4.0)

    def _log_decay(self, x: Tensor) -> Tensor | None:
        return functional.logsigmoid(self.stays(x))
