"""A wheel carries the configuration and runs from another folder."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The unpacked wheel, as an installer would lay it out."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in names.stdout.split():
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    return folder / "site"


def run(installed, folder, *command):
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=True
    )


def test_the_wheel_trains_and_evaluates_from_another_folder(installed, tmp_path):
    tiny = ("steps=40", "progress=false", "evaluation.episodes=1")
    assert "TensorBoard" in run(installed, tmp_path, "train", *tiny).stdout
    assert "trained" in run(installed, tmp_path, "evaluate", "run=latest", "episodes=1").stdout


def test_the_wheel_holds_the_packages_and_nothing_of_the_workshop(installed):
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {"agents", "memory", "envs", "training", "conf", "train.py", "evaluate.py"}
    assert (installed / "conf" / "train.yaml").is_file()
    assert (installed / "memory" / "py.typed").is_file()


def test_everything_that_can_be_installed_is_pinned():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [Requirement(line) for extra in project["optional-dependencies"].values() for line in extra]
    asked += [Requirement(line) for line in project["dependencies"]]
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().split():
        name, version = line.split("==")
        assert canonicalize_name(name) not in pinned, f"{name} is pinned twice"
        pinned[canonicalize_name(name)] = version
    for one in asked:
        assert one.specifier.contains(pinned[canonicalize_name(one.name)]), one
