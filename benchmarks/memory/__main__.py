"""Measures the memory: `python -m benchmarks.memory out=FILE [threads=1] [only=masked,write_growth] [tiny=true]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table

from benchmarks.cli import parse, write_lines
from benchmarks.memory.approximate import under_churn
from benchmarks.memory.exact import backward_growth, lookup_overhead, masked
from benchmarks.memory.large import ten_million
from benchmarks.memory.measure import Figure, Options, set_threads
from benchmarks.memory.writes import write_growth

Measurement = Callable[[Options], Iterator[Figure]]

MEASUREMENTS: dict[str, Measurement] = {
    "exact_32x100k": lambda o: lookup_overhead(o, "exact_32x100k", 32, o.size(100_000, 500), "<= 1.15"),
    "exact_8x10k": lambda o: lookup_overhead(o, "exact_8x10k", 8, o.size(10_000, 200), "<= 1.6"),
    "masked": masked,
    "backward_growth": backward_growth,
    "write_growth": write_growth,
    "ann_speedup": under_churn,
    "ten_million_speedup": ten_million,
}
"""By the first figure that each yields."""

ALSO = {
    "masked_lost": "masked",
    "write_stall_ms": "write_growth",
    "ann_recall": "ann_speedup",
    "ann_recall_after_churn": "ann_speedup",
    "bytes_per_entry": "ten_million_speedup",
}
"""Figures measured together with another."""


def main() -> None:
    """Measure, print a table, write the figures."""
    options = parse(Options)
    chosen = _chosen(options.only)
    set_threads(options.threads)
    figures: list[Figure] = []
    for name in chosen:
        for figure in MEASUREMENTS[name](options):
            figure.sizes["threads"] = options.threads
            figures.append(figure)
            print(f"{figure.name}: {figure.value:.4g} {figure.unit}", file=sys.stderr)
            write_lines(options.out, [f.record() for f in figures])
    Console(width=110).print(_table(figures))
    print(f"written to {options.out}")


def _chosen(only: str) -> list[str]:
    names = [ALSO.get(name.strip(), name.strip()) for name in only.split(",") if name.strip()]
    for name in names:
        if name not in MEASUREMENTS:
            print(f"unknown figure {name!r}: choose from {', '.join([*MEASUREMENTS, *ALSO])}", file=sys.stderr)
            raise SystemExit(2)
    return [name for name in MEASUREMENTS if not names or name in names]


def _table(figures: list[Figure]) -> Table:
    table = Table("figure", "value", "limit", "held", "unit")
    for f in figures:
        table.add_row(f.name, f"{f.value:.4g}", f.limit, "yes" if f.holds else "no", f.unit)
    return table


if __name__ == "__main__":
    main()
