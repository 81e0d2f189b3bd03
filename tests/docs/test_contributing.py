"""The map in CONTRIBUTING is the house as it is, and leads to files that exist."""

import re
from pathlib import Path

from benchmarks.memory.__main__ import ALSO, MEASUREMENTS
from benchmarks.tree import PAGE, ROOMS, tree, written

ROOT = Path(__file__).parents[2]


def test_the_tree_is_current():
    assert PAGE.read_text(encoding="utf-8") == written(), "run: python -m benchmarks.tree"


def test_every_file_of_the_rooms_has_a_line_that_says_what_it_is():
    lines = [line for line in tree().splitlines() if line.split()[0].endswith(".py")]
    files = [path for room in ROOMS for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py"]
    assert len(lines) == len(files)
    for line in lines:
        assert len(line.split()) > 2, f"no docstring: {line}"


def test_what_the_page_names_exists():
    page = PAGE.read_text(encoding="utf-8")
    for name in re.findall(r"`((?:memory|agents|envs|training|conf|docs|tests)/[\w./]*)`", page):
        assert (ROOT / name).exists() or "mine" in name, name
    for name in re.findall(r"benchmarks\.memory only=\[(\w+)\]", page):
        assert name in {*MEASUREMENTS, *ALSO}
