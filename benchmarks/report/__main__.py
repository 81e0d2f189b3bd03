"""`python -m benchmarks.report`, or `make report`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cli import parse, run_main
from benchmarks.report.figures import redraw
from benchmarks.report.markers import MARKER, filled
from benchmarks.report.page import history, page
from benchmarks.report.stored import ROOT

PAGES = {ROOT / "docs" / "measurements.md": page, ROOT / "docs" / "history.md": history}
"""Written whole, and by what."""


@dataclass
class Report:
    """Rebuild the documentation's figures and tables from the result files in docs/results.

    python -m benchmarks.report
    python -m benchmarks.report check=true

    check: change nothing; the exit status is 1 if a number between markers is not what the results give.
    measure: also draw figures that no stored rows give, by their commands (some minutes).
    """

    check: bool = False
    measure: bool = False


def main(arguments: Sequence[str]) -> int:
    """Write, or only compare."""
    report = parse(Report, list(arguments))
    stale = outdated()
    if report.check:
        for path in stale:
            print(f"{path.relative_to(ROOT)} does not show what docs/results holds: make report")
        return int(bool(stale))
    for path, text in stale.items():
        path.write_text(text, encoding="utf-8")
    for path, write in PAGES.items():
        path.write_text(write(), encoding="utf-8")
    for path in [*stale, *PAGES, *redraw(report.measure)]:
        print(path.relative_to(ROOT))
    return 0


def documents() -> list[Path]:
    """The texts that may hold markers."""
    return [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").glob("*.md") if path not in PAGES)]


def outdated() -> dict[Path, str]:
    """The texts that would change, and what they would be."""
    texts = {path: path.read_text(encoding="utf-8") for path in documents()}
    return {path: new for path, text in texts.items() if MARKER.search(text) and (new := filled(text)) != text}


if __name__ == "__main__":
    run_main(main)
