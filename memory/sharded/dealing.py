"""Entries of some shards dealt to another number of shards, each with all that is kept of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.keys.identity import NOBODY
from engram_rl.memory.links import NOTHING

BY_SLOT = ("rows", "codes", "present", "values", "identities")
"""Of a dictionary's state, beside what stands under `slots`, `usage` and `forgetting`."""


def dealt(
    states: list[dict[str, Any]], shards: int, capacity: int, owners: Callable[[np.ndarray], np.ndarray]
) -> tuple[list[dict[str, Any]], Tensor]:
    """The states of so many shards.

    Args:
        states: Of the shards there were, as `Shard.state_dict` gives them.
        shards: N.
        capacity: Of each; of what is more, the weakest goes.
        owners: The shard of each identity.

    Returns:
        Their states, and of each slot that there was its new one, -1 where that holds no entry. `[old slots]`
    """
    alive = [state["memory"]["slots"]["alive"].nonzero().squeeze(1) for state in states]
    entries = _side_by_side([_columns(state, at) for state, at in zip(states, alive, strict=True)])
    before = torch.cat([at * len(states) + shard for shard, at in enumerate(alive)])
    order = entries["turns"].argsort(stable=True)
    entries, before = {name: part[order] for name, part in entries.items()}, before[order]
    shard = torch.from_numpy(owners(entries["identities"].numpy()))
    nobody = entries["identities"] == NOBODY
    shard[nobody] = torch.arange(int(nobody.sum())) % shards
    largest = max(len(state["turns"]) for state in states) * len(states)
    slots = torch.full((largest,), -1)
    parts = []
    for one in range(shards):
        mine = (shard == one).nonzero().squeeze(1)
        if len(mine) > capacity:
            mine = mine[_strongest(entries, mine, capacity)]
        slots[before[mine]] = torch.arange(len(mine)) * shards + one
        parts.append(_state({name: part[mine] for name, part in entries.items()}, states, first=one == 0))
    return parts, slots


def moved(links: dict[str, Tensor], slots: Tensor, capacity: int) -> dict[str, Tensor]:
    """Links between entries that have other slots now; those of entries that went are gone.

    Args:
        links: As `Links.state_dict` gives them, of `used` slots.
        slots: The new slot of each, -1 where there is none.
        capacity: Slots there are.
    """
    used = len(links["target"])
    if not used:
        return links
    after = {name: part.new_zeros(capacity, *part.shape[1:]) for name, part in links.items()}
    after["target"].fill_(NOTHING)
    sources = (slots[:used] >= 0).nonzero().squeeze(1)
    for name, part in links.items():
        after[name][slots[sources]] = part[sources]
    targets = after["target"].long()
    known = torch.where(targets >= 0, slots[targets.clamp(min=0)], NOTHING)
    after["target"] = known.to(after["target"])
    return after


def _columns(state: dict[str, Any], at: Tensor) -> dict[str, Tensor]:
    """All that is kept of each entry, by dotted name."""
    memory = state["memory"]
    found = {name: memory[name][at] for name in BY_SLOT} | {"turns": state["turns"][at]}
    found |= {f"slots.{name}": memory["slots"][name][at] for name in ("generation", "writes")}
    found["usage.hits"] = memory["usage"]["hits"][at]
    kept = {f"forgetting.{name}": part for name, part in memory["forgetting"].items()}
    for number, optimiser in state.get("optimisers", {}).items():
        kept |= {f"optimisers.{number}.{name}": part for name, part in optimiser.items()}
    return found | {name: part[at] for name, part in kept.items() if isinstance(part, Tensor)}


def _side_by_side(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _strongest(entries: dict[str, Tensor], mine: Tensor, most: int) -> Tensor:
    """Which of these entries stay, in the order in which they were written."""
    order = entries["forgetting.score"][mine].argsort(descending=True, stable=True)
    return order[:most].sort().values


def _state(entries: dict[str, Tensor], states: list[dict[str, Any]], first: bool) -> dict[str, Any]:
    """The state of a shard with these entries; what is counted over all shards is the first one's.

    Slots are in the order of the writes, which is what a state is taken for that says nothing of it.
    """
    memory, count = states[0]["memory"], len(entries["turns"])
    every = [state["memory"] for state in states]
    scalars = {name: part for name, part in memory["forgetting"].items() if not isinstance(part, Tensor)}
    latest = {name: max(one["forgetting"][name] for one in every) for name in scalars}
    state: dict[str, Any] = {name: entries[name] for name in BY_SLOT}
    state["slots"] = {
        "alive": torch.ones(count, dtype=torch.bool),
        "generation": entries["slots.generation"],
        "writes": entries["slots.writes"],
        "holes": torch.empty(0, dtype=torch.int64),
        "evictions": sum(int(one["slots"]["evictions"]) for one in every) if first else 0,
    }
    state["usage"] = memory["usage"] | {"hits": entries["usage.hits"]}
    own = {name.partition(".")[2]: part for name, part in entries.items() if name.startswith("forgetting.")}
    state["forgetting"] = own | latest
    state["links"] = memory["links"]
    if "spread" in memory:
        state["spread"] = memory["spread"] | {"until_centred": 0}
    optimisers: dict[str, dict[str, Any]] = {number: {} for number in states[0].get("optimisers", {})}
    for name, part in entries.items():
        if name.startswith("optimisers."):
            _, number, column = name.split(".")
            optimisers[number][column] = part
    return {"memory": state, "turns": entries["turns"], "optimisers": optimisers}
