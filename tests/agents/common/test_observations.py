"""Batches of one array, or of one per name: their rows, sizes and fingerprints, and what of them fits into memory."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.common.observations import (
    batch_size,
    hash_observations,
    put_rows,
    require_rows,
    require_supported,
    rows_of,
    rows_of_mask,
    space_bytes,
    to_tensors,
    unsupported,
)
from engram_rl.memory import checks

NESTED = {"a": np.arange(6).reshape(3, 2), "b": (np.arange(3), {"c": np.arange(3) * 10})}


def test_rows_are_those_of_every_part():
    assert batch_size(NESTED) == batch_size(NESTED["b"]) == batch_size(NESTED["a"]) == 3
    rows = rows_of(NESTED, np.array([2, 0]))
    assert rows["a"].tolist() == [[4, 5], [0, 1]]
    assert rows["b"]["0"].tolist() == [2, 0] and rows["b"]["1"]["c"].tolist() == [20, 0]
    held = rows_of(NESTED, np.array([0, 0, 0, 0]))
    put_rows(held, np.array([1, 3]), rows)
    assert held["a"][:, 0].tolist() == [0, 4, 0, 0] and held["b"]["1"]["c"].tolist() == [0, 20, 0, 0]


def test_rows_of_no_mask_are_none():
    assert rows_of_mask(None, [0]) is None
    assert rows_of_mask(np.eye(3, dtype=bool), np.array([2])).tolist() == [[False, False, True]]


def test_tensors_keep_the_types_and_the_structure():
    made = to_tensors({"picture": np.zeros((2, 4), np.uint8), "more": (np.zeros(2),)})
    assert made["picture"].dtype == torch.uint8 and made["more"]["0"].dtype == torch.float64


def test_a_fingerprint_does_not_depend_on_the_order_of_the_parts():
    first, second = np.arange(4), np.arange(4) * 7
    names = hash_observations({"a": first, "b": second})
    assert torch.equal(names, hash_observations({"b": second, "a": first}))
    assert not torch.isin(names, hash_observations({"a": second[1:], "b": first[1:]})).any()
    assert len(names.unique()) == 4


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (spaces.Box(0, 255, (84, 84, 4), np.uint8), 84 * 84 * 4),
        (spaces.Box(-1, 1, (), np.float32), 4),
        (spaces.Box(-1, 1, (2, 3), np.float64), 48),
        (spaces.Discrete(5), 8),
        (spaces.MultiDiscrete([3, 4]), 16),
        (spaces.MultiBinary((2, 3)), 6),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Tuple((spaces.MultiBinary(3), spaces.Box(0, 1, (2,))))), 8 + 3 + 8),
    ],
)
def test_bytes_are_those_that_numpy_takes(space, size):
    assert space_bytes(space) == size


def test_what_does_not_fit_is_refused_and_what_just_fits_is_not(monkeypatch):
    monkeypatch.setattr(checks, "ram", lambda device: 3 * 24)
    require_rows("replay_capacity=3", 3, 24, "lower replay_capacity")
    with pytest.raises(ValueError, match=r"replay_capacity=4 of 24 bytes each would take .*; lower replay_capacity"):
        require_rows("replay_capacity=4", 4, 24, "lower replay_capacity")


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Text(5), r"NEC cannot read observations of Text[^']*\. Supported: Box"),
        (
            spaces.Dict(a=spaces.Discrete(2), b=spaces.Text(5)),
            r"cannot read observations of Text.* \(the part \['b'\]\)",
        ),
        (spaces.Dict(a=spaces.Tuple((spaces.Discrete(2), spaces.Text(5)))), r"\(the part \['a'\]\['1'\]\)\. Supported"),
        (spaces.Dict({}), r"NEC is shown nothing: the observation space Dict\(\) has no parts"),
        (spaces.Dict(a=spaces.Tuple(())), r"NEC is shown nothing: the observation\['a'\] Tuple\(\) has no parts"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_place(space, message):
    with pytest.raises(ValueError, match=message):
        require_supported(space, "NEC")


def test_all_that_encoders_read_is_supported():
    parts = (spaces.Box(0, 1), spaces.Discrete(2), spaces.MultiDiscrete([2]), spaces.MultiBinary(2))
    for space in (*parts, spaces.Tuple(parts), spaces.Dict(a=spaces.Tuple(parts))):
        require_supported(space, "NEC")


def test_a_space_without_a_place_is_named_alone():
    assert unsupported("NEC cannot read", spaces.Text(5)).startswith(
        f"NEC cannot read observations of {spaces.Text(5)}. "
    )
