"""Environments on workers that are threads here: who is asked, waited for, given up and begun anew."""

import os
import threading
import time
from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from benchmarks.same_run import same
from engram_rl.training.distributed import cluster as connection
from engram_rl.training.distributed.cluster import Cluster
from engram_rl.training.distributed.crew import Crew
from engram_rl.training.distributed.environments import RayEnvironments, other_seed
from engram_rl.training.distributed.worker import Answer
from engram_rl.training.errors import UsageError
from engram_rl.training.intake.infos import LOST, STEPPED, SyncEnvironments
from tests.training.distributed.distant_worlds import Talker
from tests.training.distributed.paces import GATE, LEAVE, ON, STUCK, WAIT, Leaving, Paces
from tests.training.distributed.threads import RayError, RayTaskError


@pytest.fixture(autouse=True)
def there(threads, monkeypatch):
    """Ray, with threads for workers; whoever waits at the end of a test is let go."""
    monkeypatch.setattr("engram_rl.training.distributed.crew.LOOKING", 0.02)
    GATE.clear()
    yield threads
    GATE.set()


def given(workers=2, **more):
    return Cluster.of({"workers": workers, "patience": 20.0, **more})


def crew(count=2, make=Paces, **more):
    return closing(Crew([[make] for _ in range(count)], given(count, **more)))


def vector(count=4, workers=2, make=Paces, asynchronous=None, **more):
    return closing(RayEnvironments([make] * count, given(workers, **more), asynchronous=asynchronous))


def in_lists(value):
    """Arrays of objects as lists, whose items can be compared."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.tolist()
    if isinstance(value, dict):
        return {name: in_lists(part) for name, part in value.items()}
    return list(map(in_lists, value)) if isinstance(value, list | tuple) else value


def nothing(environments):
    return np.zeros(environments.num_envs, np.int64)


class TestWhoIsAsked:
    def test_answers_are_taken_from_who_was_asked(self):
        with crew(2) as mine:
            assert not mine.is_busy(0) and mine.ready() == []
            mine.ask(1, "reset", [3], None)
            assert mine.is_busy(1) and not mine.is_busy(0) and mine.ready() == [1]
            assert mine.take(1).observation.shape == (1, 2) and not mine.is_busy(1)

    def test_who_has_answered_is_ready_and_nobody_waits_for_the_others(self):
        with crew(3) as mine:
            for worker in range(3):
                mine.ask(worker, "reset", [worker], None)
                mine.take(worker)
            mine.ask(1, "step", np.array([WAIT]))
            mine.ask(2, "step", np.array([ON]))
            mine.ask(0, "step", np.array([ON]))
            seen = []
            while len(seen) < 2:
                seen += (ready := mine.ready())
                assert ready == sorted(ready)
                for worker in ready:
                    mine.take(worker)
            assert sorted(seen) == [0, 2] and mine.is_busy(1)
            GATE.set()
            assert mine.ready() == [1] and mine.take(1).reward.tolist() == [0]

    def test_who_is_late_or_has_gone_is_ready_and_what_it_answers_is_nothing(self):
        with crew(3) as mine:
            mine.ask(0, "reset", [0], None)
            mine.take(0)
            mine.ask(0, "step", np.array([WAIT]))
            began = time.monotonic()
            mine._late[0] = began + 0.05
            assert mine.ready() == [0] and 0.05 <= time.monotonic() - began < 10
            assert mine.take(0) is None and not mine.is_busy(0)
            mine.ask(1, "call", "nothing_of_it")
            mine.ask(0, "step", np.array([ON]))
            began = time.monotonic()
            assert 0 in mine.ready() and mine.take(0) is None and time.monotonic() - began < 10
            mine._late[1] = 0.0
            assert 1 in mine.ready()
            with pytest.raises(UsageError, match="nothing_of_it"):
                mine._late[1] = time.monotonic() + 20
                mine.take(1)

    def test_it_waits_as_long_as_it_is_patient(self):
        with crew(1, patience=7.0) as mine:
            before = time.monotonic()
            mine.ask(0, "call", "length")
            assert before + 7 <= mine._late[0] <= time.monotonic() + 7
            mine.take(0)

    def test_an_error_is_raised_with_the_traceback_there(self):
        with crew(1) as mine:
            mine.ask(0, "reset", [3], None)
            mine.take(0)
            mine.ask(0, "step", np.array([STUCK]))
            with pytest.raises(UsageError, match=r"in step: RuntimeError: the arm is stuck") as raised:
                mine.take(0)
            assert "Traceback" in str(raised.value.__cause__)


class TestReplacing:
    def test_who_dies_is_begun_anew_and_reset(self, there):
        with crew(2) as mine:
            assert mine.lost == 0 and len(mine.made) == 2 and mine.made[0].process == os.getpid()
            mine.ask(1, "reset", [3], None)
            mine.take(1)
            mine.ask(1, "step", np.array([LEAVE]))
            assert mine.take(1) is None and there.killed == 1
            answer = mine.replace(1, [4])
            assert isinstance(answer, Answer) and answer.observation[0, 1] == Paces().reset(seed=4)[0][1]
            assert mine.lost == 1 and len(there.processors) == 3

    @pytest.mark.parametrize("restarts", [0, 1, 3])
    def test_who_dies_too_often_without_a_step_in_between_ends_it(self, restarts):
        with crew(1, restarts=restarts) as mine:
            for _ in range(restarts):
                mine.ask(0, "call", "leave")
                assert mine.take(0) is None
                mine.replace(0, [3])
            mine.ask(0, "call", "leave")
            mine.take(0)
            said = rf"cluster.patience=20 seconds, {restarts + 1} times .*\(cluster.restarts={restarts}\)"
            with pytest.raises(UsageError, match=f"Worker 0 died, or did not answer for {said}"):
                mine.replace(0, [3])

    def test_a_step_in_between_forgives(self):
        with crew(1, restarts=1) as mine:
            for _ in range(4):
                mine.ask(0, "call", "leave")
                assert mine.take(0) is None
                mine.replace(0, [3])
                mine.ask(0, "step", np.array([ON]))
                assert mine.take(0).stepped
            for times in (1, 2):  # and no more than what was before it
                mine.ask(0, "call", "leave")
                assert mine.take(0) is None
                if times == 1:
                    mine.replace(0, [3])
            with pytest.raises(UsageError, match=r"2 times .*\(cluster.restarts=1\)"):
                mine.replace(0, [3])

    def test_who_cannot_even_be_made_ends_it(self, there):
        with pytest.raises(UsageError, match=r"Worker 0 died.* 2 times"):
            crew(1, Leaving, restarts=1)
        assert there.ended == 1

    def test_who_ends_while_it_begins_is_begun_again(self, there):
        there.failing = [None, RayError("killed"), RayError("killed"), None]
        with crew(2, restarts=3) as mine:
            assert len(there.processors) == 4
            mine.ask(1, "call", "length")
            assert mine.take(1) == [5]

    def test_who_cannot_begin_at_all_says_why(self, there):
        there.failing = [RayTaskError("no such module")]
        with pytest.raises(UsageError, match=r"could not begin.*reached at 127.0.0.1\? no such module"):
            crew(1)
        assert there.ended == 1

    def test_who_does_not_call_in_time_has_no_line(self, there, monkeypatch):
        with crew(1) as mine:
            monkeypatch.setattr(mine._switchboard, "line", lambda ticket, seconds: time.sleep(0.01))
            mine._cluster = replace(mine._cluster, patience=0.1)
            mine._end(0)
            began = time.monotonic()
            mine._connect(0, mine._begin(0))
            assert time.monotonic() - began >= 0.1 and 0 not in mine._lines


class TestBeginningAndClosing:
    @pytest.mark.parametrize(("reserve", "processors"), [(True, 1.5), (False, 0)])
    def test_workers_take_processors_for_themselves_if_they_are_to(self, there, reserve, processors):
        with closing(Crew([[Paces], [Paces]], given(worker_cpus=1.5), reserve=reserve)):
            assert there.processors == [processors] * 2
        with closing(Crew([[Paces]], given(worker_cpus=1.5))):
            assert there.processors[2:] == [1.5]

    def test_room_is_wanted_by_who_reserves(self, there):
        with pytest.raises(UsageError, match=r"4 workers of cluster.worker_cpus=1\.5 .* need 6; the cluster has 4"):
            Crew([[Paces]] * 4, given(4, worker_cpus=1.5))
        assert there.ended == 1 and there.begun is None and not there.processors
        Crew([[Paces]] * 4, given(4, worker_cpus=1.5), reserve=False).close()

    def test_what_cannot_be_sent_is_said_before_anything_begins(self, there):
        lock = threading.Lock()
        with pytest.raises(UsageError, match=r"cannot be sent there \(TypeError: .*lock.*env.id=package.module:Name"):
            Crew([[lambda: lock]], given(1))
        assert there.ended == 1 and not there.processors

    def test_all_are_closed_whoever_fails_and_the_first_failure_is_told(self, there):
        makers = [[partial(Paces, closing=said)] for said in ("jammed", None, "also")]
        mine = Crew(makers, given(3))
        mine.ask(1, "reset", [1], None)
        mine.take(1)
        mine.ask(1, "step", np.array([STUCK]))
        with pytest.raises(UsageError, match="the arm is stuck"):
            mine.close()
        assert there.killed == 3 and there.ended == 1 and not any(map(mine.is_busy, range(3)))
        with pytest.raises(UsageError, match="RuntimeError: jammed"):
            Crew(makers, given(3)).close()

    def test_closing_waits_for_nobody_for_ever(self, monkeypatch):
        monkeypatch.setattr("engram_rl.training.distributed.crew.CLOSING", 0.1)
        mine = Crew([[Paces]], given(1))
        mine.ask(0, "reset", [1], None)
        mine.take(0)
        mine.ask(0, "step", np.array([WAIT]))
        began = time.monotonic()
        mine.close()
        assert time.monotonic() - began < 10

    def test_ray_is_left_by_the_last_that_needed_it(self, there):
        first, second = connection.enter(given()), connection.enter(given())
        assert first is second is there and there.begun is not None
        connection.leave()
        assert there.ended == 0
        connection.leave()
        assert there.ended == 1
        there.init()
        connection.enter(given())
        connection.leave()
        assert there.ended == 1 and there.is_initialized()  # it was somebody else's


class TestInStep:
    @pytest.mark.parametrize("workers", [1, 2, 3, 5, None])
    @pytest.mark.parametrize("seed", [7, [3, 1, 4, 1, 5]])
    def test_it_is_one_process_bit_for_bit(self, workers, seed):
        sync = SyncEnvironments([Talker] * 5, autoreset_mode=AutoresetMode.SAME_STEP)
        with vector(5, workers, Talker) as mine:
            assert mine.waiting is None and mine.asynchronous is False and len(mine.processes) == (workers or 5)
            assert mine.num_envs == 5 and mine.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
            for name in ("observation_space", "action_space"):
                assert getattr(mine, name) == getattr(sync, name)
                assert getattr(mine, f"single_{name}") == getattr(sync, f"single_{name}")
            assert same(in_lists(mine.reset(seed=seed)), in_lists(sync.reset(seed=seed)))
            for actions in np.random.default_rng(0).integers(3, size=(30, 5)):
                assert same(in_lists(mine.step(actions)), in_lists(sync.step(actions)))
                assert mine.taken.tolist() == actions.tolist()

    def test_what_the_environments_say_of_themselves_is_said(self):
        with vector(2, make=partial(Paces, render_mode="ansi")) as mine:
            assert mine.metadata["walks"] and mine.render_mode == "ansi"
            mine.reset(seed=0, options={"far": 1})
            mine.step(nothing(mine))
            assert mine.render() == ("at 1", "at 1") and mine.get_attr("length") == (5, 5)
            assert mine.call(
                "add",
                2,
            ) == (3, 3)
            assert mine.reset(options={"far": 1})[1]["options"]["far"].tolist() == [1, 1]

    def test_seeds_are_one_each(self):
        with vector(4) as mine:
            for seed in ([1, 2], [1] * 5):
                with pytest.raises(ValueError, match=f"There are {len(seed)} seeds for 4 environments"):
                    mine.reset(seed=seed)
            mine.reset(seed=5)
            assert mine.history()["seeds"] == [5, 6, 7, 8]
            mine.reset()
            assert mine.history()["seeds"] == [None] * 4

    def test_more_workers_than_environments_are_refused_and_as_many_are_not(self):
        with pytest.raises(UsageError, match=r"cluster\.workers is 3, but there are only 2 environments"):
            vector(2, 3)
        with vector(2, 2) as mine:
            assert len(mine.processes) == 2

    @pytest.mark.parametrize("reserve", [True, False])
    def test_workers_reserve_processors_unless_they_need_not(self, there, reserve):
        with closing(RayEnvironments([Paces] * 2, given(worker_cpus=1.0), reserve=reserve)):
            assert there.processors == ([1.0, 1.0] if reserve else [0, 0])
        with closing(RayEnvironments([Paces], given(1, worker_cpus=1.0))):
            assert there.processors[-1] == 1.0


class TestWhereAWorkerDies:
    def test_its_open_episodes_are_cut_where_they_were_last_seen(self, capsys):
        with vector(4) as mine:
            mine.reset(seed=5)
            before, *_ = mine.step(nothing(mine))
            before = before.copy()
            observation, reward, terminated, truncated, info = mine.step(np.array([ON, ON, ON, LEAVE]))
            assert reward.tolist() == [1, 1, 0, 0] and not terminated.any()
            assert truncated.tolist() == [False, False, True, True] == info[LOST].tolist()
            assert [one.tolist() for one in info["final_obs"][2:]] == before[2:].tolist()
            assert observation[:, 0].tolist() == [2, 2, 0, 0]
            seeds = mine.history()["seeds"]
            assert seeds[:2] == [5, 6] and seeds[2:] == [other_seed(7, 0), other_seed(8, 0)]
            assert observation[2:, 1].tolist() == [Paces().reset(seed=seed)[0][1] for seed in seeds[2:]]
            assert info["begun"].tolist()[2:] == observation[2:, 1].tolist()
            assert mine.lost == 2 == mine.history()["lost"] and mine.history()["counts"].tolist() == [2, 2, 0, 0]
            said = "Worker 1 died: its environments (2 to 3) begin anew and their open episodes are lost, 2 so far"
            assert said in capsys.readouterr().err
            mine.step(np.array([ON, ON, LEAVE, ON]))
            assert mine.lost == 4 and mine.history()["seeds"][2:] == [other_seed(seed, 1) for seed in seeds[2:]]
            assert mine.history()["seeds"][3] not in (8, seeds[3])

    def test_parts_of_what_was_last_seen_are_kept_as_they_were(self):
        with vector(2, make=Talker) as mine:
            before = in_lists(mine.reset(seed=5)[0])
            before = {name: np.array(part) for name, part in before.items()}
            mine._crew._lines[1].close()
            *_, info = mine.step(nothing(mine))
            assert info["final_obs"][0] is None
            for name, part in info["final_obs"][1].items():
                np.testing.assert_array_equal(part, before[name][1])

    def test_at_a_reset_it_begins_anew_as_well(self):
        with vector(2, restarts=0) as mine:
            mine.reset(seed=5)
            with pytest.raises(UsageError, match="Worker 0 died"):
                mine.reset(seed=5, options={"leave": True})
        with vector(2) as mine:
            mine._crew._lines[1].close()
            mine.reset(seed=5)
            assert mine.history()["seeds"] == [5, other_seed(6, 0)] and mine.lost == 0

    def test_what_it_was_called_for_is_lost(self):
        with vector(2) as mine:
            mine.reset(seed=5)
            mine._crew._lines[1].close()
            with pytest.raises(UsageError, match="Worker 1 died while length was called"):
                mine.call("length")

    def testother_seeds_are_others_each_time(self):
        assert other_seed(None, 3) is None
        found = [other_seed(seed, losses) for seed in range(40) for losses in range(25)]
        assert len({*found, *range(40)}) == 1040 and found[0] == other_seed(0, 0)
        assert 2**30 < max(found) < 2**31 and min(found) >= 0  # every generator takes these


class TestNotInStep:
    def test_nobody_waits_for_the_slow(self):
        with vector(4, 4, asynchronous=True) as mine:
            assert mine.waiting.tolist() == [0, 1, 2, 3]
            mine.reset(seed=5)
            stepped = np.zeros(4, np.int64)
            actions = np.array([WAIT, ON, ON, ON])
            while stepped.sum() < 30:
                idle = mine.waiting
                before = mine._observations.copy()
                observation, reward, *_, info = mine.step(actions)
                assert info[STEPPED].any() and not info[STEPPED][0] and reward.tolist() == info[STEPPED].tolist()
                assert (
                    set(np.flatnonzero(info[STEPPED])).isdisjoint(set(mine.waiting)) is False and 0 not in mine.waiting
                )
                assert len(idle) >= 1 and observation[0].tolist() == before[0].tolist()
                stepped += info[STEPPED]
            history = mine.history()
            assert history["stepping"][0] and history["counts"][0] == 1 and mine.taken[0] == WAIT
            assert (history["counts"] == stepped + history["stepping"]).all()
            resumed(history, mine._observations)
            GATE.set()
            while not mine.step(actions)[4][STEPPED][0]:
                pass

    def test_it_is_as_the_cluster_says_unless_it_is_said_otherwise(self):
        for asked, expected in ((None, True), (False, False), (True, True)):
            with vector(2, asynchronous=asked, make=Paces, worker_cpus=0) as mine:
                assert mine.asynchronous is bool(asked)
            with closing(RayEnvironments([Paces] * 2, given(asynchronous=True), asynchronous=asked)) as mine:
                assert mine.asynchronous is expected

    def test_a_reset_drops_what_is_under_way(self):
        with vector(2, asynchronous=True) as mine:
            mine.reset(seed=5)
            mine.step(np.array([ON, WAIT]))
            GATE.set()
            observation, _ = mine.reset(seed=6)
            assert observation[:, 0].tolist() == [0, 0] and mine.waiting.tolist() == [0, 1]
            mine.step(np.array([ON, LEAVE]))
            observation, _ = mine.reset(seed=7)
            assert observation[:, 0].tolist() == [0, 0] and mine.waiting.tolist() == [0, 1]

    def test_one_that_dies_alone_is_told_alone(self):
        with vector(2, asynchronous=True) as mine:
            mine.reset(seed=5)
            mine.step(np.array([WAIT, LEAVE]))
            assert mine.lost == 1 and mine.history()["stepping"].tolist() == [True, False]
            GATE.set()


def resumed(history, shown):
    """Those that were stepping step again, and all others wait."""
    stepping = history["stepping"].copy()
    with vector(4, 4, asynchronous=True) as copy:
        observation, _ = copy.replay(history)
        assert np.array_equal(observation, shown) and (copy.lost, copy.history()["seeds"]) == (0, [5, 6, 7, 8])
        assert copy.waiting.tolist() == np.flatnonzero(~stepping).tolist()
        assert copy.taken.tolist() == history["actions"][history["counts"] - 1, np.arange(4)].tolist()
        GATE.set()
    GATE.clear()
    stepping[:] = [True, False, False, False]
    with vector(4, 2) as copy, pytest.raises(UsageError, match="while other workers were stepping"):
        copy.replay({**history, "stepping": stepping})
    with vector(4, 1) as copy, pytest.raises(UsageError, match="resume an asynchronous run with its own"):
        copy.replay({**history, "stepping": ~stepping})
    with vector(3, 3) as copy, pytest.raises(UsageError, match=r"took actions of shape .* Resume with the same"):
        copy.replay(history)


def test_a_replay_leads_to_where_it_was_with_any_number_of_workers():
    actions = np.random.default_rng(0).integers(3, size=(20, 4))
    with vector(4, 2, Talker) as mine:
        mine.reset(seed=5)
        for one in actions:
            now = mine.step(one)[0]
        history = {**mine.history(), "lost": 3}
        assert history["counts"].tolist() == [20] * 4 and not history["stepping"].any()
        with vector(4, 3, Talker) as copy:
            copy.reset(seed=1)
            assert same(in_lists(copy.replay(history)[0]), in_lists(now)) and copy.lost == 3
            assert same(in_lists(copy.step(actions[0])), in_lists(mine.step(actions[0])))
