"""One agent in one kind of world, as `engram train` would: in a process of its own, which is ended if it hangs."""

from __future__ import annotations

import contextlib
import io
import json
import time
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.fuzz.config import composed
from benchmarks.identity import digest
from benchmarks.runs import Row
from benchmarks.worlds.corridor import ID
from benchmarks.worlds.kinds import ENDED, KINDS, LEARNED, PLAYERS, REFUSED, Kind, Player
from engram_rl.agents.random import RandomAgent
from engram_rl.training.cli import run_command
from engram_rl.training.evaluation import FROZEN
from engram_rl.training.judging import Judge
from engram_rl.training.runs.folder import RunFolder
from engram_rl.training.train import train

ENOUGH = 0.5
"""Share of the way from random play to the best at which a world counts as learned."""

FAULT, NOT_FOR_IT = "fault", "not applicable"

COMMON = [
    "env=gym",
    f"env.id={ID}",
    "env.num_envs=4",
    "progress=false",
    "log.every=1000",
    "log.retrieved=1000",
    "evaluation.every=1000",
    "evaluation.episodes=12",
    "evaluation.max_steps=4000",
    "checkpoint.every=1000",
]


@dataclass(frozen=True)
class WorldRun:
    """Everything that defines a run.

    Attributes:
        kind: A name of `KINDS`.
        agent: A name of `PLAYERS`.
        seed: Of the agent and the worlds.
        steps: Environment steps.
        seconds: After which it is ended and counts as hung.
    """

    kind: str
    agent: str
    seed: int
    steps: int
    seconds: float

    @property
    def key(self) -> str:
        """A digest of all that defines the run."""
        return digest(asdict(self) | {"world": asdict(KINDS[self.kind]), "player": asdict(PLAYERS[self.agent])})

    @property
    def overrides(self) -> list[str]:
        """What is given to `engram train`."""
        kind, player = KINDS[self.kind], PLAYERS[self.agent]
        kwargs = [f"+env.kwargs.{name}={value}" for name, value in kind.kwargs.items()]
        own = [f"agent={self.agent}", f"seed={self.seed}", f"steps={self.steps}"]
        return [*COMMON, *own, *player.options, *kwargs, *kind.options]

    def __str__(self) -> str:
        return f"{self.agent} in {self.kind}"


def measure(run: WorldRun) -> Row:
    """Train in a process of its own, and say what came of it."""
    began = time.perf_counter()
    said = outcome(run, apart(run.overrides, run.seconds))
    return {
        "kind": run.kind,
        "agent": run.agent,
        **said,
        "best": KINDS[run.kind].best,
        "seconds": round(time.perf_counter() - began, 1),
        "seed": run.seed,
        "steps": run.steps,
        "train": " ".join(["engram train", *(f"'{word}'" if "*" in word else word for word in run.overrides)]),
        "key": run.key,
    }


def apart(overrides: list[str], seconds: float) -> dict[str, Any]:
    """What `trained` says in a process of its own; that it hung or died, if it says nothing."""
    context = get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.worlds.preload"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_tell, args=(overrides, theirs))
    process.start()
    theirs.close()
    try:
        if not ours.poll(seconds):
            return {"crash": f"no answer within {seconds:.0f} s"}
        return ours.recv()
    except EOFError:
        process.join(10)
        return {"crash": f"the process ended with {process.exitcode} and said nothing"}
    finally:
        if process.is_alive():
            process.join(5)
        process.kill()
        process.join()


def _tell(overrides: list[str], pipe: Connection) -> None:
    pipe.send(trained(overrides))
    pipe.close()


def trained(overrides: list[str]) -> dict[str, Any]:
    """Train here: the score beside that of random play, or what was said instead.

    Returns:
        `score`, `random` and `said`; `refused` instead where the command ends with a message; `crash` where it ends
        with a traceback, or leaves out what a run must leave.
    """
    found: dict[str, Any] = {}
    out, errors = io.StringIO(), io.StringIO()
    with TemporaryDirectory() as folder, contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        path = Path(folder) / "run"
        try:
            run_command(lambda: found.update(_train(overrides, path)))
        except SystemExit as ended:
            _, refused, message = f"\n{errors.getvalue()}".rpartition("\nError: ")
            if ended.code != 2 or not refused:
                return {"crash": f"exit {ended.code}: {message[-400:]}"}
            return {"refused": message.strip()}
        except BaseException as error:  # whatever a run ends in is what is asked
            import traceback

            return {"crash": "".join(traceback.format_exception(error))[-1200:]}
    return found | {"said": errors.getvalue().strip()}


def _train(overrides: list[str], path: Path) -> dict[str, Any]:
    config = composed(overrides)
    score = train(config, RunFolder(path))
    summary = json.loads((path / "summary.json").read_text(encoding="utf-8"))
    missing = [name for name in ("summary.json", "learning_curve.png", "config.yaml") if not (path / name).exists()]
    judge = Judge(config, seed=config.seed + 1)
    try:
        played = judge.play(RandomAgent(judge.world().action_space, config.seed), FROZEN, {})
    finally:
        judge.close()
    if missing:
        return {"crash": f"the run left no {', '.join(missing)}"}
    return {
        "score": score,
        "random": float(played.returns.mean()),
        "mode": summary["mode"],
        "cut": summary["cut"],
        "video": (path / "episode.gif").exists(),
    }


def outcome(run: WorldRun, found: dict[str, Any]) -> dict[str, Any]:
    """What came of a run, beside what must: `learned`, `refused`, `ended`, `not applicable`, or `fault` and why."""
    kind, player = KINDS[run.kind], PLAYERS[run.agent]
    if "crash" in found:
        return {"outcome": FAULT, "message": found["crash"]}
    if "refused" in found:
        return {"outcome": _of_refusal(kind, player, found["refused"]), "message": found["refused"]}
    share = (found["score"] - found["random"]) / (kind.best - found["random"])
    figures = {name: found[name] for name in ("score", "random", "mode", "cut", "video")} | {"share": round(share, 3)}
    ends = {LEARNED: LEARNED if share >= ENOUGH else FAULT, ENDED: ENDED, REFUSED: FAULT}
    return figures | {"outcome": ends[kind.expects], "message": found["said"]}


def _of_refusal(kind: Kind, player: Player, message: str) -> str:
    if kind.expects == REFUSED and all(name in message for name in kind.names):
        return REFUSED
    return FAULT if fits(kind, player) else NOT_FOR_IT


VECTORS = {"vector", "float64", "float16", "int64", "int8", "uint8_row", "uint16_row", "bool", "unbounded"}
VECTORS |= {"largest_bounds", "half_bounded", "constant_part", "tiny_bounds", "far_from_zero", "wide_bounds"}
VECTORS |= {"negative_bounds", "list"}
NUMBERS = {
    "box",
    "box_far",
    "box_tiny",
    "box_float64",
    "box_unbounded",
    "box_half_bounded",
}
NOBODYS = {"multi_binary", "box_whole"}
"""Actions that no agent takes, and all refuse by name."""


def fits(kind: Kind, player: Player) -> bool:
    """Whether an agent is for such a world: what it reads, what it acts in."""
    observation, action = kind.kwargs.get("observation", "vector"), kind.kwargs.get("action", "two")
    reads = observation in VECTORS or not player.vectors_only
    acts = (player.numbers or action not in NUMBERS) and action not in NOBODYS
    return reads and acts
