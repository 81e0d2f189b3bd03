"""Spaces as agents are shown them: themselves wherever that is possible, and refused by name where it is not."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces

from engram_rl.training.errors import UsageError, say_once
from engram_rl.training.intake.spaces import parts_of, presented

PAIR = spaces.Box(-1, 1, (2,), np.float32)
TEXT = spaces.Text(5)


class Words(gym.Space):
    """Somebody's own space of words."""

    def __init__(self, dtype=str):
        super().__init__((), dtype)


@pytest.mark.parametrize(
    "space",
    [
        PAIR,
        spaces.Box(-1, 1, (), np.float64),
        spaces.Box(0, 9, (1,), np.int64),
        spaces.Discrete(3),
        spaces.MultiDiscrete([2, 3]),
        spaces.MultiBinary(3),
        spaces.Dict(a=PAIR, b=spaces.Dict(c=PAIR)),
    ],
)
def test_what_an_agent_can_be_shown_is_the_space_itself(space):
    assert presented(space, "X-v0") is space


@pytest.mark.parametrize(
    ("space", "shown"),
    [
        (spaces.Tuple((PAIR, spaces.Discrete(3))), {"0": PAIR, "1": spaces.Discrete(3)}),
        (spaces.Dict(z=PAIR, said=TEXT), {"z": PAIR}),
        (spaces.Dict(z=PAIR, mission=Words()), {"z": PAIR}),
        (spaces.Dict(z=PAIR, none=spaces.Dict({})), {"z": PAIR}),
        (spaces.Dict(z=PAIR, bag=spaces.Tuple((TEXT, TEXT))), {"z": PAIR}),
        (spaces.Dict(z=PAIR, bag=spaces.Dict(said=TEXT)), {"z": PAIR}),
        (spaces.Tuple((TEXT, PAIR)), {"1": PAIR}),
        (spaces.Dict(b=PAIR, a=spaces.Tuple((PAIR,))), {"b": PAIR, "a": spaces.Dict({"0": PAIR})}),
    ],
)
def test_parts_are_shown_by_name_and_text_is_not(space, shown):
    found = presented(space, "X-v0")
    assert dict(found.spaces) == shown and list(found) == list(shown)
    assert parts_of(PAIR) is None and list(parts_of(space)) != []


@pytest.mark.parametrize(("given", "shown"), [(">f4", "f4"), (">f8", "f8"), (">i8", "i8"), (">i2", "i2"), ("g", "f8")])
def test_numbers_of_other_machines_are_shown_as_those_of_this(given, shown):
    space = spaces.Box(np.array([-3, 0], given), np.array([4, 9], given), dtype=np.dtype(given))
    found = presented(space, "X-v0")
    assert found.dtype == np.dtype(shown) and found.dtype.isnative
    assert found.low.tolist() == [-3, 0] and found.high.tolist() == [4, 9]


def test_text_is_said_to_be_left_out_with_its_place(capsys):
    say_once.cache_clear()
    presented(spaces.Dict(a=PAIR, b=spaces.Dict(c=spaces.Tuple((PAIR, TEXT)))), "X-v0")
    assert capsys.readouterr().err == "X-v0: the part 'b.c.1' of its observations is text; agents are not shown it.\n"


@pytest.mark.parametrize(
    "space",
    [
        TEXT,
        Words(),
        spaces.Dict({}),
        spaces.Box(0, 1, (0,)),
        spaces.Dict(a=spaces.Box(0, 1, (3, 0))),
        spaces.Tuple((TEXT,)),
    ],
)
def test_observations_without_numbers_are_refused(space, capsys):
    say_once.cache_clear()
    with pytest.raises(UsageError, match=r"The observations of X-v0 hold no numbers, but .*TransformObservation"):
        presented(space, "X-v0")
    assert ("is text" in capsys.readouterr().err) == isinstance(space, spaces.Tuple)


TAIL = spaces.Sequence(PAIR)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (
            TAIL,
            "^The observations of X-v0: Sequence.* A Sequence has no fixed size.* Turn it into numbers in a wrapper",
        ),
        (Words(None), "^The observations of X-v0: .* A Words has no fixed size"),
        (
            spaces.Dict(b=spaces.Dict(t=TAIL)),
            r"^The part 'b\.t' of the observations of X-v0.* Turn it into numbers in a",
        ),
        (
            spaces.Dict({"a": PAIR, "t": TAIL, "two words": PAIR, "7": PAIR, "said": TEXT, "u": TAIL}),
            r"^The part 't' .* Keep the other parts with .*filter_keys: \[7, a, 'two words'\]\}\], or turn it into",
        ),
        (spaces.Tuple((PAIR, TAIL, PAIR)), r"^The part '1' .*filter_keys: \[0, 2\]"),
    ],
)
def test_what_has_no_fixed_size_is_named_with_what_may_be_kept(space, said):
    with pytest.raises(UsageError, match=said):
        presented(space, "X-v0")
