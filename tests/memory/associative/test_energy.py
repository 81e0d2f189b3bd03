"""The energy-based memory: both descents are those of differences, and it learns to store and to give back."""

import math
from inspect import Parameter, signature

import numpy as np
import pytest
import torch

from engram_rl.memory.associative import EnergyMemory, langevin_step

C, HIDDEN = 3, 4


def energy(p, x):
    def g(x):
        return np.log1p(np.exp(x))

    first = g(p["first"] @ x + p["first_bias"])
    return p["last"] @ g(p["second"] @ first + p["second_bias"]) + ((x - p["centre"]) ** 2).sum() / 2


def slopes(function, x, small=1e-5):
    """Of a function of an array, number by number, from differences."""
    found = np.zeros_like(x)
    for at in np.ndindex(x.shape):
        ends = []
        for side in (small, -small):
            moved = x.copy()
            moved[at] += side
            ends.append(function(moved))
        found[at] = (ends[0] - ends[1]) / (2 * small)
    return found


def slow_write(memory, items):
    """Steps of equation 4 on the numbers of one net, all slopes from differences."""
    start = {name: part.detach().numpy() for name, part in memory.start.items()}
    flat, near = (float(part.detach().exp()) for part in (memory.log_flat, memory.log_near))
    p = {name: part.copy() for name, part in start.items()}
    for rates in memory.log_write_rates.exp().detach().numpy():

        def loss(name, part):
            q = p | {name: part}  # noqa: B023
            told = [energy(q, x) + flat * (slopes(lambda x: energy(q, x), x) ** 2).sum() for x in items]
            return np.mean(told) + near * sum(((q[name] - start[name]) ** 2).sum() for name in q)

        moves = {name: slopes(lambda part, name=name: loss(name, part), part, 1e-4) for name, part in p.items()}
        p = {name: part - rate * moves[name] for (name, part), rate in zip(p.items(), rates, strict=True)}
    return p


def small():
    torch.manual_seed(0)
    return EnergyMemory(C, HIDDEN, writes=2, reads=3).double()


def test_writing_and_reading_are_their_equations():
    memory, items = small(), torch.randn(2, 3, C).double()
    weights = memory.write(items)
    read = memory.read(weights, 2 * items).detach().numpy()
    for row in range(2):
        p = slow_write(memory, items[row].numpy())
        for name, part in p.items():
            np.testing.assert_allclose(weights[name][row].detach().numpy(), part, atol=1e-5)
        for i in range(3):
            x = 2 * items[row, i].numpy()
            for rate in memory.log_read_rates.exp().detach().numpy():
                x = x - rate * slopes(lambda x, p=p: energy(p, x), x)
            np.testing.assert_allclose(read[row, i], x, atol=1e-4)


def test_the_loss_is_differentiated_through_both_descents():
    memory, items, damaged = small(), *torch.randn(2, 2, 3, C).double().unbind(0)
    memory.loss(items, damaged).backward()
    for name, part in memory.named_parameters():
        at, ends = tuple(0 for _ in part.shape), []
        for side in (1e-6, -1e-6):
            with torch.no_grad():
                part[at] += side
            ends.append(memory.loss(items, damaged).item())
            with torch.no_grad():
                part[at] -= side
        assert part.grad[at].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, rel=1e-4, abs=1e-7), name


def test_without_gradients_it_does_the_same_and_asks_for_none():
    memory, items = small(), torch.randn(2, 3, C).double()
    learning = memory.read(memory.write(items), 2 * items)
    with torch.no_grad():
        weights = memory.write(items)
        read = memory.read(weights, 2 * items)
    torch.testing.assert_close(read, learning)
    assert not read.requires_grad and not any(part.requires_grad for part in weights.values())


def test_frozen_it_does_the_same_and_asks_for_no_gradient_but_what_is_given_may():
    memory, items = small(), torch.randn(2, 3, C).double()
    learning = memory.read(memory.write(items), 2 * items)
    memory.requires_grad_(False)
    read = memory.read(memory.write(items), 2 * items)
    torch.testing.assert_close(read, learning)
    assert not read.requires_grad
    asked = items.clone().requires_grad_()
    memory.read(memory.write(asked), 2 * items).sum().backward()
    assert asked.grad.abs().sum() > 0


def test_autocast_rounds_nothing():
    memory, items = small().float(), torch.randn(2, 3, C).bfloat16()
    read, loss = memory.read(memory.write(items.float()), items.float()), memory.loss(items.float(), items.float())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(memory.read(memory.write(items), items), read)
        assert torch.equal(memory.loss(items, damaged=items), loss)


@pytest.mark.parametrize("damaged", [torch.zeros(2, 1, 3), torch.zeros(1, 3, 3), torch.full((2, 3, 3), math.nan)])
def test_a_loss_is_of_as_many_damaged_items(damaged):
    with pytest.raises(ValueError, match=r"damaged items have shape \[2, 1, 3\]|items are of 1 sets|NaN or infinity"):
        small().loss(torch.zeros(2, 3, 3).double(), damaged.double())


def test_in_inference_mode_it_does_the_same():
    memory, items = small(), torch.randn(2, 3, C).double()
    with torch.no_grad():
        read = memory.read(memory.write(items), 2 * items)
    with torch.inference_mode():
        weights = memory.write(items.clone())
        assert torch.equal(memory.read(weights, 2 * items), read)
        memory.sample(weights, 2)
    assert torch.equal(memory.read(weights, 2 * items), read)  # written there, read with gradients


def test_sets_of_a_batch_do_not_meet():
    memory, items = small(), torch.randn(3, 2, C).double()
    together, alone = memory.write(items), memory.write(items[1:2])
    for name, part in alone.items():
        torch.testing.assert_close(together[name][1:2], part)


def test_it_learns_to_give_back_what_was_damaged():
    torch.manual_seed(0)
    memory = EnergyMemory(8, 32, writes=2, reads=3)
    optimiser = torch.optim.Adam(memory.parameters(), 3e-3)

    def draw(sets):
        items = torch.randn(sets, 2, 8).sign()
        return items, items * torch.where(torch.rand_like(items) < 0.1, -1.0, 1.0)

    for _ in range(80):
        optimiser.zero_grad()
        memory.loss(*draw(16)).backward()
        optimiser.step()
    with torch.no_grad():
        items, damaged = draw(300)
        wrong = (memory.read(memory.write(items), damaged) * items < 0).float().mean()
    assert wrong < 0.85 * (damaged != items).float().mean()


def test_langevin_draws_from_the_density_of_an_energy():
    chance = torch.Generator().manual_seed(0)
    x, precision = torch.zeros(2000, 2), torch.tensor([1.0, 4.0])
    for _ in range(400):
        x = langevin_step(x, precision * (x - 1), 0.05, chance)
    torch.testing.assert_close(x.mean(0), torch.ones(2), atol=0.06, rtol=0)
    torch.testing.assert_close(x.var(0), 1 / precision, atol=0.06, rtol=0)


def test_samples_are_the_same_again_and_of_low_energy():
    memory = small()
    with torch.no_grad():
        weights = memory.write(torch.randn(2, 3, C).double())
        one, again = (memory.sample(weights, 40, generator=torch.Generator().manual_seed(3)) for _ in range(2))
        noise = torch.randn(2, 40, C).double()
        assert one.shape == (2, 40, C) and torch.equal(one, again)
        assert memory.energy(weights, one).mean() < memory.energy(weights, noise).mean()


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (torch.zeros(2, 3, 4), r"items have shape \[2, 3, 4\]; EnergyMemory takes \[B, N, 3\]"),
        (torch.zeros(1, 3, 3), r"items are of 1 sets; 2 were written"),
        (torch.full((2, 3, 3), math.nan), "NaN or infinity"),
        (torch.ones(2, 3, 3), "items are of torch.float32; this memory computes in torch.float64"),
    ],
)
def test_bad_items_are_refused_by_name(items, message):
    memory = small()
    weights = memory.write(torch.randn(2, 3, C).double())
    with pytest.raises(ValueError, match=message):
        memory.read(weights, items)


def test_a_sample_is_langevins_way_from_noise_and_then_a_read():
    memory = small()
    with torch.no_grad():
        weights = memory.write(torch.randn(2, 3, C).double())
        got = memory.sample(weights, 4, steps=3, step_size=0.2, generator=torch.Generator().manual_seed(5))
        chance = torch.Generator().manual_seed(5)

        def noise():
            return torch.randn((2, 4, C), dtype=torch.float64, generator=chance)

        items = noise()
        for _ in range(3):
            slope = memory._slopes(weights, items, False)
            items = items - 0.1 * slope + math.sqrt(0.2) * noise()
        torch.testing.assert_close(got, memory.read(weights, items))
    assert not memory.sample(memory.write(torch.randn(2, 3, C).double()), 1, steps=1).requires_grad
    for wrong in ({"count": 0}, {"count": 1, "steps": 0}):
        with pytest.raises(ValueError, match="is 0; it must be at least 1"):
            memory.sample(weights, **wrong)


def test_it_has_the_sizes_and_begins_with_the_rates_that_are_said():
    torch.manual_seed(0)
    given = {name: one.default for name, one in signature(EnergyMemory).parameters.items()}
    assert given == {"width": Parameter.empty, "hidden": 128, "writes": 3, "reads": 5}
    sampled = signature(EnergyMemory.sample).parameters
    assert (sampled["steps"].default, sampled["step_size"].default) == (100, 0.01)
    memory = EnergyMemory(16)
    assert memory.log_write_rates.shape == (3, 6) and memory.log_read_rates.shape == (5,)
    rates = (
        (memory.log_write_rates, 0.1),
        (memory.log_read_rates, 0.5),
        (memory.log_flat, 1),
        (memory.log_near, math.exp(-7)),
    )
    for part, rate in rates:
        torch.testing.assert_close(part.exp(), torch.full_like(part, rate))
    for name, inputs in (("first", 16), ("second", 128), ("last", 128)):
        assert memory.start[name].detach().std().item() == pytest.approx(inputs**-0.5, rel=0.2)
    assert not any(memory.start[name].any() for name in ("first_bias", "second_bias", "centre"))


def test_the_loss_is_the_squared_distance_at_each_step_of_a_read():
    memory, items, damaged = small(), *torch.randn(2, 2, 3, C).double().unbind(0)
    weights, at, missed = memory.write(items), damaged, []
    for rate in memory.log_read_rates.exp():
        at = at - rate * memory._slopes(weights, at, True)
        missed.append((at - items).square().sum(-1).mean())
    torch.testing.assert_close(memory.loss(items, damaged), sum(missed) / len(missed))


@pytest.mark.parametrize("size", ["width", "hidden", "writes", "reads"])
def test_sizes_are_at_least_one(size):
    with pytest.raises(ValueError, match=f"{size} is 0; it must be at least 1"):
        EnergyMemory(**{"width": 2} | {size: 0})
    memory = EnergyMemory(**{"width": 2, "hidden": 3} | {size: 1})
    assert memory.read(memory.write(torch.zeros(1, 1, memory.width)), torch.ones(1, 1, memory.width)).isfinite().all()


@pytest.mark.parametrize("shape", [(2, 3), (2, 0, 3), (2, 3, 2), (2, 3, 3, 1)])
def test_items_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"EnergyMemory takes \[B, N, 3\]"):
        small().write(torch.zeros(shape).double())
