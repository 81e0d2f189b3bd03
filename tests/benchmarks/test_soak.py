"""The soak benchmark measures what it says, and would show a leak."""

import json

import numpy as np
import pytest

from benchmarks.soak import SoakBench, main, summarise


def test_a_short_soak_leaves_its_rows_and_a_figure(tmp_path):
    out, figure = tmp_path / "soak.jsonl", tmp_path / "soak.png"
    assert main(["steps=6400", "num_envs=16", "capacity=50", f"out={out}", f"figure={figure}"]) == 0
    *parts, whole = [json.loads(line) for line in out.read_text().splitlines()]
    assert len(parts) == 20
    assert whole["steps"] == 6400
    assert 0 < whole["full_at"] < 6400
    assert whole["entries"] == 200
    assert whole["evictions"] > 0
    assert figure.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(("leak", "slowing"), [(0.0, 1.0), (0.5, 1.3)])
def test_a_leak_and_a_slowing_are_seen(leak, slowing):
    seconds = np.concatenate([np.arange(100), 99 + slowing * np.arange(1, 101)])
    rows = [
        {
            "step": 100 * (i + 1), "memory/size": 50, "memory/evictions": i, "time/rss_mb": 500 + leak * i,
            "time/processor_s": float(seconds[i]),
        }
        for i in range(200)
    ]  # fmt: skip
    whole = summarise(rows, SoakBench())[-1]
    assert whole["rss_growth_mb"] == pytest.approx(leak * 200 * 3 / 4, abs=10 * leak)
    assert whole["speed_change"] == pytest.approx(1 / slowing - 1, abs=0.01)
