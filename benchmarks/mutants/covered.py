"""Which tests run which lines of a room, and how long each takes; kept by commit, so that it is measured once."""

from __future__ import annotations

import ast
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, cached_property
from pathlib import Path

from benchmarks.mutants.running import Tests
from benchmarks.mutants.sites import statement_lines


@dataclass
class Coverage:
    """What the tests do where nothing is mutated.

    Attributes:
        seconds: By test; those that failed are left out.
        failed: Tests that failed, which therefore say nothing of a mutant.
        lines: By file and line, the places in `seconds` of the tests that run it.
        imported: By file, the lines that run when it is imported.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    failed: list[str] = field(default_factory=list)
    lines: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    imported: dict[str, list[int]] = field(default_factory=dict)

    @cached_property
    def tests(self) -> list[str]:
        """All tests that passed, in the order of `seconds`."""
        return list(self.seconds)

    def of_line(self, copy: Path, file: str, line: int) -> dict[str, float]:
        """The tests that run the statement at a line, and what each takes.

        What is run by an import, such as a constant, a default value or a decorator, is covered by every test that runs
        anything of the file, or of a file that imports from it, and by those that may read it: all in a file of tests
        that imports from it.
        """
        source = (copy / file).read_text(encoding="utf-8")
        statement = statement_lines(source, line)
        tests = self._that_run(file, map(str, statement))
        if set(statement) & set(self.imported.get(file, [])):
            tests |= self._that_run(file, self.lines.get(file, {}))
            for other in self.lines:
                if _imports(copy, other, file):
                    tests |= self._that_run(other, self.lines[other])
            tests |= {place for place, test in enumerate(self.tests) if _imports(copy, test.partition("::")[0], file)}
        return {self.tests[place]: self.seconds[self.tests[place]] for place in tests}

    def _that_run(self, file: str, lines: Iterable[str]) -> set[int]:
        covered = self.lines.get(file, {})
        return {place for line in lines for place in covered.get(line, [])}


def coverage_of(tests: Tests, copy: Path, rooms: Sequence[str], paths: Sequence[str], kept: Path) -> Coverage:
    """The coverage of rooms by the tests in some folders, from the file `kept` where it is there, else measured."""
    if not kept.exists():
        found = _measured(tests, copy, rooms, paths)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(asdict(found)), encoding="utf-8")
    return Coverage(**json.loads(kept.read_text(encoding="utf-8")))


def _measured(tests: Tests, copy: Path, rooms: Sequence[str], paths: Sequence[str]) -> Coverage:
    """Run all the tests once; processes that they start are followed as well."""
    from coverage import CoverageData

    folder = tests.scratch / "coverage"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    sources = [str(copy / room) for room in rooms]
    others = folder / "others.ini"
    lines = ["[run]", f"source = {','.join(sources)}", f"data_file = {folder / 'other'}", "parallel = true"]
    others.write_text("\n".join([*lines, "sigterm = true", "context = ${PYTEST_CURRENT_TEST-}"]), encoding="utf-8")
    answer = tests.all_of(paths, {"data": str(folder / "tests"), "source": sources, "others": str(others)})
    failed = set(answer["failed"])
    if answer["outcome"] not in ("passed", "failed") or not failed < answer["seconds"].keys():
        raise RuntimeError(f"without a mutant: {answer['outcome']} in {answer['killed_by']}: {answer['message']}")
    found = Coverage({test: took for test, took in answer["seconds"].items() if test not in failed}, sorted(failed))
    places = {test: place for place, test in enumerate(found.seconds)}
    by_line: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for path in folder.glob("*"):
        if path == others:
            continue
        data = CoverageData(str(path))
        data.read()
        for absolute in data.measured_files():
            if not Path(absolute).is_file():  # what a test makes up and says that it lies here
                continue
            file = str(Path(absolute).relative_to(copy))
            for line, contexts in data.contexts_by_lineno(absolute).items():
                by_line[file][str(line)] |= {places[t] for t in map(_test_of, contexts) if t in places}
                if path.name == "tests" and "" in contexts:
                    found.imported.setdefault(file, []).append(line)
    found.lines = {file: {line: sorted(t) for line, t in of.items()} for file, of in by_line.items()}
    return found


def _test_of(context: str) -> str:
    """A test's id, of what pytest calls the test that runs: `tests/test_a.py::test_b (call)` among others."""
    for stage in (" (setup)", " (call)", " (teardown)"):
        context = context.removesuffix(stage)
    return context


def _imports(copy: Path, file: str, other: str) -> bool:
    """Whether a file imports from another, by the name that the other has in the package."""
    module = other.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return any(name == module or name.endswith(f".{module}") for name in _imported(copy / file))


@cache
def _imported(path: Path) -> frozenset[str]:
    """The modules that a file imports, and what it imports from them."""
    named: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            named |= {node.module, *(f"{node.module}.{one.name}" for one in node.names)}
        elif isinstance(node, ast.Import):
            named |= {one.name for one in node.names}
    return frozenset(named)
