"""Derivatives that are written out, against differences and against the same equation left to autograd."""

import pytest
import torch
from torch.nn import functional

from engram_rl.memory.cores import derivatives, steered

B, N, W, R = 2, 5, 3, 2


def drawn(*shapes, seed=0):
    chance = torch.Generator().manual_seed(seed)
    return [torch.rand(shape, generator=chance, dtype=torch.float64).requires_grad_() for shape in shapes]


def plain_lstm(gates, cell):
    i, f, g, o = gates.chunk(4, -1)
    cell = f.sigmoid() * cell + i.sigmoid() * g.tanh()
    return o.sigmoid() * cell.tanh(), cell


def plain_content(keys, rows, beta, mask=None):
    mask = torch.ones_like(keys) if mask is None else mask
    asked, seen = (mask * keys).unsqueeze(2), mask.unsqueeze(2) * rows.unsqueeze(1)  # [B, R, N, W]
    lengths = (asked.square().sum(-1) + 1e-6).sqrt() * (seen.square().sum(-1) + 1e-6).sqrt()
    return (beta * (asked * seen).sum(-1) / lengths).softmax(-1)


def plain_written(memory, w, erase, add, kept=None):
    stays = 1 - w.unsqueeze(2) * erase.unsqueeze(1)
    stays = stays if kept is None else stays * kept.unsqueeze(2)
    return memory * stays + w.unsqueeze(2) * add.unsqueeze(1)


def plain_allocated(usage):
    usage = usage * (1 - 1e-6) + 1e-6
    less = (usage.unsqueeze(1) < usage.unsqueeze(2)) | (
        (usage.unsqueeze(1) == usage.unsqueeze(2)) & torch.ones(N, N).tril(-1).bool()
    )
    return (1 - usage) * torch.where(less, usage.unsqueeze(1), 1.0).prod(2)


def plain_placed(usage, before, places, free, found, allocate, write):
    retained = (1 - free * places).prod(1)
    usage = (usage + before - usage * before) * retained
    return usage, retained, write * (allocate * plain_allocated(usage) + (1 - allocate) * found)


def plain_followed(link, w, precedence, places, found, modes, sharpness=None):
    link = (1 - w.unsqueeze(2) - w.unsqueeze(1)) * link + w.unsqueeze(2) * precedence.unsqueeze(1)
    link = link * (1 - torch.eye(N, dtype=link.dtype))
    ways = torch.cat([torch.einsum("bij,bri->brj", link, places), torch.einsum("bij,brj->bri", link, places)], 1)
    if sharpness is not None:
        ways = (ways + 1e-6) ** sharpness
        ways = ways / ways.sum(2, keepdim=True)
    back, by_content, on = (modes[..., i, None] * way for i, way in enumerate([ways[:, :R], found, ways[:, R:]]))
    return link, (1 - w.sum(1, keepdim=True)) * precedence + w, back + by_content + on


def plain_walked(before, found, gate, shift, gamma):
    gated, reach = gate * found + (1 - gate) * before, shift.shape[-1] // 2
    moved = sum(gated.roll(reach - j, -1) * shift[..., j : j + 1] for j in range(2 * reach + 1))
    powers = (moved + 1e-6) ** gamma
    return powers / powers.sum(-1, keepdim=True)


FOLLOWED = [(B, N, N), (B, N), (B, N), (B, R, N), (B, R, N), (B, R, 3)]
PARTS = {
    "lstm": (steered.lstm, plain_lstm, [(B, 4 * W), (B, W)]),
    "content": (derivatives.content, plain_content, [(B, R, W), (B, N, W), (B, R, 1)]),
    "content, masked": (derivatives.content, plain_content, [(B, R, W), (B, N, W), (B, R, 1), (B, R, W)]),
    "written": (derivatives.written, plain_written, [(B, N, W), (B, N), (B, W), (B, W)]),
    "written, wiped": (derivatives.written, plain_written, [(B, N, W), (B, N), (B, W), (B, W), (B, N)]),
    "placed": (derivatives.placed, plain_placed, [(B, N), (B, N), (B, R, N), (B, R, 1), (B, N), (B, 1), (B, 1)]),
    "placed, one head": (
        derivatives.placed,
        plain_placed,
        [(B, N), (B, N), (B, 1, N), (B, 1, 1), (B, N), (B, 1), (B, 1)],
    ),
    "followed": (derivatives.followed, plain_followed, FOLLOWED),
    "followed, sharpened": (derivatives.followed, plain_followed, [*FOLLOWED, (B, 2 * R, 1)]),
    "walked": (derivatives.walked, plain_walked, [(B, R, N), (B, R, N), (B, R, 1), (B, R, 3), (B, R, 1)]),
    "walked far": (derivatives.walked, plain_walked, [(B, R, N), (B, R, N), (B, R, 1), (B, R, 5), (B, R, 1)]),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_and_its_derivative_are_those_of_its_equation(part):
    function, plain, shapes = PARTS[part]
    given = drawn(*shapes)
    got, wanted = (found if isinstance(found, tuple) else (found,) for found in (function(*given), plain(*given)))
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-12)
    weighting = drawn(*(one.shape for one in got), seed=1)
    slopes = [
        torch.autograd.grad(sum((a * b).sum() for a, b in zip(found, weighting, strict=True)), given)
        for found in (got, wanted)
    ]
    torch.testing.assert_close(*slopes, rtol=1e-9, atol=1e-12)
    assert torch.autograd.gradcheck(function, given)


@pytest.mark.parametrize("part", PARTS)
def test_a_second_derivative_is_refused_and_not_wrong(part):
    function, _, shapes = PARTS[part]
    given = drawn(*shapes)
    found = function(*given)
    first = torch.autograd.grad(
        sum(one.sin().sum() for one in (found if isinstance(found, tuple) else (found,))), given, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        sum(one.sin().sum() for one in first).backward()


@pytest.mark.parametrize("part", PARTS)
def test_what_a_part_is_given_is_left_as_it_was(part):
    function, _, shapes = PARTS[part]
    given = drawn(*shapes)
    kept = [one.detach().clone() for one in given]
    found = function(*given)
    sum(one.sum() for one in (found if isinstance(found, tuple) else (found,))).backward()
    assert all(torch.equal(one, before) for one, before in zip(given, kept, strict=True))


def fresh(usage):
    """What a head writes that goes where it is free, nothing having been freed."""
    zeros, ones = usage.new_zeros(1, N), usage.new_ones(1, 1)
    return derivatives.placed(usage, zeros, zeros.unsqueeze(1), ones.unsqueeze(1), zeros, ones, ones)[2]


def test_slots_that_nobody_used_have_an_order_and_a_gradient_that_single_precision_can_tell():
    usage = torch.tensor([[0.0, 0.0, 0.7, 0.0, 0.4]], requires_grad=True)
    fresh(usage)[0, 1].backward()
    exact = usage.detach().double().requires_grad_()
    plain_allocated(exact)[0, 1].backward()
    torch.testing.assert_close(usage.grad, exact.grad.float(), rtol=1e-5, atol=1e-6)


def test_the_least_used_is_the_next_to_be_written_and_no_more_than_there_is():
    usage = torch.rand(50, N, dtype=torch.float64)
    shares = torch.cat([fresh(row.unsqueeze(0)) for row in usage])
    free = usage.amin(1) < 0.3
    assert torch.equal(shares.argmax(1)[free], usage.argmin(1)[free])
    assert (shares.sum(1) <= 1).all() and (shares >= 0).all()
    first = torch.eye(N)[:1]
    torch.testing.assert_close(fresh(torch.zeros(1, N)), first, atol=1e-5, rtol=0)
    assert fresh(torch.ones(1, N)).abs().max() < 1e-5


def test_a_row_of_zeros_has_a_finite_gradient():
    keys, rows, beta = drawn((1, 1, W), (1, N, W), (1, 1, 1))
    zeros = torch.zeros_like(rows).requires_grad_()
    functional.mse_loss(derivatives.content(keys, zeros, beta), torch.rand(1, 1, N).double()).backward()
    assert torch.isfinite(zeros.grad).all() and zeros.grad.abs().max() < 1e3
