"""A copy of a commit in which a file can be changed, seen by its own process and by every process that it starts."""

from __future__ import annotations

import json
import subprocess
import tarfile
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from engram_rl.training.errors import UsageError

IMPORTS = ".imports"
"""A folder of the copy; with it on PYTHONPATH, the packages of pyproject.toml are those of the copy."""

FINDER = '''\
"""Finds the packages of this copy before an editable installation finds those of the checkout."""

import os
import sys
from importlib.abc import MetaPathFinder
from importlib.util import spec_from_file_location

PLACES = {places}


class Copy(MetaPathFinder):
    @staticmethod
    def find_spec(name, path=None, target=None):
        folder = PLACES.get(name)
        if folder is None:
            return None
        return spec_from_file_location(name, folder + "/__init__.py", submodule_search_locations=[folder])


sys.meta_path.insert(0, Copy)
if "COVERAGE_PROCESS_START" in os.environ:
    import coverage

    coverage.process_startup()
'''


def commit_of(repository: Path, name: str = "HEAD") -> str:
    """A commit by any name of git's, by default what is checked out; in full.

    Raises:
        UsageError: There is no such commit.
    """
    try:
        return _git(repository, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}").decode().strip()
    except subprocess.CalledProcessError as error:
        raise UsageError(f"{repository} has no commit {name!r}; give one that git log shows") from error


def copy_commit(repository: Path, commit: str, folder: Path) -> Path:
    """The files of a commit in an empty folder, with what makes Python import them from there; returns the folder."""
    with tarfile.open(fileobj=BytesIO(_git(repository, "archive", commit))) as archive:
        archive.extractall(folder, filter="data")
    project = folder / "pyproject.toml"
    told = tomllib.loads(project.read_text(encoding="utf-8")) if project.exists() else {}
    packages = told.get("tool", {}).get("setuptools", {}).get("package-dir", {})
    places = {name: str(folder / place) for name, place in packages.items()}
    (folder / IMPORTS).mkdir()
    (folder / IMPORTS / "sitecustomize.py").write_text(FINDER.format(places=json.dumps(places)), encoding="utf-8")
    return folder


@contextmanager
def changed(copy: Path, file: str, text: str) -> Iterator[None]:
    """Another text in a file of the copy, and the old one afterwards; what Python has compiled of it is forgotten."""
    path = copy / file
    before = path.read_bytes()
    try:
        _put(path, text.encode())
        yield
    finally:
        _put(path, before)


def _put(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
        compiled.unlink()


def _git(repository: Path, *words: str) -> bytes:
    return subprocess.run(["git", *words], cwd=repository, capture_output=True, check=True).stdout
