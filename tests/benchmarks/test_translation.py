"""Rows of earlier versions are read in today's words."""

import json

import pytest

from benchmarks import identity
from benchmarks.report.stored import RESULTS
from benchmarks.translation import command_today, row_today

FILES = sorted(RESULTS.rglob("*.jsonl"))


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
