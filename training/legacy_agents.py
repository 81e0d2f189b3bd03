"""What the YAMLs of the first version's agents said and today's leave to the factories: said only where it differs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LINEAR = "engram_rl.agents.common.schedules.Linear"

GROUPS = {
    "attention": "engram_rl.agents.retrieval.options.AttentionOptions",
    "retrieval": "engram_rl.agents.retrieval.options.RetrievalOptions",
}
"""Groups of values that the first version had not, by what they are made into."""

RATES = {"optimiser": "learning_rate", "row_optimiser": "row_learning_rate"}
"""What None says today where no optimiser said it."""

_PPO: dict[str, Any] = {
    "carry_state": False,
    "max_gradient_norm": 0.5,
    "normalise_advantage": True,
    "normalise_observations": False,
    "optimiser": {"_target_": "torch.optim.Adam", "_partial_": True, "eps": 1e-5, "fused": True},
    "picture_features": 512,
    "scale_rewards": False,
    "show_previous": False,
    "target_kl": None,
    "value_clip": None,
    "value_coefficient": 0.5,
}

UNSAID: dict[str, dict[str, Any]] = {
    "make_nec": {
        "batch_size": 32,
        "double": False,
        "exclude_self": True,
        "exploration.start": 1.0,
        "identify": True,
        "learn_every": 4,
        "memory.kernel": "inverse_distance",
        "memory.match_within": None,
        "optimiser": {"_target_": "torch.optim.RMSprop", "_partial_": True, "alpha": 0.9, "eps": 0.01},
        "replay_capacity": 100_000,
        "row_learning_rate": 1e-4,
        "row_optimiser": {
            "_target_": "engram_rl.memory.RowRMSprop",
            "_partial_": True,
            "value_lr": None,
            "alpha": 0.9,
            "eps": 0.01,
        },
    },
    "make_mfec": {"exploration.start": 1.0, "key_size": 64, "novelty": None},
    "make_ppo": _PPO,
    "make_self_imitation_ppo": _PPO,
    "make_retrieval_ppo": _PPO
    | {
        "attention.gate": 1.0,
        "attention.learn_gate": True,
        "retrieval.by_action": False,
        "retrieval.discount": 0.97,
        "retrieval.min_confidence": 0.2,
        "retrieval.refuted": 0.05,
        "view.columns": None,
        "view.reach": 3.0,
    },
    "make_fast_slow": {
        "batch_size": 32,
        "branches": 100,
        "depth": 20,
        "learning_rate": 1e-3,
        "planner": {
            "_target_": "engram_rl.memory.Planner",
            "_partial_": True,
            "unknown_cost": 1.2,
            "refused_cost": float("inf"),
        },
        "visit_weight": 1.0,
    },
}
"""By factory: places of values, and what they are where nothing is said."""


SAID: dict[str, dict[str, Any]] = {
    "make_mfec": {"bootstrap": False},
    "make_self_imitation_ppo": {"bootstrap": False, "prioritisation": 0.0},
    "make_retrieval_ppo": {"retrieval.bootstrap": False},
}
"""By factory: places of values whose default is another today, and what they were in the first version."""


def agent_today(agent: dict[str, Any]) -> dict[str, Any]:
    """The configuration of an agent of the first version, its names and places already today's.

    The result is what today's YAML gives for the same agent, so that equal agents have equal configurations.
    """
    for group, made in GROUPS.items():
        if group in agent:
            agent[group] = {"_target_": made, **agent[group]}
    for optimiser, rate in RATES.items():
        if optimiser in agent and agent[optimiser] is None:
            del agent[optimiser]
            agent[rate] = None
    agent = {name: constant(value) for name, value in agent.items()}
    for place, value in UNSAID.get(str(agent.get("_target_")).rpartition(".")[2], {}).items():
        if not (place == "scale_rewards" and agent.get("recurrent")):  # which are scaled today unless it is said
            _leave_unsaid(agent, place.split("."), value)
    return with_first_defaults(agent)


def with_first_defaults(agent: dict[str, Any]) -> dict[str, Any]:
    """The configuration of an agent of ours that says what it leaves to defaults which were others once."""
    for place, value in SAID.get(str(agent.get("_target_")).rpartition(".")[2], {}).items():
        _say(agent, place.split("."), value)
    return agent


def constant(value: Any) -> Any:
    """A schedule that never changes, as its number; all else as it is."""
    linear = isinstance(value, Mapping) and value.get("_target_") == LINEAR
    return value["start"] if linear and "start" in value and value["start"] == value.get("end") else value


SCALED = {
    "make_mfec": ("scale_rule",),
    "make_nec": ("scale_rule",),
    "make_ppo": ("scale_rule",),
    "make_retrieval_ppo": ("scale_rule", "view.scale_rule"),
    "make_self_imitation_ppo": ("scale_rule",),
}
"""By factory: where it is said how numbers are scaled."""


def with_first_rule(agent: dict[str, Any]) -> dict[str, Any]:
    """The configuration of an agent that scales numbers as the first version did; all else as it is."""
    for place in SCALED.get(str(agent.get("_target_")).rpartition(".")[2], ()):
        above, _, last = place.rpartition(".")
        node = agent[above] if above else agent
        if not above or str(node.get("_target_")).endswith(".ProjectionSituations"):
            node.setdefault(last, 1)
    return agent


def _say(node: dict[str, Any], place: list[str], value: Any) -> None:
    """Put that value at a place, unless something stands there; retrieval without neighbours keeps no returns."""
    *above, last = place
    for name in above:
        node = node.get(name, {})
    if not above or node.get("neighbours"):
        node.setdefault(last, value)


def _leave_unsaid(node: dict[str, Any], place: list[str], value: Any) -> None:
    """Drop what stands at a place if it is that value."""
    *above, last = place
    for name in above:
        node = node.get(name, {}) if isinstance(node, Mapping) else {}
    if isinstance(node, dict) and last in node and node[last] == value:
        del node[last]
