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

from engram_rl.memory.cores.addressing import SMALL


def lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """`c = sigmoid(f) c + sigmoid(i) tanh(g)`, `h = sigmoid(o) tanh(c)`.

    Args:
        gates: What i, f, g and o are told, in torch's order. `[B, 4 H]`
        cell: c. `[B, H]`

    Returns:
        h and c. `[B, H]`
    """
    after: tuple[Tensor, Tensor] = _LSTM.apply(gates, cell)
    return after


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


def linked(link: Tensor, w: Tensor, precedence: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`L_ij = (1 - w_i - w_j) L_ij + w_i p_j` with `L_ii = 0`; and where the links lead from where heads stand.

    Args:
        link: L, how far i was written just after j. `[B, N, N]`
        w: How much of each row is written now. `[B, N]`
        precedence: p, how far each row was the last to be written. `[B, N]`
        places: w^r, of each head. `[B, R, N]`

    Returns:
        L `[B, N, N]`, back along it `L^T w^r` and on along it `L w^r`. `[B, R, N]`
    """
    found: tuple[Tensor, Tensor, Tensor] = _Linked.apply(link, w, precedence, places)
    return found


def allocated(usage: Tensor) -> Tensor:
    """`a_i = (1 - u_i) prod_{j less used than i} u_j`: how far each slot is the one to write to next. `[B, N]`.

    A slot's order among those equally used is its number. Usage counts as at least 1e-6, so that a slot that nobody
    uses does not cut off the gradient of all others.
    """
    shares: Tensor = _Allocated.apply(usage)
    return shares


def moved(weights: Tensor, shift: Tensor) -> Tensor:
    """`sum_j w(i - j) s(j)`, around the edges: a circular convolution.

    Args:
        weights: w. `[B, R, N]`
        shift: s, of the moves from the farthest forwards to the farthest back. `[B, R, 2 reach + 1]`

    Returns:
        `[B, R, N]`
    """
    after: Tensor = _Moved.apply(weights, shift)
    return after


class _LSTM(Function):
    @staticmethod
    def forward(ctx: Any, gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
        opened = gates.sigmoid()
        i, f, _, o = opened.chunk(4, -1)
        g = gates.chunk(4, -1)[2].tanh()
        after = torch.addcmul(f * cell, i, g)
        shown = after.tanh()
        ctx.save_for_backward(opened, g, cell, shown)
        return o * shown, after

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Tensor, d_after: Tensor) -> tuple[Tensor, Tensor]:
        opened, g, cell, shown = ctx.saved_tensors
        i, f, _, o = opened.chunk(4, -1)
        d_cell = torch.addcmul(d_after, d_hidden * o, 1 - shown * shown)
        d_opened = torch.cat([d_cell * g, d_cell * cell, d_cell * i, d_hidden * shown], -1)
        slope = opened * (1 - opened)
        slope.chunk(4, -1)[2].copy_(1 - g * g)
        return d_opened.mul_(slope), d_cell * f


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
        d_stays = d_after * memory  # [B, N, W]
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


class _Linked(Function):
    @staticmethod
    def forward(ctx: Any, link: Tensor, w: Tensor, precedence: Tensor, places: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        after = ((1 - w).unsqueeze(-1) - w.unsqueeze(1)).mul_(link)
        after.addcmul_(w.unsqueeze(-1), precedence.unsqueeze(1))
        after.diagonal(dim1=1, dim2=2).zero_()
        ctx.save_for_backward(link, w, precedence, places, after)
        return after, places @ after, places @ after.mT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_after: Tensor, d_back: Tensor, d_on: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        link, w, precedence, places, after = ctx.saved_tensors
        d_places = torch.baddbmm(d_on @ after, d_back, after.mT)
        from_heads, to_heads = torch.cat([places, d_on], 1), torch.cat([d_back, places], 1)  # [B, 2 R, N]
        d_after = torch.baddbmm(d_after, from_heads.mT, to_heads)
        d_after.diagonal(dim1=1, dim2=2).zero_()
        d_precedence = _by_row(w, d_after)
        d_w = _by_column(d_after, precedence)
        faded = d_after * link
        d_w.sub_(faded.sum(1)).sub_(faded.sum(2))
        return d_after.mul_((1 - w).unsqueeze(-1) - w.unsqueeze(1)), d_w, d_precedence, d_places


class _Allocated(Function):
    @staticmethod
    def forward(ctx: Any, usage: Tensor) -> Tensor:
        used, order = (usage * (1 - SMALL) + SMALL).sort(dim=-1, stable=True)
        fuller = torch.nn.functional.pad(used[:, :-1], (1, 0), value=1.0).cumprod(-1)  # of all that are used less
        shares = (1 - used) * fuller
        ctx.save_for_backward(used, order, fuller, shares)
        return torch.empty_like(usage).scatter_(-1, order, shares)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_shares: Tensor) -> Tensor:
        used, order, fuller, shares = ctx.saved_tensors
        d_shares = d_shares.gather(-1, order)
        after = (d_shares * shares)[:, 1:].flip(-1).cumsum(-1).flip(-1)  # over all that are used more
        d_used = (d_shares * fuller).neg_()
        d_used[:, :-1] += after / used[:, :-1]
        return torch.empty_like(used).scatter_(-1, order, d_used.mul_(1 - SMALL))


class _Moved(Function):
    @staticmethod
    def forward(ctx: Any, weights: Tensor, shift: Tensor) -> Tensor:
        ctx.save_for_backward(weights, shift)
        return (_around(weights, shift) @ shift.unsqueeze(-1)).squeeze(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_moved: Tensor) -> tuple[Tensor, Tensor]:
        weights, shift = ctx.saved_tensors
        d_shift = (d_moved.unsqueeze(2) @ _around(weights, shift)).squeeze(2)
        return (_around(d_moved, shift) @ shift.flip(-1).unsqueeze(-1)).squeeze(-1), d_shift


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
