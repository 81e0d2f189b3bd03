"""Actions of a Box, candidates, and the memory of (state, action), each beside a slow reference."""

import numpy as np
import pytest
import torch
from gymnasium import spaces

from engram_rl.agents.episodic_control.box_actions import BoxActions
from engram_rl.agents.episodic_control.candidates import Candidates
from engram_rl.agents.episodic_control.state_action_memory import StateActionMemory, with_action
from engram_rl.agents.episodic_control.states import WithinBounds, make_states
from engram_rl.memory import DifferentiableNeuralDictionary, KeySpace, Modality

LOW, HIGH = np.array([[-2.0, 0.0], [5.0, -1.0]]), np.array([[2.0, 10.0], [5.0, 1.0]])
BOX = spaces.Box(LOW.astype(np.float32), HIGH.astype(np.float32))  # one number has no choice


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_actions_are_numbers_from_minus_one_to_one_and_back():
    actions = BoxActions(BOX, "It")
    assert actions.size == 4
    given = np.stack([BOX.low, BOX.high, (BOX.low + BOX.high) / 2])
    expected = [[-1, -1, 0, -1], [1, 1, 0, 1], [0, 0, 0, 0]]
    assert actions.scaled(given).numpy() == pytest.approx(np.array(expected))
    assert actions.named(actions.scaled(given)) == pytest.approx(given)


def test_no_action_is_ever_beyond_its_bounds_not_even_by_rounding():
    space = spaces.Box(np.array([-0.1, 1e-3], np.float32), np.array([0.7, 3.3], np.float32))
    named = BoxActions(space, "It").named(torch.tensor([[1.0, 1.0], [-1.0, -1.0], [0.3, 2.0]]))
    assert named.dtype == np.float32
    assert all(space.contains(action) for action in named)


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (spaces.Discrete(3), r"It acts in a Box of numbers, but this environment has Discrete\(3\).*agent=nec"),
        (spaces.MultiDiscrete([2, 3]), "actions to choose among. Use an agent that chooses"),
        (spaces.Box(0, 4, (2,), np.int64), "acts in a Box of floating-point numbers.*TransformAction"),
        (spaces.Dict(a=spaces.Discrete(2)), "acts in a Box of floating-point numbers.*TransformAction"),
        (spaces.Box(-np.inf, 1, (2,)), "needs both bounds of every number.*number 0 .* between -inf and 1"),
    ],
)
def test_other_actions_are_refused_by_name_with_a_remedy(space, message):
    with pytest.raises(ValueError, match=message):
        BoxActions(space, "It")


def test_candidates_are_what_is_remembered_then_near_it_then_anywhere():
    remembered = torch.rand(5, 3, 2, generator=generator()) * 1.6 - 0.8
    valid = torch.ones(5, 3, dtype=torch.bool)
    asked = Candidates(3, 4, 0.05, 6)(remembered, valid, generator(1))
    assert asked.shape == (5, 3 + 4 * 3 + 6, 2) and asked.abs().max() <= 1
    assert torch.equal(asked[:, :3], remembered)
    noise = asked[:, 3:15].reshape(5, 4, 3, 2) - remembered.unsqueeze(1)
    assert 0.03 < noise.std() < 0.07 and noise.abs().max() < 0.3
    assert asked[:, 15:].abs().mean() == pytest.approx(0.5, abs=0.1)
    assert torch.equal(asked, Candidates(3, 4, 0.05, 6)(remembered, valid, generator(1)))
    assert not torch.equal(asked, Candidates(3, 4, 0.05, 6)(remembered, valid, generator(2)))


def test_where_nothing_is_remembered_a_uniform_draw_stands_for_it():
    nothing = Candidates(2, 1, 0.0, 0)(torch.zeros(200, 2, 1), torch.zeros(200, 2, dtype=torch.bool), generator())
    assert nothing[:, :2].std() == pytest.approx(2 / 12**0.5, abs=0.05)
    assert torch.equal(nothing[:, :2], nothing[:, 2:])


def filled(entries=40, k=5, weight=0.25, state=None):
    """A memory of three numbers of state and two of action, and what was written to it in float64."""
    space = with_action(state or KeySpace([Modality("state", 3)]), 2, weight)
    memory = StateActionMemory(DifferentiableNeuralDictionary(space, 1, 100, k), 2)
    drawn = torch.Generator().manual_seed(7)
    states, actions, values = (torch.randn(entries, size, generator=drawn) for size in (3, 2, 1))
    if entries:
        memory.write(states, actions, values[:, 0])
    return memory, states.double().numpy(), actions.double().numpy(), values[:, 0].double().numpy()


def test_a_state_alone_proposes_what_was_done_in_the_nearest_states_whatever_it_was():
    memory, states, actions, _ = filled()
    asked = torch.randn(6, 3, generator=generator(3))
    found = memory.similar(asked, 4, touch=False)
    where, done = memory.remembered(found)
    for row, state in enumerate(asked.double().numpy()):
        nearest = np.argsort(((states - state) ** 2).sum(1))[:4]
        assert where[row].numpy() == pytest.approx(states[nearest])
        assert done[row].numpy() == pytest.approx(actions[nearest])
    assert found.valid.all()


def test_values_are_the_kernel_regression_over_state_and_action():
    memory, states, actions, values = filled(weight=0.25)
    asked = torch.randn(4, 3, generator=generator(3))
    tried = 2 * torch.rand(4, 7, 2, generator=generator(4)) - 1
    said = memory.values(asked, tried)
    assert said.shape == (4, 7)
    for b in range(4):
        for c in range(7):
            state, action = asked[b].double().numpy(), tried[b, c].double().numpy()
            distance = ((states - state) ** 2).sum(1) + 0.25 * ((actions - action) ** 2).sum(1)
            nearest = np.argsort(distance)[:5]
            weights = 1 / (distance[nearest] + 1e-3)
            expected = (weights * values[nearest]).sum() / weights.sum()
            assert float(said[b, c]) == pytest.approx(expected, abs=1e-4)


def test_an_empty_memory_proposes_nothing_and_values_all_alike():
    memory, *_ = filled(entries=0)
    found = memory.similar(torch.zeros(2, 3), 4, touch=True)
    assert memory.remembered(found)[1].shape == (2, 4, 2) and not found.valid.any()
    assert (memory.values(torch.zeros(2, 3), torch.zeros(2, 5, 2)) == 0).all()


def test_states_of_several_modalities_go_beside_the_action():
    memory, states, actions, _ = filled(state=KeySpace([Modality("place", 2), Modality("speed", 1)]))
    _, done = memory.remembered(memory.similar(torch.from_numpy(states[8:9]).float(), 1, touch=False))
    assert done[0].numpy() == pytest.approx(actions[8:9])
    with pytest.raises(ValueError, match="has a part 'action', which is what the agent calls its own; rename it"):
        with_action(KeySpace([Modality("action", 2)]), 2, 1.0)


def test_numbers_with_bounds_lie_from_minus_one_to_one_and_others_are_as_they_are():
    space = spaces.Box(np.array([-8, 0, -np.inf], np.float32), np.array([8, 0.1, np.inf], np.float32))
    rows = WithinBounds(space)(torch.tensor([[-8.0, 0.1, 30.0], [4.0, 0.05, -2.0]]))
    assert rows.numpy() == pytest.approx(np.array([[-1, 1, 30], [0.5, 0, -2]]), abs=1e-6)


@pytest.mark.parametrize(
    ("space", "size"),
    [
        (spaces.Discrete(4), 4),
        (spaces.Dict(a=spaces.Box(-1, 1, (2,)), b=spaces.Discrete(3)), 5),
        (spaces.Box(0, 255, (40, 40, 3), np.uint8), 16),
    ],
)
def test_whatever_is_shown_becomes_a_key(space, size):
    states, keys = make_states(space, 16, None, seed=0)
    shown = space.sample()
    rows = {name: torch.as_tensor(part)[None] for name, part in shown.items()} if isinstance(shown, dict) else None
    assert states(torch.as_tensor(shown)[None] if rows is None else rows).shape == (1, size)
    assert keys.dim == size
