"""A memory in shards gives what one memory gives, whatever is done to both; and holds what it says of forgetting."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_rl.memory import (
    Decay,
    DifferentiableNeuralDictionary,
    Gaussian,
    LeastRecentlyUsed,
    Modality,
    RowRMSprop,
    RowSGD,
)
from engram_rl.memory.sharded import ShardedMemory, ShardedOptimiser
from engram_rl.memory.sharded import memory as sharded

SPACES = {
    "one": [Modality("view", 3)],
    "parts": [Modality("view", 3), Modality("place", 2, weight=0.5), Modality("act", kind="discrete")],
    "cosine": [Modality("view", 4, kind="cosine"), Modality("place", 2, penalty=2.0)],
    "codes": [Modality("act", kind="discrete"), Modality("cell", 2, kind="discrete")],
}


def rows_of(space, n, chance, scale=1.0, offset=0.0):
    parts = {}
    for part in space:
        if part.kind == "discrete":
            parts[part.name] = torch.randint(3, (n, part.size), generator=chance)
        else:
            parts[part.name] = scale * torch.randn(n, part.size, generator=chance, dtype=torch.float64) + offset
    return parts


def lacking(parts, chance):
    """Which rows have which part: the first always."""
    first, *others = parts
    rows = len(parts[first])
    return {name: torch.rand(rows, generator=chance) < 0.7 for name in others}


def pair(space, shards, capacity=4096, **given):
    both = {"k": 5, "dtype": torch.float64, **given}
    one = DifferentiableNeuralDictionary(space, 2, capacity, **copy.deepcopy(both))
    return one, ShardedMemory(space, 2, capacity, shards=shards, where="here", **copy.deepcopy(both))


def same(one, many, query, **asked):
    """Both find the same entries, by their values: slots have other numbers."""
    a, b = one.lookup(query, **asked), many.lookup(query, **asked)
    torch.testing.assert_close(b.value, a.value, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(b.distances, a.distances, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(b.weights, a.weights, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(b.values.sum(1), a.values.sum(1), rtol=1e-9, atol=1e-9)  # of equals, any order
    assert torch.equal(a.valid, b.valid) and torch.equal(a.slots >= 0, b.slots >= 0)
    if a.evidence is not None:
        torch.testing.assert_close(b.evidence, a.evidence, rtol=1e-9, atol=1e-9)
    return a, b


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(sorted(SPACES)),
    shards=st.sampled_from([1, 2, 3, 7]),
    rule=st.sampled_from(["append", "blend", "max", "mean"]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    offset=st.sampled_from([0.0, 1e3]),
    seed=st.integers(0, 2**20),
)
def test_whole_lives_are_those_of_one_memory(name, shards, rule, scale, offset, seed):
    chance = torch.Generator().manual_seed(seed)
    space = SPACES[name]
    one, many = pair(space, shards, write_rule=rule)
    for _ in range(4):
        n = int(torch.randint(0, 40, (), generator=chance))
        parts = rows_of(space, n, chance, scale, scale * offset)
        values = torch.randn(n, 2, generator=chance, dtype=torch.float64)
        identity = torch.randint(60, (n,), generator=chance) if seed % 2 else None
        present = lacking(parts, chance) if len(parts) > 1 and n else None
        a = one.write(parts, values, identity=identity, present=present)
        b = many.write(parts, values, identity=identity, present=present)
        assert torch.equal(a >= 0, b >= 0) and len(one) == len(many)
        if n:
            gone = int(torch.randint(n, (), generator=chance))
            one.forget(a[gone : gone + 1])
            many.forget(b[gone : gone + 1])
            assert len(one) == len(many)
        query = rows_of(space, 3, chance, scale, scale * offset)
        same(one, many, query)
        if len(space) > 1 and name != "codes":
            same(one, many, query, k=200, references="all")  # all of them: many lack a part, and are equally far
            same(one, many, {space[1].name: query[space[1].name]}, k=200)


@pytest.mark.parametrize("seed", range(4))
def test_what_an_absent_part_costs_survives_that_all_but_one_went(seed):
    chance = torch.Generator().manual_seed(seed)
    one, many = pair([*SPACES["cosine"][:1], Modality("place", 2)], 1)
    parts = rows_of(one.space, 9, chance, 1e-6, 1e-3)
    values = torch.randn(9, 2, generator=chance, dtype=torch.float64)
    for memory in (one, many):
        slots = memory.write(parts, values, present={"place": torch.arange(9) < 5})
        memory.forget(slots[1:5])  # of those with a place the first is left
    same(one, many, rows_of(one.space, 3, chance, 1e-6, 1e-3))


def filled(space="parts", shards=3, seed=0, n=60, **given):
    chance = torch.Generator().manual_seed(seed)
    one, many = pair(SPACES[space], shards, **given)
    parts = rows_of(SPACES[space], n, chance)
    values = torch.randn(n, 2, generator=chance, dtype=torch.float64)
    identity = torch.arange(n) * 977
    slots = one.write(parts, values, identity=identity), many.write(parts, values, identity=identity)
    return one, many, slots, chance


@pytest.mark.parametrize("kind", [RowSGD, RowRMSprop])
def test_gradients_reach_the_query_and_the_rows(kind):
    one, many, _, chance = filled(kernel=Gaussian(1.0))
    steps = kind(one, lr=0.1), ShardedOptimiser(many, kind, lr=0.1)
    for _ in range(3):
        query = rows_of(SPACES["parts"], 4, chance)
        reached = []
        for memory, step in zip((one, many), steps, strict=True):
            asked = query | {"view": query["view"].clone().requires_grad_()}
            found = memory.lookup(asked)
            found.value.square().sum().backward()
            reached.append(asked["view"].grad)
            step.step(found)
        torch.testing.assert_close(reached[1], reached[0])
        same(one, many, query)


def test_a_step_takes_lookups_as_that_of_one_memory_does():
    codes = [Modality("act", kind="discrete")]
    for space, query in ((codes, {"act": torch.tensor([[1]])}), (2, torch.zeros(1, 2, dtype=torch.float64))):
        memories = pair(space, 2, k=2)
        keys = {"act": torch.tensor([[0], [1], [1]])} if space is codes else torch.ones(3, 2).double().cumsum(0)
        steps = [RowSGD(memories[0], lr=0.1), ShardedOptimiser(memories[1], RowSGD, lr=0.1)]
        told = []
        for memory, optimiser in zip(memories, steps, strict=True):
            memory.write(keys, torch.ones(3, 2).double())
            found = memory.lookup(query)
            (found.value.sum() + found.distances.sum()).backward()
            optimiser.step(found, found)  # once is enough
            optimiser.step()
            told.append(memory.lookup(query, touch=False).value)
            with pytest.raises(RuntimeError, match="no gradient has reached the"):
                optimiser.step(found)
        torch.testing.assert_close(told[0], told[1])


def test_a_step_asks_for_no_gradient_where_its_rate_is_0():
    _, memory = pair(2, 2, k=2)
    memory.write(torch.ones(3, 2).double().cumsum(0), torch.ones(3, 2).double())
    found = memory.lookup(torch.zeros(1, 2, dtype=torch.float64))
    found.distances.sum().backward()  # reaches the keys alone
    ShardedOptimiser(memory, RowSGD, lr=0.1, value_lr=0.0).step(found)
    assert (memory.lookup(torch.zeros(1, 2).double(), touch=False).distances < found.distances).all()


def test_a_step_leaves_entries_alone_that_were_replaced():
    _, many, _, chance = filled()
    optimiser = ShardedOptimiser(many, RowSGD, lr=0.5)
    query = rows_of(SPACES["parts"], 2, chance)
    found = many.lookup(query)
    found.value.sum().backward()
    gone = found.slots[0, 0]
    many.forget(gone[None])
    before = many.lookup(query, touch=False).value.detach()
    optimiser.step(found)
    assert not many.alive[gone] and not torch.equal(many.lookup(query, touch=False).value, before)
    with pytest.raises(RuntimeError, match="no gradient has reached"):
        optimiser.step(found)


def test_what_is_excluded_is_not_found_and_a_stale_name_hides_nobody():
    one, many, _, chance = filled()
    query = rows_of(SPACES["parts"], 4, chance)
    hidden = [memory.lookup(query).slots[:, :2] for memory in (one, many)]
    again = [memory.lookup(query, exclude=slots) for memory, slots in zip((one, many), hidden, strict=True)]
    torch.testing.assert_close(again[1].value, again[0].value)
    names = hidden[1], many.generation[hidden[1]]
    torch.testing.assert_close(many.lookup(query, exclude=names).value, again[1].value)
    stale = names[0], names[1] + 1
    torch.testing.assert_close(many.lookup(query, exclude=stale).value, many.lookup(query).value)
    subsets = [m.lookup(query, exclude=s, references="all") for m, s in zip((one, many), hidden, strict=True)]
    torch.testing.assert_close(subsets[1].value, subsets[0].value)


def test_identities_links_and_names_hold_over_shards():
    one, many, (a, b), _ = filled()
    identity = torch.tensor([0, 977, 5 * 977, 3])
    assert torch.equal(many.find(identity), torch.tensor([b[0], b[1], b[5], -1]))
    for memory, slots in ((one, a), (many, b)):
        memory.link(slots[:10], slots[10:20], 2.0)
        memory.link(slots[10:20], slots[20:30], 0.5)
    reached = [memory.follow(slots[:10], 2) for memory, slots in ((one, a), (many, b))]
    assert torch.equal(reached[0].slots[:, 0], a[20:30]) and torch.equal(reached[1].slots[:, 0], b[20:30])
    assert torch.equal(reached[0].weights, reached[1].weights)
    found = many.lookup(rows_of(SPACES["parts"], 3, torch.Generator().manual_seed(1)))
    assert many.same_entries(found).all()
    many.forget(torch.cat([b[10:15], found.slots[:1, 0]]))
    assert not many.same_entries(found)[0, 0]
    assert (many.follow(b[:10], 1).slots[:5, 0] == -1).all() and (many.follow(b[5:10], 1).slots[:, 0] >= 0).all()


def test_entries_move_and_fade_where_they_lie():
    one, many, (a, b), chance = filled(forgetting=Decay(half_life=10, unit="ticks"))
    keys = torch.randn(5, 5, generator=chance, dtype=torch.float64)
    for memory, slots in ((one, a), (many, b)):
        memory.move(slots[7:12], keys=keys, values=torch.ones(5, 2, dtype=torch.float64))
        memory.tick(10)
        memory.contradict(slots[3:4], factor=0.5)
    same(one, many, rows_of(SPACES["parts"], 4, chance), touch=False)
    torch.testing.assert_close(many.strength(b), one.strength(a))
    assert many.strength(b[:1]) == pytest.approx(0.5)


def test_what_was_retrieved_outlives_what_was_not_in_each_shard():
    chance = torch.Generator().manual_seed(0)
    many = ShardedMemory(3, 1, 64, k=1, shards=4, where="here", forgetting=LeastRecentlyUsed())
    keys = torch.randn(64, 3, generator=chance)
    slots = many.write(keys, torch.arange(64.0)[:, None])
    many.lookup(keys[:16])
    many.write(torch.randn(32, 3, generator=chance), torch.zeros(32, 1))
    kept = many.lookup(keys[:16], touch=False)
    assert len(many) == 64 and torch.equal(kept.value[:, 0], torch.arange(16.0))
    assert torch.equal(many.generation[slots[:16]], torch.ones(16, dtype=torch.int32))


@pytest.mark.parametrize("shards", [1, 2, 3, 5])
@pytest.mark.parametrize("space", sorted(SPACES))
def test_saved_by_three_and_loaded_by_others(tmp_path, space, shards):
    _, many, (_, b), chance = filled(space, shards=3)
    many.forget(b[4:9])
    many.link(b[20:30], b[30:40], 3.0)
    many.save(tmp_path / "memory")
    again = ShardedMemory.load(tmp_path / "memory", shards=shards, where="here")
    query = rows_of(SPACES[space], 4, chance)
    for _ in range(2):  # and goes on alike
        torch.testing.assert_close(again.lookup(query).value, many.lookup(query).value)
        more = rows_of(SPACES[space], 10, chance)
        values = torch.randn(10, 2, generator=chance, dtype=torch.float64)
        many.write(more, values, identity=torch.arange(10))
        again.write(more, values, identity=torch.arange(10))
    at, there = many.find(torch.arange(60) * 977), again.find(torch.arange(60) * 977)
    assert torch.equal(at >= 0, there >= 0) and len(again) == len(many)
    assert torch.equal(many.generation[at[at >= 0]], again.generation[there[there >= 0]])
    ends = [memory.follow(slots[20:30]) for memory, slots in ((many, at), (again, there))]
    assert torch.equal(ends[1].slots[:, 0], there[30:40]) and torch.equal(ends[0].weights, ends[1].weights)


def test_a_full_memory_dealt_to_more_shards_keeps_the_strongest(tmp_path):
    many = ShardedMemory(2, 1, 100, k=1, shards=2, where="here")
    keys = torch.randn(100, 2)
    many.write(keys, torch.arange(100.0)[:, None], identity=torch.arange(100))
    many.save(tmp_path / "memory")
    again = ShardedMemory.load(tmp_path / "memory", shards=10, where="here")
    held = again.find(torch.arange(100)) >= 0
    assert len(again) == held.sum() and 70 < len(again) <= 100
    for shard in range(10):
        mine = again._owners(torch.arange(100).numpy()) == shard
        assert held[mine][-8:].all()  # of ten; uses were counted by each of the two shards


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: ShardedMemory(3, 1, 10, shards=0, where="here"), "shards is 0; it must be at least 1"),
        (lambda: ShardedMemory(3, 1, 10, where="moon"), "place of shards.*'moon'"),
        (lambda: ShardedMemory(3, 1, 0, where="here"), "capacity is 0"),
        (lambda: ShardedMemory(3, 1, 10, where="here", write_rule="bled"), "blend"),
    ],
)
def test_bad_settings_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_bad_rows_change_no_shard():
    _, many, (_, b), chance = filled()
    parts = rows_of(SPACES["parts"], 3, chance)
    parts["view"][1, 0] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        many.write(parts, torch.zeros(3, 2))
    assert len(many) == 60
    with pytest.raises(ValueError, match="slots go from 0 to"):
        many.forget(torch.tensor([many.capacity]))
    many.forget(b[:1])
    with pytest.raises(ValueError, match="holds no entry that could move"):
        many.move(b[:2], values=torch.zeros(2, 2))
    with pytest.raises(ValueError, match="slots name an entry twice"):
        many.move(b[[1, 2, 1]], values=torch.zeros(3, 2))
    query = rows_of(SPACES["parts"], 3, chance)
    for wrong in (b[:2], b[:3].double(), (b[:3], b[:2])):
        with pytest.raises(ValueError, match=r"exclude is|generation in exclude|shape"):
            many.lookup(query, exclude=wrong)
    with pytest.raises(TypeError, match="exclude"):
        many.lookup(query, exclude=[1, 2, 3])


def test_a_crash_while_another_number_of_shards_is_saved_leaves_what_was_there(tmp_path, monkeypatch):
    _, many, _, chance = filled(shards=2)
    many.save(tmp_path / "memory")
    more = ShardedMemory.load(tmp_path / "memory", shards=3, where="here")
    write = sharded.write_file

    def crash(path, *rest):
        if path.name == "shard-0001-of-0003.safetensors":
            raise OSError("no space left")
        write(path, *rest)

    query = rows_of(SPACES["parts"], 3, chance)
    with monkeypatch.context() as broken, pytest.raises(OSError, match="no space"):
        broken.setattr(sharded, "write_file", crash)
        more.save(tmp_path / "memory")
    again = ShardedMemory.load(tmp_path / "memory", where="here")
    assert again.shards == 2
    torch.testing.assert_close(again.lookup(query).value, many.lookup(query).value)
    more.save(tmp_path / "memory")
    assert sorted(path.name for path in (tmp_path / "memory").iterdir()) == [
        "memory.safetensors", *(f"shard-000{shard}-of-0003.safetensors" for shard in range(3))
    ]  # fmt: skip
    assert len(ShardedMemory.load(tmp_path / "memory", where="here")) == len(many)
