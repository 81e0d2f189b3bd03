"""Lookups in several memories, and steps of their optimisers, together: as one after another, and as in float64."""

import copy
import pickle

import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary, Modality, RowRMSprop, RowSGD
from engram_rl.memory.in_each import lookup_in_each
from engram_rl.memory.learning import step_each

D, K = 5, 4
SPACES = {"one vector": D, "two": [Modality("a", 3), Modality("b", 2)], "cosine": [Modality("c", D, kind="cosine")]}


def memories(sizes, space=D, seed=0, dtype=torch.float32, scale=1.0, **settings):
    torch.manual_seed(seed)
    made = []
    for size in sizes:
        memory = DifferentiableNeuralDictionary(space, 1, 40, k=K, dtype=dtype, **settings)
        if size:
            memory.write(scale * torch.randn(size, D, dtype=dtype), torch.randn(size, 1, dtype=dtype))
        made.append(memory)
    return made


def same(one, other):
    for name in ("value", "slots", "weights", "distances", "valid", "values", "keys", "generation", "evidence"):
        mine, theirs = getattr(one, name), getattr(other, name)
        assert (mine is None) == (theirs is None), name
        assert mine is None or torch.equal(mine, theirs), name


def same_state(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("sizes", [(40, 40), (0, 2, 9, 40), (30,)])
@pytest.mark.parametrize("rows", [(1, 1, 1, 1), (3, 0, 2, 7)])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("hide", [False, True])
def test_lookups_in_each_are_lookups_one_after_another(space, sizes, rows, learned, hide):
    together = memories(sizes, space)
    apart = copy.deepcopy(together)
    queries = [torch.randn(n, D) for n in rows[: len(sizes)]]
    hidden = [torch.randint(-1, 5, (len(query),)) for query in queries] if hide else None
    with torch.set_grad_enabled(learned):
        for touch in (True, False):
            found = lookup_in_each(together, queries, touch=touch, exclude=hidden)
            for i, (memory, query) in enumerate(zip(apart, queries, strict=True)):
                same(found[i], memory.lookup(query, touch=touch, exclude=hidden[i] if hidden else None))
    for one, other in zip(together, apart, strict=True):
        same_state(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_values_are_those_of_the_formula(dtype, scale):
    parts = memories((20, 40, 3), dtype=dtype, scale=scale)
    queries = [scale * torch.randn(n, D, dtype=dtype) for n in (4, 1, 2)]
    with torch.no_grad():
        found = lookup_in_each(parts, queries)
    for memory, query, one in zip(parts, queries, found, strict=True):
        keys, values = (part[: memory.used].double() for part in (memory.key_vectors, memory.values))
        near = (query.double().unsqueeze(1) - keys).square().sum(2).topk(min(K, len(keys)), largest=False)
        weights = 1 / (near.values + 1e-3)
        expected = (weights.unsqueeze(2) * values[near.indices]).sum(1) / weights.sum(1, keepdim=True)
        torch.testing.assert_close(one.value.double(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [RowSGD, RowRMSprop])
@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@pytest.mark.parametrize("rates", [(0.1, 0.1), (0.0, 0.1), (0.1, 0.0)])
@pytest.mark.parametrize("others", [False, True])
def test_steps_of_each_are_steps_one_after_another(kind, space, rates, others):
    together = memories((40, 20, 40), space)
    apart = copy.deepcopy(together)
    sides = []
    for side in (together, apart):
        lr, value_lr = rates
        optimisers = [kind(memory, lr=lr * (1 + others * i), value_lr=value_lr) for i, memory in enumerate(side)]
        sides.append(optimisers)
    for turn in range(3):
        torch.manual_seed(turn)
        queries = [torch.randn(n, D) for n in (6, 1, 3)]
        fresh = torch.randn(2, D)
        for side, optimisers in zip((together, apart), sides, strict=True):
            found = [memory.lookup(query) for memory, query in zip(side, queries, strict=True)]
            sum(one.value.square().sum() for one in found).backward()
            side[1].write(fresh, torch.ones(2, 1))  # makes room, so that some of what was read is gone at the end
            if side is together:
                step_each(optimisers, found)
            else:
                for optimiser, one in zip(optimisers, found, strict=True):
                    optimiser.step(one)
            assert all(one.keys.grad is None and one.values.grad is None for one in found)
    for one, other in zip(together, apart, strict=True):
        same_state(one.state_dict(), other.state_dict())
    for one, other in zip(*sides, strict=True):
        same_state(one.state_dict(), other.state_dict())


def test_a_gradient_that_is_too_large_changes_no_memory():
    parts = memories((40, 40))
    optimisers = [RowRMSprop(memory) for memory in parts]
    before = [memory.state_dict() for memory in parts]
    found = [memory.lookup(torch.randn(2, D), touch=False) for memory in parts]
    (found[0].value.sum() + 1e30 * found[1].value.sum()).backward()
    with pytest.raises(ValueError, match="gradient is NaN, infinite or above"):
        step_each(optimisers, found)
    for memory, kept in zip(parts, before, strict=True):
        same_state(memory.state_dict(), kept)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda memory: pickle.loads(pickle.dumps(memory))])
def test_a_copy_goes_on_counting_as_the_memory_does(again):
    (memory,) = memories([30])
    memory.lookup(torch.randn(3, D))
    twin = again(memory)
    queries = torch.randn(4, D)
    for one in (memory, twin):
        one.lookup(queries)
    assert memory.describe() == twin.describe() and twin.describe()["hit_distance"] > 0
    memory.load_state_dict(twin.state_dict())
    assert memory.describe() == twin.describe()
