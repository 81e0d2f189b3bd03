"""What an unknown key was meant to be: what it is called elsewhere, in the first version, or at another place here."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import signature
from typing import Any

from hydra.utils import get_method
from omegaconf import DictConfig

from engram_rl.agents.ppo import make_ppo
from engram_rl.training.errors import did_you_mean
from engram_rl.training.legacy import KEYS, override_today

LEARNING_RATE = ("agent.learning_rate", "agent.row_learning_rate")
CLIP = ("agent.clip",)
ROLLOUT = ("agent.num_steps", "agent.n_step")
MINIBATCH = ("agent.minibatch_size", "agent.batch_size")
ENTROPY, VALUE = ("agent.entropy_coefficient",), ("agent.value_coefficient",)

ELSEWHERE: dict[str, tuple[str, ...]] = {
    "batch_size": MINIBATCH,
    "buffer_size": ("agent.replay_capacity", "agent.memory.capacity"),
    "capacity": ("agent.memory.capacity", "agent.replay_capacity"),
    "clip_coef": CLIP,
    "clip_param": CLIP,
    "clip_range": CLIP,
    "clip_range_vf": ("agent.value_clip",),
    "cuda": ("agent.device",),
    "end_e": ("agent.exploration.end",),
    "ent_coef": ENTROPY,
    "entropy_coeff": ENTROPY,
    "env_id": ("env.id",),
    "env_name": ("env.id",),
    "eval_episodes": ("evaluation.episodes",),
    "eval_freq": ("evaluation.every",),
    "exploration_final_eps": ("agent.exploration.end",),
    "exploration_fraction": ("agent.exploration.steps",),
    "exploration_initial_eps": ("agent.exploration.start",),
    "gae_lambda": ("agent.gae_lambda",),
    "gamma": ("agent.discount",),
    "grad_clip": ("agent.max_gradient_norm",),
    "lambda_": ("agent.gae_lambda",),
    "learning_rate": LEARNING_RATE,
    "learning_starts": ("agent.learn_after",),
    "log_interval": ("log.every",),
    "lr": LEARNING_RATE,
    "max_grad_norm": ("agent.max_gradient_norm",),
    "minibatch_size": MINIBATCH,
    "n_envs": ("env.num_envs",),
    "n_epochs": ("agent.epochs",),
    "n_eval_episodes": ("evaluation.episodes",),
    "n_neighbors": ("agent.memory.k",),
    "n_steps": ROLLOUT,
    "net_arch": ("agent.hidden",),
    "norm_adv": ("agent.normalise_advantage",),
    "normalize_advantage": ("agent.normalise_advantage",),
    "num_env_runners": ("env.num_envs",),
    "num_epochs": ("agent.epochs",),
    "num_neighbors": ("agent.memory.k",),
    "num_sgd_iter": ("agent.epochs",),
    "num_threads": ("threads",),
    "num_workers": ("env.num_envs",),
    "optimizer": ("agent.optimiser", "agent.row_optimiser"),
    "rollout_fragment_length": ROLLOUT,
    "save_freq": ("checkpoint.every",),
    "sgd_minibatch_size": MINIBATCH,
    "start_e": ("agent.exploration.start",),
    "timesteps": ("steps",),
    "torch_threads": ("threads",),
    "total_timesteps": ("steps",),
    "train_freq": ("agent.learn_every",),
    "train_frequency": ("agent.learn_every",),
    "update_epochs": ("agent.epochs",),
    "vf_coef": VALUE,
    "vf_loss_coeff": VALUE,
}
"""Keys of Stable-Baselines3, CleanRL and RLlib, by what may stand for them here."""

MOST = 3
"""Places that are suggested."""


def suggestion(key: str, parent: DictConfig) -> str:
    """What to write instead of a key that a configuration does not have.

    Args:
        key: The last word of what was written.
        parent: The part of the configuration that it was written for.
    """
    place = parent._get_full_key(None)
    written = f"{place}.{key}" if place else key
    where = f"under {place!r}" if place else "at the top of the configuration"
    unknown = f"There is no key {key!r} {where}."
    today = override_today(written)
    if today != written:
        return f"{unknown} {written} is {today} now."
    below = [f"{old} is {new} now" for old, new in KEYS.items() if old.startswith(f"{written}.")]
    if below:
        return f"{unknown} {', '.join(below)}."
    valid = [str(name) for name in parent if name != "hydra"]
    root = parent._get_root()
    assert isinstance(root, DictConfig)
    meant = _meant(key.lower().replace("-", "_"), root)
    hint = f"Did you mean {' or '.join(meant)}?" if meant else did_you_mean(key, valid)
    return f"{unknown} {hint}"


def _meant(key: str, root: DictConfig) -> list[str]:
    """The places of a configuration that a key may stand for."""
    places = {place: place for place in _places(root, "")}
    places |= {f"agent.{name}": f"+agent.{name}" for name in _unsaid(root.get("agent"))}
    called_so_elsewhere = [places[place] for place in ELSEWHERE.get(key, ()) if place in places]
    called_so_here = [written for place, written in places.items() if place.rpartition(".")[2] == key]
    return list(dict.fromkeys([*called_so_elsewhere, *called_so_here]))[:MOST]


def _unsaid(agent: Any) -> list[str]:
    """What the factory of an agent takes beside what its YAML says."""
    if not isinstance(agent, DictConfig) or not isinstance(agent.get("_target_"), str):
        return []
    try:
        parameters = signature(get_method(agent["_target_"])).parameters
    except (ImportError, TypeError, ValueError):
        return []
    own = {name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY}
    if "ppo" in parameters:
        own |= {name for name, one in signature(make_ppo).parameters.items() if one.kind is one.KEYWORD_ONLY}
    return sorted(own - {str(name) for name in agent})


def _places(node: DictConfig, place: str) -> Iterator[str]:
    """Everything that has a value, with dots."""
    for key in node:
        name = str(key)
        if name in ("hydra", "_target_", "_partial_"):
            continue
        here = f"{place}.{name}" if place else name
        yield here
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_interpolation():
            yield from _places(child, here)
