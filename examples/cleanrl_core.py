"""A memory core in somebody else's PPO: `python -m examples.cleanrl_core store` names what was shown once.

One file, in the manner of CleanRL's ppo_atari_lstm.py: what was the LSTM's state is the core's, a dict of tensors.
"""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor, nn
from torch.distributions import Categorical

from engram_rl.memory.cores import State, make_core


class FirstSeen(gym.Env):
    """Shows one of four symbols at the first of eight steps, and rewards whoever names it at any of them."""

    observation_space = gym.spaces.Box(0, 1, (4,), np.float32)
    action_space = gym.spaces.Discrete(4)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """A new symbol."""
        super().reset(seed=seed)
        self.symbol, self.steps = int(self.np_random.integers(4)), 0
        return np.eye(4, dtype=np.float32)[self.symbol], {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Nothing is shown any more."""
        self.steps += 1
        return np.zeros(4, np.float32), float(action == self.symbol), self.steps == 8, False, {}


class Agent(nn.Module):
    """Actor and critic on the output of a core."""

    def __init__(self, core: str) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 64), nn.Tanh())
        self.core = make_core(core, 64, 64)
        self.actor, self.critic = nn.Linear(self.core.output_size, 4), nn.Linear(self.core.output_size, 1)

    def forward(self, obs: Tensor, state: State, done: Tensor) -> tuple[Categorical, Tensor, State, Tensor]:
        """`[T, B, 4]`, the state before, `[T, B]` of bool: which observations open an episode."""
        hidden, state, losses = self.core(self.encoder(obs), state, done)
        own = torch.stack([*losses.values(), hidden.new_zeros(())]).sum()
        return Categorical(logits=self.actor(hidden)), self.critic(hidden).squeeze(-1), state, own


def train(
    core: str = "gru", steps: int = 50_000, seed: int = 1, num_envs: int = 8, num_steps: int = 128
) -> list[float]:
    """Returns of the episodes, in the order in which they ended."""
    torch.manual_seed(seed)
    envs = SyncVectorEnv([FirstSeen] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)
    agent = Agent(core)
    rest = [*agent.encoder.parameters(), *agent.actor.parameters(), *agent.critic.parameters()]
    optimizer = torch.optim.Adam([*agent.core.parameter_groups(1e-3), {"params": rest, "lr": 1e-3}], eps=1e-5)
    next_obs, next_done = torch.tensor(envs.reset(seed=seed)[0]), torch.ones(num_envs, dtype=torch.bool)
    next_state, gained, returns = agent.core.initial_state(num_envs), np.zeros(num_envs), []
    obs, dones = torch.zeros(num_steps, num_envs, 4), torch.zeros(num_steps, num_envs, dtype=torch.bool)
    actions, logprobs, rewards, values = (torch.zeros(num_steps, num_envs) for _ in range(4))
    for _ in range(steps // (num_envs * num_steps)):
        initial_state = next_state  # a core leaves it as it is, so it need not be cloned
        for t in range(num_steps):
            obs[t], dones[t] = next_obs, next_done
            with torch.no_grad():
                policy, value, next_state, _ = agent(obs[t : t + 1], next_state, dones[t : t + 1])
                action = policy.sample()
            actions[t], logprobs[t], values[t] = action[0], policy.log_prob(action)[0], value[0]
            observation, reward, terminated, truncated, _ = envs.step(action[0].numpy())
            next_obs, next_done = torch.tensor(observation), torch.tensor(terminated | truncated)
            rewards[t] = torch.tensor(reward)
            gained += reward
            returns += gained[next_done.numpy()].tolist()
            gained[next_done.numpy()] = 0
        advantages = gae(agent, rewards, values, dones, next_obs, next_state, next_done)
        targets = advantages + values
        for _ in range(4):
            for rows in torch.randperm(num_envs).chunk(4):  # whole sequences, so that the state is what it was
                state = {name: leaf[rows] for name, leaf in initial_state.items()}
                policy, value, _, own = agent(obs[:, rows], state, dones[:, rows])
                ratio = (policy.log_prob(actions[:, rows]) - logprobs[:, rows]).exp()
                wanted = (advantages[:, rows] - advantages[:, rows].mean()) / (advantages[:, rows].std() + 1e-8)
                surrogate = torch.min(ratio * wanted, ratio.clamp(0.8, 1.2) * wanted).mean()
                loss = -surrogate + 0.5 * (value - targets[:, rows]).square().mean() - 0.01 * policy.entropy().mean()
                optimizer.zero_grad()
                (loss + own).backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()
    envs.close()
    return returns


@torch.no_grad()
def gae(
    agent: Agent, rewards: Tensor, values: Tensor, dones: Tensor, next_obs: Tensor, state: State, next_done: Tensor
) -> Tensor:
    """Generalised advantages; as in CleanRL an episode that was cut counts as one that ended. `[T, E]`."""
    following = agent(next_obs[None], state, next_done[None])[1][0]
    advantages, last = torch.zeros_like(rewards), torch.zeros_like(following)
    ends = torch.cat([dones[1:], next_done[None]])
    for t in reversed(range(len(rewards))):
        goes_on = (~ends[t]).float()
        delta = rewards[t] + 0.99 * following * goes_on - values[t]
        last = delta + 0.99 * 0.95 * goes_on * last
        advantages[t], following = last, values[t]
    return advantages


if __name__ == "__main__":
    found = train(sys.argv[1] if sys.argv[1:] else "gru")
    for start in range(0, len(found) - 49, 50):
        print(f"episodes {start:4d} to {start + 49}: mean return {np.mean(found[start : start + 50]):5.1f}")
