"""What defines a run: resolved before anything is started, so that a misspelt name is refused at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gymnasium import Space
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config, given_of, parameters_of
from benchmarks.identity import adaptation_key
from benchmarks.runs import AgentRun, Row
from engram_rl.training.construction import build_environments
from engram_rl.training.errors import UsageError

POLICIES = ("oracle", "last_site", "known_sites", "context_sites", "random")
"""Policies of `engram_rl.envs.oracles` that may take part; they mark the limits and are not trained."""
ACTING = ("drawn", "greedy")
"""How actions are chosen in the test: from the policy's distribution, or its most probable."""

RATE = "learning_rate={_target_:engram_rl.agents.common.schedules.Linear,start:3e-3,end:3e-4,steps:200000}"
OVER = "cut_at_episode_ends=false"  # searching in one episode pays in the next
RECALL = f"retrieval_ppo {OVER} memory.forgetting.lost_decay=1.0 retrieval.memory_dropout=0.05 {RATE}"
LAST_SITE = f"{RECALL} control=last_site"
PLAIN = f"retrieval_ppo {OVER} control=novelty {RATE}"
RECURRENT = "recurrent=64 hidden=[64]"
CARRIED = "+carry_state=true +show_previous=true"
GRU = f"{PLAIN} {RECURRENT}"
AGENTS = {
    "retrieval": RECALL,
    "retrieval_by_context": f"{RECALL} +view.context=cue",
    "empty": f"{RECALL} control=empty",
    "shuffled": f"{RECALL} control=shuffled",
    "random_neighbours": f"{RECALL} control=random",
    "register": LAST_SITE,
    "plain": PLAIN,
    "self_imitation": f"self_imitation_ppo {RATE}",
    "gru": GRU,
    "gru_carried": f"{GRU} {CARRIED}",
    "carried": f"{PLAIN} {CARRIED}",
    "gru_register": f"{LAST_SITE} {RECURRENT} {CARRIED}",
}
"""Agents that are compared, all with the hyper-parameters of `retrieval_ppo` and a falling learning rate: PPO with
retrieval that never forgives a place that failed it; with the cue of ContextGoal as a part of its keys; with retrieval
that shows nothing, other outcomes, or any entries; with a register of the last site instead of the memory; without;
learning from past successes instead of retrieving them; and with a recurrent state that begins anew in each episode, is
carried on (`carried core=NAME`: of any core, with its own sizes), or is carried on beside the register."""


@dataclass(frozen=True)
class Trial:
    """What is played after training, with frozen weights.

    Attributes:
        runs: Runs of the environment that were not trained on, side by side.
        shifts: Shifts in each.
        block: Episodes from one shift to the next.
    """

    runs: int
    shifts: int
    block: int


@dataclass(frozen=True)
class AdaptationRun(AgentRun):
    """One agent trained in some runs and tested in others; policies have no settings and no training.

    Attributes:
        test: What is played then.
        trained_in: The environment that it is trained in, if that is not the one it is tested in.
    """

    test: Trial
    trained_in: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """A digest of all that defines the run; what it is called on the command line does not."""
        policy, run = self.agent if self.policy else "", (self.seed, self.steps, vars(self.test))
        return adaptation_key(policy, self.environment, self.settings, *run, self.trained_in)

    @property
    def policy(self) -> bool:
        """Whether it is a policy that marks a limit."""
        return self.agent in POLICIES


def resolve(
    env: str,
    env_options: dict[str, Any],
    agents: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    test: Trial,
    trained_in: str = "",
) -> list[AdaptationRun]:
    """All runs of a command, seed by seed so that a stopped command leaves complete comparisons.

    Raises:
        UsageError: An unknown environment, agent or setting, an environment without a goal that shifts, or `trained_in`
            with other observations or actions than `env`.
    """
    environment = environment_config(env, env_options)
    if not {"period", "jitter"} <= environment["kwargs"].keys():
        raise UsageError(f"The goal of {env} does not shift after `period` episodes: choose newgoal or recurringgoal.")
    training = environment_config(trained_in, {}) if trained_in else environment
    elsewhere = training if training != environment else None
    if elsewhere:
        _require_alike(elsewhere, environment)
    settings = {agent: {} if agent in POLICIES else _settings(agent) for agent in agents}
    return [
        AdaptationRun(env, environment, agent, chosen, seed, steps, test, elsewhere)
        if agent not in POLICIES
        else AdaptationRun(env, environment, agent, {}, seed, 0, test)
        for seed in seeds
        for agent, chosen in settings.items()
    ]


def _require_alike(training: dict[str, Any], test: dict[str, Any]) -> None:
    """Raise unless an agent trained in the one can play the other."""
    trained, tested = _spaces(training), _spaces(test)
    if trained != tested:
        raise UsageError(f"It is trained in {trained} but tested in {tested}: choose trained_in with the same spaces.")


def _spaces(environment: dict[str, Any]) -> tuple[Space, Space]:
    """Of observations and of actions."""
    environments = build_environments(OmegaConf.create({**environment, "num_envs": 1}))
    environments.close()
    return environments.single_observation_space, environments.single_action_space


def _settings(given: str) -> dict[str, Any]:
    """Of `plain`, or with values of its own `gru_carried hidden=[32]`, or with a core: `carried core=dnc`."""
    name, *words = given.split()
    overrides = [word for word in words if not word.startswith("core=")]
    cores = [word.removeprefix("core=") for word in words if word.startswith("core=")]
    named = " ".join([AGENTS.get(name, name), *overrides])
    settings = agent_config(named, others=(*POLICIES, *AGENTS), core=cores[-1] if cores else None)
    return without_recall(settings) if settings.get("control") == "novelty" else settings


def without_recall(settings: dict[str, Any]) -> dict[str, Any]:
    """Of PPO alone: what recall would have been does not define a run without it."""
    plain = agent_config("ppo")
    taken = parameters_of(plain)
    return {name: value for name, value in settings.items() if name in taken} | {"_target_": plain["_target_"]}


def run_of(row: Row) -> AdaptationRun:
    """The run of a stored row as its agent and environment are understood today.

    Raises:
        UsageError: There is no such agent, environment or setting today.
    """
    elsewhere = "newgoal_searched" if row.get("trained_in") else ""
    given, test = given_of(row["environment"]), Trial(**row["test"])
    (run,) = resolve(row["env"], given, [row["agent"]], [row["seed"]], row["steps"], test, elsewhere)
    return run
