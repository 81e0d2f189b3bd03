"""The benchmark of environments on workers runs, goes on where it stopped, and counts what is lost."""

import json

import pytest

from benchmarks.cluster.__main__ import ClusterBench, main, runs_of
from engram_rl.training.errors import UsageError


@pytest.mark.cluster
@pytest.mark.usefixtures("ray_here")
@pytest.mark.filterwarnings("default")
def test_it_times_compares_and_kills_and_measures_nothing_twice(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    given = ["tiny=true", "progress=false", f"out={out}"]
    assert main(given) == 0
    rows = {row["name"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert len(rows) == 8
    shards = rows["1,000 entries in shards"]
    assert shards["shards"] == ["one memory", 2] and shards["largest_difference"] < 1e-5 and shards["holds"]
    waits = rows["steps of 20 ms"]
    assert waits["ratios"][0] == 1 and all(took > 20 for took in waits["vector_step_ms"])
    assert rows["nec against one process"]["differences"] == [] and rows["nec against one process"]["episodes"] > 2
    killed = rows["1 kills of workers"]
    assert killed["lost_episodes"] == killed["most_allowed"] == 1 and killed["holds"]
    learned = rows["ppo on cartpole"]
    assert {name: len(each) for name, each in learned["returns"].items()} == {"one": 1, "actors": 1}
    assert rows["1 kills of actors"]["killed"] == 1 and rows["1 kills of actors"]["whole"]
    assert "asynchronous" in capsys.readouterr().out
    before = out.read_bytes()
    assert main(given) == 0
    assert out.read_bytes() == before


def test_every_claim_of_the_issue_has_a_run():
    runs = list(runs_of(ClusterBench()))
    assert {run.agent for run in runs if run.kind == "equal"} == {"nec", "mfec", "ppo", "retrieval_ppo", "fast_slow"}
    limits = {run.name: run.limit for run in runs if run.limit}
    assert limits == {"steps of 20 ms": 12, "steps of 4 to 40 ms, drawn": 1.5, "environments of 4 to 40 ms": 1.5}
    with pytest.raises(UsageError, match="unknown kind 'timd'"):
        main(["only=[timd]"])
