"""`python -m benchmarks.memory out=FILE [threads=1] [only=[masked,write_growth]] [tiny=true]`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence

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
    "ten_million_recall": "ten_million_speedup",
    "ten_million_build_s": "ten_million_speedup",
    "ten_million_peak_gib": "ten_million_speedup",
}
"""Figures measured together with another."""


def main(arguments: Sequence[str]) -> int:
    """Measure, print a table, write the figures."""
    options = parse(Options, list(arguments))
    unknown = sorted(set(options.only) - {*MEASUREMENTS, *ALSO})
    if unknown:
        print(f"unknown figure {unknown[0]!r}: choose from {', '.join([*MEASUREMENTS, *ALSO])}", file=sys.stderr)
        return 2
    wanted = {ALSO.get(name, name) for name in options.only} or MEASUREMENTS.keys()
    set_threads(options.threads)
    figures: list[Figure] = []
    for name, measurement in MEASUREMENTS.items():
        for figure in measurement(options) if name in wanted else ():
            figure.sizes["threads"] = options.threads
            figures.append(figure)
            print(f"{figure.name}: {figure.value:.4g} {figure.unit}", file=sys.stderr)
            write_lines(options.out, [f.record() for f in figures])
    Console(width=110).print(_table(figures))
    print(f"written to {options.out}")
    return 0


def _table(figures: list[Figure]) -> Table:
    table = Table("figure", "value", "limit", "held", "unit")
    for f in figures:
        table.add_row(f.name, f"{f.value:.4g}", f.limit, "yes" if f.holds else "no", f.unit)
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
