"""Random lives of a memory beside its slow twin: every kind of part, rule, policy and mode, scale and offset.

A few thousand calls here; `python -m tests.memory.test_whole_lives lives=2000` for as many lives as there is time for.
"""

import copy
import pickle
import random
import sys
from contextlib import nullcontext

import pytest
import torch

from engram_rl.memory import Blend, Confidence, Decay, DifferentiableNeuralDictionary, Modality, RowSGD
from tests.memory.slow_memory import SlowMemory

SPACES = [
    [Modality("v", 3)],
    [Modality("v", 2, weight=4.0), Modality("p", 1)],
    [Modality("v", 2), Modality("a", kind="discrete", penalty=0.5)],
    [Modality("v", 2, penalty=3.0), Modality("c", 3, kind="cosine", weight=0.5), Modality("a", kind="discrete")],
    [Modality("a", kind="discrete"), Modality("b", 2, kind="discrete", weight=2.0)],
    [Modality("a", kind="discrete")],
]
RULES = ["append", Blend(0.25), "last", "max", "mean", "surprise_gated"]
POLICIES = ["lru", "fifo", "priority", Confidence(0.5), Decay(8.0), Decay(4.0, unit="ticks", threshold=0.2)]
MODES = {
    "plain": nullcontext,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
}
CALLS = ("write", "write", "write", "lookup", "lookup", "lookup", "forget", "move", "learn", "tick", "weaken", "again")


class Life:
    """One memory, its twin, and chance."""

    def __init__(self, seed):
        self.luck = random.Random(seed)
        self.draw = torch.Generator().manual_seed(seed)
        pick = self.luck.choice
        self.space = pick(SPACES)
        self.scale, self.offset = pick([1e-6, 1.0, 1e6]), pick([0.0, 0.0, 10.0, 1e4])
        self.dtype = pick([torch.float32, torch.float32, torch.float64])
        rule, policy, capacity = pick(RULES), pick(POLICIES), pick([1, 2, 7, 20])
        within = None if rule == "append" or pick([True, False]) else (0.3 * self.scale) ** 2
        options = {"k": pick([1, 3, 6]), "write_rule": rule, "match_within": within, "dtype": self.dtype}
        self.memory = DifferentiableNeuralDictionary(self.space, 1, capacity, forgetting=policy, **options)
        self.slow = SlowMemory(self.memory)

    def run(self, calls):
        for _ in range(calls):
            self.step()

    def step(self):
        call, mode = self.luck.choice(CALLS), self.luck.choice(list(MODES))
        default = self.luck.choice([torch.float32, torch.float64])
        torch.set_default_dtype(default)
        try:
            with nullcontext() if call == "learn" else MODES[mode]():
                getattr(self, call)()
        finally:
            torch.set_default_dtype(torch.float32)
        self.slow.assert_holds(self.memory)
        self.slow.assert_finite(self.memory)

    def write(self):
        keys, present = self.rows(self.luck.choice([0, 1, 2, 5, 9]))
        n = len(next(iter(keys.values())))
        values = torch.randn(n, 1, generator=self.draw, dtype=self.dtype)
        priority = torch.rand(n, generator=self.draw, dtype=self.dtype) if self.luck.random() < 0.5 else None
        names = torch.randint(0, 12, (n,), generator=self.draw) if self.luck.random() < 0.5 else None
        packed = self.memory.store.pack(keys, present)
        slots = self.memory.write(keys, values, priority, names, present=present)
        assert slots.tolist() == self.slow.write(packed, values, priority, names)

    def lookup(self):
        keys, present = self.rows(self.luck.choice([0, 1, 3]), query=True)
        n = len(next(iter(keys.values())))
        exclude = torch.randint(-1, self.memory.capacity, (n, 2), generator=self.draw)
        stale = self.luck.random() < 0.5
        generation = self.memory.generation[exclude.clamp(min=0)] - torch.randint(0, 2, (n, 2), generator=self.draw)
        touch, k = self.luck.random() < 0.7, self.luck.choice([None, 2, 9])
        given = (exclude, generation) if stale else exclude
        packed = self.memory.store.pack(keys, present)
        if self.luck.random() < 0.3:
            found = self.memory.lookup(keys, k, False, given, present=present, references="all")
            assert all(part.isfinite().all() for part in (found.value, found.weights, found.distances))
            sums = found.weights.sum(1)
            assert (((sums - 1).abs() < 1e-4) | ~found.valid.any(1)).all()
            return
        found = self.memory.lookup(keys, k, touch, given, present=present)
        if stale:
            exclude = exclude.masked_fill(self.memory.generation[exclude.clamp(min=0)] != generation, -1)
        self.slow.assert_found(found, packed, k or self.memory.k, exclude.tolist())
        if touch:
            self.slow.touch(found, n)

    def forget(self):
        slots = torch.randint(-1, self.memory.capacity, (2,), generator=self.draw)
        self.memory.forget(slots)
        self.slow.forget(sorted({s for s in slots.tolist() if s >= 0}))

    def move(self):
        slots = self.memory.slots
        slots = slots[torch.randperm(len(slots), generator=self.draw)[:2]]
        if len(slots) and self.memory.space.vector_size:
            keys = self.vectors(len(slots), self.memory.space.vector_size)
            self.memory.move(slots, keys=keys)
        self.slow.take_keys(self.memory, slots.tolist())

    def learn(self):
        keys, present = self.rows(2, query=True)
        found = self.memory.lookup(keys, touch=False, present=present)
        (found.value.sum() * 0.1).backward()
        if found.valid.any():
            RowSGD(self.memory, lr=0.0, value_lr=0.1).step(found)
        self.slow.take_values(self.memory)

    def tick(self):
        amount = self.luck.choice([0.5, 1, 3])
        self.memory.tick(amount)
        self.slow.tick(amount)

    def weaken(self):
        slots = self.memory.slots[:1]
        if self.memory.forgetting.settings().keys() & {"lost_decay", "half_life"} and len(slots):
            self.memory.contradict(slots, 0.5)
            self.slow.weaken(slots.tolist(), 0.5)

    def again(self):
        """Go on with a copy, a pickle, a state in a new memory."""
        how = self.luck.choice(["deepcopy", "pickle", "state"])
        if how == "state":
            old = self.memory
            options = {name: getattr(old, name) for name in ("k", "write_rule", "match_within", "dtype")}
            policy = type(old.forgetting)(**old.forgetting.settings())
            self.memory = DifferentiableNeuralDictionary(old.space, 1, old.capacity, forgetting=policy, **options)
            self.memory.load_state_dict(old.state_dict())
        else:
            self.memory = copy.deepcopy(self.memory) if how == "deepcopy" else pickle.loads(pickle.dumps(self.memory))

    def vectors(self, n, size):
        drawn = torch.randn(n, size, generator=self.draw, dtype=torch.float64)
        if self.luck.random() < 0.3:
            drawn = drawn.round()  # so that distances tie
        return ((drawn + self.offset) * self.scale).to(self.dtype)

    def rows(self, n, query=False):
        keys = {}
        for part in self.space:
            if part.kind == "discrete":
                keys[part.name] = torch.randint(-1, 2, (n, part.size), generator=self.draw)
            else:
                keys[part.name] = self.vectors(n, part.size) + (part.kind == "cosine") * 1e-3 * self.scale
        if len(self.space) == 1:
            return keys, None
        present = {name: torch.rand(n, generator=self.draw) < 0.7 for name in keys}
        lacking = ~torch.stack(list(present.values())).any(0)
        present[self.space[0].name] |= lacking
        if query and self.luck.random() < 0.5:  # ask all for the same part
            name = self.luck.choice(list(keys))
            return {name: keys[name]}, None
        return keys, present


@pytest.mark.parametrize("seed", range(50))
def test_a_life_goes_as_its_slow_twin_says(seed):
    Life(seed).run(50)


if __name__ == "__main__":
    options = dict(word.split("=") for word in sys.argv[1:])
    first = int(options.get("first", 1000))
    for number in range(first, first + int(options.get("lives", 2000))):
        try:
            Life(number).run(100)
        except Exception:
            print(f"life {number}")
            raise
