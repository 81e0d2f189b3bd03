"""Layers of one unit are layers; those of none are refused."""

import pytest
import torch

from engram_rl.agents.common.perceptron import Perceptron, linear
from engram_rl.memory import checks


def test_one_unit_is_enough_and_none_is_refused():
    assert linear(3, 1)(torch.zeros(2, 3)).shape == (2, 1)
    for units in (0, -1):
        with pytest.raises(ValueError, match=f"A layer of {units} units: .* at least 1"):
            linear(3, units)


def test_a_layer_needs_room_for_its_weights_and_biases(monkeypatch):
    monkeypatch.setattr(checks, "ram", lambda device: 4 * (5 * 7 + 7))
    linear(5, 7)
    with pytest.raises(ValueError, match=r"a layer of 7 units over 6 numbers would take .*lower the sizes of layers"):
        linear(6, 7)


def test_an_activation_stands_between_layers_and_behind_the_last_if_asked():
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    plain, activated = (Perceptron([3, 4, 2], torch.nn.Tanh, activate_last=last) for last in (False, True))
    assert [type(layer) for layer in plain] == [torch.nn.Linear, torch.nn.Tanh, torch.nn.Linear]
    assert len(activated) == 4 and (activated(x).abs() <= 1).all()
    assert torch.equal(plain(x), plain[2](torch.tanh(plain[0](x))))
    assert torch.equal(Perceptron([3])(x), x)
    assert [type(layer) for layer in Perceptron([3, 2, 2])] == [torch.nn.Linear, torch.nn.ReLU, torch.nn.Linear]
