"""The hidden goals move when, and where, their docstrings say."""

from itertools import pairwise

import gymnasium
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401 (registers the suite)


def goals(name: str, episodes: int, num_envs: int = 1, **options) -> tuple[np.ndarray, np.ndarray]:
    """Where the goal is `[episodes, num_envs, 2]`, and whether that is the first episode since a shift."""
    vector = gymnasium.make_vec(f"engram/{name}-v0", num_envs, show_goal=True, **options)
    seen, info = zip(*(vector.reset(seed=0 if i == 0 else None) for i in range(episodes)), strict=True)
    return np.array(seen)[..., 2:], np.array([each["shifted"] for each in info])


def stays(shifted: np.ndarray) -> np.ndarray:
    """How many episodes each stay of a goal lasts, in every run."""
    return np.concatenate([np.diff(np.flatnonzero(run), prepend=0) for run in shifted.T])


def test_the_hidden_goal_moves_every_period_and_only_then():
    where, shifted = goals("HiddenGoal", 200, num_envs=20)
    moved = (where[1:] != where[:-1]).any(axis=2)
    assert np.array_equal(moved, shifted[1:])
    assert set(stays(shifted)) == {20}


def test_a_hidden_goal_is_drawn_from_all_other_cells_alike():
    where, _ = goals("HiddenGoal", 60, num_envs=300, n=3, period=1)
    cell = (where @ [1, 3]).astype(int)
    assert (cell[1:] != cell[:-1]).all()
    counts = np.zeros((9, 9))
    np.add.at(counts, (cell[:-1].ravel(), cell[1:].ravel()), 1)
    expected = counts.sum(axis=1, keepdims=True) / 8
    assert (((counts - expected) ** 2 / expected)[~np.eye(9, dtype=bool)]).sum() < 103  # 63 degrees, p = 0.001


@pytest.mark.parametrize("name", ["RecurringGoal", "NewGoal"])
def test_stays_are_jittered_from_15_to_25_episodes(name):
    _, shifted = goals(name, 400, num_envs=20)
    assert set(stays(shifted)) == set(range(15, 26))


def test_the_sites_may_be_the_same_in_all_runs_which_still_move_differently():
    where, shifted = goals("RecurringGoal", 300, num_envs=5, period=3, jitter=1, sites_seed=7)
    other, _ = goals("RecurringGoal", 300, num_envs=5, period=3, jitter=1, sites_seed=8)
    sites = [{tuple(goal) for goal in where[:, run]} for run in range(5)]
    assert all(each == sites[0] for each in sites) and len(sites[0]) == 4
    assert sites[0] != {tuple(goal) for goal in other[:, 0]}
    assert len({tuple(goal) for goal in where[0]}) == 1
    assert any(len({tuple(goal) for goal in now}) > 1 for now in where)
    assert (shifted != shifted[:, :1]).any()


def test_runs_with_the_same_sites_begin_anywhere_and_each_may_have_sites_of_its_own():
    vector = gymnasium.make_vec("engram/RecurringGoal-v0", 3, show_goal=True, sites_seed=[7, 7, 8])
    observation, _ = vector.reset(seed=0)
    assert len({tuple(place) for place in observation[:, :2]}) > 1
    assert (observation[0, 2:] == observation[1, 2:]).all() and (observation[1, 2:] != observation[2, 2:]).any()


@pytest.mark.parametrize("sites", [4, 8])
def test_the_recurring_goal_revisits_its_sites_in_no_fixed_order(sites):
    where, shifted = goals("RecurringGoal", 600, num_envs=5, sites=sites, period=3, jitter=1)
    for run in range(5):
        visited = [tuple(goal) for goal, here in zip(where[:, run], shifted[:, run], strict=True) if here]
        assert len(set(visited)) == sites
        assert all(one != other for one, other in pairwise(visited))
        assert len(set(pairwise(visited))) > 0.8 * sites * (sites - 1)


def test_the_new_goal_is_never_where_it_was_before():
    where, _ = goals("NewGoal", 100, num_envs=5, period=1, jitter=0)
    for run in range(5):
        assert len({tuple(goal) for goal in where[:, run]}) == 100


@pytest.mark.parametrize("q", [0.0, 0.25, 1.0])
def test_the_drifting_goal_takes_one_step_with_probability_q(q):
    where, shifted = goals("DriftGoal", 100, num_envs=100, q=q)
    step = np.abs(np.diff(where, axis=0)).sum(axis=2)
    assert set(np.unique(step)) <= {0.0, 1.0}
    assert np.array_equal(step == 1, shifted[1:])
    assert step.mean() == pytest.approx(q, abs=0.02)


def test_a_longer_stride_takes_that_many_steps_at_a_time():
    where, _ = goals("DriftGoal", 60, num_envs=50, q=1.0, stride=3)
    steps, counts = np.unique(np.abs(np.diff(where, axis=0)).sum(axis=2), return_counts=True)
    assert steps.tolist() == [1, 3]
    assert counts.min() > 500


@pytest.mark.parametrize("name", ["HiddenGoal", "RecurringGoal", "NewGoal", "DriftGoal"])
def test_starts_are_uniform_over_the_cells_without_the_goal(name):
    vector = gymnasium.make_vec(f"engram/{name}-v0", 5000, n=3, show_goal=True)
    seen, info = vector.reset(seed=0)
    assert np.array_equal(np.abs(seen[:, :2] - seen[:, 2:]).sum(axis=1), info["oracle_steps"])
    assert info["oracle_steps"].min() == 1
    counts = np.unique(seen, axis=0, return_counts=True)[1]
    assert len(counts) == 9 * 8
    assert ((counts - 5000 / 72) ** 2 / (5000 / 72)).sum() < 112  # 71 degrees of freedom, p = 0.001


def test_the_mean_distance_on_an_open_10x10_grid_is_6_67():
    vector = gymnasium.make_vec("engram/HiddenGoal-v0", 5000)
    assert vector.reset(seed=0)[1]["oracle_steps"].mean() == pytest.approx(6.667, abs=0.15)


def test_the_goal_is_hidden_unless_asked_for():
    assert gymnasium.make("engram/HiddenGoal-v0").observation_space.shape == (2,)
    assert gymnasium.make("engram/HiddenGoal-v0", show_goal=True).observation_space.shape == (4,)


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("HiddenGoal", {"period": 5, "jitter": 5}, "jitter must be from 0 to period - 1 = 4, got 5"),
        ("RecurringGoal", {"sites": 1}, "sites must be from 2 to the grid's 100 cells, got 1"),
        ("RecurringGoal", {"n": 2, "sites": 5}, "the grid's 4 cells, got 5"),
        ("RecurringGoal", {"sites_seed": -1}, "sites_seed must be an int from 0"),
        ("DriftGoal", {"q": 1.5}, "from 0 to 1; got 1.5"),
        ("DriftGoal", {"stride": 0}, "at least 1 step, got 0"),
        ("HiddenGoal", {"n": 1}, "n must be at least 2"),
    ],
)
def test_bad_options_are_refused_with_their_limits(name, options, says):
    with pytest.raises(ValueError, match=says):
        gymnasium.make(f"engram/{name}-v0", **options)


class TestUnsearched:
    """What `show_unsearched` tells, against a slow reference that walks the same way."""

    def walk(self, steps=400, n=4):
        env = gymnasium.make("engram/NewGoal-v0", n=n, period=3, jitter=1, show_unsearched=True)
        random = np.random.default_rng(0)
        observation, _ = env.reset(seed=1)
        searched = self.visited(set(), observation, n)
        yield observation, searched, n
        for _ in range(steps):
            observation, reward, terminated, truncated, _ = env.step(int(random.integers(4)))
            searched = set() if reward else self.visited(searched, observation, n)
            yield observation, searched, n
            if terminated or truncated:
                observation, _ = env.reset()
                searched = self.visited(searched, observation, n)
                yield observation, searched, n

    def visited(self, searched, observation, n):
        place = tuple(observation["place"].tolist())
        more = searched | {place}
        return {place} if len(more) == n * n else more

    def test_cells_beside_the_agent_count_until_walked_on_since_the_last_find(self):
        for observation, searched, n in self.walk():
            x, y = observation["place"]
            beside = [(x - 1, y), (x, y - 1), (x + 1, y), (x, y + 1)]
            open_ones = [0 <= a < n and 0 <= b < n and (a, b) not in searched for a, b in beside]
            assert observation["unsearched"][:4].tolist() == open_ones

    def test_the_way_leads_to_a_nearest_unsearched_cell(self):
        for observation, searched, n in self.walk():
            place, way = observation["place"], observation["unsearched"][4:] * 3
            rest = [(x, y) for x in range(n) for y in range(n) if (x, y) not in searched]
            distances = [abs(np.array(cell) - place).sum() for cell in rest]
            assert tuple((place + way.round()).astype(int).tolist()) in rest
            assert abs(way).sum().round() == min(distances)

    def test_it_is_part_of_the_state_of_a_run(self):
        one, other = (gymnasium.make_vec("engram/NewGoal-v0", 3, show_unsearched=True) for _ in range(2))
        one.reset(seed=0), other.reset(seed=5)
        for _ in range(50):
            one.step(one.action_space.sample())
        shown = other.unwrapped.set_state(one.unwrapped.get_state())
        again, *_ = one.step(np.zeros(3, int))
        there, *_ = other.step(np.zeros(3, int))
        assert shown["unsearched"].shape == (3, 6)
        assert all(np.array_equal(again[name], there[name]) for name in again)

    def test_it_is_shown_alone(self):
        with pytest.raises(ValueError, match="leave out show_goal"):
            gymnasium.make("engram/HiddenGoal-v0", show_unsearched=True, show_goal=True)
