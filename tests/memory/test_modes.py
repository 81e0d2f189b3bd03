"""In whatever mode a memory is called: it answers as it would outside, and what it keeps and gives can be changed."""

from contextlib import contextmanager

import pytest
import torch

from engram_rl.memory import Decay, DifferentiableNeuralDictionary, Modality, Reencoder, RowRMSprop
from engram_rl.memory.indexes.exact import nearest
from engram_rl.memory.modes import in_own_mode
from engram_rl.memory.sharded import ShardedMemory

SPACE = [Modality("view", 3, kind="cosine"), Modality("place", 2), Modality("act", kind="discrete")]


@contextmanager
def lower_precision():
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


MODES = {
    "inference": torch.inference_mode,
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "precision": lower_precision,
}


def tensors_in(part, seen=None):
    """All tensors that something holds, however deep."""
    seen = {} if seen is None else seen
    if id(part) in seen or isinstance(part, type):
        return
    seen[id(part)] = part
    if isinstance(part, torch.Tensor):
        yield part
    elif isinstance(part, dict | list | tuple):
        for one in part.values() if isinstance(part, dict) else part:
            yield from tensors_in(one, seen)
    else:
        yield from tensors_in(getattr(part, "__dict__", {}), seen)


def parts(n, seed):
    draw = torch.Generator().manual_seed(seed)
    return {
        "view": torch.randn(n, 3, generator=draw),
        "place": torch.randn(n, 2, generator=draw) + 5,
        "act": torch.randint(2, (n, 1), generator=draw),
    }


def lived(kind):
    """A full memory that has forgotten something, under a policy that keeps candidates."""
    options = {"k": 4, "write_rule": "blend", "forgetting": Decay(40.0, threshold=1e-3)}
    made = ShardedMemory(SPACE, 2, 40, shards=2, where="here", **options)
    memory = made if kind == "sharded" else DifferentiableNeuralDictionary(SPACE, 2, 40, **options)
    for seed in range(3):
        memory.write(parts(30, seed), torch.randn(30, 2), identity=torch.arange(30) + 20 * seed)
    memory.forget(memory.find(torch.tensor([60, 61])))
    return memory, memory.find(torch.arange(64, 70))


KINDS = {DifferentiableNeuralDictionary: "one", ShardedMemory: "sharded"}
CALLS = {
    "lookup": lambda m, s: m.lookup(
        parts(3, 9), references="all", present={"place": torch.tensor([True, False, True])}
    ),
    "find": lambda m, s: m.find(torch.arange(90)),
    "follow": lambda m, s: m.follow(s),
    "same_entries": lambda m, s: m.same_entries(m.lookup(parts(3, 9))),
    "write": lambda m, s: m.write(parts(9, 5), torch.ones(9, 2), identity=torch.arange(84, 93)),
    "move": lambda m, s: m.move(s, torch.ones(6, 5), torch.ones(6, 2)),
    "forget": lambda m, s: m.forget(s),
    "contradict": lambda m, s: m.contradict(s, 0.5),
    "link": lambda m, s: m.link(s[:3], s[3:]),
    "tick": lambda m, s: m.tick(3),
    "strength": lambda m, s: m.strength(s),
    "touch": lambda m, s: m.touch(s),
    "values": lambda m, s: m.values[s],
    "state_dict": lambda m, s: m.state_dict(),
    "load_state_dict": lambda m, s: m.load_state_dict(lived(KINDS[type(m)])[0].state_dict()),
    "describe": lambda m, s: m.describe(),
    "to_arrays": lambda m, s: m.to_arrays(),
    "alive": lambda m, s: m.alive,
    "generation": lambda m, s: m.generation,
}
ELSEWHERE = {"save", "load", "to_pandas", "close", "optimised_by", "stepped"}


def test_every_method_is_called_below():
    for kind in (DifferentiableNeuralDictionary, ShardedMemory):
        methods = {name for name, one in vars(kind).items() if not name.startswith("_") and callable(one)}
        assert methods - ELSEWHERE <= set(CALLS)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("kind", ["one", "sharded"])
def test_a_method_does_in_any_mode_what_it_does_outside(kind, name, mode):
    if not hasattr(ShardedMemory if kind == "sharded" else DifferentiableNeuralDictionary, name):
        pytest.skip("it has no such method")
    answers = []
    for inside in (False, True):
        torch.manual_seed(0)
        memory, slots = lived(kind)
        with torch.no_grad():
            if inside:
                with MODES[mode]():
                    answer = CALLS[name](memory, slots)
            else:
                answer = CALLS[name](memory, slots)
            assert not any(one.is_inference() for one in tensors_in([memory, answer]))
            found = memory.lookup(parts(4, 7))  # and it goes on alike
            memory.link(found.slots[:, 0], found.slots[:, 1])
            later = memory.write(parts(9, 8), torch.ones(9, 2), identity=torch.arange(80, 89))
            answers.append([*tensors_in([answer, found, later, memory.follow(found.slots[:, 0])])])
    for one, other in zip(*answers, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("mode", MODES)
def test_links_spread_in_any_mode_what_they_do_outside(mode):
    memory, slots = lived("one")
    memory.link(slots[:3], slots[3:], torch.tensor([0.3, 0.7, 1.1]))
    with MODES[mode]():
        inside = memory.links.spread(slots.unsqueeze(0), torch.full((1, 6), 0.123))
        memory.links.add(slots[:1], slots[1:2])
    outside = memory.links.spread(slots.unsqueeze(0), torch.full((1, 6), 0.123))
    assert not any(one.is_inference() for one in tensors_in([memory, inside, outside]))
    assert outside.weights.shape == inside.weights.shape == (1, 6) and not torch.equal(outside.weights, inside.weights)


@pytest.mark.parametrize("mode", MODES)
def test_what_learns_is_made_and_steps_in_any_mode_as_outside(mode):
    states = []
    for inside in (False, True):
        torch.manual_seed(0)
        memory, slots = lived("one")
        found = memory.lookup(parts(3, 9))
        leaves = [found.keys, found.values]
        for leaf, gradient in zip(
            leaves, torch.autograd.grad(found.value.square().sum(), leaves, create_graph=True), strict=True
        ):
            leaf.grad = gradient
        with MODES[mode]() if inside else torch.enable_grad():
            optimiser = RowRMSprop(memory, lr=0.1)
            keeper = Reencoder(memory, lambda x: x[:, :2] * 3, (3,), modality="place")
            keeper.remember(slots, torch.ones(6, 3))
            optimiser.step(found)
            keeper.refresh()
        held = [*tensors_in([memory, optimiser, keeper])]
        assert not any(one.is_inference() or one.requires_grad for one in held)
        again = memory.lookup(parts(3, 9))
        again.value.square().sum().backward()
        optimiser.step(again)
        keeper.remember(slots, torch.ones(6, 3))
        states.append([*tensors_in([memory.state_dict(), optimiser.state_dict(), keeper.state_dict()])])
    for one, other in zip(*states, strict=True):
        assert torch.equal(one, other)


def test_no_graph_is_kept_of_what_only_is_looked_for_counted_or_encoded():
    memory, slots = lived("one")
    query = {name: part.requires_grad_(part.is_floating_point()) for name, part in parts(3, 9).items()}
    near = nearest(memory.store, memory.index, memory.store.pack(query), 2, memory.slot_table)
    assert not near.distances.requires_grad
    memory.lookup(query).value.sum().backward()
    graphs = []

    def encode(observations):
        graphs.append(torch.is_grad_enabled())
        return observations

    keeper = Reencoder(memory, encode, (2,), modality="place")
    keeper.remember(slots, torch.ones(6, 2, requires_grad=True))
    keeper.refresh()
    assert graphs == [False]
    state = memory.state_dict()
    for part in tensors_in(state):
        part.requires_grad_(part.is_floating_point())
    memory.load_state_dict(state)
    assert not any(one.requires_grad for one in tensors_in([memory, keeper]))


class Watching:
    """Says in which modes it is."""

    @in_own_mode
    def modes(self, fail=False):
        """Its own."""
        if fail:
            raise KeyError
        rounding = [torch.is_autocast_enabled(device) for device in ("cpu", "cuda")]
        precision = torch.get_float32_matmul_precision()
        return torch.is_inference_mode_enabled(), torch.is_grad_enabled(), *rounding, precision


OWN = (False, True, False, False, "highest")


def test_a_method_in_its_own_mode_is_in_no_other_and_leaves_those_of_its_caller():
    watching = Watching()
    assert watching.modes() == OWN and Watching.modes.__name__ == "modes" and Watching.modes.__doc__ == "Its own."
    with torch.no_grad():
        assert watching.modes() == (False, False, False, False, "highest")
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert watching.modes() == (False, False, False, False, "highest")
        assert torch.is_inference_mode_enabled() and torch.is_autocast_enabled("cpu")
    for precision in ("high", "medium"):
        torch.set_float32_matmul_precision(precision)
        try:
            assert watching.modes() == OWN and torch.get_float32_matmul_precision() == precision
            with pytest.raises(KeyError):
                watching.modes(fail=True)
            assert torch.get_float32_matmul_precision() == precision
        finally:
            torch.set_float32_matmul_precision("highest")
    for device in ("cpu", "cuda"):
        torch.set_autocast_enabled(device, True)
        try:
            assert watching.modes() == OWN and torch.is_autocast_enabled(device)
        finally:
            torch.set_autocast_enabled(device, False)
