"""One run: a core and a linear read-out of it learn a task, for so many updates or so much processor time."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cores.references import REFERENCES
from benchmarks.cores.speed import speed
from benchmarks.cores.tasks import SPEED, TASKS, Episodes, Task
from benchmarks.cores.trials import TRIALS, module_of
from benchmarks.fingerprint import ended, note
from benchmarks.identity import digest
from benchmarks.runs import Row
from engram_rl.memory.cores import CORES, WRAPPERS, Core, make_core

FINGERPRINT = 20
"""Updates whose losses a row remembers: code that gives the same is the same."""
CHECK_EVERY = 50
"""Updates between two looks at whether half of what the limit allows is wrong."""
IN_A_ROW = 3
"""Looks at which it has to hold, one after the other: one alone may have been luck."""
JUDGED_ON = 256
"""Fresh episodes, the hardest of the task, for the score that is reported."""
MEASURED_BY = ("benchmarks/cores/measure.py", "benchmarks/cores/speed.py")


@dataclass(frozen=True)
class CoreRun:
    """Everything that defines a run.

    Attributes:
        core: A name of `CORES` or `REFERENCES`, or for a trial of `TRIED`.
        task: A name of `TASKS` or `TRIALS`, or `speed`.
        seed: Of the weights and of the episodes.
        settings: Of the core.
        limit: What its score must be; empty where nothing is claimed.
        tiny: A handful of updates, to show that it runs.
    """

    core: str
    task: str
    seed: int
    settings: dict[str, Any]
    limit: str
    tiny: bool = False

    @property
    def key(self) -> str:
        """A digest of all that defines the run."""
        return digest(asdict(self))

    def __str__(self) -> str:
        return f"{self.core} on {self.task}, seed {self.seed}"


def run_of(row: Row) -> CoreRun:
    """The run of a stored row."""
    return CoreRun(*(row[name] for name in ("core", "task", "seed", "settings", "limit", "tiny")))


def measure(run: CoreRun) -> Row:
    """The row of a run: its score, whether the limit holds, and what it took."""
    torch.set_num_threads(1)
    torch.manual_seed(run.seed)
    with _peak_memory() as peak:
        found = _found(run)
    held = holds(found["score"], run.limit) if run.limit else None
    about = {"holds": held, "key": run.key, "peak_mib": round(peak[0], 1), "rests_on": _code_of(run)}
    return asdict(run) | found | about


def _code_of(run: CoreRun) -> list[str]:
    """The modules that a row is of: of the core, of what it is around, and of what measures it."""
    if run.task in TRIALS:
        return [module_of(run.task).__name__, *MEASURED_BY]
    makers = CORES | WRAPPERS | REFERENCES
    names = [run.core, *([run.settings["core"]] if "core" in run.settings else [])]
    return [*(makers[name].__module__ for name in names), "benchmarks.cores.tasks", *MEASURED_BY]


def _found(run: CoreRun) -> Row:
    if run.task in TRIALS:
        return TRIALS[run.task](run.core, run.tiny)
    return speed(run.core, _settings(run.settings), run.tiny) if run.task == SPEED else _learned(run)


def _settings(given: dict[str, Any]) -> dict[str, Any]:
    """Settings of a core; `core` and `of_core`, a name and its settings, become what makes the core inside."""
    if "core" not in given:
        return given
    inside = partial(CORES[given["core"]], **given.get("of_core", {}))
    return {name: value for name, value in given.items() if name != "of_core"} | {"core": inside}


def holds(score: float, limit: str) -> bool:
    """Whether a score is within a limit such as `<= 0.05`."""
    relation, number = limit.split()
    return score <= float(number) if relation == "<=" else score >= float(number)


def half_of(limit: str) -> str:
    """A limit that allows half of what is wrong: training stops there, so that nothing is judged at its very edge."""
    relation, number = limit.split()
    return f"<= {float(number) / 2}" if relation == "<=" else f">= {(1 + float(number)) / 2}"


def _learned(run: CoreRun) -> Row:
    """Train and judge."""
    task = TASKS[run.task]
    task = replace(task, updates=3, batch=2) if run.tiny else task
    chance = torch.Generator().manual_seed(run.seed)
    example = task.draw(1, chance, True)
    make = REFERENCES.get(run.core) or partial(make_core, run.core)
    core = make(example.inputs.shape[2], task.hidden, **_settings(run.settings))
    read_out = Itself() if task.itself else nn.Linear(core.output_size, example.bits.shape[2])
    updates, seconds = _train(core, read_out, task, run.limit or task.limit, chance)
    judged = torch.Generator().manual_seed(1_000_000 + run.seed)
    return {
        "score": round(score(core, read_out, task, 4 if run.tiny else JUDGED_ON, judged), 5),
        "measure": task.measure,
        "updates": updates,
        "seconds": round(seconds, 4),
        "parameters": sum(parameter.numel() for parameter in core.parameters()),
        "state_bytes": sum(leaf.numel() * leaf.element_size() for leaf in core.initial_state(1).values()),
    }


def _train(core: Core, read_out: nn.Module, task: Task, limit: str, chance: torch.Generator) -> tuple[int, float]:
    """Updates made and processor seconds taken, checks not counted."""
    parameters = [*core.parameters(), *read_out.parameters()]
    optimiser = torch.optim.Adam(parameters, task.rate)
    checks = torch.Generator().manual_seed(2_000_000 + chance.initial_seed())
    enough = half_of(limit)
    seconds, update, in_a_row = 0.0, 0, 0
    while update < task.updates and seconds < task.seconds:
        began = time.process_time()
        episodes = task.draw(task.batch, chance, False)
        logits, losses = _answers(core, read_out, episodes)
        loss = functional.binary_cross_entropy_with_logits(logits, episodes.bits[episodes.asked])
        optimiser.param_groups[0]["lr"] = task.rate_at(update)
        optimiser.zero_grad()
        if update < FINGERPRINT:
            note((), loss.item(), False, ())
        elif update == FINGERPRINT:
            ended()
        (loss + sum(losses.values())).backward()
        nn.utils.clip_grad_norm_(parameters, task.clip)
        optimiser.step()
        update, seconds = update + 1, seconds + time.process_time() - began
        if task.stops and update % CHECK_EVERY == 0:
            in_a_row = in_a_row + 1 if _holds(core, read_out, task, enough, checks) else 0
            if in_a_row == IN_A_ROW:
                break
    return update, seconds


def _holds(core: Core, read_out: nn.Module, task: Task, limit: str, checks: torch.Generator) -> bool:
    """Whether a limit holds on a few episodes, and then on as many as it is judged on."""
    return all(holds(score(core, read_out, task, episodes, checks), limit) for episodes in (64, JUDGED_ON))


@torch.no_grad()
def score(core: Core, read_out: nn.Module, task: Task, episodes: int, chance: torch.Generator) -> float:
    """The task's measure on so many fresh episodes, the hardest of the task."""
    drawn = task.draw(episodes, chance, True)
    wrong = (_answers(core, read_out, drawn)[0] > 0) != (drawn.bits[drawn.asked] > 0.5)  # [asked, B, n]
    if task.measure == "answers":
        return 1 - float(wrong.any(2).float().mean())
    return float(wrong.float().sum((0, 2)).mean() if task.measure == "bits" else wrong.float().mean())


def _answers(core: Core, read_out: nn.Module, episodes: Episodes) -> tuple[Tensor, dict[str, Tensor]]:
    """Logits of the bits where they are asked for, and the core's own losses.  `[asked, B, n]`."""
    outputs, _, losses = core(episodes.inputs, core.initial_state(episodes.inputs.shape[1]))
    logits: Tensor = read_out(outputs[episodes.asked])
    return logits, losses


class Itself(nn.Module):
    """Takes activities between -1 and 1 for the answer: logits of four times as much."""

    def forward(self, outputs: Tensor) -> Tensor:
        """`[..., n]` -> `[..., n]`."""
        return 4 * outputs


@contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """Resident memory at its highest within the block, in MiB, above what it was at its beginning.

    Linux forgets an earlier peak when told to; elsewhere what is given is by how much the process outgrew itself.
    """
    peak = [0.0]
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before, read = _linux("VmRSS"), lambda: _linux("VmHWM")
    except OSError:
        read = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # noqa: E731
        before = read()
    yield peak
    peak[0] = max(read() - before, 0.0)


def _linux(name: str) -> float:
    status = Path("/proc/self/status").read_text().split(f"{name}:")[1]
    return float(status.split()[0]) / 1024
