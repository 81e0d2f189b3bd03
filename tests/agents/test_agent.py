"""What an agent is shown of a step cannot be changed by whoever is shown it first."""

from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from engram_rl.agents.agent import Transition


def test_a_step_says_whether_its_episode_ended_and_cannot_be_given_other_parts():
    ended = np.array([False, True, False, True]), np.array([False, False, True, True])
    seen = np.zeros((4, 1))
    step = Transition(seen, np.zeros(4, int), np.zeros(4), *ended, seen, seen)
    assert step.done.tolist() == [False, True, True, True]
    assert step.mask is None and step.next_mask is None and step.reset_mask is None
    for part in fields(step):
        with pytest.raises(FrozenInstanceError):
            setattr(step, part.name, None)


def vector_step(rows=None, mask=None):
    """A step of three environments, all of whose parts differ from one to the next."""
    seen = {"place": np.arange(6).reshape(3, 2), "time": np.arange(3)}
    after = {name: part + 10 for name, part in seen.items()}
    ended = np.array([True, False, False]), np.array([False, False, True])
    more = {"info": {"score": 1}, "rows": rows, "mask": mask, "next_mask": mask, "reset_mask": mask}
    return Transition(seen, np.array([7, 8, 9]), np.array([0.1, 0.2, 0.3]), *ended, after, after, **more)


def test_a_step_of_all_environments_is_theirs():
    step = vector_step()
    assert step.steps == 3
    assert step.of_rows() is step


@pytest.mark.parametrize("masked", [False, True])
def test_a_step_of_some_environments_is_cut_to_theirs(masked):
    rows, mask = np.array([2, 0]), np.eye(3, dtype=bool)
    whole = vector_step(rows, mask if masked else None)
    cut = whole.of_rows()
    assert whole.steps == 2
    for name in ("action", "reward", "terminated", "truncated", "done"):
        assert np.array_equal(getattr(cut, name), getattr(whole, name)[rows])
    for name in ("observation", "next_observation", "reset_observation"):
        held = getattr(whole, name)
        assert all(np.array_equal(part, held[key][rows]) for key, part in getattr(cut, name).items())
        assert getattr(cut, name).keys() == held.keys()
    for name in ("mask", "next_mask", "reset_mask"):
        part = getattr(cut, name)
        assert np.array_equal(part, mask[rows]) if masked else part is None
    assert cut.info == whole.info
