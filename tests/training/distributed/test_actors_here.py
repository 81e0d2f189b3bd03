"""Actors whose processes are threads: what is learned from when a round fails, an actor dies or a run is resumed."""

from contextlib import contextmanager, suppress

import gymnasium as gym
import numpy as np
import pytest

from engram_rl.training.composing import composed
from engram_rl.training.construction import build_agent
from engram_rl.training.distributed.actors import Actors
from engram_rl.training.errors import UsageError
from engram_rl.training.judging import copyable
from engram_rl.training.runs.checkpoint import load_checkpoint, save_checkpoint
from engram_rl.training.seeding import world_seeds

pytestmark = pytest.mark.usefixtures("threads")
E, T = 3, 4


class Breaking(gym.Env):
    """Shows how many steps were taken in the whole process; breaks in its step so many."""

    observation_space, action_space = gym.spaces.Box(-1e6, 1e6, (2,), np.float32), gym.spaces.Discrete(2)
    breaks_at, seeds = 10**6, []

    def reset(self, *, seed=None, options=None):
        self.seeds.append(seed)
        self.steps = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.steps += 1
        if self.steps == self.breaks_at:
            raise RuntimeError("broken")
        return np.full(2, self.steps, np.float32), 1.0, False, False, {}


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    monkeypatch.setattr(Breaking, "seeds", [])
    monkeypatch.setattr(Breaking, "breaks_at", 10**6)
    gym.register("Actors/Breaking-v0", entry_point=Breaking)
    yield
    gym.registry.pop("Actors/Breaking-v0")


@contextmanager
def begun(agent="ppo", state=None, *words):
    """Actors, the agent that learns from them, and what the environments show."""
    given = ["env=gym", "env.id=Actors/Breaking-v0", f"env.num_envs={E}", "cluster.actors=2", f"cluster.round={T}"]
    with composed("train", [f"agent={agent}", *given, *words]) as config:
        actors = Actors(config)
        learner = build_agent(config.agent, actors, 1)
        shown = actors.load_state_dict(state) if state else actors.reset(seed=[1, 2, 3])[0]
        try:
            yield actors, learner, shown
        finally:
            with suppress(UsageError):  # of another actor that broke as well
                actors.close()


def lived(actors, agent, steps, shown=None):
    """The transitions of so many vector steps, each of which begins where the one before it led."""
    found = []
    for _ in range(steps):
        found.append(actors.step(agent))
        agent.observe(found[-1])
        agent.learn()
        assert shown is None or np.array_equal(found[-1].observation, shown)
        shown = found[-1].reset_observation
    return found


def saved(actors, tmp_path):
    save_checkpoint(tmp_path / "step_000000000001", {"environments": actors.state_dict()})
    return load_checkpoint(tmp_path / "step_000000000001")["environments"]


@pytest.mark.parametrize("staleness", [0, 1])
@pytest.mark.parametrize("steps", [0, T - 1, T, 2 * T])
def test_a_resumed_run_shows_what_is_learned_from_next(tmp_path, steps, staleness):
    words = f"cluster.staleness={staleness}"
    with begun("ppo", None, words) as (actors, agent, shown):
        lived(actors, agent, steps, shown)
        state = saved(actors, tmp_path)
        goes_on = lived(actors, agent, 2 * T)
    with begun("ppo", state, words) as (actors, agent, shown):
        assert np.array_equal(shown, goes_on[0].observation) and (shown == steps).all()
        lived(actors, agent, 2 * T, shown)


@pytest.mark.parametrize("staleness", [0, 1])
def test_after_a_round_that_failed_episodes_end_where_they_were_last_seen(tmp_path, monkeypatch, capsys, staleness):
    monkeypatch.setattr(Breaking, "breaks_at", 2 * T + 2)  # in the third round
    words, taken = f"cluster.staleness={staleness}", []
    with begun("ppo", None, words) as (actors, agent, _):
        with pytest.raises(UsageError, match="broken"):
            while True:
                taken += lived(actors, agent, 1)
        state = saved(actors, tmp_path)
    assert len(taken) == 2 * T
    Breaking.breaks_at = 10**6
    seeds = set(Breaking.seeds)
    with begun("ppo", state, words) as (actors, agent, shown):
        assert np.array_equal(shown, taken[-1].reset_observation) and actors.lost == E
        first = lived(actors, agent, T + 1, shown)[0]
        assert first.truncated.all() and not first.reward.any() and not first.reset_observation.any()
    assert len(set(Breaking.seeds) - seeds) == E and f"open episodes of the {E} environments are lost" in (
        capsys.readouterr().err
    )


def test_actors_that_die_when_asked_for_their_state_begin_anew_with_seeds_of_their_own(tmp_path):
    """Also once more after the run was resumed, which has forgotten how many had died."""
    state = None
    for _ in range(2):
        with begun("nec", state) as (actors, agent, shown):
            lived(actors, agent, T + 1, shown)
            actors._ahead = actors._round()
            for actor in (0, 1):
                actors._crew._end(actor)
            state = saved(actors, tmp_path)
            lived(actors, agent, 2 * T, None)
    assert len(set(Breaking.seeds)) == 3 * E and actors.lost == 2 * E


def test_an_actor_may_die_twice_and_in_the_first_round(threads):
    with begun("ppo") as (actors, agent, shown):
        assert len(world_seeds(1, "training", actors, "spawned")) == E
        actors._begin_round(agent)
        actors._crew._end(1)
        threads.failing = [threads.exceptions.RayError()]  # the one in its place does not even begin
        found = lived(actors, agent, T + 1, shown)
        assert found[0].info["engram/lost"].tolist() == [False, False, True] and actors.lost == 1
        assert found[0].truncated.tolist() == [False, False, True] and found[T].observation[:, 0].tolist() == [4, 4, 3]


def test_a_learner_tells_of_its_memories_what_one_that_acts_does():
    with begun("nec", None, "agent.n_step=2") as (actors, agent, _):
        lived(actors, agent, 3 * T)
        told = agent.learn()
    assert told["memory/size"] > E and {"memory/evictions", "memory/age", "memory/strength"} <= told.keys()


def test_a_learner_that_looks_nothing_up_does_not_tell_how_near_that_was():
    with begun("retrieval_ppo_view") as (actors, agent, _):
        lived(actors, agent, 2 * T)
        told = agent.extras[0].metrics()
    assert "memory/size" in told and not {"memory/hit_distance", "memory/top_weight"} & told.keys()


def test_a_world_that_cannot_be_copied_is_not_asked_for_its_state(monkeypatch):
    with begun() as (actors, _, _):
        monkeypatch.setattr(actors, "state_dict", lambda: pytest.fail("it was asked"))
        assert copyable(actors) is None
