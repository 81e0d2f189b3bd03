"""Tiers: their equations, who pays for which write, and a disk that is told nothing twice."""

from functools import partial

import numpy as np
import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.cores import GRU, DeltaRule, Lifelong, StoreCore, make_core
from engram_rl.memory.cores.lifelong import RECALLED
from engram_rl.memory.cores.tiers import gated
from tests.memory.cores import test_delta
from tests.memory.cores.slow_steps import B, D, H, T, linear, sigmoid, softmax
from tests.memory.cores.test_lifelong import slow_answer
from tests.memory.cores.test_two_level import gru

K, HEADS, KEY = 2, 2, 4
PRICES = (0.5, 0.25, 6.0)


def made(**settings):
    torch.manual_seed(0)
    memory = partial(DifferentiableNeuralDictionary, capacity=20, k=K)
    given = {"memory": memory, "ram": DeltaRule, "heads": HEADS, "key_size": KEY, "rows": 3, "prices": PRICES}
    return make_core("tiers", D, H, **given | settings)


def filled(core):
    """With an opinion of its own on everything, and pairs on its disk."""
    chance = torch.Generator().manual_seed(2)
    for name, parameter in core.named_parameters():
        if "unit" not in name:
            torch.nn.init.normal_(parameter, std=0.7, generator=chance)
    keys, values = torch.randn(6, D, generator=chance), torch.randn(6, D, generator=chance)
    core.memory.write(keys, values)
    return core, [(k.double().numpy(), v.double().numpy()) for k, v in zip(keys, values, strict=True)]


def slow_step(core, p, entries, x, state):
    registers = gru(p, "registers.unit", x, state["registers_hidden"])
    inner = {name.removeprefix("ram."): one for name, one in p.items() if name.startswith("ram.")}
    ram, after = test_delta.slow_step(1, False)(inner, x, {"fast": state["ram_fast"]})
    g = [sigmoid(one) > 0.5 for one in linear(p, "gates", np.concatenate([x, registers]))]
    keys = p["table"] @ p["key_of_table.weight"].T
    table = softmax(keys @ (p["asked_of_table.weight"] @ x) / np.sqrt(KEY)) @ p["table"]
    last, news = state["last"], False
    if last is not None:
        near = sorted(entries, key=lambda e: ((e[0] - last) ** 2).sum())[:K]
        news = min(((k - last) ** 2).sum() + ((v - x) ** 2).sum() for k, v in near) > PRICES[2]
    output = linear(p, "output", np.concatenate([registers, ram, slow_answer(core, x, entries), table]))
    return (
        output,
        [*g, news],
        {
            "registers_hidden": registers if g[0] else state["registers_hidden"],
            "ram_fast": after["fast"] if g[1] else state["ram_fast"],
            "last": x,
        },
    )


@torch.no_grad()
def test_tiers_are_their_equations():
    core, entries = filled(made())
    p = {name: value.double().numpy() for name, value in core.named_parameters()}
    xs, written, costs = torch.randn(T, B, D), [], []
    state = core.initial_state(B)
    outputs, last, losses = core(xs, state)
    for t in range(T):
        output, state, loss = core.step(xs[t], state)
        torch.testing.assert_close(output, outputs[t], rtol=1e-4, atol=1e-5)
        written.append(state["written"])
        costs.append(loss["writing"])
    torch.testing.assert_close(losses["writing"], torch.stack(costs).mean())
    for row in range(B):
        slow = {"registers_hidden": np.zeros(H), "ram_fast": np.zeros(core.initial_state(1)["ram_fast"].shape[1:])}
        slow["last"] = None
        for t in range(T):
            output, g, slow = slow_step(core, p, entries, xs[t, row].double().numpy(), slow)
            np.testing.assert_allclose(outputs[t, row], output, rtol=1e-3, atol=1e-4)
            assert written[t][row].tolist() == g
    rates = torch.stack(written).mean((0, 1))
    assert ((rates > 0) & (rates < 1)).all()  # so that each case was seen
    assert losses["writing"].item() == pytest.approx((rates * torch.tensor(PRICES)).sum().item(), rel=1e-5)
    told = core.inspect(last)
    assert torch.equal(told["written_ram"], written[-1][:, 1])
    torch.testing.assert_close(told["write_cost"], written[-1] @ torch.tensor(PRICES))


def test_a_closed_gate_keeps_the_state_and_its_gradient_is_that_of_a_share():
    p = torch.tensor([0.6, 0.4], requires_grad=True)
    after, before = torch.randn(2, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    count = torch.tensor([1, 1])
    kept = gated(p, {"leaf": after, "count": count + 1}, {"leaf": before, "count": count})
    assert torch.equal(kept["leaf"], torch.stack([after[0], before[1]])) and kept["count"].tolist() == [2, 1]
    weights = torch.randn(2, 3)
    (weights * kept["leaf"]).sum().backward()
    torch.testing.assert_close(p.grad, (weights * (after - before)).sum(1).detach())
    assert torch.equal(after.grad[0], weights[0]) and not after.grad[1].any() and not before.grad[0].any()


@pytest.mark.parametrize(("tier", "leaf"), [(0, "registers_hidden"), (1, "ram_fast")])
def test_what_costs_too_much_is_written_no_more(tier, leaf):
    prices = [0.0, 0.0, 0.0]
    prices[tier] = 1.0
    core = made(prices=prices)
    optimiser, xs = torch.optim.Adam(core.parameters(), 3e-2), torch.randn(4, 8, D)
    for _ in range(60):
        _, state, losses = core(xs, core.initial_state(8))
        optimiser.zero_grad()
        losses["writing"].backward()
        optimiser.step()
    assert losses["writing"] == 0 and not state["written"][:, tier].any()
    assert torch.equal(state[leaf], core.initial_state(8)[leaf])


@torch.no_grad()
@pytest.mark.parametrize(("price", "entries"), [(0.0, 4), (0.5, 2), (1e9, 2)])
def test_the_disk_keeps_a_pair_that_is_worth_its_price(price, entries):
    """What is near a step is found before the pair that it ends is written: an empty disk takes two at any price."""
    core = made(prices=(0.0, 0.0, price))
    steps = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 0, 0.0], [1, 0, 0], [0, 0, 0.1], [1, 0, 0.1]]).unsqueeze(1)
    state = core.initial_state(1)
    for x in steps:
        _, state, _ = core.step(x, state)
        core.commit(state)
    assert len(core.memory) == entries


@torch.no_grad()
def test_an_update_sees_what_acting_recalled():
    core, _ = filled(made())
    xs, reset = torch.randn(6, 3, D), torch.rand(6, 3) < 0.3
    state, outputs, recalled = core.initial_state(3), [], []
    for x, opens in zip(xs, reset, strict=True):
        output, state, _ = core.step(x, state, opens)
        core.commit(state)
        outputs.append(output)
        recalled.append({name: state[name] for name in RECALLED})
    found = {name: torch.stack([one[name] for one in recalled]) for name in RECALLED}
    again, last, _ = core(xs, core.initial_state(3), reset, found)
    torch.testing.assert_close(again, torch.stack(outputs))
    torch.testing.assert_close(last, state)


def test_parts_of_the_ram_keep_their_rates_and_every_parameter_is_in_one_group():
    core = made(ram=partial(StoreCore, capacity=8))
    groups = core.parameter_groups(1e-3)
    listed = [id(one) for group in groups for one in group["params"]]
    assert sorted(listed) == sorted(id(one) for one in core.parameters())
    assert {group["lr"] for group in groups} == {1e-3, 1e-2, 3e-2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prices": None}, "Tiers's prices are None; list one of registers, RAM and disk each"),
        ({"prices": (0.1, 0.1)}, "Tiers's prices are .*; list one of registers, RAM and disk each"),
        ({"prices": (0.1, -0.1, 0.1)}, "a price is -0.1"),
        ({"ram": Lifelong}, "Tiers has a disk of its own; registers and RAM end with an episode"),
        ({"rows": 0}, "Tiers's rows is 0"),
        ({"registers": lambda inputs, outputs: GRU(inputs + 1, outputs)}, "is to take 3 numbers"),
    ],
)
def test_what_cannot_be_a_tier_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        made(**settings)
