"""What passes the door of one environment and that of a vector: complete, copied, checked, and with its place."""

from contextlib import suppress
from itertools import product

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.vector.utils import batch_space

from engram_rl.training.errors import UsageError, say_once
from engram_rl.training.intake.environments import Intake, TakenIn
from engram_rl.training.intake.frames import image
from engram_rl.training.intake.rewards import PAID, Paid

PAIR = spaces.Box(-1, 1, (2,), np.float32)


class Giving(gym.Env):
    """Gives what it is told to."""

    observation_space, action_space = PAIR, spaces.Discrete(2)

    def __init__(self, begins=None, gives=()):
        begins = (np.zeros(2, np.float32), {}) if begins is None else begins
        self.begins, self.gives, self.closed = begins, list(gives), 0

    def reset(self, *, seed=None, options=None):
        return self.begins

    def step(self, action):
        return self.gives.pop(0)

    def close(self):
        self.closed += 1
        raise RuntimeError("jammed")


def steps(*rewards, over=False):
    return [(np.zeros(2, np.float32), reward, over, False, {"n": 1}) for reward in rewards]


class TestOne:
    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (np.zeros(2), "gave ndarray '[0. 0.]'"),
            ((1,), "gave 1 values"),
            ((1, 2, 3), "gave 3 values"),
            ([np.zeros(2), {}], "gave list '[array([0., 0.]), {}]'"),
            ("x" * 70, f"gave str '{'x' * 60}'"),
        ],
    )
    def test_a_reset_gives_two_values(self, given, said):
        with pytest.raises(UsageError) as refused:
            TakenIn(Giving(given), "X-v0", 3).reset()
        assert f"reset of environment 3 (X-v0) {said}; it must give" in str(refused.value)

    @pytest.mark.parametrize("given", [(1, 2, 3, 4), (1, 2, 3, 4, 5, 6), [*steps(1)[0]], None])
    def test_a_step_gives_five(self, given):
        with pytest.raises(
            UsageError, match=r"step of environment 0 \(X-v0\) gave .*; it must give \(observation, reward"
        ):
            TakenIn(Giving(gives=[given]), "X-v0", 0).step(0)

    def test_a_refusal_of_ours_stays_what_it_is(self):
        class Refusing(Giving):
            def reset(self, **given):
                raise UsageError("ours")

            def step(self, action):
                raise UsageError("ours")

        for act in (lambda env: env.reset(), lambda env: env.step(0)):
            with pytest.raises(UsageError, match=r"^ours$"):
                act(TakenIn(Refusing(), "X-v0", 0))

    def test_what_it_paid_is_said_only_where_wrappers_may_and_did_make_something_else_of_it(self):
        class Less(gym.RewardWrapper):
            def reward(self, reward):
                return reward if reward == 5 else reward / 2

        made = TakenIn(Less(Paid(Giving(gives=steps(2, 5, -4)))), "X-v0", 0, wrapped=True)
        made.reset()
        assert [made.step(0)[4] for _ in range(3)] == [{"n": 1, PAID: 2}, {"n": 1}, {"n": 1, PAID: -4}]
        made = TakenIn(Less(Paid(Giving(gives=steps(2)))), "X-v0", 0)
        assert made.step(0)[4] == {"n": 1}
        assert TakenIn(Less(Giving(gives=steps(2))), "X-v0", 0, wrapped=True).step(0)[4] == {"n": 1}

    @pytest.mark.parametrize(("terminated", "truncated"), [(True, False), (False, True), (True, True)])
    def test_a_last_observation_does_not_change_with_the_next(self, terminated, truncated):
        array = np.zeros(2, np.float32)
        last = TakenIn(Giving(gives=[(array, 0, terminated, truncated, {})]), "X-v0", 0).step(0)[0]
        array[:] = 1
        assert not last.any()


class Vector(VectorEnv):
    """Gives what it is told to, for two environments."""

    def __init__(self, gives=(), space=PAIR, begins=None):
        self.num_envs, self.metadata, self.gives = 2, {"autoreset_mode": AutoresetMode.SAME_STEP}, list(gives)
        self.single_observation_space, self.single_action_space = space, spaces.Discrete(2)
        self.observation_space = batch_space(space, 2)
        self.action_space = batch_space(spaces.Discrete(2), 2)
        self.begins = np.zeros((2, 2), np.float32) if begins is None else begins

    def reset(self, *, seed=None, options=None):
        return self.begins, {"seed": seed, "options": options}

    def step(self, actions):
        return self.gives.pop(0)


def given(observation=None, terminated=(False, False), truncated=(False, False), info=None):
    observation = np.zeros((2, 2), np.float32) if observation is None else observation
    return observation, np.zeros(2), np.array(terminated), np.array(truncated), {} if info is None else info


def objects(*rows):
    found = np.full(2, None, object)
    for row, one in enumerate(rows):
        found[row] = one
    return found


class TestVector:
    @pytest.mark.parametrize("checked", [False, True])
    @pytest.mark.parametrize(
        ("terminated", "truncated"),
        [((True, False), (False, False)), ((False, False), (True, False)), ((True, False), (True, False))],
    )
    @pytest.mark.parametrize("kind", [objects, lambda *rows: np.array([*rows, np.zeros(2)][:2], np.float32)])
    def test_a_last_observation_is_taken_in_and_copied(self, checked, terminated, truncated, kind):
        finals = kind(np.array([0.5, 1], np.float32), None) if kind is objects else kind(np.array([0.5, 1]))
        made = Intake(
            Vector([given(None, terminated, truncated, {"final_obs": finals, "n": 1})]), "X-v0", checked=checked
        )
        made.reset()
        *_, info = made.step([0, 0])
        if not checked or kind is not objects:
            finals[0][:] = 7
        assert info["final_obs"][0].tolist() == [0.5, 1] and info["n"] == 1
        if kind is objects:
            assert info["final_obs"][1] is None

    @pytest.mark.parametrize("checked", [False, True])
    @pytest.mark.parametrize("kind", ["objects", "batch", "objects of parts", "batch of parts"])
    def test_what_is_wrong_in_a_last_observation_is_named_by_its_environment(self, checked, kind):
        wrong = np.array([0, np.nan], np.float32)
        finals = objects(None, wrong) if kind.startswith("objects") else np.array([np.zeros(2), wrong], np.float32)
        space, begins = PAIR, np.zeros((2, 2), np.float32)
        if kind.endswith("parts"):
            space, begins = spaces.Dict(a=PAIR), {"a": begins}
            finals = objects(None, {"a": wrong}) if kind.startswith("objects") else {"a": finals}
        gives = [given(begins, (False, True), info={"final_obs": finals})]
        made = Intake(Vector(gives, space, begins), "X-v0", checked=checked)
        made.reset()
        part = " 'a'" if kind.endswith("parts") else ""
        with pytest.raises(UsageError, match=rf"The final observation{part} of environment 1 holds nan at \[1\]"):
            made.step([0, 0])

    def test_rows_of_a_batch_whose_episodes_go_on_are_not_looked_at(self):
        finals = np.array([[np.nan, 0], [0, 0]], np.float32)
        made = Intake(Vector([given(None, (False, True), info={"final_obs": finals})]), "X-v0", checked=False)
        made.reset()
        made.step([0, 0])

    def test_only_a_first_observation_shows_that_the_space_is_wrong(self, capsys):
        say_once.cache_clear()
        far = np.full((2, 2), 9, np.float32)
        made = Intake(Vector([given(far)]), "X-v0", checked=False)
        with pytest.raises(UsageError, match=r"holds 9\.0"):
            made.take(far)
        made.take(np.zeros((2, 2), np.float32))
        made.step([0, 0])
        made.take(far)
        assert capsys.readouterr().err.count("passed on") == 1

    @pytest.mark.parametrize("checked", [False, True])
    def test_what_it_showed_is_a_copy(self, checked):
        vector = Vector()
        made = Intake(vector, "X-v0", checked=checked)
        observation, info = made.reset(seed=3, options={"far": 1})
        vector.begins[:] = 1
        assert not observation.any() and info == {"seed": 3, "options": {"far": 1}}

    def test_only_unchecked_environments_are_read_again(self):
        wide = np.zeros((2, 2), np.float64)
        assert Intake(Vector(begins=wide), "X-v0", checked=False).reset()[0].dtype == np.float32
        assert Intake(Vector(begins=wide), "X-v0", checked=True).reset()[0].dtype == np.float64
        space, codes = spaces.Discrete(2), np.array([0, 7])
        assert Intake(Vector(space=space, begins=codes), "X-v0", checked=True).reset()[0].tolist() == [0, 7]
        with pytest.raises(UsageError, match="environment 1 holds 7"):
            Intake(Vector(space=space, begins=codes), "X-v0", checked=False).reset()

    def test_codes_of_last_observations_are_compared_where_nobody_has_read_them(self):
        for checked in (True, False):
            codes = np.zeros(2, np.int64)
            gives = [given(codes, (False, True), info={"final_obs": np.array([0, 7])})]
            made = Intake(Vector(gives, spaces.Discrete(2), codes), "X-v0", checked=checked)
            made.reset()
            if checked:
                assert made.step([0, 0])[4]["final_obs"].tolist() == [0, 7]
                continue
            with pytest.raises(UsageError, match="The final observation of environment 1 holds 7"):
                made.step([0, 0])

    @pytest.mark.parametrize("info", [None, "x", {"episode": 1, "_episode": 2}])
    def test_what_vectors_say_themselves_of_episodes_is_not_passed_on(self, info):
        gives = [(*given()[:4], info), (*given()[:4], {"episodes": 3, "n": 1})]
        made = Intake(Vector(gives), "X-v0", checked=True)
        made.reset()
        assert made.step([0, 0])[4] == {} and made.step([0, 0])[4] == {"episodes": 3, "n": 1}

    def test_what_goes_wrong_while_one_is_closed_is_told_and_all_are_closed(self, capsys):
        say_once.cache_clear()
        vector = SyncVectorEnv([Giving, Giving, Giving], autoreset_mode=AutoresetMode.SAME_STEP)
        made = Intake(vector, "X-v0", checked=True)
        made.close()
        assert "In your environment X-v0, in close: RuntimeError: jammed" in capsys.readouterr().err
        assert all(one.closed for one in vector.envs) and vector.closed
        made.close()
        assert [one.closed for one in vector.envs] == [2, 1, 1]
        with suppress(RuntimeError):
            vector.envs[0].close()


class TestFrames:
    @pytest.mark.parametrize("shape", [*product(range(1, 6), repeat=3)])
    def test_the_last_axis_is_of_channels_or_else_the_first(self, shape):
        frame = np.random.default_rng(0).integers(256, size=shape).astype(np.uint8)
        if shape[-1] not in (1, 3, 4) and shape[0] not in (1, 3, 4):
            with pytest.raises(
                UsageError, match=rf"X renders shape \({', '.join(map(str, shape))}\): a video needs 1, 3"
            ):
                image(frame, "X")
            return
        expected = frame if shape[-1] in (1, 3, 4) else np.transpose(frame, (1, 2, 0))
        expected = np.concatenate([expected] * 3, axis=2) if expected.shape[2] == 1 else expected[:, :, :3]
        made = image(frame, "X")
        assert np.array_equal(made, expected) and made.dtype == np.uint8 and made.flags.c_contiguous

    @pytest.mark.parametrize(
        ("given", "expected"),
        [
            (np.array([0.0, 0.25, 1.0]), [0, 64, 255]),
            (np.array([0.0, 1.5, 255.0]), [0, 2, 255]),
            (np.array([-3.0, 300.0, 256.0]), [0, 255, 255]),
            (np.array([np.nan, np.inf, 7.0]), [0, 255, 7]),
            (np.array([False, True, True]), [0, 255, 255]),
            (np.array([False, False, False]), [0, 0, 0]),
            (np.array([0, 1, 1]), [0, 1, 1]),
            (np.array([-5, 7, 127], np.int8), [0, 7, 127]),
            (np.array([-5, 70, 700], np.int16), [0, 70, 255]),
            (np.array([0, 7, 255], np.uint8), [0, 7, 255]),
            (np.array([0, 7, 300], np.uint32), [0, 7, 255]),
        ],
    )
    def test_numbers_of_any_kind_are_light(self, given, expected):
        assert image(np.tile(given, (2, 2, 1)), "X")[1, 1].tolist() == expected

    def test_sixteen_bits_are_shares_of_full_light(self):
        frame = (257 * np.arange(256, dtype=np.uint32)).astype(np.uint16).reshape(16, 16)
        assert image(frame, "X")[..., 0].ravel().tolist() == list(range(256))

    @pytest.mark.parametrize(
        ("frame", "said"),
        [
            ([[1, 2], [3]], r"\[\[1, 2\], \[3\]\], which is no image"),
            (np.full((4, 6, 3), "x"), r"shape \(4, 6, 3\), which"),
            (np.zeros((4, 6, 3), complex), r"shape \(4, 6, 3\), which"),
            (np.zeros((1, 4, 6, 3)), r"shape \(1, 4, 6, 3\), which"),
            (np.zeros((0, 3, 3)), r"shape \(0, 3, 3\), which"),
            ("x" * 99, f"'{'x' * 59}, which"),
        ],
    )
    def test_what_is_no_picture_is_shown(self, frame, said):
        with pytest.raises(UsageError, match=rf"^X renders {said}"):
            image(frame, "X")

    def test_what_cannot_be_read_is_no_picture(self):
        class Elsewhere:
            def __array__(self, dtype=None, copy=None):
                raise TypeError("on a GPU")

        with pytest.raises(UsageError, match=r"X renders <.*, which is no image"):
            image(Elsewhere(), "X")
