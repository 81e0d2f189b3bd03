"""What stands beside the cores to compare: without gates, without plasticity, or with a setting of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from engram_rl.memory.cores import Core
from engram_rl.memory.cores.core import Losses, State
from engram_rl.memory.cores.dual import DualMemory
from engram_rl.memory.cores.plastic import Plastic


class Elman(Core):
    """`h = tanh(W x + U h + b)` (Elman 1990), torch's own; the output is the state."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size)
        self.unit = nn.RNNCell(self.input_size, self.output_size)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {"hidden": like.new_zeros(batch_size, self.output_size)}

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        hidden = self.unit(x, state["hidden"])
        return hidden, {"hidden": hidden}, {}


class NotPlastic(Plastic):
    """The same net, whose traces count for nothing."""

    def __init__(self, input_size: int, hidden_size: int, **settings: Any) -> None:
        super().__init__(input_size, hidden_size, **settings)
        self.plasticity.requires_grad_(False).zero_()


class DualEarly(DualMemory):
    """Dual memories by early fusion: both views write to one."""

    def __init__(self, input_size: int, hidden_size: int, **settings: Any) -> None:
        super().__init__(input_size, hidden_size, shared=True, **settings)


REFERENCES: dict[str, Callable[..., Core]] = {"dual_early": DualEarly, "elman": Elman, "not_plastic": NotPlastic}
"""By name, as `CORES`."""
