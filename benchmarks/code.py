"""Which code a row is of, and a digest of it: what it imports, without comments, docstrings and the way it is set."""

from __future__ import annotations

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]

ROOMS = ("memory", "agents", "envs", "training", "conf", "engram_rl", "benchmarks")
"""Folders of code; what is not in them changes no figure."""

BUILDS_BY_NAME = "engram_rl.training.construction"
"""Who imports it may build whatever a configuration names: all agents and environments count."""

NAMED = ("agents", "envs", "conf")
"""Rooms of what configurations name."""

PLUMBING = (
    "again",
    "cli",
    "code",
    "configuration",
    "fingerprint",
    "identity",
    "provenance",
    "report",
    "runs",
    "stale",
    "translation",
)
SHOWING = ("figures", "page", "report")
"""Of `benchmarks`, and within its folders: how rows are asked for, kept and shown, not what they measure."""


@cache
def code_of(rests_on: tuple[str, ...]) -> str:
    """A digest of 16 letters of the code that modules import, directly and through others.

    Args:
        rests_on: Modules, such as `benchmarks.control` or `engram_rl.memory.cores.dnc`; a file alone, without what it
            imports, by its path from the root, such as `memory/reading.py`.
    """
    files = {file for one in rests_on for file in ([ROOT / one] if one.endswith(".py") else _imported(one))}
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(ROOT)}\n{_essence(file)}\n".encode())
    return digest.hexdigest()[:16]


def _imported(module: str) -> set[Path]:
    """The files of a module and of all modules of this project that it imports."""
    found: dict[Path, None] = {}
    waiting = list(_files_of(module, run=True))
    while waiting:
        file = waiting.pop()
        if file not in found:
            found[file] = None
            waiting += [one for name in _names(file) for one in _files_of(name)]
    return set(found)


def _files_of(module: str, run: bool = False) -> list[Path]:
    """The file of a module, and what it stands for; none for what is not of this project or measures nothing."""
    first, *rest = module.split(".")
    if first not in ("engram_rl", "benchmarks") or not rest:
        return []
    if first == "benchmarks" and (rest[0] in PLUMBING or rest[-1] in SHOWING):
        return []
    if module == BUILDS_BY_NAME:
        every = (path for room in NAMED for path in (ROOT / room).rglob("*") if path.suffix in (".py", ".yaml"))
        return [ROOT / "training/construction.py", *every]
    folder = ROOT if first == "engram_rl" and rest[0] in ROOMS else ROOT / first
    path = folder.joinpath(*rest)
    places = [path.with_suffix(".py"), path / "__init__.py", *([path / "__main__.py"] if run else [])]
    return [place for place in places if place.is_file()]


@cache
def _names(file: Path) -> tuple[str, ...]:
    """What a file imports, wherever in it: modules, and what may be a module of a package."""
    return tuple(dict.fromkeys(_imports(file))) if file.suffix == ".py" else ()


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (one.name for one in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{one.name}" for one in node.names))


@cache
def _essence(file: Path) -> str:
    """What a file does: the tree of Python without docstrings, the values of a YAML."""
    text = file.read_text(encoding="utf-8")
    if file.suffix != ".py":
        return repr(yaml.safe_load(text))
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            node.body = [one for one in node.body if not _is_text(one)]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    """A docstring, of a function or of a constant."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
