"""A key is made of the parts of a Dict observation that the configuration names, and of no others."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.envs.registration import register
from hydra import compose, initialize_config_dir

from benchmarks.configuration import CONF
from engram_rl.agents.common.encoders import make_encoder
from engram_rl.agents.episodic_control.modality_keys import ModalityKeys, Source, make_keys, parts_named
from engram_rl.training.configuration.prepared import prepare
from engram_rl.training.construction import build_agent
from engram_rl.training.environments import make_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import step

SPACE = spaces.Dict(
    {
        "camera": spaces.Box(0, 4, (6,)),
        "position": spaces.Box(-5, 5, (2,)),
        "heading": spaces.Discrete(4),
        "room": spaces.MultiDiscrete([3, 7]),
        "clock": spaces.Box(0, np.inf, (1,)),
    }
)


class Rooms(gym.Env):
    """Random parts; its clock never shows the same number twice."""

    observation_space = SPACE
    action_space = spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action):
        self.time += 1
        return self._observe(), float(action), self.time % 5 == 0, False, {}

    def _observe(self):
        return {
            "camera": np.full(6, self.time % 5, np.float32),
            "position": np.array([self.time % 5, 1], np.float32),
            "heading": np.int64(self.time % 4),
            "room": np.array([1, 2]),
            "clock": np.array([self.np_random.random()], np.float32),
        }


register("test/Rooms-v0", Rooms)


def composed(*overrides):
    prepare()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train", list(overrides))


def keys_of(modalities):
    return ModalityKeys(SPACE, modalities, lambda part, size: make_encoder(part, size, (8,)))


def batch(n=3):
    return {name: torch.from_numpy(np.stack([part.sample() for _ in range(n)])) for name, part in SPACE.items()}


class TestColumns:
    def test_parts_without_a_size_are_taken_as_they_are_in_the_order_of_the_yaml(self):
        keys = keys_of({"room": {"kind": "discrete"}, "place": "position", "turn": "heading"})
        seen = batch()
        one_hot = torch.nn.functional.one_hot(seen["heading"], 4)
        expected = torch.cat([seen["room"].float(), seen["position"], one_hot.float()], 1)
        assert torch.equal(keys(seen), expected)
        assert [(m.name, m.size, m.kind) for m in keys.space] == [
            ("room", 2, "discrete"),
            ("place", 2, "l2"),
            ("turn", 4, "l2"),
        ]

    def test_a_part_with_a_size_is_encoded_and_the_gradient_reaches_the_encoder(self):
        keys = keys_of({"view": {"of": "camera", "size": 3, "weight": 2.0}, "place": "position"})
        made = keys(batch())
        made[:, :3].sum().backward()
        assert made.shape == (3, 5) and keys.space.modalities[0].weight == 2.0
        assert all(weight.grad.abs().sum() > 0 for weight in keys.parameters() if weight.dim() > 1)

    def test_several_parts_may_make_one_modality(self):
        assert keys_of({"where": {"of": ["position", "heading"]}})(batch()).shape == (3, 6)
        assert keys_of({"cell": {"of": ["room", "heading"], "kind": "discrete"}}).space.code_size == 3

    def test_only_the_parts_named_are_read(self):
        modalities = {"view": {"of": ["camera", "clock"]}, "room": {"kind": "discrete"}}
        assert parts_named(modalities) == ["camera", "clock", "room"]


@pytest.mark.parametrize(
    ("space", "modalities", "message"),
    [
        (SPACE["camera"], {"view": "camera"}, "names the parts of a Dict observation, but this environment shows Box"),
        (SPACE, {"view": "camra"}, "unknown part of the observation in env.modalities 'camra': did you mean 'camera'"),
        (SPACE, {"view": {"off": "camera"}}, "unknown setting of the modality 'view' in env.modalities 'off'"),
        (
            SPACE,
            {"place": {"of": "position", "kind": "discrete"}},
            "'place' is discrete, but is made of Box.*use kind: l2",
        ),
        (SPACE, {"room": {"kind": "discrete", "size": 4}}, "codes are taken as they are"),
        (SPACE, {"room": 1}, "env.modalities.room is of 1; it must name a part"),
        (SPACE, {"room": ["room", 1]}, r"env.modalities.room is of \['room', 1\]; it must name a part"),
        (spaces.Dict(a=spaces.Text(5)), {"a": {"kind": "discrete"}}, "'a' is discrete, but is made of Text"),
        (
            spaces.Dict(a=spaces.Sequence(spaces.Discrete(2))),
            {"a": {"kind": "discrete"}},
            "'a' is discrete, but is made of Sequence",
        ),
        (SPACE, {}, "at least one modality"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused(space, modalities, message):
    with pytest.raises(ValueError, match=message):
        ModalityKeys(space, modalities, lambda part, size: make_encoder(part, size, ()))


MODALITIES = {
    "view": {"of": "camera", "size": 4},
    "place": {"of": "position", "weight": 3.0},
    "room": {"kind": "discrete"},
    "turn": {"of": "heading", "kind": "discrete"},
    "sight": {"of": "position", "kind": "cosine"},
}


def test_a_modality_is_of_its_own_name_and_weighs_one_unless_told_otherwise():
    assert Source(["camera"]) == Source(of=["camera"], size=None, kind="l2", weight=1.0, penalty=None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        Source(["camera"]).size = 3
    (made,) = keys_of({"camera": {"penalty": 2.0}}).space
    assert (made.name, made.size, made.kind, made.weight, made.penalty) == ("camera", 6, "l2", 1.0, 2.0)


def test_numbers_without_a_size_are_as_they_are_even_of_a_picture_but_for_agents_of_the_first_version():
    space = spaces.Dict(picture=spaces.Box(0, 255, (40, 40, 3), np.uint8), few=spaces.Box(0, 1000, (2,)))
    shown = {"picture": torch.full((1, 40, 40, 3), 51, dtype=torch.uint8), "few": torch.tensor([[500.0, 1000.0]])}
    for rule, expected in (({}, 51), ({"scale_rule": 2}, 51), ({"scale_rule": 1}, 0.2), ({"scale_rule": 0}, 51)):
        keys = ModalityKeys(space, {"picture": "picture", "few": "few"}, None, **rule)
        assert keys(shown)[0].tolist() == pytest.approx([expected] * 4800 + [500, 1000])
        made, _ = make_keys(space, 9, {"picture": "picture", "few": "few"}, None, **rule)
        assert torch.equal(made(shown), keys(shown))


def test_codes_of_all_kinds_and_of_nested_parts_stand_side_by_side():
    space = spaces.Dict(
        flags=spaces.MultiBinary((2, 2)),
        at=spaces.Tuple((spaces.Discrete(9), spaces.Box(0, 9, (2,), np.uint8))),
        alive=spaces.Box(0, 1, (1,), np.bool_),
    )
    keys = ModalityKeys(space, {"all": {"of": ["flags", "at", "alive"], "kind": "discrete"}}, None)
    shown = {
        "flags": torch.tensor([[[1, 0], [0, 1]]] * 2),
        "at": (torch.tensor([7, 8]), torch.tensor([[3, 4], [5, 6]])),
        "alive": torch.tensor([[True], [False]]),
    }
    assert keys.space.code_size == 8
    assert keys(shown).tolist() == [[1, 0, 0, 1, 7, 3, 4, 1], [1, 0, 0, 1, 8, 5, 6, 0]]


def test_the_parts_of_a_tuple_are_named_by_their_numbers():
    space = spaces.Tuple((spaces.Box(-1, 1, (2,)), spaces.Discrete(4)))
    keys = ModalityKeys(space, {"turn": {"of": "1", "kind": "discrete"}, "place": "0"}, None)
    assert keys((torch.tensor([[0.5, -0.5]]), torch.tensor([3]))).tolist() == [[3, 0.5, -0.5]]


def test_without_modalities_a_key_is_one_vector_of_the_size_asked_for():
    made, space = make_keys(SPACE["camera"], 7, None, lambda part, size: make_encoder(part, size, (8,)))
    assert made(torch.zeros(3, 6)).shape == (3, 7) and space.dim == 7 and len(space.modalities) == 1


def test_modalities_that_are_no_mapping_are_refused():
    with pytest.raises(ValueError, match=r"env.modalities is \['camera'\]; it must map names of modalities to parts"):
        parts_named(["camera"])


class TestAgents:
    @pytest.fixture(params=["nec", "mfec", "episodic"])
    def built(self, request):
        rates = ["agent.learn_after=8", "+agent.learn_every=2"] if request.param == "nec" else []
        config = composed(f"agent={request.param}", "agent.memory.k=3", *rates)
        config.env.id, config.env.modalities = "test/Rooms-v0", MODALITIES
        environments = make_environments("test/Rooms-v0", 2, parts=parts_named(MODALITIES))
        return build_agent(config.agent, environments, 1), environments

    def test_they_act_and_learn_and_know_a_situation_again_whatever_the_clock_says(self, built):
        agent, environments = built
        seen = environments.reset(seed=0)[0]
        for _ in range(40):
            transition = step(environments, seen, agent.act(seen))
            agent.observe(transition)
            agent.learn()
            seen = transition.reset_observation
        situations = 5  # and two actions
        assert 0 < len(agent.memories) <= 2 * situations

    def test_a_distance_is_the_weighted_sum_over_the_modalities(self, built):
        agent, environments = built
        make = getattr(agent, "encoder", None) or agent.project
        seen = {name: torch.as_tensor(part) for name, part in environments.reset(seed=0)[0].items()}
        with torch.no_grad():
            key = make(seen)  # [2, D]
        memory = agent.memories[0]
        memory.write(key[:1], torch.ones(1, 1))
        moved = key[:1].clone()
        moved[0, 4] += 2  # place, which weighs 3, and its direction
        unit = torch.nn.functional.normalize
        turned = (unit(moved[:, -2:]) - unit(key[:1, -2:])).square().sum().item()
        found = memory.lookup(moved, touch=False)
        assert found.distances[0, 0].item() == pytest.approx(3 * 4 + turned, rel=1e-5)


def test_parts_that_no_modality_names_are_hidden():
    seen, _ = make_environments("test/Rooms-v0", 2, parts=["camera", "room"]).reset(seed=0)
    assert sorted(seen) == ["camera", "room"]


def test_where_they_cannot_be_hidden_that_is_said():
    gym.register("test/NativeRooms-v0", vector_entry_point=native)
    with pytest.raises(UsageError, match=r"leaves out clock, heading.*env.vectorization=sync"):
        make_environments(
            "test/NativeRooms-v0", 1, vectorization="vector_entry_point", parts=["camera", "position", "room"]
        )


def native(num_envs, **_):
    return gym.vector.SyncVectorEnv([Rooms] * num_envs, autoreset_mode=gym.vector.AutoresetMode.SAME_STEP)
