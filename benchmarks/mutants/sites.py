"""Where code can be mutated and how: cosmic-ray's operators at every site, but for types and texts."""

from __future__ import annotations

import ast
import difflib
import hashlib
import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

from engram_rl.training.errors import UsageError

Position = tuple[int, int]
"""Line, from 1, and column, from 0, in characters."""

Span = tuple[Position, Position]

TEXTS = {"__repr__", "__str__"}
WARNINGS = {"warn"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file.

    Attributes:
        file: Relative to the root of the repository.
        operator: What cosmic-ray calls it.
        occurrence: Of the operator in the file, from 0.
        span: What it changes.
        before, after: The whole text of the file.
    """

    file: str
    operator: str
    occurrence: int
    span: Span
    before: str
    after: str

    @property
    def line(self) -> int:
        """Of the change, from 1."""
        return self.span[0][0]

    @cached_property
    def diff(self) -> str:
        """The changed lines, without their numbers: `-` before, `+` after; what was taken away, from which line."""
        lines = difflib.unified_diff(self.before.splitlines(), self.after.splitlines(), lineterm="", n=1)
        around = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
        changed = [line for line in around if line[:1] in "-+"]
        return "\n".join(changed if any(line[0] == "+" for line in changed) else [*changed, around[-1]])

    @property
    def key(self) -> str:
        """What the mutant is known by as long as its lines stay what they are, wherever in the file they stand."""
        return key_of(self.file, self.diff)


def key_of(file: str, diff: str) -> str:
    """A digest of a file's name and a diff; blanks at the ends of lines do not count."""
    lines = [line.rstrip() for line in diff.strip().splitlines()]
    return hashlib.sha1("\n".join([file, *lines]).encode()).hexdigest()[:12]


def sample(root: Path, files: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Random mutants: a site is drawn first, each as likely, and then one of what can be done to it.

    Drawn by site, since a `+` can become eleven other operators and `not` only nothing.

    Args:
        root: Of the repository.
        files: Relative to it.
        count: How many; fewer where there are fewer sites.
        seed: The same one draws the same of the same code.
    """
    draw = random.Random(seed)
    sites: list[tuple[str, Span]] = [(file, span) for file in sorted(files) for span in _choices(root, file)]
    draw.shuffle(sites)
    chosen: list[Mutant] = []
    for file, span in sites:
        if len(chosen) == count:
            break
        ways = list(_choices(root, file)[span])
        draw.shuffle(ways)
        mutant = next((one for one in (_mutant(root, file, span, *way) for way in ways) if one is not None), None)
        if mutant is not None:
            chosen.append(mutant)
    return chosen


def every(root: Path, file: str) -> Iterator[Mutant]:
    """All mutants of a file, in the order of their sites."""
    for span, ways in sorted(_choices(root, file).items()):
        yield from _mutants(root, file, span, ways)


def alike(root: Path, file: str, operator: str, diff: str) -> Iterator[Mutant]:
    """The mutants of a file with this operator and these changed lines, wherever they stand now."""
    changed = {line[1:].rstrip() for line in diff.splitlines() if line.startswith("-")}
    lines = (root / file).read_text(encoding="utf-8").splitlines()
    for span, ways in sorted(_choices(root, file).items()):
        if lines[span[0][0] - 1].rstrip() in changed:
            same = [way for way in ways if way[0] == operator]
            yield from (one for one in _mutants(root, file, span, same) if one.key == key_of(file, diff))


def _mutants(root: Path, file: str, span: Span, ways: Sequence[tuple[str, int]]) -> Iterator[Mutant]:
    made = (_mutant(root, file, span, *way) for way in ways)
    return (one for one in made if one is not None)


def skipped_spans(source: str) -> list[Span]:
    """What no mutant touches, since no test should have to say it.

    Annotations, what is only for type checkers (`if TYPE_CHECKING`, bodies of protocols), and the inside of f-strings
    that are told to people: in a `raise`, a call of `warn`, a `__repr__` or a `__str__`. Docstrings have no operators,
    and neither have signatures, in which cosmic-ray takes a bare `*` or `/` for one.
    """
    return [*(_span(source, node) for node in _skipped(ast.parse(source))), *_markers(source)]


def statement_lines(source: str, line: int) -> range:
    """The lines of the innermost statement at a line; of one with a body, those of its head, decorators included."""
    best = range(line, line + 1)
    size = len(source) + 1
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.stmt | ast.excepthandler):
            continue
        lines = _head(node)
        if line in lines and len(lines) <= size:
            best, size = lines, len(lines)
    return best


def _head(node: ast.stmt | ast.excepthandler) -> range:
    first = min([node.lineno, *(one.lineno for one in getattr(node, "decorator_list", []))])
    body = getattr(node, "body", None)
    last = max(first, body[0].lineno - 1) if body else (node.end_lineno or node.lineno)
    return range(first, last + 1)


def _skipped(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.arg | ast.AnnAssign) and node.annotation is not None:
            yield node.annotation
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from [node.returns] if node.returns is not None else []
            yield from _f_strings(node) if node.name in TEXTS else ()
        elif isinstance(node, ast.Raise) or (isinstance(node, ast.Call) and _name(node.func) in WARNINGS):
            yield from _f_strings(node)
        elif _is_for_type_checkers(node):
            yield node


def _markers(source: str) -> Iterator[Span]:
    from cosmic_ray.ast import ast_nodes, get_ast

    for node in ast_nodes(get_ast(source)):
        if node.type == "operator" and node.parent.type in ("parameters", "lambdef"):
            yield node.start_pos, node.end_pos


def _is_for_type_checkers(node: ast.AST) -> bool:
    if isinstance(node, ast.ClassDef):
        return any(_name(base) == "Protocol" for base in node.bases)
    return isinstance(node, ast.If) and _name(node.test) == "TYPE_CHECKING"


def _f_strings(node: ast.AST) -> Iterator[ast.AST]:
    return (one for one in ast.walk(node) if isinstance(one, ast.JoinedStr))


def _name(node: ast.AST) -> str:
    node = node.value if isinstance(node, ast.Subscript) else node
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _span(source: str, node: Any) -> Span:
    lines = source.splitlines()

    def characters(line: int, column: int) -> Position:
        return line, len(lines[line - 1].encode()[:column].decode())

    return characters(node.lineno, node.col_offset), characters(node.end_lineno, node.end_col_offset)


_CACHE: dict[tuple[Path, str], dict[Span, list[tuple[str, int]]]] = {}


def _choices(root: Path, file: str) -> dict[Span, list[tuple[str, int]]]:
    """What can be done at each site of a file: operators, and which occurrence of theirs it is."""
    if (root, file) not in _CACHE:
        source = (root / file).read_text(encoding="utf-8")
        left_out = skipped_spans(source)
        found = sorted(way for way in _ways(source) if not any(a <= way[0][0] < b for a, b in left_out))
        _CACHE[root, file] = {
            span: [(operator, n) for _, operator, n in ways] for span, ways in groupby(found, lambda w: w[0])
        }
    return _CACHE[root, file]


def _ways(source: str) -> Iterator[tuple[Span, str, int]]:
    from cosmic_ray.ast import ast_nodes, get_ast

    nodes = list(ast_nodes(get_ast(source)))
    for name, operator in _operators().items():
        positions = (span for node in nodes for span in operator().mutation_positions(node))
        yield from (((start, end), name, n) for n, (start, end) in enumerate(positions))


@cache
def _operators() -> dict[str, Callable[[], Any]]:
    """The operators of cosmic-ray that need no arguments.

    Raises:
        UsageError: cosmic-ray is not installed.
    """
    try:
        from cosmic_ray.plugins import get_operator, operator_names
    except ImportError as error:
        raise UsageError(
            "Mutants are made by cosmic-ray, which is not installed here. Install the extra that has it: "
            "pip install 'engram-rl[mutants]', or pip install -e '.[mutants]' in a checkout."
        ) from error
    every = {name.partition("/")[2]: get_operator(name) for name in operator_names()}
    return {name: operator for name, operator in every.items() if not operator.arguments()}


def _mutant(root: Path, file: str, span: Span, operator: str, occurrence: int) -> Mutant | None:
    """The mutant, or None where its text is no Python, as `def f(a, +, b)` is not, or says the same."""
    from cosmic_ray.mutating import mutate_code

    before = (root / file).read_text(encoding="utf-8")
    after = mutate_code(before, _operators()[operator](), occurrence)
    if after is None or _tree(after) in (None, _tree(before)):
        return None
    return Mutant(file, operator, occurrence, span, before, after)


def _tree(source: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `x is 1` is a SyntaxWarning, and a mutant
            compile(source, "mutant", "exec")
            return ast.dump(ast.parse(source))
    except SyntaxError:
        return None
