"""When does which way of forgetting help? `python -m benchmarks.forgetting out=FILE [seeds=10] [figure=FILE.png]`.

Values of places shift, unannounced, three times. A memory predicts at every visit, is shown the value, and remembers.
The error of its predictions for all places is taken before each shift, right after it, after one visit to each place
since, and at the end of the task, for eight ways to forget:

- none: every visit is appended and kept;
- fifo, lru: a full memory drops the oldest entry, or the one that has least recently been a neighbour;
- decay: strength starts at surprise and reward, fades and is renewed by retrieval; the weakest goes;
- priority: surprise and reward alone; the least goes;
- surprise-gated: one entry per place, the larger of old and new, but halved when its promise fails;
- contradiction: entries at the place that the visit refutes are dropped;
- together: decay and contradiction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from benchmarks.cli import parse, write_lines
from benchmarks.forgetting_worlds import WORLDS, Variant, World, live_through, variants
from engram_rl.training.statistics import Interval, performance_curve, stratified_bootstrap

WIDTH = 100  # of the table, also where the terminal does not say how wide it is
MOMENTS = ("before", "right_after", "after_one_visit", "end")
STYLES = {
    "none": ("#999999", ":"),
    "fifo": ("#56B4E9", "--"),
    "lru": ("#0072B2", "--"),
    "decay": ("#009E73", "-."),
    "priority": ("#E69F00", "-."),
    "surprise-gated": ("#CC79A7", "-"),
    "contradiction": ("#D55E00", "-"),
    "together": ("#000000", (0, (4, 2))),
}


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        out: Where the records go, one JSON object a line.
        figure: Where the figure goes; none by default.
        seeds: Runs of each variant in each world, on the same streams.
        first_seed: Seeds below 1000 were not used for choosing any setting.
        tasks: Shifts, and one.
        tiny: Small worlds and two seeds, for tests.
    """

    out: str = "results/forgetting.jsonl"
    figure: str = ""
    seeds: int = 10
    first_seed: int = 0
    tasks: int = 4
    tiny: bool = False


def main(arguments: list[str] | None = None) -> None:
    """Run every variant in every world, print a table, write the records and draw the figure."""
    options = parse(Options, arguments)
    torch.set_num_threads(1)
    if options.tiny:
        options = replace(options, seeds=2, tasks=2)
    worlds = [replace(world, places=8, visits=2, step=4, capacity=12) for world in WORLDS] if options.tiny else WORLDS
    errors = {world: measure(world, options) for world in worlds}
    records = [record for world in worlds for record in records_of(world, errors[world], options)]
    write_lines(options.out, records)
    Console(width=max(WIDTH, Console().width)).print(table_of(records))
    if options.figure:
        draw(errors, options.figure)


def measure(world: World, options: Options) -> dict[str, np.ndarray]:
    """Errors of each variant at the start of each task and after each sweep.  `[seeds, tasks, visits + 1]`."""
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    return {
        name: np.array([list(errors_of(world, make(world), options.tasks, seed)) for seed in seeds])
        for name, make in variants(options.tasks).items()
    }


def errors_of(world: World, variant: Variant, tasks: int, seed: int) -> Iterator[list[float]]:
    """Errors of one run, for each task at its start and after each sweep."""
    for task in live_through(world, tasks, seed):
        errors = [variant.error(task)]
        for step, experience in enumerate(task.experiences, 1):
            variant.live(experience)
            if step % world.sweep == 0:
                errors.append(variant.error(task))
        yield errors


def records_of(world: World, errors: dict[str, np.ndarray], options: Options) -> Iterator[dict[str, Any]]:
    """One record per variant, task after a shift and moment; task 0 stands for all of them together."""
    for name, runs in errors.items():
        moments = (runs[:, :-1, -1], runs[:, 1:, 0], runs[:, 1:, 1], runs[:, 1:, -1])  # [seeds, shifts] each
        for moment, values in zip(MOMENTS, moments, strict=True):
            each = {0: values.mean(1)} | {task: values[:, task - 1] for task in range(1, options.tasks)}
            for task, by_seed in each.items():
                interval = stratified_bootstrap(by_seed)
                yield {
                    "name": f"{world.name}/{name}/{moment}",
                    "value": float(interval.point),
                    "low": float(interval.low),
                    "high": float(interval.high),
                    "unit": "mean absolute error",
                    "task_index": task,
                    "seeds": len(runs),
                    "places": world.places,
                    "capacity": world.capacity if name != "none" else options.tasks * world.writes,
                }


def table_of(records: list[dict[str, Any]]) -> Table:
    """World by variant, with the error at each moment over all shifts."""
    table = Table(title="mean absolute error over all shifts: IQM of seeds [95 % interval], or (least to most)")
    for column in ("world", "forgetting", "before", "right after", "after one visit", "end"):
        table.add_column(column, no_wrap=True)
    rows: dict[tuple[str, str], list[str]] = {}
    for record in (r for r in records if r["task_index"] == 0):
        world, name, moment = record["name"].split("/")
        interval = Interval(record["value"], record["low"], record["high"], record["seeds"])
        cell = f"{interval:.3f}" if moment in MOMENTS[2:] else f"{interval.point:.3f}"
        rows.setdefault((world, name), []).append(cell)
    for (world, name), cells in rows.items():
        table.add_row(world, name, *cells, end_section=name == "together")
    return table


def draw(errors: dict[World, dict[str, np.ndarray]], path: str) -> None:
    """One panel per world: the error after each sweep, the shifts as vertical lines."""
    figure = Figure(figsize=(13, 4.2), layout="constrained")
    panels = figure.subplots(1, len(errors), sharey=True)
    for axes, (world, runs) in zip(panels, errors.items(), strict=True):
        _panel(axes, world, runs)
    panels[0].set_ylabel("error of predicted values\n(mean absolute, IQM of seeds)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, world: World, runs: dict[str, np.ndarray]) -> None:
    for name, values in runs.items():
        color, line = STYLES[name]
        visits = np.concatenate([task * world.visits + np.arange(values.shape[2]) for task in range(values.shape[1])])
        curve = performance_curve(values.reshape(len(values), -1))
        axes.plot(visits, curve.point, color=color, linestyle=line, label=name, linewidth=1.6)
        axes.fill_between(visits, curve.low, curve.high, color=color, alpha=0.12, linewidth=0)
    for task in range(1, next(iter(runs.values())).shape[1]):
        axes.axvline(task * world.visits, color="#bbbbbb", linewidth=0.8, zorder=0)
    axes.set(title=world.question, xlabel="visits to each place (shifts: vertical lines)")
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
