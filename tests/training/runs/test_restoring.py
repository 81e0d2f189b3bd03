"""An agent and its environments come back to where they were, or it is said why they do not."""

from pathlib import Path

import numpy as np
import pytest
import torch

from engram_rl.training.errors import UsageError
from engram_rl.training.runs.restoring import restore_agent, restore_environments, say_if_done
from engram_rl.training.seeding import generators

MISFITS = (AttributeError, IndexError, KeyError, MemoryError, OverflowError, RuntimeError, TypeError, ValueError)
ORIGIN = Path("runs/x")


class Restored:
    """Takes a state, or fails at it."""

    def __init__(self, shows=None, error=None):
        self.shows, self.error, self.given = shows, error, None

    def load_state_dict(self, state):
        if self.error:
            raise self.error
        self.given = state
        return self.shows


@pytest.mark.parametrize("kind", MISFITS)
def test_a_state_of_another_shape_is_explained(kind):
    for what, restore in (("agent", restore_agent), ("environments", restore_environments)):
        told = (
            rf"The {what} saved in runs/x do not fit .*config.yaml describes \({kind.__name__}: .*odd.*beside resume="
        )
        with pytest.raises(UsageError, match=told):
            restore(Restored(error=kind("odd")), {"agent": {}, "environments": {}}, ORIGIN)


def test_what_is_no_misfit_is_raised_as_it_is():
    for error in (UsageError("needs an extra"), ZeroDivisionError("odd")):
        with pytest.raises(type(error)) as caught:
            restore_environments(Restored(error=error), {"environments": {}}, ORIGIN)
        assert caught.value is error


def test_agent_environments_and_generators_are_where_they_were(capsys):
    agent, environments = Restored(), Restored(shows=np.ones(2))
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    saved = {"agent": {"a": 1}, "environments": {"b": 2}, "observation": np.ones(2), "generators": generators()}
    drawn = np.random.random(), float(torch.rand(1))  # noqa: NPY002
    restore_agent(agent, saved, ORIGIN)
    assert restore_environments(environments, saved, ORIGIN) is environments.shows
    assert (agent.given, environments.given) == ({"a": 1}, {"b": 2})
    assert (np.random.random(), float(torch.rand(1))) == drawn  # noqa: NPY002
    restore_environments(environments, {"environments": {}}, ORIGIN)  # of a run that kept neither
    assert capsys.readouterr().err == ""


A, B = np.zeros(2), np.ones(2)


@pytest.mark.parametrize(
    ("shown", "saved", "same"),
    [
        (A, A.copy(), True), (A, B, False), (A, A[:1], False), ({"x": A, "y": B}, {"x": A, "y": B}, True),
        ({"x": A, "y": B}, {"x": A, "y": A}, False), ({"x": A, "y": B}, {"x": B, "y": B}, False),
        ({"x": A}, {"x": A, "y": B}, False), ({"x": A, "y": B}, {"x": A}, False), ({"x": A}, A, False),
        ({"x": {"y": A}}, {"x": {"y": A}}, True), ({"x": {"y": A}}, {"x": {"y": B}}, False),
        ({"y": A, "x": B}, {"x": B, "y": A}, True), ({"x": A}, {"y": A}, False),
    ],
)  # fmt: skip
def test_environments_that_show_something_else_are_told(capsys, shown, saved, same):
    assert restore_environments(Restored(shows=shown), {"environments": {}, "observation": saved}, ORIGIN) is shown
    told = capsys.readouterr().err
    assert told.startswith("runs/x: the environments did not come back to where they were") is not same
    assert bool(told) is not same


@pytest.mark.parametrize(("step", "done"), [(59, False), (60, True), (64, True)])
def test_a_run_with_nothing_left_to_do_says_what_to_give(capsys, step, done):
    say_if_done(step, 60, ORIGIN)
    told = capsys.readouterr().err
    assert bool(told) is done
    if done:
        assert f"runs/x has done {step} steps already, of steps=60" in told
        assert told.endswith(f"To go on, give more: resume=runs/x steps={2 * step}\n")
