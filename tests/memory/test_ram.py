"""Nothing is allocated for which a machine has no room, and what is asked about is what will be taken."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.common.observations import require_rows, space_bytes
from engram_rl.agents.common.perceptron import linear
from engram_rl.agents.common.replay import Replay
from engram_rl.agents.episodic_control.action_memories import make_memories
from engram_rl.agents.episodic_control.returns import NStepReturns
from engram_rl.agents.goal_directed.perceptron import Perceptron
from engram_rl.agents.goal_directed.visits import EpisodeVisits
from engram_rl.agents.policy_gradient.policies import make_memory_core
from engram_rl.memory import (
    Confidence,
    Decay,
    DifferentiableNeuralDictionary,
    KeySpace,
    Modality,
    RandomProjection,
    TransitionMemory,
    checks,
)
from engram_rl.memory.cores import GRU

PARTS = KeySpace([Modality("view", 30), Modality("place", 2), Modality("goal", 1, kind="discrete")])
CPU = torch.device("cpu")


def taken_by(*things):
    """Bytes of the arrays among these, and among the attributes of those that are none; views take no more."""
    flat = [one for thing in things for one in ([thing] if isinstance(thing, torch.Tensor) else vars(thing).values())]
    storages = [one.untyped_storage() for one in flat if isinstance(one, torch.Tensor)]
    tensors = {storage.data_ptr(): storage.nbytes() for storage in storages}
    return sum(tensors.values()) + sum(one.nbytes for one in flat if isinstance(one, np.ndarray))


@pytest.mark.parametrize("space", [KeySpace(64), PARTS])
@pytest.mark.parametrize("forgetting", ["lru", Decay(10.0), Confidence()])
def test_a_dictionary_takes_what_it_says(space, forgetting):
    made = DifferentiableNeuralDictionary(space, 3, 20_000, forgetting=forgetting)
    parts = (made.store, made.values, made.slot_table, made.identities, made.usage, made.forgetting)
    assert taken_by(*parts) <= made.nbytes <= 1.3 * taken_by(*parts)


def dictionary(**options):
    return DifferentiableNeuralDictionary(8, 1, 1000, **options)


def linked():
    made = dictionary(links_per_entry=100)
    slots = made.write(torch.eye(8)[:2], torch.ones(2, 1))
    made.link(slots[:1], slots[1:])


def replay():
    Replay(1000, torch.Generator()).add({"observation": np.zeros((2, 30), np.float32)})


TAKES = {
    "capacity=1000 of keys of 8": (dictionary, 1000 * (4 * (8 + 1) + 65)),
    "links_per_entry=100 links from each of 1000": (linked, 1000 * (13 * 100 + 4)),
    "keys of 8 numbers for each of 5": (
        lambda: make_memories(lambda *args, **more: dictionary(), KeySpace(8), 5, CPU), 5 * 1000 * (4 * (8 + 1) + 65)
    ),
    "capacity=1000 states of 2": (lambda: TransitionMemory(2, 5, capacity=1000), 1000 * (4 * 2 + 41 + 33 * 5)),
    "projection of 50 numbers to keys of 300": (lambda: RandomProjection(50, 300), 4 * 50 * 300),
    "a layer of 300 units over 50": (lambda: linear(50, 300), 4 * 51 * 300),
    "core of 64 units": (lambda: make_memory_core(GRU, 20, 64, 1), 4 * 3 * 64 * (20 + 64 + 2)),
    r"layers of \[20, 64, 4\]": (
        lambda: Perceptron([20, 64, 4], np.random.default_rng(0), 1e-3), 5 * 4 * (21 * 64 + 65 * 4)
    ),
    "n_step=100": (lambda: NStepReturns(100, 0.9, 8), 8 * (100 * 100 + 2 * 8 * 100)),
    "capacity 1000 of rows of 120": (replay, 1000 * 120),
    "5 actions in 1000 states of 8": (lambda: EpisodeVisits(1000, 5, 8), 8 * 1000 * (4 * 5 + 4)),
    "frames of 7 bytes": (lambda: require_rows("frames", 10, 7, "take fewer"), 70),
}  # fmt: skip
"""By what their error says: what takes room, and how many bytes."""


@pytest.mark.parametrize(("what", "make", "size"), [(what, *case) for what, case in TAKES.items()], ids=list(TAKES))
def test_what_fits_is_made_and_what_does_not_is_refused_with_a_remedy(monkeypatch, what, make, size):
    monkeypatch.setattr(checks, "ram", lambda device: size)
    make()
    monkeypatch.setattr(checks, "ram", lambda device: size - 1)
    with pytest.raises(ValueError, match=rf"{what}.* would take .* GiB, more than the .* GiB .*; (lower|take)"):
        make()


def test_what_is_refused_has_taken_nothing(monkeypatch):
    memory = dictionary(links_per_entry=100)
    slots = memory.write(torch.eye(8)[:2], torch.ones(2, 1))
    before = str(memory.state_dict())
    monkeypatch.setattr(checks, "ram", lambda device: 1000)
    with pytest.raises(ValueError, match="links_per_entry"):
        memory.link(slots[:1], slots[1:])
    assert str(memory.state_dict()) == before


def test_a_state_table_takes_what_its_memory_says():
    made = TransitionMemory(2, 5, capacity=1 << 12)
    assert taken_by(made, made.states, made.table) <= (1 << 12) * (4 * 2 + 41 + 33 * 5) + taken_by(made.movements) * 2


def test_the_bytes_of_an_observation_are_those_of_its_parts():
    space = spaces.Dict(a=spaces.Box(0, 1, (3, 2), np.float32), b=spaces.Discrete(4), c=spaces.MultiDiscrete([2, 3]))
    assert space_bytes(space) == 3 * 2 * 4 + 8 + 2 * 8


def test_a_container_that_grants_less_is_believed(monkeypatch, tmp_path):
    installed = checks.ram.__wrapped__(CPU)
    granted = tmp_path / "memory.max"
    monkeypatch.setattr(checks, "CONTAINERS", (str(tmp_path / "none"), str(granted)))
    for told, expected in (("max", installed), ("12345678\n", 12345678), (str(2**62), installed)):
        granted.write_text(told)
        assert checks.ram.__wrapped__(CPU) == expected
