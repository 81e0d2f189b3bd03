"""Episodic memory: a differentiable neural dictionary with incomplete-hash keys, usable without any agent."""

from engram_rl.memory.abstraction import RandomProjection, RecursivePooling, Reencoder, SlowCopy
from engram_rl.memory.auto import AutoIndex
from engram_rl.memory.branches import RandomBranches
from engram_rl.memory.dictionary import DifferentiableNeuralDictionary
from engram_rl.memory.forgetting import Decay, FirstInFirstOut, LeastRecentlyUsed, Priority, Trust
from engram_rl.memory.identity import identify
from engram_rl.memory.index import ExactIndex
from engram_rl.memory.ivf import IVFIndex
from engram_rl.memory.kept import KeptIndex
from engram_rl.memory.kernels import Gaussian, InverseDistance, Uniform
from engram_rl.memory.keys import KeySpace, Modality
from engram_rl.memory.learning import RowRMSprop, RowSGD
from engram_rl.memory.planning import Planner
from engram_rl.memory.reading import Found
from engram_rl.memory.transitions import TransitionMemory
from engram_rl.memory.writing import Append, Blend, Last, Max, SurpriseGated

__all__ = [
    "Append",
    "AutoIndex",
    "Blend",
    "Decay",
    "DifferentiableNeuralDictionary",
    "ExactIndex",
    "FirstInFirstOut",
    "Found",
    "Gaussian",
    "IVFIndex",
    "InverseDistance",
    "KeptIndex",
    "KeySpace",
    "Last",
    "LeastRecentlyUsed",
    "Max",
    "Modality",
    "Planner",
    "Priority",
    "RandomBranches",
    "RandomProjection",
    "RecursivePooling",
    "Reencoder",
    "RowRMSprop",
    "RowSGD",
    "SlowCopy",
    "SurpriseGated",
    "TransitionMemory",
    "Trust",
    "Uniform",
    "identify",
]
