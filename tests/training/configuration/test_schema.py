"""The types of a configuration, and what Hydra is told of runs before it composes one."""

import re

import pytest
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from engram_rl.training.configuration import prepared
from engram_rl.training.configuration.schema import (
    WHOLE,
    Checkpoint,
    Environment,
    Evaluating,
    Evaluation,
    Log,
    Training,
    Workers,
    register,
)


@pytest.mark.parametrize(
    ("kind", "given", "missing"),
    [
        (
            Environment,
            {"kwargs": {}, "wrappers": [], "success_above": None, "max_episode_steps": None, "modalities": None},
            "id num_envs vectorization",
        ),
        (
            Workers,
            {"workers": None, "address": None, "actors": None},
            "worker_cpus asynchronous patience restarts object_store round staleness",
        ),
        (Log, {"retrieved": 0}, "every video memory"),
        (Evaluation, {"mode": None, "max_steps": None}, "every episodes"),
        (Checkpoint, {}, "every keep best"),
        (
            Training,
            {"logger": None, "name": None, "tags": [], "resume": None},
            "agent env cluster seed steps threads seeding progress log evaluation checkpoint",
        ),
        (Evaluating, {"memory_mode": None, "max_steps": None, "out": None}, "run checkpoint episodes seed video"),
    ],
)
def test_what_a_yaml_must_say_has_no_value_before_it_does(kind, given, missing):
    config = OmegaConf.structured(kind)
    assert {name for name in config if OmegaConf.is_missing(config, name)} == set(missing.split())
    assert {name: config[name] for name in config if not OmegaConf.is_missing(config, name)} == given


def test_whole_numbers_are_taken_in_these_places():
    of = {
        "": "seed steps threads episodes max_steps",
        "env.": "num_envs max_episode_steps",
        "cluster.": "workers restarts object_store actors round staleness",
        "log.": "every retrieved",
        "evaluation.": "every episodes max_steps",
        "checkpoint.": "every keep",
    }
    assert {f"{place}{name}" for place, names in of.items() for name in names.split()} == WHOLE


def test_hydra_knows_the_types():
    register()
    store = ConfigStore.instance()
    assert OmegaConf.get_type(store.load("training_schema.yaml").node) is Training
    assert OmegaConf.get_type(store.load("evaluating_schema.yaml").node) is Evaluating


def root(core=None, task=(), **more):
    choices = {"agent": "nec", "env": "cartpole", **({} if core == "none" else {"core": core})}
    hydra = {"runtime": {"choices": choices}, "overrides": {"task": list(task)}}
    return OmegaConf.create({"hydra": hydra, "env": {"id": "My/Maze-v0"}, "seed": 3, **more})


@pytest.mark.parametrize(
    ("given", "ends"),
    [
        ({}, "_nec_cartpole_seed3"),
        ({"core": "none"}, "_nec_cartpole_seed3"),
        ({"core": "null"}, "_nec_cartpole_seed3"),
        ({"core": "gru"}, "_nec_gru_cartpole_seed3"),
        ({"task": ["steps=3", "env.id=My/Maze-v0"]}, "_nec_cartpole-My-Maze-v0_seed3"),
        ({"task": ["my.env.id=3", "env.ids=3"]}, "_nec_cartpole_seed3"),
        ({"name": "first"}, "_first_nec_cartpole_seed3"),
        ({"name": None, "resume": None}, "_nec_cartpole_seed3"),
    ],
)
def test_a_run_is_named_by_what_was_chosen(given, ends):
    prepared.prepare()
    prepared.prepare()  # as often as one likes
    config = root(**given)
    config.folder = "${run_folder:}"
    assert re.fullmatch(rf"runs/\d{{4}}-\d\d-\d\d_\d\d-\d\d-\d\d{ends}", config.folder)


@pytest.mark.parametrize("given", [{"resume": "runs/mine"}, {"run": "runs/mine"}, {"run": None}])
def test_a_run_that_exists_has_its_folder(given):
    prepared.prepare()
    config = root(**given)
    config.folder = "${run_folder:}"
    assert config.folder == "." and set(prepared.PATHS) == {"resume", "run", "out"}
