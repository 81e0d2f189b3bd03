"""The plane through what is remembered, beside a slow reference, and what is made of it."""

import numpy as np
import pytest
import torch

from engram_rl.agents.episodic_control.regressions import LocalLinearRegression, plane, tricube
from engram_rl.agents.episodic_control.state_action_memory import StateActionMemory, with_action
from engram_rl.memory import DifferentiableNeuralDictionary, KeySpace, Modality


def reference(columns, values, weights, ridge):
    """Height and slopes of one plane, by loops over the normal equations of the scaled columns."""
    k, P = columns.shape
    middle = [sum(weights[i] * columns[i, p] for i in range(k)) for p in range(P)]
    unit = [np.sqrt(sum(weights[i] * (columns[i, p] - middle[p]) ** 2 for i in range(k))) for p in range(P)]
    mean = sum(weights[i] * values[i] for i in range(k))
    moments, towards = ridge * np.eye(P), np.zeros(P)
    for i in range(k):
        scaled = [(columns[i, p] - middle[p]) / unit[p] for p in range(P)]
        towards += weights[i] * np.array(scaled) * (values[i] - mean)
        moments += weights[i] * np.outer(scaled, scaled)
    slopes = np.linalg.inv(moments) @ towards / unit
    return mean - sum(slopes * middle), slopes


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e5])
@pytest.mark.parametrize("offset", [0.0, 30.0])
def test_a_plane_is_the_weighted_ridge_regression_of_scaled_columns(scale, offset):
    drawn = np.random.default_rng(3)
    columns = scale * (drawn.normal(size=(4, 12, 3)) + offset)
    values, weights = drawn.normal(size=(4, 12)) * 50 - 7, drawn.dirichlet(np.ones(12), 4)
    heights, slopes = plane(*(torch.from_numpy(part) for part in (columns, values, weights)), 0.3)
    for b in range(4):
        height, slope = reference(columns[b], values[b], weights[b], 0.3)
        assert float(heights[b]) == pytest.approx(height, rel=1e-6)
        assert slopes[b].numpy() == pytest.approx(slope, rel=1e-6)


def test_a_linear_function_is_found_again_whatever_the_weights():
    drawn = torch.Generator().manual_seed(0)
    columns, slope = torch.randn(2, 30, 4, generator=drawn), torch.tensor([2.0, -1.0, 0.0, 5.0])
    weights = torch.rand(2, 30, generator=drawn).double()
    height, slopes = plane(columns, columns @ slope + 3, weights / weights.sum(1, keepdim=True), 1e-9)
    assert height.numpy() == pytest.approx(3, abs=1e-5)
    assert slopes.numpy() == pytest.approx(np.tile(slope, (2, 1)), abs=1e-5)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6])
def test_a_column_that_does_not_vary_has_no_slope_and_changes_nothing(constant):
    drawn = torch.Generator().manual_seed(1)
    columns, values = torch.randn(3, 9, 2, generator=drawn), torch.randn(3, 9, generator=drawn)
    weights = tricube(torch.rand(3, 9, generator=drawn), torch.ones(3, 9, dtype=torch.bool))
    alone = plane(columns, values, weights, 0.1)
    beside = plane(torch.cat([columns, torch.full((3, 9, 1), constant)], dim=2), values, weights, 0.1)
    assert torch.allclose(beside[0], alone[0]) and torch.allclose(beside[1][:, :2], alone[1])
    assert (beside[1][:, 2] == 0).all()


@pytest.mark.parametrize("value", [0.0, 0.1, -1 / 3, 1e9])
def test_equal_values_have_no_slope(value):
    drawn = torch.Generator().manual_seed(1)
    weights = tricube(torch.rand(50, 9, generator=drawn), torch.ones(50, 9, dtype=torch.bool))
    height, slopes = plane(torch.randn(50, 9, 2, generator=drawn), torch.full((50, 9), value), weights, 0.1)
    assert (slopes == 0).all() and height.numpy() == pytest.approx(np.full(50, np.float32(value)))


def test_weights_are_tricube_over_the_distance_and_fall_to_nothing():
    valid = torch.tensor([[True, True, True, False], [True, True, False, False], [False] * 4])
    weights = tricube(torch.tensor([[0.0, 1.0, 4.0, 0.0], [9.0, 9.0, 0.0, 0.0], [0.0] * 4]), valid)
    first = np.array([1.0, (1 - 0.5**3) ** 3, 0.0, 0.0])
    assert weights.numpy() == pytest.approx(np.array([first / first.sum(), [0.5, 0.5, 0, 0], [0] * 4]))


def test_weights_sum_to_one_however_alike_the_distances_are():
    far = np.array([[0.81, 0.9, 1.0], [0.999, 1.0, 1.0], [1 - 1e-7, 1.0, 1.0]])
    weights = tricube(torch.from_numpy(far), torch.ones(3, 3, dtype=torch.bool)).numpy()
    first = (1 - far[0] ** 1.5) ** 3
    assert weights == pytest.approx(np.array([first / first.sum(), [1, 0, 0], [1 / 3, 1 / 3, 1 / 3]]))


def memory_of(states, actions, values, k):
    space = with_action(KeySpace([Modality("state", states.shape[1])]), actions.shape[1], 4.0)
    memory = StateActionMemory(DifferentiableNeuralDictionary(space, 1, 500, k), actions.shape[1])
    memory.write(states, actions, values)
    return memory


def test_the_best_action_is_the_corner_that_the_plane_rises_to_and_its_value_what_is_promised_there():
    drawn = torch.Generator().manual_seed(2)
    states, actions = torch.rand(300, 2, generator=drawn) * 2 - 1, torch.rand(300, 3, generator=drawn) * 2 - 1
    slope = torch.tensor([2.0, -3.0, 1.0])
    memory = memory_of(states, actions, states.sum(1) + actions @ slope + 10, k=40)
    asked = torch.tensor([[0.2, -0.3], [0.0, 0.5]])
    choice = LocalLinearRegression(1e-6)(memory, asked, drawn, touch=False)
    assert choice.action.tolist() == [[1, -1, 1], [1, -1, 1]]
    best = choice.found.values[..., 0].amax(dim=1)
    assert (best < 15.5).all()  # than 10 - .1 + 6 and 10 + .5 + 6, which the planes promise
    assert choice.value.tolist() == best.tolist()
    memory.write(
        asked.repeat(2, 1), torch.tensor([[1.0, -1, 1]] * 2 + [[-1.0, 1, -1]] * 2), torch.tensor([20.0, 20, 0, 0])
    )
    held = LocalLinearRegression(0.5)(memory, asked, drawn, touch=False)
    assert (held.value < 19).all() and (held.value > 10).all()  # within what was seen a plane's promise stands


def test_bootstrapping_from_promises_does_not_grow_without_end():
    """Rewards of -1 or 1 that mean nothing: nothing is worth more than 1 / (1 - discount)."""
    drawn, discount = torch.Generator().manual_seed(0), 0.9
    states, actions = torch.rand(100, 2, generator=drawn), torch.rand(100, 6, generator=drawn) * 2 - 1
    rewards = torch.randn(100, generator=drawn).sign()
    regression, values = LocalLinearRegression(0.3), rewards
    for _ in range(60):
        promised = regression(memory_of(states, actions, values, k=15), states, drawn, touch=False).value
        values = rewards + discount * promised.roll(1)
    assert values.abs().max() <= 1 / (1 - discount) + 1e-4


def test_where_too_little_is_remembered_actions_are_uniform_and_worth_what_was_found():
    states, actions = torch.zeros(4, 2), torch.rand(4, 1)
    memory = memory_of(states, actions, torch.full((4,), 6.0), k=5)
    choice = LocalLinearRegression(0.1)(memory, torch.zeros(400, 2), torch.Generator().manual_seed(0), touch=False)
    assert choice.action.std() == pytest.approx(2 / 12**0.5, abs=0.05)
    assert choice.value.tolist() == pytest.approx([6.0] * 400)
    empty = StateActionMemory(
        DifferentiableNeuralDictionary(with_action(KeySpace([Modality("state", 2)]), 1, 4.0), 1, 9, 5), 1
    )
    assert (LocalLinearRegression(0.1)(empty, torch.zeros(3, 2), torch.Generator(), touch=True).value == 0).all()


def test_where_all_actions_came_to_the_same_they_are_uniform_rather_than_the_middle_of_the_box():
    drawn = torch.Generator().manual_seed(0)
    actions = torch.rand(60, 2, generator=drawn)
    actions[:, 1] = 0.5  # nothing else was ever tried here
    memory = memory_of(torch.rand(60, 2, generator=drawn), actions, torch.full((60,), 0.1), k=20)
    choice = LocalLinearRegression(0.1)(memory, torch.zeros(400, 2), drawn, touch=False)
    assert choice.action.std(dim=0).tolist() == pytest.approx([2 / 12**0.5] * 2, abs=0.05)
    memory = memory_of(torch.zeros(60, 2), actions, actions[:, 0], k=20)
    rising = LocalLinearRegression(0.1)(memory, torch.zeros(400, 2), drawn, touch=False).action
    assert (rising[:, 0] == 1).all() and rising[:, 1].std() == pytest.approx(2 / 12**0.5, abs=0.05)


def test_equal_states_and_far_states_are_no_trouble():
    for offset in 0.0, 1e6:
        states = torch.full((60, 3), offset)
        actions = torch.linspace(-1, 1, 60).unsqueeze(1)
        memory = memory_of(states, actions, 2 * actions[:, 0], k=60)
        choice = LocalLinearRegression(1e-6)(memory, states[:1], torch.Generator(), touch=False)
        assert choice.action.tolist() == [[1.0]] and choice.value.tolist() == pytest.approx([2.0], abs=1e-3)
