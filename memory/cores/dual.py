"""Dual memories (Le, Tran and Venkatesh 2018, arXiv 1802.00662): two views, each written by a controller of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from engram_rl.memory.cores.addressing import linear, oneplus
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes
from engram_rl.memory.cores.derivatives import content
from engram_rl.memory.cores.dnc import DNC
from engram_rl.memory.cores.steered import Steered, controller
from engram_rl.memory.cores.wrapper import MakeCore, inside, made


class DualMemory(Core):
    """Two cores with slots, one for each part of the input, and a decoder that reads both memories and writes neither.

        y_1, M_1 = core_1(x_1),   y_2, M_2 = core_2(x_2)         late fusion: a memory each
        y_1, M = core_1(x_1, M),  y_2, M = core_2(x_2, M)        early fusion (`shared`): one, written by both in turn
        h   = LSTM([y_1; y_2; r_{t-1}])                          the decoder
        r   = [w_1 M_1; w_2 M_2],  w_i = softmax(beta_i cos(k_i, M_i))       of each head; by early fusion of M twice
        y   = W [h; r]

    with k and beta told by h. The paper decodes after both views have ended; here the decoder goes along, step by step,
    for in an episode there is no such end.

    Args:
        input_size: D.
        hidden_size: H, of all three controllers, and numbers in an output.
        core: Makes each of the two cores: DNC, NTM or SAM.
        first: Columns of the input that are the first view; half of them by default. The others are the second.
        shared: Whether both write to one memory.
        reads: Heads of the decoder, on each memory.

    Raises:
        ValueError: A view without columns, or a core without slots.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        core: MakeCore = DNC,
        first: int | None = None,
        shared: bool = False,
        reads: int = 1,
    ) -> None:
        super().__init__(input_size, hidden_size)
        first = max(1, input_size // 2) if first is None else first
        require_sizes(self, first=first, reads=reads)
        if first >= input_size:
            raise ValueError(
                f"DualMemory's first={first} of {input_size} columns leave none to the second view; give fewer"
            )
        self.first, self.shared, self.reads = first, shared, reads
        sizes = (first, input_size - first)
        self.one, self.other = (
            inside(self._name, made(self._name, core, size, hidden_size), Steered, "DNC, NTM or SAM") for size in sizes
        )
        width = self.one.width
        self.decoder = controller(2 * hidden_size + 2 * reads * width, hidden_size)
        self.heads = linear(hidden_size, 2 * reads * (width + 1))
        self.output = linear(hidden_size + 2 * reads * width, hidden_size)

    def _initial(self, batch_size: int, like: Tensor) -> State:
        second = self.other._initial(batch_size, like)
        if self.shared:
            second = {name: leaf for name, leaf in second.items() if name in CONTROLLER}
        sizes = {"hidden": self.output_size, "cell": self.output_size, "read": 2 * self.reads * self.one.width}
        return {
            **{f"first_{name}": leaf for name, leaf in self.one._initial(batch_size, like).items()},
            **{f"second_{name}": leaf for name, leaf in second.items()},
            **{name: like.new_zeros(batch_size, size) for name, size in sizes.items()},
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        first, second = part_of(state, "first_"), part_of(state, "second_")
        told, first, _ = self.one._step(x[:, : self.first], first)
        memory = {name: leaf for name, leaf in first.items() if name not in CONTROLLER}
        told_too, second, _ = self.other._step(x[:, self.first :], second | memory if self.shared else second)
        if self.shared:
            first |= {name: second.pop(name) for name in memory}
        seen = torch.cat([told, told_too, state["read"]], 1)
        hidden, cell = self.decoder(seen, (state["hidden"], state["cell"]))
        read = self._read(hidden, first["memory"], first["memory"] if self.shared else second["memory"])
        after = {
            **{f"first_{name}": leaf for name, leaf in first.items()},
            **{f"second_{name}": leaf for name, leaf in second.items()},
            **{"hidden": hidden, "cell": cell, "read": read},
        }
        return self.output(torch.cat([hidden, read], 1)), after, {}

    def _read(self, hidden: Tensor, *memories: Tensor) -> Tensor:
        """What the decoder reads of both, and changes nothing. `[B, H]`, `[B, N, W]` twice -> `[B, 2 R W]`."""
        heads = self.heads(hidden).unflatten(1, (2, self.reads, -1))
        keys, beta = heads[..., :-1].tanh(), oneplus(heads[..., -1:])
        read = [content(keys[:, i], memory, beta[:, i]) @ memory for i, memory in enumerate(memories)]
        return torch.cat(read, 1).flatten(1)

    def inspect(self, state: State) -> dict[str, Tensor]:
        """What is told of the first core."""
        return self.one.inspect(part_of(state, "first_"))


CONTROLLER = ("hidden", "cell", "read")
"""Leaves of a core with slots that are not its memory's."""


def part_of(state: State, prefix: str) -> State:
    """The leaves whose names begin so, without it."""
    return {name.removeprefix(prefix): leaf for name, leaf in state.items() if name.startswith(prefix)}
