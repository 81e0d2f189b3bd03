"""The benchmark of incomplete keys runs, and its variants are what they are called."""

import json

import pytest
import torch

from benchmarks import incomplete_keys
from benchmarks.incomplete_keys import PARTS, SUBSETS, Options, answers, associations


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def data(lacking=0.0, **options):
    return associations(Options(entries=60, **options), lacking, torch.Generator().manual_seed(0))


def test_tiny_run_writes_every_condition_and_prints_the_tables(tmp_path, capsys):
    incomplete_keys.main([f"out={tmp_path / 'records.jsonl'}", "tiny=true"])
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]
    names = {record["name"] for record in records}
    variants = ("incomplete_key", "half_penalty", "zero_filled", "dictionary_per_subset")
    expected = {f"withheld_{n}/{w}/{c}" for n in range(3) for w in ("complete", "lacking") for c in variants}
    matches = ("full_match", "full_match_weighed", "multi_referencing")
    expected |= {f"corrupted/{part}/{match}" for part in PARTS for match in matches}
    assert names == expected
    assert all(0 <= record["low"] <= record["value"] <= record["high"] <= 1 for record in records)
    printed = capsys.readouterr().out
    assert "dictionary_per_subset" in printed and "multi_referencing" in printed


def test_without_noise_everyone_answers_the_whole_query_right():
    exact = data(noise=0.0)
    for answer in answers(exact).values():
        assert exact.score(answer(PARTS)) == 1


def test_one_memory_answers_like_a_dictionary_of_each_subset_when_entries_are_complete():
    noisy = data(noise=0.5)
    by_name = answers(noisy)
    for subset in SUBSETS:
        torch.testing.assert_close(by_name["incomplete_key"](subset), by_name["dictionary_per_subset"](subset))


def test_the_share_of_entries_that_lack_a_part_is_as_asked_and_none_lacks_two():
    sparse = associations(Options(entries=3000), 1 / 3, torch.Generator().manual_seed(0))
    missing = torch.stack([~sparse.present[part] for part in PARTS]).sum(0)
    assert missing.max() == 1
    assert missing.float().mean() == pytest.approx(1 / 3, abs=0.03)


def test_unknown_options_are_refused(capsys):
    with pytest.raises(SystemExit, match="2"):
        incomplete_keys.main(["entires=3"])
    assert "entries" in capsys.readouterr().err
