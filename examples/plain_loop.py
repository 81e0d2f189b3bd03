"""The memory in a training loop of one's own: `python -m examples.plain_loop` learns CartPole within a minute."""

import gymnasium as gym
import numpy as np
import torch

from engram_rl.memory import DifferentiableNeuralDictionary, RandomProjection, identify


def train(episodes: int = 150, seed: int = 0, discount: float = 0.99) -> list[float]:
    """Returns of the episodes; the agent is a memory of what each action returned in similar situations."""
    environment = gym.make("CartPole-v1")
    generator = np.random.default_rng(seed)
    key_of = RandomProjection(4, 16, seed)
    memories = [DifferentiableNeuralDictionary(16, value_dim=1, capacity=20_000, k=11, write_rule="max") for _ in "01"]
    scores = []
    for episode in range(episodes):
        observation, _ = environment.reset(seed=seed if episode == 0 else None)
        steps, ended = [], False
        while not ended:
            key = key_of(torch.from_numpy(observation)[None])  # [1, 16]
            with torch.no_grad():
                values = [float(memory.lookup(key).value) for memory in memories]
            explore = generator.random() < max(0.02, 1 - episode / 30)
            action = int(generator.integers(2)) if explore else int(np.argmax(values))
            following, reward, terminated, truncated, _ = environment.step(action)
            steps.append((observation, key, action, float(reward)))
            observation, ended = following, terminated or truncated
        ahead = 0.0
        for observation, key, action, reward in reversed(steps):  # only now, so that nothing retrieves its own future
            ahead = reward + discount * ahead
            memories[action].write(key, torch.tensor([[ahead]]), identity=identify(observation[None]))
        scores.append(float(len(steps)))
    return scores


if __name__ == "__main__":
    returns = train()
    for start in range(0, len(returns), 25):
        print(f"episodes {start:3d} to {start + 24}: mean return {np.mean(returns[start : start + 25]):5.1f}")
