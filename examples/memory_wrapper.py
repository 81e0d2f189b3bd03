"""Any environment with a memory beside its observation: `python -m examples.memory_wrapper` learns FrozenLake."""

import gymnasium as gym
import numpy as np

from engram_rl.memory import DifferentiableNeuralDictionary, Modality
from engram_rl.memory.gymnasium import MemoryWrapper


def make() -> MemoryWrapper:
    """FrozenLake; its observation is now a Dict of `observation` and `memory`."""
    parts = [Modality("cell", kind="discrete"), Modality("action", kind="discrete")]
    memory = DifferentiableNeuralDictionary(parts, value_dim=1, capacity=1_000, k=1, write_rule="max")
    return MemoryWrapper(gym.make("FrozenLake-v1", is_slippery=False), memory, discount=0.9)


def choose(retrieved: np.ndarray, generator: np.random.Generator) -> int:
    """Of what each action returned here, the best; where nothing is known or all is equal, any."""
    value, _, known = retrieved.reshape(3, -1)  # [A] each
    worth = np.where(known > 0, value, 0.1)  # optimistic about what was never tried
    return int(generator.choice(np.flatnonzero(worth == worth.max())))


def play(environment: MemoryWrapper, generator: np.random.Generator, seed: int | None = None) -> float:
    """The return of one episode."""
    observation, _ = environment.reset(seed=seed)
    total, ended = 0.0, False
    while not ended:
        observation, reward, terminated, truncated, _ = environment.step(choose(observation["memory"], generator))
        total, ended = total + float(reward), terminated or truncated
    return total


if __name__ == "__main__":
    lake, chance = make(), np.random.default_rng(0)
    print("solved while learning:", sum(play(lake, chance) for _ in range(300)), "of 300")
    lake.learning = False
    print("solved with the memory frozen:", sum(play(lake, chance) for _ in range(20)), "of 20")
