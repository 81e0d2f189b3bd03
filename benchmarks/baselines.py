"""Stable-Baselines3's agents as baselines: the third-party references of the benchmarks.

They need the extra `compare`. Settings are the library's defaults, except what the published code of arXiv 2301.13758
set for its comparison: a network of two layers of 128 with ReLU, a learning rate of 1e-4 for A2C, and a step limit that
ends the task (no value is bootstrapped from the last state). All can be overridden.
"""

from __future__ import annotations

import importlib
from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import DtypeObservation, FlattenObservation

from benchmarks.shift.environment import shown_by
from benchmarks.shift.protocol import EpisodeLog, PinnedEpisode
from engram_rl.agents.goal_directed.minigrid_views import SymbolGrid
from engram_rl.training.errors import UsageError, did_you_mean

HINDSIGHT = "sb3_her_dqn"
"""DQN with hindsight, which needs a goal that is shown (`ShownGoal`)."""

ALGORITHMS = {
    "sb3_ppo": ("stable_baselines3", "PPO"),
    "sb3_a2c": ("stable_baselines3", "A2C"),
    "sb3_dqn": ("stable_baselines3", "DQN"),
    HINDSIGHT: ("stable_baselines3", "DQN"),
    "sb3_sac": ("stable_baselines3", "SAC"),
    "sb3_td3": ("stable_baselines3", "TD3"),
    "sb3_trpo": ("sb3_contrib", "TRPO"),
    "sb3_recurrent_ppo": ("sb3_contrib", "RecurrentPPO"),
}
SETTINGS = {"net_arch": [128, 128], "bootstrap_at_limit": False}
SETTINGS_OF: dict[str, dict[str, Any]] = {"sb3_a2c": {"learning_rate": 1e-4}}
SMALLEST_IMAGE = 36  # pixels a side that the library's convolutions accept
LONG = 1_000_000  # steps a run may take where the environment states no step limit


def algorithm(name: str) -> Any:
    """The class behind a name of `ALGORITHMS`.

    Raises:
        UsageError: Unknown name, or the extra `compare` is not installed.
    """
    if name not in ALGORITHMS:
        raise UsageError(f"Stable-Baselines3 has no agent {name!r} here. {did_you_mean(name, ALGORITHMS)}")
    module, attribute = ALGORITHMS[name]
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        raise UsageError(
            f"Agent {name} needs {module}: pip install -e '.[compare]' (missing: {error.name})."
        ) from error


def own_name(name: str) -> str:
    """What the library calls an algorithm; digests of runs are made of it, so that a new prefix repeats none."""
    return name.removeprefix("sb3_")


def settings(name: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """What an algorithm is built with: `net_arch` and `bootstrap_at_limit` are ours, the rest is its own.

    Ours too, where they are given: `parsed`, whether it is shown MiniGrid's symbols as numbers of a place (`Parsed`),
    and `counts`, what an observation that is new is worth beside the reward (`CountBonus`).
    """
    return {**SETTINGS, **SETTINGS_OF.get(name, {}), **overrides}


class BaselineAgent:
    """One Stable-Baselines3 model, learning from the episodes that count or from practice.

    It acts stochastically throughout, also when it plays without learning, as in the paper's comparison.

    Args:
        name: One of `ALGORITHMS`.
        log: The episodes that count.
        total_steps: How many steps it will learn from at most; DQN's exploration is annealed over a share of them.
        seed: Of its weights and its actions.
        settings: From `settings`: the widths of the network as `net_arch`, and keyword arguments of the algorithm.
    """

    privileged = ""
    entries = 0

    def __init__(self, name: str, log: EpisodeLog, total_steps: int, seed: int, settings: dict[str, Any]):
        arguments = dict(settings)
        self._bootstrap_at_limit = arguments.pop("bootstrap_at_limit")
        self._counts, self._visits = arguments.pop("counts", 0.0), Counter[bytes]()
        self._shown = Parsed if arguments.pop("parsed", False) else flattened
        if name == HINDSIGHT:
            require_shown_goal(log, settings)
            self._shown = ShownGoal
            arguments.setdefault("learning_starts", log.step_limit or LONG)  # it learns from whole episodes
        self._total_steps = total_steps
        self._model = _build(name, self._vectorise(log), seed, **arguments)
        if name in ("sb3_dqn", HINDSIGHT):
            anneal_over(self._model, total_steps)

    def live(self, log: EpisodeLog) -> None:
        """Learn from the episodes that count until the last has ended."""
        self._model.learn(self._total_steps, callback=lambda *_: not log.finished)

    def practise(self, episode: PinnedEpisode, steps: int) -> None:
        """Learn from `steps` steps, rounded up to the algorithm's rollouts; optimiser and buffers carry on."""
        self._model.set_env(self._vectorise(episode))
        self._model.learn(steps, reset_num_timesteps=False)

    def attempt(self, log: EpisodeLog, observation: Any) -> None:
        """Play the episode that was just begun."""
        shown_as = self._shown(log)
        state, begins, done = None, np.ones(1, dtype=bool), False
        while not done:
            shown = observation
            if isinstance(shown_as, Parsed | ShownGoal):
                shown = shown_as.observation(observation)
            elif shown_as is not log:
                shown = spaces.flatten(log.observation_space, observation)
            action, state = self._model.predict(shown, state=state, episode_start=begins, deterministic=False)
            observation, _, terminated, truncated, _ = log.step(action)
            done, begins = terminated or truncated, np.zeros(1, dtype=bool)

    def _vectorise(self, env: gym.Env) -> Any:
        from stable_baselines3.common.vec_env import DummyVecEnv

        shown = CountBonus(self._shown(env), self._counts, self._visits) if self._counts else self._shown(env)
        return DummyVecEnv([lambda: shown if self._bootstrap_at_limit else LimitEndsTask(shown)])

    @property
    def unseen_gradient_steps(self) -> int:
        """Updates that no torch optimiser takes: TRPO's natural-gradient steps."""
        return self._model._n_updates if type(self._model).__name__ == "TRPO" else 0


class LimitEndsTask(gym.Wrapper):
    """Reaching the step limit looks like the end of the task, as in the published comparison."""

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; truncation is reported as termination."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return observation, reward, terminated or truncated, False, info


class CountBonus(gym.Wrapper):
    """Adds `scale / sqrt(n)` to the reward of reaching an observation for the n-th time (Strehl and Littman 2008).

    Args:
        env: A single environment.
        scale: Above.
        visits: How often each observation was reached, shared by the environments of a run.
    """

    def __init__(self, env: gym.Env, scale: float, visits: Counter[bytes]):
        super().__init__(env)
        self._scale, self._visits = scale, visits

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step; what records the reward for the score is inside."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        seen = np.asarray(observation).tobytes()
        self._visits[seen] += 1
        return observation, float(reward) + self._scale / self._visits[seen] ** 0.5, terminated, truncated, info


class Parsed(gym.ObservationWrapper):
    """MiniGrid's full symbols as the fast/slow agent is told them: the agent's cell and heading, and the goal's cell.

    Cells are shares of the grid from 0 to 1, the heading is one-hot. `[8]` of float32.

    Args:
        env: A single environment that shows the full symbolic image.

    Raises:
        UsageError: It does not.
    """

    def __init__(self, env: gym.Env):
        super().__init__(env)
        try:
            self._view = SymbolGrid(env.observation_space)
        except ValueError as error:
            raise UsageError(f"parsed=true reads MiniGrid's symbols. {error}") from error
        self._size = self._view.bounds[1][:2]
        self.observation_space = spaces.Box(0.0, 1.0, (8,), np.float32)

    def observation(self, observation: Any) -> np.ndarray:
        """`[8]`."""
        seen = {"image": observation["image"][None]}
        x, y, heading = self._view.states(seen)[0]
        goal = self._view.goals(seen)[0, :2] / self._size
        turned = np.arange(4) == heading
        return np.array([x / self._size[0], y / self._size[1], *turned, *goal], np.float32)


class ShownGoal(gym.ObservationWrapper):
    """A place and the goal that is shown after it, as hindsight experience replay takes them (arXiv 1707.01495).

    Both are shares of the grid from 0 to 1; the task is done where they are equal.

    Args:
        env: A single environment whose observation is a place and, in as many numbers, its goal.
    """

    def __init__(self, env: gym.Env):
        super().__init__(env)
        self._largest = np.asarray(env.observation_space.high, np.float32)  # type: ignore[attr-defined]
        self._size = len(self._largest) // 2
        part = spaces.Box(0.0, 1.0, (self._size,), np.float32)
        self.observation_space = spaces.Dict({"observation": part, "achieved_goal": part, "desired_goal": part})

    def observation(self, observation: Any) -> dict[str, np.ndarray]:
        """By the library's names, `[size]` each."""
        place, goal = np.split(observation / self._largest, [self._size])
        return {"observation": place, "achieved_goal": place, "desired_goal": goal}

    def compute_reward(self, achieved: np.ndarray, desired: np.ndarray, infos: Any) -> np.ndarray:
        """What a step to a place would have been rewarded with if that had been the goal. `[B, size]`s -> `[B]`."""
        return (achieved == desired).all(-1).astype(np.float32)


def require_shown_goal(env: gym.Env, settings: dict[str, Any]) -> None:
    """Refuse what `ShownGoal` cannot split, and settings that change what is shown or rewarded.

    Raises:
        UsageError: The environment shows no goal, or something else beside the place and the goal; or such a setting.
    """
    for name in ("parsed", "counts"):
        if settings.get(name):
            raise UsageError(
                f"{HINDSIGHT} was given {name}={settings[name]}, but it is shown a place and a goal, and rewarded for "
                f"reaching it; leave {name} out."
            )
    shown = shown_by(env)
    if shown != ["goal"]:
        raise UsageError(
            f"{HINDSIGHT} learns from goals that are shown, and nothing else beside the place; {env.observation_space} "
            f"shows {' and '.join(shown) or 'none'}. Use an environment with show_goal, such as env=shiftwall."
        )


def flattened(env: gym.Env) -> gym.Env:
    """The environment with its observation as one vector, where the library's own networks would not take it.

    In float32: the library keeps what it has normalised in buffers of the observation's own type, which cuts it to
    whole numbers if that is an integer.
    """
    space = env.observation_space
    small_image = isinstance(space, spaces.Box) and len(space.shape) == 3 and min(space.shape[:2]) < SMALLEST_IMAGE
    if not small_image and not isinstance(space, spaces.Dict | spaces.Tuple):
        return env
    return DtypeObservation(FlattenObservation(env), np.float32)


def total_steps(log: EpisodeLog, budget: str | int) -> int:
    """An upper bound on the steps learned from within a budget."""
    return log.episodes * (budget if isinstance(budget, int) else log.step_limit or LONG)


def _build(name: str, environments: Any, seed: int, net_arch: list[int], **arguments: Any) -> Any:
    from torch import nn

    kind = algorithm(name)
    if name == HINDSIGHT:
        arguments["replay_buffer_class"] = importlib.import_module("stable_baselines3").HerReplayBuffer
    network = {"net_arch": list(net_arch), "activation_fn": nn.ReLU}
    common = {"seed": seed, "verbose": 0, "device": "cpu", "policy_kwargs": network}
    try:
        return kind(policy_name(name, environments), environments, **common, **arguments)
    except TypeError as error:
        raise UsageError(f"{kind.__name__} refused the settings {arguments}: {error}") from error


def policy_name(name: str, environments: Any) -> str:
    """Which of the library's policies an algorithm takes for what these environments show."""
    if isinstance(environments.observation_space, spaces.Dict):
        return "MultiInputPolicy"
    kind = "Cnn" if len(environments.observation_space.shape) == 3 else "Mlp"
    return f"{kind}LstmPolicy" if name == "sb3_recurrent_ppo" else f"{kind}Policy"


def anneal_over(model: Any, steps: int) -> None:
    """Let DQN's exploration depend on all steps taken; its own schedule would start over with every `learn`."""
    last = model.exploration_final_eps
    first, share = model.exploration_initial_eps, model.exploration_fraction
    model.exploration_schedule = lambda _: max(last, first + (last - first) * model.num_timesteps / (share * steps))
