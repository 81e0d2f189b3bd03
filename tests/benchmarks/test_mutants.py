"""The command that mutates code tells what tests notice from what they do not, in processes that they start as well."""

import subprocess

import pytest

pytest.importorskip("cosmic_ray", reason="needs the extra mutants")

from benchmarks.mutants import page, running
from benchmarks.mutants.__main__ import main, said
from benchmarks.mutants.equivalent import reasons
from benchmarks.mutants.measure import Room, measure, set_up
from benchmarks.mutants.sites import alike, every, key_of, sample, statement_lines
from engram_rl.training.errors import UsageError

PROJECT = """
[tool.setuptools.package-dir]
toy = "code"
"""
SUMS = """
START = 0

def positive_part(x):
    return x if x > 0 else 0

def total(upto):
    sum = START
    while upto > 0:
        sum += upto
        upto -= 1
    return sum

def shown(x):
    return x + 5

def unseen(x):
    return x - 3
"""
TESTS = """
import subprocess
import sys
from toy.sums import positive_part, total

def test_positive_part():
    assert positive_part(3) == 3
    assert positive_part(-3) == 0

def test_total():
    assert total(4) == 10

def test_in_another_process():
    told = subprocess.run([sys.executable, "-c", "from toy.sums import shown; print(shown(1))"], capture_output=True)
    assert told.stdout.split() == [b"6"]

def test_that_fails_anyway():
    assert positive_part(3) == 4
"""


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A repository with one module and its tests, ready to be mutated."""
    root = tmp_path_factory.mktemp("toy")
    files = {"pyproject.toml": PROJECT, "code/__init__.py": "", "code/sums.py": SUMS, "tests/test_sums.py": TESTS}
    for name, text in files.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    me = ["-c", "user.name=toy", "-c", "user.email=toy@example.org"]
    for words in (["init", "-q"], ["add", "."], [*me, "commit", "-q", "-m", "toy"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    with set_up(root, Room("toy", ("code",), ("tests",)), root / "kept", preload=["pytest"]) as bench:
        yield bench


def outcome(bench, before, after):
    """What becomes of the mutant that makes one text of another."""
    mutants = [one for one in every(bench.copy, "code/sums.py") if one.after == SUMS.replace(before, after)]
    assert len(mutants) == 1
    return measure(bench, mutants[0])


def test_a_mutant_that_a_test_notices_is_killed_by_it(toy):
    row = outcome(toy, "x if x > 0", "x if x < 0")
    assert (row["outcome"], row["test"], row["tests"]) == ("killed", "tests/test_sums.py::test_positive_part", 1)
    assert row["diff"] == "-    return x if x > 0 else 0\n+    return x if x < 0 else 0"
    assert (row["file"], row["line"]) == ("code/sums.py", 5)


def test_a_mutant_that_none_notices_survives(toy):
    row = outcome(toy, "x if x > 0", "x if x >= 0")
    assert (row["outcome"], row["test"], row["tests"]) == ("survived", "", 1)
    assert outcome(toy, "x - 3", "x + 3")["message"] == "no test runs this line"


def test_processes_that_tests_start_see_the_mutant(toy):
    row = outcome(toy, "x + 5", "x - 5")
    assert (row["outcome"], row["test"]) == ("killed", "tests/test_sums.py::test_in_another_process")


def test_a_mutant_that_hangs_is_killed(toy, monkeypatch):
    monkeypatch.setattr(running, "LEAST", 1.0)
    row = outcome(toy, "upto -= 1", "upto -= 0")
    assert (row["outcome"], row["test"]) == ("timed out", "tests/test_sums.py::test_total")


def test_what_an_import_runs_is_covered_by_whatever_uses_the_file(toy):
    row = outcome(toy, "START = 0", "START = 1")
    assert (row["outcome"], row["test"], row["tests"]) == ("killed", "tests/test_sums.py::test_total", 3)


def test_the_copy_is_as_it_was_and_what_fails_anyway_says_nothing(toy):
    assert (toy.copy / "code/sums.py").read_text() == SUMS
    assert toy.coverage.failed == ["tests/test_sums.py::test_that_fails_anyway"]


def test_a_sample_is_drawn_by_its_seed(toy):
    drawn = [[one.key for one in sample(toy.copy, ["code/sums.py"], 5, seed)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(set(drawn[0])) == 5


TOLD = """
class Shape(Protocol[T]):
    size: int = 1 + 1

def of(x: int | None = 3, *, y: "a | b" = 4) -> int | str:
    if x < 5:
        raise ValueError(f"{x + 6} is too small" + str(7))
    warnings.warn(f"{8 * x}")
    return f"{9 * x}"

def __repr__(self):
    return f"{10 * self.x}" + str(11)
"""


def test_types_and_what_is_told_to_people_are_left_out(tmp_path):
    (tmp_path / "told.py").write_text(TOLD)
    lines = TOLD.splitlines()
    sites = {lines[start[0] - 1][start[1] : end[1]] for start, end in {one.span for one in every(tmp_path, "told.py")}}
    assert sites == {"3", "4", "x < 5", "<", "5", "+", "7", "9", "*", "11"}
    assert not any("None = 3, /" in one.after for one in every(tmp_path, "told.py"))


def test_a_statement_is_all_its_lines_and_one_with_a_body_those_of_its_head():
    source = (
        "@first\n@second\ndef f(\n    x=1,\n):\n    return [\n        x,\n    ]\nif x:\n    y = 1\nelse:\n    y = 2\n"
    )
    assert statement_lines(source, 4) == range(1, 6)
    assert statement_lines(source, 7) == range(6, 9)
    assert statement_lines(source, 9) == range(9, 10)
    assert statement_lines(source, 12) == range(12, 13)


def test_a_mutant_is_known_by_its_lines_wherever_they_stand(toy, tmp_path):
    (tmp_path / "code").mkdir()
    (tmp_path / "code/sums.py").write_text("'''More.'''\n\n" + SUMS)
    keys = [{one.key for one in every(root, "code/sums.py")} for root in (toy.copy, tmp_path)]
    assert keys[0] == keys[1]
    for one in every(toy.copy, "code/sums.py"):
        (same,) = alike(tmp_path, one.file, one.operator, one.diff)
        assert (same.key, same.line) == (one.key, one.line + 2)
    assert key_of("a.py", "-x  \n+y\n") == key_of("a.py", "-x\n+y") != key_of("b.py", "-x\n+y")


def test_a_decorator_that_is_taken_away_is_told_with_what_it_was_on(tmp_path):
    (tmp_path / "two.py").write_text("@once\ndef f():\n    pass\n\n\n@once\ndef g():\n    pass\n")
    told = [one.diff for one in every(tmp_path, "two.py")]
    assert [diff.splitlines()[-1] for diff in told] == [" def f():", " def g():"]
    assert all("-@once" in diff for diff in told)


def test_what_was_found_is_said_with_the_lines_of_what_is_alive(toy):
    rows = [outcome(toy, "x if x > 0", f"x if x {sign} 0") for sign in ("<", ">=")]
    assert said(rows).endswith("1 killed, 1 survived. 0 are equivalent: 1 of 2 killed (50.0%).")
    assert "code/sums.py:5 (1 tests)\n-    return x if x > 0 else 0\n+    return x if x >= 0 else 0" in said(rows)


def test_tests_that_do_not_fit_into_the_budget_are_left_out(toy):
    mutant = next(one for one in every(toy.copy, "code/sums.py") if one.after == SUMS.replace("x > 0", "x < 0"))
    row = measure(toy, mutant, budget=0.0)
    assert (row["outcome"], row["tests"], row["left_out"]) == ("survived", 1, 1)


def test_an_unknown_room_or_commit_is_refused():
    with pytest.raises(UsageError, match=r"no room 'memroy'\. Did you mean memory"):
        main(["room=memroy"])
    with pytest.raises(UsageError, match="has no commit 'nowhere'"):
        main(["commit=nowhere"])


def test_the_page_shows_what_the_rows_hold():
    assert page.PAGE.read_text(encoding="utf-8") == page.page(page.every_row()), "python -m benchmarks.mutants.page"
    assert all(reasons().values())
