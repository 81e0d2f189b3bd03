"""What the perceptron promises: torch's gradients, torch's Adam, and to come back exactly."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from engram_rl.agents.goal_directed.perceptron import Perceptron
from engram_rl.memory import checks

SIZES = [3, 7, 5, 4]


def made(seed=0, sizes=SIZES, dtype=np.float64):
    return Perceptron(sizes, np.random.default_rng(seed), 1e-2, dtype)


def twin(perceptron, sizes=SIZES):
    """The same network in torch."""
    layers = [nn.Linear(i, o, dtype=torch.float64) for i, o in pairwise(sizes)]
    start, biases_start = 0, sum(layer.weight.numel() for layer in layers)
    for layer in layers:
        size, number = layer.weight.numel(), layer.bias.numel()
        weights = torch.from_numpy(perceptron.parameters[start : start + size].copy())
        layer.weight.data = weights.reshape(layer.in_features, layer.out_features).T.contiguous()
        layer.bias.data = torch.from_numpy(perceptron.parameters[biases_start : biases_start + number].copy())
        start, biases_start = start + size, biases_start + number
    return nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])


def minibatch(seed, rows=9):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, 3)), rng.integers(0, 4, rows)


def test_loss_and_gradients_are_those_of_autograd():
    perceptron, (inputs, classes) = made(), minibatch(1)
    network = twin(perceptron)
    loss = functional.cross_entropy(network(torch.from_numpy(inputs)), torch.from_numpy(classes))
    loss.backward()
    assert perceptron.differentiate(inputs, classes) == pytest.approx(loss.item(), rel=1e-12)
    linear = [layer for layer in network if isinstance(layer, nn.Linear)]
    for layer, weights, biases in zip(linear, *perceptron.gradient(), strict=True):
        assert weights == pytest.approx(layer.weight.grad.numpy().T, rel=1e-9, abs=1e-14)
        assert biases == pytest.approx(layer.bias.grad.numpy(), rel=1e-9, abs=1e-14)


def test_it_goes_the_way_of_torch_s_adam():
    perceptron = made()
    network = twin(perceptron)
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    for step in range(30):
        inputs, classes = minibatch(step)
        optimiser.zero_grad()
        loss = functional.cross_entropy(network(torch.from_numpy(inputs)), torch.from_numpy(classes))
        loss.backward()
        optimiser.step()
        assert perceptron.learn(inputs, classes) == pytest.approx(loss.item(), rel=1e-8)
    inputs, _ = minibatch(99)
    expected = torch.softmax(network(torch.from_numpy(inputs)), 1).detach().numpy()
    assert perceptron.probabilities(inputs) == pytest.approx(expected, rel=1e-8)
    assert perceptron.updates == 30


def test_weights_begin_glorot_uniform_and_biases_at_zero():
    perceptron = made(sizes=[100, 60, 4])
    weights, biases = perceptron.parameters[: 100 * 60], perceptron.parameters[-64:]
    limit = (6 / 160) ** 0.5
    assert np.abs(weights).max() <= limit and weights.std() == pytest.approx(limit / 3**0.5, rel=0.02)
    assert not biases.any()


def test_a_single_hidden_layer_and_none_learn_too():
    for sizes in ([3, 16, 4], [3, 4]):
        perceptron, (inputs, classes) = made(sizes=sizes), minibatch(5)
        losses = [perceptron.learn(inputs, classes) for _ in range(60)]
        assert losses[-1] < 0.8 * losses[0]


def test_a_restored_network_continues_bit_for_bit():
    one, other = made(dtype=np.float32), made(seed=9, dtype=np.float32)
    for step in range(5):
        one.learn(minibatch(step)[0].astype(np.float32), minibatch(step)[1])
    other.load_state_dict(one.state_dict())
    inputs, classes = minibatch(50)
    assert one.learn(inputs.astype(np.float32), classes) == other.learn(inputs.astype(np.float32), classes)
    assert np.array_equal(one.parameters, other.parameters) and one.updates == other.updates


def test_a_network_of_other_sizes_is_refused_before_anything_changes():
    one, before = made(), made().parameters.copy()
    with pytest.raises(ValueError, match="parameters"):
        one.load_state_dict(made(sizes=[3, 8, 5, 4]).state_dict())
    assert np.array_equal(one.parameters, before)


@pytest.mark.parametrize("sizes", [[3, 4], [20, 64, 4]])
def test_a_network_is_made_where_its_five_numbers_for_each_parameter_fit(monkeypatch, sizes):
    parameters = sum((before + 1) * after for before, after in pairwise(sizes))
    taken = sum(
        array.nbytes for array in vars(made(sizes=sizes, dtype=np.float32)).values() if hasattr(array, "nbytes")
    )
    assert taken == 5 * 4 * parameters
    monkeypatch.setattr(checks, "ram", lambda device: taken)
    made(sizes=sizes)
    monkeypatch.setattr(checks, "ram", lambda device: taken - 1)
    with pytest.raises(ValueError, match=rf"layers of \[{sizes[0]}, .*lower agent.hidden"):
        made(sizes=sizes)


def test_numbers_however_large_give_probabilities_and_a_finite_loss():
    perceptron, inputs = made(dtype=np.float32), minibatch(3)[0]
    inputs = (1e6 * inputs).astype(np.float32)
    probabilities = perceptron.probabilities(inputs)
    assert probabilities.sum(1) == pytest.approx(np.ones(9)) and probabilities.min() == 0
    loss = perceptron.learn(inputs, probabilities.argmin(1))
    assert (
        loss == pytest.approx(-np.log(np.finfo(np.float32).tiny), rel=1e-6) and np.isfinite(perceptron.parameters).all()
    )


def test_a_saved_network_says_how_much_it_has_learned():
    perceptron = made()
    assert perceptron.updates == perceptron.state_dict()["updates"] == 0
    perceptron.learn(*minibatch(0))
    saved = perceptron.state_dict()
    perceptron.learn(*minibatch(1))
    assert saved["updates"] == 1 and perceptron.updates == 2
    assert not np.array_equal(saved["parameters"], perceptron.parameters)
