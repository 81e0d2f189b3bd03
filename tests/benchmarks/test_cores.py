"""The benchmark of the memory cores: tasks that ask what they say, rows for every claim, and nothing measured twice."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks.cores.__main__ import main
from benchmarks.cores.mapping import CELLS, SIDE, VIEW, views_of, visited_by, walked
from benchmarks.cores.measure import CoreRun, half_of, holds, measure
from benchmarks.cores.references import REFERENCES
from benchmarks.cores.report import markdown
from benchmarks.cores.tasks import CLAIMS, LIMITS, SPEED, TASKS
from benchmarks.cores.trials import TRIAL_CLAIMS, TRIALS, TRIED
from engram_rl.memory.cores import CORES, WRAPPERS
from engram_rl.training.errors import UsageError


def drawn(task, hardest=True, episodes=5):
    return TASKS[task].draw(episodes, torch.Generator().manual_seed(3), hardest)


@pytest.fixture(autouse=True)
def _threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("hardest", [False, True])
def test_episodes_have_steps_at_which_something_is_asked_for(task, hardest):
    one = drawn(task, hardest)
    steps, episodes, _ = one.inputs.shape
    assert episodes == 5 and one.bits.shape[:2] == (steps, 5) and one.asked.shape == (steps,)
    assert one.asked.any() and set(one.bits.unique().tolist()) <= {0.0, 1.0}


def test_recall_first_asks_for_the_first_symbol_at_every_step():
    one = drawn("recall_first")
    assert torch.equal(one.bits[..., 0], one.inputs[0, :, 1].expand(20, 5))
    assert one.inputs[..., 2].nonzero()[:, 0].unique().tolist() == [0]


def test_copy_asks_for_what_was_shown_and_shows_it_no_more():
    one = drawn("copy")
    assert len(one.inputs) == 18 and one.asked.sum() == 8
    assert torch.equal(one.bits[one.asked], one.inputs[1:9, :, :6])
    assert not one.inputs[one.asked].any()


def test_repeat_copy_asks_as_often_as_the_end_mark_says():
    one = drawn("repeat_copy", hardest=False)
    shown = int(one.inputs[..., -1].nonzero()[0, 0]) - 1
    times = round(4 * one.inputs[shown + 1, 0, -1].item())
    assert torch.equal(one.bits[one.asked], one.inputs[1 : shown + 1, :, :6].repeat(times, 1, 1))


def test_associative_recall_asks_for_the_item_after_the_one_that_is_shown_again():
    one = drawn("associative_recall")
    items = one.inputs[: 6 * 4].unflatten(0, (6, 4))[:, 1:, :, :6]  # [items, rows, B, 6]
    query, answer = one.inputs[25:28, :, :6], one.bits[one.asked]
    for row in range(5):
        at = next(i for i in range(5) if torch.equal(items[i, :, row], query[:, row]))
        assert torch.equal(items[at + 1, :, row], answer[:, row])


def test_retrieval_asks_for_the_bits_of_each_key():
    one = drawn("retrieval")
    for row in range(5):
        pairs = {int(x[:16].argmax()): (x[16:] > 0).float() for x in one.inputs[:4, row]}
        assert len(pairs) == 4
        for x, bits in zip(one.inputs[4:, row], one.bits[4:, row], strict=True):
            assert torch.equal(pairs[int(x[:16].argmax())], bits) and not x[16:].any()


def test_two_sources_ask_for_the_bits_of_a_key_of_either():
    one = drawn("two_sources")
    for row in range(5):
        for columns, bits in ((slice(0, 10), slice(0, 4)), (slice(10, 20), slice(4, 8))):
            seen = one.inputs[:, row, columns]
            pairs = {int(x[:6].argmax()): (x[6:] > 0).float() for x in seen[:3]}
            assert all(
                torch.equal(pairs[int(x[:6].argmax())], y)
                for x, y in zip(seen[3:], one.bits[3:, row, bits], strict=True)
            )


def test_two_tasks_are_copy_and_then_associative_recall():
    one = drawn("two_tasks")
    assert one.asked.nonzero().flatten().tolist() == [6, 7, 8, 9, len(one.asked) - 1]
    assert torch.equal(one.bits[6:10], one.inputs[1:5, :, :6])
    items, query = one.inputs[11:18:2, :, :6], one.inputs[19, :, :6]
    for row in range(5):
        at = next(i for i in range(3) if torch.equal(items[i, row], query[row]))
        assert torch.equal(items[at + 1, row], one.bits[-1, row])


def test_completion_shows_half_of_a_pattern_that_was_shown_whole():
    one = drawn("completion")
    damaged, answer = one.inputs[-1], 2 * one.bits[-1] - 1
    assert ((damaged != 0).sum(1) == 50).all()
    assert torch.equal(damaged[damaged != 0], answer[damaged != 0])
    assert all(any(torch.equal(one.inputs[5 * i, row], answer[row]) for i in range(3)) for row in range(5))


def test_every_claim_is_of_a_core_and_a_task_that_there_are():
    assert CLAIMS.keys() == {*TASKS, SPEED}
    assert {core for claims in CLAIMS.values() for core in claims} == {*CORES, *WRAPPERS, *REFERENCES}
    assert all(core in CLAIMS[task] for task, core in LIMITS)


def test_tasks_and_cores_make_rows_and_a_table_and_nothing_is_done_twice(tmp_path, capsys):
    arguments = ["tiny=true", "seeds=1", "progress=false", "cores=[gru,delta]", f"out={tmp_path / 'rows'}"]
    assert main(arguments) == 0
    rows = [json.loads(line) for line in (tmp_path / "rows").read_text().splitlines()]
    assert {(row["task"], row["core"]) for row in rows} == {(t, c) for t in CLAIMS for c in ("gru", "delta")}
    assert all(row["seconds"] > 0 and row["peak_mib"] >= 0 and row["tiny"] for row in rows)
    assert all(
        {"step_ms", "forward_ms", "train_ms", "torch_gru_train_ms"} <= r.keys() for r in rows if r["task"] == SPEED
    )
    assert "associative_recall" in capsys.readouterr().out
    assert main(arguments) == 0
    assert len((tmp_path / "rows").read_text().splitlines()) == len(rows)


@pytest.mark.parametrize("task", TRIALS)
def test_trials_make_rows(task):
    assert TRIAL_CLAIMS.keys() == TRIALS.keys() and {*TRIAL_CLAIMS[task]} <= {*TRIED, *CORES}
    for memory, limit in TRIAL_CLAIMS[task].items():
        row = measure(CoreRun(memory, task, 0, {}, limit, tiny=True))
        assert 0 <= row["score"] <= 2 and (row["holds"] is None) == (not limit)
        assert row["score"] == measure(CoreRun(memory, task, 0, {}, limit, tiny=True))["score"]


def test_a_kanerva_memory_denoises_better_than_what_is_nearest():
    found = {name: measure(CoreRun(name, "denoising", 1, {}, ""))["score"] for name in ("kanerva_memory", "nearest")}
    assert found["kanerva_memory"] < 0.9 * found["nearest"]


def test_what_a_wrapper_is_around_is_told_by_name():
    row = measure(CoreRun("uniform_writing", "copy_few", 0, CLAIMS["copy_few"]["uniform_writing"], "", tiny=True))
    assert row["settings"]["core"] == "dnc" and row["state_bytes"] < 4 * (3 * 16 + 3 * 3 + 200) + 8


def test_copy_few_is_always_as_long():
    assert drawn("copy_few", hardest=False).asked.sum() == 12


def test_a_run_is_the_same_again():
    run = CoreRun("delta", "retrieval", 4, {}, ">= 0.98", tiny=True)
    assert measure(run)["score"] == measure(run)["score"]


def test_a_core_learns_the_first_task_within_its_updates():
    row = measure(CoreRun("min_gru", "recall_first", 0, {}, ">= 0.99"))
    assert row["holds"] and row["updates"] == 400


@pytest.mark.parametrize(("score", "limit", "held"), [(0.99, ">= 0.99", True), (0.1, "<= 0.05", False)])
def test_a_limit_holds_or_does_not(score, limit, held):
    assert holds(score, limit) is held


@pytest.mark.parametrize(("limit", "score"), [(">= 0.98", 0.99), ("<= 0.05", 0.025)])
def test_training_goes_on_to_half_of_what_may_be_wrong(limit, score):
    relation, number = half_of(limit).split()
    assert relation == limit.split()[0] and float(number) == pytest.approx(score)


@pytest.mark.parametrize("wrong", ["only=[copi]", "cores=[gro]"])
def test_what_there_is_not_is_refused(wrong, tmp_path):
    with pytest.raises(UsageError, match="choose from"):
        main([wrong, f"out={tmp_path / 'rows'}"])


def test_copy_longer_is_judged_on_twice_the_length():
    assert drawn("copy_longer").asked.sum() == 16 and drawn("copy_longer", hardest=False).asked.sum() <= 8


def test_recall_far_asks_at_the_end_for_the_bits_of_the_first_step():
    one = drawn("recall_far")
    assert one.asked.nonzero().flatten().tolist() == [39]
    assert one.inputs[..., 3].nonzero()[:, 0].unique().tolist() == [39]
    assert torch.equal(one.bits[one.asked][0], (one.inputs[0, :, :2] > 0).float())


def test_traversal_asks_for_the_nodes_that_the_labels_lead_to():
    one = drawn("traversal")
    edges, asking = one.inputs[:10], one.inputs[10:]
    assert not edges[..., 12].any() and asking[..., 12].all() and one.asked.sum() == 3
    for row in range(5):
        leads = {(int(e[:5].argmax()), int(e[5:7].argmax())): int(e[7:12].argmax()) for e in edges[:, row]}
        assert len(leads) == 10
        node = int(asking[0, row, :5].argmax())
        for step in range(3):
            node = leads[node, int(asking[1 + step, row, 5:7].argmax())]
            assert one.bits[one.asked][step, row].nonzero().flatten().tolist() == [node]


def test_the_page_has_a_line_for_each_core_and_task_with_every_seed_and_where_it_was_measured():
    place = {"cpu": "A 1", "date": "2026-01-02", "commit": "abc"}
    row = {"task": "copy", "core": "dnc", "measure": "bits", "limit": "<= 0.05", "updates": 50, "peak_mib": 9.0} | place
    rows = [
        row | {"seed": i, "score": s, "holds": s <= 0.05, "seconds": 1.0 + i} for i, s in enumerate([0.01, 0.04, 3])
    ]
    page = markdown(rows)
    assert "| copy | dnc | 0.04 | bits | <= 0.05 | 2/3 | 0.01, 0.04, 3 | 2 | 50 | 9 |  |" in page
    assert page.endswith("On A 1, 2026-01-02, commit abc.")


def test_a_rate_falls_to_a_tenth_and_stays():
    task = replace(TASKS["copy"], rate=1.0, falls=100)
    assert [task.rate_at(update) for update in (0, 50, 100, 1000)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    assert replace(task, falls=None).rate_at(10**6) == 1.0


def test_a_walk_tells_what_is_in_view_and_asks_for_a_view_of_before():
    walks = walked(3, 12, torch.Generator().manual_seed(1))
    padded = torch.nn.functional.pad(walks.walls.view(3, SIDE, SIDE), (1, 1, 1, 1), value=1.0)
    for row in range(3):
        been, seen = set(), torch.zeros(CELLS, dtype=torch.bool)
        for t in range(12):
            view, place, asked = walks.inputs[t, row].split([VIEW, CELLS, VIEW])
            y, x = divmod(int(place.argmax()), SIDE)
            assert torch.equal(view, 2 * padded[row, y : y + 3, x : x + 3].flatten() - 1)
            assert walks.walls[row, y * SIDE + x] == 0
            been.add((y, x))
            seen |= views_of(y * SIDE + x)
            assert torch.equal(walks.seen[t, row], seen)
            like = {(v, w) for v, w in been if torch.equal(2 * padded[row, v : v + 3, w : w + 3].flatten() - 1, asked)}
            assert like and {divmod(int(cell), SIDE) for cell in walks.alike[t, row].nonzero()} == like
        assert {divmod(int(cell), SIDE) for cell in visited_by(walks)[-1, row].nonzero()} == been
