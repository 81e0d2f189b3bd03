"""`python -m benchmarks.memory out=FILE [threads=1] [only=[masked,write_growth]] [tiny=true]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.cli import parse
from benchmarks.memory.approximate import clustered, offset, under_churn
from benchmarks.memory.coded import beside_codes, codes_alone
from benchmarks.memory.exact import backward_growth, lookup_overhead, masked
from benchmarks.memory.habits import alternating_k, torch_search_mib, weaker_newcomers
from benchmarks.memory.large import ten_million
from benchmarks.memory.measure import Figure, Options, set_threads
from benchmarks.memory.writes import write_growth
from benchmarks.provenance import complete, origin, recorded

Measurement = Callable[[Options], Iterator[Figure]]
Record = dict[str, Any]

MEASUREMENTS: dict[str, Measurement] = {
    "exact_32x100k": lambda o: lookup_overhead(o, "exact_32x100k", 32, o.size(100_000, 500), "<= 1.15"),
    "exact_8x10k": lambda o: lookup_overhead(o, "exact_8x10k", 8, o.size(10_000, 200), "<= 1.4"),
    "masked": masked,
    "beside_codes": beside_codes,
    "codes_alone": codes_alone,
    "weaker_newcomers": weaker_newcomers,
    "alternating_k": alternating_k,
    "torch_search_mib": torch_search_mib,
    "backward_growth": backward_growth,
    "write_growth": write_growth,
    "ann_speedup": under_churn,
    "ann_offset_speedup": offset,
    "ann_clusters_speedup": clustered,
    "ten_million_speedup": ten_million,
}
"""By the first figure that each yields."""

ALSO = {
    "masked_lost": "masked",
    "write_stall_ms": "write_growth",
    **{
        f"ann{keys}_{figure}": f"ann{keys}_speedup"
        for keys in ("", "_offset", "_clusters")
        for figure in ("recall", "recall_error", "stall_ms")
    },
    "ann_recall_after_churn": "ann_speedup",
    "bytes_per_entry": "ten_million_speedup",
    "ten_million_recall": "ten_million_speedup",
    "ten_million_build_s": "ten_million_speedup",
    "ten_million_peak_gib": "ten_million_speedup",
}
"""Figures measured together with another."""

ALIKE = ("commit", "dirty", "cpu", "threads", "seed")
"""What must be the same for a figure to be that of an earlier run."""


def main(arguments: Sequence[str]) -> int:
    """Measure what has not been measured, print a table, write the figures."""
    options = parse(Options, list(arguments))
    unknown = sorted(set(options.only) - {*MEASUREMENTS, *ALSO})
    if unknown:
        print(f"unknown figure {unknown[0]!r}: choose from {', '.join([*MEASUREMENTS, *ALSO])}", file=sys.stderr)
        return 2
    wanted = {ALSO.get(name, name) for name in options.only} or MEASUREMENTS.keys()
    set_threads(options.threads)
    records = _read(Path(options.out))
    setting = origin() | {"threads": options.threads, "seed": options.seed}
    for name, measurement in MEASUREMENTS.items():
        if name not in wanted or _known(records.get(name), setting):
            continue
        for figure in measurement(options):
            print(f"{figure.name}: {figure.value:.4g} {figure.unit}", file=sys.stderr)
            records[figure.name] = recorded(figure.record() | {"threads": options.threads, "seed": options.seed})
        _write(Path(options.out), records)
    Console(width=110).print(_table(records))
    print(f"written to {options.out}")
    return 0


def _known(record: Record | None, setting: Record) -> bool:
    """Whether this has been measured with the same code, which can be said only of what is committed."""
    if record is None or setting["dirty"] or not complete(record):
        return False
    return all(record.get(name) == setting[name] for name in ALIKE)


def _read(path: Path) -> dict[str, Record]:
    """The figures of earlier runs, by name."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {record["name"]: record for record in map(json.loads, lines)}


def _write(path: Path, records: dict[str, Record]) -> None:
    order = {name: place for place, name in enumerate(MEASUREMENTS)}
    ordered = sorted(
        records.values(), key=lambda one: order.get(ALSO.get(str(one["name"]), str(one["name"])), len(order))
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in ordered), encoding="utf-8")


def _table(records: dict[str, Record]) -> Table:
    table = Table("figure", "value", "limit", "held", "unit")
    for r in records.values():
        table.add_row(r["name"], f"{r['value']:.4g}", r["limit"], "yes" if r["ok"] else "no", r["unit"])
    return table


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
