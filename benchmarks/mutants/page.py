"""`python -m benchmarks.mutants.page` writes docs/mutants.md from stored rows and the list of equivalents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.mutants.equivalent import reasons
from benchmarks.mutants.measure import KILLED
from benchmarks.report.stored import current_of, history_of
from benchmarks.runs import Row

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "mutants.md"

HEAD = """\
# Would the tests notice?

Random small changes of the code, one at a time: another operator, a number more or less, a condition turned round, a
loop that is left out. A test that fails, crashes or hangs has killed the mutant; one that no test notices has survived.

    pip install -e '.[mutants]'
    python -m benchmarks.mutants room=memory sample=200 seed=1
    python -m benchmarks.mutants room=memory again=docs/results/mutants.jsonl    # the survivors, by today's tests

[cosmic-ray](https://github.com/sixty-north/cosmic-ray) makes the mutants, from every operator of it that needs no
argument. A site is drawn first, each as likely, then one of what can be done to it. A room is tested by its own tests,
of which those run that reach the mutated line, the fastest first; one has hung after five times what it takes without a
mutant, and not before 20 seconds. All this happens in a copy of the commit. `budget=30` leaves out, for each mutant,
the slowest tests beyond so many seconds: more survive then than would.

Left out, since no test should have to say it: annotations, what only type checkers read, and the inside of f-strings
that are told to people (in a `raise`, a call of `warn`, a `__repr__` or a `__str__`). Docstrings have no operators, nor
has a signature one in its bare `*` or `/`, and what is no Python is no mutant. A survivor that does what the code does
is equivalent: its reason is in `benchmarks/mutants/equivalent.yaml`, and it does not count.

"""


def every_row() -> list[Row]:
    """All samples: those of rooms and seeds that were not taken again are no worse for their age."""
    return [*history_of("mutants"), *current_of("mutants")]


def page(rows: Sequence[Row]) -> str:
    """The whole page: a line for each sample, then what is alive, then what is equivalent."""
    first = [row for row in rows if not row["again"]]
    alive = [row for row in first if row["outcome"] not in KILLED]
    known = {row["mutant"]: reasons()[row["mutant"]] for row in alive if row["mutant"] in reasons()}
    later = {row["mutant"]: row for row in rows if row["again"]}
    left = [row for row in alive if row["mutant"] not in known]
    parts = [HEAD + _table(first, known)]
    since = [row for row in left if later.get(row["mutant"], row)["outcome"] in KILLED]
    parts += _section("Killed since", since, lambda row: f"by `{later[row['mutant']]['test']}`")
    parts += _section("Alive", [row for row in left if row not in since], lambda row: "")
    parts += _section("Equivalent", [row for row in alive if row["mutant"] in known], lambda row: known[row["mutant"]])
    return "\n".join(parts)


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(every_row()), encoding="utf-8")


def _table(rows: Sequence[Row], known: dict[str, str]) -> str:
    head = [
        "room",
        "seed",
        "commit",
        "date",
        "mutants",
        "killed",
        "timed out",
        "crashed",
        "survived",
        "equivalent",
        "share",
    ]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for (room, seed, commit), group in groupby(sorted(rows, key=_sample), _sample):
        sampled = list(group)
        counts = {name: sum(row["outcome"] == name for row in sampled) for name in (*KILLED, "survived")}
        same = sum(row["mutant"] in known for row in sampled)
        share = (len(sampled) - counts["survived"]) / max(len(sampled) - same, 1)
        cells = [room, seed, commit, max(row["date"] for row in sampled), len(sampled), *counts.values(), same]
        lines.append(f"| {' | '.join(map(str, cells))} | {share:.1%} |")
    return "\n".join([*lines, "", "share: killed, timed out or crashed, of those that are not equivalent.", ""])


def _sample(row: Row) -> tuple[str, int, str]:
    return row["room"], row["seed"], row["commit"]


def _section(title: str, rows: Sequence[Row], remark: Callable[[Row], str]) -> list[str]:
    parts = [f"## {title}", ""] if rows else []
    for row in rows:
        diff = "\n".join(f"    {line}" for line in row["diff"].splitlines())
        parts += [f"{row['file']}:{row['line']} {remark(row)}".rstrip(), "", diff, ""]
    return parts


if __name__ == "__main__":
    main()
