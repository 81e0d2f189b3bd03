"""`python -m benchmarks.partial [only=[RepeatPreviousEasy]] [cores=[gru,dnc]] [seeds=3] [steps=300000] out=FILE`.

What memory cores are worth to an agent that is shown a part of its world only: POPGym (Morad et al. 2023, arXiv
2303.01859), whose measure is the largest mean return of an epoch (MMER).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hydra.utils import get_method
from omegaconf import OmegaConf

from benchmarks.cli import parse, run_main
from benchmarks.configuration import agent_config, environment_config
from benchmarks.fingerprint import step
from benchmarks.identity import control_key
from benchmarks.published import PUBLISHED, Published
from benchmarks.runs import AgentRun, Row, carry_out, rows_of, status_of
from engram_rl.memory.cores import CORES
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.errors import UsageError, did_you_mean
from engram_rl.training.rollout import finished
from engram_rl.training.seeding import seed_everything, use_threads

NONE = "none"
"""The core of a policy that sees each step alone."""

EPOCH = 65_536
"""Environment steps over which returns are averaged, as in the paper."""

LAST = 100
"""Episodes at the end whose mean is told as well."""

PROTOCOL = ("minibatch_size=512", "entropy_coefficient=0.01", "show_previous=action")
"""What agents have here unless they are given something else: POPGym's own agents are shown their last action too."""

TARGET = re.compile(r"\{_target_:[\w.]*?(\w+),([^{}]*)\}")
"""A schedule or the like among an agent's settings: the name of its class, and its arguments."""

CAPTION = (
    f"Returns of training episodes. MMER: the largest mean of an epoch of {EPOCH} steps, the last of which may be "
    f"shorter; last: the mean of the last {LAST} episodes; solved: the share of these that succeeded, where the world "
    "says what success is. Mean (standard deviation) over runs."
)


@dataclass
class PartialBench:
    """Train agents with memory cores where a part of the world is hidden; a row of JSON a run.

    python -m benchmarks.partial seeds=3 steps=300000 out=results/partial.jsonl
    python -m benchmarks.partial 'only=[RepeatPreviousEasy,AutoencodeEasy]' 'cores=[gru,store capacity=64]' seeds=1
    python -m benchmarks.partial 'only=[tmaze_passive length=100,MiniGrid-MemoryS9-v0]' 'cores=[gru,store]' seeds=1

    agents: names of conf/agent that take a core, each with values of its own after it (`ppo discount=0.5`), a schedule
        in quotes (`'agents=["ppo entropy_coefficient={_target_:engram_rl.agents.common.schedules.Linear,start:1}"]'`),
        which tables show without its module.
    cores: names of conf/core, each with settings of its own after it, or `none`; all of them by default.
    only: environments, of POPGym by short name (`RepeatPreviousEasy`), or as `engram train` takes them, each with
        arguments of its own after it (`tmaze_passive length=100`) and wrappers by name, in place of those of its YAML
        (`"MiniGrid-MemoryS9-v0 wrappers=[minigrid.wrappers.OneHotPartialObsWrapper]"`, where the quotes are needed).
    seeds: a list, or how many; of the agent and of the environment.
    steps: environment steps a run, summed over the environments.
    num_envs: environments side by side.
    tiny: a few hundred steps, for a test of the benchmark itself; the figures then mean nothing.
    out: rows are appended here; runs already in it are not repeated.
    """

    agents: list[str] = field(default_factory=lambda: ["ppo"])
    cores: list[str] = field(default_factory=lambda: list(CORES))
    only: list[str] = field(default_factory=lambda: ["RepeatPreviousEasy"])
    seeds: list[int] = field(default_factory=lambda: list(range(3)))
    steps: int = 300_000
    num_envs: int = 16
    tiny: bool = False
    out: str = "results/partial.jsonl"
    workers: int = 1
    progress: bool = True


@dataclass(frozen=True)
class PartialRun(AgentRun):
    """An agent with a core on an environment.

    Attributes:
        core: As given on the command line.
    """

    core: str = NONE

    @property
    def key(self) -> str:
        """A digest of all that defines the run."""
        return control_key(self.agent.split()[0], self.environment, self.settings, self.seed, self.steps, 0)

    def __str__(self) -> str:
        return f"{self.agent} with {self.core}, seed {self.seed} ({self.env}, {self.steps} steps)"


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then print the table of the runs asked for."""
    bench = parse(PartialBench, list(arguments))
    runs = list(_runs(bench))
    failures = carry_out(runs, measure, Path(bench.out), bench.workers, bench.progress)
    rows = rows_of(runs, Path(bench.out))
    print(table(rows) if rows else "No run has a score yet.")
    return status_of(failures)


def _runs(bench: PartialBench) -> Iterator[PartialRun]:
    """Seed by seed, so that a stopped command leaves complete comparisons."""
    tiny = ["num_steps=16", "minibatch_size=64"] if bench.tiny else []
    steps = 60 * bench.num_envs if bench.tiny else bench.steps
    worlds = [(name, _environment(name, bench.num_envs)) for name in bench.only]
    agents = [
        (agent, core, settings_of(agent, core, tiny)) for agent in bench.agents for core in bench.cores
    ]  # all of them at once, so that a misspelt name is refused before anything is started
    for seed in bench.seeds:
        for name, environment in worlds:
            for agent, core, settings in agents:
                yield PartialRun(name, environment, agent, settings, seed, steps, core)


def run_of(row: Row) -> PartialRun:
    """The run of a stored row as its agent, core and environment are understood today."""
    environment = _environment(row["env"], row["environment"]["num_envs"])
    settings = settings_of(row["agent"], row["core"])
    return PartialRun(row["env"], environment, row["agent"], settings, row["seed"], row["steps"], row["core"])


def _environment(given: str, num_envs: int) -> dict[str, Any]:
    """The configuration of an environment, with arguments and wrappers behind the name: `tmaze_passive length=100`.

    Raises:
        UsageError: An unknown name, or what stands behind it is no argument with a value.
    """
    name, *own = given.split() or [given]
    arguments: dict[str, Any] = {}
    for word in own:
        key, _, value = word.partition("=")
        if not key or not value:
            raise UsageError(f"{word!r} of {given!r} is no argument with a value; write it as length=100.")
        if key in arguments:
            raise UsageError(f"{given!r} has {key} twice; give it once.")
        arguments[key] = _value(word, value, given)
    wrappers = {"wrappers": _wrappers(arguments.pop("wrappers"), given)} if "wrappers" in arguments else {}
    kwargs = {"kwargs": arguments} if arguments else {}
    return environment_config(_id(name), {"num_envs": num_envs, **kwargs}) | wrappers


def _value(word: str, written: str, given: str) -> Any:
    """What is written behind an argument, which a row of JSON can hold.

    Raises:
        UsageError: It is no YAML, refers to another value, or is a date or the like.
    """
    try:
        value = yaml.safe_load(written)
        json.dumps(value)
    except (yaml.YAMLError, TypeError) as error:
        raise UsageError(
            f"{word!r} of {given!r} has a value that is no number, text or list of YAML; write it as length=100, "
            f"without spaces, and a date in quotes."
        ) from error
    if "${" in written:
        raise UsageError(f"{word!r} of {given!r} refers to another value; write the value itself.")
    return value


def _wrappers(names: Any, given: str) -> list[dict[str, Any]]:
    """The wrappers of these names, as a configuration has them; of an environment that was given so.

    Raises:
        UsageError: They are no list of names, or one cannot be imported or called.
    """
    if not isinstance(names, list):
        raise UsageError(f"The wrappers of {given!r} are no list; write wrappers=[minigrid.wrappers.FullyObsWrapper].")
    for name in names:
        try:
            get_method(name)
        except Exception as error:  # importing it runs any code
            reason = " ".join(str(error).split())
            raise UsageError(
                f"{name!r} in {given!r} is no wrapper that can be imported ({reason}); give module and class, such as "
                f"minigrid.wrappers.FullyObsWrapper."
            ) from error
    return [{"_target_": name, "_partial_": True} for name in names]


def _id(name: str) -> str:
    """POPGym's id of a short name; other names as they are."""
    known = any(name.endswith(level) for level in ("Easy", "Medium", "Hard")) and "-" not in name
    return f"popgym-{name}-v0" if known else name


def settings_of(agent: str, core: str, more: Sequence[str] = ()) -> dict[str, Any]:
    """The settings of an agent with a core, resolved.

    Raises:
        UsageError: An unknown agent, core or setting.
    """
    name, *own = agent.split()
    kind, *of_core = core.split()
    if kind not in (*CORES, NONE):
        raise UsageError(f"There is no core {kind!r}. {did_you_mean(kind, [*CORES, NONE])}")
    given = [name, *PROTOCOL, *more, *(f"core.{word}" for word in of_core), *own]
    return agent_config(" ".join(given), core=None if kind == NONE else kind)


def measure(run: PartialRun) -> Row:
    """Train once and say what it scored and cost."""
    use_threads(1)
    seed_everything(run.seed)
    environments = build_environments(OmegaConf.create(run.environment))
    agent: Any = build_agent(OmegaConf.create(run.settings), environments, run.seed)
    observation, _ = environments.reset(seed=run.seed)
    returns: list[float] = []
    ended_at: list[int] = []
    began, now = time.perf_counter(), 0
    while now < run.steps:
        transition = step(environments, observation, agent.act(observation))
        agent.observe(transition)
        agent.learn()
        now += environments.num_envs
        ended = finished(transition.info).returns.tolist()
        returns += ended
        ended_at += [now] * len(ended)
        observation = transition.reset_observation
    seconds = time.perf_counter() - began
    environments.close()
    return {
        "env": run.env,
        "agent": run.agent,
        "core": run.core,
        "seed": run.seed,
        "steps": run.steps,
        **scores(returns, ended_at, run.environment["success_above"]),
        "episodes": len(returns),
        "seconds": round(seconds, 1),
        "steps_per_second": round(run.steps / seconds, 1),
        "parameters": sum(parameter.numel() for parameter in agent.policy.parameters()),
        "state_bytes": sum(leaf[0].numel() * leaf.element_size() for leaf in agent.state.values()),
        "environment": run.environment,
        "settings": run.settings,
        "key": run.key,
    }


def scores(returns: Sequence[float], ended_at: Sequence[int], success_above: float | None = None) -> dict[str, Any]:
    """MMER, the mean of each epoch and of the last episodes, and the share of these that succeeded; None of none.

    Args:
        returns: Of the episodes, in the order in which they ended.
        ended_at: The environment steps of the whole run by then.
        success_above: An episode succeeded whose return is larger; None where the world does not say.
    """
    epochs: dict[int, list[float]] = {}
    for at, gained in zip(ended_at, returns, strict=True):
        epochs.setdefault((at - 1) // EPOCH, []).append(gained)
    means = [round(float(np.mean(epoch)), 4) for epoch in epochs.values()]
    last = round(float(np.mean(returns[-LAST:])), 4) if returns else None
    solved = None
    if returns and success_above is not None:
        solved = round(float(np.mean(np.array(returns[-LAST:]) > success_above)), 4)
    return {"mmer": max(means, default=None), "last": last, "solved": solved, "by_epoch": means}


def table(rows: Sequence[Row]) -> str:
    """A line for each environment, agent and core, as Markdown."""
    head = [
        "environment",
        "agent",
        "core",
        "steps",
        "runs",
        "MMER",
        "last",
        "solved",
        "steps/s",
        "parameters",
        "state, bytes",
    ]
    lines = ["| " + " | ".join(head) + " |", "| " + " | ".join(["---"] * len(head)) + " |"]
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["env"], row["agent"], row["core"], row["steps"]), []).append(row)
    envs = list(dict.fromkeys(env for env, *_ in groups))
    for (env, agent, core, steps), same in sorted(groups.items(), key=lambda group: envs.index(group[0][0])):
        figures = [_spread(same, "mmer"), _spread(same, "last"), _solved(same)]
        figures += [f"{_median(same, name):.0f}" for name in ("steps_per_second", "parameters", "state_bytes")]
        lines.append(f"| {env} | {shortened(agent)} | {core} | {steps} | {len(same)} | {' | '.join(figures)} |")
    quoted = [(env, one) for env in envs for one in PUBLISHED.get(env, [])]
    return "\n".join([*lines, "", CAPTION, *published_lines(quoted)])


def published_lines(quoted: Sequence[tuple[str, Published]]) -> list[str]:
    """What others have published of these environments: a line of Markdown each, below a head; nothing of none."""
    if not quoted:
        return []
    lines = ["", "| published | model | steps | trials | MMER | source |", "| " + " | ".join(["---"] * 6) + " |"]
    for env, one in quoted:
        mmer = f"{one.mean:.3f}" + ("" if one.deviation is None else f" ({one.deviation:.3f})")
        lines.append(f"| {env} | {one.model} | {one.steps} | {one.trials or '-'} | {mmer} | {one.source} |")
    return lines


def shortened(agent: str) -> str:
    """An agent as given, the `{_target_:module.Linear,start:1}` of its settings as `Linear(start:1)`."""
    return TARGET.sub(r"\1(\2)", agent)


def _spread(rows: Sequence[Row], name: str) -> str:
    values = [row[name] for row in rows if row[name] is not None]
    return f"{np.mean(values):.3f} ({np.std(values):.3f})" if values else "none ended"


def _solved(rows: Sequence[Row]) -> str:
    """The mean share over runs, and `-` where success is not told."""
    values = [row["solved"] for row in rows if row.get("solved") is not None]
    return f"{np.mean(values):.2f}" if values else "-"


def _median(rows: Sequence[Row], name: str) -> float:
    return float(np.median([row[name] for row in rows]))


if __name__ == "__main__":
    run_main(main)
