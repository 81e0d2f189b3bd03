"""The whole memory as one would write it down: entries in a list, one row after another, double precision.

It starts from the keys as they are stored; what ties within the rounding of the memory's precision counts as equal.
What lookups find is compared in `slow_reading.py`, gradient steps in `slow_learning.py`, links in `slow_links.py`.
"""

import math

import torch

from engram_rl.memory import Confidence, Decay, FirstInFirstOut, Keys, LeastRecentlyUsed, Priority
from engram_rl.memory.checks import LARGEST_VALUE

NAMES = 12
"""Identities that are drawn from."""

TIE = 1e-3
"""Share of a distance within which two count as equal."""


class Entry:
    """What one slot holds."""

    def __init__(self, slot, key, value, identity, number):
        self.slot, self.key, self.value, self.identity, self.number = slot, key, value, identity, number
        self.writes, self.hits, self.score, self.since, self.level = 1, 0, 0.0, 0.0, 0.0
        self.lost, self.lost_at = 0.0, 0.0
        self.links, self.squares = [], None


class SlowMemory:
    """Lists and loops beside a `DifferentiableNeuralDictionary`, of which it knows what it was built with."""

    def __init__(self, memory):
        self.space, self.capacity = list(memory.space), memory.capacity
        self.rule, self.within, self.policy = memory.write_rule, memory.match_within, memory.forgetting
        self.kernel, self.dtype = memory.kernel, memory.dtype
        self.per_source = memory.links.per_source
        self.slots, self.holes = [], []
        self.uses, self.now, self.number, self.lookups = 0, 0.0, 0, 0
        self.generation = [0] * self.capacity

    # ---- keys: one list of numbers, or None, for each part

    def keys_of(self, packed):
        vectors, codes, present = packed.vectors.tolist(), packed.codes.tolist(), packed.present.tolist()
        keys = [[] for _ in vectors]
        ends = {True: 0, False: 0}
        for m, part in enumerate(self.space):
            discrete = part.kind == "discrete"
            start, ends[discrete] = ends[discrete], ends[discrete] + part.size
            for key, numbers, has in zip(keys, codes if discrete else vectors, present, strict=True):
                key.append(numbers[start : ends[discrete]] if has[m] else None)
        return keys

    def held(self):
        return [(slot, entry) for slot, entry in enumerate(self.slots) if entry is not None]

    def only_codes(self, key):
        return all(part is None or p.kind == "discrete" for part, p in zip(key, self.space, strict=True))

    def penalties(self):
        return [self.penalty(m) for m in range(len(self.space))]

    def penalty(self, m):
        part = self.space[m]
        if part.penalty is not None or part.kind == "discrete":
            return 1.0 if part.penalty is None else part.penalty
        keys = [entry.key[m] for _, entry in self.held() if entry.key[m] is not None]
        if not keys:
            return 1.0
        columns = list(zip(*keys, strict=True))
        means = [math.fsum(c) / len(c) for c in columns]
        variance = [math.fsum((x - mean) ** 2 for x in c) / len(c) for c, mean in zip(columns, means, strict=True)]
        variance = sum(v for v, mean in zip(variance, means, strict=True) if v > 1e-28 * mean**2)
        return 2 * variance or 2 * sum(mean**2 for mean in means) or 1.0

    def parts(self, query, key, penalties):
        """Squared distance by part; 0 where it is not asked for."""
        parts = []
        for m, part in enumerate(self.space):
            if query[m] is None:
                parts.append(0.0)
            elif key[m] is None:
                parts.append(penalties[m])
            elif part.kind == "discrete":
                parts.append(0.0 if query[m] == key[m] else math.inf)
            else:
                parts.append(sum((q - x) ** 2 for q, x in zip(query[m], key[m], strict=True)))
        return parts

    def distance(self, query, key, penalties):
        return sum(p.weight * d for p, d in zip(self.space, self.parts(query, key, penalties), strict=True))

    # ---- changing

    def write(self, packed, values, priority, names, told):
        """Where each row went, -1 if its entry is gone; among equally near entries the memory may choose, as `told`."""
        written = []
        for row, key in enumerate(self.keys_of(packed)):
            name = None if names is None else int(names[row])
            weight = 0.0 if priority is None else float(priority[row])
            slot = self.write_one(key, float(values[row, 0]), weight, name, told[row])
            written.append((slot, self.slots[slot]))
        self.expire(2 * len(written))
        return [slot if self.slots[slot] is entry else -1 for slot, entry in written]

    def write_one(self, key, value, priority, name, told):
        slot = self.match(key, name, told)
        if slot is not None and self.rule.matches:
            entry = self.slots[slot]
            entry.value = self.combined(entry, value)
            entry.writes += 1
            entry.key = [old if new is None else new for new, old in zip(key, entry.key, strict=True)]
            new = False
        else:
            if name is not None and slot is not None:
                self.slots[slot].identity = None
            slot, new = self.room(), True
            self.slots[slot] = entry = Entry(slot, key, value, name, self.number)
            self.generation[slot] += 1
        entry.number = self.number
        self.number += 1
        self.scored(entry, priority, new)
        return slot

    def match(self, key, name, told):
        if name is not None:
            return next((slot for slot, entry in self.held() if entry.identity == name), None)
        if self.within is None or not self.rule.matches:
            return None
        ones = [1.0] * len(self.space)
        alike = [(s, e) for s, e in self.held() if [p is None for p in e.key] == [p is None for p in key]]
        near = sorted((self.distance(key, e.key, ones), -e.number if self.only_codes(key) else s, s) for s, e in alike)
        if not near or near[0][0] > self.within:
            return None
        tied = [s for d, _, s in near if d <= near[0][0] * (1 + TIE)]
        return told if told in tied and not self.only_codes(key) else near[0][2]

    def combined(self, entry, value):
        kind, old = type(self.rule).__name__, entry.value
        if kind == "Blend":
            return old + self.rule.alpha * (value - old)
        if kind == "Max":
            return max(old, value)
        if kind == "RunningMean":
            return old + (value - old) / (entry.writes + 1)
        if kind == "SurpriseGated":
            return self.rule.keep * old if old > 0 and value <= 0 else max(old, value)
        return value

    def room(self):
        if self.holes:
            return self.holes.pop()
        if len(self.slots) < self.capacity:
            self.slots.append(None)
            return len(self.slots) - 1
        return min(range(self.capacity), key=lambda s: (self.slots[s].score, self.slots[s].since, s))

    def forget(self, slots):
        gone = [slot for slot in slots if 0 <= slot < len(self.slots) and self.slots[slot] is not None]
        for slot in reversed(gone):
            self.slots[slot] = None
            self.holes.append(slot)

    def take(self, memory, slots):
        """Keys and values as they are stored, after they were put elsewhere."""
        store = memory.store
        keys = self.keys_of(Keys(store.vectors[slots], store.codes[slots], store.present[slots]))
        for slot, key, value in zip(slots, keys, memory.values[slots, 0].tolist(), strict=True):
            self.slots[slot].key, self.slots[slot].value = key, value

    # ---- forgetting

    def scored(self, entry, priority, new):
        if isinstance(self.policy, Decay):
            level = torch.log1p(torch.tensor(priority, dtype=torch.float64)).item() / math.log(2)
            entry.level = level if new else max(level, entry.level)
            entry.score, entry.since = entry.level + self.now / self.policy.half_life, self.uses
            self.uses += 1
            self.now += self.policy.unit == "writes"
        elif new or not isinstance(self.policy, FirstInFirstOut):
            entry.score, entry.lost = self.uses, 0.0
            self.uses += 1

    def touch(self, found):
        self.lookups += len(found.slots) > 0
        for slot in found.slots[found.valid].tolist():
            self.slots[slot].hits += 1
        if isinstance(self.policy, FirstInFirstOut):
            return
        for slot in set(found.slots[found.valid].tolist()):
            entry = self.slots[slot]
            if isinstance(self.policy, Decay):
                entry.level = max(entry.level, min(entry.level + self.policy.durability, self.policy.most))
                entry.score, entry.since = entry.level + self.now / self.policy.half_life, self.uses
            else:
                entry.score = self.uses
        self.uses += 1

    def tick(self, amount):
        if isinstance(self.policy, Confidence) or (isinstance(self.policy, Decay) and self.policy.unit == "ticks"):
            self.now += amount
        self.expire(1024)

    def weaken(self, slots, factor):
        for slot in slots:
            entry = self.slots[slot]
            if isinstance(self.policy, Confidence):
                entry.lost, entry.lost_at = 1 - factor * self.strength(entry), self.now
            else:
                entry.level += math.log2(factor)
                entry.score += math.log2(factor)

    def strength(self, entry):
        if isinstance(self.policy, Confidence):
            return 1 - entry.lost * self.policy.lost_decay ** (self.now - entry.lost_at)
        if isinstance(self.policy, Decay):
            return 2 ** (entry.score - self.now / self.policy.half_life)
        return 1.0

    def expire(self, most):
        if isinstance(self.policy, Decay) and self.policy.threshold and not isinstance(self.policy, Priority):
            weak = [(e.score, e.since, s) for s, e in self.held() if self.strength(e) < self.policy.threshold]
            self.forget(sorted(slot for _, _, slot in sorted(weak)[:most]))

    def go_on_under(self, policy):
        """Loaded with another policy: the order stays if it means the same there, else all are written as of now."""
        before, self.policy = self.policy, policy
        if _order(before) == _order(policy):
            return
        entries = sorted((entry for _, entry in self.held()), key=lambda e: (e.score, e.since, e.slot))
        decays = isinstance(before, Decay)
        self.uses, self.now = 0, 0.0
        for entry in entries:
            priority = min(max(math.expm1(entry.level * math.log(2)), 0.0), LARGEST_VALUE) if decays else 0.0
            entry.level, entry.since, entry.lost, entry.lost_at = 0.0, 0.0, 0.0, 0.0
            self.scored(entry, torch.tensor(priority, dtype=self.dtype).item(), True)

    # ---- comparing

    def assert_holds(self, memory):
        assert memory.slots.tolist() == [slot for slot, _ in self.held()]
        assert memory.slot_table.free.tolist() == self.holes
        slots, entries = memory.slots, [entry for _, entry in self.held()]
        keys = Keys(memory.key_vectors[slots], memory.store.codes[slots], memory.store.present[slots])
        assert self.keys_of(keys) == [entry.key for entry in entries]
        assert_close(memory.values[slots, 0].tolist(), [e.value for e in entries], 1e-4, 1e-5)
        assert_close(memory.strength(slots).tolist(), [self.strength(e) for e in entries], 1e-6)
        assert memory.generation.tolist() == self.generation
        assert memory.usage.hits[slots].tolist() == [e.hits for e in entries]
        assert memory.slot_table.writes[slots].tolist() == [e.writes for e in entries]
        assert memory.usage.lookups == self.lookups
        named = {entry.identity: slot for slot, entry in self.held()}
        assert memory.find(torch.arange(NAMES)).tolist() == [named.get(name, -1) for name in range(NAMES)]
        if len(self.space) > 1:
            assert_close(memory.store.penalties().tolist(), self.penalties(), 1e-4)


def _order(policy):
    """What scores mean under a policy: two of the same order go on with each other's."""
    if isinstance(policy, Decay):
        return policy.half_life
    return Confidence if isinstance(policy, Confidence) else LeastRecentlyUsed


def assert_close(numbers, wanted, relative, absolute=0.0):
    """What `pytest.approx` compares, fast enough for every call."""
    assert len(numbers) == len(wanted)
    for a, b in zip(numbers, wanted, strict=True):
        assert abs(a - b) <= relative * abs(b) + absolute, (a, b, numbers, wanted)


def assert_finite(state):
    """No number of a state is NaN or infinite; a score of no entry may be."""
    for name, part in state.items():
        if isinstance(part, dict):
            assert_finite(part)
        elif isinstance(part, torch.Tensor) and part.is_floating_point():
            assert (part.isfinite() | ((part == torch.inf) & (name == "score"))).all(), name
        elif isinstance(part, float):
            assert math.isfinite(part), name
