"""Running tests of a copy in forks of one process that has imported what is slow to import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

SLOW_TO_IMPORT = (
    *("torch", "torch._dynamo", "torch.utils.tensorboard", "safetensors.torch", "numpy", "faiss"),
    *("scipy.stats", "scipy.sparse.csgraph", "gymnasium", "gymnasium.vector", "minigrid", "hydra", "omegaconf"),
    *("matplotlib.figure", "PIL.Image", "rich.table", "tqdm", "pytest", "hypothesis.stateful"),
)
"""Nothing of what is tested: it is imported anew, mutated, in every fork."""

LEAST = 20.0
TIMES = 5.0
"""A test has hung after TIMES what it takes without a mutant, and not before LEAST seconds."""


class Tests:
    """The tests of a copy of the repository; close it, or use it in a `with`.

    Args:
        copy: What `checkout.copy_commit` made.
        scratch: A folder beside it, for logs and what tests write.
        preload: Modules that are imported once, for all runs.
    """

    def __init__(self, copy: Path, scratch: Path, preload: Sequence[str] = SLOW_TO_IMPORT) -> None:
        scratch.mkdir(parents=True, exist_ok=True)
        self.scratch = scratch
        surroundings = os.environ | {"PYTHONPATH": str(copy / ".imports")}
        command = [sys.executable, str(Path(__file__).with_name("zygote.py")), *preload]
        self._process = subprocess.Popen(
            command, cwd=copy, env=surroundings, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._answer()

    def __enter__(self) -> Tests:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process, and with it what it runs."""
        self._process.terminate()
        self._process.communicate()

    def compile(self, paths: Sequence[str]) -> dict[str, Any]:
        """Collect tests once, so that what Python compiles of them and of what they import is kept."""
        return self._ask(paths=list(paths), compile=True, budget=600.0)

    def all_of(self, paths: Sequence[str], coverage: Mapping[str, Any]) -> dict[str, Any]:
        """Run every test of some folders or files, whatever fails, and write which lines each one runs."""
        return self._ask(paths=list(paths), coverage=dict(coverage), budget=600.0)

    def until_one_fails(self, seconds: Mapping[str, float]) -> dict[str, Any]:
        """Run tests, the fastest first, until one fails, crashes or hangs; see `zygote.serve` for the answer.

        Args:
            seconds: By the id of a test, what it takes without a mutant.
        """
        tests = sorted(seconds, key=lambda test: (seconds[test], test))
        budgets = {test: max(LEAST, TIMES * seconds[test]) for test in tests}
        paths = sorted({test.partition("::")[0] for test in tests})
        return self._ask(paths=paths, tests=tests, budgets=budgets, budget=60.0 + LEAST)

    def _ask(self, **request: Any) -> dict[str, Any]:
        every: dict[str, Any] = {"tests": [], "budgets": {}, "coverage": None, "compile": False}
        folders = {"log": str(self.scratch / "log.txt"), "scratch": str(self.scratch / "tests")}
        assert self._process.stdin is not None
        print(json.dumps(every | folders | request), file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the process that runs the tests has ended, status {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer
