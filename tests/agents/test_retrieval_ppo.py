"""PPO with recall: exactly PPO where recall is shut, and blind to what it could not have known."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from gymnasium import spaces
from hydra.utils import instantiate
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config
from engram_rl.agents.common.seeding import generator_for
from engram_rl.agents.retrieval.tokens import NEIGHBOURS, SHOWN
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.rollout import step
from tests.agents import ppo_worlds
from tests.agents.ppo_worlds import VECTOR

SMALL = "num_steps=32 minibatch_size=64 epochs=2"


def environments(num_envs=4, **kwargs):
    config = environment_config("newgoal_searched", {"num_envs": num_envs})
    config["kwargs"] |= {"n": 5, "period": 4, "jitter": 1} | kwargs
    return build_environments(OmegaConf.create(config))


def agent(envs, name="retrieval_ppo", settings="", seed=0):
    return build_agent(OmegaConf.create(agent_config(f"{name} {SMALL} {settings}")), envs, seed)


def play(made, envs, steps, seed=0, tamper=lambda t, transition: transition):
    """The actions taken, `[T, E]`, and what learning reported."""
    observation, _ = envs.reset(seed=seed)
    actions, reports = [], []
    for t in range(steps):
        actions.append(made.act(observation))
        transition = tamper(t, step(envs, observation, actions[-1]))
        made.observe(transition)
        if report := {k: v for k, v in made.learn().items() if k.startswith("train/")}:
            reports.append(report)
        observation = transition.reset_observation
    return np.array(actions), reports


def weights(made):
    return {name: part for name, part in made.policy.state_dict().items() if "fusion" not in name}


@pytest.mark.parametrize("held", ["+attention.gate=0.0 +attention.learn_gate=false", "control=novelty"])
def test_with_the_gate_held_at_0_it_is_plain_ppo_bit_for_bit(held):
    envs = environments()
    same = "learning_rate=3e-3 entropy_coefficient=0.01"
    plain = agent(envs, "ppo", same)
    shut = agent(envs, settings=held)
    (actions, reports), (same_actions, same_reports) = (play(made, envs, 100) for made in (plain, shut))
    assert np.array_equal(actions, same_actions)
    assert len(reports) == 3 and reports == same_reports
    assert all(torch.equal(part, weights(shut)[name]) for name, part in weights(plain).items())


def test_an_open_gate_makes_a_difference():
    envs = environments()
    reports = [
        play(agent(envs, settings=s), envs, 100)[1] for s in ("", "+attention.gate=0.0 +attention.learn_gate=false")
    ]
    assert reports[0] != reports[1]


def test_the_future_of_the_episode_changes_nothing_before_it_not_even_in_the_update():
    """Rewards of the present episodes' future are changed; what the update sees of the steps before stays the same."""
    envs, fork, shown = environments(step_limit=1000), 20, []
    for changed in (False, True):
        made = agent(envs)

        def tamper(t, transition, changed=changed):
            reward = np.full(4, float(changed and t >= fork))
            done = np.full(4, t in (9, 15, 25))
            never = np.zeros(4, bool)
            return type(transition)(
                transition.observation, transition.action, reward + (t == 15), done, never,
                transition.next_observation, transition.reset_observation,
            )  # fmt: skip

        observation, _ = envs.reset(seed=0)
        made.policy.eval()
        for t in range(31):
            transition = tamper(t, step(envs, observation, np.full(4, t // 4 % 4)))
            made.act(observation)
            made.observe(transition)
            observation = transition.reset_observation
        shown.append(made)
    before = slice(0, fork + 1)
    for name in (NEIGHBOURS, SHOWN):
        one, other = (made._rollout.stacked()["extras"][name] for made in shown)
        assert torch.equal(one[before], other[before])
        assert not torch.equal(one[27:31], other[27:31])  # once that episode has ended, it is known
    outputs = []
    for made in shown:
        kept = made._rollout.stacked()
        seen, extras = kept["seen"][before], kept["extras"]
        extras = {name: part[before].flatten(0, 1) for name, part in extras.items()}
        starts = torch.zeros(1, 4 * (fork + 1), dtype=torch.bool)
        judged = made.policy(seen.flatten(0, 1), made._rollout.initial_state, starts, extras)
        outputs.append((judged.distribution.log_probs, judged.value))
    assert all(torch.equal(one, other) for one, other in zip(*outputs, strict=True))


def test_an_update_sees_what_the_actor_saw_though_the_memory_has_moved_on():
    envs = environments()
    made, read = agent(envs), []
    real = made.extras[-1].read
    made.extras[-1].read = lambda observation, *, explore: read.append(real(observation, explore=explore)) or read[-1]
    observation, _ = envs.reset(seed=0)
    for _ in range(31):
        transition = step(envs, observation, made.act(observation))
        made.observe(transition)
        observation = transition.reset_observation
    kept = made._rollout.stacked()["extras"]
    for t, shown in enumerate(read):
        assert all(torch.equal(shown[name], kept[name][t]) for name in shown)


def test_frozen_weights_stay_and_the_memory_lives_on():
    envs = environments()
    made = agent(envs)
    play(made, envs, 40)
    before, entries = (
        {name: part.clone() for name, part in made.policy.state_dict().items()},
        len(made.extras[-1].memory),
    )
    made.frozen = True
    play(made, envs, 100, seed=9)
    assert all(torch.equal(part, before[name]) for name, part in made.policy.state_dict().items())
    assert len(made.extras[-1].memory) > entries


def test_a_player_with_a_generator_draws_its_actions():
    envs = environments()
    made = agent(envs)
    play(made, envs, 40)
    observation, _ = envs.reset(seed=3)
    drawn, again, best = (made.player(4, g) for g in (generator_for(1, "x"), generator_for(1, "x"), None))
    rounds = [(drawn.act(observation), again.act(observation), best.act(observation)) for _ in range(20)]
    assert all(np.array_equal(a, b) for a, b, _ in rounds)
    assert any(not np.array_equal(a, c) for a, _, c in rounds)


@pytest.mark.parametrize(
    "settings",
    [
        "",
        "retrieval.memory_dropout=0 control=random",
        "control=shuffled",
        "retrieval.separate=false retrieval.neighbours=2",
    ],
)
def test_a_player_changes_nothing(settings):
    envs = environments()
    made = agent(envs, settings=settings)
    play(made, envs, 40)
    before = deepcopy(made.state_dict())
    player = made.player(4)
    observation, _ = envs.reset(seed=3)
    for _ in range(60):
        transition = step(envs, observation, player.act(observation))
        player.observe(transition)
        observation = transition.reset_observation
    assert same_state(made.state_dict(), before)


def test_it_reports_what_it_attends_to():
    envs = environments()
    made = agent(envs)
    observation, _ = envs.reset(seed=0)
    seen = {}
    for _ in range(64):
        transition = step(envs, observation, made.act(observation))
        made.observe(transition)
        seen |= made.learn()
        observation = transition.reset_observation
    assert 0 <= seen["retrieval/null_share"] <= 1
    assert 0 <= seen["retrieval/attention_entropy"] <= np.log(4 + 1)
    assert seen["retrieval/gate"] == pytest.approx(np.tanh(1.0), abs=0.1)
    assert seen["memory/size"] == len(made.extras[-1].memory)


def attention_by_hand(made, data):
    """What is told of the attention over the last step, environment by environment and head by head."""
    shown = {name: part[-1] for name, part in data["extras"].items()}
    starts = data["starts"][-1][None]
    features = made.policy.features(data["seen"][-1], made.state, starts, shown).features
    weights = made.policy.actor_fusion.read(made.policy.actor(features), shown)[1].tolist()  # [E, heads, K + 1]
    column = made.extras[-1].return_column
    heads = [head for env in weights for head in env]
    recalled = []
    for env, tokens in zip(weights, shown[NEIGHBOURS].tolist(), strict=True):
        attention = [sum(head[k] for head in env) / len(env) for k in range(len(tokens))]
        gained = [np.sign(token[column]) * (np.exp(abs(token[column])) - 1) for token in tokens]
        total = sum(attention)
        recalled.append(sum(a * g for a, g in zip(attention, gained, strict=True)) / total if total else 0.0)
    return {
        "retrieval/gate": np.tanh(made.policy.actor_fusion.attention.a.item()),
        "retrieval/attention_entropy": np.mean([-sum(w * np.log(w) for w in head if w) for head in heads]),
        "retrieval/null_share": np.mean([head[-1] for head in heads]),
        "retrieval/recalled_return": np.mean(recalled),
        "retrieval/realised_return": data["target"][-1].mean().item(),
    }


def test_what_is_told_of_the_attention_is_that_of_the_last_step():
    envs, given = environments(), []
    made = agent(envs, settings="retrieval.neighbours=2 retrieval.memory_dropout=0")
    real = made.update
    made.update = lambda data: given.append(data) or real(data)
    play(made, envs, 64)
    data, extras = given[-1], given[-1]["extras"]
    there = extras[SHOWN].clone()
    there[-1, 0] = False  # as if the first were shown nothing
    tokens = extras[NEIGHBOURS].masked_fill(~there.unsqueeze(3), 0)
    tokens[-1, 1:, :, made.extras[-1].return_column] *= -1  # and the others had been punished
    for shown in (extras, extras | {SHOWN: there, NEIGHBOURS: tokens}):
        changed = data | {"extras": shown}
        with torch.no_grad():
            assert made._attention(changed) == pytest.approx(attention_by_hand(made, changed), rel=1e-4)


ATTENTION = {"gate", "attention_entropy", "null_share", "recalled_return", "realised_return"}


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("retrieval.reward_sites=1", ATTENTION),
        ("retrieval.neighbours=2 +retrieval.by_action=true retrieval.logit_bias=3", ATTENTION | {"vote_strength"}),
        ("recurrent=8", set()),
        ("recurrent=8 retrieval.neighbours=2 retrieval.logit_bias=3", {"vote_strength"}),
    ],
)
def test_it_tells_what_it_can_of_how_it_uses_what_it_is_shown(settings, told):
    envs, seen = environments(), {}
    made = agent(envs, settings=settings)
    observation, _ = envs.reset(seed=0)
    for _ in range(32):
        transition = step(envs, observation, made.act(observation))
        made.observe(transition)
        seen |= made.learn()
        observation = transition.reset_observation
    assert {name for name in seen if name.startswith("retrieval/")} == {f"retrieval/{name}" for name in told}
    if "vote_strength" in told:
        assert seen["retrieval/vote_strength"] == pytest.approx(made.policy.logit_bias.strength.item())
        assert 2.5 < seen["retrieval/vote_strength"] < 3.5


@pytest.mark.parametrize(
    ("settings", "parts"), [("", ("extras", "rollout", "state", "starts")), ("control=novelty", ())]
)
def test_what_it_remembers_is_no_part_of_what_is_trained(settings, parts):
    assert agent(environments(), settings=settings).memory_parts == parts


@pytest.mark.parametrize(("name", "outcome"), [("retrieval_ppo", 2 + 2), ("retrieval_ppo_view", 2)])
def test_shuffled_retrieval_tells_another_outcome_and_nothing_else(name, outcome):
    envs = environments()
    made = agent(envs, name=name, settings="control=shuffled retrieval.memory_dropout=0")
    play(made, envs, 30)
    memory, control = made.extras[-1].memory, made.extras[-1]._retrieve.control
    size = memory.values.shape[1]
    assert len(memory) and size > outcome
    slots, values = memory.slots[:1].expand(1, 40), torch.full((1, 40, size), -99.0)
    told, _ = control.alter(slots, values, torch.ones(1, 40), memory)
    assert (told[..., :outcome] != -99).all() and (told[..., outcome:] == -99).all()


@pytest.mark.parametrize(("control", "shown"), [("none", True), ("empty", False), ("shuffled", True), ("random", True)])
def test_under_every_control_it_learns_from_what_it_was_shown(control, shown):
    envs = environments()
    made = agent(envs, settings=f"control={control} retrieval.memory_dropout=0")
    valid = []
    play(made, envs, 32 + 31, tamper=lambda t, transition: valid.append(made.extras[0]._acted_on.shown) or transition)
    assert bool(torch.stack(valid).any()) == shown
    assert torch.equal(made._rollout.stacked()["extras"][SHOWN], torch.stack(valid[32:]))


WORLDS = {
    "vector": VECTOR,
    "dict": spaces.Dict({"image": spaces.Box(0, 10, (7, 7, 3), np.uint8), "direction": spaces.Discrete(4)}),
    "dict with image": spaces.Dict({"image": spaces.Box(0, 255, (40, 40, 1), np.uint8), "speed": VECTOR}),
    "dict of dicts": spaces.Dict({"inner": spaces.Dict({"speed": VECTOR}), "direction": spaces.Discrete(4)}),
}


@pytest.mark.parametrize("show_previous", [False, True])
@pytest.mark.parametrize("name", ["retrieval_ppo_view", "self_imitation_ppo"])
@pytest.mark.parametrize("space", WORLDS.values(), ids=WORLDS)
def test_it_learns_from_every_kind_of_observation(space, name, show_previous):
    config = agent_config(f"{name} num_steps=8 minibatch_size=8 epochs=1 +show_previous={show_previous}".lower())
    make = instantiate({**config, "_partial_": True})
    made = make(space, spaces.Discrete(3), 2, 0)
    reports = ppo_worlds.play(made, ppo_worlds.World(space, rows=2, ends=0.5), 16)[1]
    assert np.isfinite(reports["train/value_loss"])
    assert made.act(ppo_worlds.batch(space, 0, 2), explore=False).shape == (2,)


def test_an_unknown_control_is_refused_by_name():
    with pytest.raises(ValueError, match="control is 'shuffle'; choose one of none, empty"):
        agent(environments(), settings="control=shuffle")


def test_what_once_led_to_reward_is_done_again_at_once_without_an_update():
    config = environment_config("minigrid_fixed", {"id": "MiniGrid-Empty-5x5-v0", "num_envs": 1})
    envs = build_environments(OmegaConf.create(config))
    made = build_agent(OmegaConf.create(agent_config("retrieval_ppo_view num_steps=512")), envs, 0)
    path, forward, right = [], 2, 1
    observation, _ = envs.reset(seed=0)
    made.act(observation)
    for action in [forward, forward, right, forward, forward]:
        transition = step(envs, observation, np.array([action]))
        made.observe(transition)
        path.append((observation, action))
        observation = transition.reset_observation
        made.act(observation)
    assert transition.reward[0] > 0
    for seen, action in path:
        assert made.act(seen, explore=True)[0] == made.act(seen, explore=False)[0] == action


@pytest.mark.parametrize(
    "settings",
    [
        "retrieval.neighbours=2 +show_previous=true +normalise_observations=true",
        "retrieval.neighbours=2 control=random",
    ],
)
def test_looking_at_what_is_recalled_tells_what_the_actor_is_shown_and_leaves_no_trace(settings):
    settings, told = f"{settings} retrieval.memory_dropout=0", []
    looked_at, left_alone = (agent(environments(), settings=settings) for _ in range(2))

    def look(t, transition):
        told.append(looked_at.retrieved(transition.reset_observation))
        return transition

    actions = play(looked_at, environments(), 90, tamper=look)[0]
    assert np.array_equal(actions, play(left_alone, environments(), 90)[0])
    assert same_state(looked_at.state_dict(), left_alone.state_dict())
    observation = environments().reset(seed=1)[0]
    retrieved, extra = looked_at.retrieved(observation), looked_at.extras[-1]
    control = extra._retrieve.control
    drawn = deepcopy(control.state_dict()) if control else None
    shown = extra.read(observation, explore=False)
    if control:
        control.load_state_dict(drawn)
    tokens = shown[NEIGHBOURS][0, shown[SHOWN][0]]
    assert len(retrieved.attention) == len(tokens) > 1
    assert retrieved.attention.sum() + retrieved.nothing == pytest.approx(1, abs=1e-5)
    assert np.array_equal(retrieved.place, observation["place"][0])
    others = [other.read(observation, explore=False) for other in looked_at.extras[:-1]]
    with torch.no_grad():
        seen = looked_at.perceive(observation, learn=False)
        beside = others[0] if others else {}
        features = looked_at.policy.features(seen, looked_at.state, looked_at.starts[None], beside).features
        weights = looked_at.policy.actor_fusion.read(looked_at.policy.actor(features), shown)[1][0]  # [heads, K + 1]
    attention = weights[0] / 2 + weights[1] / 2
    assert retrieved.attention == pytest.approx(attention[:-1][shown[SHOWN][0]].numpy(), abs=1e-6)
    assert retrieved.nothing == pytest.approx(attention[-1].item(), abs=1e-6)
    assert np.array_equal(retrieved.site, tokens[:, 0] > 0)
    assert np.allclose(retrieved.gained, torch.expm1(tokens[:, extra.return_column].abs()), atol=1e-5)
    assert np.allclose(retrieved.confidence, tokens[:, -1])
    assert np.allclose(np.maximum(retrieved.age, 1), 1 / tokens[:, -2])
    assert all(one is not None for one in told) and any(len(one.attention) for one in told)


def same_state(one, other):
    """Whether states are equal throughout."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_state(one[name], other[name]) for name in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same_state, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else np.array_equal(one, other)


def test_an_agent_without_attention_tells_nothing():
    made = agent(environments(), settings="control=novelty")
    assert not hasattr(made, "retrieved")
