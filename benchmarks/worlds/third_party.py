"""`python -m benchmarks.worlds.third_party out=FILE`: other people's packages, two agents each, no line of code."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks.cli import parse, run_main
from benchmarks.identity import digest
from benchmarks.runs import Row, carry_out, measured, status_of
from benchmarks.worlds.measure import apart


@dataclass(frozen=True)
class World:
    """An environment of a package.

    Attributes:
        id: As `env.id` takes it.
        package: By which it comes.
        agents: With values of their own behind the name.
        options: Of `engram train`, beside.
    """

    id: str
    package: str
    agents: tuple[str, str] = ("ppo", "mfec")
    options: tuple[str, ...] = ()


MEMORY = ("ppo_gru", "episodic")
CELLS = ("ppo", "retrieval_ppo_view")

WORLDS = [
    World("popgym-RepeatPreviousEasy-v0", "popgym", MEMORY),
    World("popgym-RepeatFirstEasy-v0", "popgym", MEMORY),
    World("popgym-PositionOnlyCartPoleEasy-v0", "popgym", MEMORY),
    World("popgym-HigherLowerEasy-v0", "popgym", MEMORY),
    World("popgym-CountRecallEasy-v0", "popgym", MEMORY),
    World("MinAtar/Breakout-v1", "minatar", CELLS),
    World("MinAtar/Asterix-v1", "minatar", CELLS),
    World("MinAtar/Freeway-v1", "minatar", CELLS),
    World("highway_env:highway-fast-v0", "highway-env"),
    World("highway_env:parking-v0", "highway-env", ("ppo", "ppo_gru")),
    World("CartPole-v1", "gymnasium", ("ppo", "nec")),
    World("Acrobot-v1", "gymnasium"),
    World("MountainCar-v0", "gymnasium"),
    World("CliffWalking-v1", "gymnasium", ("ppo", "mfec"), ("env.max_episode_steps=200",)),
    World("Taxi", "gymnasium", ("ppo", "mfec")),
    World("FrozenLake-v1", "gymnasium", ("ppo", "nec")),
    World("LunarLander-v3", "box2d"),
    World("BipedalWalker-v3", "box2d", ("ppo", "ppo_gru")),
    World("MiniGrid-Empty-5x5-v0", "minigrid", CELLS),
    World("MiniGrid-Empty-Random-5x5-v0", "minigrid", CELLS),
    World("MiniGrid-DoorKey-5x5-v0", "minigrid", CELLS),
    World("MiniGrid-LavaGapS5-v0", "minigrid", CELLS),
    World("MiniGrid-FourRooms-v0", "minigrid", CELLS),
    World("Pendulum-v1", "gymnasium", ("ppo", "ppo_gru")),
]

COMMON = ("env=gym", "progress=false", "log.video=false", "log.memory=false", "log.retrieved=0", "evaluation.every=0")


@dataclass
class ThirdPartyBench:
    """Train two agents on each environment of other people's packages, as anybody would from the command line.

    python -m benchmarks.worlds.third_party out=docs/results/third_party.jsonl

    only: parts of ids; all by default.
    steps: of all environments together.
    seed: of agents and worlds.
    seconds: after which a run is ended and counts as hung.
    out: rows are appended here; runs already in it are not repeated.
    workers: processes side by side.
    """

    only: list[str] = field(default_factory=list)
    steps: int = 20_000
    seed: int = 1
    seconds: float = 3600.0
    out: str = "results/third_party.jsonl"
    workers: int = 1
    progress: bool = True


@dataclass(frozen=True)
class ThirdPartyRun:
    """Everything that defines a run."""

    world: World
    agent: str
    seed: int
    steps: int
    seconds: float

    @property
    def key(self) -> str:
        """A digest of all that defines the run."""
        return digest({name: value for name, value in asdict(self).items() if name != "seconds"})

    @property
    def overrides(self) -> list[str]:
        """What is given to `engram train`."""
        name, *own = self.agent.split()
        given = [f"agent={name}", f"env.id={self.world.id}", f"seed={self.seed}", f"steps={self.steps}"]
        return [*COMMON, *given, *own, *self.world.options]

    def __str__(self) -> str:
        return f"{self.agent} on {self.world.id}"


def measure(run: ThirdPartyRun) -> Row:
    """The score beside random play's; what was said where there is none, such as that a package is missing."""
    began = time.perf_counter()
    found = apart(run.overrides, run.seconds) if (release := _release(run.world.package)) else {}
    said = found.get("refused") or found.get("crash") or found.get("said", "")
    return {
        "id": run.world.id,
        "package": f"{run.world.package} {release or '(not installed here: pip install engram-rl[worlds])'}",
        "agent": run.agent,
        "score": found.get("score"),
        "random": found.get("random"),
        "mode": found.get("mode"),
        "cut": found.get("cut"),
        "message": said,
        "seed": run.seed,
        "steps": run.steps,
        "seconds": round(time.perf_counter() - began, 1),
        "train": " ".join(["engram train", *run.overrides]),
        "key": run.key,
    }


def _release(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then print the table."""
    bench = parse(ThirdPartyBench, list(arguments))
    chosen = [world for world in WORLDS if not bench.only or any(part in world.id for part in bench.only)]
    runs = [
        ThirdPartyRun(world, agent, bench.seed, bench.steps, bench.seconds)
        for number in range(2)
        for world in chosen
        for agent in world.agents[number : number + 1]
    ]
    failures = carry_out(runs, measure, Path(bench.out), bench.workers, bench.progress)
    asked = {run.key for run in runs}
    print(section([row for row in measured(Path(bench.out)) if row["key"] in asked]))
    return status_of(failures)


def section(rows: Sequence[Row]) -> str:
    """A part of docs/worlds.md."""
    lines = [
        "## Other people's packages",
        "",
        "Each trained by two agents from the command line, without a line of code or a value tuned (a row's `train` is",
        "the command); the packages come with the extra `worlds`. One seed, 20,000 steps; 20 episodes of each player.",
        "",
        "    pip install -e '.[cpu,worlds]' --constraint constraints.txt",
        "    python -m benchmarks.worlds.third_party out=docs/results/third_party.jsonl",
        "",
        "| environment | package | random | agent | score | agent | score |",
        "|---|---|---|---|---|---|---|",
    ]
    for world in WORLDS:
        own = [row for row in rows if row["id"] == world.id]
        if own:
            cells = " | ".join(f"{row['agent']} | {_score(row)}" for row in own)
            lines.append(
                f"| {world.id.rpartition(':')[2]} | {own[0]['package']} | {_number(own[0]['random'])} | {cells} |"
            )
    return "\n".join([*lines, ""])


def _score(row: Row) -> str:
    return row["message"].replace("|", "/").replace("\n", " ")[:80] if row["score"] is None else _number(row["score"])


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    run_main(main)
