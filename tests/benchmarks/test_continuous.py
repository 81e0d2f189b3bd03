"""What the benchmark of continuous actions promises: shares of the possible return, one row a run, the zoo's values."""

import numpy as np
import pytest

from benchmarks.again import repeated
from benchmarks.continuous.__main__ import OURS, TUNED, main
from benchmarks.continuous.limits import BEST_KNOWN, limits
from benchmarks.continuous.measure import areas
from benchmarks.continuous.report import markdown
from benchmarks.control.baselines import build_model
from benchmarks.control.record import Record
from benchmarks.control.runs import resolve, resolve_agent
from benchmarks.runs import read_rows

WORLD = {"id": "engram/PointMassShift-v0", "num_envs": 1, "vectorization": "sync", "kwargs": {}, "wrappers": []}


def test_an_area_is_the_mean_over_steps_of_the_share_of_their_episodes():
    record = Record(steps=[3, 5, 9], returns=[-10.0, 0.0, -5.0])
    found = areas(record, {"random": -10.0, "oracle": 0.0}, [2, 4, 20])
    assert found == {"2": 0.0, "4": 0.25, "20": pytest.approx((3 * 0 + 2 * 1 + 4 * 0.5) / 9, abs=1e-4)}


def test_limits_are_those_of_the_runs_own_goals():
    one, other = limits(WORLD, 0, 700), limits(WORLD, 1, 700)
    assert one == limits(WORLD, 0, 700) != other
    for found in (one, other):
        assert -75 < found["random"] < -40 and -6 < found["oracle"] < -1
    assert limits(WORLD | {"id": "Pendulum-v1"}, 0, 400)["oracle"] == BEST_KNOWN["Pendulum-v1"]


def test_a_run_is_one_row_with_its_shares_and_can_be_repeated(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    given = ["agents=[ours n_step=4,sb3_sac]", "seeds=[5]", "steps=130", "progress=false", f"out={out}"]
    assert main(given) == 0
    ours, sac = read_rows(out)
    assert ours["agent"] == f"{OURS} {TUNED['pointmassshift']} n_step=4" and sac["agent"] == "sb3_sac"
    assert ours["settings"]["n_step"] == 4 and ours["settings"]["discount"] == 0.6
    assert list(ours["areas"]) == ["130"] and -0.5 < ours["areas"]["130"] < 1
    assert ours["limits"] == sac["limits"] and ours["fingerprint"] != sac["fingerprint"]
    assert (ours["env_steps"], sac["env_steps"], ours["gradient_steps"]) == (130, 130, 0)
    for row in (ours, sac):
        assert repeated(row | {"command": "python -m benchmarks.continuous"}).key == row["key"]
    assert main(given) == 0 and len(read_rows(out)) == 2
    said = capsys.readouterr().out
    assert "| first 130 steps |" in said and "| sb3_sac | 1 |" in said


def test_an_interval_needs_ten_runs():
    rows = [{"agent": "a", "areas": {"5000": share}, "seconds": 1.0} for share in np.linspace(0, 1, 10)]
    assert "| a | 9 | 0.444 (0.000 to 0.889) | 1 |" in markdown(rows[:9])
    assert "[0." in markdown(rows)
    shorter = [{"agent": "b", "areas": {"2500": 0.5}, "seconds": 2.0}]
    assert "| b | 1 | 0.500 | - | 2 |" in markdown(rows + shorter)
    assert markdown([{"agent": "a", "areas": None}]) == "No run has a score yet."


@pytest.mark.parametrize("env", ["pointmassshift", "Pendulum-v1", "MountainCarContinuous-v0"])
@pytest.mark.parametrize("agent", ["sb3_sac", "sb3_td3"])
def test_the_zoos_values_build_its_models(env, agent):
    (run,) = resolve(env, {}, [agent], [0], 100)
    model = build_model(run)
    assert type(model).__name__ == agent.removeprefix("sb3_").upper()
    assert run.settings == resolve_agent(agent, run.environment["id"])
    if agent == "sb3_td3":
        assert (model.action_noise._sigma > 0).all()
    if run.settings.get("train_freq") == [1, "episode"]:
        assert model.train_freq.unit.value == "episode"
