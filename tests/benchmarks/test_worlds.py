"""Other people's worlds: a handful of kinds and agents end as they must, and what is said of the others is current."""

import json

import numpy as np
import pytest

from benchmarks import costly_room
from benchmarks.worlds import third_party
from benchmarks.worlds.__main__ import main
from benchmarks.worlds.actions import ACTIONS
from benchmarks.worlds.corridor import Corridor
from benchmarks.worlds.ends import ENDS
from benchmarks.worlds.habits import HABITS
from benchmarks.worlds.infos import INFOS
from benchmarks.worlds.kinds import ENDED, KINDS, LEARNED, PLAYERS, REFUSED
from benchmarks.worlds.measure import FAULT, NOT_FOR_IT, WorldRun, apart, fits, outcome, trained
from benchmarks.worlds.observations import LAST, MIDDLE, OBSERVATIONS
from benchmarks.worlds.report import PAGE, page
from benchmarks.worlds.rewards import REWARDS
from benchmarks.worlds.room import LIMIT, SHORTEST, CostlyRoom
from engram_rl.training.errors import UsageError

QUIET = ["log.video=false", "log.memory=false", "evaluation.every=0", "log.retrieved=0"]


def run(kind, agent, steps=1500):
    return WorldRun(kind, agent, seed=1, steps=steps, seconds=120)


def came_of(kind, agent, steps=1500):
    one = run(kind, agent, steps)
    return outcome(one, trained([*one.overrides, *QUIET]))


@pytest.mark.parametrize(
    ("what", "ways"),
    [
        ("observation", OBSERVATIONS),
        ("action", ACTIONS),
        ("reward", REWARDS),
        ("end", ENDS),
        ("info", INFOS),
        ("habit", HABITS),
    ],
)
def test_every_way_is_a_kind(what, ways):
    tried = {kind.kwargs[what] for kind in KINDS.values() if what in kind.kwargs}
    assert tried | {"vector", "two", "mixed", "goal", "empty", "none"} >= set(ways) >= tried


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.expects == LEARNED])
def test_what_must_be_learned_shows_what_its_space_says_and_every_place_differently(kind):
    world = Corridor(**{**KINDS[kind].kwargs, "habit": "none"})
    shown = {}
    for place in range(LAST + 1):
        world.place = place
        shown[place] = world._shown()
    first = world.observation_space
    if KINDS[kind].kwargs.get("observation") not in ("list", "discrete_array", "no_axis"):
        assert all(first.contains(one) for one in shown.values())
    assert len({repr(one) if not isinstance(one, np.ndarray) else one.tobytes() for one in shown.values()}) == LAST + 1


def test_the_best_of_a_kind_is_what_the_shortest_way_pays():
    for name, kind in KINDS.items():
        if kind.expects != LEARNED or kind.kwargs.get("action") or "habit" in kind.kwargs:
            continue
        world = Corridor(**kind.kwargs)
        world.reset(seed=1)
        total, steps, done = 0.0, 0, False
        while not done and steps < 20:
            _, reward, terminated, truncated, _ = world.step(int(world.place < MIDDLE))
            total, steps, done = total + float(np.ravel(reward)[0]), steps + 1, bool(terminated or truncated)
        assert total == pytest.approx(kind.best, rel=1e-3), name


@pytest.mark.parametrize(
    ("kind", "agent", "steps"),
    [
        ("tuple", "mfec", 1500),
        ("masked", "fast_slow", 1500),
        ("info_mixed", "episodic", 1500),
        ("cost", "episodic", 1500),
        ("all_negative", "ppo_gru", 4000),
    ],
)
def test_what_must_be_learned_is(kind, agent, steps):
    found = came_of(kind, agent, steps)
    assert found["outcome"] == LEARNED and found["share"] > 0.8


@pytest.mark.parametrize(
    ("kind", "agent"), [("nan_later", "ppo"), ("with_sequence", "mfec"), ("fails_later", "fast_slow")]
)
def test_what_must_be_refused_is_by_a_message_that_names_it(kind, agent):
    assert came_of(kind, agent, steps=400)["outcome"] == REFUSED


def test_what_never_ends_ends_with_a_score():
    found = came_of("endless", "ppo", steps=400)
    assert found["outcome"] == ENDED and found["cut"] == 4


def test_an_agent_that_is_not_for_a_world_says_so():
    found = came_of("box", "mfec")
    assert found["outcome"] == NOT_FOR_IT and "Box(-1.0, 1.0, (1,), float32)" in found["message"]


def test_a_process_that_does_not_answer_is_a_fault():
    found = outcome(run("plain", "mfec"), apart(run("plain", "mfec", steps=10**9).overrides, 0.01))
    assert found == {"outcome": FAULT, "message": "no answer within 0 s"}


@pytest.mark.parametrize(
    ("found", "came"),
    [
        ({"score": 0.8, "random": 0.0}, LEARNED),
        ({"score": 0.39, "random": 0.0}, FAULT),
        ({"refused": "no reason"}, FAULT),
        ({"crash": "Traceback"}, FAULT),
    ],
)
def test_a_kind_that_must_be_learned_is_or_is_a_fault(found, came):
    assert (
        outcome(run("tuple", "mfec"), {"mode": "online", "cut": 0, "video": True, "said": "", **found})["outcome"]
        == came
    )


def test_a_refusal_without_its_words_is_a_fault():
    assert outcome(run("nan_later", "ppo"), {"refused": "something is wrong"})["outcome"] == FAULT


def test_agents_fit_the_spaces_that_they_are_for():
    assert not fits(KINDS["picture"], PLAYERS["fast_slow"]) and fits(KINDS["int8"], PLAYERS["fast_slow"])
    assert not fits(KINDS["box_far"], PLAYERS["nec"]) and fits(KINDS["box_far"], PLAYERS["ppo"])


def test_rows_are_written_once(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    arguments = ["only=[dict_actions]", "agents=[mfec,ppo]", "steps=100", "progress=false", f"out={out}"]
    assert main(arguments) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["outcome"] for row in rows] == [REFUSED] * 2 and all(row["commit"] and row["cpu"] for row in rows)
    assert main(arguments) == 0 and len(out.read_text().splitlines()) == 2
    assert "2 runs: 2 refused" in capsys.readouterr().out


def test_what_there_is_not_is_refused(tmp_path):
    with pytest.raises(UsageError, match="tuple"):
        main(["only=[tupel]", f"out={tmp_path / 'rows'}"])


def test_the_page_is_current():
    assert PAGE.read_text(encoding="utf-8") == page(), "python -m benchmarks.worlds.report writes it anew"


def test_the_room_costs_what_the_way_takes():
    room = CostlyRoom()
    room.reset(seed=0)
    paid = [room.step(action)[1:4] for action in [2] * 5 + [3] * 5]
    assert len(paid) == SHORTEST and sum(reward for reward, _, _ in paid) == 1 - SHORTEST
    assert paid[-1] == (0.0, True, False)
    room.reset(seed=0)
    assert [room.step(0)[1:4] for _ in range(LIMIT)][-1] == (-1.0, False, True)


def test_the_room_makes_rows_and_a_table(tmp_path, capsys):
    out = tmp_path / "rows.jsonl"
    assert costly_room.main(["agents=[mfec]", "seeds=[3]", "steps=2400", "progress=false", f"out={out}"]) == 0
    row = json.loads(out.read_text())
    assert row["length"] < row["first"] and row["episodes"] > 60 and "| mfec | " in capsys.readouterr().out


def test_a_package_that_is_missing_is_said_in_the_row():
    world = third_party.World("none:None-v0", "no-such-package")
    row = third_party.measure(third_party.ThirdPartyRun(world, "mfec", 1, 100, 60))
    assert row["score"] is None and "not installed" in row["package"]
