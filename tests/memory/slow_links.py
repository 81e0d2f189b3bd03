"""Links of the slow memory: a list beside each entry, ways followed one by one."""

import pytest


def link(slow, sources, targets, weights, kinds):
    for source, target, weight, kind in zip(sources, targets, weights, kinds, strict=True):
        entry, end = slow.slots[source], slow.slots[target]
        entry.links = live(slow, entry)
        same = next((one for one in entry.links if one[0] is end and one[2] == kind), None)
        if same is not None:
            same[1] += weight
            continue
        if len(entry.links) == slow.per_source:
            entry.links.remove(min(entry.links, key=lambda one: one[1]))
        entry.links.append([end, weight, kind])


def live(slow, entry):
    """The links of an entry whose ends are there."""
    return [one for one in entry.links if slow.slots[one[0].slot] is one[0]]


def follow(slow, slot, steps, kind):
    """How strongly each slot is reached by ways of so many links."""
    reached = {slot: 1.0} if slot >= 0 and slow.slots[slot : slot + 1] not in ([], [None]) else {}
    for _ in range(steps):
        further = {}
        for at, strength in reached.items():
            for end, weight, which in live(slow, slow.slots[at]):
                if kind in (None, which):
                    further[end.slot] = further.get(end.slot, 0.0) + strength * weight
        reached = further
    return reached


def spread(slow, slots, steps, decay):
    """What comes to mind with some entries: each passes on a share of what it has just received."""
    wave = {}
    for slot in slots:
        wave[slot] = wave.get(slot, 0.0) + 1.0
    total = dict(wave)
    for _ in range(steps):
        further = {}
        for at, strength in wave.items():
            links = live(slow, slow.slots[at])
            for end, weight, _ in links:
                share = decay * strength * weight / sum(w for _, w, _ in links)
                further[end.slot] = further.get(end.slot, 0.0) + share
        wave = further
        for at, strength in wave.items():
            total[at] = total.get(at, 0.0) + strength
    return total


def assert_reached(reached, row, wanted):
    valid = reached.valid[row]
    weights = reached.weights[row, valid].tolist()
    told = dict(zip(reached.slots[row, valid].tolist(), weights, strict=True))
    assert told == pytest.approx(wanted, rel=1e-4)
    assert weights == sorted(weights, reverse=True)
