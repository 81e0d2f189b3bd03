"""Memories that stand alone: a set of items is stored, and given back from parts or damaged copies."""

from engram_rl.memory.associative.bloom import NeuralBloomFilter
from engram_rl.memory.associative.energy import EnergyMemory, langevin_step
from engram_rl.memory.associative.kanerva import Belief, KanervaMemory

__all__ = ["Belief", "EnergyMemory", "KanervaMemory", "NeuralBloomFilter", "langevin_step"]
