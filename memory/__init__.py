"""Episodic memory: a differentiable neural dictionary with incomplete-hash keys, usable without any agent."""

from engram_rl.memory.dictionary import DifferentiableNeuralDictionary
from engram_rl.memory.forgetting.policy import Decay, FirstInFirstOut, LeastRecentlyUsed, Priority, Trust
from engram_rl.memory.indexes.auto import AutoIndex
from engram_rl.memory.indexes.cached import KeptIndex
from engram_rl.memory.indexes.exact import ExactIndex
from engram_rl.memory.indexes.ivf import IVFIndex
from engram_rl.memory.kernels import Gaussian, InverseDistance, Uniform
from engram_rl.memory.keys.abstraction import RandomProjection, RecursivePooling, Reencoder, SlowCopy
from engram_rl.memory.keys.identity import identify
from engram_rl.memory.keys.space import KeySpace, Modality
from engram_rl.memory.learning import RowRMSprop, RowSGD
from engram_rl.memory.reading import Found
from engram_rl.memory.transitions.branches import RandomBranches
from engram_rl.memory.transitions.memory import TransitionMemory
from engram_rl.memory.transitions.planner import Planner
from engram_rl.memory.writing.rules import Append, Blend, Last, Max, SurpriseGated

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
