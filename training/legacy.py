"""What earlier versions called things: their runs, checkpoints and rows load; a command line takes today's words.

Tables say it: `MODULES` (modules, classes and functions by dotted name), `KEYS` (values of a configuration by place),
`CHOICES` (values that are names), `STATES` (parts of an agent's state by place), `ENVIRONMENT_STATES` (of the
environments') and `METRICS`. Memory files have a table of their own, in `engram_rl.memory.persistence.names`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, TypeAlias

from torch import Tensor

from engram_rl.agents.common.observations import map_observation
from engram_rl.memory.checks import RENAMED
from engram_rl.training.legacy_agents import agent_today, with_first_defaults, with_first_rule

Place: TypeAlias = tuple[Any, ...]

ROOMS = ("agents", "conf", "envs", "memory", "training")
"""Packages of the first version, which lie below `engram_rl` now."""

AGENTS = "engram_rl.agents."
"""Where agents of ours are made."""

SEEDING = "seeding"
"""What configurations of runs say since agents have a rule of scaling."""

MODULES: dict[str, str] = {
    "envs.schedules": "engram_rl.envs.shifting.schedules",
    "agents.schedules.Linear": "engram_rl.agents.common.schedules.Linear",
    "agents.self_imitation.make_self_imitation_ppo": "engram_rl.agents.self_imitation_ppo.make_self_imitation_ppo",
    "agents.situations.Places": "engram_rl.agents.retrieval.situations.PlaceSituations",
    "agents.situations.Projections": "engram_rl.agents.retrieval.situations.ProjectionSituations",
    "agents.views.Columns": "engram_rl.agents.goal_directed.views.Columns",
    "agents.views.PartialGrid": "engram_rl.agents.goal_directed.minigrid_views.PartialGrid",
    "agents.views.SymbolGrid": "engram_rl.agents.goal_directed.minigrid_views.SymbolGrid",
    "memory.Trust": "engram_rl.memory.Confidence",
    "memory.KeptIndex": "engram_rl.memory.CachedIndex",
    "memory.abstraction.RandomProjection": "engram_rl.memory.RandomProjection",
    "memory.abstraction.RecursivePooling": "engram_rl.memory.RecursivePooling",
    "memory.abstraction.Reencoder": "engram_rl.memory.Reencoder",
    "memory.abstraction.SlowCopy": "engram_rl.memory.SlowCopy",
    "memory.auto.AutoIndex": "engram_rl.memory.AutoIndex",
    "memory.branches.RandomBranches": "engram_rl.memory.RandomBranches",
    "memory.forgetting.Trust": "engram_rl.memory.Confidence",
    "memory.identity.identify": "engram_rl.memory.identify",
    "memory.index.ExactIndex": "engram_rl.memory.ExactIndex",
    "memory.ivf.IVFIndex": "engram_rl.memory.IVFIndex",
    "memory.kept.KeptIndex": "engram_rl.memory.CachedIndex",
    "memory.kernels.Gaussian": "engram_rl.memory.Gaussian",
    "memory.kernels.InverseDistance": "engram_rl.memory.InverseDistance",
    "memory.kernels.Uniform": "engram_rl.memory.Uniform",
    "memory.keys.KeySpace": "engram_rl.memory.KeySpace",
    "memory.keys.Modality": "engram_rl.memory.Modality",
    "memory.planning.Planner": "engram_rl.memory.Planner",
    "memory.transitions.TransitionMemory": "engram_rl.memory.TransitionMemory",
    "memory.writing.Append": "engram_rl.memory.Append",
    "memory.writing.Blend": "engram_rl.memory.Blend",
    "memory.writing.Last": "engram_rl.memory.Last",
    "memory.writing.Max": "engram_rl.memory.Max",
    "memory.writing.SurpriseGated": "engram_rl.memory.SurpriseGated",
}
"""Dotted names of the first version that did more than move below `engram_rl`, by what they are today; that of a module
stands for all that is in it."""

KEYS: dict[str, str] = {
    "log.film": "log.video",
    "log.recalled": "log.retrieved",
    "agent.by_action": "agent.retrieval.by_action",
    "agent.found": "agent.retrieval.reward_sites",
    "agent.gate": "agent.attention.gate",
    "agent.heads": "agent.attention.heads",
    "agent.here": "agent.retrieval.neighbours",
    "agent.hide": "agent.retrieval.memory_dropout",
    "agent.horizon": "agent.n_step",
    "agent.learn_gate": "agent.attention.learn_gate",
    "agent.least_trust": "agent.retrieval.min_confidence",
    "agent.optimiser.lr": "agent.learning_rate",
    "agent.recall_discount": "agent.retrieval.discount",
    "agent.refuted": "agent.retrieval.refuted",
    "agent.row_optimiser.lr": "agent.row_learning_rate",
    "agent.separate": "agent.retrieval.separate",
    "agent.trace": "agent.gae_lambda",
    "agent.vote": "agent.retrieval.logit_bias",
    "agent.width": "agent.attention.width",
    "agent.memory.forgetting.doubt": "agent.memory.forgetting.lost_decay",
    "agent.planner.doubt_cost": "agent.planner.refused_cost",
}
"""Places of values in a configuration, or of whole branches, by where they are today."""

NOT_TRAINED = {"agent.optimiser": "agent.learning_rate", "agent.row_optimiser": "agent.row_learning_rate"}
"""Optimisers that could be null, by the rate that is null today."""

CHOICES: dict[str, dict[str, str]] = {
    "agent": {"nec_eager": "nec_sample_efficient"},
    "agent.memory.forgetting": RENAMED,
    "agent.memory.index": RENAMED,
    "memory": {"recall": "retrieval", "recall_best": "retrieval_best"},
}
"""Values that are names, of a YAML or of a part of the memory, by place and by what they are called today."""

STATES: dict[str, str] = {
    f"policy.{part}._layers.{layer}.*": f"policy.{part}.{2 * layer}.*"
    for part in ("actor", "critic", "encoder")
    for layer in range(8)
} | {
    "extras.*.ballot": "extras.*.action_returns",
    "extras.*.hidden": "extras.*.dropped",
    "policy.actor_fusion.retrieval": "policy.actor_fusion.attention",
    "policy.actor_vote.vote.log_strength": "policy.logit_bias.log_strength",
    "policy.critic_fusion.retrieval": "policy.critic_fusion.attention",
    "rollout.steps.extras.recalled": "rollout.steps.extras.shown",
    "rollout.steps.extras.votes": "rollout.steps.extras.action_returns",
}
"""Places in the state of an agent of ours, by where they are today.

`*` is any name, the same on both sides; a list counts as names from 0; and the dots in the name of a network's weights
(`actor._layers.0.bias`) are those of the pattern.
"""

ENVIRONMENT_STATES = {
    "state.runs.phase": "state.runs.task_index",
}
"""Places in the state of environments, by where they are today."""

METRICS = {
    "env/phase": "env/task_index",
}
"""Names of metrics, by what they are called today."""


def named_today(dotted: str) -> str:
    """Where a class, a function or a module of the first version is now; other names as they are."""
    for known, today in MODULES.items():
        if f"{dotted}.".startswith(f"{known}."):
            return today + dotted.removeprefix(known)
    room, _, rest = dotted.partition(".")
    return f"engram_rl.{dotted}" if room in ROOMS and rest else dotted


def config_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration, plain dicts and lists, with today's names and places.

    An agent that was not ours keeps the places of its own values; one that was says no more than today's YAML.
    """
    moved: dict[str, Any] = {}
    ours = _is_first_versions(config.get("agent"))
    for place, value in _leaves(config, ()):
        if ours or place[0] != "agent":
            value = CHOICES.get(".".join(map(str, place)), {}).get(str(value), value)
            place = _moved(place, KEYS)
        _put(moved, place, value)
    today = {name: _renamed(part) for name, part in _with_lists(moved).items()}
    if ours:
        today["agent"] = agent_today(today["agent"])
    return today


def run_today(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration today; an agent of ours that began when there was one rule of scaling keeps that rule.

    Runs say ever since there are two how their worlds were seeded.
    """
    today = config_today(config)
    if SEEDING not in config and str(_target(today.get("agent"))).startswith(AGENTS):
        today["agent"] = with_first_rule(with_first_defaults(today["agent"]))
    return today


def override_today(override: str) -> str:
    """An override of a command line, `agent.horizon=10` for instance, with today's place and choice."""
    place, equals, value = override.partition("=")
    if value == "null" and (rate := NOT_TRAINED.get(place)):
        return f"{rate}=null"
    value = CHOICES.get(place, {}).get(value, value)
    return ".".join(_moved(tuple(place.split(".")), KEYS)) + equals + value


def checkpoint_today(checkpoint: Mapping[str, Any], version: int = 1) -> dict[str, Any]:
    """What a checkpoint of a run of ours held, its parts where they are today.

    Args:
        checkpoint: As stored.
        version: In which it was stored: 1 by the first version, 2 before recurrent states had names.
    """
    today = dict(checkpoint)
    if version < 2:
        today = _first_today(today)
    if version < 3 and isinstance(today.get("agent"), Mapping):
        today["agent"] = with_named_state(today["agent"])
    return today


def _first_today(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    today = dict(checkpoint)
    if isinstance(today.get("agent"), Mapping):
        today["agent"] = state_today(today["agent"])
    if isinstance(today.get("environments"), Mapping):
        today["environments"] = _all_moved(today["environments"], ENVIRONMENT_STATES)
    if isinstance(today.get("logger"), Mapping):
        kept = dict(today["logger"])
        today["logger"] = kept | {part: metrics_today(kept[part]) for part in ("values", "last") if part in kept}
    return today


def metrics_today(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Metrics by the names that they have today."""
    return {METRICS.get(name, name): value for name, value in metrics.items()}


def state_today(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of an agent of ours, its parts where they are today."""
    today = _all_moved(state, STATES)
    if "kept" in today.get("imitation", {}):
        today["imitation"] = _replayed(today["imitation"])
    return today


def with_named_state(agent: Mapping[str, Any]) -> dict[str, Any]:
    """The state of an agent whose recurrent state was one tensor `[E, H]`, a GRU's or of no width; others as they are.

    It is by name today, as that of every memory core, and the weights of the GRU are those of a core.
    """
    if not (isinstance(agent.get("policy"), Mapping) and isinstance(agent.get("state"), Tensor)):
        return dict(agent)

    def named(state: Tensor | None) -> dict[str, Tensor] | None:
        return None if state is None else {"hidden": state} if state.shape[1] else {}

    policy = {re.sub(r"^core\._gru\.", "core.unit.", name): weight for name, weight in agent["policy"].items()}
    rollout = dict(agent["rollout"])
    rollout["initial_state"] = named(rollout["initial_state"])
    return {**agent, "policy": policy, "rollout": rollout, "state": named(agent["state"])}


def _all_moved(node: Mapping[str, Any], table: Mapping[str, str]) -> dict[str, Any]:
    moved: dict[str, Any] = {}
    for place, value in _leaves(node, ()):
        _put(moved, _moved(place, table), value)
    return _with_lists(moved)


def _replayed(imitation: Mapping[str, Any]) -> dict[str, Any]:
    """What self-imitation kept in a ring of its own, `[capacity, ...]` by name, and a count, as a replay's state."""
    kept, count = imitation["kept"], imitation["count"]
    capacity = len(kept["gained"]) if kept else 0
    size = min(count, capacity)
    rows = map_observation(lambda part: part[:size].numpy(), kept)
    replay = {"rows": rows, "next": count % max(capacity, 1), "size": size, "generator": imitation["draws"]}
    return {"replay": replay, "returns": imitation["returns"]}


def _is_first_versions(agent: Any) -> bool:
    return str(_target(agent)).partition(".")[0] in ROOMS


def _target(agent: Any) -> Any:
    return agent.get("_target_") if isinstance(agent, Mapping) else None


class _Item(int):
    """The name of what a list holds."""


def _leaves(node: Any, place: Place) -> Iterator[tuple[Place, Any]]:
    """Everything that holds nothing further by name, with its place; lists are entered for what they hold by name."""
    if isinstance(node, list) and any(isinstance(item, Mapping) for item in node):
        node = {_Item(at): item for at, item in enumerate(node)}
    if not isinstance(node, Mapping) or not node:
        yield place, node
        return
    for name, value in node.items():
        yield from _leaves(value, (*place, name))


def _with_lists(node: Any) -> Any:
    """The same, with lists where they were."""
    if not isinstance(node, dict):
        return node
    parts = {name: _with_lists(part) for name, part in node.items()}
    return list(parts.values()) if parts and all(isinstance(name, _Item) for name in parts) else parts


def _moved(place: Place, table: Mapping[str, str]) -> Place:
    """Where a place is today: the longest beginning of it that the table knows is replaced."""
    dotted = isinstance(place[-1], str) and "." in place[-1]  # weights of a network
    names: Place = (*place[:-1], *place[-1].split(".")) if dotted else place
    for length in range(len(names), 0, -1):
        for old, new in table.items():
            pattern = old.split(".")
            if len(pattern) == length and all(p in ("*", str(name)) for p, name in zip(pattern, names, strict=False)):
                wild = [name for p, name in zip(pattern, names, strict=False) if p == "*"]
                found = (*(wild.pop(0) if part == "*" else part for part in new.split(".")), *names[length:])
                above = len(place) - 1
                return (*found[:above], ".".join(map(str, found[above:]))) if dotted else found
    return place


def _put(node: dict[str, Any], place: Place, value: Any) -> None:
    for name in place[:-1]:
        node = node.setdefault(name, {})
    node[place[-1]] = value


def _renamed(node: Any) -> Any:
    """The same, with today's name of everything that is to be built."""
    if isinstance(node, Mapping):
        return {
            key: named_today(value) if key == "_target_" and isinstance(value, str) else _renamed(value)
            for key, value in node.items()
        }
    return [_renamed(item) for item in node] if isinstance(node, list) else node
