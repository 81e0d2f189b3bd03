"""What a policy is shown: rows of numbers, running moments and scaled rewards against slow references."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.spaces.utils import flatten

from engram_rl.agents.agent import Transition
from engram_rl.agents.common.observations import map_observation
from engram_rl.agents.common.scaling import has_picture
from engram_rl.agents.policy_gradient.extra_inputs import PreviousStep
from engram_rl.agents.policy_gradient.perception import AsRows, AsTensors, ModestRewards, RewardScale

CPU = torch.device("cpu")
SPACES = {
    "vector": spaces.Box(-1, 1, (5,)),
    "grid": spaces.Box(0, 255, (7, 7, 3), np.uint8),
    "code": spaces.Discrete(4, start=2),
    "codes": spaces.MultiDiscrete([[3, 2], [2, 4]]),
    "bits": spaces.MultiBinary(3),
    "dict": spaces.Dict({"image": spaces.Box(0, 10, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)}),
    "nested": spaces.Dict({"a": spaces.Dict({"b": spaces.Box(-1, 1, (2,))}), "c": spaces.MultiBinary(2)}),
}


def samples(space, count=6):
    space.seed(0)
    return [space.sample() for _ in range(count)]


def batch(singles):
    return map_observation(lambda *parts: np.stack(parts), *singles)


@pytest.mark.parametrize("name", SPACES)
def test_rows_of_the_first_version_are_gymnasiums_flat_observations(name):
    singles = samples(SPACES[name])
    found = AsRows(SPACES[name], CPU, scale_rule=1)(batch(singles), learn=True)
    assert found.dtype == torch.float32
    expected = np.stack([flatten(SPACES[name], one) for one in singles])
    assert found.numpy() == pytest.approx(expected.astype(np.float32))


def test_normalised_rows_have_the_mean_and_deviation_of_all_seen_so_far():
    rng = np.random.default_rng(0)
    perceive = AsRows(spaces.Box(-np.inf, np.inf, (3,)), CPU, normalise=True)
    seen = [rng.normal([5, -2, 0], [0.1, 3, 1], (4, 3)).astype(np.float32) for _ in range(30)]
    for one in seen:
        found = perceive(one, learn=True)
    every = np.concatenate(seen).astype(np.float64)
    expected = (seen[-1] - every.mean(axis=0)) / every.std(axis=0)
    assert found.numpy() == pytest.approx(expected, abs=2e-3)
    far = perceive(np.full((1, 3), 1e6, np.float32), learn=False)
    assert far.tolist() == [[10, 10, 10]]


def test_looking_without_learning_changes_no_moments():
    perceive = AsRows(SPACES["vector"], CPU, normalise=True)
    rows = batch(samples(SPACES["vector"]))
    before = perceive(rows, learn=True)
    assert torch.equal(perceive(rows, learn=False), perceive(rows, learn=False))
    again = AsRows(SPACES["vector"], CPU, normalise=True)
    again.load_state_dict(perceive.state_dict())
    assert torch.equal(again(rows, learn=False), before)


def test_pictures_keep_their_bytes_and_are_no_views_of_what_the_environment_may_overwrite():
    images = np.zeros((2, 40, 40, 3), np.uint8)
    seen = AsTensors(CPU)({"image": images, "speed": np.ones((2, 1), np.float32)}, learn=True)
    images[:] = 9
    assert seen["image"].dtype == torch.uint8 and (seen["image"] == 0).all()


def test_a_picture_is_found_within_a_dict():
    assert has_picture(spaces.Dict({"a": spaces.Dict({"image": spaces.Box(0, 255, (64, 64, 3), np.uint8)})}))
    assert not has_picture(SPACES["dict"])


@pytest.mark.parametrize("size", [1e-9, 1e-6, 1, 1e6])
def test_rewards_are_scaled_by_the_deviation_of_the_discounted_return(size):
    rng = np.random.default_rng(1)
    scale, discount = RewardScale(3, 0.9), 0.9
    returns, history = np.zeros(3), []
    for t in range(50):
        reward, done = size * rng.normal(3, 2, 3), np.array([t % 7 == 6, False, t == 20])
        returns = returns * discount + reward
        history.append(returns.copy())
        found = scale(reward, done)
        returns[done] = 0
    assert found == pytest.approx(np.clip(reward / np.std(history), -10, 10), rel=1e-6)


def transition(action, reward, done):
    flags = np.array(done)
    nothing = np.zeros((len(flags), 1))
    return Transition(nothing, np.array(action), np.array(reward), flags, np.zeros_like(flags), nothing, nothing)


@pytest.mark.parametrize("carry", [False, True])
def test_the_step_before_is_shown_and_across_episodes_only_if_carried(carry):
    previous = PreviousStep(spaces.Discrete(3, start=1), 2, carry, CPU)
    assert (previous.read(np.zeros((2, 1)), explore=True)["previous"] == 0).all()
    step = transition([3, 1], [0.5, 2.0], [False, True])
    assert previous.read_final(step, np.array([1]))["previous"].tolist() == [[1, 0, 0, 2.0, 0]]
    previous.observe(step)
    second = [1, 0, 0, 2.0, 1] if carry else [0, 0, 0, 0, 0]
    assert previous.read(np.zeros((2, 1)), explore=True)["previous"].tolist() == [[0, 0, 1, 0.5, 0], second]
    player = previous.player(3)
    assert (player.read(np.zeros((3, 1)), explore=False)["previous"] == 0).all()


@pytest.mark.parametrize("size", [1e-9, 1e-6, 0.01, 1, 300, 1e6, 1e30])
def test_rewards_out_of_the_ordinary_are_divided_by_the_size_of_the_return(size):
    random, scale = np.random.default_rng(0), ModestRewards(2, 0.9)
    returns, squares = np.zeros(2), []
    for _ in range(60):
        reward, done = size * random.normal(0.5, 1, 2), random.random(2) < 0.1
        returns = 0.9 * returns + reward
        squares.append(np.mean(returns**2))
        usual = np.sqrt(np.mean(squares))
        expected = reward if 1e-3 <= usual <= 1e3 else reward / usual
        np.testing.assert_allclose(scale(reward, done), expected, rtol=1e-9)
        returns[done] = 0


def test_rewards_of_nothing_and_of_always_the_same_stay():
    done = np.zeros(2, bool)
    for reward in (np.zeros(2), np.ones(2), np.full(2, -1.0)):
        scale = ModestRewards(2, 0.99)
        assert all((scale(reward, done) == reward).all() for _ in range(5))


def test_a_size_goes_on_after_a_restart_and_begins_where_none_was_kept():
    one, other = ModestRewards(2, 0.9), ModestRewards(2, 0.9)
    one(np.array([1e6, 2e6]), np.array([False, True]))
    other.load_state_dict(one.state_dict())
    again = np.array([3e5, 1e6]), np.array([False, False])
    assert (one(*again) == other(*again)).all() and one.size == other.size > 1e5
    for kept in (None, RewardScale(2, 0.9).state_dict()):
        fresh = ModestRewards(2, 0.9)
        fresh.load_state_dict(kept)
        assert fresh.size == 1.0
    for kept in (None, one.state_dict()):
        fresh = RewardScale(2, 0.9)
        fresh.load_state_dict(kept)
        assert fresh.state_dict()["moments"] == RewardScale(2, 0.9).state_dict()["moments"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_are_copies_of_what_was_seen(dtype):
    space = spaces.Box(-np.inf, np.inf, (3,), dtype)
    seen = np.ones((2, 3), dtype)
    rows = AsRows(space, torch.device("cpu"))(seen, learn=False)
    seen[:] = 9
    assert (rows == 1).all()


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1, 1e6])
@pytest.mark.parametrize("offset", [0, 1e3])
def test_numbers_of_any_size_are_normalised_and_what_never_changes_is_nothing(size, offset):
    perceive = AsRows(spaces.Box(-np.inf, np.inf, (3,), np.float32), CPU, normalise=True)
    seen = size * (np.random.default_rng(0).normal(size=(64, 2)) + offset).astype(np.float32)
    seen[:, 1] = seen[0, 1]
    seen = np.concatenate([seen, np.zeros((64, 1))], axis=1)
    rows = perceive(seen.astype(np.float32), learn=True)
    assert (rows[:, 2] == 0).all()
    assert rows[:, 0].mean().abs() < 1e-3 and 0.99 < rows[:, 0].std() < 1.02
    assert (rows[:, 1].abs() < 1e-6 + 1e-6 * size * offset).all()


def test_what_has_never_changed_is_shown_by_its_distance_once_it_does():
    perceive = AsRows(spaces.Box(-np.inf, np.inf, (2,), np.float32), CPU, normalise=True)
    perceive(np.full((8, 2), [5, 0], np.float32), learn=True)
    assert perceive(np.array([[7, -0.5], [4, 20]], np.float32), learn=False).tolist() == [[2, -0.5], [-1, 10]]


@pytest.mark.parametrize(("reward", "found"), [(1000.0, 1000.0), (1000.5, 1.0), (0.001, 0.001), (0.00099, 1.0)])
def test_returns_from_a_thousandth_to_a_thousand_are_ordinary(reward, found):
    scale = ModestRewards(2, 0.0)
    assert scale(np.array([reward, reward]), np.zeros(2, bool)).tolist() == pytest.approx([found] * 2, rel=1e-12)


def test_scales_have_seen_nothing_at_first():
    assert {name: np.sum(part) for name, part in ModestRewards(3, 0.9).state_dict().items()} == {
        "returns": 0.0, "square": 0.0, "count": 0
    }  # fmt: skip
    assert RewardScale(3, 0.9).state_dict()["moments"]["count"] == 0
    assert AsRows(SPACES["vector"], CPU).state_dict() == {}


@pytest.mark.parametrize("kind", [RewardScale, ModestRewards])
def test_a_scale_of_rewards_goes_on_as_if_it_had_not_been_saved(kind):
    draw, one, other = np.random.default_rng(0), kind(2, 0.9), kind(2, 0.9)
    for _ in range(5):
        one(1e4 * draw.normal(size=2), np.array([False, True]))
    other.load_state_dict(one.state_dict())
    again = 1e4 * draw.normal(size=2), np.array([False, False])
    assert one(*again).tolist() == other(*again).tolist()
