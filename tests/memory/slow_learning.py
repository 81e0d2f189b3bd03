"""A gradient step of the slow memory: the formula of a lookup in double precision, differentiated by torch."""

import torch

from engram_rl.memory import Gaussian, InverseDistance, RowRMSprop
from tests.memory.slow_reading import CLOSE


def gradients(slow, found, queries, coefficients):
    """Of `sum_b c_b value_b` to key and value of every slot that was found.  Slot -> `[D]`, `[1]`."""
    penalties, total = slow.penalties(), {}
    for row, query in enumerate(queries):
        slots = found.slots[row, found.valid[row]].tolist()
        if not slots:
            continue
        leaves = {slot: _leaf(slow, slot) for slot in slots}
        distances = torch.stack([_distance(slow, query, slot, leaves[slot][0], penalties) for slot in slots])
        weights = torch.softmax(_log_similarity(slow.kernel, distances), 0)
        value = sum(w * leaves[slot][1] for w, slot in zip(weights, slots, strict=True))
        (coefficients[row] * value).sum().backward()
        for slot, pair in leaves.items():
            g = [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in pair]
            before = total.get(slot, (0.0, 0.0))
            total[slot] = (before[0] + g[0], before[1] + g[1])
    return total


def assert_moved(slow, optimiser, before, total):
    """Keys and values of the slots of `total` went from `before`, of all slots, where the optimiser should."""
    memory, averaged = optimiser.memory, isinstance(optimiser, RowRMSprop)
    most = max((float(g.abs().max()) for pair in total.values() for g in pair if g.numel()), default=0.0)
    for slot, pair in total.items():
        entry = slow.slots[slot]
        squares = [0.0, 0.0] if entry.squares is None else entry.squares
        for i, (rate, now) in enumerate(((optimiser.lr, memory.key_vectors), (optimiser.value_lr, memory.values))):
            direction, noise, old = pair[i], CLOSE * most, before[i][slot].double().cpu()
            if averaged:
                squares[i] = optimiser.alpha * squares[i] + (1 - optimiser.alpha) * pair[i] ** 2
                direction, noise = direction / (squares[i].sqrt() + optimiser.eps), noise / optimiser.eps
            wanted = old - rate * direction
            slack = 2e-2 * (rate * direction).abs() + rate * noise + 8 * torch.finfo(slow.dtype).eps * old.abs() + 1e-37
            if i == 0:
                wanted, slack = _at_unit_length(slow, memory, slot, wanted, slack)
            assert ((now[slot].double().cpu() - wanted).abs() <= slack).all(), (now[slot], wanted, slack)
        if averaged:
            entry.squares = squares


def _leaf(slow, slot):
    entry = slow.slots[slot]
    numbers = []
    for part, has in zip(slow.space, entry.key, strict=True):
        if part.kind != "discrete":
            numbers += [0.0] * part.size if has is None else has
    double = {"dtype": torch.float64, "requires_grad": True}
    return torch.tensor(numbers, **double), torch.tensor([entry.value], **double)


def _distance(slow, query, slot, key, penalties):
    total, end = torch.zeros((), dtype=torch.float64), 0
    for m, part in enumerate(slow.space):
        if part.kind != "discrete":
            start, end = end, end + part.size
        if query[m] is None:
            continue
        if slow.slots[slot].key[m] is None:
            total = total + part.weight * penalties[m]
        elif part.kind != "discrete":
            asked = torch.tensor(query[m], dtype=torch.float64)
            total = total + part.weight * (asked - key[start:end]).square().sum()
    return total


def _log_similarity(kernel, distances):
    if isinstance(kernel, InverseDistance):
        return -torch.log(distances + kernel.delta)
    return -distances / 2 / kernel.bandwidth**2 if isinstance(kernel, Gaussian) else distances * 0


def _at_unit_length(slow, memory, slot, wanted, slack):
    for m, part in enumerate(slow.space):
        if part.kind == "cosine" and slow.slots[slot].key[m] is not None:
            columns = memory.space.columns[part.name]
            slack[columns] = slack[columns].max() * 2 + 1e-6
            wanted[columns] = wanted[columns] / wanted[columns].norm()
    return wanted, slack
