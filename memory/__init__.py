"""Episodic memory: a differentiable neural dictionary with incomplete-hash keys, usable without any agent."""

from memory.abstraction import RandomProjection, RecursivePooling, Reencoder, SlowCopy
from memory.auto import AutoIndex
from memory.branches import RandomBranches
from memory.dictionary import DifferentiableNeuralDictionary
from memory.forgetting import Decay, FirstInFirstOut, LeastRecentlyUsed, Priority, Trust
from memory.identity import identify
from memory.index import ExactIndex
from memory.ivf import IVFIndex
from memory.kept import KeptIndex
from memory.kernels import Gaussian, InverseDistance, Uniform
from memory.keys import KeySpace, Modality
from memory.learning import RowRMSprop, RowSGD
from memory.planning import Planner
from memory.reading import Found
from memory.transitions import TransitionMemory
from memory.writing import Append, Blend, Last, Max, SurpriseGated

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
