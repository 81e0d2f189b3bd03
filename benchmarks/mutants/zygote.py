"""A process that has imported what is slow to import, and forks for every run of tests; started by `running.py`.

It imports nothing of the code under test, so every fork sees the copy as it is then. It reads requests, each a line of
JSON, from its standard input and answers with one on its standard output; what the tests print goes to a file.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import random
import select
import signal
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Request = dict[str, Any]
Answer = dict[str, Any]


def main() -> None:
    """Import what the command line names, say so, then serve until the input ends."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # and so end what runs
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # which a terminal sends to all; it is for the parent
    sys.path[0] = str(Path.cwd())  # as `python -m pytest` has it
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in sys.argv[1:]:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(serve(json.loads(line))), file=answers, flush=True)


def serve(request: Request) -> Answer:
    """Run tests in a fork and follow them, one after another.

    Args:
        request: `paths` of files with tests; `tests`, the ids of those to run, in their order, none for all;
            `budgets`, the seconds that each may take; `budget`, those of others, and of collecting; `log`, a file for
            what is printed; `scratch`, a folder for what tests write; `coverage`, or null; `compile`, to collect the
            tests only, and keep what Python compiles.

    Returns:
        `seconds` by test; `failed`, ids in order; `killed_by`, the first that failed, hung or crashed; `outcome`,
        `passed`, `failed`, `timed_out` or `crashed`; `message`, the last line of what was wrong.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _run(request, writer)
    os.close(writer)
    answer: Answer = {"seconds": {}, "failed": [], "outcome": "crashed", "killed_by": "collection", "message": ""}
    try:
        for event in _events(reader, request, answer):
            _note(event, answer)
    finally:
        os.close(reader)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return answer


def _events(reader: int, request: Request, answer: Answer) -> Iterator[dict[str, Any]]:
    """What the fork tells, until it has ended or the test that runs has used up its time."""
    rest = b""
    while True:
        budget = request["budgets"].get(answer["killed_by"], request["budget"])
        if not select.select([reader], [], [], budget)[0]:
            answer["outcome"] = "timed_out"
            return
        read = os.read(reader, 1 << 16)
        if not read:
            return
        *lines, rest = (rest + read).split(b"\n")
        for event in map(json.loads, lines):
            yield event
            if event["kind"] == "done":
                return


def _note(event: dict[str, Any], answer: Answer) -> None:
    """Keep what an event tells. Until the end, `killed_by` is the test that runs, should it be the last."""
    kind = event["kind"]
    if kind == "start" and not answer["failed"]:
        answer["killed_by"] = event["test"]
    elif kind == "end":
        answer["seconds"][event["test"]] = event["seconds"]
    elif kind == "failed":
        if not answer["failed"]:
            answer["killed_by"], answer["message"] = event["test"], event["message"]
        answer["failed"].append(event["test"])
    elif kind == "done":
        answer["outcome"] = "failed" if answer["failed"] else "passed"
        if not answer["failed"]:
            answer["killed_by"] = ""


def _run(request: Request, writer: int) -> None:
    """In the fork: run pytest and leave."""
    os.setsid()
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory runs out, it is the mutant that goes
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for target, source in ((0, nothing), (1, log), (2, log)):
        os.dup2(source, target)
    sys.dont_write_bytecode = not request["compile"]
    if sys.dont_write_bytecode:
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
    events = os.fdopen(writer, "w")
    try:
        _pytest(request, events)
    except BaseException as error:
        _tell(events, kind="failed", test="collection", message=repr(error)[:300])
    _tell(events, kind="done")
    os._exit(0)


def _pytest(request: Request, events: Any) -> None:
    import pytest

    _same_examples_always()
    cover = _start_coverage(request["coverage"]) if request["coverage"] else None
    options = ["-q", "-p", "no:cacheprovider", f"--basetemp={request['scratch']}"]
    options += ["-W", "ignore::pytest.PytestAssertRewriteWarning"]  # hypothesis is there before pytest
    options += ["--collect-only"] if request["compile"] else []
    options += [] if request["coverage"] else ["-x"]
    status = pytest.main([*options, *request["paths"]], plugins=[Watch(request["tests"], events, cover)])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        _tell(events, kind="failed", test="collection", message=f"pytest ended with {status!r}")
    if cover is not None:
        cover.stop()
        cover.save()


def _same_examples_always() -> None:
    """Hypothesis draws the same examples in every run, and does not look for the smallest that fails."""
    with contextlib.suppress(ImportError):
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutants", database=None, derandomize=True, deadline=None, phases=phases)
        settings.load_profile("mutants")


def _start_coverage(settings: dict[str, Any]) -> Any:
    import coverage

    cover = coverage.Coverage(data_file=settings["data"], config_file=False, source=settings["source"])
    cover.start()
    os.environ["COVERAGE_PROCESS_START"] = settings["others"]
    return cover


class Watch:
    """A plugin of pytest: the tests that are asked for, in this order, each with generators seeded the same."""

    def __init__(self, wanted: list[str], events: Any, cover: Any) -> None:
        self.places = {test: place for place, test in enumerate(wanted)}
        self.events = events
        self.cover = cover
        self.began = 0.0

    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        """Keep what is wanted, fastest first."""
        if self.places:
            items[:] = sorted(
                (item for item in items if item.nodeid in self.places), key=lambda i: self.places[i.nodeid]
            )

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """A test begins: seed, and say so."""
        _seed()
        if self.cover is not None:
            self.cover.switch_context(nodeid)
        self.began = time.perf_counter()
        _tell(self.events, kind="start", test=nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """A test has ended."""
        if self.cover is not None:
            self.cover.switch_context("")
        _tell(self.events, kind="end", test=nodeid, seconds=round(time.perf_counter() - self.began, 3))

    def pytest_runtest_logreport(self, report: Any) -> None:
        """A part of a test has ended: what failed is told."""
        if report.failed:
            _tell(self.events, kind="failed", test=report.nodeid, message=_last_line(report))

    def pytest_collectreport(self, report: Any) -> None:
        """A file could not be read."""
        if report.failed:
            _tell(self.events, kind="failed", test=f"collection of {report.nodeid}", message=_last_line(report))


def _seed() -> None:
    random.seed(0)
    for module, seed in (("numpy.random", "seed"), ("torch", "manual_seed")):
        if module in sys.modules:
            getattr(sys.modules[module], seed)(0)


def _last_line(report: Any) -> str:
    """The last line of a failure's text: its message and place are enough to find it again."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(report.longrepr)
    return " ".join(text.split())[:300]


def _tell(events: Any, **event: Any) -> None:
    print(json.dumps(event), file=events, flush=True)


if __name__ == "__main__":
    main()
