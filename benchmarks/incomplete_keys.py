"""What are incomplete keys worth? `python -m benchmarks.incomplete_keys out=FILE [seeds=10] [entries=2000]`.

Entries associate a view, a place and a goal with one of ten labels. Queries are noisy copies of what was stored.

- Withheld: no, one or two parts are left out of the query. Masked matching against the naive query, in which what is
  withheld is 0, and against a separate dictionary for each of the seven subsets, each searching only its own parts.
  The same again with a third of the entries lacking one part: stored as 0 by the naive memory, and left out of each
  separate dictionary whose parts they do not have. How the incomplete key charges what an entry lacks is a setting
  (`Modality.penalty`); beside the default, the typical squared distance of the part, half of that is shown.
- Corrupted: one part is replaced by that of another entry, and nobody says which. Matching under every combination of
  the parts (`references="all"`) against matching all at once, with the parts as they are and weighed by their spread.

The score is the share of queries whose value is largest at the right label; of every score the mean over which parts
were withheld or corrupted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.cli import parse, write_lines
from engram_rl.memory import DifferentiableNeuralDictionary, Modality
from engram_rl.training.statistics import Interval, stratified_bootstrap

SIZES = {"view": 32, "place": 8, "goal": 8}
SCALES = {"view": 1.0, "place": 3.0, "goal": 3.0}  # parts come in units of their own
PARTS = tuple(SIZES)
SUBSETS = [subset for size in (3, 2, 1) for subset in combinations(PARTS, size)]
LABELS = 10
WIDTH = 120  # of the table, also where the terminal does not say how wide it is
NEIGHBOURS = 5

Parts = dict[str, Tensor]


@dataclass(frozen=True)
class Options:
    """What to run.

    Attributes:
        out: Where the records go, one JSON object a line.
        seeds: Runs, each with entries and queries of its own.
        entries: Associations stored, and queries asked.
        noise: Standard deviation of a query's parts around the stored ones, relative to the parts' own.
        tiny: Few entries and two seeds, for tests.
    """

    out: str = "results/incomplete_keys.jsonl"
    seeds: int = 10
    entries: int = 2000
    noise: float = 0.5
    tiny: bool = False


@dataclass(frozen=True)
class Associations:
    """What is stored and asked.

    Attributes:
        keys: `[N, S]` by part
        present: Which entries have a part. `[N]` bool by part
        queries: `[N, S]` by part
        labels: `[N]`
    """

    keys: Parts
    present: Parts
    queries: Parts
    labels: Tensor

    @property
    def values(self) -> Tensor:
        """The label of each entry, one-hot.  `[N, LABELS]`."""
        return torch.nn.functional.one_hot(self.labels, LABELS).float()

    def score(self, value: Tensor) -> float:
        """Share of queries whose value `[N, LABELS]` is largest at the right label."""
        return float((value.argmax(1) == self.labels).float().mean())


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a table and write the records."""
    options = parse(Options, arguments)
    torch.set_num_threads(1)
    if options.tiny:
        options = replace(options, seeds=2, entries=100)
    with torch.no_grad():
        runs = [measure(options, seed) for seed in range(options.seeds)]
    records = [_record(name, [run[name] for run in runs], options) for name in runs[0]]
    write_lines(options.out, records)
    console = Console(width=max(WIDTH, Console().width))
    for title, first, rows in (
        ("parts withheld", "withheld", ("complete", "lacking")),
        ("one part corrupted", "corrupted", PARTS),
    ):
        said = f"{title}: share right, IQM of seeds [95 % interval], or (least to most)"
        console.print(table_of(records, said, first, rows))


def measure(options: Options, seed: int) -> dict[str, float]:
    """Every score of one run, by `condition/which/variant`."""
    generator = torch.Generator().manual_seed(seed)
    scores = {}
    for which, lacking in (("complete", 0.0), ("lacking", 1 / 3)):
        data = associations(options, lacking, generator)
        for withheld in range(len(PARTS)):
            subsets = [subset for subset in SUBSETS if len(subset) == len(PARTS) - withheld]
            for name, answer in answers(data).items():
                right = [data.score(answer(subset)) for subset in subsets]
                scores[f"withheld_{withheld}/{which}/{name}"] = sum(right) / len(right)
    data = associations(options, 0.0, generator)
    for part in PARTS:
        for name, value in corrupted(data, part, generator):
            scores[f"corrupted/{part}/{name}"] = data.score(value)
    return scores


def associations(options: Options, lacking: float, generator: torch.Generator) -> Associations:
    """Random parts and labels; the share `lacking` of the entries lacks one part."""
    N = options.entries
    keys = {part: SCALES[part] * torch.randn(N, size, generator=generator) for part, size in SIZES.items()}
    noise = {
        part: options.noise * SCALES[part] * torch.randn(key.shape, generator=generator) for part, key in keys.items()
    }
    lacks = torch.randint(len(PARTS), (N,), generator=generator)
    lacks[torch.rand(N, generator=generator) >= lacking] = -1
    present = {part: lacks != i for i, part in enumerate(PARTS)}
    labels = torch.randint(LABELS, (N,), generator=generator)
    return Associations(keys, present, {part: keys[part] + noise[part] for part in PARTS}, labels)


def answers(data: Associations) -> dict[str, Callable[[tuple[str, ...]], Tensor]]:
    """How each variant answers the queries, given only a subset of the parts.  `[N, LABELS]`."""
    incomplete = _stored(data.keys, data.values, present=data.present)
    lenient = _stored(data.keys, data.values, present=data.present, penalties=_typical(0.5))
    filled = _stored({part: key * data.present[part].unsqueeze(1) for part, key in data.keys.items()}, data.values)
    separate = {subset: _separate(data, subset) for subset in SUBSETS}

    def zero_filled(subset: tuple[str, ...]) -> Tensor:
        query = {part: data.queries[part] * (part in subset) for part in PARTS}
        return filled.lookup(query, touch=False).value

    return {
        "incomplete_key": lambda s: incomplete.lookup(_only(data.queries, s), touch=False).value,
        "half_penalty": lambda s: lenient.lookup(_only(data.queries, s), touch=False).value,
        "zero_filled": zero_filled,
        "dictionary_per_subset": lambda s: separate[s].lookup(_only(data.queries, s), touch=False).value,
    }


def corrupted(data: Associations, part: str, generator: torch.Generator) -> Iterator[tuple[str, Tensor]]:
    """Answers to queries of which a part is another entry's.  `[N, LABELS]`."""
    query = data.queries | {part: data.queries[part][torch.randperm(len(data.labels), generator=generator)]}
    plain = _stored(data.keys, data.values)
    weighed = _stored(data.keys, data.values, weights={name: 1 / typical for name, typical in _typical(1.0).items()})
    yield "full_match", plain.lookup(query, touch=False).value
    yield "full_match_weighed", weighed.lookup(query, touch=False).value
    yield "multi_referencing", plain.lookup(query, touch=False, references="all").value


def _separate(data: Associations, subset: tuple[str, ...]) -> DifferentiableNeuralDictionary:
    has = torch.stack([data.present[part] for part in subset]).all(0)
    return _stored({part: data.keys[part][has] for part in subset}, data.values[has])


def _typical(share: float) -> dict[str, float]:
    """A share of the mean squared distance of two entries, by part."""
    return {part: share * 2 * SIZES[part] * SCALES[part] ** 2 for part in PARTS}


def _stored(
    keys: Parts,
    values: Tensor,
    present: Parts | None = None,
    weights: dict[str, float] | None = None,
    penalties: dict[str, float] | None = None,
) -> DifferentiableNeuralDictionary:
    weights, penalties = weights or {}, penalties or {}
    space = [Modality(part, SIZES[part], "l2", weights.get(part, 1.0), penalties.get(part)) for part in keys]
    memory = DifferentiableNeuralDictionary(space, LABELS, len(values), k=NEIGHBOURS)
    memory.write(keys, values, present=present)
    return memory


def _only(parts: Parts, subset: tuple[str, ...]) -> Parts:
    return {part: parts[part] for part in subset}


def _record(name: str, scores: list[float], options: Options) -> dict[str, Any]:
    interval = stratified_bootstrap(scores)
    return {
        "name": name,
        "value": float(interval.point),
        "low": float(interval.low),
        "high": float(interval.high),
        "unit": "share of queries answered right",
        "seeds": len(scores),
        "entries": options.entries,
        "noise": options.noise,
        "sizes": list(SIZES.values()),
    }


def table_of(records: list[dict[str, Any]], title: str, first: str, rows: tuple[str, ...]) -> Table:
    """Conditions that begin with `first` downwards, variants across."""
    cells: dict[tuple[str, str], dict[str, str]] = {}
    for record in records:
        condition, which, variant = record["name"].split("/")
        if condition.startswith(first) and which in rows:
            interval = Interval(record["value"], record["low"], record["high"], record["seeds"])
            cells.setdefault((condition, which), {})[variant] = f"{interval:.3f}"
    variants = list(next(iter(cells.values())))
    table = Table(title=title)
    for column in (first, "entries" if first == "withheld" else "", *variants):
        table.add_column(column, no_wrap=True)
    for (condition, which), row in cells.items():
        labels = (condition.removeprefix("withheld_"), which) if first == "withheld" else (which, "")
        table.add_row(*labels, *(row[name] for name in variants))
    return table


if __name__ == "__main__":
    main()
