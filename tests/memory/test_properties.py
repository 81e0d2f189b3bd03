"""Any sequence of writes, lookups, removals and reloads leaves what a dictionary of Python lists would hold."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from engram_rl.memory import Blend, DifferentiableNeuralDictionary, Max
from tests.memory.slow_dictionary import SlowDictionary

GRID = st.integers(-4, 4).map(lambda n: n / 2)  # a small grid, so that keys coincide and distances tie
IDENTITY = st.integers(0, 6)
ROW = st.tuples(st.tuples(GRID, GRID), GRID, IDENTITY)

RULES = {
    "append": ("append", None),
    "blend": (Blend(0.25), lambda old, new, writes: old + 0.25 * (new - old)),
    "max": (Max(), lambda old, new, writes: max(old, new)),
    "mean": ("mean", lambda old, new, writes: (old * writes + new) / (writes + 1)),
}


class Sequences(RuleBasedStateMachine):
    """The memory and its slow twin, side by side."""

    @initialize(rule=st.sampled_from(sorted(RULES)), capacity=st.integers(1, 7), k=st.integers(1, 4))
    def build(self, rule, capacity, k):
        write_rule, combine = RULES[rule]
        self.options = {"write_rule": write_rule, "dtype": torch.float64, "k": k}
        self.memory = DifferentiableNeuralDictionary(2, 1, capacity, **self.options)
        self.slow = SlowDictionary(capacity, k, combine)

    @rule(rows=st.lists(ROW, min_size=1, max_size=9))
    def write(self, rows):
        keys, values, identities = zip(*rows, strict=True)
        slots = self.memory.write(
            torch.tensor(keys).double(), torch.tensor(values).double().unsqueeze(1), identity=torch.tensor(identities)
        )
        written = []
        for key, value, name in rows:
            slot = self.slow.write(list(key), [value], name)
            written.append((slot, self.slow.slots[slot]))
        assert slots.tolist() == [slot if self.slow.slots[slot] is entry else -1 for slot, entry in written]

    @rule(query=st.tuples(GRID, GRID), touch=st.booleans(), excluded=st.integers(-1, 6))
    def lookup(self, query, touch, excluded):
        found = self.memory.lookup(
            torch.tensor([query]).double(), touch=touch, exclude=torch.tensor([excluded], dtype=torch.int64)
        )
        near = self.slow.neighbours(query, (excluded,))
        valid = found.valid[0]
        assert found.distances[0, valid].tolist() == pytest.approx([d for d, _ in near])
        slots = found.slots[0, valid].tolist()
        if len({d for d, _ in near}) == len(near) and self._no_tie_at_the_edge(query, near, excluded):
            assert slots == [slot for _, slot in near]
            assert found.value[0].tolist() == pytest.approx(self.slow.lookup(query, (excluded,)))
        if touch:
            self.slow.touch(slots)

    def _no_tie_at_the_edge(self, query, near, excluded):
        wider = SlowDictionary(self.slow.capacity, self.slow.k + 1, None, slots=self.slow.slots)
        beyond = wider.neighbours(query, (excluded,))[len(near) :]
        return not (beyond and near and beyond[0][0] == near[-1][0])

    @rule(slot=st.integers(0, 6))
    def forget(self, slot):
        if slot < len(self.slow.slots):
            self.memory.forget(torch.tensor([slot]))
            self.slow.forget(slot)

    @rule()
    def reload(self):
        state = self.memory.state_dict()
        self.memory = DifferentiableNeuralDictionary(2, 1, self.memory.capacity, **self.options)
        self.memory.load_state_dict(state)

    @invariant()
    def holds_the_same(self):
        if not hasattr(self, "slow"):
            return
        held = {slot: entry for slot, entry in enumerate(self.slow.slots) if entry is not None}
        assert self.memory.slots.tolist() == list(held) and len(self.memory) == len(held)
        for slot, entry in held.items():
            assert self.memory.key_vectors[slot].tolist() == entry.key
            assert self.memory.values[slot].tolist() == pytest.approx(entry.value)
        found = self.memory.find(torch.arange(7))
        assert found.tolist() == [self.slow.find(identity) for identity in range(7)]


TestSequences = Sequences.TestCase
TestSequences.settings = settings(max_examples=25, stateful_step_count=20, deadline=None, derandomize=True)
