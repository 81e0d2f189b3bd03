"""The benchmark of GPUs runs where there is none, tiny, and says what it leaves out."""

import json
from importlib.util import find_spec

import pytest
import torch

from benchmarks.gpu import __main__ as gpu
from benchmarks.provenance import complete
from engram_rl.training.errors import UsageError


def run(path, *words):
    status = gpu.main([f"out={path / 'gpu.jsonl'}", "device=cpu", "tiny=true", *words])
    found = (path / "gpu.jsonl").read_text().splitlines() if (path / "gpu.jsonl").exists() else []
    return status, {row["name"]: row for row in map(json.loads, found)}


def test_rows_say_what_was_measured_beside_what_the_device_can_do(tmp_path, capsys):
    status, rows = run(tmp_path, "only=[limits,search]")
    assert status == 0 and list(rows) == ["limits", "search_32", "search_512"]
    best, found = rows["limits"], rows["search_32"]
    assert all(complete(row) and row["tiny"] and row["device"] == "cpu" for row in rows.values())
    assert found["value"] == pytest.approx(found["lookup_ms"] / found["torch_ms"], rel=1e-2)
    assert found["ok"] == (found["value"] <= 1.2)
    assert found["share_of_gb_s"] == pytest.approx(found["gb_s"] / best["gb_s"], rel=1e-2)
    assert "search_512" in capsys.readouterr().out


def test_rows_of_other_parts_stay(tmp_path):
    run(tmp_path, "only=[search]")
    rows = run(tmp_path, "only=[limits]")[1]
    assert list(rows) == ["search_32", "search_512", "limits"]
    assert "share_of_gb_s" not in rows["search_32"]


def test_what_needs_what_is_missing_is_left_out_and_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "find_spec", lambda name: None if name == "faiss" else find_spec(name))
    assert run(tmp_path, "only=[learning,limits]")[0] == 0
    assert "learning is left out: faiss not installed here" in capsys.readouterr().out


def test_what_would_begin_too_late_is_left_out_and_said(tmp_path, capsys):
    assert run(tmp_path, "only=[limits]", "seconds=0") == (0, {})
    assert "limits is left out: seconds=0 are over" in capsys.readouterr().out


def test_a_part_that_breaks_takes_no_other_with_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gpu, "_limits", lambda options: iter([{}]))
    status, rows = run(tmp_path, "only=[limits,search]")
    assert status == 1 and list(rows) == ["search_32", "search_512"]
    assert "limits broke" in capsys.readouterr().out


def test_an_unknown_part_and_a_device_that_is_not_there_are_refused(tmp_path, monkeypatch):
    with pytest.raises(UsageError, match=r"no part 'serach'.*search"):
        run(tmp_path, "only=[serach]")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match="device is cuda, but torch sees no NVIDIA GPU here"):
        run(tmp_path, "device=cuda")
