"""What RL Baselines3 Zoo tuned for a task: dqn.yml, ppo.yml, sac.yml and td3.yml of DLR-RM/rl-baselines3-zoo.

Its notation is kept: `lin_0.001` falls linearly from 0.001 to 0 over the run, `normalize` is `VecNormalize`, and
`noise_type` and `noise_std` are of the noise on actions. Where it has nothing for a task the library's defaults are
used.
"""

from __future__ import annotations

from typing import Any

LINEAR = "engram_rl.agents.common.schedules.Linear"

DEFAULTS: dict[str, Any] = {"n_envs": 1, "normalize": False}

_GRID_PPO = {
    "normalize": True,
    "n_envs": 8,
    "n_steps": 128,
    "batch_size": 64,
    "gae_lambda": 0.95,
    "gamma": 0.99,
    "n_epochs": 10,
    "ent_coef": 0.0,
    "learning_rate": 2.5e-4,
    "clip_range": 0.2,
}

_PENDULUM_SAC = {"learning_rate": 1e-3}

_PENDULUM_TD3 = {
    "gamma": 0.98,
    "buffer_size": 200_000,
    "noise_type": "normal",
    "noise_std": 0.1,
    "gradient_steps": -1,
    "train_freq": [1, "episode"],
    "learning_rate": 1e-3,
    "net_arch": [400, 300],
}

TUNED: dict[tuple[str, str], dict[str, Any]] = {
    ("sb3_dqn", "CartPole-v1"): {
        "learning_rate": 2.3e-3,
        "batch_size": 64,
        "buffer_size": 100_000,
        "learning_starts": 1000,
        "gamma": 0.99,
        "target_update_interval": 10,
        "train_freq": 256,
        "gradient_steps": 128,
        "exploration_fraction": 0.16,
        "exploration_final_eps": 0.04,
        "net_arch": [256, 256],
    },
    ("sb3_dqn", "MountainCar-v0"): {
        "learning_rate": 4e-3,
        "batch_size": 128,
        "buffer_size": 10_000,
        "learning_starts": 1000,
        "gamma": 0.98,
        "target_update_interval": 600,
        "train_freq": 16,
        "gradient_steps": 8,
        "exploration_fraction": 0.2,
        "exploration_final_eps": 0.07,
        "net_arch": [256, 256],
    },
    ("sb3_dqn", "Acrobot-v1"): {
        "learning_rate": 6.3e-4,
        "batch_size": 128,
        "buffer_size": 50_000,
        "learning_starts": 0,
        "gamma": 0.99,
        "target_update_interval": 250,
        "train_freq": 4,
        "gradient_steps": -1,
        "exploration_fraction": 0.12,
        "exploration_final_eps": 0.1,
        "net_arch": [256, 256],
    },
    ("sb3_ppo", "CartPole-v1"): {
        "n_envs": 8,
        "n_steps": 32,
        "batch_size": 256,
        "gae_lambda": 0.8,
        "gamma": 0.98,
        "n_epochs": 20,
        "ent_coef": 0.0,
        "learning_rate": "lin_0.001",
        "clip_range": "lin_0.2",
    },
    ("sb3_ppo", "MountainCar-v0"): {
        "normalize": True,
        "n_envs": 16,
        "n_steps": 16,
        "gae_lambda": 0.98,
        "gamma": 0.99,
        "n_epochs": 4,
        "ent_coef": 0.0,
    },
    ("sb3_ppo", "Acrobot-v1"): {
        "normalize": True,
        "n_envs": 16,
        "n_steps": 256,
        "gae_lambda": 0.94,
        "gamma": 0.99,
        "n_epochs": 4,
        "ent_coef": 0.0,
    },
    ("sb3_ppo", "Pendulum-v1"): {
        "n_envs": 4,
        "n_steps": 1024,
        "gae_lambda": 0.95,
        "gamma": 0.9,
        "n_epochs": 10,
        "ent_coef": 0.0,
        "learning_rate": 1e-3,
        "clip_range": 0.2,
        "use_sde": True,
        "sde_sample_freq": 4,
    },
    ("sb3_sac", "Pendulum-v1"): _PENDULUM_SAC,
    ("sb3_sac", "MountainCarContinuous-v0"): {
        "learning_rate": 3e-4,
        "buffer_size": 50_000,
        "batch_size": 512,
        "ent_coef": 0.1,
        "train_freq": 32,
        "gradient_steps": 32,
        "gamma": 0.9999,
        "tau": 0.01,
        "learning_starts": 0,
        "use_sde": True,
        "log_std_init": -3.67,
        "net_arch": [64, 64],
    },
    ("sb3_sac", "engram/PointMassShift-v0"): _PENDULUM_SAC,
    ("sb3_td3", "Pendulum-v1"): _PENDULUM_TD3 | {"learning_starts": 10_000},
    ("sb3_td3", "MountainCarContinuous-v0"): {"noise_type": "ornstein-uhlenbeck", "noise_std": 0.5},
    ("sb3_td3", "engram/PointMassShift-v0"): _PENDULUM_TD3,
    ("sb3_ppo", "MiniGrid-DoorKey-5x5-v0"): _GRID_PPO,
    ("sb3_ppo", "MiniGrid-DoorKey-6x6-v0"): _GRID_PPO,
    ("sb3_ppo", "MiniGrid-FourRooms-v0"): _GRID_PPO | {"n_steps": 512},
}
"""By algorithm and task. DoorKey-6x6 has no entry of its own there and takes that of 5x5; nor has the point mass, which
takes Pendulum's, but that TD3 learns from its 100th step on as by default: it would act at random for 10,000 steps.
"""


OURS = {
    "num_steps": ("n_steps", 2048),
    "minibatch_size": ("batch_size", 64),
    "epochs": ("n_epochs", 10),
    "discount": ("gamma", 0.99),
    "gae_lambda": ("gae_lambda", 0.95),
    "entropy_coefficient": ("ent_coef", 0.0),
    "normalise_observations": ("normalize", False),
    "scale_rewards": ("normalize", False),
    "learning_rate": ("learning_rate", 3e-4),
    "clip": ("clip_range", 0.2),
}
"""What our PPO calls the values of Stable-Baselines3's, and what that has where the zoo says nothing."""


def for_our_ppo(environment_id: str, steps: int) -> str:
    """Our PPO with what the zoo tuned Stable-Baselines3's to: `ppo`, its values and those of the environment.

    State-dependent exploration, which the zoo uses on Pendulum, is not among the things that ours has.
    """
    tuned = settings("sb3_ppo", environment_id)
    words = ["ppo", f"env.num_envs={tuned['n_envs']}"]
    for ours, (theirs, default) in OURS.items():
        words += _as_words(ours, tuned.get(theirs, default), steps)
    return " ".join(words)


def _as_words(name: str, value: Any, steps: int) -> list[str]:
    if name in ("normalise_observations", "scale_rewards"):
        return [f"+{name}=true"] if value else []
    if not isinstance(value, str):
        return [f"{name}={value}"]
    first = float(value.removeprefix("lin_"))
    return [f"{name}={{_target_:{LINEAR},start:{first},end:0.0,steps:{steps}}}"]


def settings(algorithm: str, environment_id: str) -> dict[str, Any]:
    """What an algorithm is built with for a task: `n_envs` and `normalize` are the zoo's words."""
    return DEFAULTS | TUNED.get((algorithm, environment_id), {})
