"""What defines a run, resolved before anything is started: a misspelt name is refused at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import OmegaConf

from benchmarks import baselines
from benchmarks.configuration import agent_config, plain
from benchmarks.identity import shift_key
from benchmarks.runs import Row
from benchmarks.shift.environment import Environment, resolve_environment
from benchmarks.shift.protocol import Budget
from benchmarks.tabular import agents as tabular
from engram_rl.envs.oracles import POLICIES
from engram_rl.training.errors import UsageError

PAPER_BUDGET = 2048  # practice steps an episode in arXiv 2301.13758

Kind = Literal["policy", "baseline", "tabular", "agent"]


@dataclass(frozen=True)
class RunSpec:
    """Everything that defines a run; two equal specs give the same row.

    Attributes:
        env: The name given on the command line.
        environment: `id`, `kwargs` and `wrappers`, resolved.
        agent: What was given on the command line: a name, then values that differ from its settings.
        kind: Where the name was found: the limits' policies, Stable-Baselines3's agents, those of
            `benchmarks.tabular`, or `conf/agent`.
        settings: The agent's configuration, resolved.
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

    @property
    def name(self) -> str:
        """The agent's name alone."""
        return self.agent.split()[0]

    @property
    def key(self) -> str:
        """A digest of all that defines the run; what it is called on the command line does not."""
        return shift_key(
            self.name,
            self.kind,
            self.environment,
            self.settings,
            self.seed,
            self.layout_seed,
            self.budget,
            self.episodes,
        )

    def __str__(self) -> str:
        layout = "" if self.layout_seed is None else f" layout {self.layout_seed}"
        return f"{self.agent} seed {self.seed}{layout} ({self.env}, budget {self.budget})"

    @property
    def environment_seed(self) -> int:
        """What the run is reset with, the same for every agent."""
        return self.seed if self.layout_seed is None else self.layout_seed


def resolve_agent(given: str) -> tuple[Kind, dict[str, Any]]:
    """Where an agent's name is found, and its configuration.

    A name is that of a policy of `envs/oracles`, else of Stable-Baselines3's agent, else of a tabular one, else of
    `conf/agent`. Values that differ from its settings follow the name: `fast_slow depth=10`, `sb3_a2c
    learning_rate=1e-3`.

    Raises:
        UsageError: An unknown name or setting, settings given to a policy, or the extra `compare` is missing.
    """
    name, *overrides = given.split()
    if name in POLICIES:
        if overrides:
            raise UsageError(f"The policy {name} has no settings, but was given {' '.join(overrides)}.")
        return "policy", {}
    if name in baselines.ALGORITHMS:
        baselines.algorithm(name)
        return "baseline", baselines.settings(name, plain(OmegaConf.from_dotlist(overrides)))
    if name in tabular.NAMES:
        return "tabular", tabular.settings(name, plain(OmegaConf.from_dotlist(overrides)))
    return "agent", agent_config(given, others=[*POLICIES, *baselines.ALGORITHMS, *tabular.NAMES])


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
    seeds: Sequence[int],
    layout_seeds: Sequence[int | None],
    budget: Budget,
    episodes: int,
) -> list[RunSpec]:
    """All runs of a command, seed by seed so that a stopped command leaves complete comparisons.

    Policies learn nothing from practice, so their budget is always `own`.

    Raises:
        UsageError: An unknown agent or setting.
    """
    resolved = {given: resolve_agent(given) for given in agents}
    return [
        RunSpec(
            env=env,
            environment=environment,
            agent=given,
            kind=kind,
            settings=settings,
            seed=seed,
            layout_seed=layout_seed,
            budget="own" if kind == "policy" else budget,
            episodes=episodes,
        )
        for seed in seeds
        for layout_seed in layout_seeds
        for given, (kind, settings) in resolved.items()
    ]


def run_of(row: Row) -> RunSpec:
    """The run of a stored row as its agent and environment are understood today.

    Raises:
        UsageError: There is no such agent, environment or setting today.
    """
    kind, settings = resolve_agent(row["agent"])
    environment = resolve_environment(row["env"], row["env_kwargs"])
    run = (row["seed"], row["episodes"], row["budget"], row["layout_seed"])
    return RunSpec(row["env"], environment, row["agent"], kind, settings, *run)
