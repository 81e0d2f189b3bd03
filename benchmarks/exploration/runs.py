"""What defines a run of `benchmarks.exploration`, resolved before anything is started."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config, plain
from benchmarks.exploration.bonus_ppo import SETTINGS
from benchmarks.identity import control_key
from benchmarks.runs import AgentRun, Row
from engram_rl.training.errors import UsageError, did_you_mean

WORLD = "minigrid_place"
"""The environment of all runs, of conf/env: one layout, the partial view, and where its own steps have led."""


@dataclass(frozen=True)
class ExplorationRun(AgentRun):
    """An agent in one layout of a MiniGrid environment, which the seed draws."""

    @property
    def name(self) -> str:
        """Of the agent, without values of its own."""
        return self.agent.split()[0]

    @property
    def key(self) -> str:
        """A digest of all that defines the run."""
        return control_key(self.name, self.environment, self.settings, self.seed, self.steps, 0)


def resolve(
    env: str, agents: Sequence[str], seeds: Sequence[int], steps: int, num_envs: int
) -> Iterator[ExplorationRun]:
    """All runs of a command, seed by seed so that a stopped command leaves complete comparisons.

    Raises:
        UsageError: An unknown environment, agent or setting.
    """
    chosen = [(agent, settings_of(agent)) for agent in agents]
    environment = environment_config(WORLD, {"id": env, "num_envs": num_envs})
    for seed in seeds:
        for agent, settings in chosen:
            yield ExplorationRun(env, _layout(environment, seed), agent, settings, seed, steps)


def run_of(row: Row) -> ExplorationRun:
    """The run of a stored row as its agent and environment are understood today."""
    (run,) = resolve(row["env"], [row["agent"]], [row["seed"]], row["steps"], row["environment"]["num_envs"])
    return run


def settings_of(given: str) -> dict[str, Any]:
    """The settings of an agent: `go_explore way_back=plan`, or `counts_ppo weight=0.01`.

    Raises:
        UsageError: An unknown agent or setting.
    """
    name, *overrides = given.split()
    if name not in SETTINGS:
        return agent_config(given, others=list(SETTINGS))
    changed = plain(OmegaConf.from_dotlist(overrides))
    for setting in changed:
        if setting not in SETTINGS[name]:
            raise UsageError(f"{name} has no setting {setting!r} here. {did_you_mean(setting, SETTINGS[name])}")
    return {**SETTINGS[name], **changed}


def _layout(environment: dict[str, Any], seed: int) -> dict[str, Any]:
    """The environment with the layout of a seed."""
    *others, fixed = environment["wrappers"]
    return environment | {"wrappers": [*others, fixed | {"seed": seed}]}
