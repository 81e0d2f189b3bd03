"""The benchmark of forgetting runs, and its worlds and variants are what they are called."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import forgetting
from benchmarks.forgetting_worlds import WORLDS, live_through, variants

SMALL = replace(WORLDS[0], places=12, visits=3, step=4, capacity=100)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def test_tiny_run_writes_records_a_table_and_a_picture(tmp_path, capsys):
    out, figure = tmp_path / "records.jsonl", tmp_path / "figure.png"
    forgetting.main([f"out={out}", f"figure={figure}", "tiny=true"])
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(records) == len(WORLDS) * len(variants(2)) * len(forgetting.MOMENTS) * 2
    assert all(record["low"] <= record["value"] <= record["high"] for record in records)
    assert figure.stat().st_size > 10_000
    assert "contradiction" in capsys.readouterr().out


def test_every_variant_sees_the_same_world():
    for world in WORLDS:
        first, second = (next(live_through(world, 1, seed=3)) for _ in range(2))
        assert torch.equal(first.values, second.values)
        one, other = next(first.experiences), next(second.experiences)
        assert torch.equal(one.keys, other.keys) and torch.equal(one.values, other.values)


def test_each_sweep_visits_every_place_once_among_what_passes_by():
    world = replace(SMALL, passing=3)
    task = next(live_through(world, 1, seed=0))
    seen = torch.cat([experience.identity for experience in task.experiences])
    assert len(seen) == world.writes == 12 * 3 * 4
    places = seen[seen < world.places].reshape(world.visits, -1)
    assert all(torch.equal(sweep.sort().values, torch.arange(world.places)) for sweep in places)


def test_values_shift_between_tasks_and_places_stay():
    first, second = live_through(SMALL, 2, seed=0)
    assert torch.equal(first.keys, second.keys)
    assert not torch.equal(first.values, second.values)


def test_one_visit_after_a_shift_contradiction_has_learned_and_keeping_everything_has_not():
    errors = {}
    for name in ("none", "contradiction"):
        variant = variants(2)[name](SMALL)
        errors[name] = list(forgetting.errors_of(SMALL, variant, 2, seed=0))[1]
    assert errors["none"][0] == pytest.approx(errors["contradiction"][0], abs=0.01) and errors["none"][0] > 0.2
    assert errors["contradiction"][1] < errors["none"][1] / 3


def test_measuring_the_error_leaves_the_memory_as_it_is():
    variant = variants(1)["lru"](SMALL)
    task = next(live_through(SMALL, 1, seed=0))
    variant.live(next(task.experiences))
    before = variant.memory.forgetting.score.clone()
    variant.error(task)
    assert torch.equal(variant.memory.forgetting.score, before)
