"""Memory cores in the agents: acting is learning, sequences stay whole, and states are saved, restored and refused."""

import copy
from functools import partial
from inspect import Parameter, signature

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from benchmarks.configuration import CONF, agent_config, environment_config
from engram_rl.agents.ppo import make_ppo
from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.cores import CORES, WRAPPERS
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import step
from tests.agents.ppo_worlds import TWO, VECTOR, E, T, World, make_agent, play, same

SMALL = {
    "compressive": {"window": 4, "compressed": 4, "compression": 2},
    "dnc": {"slots": 6, "width": 4},
    "dual": {"core": partial(CORES["dnc"], slots=4, width=3)},
    "gtrxl": {"window": 5},
    "lifelong": {"memory": partial(DifferentiableNeuralDictionary, capacity=40, k=3)},
    "memory_network": {"slots": 6},
    "multigrid": {"channels": 2, "base": 2},
    "ntm": {"slots": 6, "width": 4},
    "sam": {"slots": 6, "width": 4},
    "store": {"capacity": 6},
    "tiers": {
        "memory": partial(DifferentiableNeuralDictionary, capacity=40, k=3),
        "ram": partial(CORES["store"], capacity=6),
    },
}
ALL = pytest.mark.parametrize("name", CORES)


def core_of(name):
    return partial(CORES[name], **SMALL.get(name, {}))


def with_core(name, **changes):
    return make_agent(**({"recurrent": 8, "core": core_of(name), "show_previous": True} | changes))


@ALL
@pytest.mark.parametrize("carry", [False, True])
def test_what_is_learned_from_is_what_acting_saw(name, carry):
    agent = with_core(name, carry_state=carry)
    play(agent, World(ends=0.4), 2 * T + 3)  # so that the rollout begins amid episodes, with weights that have learned
    agent.forget_open_steps()
    seen, features = [], agent.policy.features

    def listen(*arguments):
        found = features(*arguments)
        seen.append(found.features.detach())
        return found

    agent.policy.features = listen
    play(agent, World(ends=0.4, seed=1), T, learn=False)
    acted = torch.stack([one for one in seen if len(one) == E][:T])
    agent._evaluated()
    unrolled = next(one for one in seen if len(one) == T * E)
    torch.testing.assert_close(unrolled.unflatten(0, (T, E)), acted, rtol=1e-4, atol=1e-5)


@ALL
def test_it_learns_and_goes_on_as_if_it_had_not_been_saved(name):
    agent, other = with_core(name), with_core(name, seed=1)
    world = World(ends=0.3)
    _, metrics = play(agent, world, 2 * T + 3)
    assert np.isfinite([*metrics.values()]).all() and metrics["train/approx_kl"] != 0
    other.load_state_dict(copy.deepcopy(agent.state_dict()))
    assert same(agent.state_dict(), other.state_dict())
    twin = copy.deepcopy(world)
    play(agent, world, 2 * T)
    play(other, twin, 2 * T)
    assert same(agent.state_dict(), other.state_dict())


@ALL
def test_playing_elsewhere_leaves_no_trace(name):
    agent, world = with_core(name), World()
    play(agent, world, T + 3)
    before = copy.deepcopy(agent.state_dict())
    player, other = agent.player(5), World(rows=5, seed=4)
    for _ in range(4):
        player.observe(other.step(player.act(other.shown)))
    agent.act(world.shown, explore=False)
    agent.inspect()
    agent.read_weights()
    assert same(before, agent.state_dict())


def slow_loss(agent, data, initial):
    """Equation 9 with every environment by itself, a step after the other, its state carried by hand."""
    policy = agent.policy
    log_prob, value, entropy = ([[None] * E for _ in range(T)] for _ in range(3))
    losses = []
    for e in range(E):
        state = {leaf: part[e : e + 1] for leaf, part in initial.items()}
        for t in range(T):
            if data["starts"][t, e]:
                state = policy.core.initial_state(1)
            x = torch.cat([policy.encoder(data["seen"][t, e : e + 1]), data["extras"]["previous"][t, e : e + 1]], 1)
            output, state, own = policy.core.step(x, state)
            losses.append(own)
            distribution = policy.distribution(output, {})
            log_prob[t][e] = distribution.log_prob(data["action"][t, e : e + 1])[0]
            value[t][e], entropy[t][e] = policy.values(output, {})[0], distribution.entropy()[0]
    log_prob, value, entropy = (torch.stack([torch.stack(row) for row in part]) for part in (log_prob, value, entropy))
    advantage = data["advantage"]
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    ratio = (log_prob - data["log_prob"]).exp()
    surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
    loss = -surrogate + 0.5 * (value - data["target"]).square().mean() - 0.01 * entropy.mean()
    return loss + 3.0 * sum(own["compression"] for own in losses) / len(losses) if losses[0] else loss


@pytest.mark.parametrize("name", ["gru", "lstm", "dnc", "delta", "store", "compressive"])
def test_the_gradient_of_a_minibatch_of_sequences_is_that_of_backpropagation_through_every_step(name):
    weights = {"compression": 3.0} if name == "compressive" else None
    agent = with_core(name, minibatch_size=T * E, epochs=1, core_losses=weights)
    play(agent, World(ends=0.3), T + 2)  # a rollout on, so that the next begins amid episodes
    agent.forget_open_steps()
    play(agent, World(ends=0.3, seed=5), T, learn=False)
    data, initial = agent._evaluated(), agent._rollout.initial_state
    assert any(part.abs().sum() > 0 for part in initial.values())
    found = {}
    agent.descent = lambda loss: found.setdefault("loss", loss)
    agent.update(copy.deepcopy(data))
    parameters = [parameter for _, parameter in agent.policy.named_parameters()]
    expected = torch.autograd.grad(slow_loss(agent, data, initial), parameters, allow_unused=True)
    gradients = torch.autograd.grad(found["loss"], parameters, allow_unused=True)
    names = [name for name, _ in agent.policy.named_parameters()]
    for parameter, one, slow in zip(names, gradients, expected, strict=True):
        none = torch.zeros(())
        torch.testing.assert_close(
            none if one is None else one,
            none if slow is None else slow,
            rtol=2e-3,
            atol=2e-6,
            msg=lambda m, p=parameter: f"{p}: {m}",
        )


@pytest.mark.parametrize("name", ["gru", "dnc", "store"])
def test_an_episode_that_was_cut_is_worth_its_last_observation_in_the_state_that_it_had(name):
    agent = with_core(name, show_previous=False)
    world, state = World(ends=0.6), agent.policy.initial_state(E)
    cut = 0
    for t in range(T - 1):
        starts = agent.starts.clone()
        transition = world.step(agent.act(world.shown))
        with torch.no_grad():
            x = agent.policy.encoder(agent.acted["seen"])
            _, state, _ = agent.policy.core.step(x, state, starts)
            then, _, _ = agent.policy.core.step(
                agent.policy.encoder(torch.from_numpy(transition.next_observation)), state
            )
            expected = agent.policy.values(then, {}).numpy() * transition.truncated
        agent.observe(transition)
        cut += transition.truncated.sum()
        assert agent._rollout._final_value[t] == pytest.approx(expected, abs=1e-5)
    assert cut


def test_rates_that_a_core_wants_for_parts_of_it_stay_when_the_agents_own_changes():
    agent = with_core("store", learning_rate=0.004)
    play(agent, World(), T)
    rates = {
        name: group["lr"]
        for group, wanted in zip(
            agent.descent._optimiser.param_groups, agent.policy.parameter_groups(0.004), strict=True
        )
        for name, parameter in agent.policy.named_parameters()
        if any(parameter is one for one in wanted["params"])
    }
    assert (rates["core.ages"], rates["core.positions"], rates["value.weight"]) == (3e-2, 1e-2, 0.004)
    assert len(rates) == len([*agent.policy.parameters()])


def test_a_step_with_rates_of_its_own_is_that_of_the_optimiser_on_the_parameters_apart():
    agent, twin = with_core("store", max_gradient_norm=None), with_core("store", max_gradient_norm=None)
    agent.descent.set_rate(0.01)
    optimiser = torch.optim.Adam(twin.policy.parameter_groups(0.01), eps=1e-5)
    for one in twin.policy.parameters():
        one.grad = None
    for seed in range(3):
        for each in (agent, twin):
            x = torch.randn(5, 2, each.policy.core.input_size, generator=torch.Generator().manual_seed(seed))
            loss = each.policy.core(x, each.policy.core.initial_state(2))[0].square().sum()
            if each is agent:
                each.descent(loss)
            else:
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
    for (name, one), other in zip(agent.policy.named_parameters(), twin.policy.parameters(), strict=True):
        torch.testing.assert_close(one, other, msg=lambda m, n=name: f"{n}: {m}")
    assert not torch.equal(
        agent.policy.core.ages, make_agent(recurrent=8, core=core_of("store"), show_previous=True).policy.core.ages
    )


def test_losses_of_a_core_are_weighed_by_name_and_told():
    names = ("core/compression_loss", "train/policy_loss")
    reports = {}
    for weight in (0.0, 1.0, 50.0):
        agent = with_core("compressive", core_losses={"compression": weight}, epochs=4)
        _, reports[weight] = play(agent, World(ends=0), 2 * T)
        assert all(name in reports[weight] for name in names)
    assert reports[50.0][names[0]] < reports[0.0][names[0]]
    _, unsaid = play(with_core("compressive", epochs=4), World(ends=0), 2 * T)
    assert unsaid == reports[1.0]


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("compressive", {"compresion": 1.0}, r"unknown loss of CompressiveTransformer 'compresion'.*compression"),
        ("compressive", {"compression": -1.0}, r"core_losses.compression is -1.0; it must be at least 0"),
        ("compressive", {"compression": float("nan")}, r"core_losses.compression is nan"),
        ("gru", {"compression": 1.0}, r"GRU has no loss of its own"),
    ],
)
def test_weights_of_losses_that_there_are_not_are_refused(name, weights, message):
    with pytest.raises(ValueError, match=message):
        with_core(name, core_losses=weights)


def test_without_a_core_there_is_no_loss_to_weigh():
    with pytest.raises(ValueError, match="there is no core"):
        make_agent(core_losses={"compression": 1.0})


def _without(state, leaf):
    return {name: part for name, part in state.items() if name != leaf}


SPOILT = {
    "holds hidden, and that of LSTM holds hidden, cell": lambda state: _without(state, "cell"),
    "holds hidden, cell, more": lambda state: state | {"more": state["cell"]},
    r"'hidden' has shape \[4, 8\], and that of LSTM has \[3, 8\]": lambda state: (
        state | {"hidden": torch.cat([state["hidden"], state["hidden"][:1]])}
    ),
    r"'hidden' has shape \[2, 8\], and that of LSTM has \[3, 8\]": lambda state: (
        state | {"hidden": state["hidden"][:2]}
    ),
    r"'cell' has shape \[3, 7\]": lambda state: state | {"cell": state["cell"][:, :7]},
}


@pytest.mark.parametrize("message", SPOILT)
def test_a_saved_state_that_does_not_fit_is_refused_by_name_and_changes_nothing(message):
    agent, other = with_core("lstm"), with_core("lstm", seed=3)
    play(agent, World(), T + 2)
    saved, before = agent.state_dict(), copy.deepcopy(other.state_dict())
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(saved | {"state": SPOILT[message](saved["state"])})
    assert same(other.state_dict(), before)


def test_a_saved_state_of_another_kind_of_policy_is_refused_and_a_failure_late_changes_nothing():
    plain, recurrent = make_agent(), with_core("gru", show_previous=False)
    with pytest.raises(ValueError, match="holds hidden, and that of a policy without a core holds nothing"):
        plain.load_state_dict(recurrent.state_dict())
    with pytest.raises(ValueError, match="holds nothing, and that of GRU holds hidden"):
        recurrent.load_state_dict(plain.state_dict())
    agent, other = with_core("gru"), with_core("gru", seed=3)
    play(agent, World(), T + 2)
    saved, before = agent.state_dict(), copy.deepcopy(other.state_dict())
    for broken in (_without(saved, "steps"), saved | {"extras": []}, saved | {"extras": saved["extras"] * 2}):
        with pytest.raises((KeyError, ValueError)):
            other.load_state_dict(broken)
        assert same(other.state_dict(), before)


@pytest.mark.parametrize("size", [-1, 2.5, True])
def test_a_size_that_a_core_cannot_have_is_refused_before_anything_runs(size):
    with pytest.raises(ValueError, match=r"GRU's hidden_size is .*; it must be a whole number of at least 1"):
        make_agent(recurrent=size)


@ALL
def test_its_yaml_says_what_its_class_takes_by_default(name):
    node = OmegaConf.to_container(OmegaConf.load(CONF / "core" / f"{name}.yaml"))
    assert node["recurrent"] == 64 and isinstance(node["hidden"], list)
    core = node["core"]
    assert (core.pop("_target_"), core.pop("_partial_")) == (f"engram_rl.memory.cores.{CORES[name].__name__}", True)
    taken = [p for p in signature(CORES[name].__init__).parameters.values() if p.default is not Parameter.empty]
    defaults = {one.name: one.default for one in taken}
    if name in ("lifelong", "tiers"):
        memory = core.pop("memory")
        given = defaults.pop("memory").keywords
        assert {key: memory[key] for key in given} == given and memory["index"] == "exact"
    for part in [key for key, value in defaults.items() if isinstance(value, type)]:  # what makes a core
        inside = defaults.pop(part)
        assert core.pop(part) == {"_target_": f"engram_rl.memory.cores.{inside.__name__}", "_partial_": True}
    assert core == {key: list(value) if isinstance(value, tuple) else value for key, value in defaults.items()}


WORLDS = {"newgoal_searched": {"num_envs": 4, "kwargs": {"n": 5}}}
"""Small enough that episodes end soon."""


def played(agent, core, env="popgym-AutoencodeEasy-v0", steps=20, more="", kind=None):
    environments = build_environments(OmegaConf.create(environment_config(env, WORLDS.get(env, {"num_envs": 2}))))
    settings = agent_config(f"{agent} num_steps=8 minibatch_size=16 {more}", core=core)
    made, metrics = build_agent(OmegaConf.create(settings), environments, 0), {}
    observation, _ = environments.reset(seed=0)
    for _ in range(steps):
        transition = step(environments, observation, made.act(observation))
        made.observe(transition)
        metrics |= made.learn()
        observation = transition.reset_observation
    return made, metrics


@ALL
def test_ppo_learns_with_it_as_its_yaml_makes_it(name):
    agent, metrics = played("ppo", name, more="+show_previous=action")
    assert type(agent.policy.core) is CORES[name] and np.isfinite([*metrics.values()]).all()
    told = agent.inspect()
    assert set(told) == {f"core/{key}" for key in agent.policy.core.inspect(agent.state)}
    assert all(np.isfinite(value) for value in told.values())


@pytest.mark.parametrize("name", WRAPPERS)
def test_ppo_learns_with_a_core_around_a_core_as_its_yaml_makes_it(name):
    core = OmegaConf.to_container(OmegaConf.load(CONF / "core" / f"{name}.yaml"))["core"]
    taken = {one.name: one.default for one in signature(WRAPPERS[name].__init__).parameters.values()}
    inside = core.pop("core")
    assert inside == {"_target_": f"engram_rl.memory.cores.{taken['core'].__name__}", "_partial_": True}
    assert {key: core[key] for key in core if not key.startswith("_")}.items() <= taken.items()
    agent, metrics = played("ppo", name, more="+show_previous=action")
    assert type(agent.policy.core) is WRAPPERS[name] and type(agent.policy.core.core) is taken["core"]
    assert np.isfinite([*metrics.values()]).all() and np.isfinite([*agent.inspect().values()]).all()


@pytest.mark.parametrize("name", ["dnc", "store", "lifelong", "lstm"])
def test_retrieval_composes_with_a_core(name):
    agent, metrics = played("retrieval_ppo", name, env="newgoal_searched", steps=60)
    assert type(agent.policy.core) is CORES[name] and metrics["memory/size"] > 0
    assert agent.retrieved(environment_rows()) is not None


def test_what_retrieval_attends_to_beside_scores_of_choices_is_told():
    scores = "core.choices=4 core.choice_columns=[[0,4]]"
    agent, _ = played("retrieval_ppo", "store", env="newgoal_searched", steps=60, more=scores)
    assert agent.policy.core.choices == 4 and agent.retrieved(environment_rows()) is not None


def environment_rows():
    environments = build_environments(
        OmegaConf.create(environment_config("newgoal_searched", WORLDS["newgoal_searched"]))
    )
    return environments.reset(seed=3)[0]


@pytest.mark.parametrize("name", ["gru", "dnc", "store", "lifelong"])
def test_self_imitation_imitates_whole_episodes_with_a_core(name):
    agent, metrics = played("self_imitation_ppo", name, env="newgoal_searched", steps=90, more="batches=2")
    assert "train/imitation_loss" in metrics and len(agent._replay)
    rows = agent.state_dict()["imitation"]["replay"]["rows"]
    assert rows["starts"][0] and rows["starts"].sum() >= 2
    assert "whole" not in rows


def test_self_imitation_refuses_a_state_that_is_carried_over_episodes():
    with pytest.raises(ValueError, match=r"agent\.carry_state=false"):
        played("self_imitation_ppo", "gru", env="newgoal_searched", more="+carry_state=true")


def test_what_is_imitated_is_judged_from_the_first_step_of_its_episode():
    agent, _ = played("self_imitation_ppo", "lstm", env="newgoal_searched", steps=90, more="batches=2")
    batch = agent._replay.sample_episodes(64, "starts")
    seen, starts = torch.from_numpy(batch["seen"]), torch.from_numpy(batch["starts"])
    assert len(seen) >= 64 and starts[0]
    with torch.no_grad():
        judged = agent.policy(seen, agent.policy.initial_state(1), starts.unsqueeze(1), {})
        state, values = agent.policy.initial_state(1), []
        for t in range(len(seen)):
            state = agent.policy.initial_state(1) if starts[t] else state
            output, state, _ = agent.policy.core.step(agent.policy.encoder(seen[t : t + 1]), state)
            values.append(agent.policy.values(output, {}))
    torch.testing.assert_close(judged.value, torch.cat(values), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("agent", ["nec", "mfec", "episodic", "fast_slow"])
def test_agents_without_a_core_refuse_one_by_name(agent):
    environments = build_environments(OmegaConf.create(environment_config("cartpole", {})))
    settings = agent_config(agent, core="dnc")
    with pytest.raises(UsageError, match=r"makes an agent without a memory core.*\(DNC\).*agent=ppo"):
        build_agent(OmegaConf.create(settings), environments, 0)


def test_ppo_gru_is_ppo_with_the_gru():
    assert agent_config("ppo_gru")["recurrent"] == agent_config("ppo", core="gru")["recurrent"] == 64
    first, _ = played("ppo_gru", None)
    second, _ = played("ppo", "gru")
    third, _ = played("ppo_gru", "gru")
    assert same(first.state_dict(), second.state_dict()) and same(first.state_dict(), third.state_dict())


def test_a_core_of_ones_own_is_taken_like_any_other():
    class Last(CORES["gru"]):
        """The last input, and no more."""

    agent = make_ppo(VECTOR, TWO, E, 0, recurrent=6, core=Last, num_steps=T, minibatch_size=T)
    _, metrics = play(agent, World(), T)
    assert isinstance(agent.policy.core, Last) and "train/policy_loss" in metrics


def test_weights_that_have_diverged_are_told_with_a_remedy_and_not_as_a_matter_of_the_core():
    agent = with_core("gru", learning_rate=1e30, max_gradient_norm=None, epochs=4)
    with pytest.raises(ValueError, match=r"(weights are of no use|diverged).*lower agent\.learning_rate"):
        play(agent, World(), 4 * T)


@pytest.mark.parametrize("name", ["store", "memory_network", "dnc", "ntm", "sam", "gtrxl", "lifelong"])
def test_what_its_heads_read_is_shown_of_the_last_rollout(name):
    agent = with_core(name)
    assert agent.read_weights() is None
    play(agent, World(ends=0.3), T + 1)
    read = agent.read_weights()
    assert read.weights.shape[0] == T == len(read.starts) and read.starts[0]
    assert read.by == agent.policy.core.reads_by
    sums = read.weights.sum(-1)
    assert ((abs(sums - 1) < 1e-4) | (sums <= 1 + 1e-4)).all() and (read.weights >= 0).all()


def test_cores_without_heads_show_nothing():
    agent = with_core("lstm")
    play(agent, World(), T + 1)
    assert agent.read_weights() is None
    with pytest.raises(ValueError, match="LSTM has no heads that read"):
        agent.policy.core.attention(torch.zeros(1, 1, agent.policy.core.input_size), agent.policy.initial_state(1))
