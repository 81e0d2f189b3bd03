"""A wheel installs one package, `engram_rl`, beside whatever else a user has under the names of our folders."""

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
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
ROOMS = ("agents", "conf", "envs", "memory", "training")
"""Folders on top of the repository that are installed below `engram_rl`."""

ROBOT = '''
"""A robot on a line, in a user's own package."""

import gymnasium as gym
import numpy as np


class Robot(gym.Env):
    observation_space = gym.spaces.Box(-10, 10, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = 0.0
        return np.array([self.place], np.float32), {}

    def step(self, action):
        self.place += 1.0 if action else -1.0
        return np.array([self.place], np.float32), float(self.place > 4), abs(self.place) > 4, False, {}


gym.register("Robot-v0", entry_point=Robot, max_episode_steps=40)
'''
STRANGERS = "raise RuntimeError('a module of the user was imported in place of ours')\n"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """The files of the repository, without what was built here."""
    folder = tmp_path_factory.mktemp("source")
    names = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in names.stdout.split("\n"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def installed(source, tmp_path_factory):
    """The unpacked wheel, as an installer would lay it out, beside a stranger that owns the names of our folders."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder / "site")
    for room in ROOMS:
        (folder / "strangers" / room).mkdir(parents=True)
        (folder / "strangers" / room / "__init__.py").write_text(STRANGERS)
    return folder / "site"


@pytest.fixture
def users_folder(tmp_path):
    """What nearly every project of a user holds."""
    for module in ("memory", "train", "evaluate", "utils"):
        (tmp_path / f"{module}.py").write_text(STRANGERS)
    for package in ("agents", "conf"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text(STRANGERS)
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("")
    (tmp_path / "envs" / "robot.py").write_text(ROBOT)
    return tmp_path


def run(folder, *command, path=()):
    """A Python command in a folder, with further folders to import from."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, path)), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def works_beside_the_users_own(folder, start, path=()):
    """Import, train, train in an environment of the user's own, resume and evaluate; `start` names the commands."""
    asked = "from engram_rl.memory import DifferentiableNeuralDictionary as D; print(D(2, 1, 3).capacity)"
    assert run(folder, "-c", asked, path=path) == "3\n"
    tiny = ("progress=false", "evaluation.episodes=1", "agent.memory.capacity=500")
    trained = run(
        folder, *start("train"), "agent=nec", "agent.learn_after=100", "env=cartpole", "steps=200", *tiny, path=path
    )
    assert "TensorBoard" in trained
    robot = ("env=gym", "env.id=envs.robot:Robot-v0", "hydra.run.dir=robot", "steps=200")
    assert "TensorBoard" in run(folder, *start("train"), "agent=mfec", *robot, *tiny, path=path)
    run(folder, *start("train"), "resume=robot", "steps=300", path=path)
    assert "trained" in run(folder, *start("evaluate"), "run=robot", "episodes=2", path=path)


def test_the_wheel_works_beside_the_users_own(installed, users_folder):
    strangers = installed.parent / "strangers"
    works_beside_the_users_own(users_folder, lambda name: ("-m", "engram_rl", name), [installed, strangers])


def test_a_checkout_works_beside_the_users_own(users_folder):
    works_beside_the_users_own(users_folder, lambda name: (str(ROOT / f"{name}.py"),))


def test_the_wheel_holds_one_package_and_nothing_of_the_workshop(installed):
    assert {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} == {"engram_rl"}
    for room in ROOMS:
        held = {path.relative_to(installed / "engram_rl") for path in (installed / "engram_rl" / room).rglob("*.*")}
        ours = {path.relative_to(ROOT) for path in (ROOT / room).rglob("*.*") if path.suffix in (".py", ".yaml")}
        assert held == ours
    assert (installed / "engram_rl" / "py.typed").is_file()


def test_an_index_would_take_what_is_built(installed):
    wheels = [str(path) for path in installed.parent.glob("*.whl")]
    checked = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *wheels], capture_output=True, text=True
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_the_source_distribution_builds_the_same(source, tmp_path):
    build = [sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    subprocess.run(build, check=True, capture_output=True)
    assert len(list(tmp_path.glob("engram_rl-*.tar.gz"))) == 1


def test_the_command_says_what_it_can_and_refuses_what_it_cannot(tmp_path):
    for called in ((), ("--help",)):
        told = run(tmp_path, "-m", "engram_rl", *called)
        assert all(name in told for name in ("train", "evaluate", "sweep-summary"))
    refused = subprocess.run([sys.executable, "-m", "engram_rl", "trian"], capture_output=True, text=True, cwd=tmp_path)
    assert refused.returncode == 1
    assert "Did you mean train?" in refused.stderr


def test_every_folder_of_the_rooms_is_installed():
    packages, places = (PROJECT["tool"]["setuptools"][key] for key in ("packages", "package-dir"))
    folders = {path.parent.relative_to(ROOT) for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    expected = {"engram_rl." + ".".join(folder.parts): str(folder) for folder in folders} | {"engram_rl": "engram_rl"}
    assert set(packages) == set(expected)
    assert places == expected


def test_type_checkers_find_every_room():
    for room in ROOMS:
        assert (ROOT / ".typing" / "engram_rl" / room).resolve() == ROOT / room


def test_everything_that_can_be_installed_is_pinned():
    project = PROJECT["project"]
    asked = [Requirement(line) for extra in project["optional-dependencies"].values() for line in extra]
    asked += [Requirement(line) for line in project["dependencies"]]
    pinned = {}
    for line in (ROOT / "constraints.txt").read_text().split():
        name, version = line.split("==")
        assert canonicalize_name(name) not in pinned, f"{name} is pinned twice"
        pinned[canonicalize_name(name)] = version
    for one in asked:
        assert one.specifier.contains(pinned[canonicalize_name(one.name)]), one
