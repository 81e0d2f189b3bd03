"""The wrapper moves the target of any environment, by whichever way that environment offers."""

import copy

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from engram_rl.envs import (
    Abrupt,
    Attribute,
    ConstructorArgument,
    OnSuccess,
    Periodic,
    Recurring,
    ResetOption,
    ShiftingTarget,
)


class Guess(gymnasium.Env):
    """One step: guess the number that the reset was given."""

    observation_space = gymnasium.spaces.Discrete(1)
    action_space = gymnasium.spaces.Discrete(10)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.number = (options or {}).get("number", 0)
        return 0, {"own": "kept"}

    def step(self, action):
        return 0, float(action == self.number), True, False, {}


def guesses(environment, actions: list[int]) -> list[float]:
    rewards = []
    for action in actions:
        environment.reset()
        rewards.append(environment.step(action)[1])
    return rewards


def test_through_a_reset_option():
    environment = ShiftingTarget(Guess(), Periodic([3, 7], period=2), ResetOption("number"))
    assert guesses(environment, [3, 3, 3, 7, 3]) == [1, 1, 0, 1, 1]


def test_through_an_attribute():
    environment = ShiftingTarget(gymnasium.make("CartPole-v1"), Periodic([9.8, 30.0], period=1), Attribute("gravity"))
    gravities = []
    for _ in range(4):
        environment.reset()
        gravities.append(environment.unwrapped.gravity)
    assert gravities == [9.8, 30.0, 9.8, 30.0]


def test_through_a_nested_attribute():
    inner = Guess()
    inner.model = Guess()
    inner.model.weight = 1
    environment = ShiftingTarget(inner, Periodic([2, 5], period=1), Attribute("model.weight"))
    environment.reset()
    environment.reset()
    assert inner.model.weight == 5


def test_through_a_constructor_argument():
    environment = ShiftingTarget(gymnasium.make("Pendulum-v1"), Abrupt([10.0, 2.0], at=[2]), ConstructorArgument("g"))
    pulls = []
    for episode in range(4):
        environment.reset(seed=0 if episode == 0 else None)
        pulls.append(environment.unwrapped.g)
        environment.step(environment.action_space.sample())
    assert pulls == [10.0, 10.0, 2.0, 2.0]


def test_a_rebuilt_environment_goes_on_with_the_old_ones_chance():
    def starts(schedule):
        environment = ShiftingTarget(gymnasium.make("Pendulum-v1"), schedule, ConstructorArgument("g"))
        return [environment.reset(seed=5 if i == 0 else None)[0].tolist() for i in range(4)]

    shifting = starts(Periodic([10.0, 2.0], period=1))
    assert shifting == starts(Periodic([10.0, 10.0], period=1))
    assert len({tuple(start) for start in shifting}) == 4


def test_through_a_function():
    def set_length(env, length):
        env.length, env.polemass_length = length, env.masspole * length

    environment = ShiftingTarget(gymnasium.make("CartPole-v1"), Periodic([0.5, 1.0], period=1), set_length)
    environment.reset()
    environment.reset()
    assert (environment.unwrapped.length, environment.unwrapped.polemass_length) == (1.0, 0.1)


def test_info_tells_what_the_agent_does_not_see():
    environment = ShiftingTarget(Guess(), Periodic([3, 7], period=2), ResetOption("number"), oracle=lambda env: 1)
    infos = [environment.reset()[1] for _ in range(4)]
    assert [info["task_index"] for info in infos] == [0, 0, 1, 1]
    assert [info["shifted"] for info in infos] == [False, False, True, False]
    assert [info["episode_index"] for info in infos] == [0, 1, 2, 3]
    assert [info["target"] for info in infos] == [3, 3, 7, 7]
    assert {info["oracle_steps"] for info in infos} == {1}
    assert infos[0]["own"] == "kept"
    assert environment.step(0)[4]["target"] == 7


def test_on_success_follows_the_agent():
    environment = ShiftingTarget(Guess(), OnSuccess([1, 2, 3], needed=2), ResetOption("number"))
    assert guesses(environment, [1, 0, 1, 1, 2, 2, 3]) == [1, 0, 1, 0, 1, 1, 1]


def test_what_counts_as_success_is_a_return_above_the_given_one():
    environment = ShiftingTarget(Guess(), OnSuccess([1, 2]), ResetOption("number"), success_above=1.0)
    assert guesses(environment, [1, 1, 1]) == [1, 1, 1]


def test_the_target_can_be_read_and_moved_by_hand():
    environment = ShiftingTarget(Guess(), Periodic([3, 7], period=2), ResetOption("number"))
    with pytest.raises(gymnasium.error.ResetNeeded):
        _ = environment.target
    environment.reset()
    environment.move_target(5)
    assert environment.target == 3
    _, info = environment.reset()
    assert (environment.target, info["task_index"], info["shifted"]) == (5, 1, True)
    assert guesses(environment, [5, 3, 3]) == [1, 1, 1]


def test_a_seed_starts_the_run_anew_and_replays_it():
    environment = ShiftingTarget(Guess(), Recurring(range(9), period=3, jitter=2), ResetOption("number"))

    def targets(seed):
        return [environment.reset(seed=seed if i == 0 else None)[1]["target"] for i in range(60)]

    first = targets(1)
    assert first == targets(1)
    assert first != targets(2)


def test_a_layout_seed_fixes_the_schedule_whatever_the_reset_seed():
    def targets(layout_seed, seed):
        environment = ShiftingTarget(
            Guess(), Recurring(range(9), period=3, jitter=2), ResetOption("number"), layout_seed=layout_seed
        )
        return [environment.reset(seed=seed if i == 0 else None)[1]["target"] for i in range(60)]

    assert targets(4, 1) == targets(4, 2)
    assert targets(4, 1) != targets(5, 1)


def test_a_copy_goes_on_by_itself():
    environment = ShiftingTarget(gymnasium.make("CartPole-v1"), Periodic([9.8, 30.0], period=1), Attribute("gravity"))
    environment.reset(seed=0)
    twin = copy.deepcopy(environment)
    twin.reset()
    assert (twin.unwrapped.gravity, environment.unwrapped.gravity) == (30.0, 9.8)


def test_user_options_reach_the_environment_beside_the_target():
    seen = {}

    class Listening(Guess):
        def reset(self, *, seed=None, options=None):
            seen.update(options)
            return super().reset(seed=seed, options=options)

    ShiftingTarget(Listening(), Periodic([3, 7]), ResetOption("number")).reset(options={"other": 1})
    assert seen == {"other": 1, "number": 3}


def test_an_attribute_that_is_not_there_is_refused_by_name():
    environment = ShiftingTarget(gymnasium.make("CartPole-v1"), Periodic([1, 2]), Attribute("gravitas"))
    with pytest.raises(AttributeError, match="'gravitas'"):
        environment.reset()


@pytest.mark.parametrize(
    ("schedule", "mover", "says"),
    [
        ("periodic", Attribute("gravity"), "schedule is 'periodic'.*Periodic"),
        (None, Attribute("gravity"), "schedule is None"),
        (Periodic([1, 2]), "gravity", "mover is 'gravity'.*Attribute"),
        (Periodic([1, 2]), None, "mover is None"),
    ],
)
def test_what_is_no_schedule_or_mover_is_refused_when_it_is_made(schedule, mover, says):
    with pytest.raises(TypeError, match=says):
        ShiftingTarget(gymnasium.make("CartPole-v1"), schedule, mover)


def test_an_environment_without_a_spec_cannot_be_rebuilt():
    with pytest.raises(ValueError, match=r"not made by gymnasium\.make"):
        ShiftingTarget(Guess(), Periodic([1, 2]), ConstructorArgument("g")).reset()


def test_cartpole_with_shifting_physics_is_registered():
    environment = gymnasium.make("engram/CartPoleShift-v0", period=1)
    signs = []
    for _ in range(3):
        observation, _ = environment.reset(seed=None)
        signs.append(float(np.sign(environment.step(1)[0][1] - observation[1])))
    assert signs == [1, -1, 1]  # pushing right pushes left every other episode


@pytest.mark.filterwarnings("ignore:.*(infinity|different from the unwrapped):UserWarning")
def test_gymnasium_accepts_cartpole_with_shifting_physics():
    check_env(gymnasium.make("engram/CartPoleShift-v0"), skip_render_check=True)


@pytest.mark.parametrize("physics", ["gravity", "length"])
def test_cartpoles_other_constants_change_its_motion(physics):
    def motion(value):
        environment = gymnasium.make("engram/CartPoleShift-v0", physics=physics, values=(value, 99.0))
        environment.reset(seed=0)
        return [environment.step(1)[0].tolist() for _ in range(3)]

    default = {"gravity": 9.8, "length": 0.5}[physics]
    plain = gymnasium.make("CartPole-v1")
    plain.reset(seed=0)
    assert motion(default) == [plain.step(1)[0].tolist() for _ in range(3)]
    assert motion(default) != motion(2 * default)


def test_an_unknown_constant_is_refused():
    with pytest.raises(ValueError, match="force_mag, gravity, length, got 'colour'"):
        gymnasium.make("engram/CartPoleShift-v0", physics="colour")


def test_it_is_vectorised_like_any_other_environment():
    vector = gymnasium.make_vec(
        "engram/CartPoleShift-v0",
        2,
        vectorization_mode="sync",
        vector_kwargs={"autoreset_mode": AutoresetMode.SAME_STEP},
        period=2,
    )
    vector.reset(seed=0)
    seen = set()
    for _ in range(200):
        *_, info = vector.step(np.ones(2, dtype=int))
        seen |= set(info["task_index"].tolist())
    assert {0, 1, 2} <= seen


@pytest.mark.parametrize("name", ["gravity.deep", "no.such", "none"])
def test_an_attribute_is_refused_by_its_whole_name(name):
    with pytest.raises(AttributeError, match=f"no attribute '{name}' to shift"):
        ShiftingTarget(gymnasium.make("CartPole-v1"), Periodic([1.0, 2.0]), Attribute(name)).reset()


def test_a_constructor_argument_may_be_an_array():
    maps = [np.array([list("SF"), list("FG")]), np.array([list("SH"), list("FG")])]
    env = ShiftingTarget(gymnasium.make("FrozenLake-v1"), Periodic(maps, period=1), ConstructorArgument("desc"))
    env.reset(seed=0)
    env.reset()
    assert env.unwrapped.desc[0, 1] == b"H"


@pytest.mark.parametrize(("schedule", "mover"), [(Periodic, Attribute("gravity")), (Periodic([1, 2]), Attribute)])
def test_a_class_is_no_schedule_and_no_mover(schedule, mover):
    with pytest.raises(TypeError, match="is <class"):
        ShiftingTarget(gymnasium.make("CartPole-v1"), schedule, mover)


@pytest.mark.parametrize("bound", [float("nan"), np.float32("nan"), np.float64("nan")])
def test_success_above_nan_is_refused_as_nothing_is_above_it(bound):
    with pytest.raises(ValueError, match="success_above is NaN"):
        ShiftingTarget(Guess(), Periodic([3, 7]), ResetOption("number"), success_above=bound)


@pytest.mark.parametrize("bound", [float("inf"), float("-inf"), 0, np.float32(1.5)])
def test_success_above_may_be_any_number(bound):
    env = ShiftingTarget(Guess(), Periodic([3, 7]), ResetOption("number"), success_above=bound)
    assert env.success_above == bound
