"""`python -m benchmarks.shift env=shiftwall agents=[heuristic,planner,random,sb3_ppo] seeds=10 out=FILE`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cli import env_options, parse, run_main
from benchmarks.runs import Row, carry_out, file_name, measured, status_of
from benchmarks.shift.environment import Environment, default_episodes, resolve_environment
from benchmarks.shift.figures import draw
from benchmarks.shift.measure import measure
from benchmarks.shift.report import is_published_setting, table
from benchmarks.shift.results import entrants
from benchmarks.shift.specs import resolve_budget, run_specs


@dataclass
class ShiftBench:
    """Measure agents on an environment whose target shifts: same layouts, stated budget, one JSON object a run.

    python -m benchmarks.shift env=shiftwall agents=[heuristic,planner,random] seeds=10
    python -m benchmarks.shift env=shiftwall agents=[sb3_ppo,sb3_a2c,sb3_trpo] seeds=4 budget=paper
    python -m benchmarks.shift env=shiftwall env.n=20 'agents=[sb3_a2c, sb3_a2c learning_rate=1e-3]'
    python -m benchmarks.shift env=shiftwall agents=[] out=FILE      (the table and figures of what FILE holds)

    env: a name of conf/env or a registered id; env.<argument>=<value> sets an argument of its constructor.
    agents: the limits' policies, Stable-Baselines3's sb3_ppo, sb3_a2c, sb3_dqn, sb3_her_dqn, sb3_trpo,
        sb3_recurrent_ppo (extra `compare`), tabular ones on the parsed place (q_lambda, dyna_q_plus,
        prioritised_sweeping, r_max; with _grid behind it on MiniGrid), or a name of conf/agent; values that change its
        settings may follow the name.
    seeds: a list, or how many. A policy's own choices and an agent's weights; layouts too where they are random.
    layout_seeds: layouts drawn from these instead; every agent plays the same ones.
    budget: own (learn only from the episodes that count) or practice steps before each episode, 2048 = paper.
    episodes: how many count; null for the environment's default.
    out: rows are appended here; runs already in it are not repeated.
    figures: folder of the figures; null for the one of `out`.
    """

    env: str = "shiftwall"
    env_options: dict[str, Any] = field(default_factory=dict)
    agents: list[str] = field(default_factory=lambda: ["oracle", "heuristic", "random"])
    seeds: list[int] = field(default_factory=lambda: list(range(10)))
    layout_seeds: list[int] = field(default_factory=list)
    budget: Any = "own"
    episodes: int | None = None
    out: str = "results/shift.jsonl"
    figures: str | None = None
    workers: int = 2
    progress: bool = True


def main(arguments: Sequence[str]) -> int:
    """Run what is missing, then print the table and draw the figures of all that is there."""
    bench = parse(ShiftBench, env_options(arguments))
    environment = resolve_environment(bench.env, bench.env_options)
    layout_seeds: list[int | None] = [*bench.layout_seeds] or [None]
    episodes = bench.episodes or default_episodes(environment)
    budget = resolve_budget(bench.budget)
    specs = run_specs(bench.env, environment, bench.agents, bench.seeds, layout_seeds, budget, episodes)
    out = Path(bench.out)
    failures = carry_out(specs, measure, out, bench.workers, bench.progress)
    _show([row for row in measured(out) if _belongs(row, environment, layout_seeds, episodes)], bench)
    return status_of(failures)


def _show(rows: list[Row], bench: ShiftBench) -> None:
    if not rows:
        print(f"{bench.out} holds no run of this environment with these episodes and layouts.")
        return
    found = entrants(rows)
    print(table(found, quote_published=is_published_setting(rows[0])))
    folder = Path(bench.figures) if bench.figures else Path(bench.out).parent
    for path in draw(found, folder, _figure_name(bench)):
        print(f"figure: {path}")


def _belongs(row: Row, environment: Environment, layout_seeds: Sequence[int | None], episodes: int) -> bool:
    return (
        row["env_id"] == environment["id"]
        and row["env_kwargs"] == environment["kwargs"]
        and row["layout_seed"] in layout_seeds
        and row["episodes"] == episodes
    )


def _figure_name(bench: ShiftBench) -> str:
    options = [f"{key}{value}" for key, value in bench.env_options.items()]
    layouts = [f"{len(bench.layout_seeds)}layouts"] if bench.layout_seeds else []
    return file_name("_".join([bench.env, *options, *layouts]))


if __name__ == "__main__":
    run_main(main)
