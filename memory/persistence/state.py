"""A dictionary's state as tensors and plain values, and what a state must be: a stranger's may be anything."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

from engram_rl.memory.checks import LARGEST_KEY, LARGEST_VALUE, limited, shown
from engram_rl.memory.forgetting import Forgetting, WrittenRows
from engram_rl.memory.keys.identity import NOBODY, IdentityTable
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.store import KeyStore
from engram_rl.memory.links import Links

ROWS = (
    "rows",
    "codes",
    "present",
    "values",
    "identities",
    "slots.alive",
    "slots.generation",
    "slots.writes",
    "usage.hits",
)
"""What has a row for each used slot, beside what the forgetting policy keeps."""

FREE = dict.fromkeys((*ROWS, "written", "slots.holes", "forgetting."), 1) | {"links.": 2}
"""How many leading axes may have another size in the state: slots used, and links from each."""


class Part(Protocol):
    """What keeps a state of its own."""

    def state_dict(self, used: int) -> dict[str, Any]:
        """Everything about the first `used` slots."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""


class State:
    """The tensors and parts of one dictionary, under the names by which they are saved.

    Args:
        values: What the entries hold. `[N, V]`
        identities: Which slot holds what.
        store: The keys; what it keeps beside its buffers is saved under names of its own.
        links: Between entries.
        forgetting: Which entry makes room.
        parts: The others, by name: "slots" and "usage".
    """

    def __init__(
        self,
        values: Tensor,
        identities: IdentityTable,
        store: KeyStore,
        links: Links,
        forgetting: Forgetting,
        parts: Mapping[str, Part],
    ) -> None:
        self._values, self._identities, self._store, self._links = values, identities, store, links
        self._forgetting = forgetting
        self._parts: dict[str, Part] = {**parts, "links": links}

    def taken(self, used: int, *, copy: bool = True) -> dict[str, Any]:
        """Everything; of the per-slot tensors only the slots that have been used.

        Args:
            used: How many.
            copy: Whether what is large is copied, so that later changes do not reach it.
        """
        large = {name: buffer[:used] for name, buffer in self._buffers().items()}
        return (
            {name: view.clone() if copy else view for name, view in large.items()}
            | {"identities": torch.from_numpy(self._identities.identities_at(slice(used)))}
            | self._store.state_dict(used)
            | {name: part.state_dict(used) for name, part in self._parts.items()}
            | {"forgetting": self._forgetting.state_dict(used)}
        )

    def check(self, state: Any) -> None:
        """Raise what is wrong with a state, before anything of it is taken over.

        Raises:
            ValueError: It is not of this shape, or its parts contradict each other.
            TypeError: It is no state at all.
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"the state is {shown(state)}; give what state_dict returned")
        own = self.taken(0)
        if not self._goes_on(state):  # of another policy, so all that counts is the order
            own["forgetting"] = {"score": own["forgetting"]["score"]}
        _check_structure(own, state, "")
        rows, capacity = len(state["rows"]), len(self._store.rows)
        if rows > capacity:
            raise ValueError(f"{rows} slots were saved and the capacity is {capacity}; raise the capacity")
        _check_slots(state)
        _check_numbers(state)
        self._links.check(state["links"])
        _check_links(state["links"], rows)

    def restore(self, state: Mapping[str, Any], before: int) -> None:
        """Become what was checked.

        Args:
            state: What `taken` gave.
            before: How many slots have been used here.
        """
        used = len(state["rows"])
        for name, buffer in self._buffers().items():
            buffer[:used] = state[name].to(buffer)
            buffer[used:before] = 0
        self._identities.restore(state["identities"].cpu().numpy())
        for name, part in self._parts.items():
            part.load_state_dict(state[name])
        holes = state["slots"]["holes"].to(self._store.present.device)
        self._store.present[holes] = False
        self._store.load_state_dict(dict(state), used)
        self._store.erase(holes)
        if self._goes_on(state):
            self._forgetting.load_state_dict(state["forgetting"])
        else:
            self._take_over(state)

    def _buffers(self) -> dict[str, Tensor]:
        """Tensors by slot that have no owner with a state of its own.  `[N, ...]` each."""
        store = self._store
        return {"rows": store.vectors, "codes": store.codes, "present": store.present, "values": self._values}

    def _goes_on(self, state: Mapping[str, Any]) -> bool:
        """Whether the scores of a state mean what they mean here: they are of such a policy, fading as fast."""
        saved, own = state.get("forgetting"), self._forgetting.state_dict(0)
        return not isinstance(saved, Mapping) or (saved.keys() == own.keys() and saved.get("rate") == own.get("rate"))

    def _take_over(self, state: Mapping[str, Any]) -> None:
        """Keep the order of another policy: as if all had been written here, the weakest first, as they mattered."""
        saved = {name: part.cpu() for name, part in state["forgetting"].items() if isinstance(part, Tensor)}
        slots = state["slots"]["alive"].cpu().nonzero().squeeze(1)
        if len(saved.get("since", ())) == len(state["rows"]) and "level" in saved:
            slots = slots[saved["since"][slots].argsort(stable=True)]
        slots = slots[saved["score"][slots].argsort(stable=True)]
        level = saved["level"][slots].double() if "level" in saved else torch.zeros(len(slots), dtype=torch.float64)
        priority = torch.expm1(level * math.log(2)).clamp(0, LARGEST_VALUE).to(self._values)
        slots = slots.to(priority.device)
        keys = Keys(self._store.vectors[slots], self._store.codes[slots], self._store.present[slots])
        new = torch.ones_like(slots, dtype=torch.bool)
        self._forgetting.removed(state["slots"]["holes"].to(slots))
        self._forgetting.written(WrittenRows(slots, new, priority, keys, self._values[slots]))


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


def _check_slots(state: Mapping[str, Any]) -> None:
    """All parts are of the same slots, and those without an entry are the holes."""
    used = len(state["rows"])
    parts = {name: _at(state, name) for name in ROWS}
    parts |= {
        f"forgetting.{name}": x
        for name, x in state["forgetting"].items()
        if isinstance(x, Tensor) and name in ("score", "level")
    }
    parts |= {"written": state["written"]} if "written" in state else {}
    for name, part in parts.items():
        if len(part) != used:
            raise ValueError(f"saved {name} is of {len(part)} slots, rows are of {used}; the state is damaged")
    alive, holes = state["slots"]["alive"], state["slots"]["holes"]
    if not torch.equal(holes.sort().values, (~alive).nonzero().squeeze(1).to(holes)):
        raise ValueError("the saved slots without an entry are not those that are listed as free; the state is damaged")
    named = state["identities"][state["identities"] != NOBODY]
    if len(torch.unique(named)) < len(named):
        raise ValueError("a saved identity has two slots; the state is damaged")
    counts = torch.minimum(state["slots"]["generation"], state["slots"]["writes"])
    if not (counts >= alive.to(torch.int32)).all():
        raise ValueError("a saved entry is counted less than once; the state is damaged")


def _check_numbers(state: Mapping[str, Any]) -> None:
    """Keys, values, scores and sums are what writes and lookups leave."""
    alive = state["slots"]["alive"]
    score = state["forgetting"]["score"]
    sound = {
        "rows": limited(state["rows"][alive], LARGEST_KEY),
        "present": bool(state["present"][alive].any(1).all()),
        "values": limited(state["values"], LARGEST_VALUE),
        "forgetting.score": bool(score[alive].isfinite().all() and (score[~alive] == torch.inf).all()),
        "usage.hits": bool((state["usage"]["hits"] >= 0).all()),
        "usage": all(bool(state["usage"][n].isfinite().all()) for n in ("hit_distance", "top_weight")),
    }
    if "spread" in state:
        spread = state["spread"]
        sums = [spread[name] for name in ("count", "squares")]
        sound["spread"] = all(bool((x.isfinite() & (x >= 0)).all()) for x in sums)
        sound["spread.mean"] = limited(spread["mean"], LARGEST_KEY) and limited(spread["centre"], LARGEST_KEY)
    for name in ("level", "since"):
        if name in state["forgetting"]:
            sound[f"forgetting.{name}"] = limited(state["forgetting"][name], 2.0**62)
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
