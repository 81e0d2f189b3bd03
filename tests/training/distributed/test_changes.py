"""What is sent of a nested state: with what was there before it gives the state, exactly, and no more than that."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_rl.memory.sharded.packing import packed, unpacked
from engram_rl.training.distributed.changes import Gone, Rows, applied, changes, leaves, nested

TENSORS = st.tuples(
    st.integers(0, 6),
    st.sampled_from([(), (3,), (2, 2), (0,)]),
    st.sampled_from(["float32", "float64", "int64", "bool"]),
)
NAMES = st.sampled_from(["a", "b/c", "", "0", "[1]"])


def tensor(made, draw):
    rows, shape, kind = made
    numbers = torch.randint(-3, 3, (rows, *shape), generator=draw).to(getattr(torch, kind))
    return numbers / 0 if kind.startswith("float") and rows == 5 else numbers


def state_of(plan, draw):
    if isinstance(plan, dict):
        return {name: state_of(part, draw) for name, part in plan.items()}
    if isinstance(plan, list):
        return [state_of(part, draw) for part in plan]
    return tensor(plan[1:], draw) if isinstance(plan, tuple) and plan[0] == "tensor" else plan


PLANS = st.recursive(
    st.one_of(
        TENSORS.map(lambda one: ("tensor", *one)), st.none(), st.booleans(), st.integers(-2, 2), st.floats(-1, 1), NAMES
    ),
    lambda inner: st.one_of(st.dictionaries(NAMES, inner, max_size=3), st.lists(inner, max_size=3)),
    max_leaves=8,
)


def equal(one, other):
    if isinstance(one, dict):
        return isinstance(other, dict) and set(one) == set(other) and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, list):
        return isinstance(other, list) and len(one) == len(other) and all(map(equal, one, other))
    if isinstance(one, torch.Tensor):
        alike = isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.shape == other.shape
        return alike and np.array_equal(one.numpy(), other.numpy(), equal_nan=one.is_floating_point())
    return type(one) is type(other) and one == other


@settings(max_examples=150, deadline=None)
@given(st.lists(PLANS, min_size=1, max_size=4), st.integers(0, 99))
def test_what_has_changed_leads_from_one_state_to_the_next(plans, seed):
    draw, known = torch.Generator().manual_seed(seed), {}
    for plan in plans:
        state = {"state": state_of(plan, draw)}
        now = leaves(state)
        known = applied(known, unpacked(packed(changes(known, now))))
        assert equal(nested(known), state)
        assert not changes(known, now)


def test_of_a_tensor_that_grew_and_changed_here_and_there_only_those_rows_are_sent():
    before = {"rows": torch.zeros(100, 4), "same": torch.tensor([math.nan, 1.0]), "gone": 1, "n": 3}
    now = {"rows": torch.zeros(103, 4), "same": torch.tensor([math.nan, 1.0]), "n": 4}
    now["rows"][7, 2] = 1.0
    changed = changes(leaves(before), leaves(now))
    rows = changed.pop(("rows",))
    assert isinstance(rows, Rows) and rows.at.tolist() == [7, 100, 101, 102] and rows.rows.shape == (4, 4)
    assert changed == {("gone",): Gone(), ("n",): 4}


def test_what_was_taken_stays_as_it_was():
    state = {"weights": torch.ones(3)}
    taken = leaves(state)
    state["weights"] += 1
    assert taken[("weights",)].tolist() == [1, 1, 1]
    sent = changes(taken, leaves(state))
    assert applied(taken, sent)[("weights",)].tolist() == [2, 2, 2] and taken[("weights",)].tolist() == [1, 1, 1]


def test_an_array_that_is_written_to_later_counts_as_changed():
    state = {"moments": np.ones(3)}
    taken = leaves(state)
    state["moments"] += 1
    assert changes(taken, leaves(state))[("moments",)].tolist() == [2, 2, 2]
