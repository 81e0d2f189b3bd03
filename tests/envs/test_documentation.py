"""The code in docs/environments.md runs, and its table names every environment and policy."""

import re
from pathlib import Path

import gymnasium
import pytest

from engram_rl import envs
from engram_rl.envs.oracles import POLICIES

TEXT = (Path(envs.__file__).parents[1] / "docs" / "environments.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_its_code_runs(block):
    names: dict = {}
    exec(compile(BLOCKS[block], "docs/environments.md", "exec"), names)
    for value in list(names.values()):
        if isinstance(value, gymnasium.Env):
            value.reset(seed=0)
            value.step(value.action_space.sample())


def test_it_names_every_environment_and_every_policy():
    registered = [name.removeprefix("engram/").removesuffix("-v0") for name in gymnasium.registry if "engram/" in name]
    assert [name for name in registered if name not in TEXT] == []
    assert [name for name in POLICIES if f"`{name}`" not in TEXT] == []
