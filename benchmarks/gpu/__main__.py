"""`python -m benchmarks.gpu out=FILE [only=[search,cores]] [device=cpu] [tiny=true]`."""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.cli import parse, run_main
from benchmarks.gpu.measure import Options, device_name, limits, rounded
from benchmarks.provenance import recorded
from engram_rl.training.errors import UsageError, did_you_mean

Row = dict[str, Any]

NEEDS = {
    "limits": (),
    "search": (),
    "synchronisations": (),
    "cores": (),
    "pictures": ("faiss", "gymnasium", "hydra"),
    "learning": ("faiss", "gymnasium", "hydra"),
}
"""Parts, and the packages without which they cannot be measured."""


def main(arguments: Sequence[str]) -> int:
    """Measure part after part, write the rows, print a table; the exit status is 1 if a part broke."""
    options = parse(Options, list(arguments))
    for name in options.only:
        if name not in NEEDS:
            raise UsageError(f"There is no part {name!r}. {did_you_mean(name, NEEDS)}")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        raise UsageError(f"device is {options.device}, but torch sees no NVIDIA GPU here. Use device=cpu tiny=true.")
    began, said, rows = time.perf_counter(), [], dict[str, Row]()
    for part in options.only or NEEDS:
        missing = [name for name in NEEDS[part] if find_spec(name) is None]
        if missing:
            said.append(f"{part} is left out: {', '.join(missing)} not installed here")
        elif time.perf_counter() - began > options.seconds:
            said.append(f"{part} is left out: seconds={options.seconds:g} are over")
        else:
            said += _carried_out(part, options, rows)
            _write(Path(options.out), rows)
    Console(width=120).print(_table(rows))
    for line in said:
        print(line)
    print(f"written to {options.out}")
    return int(any("broke" in line for line in said))


def _carried_out(part: str, options: Options, rows: dict[str, Row]) -> list[str]:
    """Measure a part and keep its rows; what to say if it breaks."""
    about = {"part": part, "device": device_name(options.device), "seed": options.seed, "tiny": options.tiny}
    began = time.perf_counter()
    try:
        for row in _measured(part)(options):
            whole = recorded(about | rounded(_against(row, rows.get("limits", {}))) | {"ok": _holds(row)})
            rows[row["name"]] = whole
            print(f"{row['name']}: {whole['value']} {row['unit']}", file=sys.stderr, flush=True)
    except Exception:
        traceback.print_exc()
        return [f"{part} broke; its traceback is above"]
    finally:
        print(f"{part}: {time.perf_counter() - began:.1f} s", file=sys.stderr, flush=True)
    return []


def _measured(part: str) -> Callable[[Options], Iterator[Row]]:
    """Imported only now: not every machine with a GPU has all that the parts need."""
    from benchmarks.gpu.cores import cores
    from benchmarks.gpu.search import search, synchronisations

    if part in ("pictures", "learning"):
        from benchmarks.gpu import agents

        return agents.pictures if part == "pictures" else agents.learning
    own = {"limits": _limits, "search": search, "synchronisations": synchronisations, "cores": cores}
    return own[part]


def _limits(options: Options) -> Iterator[Row]:
    found = limits(options)
    yield {"name": "limits", "value": found["gb_s"], "unit": "GB/s in a copy", "limit": "", **found}


def _against(row: Row, best: Row) -> Row:
    """With the share of what the device does at best, of whatever the row says."""
    shares = {f"share_of_{name}": row[name] / best[name] for name in ("gb_s", "tflop_s") if name in row and best}
    return row if row["name"] == "limits" else row | shares


def _holds(row: Row) -> bool:
    if not row["limit"]:
        return True
    relation, number = row["limit"].split()
    return bool(row["value"] <= float(number) if relation == "<=" else row["value"] >= float(number))


def _write(path: Path, rows: dict[str, Row]) -> None:
    """These rows, and those of other names that are there."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    kept = {row["name"]: row for row in map(json.loads, lines)} | rows
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in kept.values()), encoding="utf-8")


def _table(rows: dict[str, Row]) -> Table:
    table = Table("figure", "value", "limit", "held", "unit", "of the device's best")
    for row in rows.values():
        share = next((f"{100 * row[one]:.3g} %" for one in ("share_of_gb_s", "share_of_tflop_s") if one in row), "")
        held = "" if not row["limit"] else "yes" if row["ok"] else "no"
        table.add_row(row["name"], f"{row['value']:.4g}", row["limit"], held, row["unit"], share)
    return table


if __name__ == "__main__":
    run_main(main)
