"""A GPU is waited for once in a lookup, once or twice in a write, twice in a step; a CPU makes the same of all."""

import math

import pytest
import torch
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from engram_rl.memory import (
    Blend,
    Confidence,
    Decay,
    DifferentiableNeuralDictionary,
    Modality,
    Priority,
    RowRMSprop,
    RowSGD,
)
from engram_rl.memory.forgetting.weakest import WeakestEntries, WeakestOfAll
from engram_rl.memory.indexes import exact
from engram_rl.memory.waiting import AT_HAND, told
from tests.memory.filled import assert_same
from tests.memory.synchronisations import noted, on_host
from tests.memory.test_whole_lives import Life, lives

D, N, K, ROWS = 8, 400, 20, 16

SPACES = {
    "plain": [Modality("view", D)],
    "cosine": [Modality("view", D, kind="cosine")],
    "several": [Modality("view", D), Modality("place", 2)],
    "several_cosine": [Modality("view", D), Modality("way", 2, kind="cosine")],
}
POLICIES = {
    "lru": lambda: "lru",
    "fifo": lambda: "fifo",
    "priority": Priority,
    "confidence": Confidence,
    "decay": lambda: Decay(1e6),
    "decay_with_threshold": lambda: Decay(200.0, threshold=0.6),
}
RULES = {"append": "append", "blend": Blend(0.1)}

gpu = pytest.param("cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")])


@pytest.fixture
def far_away(monkeypatch):
    """The CPU, as if it answered as late as a GPU does, and searched as a GPU searches without faiss for it."""
    monkeypatch.setattr(exact, "search_on", lambda device, dtype: exact.torch_search)
    AT_HAND.discard("cpu")
    yield
    AT_HAND.add("cpu")


def keys(space, n, device="cpu"):
    return {part.name: torch.randn(n, part.size, device=device) for part in space}


class Used:
    """A memory in use: rows are written, known ones and new ones, and found."""

    def __init__(self, space, policy, rule, device, held=N):
        torch.manual_seed(0)
        self.space, self.device = SPACES[space], device
        options = {"forgetting": POLICIES[policy](), "write_rule": RULES[rule], "device": device}
        self.memory = DifferentiableNeuralDictionary(self.space, 1, N, k=K, **options)
        self.names = 0
        for _ in range(held // ROWS):
            self.write(torch.arange(self.names, self.names + ROWS))
            self.names += ROWS

    def write(self, names, priority=None):
        values = torch.randn(len(names), 1, device=self.device)
        return self.memory.write(keys(self.space, len(names), self.device), values, priority, on_host(names))

    def waits(self, call):
        with noted(self.device) as waits:
            call()
        return waits

    def read(self):
        """What a lookup found, gradients included."""
        found = self.memory.lookup(keys(self.space, 4, self.device))
        found.value.sum().backward()
        return found

    def lookup(self, **options):
        query = keys(self.space, 4, self.device)
        return self.waits(lambda: self.memory.lookup(query, **options))


@pytest.fixture(params=["cpu", gpu])
def device(request):
    if request.param == "cpu":
        request.getfixturevalue("far_away")
    return request.param


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("space", SPACES)
class TestWaits:
    @pytest.mark.parametrize("held", [0, ROWS, N])
    def test_a_lookup_waits_once(self, space, policy, held, device):
        used = Used(space, policy, "append", device, held)
        used.lookup()  # whatever a GPU sets up once
        for _ in range(3):
            for options in ({}, {"touch": False}, {"exclude": torch.tensor([3, 1, 2, 0], device=device)}):
                assert len(waits := used.lookup(**options)) <= 1, waits
            with torch.no_grad():
                assert len(waits := used.lookup()) <= 1, waits
            used.write(torch.arange(10**6, 10**6 + ROWS))
        used.memory.forget(torch.arange(3, device=device))
        assert len(waits := used.lookup()) <= 1, waits

    @pytest.mark.parametrize("held", [0, N])
    def test_a_write_of_new_entries_waits_once_or_twice(self, space, policy, held, device):
        most = (
            3 if policy == "decay_with_threshold" and space.startswith("several") else 2
        )  # when keys are centred anew
        used = Used(space, policy, "append", device, held)
        used.write(torch.arange(10**5, 10**5 + ROWS))
        for turn in range(6):
            names = torch.arange(ROWS) + 10**6 + turn * ROWS
            priority = torch.rand(ROWS, device=device) if turn % 2 else None
            assert len(waits := used.waits(lambda a=names, b=priority: used.write(a, b))) <= most, waits

    def test_a_write_of_known_entries_waits_twice_and_once_more_where_a_threshold_takes_entries_or_keys_are_centred(
        self, space, policy, device
    ):
        used = Used(space, policy, "blend", device)
        for turn in range(6):
            used.write(torch.arange(ROWS) + 10**6)  # so that they are not those that make room
            names = torch.arange(ROWS) + 10**6 + (turn % 2) * ROWS // 2
            most = 2 + (policy == "decay_with_threshold") + space.startswith("several")  # when keys are centred anew
            if (
                policy != "priority" or turn % 2 == 0
            ):  # where new ones may be weaker than what is there, rows are halved
                assert len(waits := used.waits(lambda a=names: used.write(a))) <= most, waits


@pytest.mark.parametrize("space", SPACES)
class TestWaitsOfWhatMoves:
    @pytest.mark.parametrize("kind", [RowSGD, RowRMSprop])
    @pytest.mark.parametrize("held", [ROWS, N])
    def test_a_step_of_a_row_optimiser_waits_twice_and_once_more_where_keys_are_centred(
        self, space, kind, held, device
    ):
        used = Used(space, "lru", "append", device, held)
        optimiser = kind(used.memory, lr=1e-3)
        optimiser.step(used.read())  # whatever a GPU sets up once
        for turn in range(6):
            reads = [used.read() for _ in range(1 + turn % 2)]
            if turn % 3 == 2:  # some of what was read is gone
                used.write(torch.arange(ROWS) + 10**6 + turn * ROWS)
                used.memory.forget(reads[0].slots[0, :3])
            waits = used.waits(lambda reads=reads: optimiser.step(*reads))
            assert len(waits) <= 2 + space.startswith("several"), waits

    def test_a_step_on_nothing_that_is_left_waits_once(self, space, device):
        used = Used(space, "lru", "append", device, ROWS)
        optimiser, read = RowRMSprop(used.memory), used.read()
        used.memory.forget(torch.arange(ROWS, device=device))
        assert len(waits := used.waits(lambda: optimiser.step(read))) <= 1, waits

    @pytest.mark.parametrize("order", [(3, 5, 9), (9, 3, 5)])
    def test_a_move_waits_twice_and_once_more_where_keys_are_centred(self, space, order, device):
        used = Used(space, "lru", "append", device)
        memory, slots = used.memory, torch.tensor(order, device=device)
        new = memory.key_vectors[slots] + 0.1, memory.values[slots] + 0.1
        for _ in range(3):
            waits = used.waits(lambda: memory.move(slots, *new))
            assert len(waits) <= 2 + space.startswith("several"), waits


@pytest.mark.usefixtures("far_away")
class TestAsOnTheCpu:
    def test_lives_go_as_their_slow_twins_say(self):
        run_state_machine_as_test(Life, settings=settings(lives(20), derandomize=True))

    @pytest.mark.parametrize(
        ("broken", "said"),
        [
            ({"keys": torch.full((2, D), math.nan)}, "'view' has a value that is NaN"),
            ({"keys": torch.zeros(2, D)}, "zero vector"),
            ({"values": torch.full((2, 1), math.inf)}, "a value is NaN"),
            ({"priority": torch.tensor([1.0, -1.0])}, "priority holds -1.0"),
        ],
    )
    def test_what_is_wrong_is_said_before_anything_changes(self, broken, said):
        used = Used("cosine", "decay", "blend", "cpu")
        before = used.memory.state_dict()
        good = {"keys": torch.randn(2, D), "values": torch.randn(2, 1), "identity": torch.tensor([1, 10**7])}
        with pytest.raises(ValueError, match=said):
            used.memory.write(**(good | broken))
        if "keys" in broken:
            with pytest.raises(ValueError, match=said):
                used.memory.lookup(broken["keys"])
        assert_same(before, used.memory.state_dict())

    @pytest.mark.parametrize("kind", [RowSGD, RowRMSprop])
    @pytest.mark.parametrize(
        ("part", "gradient", "said"),
        [
            ("keys", math.nan, "a gradient is NaN, infinite or above 1e.15 in size; lower the learning rate"),
            ("values", math.inf, "a gradient is NaN"),
            ("values", 2e15, "a gradient is NaN"),
            ("values", 1e15, "values would become NaN, infinite or larger than 1e.30"),
            ("keys", 1e15, "keys would become NaN, infinite or larger than 1e.14"),
        ],
    )
    def test_a_step_that_leads_nowhere_is_refused_before_anything_changes(self, kind, part, gradient, said):
        used = Used("cosine", "lru", "append", "cpu")
        optimiser, read = kind(used.memory, lr=1e31 * (part == "keys"), value_lr=1e31), used.read()
        getattr(read, part).grad[1, 2] = gradient
        before = used.memory.state_dict() | {"squares": optimiser.state_dict()}
        with pytest.raises(ValueError, match=said):
            optimiser.step(read)
        assert_same(before, used.memory.state_dict() | {"squares": optimiser.state_dict()})

    @pytest.mark.parametrize(
        ("slots", "keys", "said"),
        [
            ([0, N - 1], torch.ones(2, D), f"slot {N - 1} holds no entry"),
            ([4, 7, 4], torch.ones(3, D), "slots name an entry twice"),
            ([0, N], torch.ones(2, D), f"slots holds {N}; slots go from 0 to {N - 1}"),
            ([5, 4], torch.full((2, D), 2e14), "keys would become NaN, infinite or larger than 1e.14"),
            ([5, 4], torch.zeros(2, D), "'view' was given a zero vector"),
        ],
    )
    def test_a_move_that_leads_nowhere_is_refused_before_anything_changes(self, slots, keys, said):
        used = Used("cosine", "lru", "append", "cpu", N // 2)
        before = used.memory.state_dict()
        with pytest.raises(ValueError, match=said):
            used.memory.move(torch.tensor(slots), keys, torch.ones(len(slots), 1))
        assert_same(before, used.memory.state_dict())

    def test_a_row_without_any_part_is_refused(self):
        used = Used("several", "lru", "append", "cpu")
        lacking = {name: torch.tensor([True, False]) for name in ("view", "place")}
        with pytest.raises(ValueError, match="no modality at all"):
            used.memory.lookup(keys(used.space, 2), present=lacking)

    def test_who_finds_nobody_uses_nobody(self):
        memory = DifferentiableNeuralDictionary(D, 1, 3, k=2)
        memory.write(torch.randn(3, D), torch.zeros(3, 1))
        score = memory.forgetting.score.clone()
        memory.lookup(torch.randn(1, D), exclude=torch.arange(3).unsqueeze(0))
        assert torch.equal(memory.forgetting.score, score) and memory.usage.hits.sum() == 0
        found = memory.lookup(torch.randn(1, D), exclude=torch.arange(2).unsqueeze(0))
        assert found.slots.tolist() == [[2, -1]] and memory.usage.hits.tolist() == [0, 0, 1]
        assert memory.forgetting.score.argmax() == 2


def test_what_is_told_has_its_shape_and_the_first_check_that_fails_is_raised():
    a, b = told([(torch.tensor(True), ValueError)], torch.arange(6).reshape(2, 3), torch.tensor(True))
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]] and b == 1 and told([]) == []
    checks = [
        (torch.tensor([True, held]), error) for held, error in ((True, KeyError), (False, OSError), (False, KeyError))
    ]
    with pytest.raises(OSError):
        told(checks)


@pytest.mark.parametrize("spread", [1, 3, 1000])
def test_a_pass_over_all_finds_the_weakest_that_the_candidates_give(spread):
    draw = torch.Generator().manual_seed(spread)
    for turn in range(30):
        score = torch.randint(0, spread, (90,), generator=draw).double()
        since = torch.randint(0, 4, (90,), generator=draw).double() if turn % 2 else None
        n = 1 + turn * 2
        by_pass, by_candidates = (kind(score, since).lowest(n, 80) for kind in (WeakestOfAll, WeakestEntries))
        assert by_pass.tolist() == by_candidates.tolist()
    assert WeakestOfAll(score).lowest(0, 80).tolist() == []
