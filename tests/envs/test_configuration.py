"""Every YAML of an environment or a schedule builds what it names, and opens with a command that uses it."""

from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

from engram_rl import envs
from engram_rl.training.configuration import schema
from engram_rl.training.construction import build_environments

CONF = Path(envs.__file__).parents[1] / "conf"
OURS = [
    path.stem for path in sorted((CONF / "env").glob("*.yaml")) if "id: engram/" in path.read_text(encoding="utf-8")
]
SCHEDULES = [path.stem for path in sorted((CONF / "shift").glob("*.yaml"))]


def environments(*overrides: str):
    schema.register()
    with initialize_config_dir(str(CONF), version_base=None):
        config = compose("train", overrides=[*overrides, "env.num_envs=2"])
    return build_environments(config.env)


@pytest.mark.parametrize("name", OURS)
def test_an_environments_yaml_builds_it(name):
    vector = environments(f"env={name}")
    vector.reset(seed=0)
    *_, info = vector.step(np.zeros_like(vector.action_space.sample()))
    assert {"task_index", "shifted", "episode_index"} <= info.keys()


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedules_yaml_makes_cartpole_shift(name):
    vector = environments("env=cartpole", f"+shift@env={name}")
    vector.reset(seed=0)
    targets = set()
    for _ in range(2500):
        *_, info = vector.step(np.zeros(2, dtype=int))
        targets |= set(info["target"].tolist())
    assert len(targets) > 1 or name == "on_success"


@pytest.mark.parametrize(("env", "curriculum", "lessons"), [("memory_len", "length", 5), ("cartpole", "gravity", 3)])
def test_a_curriculums_yaml_takes_every_lesson(env, curriculum, lessons):
    vector = environments(f"env={env}", "env.vectorization=sync", f"+curriculum@env={curriculum}")
    vector.reset(seed=0)
    taken = set()
    for _ in range(600):
        *_, info = vector.step(np.zeros(2, dtype=int))
        taken |= set(info["lesson"].tolist())
    assert taken == set(range(lessons))


def test_every_environment_of_the_suite_has_a_yaml():
    texts = [(CONF / "env" / f"{name}.yaml").read_text(encoding="utf-8") for name in OURS]
    assert {f"id: engram/{name}-v0" for name in envs.SUITE} <= {line for text in texts for line in text.splitlines()}


@pytest.mark.parametrize(
    "path", [path for group in ("env", "shift", "curriculum") for path in (CONF / group).glob("*.yaml")], ids=str
)
def test_a_yaml_opens_with_the_command_that_uses_it(path):
    prefix = {"env": "env=", "shift": "+shift@env=", "curriculum": "+curriculum@env="}[path.parent.name]
    group = prefix + path.stem
    command = path.read_text(encoding="utf-8").splitlines()[0]
    assert command.startswith("# engram train ")
    assert group in command.split()
