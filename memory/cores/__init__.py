"""Recurrent memories behind one contract: `make_core("gru", input_size=8, hidden_size=32)` in anybody's loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from engram_rl.memory.checks import unknown
from engram_rl.memory.cores.compressive import CompressiveTransformer
from engram_rl.memory.cores.core import Core, Losses, State
from engram_rl.memory.cores.delta import DeltaRule
from engram_rl.memory.cores.dnc import DNC
from engram_rl.memory.cores.dual import DualMemory
from engram_rl.memory.cores.fast_weights import FastWeights
from engram_rl.memory.cores.ffm import FFM
from engram_rl.memory.cores.gated_delta import GatedDeltaRule
from engram_rl.memory.cores.gru import GRU
from engram_rl.memory.cores.gtrxl import GTrXL
from engram_rl.memory.cores.indrnn import IndRNN
from engram_rl.memory.cores.kanerva import DynamicKanerva, Kanerva
from engram_rl.memory.cores.lifelong import Lifelong
from engram_rl.memory.cores.lmu import LMU
from engram_rl.memory.cores.lstm import LSTM
from engram_rl.memory.cores.memory_network import MemoryNetwork
from engram_rl.memory.cores.min_gru import MinGRU
from engram_rl.memory.cores.mnm import MNM
from engram_rl.memory.cores.multigrid import Multigrid
from engram_rl.memory.cores.ntm import NTM
from engram_rl.memory.cores.plastic import Neuromodulated, Plastic, Retroactive
from engram_rl.memory.cores.pondering import AdaptiveComputation
from engram_rl.memory.cores.programs import StoredPrograms
from engram_rl.memory.cores.sam import SAM
from engram_rl.memory.cores.shm import StableHadamardMemory
from engram_rl.memory.cores.store import StoreCore
from engram_rl.memory.cores.synthetic import SyntheticGradients
from engram_rl.memory.cores.tiers import Tiers
from engram_rl.memory.cores.two_level import TwoLevel
from engram_rl.memory.cores.variational import VariationalMemory
from engram_rl.memory.cores.wrapper import Wrapper
from engram_rl.memory.cores.writing import CachedUniformWriting, UniformWriting

CORES: dict[str, type[Core]] = {
    "compressive": CompressiveTransformer,
    "delta": DeltaRule,
    "dnc": DNC,
    "dual": DualMemory,
    "dynamic_kanerva": DynamicKanerva,
    "fast_weights": FastWeights,
    "ffm": FFM,
    "gated_delta": GatedDeltaRule,
    "gru": GRU,
    "gtrxl": GTrXL,
    "indrnn": IndRNN,
    "kanerva": Kanerva,
    "lifelong": Lifelong,
    "lmu": LMU,
    "lstm": LSTM,
    "memory_network": MemoryNetwork,
    "min_gru": MinGRU,
    "mnm": MNM,
    "multigrid": Multigrid,
    "neuromodulated": Neuromodulated,
    "ntm": NTM,
    "plastic": Plastic,
    "retroactive": Retroactive,
    "sam": SAM,
    "shm": StableHadamardMemory,
    "store": StoreCore,
    "tiers": Tiers,
    "two_level": TwoLevel,
}
"""Every core by the name that `make_core` and `core=` on the command line take."""


WRAPPERS: dict[str, type[Wrapper]] = {
    "adaptive_computation": AdaptiveComputation,
    "cached_uniform_writing": CachedUniformWriting,
    "stored_programs": StoredPrograms,
    "uniform_writing": UniformWriting,
}
"""Cores around a core, which `core=partial(DNC, slots=16)` makes, by name."""


def make_core(name: str, input_size: int, hidden_size: int, **settings: Any) -> Core:
    """A core by name; all else has a default that trains.

    Args:
        name: One of `CORES` or `WRAPPERS`.
        input_size: Numbers in an input, D.
        hidden_size: Numbers in an output, for most cores; `core.output_size` says how many there are.
        settings: Of this core, such as `slots=64`; see its class.

    Raises:
        ValueError: There is no such core, or a size or a setting that it cannot have.
        TypeError: A setting that it does not know.
    """
    kinds: dict[str, Callable[..., Core]] = {**CORES, **WRAPPERS}
    if name not in kinds:
        raise unknown("core", name, kinds)
    return kinds[name](input_size, hidden_size, **settings)


__all__ = [
    "CORES",
    "WRAPPERS",
    "Core",
    "Losses",
    "State",
    "SyntheticGradients",
    "VariationalMemory",
    "Wrapper",
    "make_core",
    *sorted(kind.__name__ for kind in (*CORES.values(), *WRAPPERS.values())),
]
