"""The network: which layers it has, where its weights begin, what room it needs, and what is said when it has none."""

from functools import partial
from inspect import Parameter, signature

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import nn

from engram_rl.agents.policy_gradient.policies import make_memory_core, make_policy
from engram_rl.memory import DifferentiableNeuralDictionary, checks
from engram_rl.memory.cores import CORES
from engram_rl.memory.cores.gru import GRU
from tests.agents.ppo_worlds import TWO, VECTOR, E, T, make_agent

HIDDEN = (7, 5, 6)
PICTURE = spaces.Box(0, 255, (40, 40, 3), np.uint8)
BOTH = spaces.Dict({"image": PICTURE, "speed": spaces.Box(-1, 1, (2,))})
LIFELONG = partial(CORES["lifelong"], memory=partial(DifferentiableNeuralDictionary, capacity=40, k=3))


def layers(network):
    """Inputs and outputs of its linear layers, and the names of the others."""
    kinds = (nn.Linear, nn.Conv2d, nn.Tanh, nn.ReLU)
    found = [one for one in network.modules() if isinstance(one, kinds)]
    return [(one.in_features, one.out_features) if isinstance(one, nn.Linear) else type(one).__name__ for one in found]


TANH = [(3, 7), "Tanh", (7, 5), "Tanh", (5, 6), "Tanh"]


@pytest.mark.parametrize(
    ("recurrent", "before", "each", "features"),
    [(0, [], TANH, 6), (4, TANH, [], 4)],
)
def test_rows_of_numbers_pass_a_perceptron_each_or_one_before_the_core(recurrent, before, each, features):
    policy = make_policy(VECTOR, TWO, 0, hidden=HIDDEN, recurrent=recurrent)
    assert layers(policy.encoder) == before and layers(policy.actor) == layers(policy.critic) == each
    assert (policy.head.weight.shape, policy.value.weight.shape) == ((2, features), (1, features))
    assert recurrent == 0 or (policy.core.input_size, policy.core.output_size) == (6, 4)
    assert policy.recurrent == bool(recurrent) and policy.device == torch.device("cpu")


@pytest.mark.parametrize("recurrent", [0, 4])
@pytest.mark.parametrize(
    ("space", "last"),
    [(PICTURE, [(64, 9), "ReLU"]), (BOTH, [(64, 6), (2, 7), "ReLU", (7, 5), "ReLU", (5, 6), (12, 9), "ReLU"])],
    ids=["picture", "picture and numbers"],
)
def test_pictures_pass_shared_convolutions_and_no_layers_after_them(space, last, recurrent):
    policy = make_policy(space, TWO, 0, hidden=HIDDEN, picture_features=9, recurrent=recurrent)
    assert layers(policy.encoder) == ["Conv2d", "ReLU"] * 3 + last
    assert layers(policy.actor) == layers(policy.critic) == []
    assert policy.head.weight.shape == (2, recurrent or 9)
    for layer in policy.encoder.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            rows = layer.weight.flatten(1)
            rows = rows if len(rows) <= rows.shape[1] else rows.T
            torch.testing.assert_close(rows @ rows.T, 2 * torch.eye(len(rows)), atol=1e-4, rtol=0)
            assert not layer.bias.any()


@pytest.mark.parametrize(
    ("observations", "appended", "fused"),
    [(VECTOR, {}, 6), (VECTOR, {"more": 2}, 6), (PICTURE, {}, 9), (PICTURE, {"more": 2}, 11)],
)
def test_a_fusion_is_as_wide_as_what_it_changes_and_begins_from_a_seed_of_its_own(observations, appended, fused):
    def fusion(width):
        assert width == fused
        return nn.Linear(width, width)

    settings = {"hidden": HIDDEN, "picture_features": 9, "appended": appended}
    plain = make_policy(observations, TWO, 3, **settings)
    after = torch.rand(3)
    mixed = make_policy(observations, TWO, 3, **settings, fusion=fusion)
    assert torch.equal(torch.rand(3), after), "torch's generator goes on as without"
    theirs = dict(mixed.named_parameters())
    assert all(torch.equal(theirs[name], parameter) for name, parameter in plain.named_parameters())
    torch.manual_seed(4)
    for expected, found in ((nn.Linear(fused, fused), one) for one in (mixed.actor_fusion, mixed.critic_fusion)):
        assert torch.equal(expected.weight, found.weight)


@pytest.mark.parametrize("name", CORES)
def test_no_gradient_flows_into_a_first_state(name):
    core = LIFELONG if name == "lifelong" else CORES[name]
    state = make_policy(VECTOR, TWO, 0, hidden=[4], recurrent=8, core=core).initial_state(2)
    assert state and all(len(leaf) == 2 and not leaf.requires_grad for leaf in state.values())


def test_only_a_core_whose_memory_outlives_episodes_is_lifelong():
    kept = {core: make_agent(recurrent=4, core=core).policy for core in (GRU, LIFELONG)}
    assert kept[LIFELONG].lifelong is kept[LIFELONG].core is not None
    assert kept[GRU].lifelong is None and make_agent().policy.lifelong is None
    assert make_agent().policy.initial_state(2) == {}


def test_parameters_with_a_rate_of_their_own_come_last_and_all_others_are_one_group():
    for core, names in ((None, []), (GRU, []), (CORES["store"], ["core.ages", "core.positions", "core.places"])):
        policy = make_policy(VECTOR, TWO, 0, hidden=[4], recurrent=0 if core is None else 8, core=core or GRU)
        first, *others = policy.parameter_groups(0.1)
        named = {id(parameter): name for name, parameter in policy.named_parameters()}
        assert [named[id(one)] for group in others for one in group["params"]] == names
        assert first["lr"] == 0.1 and len(first["params"]) == len(named) - len(names)


# ---- the room that a core needs


@pytest.fixture
def machine(monkeypatch):
    return lambda size: monkeypatch.setattr(checks, "ram", lambda device: size)


@pytest.mark.parametrize(
    ("core", "envs", "size", "what"),
    [
        ("gru", 1, 1344, "a recurrent core of 8 units"),  # 3 gates of 4 + 8 inputs and 2 biases for 8 units
        ("gru", 43, 1376, "the states of a GRU in 43 environments"),  # of 8 numbers each
        ("lstm", 43, 2752, "the states of a LSTM in 43 environments"),  # of 2 times 8 numbers
    ],
)
def test_a_core_needs_room_for_its_weights_and_for_a_state_of_every_environment(machine, core, envs, size, what):
    machine(size)
    before = torch.get_rng_state()
    made = make_memory_core(CORES[core], 4, 8, envs)
    assert (made.input_size, made.output_size) == (4, 8) and next(made.parameters()).device.type == "cpu"
    torch.set_rng_state(before)
    assert torch.equal(next(CORES[core](4, 8).parameters()), next(made.parameters())), "looking draws nothing"
    machine(size - 1)
    with pytest.raises(ValueError, match=rf"{what} would take .*lower"):
        make_memory_core(CORES[core], 4, 8, envs)


# ---- when it can learn no more


def test_weights_that_are_no_numbers_are_told_from_observations_that_are_none():
    policy = make_policy(VECTOR, TWO, 0, hidden=[4], recurrent=4)
    seen, starts = torch.ones(T * E, 3), torch.zeros(T, E, dtype=torch.bool)
    arguments = policy.initial_state(E), starts, {}
    with pytest.raises(ValueError, match=r"^GRU was given NaN or infinity"):
        policy.features(seen * torch.nan, *arguments)
    policy.encoder[0].weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match=r"learning has diverged\. .*lower agent\.learning_rate"):
        policy.features(seen, *arguments)


def test_what_is_left_out_is_as_documented():
    taken = signature(make_policy).parameters.values()
    assert {one.name: one.default for one in taken if one.default is not Parameter.empty} == {
        "picture_features": 512, "recurrent": 0, "core": GRU, "num_envs": 1, "appended": None, "fusion": None,
        "logit_bias": None, "scale_rule": 2,
    }  # fmt: skip
    policy = make_policy(VECTOR, TWO, 0, hidden=[4])
    assert policy.core is policy.actor_fusion is policy.critic_fusion is policy.logit_bias is None


def pointing(choices):
    return partial(CORES["store"], capacity=4, choices=choices, choice_columns=[[0, 2]])


def test_scores_of_choices_are_added_to_the_logits_and_neither_actor_nor_critic_sees_them():
    policy = make_policy(VECTOR, TWO, 0, hidden=[], recurrent=4, core=pointing(2)).double()
    seen, starts = torch.randn(6, 3, dtype=torch.float64), torch.zeros(3, 2, dtype=torch.bool)
    features, _, _ = policy.features(seen, policy.initial_state(2), starts, {})
    assert features.shape == (6, 6)
    logits = features[:, :4] @ policy.head.weight.T + policy.head.bias + features[:, 4:]
    actions = torch.tensor([0, 1, 0, 1, 1, 0])
    expected = torch.log_softmax(logits, 1)[torch.arange(6), actions]
    torch.testing.assert_close(policy.distribution(features, {}).log_prob(actions), expected, rtol=0, atol=1e-12)
    value = features[:, :4] @ policy.value.weight.T + policy.value.bias
    torch.testing.assert_close(policy.values(features, {}), value.squeeze(1), rtol=0, atol=1e-12)


def test_scores_of_another_number_of_choices_are_refused():
    with pytest.raises(
        ValueError, match=r"agent\.core\.choices is 1, but .*Discrete\(2\) has 2 parameters; set agent\.core\.choices=2"
    ):
        make_policy(VECTOR, TWO, 0, hidden=[], recurrent=4, core=pointing(1))
