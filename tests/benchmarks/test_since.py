"""The benchmark of agents now and at a commit: who plays, what is kept, and what is told against its limit."""

import json

import pytest

from benchmarks import since, since_player
from benchmarks.provenance import complete
from engram_rl.training.errors import UsageError


def test_both_trees_play_in_turns_and_only_what_is_missing(tmp_path, monkeypatch, capsys):
    played = []

    def play(tree, kind, size, seconds):
        played.append(tree == since.ROOT)
        return {"entries": size, "steps_per_second": 30.0 if tree == since.ROOT else 10.0}

    monkeypatch.setattr(since, "play", play)
    monkeypatch.setattr(since, "lay_out", lambda commit, folder: folder)
    words = ["only=['search, 10,000 transitions']", "rounds=2", f"out={tmp_path / 'rows.jsonl'}"]
    assert since.main(words) == 0 and since.main(words) == 0
    row = json.loads((tmp_path / "rows.jsonl").read_text())
    assert complete(row) and row["times"] == 3 and row["holds"] and played == [True, False] * 2
    assert "3.00 x (>= 2.0)" in capsys.readouterr().out


def test_a_commit_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match="cannot be had"):
        since.lay_out("no_such_commit", tmp_path)


def test_what_nobody_plays_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"only=\['nec'\] is nothing that is played; give some of \['mfec, 10,000"):
        since.main(["only=[nec]", f"out={tmp_path / 'rows.jsonl'}"])


def test_both_are_played_with_full_memories():
    assert since_player.search(5, 0.02)["entries"] > 16 * 4
    assert since_player.mfec(60, 0.02)["steps_per_second"] > 0
