"""The retrieval module in a Stable-Baselines3 policy: `python -m examples.sb3_retrieval` (extra `compare`)."""

from __future__ import annotations

import gymnasium as gym
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

from engram_rl.agents.retrieval.attention import RetrievalAttention
from engram_rl.memory import DifferentiableNeuralDictionary, Modality
from engram_rl.memory.gymnasium import MemoryWrapper


class RetrievingFeatures(BaseFeaturesExtractor):
    """What is seen, and through a gate what attention reads from what each action returned in similar situations.

    What was retrieved is a part of the observation, so the rollout keeps it as it was when the agent acted.
    """

    def __init__(self, observation_space: spaces.Dict, features_dim: int = 64) -> None:
        super().__init__(observation_space, features_dim)
        self.actions = observation_space["memory"].shape[0] // 3  # type: ignore[index]
        seen = spaces.flatdim(observation_space["observation"])
        self.perceive = nn.Sequential(nn.Linear(seen, features_dim), nn.Tanh())
        self.retrieval = RetrievalAttention(features_dim, 2 + self.actions, width=32, heads=4, gate=1.0)

    def forward(self, observation: dict[str, Tensor]) -> Tensor:
        """`{"observation": [B, O], "memory": [B, 3 A]}` to `[B, features_dim]`."""
        value, distance, known = observation["memory"].unflatten(1, (3, self.actions)).unbind(1)  # [B, A] each
        which = torch.eye(self.actions, device=value.device).expand(len(value), -1, -1)  # [B, A, A]
        found = torch.stack([value.sign() * value.abs().log1p(), distance.log1p()], dim=2)  # [B, A, 2]
        tokens = torch.cat([found, which], dim=2)
        return self.retrieval(self.perceive(observation["observation"]), tokens, known > 0)


def make(num_envs: int = 4, seed: int = 0, **options: object) -> PPO:
    """PPO of Stable-Baselines3 whose environments share one memory."""
    parts = [Modality("state", 4), Modality("action", kind="discrete")]
    memory = DifferentiableNeuralDictionary(parts, value_dim=1, capacity=20_000, k=11)
    environments = DummyVecEnv([lambda: MemoryWrapper(gym.make("CartPole-v1"), memory) for _ in range(num_envs)])
    policy = {"features_extractor_class": RetrievingFeatures}
    return PPO("MultiInputPolicy", environments, policy_kwargs=policy, seed=seed, device="cpu", **options)  # type: ignore[arg-type]


if __name__ == "__main__":
    make(n_steps=256, verbose=1).learn(20_000)
