"""Descending one vector takes the steps that descending each parameter takes."""

import pytest
import torch
from torch import nn

from engram_rl.agents.policy_gradient.descent import Descent


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))


def loss_of(net, step):
    inputs = torch.randn(16, 4, generator=torch.Generator().manual_seed(step))
    return (net(inputs) * 5).square().sum()


@pytest.mark.parametrize("max_norm", [None, 0.5, 1e9])
def test_the_steps_are_those_of_adam_on_the_parameters_apart(max_norm):
    ours, theirs = network(), network()
    descent = Descent(ours, lambda parameters: torch.optim.Adam(parameters, lr=0.01, eps=1e-5), max_norm)
    adam = torch.optim.Adam(theirs.parameters(), lr=0.01, eps=1e-5)
    for step in range(20):
        descent(loss_of(ours, step))
        adam.zero_grad()
        loss_of(theirs, step).backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
        adam.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_what_is_frozen_stays():
    net = network()
    net[0].requires_grad_(False)
    before = net[0].weight.clone()
    Descent(net, lambda parameters: torch.optim.SGD(parameters, lr=0.1))(loss_of(net, 0))
    assert torch.equal(net[0].weight, before)
    assert not torch.equal(net[2].weight, network()[2].weight)


def test_a_state_that_is_loaded_goes_on_as_if_never_interrupted():
    def descent_of(net):
        return Descent(net, lambda parameters: torch.optim.Adam(parameters, lr=0.01))

    whole = network()
    descent = descent_of(whole)
    for step in range(3):
        descent(loss_of(whole, step))
    resumed = network(seed=1)
    other = descent_of(resumed)
    resumed.load_state_dict(whole.state_dict())
    other.load_state_dict(descent.state_dict())
    for one, net in ((descent, whole), (other, resumed)):
        one.set_rate(0.5)
        one(loss_of(net, 3))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_network_of_several_types_is_refused():
    net = network()
    net[0].double()
    with pytest.raises(ValueError, match="one type"):
        Descent(net, torch.optim.SGD)
