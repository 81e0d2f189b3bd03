"""An actor in this process: what it sends, what it draws by, and where it goes on."""

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from engram_rl.memory.sharded.packing import packed, unpacked
from engram_rl.training.composing import composed
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.distributed.actor import Actor, Begun, Orders
from engram_rl.training.distributed.actors import _plain
from engram_rl.training.distributed.changes import leaves
from engram_rl.training.runs.checkpoint import flatten

SPACE, E = gym.spaces.Box(-1e6, 1e6, (2,), np.float32), 3


class Reusing(VectorEnv):
    """Writes every step into the same arrays, infos included, and takes one seed for all."""

    def __init__(self, num_envs=1):
        self.metadata = {"autoreset_mode": AutoresetMode.SAME_STEP}
        self.num_envs, self.single_observation_space = num_envs, SPACE
        self.single_action_space = gym.spaces.Discrete(2)
        self.observation_space, self.action_space = (
            batch_space(SPACE, num_envs),
            gym.spaces.MultiDiscrete([2] * num_envs),
        )
        self.shown, self.count, self.none = (
            np.zeros((num_envs, 2), np.float32),
            np.zeros(num_envs),
            np.zeros(num_envs) > 0,
        )

    def reset(self, *, seed=None, options=None):
        assert isinstance(seed, int)
        self.shown[:] = self.count[:] = 0
        return self.shown, {"count": self.count}

    def step(self, actions):
        self.shown += 1
        self.count += 1
        return self.shown, self.count, self.none, self.none, {"count": self.count}


class Talking(gym.Env):
    """Says of everything something, much of which no checkpoint holds; shows what it draws from NumPy's generator."""

    observation_space, action_space = SPACE, gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return np.zeros(2, np.float32), {"none": None}

    def step(self, action):
        said = {"none": None, "object": object(), 3: 1.0, ("t", 1): 2.0, "a/b": 1.0, "a": {"b": 2.0, "none": None}}
        said |= {"long": np.array([3], np.longdouble), "other": np.array([1], ">f4")}
        return np.random.rand(2).astype(np.float32), 1.0, False, False, said  # noqa: NPY002


@pytest.fixture(autouse=True)
def _registered():
    gym.register("Actor/Reusing-v0", entry_point=Talking, vector_entry_point=Reusing)
    gym.register("Actor/Talking-v0", entry_point=Talking)
    yield
    for name in ("Reusing", "Talking"):
        gym.registry.pop(f"Actor/{name}-v0", None)


def learner_and_orders(*words, number=0):
    """The agent of a run with three environments, and the orders of an actor that has two of them."""
    with composed("train", [*words, f"env.num_envs={E}", "seed=5"]) as config:
        environments = build_environments(config.env)
        agent = build_agent(config.agent, environments, config.seed)
        environments.close()
        return agent, Orders(_plain(config), np.arange(1, E), number, gym.registry.get(config.env.id))


def played(actor, agent, steps=4):
    return unpacked(actor.play(packed(leaves(agent.knowledge())), True, steps).steps)


def test_steps_of_a_round_hold_what_was_so_at_each_of_them():
    """The environment is a vector of its own, which takes one seed: a list of them would be refused."""
    agent, orders = learner_and_orders(
        "agent=ppo", "env=gym", "env.id=Actor/Reusing-v0", "env.vectorization=vector_entry_point"
    )
    actor = Actor(orders)
    actor.reset([1, 2])
    steps = [one.transition for one in played(actor, agent)]
    for name in ("reward", "next_observation"):
        assert [getattr(one, name).max() for one in steps] == [1, 2, 3, 4]
    assert [one.info["count"].tolist() for one in steps] == [[t, t] for t in (1, 2, 3, 4)]


def test_what_infos_say_can_be_in_a_checkpoint():
    agent, orders = learner_and_orders("agent=ppo", "env=gym", "env.id=Actor/Talking-v0")
    actor = Actor(orders)
    actor.reset([1, 2])
    info = played(actor, agent)[-1].transition.info
    assert info["a/b"].tolist() == [1, 1] and info["a"]["b"].tolist() == [2, 2]
    flatten(info, "", {})


def test_an_actor_knows_the_environment_that_only_the_run_has_registered():
    agent, orders = learner_and_orders("agent=ppo", "env=gym", "env.id=Actor/Talking-v0")
    gym.registry.pop("Actor/Talking-v0")
    actor = Actor(orders)
    actor.reset([1, 2])
    assert len(played(actor, agent)) == 4


@pytest.mark.parametrize("agent", ["retrieval_ppo_view", "ppo", "nec"])
def test_an_actor_is_built_as_the_learner_and_draws_as_nobody_else(agent):
    """The keys of retrieval_ppo_view are a projection that is drawn when it is built and that nobody is told."""
    learner, orders = learner_and_orders(f"agent={agent}", "env=cartpole")
    _, other = learner_and_orders(f"agent={agent}", "env=cartpole", number=1)
    actors = [Actor(one) for one in (orders, orders, orders, other)]
    for actor, seeds in zip(actors, ([1, 2], [1, 2], [3, 4], [1, 2]), strict=True):
        actor.reset(seeds)
    actions = [np.array([one.transition.action for one in played(actor, learner, 40)]) for actor in actors]
    assert np.array_equal(actions[0], actions[1])
    assert not any(np.array_equal(actions[0], one) for one in actions[2:])
    if agent == "retrieval_ppo_view":
        shown = np.ones((2, 4), np.float32)
        keys = [one.extras[0]._situations.keys(shown) for one in (learner, actors[0].agent)]
        assert torch.equal(*keys)


def test_environments_that_do_not_come_back_are_told_and_a_cut_stays(capsys):
    agent, orders = learner_and_orders("agent=ppo", "env=gym", "env.id=Actor/Talking-v0")
    actor = Actor(orders)
    actor.reset([1, 2])
    played(actor, agent)
    state = actor.state()
    np.random.seed(99)  # noqa: NPY002
    actor.restore(state)
    assert "Actor 0: the environments did not come back" in capsys.readouterr().err
    seen = Begun(np.full((2, 2), 7, np.float32), None)
    actor.reset([3, 4], seen)
    assert actor.restore(actor.state()).observation.tolist() == seen.observation.tolist()
    assert "did not come back" not in capsys.readouterr().err
    assert played(actor, agent)[0].transition.observation.tolist() == seen.observation.tolist()
