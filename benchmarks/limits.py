"""`python -m benchmarks.limits out=FILE`: what the best and the worst can do on every environment of the suite.

Each figure stands beside the one that is known of it, with a 95 % interval over runs, and, where the two differ, the
reason. Where an environment draws its layouts, every run has its own; otherwise runs differ in how ties are broken.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, cast

import gymnasium
import numpy as np

import engram_rl.envs  # noqa: F401 (registers the suite)
from benchmarks.cli import parse, write_lines
from benchmarks.episodes import Episodes, play
from engram_rl.envs.oracles import make_policy
from engram_rl.envs.suite import SuiteVectorEnv

Measure = Callable[[Episodes], np.ndarray]  # -> one number for each run, `[E]`; NaN where a run has none


@dataclass
class LimitsBench:
    """Measure the limits of the suite's environments.

    python -m benchmarks.limits                          (all of them)
    python -m benchmarks.limits only=ShiftWall runs=200  (one environment, more runs)

    runs: how many runs each figure is the mean of.
    only: the name of an environment, or empty for all.
    out: the figures as JSON lines.
    """

    runs: int = 64
    only: str = ""
    out: str = "results/limits.jsonl"


@dataclass(frozen=True)
class Figure:
    """One number of the table.

    Attributes:
        environment: A name of the suite.
        policy: A name of `engram_rl.envs.oracles.POLICIES`.
        measure: A name of `MEASURES`.
        known: What is known of it, a number or a range; None if nothing.
        reason: Why the measured figure differs, if it does.
        options: The environment's keyword arguments.
        episodes: How long the runs are.
    """

    environment: str
    policy: str
    measure: str
    known: float | tuple[float, float] | None = None
    reason: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    episodes: int = 100


def figures() -> Iterator[Figure]:
    """Every figure of the table, in its order."""
    yield from _shift_wall()
    yield from _scatter_shift()
    yield from _hidden_goals()
    yield from _others()


def _shift_wall() -> Iterator[Figure]:
    known = {
        ("oracle", "steps"): 755,
        ("planner", "regret"): 59,
        ("planner", "regret_after_shift"): 37,
        ("planner_fresh", "regret"): 326,
        ("planner_fresh", "regret_after_shift"): 47,
        ("heuristic", "regret"): 1430,
        ("heuristic", "solved"): 92.8,
        ("random", "regret"): 7485,
        ("random", "solved"): 30.4,
    }
    for n in (10, 20, 40):
        for policy in ("oracle", "planner", "planner_informed", "planner_vigilant", "planner_fresh", *_BLIND):
            for measure in ("steps", "solved") if policy == "oracle" else _PLANNER_MEASURES:
                figure = known.get((policy, measure)) if n == 10 else None
                yield Figure("ShiftWall", policy, measure, figure, options={"n": n})


def _scatter_shift() -> Iterator[Figure]:
    known = {
        ("planner_informed", "mid"): (871, _LAYOUTS),
        ("planner_informed", "each"): (1264, _LAYOUTS),
    }
    for schedule in ("mid", "each"):
        for policy in ("oracle", "planner", "planner_informed", "planner_vigilant", "planner_fresh", *_BLIND):
            figure, reason = known.get((policy, schedule), (None, ""))
            yield Figure("ScatterShift", policy, "steps", figure, reason, {"schedule": schedule, "density": 0.3})


def _hidden_goals() -> Iterator[Figure]:
    hidden: dict[str, Any] = {"environment": "HiddenGoal", "episodes": 200}
    yield Figure(policy="last_site_informed", measure="block", known=180, reason=_TABLED_BLOCK, **hidden)
    yield Figure(policy="last_site", measure="block", **hidden)
    yield Figure(policy="last_site_informed", measure="first_after_shift", known=50, **hidden)
    yield Figure(policy="last_site_informed", measure="other_episodes", known=6.67, **hidden)
    yield Figure(policy="random", measure="solved", known=35, **hidden)
    for sites, informed, uninformed in ((4, 10.2, 20.0), (8, 14.2, None)):
        returning: dict[str, Any] = {"environment": "RecurringGoal", "episodes": 1000, "options": {"sites": sites}}
        yield Figure(
            policy="known_sites_informed", measure="first_after_shift", known=informed, reason=_SITES, **returning
        )
        yield Figure(policy="known_sites", measure="first_after_shift", known=uninformed, reason=_TOUR, **returning)
    new: dict[str, Any] = {"environment": "NewGoal", "episodes": 200}
    yield Figure(policy="last_site", measure="first_after_shift", **new)
    yield Figure(policy="last_site", measure="other_episodes", known=(6.8, 7.2), reason=_NEW, **new)
    for q, tabled in ((0.25, 8.1), (1.0, 13.2)):
        drifting: dict[str, Any] = {"environment": "DriftGoal", "episodes": 200, "options": {"q": q}}
        yield Figure(policy="last_site_spiral", measure="mean_steps", known=tabled, reason=_DRIFT, **drifting)
        longer = {**drifting, "options": {"q": q, "stride": 3}}
        yield Figure(policy="last_site_spiral", measure="mean_steps", **longer)


def _others() -> Iterator[Figure]:
    yield Figure("MemoryPlan", "oracle", "steps_per_reward", 3.67)
    yield Figure("MemoryPlan", "random", "steps_per_reward")
    for options in ({"length": 10}, {"length": 100}, {"length": 10, "active": True}):
        yield Figure("TMaze", "oracle", "mean_return", 1.0, options=options)
        yield Figure("TMaze", "memoryless", "mean_return", 0.5, options=options)
    yield Figure("MaskedKey", "oracle", "mean_return", 16.0)
    yield Figure("MaskedKey", "random", "mean_return", 4.0)


_BLIND = ("heuristic", "random")
_PLANNER_MEASURES = ("regret", "regret_after_shift", "solved")
_LAYOUTS = "The tabled figure is of other layouts; single runs of 100 episodes spread by some 100 steps (1 sigma)."
_TABLED_BLOCK = "The tabled figure is 50 + 19 x 6.67 = 177, rounded up."
_SITES = "The sites are other ones; how far they lie apart differs from run to run."
_TOUR = "The tabled figure is three legs of 6.67 between sites in any order; this tour takes the nearest site next."
_NEW = "On an open grid the mean distance between two cells is 6.67; the tabled range is that of few sites."
_DRIFT = "The goal takes one step at a time here; the tabled one seems to go further: compare stride=3."

MEASURES: dict[str, Measure] = {
    "steps": lambda played: played.steps.sum(axis=1),
    "regret": lambda played: played.regret.sum(axis=1),
    "regret_after_shift": lambda played: played.regret[:, 50:55].sum(axis=1),
    "solved": lambda played: 100 * played.solved.mean(axis=1),  # %
    "block": lambda played: played.steps[:, 20:].reshape(len(played.steps), -1, 20).sum(axis=2).mean(axis=1),
    "first_after_shift": lambda played: _mean_where(played.steps, played.shifted & _second_half(played)),
    "other_episodes": lambda played: _mean_where(played.steps, ~played.shifted & _second_half(played)),
    "mean_steps": lambda played: played.steps[:, 1:].mean(axis=1),
    "mean_return": lambda played: played.returns.mean(axis=1),
    "steps_per_reward": lambda played: played.steps.sum(axis=1) / np.maximum(played.returns.sum(axis=1), 1),
}


def measure(figures_of_one: list[Figure], runs: int) -> list[dict[str, Any]]:
    """Play the runs that these figures are about, which are the same, and read the figures off them."""
    one = figures_of_one[0]
    options = dict(one.options)
    if one.environment != "ShiftWall":
        options["layout_seed"] = list(range(runs))
    environments = cast(SuiteVectorEnv, gymnasium.make_vec(f"engram/{one.environment}-v0", runs, **options))
    policy = make_policy(one.policy, environments, seed=0)
    played = play(environments, policy, one.episodes)
    return [_row(figure, policy.privileged, MEASURES[figure.measure](played)) for figure in figures_of_one]


def _row(figure: Figure, privileged: str, values: np.ndarray) -> dict[str, Any]:
    values = values[~np.isnan(values)]
    mean, margin = float(values.mean()), 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
    agrees = figure.known is None or _agrees(figure.known, mean, margin)
    return {
        "env": f"engram/{figure.environment}-v0",
        "options": figure.options,
        "policy": figure.policy,
        "privileged": privileged,
        "measure": figure.measure,
        "known": figure.known,
        "measured": round(mean, 2),
        "low": round(mean - margin, 2),
        "high": round(mean + margin, 2),
        "runs": len(values),
        "episodes": figure.episodes,
        "agrees": agrees,
        "reason": "" if agrees else figure.reason,
    }


def _agrees(known: float | tuple[float, float], mean: float, margin: float) -> bool:
    """Whether the interval reaches what is known, give or take 1 % for its rounding."""
    low, high = known if isinstance(known, tuple) else (known, known)
    return 0.99 * low <= mean + margin and mean - margin <= 1.01 * high


def _mean_where(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The mean of the chosen values of each row, NaN where there are none. `[E, K]` -> `[E]`."""
    total = np.where(chosen, values, 0).sum(axis=1)
    return np.divide(total, chosen.sum(axis=1), out=np.full(len(total), np.nan), where=chosen.any(axis=1))


def _second_half(played: Episodes) -> np.ndarray:
    """The episodes of the second half of the runs, by when the sites of a run are known. `[K]` of bool."""
    episodes = played.steps.shape[1]
    return np.arange(episodes) >= episodes // 2


def line(row: dict[str, Any]) -> str:
    """One line of the table."""
    options = " ".join(f"{key}={value}" for key, value in row["options"].items())
    environment = f"{row['env'].removeprefix('engram/').removesuffix('-v0')} {options}"
    known = "" if row["known"] is None else str(row["known"])
    measured = f"{row['measured']:9.2f}  [{row['low']:.2f}, {row['high']:.2f}]"
    verdict = "" if row["agrees"] else f"  differs: {row['reason'] or 'no reason is known'}"
    return f"{environment:34} {row['policy']:17} {row['measure']:18} {known:>10} {measured:30}{verdict}"


def main() -> int:
    """Measure, print and write every figure asked for."""
    options = parse(LimitsBench)
    wanted = [figure for figure in figures() if options.only in ("", figure.environment)]
    if not wanted:
        print(f"only={options.only}: there are {', '.join(dict.fromkeys(f.environment for f in figures()))}.")
        return 2
    print(f"{'environment':34} {'policy':17} {'measure':18} {'known':>10} {'measured':>9}  [95 % interval]")
    rows: list[dict[str, Any]] = []
    for _, same in groupby(wanted, key=lambda figure: (figure.environment, figure.policy, repr(figure.options))):
        for row in measure(list(same), options.runs):
            print(line(row), flush=True)
            rows.append(row)
    write_lines(options.out, rows)
    print(f"{len(rows)} figures of {options.runs} runs each: {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
