"""Every option has the default that is published of it, what is frozen stays, and a limit is the last that is taken."""

import inspect
import math
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
import torch

from engram_rl.memory import (
    Append,
    AutoIndex,
    Blend,
    CachedIndex,
    Confidence,
    Decay,
    DifferentiableNeuralDictionary,
    FirstInFirstOut,
    Gaussian,
    InverseDistance,
    IVFIndex,
    Keys,
    Last,
    LeastRecentlyUsed,
    Max,
    Modality,
    Priority,
    RandomProjection,
    RecursivePooling,
    Reencoder,
    RowRMSprop,
    RowSGD,
    RunningMean,
    SlowCopy,
    SurpriseGated,
    Uniform,
    WriteContext,
    WrittenRows,
)
from engram_rl.memory.gymnasium import MemoryVectorWrapper, MemoryWrapper
from engram_rl.memory.indexes import INDEXES, make_index
from engram_rl.memory.links import Links, Reached
from engram_rl.memory.reading import KERNELS, Found, make_kernel
from engram_rl.memory.writing.batch import Batch, Placed, Rivals
from engram_rl.memory.writing.rules import WRITE_RULES, make_write_rule

NONE = inspect.Parameter.empty
DEFAULTS = {
    DifferentiableNeuralDictionary: {
        "k": 50,
        "index": "exact",
        "kernel": InverseDistance(),
        "write_rule": "append",
        "forgetting": "lru",
        "match_within": None,
        "links_per_entry": 8,
        "device": "cpu",
        "dtype": torch.float32,
    },
    DifferentiableNeuralDictionary.lookup: {
        "k": None,
        "touch": True,
        "exclude": None,
        "present": None,
        "references": None,
    },
    DifferentiableNeuralDictionary.write: {"priority": None, "identity": None, "present": None},
    DifferentiableNeuralDictionary.move: {"keys": None, "values": None},
    DifferentiableNeuralDictionary.contradict: {"factor": 0.0},
    DifferentiableNeuralDictionary.link: {"weight": 1.0, "kind": 0},
    DifferentiableNeuralDictionary.follow: {"steps": 1, "kind": None},
    DifferentiableNeuralDictionary.tick: {"amount": 1},
    DifferentiableNeuralDictionary.describe: {"most_used": 5},
    Links: {"per_source": 8},
    Links.add: {"weights": 1.0, "kinds": 0},
    Links.follow: {"steps": 1, "kind": None, "width": 64},
    Links.spread: {"activation": None, "steps": 3, "decay": 0.5, "kind": None, "width": 64},
    RowSGD: {"lr": 1e-3, "value_lr": None},
    RowRMSprop: {"lr": 1e-5, "value_lr": None, "alpha": 0.9, "eps": 0.01},
    Reencoder: {"dtype": torch.float32, "modality": None},
    Reencoder.refresh: {"rows": 256},
    Modality: {"size": 1, "kind": "l2", "weight": 1.0, "penalty": None},
    InverseDistance: {"delta": 1e-3},
    Gaussian: {"bandwidth": 1.0},
    Blend: {"alpha": 0.1},
    SurpriseGated: {"keep": 0.5},
    Decay: {"unit": "writes", "durability": 0.5, "most": 8.0, "threshold": 0.0},
    Confidence: {"lost_decay": 0.8},
    IVFIndex: {"lists": None, "probes": 20, "start": 50_000, "target": 0.95, "check_every": 64},
    AutoIndex: {"start": 100_000},
    CachedIndex: {"most": 4096},
    RandomProjection: {"seed": 0},
    RecursivePooling: {"rule": "majority", "scales": None},
    SlowCopy: {"rate": 0.01},
    MemoryWrapper: {"key": None, "discount": 0.99},
    MemoryVectorWrapper: {"key": None, "discount": 0.99},
}


@pytest.mark.parametrize("call", DEFAULTS, ids=lambda call: call.__qualname__)
def test_an_option_that_is_left_out_has_its_published_default(call):
    parameters = inspect.signature(call).parameters.values()
    assert {one.name: one.default for one in parameters if one.default is not NONE} == DEFAULTS[call]


def test_parts_by_name_are_those_with_their_defaults():
    for kinds, make in ((KERNELS, make_kernel), (WRITE_RULES, make_write_rule)):
        assert all(make(name) == kind() for name, kind in kinds.items())
    assert all(type(make_index(name)) is kind for name, kind in INDEXES.items())
    assert not Append().matches and all(rule.matches for rule in (Blend(), Last(), Max(), RunningMean()))
    assert SurpriseGated().matches and SurpriseGated().blames
    rate = Priority()
    assert rate.half_life == math.inf and rate.durability == 0 and rate.settings() == {}
    assert [kind.by_use for kind in (LeastRecentlyUsed, FirstInFirstOut, Confidence, Decay, Priority)] == [
        False,
        False,
        False,
        True,
        True,
    ]


KEYS = Keys(torch.zeros(1, 2), torch.zeros(1, 0, dtype=torch.int64), torch.ones(1, 1, dtype=torch.bool))
ONE = torch.zeros(1)
EMPTY = np.zeros(0)
ROWS = WrittenRows(ONE, ONE, ONE, KEYS, ONE)
FROZEN = [
    Modality("a"),
    KEYS,
    InverseDistance(),
    Gaussian(),
    Uniform(),
    *(kind() for kind in WRITE_RULES.values()),
    WriteContext(ONE, ONE, ONE),
    ROWS,
    Batch(KEYS, ONE, ONE, None),
    Placed(ONE, ROWS, None, EMPTY, ONE, ONE, None, EMPTY, EMPTY),
    Rivals(EMPTY, EMPTY, None, 0.0),
    Reached(ONE, ONE),
    Found(ONE, ONE, ONE, ONE, ONE, ONE, None, ONE),
]


@pytest.mark.parametrize("one", FROZEN, ids=lambda one: type(one).__name__)
def test_what_is_made_once_stays_as_it_was_made(one):
    for name in [*vars(one), "anything"]:
        with pytest.raises(FrozenInstanceError):
            setattr(one, name, None)


def dictionary(space=2, capacity=4, **options):
    return DifferentiableNeuralDictionary(space, 1, capacity, **options)


def linked(**walk):
    made = dictionary()
    slots = made.write(torch.eye(2), torch.zeros(2, 1))
    made.link(slots[:1], slots[1:], **{name: walk.pop(name) for name in ("weight",) if name in walk})
    return made.links.follow(slots, **walk)


def stepped(gradient):
    made = dictionary()
    made.write(torch.eye(2), torch.zeros(2, 1))
    found = made.lookup(torch.zeros(1, 2))
    found.value.sum().backward()
    found.keys.grad[0, 0, 0] = gradient
    RowSGD(made, lr=1e-15).step(found)


LIMITS = {
    "k is": (lambda x: dictionary(k=x), [(1, 0), (2**20, 2**20 + 1)]),
    "capacity is": (lambda x: dictionary(capacity=x), [(1, 0)]),
    "value_dim is": (lambda x: DifferentiableNeuralDictionary(2, x, 4), [(1, 0)]),
    "links_per_entry is": (lambda x: dictionary(links_per_entry=x), [(1, 0), (1024, 1025)]),
    "match_within is": (lambda x: dictionary(match_within=x, write_rule="last"), [(0, -1e-9)]),
    "steps is": (lambda x: linked(steps=x), [(1, 0), (9, 10_001)]),
    "width is": (lambda x: linked(width=x), [(1, 0)]),
    "weight of a link is": (lambda x: linked(weight=x), [(1e-9, 0)]),
    "weights of links": (lambda x: linked(weight=torch.tensor([x])), [(1e-9, 0.0), (1e30, 2e30)]),
    "size of modality": (lambda x: Modality("a", x), [(1, 0), (2**24, 2**24 + 1)]),
    "weight of modality": (lambda x: Modality("a", weight=x), [(1e-20, 9e-21), (1e20, 1.1e20), (1.0, 0)]),
    "penalty of modality": (lambda x: Modality("a", penalty=x), [(0, -1), (1e30, 1.1e30)]),
    "penalty of modality 'a'": (lambda x: Modality("a", weight=100.0, penalty=x), [(1e28, 1.1e28)]),
    "penalty of modality 'a' ": (lambda x: Modality("a", weight=0.01, penalty=x), [(1e30, 1.1e30)]),
    "delta is": (InverseDistance, [(1e-15, 9e-16), (1e15, 1.1e15)]),
    "bandwidth is": (Gaussian, [(1e-15, 9e-16), (1e15, 1.1e15)]),
    "alpha is": (Blend, [(1e-9, 0), (1, 1.001)]),
    "keep is": (SurpriseGated, [(0, -1e-9), (0.999, 1)]),
    "half_life is": (Decay, [(1e-6, 9e-7), (math.inf, -1)]),
    "durability is": (lambda x: Decay(1.0, durability=x), [(0, -1e-9), (1000, 1000.1)]),
    "most is": (lambda x: Decay(1.0, most=x), [(-1000, -1000.1), (1000, 1000.1)]),
    "threshold is": (lambda x: Decay(1.0, threshold=x), [(0, -1e-9), (1e30, 1.1e30)]),
    "lost_decay is": (Confidence, [(0, -1e-9), (1, 1.001)]),
    "lists is": (lambda x: IVFIndex(lists=x), [(1, 0)]),
    "probes is": (lambda x: IVFIndex(probes=x), [(1, 0)]),
    "start is": (lambda x: IVFIndex(start=x), [(1, 0)]),
    "start is ": (lambda x: IVFIndex(start=x, lists=7), [(7, 6)]),
    "target is": (lambda x: IVFIndex(target=x), [(0, -1e-9), (1, 1.001)]),
    "check_every is": (lambda x: IVFIndex(check_every=x), [(0, -1)]),
    "start is  ": (lambda x: AutoIndex(start=x), [(1, 0)]),
    "most is ": (CachedIndex, [(1, 0)]),
    "lr is": (lambda x: RowSGD(dictionary(), lr=x), [(0, -1e-9)]),
    "value_lr is": (lambda x: RowSGD(dictionary(), value_lr=x), [(0, -1e-9)]),
    "alpha is ": (lambda x: RowRMSprop(dictionary(), alpha=x), [(0, -1e-9), (0.999, 1)]),
    "eps is": (lambda x: RowRMSprop(dictionary(), eps=x), [(1e-9, 0)]),
    "a gradient is": (stepped, [(1e15, 1.1e15), (-1e15, -1.1e15)]),
    "sizes must": (lambda x: RandomProjection(x, 1), [(1, 0)]),
    "sizes must ": (lambda x: RandomProjection(1, x), [(1, 0)]),
    "rate is": (lambda x: SlowCopy(torch.nn.Identity(), x), [(1e-9, 0), (1, 1.001)]),
    "scales is": (lambda x: RecursivePooling((5, 8), scales=x), [(1, 0), (4, 5)]),
    "a grid has": (lambda x: RecursivePooling((3,) * x), [(2, 1), (3, 4)]),
    "a grid has ": (lambda x: RecursivePooling((2, x)), [(1, 0)]),
    "factor is": (
        lambda x: dictionary(forgetting=Decay(1.0)).contradict(torch.tensor([-1]), x),
        [(0, -1e-9), (0.999, 1)],
    ),
    "amount is": (lambda x: dictionary().tick(x), [(0, -1e-9)]),
    "most_used is": (lambda x: dictionary().describe(x), [(0, -1)]),
}


@pytest.mark.parametrize("name", LIMITS)
def test_the_limit_itself_is_taken_and_what_is_beyond_refused_by_name(name):
    call, limits = LIMITS[name]
    for within, beyond in limits:
        call(within)
        with pytest.raises(ValueError, match=name.strip()):
            call(beyond)


def test_the_limits_of_keys_values_and_priorities_are_those_that_are_said():
    made = dictionary(1)
    for key, value, priority in ((1e14, 1e30, 1e30), (-1e14, -1e30, 0.0)):
        made.write(torch.tensor([[key]]), torch.tensor([[value]]), torch.tensor([priority]))
    slots = made.slots
    made.move(slots, torch.full((2, 1), -1e14), torch.full((2, 1), 1e30))
    far, much = torch.tensor([[1.01e14]]), torch.tensor([[1.01e30]])
    for call, message in (
        (lambda: made.write(far, much * 0), r"'key' has a value that is NaN, infinite or above 1e\+14"),
        (lambda: made.write(far * 0, -much), r"a value is NaN, infinite or above 1e\+30"),
        (lambda: made.write(far * 0, much * 0, much[0]), r"priority holds 1.01.*at most 1e\+30"),
        (lambda: made.write(far * 0, much * 0, torch.tensor([-1e-9])), "at least 0"),
        (lambda: made.move(slots[:1], keys=-far), r"keys would become NaN, infinite or larger than 1e\+14"),
        (lambda: made.move(slots[:1], values=much), r"values would become NaN, infinite or larger than 1e\+30"),
        (lambda: made.write(far * torch.nan, much * 0), "NaN"),
        (lambda: made.move(slots[:1], keys=far * torch.nan), "NaN"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    heavy = dictionary([Modality("a", 1, weight=1e4), Modality("b", 1, weight=1e-4)])
    heavy.write({"a": torch.tensor([[1e12]]), "b": torch.tensor([[1e14]])}, torch.zeros(1, 1))
    with pytest.raises(ValueError, match=r"'a' has a value that is NaN, infinite or above 1e\+12"):
        heavy.write({"a": torch.tensor([[1.01e12]])}, torch.zeros(1, 1))
    with pytest.raises(ValueError, match=r"keys would become NaN, infinite or larger than 1e\+12"):
        heavy.move(torch.tensor([0]), keys=torch.tensor([[1.01e12, 0.0]]))
    heavy.move(torch.tensor([0]), keys=torch.tensor([[1e12, 1e14]]))
