"""A state that does not fit leaves what was there, and the method is still what it was called."""

import pytest
import torch

from engram_rl.agents.common.restoring import all_or_nothing, restore_optimiser


class Two:
    """Takes `a` before it finds that `b` is missing."""

    def __init__(self):
        self.a, self.b = 1, [2]

    def state_dict(self):
        return {"a": self.a, "b": self.b}

    @all_or_nothing
    def load_state_dict(self, state):
        """Restore."""
        self.a = state["a"]
        self.b = state["b"]


def test_a_state_that_does_not_fit_changes_nothing_and_raises_what_it_raised():
    two = Two()
    with pytest.raises(KeyError, match="b"):
        two.load_state_dict({"a": 9})
    assert two.state_dict() == {"a": 1, "b": [2]}
    two.load_state_dict({"a": 3, "b": [4]})
    assert two.state_dict() == {"a": 3, "b": [4]}


def test_the_method_keeps_its_name_and_what_it_says_of_itself():
    assert Two.load_state_dict.__name__ == "load_state_dict" and Two.load_state_dict.__doc__ == "Restore."


def test_an_optimiser_goes_on_with_what_it_gathered_at_the_rate_that_it_is_made_with():
    weights = [torch.nn.Parameter(torch.ones(3)) for _ in range(2)]
    before, now = (torch.optim.RMSprop([one], lr=rate) for one, rate in zip(weights, (0.1, 0.5), strict=True))
    weights[0].grad = torch.ones(3)
    before.step()
    restore_optimiser(now, before.state_dict())
    assert now.param_groups[0]["lr"] == 0.5
    gathered, restored = before.state[weights[0]]["square_avg"], now.state[weights[1]]["square_avg"]
    assert torch.equal(gathered, restored) and gathered is not restored
