"""Anybody's agent lives through a world, and its rows say what each episode cost."""

import json
import subprocess
import sys

import gymnasium
import numpy as np
import pytest

from benchmarks.shift.measure import measure
from benchmarks.shift.specs import run_specs
from engram_rl.envs.scoring import FIELDS, WORLDS, UnfinishedRunError, World, complaints, evaluate, write_rows
from engram_rl.envs.scoring.rows import LISTS, scores

FEW = World("Few", "engram/HiddenGoal-v0", 6, "the goal", {"n": 4, "period": 3})


def walk(env, seed):
    """A random walk in the manner of a single file's loop."""
    random = np.random.default_rng(seed)
    while not env.finished:
        env.reset(seed=seed)  # the driver's own seed is ignored
        done = False
        while not done:
            _, _, terminated, truncated, _ = env.step(int(random.integers(env.action_space.n)))
            done = terminated or truncated


def test_a_row_says_what_each_episode_cost_and_took_at_best():
    (row,) = evaluate(walk, FEW, [3], agent="walk", source="here")
    assert set(FIELDS) <= set(row) and row["seed"] == 3 and row["budget"] == "own"
    env = FEW.make()
    optimum = [env.reset(seed=3 if episode == 0 else None)[1]["oracle_steps"] for episode in range(6)]
    assert row["optimum"] == optimum and row["task_index"] == [0, 0, 0, 1, 1, 1]
    assert row["regret"] == sum(row["costs"]) - sum(optimum) and row["steps"] == sum(row["costs"])
    assert row["solved"] == sum(row["solves"]) > 0


def test_runs_are_repeatable_and_seeds_differ():
    one, other, again = (next(evaluate(walk, FEW, [s], agent="w", source="x"))["costs"] for s in (0, 1, 0))
    assert one == again != other


def test_a_layout_seed_settles_the_world_for_all_seeds():
    rows = list(evaluate(walk, FEW, [0, 1], agent="w", source="x", layout_seed=7))
    assert rows[0]["optimum"] == rows[1]["optimum"] and rows[0]["costs"] != rows[1]["costs"]


def test_it_measures_what_the_bench_measures():
    environment = {"id": FEW.id, "kwargs": dict(FEW.kwargs), "wrappers": []}
    row = measure(run_specs("few", environment, ["random"], [5], [None], "own", 6)[0])
    (own,) = evaluate(walk, FEW, [5], agent="w", source="x")
    assert all(own[name] == row[name] for name in ("optimum", "task_index"))
    ours = scores(**{name: row[name] for name in LISTS})
    assert all(row[name] == ours[name] for name in ("regret", "recovery", "solved", "regret_after_shift"))


def test_a_library_that_resets_by_itself_stands_still_after_the_last_episode():
    def play(env, seed):
        env.reset()
        while not env.finished:
            _, _, terminated, truncated, _ = env.step(0)
            if terminated or truncated:
                observation, _ = env.reset()
        assert env.observation_space.contains(observation)
        with pytest.raises(RuntimeError, match="All 6 episodes"):
            env.step(0)

    assert len(next(evaluate(play, FEW, [0], agent="w", source="x"))["costs"]) == 6


def test_a_run_that_is_left_is_refused():
    with pytest.raises(UnfinishedRunError, match=r"Seed 0: 0 of the 6 episodes .* Go on until env.finished"):
        next(evaluate(lambda env, seed: env.reset(), FEW, [0], agent="w", source="x"))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"world": "HidenGoal"}, ValueError, "no world 'HidenGoal'. Did you mean HiddenGoal"),
        ({"world": "zzz"}, ValueError, "There are ShiftWall, "),
        ({"episodes": 0}, ValueError, "episodes must be at least 1"),
        ({"seeds": 5}, TypeError, r"seeds is 5; it must hold.*range\(10\)"),
        ({"layout_seed": -1}, ValueError, "layout_seed must be at least 0"),
        ({"layout_seed": 1.5}, TypeError, "layout_seed must be a whole number"),
        ({"agent": " "}, ValueError, "agent is ' '; it must not be empty"),
        ({"agent": 3}, TypeError, "agent is 3; it must be a text"),
        ({"play": None}, TypeError, "play is None; it must be a function"),
        ({"seeds": [-1]}, ValueError, "seed must be at least 0, got -1"),
        ({"seeds": [0.5]}, TypeError, "seed must be a whole number"),
    ],
)
def test_what_cannot_be_played_is_refused_by_name(options, error, message):
    with pytest.raises(error, match=message):
        list(evaluate(**{"play": walk, "world": FEW, "seeds": [0], "agent": "w", "source": "x"} | options))


@pytest.mark.parametrize("name", WORLDS)
def test_every_world_is_played_as_it_says(name):
    world = WORLDS[name]
    rows = list(evaluate(walk, name, [1], agent="w", source="x", episodes=2))
    assert rows[0]["world"] == name and len(rows[0]["costs"]) == 2
    assert (rows[0]["regret"] is None) == world.by_return
    (only,) = complaints([json.dumps(rows[0])])
    assert only == f"line 1: episodes is 2, but {name} counts {world.episodes}"


def test_rows_are_appended_one_a_line(tmp_path):
    for seed in (0, 1):
        write_rows(tmp_path / "new" / "rows.jsonl", evaluate(walk, FEW, [seed], agent="w", source="x"))
    lines = (tmp_path / "new" / "rows.jsonl").read_text().splitlines()
    assert [json.loads(line)["seed"] for line in lines] == [0, 1]


def test_the_environments_need_nothing_of_the_rest():
    code = """
import sys, pkgutil, importlib, engram_rl.envs as envs
for module in pkgutil.walk_packages(envs.__path__, "engram_rl.envs."):
    importlib.import_module(module.name)
from engram_rl.envs.scoring import WORLDS
for world in WORLDS.values():
    world.make().reset(seed=0)
others = {"torch", "hydra", "omegaconf", "faiss", "tensorboard", "matplotlib", "stable_baselines3", "ale_py"}
rooms = {f"engram_rl.{room}" for room in ("memory", "agents", "training", "conf")}
print(sorted((others | rooms) & set(sys.modules)))
"""
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


def test_worlds_are_those_of_their_ids():
    assert all(gymnasium.spec(world.id) for world in WORLDS.values())
    assert all(name == world.name for name, world in WORLDS.items())
