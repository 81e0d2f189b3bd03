"""docs/leaderboard.md: for each world a table of all who have played it, and how to be on it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.runs import Row
from engram_rl.envs.scoring import FIELDS, WORLDS, World
from engram_rl.envs.scoring.rows import LISTS, OTHER, SCORES, scores
from engram_rl.training.statistics import stratified_bootstrap

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "leaderboard.md"
ROWS = ROOT / "docs" / "results" / "leaderboard"

ENOUGH = 10
"""Runs from which there is an interval."""

HEAD = """\
# Leaderboard: worlds whose targets shift

Written by `python -m benchmarks.leaderboard` from the rows in `docs/results/leaderboard`; a test says when it is out of
date. Anybody's agent can be on it: `engram_rl.envs` needs neither torch nor anything else of Engram.

## Ten lines to take part

```python
from engram_rl.envs.scoring import evaluate, write_rows


def play(env, seed):  # an agent of your own, which learns as it goes
    env.action_space.seed(seed)
    while not env.finished:
        observation, info = env.reset()
        done = False
        while not done:
            action = env.action_space.sample()
            observation, reward, terminated, truncated, info = env.step(action)
            done = terminated or truncated


rows = list(evaluate(play, "HiddenGoal", seeds=range(2), agent="random walk", source="docs/leaderboard.md"))
assert len(rows) == 2 and rows[0]["solved"] < 200
```

`write_rows("mine.jsonl", rows)` appends them to a file. The environment is Gymnasium's; it may be handed to a library
that resets by itself: `examples/leaderboard_sb3.py` is the same for Stable-Baselines3's PPO,
`PPO("MlpPolicy", env, seed=seed).learn(env.most_steps, lambda *_: not env.finished)`. Ten seeds of each world that you
play, at least; then

    python -m benchmarks.leaderboard check mine.jsonl

says what is wrong, line by line, if anything. It counts the scores again from the episodes, and asks the world itself
what each episode takes at best and when its target shifts, so rows of other settings are found. Put the file into
`docs/results/leaderboard/` and send it as a pull request.

## The rules

- A run is one seed from the first episode to the last, which the agent lives through once: what it learns in one run it
  does not know in the next, and every step of exploration is part of the score (`budget: own`). Practice on copies of
  an episode before it counts is told as `budget`, in steps an episode.
- `info` is for measuring. What an agent reads of it, or knows otherwise, is told as `privileged`.
- Values of an agent may be chosen on other seeds than those that are sent; the seeds of Engram's own rows are 100 to
  109 for that reason.

"""

LEGEND = f"""\
Interquartile mean [95 % bootstrap interval] over runs, from {ENOUGH} runs on; of fewer the mean, without an interval
and below the others. regret: steps above the fewest possible, over all episodes; after shift: of the first 5 episodes
after the first shift; recovery: episodes after a shift before three in a row cost at most 1.25x the fewest steps, the
median over the shifts of a run, inf where too many runs never do. Lower is better in all three.
"""


@dataclass(frozen=True)
class Standing:
    """All runs of one agent with one budget on one world."""

    agent: str
    budget: str | int
    rows: list[Row]
    by_return: bool

    @property
    def ranked(self) -> bool:
        """Whether there are enough runs for an interval."""
        return len(self.rows) >= ENOUGH

    @property
    def place(self) -> tuple[bool, float]:
        """What the table is sorted by, the best first; few runs come last."""
        point = _point(self.values("mean_return" if self.by_return else "regret"), self.ranked)
        return not self.ranked, -point if self.by_return else point

    def values(self, name: str) -> np.ndarray:
        """A score of every run, counted from its episodes; what never happened is infinite. `[R]`."""
        return np.array([np.inf if row[name] is None else row[name] for row in self.rows], dtype=float)

    def cells(self) -> list[str]:
        """A line of the table."""
        solved = 100 * self.values("solved") / self.values("episodes")
        own = (
            [self._estimate(self.values("mean_return"), ".1f")]
            if self.by_return
            else [
                self._estimate(self.values("regret"), ".0f"),
                self._estimate(self.values("regret_after_shift"), ".0f"),
                self._estimate(self.values("recovery"), ".1f"),
            ]
        )
        budget, known = str(self.budget), self.rows[0]["privileged"]
        sources = dict.fromkeys(f"`{row['source']}`" for row in self.rows)
        return [self.agent, budget, str(len(self.rows)), *own, self._estimate(solved, ".1f"), known, "; ".join(sources)]

    def _estimate(self, values: np.ndarray, spec: str) -> str:
        return f"{stratified_bootstrap(values):{spec}}" if self.ranked else f"{_point(values, False):{spec}}"


def stored_rows() -> list[Row]:
    """The rows of all files of the leaderboard."""
    lines = [line for path in sorted(ROWS.glob("*.jsonl")) for line in path.read_text(encoding="utf-8").splitlines()]
    return [json.loads(line) for line in lines if line.strip()]


def page(rows: Sequence[Row]) -> str:
    """The whole page."""
    parts = [HEAD, "## Standings\n\n", LEGEND, *(_section(world, rows) for world in WORLDS.values()), _form()]
    return "".join(parts).rstrip() + "\n"


def _section(world: World, rows: Sequence[Row]) -> str:
    """A world: what it is, and its tables, the layouts of the world apart from those that were drawn."""
    own = [row for row in rows if row["world"] == world.name]
    options = ", ".join(f"{name}={value!r}" for name, value in world.kwargs.items())
    what = f"`{world.id}` ({options}), {world.episodes} episodes. What shifts: {world.shifts}."
    parts = [f"\n### {world.name}\n\n{what}\n"]
    for drawn in (False, True):
        these = [row for row in own if (row["layout_seed"] is not None) == drawn]
        if these:
            parts.append("\nOn layouts drawn from a seed of their own:\n" if drawn else "")
            parts.append(f"\n{_table(_standings(these, world.by_return), world.by_return)}\n")
    return "".join(parts) if own else f"{parts[0]}\nNobody yet.\n"


def _standings(rows: Sequence[Row], by_return: bool) -> list[Standing]:
    groups: dict[tuple[str, str | int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["agent"], row["budget"]), []).append(row | scores(**{name: row[name] for name in LISTS}))
    found = [Standing(agent, budget, runs, by_return) for (agent, budget), runs in groups.items()]
    return sorted(found, key=lambda standing: standing.place)


def _table(standings: Sequence[Standing], by_return: bool) -> str:
    measures = ["mean return"] if by_return else ["regret", "after shift", "recovery"]
    head = ["agent", "budget", "runs", *measures, "solved %", "knows besides", "source"]
    lines = [head, ["---"] * len(head), *(standing.cells() for standing in standings)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _form() -> str:
    """The form of a row, field by field."""
    lines = ["\n## The form of a row\n", "One JSON object a line. Every row has", "", "| field | what |", "|---|---|"]
    lines += [f"| `{name}` | {says} |" for name, says in FIELDS.items()]
    lines += ["", "and may have", "", "| field | what |", "|---|---|"]
    lines += [f"| `{name}` | {says} |" for name, says in {**SCORES, **OTHER}.items()]
    return "\n".join([*lines, ""])


def _point(values: np.ndarray, enough: bool) -> float:
    return float(stratified_bootstrap(values, samples=1).point if enough else np.mean(values))
