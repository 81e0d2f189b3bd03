"""What every environment of the suite promises, single and vectorised."""

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_rl import envs

IDS = [f"engram/{name}-v0" for name in envs.SUITE]
VARIANTS = [
    ("engram/ShiftWall-v0", {"n": 5}),
    ("engram/ShiftWall-v0", {"n": 4, "layout_seed": 3, "tell_shift": True}),
    ("engram/ShiftWall-v0", {"n": 4, "show_goal": False, "step_limit": 7}),
    ("engram/ScatterShift-v0", {"n": 6, "schedule": "each", "density": 0.45}),
    ("engram/ScatterShift-v0", {"n": 5, "schedule": 3, "show_goal": False}),
    ("engram/HiddenGoal-v0", {"n": 3, "period": 2, "show_goal": True}),
    ("engram/HiddenGoal-v0", {"n": 4, "period": 3, "jitter": 2, "tell_shift": True}),
    ("engram/RecurringGoal-v0", {"n": 3, "sites": 8, "period": 2, "jitter": 1}),
    ("engram/NewGoal-v0", {"n": 2, "period": 1, "jitter": 0}),
    ("engram/DriftGoal-v0", {"n": 3, "q": 1.0, "stride": 2}),
    ("engram/ContextGoal-v0", {"n": 3, "contexts": 3, "cue_size": 2, "period": 2, "jitter": 1}),
    ("engram/MaskedKey-v0", {"n": 2, "withheld": "place", "train_episodes": 3, "test_episodes": 4}),
    ("engram/MemoryPlan-v0", {"n": 2, "step_limit": 30}),
    ("engram/TMaze-v0", {"length": 2}),
    ("engram/TMaze-v0", {"length": 3, "active": True}),
    ("engram/TimedTMaze-v0", {"length": 2}),
    ("engram/TimedTMaze-v0", {"length": 3, "active": True, "penalty": 0.5}),
    ("engram/MemoryChain-v0", {"length": 3, "bits": 2}),
    *((name, {}) for name in IDS),
]
variants = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)


def same(one, other) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    return np.array_equal(one, other)


def masked(info: dict) -> dict:
    """Vector info with the rows that are not marked blanked out, as nothing is promised of them."""
    blank = {}
    for name in (name for name in info if not name.startswith("_")):
        mask = info[f"_{name}"]
        value = info[name]
        if isinstance(value, dict):
            blank[name] = masked(value)
        else:
            blank[name] = {row: value[row] for row in np.flatnonzero(mask)}
    return blank


def play(environment, seed: int, steps: int) -> list:
    """Everything an environment says while random actions are played, resetting where it must."""
    environment.action_space.seed(seed)
    said = list(environment.reset(seed=seed))
    for _ in range(steps):
        outcome = environment.step(environment.action_space.sample())
        said.extend(outcome)
        if outcome[2] or outcome[3]:
            said.extend(environment.reset())
    return said


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_accepts_it(name):
    check_env(gymnasium.make(name, render_mode="rgb_array").unwrapped)


@variants
@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 2**31), num_envs=st.integers(1, 5))
def test_vector_and_single_agree_step_for_step(name, options, seed, num_envs):
    together = gymnasium.make_vec(name, num_envs, vectorization_mode="vector_entry_point", **options)
    apart = SyncVectorEnv(
        [lambda: gymnasium.make(name, disable_env_checker=True, **options)] * num_envs,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    together.action_space.seed(seed)
    (seen, info), (expected, expected_info) = together.reset(seed=seed), apart.reset(seed=seed)
    assert same(seen, expected)
    assert same(masked(info), masked(expected_info))
    for _ in range(130):
        actions = together.action_space.sample()
        *outcome, info = together.step(actions)
        *expected, expected_info = apart.step(actions)
        assert all(same(one, other) for one, other in zip(outcome, expected, strict=True))
        assert same(masked(info), masked(expected_info))


@pytest.mark.parametrize("name", IDS)
def test_a_list_of_seeds_gives_each_run_its_own(name):
    def first(seed):
        return gymnasium.make_vec(name, 3).reset(seed=seed)

    listed, counted = first([5, 6, 7]), first(5)
    assert same(listed[0], counted[0])
    assert same(listed[1], counted[1])
    alone = gymnasium.make(name).reset(seed=6)[0]
    row = {key: part[1] for key, part in listed[0].items()} if isinstance(listed[0], dict) else listed[0][1]
    assert same(row, alone)


@variants
def test_the_same_seed_gives_the_same_run(name, options):
    one, other = (play(gymnasium.make(name, **options), seed=7, steps=300) for _ in range(2))
    assert all(same(a, b) for a, b in zip(one, other, strict=True))


@variants
def test_a_seed_starts_the_run_anew(name, options):
    environment = gymnasium.make(name, **options)
    first = play(environment, seed=7, steps=150)
    assert all(same(a, b) for a, b in zip(first, play(environment, seed=7, steps=150), strict=True))


@variants
def test_each_reset_begins_the_next_episode(name, options):
    environment = gymnasium.make(name, **options)
    assert [environment.reset()[1]["episode_index"] for _ in range(4)] == [0, 1, 2, 3]
    assert environment.reset(seed=1)[1]["episode_index"] == 0


@variants
def test_it_ends_by_its_step_limit(name, options):
    environment = gymnasium.make(name, **options)
    environment.action_space.seed(0)
    environment.reset(seed=0)
    for _ in range(environment.unwrapped.step_limit):
        *_, terminated, truncated, _ = environment.step(environment.action_space.sample())
        if terminated or truncated:
            break
    assert terminated or truncated


@variants
def test_info_holds_task_index_shift_limit_and_episode(name, options):
    environment = gymnasium.make(name, **options)
    _, info = environment.reset(seed=0)
    assert {key: type(value) for key, value in info.items()} == {
        "task_index": int,
        "shifted": bool,
        "oracle_steps": int,
        "episode_index": int,
    }
    assert info["task_index"] == 0
    assert not info["shifted"]
    assert info["oracle_steps"] >= 1


@pytest.mark.parametrize("name", IDS)
def test_a_layout_seed_is_a_run_of_its_own(name):
    def starts(**how):
        vector = gymnasium.make_vec(name, 3, **how)
        seen = [vector.reset(seed=0)[0], *(vector.reset()[0] for _ in range(5))]
        return [[np.concatenate([np.ravel(part[row]) for part in parts(one)]) for one in seen] for row in range(3)]

    def parts(observation):
        return observation.values() if isinstance(observation, dict) else [observation]

    shared = starts(layout_seed=5)
    assert same(shared[0], shared[1])
    apart = starts(layout_seed=[5, 6, 7])
    assert same(apart[0], shared[0])
    assert not same(apart[1], apart[0])


@pytest.mark.parametrize("name", IDS)
def test_it_shows_an_image(name):
    environment = gymnasium.make(name, render_mode="rgb_array")
    environment.reset(seed=0)
    before = environment.render()
    assert before.dtype == np.uint8
    assert before.ndim == 3
    assert len(np.unique(before.reshape(-1, 3), axis=0)) > 3


@pytest.mark.parametrize("name", IDS)
def test_bad_input_is_refused_with_its_value_and_limit(name):
    environment = gymnasium.make(name).unwrapped
    with pytest.raises(ResetNeeded, match="reset"):
        environment.step(0)
    environment.reset(seed=0)
    with pytest.raises(ValueError, match=f"99 is outside 0 to {environment.action_space.n - 1}"):
        environment.step(99)
    with pytest.raises(ValueError, match="rgb_array"):
        gymnasium.make_vec(name, 3, render_mode="ansi")
    with pytest.raises(ValueError, match="layout_seed"):
        gymnasium.make(name, layout_seed=-1)
    vector = gymnasium.make_vec(name, 3)
    vector.reset()
    with pytest.raises(ValueError, match="Expected 3 integer actions"):
        vector.step(np.zeros(2, dtype=int))
    with pytest.raises(ValueError, match="2 seeds for 3"):
        vector.reset(seed=[1, 2])
    with pytest.raises(ValueError, match="from 0, got -1"):
        vector.reset(seed=-1)
    with pytest.raises(ValueError, match="layout_seed has 2 seeds for 3"):
        gymnasium.make_vec(name, 3, layout_seed=[1, 2])


@pytest.mark.parametrize("name", IDS)
def test_some_runs_can_be_reset_alone(name):
    vector = gymnasium.make_vec(name, 3, layout_seed=[1, 2, 3])
    mask = np.array([False, True, False])
    with pytest.raises(ValueError, match="first reset"):
        vector.reset(options={"reset_mask": mask})
    vector.reset()
    _, info = vector.reset(options={"reset_mask": mask})
    assert info["episode_index"].tolist() == [0, 1, 0]
    assert info["_episode_index"].tolist() == mask.tolist()
    with pytest.raises(ValueError, match="3 truth values"):
        vector.reset(options={"reset_mask": [True]})


@pytest.mark.parametrize("name", IDS)
def test_autoreset_is_same_step(name):
    vector = gymnasium.make_vec(name, 2)
    assert vector.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("ShiftWall", {"step_limit": 0}, "step_limit must be at least 1 step, got 0"),
        ("ShiftWall", {"step_limit": 2.5}, r"step_limit must be a whole number, got 2\.5"),
        ("ShiftWall", {"n": 4.0}, r"n must be a whole number, got 4\.0"),
        ("ShiftWall", {"show_goal": "no"}, "show_goal must be True or False, got 'no'"),
        ("ScatterShift", {"density": "0.3"}, r"density must be a number, got '0\.3'"),
        ("ScatterShift", {"schedule": True}, "schedule must be a whole number, got True"),
        ("HiddenGoal", {"period": 2.5}, r"period must be a whole number, got 2\.5"),
        ("HiddenGoal", {"period": 0}, "period must be at least 1 episode, got 0"),
        ("HiddenGoal", {"jitter": 1.5}, r"jitter must be a whole number, got 1\.5"),
        ("RecurringGoal", {"sites": 3.5}, r"sites must be a whole number, got 3\.5"),
        ("DriftGoal", {"stride": 1.5}, r"stride must be a whole number, got 1\.5"),
        ("DriftGoal", {"q": "1"}, "q must be a number, got '1'"),
        ("CornerGoal", {"period": 2.5}, r"period must be a whole number, got 2\.5"),
        ("MaskedKey", {"train_episodes": 1.5}, r"train_episodes must be a whole number, got 1\.5"),
        ("TMaze", {"active": "yes"}, "active must be True or False, got 'yes'"),
        ("TimedTMaze", {"penalty": "x"}, "penalty must be a number, got 'x'"),
        ("MemoryChain", {"length": 2.5}, r"length must be a whole number, got 2\.5"),
    ],
)
def test_options_of_another_kind_are_refused_by_name(name, options, says):
    with pytest.raises((TypeError, ValueError), match=says):
        gymnasium.make(f"engram/{name}-v0", **options)


def test_seeds_may_be_as_large_as_entropy_and_masks_may_be_lists():
    single, vector = gymnasium.make("engram/HiddenGoal-v0"), gymnasium.make_vec("engram/HiddenGoal-v0", 2)
    first, _ = single.reset(seed=2**100 + 3)
    both, _ = vector.reset(seed=2**100 + 3)
    assert first.tolist() == both[0].tolist() and both[0].tolist() != both[1].tolist()
    _, info = vector.reset(options={"reset_mask": [True, False]})
    assert info["_episode_index"].tolist() == [True, False]
    with pytest.raises(ValueError, match=r"Seeds must be ints from 0, got 1\.5"):
        vector.reset(seed=1.5)


@pytest.mark.parametrize("name", IDS)
def test_a_vector_is_cut_after_max_episode_steps_as_single_environments_are(name):
    """`gymnasium.make_vec` hands the limit to the environments themselves, `gymnasium.make` to a wrapper."""
    together = gymnasium.make_vec(name, 2, vectorization_mode="vector_entry_point", max_episode_steps=3)
    single = gymnasium.make(name, max_episode_steps=3, disable_env_checker=True)
    together.reset(seed=5)
    single.reset(seed=5)
    assert together.step_limit <= 3
    for _ in range(12):
        action = int(single.action_space.sample())
        _, reward, terminated, truncated, _ = single.step(action)
        mine = together.step(np.array([action, action]))
        assert (mine[1][0], mine[2][0], mine[3][0] or mine[2][0]) == (reward, terminated, truncated or terminated)
        if terminated or truncated:
            single.reset()


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), (True, TypeError)])
def test_a_limit_that_is_none_is_refused(limit, error):
    with pytest.raises(error, match="max_episode_steps must be"):
        gymnasium.make_vec("engram/ShiftWall-v0", 2, max_episode_steps=limit)


def test_a_limit_beyond_the_environments_own_changes_nothing():
    vector = gymnasium.make_vec("engram/ShiftWall-v0", 2, max_episode_steps=10_000)
    assert vector.step_limit == gymnasium.make_vec("engram/ShiftWall-v0", 2).step_limit == 100
