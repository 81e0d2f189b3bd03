"""NEC beside plain loops: what the loops find, how ours and theirs are timed, and what is kept of it."""

import json

import pytest
import torch

from benchmarks import nec_speed
from benchmarks.naive_nec import Knn, Product, RebuiltIVF, recall_of
from benchmarks.nec_speed import main
from benchmarks.provenance import complete
from engram_rl.training.errors import UsageError


def test_every_loop_has_a_row_and_is_not_timed_again(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(nec_speed, "BARS", {(loop, 120): 1.5 for loop in nec_speed.LOOPS})
    out = tmp_path / "rows.jsonl"
    words = ["agent=nec", "entries=[120]", "environments=[1,2]", "seconds=0.05", "rounds=1", f"out={out}"]
    assert main(words) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(row["environments"], row["loop"]) for row in rows] == [
        (e, loop) for e in (1, 2) for loop in nec_speed.LOOPS
    ]
    for row in rows:
        assert complete(row) and row["recall"] == 1 and row["times"] > 0 and row["loop_recall"] > 0
        assert row["holds"] == (row["times"] >= 1.5) and (row["rebuild_seconds"] > 0) == (row["loop"] == "IVF rebuilt")

    assert main(words) == 0 and len(out.read_text().splitlines()) == 6
    assert "IVF rebuilt, 120 entries, 2 environments" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["loops=[fais.knn]", "entries=[123]", "loops=['IVF rebuilt'] entries=[10000]"])
def test_what_has_no_limit_is_refused_and_told_what_has(word, tmp_path):
    with pytest.raises(UsageError, match="have no limit; give some of naive at 10000, "):
        main([*word.replace("] e", "]|e").split("|"), f"out={tmp_path / 'rows.jsonl'}"])


@pytest.mark.parametrize("search", [Product, Knn])
def test_searches_of_all_keys_find_the_nearest_also_of_changed_keys(search):
    keys = torch.randn(200, 4, generator=torch.Generator().manual_seed(0))
    looking = search(keys)
    keys[[3, 7]] = torch.tensor([[9.0, 9, 9, 9], [9, 9, 9, 8]])
    looking.changed(torch.tensor([3, 7]))
    assert looking.near(torch.full((1, 4), 9.0), 2).tolist() == [[3, 7]]


def test_an_inverted_file_looks_at_as_few_lists_as_find_enough_and_waits_to_be_rebuilt():
    keys = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    looking, queries = RebuiltIVF(keys), torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    looking.tune(queries, 5)
    assert 1 < looking.probes < 20 and recall_of(looking.near(queries, 5), queries, keys) >= 0.95
    keys[0] = 9.0
    looking.changed(torch.tensor([0]))
    assert looking.near(torch.full((1, 4), 9.0), 1).item() != 0
    looking.rebuild()
    assert looking.near(torch.full((1, 4), 9.0), 1).item() == 0 and looking.index.nprobe == looking.probes
