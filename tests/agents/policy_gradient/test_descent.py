"""Descending one vector takes the steps that descending each parameter takes."""

from functools import partial
from itertools import pairwise

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


OPTIMISERS = {
    "Adam": partial(torch.optim.Adam, lr=0.01, eps=1e-5),
    "SGD": partial(torch.optim.SGD, lr=1e-4),  # its steps are as long as the gradient is
}


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("max_norm", [None, 0.5, 1e9])
def test_the_steps_are_those_of_the_optimiser_on_the_parameters_apart(max_norm, name):
    ours, theirs = network(), network()
    descent = Descent(ours, OPTIMISERS[name], max_norm)
    apart = OPTIMISERS[name](theirs.parameters())
    for step in range(20):
        descent(loss_of(ours, step))
        apart.zero_grad()
        loss_of(theirs, step).backward()
        if max_norm is not None:
            nn.utils.clip_grad_norm_(theirs.parameters(), max_norm)
        apart.step()
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


@pytest.mark.parametrize("size", [0.0, 1e-7, 1e-6, 1.0])
def test_a_gradient_is_shortened_as_torch_shortens_it_however_short_it_is(size):
    net, limit = nn.Linear(1, 1, bias=False), 1e-6
    net.weight.data.zero_()
    Descent(net, partial(torch.optim.SGD, lr=1.0), limit)((size * net.weight).sum())
    other = nn.Parameter(torch.zeros(1))
    other.grad = torch.full((1,), size)
    nn.utils.clip_grad_norm_([other], limit)
    assert net.weight.item() == pytest.approx(-other.grad.item(), rel=1e-4, abs=0)


@pytest.mark.parametrize("norm", [0, -1.0, float("nan")])
def test_a_limit_that_is_not_positive_is_refused(norm):
    with pytest.raises(ValueError, match=rf"max_gradient_norm is {norm}; it must be above 0, or null for none"):
        Descent(network(), torch.optim.SGD, norm)


def test_a_network_of_which_nothing_is_learned_is_refused():
    with pytest.raises(ValueError, match="needs parameters"):
        Descent(network().requires_grad_(False), torch.optim.SGD)


def test_each_group_of_parameters_has_the_rate_that_the_network_wants_for_it():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.slow, self.fast = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(3))

        def parameter_groups(self, lr):
            return [{"params": [self.slow], "lr": lr}, {"params": [self.fast], "lr": 0.5}]

    net = Two()
    descent = Descent(net, torch.optim.SGD)
    descent.set_rate(0.1)
    descent(net.slow.sum() + 2 * net.fast.sum())
    assert net.slow.tolist() == pytest.approx([-0.1] * 2) and net.fast.tolist() == pytest.approx([-1.0] * 3)
    descent.set_rate(0.2)
    descent(net.slow.sum() + 2 * net.fast.sum())
    assert net.slow.tolist() == pytest.approx([-0.3] * 2) and net.fast.tolist() == pytest.approx([-2.0] * 3)


class Grouped(nn.Sequential):
    """A network whose parameters after the first `cuts[0]` have a rate of their own, and those after `cuts[1]`, ..."""

    cuts = ()

    def parameter_groups(self, lr):
        ends = [0, *self.cuts, 4]
        parameters = [*self.parameters()]
        return [{"params": parameters[a:b], "lr": lr * (i + 1)} for i, (a, b) in enumerate(pairwise(ends))]


def grouped(*cuts):
    net = Grouped(*network())
    net.cuts = cuts
    return net


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize(("before", "after"), [((1,), (1, 2)), ((1, 2), (1,)), ((), (2, 3)), ((1, 3), (2,))])
def test_what_was_gathered_goes_on_where_other_parameters_have_rates_of_their_own_now(before, after, name):
    old = grouped(*before)
    descent = Descent(old, OPTIMISERS[name])
    for step in range(3):
        descent(loss_of(old, step))
    new = grouped(*after)
    new.load_state_dict(old.state_dict())
    again = Descent(new, OPTIMISERS[name])
    again.load_state_dict(descent.state_dict())
    for one in (descent, again):
        for group in one._optimiser.param_groups:  # the same for all, so that only what was gathered can differ
            group["lr"] = 1e-3
    for net, one in ((old, descent), (new, again)):
        one(loss_of(net, 3))
    for a, b in zip(old.parameters(), new.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_what_was_gathered_of_another_network_is_refused():
    descent = Descent(grouped(1), OPTIMISERS["Adam"])
    descent(loss_of(network(), 0) + descent.vector.sum())
    larger = nn.Sequential(nn.Linear(4, 9), nn.Linear(9, 2))
    with pytest.raises(ValueError, match="parameter group"):
        Descent(larger, OPTIMISERS["Adam"]).load_state_dict(descent.state_dict())
