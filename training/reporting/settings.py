"""What the settings of runs are called, and what differs between runs: the agent, the world, then single values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from engram_rl.training.logging.logger import read_episodes
from engram_rl.training.logging.tensorboard import flat
from engram_rl.training.runs.folder import RunFolder

OVERRIDES = "overrides.json"
"""What the command line gave for a run when it began."""

MOST = 6
"""Differences that a label names; the table's JSON has all."""

FOLLOWING = ("env.id", "agent.modalities")
"""Values that say nothing new: the environment's name, and what follows from it."""


@dataclass(frozen=True)
class Described:
    """A run, and what it is made of.

    Attributes:
        path: Its folder.
        config: Resolved.
        agent: As on the command line, where that is known, such as `nec_atari`; else what its factory is called.
        env: The id of the environment.
        name: Given by the user with `name=`; empty if not.
        tags: Given with `tags=`.
        given: The overrides of its command line; empty where that was not kept.
        seed: Of the run.
        values: Those of agent, environment and steps, by dotted name.
        mode: How it is judged, as given: online, frozen or fresh; empty where that is left to the agent.
        summary: What it came to; empty for a run that has not ended.
    """

    path: Path
    config: DictConfig
    agent: str
    env: str
    name: str
    tags: tuple[str, ...]
    given: list[str]
    seed: int
    values: dict[str, Any]
    mode: str
    summary: dict[str, Any]

    @property
    def score(self) -> float | None:
        """Of its last evaluation; None where it has not ended, or ended in an error."""
        found = self.summary.get("score")
        return None if found is None else float(found)

    def episodes(self) -> list[dict[str, Any]]:
        """Those of training: `step`, `return` and `length` of each."""
        return read_episodes(self.path)


@dataclass(frozen=True)
class Group:
    """Runs that differ in nothing but the seed.

    Attributes:
        label: What sets them apart from the other groups of their environment, in a few words.
        setting: The same by name, and the environment where there are several.
        runs: At least one.
    """

    label: str
    setting: dict[str, Any]
    runs: list[Described]

    @property
    def env(self) -> str:
        """Where they were trained."""
        return self.runs[0].env

    def scores(self) -> list[float]:
        """Those of the runs that have one."""
        return [run.score for run in self.runs if run.score is not None]


def describe(path: Path) -> Described:
    """Read a run's folder; nothing that it names is built."""
    folder = RunFolder.open(path)
    config = folder.config()
    given = read_given(path)
    summary = folder.summary()
    return Described(
        path=path,
        config=config,
        agent=_chosen(given, "agent") or _called(config.get("agent")),
        env=str(OmegaConf.select(config, "env.id")),
        name=config.get("name") or "",
        tags=tuple(config.get("tags") or ()),
        given=given,
        seed=int(config.get("seed", 0)),
        values={place: value for place, value in flat(config).items() if place != "seed"},
        mode=OmegaConf.select(config, "evaluation.mode") or "",
        summary=summary,
    )


def read_given(run: Path) -> list[str]:
    """The overrides that a run began with; empty for a run that did not keep them."""
    try:
        found = json.loads((run / OVERRIDES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [str(word) for word in found] if isinstance(found, list) else []


def grouped(runs: Sequence[Described]) -> list[Group]:
    """Runs of one setting together, whatever their seeds; groups in the order of their first runs."""
    groups: dict[str, Group] = {}
    modes = _modes(runs)
    for run in runs:
        setting = dict(_setting(run, runs, modes))
        key = json.dumps(setting)
        if key not in groups:
            groups[key] = Group(_label(setting) or run.agent, setting, [])
        groups[key].runs.append(run)
    return list(groups.values())


def _modes(runs: Sequence[Described]) -> dict[Path, str]:
    """How each run is judged, by its folder; one that has not been yet, and leaves it to its agent, as others of it."""
    left = {run.agent: str(run.summary["mode"]) for run in runs if not run.mode and run.summary.get("mode")}
    return {run.path: run.mode or str(run.summary.get("mode") or left.get(run.agent, "")) for run in runs}


def _setting(run: Described, runs: Sequence[Described], modes: dict[Path, str]) -> Iterator[tuple[str, Any]]:
    """What is not the same in all runs; a value of an agent or an environment is compared among those of its kind."""
    for kind in ("name", "agent", "env"):
        if _differs(kind, runs):
            yield kind, getattr(run, kind)
    if len(set(modes.values())) > 1:
        yield "evaluation.mode", modes[run.path]
    same_agent = [other for other in runs if other.agent == run.agent]
    same_env = [other for other in runs if other.env == run.env]
    for place, value in run.values.items():
        of = {"agent": same_agent, "env": same_env}.get(place.partition(".")[0], runs)
        if not place.startswith(FOLLOWING) and len({repr(other.values.get(place)) for other in of}) > 1:
            yield place, value


def _differs(kind: str, runs: Sequence[Described]) -> bool:
    return len({getattr(run, kind) for run in runs}) > 1


def _label(setting: dict[str, Any]) -> str:
    """Names as they are, values as `key=value` with the last word of the key where that is enough."""
    last = [place.rpartition(".")[2] for place in setting]
    words = []
    for place, value in setting.items():
        short = place.rpartition(".")[2]
        if place in ("name", "agent"):
            words.append(str(value))
        elif place != "env":
            words.append(f"{short if last.count(short) == 1 else place}={_brief(value)}")
    words = [word for word in words if word]
    more = [f"and {len(words) - MOST} more"] if len(words) > MOST else []
    return " ".join([*words[:MOST], *more])


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _chosen(given: Sequence[str], group: str) -> str:
    """The choice of a group among overrides; empty where there is none."""
    pairs = [word.partition("=") for word in given]
    return next((value for place, _, value in pairs if place == group and value.isidentifier()), "")


def _called(agent: Any) -> str:
    target = str(agent.get("_target_", "")) if isinstance(agent, DictConfig) else ""
    return target.rpartition(".")[2].removeprefix("make_") or "agent"
