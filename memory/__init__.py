"""Episodic memory: a differentiable neural dictionary with incomplete-hash keys, usable without any agent."""

from engram_rl.memory.dictionary import DifferentiableNeuralDictionary
from engram_rl.memory.forgetting import (
    Confidence,
    Decay,
    FirstInFirstOut,
    Forgetting,
    LeastRecentlyUsed,
    Priority,
    WrittenRows,
)
from engram_rl.memory.indexes import AutoIndex, CachedIndex, ExactIndex, Index, IVFIndex, Proposer
from engram_rl.memory.keys.abstraction import RandomProjection, RecursivePooling, SlowCopy
from engram_rl.memory.keys.identity import identify
from engram_rl.memory.keys.space import Keys, KeySpace, Modality
from engram_rl.memory.keys.store import KeyStore
from engram_rl.memory.learning import Reencoder, RowRMSprop, RowSGD
from engram_rl.memory.reading import Found, Gaussian, InverseDistance, Kernel, Uniform
from engram_rl.memory.transitions.branches import RandomBranches
from engram_rl.memory.transitions.memory import TransitionMemory
from engram_rl.memory.transitions.planner import Planner
from engram_rl.memory.writing.rules import Append, Blend, Last, Max, RunningMean, SurpriseGated, WriteContext, WriteRule

__all__ = [
    "Append",
    "AutoIndex",
    "Blend",
    "CachedIndex",
    "Confidence",
    "Decay",
    "DifferentiableNeuralDictionary",
    "ExactIndex",
    "FirstInFirstOut",
    "Forgetting",
    "Found",
    "Gaussian",
    "IVFIndex",
    "Index",
    "InverseDistance",
    "Kernel",
    "KeySpace",
    "KeyStore",
    "Keys",
    "Last",
    "LeastRecentlyUsed",
    "Max",
    "Modality",
    "Planner",
    "Priority",
    "Proposer",
    "RandomBranches",
    "RandomProjection",
    "RecursivePooling",
    "Reencoder",
    "RowRMSprop",
    "RowSGD",
    "RunningMean",
    "SlowCopy",
    "SurpriseGated",
    "TransitionMemory",
    "Uniform",
    "WriteContext",
    "WriteRule",
    "WrittenRows",
    "identify",
]
