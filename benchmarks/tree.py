"""The map of the rooms from docstrings: `python -m benchmarks.tree` writes it into CONTRIBUTING.md."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
ROOMS = ("engram_rl", "memory", "agents", "envs", "training", "benchmarks", "examples")
OPENS, CLOSES = "<!-- tree: python -m benchmarks.tree -->\n", "<!-- end of tree -->\n"


def written() -> str:
    """The page with the tree as it is now between its marks."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(OPENS)
    _, _, after = rest.partition(CLOSES)
    return f"{before}{OPENS}```\n{tree()}\n```\n{CLOSES}{after}"


def tree() -> str:
    """A line for each file, the rooms in order, what lies deeper indented."""
    rows = [row for room in ROOMS for row in _below(ROOT / room, 0)]
    column = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:{column}}{says}".rstrip() for name, says in rows)


def _below(folder: Path, depth: int) -> Iterator[tuple[str, str]]:
    """The name and the first line of the docstring of a folder, of its files, then of the folders in it."""
    yield f"{'  ' * depth}{folder.name}/", _says(folder / "__init__.py")
    for path in sorted(folder.glob("*.py")):
        if path.name != "__init__.py":
            yield f"{'  ' * (depth + 1)}{path.name}", _says(path)
    for inner in sorted({path.parent for path in folder.glob("*/*.py")}):
        yield from _below(inner, depth + 1)


def _says(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.is_file() else None
    return (docstring or "").partition("\n")[0]


if __name__ == "__main__":
    PAGE.write_text(written(), encoding="utf-8")
    print(f"Written to {PAGE}")
