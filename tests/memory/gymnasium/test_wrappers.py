"""A memory beside any environment: what returned before is part of the observation, and nothing of the future is."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from engram_rl.memory import DifferentiableNeuralDictionary, Modality, RandomProjection
from engram_rl.memory.gymnasium import MemoryVectorWrapper, MemoryWrapper

STATE, ACTION = Modality("state", 2), Modality("action", kind="discrete")


class Corridor(gym.Env):
    """Observes (place, 1); action 1 goes right and earns the steps so far; ends after `length`, is cut at `limit`."""

    def __init__(self, length=3, limit=99, as_dict=False):
        self.length, self.limit, self.as_dict = length, limit, as_dict
        box = spaces.Box(-99, 99, (2,), np.float32)
        self.observation_space = spaces.Dict({"state": box, "other": spaces.Discrete(5)}) if as_dict else box
        self.action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.steps = 0
        return self._observe(), {}

    def step(self, action):
        self.place += int(action)
        self.steps += 1
        return self._observe(), float(self.steps * action), self.place >= self.length, self.steps >= self.limit, {}

    def _observe(self):
        state = np.array([self.place, 1], np.float32)
        return {"state": state, "other": np.int64(self.place % 5)} if self.as_dict else state


def dictionary(*modalities, **options):
    options = {"k": 1, "write_rule": "last"} | options
    return DifferentiableNeuralDictionary(list(modalities or (STATE,)), 1, 100, **options)


def play(environment, actions):
    seen = [environment.reset()[0]["memory"]]
    seen += [environment.step(action)[0]["memory"] for action in actions]
    return np.array(seen)


class TestOneEnvironment:
    @pytest.mark.parametrize("wrong", [None, ["a", "b"], np.array([1, None])])
    def test_what_is_no_numbers_is_named(self, wrong):
        environment = MemoryWrapper(Corridor(), dictionary())
        environment.reset()
        environment.unwrapped._observe = lambda: wrong
        with pytest.raises(ValueError, match=r"the observation is .*, no array of numbers; mend the environment"):
            environment.step(1)

    def test_numbers_of_another_byte_order_are_read(self):
        environment = MemoryWrapper(Corridor(), dictionary())
        environment.unwrapped._observe = lambda: np.array([2, 1], ">f4")
        play(environment, [1, 1, 1])
        found = environment.episodes.memory.lookup({"state": torch.tensor([[2.0, 1.0]])})
        assert found.valid.all() and (found.distances == 0).all()

    def test_nothing_is_recalled_before_an_episode_is_over_and_its_returns_after(self):
        environment = MemoryWrapper(Corridor(), dictionary(), discount=0.5)
        assert (play(environment, [1, 1, 1]) == 0).all()
        returns = [1 + 0.5 * (2 + 0.5 * 3), 2 + 0.5 * 3, 3]
        again = play(environment, [1, 1])
        assert again[:, 0] == pytest.approx(returns)
        assert (again[:, 1] == 0).all() and (again[:, 2] == 1).all()

    def test_distance_is_that_of_the_nearest_entry(self):
        memory = dictionary()
        memory.write(torch.tensor([[3.0, 1.0]]), torch.tensor([[7.0]]))
        assert play(MemoryWrapper(Corridor(), memory), []).tolist() == [[7.0, 9.0, 1.0]]

    def test_where_actions_are_remembered_each_is_recalled(self):
        environment = MemoryWrapper(Corridor(), dictionary(STATE, ACTION), discount=1.0)
        play(environment, [0, 1, 1, 1])
        value, distance, valid = play(environment, [])[0].reshape(3, 2)
        assert value.tolist() == [2 + 3 + 4, 2 + 3 + 4] and distance.tolist() == [0, 0] and valid.tolist() == [1, 1]
        assert play(environment, [1])[1].reshape(3, 2)[1].tolist() == [1, 0]  # here only action 1 was tried

    def test_a_cut_episode_goes_on_with_what_is_recalled_of_its_end(self):
        memory = dictionary()
        memory.write(torch.tensor([[2.0, 1.0]]), torch.tensor([[10.0]]))
        play(MemoryWrapper(Corridor(limit=2), memory, discount=0.5), [1, 1])
        assert memory.lookup(torch.tensor([[0.0, 1.0]])).value.item() == 1 + 0.5 * (2 + 0.5 * 10)

    @pytest.mark.parametrize("modalities", [(), (STATE, ACTION)])
    def test_an_episode_of_one_step_is_remembered_too(self, modalities):
        memory = dictionary(*modalities)
        environment = MemoryWrapper(Corridor(length=1), memory)
        assert (play(environment, [1]) == 0).all()
        assert len(memory) == 1
        actions = 2 if modalities else 1
        assert play(environment, [])[0].reshape(3, actions)[0, -1] == 1.0

    def test_the_last_observation_of_an_episode_knows_nothing_of_that_episode(self):
        environment = MemoryWrapper(Corridor(), dictionary())
        assert play(environment, [1, 1, 1])[-1].tolist() == [0, 0, 0]

    def test_an_episode_that_a_reset_leaves_in_the_middle_was_cut_as_by_a_limit_outside(self):
        inside, outside = dictionary(), dictionary()
        for environment in (
            MemoryWrapper(gym.wrappers.TimeLimit(Corridor(), 2), inside),
            gym.wrappers.TimeLimit(MemoryWrapper(Corridor(), outside), 2),
        ):
            for _ in range(2):
                play(environment, [1, 1])
            environment.reset()
        assert torch.equal(inside.key_vectors[: len(inside)], outside.key_vectors[: len(outside)])
        assert torch.equal(inside.values[: len(inside)], outside.values[: len(outside)]) and len(inside) == 2

    def test_a_single_step_and_a_reset_say_nothing(self):
        environment = MemoryWrapper(Corridor(), memory := dictionary())
        play(environment, [1])
        environment.reset()
        assert len(memory) == 0

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_gymnasium_finds_no_fault(self):
        environment = gym.make("CartPole-v1").unwrapped
        check_env(MemoryWrapper(environment, dictionary(Modality("state", 4))), skip_render_check=True)

    @pytest.mark.parametrize("first", [-1, 0, 5])
    def test_actions_may_start_anywhere(self, first):
        class Shifted(Corridor):
            def __init__(self):
                super().__init__()
                self.action_space = spaces.Discrete(2, start=first)

            def step(self, action):
                return super().step(action - first)

        environment = MemoryWrapper(Shifted(), memory := dictionary(STATE, ACTION), discount=1.0)
        play(environment, [first + 1] * 3)
        assert memory.to_arrays()["action"].ravel().tolist() == [1, 1, 1]
        assert environment.reset()[0]["memory"].tolist() == [0, 6, 0, 0, 0, 1]

    def test_text_beside_the_numbers_is_left_where_it_is(self):
        pytest.importorskip("minigrid")
        memory = dictionary(Modality("image", 147), Modality("direction", kind="discrete"), ACTION)
        environment = MemoryWrapper(gym.make("MiniGrid-Empty-5x5-v0", max_steps=4), memory)
        observation, _ = environment.reset(seed=0)
        assert observation["mission"] and observation["memory"].shape == (21,)
        for _ in range(4):
            environment.step(1)
        assert len(memory) == 4

    def test_a_tuple_has_parts_by_number(self):
        class Pair(Corridor):
            def __init__(self):
                super().__init__()
                self.observation_space = spaces.Tuple((spaces.Box(-9, 9, (2,)), spaces.Discrete(9)))

            def _observe(self):
                return np.array([self.place, 1], np.float32), self.place

        memory = dictionary(Modality("0", 2), Modality("1", kind="discrete"))
        play(MemoryWrapper(Pair(), memory), [1, 1, 1])
        assert memory.to_arrays()["1"].ravel().tolist() == [0, 1, 2]

    def test_what_the_environment_does_with_its_array_afterwards_changes_nothing(self):
        class Reuses(Corridor):
            def _observe(self):
                self.array = getattr(self, "array", np.zeros(2, np.float32))
                self.array[:] = super()._observe()
                return self.array

        environment = MemoryWrapper(Reuses(), memory := dictionary())
        play(environment, [1, 1, 1])
        assert memory.key_vectors[:3, 0].tolist() == [0, 1, 2]

    @pytest.mark.parametrize("reward", [np.ones(1), np.array(1.0), True, np.float32(1)])
    def test_one_number_is_a_reward_however_it_comes(self, reward):
        play(MemoryWrapper(gym.wrappers.TransformReward(Corridor(), lambda _: reward), memory := dictionary()), [1] * 3)
        assert memory.values[2, 0] == 1

    @pytest.mark.parametrize("reward", [None, [1.0, 2.0], np.ones(2), np.nan, "much"])
    def test_what_is_no_number_is_no_reward(self, reward):
        environment = MemoryWrapper(gym.wrappers.TransformReward(Corridor(), lambda _: reward), memory := dictionary())
        with pytest.raises(ValueError, match=r"the reward is .*one finite number"):
            play(environment, [1, 1, 1])
        assert len(memory) == 0

    def test_a_copy_in_another_process_is_refused(self):
        memory = dictionary()
        memory.process -= 1
        with pytest.raises(ValueError, match=r"made in process .* a copy in process .*MemoryVectorWrapper"):
            MemoryWrapper(Corridor(), memory).reset()

    def test_a_key_that_takes_no_parts_is_told_that_it_gets_some(self):
        environment = MemoryWrapper(Corridor(as_dict=True), dictionary(), key=RandomProjection(2, 2, 0))
        with pytest.raises(ValueError, match=r"the parts of the observation by name \('other', 'state'\)"):
            environment.reset()

    def test_without_learning_the_memory_stays_as_it_is(self):
        environment = MemoryWrapper(Corridor(), memory := dictionary())
        play(environment, [1, 1, 1])
        before, environment.learning = memory.state_dict(), False
        play(environment, [1, 1, 1])
        after = memory.state_dict()
        assert len(memory) == 3 and torch.equal(before["forgetting"]["score"], after["forgetting"]["score"])
        assert before["usage"]["lookups"] == after["usage"]["lookups"]

    def test_parts_of_a_dict_are_matched_by_name_and_stay(self):
        environment = MemoryWrapper(Corridor(as_dict=True), dictionary(STATE, Modality("other", kind="discrete")))
        observation, _ = environment.reset()
        assert sorted(observation) == ["memory", "other", "state"] and observation in environment.observation_space
        play(environment, [1, 1, 1])
        assert environment.reset()[0]["memory"][2] == 1

    def test_a_key_may_be_made_of_the_observation(self):
        environment = MemoryWrapper(Corridor(), dictionary(Modality("code", 8)), key=RandomProjection(2, 8, seed=0))
        play(environment, [1, 1, 1])
        assert play(environment, []).tolist()[0][2] == 1


class TestManyEnvironments:
    def make(self, *environments, modalities=(STATE,), **options):
        made = SyncVectorEnv([lambda e=e: e for e in environments], autoreset_mode=AutoresetMode.SAME_STEP)
        return MemoryVectorWrapper(made, dictionary(*modalities), **options)

    def test_each_runs_its_own_episodes_and_all_share_what_they_returned(self):
        environments = self.make(Corridor(2), Corridor(9, limit=3), discount=1.0)
        environments.reset()
        seen = [environments.step(np.array([1, 0]))[0]["memory"] for _ in range(3)]
        assert (seen[0] == 0).all()
        assert seen[1][:, 0] == pytest.approx([3, 3])  # at place 0 both, of which the first has returned 1 + 2
        assert seen[2][0, 0] == 2.0  # the first is at place 1 again
        assert seen[2][1, 0] == 3.0  # the second was cut at place 0: 0 + 0 + 0 + what is recalled there, 3

    def test_final_observations_get_what_was_known_before_their_episode_was_written(self):
        environments = self.make(Corridor(2), Corridor(5))
        environments.reset()
        environments.step(np.array([1, 1]))
        observation, *_, info = environments.step(np.array([1, 1]))
        assert info["final_obs"][0]["memory"].tolist() == [0, 0, 0] and info["final_obs"][1] is None
        assert info["final_obs"][0]["observation"].tolist() == [2, 1]
        assert observation["memory"][0, 2] == 1
        assert observation in environments.observation_space

    def test_it_agrees_with_the_wrapper_of_one_environment(self):
        actions = np.random.default_rng(0).integers(2, size=40)
        many = self.make(Corridor(as_dict=True, limit=6), modalities=(STATE, ACTION))
        one = MemoryWrapper(Corridor(as_dict=True, limit=6), memory := dictionary(STATE, ACTION))
        many.reset()
        one.reset()
        for action in actions:
            batch, *_ = many.step(np.array([action]))
            single, _, terminated, truncated, _ = one.step(action)
            if terminated or truncated:
                single, _ = one.reset()
            assert batch["memory"][0].tolist() == single["memory"].tolist()
        assert torch.equal(many.episodes.memory.values, memory.values) and len(memory)

    def test_steps_of_finished_episodes_are_not_kept(self):
        environments = self.make(Corridor(2), Corridor(3))
        environments.reset()
        for _ in range(30):
            environments.step(np.array([1, 1]))
        assert len(environments.episodes._steps) <= 3

    def test_another_way_to_reset_is_refused(self):
        made = SyncVectorEnv([Corridor], autoreset_mode=AutoresetMode.NEXT_STEP)
        with pytest.raises(ValueError, match="not a real transition; make them with autoreset_mode"):
            MemoryVectorWrapper(made, dictionary())


class Others(VectorEnv):
    """Two environments of somebody else; their episodes have two steps, each of which pays 1."""

    num_envs, single_observation_space, single_action_space = 2, spaces.Box(0, 9, (2,)), spaces.Discrete(2)

    def __init__(self, form=np.array, mode=AutoresetMode.SAME_STEP, final="final_obs"):
        self.form, self.final, self.metadata, self.places = form, final, {"autoreset_mode": mode}, np.zeros((2, 2))

    def reset(self, *, seed=None, options=None):
        return self.places.copy(), {}

    def step(self, actions):
        self.places += 1
        done, info = self.places[:, 0] == 2, {}
        if done.any():
            info[self.final] = self.form(self.places.copy())
            self.places[done] = 0
        return self.places.copy(), np.ones(2), self.form(done), self.form(done & False), info


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, "SameStep"])
@pytest.mark.parametrize("form", [np.array, list, torch.tensor, lambda rows: rows.astype(float)])
def test_vector_environments_of_others_say_in_their_way_what_ended(form, mode):
    environments = MemoryVectorWrapper(Others(form, mode), dictionary(), discount=1.0)
    environments.reset()
    for _ in range(2):
        environments.step(np.zeros(2, int))
    columns = environments.episodes.memory.to_arrays()
    assert columns["state"][:, 0].tolist() == [0, 1] and columns["value"][:, 0].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("others", "error", "message"),
    [
        (Others(final="final_observation"), ValueError, r"no info\['final_obs'\]"),
        (Others(lambda rows: ["yes", "no"]), TypeError, "terminated is .*not 2 truth values"),
        (Others(lambda rows: rows[:1]), TypeError, "terminated is .*not 2 truth values"),
    ],
)
def test_what_vector_environments_of_others_do_not_say_is_asked_for(others, error, message):
    environments = MemoryVectorWrapper(others, dictionary())
    environments.reset()
    with pytest.raises(error, match=message):
        for _ in range(2):
            environments.step(np.zeros(2, int))


@pytest.mark.parametrize(
    ("memory", "environment", "message"),
    [
        (dictionary(Modality("state", 3)), Corridor(), "size 3, the observation Box.* has 2 numbers"),
        (dictionary(STATE, Modality("goal", 2)), Corridor(), "modalities state, goal, the observation is one Box"),
        (dictionary(Modality("stat", 2)), Corridor(as_dict=True), "no such part; give key.*did you mean 'state'"),
        (DifferentiableNeuralDictionary(2, 3, 10), Corridor(), "returns need value_dim=1"),
        (dictionary(), MemoryWrapper(Corridor(as_dict=True), dictionary()), "has a part 'memory' already"),
    ],
)
def test_what_cannot_be_recalled_is_refused(memory, environment, message):
    with pytest.raises(ValueError, match=message):
        MemoryWrapper(environment, memory)


def test_actions_that_cannot_be_counted_are_refused():
    environment = Corridor()
    environment.action_space = spaces.Box(-1, 1, (1,))
    with pytest.raises(ValueError, match="actions are not Discrete"):
        MemoryWrapper(environment, dictionary(STATE, ACTION))


@pytest.mark.parametrize("wrong", [{"__all__": False}, [False], "False", None, float("nan"), np.zeros(2, bool)])
def test_what_is_no_truth_value_ends_no_episode(wrong):
    environment = MemoryWrapper(Corridor(length=Answers(wrong)), dictionary())
    environment.reset()
    with pytest.raises(TypeError, match=r"terminated is .*, not one truth value; give True or False"):
        environment.step(1)


@pytest.mark.parametrize("right", [True, np.True_, np.array(True), np.array([1]), 1, torch.tensor(True)])
def test_a_truth_value_of_another_form_ends_it(right):
    environment = MemoryWrapper(Corridor(length=Answers(right)), dictionary())
    environment.reset()
    assert environment.step(1)[2] is True


class Answers:
    """Whatever is at least this is what it holds."""

    def __init__(self, answer):
        self.answer = answer

    def __le__(self, place):
        return self.answer
