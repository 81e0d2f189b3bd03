"""The whole memory as one would write it down: entries in a list, one row after another, double precision.

It starts from the keys as they are stored; what ties within the rounding of the memory's precision counts as equal.
"""

import math

import pytest
import torch

from engram_rl.memory import Confidence, Decay, FirstInFirstOut, Keys, Priority


class Entry:
    """What one slot holds."""

    def __init__(self, key, value, identity, number):
        self.key, self.value, self.identity, self.number = key, value, identity, number
        self.writes, self.score, self.since, self.level = 1, 0.0, 0.0, 0.0
        self.lost, self.lost_at = 0.0, 0.0


class SlowMemory:
    """Lists and loops beside a `DifferentiableNeuralDictionary`, of which it knows what it was built with."""

    def __init__(self, memory):
        self.space, self.capacity = list(memory.space), memory.capacity
        self.rule, self.within, self.policy = memory.write_rule, memory.match_within, memory.forgetting
        self.delta = memory.kernel.delta
        self.eps = torch.finfo(memory.dtype).eps
        self.dtype = memory.dtype
        self.slots, self.holes = [], []
        self.uses, self.now, self.number = 0, 0.0, 0
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

    def distance(self, query, key, penalties):
        """Squared, weighted; and how wrong rounding may have made it."""
        total = 0.0
        for m, part in enumerate(self.space):
            if query[m] is None:
                continue
            if key[m] is None:
                total += part.weight * penalties[m]
            elif part.kind == "discrete":
                total += 0.0 if query[m] == key[m] else math.inf
            else:
                total += part.weight * sum((q - x) ** 2 for q, x in zip(query[m], key[m], strict=True))
        return total

    # ---- changing

    def write(self, packed, values, priority, names):
        slots = []
        for row, key in enumerate(self.keys_of(packed)):
            name = None if names is None else int(names[row])
            weight = 0.0 if priority is None else float(priority[row])
            slots.append(self.write_one(key, float(values[row, 0]), weight, name))
        self.expire(2 * len(slots))
        return slots

    def write_one(self, key, value, priority, name):
        slot = self.match(key, name)
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
            self.slots[slot] = entry = Entry(key, value, name, self.number)
            self.generation[slot] += 1
        entry.number = self.number
        self.number += 1
        self.scored(entry, priority, new)
        return slot

    def match(self, key, name):
        if name is not None:
            return next((slot for slot, entry in self.held() if entry.identity == name), None)
        if self.within is None or not self.rule.matches:
            return None
        ones = [1.0] * len(self.space)
        alike = [(s, e) for s, e in self.held() if [p is None for p in e.key] == [p is None for p in key]]
        only_codes = all(part is None or p.kind == "discrete" for part, p in zip(key, self.space, strict=True))
        near = sorted((self.distance(key, e.key, ones), -e.number if only_codes else s, s) for s, e in alike)
        return near[0][2] if near and near[0][0] <= self.within else None

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
        gone = [slot for slot in slots if slot < len(self.slots) and self.slots[slot] is not None]
        for slot in reversed(gone):
            self.slots[slot] = None
            self.holes.append(slot)

    def take_keys(self, memory, slots):
        """Keys as they are stored, after a move."""
        store = memory.store
        keys = self.keys_of(Keys(store.vectors[slots], store.codes[slots], store.present[slots]))
        for slot, key in zip(slots, keys, strict=True):
            self.slots[slot].key = key

    def take_values(self, memory):
        for slot, entry in self.held():
            entry.value = float(memory.values[slot, 0])

    # ---- forgetting

    def scored(self, entry, priority, new):
        if isinstance(self.policy, Decay):
            level = math.log1p(priority) / math.log(2)
            entry.level = level if new else max(level, entry.level)
            entry.score, entry.since = entry.level + self.now / self.policy.half_life, self.uses
            self.uses += 1
            self.now += self.policy.unit == "writes"
        elif new or not isinstance(self.policy, FirstInFirstOut):
            entry.score, entry.lost = self.uses, 0.0
            self.uses += 1

    def touch(self, found, queries):
        if isinstance(self.policy, FirstInFirstOut):
            return
        for slot in sorted(set(found.slots[found.valid].tolist())):
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

    # ---- comparing

    def assert_found(self, found, packed, k, exclude):
        penalties = [self.penalty(m) for m in range(len(self.space))]
        for row, query in enumerate(self.keys_of(packed)):
            near = [
                (self.distance(query, e.key, penalties), -e.number, s) for s, e in self.held() if s not in exclude[row]
            ]
            near = sorted(one for one in near if one[0] < math.inf)
            valid = found.valid[row]
            slots, distances = found.slots[row, valid].tolist(), found.distances[row, valid].tolist()
            assert len(slots) == len(set(slots)) == min(k, len(near)), (slots, near)
            true = {slot: d for d, _, slot in near}
            assert set(slots) <= set(true)
            size = max((abs(x) for part in query if part for x in part), default=0.0)
            rounding = 64 * self.eps * size * max(math.sqrt(max(true.values(), default=0.0)), size * self.eps)
            for (wanted, _, _), slot, d in zip(near, slots, distances, strict=False):
                slack = 3e-3 * wanted + rounding * max(p.weight for p in self.space) + 1e-30
                assert abs(d - true[slot]) <= slack and abs(d - wanted) <= slack, (d, true[slot], wanted, slack)
            if all(part is None or p.kind == "discrete" for part, p in zip(query, self.space, strict=True)):
                assert slots == [slot for _, _, slot in near[:k]]  # of equal codes the latest
            similar = [1 / (true[slot] + self.delta) for slot in slots]
            value = sum(s * self.slots[slot].value for s, slot in zip(similar, slots, strict=True))
            if slots:
                assert math.isclose(found.value[row, 0].item(), value / sum(similar), rel_tol=2e-2, abs_tol=2e-2)

    def assert_holds(self, memory):
        assert memory.slots.tolist() == [slot for slot, _ in self.held()]
        assert memory.slot_table.free.tolist() == self.holes
        slots = memory.slots
        keys = Keys(memory.key_vectors[slots], memory.store.codes[slots], memory.store.present[slots])
        entries = [entry for _, entry in self.held()]
        assert self.keys_of(keys) == [entry.key for entry in entries]
        assert memory.values[slots, 0].tolist() == pytest.approx([e.value for e in entries], rel=1e-4, abs=1e-5)
        assert memory.strength(slots).tolist() == pytest.approx([self.strength(e) for e in entries], rel=1e-6)
        assert memory.generation.tolist() == self.generation
        names = torch.arange(12)
        assert memory.find(names).tolist() == [
            next((slot for slot, entry in self.held() if entry.identity == name), -1) for name in range(12)
        ]
        if len(memory.space) > 1:
            true = [self.penalty(m) for m in range(len(self.space))]
            assert memory.store.penalties().tolist() == pytest.approx(true, rel=1e-3)

    def assert_finite(self, memory):
        def check(state):
            for name, part in state.items():
                if isinstance(part, dict):
                    check(part)
                elif isinstance(part, torch.Tensor) and part.is_floating_point():
                    fine = part.isfinite() | (part == torch.inf if name == "score" else torch.zeros_like(part).bool())
                    assert fine.all(), name

        check(memory.state_dict())
