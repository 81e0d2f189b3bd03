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
