"""The dictionary as one would write it down: Python lists, one entry after another, double precision."""

from dataclasses import dataclass, field


@dataclass
class Entry:
    key: list[float]
    value: list[float]
    identity: int | None
    used: int
    writes: int = 1


@dataclass
class SlowDictionary:
    """LRU as neighbour, inverse distance, and a write rule as a function of (stored, new, writes so far)."""

    capacity: int
    k: int
    combine: object  # None: append
    delta: float = 1e-3
    slots: list[Entry | None] = field(default_factory=list)
    uses: int = 0
    holes: list[int] = field(default_factory=list)

    def write(self, key, value, identity):
        slot = self.find(identity)
        if slot >= 0 and self.combine is not None:
            entry = self.slots[slot]
            entry.value = [self.combine(old, new, entry.writes) for old, new in zip(entry.value, value, strict=True)]
            entry.writes += 1
            entry.key, entry.used = key, self.uses
        else:
            if slot >= 0:
                self.slots[slot].identity = None
            slot = self._room()
            self.slots[slot] = Entry(key, value, identity, self.uses)
        self.uses += 1
        return slot

    def _room(self):
        if self.holes:
            return self.holes.pop()
        if len(self.slots) < self.capacity:
            self.slots.append(None)
            return len(self.slots) - 1
        return min(range(self.capacity), key=lambda slot: (self.slots[slot].used, slot))

    def find(self, identity):
        for slot, entry in enumerate(self.slots):
            if entry is not None and identity is not None and entry.identity == identity:
                return slot
        return -1

    def forget(self, slot):
        if self.slots[slot] is not None:
            self.slots[slot] = None
            self.holes.append(slot)

    def neighbours(self, query, exclude=()):
        """(squared distance, slot), nearest first."""
        near = [
            (sum((q - x) ** 2 for q, x in zip(query, entry.key, strict=True)), slot)
            for slot, entry in enumerate(self.slots)
            if entry is not None and slot not in exclude
        ]
        return sorted(near)[: self.k]

    def lookup(self, query, exclude=()):
        near = self.neighbours(query, exclude)
        similarity = [1 / (d + self.delta) for d, _ in near]
        width = len(self.slots[near[0][1]].value) if near else 1
        return [
            sum(s / sum(similarity) * self.slots[slot].value[i] for s, (_, slot) in zip(similarity, near, strict=True))
            for i in range(width)
        ]

    def touch(self, slots):
        for slot in slots:
            self.slots[slot].used = self.uses
        self.uses += 1
