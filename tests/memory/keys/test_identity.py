"""Identities: hashes that a slow loop over Python integers gives too, and a table that is a dictionary of Python."""

import numpy as np
import pytest

from engram_rl.memory.keys.identity import NOBODY, IdentityTable, find_in_each, identify, occurrence

WORD = 2**64


def slow_mix(word):
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB % WORD
    return word ^ (word >> 31)


def slow_identity(observation):
    raw = observation.tobytes()
    raw += bytes(-len(raw) % 8)
    words = [int.from_bytes(raw[i : i + 8], "little") for i in range(0, len(raw), 8)]
    factors = np.random.Generator(np.random.PCG64(0)).integers(1, 2**64, len(words), dtype=np.uint64)
    odd = [int(factor) | 1 for factor in factors]
    total = sum(slow_mix(slow_mix(word) * factor % WORD) for word, factor in zip(words, odd, strict=True))
    return (slow_mix(total % WORD) + WORD // 2) % WORD - WORD // 2


@pytest.mark.parametrize("kind", ["uint8", "bool", "int16", "int64", "float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(1,), (3,), (8,), (5, 3), (0,)])
def test_a_hash_is_that_of_the_bytes(kind, shape):
    numbers = (np.random.default_rng(0).normal(size=(6, *shape)) * 50).astype(kind)
    assert identify(numbers).tolist() == [slow_identity(row) for row in numbers]


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_numbers_of_any_size_are_told_apart_and_the_two_zeros_are_one(kind, scale):
    numbers = (np.arange(-50, 50)[:, None] * scale).astype(kind)
    assert len(identify(numbers).unique()) == 100
    assert identify(np.array([[0.0], [-0.0]], kind)).unique().numel() == 1


def test_how_many_equal_ones_came_before():
    assert occurrence(np.array([5, 3, 5, 5, 3, 9])).tolist() == [0, 0, 1, 2, 1, 0]
    assert occurrence(np.array([], np.int64)).tolist() == []


@pytest.mark.parametrize("capacity", [1, 5, 64, 1000])
def test_a_table_holds_what_a_dictionary_would(capacity):
    draw = np.random.default_rng(capacity)
    table, slow = IdentityTable(capacity), {}
    names = np.r_[draw.integers(-(2**62), 2**62, 3 * capacity), 0, -1, NOBODY]
    for _ in range(60):
        slots = draw.permutation(capacity)[: draw.integers(1, capacity + 1)]
        if draw.random() < 0.3:
            table.remove(slots)
            slow = {name: slot for name, slot in slow.items() if slot not in set(slots.tolist())}
        else:
            given = draw.permutation(names)[: len(slots)]
            slots = slots[: len(given)]
            table.set(slots, given)
            slow = {name: slot for name, slot in slow.items() if slot not in set(slots.tolist())}
            slow |= {name: slot for name, slot in zip(given.tolist(), slots.tolist(), strict=True) if name != NOBODY}
        assert table.find(names).tolist() == [slow.get(name, -1) for name in names.tolist()]
        held = {slot: name for name, slot in slow.items()}
        assert table.identities_at(np.arange(capacity)).tolist() == [held.get(s, NOBODY) for s in range(capacity)]
    twin = IdentityTable(capacity)
    twin.set(np.arange(capacity), names[:capacity])
    twin.restore(table.identities_at(np.arange(capacity)))
    assert twin.find(names).tolist() == table.find(names).tolist()


def test_a_full_table_finds_room_in_one_bucket_of_two():
    table, names = IdentityTable(50_000), np.random.default_rng(0).integers(1, 2**62, 50_000)
    for start in range(0, 50_000, 500):
        table.set(np.arange(start, start + 500), names[start : start + 500])
    assert (table.find(names) == np.arange(50_000)).all()
    assert len(table._overflow) < 50  # in one bucket alone it would be some thousands


def test_places_of_what_is_removed_are_free_again():
    draw = np.random.default_rng(1)
    table, slots = IdentityTable(2_000), np.arange(2_000)
    for _ in range(30):
        names = draw.integers(1, 2**62, 2_000)
        table.set(slots, names)
        assert (table.find(names) == slots).all()
    assert len(table._overflow) < 20
    assert (table._cells > 0).sum() + len(table._overflow) == 2_000
    table.remove(slots)
    assert not table._cells.any() and not table._overflow


def test_what_both_buckets_have_no_room_for_is_found_and_forgotten_all_the_same():
    table = IdentityTable(40)
    every = table._buckets(np.arange(20_000))
    names = np.flatnonzero((every == every[7]).all(1))[:30]
    table.set(np.arange(30), names)
    assert len(table._overflow) >= 30 - 16
    assert table.find(names).tolist() == list(range(30))
    table.remove(np.arange(10, 30))
    assert table.find(names).tolist() == [*range(10), *[-1] * 20]
    table.set(np.array([35]), names[29:])
    table.restore(table.identities_at(np.arange(40)))
    assert table.find(names).tolist() == [*range(10), *[-1] * 19, 35]


def test_several_tables_are_asked_at_once_as_one_after_another():
    tables = [IdentityTable(capacity) for capacity in (5, 40, 300)]
    for first, table in enumerate(tables):
        table.set(np.arange(4), np.arange(first, first + 4))
    names = np.array([0, 3, 5, NOBODY, 99])
    found = find_in_each(tables, names)
    assert found.tolist() == [table.find(names).tolist() for table in tables]
    assert found[:, :4].tolist() == [[0, 3, -1, -1], [-1, 2, -1, -1], [-1, 1, 3, -1]]


def between(kind, filling):
    """Two rows of 1 and 2, with the bytes that say nothing filled."""
    rows = np.empty((2, 1), kind)
    rows.view(np.uint8)[:] = filling
    rows[:] = np.array([[1], [2]]).astype(kind)
    return rows


@pytest.mark.parametrize("kind", [np.longdouble, np.clongdouble, np.dtype([("a", "i1"), ("b", "f8")], align=True)])
def test_bytes_that_say_nothing_do_not_count(kind):
    rows = [between(np.dtype(kind), filling) for filling in (0, 255)]
    if rows[0].dtype.names:
        for row in rows:
            row["a"][:, 0], row["b"][:, 0] = [1, 1], [-0.0, 2]
        rows[0]["b"][0] = 0.0
    one, other = (identify(row) for row in rows)
    assert one.tolist() == other.tolist()
    assert len(one.unique()) == 2
