"""A state that was damaged, anywhere, is refused by the name of what is wrong, and nothing has been changed then."""

import math
from functools import reduce
from operator import getitem

import pytest
import torch

from engram_rl.memory import Decay, DifferentiableNeuralDictionary, Modality
from tests.memory.filled import assert_same


def made(**options):
    space = [Modality("view", 3), Modality("cell", 1, kind="discrete")]
    return DifferentiableNeuralDictionary(space, 2, 12, k=3, forgetting=Decay(50), links_per_entry=2, **options)


@pytest.fixture
def memory():
    torch.manual_seed(0)
    memory = made()
    parts = {"view": torch.randn(10, 3), "cell": torch.arange(10).unsqueeze(1)}
    slots = memory.write(parts, torch.randn(10, 2), torch.rand(10), torch.arange(10))
    memory.link(slots[:3], slots[3:6])
    memory.lookup({"view": torch.randn(4, 3)})
    memory.forget(slots[8:])
    return memory


def put(path, place, value):
    """Set one number of a tensor of the state."""

    def damage(state):
        reduce(getitem, path.split("."), state)[place] = value

    return damage


def cut(path):
    """Leave out the last row of a tensor of the state."""

    def damage(state):
        *outer, name = path.split(".")
        part = reduce(getitem, outer, state)
        part[name] = part[name][:-1]

    return damage


LARGE = 1.0001
DAMAGED = [
    (put("slots.alive", 0, False), "not those that are listed as free"),
    (put("slots.alive", 9, True), "not those that are listed as free"),
    (put("slots.holes", 0, 3), "not those that are listed as free"),
    (put("identities", 0, 7), "a saved identity has two slots"),
    (put("slots.generation", 0, 0), "counted less than once"),
    (put("slots.writes", 7, 0), "counted less than once"),
    *((put("rows", (0, 1), bad), "saved rows holds") for bad in (math.nan, math.inf, 1e14 * LARGE, -1e14 * LARGE)),
    (put("present", 2, False), "saved present holds"),
    *((put("values", (0, 1), bad), "saved values holds") for bad in (math.nan, -math.inf, 1e30 * LARGE)),
    *((put("forgetting.score", 0, bad), "saved forgetting.score holds") for bad in (math.nan, math.inf)),
    (put("forgetting.score", 9, 0.0), "saved forgetting.score holds"),
    *((put("forgetting.level", 0, bad), "saved forgetting.level holds") for bad in (math.nan, 2.0**62 * LARGE)),
    (put("forgetting.since", 0, -(2.0**62) * LARGE), "saved forgetting.since holds"),
    (put("usage.hits", 0, -1), "saved usage.hits holds"),
    (put("spread.count", 0, -1), "saved spread holds"),
    *((put("spread.squares", 0, bad), "saved spread holds") for bad in (math.nan, -1e-9)),
    (put("spread.mean", 0, 1e14 * LARGE), r"saved spread\.mean holds"),
    (put("spread.centre", 0, math.nan), r"saved spread\.mean holds"),
    (put("links.target", (0, 0), 10), "lead to other slots than the 10 saved"),
    (put("links.target", (0, 1), -2), "lead to other slots than the 10 saved"),
    (put("links.weight", (0, 0), -1.0), "weigh what none can"),
    (put("links.weight", (0, 0), 1e30 * LARGE), "weigh what none can"),
    (put("links.weight", (0, 0), math.nan), "weigh what none can"),
    (cut("links.kind"), "links are not of 10 slots"),
    (cut("links.source_generation"), "links are not of 10 slots"),
    *(
        (cut(name), rf"saved {name} is of 9 slots, rows are of 10")
        for name in ("codes", "present", "values", "identities", "slots.alive", "slots.generation", "usage.hits")
    ),
    (cut("forgetting.level"), "saved forgetting.level is of 9 slots"),
    (cut("forgetting.score"), "saved forgetting.score is of 9 slots"),
    (lambda state: state.pop("values"), "lacks values; it is incomplete"),
    (lambda state: state["slots"].pop("holes"), r"lacks slots\.holes; it is incomplete"),
    (lambda state: state.update(usage=3), "saved usage is 3"),
    (lambda state: state["forgetting"].update(now=-1.0), "expected a number of at least 0"),
    (lambda state: state["forgetting"].update(uses=True), "expected a number of at least 0"),
    (lambda state: state["forgetting"].update(now=2**62), "expected a number of at least 0"),
    (lambda state: state.update(values=state["values"][:, :1]), r"shape \[10, 1\], expected \['used', 2\]"),
    (lambda state: state.update(present=state["present"].int()), "expected a tensor of torch.bool"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGED, ids=range(len(DAMAGED)))
def test_damage_is_refused_by_name_before_anything_is_changed(memory, damage, message):
    state, twin = memory.state_dict(), made()
    twin.write({"view": torch.ones(1, 3), "cell": torch.ones(1, 1, dtype=torch.int64)}, torch.ones(1, 2))
    before = twin.state_dict()
    damage(state)
    with pytest.raises(ValueError, match=message):
        twin.load_state_dict(state)
    assert_same(twin.state_dict(), before)


@pytest.mark.parametrize(
    ("path", "place", "value"),
    [
        ("values", (0, 1), 1e30),
        ("rows", (0, 1), 1e14),
        ("links.weight", (0, 0), 1e30),
        ("links.target", (0, 0), 9),
        ("links.target", (0, 0), -1),
        ("forgetting.since", 0, 2.0**62),
        ("identities", 0, -1),
    ],
)
def test_what_lies_on_a_limit_is_taken(memory, path, place, value):
    state, twin = memory.state_dict(), made()
    put(path, place, value)(state)
    twin.load_state_dict(state)
    taken = reduce(getitem, path.split("."), twin.state_dict())
    assert taken[place] == torch.tensor(value, dtype=taken.dtype)


def test_a_state_of_more_slots_than_there_are_is_refused(memory):
    small = DifferentiableNeuralDictionary(
        [Modality("view", 3), Modality("cell", 1, kind="discrete")], 2, 9, forgetting=Decay(50), links_per_entry=2
    )
    with pytest.raises(ValueError, match="10 slots were saved and the capacity is 9; raise the capacity"):
        small.load_state_dict(memory.state_dict())
    exact = made()
    exact.load_state_dict(memory.state_dict())
    assert len(exact) == 8


def test_under_another_policy_the_order_is_kept_the_weakest_first_and_priorities_as_they_were(memory):
    memory.lookup({"view": memory.key_vectors[:1, :3]}, k=1)
    other = DifferentiableNeuralDictionary(
        [Modality("view", 3), Modality("cell", 1, kind="discrete")], 2, 12, forgetting="priority", links_per_entry=2
    )
    other.load_state_dict(memory.state_dict())
    level = memory.forgetting.level[:8]
    assert other.forgetting.level[:8].tolist() == pytest.approx(level.tolist(), rel=1e-6)
    assert other.forgetting.score[:8].tolist() == pytest.approx(level.tolist(), rel=1e-6)
