"""The Kanerva memory: beliefs are those of Bayes' rule written out densely, and a stored set can be read and drawn."""

import math
from inspect import Parameter, signature

import numpy as np
import pytest
import torch

from engram_rl.memory.associative import KanervaMemory
from engram_rl.memory.associative.kanerva import address, surprise, write, write_all

K, C, N = 5, 4, 7


def drawn(seed=0):
    """A belief that is no prior, and items at addresses. `[2, ...]`"""
    torch.manual_seed(seed)
    memory = KanervaMemory(C, K).double()
    belief = memory.write(memory.empty(2), torch.randn(2, 3, C).double())
    return belief, torch.randn(2, N, K).double(), torch.randn(2, N, C).double()


def dense_posterior(mean, covariance, w, z, noise):
    """Of all K C numbers of M at once, as of any linear Gaussian model: numpy, one memory."""
    prior = np.kron(np.eye(C), covariance)  # of M column after column
    seen = np.kron(np.eye(C), w)  # what the items are of them
    gain = prior @ seen.T @ np.linalg.inv(seen @ prior @ seen.T + noise * np.eye(len(seen)))
    m = mean.T.flatten()
    after = m + gain @ (z.T.flatten() - seen @ m)
    return after.reshape(C, K).T, (prior - gain @ seen @ prior)[:K, :K]


def test_a_write_is_the_posterior_of_a_linear_gaussian_model():
    belief, w, z = drawn()
    after = write_all(belief, w, z, 0.3)
    for row in range(2):
        mean, covariance = dense_posterior(*(p[row].detach().numpy() for p in (*belief, w, z)), 0.3)
        np.testing.assert_allclose(after.mean[row].detach().numpy(), mean, atol=1e-10)
        np.testing.assert_allclose(after.covariance[row].detach().numpy(), covariance, atol=1e-10)


def test_one_after_the_other_is_all_at_once():
    belief, w, z = drawn()
    one_by_one = belief
    for t in range(N):
        one_by_one = write(one_by_one, w[:, t], z[:, t], 0.3)
    torch.testing.assert_close(one_by_one, write_all(belief, w, z, 0.3), rtol=0, atol=1e-8)


def test_an_address_is_the_posterior_mean_of_what_an_item_was_made_of():
    belief, _, z = drawn()
    known = torch.rand(2, N, C) < 0.6
    whole, parts = address(belief.mean, z, 0.2), address(belief.mean, z, 0.2, known)
    for row in range(2):
        mean = belief.mean[row].detach().numpy()
        for item in range(N):
            for found, columns in ((whole, slice(None)), (parts, known[row, item].numpy())):
                rows, seen = mean[:, columns], z[row, item].numpy()[columns]
                expected = np.linalg.inv(rows @ rows.T + 0.2 * np.eye(K)) @ rows @ seen
                np.testing.assert_allclose(found[row, item].detach().numpy(), expected, atol=1e-9)


def test_surprises_of_a_set_are_the_density_of_the_whole_set():
    belief, w, z = drawn()
    total = torch.zeros(2).double()
    now = belief
    for t in range(N):
        total = total + surprise(now, w[:, t], z[:, t], 0.3)
        now = write(now, w[:, t], z[:, t], 0.3)
    spread = w @ belief.covariance @ w.mT + 0.3 * torch.eye(N).double()
    one = torch.distributions.MultivariateNormal(torch.zeros(N).double(), spread.unsqueeze(1))
    expected = -one.log_prob((z - w @ belief.mean).mT).sum(1)
    torch.testing.assert_close(total, expected)


def test_the_order_at_fixed_addresses_does_not_matter_and_doubt_only_falls():
    belief, w, z = drawn()
    order = torch.randperm(N)
    one, other = write_all(belief, w, z, 0.3), write_all(belief, w[:, order], z[:, order], 0.3)
    torch.testing.assert_close(one, other)
    assert (torch.linalg.eigvalsh(belief.covariance - one.covariance) > -1e-10).all()


def bits(items, seed, width=64):
    return torch.randn(1, items, width, generator=torch.Generator().manual_seed(seed)).sign()


def test_a_set_is_read_back_completed_and_denoised():
    torch.manual_seed(0)
    memory, items = KanervaMemory(64, 16), bits(10, 1)
    belief = memory.write(memory.empty(1), items)
    chance = torch.Generator().manual_seed(2)
    half = torch.rand(items.shape, generator=chance) < 0.5
    flipped = items * torch.where(torch.rand(items.shape, generator=chance) < 0.1, -1.0, 1.0)
    assert (memory.read(belief, items) - items).square().mean() < 1e-3
    damaged = items * half + bits(10, 3) * ~half
    assert (memory.read(belief, damaged, known=half, steps=9, clean=torch.sign) != items).float().mean() < 0.01
    once, often = (memory.read(belief, flipped, steps=steps, clean=torch.sign) for steps in (1, 9))
    assert 0 < (once != items).float().mean() < 0.02 and torch.equal(often, items)


def test_what_is_drawn_lies_where_the_stored_items_lie():
    torch.manual_seed(0)
    memory = KanervaMemory(64, 32, spread=0.01)
    directions = torch.linalg.qr(torch.randn(64, 3))[0].T
    items = torch.randn(1, 200, 3) @ directions
    belief = memory.write(memory.empty(1), items)
    one, again = (memory.sample(belief, 50, generator=torch.Generator().manual_seed(s)) for s in (1, 1))
    inside = (one @ directions.T).square().sum() / one.square().sum()
    assert torch.equal(one, again) and one.shape == (1, 50, 64) and inside > 0.9


def test_what_was_stored_surprises_less():
    torch.manual_seed(0)
    memory, items = KanervaMemory(64, 32), bits(10, 1)
    belief = memory.write(memory.empty(1), items)
    old, new = (
        surprise(belief, memory.address(belief, one.unsqueeze(1)).squeeze(1), one, memory.noise)
        for one in (items[:, 3], bits(1, 9)[:, 0])
    )
    assert old + 50 < new


def test_a_prior_that_is_learned_costs_less():
    torch.manual_seed(0)
    memory, kinds = KanervaMemory(8, 4, noise=0.5), torch.randn(4, 8)
    sets = kinds[torch.randint(4, (8, 4))]
    before, optimiser = memory.loss(sets).item(), torch.optim.Adam(memory.parameters(), 3e-2)
    for _ in range(30):
        optimiser.zero_grad()
        memory.loss(sets).backward()
        optimiser.step()
    assert memory.loss(sets).item() < before - 0.5


def test_three_thousand_writes_in_single_precision_leave_a_belief():
    torch.manual_seed(0)
    memory = KanervaMemory(8, 6)
    with torch.no_grad():
        belief = memory.write(memory.empty(1), torch.randn(1, 3000, 8))
    assert torch.isfinite(belief.mean).all()
    assert torch.linalg.eigvalsh(belief.covariance).min() > -1e-5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, b: m.write(b, torch.zeros(1, 3, 5)), r"items have shape \[1, 3, 5\]; this belief takes \[1, N, 8\]"),
        (lambda m, b: m.write(b, torch.full((1, 3, 8), math.nan)), "NaN or infinity"),
        (lambda m, b: m.write(b, torch.ones(1, 3, 8, dtype=torch.int64)), "items are of torch.int64; this memory"),
        (lambda m, b: m.write(b, torch.ones(1, 3, 8), torch.ones(1, 3, 6).double()), "addresses are of torch.float64"),
        (lambda m, b: m.write(b, torch.zeros(1, 3, 8), torch.zeros(1, 2, 6)), "addresses are 2 for 3 items"),
        (lambda m, b: m.read(b, torch.zeros(1, 3, 8), known=torch.ones(1, 3, 8)), "known is torch.float32"),
        (lambda m, b: m.read(b, torch.zeros(1, 3, 8), steps=0), "steps is 0"),
        *(
            (lambda m, b, shape=shape: m.write(b, torch.zeros(shape)), r"this belief takes \[1, N, 8\]")
            for shape in ((1, 8), (2, 3, 8), (1, 0, 8), (1, 3, 8, 1))
        ),
        (lambda m, b: m.write(b, torch.zeros(1, 3, 8), torch.zeros(1, 4, 6)), "addresses are 4 for 3 items"),
        (lambda m, b: m.write(b, torch.zeros(1, 3, 8), torch.zeros(1, 3, 7)), r"addresses have .* \[1, N, 6\]"),
        (lambda m, b: m.read(b, torch.zeros(1, 3, 8), known=torch.ones(1, 2, 8).bool()), r"known is torch.bool \[1, 2"),
        (lambda m, b: m.sample(b, 0), "count is 0"),
        (lambda m, b: m.empty(0), "batch_size is 0"),
        (lambda m, b: KanervaMemory(8, slots=0), "slots is 0"),
        (lambda m, b: KanervaMemory(8, address_std=0), "address_std is 0; it must be above 0"),
        (lambda m, b: KanervaMemory(8, spread=0), "spread is 0; it must be above 0"),
        (lambda m, b: KanervaMemory(8, noise=0.0), "noise is 0.0; it must be above 0"),
        (lambda m, b: KanervaMemory(0), "width is 0"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    memory = KanervaMemory(8, 6)
    with pytest.raises(ValueError, match=message):
        call(memory, memory.empty(1))


@pytest.mark.parametrize("at_addresses", [False, True])
def test_autocast_rounds_no_belief(at_addresses):
    torch.manual_seed(0)
    memory, items = KanervaMemory(32, 16), torch.randn(1, 12, 32).sign()  # which bfloat16 holds as they are
    addresses = torch.randn(1, 12, 16).bfloat16().float() if at_addresses else None
    belief = memory.write(memory.empty(1), items, addresses)
    read, loss = memory.read(belief, items), memory.loss(items)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = None if addresses is None else addresses.bfloat16()
        again = memory.write(memory.empty(1), items.bfloat16(), rounded)
        assert torch.equal(memory.read(again, items=items.bfloat16()), read)
        assert torch.equal(memory.loss(items), loss)
        assert memory.sample(again, 2).isfinite().all()  # of a covariance that is one
    assert torch.equal(again.mean, belief.mean) and torch.equal(again.covariance, belief.covariance)


@pytest.mark.parametrize(
    ("items", "error"),
    [
        (torch.zeros(2, 0, 8), ValueError),
        (torch.full((2, 3, 8), math.nan), ValueError),
        (torch.zeros(2, 3, 8).double(), ValueError),
        (np.zeros((2, 3, 8), np.float32), TypeError),
    ],
)
def test_the_loss_refuses_what_a_write_would(items, error):
    with pytest.raises(error, match="items"):
        KanervaMemory(8, 6).loss(items)


def test_who_writes_into_an_empty_memory_changes_no_prior():
    memory = KanervaMemory(8, 6)
    prior = memory.mean.detach().clone()
    with torch.no_grad():
        belief = memory.empty(1)
        belief.mean.zero_()
    assert torch.equal(memory.mean, prior)


def test_it_has_the_settings_that_are_said_and_a_prior_of_its_own_scale():
    torch.manual_seed(0)
    given = {name: one.default for name, one in signature(KanervaMemory).parameters.items()}
    assert given == {"width": Parameter.empty, "slots": 32, "noise": 0.1, "address_std": 1.0, "spread": 0.1}
    assert signature(KanervaMemory.read).parameters["steps"].default == 1
    assert signature(KanervaMemory.sample).parameters["steps"].default == 1
    memory = KanervaMemory(40, noise=0.3, address_std=3.0, spread=0.02)
    assert (memory.noise, memory.address_variance) == pytest.approx((0.09, 9.0))
    mean, covariance = memory.empty(2)
    assert mean.detach().std().item() == pytest.approx(0.02, rel=0.1)
    assert torch.equal(covariance, torch.eye(32).expand(2, -1, -1)) and torch.equal(mean[1], memory.mean)


def test_a_rows_variance_stays_above_nothing():
    memory = KanervaMemory(3, 2).double()
    w, z = torch.eye(2).double(), torch.zeros(1, 2, 3).double()
    for after in (write(memory.empty(1), w[:1], z[:, 0], 1e-12), write_all(memory.empty(1), w[None], z, 1e-12)):
        assert after.covariance[0, 0, 0].item() == pytest.approx(1e-6, rel=1e-3)


def test_a_sample_is_a_memory_of_the_belief_at_an_address_of_its_prior():
    memory = KanervaMemory(C, K, address_std=2.0).double()
    with torch.no_grad():
        belief = memory.write(memory.empty(2), torch.randn(2, 3, C).double())
        got = memory.sample(belief, 6, generator=torch.Generator().manual_seed(4))
        chance = torch.Generator().manual_seed(4)
        drawn = [torch.randn(shape, dtype=torch.float64, generator=chance) for shape in ((2, K, C), (2, 6, K))]
        rows = belief.mean + torch.linalg.cholesky(belief.covariance) @ drawn[0]
        torch.testing.assert_close(got, memory.read(belief, 2 * drawn[1] @ rows))
    assert not memory.sample(memory.empty(1), 1).requires_grad


def test_the_loss_is_what_each_item_tells_and_what_its_address_costs():
    memory, items = KanervaMemory(C, K, address_std=0.5).double(), torch.randn(2, N, C).double()
    belief, nats = memory.empty(2), []
    for item in items.unbind(1):
        w = memory.address(belief, item.unsqueeze(1)).squeeze(1)
        nats.append(surprise(belief, w, item, memory.noise) + 2 * w.square().sum(1))
        belief = write(belief, w, item, memory.noise)
    torch.testing.assert_close(memory.loss(items), torch.stack(nats).mean())


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_an_item_is_cleaned_after_each_step(steps):
    memory, cleaned = KanervaMemory(8, 6), []
    belief = memory.empty(1)
    memory.read(belief, torch.ones(1, 3, 8), steps=steps, clean=lambda items: cleaned.append(items) or items.sign())
    assert len(cleaned) == steps
