"""The bench of adaptation: what it counts, by hand; that it trains, freezes and plays new worlds; that it resumes."""

import json
import math

import numpy as np
import pytest

from benchmarks.adaptation import measure
from benchmarks.adaptation.__main__ import main
from benchmarks.adaptation.measure import by_context, report
from benchmarks.adaptation.report import after_find_ratio
from benchmarks.adaptation.runs import AdaptationRun, Trial, resolve
from benchmarks.episodes import Episodes
from engram_rl.training.construction import build_environments
from engram_rl.training.errors import UsageError

TINY = ["steps=2048", "runs=2", "shifts=1", "block=4", "workers=1", "progress=false"]


def episodes(steps, oracle, found):
    steps, oracle, found = (np.array([run]) for run in (steps, oracle, found))
    return Episodes(steps, oracle, found, np.zeros_like(found), np.zeros(steps.shape), 100)


def test_a_carried_state_may_be_of_any_core_with_the_sizes_of_its_own():
    store, lstm, gru = resolve(
        "newgoal_searched",
        {},
        ["carried core=store core.capacity=64", "carried core=lstm hidden=[32]", "gru_carried"],
        [0],
        64,
        Trial(1, 1, 2),
    )
    for run, hidden in ((store, []), (lstm, [32]), (gru, [64])):
        assert run.settings["hidden"] == hidden and run.settings["recurrent"] == 64
        assert run.settings["carry_state"] and run.settings["show_previous"] and not run.settings["cut_at_episode_ends"]
    assert store.settings["core"]["capacity"] == 64 and lstm.settings["core"]["_target_"].endswith("LSTM")
    assert len({run.key for run in (store, lstm, gru)}) == 3


def test_only_what_comes_after_a_shift_counts_and_the_find_is_the_first_success():
    first_block, second = [1, 1, 1, 1, 1], [100, 40, 6, 5, 5]
    made = report(episodes(first_block + second, [1] * 5 + [4] * 5, [True] * 5 + [False, True, True, True, True]), 5)
    assert made["cost"] == second
    assert (made["found_first"], made["found_ever"], made["blocks"]) == (0, 1, 1)
    assert (made["after_find"], made["after_find_optimum"]) == (6, 4)


def test_recovery_is_absolute_and_blocks_without_it_count_in_full():
    recovered = [9, 9, 5, 5, 5]
    flat = [9] * 5
    optimum = [4] * 5
    for block, expected in ((recovered, 2), (flat, 5)):
        made = report(episodes(optimum + block, optimum * 2, [True] * 10), 5)
        assert made["recovery"] == expected
        assert made["recovered"] == (expected == 2)


def test_what_was_never_found_has_no_cost_after_the_find():
    made = report(episodes([100] * 8, [4] * 8, [False] * 8), 4)
    assert made["after_find"] is None
    assert math.isinf(after_find_ratio(made))


def test_a_return_is_an_episode_whose_site_was_found_in_its_context_and_not_moved_since():
    context = np.array([[0, 1, 0, 0, 1, 1, 0]])
    shifted = np.array([[False, False, False, False, True, False, False]])
    found = np.array([[True, True, True, False, False, True, True]])
    steps = np.array([[10, 20, 5, 64, 64, 30, 7]])
    optimum = np.array([[1, 2, 4, 3, 5, 6, 7]])
    played = Episodes(steps, optimum, found, shifted, found * 1.0, 64, context)
    assert by_context(played) == {
        "searched": {"steps": 31.0, "optimum": 3.5, "found": 0.75, "episodes": 4},  # 0, 1, 4 and 5
        "returned": {"steps": 6.0, "optimum": 5.5, "found": 1.0, "episodes": 2},  # 2 and 6
        "stayed": {"steps": 64.0, "optimum": 3.0, "found": 0.0, "episodes": 1},  # 3
        "overall": {"steps": 28.5714, "optimum": 4.0, "found": 0.7143, "episodes": 7},
    }


def test_contexts_have_a_table_of_their_own(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    agents = "agents=[retrieval_by_context,oracle]"
    assert main([*TINY, "env=contextgoal", agents, "seeds=[0]", f"out={out}", "steps=512"]) == 0
    rows = {row["agent"]: row["drawn"] for row in map(json.loads, out.read_text().splitlines())}
    counted = rows["oracle"]["returned"]["episodes"] + rows["oracle"]["stayed"]["episodes"]
    assert counted + rows["oracle"]["searched"]["episodes"] == 2 * 2 * 4
    assert rows["retrieval_by_context"]["searched"]["episodes"]
    said = capsys.readouterr().out
    assert "| agent | seeds | returned | x oracle |" in said and "returned, the episode before" in said


def test_it_trains_freezes_and_plays_and_what_is_there_is_not_done_again(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    command = [*TINY, "agents=[retrieval,gru_carried,last_site,oracle]", "seeds=[0]", f"out={out}"]
    assert main(command) == 0
    rows = {row["agent"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert main([*command, "acting=greedy"]) == 0
    assert len(out.read_text().splitlines()) == len(rows) == 4
    assert (tmp_path / "adaptation_newgoal_searched_greedy.png").exists()
    assert rows["retrieval"]["gradient_steps"] == 16
    assert rows["oracle"]["drawn"]["cost"] == rows["oracle"]["drawn"]["optimum"]
    assert rows["last_site"]["drawn"]["optimum"] == rows["oracle"]["drawn"]["optimum"]
    assert "| gru_carried | 1 |" in capsys.readouterr().out


def test_a_run_is_known_by_what_defines_it_not_by_what_it_is_called():
    test = Trial(2, 1, 4)
    named, spelt, other = (
        resolve("newgoal_searched", {}, [agent], [0], 64, test)[0].key
        for agent in ("shuffled", "retrieval control=shuffled", "retrieval")
    )
    assert named == spelt != other


def test_it_may_be_trained_in_other_worlds_than_it_is_tested_in(tmp_path, monkeypatch, capsys):
    built = []
    monkeypatch.setattr(measure, "build_environments", lambda env: built.append(env.id) or build_environments(env))
    out = tmp_path / "rows.jsonl"
    here = [*TINY, "env=recurringgoal_searched", "agents=[retrieval,oracle]", "seeds=[0]", f"out={out}"]
    assert main(here) == 0
    built.clear()
    assert main([*here, "trained_in=newgoal_searched"]) == 0
    assert built == ["engram/NewGoal-v0"] + 2 * ["engram/RecurringGoal-v0"]  # the test by drawn and by greedy actions
    assert "| retrieval, trained in NewGoal-v0 | 1 |" in capsys.readouterr().out
    assert (tmp_path / "adaptation_recurringgoal_searched_trained_in_newgoal_searched_drawn.png").exists()
    own, limit, elsewhere = map(json.loads, out.read_text().splitlines())  # no training, no second run of the limit
    assert "trained_in" not in own and elsewhere["trained_in"]["id"] == "engram/NewGoal-v0"
    assert limit["agent"] == "oracle"
    assert own["environment"] == elsewhere["environment"] and own["key"] != elsewhere["key"]


def test_training_where_it_is_tested_is_nothing_special():
    usual, named = (
        resolve("newgoal_searched", {}, ["retrieval"], [0], 64, Trial(2, 1, 4), trained_in)[0].key
        for trained_in in ("", "newgoal_searched")
    )
    assert usual == named


def test_what_recall_would_have_been_does_not_define_a_run_without_it():
    plain, same, retrieval = (
        resolve("newgoal_searched", {}, [agent], [0], 64, Trial(2, 1, 4))[0]
        for agent in ("plain", "plain retrieval.reward_sites=1", "retrieval")
    )
    assert plain.key == same.key
    assert plain.settings["_target_"] == "engram_rl.agents.ppo.make_ppo"
    for shared in ("num_steps", "minibatch_size", "hidden", "entropy_coefficient", "discount"):
        assert plain.settings[shared] == retrieval.settings[shared]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["agents=[retrival_ppo]"], "retrieval_ppo"),
        (["env=cartpole"], "does not shift"),
        (["acting=best"], "drawn, greedy"),
        (["trained_in=newgoal"], "choose trained_in with the same spaces"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(tmp_path, changed, said):
    with pytest.raises(UsageError, match=said):
        main([*TINY, *changed, f"out={tmp_path / 'rows.jsonl'}"])


def test_agents_that_cannot_be_frozen_are_refused(tmp_path, capsys):
    assert main([*TINY, "env=newgoal", "agents=[episodic]", "seeds=[0]", f"out={tmp_path / 'rows.jsonl'}"]) == 1
    assert "cannot be frozen" in capsys.readouterr().err


def test_runs_name_themselves():
    assert str(AdaptationRun("newgoal", {}, "plain", {}, 3, 64, Trial(2, 1, 4))) == "plain seed 3 (newgoal, 64 steps)"
