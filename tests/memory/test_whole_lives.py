"""Random lives of a memory beside its slow twin: every kind of part, rule, policy, index and mode, scale and offset.

Hypothesis draws the calls, and shrinks what fails to a few of them. A few thousand calls here, and as many as there is
time for by `python -m tests.memory.test_whole_lives calls=200000 [seed=0]`.
"""

import copy
import pickle
import random
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from engram_rl.memory import (
    Blend,
    Confidence,
    Decay,
    DifferentiableNeuralDictionary,
    FirstInFirstOut,
    Gaussian,
    IVFIndex,
    LeastRecentlyUsed,
    Modality,
    Priority,
    RowRMSprop,
    RowSGD,
)
from tests.memory.slow_learning import assert_moved, gradients
from tests.memory.slow_links import assert_reached, follow, link, spread
from tests.memory.slow_memory import NAMES, SlowMemory, assert_finite
from tests.memory.slow_reading import assert_found, assert_referred

SPACES = [
    [Modality("v", 3)],
    [Modality("c", 2, kind="cosine", weight=3.0)],
    [Modality("v", 2, weight=4.0), Modality("p", 1)],
    [Modality("v", 2), Modality("a", kind="discrete", penalty=0.5)],
    [Modality("v", 2, penalty=3.0), Modality("c", 3, kind="cosine", weight=0.5), Modality("a", kind="discrete")],
    [Modality("a", kind="discrete"), Modality("b", 2, kind="discrete", weight=2.0)],
    [Modality("a", kind="discrete"), Modality("v", 1, weight=1e-3), Modality("b", kind="discrete", penalty=0.0)],
    [Modality("a", kind="discrete")],
]
RULES = ["append", Blend(0.25), "last", "max", "mean", "surprise_gated"]
POLICIES = [
    LeastRecentlyUsed,
    FirstInFirstOut,
    Priority,
    lambda: Confidence(0.5),
    lambda: Decay(8.0),
    lambda: Decay(4.0, unit="ticks", threshold=0.2),
]
INDEXES = ["exact", "exact", "cached", "auto", "ivf"]
KERNELS = ["inverse_distance", "inverse_distance", "gaussian", "uniform"]
MODES = {
    "plain": lambda device: nullcontext(),
    "autocast": lambda device: torch.autocast(device, torch.bfloat16),
    "inference": lambda device: torch.inference_mode(),
    "no_grad": lambda device: torch.no_grad(),
}
SEEDS = st.integers(0, 2**32)
ROWS = st.sampled_from([0, 1, 2, 5, 9, 30])
QUERIES = st.sampled_from([0, 1, 3])


class Life(RuleBasedStateMachine):
    """One memory, its twin, and chance."""

    calls = 0
    device = "cpu"

    @initialize(seed=SEEDS)
    def begin(self, seed):
        self.draw_from(seed)
        pick = self.luck.choice
        self.scale, self.offset = pick([1e-6, 1.0, 1e6]), pick([0.0, 0.0, 10.0, 1e4])
        self.dtype, rule = pick([torch.float32, torch.float32, torch.float64]), pick(RULES)
        kernel = pick(KERNELS)
        self.options = {
            "k": pick([1, 3, 6]),
            "kernel": Gaussian(max(1.0, self.scale)) if kernel == "gaussian" else kernel,
            "write_rule": rule,
            "match_within": None if rule == "append" or pick([True, False]) else (0.3 * self.scale) ** 2,
            "dtype": self.dtype,
            "links_per_entry": pick([1, 2, 8]),
            "device": self.device,
        }
        self.memory = self.built(pick(SPACES), pick([1, 2, 7, 20, 60]), pick(POLICIES)())
        self.optimiser = pick([RowSGD, RowRMSprop])(self.memory, lr=pick([0.0, 0.01]), value_lr=pick([0.0, 0.1]))
        self.slow = SlowMemory(self.memory)

    def built(self, space, capacity, policy):
        return DifferentiableNeuralDictionary(space, 1, capacity, forgetting=policy, index=self.index(), **self.options)

    def index(self):
        kind = self.luck.choice(INDEXES)
        near_enough = self.options["match_within"] is not None  # which entry a row updates is found by the index, too
        self.exact = kind != "ivf" or self.device != "cpu" or self.dtype == torch.float64 or near_enough
        return IVFIndex(lists=2, probes=1, start=8, check_every=2) if not self.exact else kind.replace("ivf", "exact")

    def draw_from(self, seed):
        self.luck, self.draw = random.Random(seed), torch.Generator().manual_seed(seed)

    @contextmanager
    def chance(self, seed, *modes):
        """Draws from a seed, in some mode."""
        Life.calls += 1
        self.draw_from(seed)
        torch.set_default_dtype(self.luck.choice([torch.float32, torch.float64]))
        try:
            with MODES[self.luck.choice(modes or list(MODES))](self.device):
                yield self.luck
        finally:
            torch.set_default_dtype(torch.float32)

    @invariant()
    def the_twin_holds_the_same(self):
        if hasattr(self, "slow"):
            self.slow.assert_holds(self.memory)
            assert_finite(self.memory.state_dict())
            assert_finite(self.optimiser.state_dict())

    # ---- calls

    @rule(seed=SEEDS, rows=ROWS)
    def write(self, seed, rows):
        with self.chance(seed) as luck:
            keys, present = self.keys(rows)
            values = torch.randn(rows, 1, generator=self.draw, dtype=self.dtype)
            priority = torch.rand(rows, generator=self.draw, dtype=self.dtype) if luck.random() < 0.5 else None
            if priority is not None:
                priority *= luck.choice([1e-9, 1.0, 1e20])
            names = torch.randint(0, NAMES, (rows,), generator=self.draw) if luck.random() < 0.5 else None
            packed = self.memory.store.pack(keys, present)
            slots = self.memory.write(keys, values, priority, names, present=present).tolist()
            assert slots == self.slow.write(packed, values, priority, names, slots)

    @rule(seed=SEEDS, rows=QUERIES)
    def lookup(self, seed, rows):
        with self.chance(seed) as luck:
            keys, present = self.keys(rows, query=True)
            exclude, hidden = self.excluded(rows)
            k, touch = luck.choice([None, 2, 9, 50]), luck.random() < 0.7
            references = luck.choice([None, None, "all", [(name,) for name in keys]])
            queries = self.slow.keys_of(self.memory.store.pack(keys, present))
            found = self.memory.lookup(keys, k, touch, exclude, present=present, references=references)
            width, exact = k or self.memory.k, self.exact
            if references is None or found.evidence is None:
                assert_found(self.slow, found, queries, width, hidden, exact)
            else:
                assert_referred(self.slow, found, queries, width, hidden, list(keys), references, exact)
            if touch:
                self.slow.touch(found)

    @rule(seed=SEEDS)
    def forget(self, seed):
        with self.chance(seed) as luck:
            slots = torch.randint(-1, self.memory.capacity, (2,), generator=self.draw)
            luck.choice([self.memory.forget, self.memory.contradict])(slots)
            self.slow.forget(sorted(set(slots.tolist())))

    @rule(seed=SEEDS)
    def move(self, seed):
        with self.chance(seed):
            slots = self.some_slots(2)
            keys = self.vectors(len(slots), self.memory.space.vector_size) + 1e-3 * self.scale
            self.memory.move(slots, keys=keys, values=torch.randn(len(slots), 1, generator=self.draw))
            self.slow.take(self.memory, slots.tolist())

    @rule(seed=SEEDS, rows=QUERIES)
    def learn(self, seed, rows):
        with self.chance(seed, "plain", "autocast"):
            keys, present = self.keys(rows, query=True)
            packed = self.memory.store.pack(keys, present)
            for part in keys.values():
                part.requires_grad_(part.is_floating_point())
            found = self.memory.lookup(keys, touch=False, present=present)
            coefficients = torch.randn(rows, 1, generator=self.draw, dtype=torch.float64)
            total = gradients(self.slow, found, self.slow.keys_of(packed), coefficients)
            with torch.autocast(self.device, enabled=False):  # as torch asks: gradients would be rounded to 8 bits
                (coefficients.to(self.device) * found.value).sum().backward()
            assert all(part.grad is None or part.grad.isfinite().all() for part in keys.values())
            before = self.memory.key_vectors.clone(), self.memory.values.clone()
            self.optimiser.step(found)
            assert_moved(self.slow, self.optimiser, before, total)
            self.slow.take(self.memory, sorted(total))

    @rule(seed=SEEDS)
    def tick(self, seed):
        with self.chance(seed) as luck:
            amount = luck.choice([0.5, 1, 3])
            self.memory.tick(amount)
            self.slow.tick(amount)

    @rule(seed=SEEDS)
    def weaken(self, seed):
        with self.chance(seed):
            slots = self.some_slots(1)
            if isinstance(self.memory.forgetting, Confidence | Decay):
                self.memory.contradict(slots, 0.5)
                self.slow.weaken(slots.tolist(), 0.5)

    @rule(seed=SEEDS)
    def link(self, seed):
        with self.chance(seed) as luck:
            sources, targets = self.some_slots(3), self.some_slots(3)
            weights = torch.rand(len(sources), generator=self.draw) + 0.1
            kinds = torch.randint(0, 2, (len(sources),), generator=self.draw)
            self.memory.link(sources, targets, weights, kinds)
            link(self.slow, sources.tolist(), targets.tolist(), weights.tolist(), kinds.tolist())
            start = torch.randint(-1, self.memory.capacity, (3,), generator=self.draw)
            steps, kind = luck.choice([1, 2, 5]), luck.choice([None, 0, 1])
            reached = self.memory.follow(start, steps, kind=kind)
            for row, slot in enumerate(start.tolist()):
                assert_reached(reached, row, follow(self.slow, slot, steps, kind))
            some = self.some_slots(2)
            reached = self.memory.links.spread(some.unsqueeze(0), steps=steps, decay=0.5)
            assert_reached(reached, 0, spread(self.slow, some.tolist(), steps, 0.5))

    @rule(seed=SEEDS, how=st.sampled_from(["deepcopy", "pickle", "state", "file"]))
    def go_on(self, seed, how):
        """With a copy, a pickle, a state in a new memory, a file read by another index and perhaps another policy."""
        with self.chance(seed) as luck:
            old, pair = self.memory, (self.memory, self.optimiser)
            if how in ("deepcopy", "pickle"):
                again = copy.deepcopy if how == "deepcopy" else lambda both: pickle.loads(pickle.dumps(both))
                self.memory, self.optimiser = again(pair)
                return
            policy = luck.choice(POLICIES)() if luck.random() < 0.5 else None
            if how == "state":
                policy = policy or type(old.forgetting)(**old.forgetting.settings())
                self.memory = self.built(old.space, old.capacity, policy)
                self.memory.load_state_dict(old.state_dict())
            else:
                with tempfile.TemporaryDirectory() as folder:
                    old.save(Path(folder) / "memory")
                    self.memory = DifferentiableNeuralDictionary.load(
                        Path(folder) / "memory", index=self.index(), forgetting=policy, device=self.device
                    )
            self.slow.go_on_under(self.memory.forgetting)
            rates = {"lr": self.optimiser.lr, "value_lr": self.optimiser.value_lr}
            optimiser = type(self.optimiser)(self.memory, **rates)
            optimiser.load_state_dict(self.optimiser.state_dict())
            self.optimiser = optimiser

    # ---- what is drawn

    def some_slots(self, n):
        slots = self.memory.slots
        return slots[torch.randperm(len(slots), generator=self.draw)[:n].to(self.device)]

    def excluded(self, rows):
        """What a lookup is not to find, as slots or as slots and generations, some of them stale; and who that is."""
        slots = torch.randint(-1, self.memory.capacity, (rows, 2), generator=self.draw).to(self.device)
        generation = self.memory.generation[slots.clamp(min=0)]
        how = self.luck.choice(["none", "slots", "named"])
        if how == "none":
            return None, [()] * rows
        if how == "slots":
            return slots, slots.tolist()
        named = generation - torch.randint(0, 2, (rows, 2), generator=self.draw).to(self.device)
        return (slots, named), slots.masked_fill(named != generation, -1).tolist()

    def vectors(self, n, size):
        drawn = torch.randn(n, size, generator=self.draw, dtype=torch.float64)
        if self.luck.random() < 0.3:
            drawn = drawn.round()  # so that distances tie
        return ((drawn + self.offset) * self.scale).to(self.device, self.dtype)

    def keys(self, n, query=False):
        keys = {}
        for part in self.memory.space:
            if part.kind == "discrete":
                keys[part.name] = torch.randint(-1, 2, (n, part.size), generator=self.draw).to(self.device)
            else:
                keys[part.name] = self.vectors(n, part.size) + (part.kind == "cosine") * 1e-3 * self.scale
        if len(keys) == 1:
            return keys, None
        present = {name: (torch.rand(n, generator=self.draw) < 0.7).to(self.device) for name in keys}
        lacking = ~torch.stack(list(present.values())).any(0)
        present[self.memory.space.names[0]] |= lacking
        if query and self.luck.random() < 0.5:  # ask all for the same part
            name = self.luck.choice(list(keys))
            return {name: keys[name]}, None
        return keys, present


def lives(many, steps=50):
    checks = list(HealthCheck)
    return settings(max_examples=many, stateful_step_count=steps, deadline=None, suppress_health_check=checks)


def test_lives_go_as_their_slow_twins_say():
    run_state_machine_as_test(Life, settings=settings(lives(60), derandomize=True))


class OnGPU(Life):
    """The memory there, its twin as ever."""

    device = "cuda"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
def test_lives_on_a_gpu_go_as_their_slow_twins_say():
    run_state_machine_as_test(OnGPU, settings=settings(lives(30), derandomize=True))


if __name__ == "__main__":
    given = dict(word.split("=") for word in sys.argv[1:])
    calls, first = int(given.get("calls", 200_000)), int(given.get("seed", 0))
    while Life.calls < calls:
        run_state_machine_as_test(seed(first)(Life), settings=lives(200))
        first += 1
        print(f"{Life.calls} calls, all as the slow twin says", flush=True)
