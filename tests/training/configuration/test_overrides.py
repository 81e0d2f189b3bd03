"""What a command line gives for a run that exists, in Hydra's grammar: what is merged, and what is refused."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from engram_rl.training.configuration.overrides import VALUED_FLAGS, flags_first, merged, split
from engram_rl.training.errors import UsageError

FLAGS = "--config-dir -cd --config-path -cp --config-name -cn --package -p --cfg -c --info -i --experimental-rerun"


def test_flags_come_first_with_what_they_take():
    assert set(VALUED_FLAGS) == set(FLAGS.split())
    for flag in VALUED_FLAGS:
        assert flags_first(["a=1", flag, "x", "b=2", "--help"]) == [flag, "x", "--help", "a=1", "b=2"]
    assert flags_first(["a=1", "-m", "b=2"]) == ["-m", "a=1", "b=2"]
    assert flags_first([]) == []


@pytest.mark.parametrize("word", ["resume=run", "resume='a=b'", "resume=nulls"])
def test_of_a_run_that_exists_only_what_hydra_composes_from_is_kept(word):
    given = [
        "steps=9",
        word,
        "hydra.verbose=1",
        "+hydra.x=1",
        "~hydra/job",
        "-m",
        "-cd",
        "conf",
        "+agent.a=1",
        "a/hydra.x=1",
    ]
    kept = [word, "hydra.verbose=1", "+hydra.x=1", "~hydra/job", "-m", "-cd", "conf"]
    assert split(given, "resume") == (kept, ["steps=9", "+agent.a=1", "a/hydra.x=1"])


@pytest.mark.parametrize("word", ["resume=", "resume=null", "resumed=run", "+resume=run", "run=x"])
def test_without_a_run_everything_is_for_hydra(word):
    assert split(["steps=9", word, "-m"], "resume") == (["steps=9", word, "-m"], [])


RUN = {"steps": 100, "name": None, "agent": {"lr": 0.1, "memory": {"k": 3}}, "env": {"id": "X", "kwargs": {"a": 1}}}


def after(*given, folders=()):
    config = OmegaConf.create(RUN)
    result = merged(config, given, folders, Path("runs/mine"))
    assert config == RUN
    return OmegaConf.to_container(result)


@pytest.mark.parametrize(
    ("given", "place", "value"),
    [
        ("steps=9", "steps", 9),
        ("agent.memory.k=5", "agent.memory", {"k": 5}),
        ("+agent.memory.n=5", "agent.memory", {"k": 3, "n": 5}),
        ("+name=mine", "name", "mine"),
        ("++steps=9", "steps", 9),
        ("++agent.new=9", "agent", {"lr": 0.1, "memory": {"k": 3}, "new": 9}),
        ("+env.kwargs={n: 3}", "env.kwargs", {"a": 1, "n": 3}),
        ("env.kwargs={a: 3}", "env.kwargs", {"a": 3}),
        ("+env.deep.er=3", "env.deep", {"er": 3}),
        ("~agent.lr", "agent", {"memory": {"k": 3}}),
        ("~agent.memory.k", "agent.memory", {}),
        ("~env.kwargs", "env", {"id": "X"}),
        ("~steps", "name", None),
    ],
)
def test_values_are_set_added_merged_and_taken_away(given, place, value):
    found = after(given)
    assert OmegaConf.select(OmegaConf.create(found), place) == value
    assert ("steps" in found) == (given != "~steps") and found["agent"].keys() >= {"memory"}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("+steps=9", r"\+steps=9: the run has steps already; leave out the plus, or write \+\+steps="),
        ("steps.x=1", "There is no steps.x: in this run steps is 100. Give steps=... as a whole"),
        ("+agent.lr.start.end=1", r"There is no agent.lr.start.end: in this run agent.lr is 0\.1\."),
        ("~agent.speed", "~agent.speed: the run has no agent.speed"),
        ("~speed", "~speed: the run has no speed"),
        ("~nothing.speed", "~nothing.speed: the run has no nothing.speed"),
        ("steps=1,2", "steps=1,2 names several values; a run is continued with one"),
        ("agent@other=nec", "agent@other=nec would swap a part of the run in runs/mine"),
    ],
)
def test_what_cannot_be_is_refused(given, said):
    with pytest.raises(UsageError, match=said):
        after(given)


@pytest.mark.parametrize("given", ["speed=3", "agent.speed=3", "env.kwargs={n: 3}"])
def test_a_key_that_the_run_does_not_have_is_for_who_asks_to_explain(given):
    with pytest.raises(OmegaConfBaseException):
        after(given)


def test_a_group_is_not_swapped_under_a_run(tmp_path):
    (tmp_path / "agent").mkdir()
    with pytest.raises(UsageError, match=r"agent=nec would swap a part of the run in runs/mine; start a new run"):
        after("agent=nec", folders=[tmp_path / "other", tmp_path])
    assert after("agent={lr: 2}", folders=[tmp_path])["agent"]["lr"] == 2
    assert after("steps=9", folders=[tmp_path])["steps"] == 9
