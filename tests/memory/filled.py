"""A small dictionary with entries, for tests of what it promises."""

import torch

from engram_rl.memory import DifferentiableNeuralDictionary

D, V, K = 3, 2, 4


def filled(n=20, *, capacity=32, **options):
    torch.manual_seed(0)
    memory = DifferentiableNeuralDictionary(D, V, capacity, k=K, **options)
    slots = memory.write(torch.randn(n, D), torch.randn(n, V), identity=torch.arange(n))
    return memory, slots


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name, value in a.items():
        if isinstance(value, dict):
            assert_same(value, b[name])
        elif isinstance(value, torch.Tensor):
            assert torch.equal(value, b[name]), name
        else:
            assert value == b[name], name


def written_in_turn(memory, *columns):
    """The slots of rows `[B, ...]` that are written one by one; -1 where the entry has made room since."""
    slots, named = [], []
    for row in range(len(columns[0])):
        slots.append(memory.write(*(column[row : row + 1] for column in columns)))
        named.append(memory.generation[slots[-1]])
    slots, named = torch.cat(slots), torch.cat(named)
    return slots.masked_fill(~memory.alive[slots] | (memory.generation[slots] != named), -1)
