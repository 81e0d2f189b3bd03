"""Rows that the first version stored are read in today's words, and count as measured where they counted then."""

import dataclasses
import json

import pytest

from benchmarks import identity
from benchmarks.adaptation.runs import Trial
from benchmarks.adaptation.runs import resolve as resolve_adaptation
from benchmarks.control.runs import resolve as resolve_control
from benchmarks.report.stored import RESULTS
from benchmarks.runs import carry_out, read_rows
from benchmarks.shift.environment import resolve_environment
from benchmarks.shift.specs import RunSpec, resolve_agent
from benchmarks.translation import agent_today, command_today, row_today

SETTINGS_HAVE_CHANGED = {
    "adaptation": {"retrieval": 10, "shuffled": 10, "random_neighbours": 10, "self_imitation": 10},
    "control_acrobot": {"mfec": 10},
    "control_atari": {"mfec exploration.end=0.005 exploration.steps=10000": 1},
    "control_atari_deterministic": {"mfec exploration.end=0.005 exploration.steps=5000 env.num_envs=4": 1},
    "control_atari_frame": {"mfec discount=1.0 exploration.end=0.005 exploration.steps=5000": 6},
    "control_atari_noop": {
        "mfec exploration.end=0.005 exploration.steps=10000": 1,
        "mfec exploration.end=0.005 exploration.steps=5000 env.num_envs=1": 1,
    },
    "control_cornergoal": {
        "episodic": 10,
        "episodic memory.write_rule=max": 10,
        "episodic memory.write_rule=blend": 10,
    },
    "control_doorkey5_fixed": {"episodic memory.write_rule=max": 10, "mfec": 10, "episodic": 10},
    "control_doorkey5_random": {"episodic": 10, "mfec": 10},
    "control_doorkey5_random_retrieval": {
        "retrieval_ppo_view": 10,
        "retrieval_ppo_view control=novelty normalise_advantage=true": 10,
    },
    "control_doorkey5_retrieval": {
        "retrieval_ppo_view": 10,
        "retrieval_ppo_view control=novelty": 10,
        "retrieval_ppo_view control=novelty normalise_advantage=true": 10,
    },
    "control_doorkey6_fixed": {"episodic": 10, "mfec": 10},
    "control_fourrooms_fixed": {"episodic": 10, "mfec": 10},
    "control_mountaincar": {"mfec": 10},
    "fast_slow_lavagap": {"fast_slow_grid": 3, "fast_slow_grid danger=false": 3},
    "fast_slow_shiftwall": {"fast_slow": 10},
    "fast_slow_shiftwall20": {"fast_slow": 10},
    "fast_slow_shiftwall40": {"fast_slow": 10},
    "fast_slow_shiftwall_layouts": {"fast_slow": 20},
}
"""Rows, by agent, of settings that are others today, such as returns that ended where an episode was cut."""

FIRST = {path: json.loads(path.read_text().partition("\n")[0]) for path in sorted(RESULTS.glob("*.jsonl"))}
FILES = [path for path, row in FIRST.items() if "key" in row and "commit" not in row]
"""Whose rows do not say which commit they come from, as those of the first version."""

RESOLVED: dict = {}


def resolved(row):
    """The run of a row as its command line is understood today."""
    if "costs" in row:
        kind, settings = once(resolve_agent, row["agent"])
        environment = once(resolve_environment, row["env"], row["env_kwargs"])
        run = (row["seed"], row["episodes"], row["budget"], row["layout_seed"])
        return RunSpec(row["env"], environment, row["agent"], kind, settings, *run)
    given = {name: row["environment"][name] for name in ("id", "num_envs", "vectorization", "kwargs")}
    if "drawn" in row:
        elsewhere = "newgoal_searched" if row.get("trained_in") else ""
        trial = Trial(**row["test"])
        runs = once(resolve_adaptation, row["env"], given, [row["agent"]], [0], row["steps"], trial, elsewhere)
    else:
        tested = len(row.get("test") or [])
        runs = once(resolve_control, row["env"], given, [row["agent"]], [0], row["steps"], tested)
    return dataclasses.replace(runs[0], seed=row["seed"])


def once(function, *arguments):
    place = repr((function, arguments))
    if place not in RESOLVED:
        RESOLVED[place] = function(*arguments)
    return RESOLVED[place]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_stored_rows_count_as_measured(path):
    for package, needs in (("stable_baselines3", "sb3_"), ("sb3_contrib", "sb3_trpo")):
        if needs in path.read_text():
            pytest.importorskip(package)
    anew: dict = {}
    for row in read_rows(path):
        if resolved(row).key != row["key"]:
            anew[row["agent"]] = anew.get(row["agent"], 0) + 1
    changed = SETTINGS_HAVE_CHANGED.get(path.stem, {})
    assert anew == {agent_today(agent): count for agent, count in changed.items()}


def test_a_command_finds_the_rows_that_the_first_version_measured(tmp_path):
    rows = [json.loads(line) for line in (RESULTS / "fast_slow_newgoal.jsonl").read_text().splitlines()]
    out = tmp_path / "rows.jsonl"
    out.write_text("\n".join(json.dumps(row) for row in rows if row["agent"] == "clairvoyant"))
    before = out.read_bytes()
    runs = [resolved(row) for row in read_rows(out)]
    assert {run.agent for run in runs} == {"oracle"}
    assert carry_out(runs, lambda run: pytest.fail(f"{run} was measured again"), out, workers=1, progress=False) == {}
    assert out.read_bytes() == before


def test_a_row_is_read_in_todays_words():
    old = {"agent": "recall", "told": "geometry", "excess": 3, "phase": [0, 1], "measure": "steps"}
    new = {"agent": "last_site", "privileged": "geometry", "regret": 3, "task_index": [0, 1], "measure": "steps"}
    assert row_today(old) == new == row_today(new)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_translating_twice_changes_nothing(path):
    for row in map(json.loads, path.read_text().splitlines()):
        assert row_today(row_today(row)) == row_today(row)


def test_commands_are_shown_as_they_are_given_today():
    command = "python -m benchmarks.shift env=newgoal 'agents=[{}]' seeds=[1,2]"
    old = "nec_eager horizon=5 hidden=[8,8] row_optimiser=null,nec double=true env.num_envs=1,clairvoyant"
    new = "nec_sample_efficient n_step=5 hidden=[8,8] row_learning_rate=null,nec double=true env.num_envs=1,oracle"
    assert command_today(command.format(old)) == command.format(new) == command_today(command.format(new))


def make(size: int = 3, rate: float = 1.0, deeper: "Deeper | None" = None): ...


class Deeper:
    """What a dict without a `_target_` becomes."""

    def __init__(self, depth: int = 2) -> None: ...


HERE = f"{__name__}.make"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"size": 3}, {}),
        ({"rate": 1}, {"rate": 1.0}),
        ({"deeper": {"depth": 2}}, {"deeper": {}}),
        ({"deeper": None}, {}),
        ({"size": 4, "rate": 1.0}, {"size": 4.0}),
    ],
)
def test_a_default_says_nothing_wherever_it_is_written(one, other, monkeypatch):
    monkeypatch.setattr(identity, "get_object", lambda name: make)
    keys = {identity.control_key("a", {"id": "x"}, {"_target_": HERE, **part}, 0, 1, 0) for part in (one, other)}
    assert len(keys) == 1
    assert identity.control_key("a", {"id": "x"}, {"_target_": HERE, "size": 5}, 0, 1, 0) not in keys
