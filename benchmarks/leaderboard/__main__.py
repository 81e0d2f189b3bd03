"""`python -m benchmarks.leaderboard` writes docs/leaderboard.md; `... check FILE` says what is wrong with rows.

python -m benchmarks.leaderboard                    docs/leaderboard.md from docs/results/leaderboard/*.jsonl
python -m benchmarks.leaderboard check FILE...      what is wrong with rows, if anything; exit status 1 if there is
python -m benchmarks.leaderboard convert            docs/results/leaderboard/engram.jsonl from rows of benchmarks.shift
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.cli import run_main
from benchmarks.leaderboard.convert import converted
from benchmarks.leaderboard.page import PAGE, ROWS, page, stored_rows
from engram_rl.envs.scoring import complaints
from engram_rl.training.errors import UsageError

OWN = ROWS / "engram.jsonl"
"""The rows that `python -m benchmarks.shift` measured, in the form of the leaderboard."""

MOST = 20  # complaints shown of a file


def main(arguments: Sequence[str]) -> int:
    """Carry out the command; its exit status."""
    command, *files = arguments or ["page"]
    if command in ("-h", "--help"):
        print(__doc__)
        return 0
    if command == "check" and files:
        return max([_check(Path(file)) for file in files])
    if command == "convert" and not files:
        return _convert()
    if command == "page" and not files:
        return _write_page()
    asked = " ".join(arguments)
    raise UsageError(f"{asked!r} is no command of the leaderboard: give check FILE, convert, or nothing for the page.")


def _check(path: Path) -> int:
    """Say what is wrong with a file."""
    if not path.is_file():
        raise UsageError(f"There is no file {path}.")
    lines = path.read_text(encoding="utf-8").splitlines()
    wrong = list(complaints(lines))
    for one in wrong[:MOST]:
        print(f"{path}: {one}", file=sys.stderr)
    if len(wrong) > MOST:
        print(f"{path}: and {len(wrong) - MOST} more", file=sys.stderr)
    rows = sum(1 for line in lines if line.strip())
    if not rows:
        print(f"{path} holds no row: give one JSON object a line.", file=sys.stderr)
    print(f"{path}: {rows} rows, {len(wrong)} complaints")
    return int(bool(wrong) or not rows)


def _convert() -> int:
    OWN.parent.mkdir(parents=True, exist_ok=True)
    rows = list(converted())
    OWN.write_text("".join(json.dumps(row, allow_nan=False) + "\n" for row in rows), encoding="utf-8")
    print(f"{len(rows)} rows written to {OWN}")
    return _check(OWN)


def _write_page() -> int:
    """Write the page, if every file can stand."""
    status = max([_check(path) for path in sorted(ROWS.glob("*.jsonl"))], default=0)
    if status == 0:
        PAGE.write_text(page(stored_rows()), encoding="utf-8")
        print(f"Written to {PAGE}")
    return status


if __name__ == "__main__":
    run_main(main)
