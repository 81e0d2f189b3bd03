"""Parts of a step of a memory of slots whose derivatives are written out: as chains of small operations they cost most.

Each is a plain function of tensors, in whose docstring the equation stands; what comes back is differentiable once.
Tests hold them against differences and against the same equation left to autograd.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional

from engram_rl.memory.cores.addressing import SMALL

ALIKE = 1e-5
"""Usages that differ by less are equal: what rounding makes of them must not say which slot is written next."""


def content(keys: Tensor, rows: Tensor, beta: Tensor, mask: Tensor | None = None) -> Tensor:
    """`softmax over i of beta cos(m k, m M_i)`: how much a key is asking for each row.

    Lengths are `sqrt(|.|^2 + 1e-6)`: a row of zeros is like nothing, and its gradient stays finite.

    Args:
        keys: k. `[B, R, W]`
        rows: M. `[B, N, W]`
        beta: How much sharper than the cosine. `[B, R, 1]`
        mask: m, between 0 and 1 for each key's columns; None for all 1. `[B, R, W]`

    Returns:
        `[B, R, N]`
    """
    weights: Tensor = _Content.apply(keys, rows, beta, mask)
    return weights


def written(memory: Tensor, w: Tensor, erase: Tensor, add: Tensor, kept: Tensor | None = None) -> Tensor:
    """`M_ij (1 - w_i e_j) psi_i + w_i v_j`: the memory after a head has written.

    Args:
        memory: M. `[B, N, W]`
        w: How much of each row. `[B, N]`
        erase: e. `[B, W]`
        add: v. `[B, W]`
        kept: psi, the share of a row that is not wiped as a whole; None for all of it. `[B, N]`

    Returns:
        `[B, N, W]`
    """
    after: Tensor = _Written.apply(memory, w, erase, add, kept)
    return after


def placed(
    usage: Tensor, before: Tensor, places: Tensor, free: Tensor, found: Tensor, allocate: Tensor, write: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Where a head writes that knows which slots are free.

        psi = prod_r (1 - f_r w^r),   u = (u + w^w - u w^w) psi,   w = g_w (g_a a(u) + (1 - g_a) c)

    with `a_i = (1 - u_i) prod_{j less used than i} u_j`, how far each slot is the one to write to next. A slot's order
    among those equally used is its number. In a, usage counts as at least 1e-6, so that a slot that nobody uses does
    not cut off the gradient of all others.

    Args:
        usage: u before. `[B, N]`
        before: w^w, what was written before. `[B, N]`
        places: w^r, where each head read before. `[B, R, N]`
        free: f. `[B, R, 1]`
        found: c, where to write by content. `[B, N]`
        allocate: g_a. `[B, 1]`
        write: g_w. `[B, 1]`

    Returns:
        u, psi and w. `[B, N]`
    """
    after: tuple[Tensor, Tensor, Tensor] = _Placed.apply(usage, before, places, free, found, allocate, write)
    return after


def followed(
    link: Tensor,
    w: Tensor,
    precedence: Tensor,
    places: Tensor,
    found: Tensor,
    modes: Tensor,
    sharpness: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """In which order slots were written, and where heads go that can follow it.

        L_ij = (1 - w_i - w_j) L_ij + w_i p_j,   L_ii = 0,   p = (1 - sum w) p + w
        w^r  = m_1 S(L^T w^r) + m_2 c + m_3 S(L w^r),   S(x) = (x + 1e-6)^s / sum (x + 1e-6)^s

    Args:
        link: L before, how far i was written just after j. `[B, N, N]`
        w: How much of each row is written now. `[B, N]`
        precedence: p before, how far each row was the last to be written. `[B, N]`
        places: w^r before, of each head. `[B, R, N]`
        found: c, where each head would go by content. `[B, R, N]`
        modes: m, of going back, by content, and on. `[B, R, 3]`
        sharpness: s, of all heads going back, then of all going on; None for S(x) = x. `[B, 2 R, 1]`

    Returns:
        L `[B, N, N]`, p `[B, N]` and w^r `[B, R, N]`.
    """
    after: tuple[Tensor, Tensor, Tensor] = _Followed.apply(link, w, precedence, places, found, modes, sharpness)
    return after


def walked(before: Tensor, found: Tensor, gate: Tensor, shift: Tensor, gamma: Tensor) -> Tensor:
    """Where heads stand that find their place by content and by moving around a ring.

        w_g = g c + (1 - g) w,   w_s(i) = sum_j w_g(i - j) s(j),   w = (w_s + 1e-6)^gamma / sum (w_s + 1e-6)^gamma

    Args:
        before: w, where they stood. `[B, R, N]`
        found: c, where they would stand by content. `[B, R, N]`
        gate: g. `[B, R, 1]`
        shift: s, of the moves from the farthest on to the farthest back. `[B, R, 2 reach + 1]`
        gamma: `[B, R, 1]`

    Returns:
        `[B, R, N]`
    """
    after: Tensor = _Walked.apply(before, found, gate, shift, gamma)
    return after


class _Content(Function):
    @staticmethod
    def forward(ctx: Any, keys: Tensor, rows: Tensor, beta: Tensor, mask: Tensor | None) -> Tensor:
        masked = keys if mask is None else keys * mask
        squared = torch.ones_like(keys) if mask is None else mask * mask  # [B, R, W]
        asked = masked if mask is None else masked * mask
        lengths = (squared @ (rows * rows).mT).add_(SMALL)  # of the rows, squared, [B, R, N]
        length = (masked * masked).sum(-1, keepdim=True).add_(SMALL)  # of the keys, [B, R, 1]
        scale = (length * lengths).rsqrt_()
        like = (asked @ rows.mT).mul_(scale)
        weights = (beta * like).softmax(-1)
        ctx.save_for_backward(keys, rows, beta, mask, lengths, length, scale, like, weights)
        return weights

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        keys, rows, beta, mask, lengths, length, scale, like, weights = ctx.saved_tensors
        d_sharp = d_weights * weights
        d_sharp = d_sharp.addcmul(weights, d_sharp.sum(-1, keepdim=True), value=-1)
        d_beta = (d_sharp * like).sum(-1, keepdim=True)
        d_like = d_sharp.mul_(beta)
        d_dots = d_like * scale
        d_logs = d_like.mul_(like)  # -2 times that of the logarithm of either length
        d_lengths, d_length = d_logs / lengths, d_logs.sum(-1, keepdim=True) / length
        masked = keys if mask is None else keys * mask
        d_asked = d_dots @ rows
        if mask is None:
            d_rows = d_dots.mT @ keys
            d_rows.addcmul_(rows, d_lengths.sum(1).unsqueeze(-1), value=-1)
            return d_asked.addcmul_(masked, d_length, value=-1), d_rows, d_beta, None
        d_rows = d_dots.mT @ (masked * mask)
        d_rows.addcmul_(rows, d_lengths.mT @ (mask * mask), value=-1)
        d_masked = (d_asked * mask).addcmul_(masked, d_length, value=-1)
        d_mask = torch.addcmul(d_asked * masked, d_masked, keys)
        d_mask.addcmul_(mask, d_lengths @ (rows * rows), value=-1)
        return d_masked * mask, d_rows, d_beta, d_mask


class _Written(Function):
    @staticmethod
    def forward(ctx: Any, memory: Tensor, w: Tensor, erase: Tensor, add: Tensor, kept: Tensor | None) -> Tensor:
        stays = _stays(w, erase, kept)
        ctx.save_for_backward(memory, w, erase, add, kept)
        return stays.mul_(memory).addcmul_(w.unsqueeze(-1), add.unsqueeze(1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_after: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        memory, w, erase, add, kept = ctx.saved_tensors
        d_stays = d_after * memory
        d_erased = _by_column(d_stays, erase)  # [B, N]
        d_w, erasing = _by_column(d_after, add), w
        if kept is None:
            d_kept, d_w = None, d_w.sub_(d_erased)
        else:
            d_kept = torch.addcmul(d_stays.sum(-1), w, d_erased, value=-1)
            d_w, erasing = d_w.addcmul_(kept, d_erased, value=-1), kept * w
        d_add = _by_row(w, d_after)
        d_erase = _by_row(erasing, d_stays).neg_()
        return _stays(w, erase, kept).mul_(d_after), d_w, d_erase, d_add, d_kept


class _Placed(Function):
    @staticmethod
    def forward(
        ctx: Any,
        usage: Tensor,
        before: Tensor,
        places: Tensor,
        free: Tensor,
        found: Tensor,
        allocate: Tensor,
        write: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        kept = 1 - free * places  # by each head, [B, R, N]
        retained = kept.squeeze(1) if kept.shape[1] == 1 else kept.prod(1)
        filled = torch.addcmul(usage, before, 1 - usage)
        after = filled * retained
        used = (after * (1 - SMALL)).add_(SMALL)
        order = (used / ALIKE).round_().sort(dim=-1, stable=True).indices
        used = used.gather(-1, order)
        fuller = functional.pad(used[:, :-1], (1, 0), value=1.0).cumprod(-1)  # of all that are used less
        shares = (1 - used) * fuller
        to_free = torch.empty_like(usage).scatter_(-1, order, shares)
        mixed = torch.lerp(found, to_free, allocate)
        ctx.save_for_backward(
            *(usage, before, places, free, found, allocate, write),
            *(kept, retained, filled, to_free, mixed, used, order, fuller, shares),
        )
        return after, retained, write * mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_after: Tensor, d_retained: Tensor, d_w: Tensor) -> tuple[Tensor, ...]:
        usage, before, places, free, found, allocate, write, *worked_out = ctx.saved_tensors
        kept, retained, filled, to_free, mixed, *order = worked_out
        d_mixed = d_w * write
        d_write = (d_w * mixed).sum(-1, keepdim=True)
        d_allocate = (d_mixed * (to_free - found)).sum(-1, keepdim=True)
        d_to_free = d_mixed * allocate
        d_after = d_after + _order_backward(d_to_free, *order)
        d_filled = d_after * retained
        d_retained = torch.addcmul(d_retained, d_after, filled).unsqueeze(1)
        d_kept = d_retained if kept.shape[1] == 1 else d_retained * _all_others(kept)
        d_free = (d_kept * places).sum(-1, keepdim=True).neg_()
        d_found = d_mixed.sub_(d_to_free)
        return d_filled * (1 - before), d_filled * (1 - usage), d_kept * -free, d_free, d_found, d_allocate, d_write


def _order_backward(d_shares: Tensor, used: Tensor, order: Tensor, fuller: Tensor, shares: Tensor) -> Tensor:
    """Of what is free to write, by usage. `[B, N]`."""
    d_shares = d_shares.gather(-1, order)
    after = (d_shares * shares)[:, 1:].flip(-1).cumsum(-1).flip(-1)  # over all that are used more
    d_used = (d_shares * fuller).neg_()
    d_used[:, :-1] += after / used[:, :-1]
    return torch.empty_like(used).scatter_(-1, order, d_used.mul_(1 - SMALL))


def _all_others(kept: Tensor) -> Tensor:
    """The product over all heads but each. `[B, R, N]`."""
    heads = kept.shape[1]
    others = ~torch.eye(heads, dtype=torch.bool, device=kept.device).unsqueeze(-1)  # [R, R, 1]
    return torch.where(others, kept.unsqueeze(1), 1.0).prod(2)


class _Followed(Function):
    @staticmethod
    def forward(
        ctx: Any,
        link: Tensor,
        w: Tensor,
        precedence: Tensor,
        places: Tensor,
        found: Tensor,
        modes: Tensor,
        sharpness: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        after = ((1 - w).unsqueeze(-1) - w.unsqueeze(1)).mul_(link)
        after.addcmul_(w.unsqueeze(-1), precedence.unsqueeze(1))
        after.diagonal(dim1=1, dim2=2).zero_()
        others = 1 - w.sum(-1, keepdim=True)
        led = torch.cat([places @ after, places @ after.mT], 1)  # back along the links, and on; [B, 2 R, N]
        logs = sharp = None
        if sharpness is not None:
            led.add_(SMALL)
            logs = led.log()
            sharp = (sharpness * logs).softmax(-1)
        back, on = (led if sharp is None else sharp).chunk(2, 1)
        ways = torch.stack([back, found, on], 2)  # [B, R, 3, N]
        ctx.save_for_backward(link, w, precedence, places, modes, sharpness, after, others, led, logs, sharp, ways)
        return after, torch.addcmul(w, others, precedence), (modes.unsqueeze(2) @ ways).squeeze(2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_after: Tensor, d_last: Tensor, d_places: Tensor) -> tuple[Tensor | None, ...]:
        link, w, precedence, places, modes, sharpness, *worked_out = ctx.saved_tensors
        after, others, led, logs, sharp, ways = worked_out
        d_modes = (ways @ d_places.unsqueeze(-1)).squeeze(-1)
        d_back, d_found, d_on = (modes.unsqueeze(-1) * d_places.unsqueeze(2)).unbind(2)
        d_sharpness = None
        if sharpness is not None:
            d_sharp = torch.cat([d_back, d_on], 1)
            d_led, d_sharpness = _sharpened_backward(d_sharp, sharp, logs, sharpness, led)
            d_back, d_on = d_led.chunk(2, 1)
        d_before = torch.baddbmm(d_on @ after, d_back, after.mT)
        from_heads, to_heads = torch.cat([places, d_on], 1), torch.cat([d_back, places], 1)  # [B, 2 R, N]
        d_link = torch.baddbmm(d_after, from_heads.mT, to_heads)
        d_link.diagonal(dim1=1, dim2=2).zero_()
        d_precedence = _by_row(w, d_link).addcmul_(d_last, others)
        d_w = _by_column(d_link, precedence)
        d_w.add_(d_last).sub_((d_last * precedence).sum(-1, keepdim=True))
        faded = d_link * link
        d_w.sub_(faded.sum(1)).sub_(faded.sum(2))
        torch.sub((1 - w).unsqueeze(-1), w.unsqueeze(1), out=faded)
        return d_link.mul_(faded), d_w, d_precedence, d_before, d_found, d_modes, d_sharpness


class _Walked(Function):
    @staticmethod
    def forward(ctx: Any, before: Tensor, found: Tensor, gate: Tensor, shift: Tensor, gamma: Tensor) -> Tensor:
        gated = torch.lerp(before, found, gate)
        moved = (_around(gated, shift) @ shift.unsqueeze(-1)).squeeze(-1).add_(SMALL)
        logs = moved.log()
        after = (gamma * logs).softmax(-1)
        ctx.save_for_backward(before, found, gate, shift, gamma, gated, moved, logs, after)
        return after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_after: Tensor) -> tuple[Tensor, ...]:
        before, found, gate, shift, gamma, gated, moved, logs, after = ctx.saved_tensors
        d_moved, d_gamma = _sharpened_backward(d_after, after, logs, gamma, moved)
        d_shift = (d_moved.unsqueeze(2) @ _around(gated, shift)).squeeze(2)
        d_gated = (_around(d_moved, shift) @ shift.flip(-1).unsqueeze(-1)).squeeze(-1)
        d_found = d_gated * gate
        d_gate = (d_gated * (found - before)).sum(-1, keepdim=True)
        return d_gated.sub_(d_found), d_found, d_gate, d_shift, d_gamma


def _sharpened_backward(
    d_after: Tensor, after: Tensor, logs: Tensor, power: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """Of `x^s / sum x^s`, by x `[B, R, N]` and by s `[B, R, 1]`."""
    d_logits = d_after * after
    d_logits.addcmul_(after, d_logits.sum(-1, keepdim=True), value=-1)
    d_power = (d_logits * logs).sum(-1, keepdim=True)
    return d_logits.mul_(power).div_(x), d_power


def _around(weights: Tensor, shift: Tensor) -> Tensor:
    """Of each slot those around it, as far as a shift reaches. `[B, R, N]` -> `[B, R, N, 2 reach + 1]`."""
    moves = shift.shape[-1]
    reach = moves // 2
    return torch.cat([weights[..., -reach:], weights, weights[..., :reach]], -1).unfold(-1, moves, 1)


def _stays(w: Tensor, erase: Tensor, kept: Tensor | None) -> Tensor:
    """`(1 - w_i e_j) psi_i`. `[B, N, W]`."""
    if kept is None:
        return torch.addcmul(w.new_ones(()), w.unsqueeze(-1), erase.unsqueeze(1), value=-1)
    return torch.addcmul(kept.unsqueeze(-1), (kept * w).unsqueeze(-1), erase.unsqueeze(1), value=-1)


def _by_column(matrix: Tensor, columns: Tensor) -> Tensor:
    """`[B, N, W]`, `[B, W]` -> `[B, N]`."""
    return (columns.unsqueeze(1) @ matrix.mT).squeeze(1)  # twice as fast as with the column on the right


def _by_row(rows: Tensor, matrix: Tensor) -> Tensor:
    """`[B, N]`, `[B, N, W]` -> `[B, W]`."""
    return (rows.unsqueeze(1) @ matrix).squeeze(1)
