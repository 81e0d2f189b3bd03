"""What defines a run, resolved before anything is started: a misspelt name is refused at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmarks.baselines import ALGORITHMS, algorithm
from benchmarks.control import zoo
from training.cli import explain, prepare
from training.errors import UsageError, did_you_mean

CONF = Path(__file__).resolve().parents[2] / "conf"
PROTOCOL = 1  # raise it when what is measured changes: older rows are then measured anew


@dataclass(frozen=True)
class ControlRun:
    """Everything that defines a run; two equal ones give the same row.

    Attributes:
        env: The name given on the command line.
        environment: As in a YAML of `conf/env`, resolved.
        agent: What was given on the command line: a name, then values that differ from its settings.
        settings: Of an agent of `conf/agent` its configuration, of Stable-Baselines3's the zoo's tuned values.
        seed: Of the agent and of the environment.
        steps: Environment steps, summed over the environments.
    """

    env: str
    environment: dict[str, Any]
    agent: str
    settings: dict[str, Any]
    seed: int
    steps: int

    @property
    def key(self) -> str:
        """A digest of all that defines the run; what it is called on the command line does not."""
        defining = {name: value for name, value in asdict(self).items() if name not in ("env", "agent")}
        content = json.dumps({"protocol": PROTOCOL, "name": self.name, **defining}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def name(self) -> str:
        """Whose settings they are."""
        return self.agent.split()[0]

    @property
    def baseline(self) -> bool:
        """Whether the agent is Stable-Baselines3's."""
        return self.name in ALGORITHMS

    def __str__(self) -> str:
        return f"{self.agent} seed {self.seed} ({self.env}, {self.steps} steps)"


def resolve(
    env: str, env_options: dict[str, Any], agents: Sequence[str], seeds: Sequence[int], steps: int
) -> list[ControlRun]:
    """All runs of a command, seed by seed so that a stopped command leaves complete comparisons.

    Raises:
        UsageError: An unknown environment, agent or setting.
    """
    environment = resolve_environment(env, env_options)
    settings = {agent: resolve_agent(agent, environment["id"]) for agent in agents}
    return [
        ControlRun(env, environment, agent, chosen, seed, steps) for seed in seeds for agent, chosen in settings.items()
    ]


def resolve_environment(name: str, options: dict[str, Any]) -> dict[str, Any]:
    """The environment of a YAML of `conf/env`, or of any registered id.

    Args:
        name: A YAML's name, or an id such as `Acrobot-v1`.
        options: Values that replace those of the YAML, such as `{"num_envs": 4}`.
    """
    chosen = [f"env={name}"] if (CONF / "env" / f"{name}.yaml").is_file() else ["env=gym", f"env.id={name}"]
    if chosen[0] == "env=gym" and ":" not in name and name not in gym.registry:
        known = [path.stem for path in (CONF / "env").glob("*.yaml")] + list(gym.registry)
        raise UsageError(f"There is no environment {name!r}, in conf/env or registered. {did_you_mean(name, known)}")
    given = [f"env.{key}={json.dumps(value)}" for key, value in options.items()]
    return _plain(_compose([*chosen, *given]).env)


def resolve_agent(given: str, environment_id: str) -> dict[str, Any]:
    """The settings of an agent: `nec`, or with values of its own `nec memory.k=11 row_optimiser=null`.

    A bare name means Stable-Baselines3's agent where it has one; `agent/ppo` means the one of `conf/agent`.
    """
    name, *overrides = given.split()
    if name in ALGORITHMS:
        algorithm(name)
        return zoo.settings(name, environment_id) | _plain(OmegaConf.from_dotlist(overrides))
    name = name.removeprefix("agent/")
    known = [path.stem for path in (CONF / "agent").glob("*.yaml")]
    if name not in known:
        raise UsageError(f"There is no agent {name!r}. {did_you_mean(name, [*known, *ALGORITHMS])}")
    config = _compose([f"agent={name}", *(f"agent.{override}" for override in overrides)])
    return _plain(config.agent)


def _compose(overrides: list[str]) -> DictConfig:
    prepare()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            return compose("train", overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(explain(error)) from error


def _plain(config: DictConfig) -> dict[str, Any]:
    return OmegaConf.to_container(config, resolve=True)  # type: ignore[return-value]
