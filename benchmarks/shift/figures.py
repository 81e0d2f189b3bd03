"""The figures of a bench: what each episode costs along the run, and how fast the cost falls after a shift."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, StrMethodFormatter
from numpy.lib.stride_tricks import sliding_window_view

from benchmarks.runs import Row
from benchmarks.shift.results import Entrant
from benchmarks.shift.specs import PAPER_BUDGET
from engram_rl.envs.scoring import metrics
from engram_rl.training.statistics import interquartile_mean, performance_curve

SMOOTHING = 7  # episodes averaged for a point of the cost curve, never across a shift
MOST_LINES = 25  # of shifts
BEFORE, AFTER = 5, 20  # episodes shown around a shift
STREAK, WITHIN = 3, 1.25  # recovered: so many episodes in a row within this ratio to the shortest path


def draw(entrants: Sequence[Entrant], folder: Path, name: str) -> list[Path]:
    """Draw what can be drawn of these runs; returns the files."""
    drawn = [_save(_cost_figure(entrants, name), folder / f"shift_{name}_cost.png")]
    shifting = [entrant for entrant in entrants if _has_limit(entrant)]
    if shifting and all(map(_can_be_aligned, shifting)):
        drawn.append(_save(_recovery_figure(shifting, name), folder / f"shift_{name}_recovery.png"))
    return drawn


def _cost_figure(entrants: Sequence[Entrant], name: str) -> Figure:
    figure = Figure(figsize=(11, 5.5), layout="constrained")
    axes = figure.subplots()
    colours = _colours(entrants)
    for entrant in entrants:
        indices = entrant.episodes("task_index").astype(int)
        measured = entrant.episodes("returns" if entrant.by_return else "costs")
        costs = [_smooth(run, index) for run, index in zip(measured, indices, strict=True)]
        _line(axes, np.arange(indices.shape[1]), np.array(costs), entrant, colours[entrant.agent])
    if _has_limit(entrants[0]):
        _draw_limit(axes, entrants[0])
    _draw_shifts(axes, entrants)
    measure = "return" if entrants[0].by_return else "steps"
    axes.set(
        xlabel="episode", ylabel=measure, title=f"{name}: {measure} of each episode (mean of {SMOOTHING} neighbours)"
    )
    if not entrants[0].by_return:
        _log_scale(axes)
    _finish(axes)
    return figure


def _recovery_figure(entrants: Sequence[Entrant], name: str) -> Figure:
    figure = Figure(figsize=(13, 5.5), layout="constrained")
    ratio_axes, regret_axes = figure.subplots(1, 2)
    colours = _colours(entrants)
    for entrant in entrants:
        cost, optimum = _aligned(entrant)  # [R, W], [R, W]
        colour = colours[entrant.agent]
        _draw_ratios(ratio_axes, cost, optimum, entrant, colour)
        regret = np.cumsum((cost - optimum)[:, BEFORE:], axis=1)
        _line(regret_axes, np.arange(1, regret.shape[1] + 1), regret, entrant, colour)
    _finish_ratios(ratio_axes, name)
    regret_axes.set_yscale("symlog", linthresh=10)
    regret_axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    regret_axes.set_ylim(bottom=0)
    regret_axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    labels = {"xlabel": "episodes since the shift", "ylabel": "steps above the shortest paths"}
    regret_axes.set(title="cost of the shift", **labels)
    _finish(regret_axes)
    return figure


def _draw_ratios(axes: Axes, cost: np.ndarray, optimum: np.ndarray, entrant: Entrant, colour: str) -> None:
    """The steps of each STREAK episodes over their shortest paths, none across the shift."""
    ratios = _streak_sums(cost) / _streak_sums(optimum)  # [R, W - STREAK + 1]
    offsets = np.arange(-BEFORE, ratios.shape[1] - BEFORE)
    for part in (offsets <= -STREAK, offsets >= 0):
        _line(axes, offsets[part], ratios[:, part], entrant, colour, named=False)


def _finish_ratios(axes: Axes, name: str) -> None:
    axes.axhline(1, color="black", linewidth=1.5)
    axes.axhline(WITHIN, color="black", linewidth=0.8, linestyle=":")
    right = axes.get_yaxis_transform()  # x in axes, y in data
    axes.text(0.99, WITHIN, f"recovered: within {WITHIN}x", transform=right, ha="right", va="bottom", fontsize=8)
    axes.axvline(-0.5, color="grey", linestyle="--", linewidth=1)
    axes.set(
        xlabel=f"first of {STREAK} episodes, counted from the shift",
        ylabel=f"steps of {STREAK} episodes / shortest paths",
        title=f"{name}: recovery after a shift",
    )
    _log_scale(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.25, which="both")


def _can_be_aligned(entrant: Entrant) -> bool:
    """Whether every run has a shift with enough episodes before and after it."""
    width = min(_shortest_task(row) for row in entrant.rows)
    return width >= BEFORE and all(_shifts_followed_by(row, width) for row in entrant.rows)


def _aligned(entrant: Entrant) -> tuple[np.ndarray, np.ndarray]:
    """Cost and optimum around the shifts, both averaged over the shifts of a run. `[R, W]`, `[R, W]`.

    W is BEFORE + AFTER episodes, or fewer where tasks are shorter.
    """
    width = min(_shortest_task(row) for row in entrant.rows)
    windows = [np.array(_shifts_followed_by(row, width))[:, None] + np.arange(-BEFORE, width) for row in entrant.rows]
    cost = [np.array(row["costs"])[at].mean(axis=0) for row, at in zip(entrant.rows, windows, strict=True)]
    optimum = [np.array(row["optimum"])[at].mean(axis=0) for row, at in zip(entrant.rows, windows, strict=True)]
    return np.array(cost), np.array(optimum)


def _shifts_followed_by(row: Row, episodes: int) -> list[int]:
    """The shifts with enough episodes before and after to be shown."""
    shifts = metrics.shift_episodes(row["task_index"])
    ends = [*shifts[1:], len(row["task_index"])]
    return [shift for shift, end in zip(shifts, ends, strict=True) if shift >= BEFORE and end - shift >= episodes]


def _shortest_task(row: Row) -> int:
    """Episodes from a shift to the next at the least, and at most AFTER; 0 without a shift.

    Where there are several, the last task does not count: the run ended it, not a shift.
    """
    edges = [*metrics.shift_episodes(row["task_index"]), len(row["task_index"])]
    lengths = [end - start for start, end in pairwise(edges)]
    return min([AFTER, *(lengths[:-1] or lengths or [0])])


def _streak_sums(values: np.ndarray) -> np.ndarray:
    """Sums over each STREAK episodes in a row. `[R, W]` -> `[R, W - STREAK + 1]`."""
    return sliding_window_view(values, STREAK, axis=1).sum(axis=2)


def _smooth(values: np.ndarray, task_index: np.ndarray) -> np.ndarray:
    """Centred mean over `SMOOTHING` episodes, fewer at the ends of a task. `[E]`."""
    half = SMOOTHING // 2
    smooth = np.empty(len(values))
    for start, end in pairwise([0, *metrics.shift_episodes(task_index), len(values)]):
        for episode in range(start, end):
            smooth[episode] = values[max(start, episode - half) : min(end, episode + half + 1)].mean()
    return smooth


def _line(axes: Axes, x: np.ndarray, curves: np.ndarray, entrant: Entrant, colour: str, named: bool = True) -> None:
    """Interquartile mean and pointwise interval of `[R, P]`."""
    curve = performance_curve(curves)
    budget = "" if entrant.budget == "own" else f", {entrant.budget} practice steps an episode"
    label = f"{entrant.agent}{budget} ({len(curves)} runs)" if named else None
    style = "-" if entrant.budget == "own" else "--" if entrant.budget == PAPER_BUDGET else ":"
    axes.plot(x, curve.point, style, color=colour, linewidth=1.6, label=label)
    if len(curves) > 1:
        axes.fill_between(x, curve.low, curve.high, color=colour, alpha=0.13, linewidth=0)


def _draw_limit(axes: Axes, entrant: Entrant) -> None:
    indices = entrant.episodes("task_index").astype(int)
    optima = [_smooth(run, index) for run, index in zip(entrant.episodes("optimum"), indices, strict=True)]
    axes.plot(interquartile_mean(optima, axis=0), color="black", linewidth=2, label="shortest path")


def _draw_shifts(axes: Axes, entrants: Sequence[Entrant]) -> None:
    """A line at each shift, where all runs have theirs at the same episodes and the lines leave room for curves."""
    schedules = {tuple(metrics.shift_episodes(row["task_index"])) for entrant in entrants for row in entrant.rows}
    shifts = schedules.pop()
    for shift in shifts if not schedules and len(shifts) <= MOST_LINES else ():
        axes.axvline(shift - 0.5, color="grey", linestyle="--", linewidth=1)


def _has_limit(entrant: Entrant) -> bool:
    return all(row["regret"] is not None for row in entrant.rows)


def _colours(entrants: Sequence[Entrant]) -> dict[str, str]:
    """One for each agent, whatever its budgets."""
    agents = list(dict.fromkeys(entrant.agent for entrant in entrants))
    palette = mpl.colormaps["tab10" if len(agents) <= 10 else "tab20"]
    return {agent: mpl.colors.to_hex(palette(index % palette.N)) for index, agent in enumerate(agents)}


def _log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _finish(axes: Axes) -> None:
    axes.grid(alpha=0.25, which="both")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.01, 0.5))


def _save(figure: Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path
