"""Whether a saved state is one that a memory can be in; a stranger's may be anything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from engram_rl.memory.checks import LARGEST_KEY, LARGEST_VALUE, limited, shown
from engram_rl.memory.keys.identity import NOBODY
from engram_rl.memory.keys.space import KeySpace

if TYPE_CHECKING:
    from engram_rl.memory.dictionary import DifferentiableNeuralDictionary


def check_state(memory: DifferentiableNeuralDictionary, state: Any) -> None:
    """Raise what is wrong with a state, before anything of it is taken over.

    Raises:
        ValueError: It is not of this memory's shape, or its parts contradict each other.
        TypeError: It is no state at all.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"the state is {shown(state)}; give what state_dict returned")
    _check_structure(memory.state_dict(), state, "")
    if len(state["rows"]) > memory.capacity:
        raise ValueError(
            f"{len(state['rows'])} slots were saved and the capacity is {memory.capacity}; raise the capacity"
        )
    _check_slots(state)
    _check_numbers(state, memory.space)
    memory.links.check(state["links"])
    _check_links(state["links"], len(state["rows"]))


def _check_structure(own: Mapping[str, Any], state: Mapping[str, Any], place: str) -> None:
    """Every part of a state is there and of the kind, type and shape of the memory's own, but for the slots used."""
    lacking = own.keys() - state.keys()
    if lacking:
        names = ", ".join(sorted(place + name for name in lacking))
        raise ValueError(f"the saved memory lacks {names}; it is incomplete or of another version")
    for name, mine in own.items():
        saved, here = state[name], place + name
        if isinstance(mine, Mapping):
            if not isinstance(saved, Mapping):
                raise ValueError(f"saved {here} is {shown(saved)}; expected what it was made of")
            _check_structure(mine, saved, f"{here}.")
        elif isinstance(mine, Tensor):
            _check_tensor(mine, saved, here)
        elif isinstance(saved, bool) or not isinstance(saved, int | float) or not 0 <= saved < 2**62:
            raise ValueError(f"saved {here} is {shown(saved)}; expected a number of at least 0")


def _check_tensor(mine: Tensor, saved: Any, place: str) -> None:
    numbers = isinstance(saved, Tensor) and saved.is_floating_point() and mine.is_floating_point()
    if not isinstance(saved, Tensor) or not (numbers or saved.dtype == mine.dtype):
        raise ValueError(f"saved {place} is {shown(saved)}; expected a tensor of {mine.dtype}")
    free = next((axes for start, axes in FREE.items() if place.startswith(start)), 0)
    if saved.dim() != mine.dim() or saved.shape[free:] != mine.shape[free:]:
        raise ValueError(
            f"saved {place} has shape {list(saved.shape)}, expected {['used'] * free + list(mine.shape[free:])}; build "
            "the dictionary with the key space and value_dim it was saved with"
        )


ROWS = ("rows", "codes", "present", "values", "identities", "slots.alive", "slots.generation", "usage.hits")
"""What has a row for each used slot, beside what the forgetting policy keeps."""

LARGEST_ROW = 1e35
"""In size, of what a row holds beside its key: squares, and marks of rows that are to be ranked last."""

FREE = dict.fromkeys((*ROWS, "slots.holes", "forgetting."), 1) | {"links.": 2}
"""How many leading axes may have another size in the state: slots used, and links from each."""


def _check_slots(state: Mapping[str, Any]) -> None:
    """All parts are of the same slots, and those without an entry are the holes."""
    used = len(state["rows"])
    parts = {name: _at(state, name) for name in ROWS}
    parts |= {
        f"forgetting.{name}": x
        for name, x in state["forgetting"].items()
        if isinstance(x, Tensor) and name in ("score", "level")
    }
    for name, part in parts.items():
        if len(part) != used:
            raise ValueError(f"saved {name} is of {len(part)} slots, rows are of {used}; the state is damaged")
    alive, holes = state["slots"]["alive"], state["slots"]["holes"]
    if not torch.equal(holes.sort().values, (~alive).nonzero().squeeze(1).to(holes)):
        raise ValueError("the saved slots without an entry are not those that are listed as free; the state is damaged")
    named = state["identities"][state["identities"] != NOBODY]
    if len(torch.unique(named)) < len(named):
        raise ValueError("a saved identity has two slots; the state is damaged")
    if not (state["slots"]["generation"] >= alive.to(torch.int32)).all():
        raise ValueError("a saved entry is counted less than once; the state is damaged")


def _check_numbers(state: Mapping[str, Any], space: KeySpace) -> None:
    """Keys, values, scores and sums are what writes and lookups leave."""
    alive = state["slots"]["alive"]
    score, spread = state["forgetting"]["score"], state["spread"]
    sound = {
        "rows": limited(state["rows"][:, : space.vector_size][alive], LARGEST_KEY)
        and limited(state["rows"], LARGEST_ROW),
        "values": limited(state["values"], LARGEST_VALUE),
        "forgetting.score": bool(score[alive].isfinite().all() and (score[~alive] == torch.inf).all()),
        "spread": all(bool((spread[n].isfinite() & (spread[n] >= 0)).all()) for n in ("count", "squares", "longest")),
        "spread.mean": limited(spread["mean"], LARGEST_KEY),
        "usage.hits": bool((state["usage"]["hits"] >= 0).all()),
        "usage": all(bool(state["usage"][n].isfinite().all()) for n in ("hit_distance", "top_weight")),
    }
    if "level" in state["forgetting"]:
        sound["forgetting.level"] = limited(state["forgetting"]["level"], LARGEST_KEY)
    for name, fine in sound.items():
        if not fine:
            raise ValueError(f"saved {name} holds numbers that no memory gives; the state is damaged")


def _check_links(links: Mapping[str, Tensor], used: int) -> None:
    """Links lead to slots that there are, with weights that are some."""
    target, weight = links["target"], links["weight"]
    if not ((target >= -1) & (target < used)).all() or not ((weight >= 0) & (weight <= LARGEST_VALUE)).all():
        raise ValueError(
            f"saved links lead to other slots than the {used} saved or weigh what none can; the state is damaged"
        )
    rows = {len(links[name]) for name in links}
    if len(rows) > 1 or rows.pop() not in (0, used):
        raise ValueError(f"saved links are not of {used} slots; the state is damaged")
    shapes = {tuple(links[name].shape) for name in ("target", "target_generation", "weight", "kind")}
    if len(shapes) > 1:
        raise ValueError(f"saved links have the shapes {sorted(shapes)}, which must be one; the state is damaged")


def _at(state: Mapping[str, Any], dotted: str) -> Tensor:
    for name in dotted.split("."):
        state = state[name]
    return state  # type: ignore[return-value]
