"""What the first version left loads: runs go on and are evaluated with the same numbers, memories answer alike."""

import json
import tarfile
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config
from engram_rl.agents.common.exploration import EPSILON
from engram_rl.agents.common.replay import Replay
from engram_rl.agents.retrieval.options import AttentionOptions, RetrievalOptions
from engram_rl.agents.retrieval.situations import PlaceSituations
from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.reading import make_kernel
from engram_rl.training import evaluate, train
from engram_rl.training.legacy import (
    MODULES,
    checkpoint_today,
    config_today,
    metrics_today,
    named_today,
    override_today,
    run_today,
    state_today,
)
from engram_rl.training.legacy_agents import SAID, SCALED, UNSAID, agent_today, constant, with_first_rule

FIXTURE = Path(__file__).parent / "fixtures" / "first_version.tar.xz"
AGENTS = ("nec", "mfec", "fast_slow", "ppo", "retrieval_ppo")
MEMORIES = ("plain", "lru", "fifo", "priority", "decay", "trust")


@pytest.fixture(scope="module")
def first_version(tmp_path_factory):
    """Run folders of 600 steps and memory files, written by commit 49521ca, and what became of them there."""
    folder = tmp_path_factory.mktemp("first")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "first_version"


@pytest.mark.parametrize("agent", AGENTS)
def test_its_runs_are_evaluated_alike(first_version, command, tmp_path, agent):
    status, printed = command(evaluate.main, f"run={first_version / agent}", "episodes=3", f"out={tmp_path}")
    assert status == 0, printed
    then, now = (json.loads((path / "evaluation.json").read_text()) for path in (first_version / agent, tmp_path))
    for name in ("trained", "untrained"):
        assert now["agents"][name]["returns"] == then["agents"][name]["returns"]
        assert now["agents"][name]["lengths"] == then["agents"][name]["lengths"]


@pytest.mark.parametrize("agent", AGENTS)
def test_its_runs_go_on_with_the_same_episodes(first_version, command, agent):
    run = first_version / agent
    status, printed = command(train.main, f"resume={run}", "steps=900", "progress=false")
    assert status == 0, printed
    assert (run / "episodes.jsonl").read_text() == (run / "episodes_after_resuming.jsonl").read_text()


@pytest.mark.parametrize("name", MEMORIES)
def test_its_memory_files_answer_alike(first_version, name):
    memory = DifferentiableNeuralDictionary.load(first_version / "memories" / f"{name}.safetensors")
    then = json.loads((first_version / "memories" / f"{name}.json").read_text())
    found = memory.lookup({part: torch.tensor(rows) for part, rows in then["query"].items()}, touch=False)
    assert found.slots.tolist() == then["slots"]
    torch.testing.assert_close(found.value, torch.tensor(then["value"]))
    assert memory.forgetting.weakest(10, memory.used).tolist() == then["weakest"]
    torch.testing.assert_close(memory.strength(memory.slots).tolist(), then["strength"])


BETWEEN = Path(__file__).parent / "fixtures" / "one_rule_of_scaling.tar.xz"
BETWEEN_AGENTS = ("nec", "mfec", "ppo", "self_imitation_ppo", "retrieval_ppo_view")


@pytest.fixture(scope="module")
def between(tmp_path_factory):
    """Run folders of 400 steps in symbols of MiniGrid, written by commit 46e22e6, and what became of them there."""
    folder = tmp_path_factory.mktemp("between")
    with tarfile.open(BETWEEN) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.mark.parametrize("agent", BETWEEN_AGENTS)
def test_runs_of_the_time_when_there_was_one_rule_of_scaling_are_evaluated_and_go_on_with_it(
    between, command, tmp_path, agent
):
    run = between / agent
    status, printed = command(evaluate.main, f"run={run}", "episodes=3", f"out={tmp_path}")
    assert status == 0, printed
    then, now = (json.loads((path / "evaluation.json").read_text()) for path in (run, tmp_path))
    assert now["memory"] == "frozen"
    for name in ("trained", "untrained"):
        assert now["agents"][name]["returns"] == then["agents"][name]["returns"]
    status, printed = command(train.main, f"resume={run}", "steps=600", "progress=false")
    assert status == 0, printed
    assert (run / "episodes.jsonl").read_text() == (run / "episodes_after_resuming.jsonl").read_text()
    assert OmegaConf.load(run / "config.yaml").agent.scale_rule == 1
    status, printed = command(train.main, f"resume={run}", "steps=640", "progress=false")
    assert status == 0, printed


@pytest.mark.parametrize("factory", SCALED)
def test_only_runs_of_agents_of_ours_begun_before_there_were_two_rules_keep_the_first(factory):
    ours = {"_target_": f"engram_rl.agents.x.{factory}", "retrieval": {"neighbours": 3}, "view": VIEW}
    kept = run_today({"agent": ours, "seed": 1})["agent"]
    assert kept["scale_rule"] == 1 and kept["view"].get("scale_rule", 1) == 1
    assert kept.get("bootstrap", kept["retrieval"].get("bootstrap", False)) is False
    assert run_today({"agent": kept, "seeding": "counted"})["agent"] == kept
    for agent, more in ((ours, {"seeding": "spawned"}), (ours | {"_target_": f"mine.{factory}"}, {})):
        assert run_today({"agent": agent} | more)["agent"] == agent


VIEW = {"_target_": "engram_rl.agents.retrieval.situations.ProjectionSituations"}


BEFORE_NAMES = Path(__file__).parent / "fixtures" / "before_named_states.tar.xz"


@pytest.fixture(scope="module")
def before_names(tmp_path_factory):
    """Run folders of 600 steps whose recurrent state was one tensor, and what became of them then."""
    folder = tmp_path_factory.mktemp("before")
    with tarfile.open(BEFORE_NAMES) as archive:
        archive.extractall(folder, filter="data")
    return folder / "before_named_states"


@pytest.mark.parametrize("agent", ["ppo_gru", "ppo_gru_carried"])
def test_runs_whose_recurrent_state_had_no_names_go_on_and_are_evaluated_alike(before_names, command, tmp_path, agent):
    run = before_names / agent
    status, printed = command(evaluate.main, f"run={run}", "episodes=3", f"out={tmp_path}")
    assert status == 0, printed
    then, now = (json.loads((path / "evaluation.json").read_text()) for path in (run, tmp_path))
    assert now["agents"]["trained"]["returns"] == then["agents"]["trained"]["returns"]
    status, printed = command(train.main, f"resume={run}", "steps=900", "progress=false")
    assert status == 0, printed
    assert (run / "episodes.jsonl").read_text() == (run / "episodes_after_resuming.jsonl").read_text()


def test_a_recurrent_state_gets_names_where_it_had_none():
    gru = {"core._gru.weight_ih_l0": torch.ones(6, 3), "encoder.0.bias": torch.zeros(3)}
    old = {"policy": gru, "state": torch.ones(4, 2), "rollout": {"initial_state": torch.zeros(4, 2), "steps": {}}}
    new = checkpoint_today({"agent": old}, version=2)["agent"]
    assert [*new["policy"]] == ["core.unit.weight_ih_l0", "encoder.0.bias"]
    assert torch.equal(new["state"]["hidden"], torch.ones(4, 2))
    assert torch.equal(new["rollout"]["initial_state"]["hidden"], torch.zeros(4, 2))
    none = {"policy": {}, "state": torch.ones(4, 0), "rollout": {"initial_state": None}}
    assert checkpoint_today({"agent": none}, version=2)["agent"]["state"] == {}
    for unchanged in ({"agent": new}, {"agent": {"state": torch.ones(4)}}, {"agent": 3}):
        assert checkpoint_today(unchanged, version=2) == unchanged
    assert checkpoint_today({"agent": old}, version=3) == {"agent": old}


GIVEN = {
    "nec": "nec learn_after=200 memory.capacity=500 +replay_capacity=500 hidden=[16] key_size=8",
    "mfec": "mfec memory.capacity=500 +bootstrap=false",
    "fast_slow": "fast_slow memory.capacity=500 fast=true hidden=[16]",
    "ppo": "ppo hidden=[16,16] num_steps=32 minibatch_size=64",
    "retrieval_ppo": "retrieval_ppo cut_at_episode_ends=false hidden=[16,16] num_steps=16 minibatch_size=64 "
    "memory.capacity=500",
}


@pytest.fixture(scope="module")
def untouched(tmp_path_factory):
    """The same folders, which no run has gone on in."""
    folder = tmp_path_factory.mktemp("untouched")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "first_version"


@pytest.mark.parametrize("agent", AGENTS)
def test_its_configurations_are_those_that_todays_yamls_give(untouched, agent):
    stored = OmegaConf.to_container(OmegaConf.load(untouched / agent / "config.yaml"))
    assert config_today(stored)["agent"] == agent_config(GIVEN[agent])


def test_what_an_old_run_had_of_its_own_reaches_what_takes_it():
    old = {"_target_": "agents.nec.make_nec", "optimiser": None, "learn_every": 16, "double": False}
    own = {"_target_": "agents.retrieval_ppo.make_retrieval_ppo", "here": 3, "least_trust": 0.5, "refuted": 0.05}
    linear = {"_target_": "agents.schedules.Linear", "start": 0.2, "end": 0.2, "steps": 1}
    assert config_today({"agent": old})["agent"] == {
        "_target_": "engram_rl.agents.nec.make_nec",
        "learning_rate": None,
        "learn_every": 16,
    }
    assert config_today({"agent": own | {"clip": linear}})["agent"] == {
        "_target_": "engram_rl.agents.retrieval_ppo.make_retrieval_ppo",
        "retrieval": {
            "_target_": "engram_rl.agents.retrieval.options.RetrievalOptions",
            "neighbours": 3,
            "min_confidence": 0.5,
            "bootstrap": False,
        },
        "clip": 0.2,
    }


def test_names_that_were_never_ours_stay():
    assert named_today("agents.nec.make_nec") == "engram_rl.agents.nec.make_nec"
    for name in ("torch.optim.Adam", "my_agents.nec.make", "memory", "engram_rl.memory.Decay"):
        assert named_today(name) == name


def test_places_are_moved_for_agents_of_ours_only(monkeypatch):
    monkeypatch.setattr(
        "engram_rl.training.legacy.KEYS", {"agent.horizon": "agent.deep.n_step", "log.film": "log.video"}
    )
    old = {"agent": {"_target_": "agents.nec.make_nec", "horizon": 5}, "log": {"film": True}, "env": {"kwargs": {}}}
    assert config_today(old) == {
        "agent": {"_target_": "engram_rl.agents.nec.make_nec", "deep": {"n_step": 5}},
        "log": {"video": True},
        "env": {"kwargs": {}},
    }
    own = {"agent": {"_target_": "mine.make", "horizon": 5}}
    assert config_today(own) == own


def test_parts_of_states_are_moved_by_pattern(monkeypatch):
    table = {"extras.*.ballot": "extras.*.votes", "trace": "episode", "net.a._layers.1.*": "net.a.2.*"}
    monkeypatch.setattr("engram_rl.training.legacy.STATES", table)
    state = {"extras": [{"ballot": {"low": 1}}, {"rows": 4}], "trace": {"rows": 2}, "steps": [3, 4]}
    weights = {"net": {"a._layers.1.bias": 5, "b.1.bias": 6}, "optimiser": {0: {"step": 7}}}
    assert state_today(state | weights) == {
        "extras": [{"votes": {"low": 1}}, {"rows": 4}],
        "episode": {"rows": 2},
        "steps": [3, 4],
        "net": {"a.2.bias": 5, "b.1.bias": 6},
        "optimiser": {0: {"step": 7}},
    }


@pytest.mark.parametrize("count", [0, 3, 9])
def test_what_self_imitation_kept_in_a_ring_of_its_own_is_a_replay(count):
    ring = {"gained": torch.zeros(4), "seen": torch.zeros(4, 2)} if count else {}
    for step in range(count):
        ring["gained"][step % 4] = step
    draws = torch.Generator().manual_seed(1).get_state()
    old = {"imitation": {"kept": ring, "count": count, "returns": {"count": np.zeros(2)}, "draws": draws}}
    replay = Replay(4, torch.Generator())
    replay.load_state_dict(state_today(old)["imitation"]["replay"])
    assert len(replay) == min(count, 4)
    if count:
        replay.add({"gained": np.full(1, count, np.float32), "seen": np.zeros((1, 2), np.float32)})
        assert set(replay.sample(100)["gained"]) == set(range(max(count - 3, 0), count + 1))


def factory_of(name):
    return getattr(import_module(f"engram_rl.agents.{name.removeprefix('make_')}"), name)


def taken_today(name, place):
    """What a factory takes for a value that is not said, by its signature and those of what it is given."""
    group, _, part = place.rpartition(".")
    inner: dict[str, Any] = {
        "attention": vars(AttentionOptions()),
        "exploration": vars(EPSILON),
        "memory": defaults(DifferentiableNeuralDictionary),
        "retrieval": vars(RetrievalOptions(neighbours=1)),
        "view": defaults(PlaceSituations),
    }
    of_ppo = defaults(factory_of("make_ppo")) if "ppo" in name else {}
    return inner[group][part] if group else (of_ppo | defaults(factory_of(name)))[place]


def defaults(made):
    found = signature(made).parameters.values()
    return {one.name: one.default for one in found if one.default is not one.empty}


def as_written(value):
    """What is made of a part that a configuration describes: its function and arguments, with defaults."""
    if isinstance(value, dict):
        module, _, name = value["_target_"].rpartition(".")
        made, words = getattr(import_module(module), name), {k: v for k, v in value.items() if not k.startswith("_")}
        return made, defaults(made) | words
    if isinstance(value, partial):
        return value.func, defaults(value.func) | value.keywords
    return value, defaults(value) if callable(value) else {}


PLACES = [(name, place) for name in UNSAID for place in UNSAID[name]]


@pytest.mark.parametrize(("name", "place"), PLACES, ids=[".".join(one) for one in PLACES])
def test_only_what_a_factory_takes_today_anyway_is_left_unsaid(name, place):
    then, now = UNSAID[name][place], taken_today(name, place)
    if place == "memory.kernel":
        then = make_kernel(then)
    if place == "scale_rewards":
        now = bool(now)  # not said it is decided by whether the agent has a memory core; then it was not
    assert as_written(then) == as_written(now)

    def configured(value):
        agent: dict[str, Any] = {"_target_": f"engram_rl.agents.x.{name}", "kept": {"a": 1}}
        *groups, last = place.split(".")
        node = agent
        for group in groups:
            node = node.setdefault(group, {"_target_": "mine.Group"})
        node[last] = value
        return agent

    def said(agent):
        for part in place.split("."):
            agent = agent.get(part, {})
        return agent

    assert said(agent_today(configured(UNSAID[name][place]))) == {}
    assert agent_today(configured(UNSAID[name][place]))["kept"] == {"a": 1}
    assert said(agent_today(configured("other"))) == "other"
    assert said(agent_today(configured(UNSAID[name][place]) | {"_target_": "mine.make"})) == UNSAID[name][place]


def test_optimisers_and_kernels_are_those_of_the_first_version():
    """As its YAMLs had them, which the papers give (Pritzel et al. 2017, and usual PPO)."""
    nec, ppo = UNSAID["make_nec"], UNSAID["make_ppo"]
    assert (nec["optimiser"]["alpha"], nec["optimiser"]["eps"], nec["optimiser"]["_partial_"]) == (0.9, 0.01, True)
    assert (nec["row_optimiser"]["alpha"], nec["row_optimiser"]["eps"]) == (0.9, 0.01)
    assert nec["row_optimiser"]["_partial_"] and UNSAID["make_fast_slow"]["planner"]["_partial_"]
    assert (ppo["optimiser"]["eps"], ppo["optimiser"]["fused"], ppo["optimiser"]["_partial_"]) == (1e-5, True, True)


def test_what_was_another_default_once_is_said_unless_it_is_said_already():
    for name, place, first in (
        ("make_mfec", "bootstrap", False),
        ("make_self_imitation_ppo", "bootstrap", False),
        ("make_self_imitation_ppo", "prioritisation", 0.0),
    ):
        target = {"_target_": f"engram_rl.agents.x.{name}"}
        assert agent_today(dict(target))[place] == first != defaults(factory_of(name))[place]
        assert agent_today(target | {place: 0.7})[place] == 0.7
    assert RetrievalOptions(neighbours=1).bootstrap is True
    retrieval = {"_target_": "engram_rl.agents.x.make_retrieval_ppo", "retrieval": {"neighbours": 3}}
    assert agent_today(retrieval)["retrieval"]["bootstrap"] is False
    for none in ({}, {"neighbours": 0}):  # reward sites alone keep no returns
        agent = agent_today({"_target_": "engram_rl.agents.x.make_retrieval_ppo", "retrieval": none})
        assert "bootstrap" not in agent["retrieval"]
    assert "retrieval" not in agent_today({"_target_": "engram_rl.agents.x.make_retrieval_ppo"})
    assert set(SAID) == {"make_mfec", "make_self_imitation_ppo", "make_retrieval_ppo"}


def test_an_optimiser_that_was_none_is_a_rate_of_none():
    target = {"_target_": "engram_rl.agents.nec.make_nec"}
    assert agent_today(target | {"optimiser": None}) == target | {"learning_rate": None}
    assert agent_today(target | {"row_optimiser": None, "optimiser": "mine"}) == target | {
        "row_learning_rate": None,
        "optimiser": "mine",
    }


def test_rewards_of_a_recurrent_agent_stay_as_they_were_paid():
    target = {"_target_": "engram_rl.agents.ppo.make_ppo", "scale_rewards": False}
    assert agent_today(target | {"recurrent": 64})["scale_rewards"] is False
    assert "scale_rewards" not in agent_today(target | {"recurrent": 0})
    assert "target_kl" not in agent_today(target | {"recurrent": 64, "target_kl": None})


def test_a_schedule_that_never_changes_is_its_number():
    linear = {"_target_": "engram_rl.agents.common.schedules.Linear", "start": 0.2, "end": 0.2, "steps": 9}
    assert constant(linear) == 0.2
    others: list[Any] = [
        0.3, None, "word", linear | {"end": 0.1}, linear | {"_target_": "mine.Linear"}, {"start": 1, "end": 1},
        {"_target_": linear["_target_"], "steps": 3}, {"_target_": linear["_target_"], "end": 0.1},
        {"_target_": linear["_target_"], "start": 0.1},
    ]  # fmt: skip
    for other in others:
        assert constant(other) == other


def test_the_first_rule_of_scaling_is_said_where_numbers_are_scaled():
    target = {"_target_": "engram_rl.agents.x.make_retrieval_ppo"}
    for view, said in (("ProjectionSituations", True), ("PlaceSituations", False), ("MyProjectionSituations", False)):
        agent = with_first_rule(target | {"view": {"_target_": f"engram_rl.agents.{view}"}})
        assert agent["scale_rule"] == 1 and agent["view"].get("scale_rule") == (1 if said else None)
    assert with_first_rule(target | {"view": dict(VIEW), "scale_rule": 2})["scale_rule"] == 2
    other = {"_target_": "engram_rl.agents.x.make_fast_slow"}
    assert with_first_rule(dict(other)) == other


@pytest.mark.parametrize("old", MODULES)
def test_a_name_that_moved_stands_for_all_that_is_in_it(old):
    assert named_today(old) == MODULES[old] and named_today(f"{old}.Part") == f"{MODULES[old]}.Part"
    assert named_today(f"{old}Other") == f"engram_rl.{old}Other" != f"{MODULES[old]}Other"


@pytest.mark.parametrize("room", ["agents", "conf", "envs", "memory", "training"])
def test_rooms_of_the_first_version_lie_in_the_package(room):
    assert named_today(f"{room}.x.Y") == f"engram_rl.{room}.x.Y" and named_today(room) == room
    assert named_today(f"{room}x.Y") == f"{room}x.Y"


@pytest.mark.parametrize(
    ("then", "today"),
    [
        ("agent.horizon=10", "agent.n_step=10"),
        ("agent.optimiser=null", "agent.learning_rate=null"),
        ("agent.row_optimiser=null", "agent.row_learning_rate=null"),
        ("agent.optimiser=mine", "agent.optimiser=mine"),
        ("agent.discount=null", "agent.discount=null"),
        ("agent.optimiser.lr=1e-3", "agent.learning_rate=1e-3"),
        ("agent=nec_eager", "agent=nec_sample_efficient"),
        ("memory=recall_best", "memory=retrieval_best"),
        ("agent.gate", "agent.attention.gate"),
        ("agent.gate.more=1", "agent.attention.gate.more=1"),
        ("gate=1", "gate=1"),
        ("steps=a=b", "steps=a=b"),
    ],
)
def test_an_override_has_todays_place_and_word(then, today):
    assert override_today(then) == today


def test_everything_that_is_built_is_named_as_today_wherever_it_stands():
    old = {
        "env": {"wrappers": [{"_target_": "envs.x.Wrap"}, 3, ["envs.x.Wrap"]], "name": "envs.x.Wrap"},
        "agent": {"_target_": "mine.make", "horizon": 3, "memory": {"index": {"_target_": "memory.kept.KeptIndex"}}},
        "logger": {"_target_": None},
        "log": {"film": True},
        "tags": [],
    }
    assert config_today(old) == {
        "env": {"wrappers": [{"_target_": "engram_rl.envs.x.Wrap"}, 3, ["envs.x.Wrap"]], "name": "envs.x.Wrap"},
        "agent": old["agent"] | {"memory": {"index": {"_target_": "engram_rl.memory.CachedIndex"}}},
        "logger": {"_target_": None},
        "log": {"video": True},
        "tags": [],
    }
    for agent in ("mine", None):
        assert config_today({"agent": agent}) == {"agent": agent}


def test_words_of_the_memory_are_todays_for_agents_of_ours_only():
    memory = {"forgetting": "trust", "index": "kept"}
    ours = config_today({"agent": {"_target_": "agents.nec.make_nec", "memory": dict(memory)}})["agent"]["memory"]
    assert ours == {"forgetting": "confidence", "index": "cached"}
    theirs = {"agent": {"_target_": "mine.make", "memory": memory}}
    assert config_today(theirs) == theirs


@pytest.mark.parametrize("part", ["actor", "critic", "encoder"])
def test_layers_are_counted_with_what_lies_between_them(part):
    for layer in range(8):
        old, new = f"{part}._layers.{layer}", f"{part}.{2 * layer}"
        state = {"policy": {f"{old}.bias": 1, f"{old}.weight": 2}}
        assert state_today(state) == {"policy": {f"{new}.bias": 1, f"{new}.weight": 2}}


def test_parts_of_states_are_where_they_are_today():
    old = {
        "extras": [{"ballot": 1, "hidden": 2}, {"rows": 3}],
        "rollout": {"steps": {"extras": {"recalled": 4, "votes": 5, "more": 6}}},
        "policy": {"actor_fusion.retrieval.weight": 7, "actor_vote.vote.log_strength": 8},
        "imitation": {"replay": 9},
    }
    assert state_today(old) == {
        "extras": [{"action_returns": 1, "dropped": 2}, {"rows": 3}],
        "rollout": {"steps": {"extras": {"shown": 4, "action_returns": 5, "more": 6}}},
        "policy": {"actor_fusion.attention.weight": 7, "logit_bias.log_strength": 8},
        "imitation": {"replay": 9},
    }


def test_the_longest_place_that_is_known_counts(monkeypatch):
    table = {"a": "b", "a.*.c": "d.*", "a.x.c.e": "f"}
    monkeypatch.setattr("engram_rl.training.legacy.STATES", table)
    assert state_today({"a": {"x": {"c": {"e": 1, "g": 2}, "h": 3}}}) == {
        "f": 1,
        "d": {"x": {"g": 2}},
        "b": {"x": {"h": 3}},
    }


def test_a_checkpoint_is_moved_from_the_version_that_it_is_of():
    old = {
        "agent": {"extras": [{"ballot": 1}]},
        "environments": {"state": {"runs": {"phase": 2}}},
        "logger": {"values": {"env/phase": 3, "a": 4}, "last": {"env/phase": 5}, "rows": 6},
        "step": 7,
    }
    today = {
        "agent": {"extras": [{"action_returns": 1}]},
        "environments": {"state": {"runs": {"task_index": 2}}},
        "logger": {"values": {"env/task_index": 3, "a": 4}, "last": {"env/task_index": 5}, "rows": 6},
        "step": 7,
    }
    assert checkpoint_today(old) == checkpoint_today(old, version=1) == today
    assert checkpoint_today(old, version=2) == checkpoint_today(old, version=3) == old
    assert checkpoint_today({"logger": {"rows": 1}}) == {"logger": {"rows": 1}}
    strange = {"agent": 1, "environments": None, "logger": [2]}
    assert checkpoint_today(strange) == strange and checkpoint_today({}) == {}
    assert metrics_today({"env/phase": 1, "b": 2}) == {"env/task_index": 1, "b": 2}
    for agent in ({"policy": 3, "state": torch.ones(4, 2)}, {"policy": {}, "state": 3}):
        assert checkpoint_today({"agent": agent}, version=2) == {"agent": agent}


def test_a_ring_of_one_is_a_replay_of_one():
    old = {"kept": {"gained": torch.tensor([5.0])}, "count": 3, "returns": {}, "draws": 0}
    replay = state_today({"imitation": old})["imitation"]["replay"]
    assert (replay["next"], replay["size"], replay["rows"]["gained"].tolist()) == (0, 1, [5.0])
