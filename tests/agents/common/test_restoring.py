"""A state that does not fit leaves what was there, and the method is still what it was called."""

import pytest

from engram_rl.agents.common.restoring import all_or_nothing


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
