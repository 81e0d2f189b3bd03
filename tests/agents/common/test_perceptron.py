"""Layers of one unit are layers; those of none are refused."""

import pytest
import torch

from engram_rl.agents.common.perceptron import Perceptron, linear


def test_one_unit_is_enough_and_none_is_refused():
    assert linear(3, 1)(torch.zeros(2, 3)).shape == (2, 1)
    with pytest.raises(ValueError, match="A layer of 0 units"):
        linear(3, 0)


def test_an_activation_stands_between_layers_and_behind_the_last_if_asked():
    torch.manual_seed(0)
    x = torch.randn(5, 3)
    plain, activated = (Perceptron([3, 4, 2], torch.nn.Tanh, activate_last=last) for last in (False, True))
    assert [type(layer) for layer in plain] == [torch.nn.Linear, torch.nn.Tanh, torch.nn.Linear]
    assert len(activated) == 4 and (activated(x).abs() <= 1).all()
    assert torch.equal(plain(x), plain[2](torch.tanh(plain[0](x))))
    assert torch.equal(Perceptron([3])(x), x)
