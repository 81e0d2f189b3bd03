"""What the third-party references promise; they need the extra `compare`."""

from collections import Counter

import gymnasium as gym
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401  (registers engram/*)
from benchmarks import baselines
from benchmarks.control.runs import resolve_agent
from benchmarks.shift.environment import build_environment, resolve_environment
from benchmarks.shift.measure import measure
from benchmarks.shift.protocol import EpisodeLog
from benchmarks.shift.specs import run_specs
from engram_rl.training.errors import UsageError

SMALL = {"id": "engram/ShiftWall-v0", "kwargs": {"n": 4}, "wrappers": []}


def spec(agent, budget="own", environment=SMALL, episodes=4, seed=0):
    return run_specs("small", environment, [agent], [seed], [None], budget, episodes)[0]


def test_without_the_extra_the_error_names_it(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr(baselines.importlib, "import_module", missing)
    with pytest.raises(UsageError, match=r"\[compare\]"):
        spec("sb3_ppo")


class TestInstalled:
    @pytest.fixture(autouse=True)
    def needs_the_extra(self):
        pytest.importorskip("stable_baselines3", reason="needs the extra `compare`")
        pytest.importorskip("sb3_contrib", reason="needs the extra `compare`")

    def test_its_own_budget_is_the_episodes_that_count_and_nothing_more(self):
        row = measure(spec("sb3_ppo n_steps=16 batch_size=16 n_epochs=2"))
        assert row["env_steps"] == row["steps"] == sum(row["costs"])
        updates = (row["env_steps"] - 1) // 16  # what is left when the last episode ends teaches nothing any more
        assert row["gradient_steps"] == 2 * updates > 0

    def test_practice_is_rounded_up_to_whole_rollouts(self):
        row = measure(spec("sb3_a2c", budget=12, episodes=3))
        assert row["env_steps"] == 3 * 15 + row["steps"]
        assert row["gradient_steps"] == 3 * 3, "none of them in the episodes that count"

    def test_natural_gradient_steps_count_too(self):
        row = measure(spec("sb3_trpo n_steps=16 batch_size=16 n_critic_updates=3", budget=16, episodes=2))
        assert row["gradient_steps"] == 2 * (3 + 1)

    @pytest.mark.parametrize("agent", ["sb3_dqn learning_starts=5", "sb3_recurrent_ppo n_steps=8"])
    @pytest.mark.parametrize("budget", ["own", 16])
    def test_every_algorithm_plays_within_either_budget(self, agent, budget):
        row = measure(spec(agent, budget=budget, episodes=2))
        assert row["episodes"] == 2 == len(row["costs"])
        assert row["env_steps"] == row["steps"] + (0 if budget == "own" else 32)

    @pytest.mark.parametrize("budget", ["own", 16])
    def test_it_may_be_shown_what_the_fast_slow_agent_reads_of_a_grid(self, budget):
        environment = resolve_environment("emptyshift_full", {})
        row = measure(spec("sb3_ppo n_steps=16 batch_size=16 parsed=true", budget, environment, episodes=1))
        assert row["episodes"] == 1
        env = build_environment(environment)
        observation, _ = env.reset(seed=0)
        seen = baselines.Parsed(env).observation(observation)
        x, y = env.unwrapped.agent_pos
        assert np.allclose(seen[:2] * 7, [x, y]) and seen[2 + env.unwrapped.agent_dir] == seen[2:6].sum() == 1
        i, j = (seen[6:] * 7).round().astype(int)
        assert env.unwrapped.grid.get(i, j).type == "goal"
        with pytest.raises(UsageError, match="symbols"):
            measure(spec("sb3_ppo parsed=true"))

    @pytest.mark.parametrize("budget", ["own", 16])
    def test_with_hindsight_it_learns_from_goals_that_it_reached(self, budget):
        row = measure(spec("sb3_her_dqn", budget, episodes=6))
        assert row["episodes"] == 6 and row["gradient_steps"] > 0
        env = baselines.ShownGoal(gym.make("engram/ShiftWall-v0", n=4))
        shown, _ = env.reset(seed=0)
        x, y, *goal = env.unwrapped.core.observation()[0]
        assert np.allclose(shown["observation"] * 3, [x, y]) and np.allclose(shown["desired_goal"] * 3, goal)
        other = shown | {"achieved_goal": shown["desired_goal"]}
        for seen, reward in ((shown, 0), (other, 1)):
            assert env.compute_reward(seen["achieved_goal"], seen["desired_goal"], {}) == reward
        batch = np.stack([shown["achieved_goal"], shown["desired_goal"]])
        assert env.compute_reward(batch, batch[[1, 1]], [{}, {}]).tolist() == [0, 1]

    @pytest.mark.parametrize("kwargs", [{"show_goal": False}, {"tell_shift": True}])
    def test_hindsight_needs_a_goal_that_is_shown_alone(self, kwargs):
        environment = SMALL | {"kwargs": {"n": 4} | kwargs}
        with pytest.raises(UsageError, match=r"sb3_her_dqn .* show_goal"):
            measure(spec("sb3_her_dqn", environment=environment))

    @pytest.mark.parametrize("setting", ["parsed=true", "counts=0.1"])
    def test_hindsight_is_shown_and_rewarded_one_way(self, setting):
        with pytest.raises(UsageError, match=f"leave {setting.split('=')[0]} out"):
            measure(spec(f"sb3_her_dqn {setting}"))

    def test_without_goals_hindsight_is_not_taken_for_dqn(self):
        with pytest.raises(UsageError, match=r"benchmarks\.shift.*sb3_dqn"):
            resolve_agent("sb3_her_dqn", "CartPole-v1")

    def test_a_bonus_for_what_is_new_is_learned_from_and_not_scored(self):
        row = measure(spec("sb3_a2c counts=0.5", budget=12, episodes=2))
        assert max(row["returns"]) <= 1 and row["key"] != measure(spec("sb3_a2c", budget=12, episodes=2))["key"]
        env = baselines.CountBonus(gym.make("engram/ShiftWall-v0", n=4), 0.5, counts := Counter())
        env.reset(seed=0)
        rewards = [env.step(action)[1] for action in (0, 0, 0, 0, 0)]  # to the edge, and against it
        assert rewards[-1] == 0.5 / max(counts.values()) ** 0.5 and sum(counts.values()) == 5

    def test_what_is_not_parsed_is_the_run_that_it_was(self):
        assert "parsed" not in spec("sb3_ppo").settings
        assert spec("sb3_ppo").key != spec("sb3_ppo parsed=true").key

    def test_the_same_seed_gives_the_same_run(self):
        first, second, other = (measure(spec("sb3_a2c", budget=20, episodes=5, seed=seed)) for seed in (0, 0, 1))
        assert first["costs"] == second["costs"] != other["costs"]

    def test_a_setting_that_the_algorithm_does_not_know_is_refused(self):
        with pytest.raises(UsageError, match="learning_rat"):
            measure(spec("sb3_a2c learning_rat=1e-3"))

    @pytest.mark.parametrize(("bootstraps", "truncated"), [(False, False), (True, True)])
    def test_the_step_limit_ends_the_task_unless_values_are_to_be_bootstrapped_there(self, bootstraps, truncated):
        log = EpisodeLog(gym.make("engram/ShiftWall-v0", n=4, step_limit=1, disable_env_checker=True), 3, 0)
        agent = baselines.BaselineAgent(
            "sb3_a2c", log, 10, 0, baselines.settings("sb3_a2c", {"bootstrap_at_limit": bootstraps})
        )
        learner = agent._model.env
        learner.reset()
        _, _, done, infos = learner.step([0])
        assert (bool(done[0]), infos[0]["TimeLimit.truncated"]) == (True, truncated)
        assert log.record.solved == [False]

    def test_exploration_is_annealed_over_the_whole_budget_not_anew_for_each_practice(self):
        model = baselines.algorithm("sb3_dqn")("MlpPolicy", gym.make("CartPole-v1"), exploration_fraction=0.5)
        baselines.anneal_over(model, 100)
        rates = []
        for model.num_timesteps in (0, 25, 50, 100):
            rates.append(model.exploration_schedule(0.123))
        np.testing.assert_allclose(rates, [1.0, 0.525, 0.05, 0.05])

    def test_small_images_and_dicts_are_given_as_one_vector(self):
        environment = {"id": "MiniGrid-Empty-5x5-v0", "kwargs": {"max_steps": 4}, "wrappers": []}
        for budget in ("own", 5):
            row = measure(spec("sb3_a2c", budget=budget, environment=environment, episodes=2))
            assert row["steps"] <= 8 and row["regret"] is None
