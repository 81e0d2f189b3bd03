"""Memories that stand alone: a set of items is stored, and given back from parts or damaged copies."""

from engram_rl.memory.associative.kanerva import Belief, KanervaMemory

__all__ = ["Belief", "KanervaMemory"]
