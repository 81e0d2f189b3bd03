"""Training Stable-Baselines3's agents within the same budget, and keeping the same record."""

from __future__ import annotations

from collections import Counter
from typing import Any

import gymnasium as gym
import numpy as np

from benchmarks.baselines import CountBonus, algorithm, flattened, policy_name
from benchmarks.control.record import Record
from benchmarks.control.runs import ControlRun
from benchmarks.fingerprint import note
from benchmarks.shift.environment import build_environment
from engram_rl.training.errors import UsageError

OF_THE_POLICY = (
    "net_arch",
    "log_std_init",
    "lstm_hidden_size",
    "shared_lstm",
    "enable_critic_lstm",
    "optimizer_kwargs",
)
"""Settings that are the policy's."""


def train_baseline(run: ControlRun) -> Record:
    """Let a model learn for the run's steps, rounded up to its rollouts, and record its training episodes."""
    model = build_model(run)
    record = Record()
    model.learn(run.steps, callback=lambda local, _: _take_down(record, model.num_timesteps, local["infos"]))
    record.env_steps = model.num_timesteps
    if run.test_episodes:
        record.test = test(model, run.test_episodes)
    model.get_env().close()
    return record


def test(model: Any, episodes: int) -> list[float]:
    """Returns of episodes without exploration; statistics of observations stay as they are."""
    from stable_baselines3.common.evaluation import evaluate_policy

    environments = model.get_env()
    environments.training = False
    returns: Any = evaluate_policy(model, environments, episodes, return_episode_rewards=True)[0]
    return list(map(float, returns))


def build_model(run: ControlRun) -> Any:
    """The library's model for a run, on as many environments as its settings ask for.

    Raises:
        UsageError: The algorithm refuses a setting.
    """
    arguments = {key: scheduled(value) for key, value in run.settings.items()}
    num_envs, normalize = arguments.pop("n_envs"), arguments.pop("normalize")
    environments = _vectorised(run.environment, num_envs, run.seed, arguments.pop("counts", 0.0))
    if normalize:
        from stable_baselines3.common.vec_env import VecNormalize

        environments = VecNormalize(environments, gamma=arguments.get("gamma", 0.99))
    policy = policy_name(run.name, environments)
    network = {name: arguments.pop(name) for name in OF_THE_POLICY if name in arguments}
    if "noise_type" in arguments:
        arguments["action_noise"] = action_noise(environments, arguments.pop("noise_type"), arguments.pop("noise_std"))
    kind = algorithm(run.name)
    try:
        return kind(policy, environments, seed=run.seed, device="cpu", policy_kwargs=network, **arguments)
    except TypeError as error:
        raise UsageError(f"{kind.__name__} refused the settings {run.settings}: {error}") from error


def action_noise(environments: Any, kind: str, std: float) -> Any:
    """Noise that is added to actions, of the zoo's `noise_type`, `normal` or `ornstein-uhlenbeck`."""
    from stable_baselines3.common.noise import NormalActionNoise, OrnsteinUhlenbeckActionNoise

    noise = {"normal": NormalActionNoise, "ornstein-uhlenbeck": OrnsteinUhlenbeckActionNoise}[kind]
    size = environments.action_space.shape
    return noise(np.zeros(size), np.full(size, std))


def scheduled(value: Any) -> Any:
    """`lin_0.001` as a function of the share of steps that remain, `[1, episode]` as a tuple; others as they are."""
    if isinstance(value, list) and any(isinstance(one, str) for one in value):
        return tuple(value)
    if not (isinstance(value, str) and value.startswith("lin_")):
        return value
    first = float(value.removeprefix("lin_"))
    return lambda remaining: first * remaining


def _take_down(record: Record, steps: int, infos: list[dict[str, Any]]) -> bool:
    for info in infos:
        if "episode" in info:
            record.steps.append(steps)
            record.returns.append(float(info["episode"]["r"]))
    return True


def _vectorised(environment: dict[str, Any], num_envs: int, seed: int, counts: float) -> Any:
    """Environments that record their returns, then perhaps add a bonus for what was seldom seen by any of them."""
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv

    visits = Counter[bytes]()

    def make() -> gym.Env:
        recorded = Monitor(flattened(build_environment(environment)))
        return CountBonus(recorded, counts, visits) if counts else recorded

    environments = DummyVecEnv([make] * num_envs)
    environments.seed(seed)
    return _seen(environments)


def _seen(environments: Any) -> Any:
    """The same environments, whose steps go into the fingerprint of their run."""
    step_wait = environments.step_wait

    def step_and_note() -> Any:
        observation, reward, done, infos = step_wait()
        note(environments.actions, reward, done, observation)
        return observation, reward, done, infos

    environments.step_wait = step_and_note
    return environments
