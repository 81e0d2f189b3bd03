"""What defines a run, resolved before anything is started: a misspelt name is refused at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from benchmarks.baselines import ALGORITHMS, HINDSIGHT, algorithm
from benchmarks.configuration import agent_config, environment_config, given_of, plain
from benchmarks.control import zoo
from benchmarks.identity import control_key
from benchmarks.runs import AgentRun, Row
from engram_rl.training.errors import UsageError

ZOO_PPO = "zoo_ppo"


@dataclass(frozen=True)
class ControlRun(AgentRun):
    """One agent on one environment; the settings of Stable-Baselines3's are the zoo's tuned values.

    Attributes:
        test_episodes: Played after training, without exploration.
    """

    test_episodes: int = 0

    @property
    def key(self) -> str:
        """A digest of all that defines the run; what it is called on the command line does not."""
        run = (self.seed, self.steps, self.test_episodes)
        return control_key(self.name, self.environment, self.settings, *run)

    @property
    def name(self) -> str:
        """Whose settings they are."""
        return self.agent.split()[0]

    @property
    def baseline(self) -> bool:
        """Whether the agent is Stable-Baselines3's."""
        return self.name in ALGORITHMS

    @property
    def period(self) -> int | None:
        """Steps between two shifts of the environment's target, where shifts come by steps."""
        return self.environment["kwargs"]["period"] if self.environment["id"] == "engram/CornerGoal-v0" else None


def resolve(
    env: str,
    env_options: dict[str, Any],
    agents: Sequence[str],
    seeds: Sequence[int],
    steps: int,
    test_episodes: int = 0,
) -> list[ControlRun]:
    """All runs of a command, seed by seed so that a stopped command leaves complete comparisons.

    Raises:
        UsageError: An unknown environment, agent or setting.
    """
    chosen = [(agent, *_resolve(env, env_options, _spelt_out(agent, env, env_options, steps))) for agent in agents]
    return [
        ControlRun(env, environment, agent, settings, seed, steps, test_episodes)
        for seed in seeds
        for agent, environment, settings in chosen
    ]


def _spelt_out(given: str, env: str, env_options: dict[str, Any], steps: int) -> str:
    """`zoo_ppo` as our PPO with the zoo's values for the task; what was given behind the name comes last."""
    name, *overrides = given.split()
    if name != ZOO_PPO:
        return given
    return " ".join([zoo.for_our_ppo(environment_config(env, env_options)["id"], steps), *overrides])


def _resolve(env: str, env_options: dict[str, Any], given: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The environment and the settings of an agent; `nec env.num_envs=1` has values of the environment as well."""
    own = [word for word in given.split() if word.startswith("env.")]
    others = " ".join(word for word in given.split() if word not in own)
    changed = plain(OmegaConf.from_dotlist([word.removeprefix("env.") for word in own]))
    environment = environment_config(env, env_options | changed)
    return environment, resolve_agent(others, environment["id"])


def resolve_agent(given: str, environment_id: str) -> dict[str, Any]:
    """The settings of an agent: `nec`, or with values of its own `nec memory.k=11 +row_learning_rate=null`."""
    name, *overrides = given.split()
    if name == HINDSIGHT:
        raise UsageError(f"{name} needs a goal that is shown: use `python -m benchmarks.shift`, or sb3_dqn here.")
    if name in ALGORITHMS:
        algorithm(name)
        return zoo.settings(name, environment_id) | plain(OmegaConf.from_dotlist(overrides))
    return agent_config(given, others=[*ALGORITHMS, ZOO_PPO])


def run_of(row: Row) -> ControlRun:
    """The run of a stored row as its agent and environment are understood today.

    Raises:
        UsageError: There is no such agent, environment or setting today.
    """
    tested = len(row.get("test") or [])
    (run,) = resolve(row["env"], given_of(row["environment"]), [row["agent"]], [row["seed"]], row["steps"], tested)
    return run
