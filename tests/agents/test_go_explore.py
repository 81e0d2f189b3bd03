"""Go-Explore: returns before it explores, says when it missed, imitates the best, and comes back exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from gymnasium import spaces
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config
from engram_rl.agents.agent import Transition
from engram_rl.agents.go_explore import cloning_loss, make_go_explore
from engram_rl.memory import TransitionMemory
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.evaluation import evaluate
from engram_rl.training.rollout import step
from tests.agents.go_explore_worlds import FOUR, SPACE, Grid, make_agent, run

WAYS = ["replay", "plan"]


def test_the_loss_is_the_mean_cross_entropy():
    rng = np.random.default_rng(0)
    logits, action = rng.normal(size=(5, 3)), rng.integers(3, size=5)
    by_hand = np.mean([np.log(np.exp(row).sum()) - row[at] for row, at in zip(logits, action, strict=True)])
    assert cloning_loss(torch.tensor(logits), torch.tensor(action)).item() == pytest.approx(by_hand, abs=1e-12)


@pytest.mark.parametrize("way_back", WAYS)
def test_every_return_arrives_where_the_world_is_deterministic(way_back):
    agent, world, arrivals = make_agent(way_back=way_back), Grid(), 0
    for _ in range(300):
        action = agent.act(world.shown)
        returning, targets = agent.returning.active.copy(), agent.returning.state_dict()["targets"]
        transition = world.step(action)
        agent.observe(transition)
        arrived = returning & ~agent.returning.active & ~transition.done
        assert (transition.next_observation[arrived] == targets[arrived]).all()
        arrivals += int(arrived.sum())
    assert arrivals > 5 and agent.returning.missed == 0


def test_steps_of_returning_repeat_what_led_there():
    agent, world = make_agent(num_envs=1, repeat=0.9), Grid(1)
    run(agent, world, 400)
    world = Grid(1)
    agent.begin_episodes()
    agent.act(world.shown)
    way = agent.returning._actions[0, : agent.returning._lengths[0]].copy()
    target = agent.returning._targets[0].copy()
    for expected in way:
        action = agent.act(world.shown)
        assert action[0] == expected
        agent.observe(world.step(action))
    assert len(way) and (world.shown[0] == target).all()


@pytest.mark.parametrize("way_back", WAYS)
def test_a_return_that_ends_elsewhere_is_counted_and_exploring_goes_on_from_there(way_back):
    agent, world = make_agent(way_back=way_back), Grid(slip=0.3)
    _, told = run(agent, world, 600)
    assert told["go_explore/returns_missed"] > 5 and told["go_explore/returns_arrived"] > 5
    assert agent.archive.seen.sum() > 100


def test_a_return_that_the_time_limit_ends_is_no_missed_one():
    agent, world = make_agent(num_envs=1), Grid(1, limit=30)
    run(agent, world, 300)
    short = Grid(1, limit=1)
    agent.begin_episodes()
    for _ in range(60):
        agent.observe(short.step(agent.act(short.shown)))
    assert agent.returning.cut > 0 and agent.returning.missed == 0


def test_where_an_episode_begins_elsewhere_a_way_of_no_steps_has_not_arrived():
    agent, world, rng = make_agent(num_envs=1), Grid(1), np.random.default_rng(0)
    told = {"arrived": 0, "missed": 0}
    for _ in range(40):
        world.place[:], before = rng.integers(3, size=(1, 2)), (agent.returning.arrived, agent.returning.missed)
        agent.begin_episodes()
        action = agent.act(world.shown)
        if not agent.returning.active[0]:
            there = (agent.returning.state_dict()["targets"] == world.shown).all()
            told["arrived" if there else "missed"] += 1
            assert (agent.returning.arrived, agent.returning.missed) == (before[0] + there, before[1] + (not there))
        agent.observe(world.step(action))
        agent.returning.stop()
    assert min(told.values()) > 3


def test_an_action_that_is_not_allowed_ends_the_return():
    agent, world = make_agent(num_envs=1), Grid(1)
    run(agent, world, 200)
    agent.begin_episodes()
    while not agent.returning.active[0]:
        agent.begin_episodes()
        agent.act(Grid(1).shown)
    mask = np.ones((1, 4), bool)
    mask[0, agent.returning._actions[0, 0]] = False
    action, missed = agent.act(Grid(1).shown, mask=mask), agent.returning.missed
    assert mask[0, action[0]] and missed == 1 and not agent.returning.active[0]


def test_without_exploring_nothing_changes():
    agent, world = make_agent(), Grid()
    run(agent, world, 150)
    before = agent.state_dict()
    agent.act(world.shown, explore=False)
    assert_same(before, agent.state_dict())


@pytest.mark.parametrize("way_back", WAYS)
def test_the_same_seed_gives_the_same_run_and_another_another(way_back):
    first, second, other = (run(make_agent(seed=seed, way_back=way_back), Grid(), 150)[0] for seed in (1, 1, 2))
    assert (first == second).all() and (first != other).any()


@pytest.mark.parametrize("way_back", WAYS)
def test_it_goes_on_exactly_when_it_is_saved_in_the_middle_of_a_return(way_back):
    agent, world = make_agent(way_back=way_back), Grid()
    run(agent, world, 160)
    while not agent.returning.active.all():
        run(agent, world, 1)
    other, its_world = make_agent(seed=5, way_back=way_back), Grid()
    other.load_state_dict(agent.state_dict())
    its_world.place, its_world.steps = world.place.copy(), world.steps.copy()
    assert (run(agent, world, 200)[0] == run(other, its_world, 200)[0]).all()
    assert_same(agent.state_dict(), other.state_dict())


def test_a_state_of_other_sizes_changes_nothing():
    agent, other = make_agent(), make_agent(num_envs=3)
    run(agent, Grid(), 60)
    before = agent.state_dict()
    with pytest.raises(ValueError, match="2 environments, the state for 300 of 3"):
        agent.load_state_dict(other.state_dict())
    assert_same(before, agent.state_dict())


def test_who_has_learned_nothing_yet_goes_on_as_before_after_a_state_of_other_observations():
    def made(size):
        shown = spaces.Box(0, 9, (size,), np.float32)
        settings = {"memory": lambda *sizes: TransitionMemory(*sizes, capacity=100), "cells": First, "hidden": [4]}
        return make_go_explore(shown, FOUR, 1, 0, **settings)

    def live(agent, size):
        for t in range(4):
            shown = np.full((1, size), t % 3, np.float32)
            ended, action = np.array([t % 2 == 1]), agent.act(shown)
            agent.observe(Transition(shown, action, np.ones(1), ended, np.zeros(1, bool), shown, shown))
        return agent

    agent = made(2)
    with pytest.raises(RuntimeError, match="size mismatch"):
        agent.load_state_dict(live(made(3), 3).state_dict())
    assert_same(live(agent, 2).state_dict(), live(made(2), 2).state_dict())


class First:
    """The first number is the cell."""

    dim = 1

    def __init__(self, space):
        pass

    def __call__(self, observation):
        return observation[:, :1]


def test_an_episode_that_was_cut_goes_on_with_what_is_known_of_its_last_cell():
    agent, step_of_one = make_agent(num_envs=1, discount=0.5), Grid(1).step(np.array([0]))

    def end(here, there, reward, **how):
        """One episode of one step; what is then known to follow from `here`."""
        seen = np.array([here], np.float32)
        agent.act(seen)
        shown = {"observation": seen, "next_observation": np.array([there], np.float32)}
        ended = {name: np.array([True]) for name in how}
        agent.observe(replace(step_of_one, reward=np.array([reward]), **shown, **ended))
        return agent.best.to_go[agent.archive.memory.states.find(seen, np.zeros(1, int))]

    assert end((1, 0), (1, 1), 8.0, terminated=True) == 8
    assert end((0, 0), (1, 0), 1.0, truncated=True) == 1 + 0.5 * 8
    assert end((0, 0), (0, 1), 6.0, truncated=True) == 6 + 0.5 * 12  # as it went: 6 for ever is worth 12


@pytest.mark.parametrize("way_back", WAYS)
def test_it_learns_the_shortest_way_through_a_gap(way_back):
    agent, world = make_agent(num_envs=4, way_back=way_back, repeat=0.0, explore_steps=8), Grid(4)
    run(agent, world, 1000)
    test = Grid(1)
    for taken in range(1, 13):  # noqa: B007
        if test.step(agent.act(test.shown, explore=False)).terminated[0]:
            break
    else:
        pytest.fail("not solved")
    assert taken == 10


def test_it_solves_a_small_room_of_minigrid_as_its_yaml_makes_it():
    environment = environment_config("minigrid_place", {"id": "MiniGrid-Empty-5x5-v0"})
    settings = OmegaConf.create(agent_config("go_explore way_back=plan repeat=0 explore_steps=10 +learn_every=4"))
    rooms, one = (build_environments(OmegaConf.create(environment | {"num_envs": number})) for number in (8, 1))
    agent = build_agent(settings, rooms, 0)
    observation, _ = rooms.reset(seed=0)
    for _ in range(220):
        transition = step(rooms, observation, agent.act(observation))
        agent.observe(transition)
        told = agent.learn()
        observation = transition.reset_observation
    assert told["go_explore/returns_missed"] == 0
    assert evaluate(agent, one, 1, seed=0).returns[0] > 0.9


@pytest.mark.parametrize(("values", "message"), [
    ({"way_back": "walk"}, "unknown way_back 'walk'.*plan, replay"),
    ({"way_back": None}, "unknown way_back None.*plan, replay"),
    ({"repeat": 1.5}, "repeat is 1.5"),
    ({"discount": 1.5}, "discount is 1.5; it must be at least 0 and at most 1"),
    ({"hidden": []}, "agent.hidden is empty"),
    ({"hidden": [0]}, "a layer of agent.hidden is 0; it must be at least 1"),
    ({"learn_every": 0}, "learn_every is 0"),
    ({"explore_steps": 0}, "explore_steps is 0"),
    ({"learning_rate": 0}, "learning_rate is 0"),
    ({"capacity": 100}, "room for 100 cells; 2 environments need 128.*raise"),
])  # fmt: skip
def test_what_does_not_fit_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        make_agent(**values)


def test_actions_that_cannot_be_counted_are_refused():
    with pytest.raises(ValueError, match="Go-Explore chooses among Discrete or MultiDiscrete"):
        make_go_explore(SPACE, spaces.Box(-1, 1, (2,)), 1, 0, memory=TransitionMemory)
    assert make_go_explore(SPACE, FOUR, 1, 0, memory=TransitionMemory).memory_parts == ()


def assert_same(one, other):
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    elif isinstance(one, torch.Tensor | np.ndarray):
        assert np.array_equal(np.asarray(one), np.asarray(other))
    else:
        assert one == other
