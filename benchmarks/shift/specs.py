"""What defines a run, resolved before anything is started: a misspelt name is refused at once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmarks import baselines
from benchmarks.shift.environment import CONF, Environment
from benchmarks.shift.protocol import Budget
from envs.oracle import POLICIES
from training.cli import explain, prepare
from training.errors import UsageError, did_you_mean

PROTOCOL = 1  # raise it when what is measured changes: older rows are then measured anew
PAPER_BUDGET = 2048  # practice steps an episode in arXiv 2301.13758

Kind = Literal["policy", "baseline", "agent"]


@dataclass(frozen=True)
class RunSpec:
    """Everything that defines a run; two equal specs give the same row.

    Attributes:
        env: The name given on the command line.
        environment: `id`, `kwargs` and `wrappers`, resolved.
        agent: The name given on the command line.
        kind: Where the name was found: the limits' policies, Stable-Baselines3's agents, or `conf/agent`.
        settings: The agent's configuration, resolved.
        overrides: What was given to change it.
        seed: Of the agent, and of the environment unless there is a layout seed.
        layout_seed: Of the environment's layouts; None leaves them to the environment and `seed`.
        budget: `own`, or practice steps before each episode.
        episodes: How many count.
    """

    env: str
    environment: Environment
    agent: str
    kind: Kind
    settings: dict[str, Any]
    seed: int
    episodes: int
    budget: Budget = "own"
    layout_seed: int | None = None
    overrides: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """A digest of all that defines the run; what it is called on the command line does not."""
        defining = {name: value for name, value in asdict(self).items() if name not in ("env", "overrides")}
        content = json.dumps({"protocol": PROTOCOL, **defining}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    @property
    def environment_seed(self) -> int:
        """What the run is reset with, the same for every agent."""
        return self.seed if self.layout_seed is None else self.layout_seed


def resolve_agent(name: str, overrides: dict[str, Any]) -> tuple[Kind, dict[str, Any]]:
    """Where an agent's name is found, and its configuration.

    A bare name means a policy of `envs/oracle.py`, else Stable-Baselines3's agent, else `conf/agent`; `agent/ppo` means
    the one of `conf/agent`, whatever else bears the name.

    Raises:
        UsageError: An unknown name, settings given to a policy, or the extra `compare` is missing.
    """
    if name in POLICIES:
        if overrides:
            raise UsageError(f"The policy {name} has no settings, but was given {overrides}.")
        return "policy", {}
    if name in baselines.ALGORITHMS:
        baselines.algorithm(name)
        return "baseline", baselines.settings(name, overrides)
    return "agent", _compose_agent(name.removeprefix("agent/"), overrides)


def resolve_budget(given: str | int) -> Budget:
    """`own`, `paper`, or a number of practice steps."""
    if given == "paper":
        return PAPER_BUDGET
    if given == "own" or (isinstance(given, int) and given > 0):
        return given  # type: ignore[return-value]
    raise UsageError(f"budget={given}: give own, paper, or the practice steps before each episode, such as 2048.")


def run_specs(
    env: str,
    environment: dict[str, Any],
    agents: Sequence[str],
    overrides: dict[str, dict[str, Any]],
    seeds: Sequence[int],
    layout_seeds: Sequence[int | None],
    budget: Budget,
    episodes: int,
) -> list[RunSpec]:
    """All runs of a command, seed by seed so that a stopped command leaves complete comparisons.

    Policies learn nothing from practice, so their budget is always `own`.

    Raises:
        UsageError: An unknown agent, or overrides for one that does not take part.
    """
    strangers = set(overrides) - set(agents)
    if strangers:
        raise UsageError(
            f"overrides for {', '.join(sorted(strangers))}, which do not take part: agents={list(agents)}."
        )
    resolved = {name: resolve_agent(name, overrides.get(name, {})) for name in agents}
    return [
        RunSpec(
            env=env,
            environment=environment,
            agent=name,
            kind=kind,
            settings=settings,
            overrides=overrides.get(name, {}),
            seed=seed,
            layout_seed=layout_seed,
            budget="own" if kind == "policy" else budget,
            episodes=episodes,
        )
        for seed in seeds
        for layout_seed in layout_seeds
        for name, (kind, settings) in resolved.items()
    ]


def _compose_agent(name: str, overrides: dict[str, Any]) -> dict[str, Any]:
    known = [path.stem for path in (CONF / "agent").glob("*.yaml")]
    if name not in known:
        everyone = [*known, *POLICIES, *baselines.ALGORITHMS]
        raise UsageError(f"There is no agent {name!r}. {did_you_mean(name, everyone)}")
    given = [f"agent.{key}={json.dumps(value)}" for key, value in _leaves(overrides)]
    prepare()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            config = compose("train", overrides=[f"agent={name}", *given])
        return OmegaConf.to_container(config.agent, resolve=True)  # type: ignore[return-value]
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(explain(error)) from error


def _leaves(tree: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """(dotted key, value) for each leaf."""
    leaves: list[tuple[str, Any]] = []
    for key, value in tree.items():
        nested = isinstance(value, dict)
        leaves += _leaves(value, f"{prefix}{key}.") if nested else [(f"{prefix}{key}", value)]
    return leaves
