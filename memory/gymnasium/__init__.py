"""The memory beside any Gymnasium environment. Needs gymnasium, which the rest of `memory` does not."""

from engram_rl.memory.gymnasium.wrappers import MemoryVectorWrapper, MemoryWrapper

__all__ = ["MemoryVectorWrapper", "MemoryWrapper"]
