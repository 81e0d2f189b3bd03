"""Who is near: one file an index, all of them by name here."""

from collections.abc import Callable

from engram_rl.memory.checks import offers, unknown
from engram_rl.memory.indexes.auto import AutoIndex
from engram_rl.memory.indexes.cached import CachedIndex
from engram_rl.memory.indexes.exact import ExactIndex
from engram_rl.memory.indexes.index import Index, Proposer
from engram_rl.memory.indexes.ivf import IVFIndex

__all__ = ["INDEXES", "AutoIndex", "CachedIndex", "ExactIndex", "IVFIndex", "Index", "Proposer", "make_index"]

INDEXES: dict[str, Callable[[], Index]] = {
    "auto": AutoIndex,
    "cached": CachedIndex,
    "exact": ExactIndex,
    "ivf": IVFIndex,
}


def make_index(index: Index | str) -> Index:
    """An index from its name, with its defaults."""
    if isinstance(index, str):
        if index not in INDEXES:
            raise unknown("index", index, INDEXES)
        return INDEXES[index]()
    return offers("index", index, ("exact", "attach", "serving", "propose", "written", "moving", "report"), INDEXES)
