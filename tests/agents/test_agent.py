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
