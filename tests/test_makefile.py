"""`make` asks for a Python that is recent enough, and never leaves a virtual environment that keeps failing."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STAMPS = (".installed-cpu", ".installed-gpu")

OLD = """#!/bin/sh
[ "$1" = --version ] && echo "Python 3.9.2" && exit 0
exit 1
"""
RECENT = """#!/bin/sh
echo "$@" >> "{log}"
[ "$1 $2" = "-m venv" ] || exit 0
rm -rf "$4" && mkdir -p "$4/bin" && cp "$0" "$4/bin/python"
"""
"""Takes the place of Python: says yes to everything, makes such an environment, and writes down its calls."""


@pytest.fixture
def make(tmp_path):
    """Run `make` for an environment in a folder of its own, with a Python of one's choice; returns what it did."""

    def run(python):
        path = tmp_path / "python"
        path.write_text(python.format(log=tmp_path / "log"))
        path.chmod(0o755)
        stamp = tmp_path / "venv" / STAMPS[bool(shutil.which("nvidia-smi"))]
        command = ["make", str(stamp), f"PYTHON={path}", f"VENV={tmp_path / 'venv'}"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)

    return run


pytestmark = pytest.mark.skipif(not shutil.which("make") or sys.platform == "win32", reason="needs make")


def test_an_old_python_is_refused_at_once_and_leaves_nothing(make, tmp_path):
    done = make(OLD)
    assert done.returncode != 0
    assert "needs Python 3.11 or later" in done.stderr
    assert "Python 3.9.2" in done.stderr
    assert "PYTHON=python3.12" in done.stderr
    assert not (tmp_path / "venv").exists()


@pytest.mark.parametrize("before", ["nothing", "old", "dangling"])
def test_whatever_was_there_before_a_recent_python_installs(make, tmp_path, before):
    python = tmp_path / "venv" / "bin" / "python"
    if before != "nothing":
        python.parent.mkdir(parents=True)
    if before == "old":
        python.write_text(OLD)
        python.chmod(0o755)
    elif before == "dangling":
        python.symlink_to(tmp_path / "removed")
    done = make(RECENT)
    assert done.returncode == 0, done.stderr
    assert "-m venv --clear" in (tmp_path / "log").read_text()
    assert "-m pip install" in (tmp_path / "log").read_text()


def test_a_sound_environment_is_kept(make, tmp_path):
    assert make(RECENT).returncode == 0
    (tmp_path / "log").unlink()
    for stamp in STAMPS:
        (tmp_path / "venv" / stamp).unlink(missing_ok=True)
    assert make(RECENT).returncode == 0
    assert "-m venv" not in (tmp_path / "log").read_text()
