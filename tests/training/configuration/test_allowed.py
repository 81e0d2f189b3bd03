"""A run folder from elsewhere chooses no code: what it may name, and what is said of anything else."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from engram_rl import memory
from engram_rl.training.configuration.allowed import refuse_foreign
from engram_rl.training.errors import UsageError

MEMORY = f"engram_rl.memory.{sorted(memory.__all__)[0]}"


def checked(config, folders=(), given=()):
    """As a folder of a stranger holds it."""
    refuse_foreign(OmegaConf.create(config), [*folders], folders[0] / "run" / "config.yaml" if folders else RUN, given)


RUN = Path("nowhere") / "config.yaml"


@pytest.mark.parametrize(
    "name",
    ["torch.optim.Adam", "gymnasium.wrappers.TimeLimit", "gymnasium.wrappers.vector.ClipReward", MEMORY],
)
def test_public_classes_of_the_memory_and_of_well_known_libraries_are_built(name):
    checked({"agent": {"memory": [{"_target_": name}]}, "env": {"id": "CartPole-v1"}})


@pytest.mark.parametrize(
    "name",
    [
        "subprocess.Popen",
        "torch.optim.lr_scheduler.StepLR",
        "mine.torch.optim.Adam",
        "gymnasium.wrappers.other.Thing",
        "gymnasiumXwrappers.TimeLimit",
        "engram_rl.memory.os",
        "engram_rl.memory",
        f"mine.{MEMORY.rpartition('.')[2]}",
    ],
)
def test_nothing_else_is(name, tmp_path):
    said = f"asks to build {name}, which no YAML of {tmp_path} names, and the run was not begun by you"
    with pytest.raises(UsageError) as refused:
        checked({"agent": {"_target_": name}}, [tmp_path])
    assert f"config.yaml {said}" in str(refused.value)


def test_all_that_it_names_is_told_in_order():
    config = {"env": {"id": "theirs:Trap-v0", "wrappers": [{"_target_": "b.B"}, {"_target_": "a.A"}]}}
    with pytest.raises(UsageError, match=r"asks to build a\.A, b\.B, which"):
        checked(config)
    with pytest.raises(UsageError, match=r"asks to import the module of theirs:Trap-v0, which"):
        checked(config, given=["x=a.A", "y=b.B"])
    checked(config, given=["env.id=theirs:Trap-v0", "+x={_target_: a.A}", "y=b.B"])


def test_what_a_yaml_of_the_users_names_is_built_and_what_a_run_below_names_is_not(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("agent: {_target_: a.A}\n")
    with pytest.raises(UsageError, match=r"build a\.A"):
        checked({"agent": {"_target_": "a.A"}}, [tmp_path])
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "mine.yaml").write_text("_target_: a.A\n")
    checked({"agent": {"_target_": "a.A"}}, [tmp_path])
    (tmp_path / "agent" / "mine.yaml").write_text("_target_: a.AB\n")
    with pytest.raises(UsageError, match=rf"of nowhere, {tmp_path} names"):
        refuse_foreign(OmegaConf.create({"agent": {"_target_": "a.A"}}), [RUN.parent, tmp_path], RUN)


@pytest.mark.parametrize(
    ("config", "place"),
    [
        ({"seed": 1, "agent": "${seed}"}, "agent"),
        ({"seed": 1, "env": {"wrappers": [{"a": 1}, {"b": "x ${seed}"}]}}, r"env\.wrappers\.1\.b"),
        ({"a": [[1, "${oc.env:HOME}"]]}, r"a\.0\.1"),
        ({"agent": {"_target_": "${nothing}"}}, r"agent\._target_"),
    ],
)
def test_an_interpolation_is_refused_with_its_place_whatever_it_gives(config, place):
    with pytest.raises(UsageError, match=rf"config\.yaml holds an interpolation at {place}\. "):
        checked(config)


@pytest.mark.parametrize("word", ["$", "{seed}", "$seed", "5 $ {x}"])
def test_other_signs_are_only_words(word):
    checked({"seed": 1, "name": word})
