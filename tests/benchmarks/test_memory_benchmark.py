"""The memory's benchmark yields every figure of the claims, with its sizes, and refuses what it does not know."""

import json

import pytest
import torch

from benchmarks import provenance
from benchmarks.memory import __main__ as command
from benchmarks.memory import soak
from benchmarks.memory.__main__ import main
from benchmarks.memory.approximate import recall
from benchmarks.memory.measure import Figure, side_by_side, trajectories
from engram_rl.memory import DifferentiableNeuralDictionary, IVFIndex

CLAIMED = {
    "exact_32x100k",
    "exact_8x10k",
    "masked",
    "backward_growth",
    "write_growth",
    "write_stall_ms",
    "ann_speedup",
    "ann_recall",
    "ann_recall_after_churn",
    "ann_stall_ms",
    "ann_recall_error",
    "ann_offset_speedup",
    "ann_clusters_speedup",
    "beside_codes",
    "codes_alone",
    "weaker_newcomers",
    "alternating_k",
    "torch_search_mib",
    "ten_million_peak_gib",
    "bytes_per_entry",
    "ten_million_speedup",
}


def test_every_claimed_figure_is_a_line_with_value_unit_and_sizes(tmp_path, capsys):
    threads = torch.get_num_threads()
    try:
        assert main([f"out={tmp_path / 'figures.jsonl'}", "tiny=true"]) == 0
    finally:
        torch.set_num_threads(threads)
    records = [json.loads(line) for line in (tmp_path / "figures.jsonl").read_text().splitlines()]
    assert {r["name"] for r in records} >= CLAIMED
    told = {"name", "value", "unit", "limit", "threads", "seed", "commit", "dirty", "cpu", "date", "versions"}
    assert all(told <= r.keys() for r in records)
    figures = {r["name"]: r["value"] for r in records}
    assert figures["masked_lost"] == 0
    assert figures["ann_recall"] > 0.9 and figures["ten_million_recall"] > 0.9
    assert "exact_8x10k" in capsys.readouterr().out


@pytest.mark.parametrize(("change", "again"), [({}, False), ({"commit": "b"}, True), ({"dirty": True}, True)])
def test_what_was_measured_with_the_same_code_is_kept_and_what_was_not_is_replaced(
    monkeypatch, tmp_path, change, again
):
    measured = []

    def figure(options):
        measured.append(options.seed)
        yield Figure("exact_8x10k", len(measured), "x", "<= 9")

    setting = {"commit": "a", "dirty": False, "cpu": "this", "date": "today", "versions": {}}
    monkeypatch.setattr(command, "MEASUREMENTS", {"exact_8x10k": figure, "masked": lambda o: iter([])})
    monkeypatch.setattr(command, "set_threads", lambda threads: None)
    out = tmp_path / "figures.jsonl"
    out.write_text(json.dumps({"name": "masked", "value": 1.0, "unit": "x", "limit": "<= 2", "ok": True}) + "\n")
    for now in (setting, setting | change):
        for asking in (command, provenance):
            monkeypatch.setattr(asking, "origin", lambda now=now: now)
        assert main([f"out={out}", "only=[exact_8x10k]"]) == 0
    rows = {row["name"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert len(measured) == 1 + again and rows["exact_8x10k"]["value"] == len(measured)
    assert rows["masked"]["value"] == 1.0


def test_an_unknown_figure_is_refused(tmp_path, capsys):
    assert main(["only=[maskd]", f"out={tmp_path / 'f'}"]) == 2
    assert "choose from" in capsys.readouterr().err and not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("value", "limit", "holds"), [(1.0, "<= 1.0", True), (1.1, "<= 1.0", False), (3, ">= 4", False)]
)
def test_a_figure_says_whether_it_holds(value, limit, holds):
    assert Figure("f", value, "x", limit).record()["ok"] is holds


def test_calls_take_turns():
    order = []
    taken = side_by_side(3, {"a": lambda: order.append("a"), "b": lambda: order.append("b")})
    assert order == ["a", "b"] * 4 and all(len(t) == 3 for t in taken.values())


def test_recall_counts_the_true_neighbours_that_are_found():
    index = IVFIndex(lists=16, probes=1, start=100, check_every=0)
    memory = DifferentiableNeuralDictionary(4, 1, 1000, 50, index=index)
    keys = trajectories(1000, 4, torch.Generator().manual_seed(0))
    memory.write(keys, torch.zeros(1000, 1))
    index.build(1000)
    query = keys[::50] + 0.001
    true = torch.cdist(query.double(), keys.double()).topk(50, largest=False).indices
    found = memory.lookup(query).slots
    by_hand = sum(len(set(t.tolist()) & set(f.tolist())) / 50 for t, f in zip(true, found, strict=True)) / len(query)
    assert by_hand < 0.9 and recall(memory, query) == pytest.approx(by_hand)


def test_nothing_piles_up_while_parts_of_keys_are_asked_for(tmp_path):
    assert soak.main([f"out={tmp_path / 'soak.jsonl'}", "writes=12800", "capacity=500"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "soak.jsonl").read_text().splitlines()]
    assert {row["index"] for row in rows} == {"exact", "cached", "ivf", "auto"}
    assert all(row["writes"] == 12_800 and row["growth_mb"] < 8 for row in rows)
