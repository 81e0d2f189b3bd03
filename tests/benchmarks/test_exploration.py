"""The benchmark of exploration: bonuses beside slow references, what a run scores, and that it runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces

from benchmarks.exploration.__main__ import main
from benchmarks.exploration.bonus_ppo import Counts, Distillation, make_bonus_ppo
from benchmarks.exploration.measure import MARKS, scores
from benchmarks.exploration.report import table
from benchmarks.exploration.runs import resolve, run_of, settings_of
from benchmarks.report.markers import KINDS
from benchmarks.report.page import _table
from benchmarks.runs import read_rows
from engram_rl.agents.goal_directed.cells import RoundedCells
from engram_rl.training.errors import UsageError
from tests.agents.ppo_worlds import TWO, VECTOR, E, T, World

TINY = ["env=MiniGrid-FourRooms-v0", "steps=800", "progress=false"]
AGENTS = "agents=[go_explore memory.capacity=600,counts_ppo num_steps=16,rnd_ppo num_steps=16]"


def test_a_cell_pays_one_over_the_root_of_its_visits():
    bonus, counts, rng = Counts(RoundedCells(spaces.Box(0, 9, (1,)), 1.0)), {}, np.random.default_rng(0)
    for _ in range(50):
        seen = rng.integers(5, size=(3, 1)).astype(np.float32)
        for cell in seen[:, 0]:
            counts[cell] = counts.get(cell, 0) + 1
        assert bonus(seen) == pytest.approx([1 / counts[cell] ** 0.5 for cell in seen[:, 0]])


def test_the_error_of_the_prediction_is_paid_in_deviations_of_its_discounted_sum_and_learned_away():
    bonus, rng = Distillation(VECTOR, 2, seed=0, discount=0.9, learning_rate=1e-2), np.random.default_rng(0)
    sums, running, first = [], np.zeros(2), []
    for _ in range(60):
        seen = rng.uniform(-1, 1, (2, 3)).astype(np.float32)
        paid = bonus(seen)
        error = bonus.errors(bonus._seen[-1]).detach().double().numpy()
        running = 0.9 * running + error
        sums.append(running)
        first.append(error)
        if len(sums) > 1:
            assert paid == pytest.approx(error / np.std(np.concatenate(sums)), rel=1e-4)
    rows, target = torch.cat(bonus._seen), [one.clone() for one in bonus.target.parameters()]
    for _ in range(15):
        bonus._seen = [rows]
        bonus.learn()
    assert bonus.errors(rows).mean().item() < 0.5 * np.mean(first)
    assert all(torch.equal(a, b) for a, b in zip(target, bonus.target.parameters(), strict=True))


@pytest.mark.parametrize("name", ["counts_ppo", "rnd_ppo"])
def test_the_bonus_is_added_to_the_reward_and_nothing_else(name):
    agent = make_bonus_ppo(name, VECTOR, TWO, E, 0, weight=0.5, num_steps=T, minibatch_size=6, scale_rewards=False)
    world, agent._bonus = World(), lambda observation: observation[:, 0]
    for _ in range(T):
        transition = world.step(agent.act(world.shown))
        before = replace(transition)
        agent.observe(transition)
        assert (transition.reward == before.reward).all()
    rollout = agent._rollout.state_dict()["outcomes"]
    assert np.allclose(
        np.asarray(rollout["reward"])[-1], transition.reward + 0.5 * transition.next_observation[:, 0], atol=1e-6
    )


def test_what_is_said_of_a_run():
    found = scores([0.0, 0.4, 0.0], [100, 300, 400], [0.0, 0.5, 0.7, 0.0])
    assert found == {"first": 300, "area": 0.5, "tested": 0.0, "tested_return": 0.0, "exploring": 0.3333}
    assert scores([0.0], [10], [0.0])["first"] is None


def test_a_run_is_its_agent_its_layout_and_its_steps():
    runs = list(resolve("MiniGrid-FourRooms-v0", ["go_explore", "counts_ppo"], [3, 4], 100, 8))
    assert [(run.seed, run.name) for run in runs] == [(3, "go_explore"), (3, "counts_ppo"), (4, "go_explore"),
                                                      (4, "counts_ppo")]  # fmt: skip
    assert [run.environment["wrappers"][-1]["seed"] for run in runs] == [3, 3, 4, 4]
    assert len({run.key for run in runs}) == 4


@pytest.mark.parametrize(("agent", "message"), [
    ("go_explor", "no agent 'go_explor'.*go_explore"),
    ("counts_ppo wait=1", "counts_ppo has no setting 'wait' here.*weight"),
    ("go_explore wayback=plan", "wayback"),
])  # fmt: skip
def test_what_is_misspelt_is_refused_before_anything_runs(agent, message):
    with pytest.raises(UsageError, match=message):
        settings_of(agent)


def test_it_runs_and_repeats_nothing(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    assert main([*TINY, AGENTS, "seeds=[3]", f"out={out}"]) == 0
    rows = read_rows(out)
    assert [row["agent"].split()[0] for row in rows] == ["go_explore", "counts_ppo", "rnd_ppo"]
    assert all(len(row["tests"]) == MARKS and row["fingerprint"] for row in rows)
    assert rows[0]["archive"]["go_explore/returns_missed"] == 0 < rows[0]["archive"]["go_explore/cells"]
    assert [run_of(row).key for row in rows] == [row["key"] for row in rows]
    assert main([*TINY, AGENTS, "seeds=[3]", f"out={out}"]) == 0 and len(read_rows(out)) == 3
    assert "| MiniGrid-FourRooms-v0 | 800 | counts_ppo num_steps=16 | 1 |" in capsys.readouterr().out
    assert table(rows) == KINDS["exploration"](rows, []) == _table(rows)[0]


def test_a_run_that_found_nothing_counts_with_all_its_steps():
    row = {"env": "x", "steps": 100, "agent": "a", "area": 0.0, "tested": 0.0, "tested_return": 0.0, "exploring": 0.0,
           "steps_per_second": 5.0}  # fmt: skip
    told = table([row | {"first": None, "seed": 0}, row | {"first": 40, "seed": 1}])
    assert "| 1 of 2 | 70 " in told
