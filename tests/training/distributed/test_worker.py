"""What a worker's environments are asked: answers for all of them, and errors are answers as well."""

import pickle
import random
import sys
import threading
from dataclasses import FrozenInstanceError, fields
from functools import partial

import cloudpickle
import numpy as np
import pytest

from engram_rl.training.distributed.worker import Answer, EnvironmentWorker, Failure, Made, _dumped
from engram_rl.training.errors import UsageError, say_once
from tests.training.distributed.distant_worlds import Talker
from tests.training.distributed.paces import LEAVE, ON, STUCK, Others, Paces


@pytest.fixture(autouse=True)
def _ray(threads):
    """What cannot be pickled plainly is sent as Ray sends it."""


@pytest.fixture
def generators():
    """The generators of the process, as they were before."""
    ours, theirs = random.getstate(), np.random.get_state()  # noqa: NPY002
    yield
    random.setstate(ours)
    np.random.set_state(theirs)  # noqa: NPY002


def working(*makers):
    """A worker that has made these."""
    worker = EnvironmentWorker([])
    made = worker.make(cloudpickle.dumps(list(makers)))
    assert isinstance(made, Made), made
    return worker


def test_environments_say_what_they_are():
    made = EnvironmentWorker([]).make(pickle.dumps([partial(Paces, render_mode="ansi"), Paces]))
    assert (made.observation_space, made.action_space) == (Paces.observation_space, Paces.action_space)
    assert (made.metadata, made.render_mode) == (Paces.metadata, "ansi")
    with pytest.raises(FrozenInstanceError):
        made.process = 3


def test_environments_side_by_side_have_the_same_spaces():
    failure = EnvironmentWorker([]).make(pickle.dumps([Paces, Others]))
    assert "must have the same spaces, but <Others" in str(failure.error)
    with pytest.raises(FrozenInstanceError):
        failure.traceback = ""


def test_modules_are_looked_for_where_the_driver_looks_as_well(monkeypatch):
    monkeypatch.setattr(sys, "path", ["here"])
    EnvironmentWorker(["here", "there"])
    assert sys.path == ["here", "there"]


@pytest.mark.parametrize("seed", [3, 2**32 + 3])
def test_a_reset_seeds_what_draws_from_the_process(seed, generators):
    worker = working(Paces, Paces)
    worker.reset([seed, 4])
    assert random.random() == random.Random(seed).random()
    assert np.random.random() == np.random.RandomState(3).random()  # noqa: NPY002
    ours, theirs = random.getstate(), np.random.get_state()[2]  # noqa: NPY002
    worker.reset([None, 4])
    assert random.getstate() == ours and np.random.get_state()[2] == theirs  # noqa: NPY002


def test_a_reset_begins_episodes(generators):
    worker, alone = working(Paces, Paces), Paces()
    answer = worker.reset([3, 4], {"far": True})
    expected = [alone.reset(seed=seed)[0].tolist() for seed in (3, 4)]
    assert answer.observation.tolist() == expected and answer.reward.tolist() == [0, 0]
    assert answer.reward.dtype == np.float64 and not answer.terminated.any() and not answer.truncated.any()
    assert answer.terminated.dtype == answer.truncated.dtype == bool and answer.stepped is False
    assert answer.said == [({"begun": number, "options": {"far": True}}, None) for _, number in expected]
    assert fields(Answer)[-1].default is False
    with pytest.raises(FrozenInstanceError):
        answer.stepped = True
    assert "shorter" in str(worker.reset([3]).error)


def test_where_an_episode_ends_the_next_begins_within_the_step():
    worker = working(partial(Paces, 2), partial(Paces, 2, cut=True), partial(Paces, 3))
    begun = worker.reset([3, 4, 5]).observation.copy()
    answer = worker.step(np.zeros(3, np.int64))
    assert answer.stepped and answer.observation[:, 0].tolist() == [1, 1, 1] and answer.reward.tolist() == [1, 1, 1]
    answer = worker.step(np.zeros(3, np.int64))
    assert answer.terminated.tolist() == [True, False, False] and answer.truncated.tolist() == [False, True, False]
    assert answer.observation[:, 0].tolist() == [0, 0, 2] and answer.observation[2, 1] == begun[2, 1]
    (_, first), (_, second), (info, none) = answer.said
    assert (first[0].tolist(), first[1]) == ([2, begun[0, 1]], {"count": 2}) and second[0].tolist() == [2, begun[1, 1]]
    assert none is None and info == {"count": 2}
    assert [one["begun"] for one, _ in answer.said[:2]] == answer.observation[:2, 1].tolist()
    assert "longer" in str(worker.step(np.zeros(4, np.int64)).error)


@pytest.mark.parametrize("counts", [(0, 0, 0), (1, 7, 4), (9, 2, 12)])
def test_a_replay_leads_to_where_single_steps_lead(counts):
    makers = [partial(Talker), partial(Talker), partial(Talker)]
    drawn = np.random.default_rng(0).integers(3, size=(12, 3))
    answer = working(*makers).replay([3, 4, 5], drawn, np.array(counts))
    assert not answer.reward.any() and not answer.terminated.any() and not answer.stepped
    for row, steps in enumerate(counts):
        alone = Talker()
        observation, info = alone.reset(seed=3 + row)
        for action in drawn[:steps, row]:
            observation, _, terminated, truncated, info = alone.step(action)
            if terminated or truncated:
                observation, info = alone.reset()
        for name, part in observation.items():
            np.testing.assert_array_equal(answer.observation[name][row], part)
        np.testing.assert_equal(answer.said[row], (info, None))


def test_methods_are_called_and_attributes_read_of_each():
    worker = working(Paces, partial(Paces, 3))
    worker.reset([3, 4])
    assert worker.call("length") == [5, 3]
    assert worker.call("add", 4) == [4, 4] and worker.call("add", 4, times=3) == [12, 12]


def test_an_error_is_an_answer_with_its_place_and_others_are_not_caught():
    worker = working(Paces, Paces)
    worker.reset([3, 4])
    failure = worker.step(np.array([ON, STUCK]))
    assert isinstance(failure, Failure) and "in step: RuntimeError: the arm is stuck" in str(failure.error)
    assert "environments on a worker" in str(failure.error) and "Traceback" in failure.traceback
    with pytest.raises(SystemExit):
        worker.step(np.array([ON, LEAVE]))


def test_all_are_closed_and_the_first_error_is_told():
    worker = working(partial(Paces, closing="jammed"), partial(Paces, closing="also"), Paces)
    made = list(worker._envs)
    failure = worker.close()
    assert "RuntimeError: jammed" in str(failure.error) and [one.closed for one in made] == [1, 1, 1]
    assert worker.close() is None and [one.closed for one in made] == [1, 1, 1]


class TestWhatIsSent:
    def answer(self, *said):
        none = np.zeros(2, bool)
        return Answer(np.ones(2), none * 0.0, none, none, list(said))

    def test_infos_that_cannot_be_stay_and_are_told_once(self, capsys):
        say_once.cache_clear()
        lock, local = threading.Lock(), type("Local", (), {"number": 3})()
        sent = self.answer(({"lock": lock, "n": 1, "own": local}, None), ({"n": 2}, (5, {"lock": lock, "m": 3})))
        found = pickle.loads(_dumped(sent))
        (first, none), second = found.said
        assert first["n"] == 1 and first["own"].number == 3 and "lock" not in first and none is None
        assert second == ({"n": 2}, (5, {"m": 3})) and found.observation.tolist() == [1, 1]
        told = capsys.readouterr().err
        assert told.count("The info 'lock' stays where the environment is: it cannot be sent (") == 1

    def test_what_is_plain_is_sent_as_it_is(self):
        plain = _dumped({"n": [1, 2]})
        assert pickle.loads(plain) == {"n": [1, 2]} and plain[1] == pickle.HIGHEST_PROTOCOL

    def test_what_cannot_be_sent_otherwise_is_an_error(self):
        failure = pickle.loads(_dumped([threading.Lock()]))
        assert str(failure.error).startswith("What a worker answers cannot be sent: ") and failure.traceback == ""
        assert isinstance(failure.error, UsageError)
