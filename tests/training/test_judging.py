"""Judging: each figure says whether the agent lived on, was frozen or began empty; nothing of it is left anywhere."""

import json

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from omegaconf import OmegaConf

from benchmarks.configuration import agent_config, environment_config
from benchmarks.same_run import same
from engram_rl.agents.random import RandomAgent
from engram_rl.training import evaluate as evaluating
from engram_rl.training import judging, train
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.environments import make_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.evaluation import FRESH, FROZEN, ONLINE, evaluate, fitting, forgotten
from engram_rl.training.judging import Judge
from engram_rl.training.logging.logger import read_rows
from engram_rl.training.rollout import Episodes, step
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


@pytest.fixture
def judged(monkeypatch):
    """What a judge asks of an evaluation, in place of one."""
    asked = []

    def recorded(agent, world, episodes, seed, **given):
        asked.append({"agent": agent, "world": world, "episodes": episodes, "seed": seed, **given})
        return Episodes(np.array([1.0, 3.0]), np.array([4, 4]), int(given["max_steps"] == 7))

    monkeypatch.setattr(judging, "evaluate", recorded)
    return asked


class Own:
    """An agent with what an agent may have."""

    memory_parts = ("seen",)

    def __init__(self):
        self.begun, self.state = 0, {"seen": 0, "weights": 0}

    def begin_episodes(self):
        self.begun += 1

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


def make_own(observation_space, action_space, num_envs, seed):
    return Own()


@pytest.mark.parametrize(
    ("mode", "purpose", "lives", "goes_on", "uncounted", "begun"),
    [
        (ONLINE, "score", True, True, 0, 0),
        (ONLINE, "evaluate", True, True, 3, 0),  # as many as each environment played to choose the best
        (ONLINE, "evaluate", False, False, 0, 0),
        (ONLINE, "score", None, False, 0, 0),
        (FROZEN, "evaluate", True, False, 0, 1),
        (FROZEN, "selection", None, False, 0, 1),
        (FRESH, "selection", True, True, 0, 1),
        (FRESH, "score", False, False, 0, 0),  # it is begun anew with the world
    ],
)
def test_a_copy_goes_on_where_its_world_can_be_copied(judged, mode, purpose, lives, goes_on, uncounted, begun):
    chosen = config("mfec", "hiddengoal")
    chosen.agent, chosen.evaluation.episodes = {"_target_": f"{__name__}.make_own"}, 5
    environments = build_environments(chosen.env)
    environments.reset(seed=1)
    for _ in range(4):
        environments.step(environments.action_space.sample())
    where = environments.state_dict()
    agent = Own()
    agent.state = {"seen": 5, "weights": 7}
    lives_in = None if lives is None else where if lives else {"seed": 1, "actions": np.zeros((0, 2), int)}
    Judge(chosen)(agent, mode, purpose, lives_in)
    (asked,) = judged
    copy = asked["agent"]
    assert copy is not agent and copy.state == {"seen": 0 if mode == FRESH else 5, "weights": 7}
    assert copy.begun == begun and agent.begun == 0
    assert asked["remember"] is (mode != FROZEN) and asked["uncounted"] == uncounted
    assert (asked["going_on_from"] is not None) is goes_on
    if goes_on:
        assert same(asked["world"].state_dict(), where)
    assert asked["seed"] == world_seeds(3, purpose, environments) and asked["episodes"] == 5


def test_a_judge_plays_as_the_run_says_unless_it_is_told_otherwise(judged, capsys):
    chosen = config("mfec", "hiddengoal")
    agent = Own()
    chosen.agent = {"_target_": f"{__name__}.make_own"}
    Judge(chosen)(agent, FROZEN, "score")
    Judge(chosen, seed=0, episodes=2, max_steps=7)(agent, FROZEN, "score")
    first, second = judged
    assert (first["episodes"], first["max_steps"]) == (6, 5000)
    assert (second["episodes"], second["max_steps"]) == (2, 7)
    assert first["seed"] == world_seeds(3, "score", first["world"])
    assert second["seed"] == world_seeds(0, "score", first["world"])
    printed = capsys.readouterr().out
    assert printed.startswith("The evaluation ended after 7 steps (evaluation.max_steps): 1 of 2 episodes were over, 1")
    assert printed.count("\n") == 1
    del chosen.seeding
    Judge(chosen)(agent, FROZEN, "score")
    assert judged[2]["seed"] == 1_000_000  # runs that do not say how seeds come counted them


def test_the_random_agent_plays_itself_and_others_by_a_copy(judged):
    chosen = config("mfec", "hiddengoal")
    chosen.agent = {"_target_": f"{__name__}.make_own"}
    judge, own = Judge(chosen), Own()
    chance = RandomAgent(judge.world().action_space, 0)
    before = generators()
    judge.play(chance, ONLINE, {"seed": 1})
    judge.play(own, ONLINE, {"seed": 1})
    assert judged[0]["agent"] is chance and judged[1]["agent"] is not own
    assert [one["seed"] for one in judged] == [world_seeds(3, "evaluate", judge.world())] * 2
    assert same(generators(), before)


def test_a_judge_has_one_world_of_its_own_or_is_lent_one_and_closes_it(judged):
    chosen = config("mfec", "hiddengoal")
    chosen.agent = {"_target_": f"{__name__}.make_own"}
    judge, lent = Judge(chosen), build_environments(chosen.env)
    judge.reuse(lent)
    assert judge.world() is lent
    judge.close()
    judge.close()
    mine = judge.world()
    assert mine is not lent and judge.world() is mine
    judge.reuse(lent)
    assert judge.world() is mine
    assert judge.in_passing(Own(), FROZEN, lent) == 2.0 and judged[0]["seed"] == world_seeds(3, "selection", lent)


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
