"""Judging: each figure says whether the agent lived on, was frozen or began empty; nothing of it is left anywhere."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config
from benchmarks.same_run import same
from engram_rl.training import evaluate as evaluating
from engram_rl.training import train
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.environments import make_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.evaluation import FRESH, FROZEN, ONLINE, evaluate, fitting, forgotten
from engram_rl.training.judging import Judge
from engram_rl.training.logging.logger import read_rows
from engram_rl.training.rollout import step
from engram_rl.training.runs.folder import RunFolder
from engram_rl.training.seeding import PURPOSES, generators, undisturbed, world_seeds

QUIET = ("progress=false", "evaluation.every=0", "evaluation.episodes=4", "log.video=false", "log.memory=false")


def config(agent, env, num_envs=2):
    return OmegaConf.create(
        {
            "agent": agent_config(agent),
            "env": environment_config(env, {"num_envs": num_envs}),
            "seed": 3,
            "seeding": "spawned",
            "evaluation": {"episodes": 6, "max_steps": 5000},
        }
    )


def lived(chosen, steps):
    environments = build_environments(chosen.env)
    agent = build_agent(chosen.agent, environments, chosen.seed)
    observation, _ = environments.reset(seed=world_seeds(chosen.seed, "training", environments))
    ended = live_on(agent, environments, observation, steps)
    return environments, agent, ended


def live_on(agent, environments, observation, steps):
    ended = []
    for _ in range(steps):
        transition = step(environments, observation, agent.act(observation))
        agent.observe(transition)
        agent.learn()
        observation = transition.reset_observation
        ended += [(int(e), float(transition.info["episode"]["r"][e])) for e in np.flatnonzero(transition.done)]
    return ended, observation


@pytest.mark.parametrize("agent", ["episodic", "mfec", "fast_slow"])
def test_online_is_what_would_have_come_next(agent):
    """These agents have no weights to rest, so the copy does exactly what the agent does afterwards."""
    chosen = config(agent, "hiddengoal")
    environments, trained, (_, observation) = lived(chosen, 150)
    open_ones = [int(n > 0) for n in environments.env.episode_lengths]
    played = Judge(chosen)(trained, ONLINE, "score", environments.state_dict())
    ended, _ = live_on(trained, environments, observation, 600)
    for e in range(2):
        mine = [r for one, r in ended if one == e][1:]  # the open one is not counted
        theirs = sorted(played.returns.tolist())
        assert open_ones and all(r in theirs for r in mine[:3])


@pytest.mark.parametrize("mode", [ONLINE, FROZEN, FRESH])
@pytest.mark.parametrize("agent", ["mfec", "fast_slow", "ppo num_steps=16", "retrieval_ppo_view num_steps=16"])
def test_being_judged_leaves_no_trace(agent, mode):
    chosen = config(agent, "newgoal")
    environments, trained, _ = lived(chosen, 60)
    before, where, drawn = trained.state_dict(), environments.state_dict(), generators()
    before = json.loads(json.dumps(str(before)))
    Judge(chosen)(trained, mode, "selection", where)
    assert str(trained.state_dict()) == before
    assert same(environments.state_dict(), where) and same(generators(), drawn)


def test_fresh_forgets_what_the_agent_says_is_memory_and_nothing_else():
    class Own:
        memory_parts = ("seen",)

        def __init__(self, seen, weights):
            self.seen, self.weights = seen, weights

        def state_dict(self):
            return {"seen": self.seen, "weights": self.weights}

    assert forgotten(Own(5, 7).state_dict(), Own(5, 7), Own(0, 0)) == {"seen": 0, "weights": 7}
    assert fitting(Own(5, 7)) == ONLINE
    del Own.memory_parts
    assert fitting(Own(5, 7)) == FROZEN
    with pytest.raises(UsageError, match=r"Own does not say .* memory_parts = \('memory',\)"):
        forgotten({}, Own(5, 7), Own(0, 0))


def test_an_agent_that_adapts_is_judged_as_it_lives(command):
    status, printed = command(train.main, *QUIET, "agent=episodic", "env=cornergoal", "seed=2", "steps=1500")
    assert status == 0, printed
    folder = RunFolder.open(__import__("pathlib").Path("latest")).path
    summary = json.loads((folder / "summary.json").read_text())
    lately = [row["return"] for row in read_rows(folder / "episodes.jsonl")[-20:]]
    assert summary["mode"] == "online" and summary["score"] == pytest.approx(np.mean(lately), abs=0.3)
    assert summary["scores"]["frozen"] < summary["score"] and "frozen" in printed and "online" in printed
    status, printed = command(evaluating.main, "episodes=4")
    assert status == 0 and "memory online" in printed


class Endless(gym.Env):
    """Never ends."""

    observation_space, action_space = spaces.Box(0, 1, (1,)), spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        return np.zeros(1, np.float32), 1.0, False, False, {}


gym.register("test/Endless-v0", Endless)


def test_an_evaluation_ends_and_says_that_it_was_cut(command):
    class Still:
        def act(self, observation, *, explore=True):
            return np.zeros(2, np.int64)

    played = evaluate(Still(), make_environments("test/Endless-v0", 2), 3, seed=0, max_steps=40)
    assert played.returns.tolist() == [20, 20] and played.cut == 2
    given = ("agent=mfec", "env=gym", "env.id=test/Endless-v0", "steps=64", "evaluation.max_steps=80")
    status, printed = command(train.main, *QUIET, *given)
    assert status == 0 and "ended after 80 steps (evaluation.max_steps): 0 of 4 episodes were over" in printed
    status, printed = command(train.main, *QUIET, *given, "env.max_episode_steps=10")
    assert status == 0 and "evaluation.max_steps" not in printed
    status, printed = command(train.main, *QUIET, *given, "env.max_episode_steps=0")
    assert status == 2 and "env.max_episode_steps is 0" in printed


def test_seeds_of_runs_and_of_purposes_have_nothing_in_common():
    environments = make_environments("CartPole-v1", 8)
    drawn = [seed for run in range(20) for purpose in PURPOSES for seed in world_seeds(run, purpose, environments)]
    assert len(set(drawn)) == len(drawn) == 800 and max(drawn) < 2**31
    assert world_seeds(3, "training", environments, "counted") == 3
    vector = make_environments("CartPole-v1", 8, vectorization="vector_entry_point")
    assert isinstance(world_seeds(3, "training", vector), int)
    suite = make_environments("engram/TMaze-v0", 3, vectorization="vector_entry_point")
    assert len(world_seeds(3, "training", suite)) == 3


def test_what_is_drawn_inside_does_not_count():
    before = generators()
    with undisturbed():
        np.random.random(5)  # noqa: NPY002
    assert same(generators(), before)


def test_what_can_be_there_only_once_is_judged_where_it_was_trained(command):
    given = ("agent=mfec", "env=gym", "env.id=test/Port-v0", "env.num_envs=1", "steps=40")
    status, printed = command(train.main, *QUIET, *given)
    assert status == 0, printed
    status, printed = command(train.main, *QUIET, *given, "evaluation.every=20")
    assert status == 0, printed
    assert printed.count("No evaluation during training") == 1
    assert Port.open_ones == 0


class Port(Endless):
    """Holds a port."""

    open_ones = 0

    def __init__(self):
        if Port.open_ones:
            raise OSError(98, "Address already in use")
        Port.open_ones += 1
        self.t = 0

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), 1.0, self.t % 5 == 0, False, {}

    def close(self):
        Port.open_ones -= 1


gym.register("test/Port-v0", Port)
