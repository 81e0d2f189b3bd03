"""Observations of any space, episodes side by side, and what a wrapper hands on, by worked examples."""

import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from engram_rl.memory import DifferentiableNeuralDictionary, Modality
from engram_rl.memory.gymnasium import MemoryVectorWrapper, MemoryWrapper
from engram_rl.memory.gymnasium.episodes import RunningEpisodes, keys_of_parts
from engram_rl.memory.gymnasium.observations import as_tensors, batch_of_one, parts_of, row_of, rows_of
from tests.memory.gymnasium.test_wrappers import Corridor, dictionary, play

BOX = spaces.Box(-9, 9, (2,), np.float32)
NESTED = spaces.Dict(
    {
        "pair": spaces.Tuple((BOX, spaces.Text(9))),
        "word": spaces.Text(9),
        "place": spaces.Dict({"x": spaces.Discrete(5), "flags": spaces.MultiBinary(3)}),
        "graph": spaces.Graph(BOX, None),
    }
)


def observed(number):
    """One observation of the nested space."""
    return {
        "pair": (np.array([number, -number], np.float32), "left"),
        "word": "right",
        "place": {"x": np.int64(number), "flags": np.array([number % 2, 0, 1], np.int8)},
    }


class TestObservations:
    def test_parts_are_those_that_hold_numbers(self):
        assert parts_of(BOX) is None and parts_of(spaces.Text(9)) is None
        assert set(parts_of(NESTED)) == {"pair", "place"}
        assert list(parts_of(NESTED["pair"])) == ["0"] and set(parts_of(NESTED["place"])) == {"x", "flags"}
        assert parts_of(spaces.Tuple((spaces.Text(9), BOX, spaces.Discrete(2)))).keys() == {"1", "2"}

    def test_they_become_tensors_by_name_that_share_nothing(self):
        batch = batch_of_one(observed(3))
        made = as_tensors(NESTED)(batch)
        assert made["pair"]["0"].tolist() == [[3, -3]] and set(made["pair"]) == {"0"}
        assert made["place"]["x"].tolist() == [3] and made["place"]["flags"].tolist() == [[1, 0, 1]]
        assert "word" not in made
        batch["pair"][0][:] = 0
        assert made["pair"]["0"].tolist() == [[3, -3]]

    @pytest.mark.parametrize("kind", ["?", "b", "H", "i8", "f2", "f4", "f8", ">f4", ">i2"])
    def test_numbers_of_every_type_are_numbers(self, kind):
        made = as_tensors(spaces.Box(0, 1, (2,), np.float32))(np.ones((3, 2), kind))
        assert made.shape == (3, 2) and (made.double() == 1).all()

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
    def test_what_is_not_finite_is_named_by_its_place(self, wrong):
        batch = batch_of_one(observed(1))
        batch["pair"][0][0, 1] = wrong
        with pytest.raises(ValueError, match="the observation 'pair' '0' holds NaN or an infinity"):
            as_tensors(NESTED)(batch)
        batch["place"]["x"] = np.array(["five"])
        with pytest.raises(ValueError, match=r"the observation 'place' 'x' is .*, no array of numbers"):
            as_tensors(NESTED["place"], "observation 'place'")(batch["place"])

    def test_rows_and_single_ones_are_taken_from_batches_however_they_come(self):
        singles = np.full(3, None, dtype=object)
        for row in range(3):
            singles[row] = observed(row)
        rows = rows_of(singles, np.array([2, 0]))
        assert rows["pair"][0].tolist() == [[2, -2], [0, 0]] and rows["pair"][1] == ["left", "left"]
        assert rows["place"]["flags"].tolist() == [[0, 0, 1], [0, 0, 1]] and rows["word"] == ["right", "right"]
        part = {"place": rows["place"], "pair": (rows["pair"][0],)}
        again = rows_of(part, np.array([1]))
        assert again["place"]["x"].tolist() == [0] and again["pair"][0].tolist() == [[0, 0]]
        one = row_of(part, 0)
        assert one["place"]["x"] == 2 and one["pair"][0].tolist() == [2, -2] and isinstance(one["pair"], tuple)
        assert rows_of(np.arange(6).reshape(3, 2), np.array([1])).tolist() == [[2, 3]]

    def test_keys_of_parts_are_flat(self):
        keys = keys_of_parts(["a"])({"a": torch.ones(2, 3, 4), "b": torch.ones(2)})
        assert {name: part.shape for name, part in keys.items()} == {"a": (2, 12)}
        whole = keys_of_parts(["a"])(torch.ones(2, 3, dtype=torch.int64))
        assert whole.shape == (2, 3) and whole.dtype == torch.float32


class TestEpisodes:
    def running(self, discount=0.5, envs=2):
        memory = DifferentiableNeuralDictionary([Modality("state", 1)], 1, 99, k=1)
        episodes = RunningEpisodes(
            memory, keys_of_parts(["state"]), as_tensors(BOX), envs, spaces.Discrete(3), discount
        )
        return episodes, memory

    def test_returns_are_of_the_own_rewards_and_only_what_is_open_is_kept(self):
        episodes, memory = self.running()
        assert (episodes.width, episodes.num_actions) == (3, 1)
        episodes.start(np.array([[0.0], [10.0]]))
        for turn in range(1, 4):
            episodes.advance(np.zeros(2), [turn, 10 * turn], np.array([[turn], [10 + turn]], np.float32))
        episodes.finish(1, 8.0)
        columns = memory.to_arrays()
        assert columns["state"].flatten().tolist() == [10, 11, 12]
        assert columns["value"].flatten().tolist() == [10 + 0.5 * (20 + 0.5 * (30 + 4)), 20 + 0.5 * 34, 34]
        assert len(episodes._steps) == 3
        episodes.advance(np.zeros(2), [4, 40], np.array([[4], [14]], np.float32))
        episodes.finish(0, 0.0)
        assert len(episodes._steps) == 1 and len(memory) == 7
        assert memory.to_arrays()["value"][3:, 0].tolist() == [1 + 0.5 * (2 + 0.5 * (3 + 0.5 * 4)), 4.5, 5, 4]
        assert episodes.now["state"].tolist() == [[4], [14]]

    def test_cut_are_those_that_are_named_and_have_more_than_a_step(self):
        episodes, memory = self.running(discount=1.0, envs=3)
        episodes.start(np.zeros((3, 1)))
        episodes.advance(np.zeros(3), np.ones(3), np.ones((3, 1)))
        episodes.start(np.array([[5.0], [5.0], [5.0]]), np.array([2]))
        episodes.advance(np.zeros(3), np.ones(3), 2 * np.ones((3, 1)))
        episodes.cut(np.array([10.0, 20.0, 30.0]), np.array([1, 2]))
        assert memory.to_arrays()["value"].flatten().tolist() == [22, 21]
        episodes.cut(np.array([10.0, 20.0, 30.0]))
        assert memory.to_arrays()["value"].flatten().tolist() == [22, 21, 12, 11]

    @pytest.mark.parametrize("discount", [-0.1, 1.1])
    def test_a_discount_is_a_share(self, discount):
        with pytest.raises(ValueError, match=f"discount is {discount}; it must be a share"):
            self.running(discount)
        self.running(0), self.running(1)

    def test_nothing_is_recalled_before_a_reset(self):
        episodes, _ = self.running()
        for call in (lambda: episodes.now, lambda: episodes.advance(np.zeros(2), [1, 1], np.zeros((2, 1)))):
            with pytest.raises(AssertionError, match="reset the environment before its first step"):
                call()

    def test_the_best_is_that_of_the_actions_that_are_known(self):
        memory = DifferentiableNeuralDictionary([Modality("state", 1), Modality("action", kind="discrete")], 1, 9, k=1)
        actions = spaces.Discrete(3)
        episodes = RunningEpisodes(memory, keys_of_parts(["state"]), as_tensors(BOX), 1, actions, 0.9)
        keys = {"state": torch.zeros(2, 1), "action": torch.tensor([[0], [2]])}
        memory.write(keys, torch.tensor([[-3.0], [-5.0]]))
        recalled, best = episodes.recall({"state": torch.tensor([[0.0], [2.0]])}, touch=False)
        assert recalled.tolist() == [[-3, 0, -5, 0, 0, 0, 1, 0, 1], [-3, 0, -5, 4, 0, 4, 1, 0, 1]]
        assert best.tolist() == [-3, -3] and episodes.width == 9 and recalled.dtype == np.float32
        memory.forget(memory.slots)
        assert episodes.recall({"state": torch.zeros(1, 1)}, touch=False)[1].tolist() == [0]

    def test_one_tensor_is_a_key_only_of_one_part_and_other_errors_are_not_explained_away(self):
        memory = DifferentiableNeuralDictionary([Modality("a", 1), Modality("b", 1)], 1, 9, k=1)

        def running(key, space=BOX):
            return RunningEpisodes(memory, key, as_tensors(space), 1, spaces.Discrete(2), 0.9)

        with pytest.raises(ValueError, match="gave one tensor for the modalities a, b"):
            running(lambda x: x).start(np.zeros((1, 1)))
        running(lambda x: {"a": x, "b": x}).start(np.zeros((1, 1)))
        for error in (TypeError, AttributeError, KeyError):

            def fail(x, error=error):
                raise error("inside")

            with pytest.raises(error, match="inside"):
                running(fail).start(np.zeros((1, 1)))
            with pytest.raises(ValueError, match=r"by name \('x'\) and failed: .*inside"):
                running(fail, spaces.Dict({"x": BOX})).start({"x": np.zeros((1, 2))})


class TestWrapper:
    def test_it_can_be_made_again_from_what_it_was_made_of(self):
        memory = dictionary()
        environment = MemoryWrapper(Corridor(), memory, discount=0.5)
        assert environment._saved_kwargs["memory"] is memory and environment._saved_kwargs["discount"] == 0.5
        assert environment.learning is True and environment.episodes._discount == 0.5
        assert MemoryWrapper(Corridor(), memory).episodes._discount == 0.99

    def test_everything_else_is_handed_on_as_it_came(self):
        environment = MemoryWrapper(Corridor(length=2), dictionary())
        observation, info = environment.reset(seed=3, options={})
        assert info == {} and observation["observation"].tolist() == [0, 1]
        seen = [environment.step(1)[1:] for _ in range(2)]
        assert seen == [(1.0, False, False, {}), (2.0, True, False, {})]
        cut = MemoryWrapper(Corridor(limit=1), dictionary())
        cut.reset()
        assert cut.step(0)[1:] == (0.0, False, True, {})
        space = environment.observation_space
        assert space["memory"] == spaces.Box(-np.inf, np.inf, (3,), np.float32) and set(space) == {
            "observation",
            "memory",
        }

    def test_without_learning_steps_are_handed_on_and_an_episode_begun_then_is_forgotten(self):
        environment = MemoryWrapper(Corridor(length=2), memory := dictionary())
        play(environment, [1])
        environment.learning = False
        assert environment.step(1)[1:] == (2.0, True, False, {}) and len(memory) == 0
        environment.reset()
        environment.learning = True
        environment.reset()
        assert len(memory) == 0

    @pytest.mark.parametrize(("size", "space", "numbers"), [(3, BOX, 2), (1, spaces.Text(4), None)])
    def test_a_part_of_another_size_is_told_both(self, size, space, numbers):
        environment = Corridor()
        environment.observation_space = space
        with pytest.raises(ValueError, match=rf"'state' has size {size}, the observation .* has {numbers} numbers"):
            MemoryWrapper(environment, dictionary(Modality("state", size)))


class TestVector:
    def made(self, *environments, **options):
        made = SyncVectorEnv([lambda e=e: e for e in environments], autoreset_mode=AutoresetMode.SAME_STEP)
        return MemoryVectorWrapper(made, dictionary(), **options)

    def test_some_can_be_reset_alone(self):
        environments = self.made(Corridor(9), Corridor(9), discount=1.0)
        environments.reset()
        for _ in range(3):
            environments.step(np.array([1, 1]))
        memory = environments.episodes.memory
        environments.reset(options={"reset_mask": np.array([False, True])})
        assert len(memory) == 3 and memory.to_arrays()["value"][0, 0] == 1 + 2 + 3
        observation = environments.step(np.array([1, 1]))[0]
        assert observation["observation"][:, 0].tolist() == [4, 1]
        assert environments.episodes._held.tolist() == [4, 1]
        environments.reset(options={})
        assert len(memory) == 4 and environments.episodes._held.tolist() == [0, 0]

    def test_without_learning_nothing_is_written_and_what_is_known_is_still_recalled(self):
        environments = self.made(Corridor(2), Corridor(2))
        assert environments.learning is True
        environments.reset()
        for _ in range(2):
            environments.step(np.array([1, 1]))
        memory = environments.episodes.memory
        known, lookups = len(memory), memory.usage.lookups
        environments.learning = False
        for _ in range(4):
            observation = environments.step(np.array([1, 1]))[0]
        assert len(memory) == known == 2 and memory.usage.lookups == lookups
        assert observation["memory"][:, 2].tolist() == [1, 1]

    def test_ends_and_cuts_are_told_apart(self):
        environments = self.made(Corridor(2), Corridor(9, limit=2), discount=1.0)
        memory = environments.episodes.memory
        memory.write(torch.tensor([[2.0, 1.0]]), torch.tensor([[50.0]]))
        environments.reset()
        environments.step(np.array([1, 0]))
        *_, info = environments.step(np.array([1, 1]))
        columns = memory.to_arrays()
        values = dict(zip(columns["state"][:, 0].tolist(), columns["value"][:, 0].tolist(), strict=True))
        assert values == {2: 50, 1: 2, 0: 52}  # of the second, which was cut at 1: 0 + 2 + 50
        assert info["final_obs"][1]["memory"].tolist() == [50, 1, 1]

    @pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
    def test_spaces_are_those_of_one_and_of_all(self, mode):
        environments = self.made(Corridor(2), Corridor(2))
        single = environments.single_observation_space
        assert single["memory"].shape == (3,) and environments.observation_space["memory"].shape == (2, 3)
        assert environments.reset()[0] in environments.observation_space
        with pytest.raises(ValueError, match=f"reset in mode {mode}"):
            MemoryVectorWrapper(SyncVectorEnv([Corridor], autoreset_mode=mode), dictionary())
