"""The rooms of the memory: imports run one way, also those that only a type checker follows."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import engram_rl.memory

ROOT = Path(engram_rl.memory.__file__).resolve().parent
NAME = "engram_rl.memory"


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join((NAME, *(part for part in parts if part != "__init__")))


def imports_of(path, modules):
    """Modules of the memory that a file imports anywhere, in functions and for types too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith(NAME):
            below = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module for name in below)
        assert not isinstance(node, ast.ImportFrom) or not node.level, f"{path} imports relatively"


def test_no_module_of_the_memory_imports_itself_by_a_detour():
    paths = {module_of(path): path for path in ROOT.rglob("*.py")}
    graph = {
        name: {one for one in imports_of(path, paths) if one != NAME} for name, path in paths.items() if name != NAME
    }
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert order.index(f"{NAME}.dictionary") > order.index(f"{NAME}.writing.batch")


def test_nothing_of_the_memory_imports_another_room_of_ours():
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith("engram_rl") or name.startswith(NAME), f"{path} imports {name}"
