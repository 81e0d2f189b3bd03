"""The memory beside any Gymnasium environment: what similar situations returned becomes part of the observation.

    memory = DifferentiableNeuralDictionary([Modality("state", 4), Modality("action", kind="discrete")], 1, 10_000, k=5)
    environment = MemoryWrapper(gymnasium.make("CartPole-v1"), memory)
    observation, _ = environment.reset()
    observation["memory"]                    # of each action: value, squared distance, and whether there is one

Needs gymnasium, which the rest of `memory` does not.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from engram_rl.memory.checks import unknown
from engram_rl.memory.dictionary import DifferentiableNeuralDictionary
from engram_rl.memory.gymnasium.episodes import ACTION, MakeKeys, RunningEpisodes, keys_of_parts

OBSERVATION, MEMORY = "observation", "memory"


class MemoryWrapper(gym.Wrapper):
    """Adds what a memory recalls to each observation, and writes each episode's returns when it is over.

    The observation becomes a Dict: its own parts, or `observation` if it had none, and `memory`, `[3 A]` of float32:
    values, squared distances of the nearest entries and whether there are any, for each of A actions if the memory has
    a discrete modality `action`, else for the situation (A = 1). `memory.gymnasium.episodes` says what is written and
    why nothing leaks.

    Several wrappers may share a memory. `learning = False` leaves the memory as it is: nothing is written or touched.

    Args:
        env: Any environment.
        memory: With `value_dim=1`; how it writes, weighs and forgets is its own affair.
        key: A batch of observations (a tensor `[E, ...]`, or one by name) to keys: a tensor, or one by modality. By
            default the parts of a Dict that bear the names of the memory's modalities, or all numbers of another
            observation.
        discount: Of the returns, in [0, 1].

    Raises:
        ValueError: The observation has no parts or numbers for the memory's modalities.
    """

    def __init__(
        self,
        env: gym.Env,
        memory: DifferentiableNeuralDictionary,
        *,
        key: MakeKeys | None = None,
        discount: float = 0.99,
    ) -> None:
        super().__init__(env)
        self.learning = True
        self.episodes = _episodes(env.observation_space, env.action_space, memory, 1, key, discount)
        self.observation_space = _with_memory_space(env.observation_space, self.episodes.width)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode; one that was running is dropped."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.episodes.start(_batch_of_one(observation))
        return self._with_memory(observation)[0], info

    def step(self, action: Any) -> tuple[dict, Any, bool, bool, dict]:
        """Step; what is recalled of an episode's last observation was known before the episode is written."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        if not self.learning:
            self.episodes.start(_batch_of_one(observation))
            return self._with_memory(observation)[0], reward, terminated, truncated, info
        self.episodes.advance(np.asarray([action]), np.asarray([reward]), _batch_of_one(observation))
        extended, value = self._with_memory(observation)
        if terminated or truncated:
            self.episodes.finish(0, 0.0 if terminated else value)
        return extended, reward, terminated, truncated, info

    def _with_memory(self, observation: Any) -> tuple[dict[str, Any], float]:
        recalled, best = self.episodes.recall(self.episodes.now, touch=self.learning)
        return _extended(observation, recalled[0]), float(best[0])


class MemoryVectorWrapper(VectorWrapper):
    """`MemoryWrapper` for environments side by side, with one search for all of them.

    They must reset within the step that ends an episode (`AutoresetMode.SAME_STEP`): in other modes the step after an
    end is no experience. `info["final_obs"]` gets what was recalled of it before the episode was written.

    Args:
        env: Vectorised environments.
        memory: See `MemoryWrapper`; likewise `key` and `discount`.
        key: See `MemoryWrapper`.
        discount: See `MemoryWrapper`.

    Raises:
        ValueError: As `MemoryWrapper`, or the environments reset in another mode.
    """

    def __init__(
        self,
        env: VectorEnv,
        memory: DifferentiableNeuralDictionary,
        *,
        key: MakeKeys | None = None,
        discount: float = 0.99,
    ) -> None:
        super().__init__(env)
        mode = env.metadata.get("autoreset_mode")
        if mode != AutoresetMode.SAME_STEP:
            raise ValueError(
                f"these environments reset in mode {mode}, whose step after an episode's end is not a real transition; "
                "make them with autoreset_mode=AutoresetMode.SAME_STEP"
            )
        single = env.single_observation_space
        self.learning = True
        self.episodes = _episodes(single, env.single_action_space, memory, env.num_envs, key, discount)
        self.single_observation_space = _with_memory_space(single, self.episodes.width)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin episodes in all environments; those that were running are dropped."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.episodes.start(observation)
        return self._with_memory(observation), info

    def step(self, actions: Any) -> tuple[dict, Any, Any, Any, dict]:
        """Step all, write the episodes that ended, then recall for what each acts on next."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        ended = np.flatnonzero(terminated | truncated)
        last_values = np.zeros(0)
        if len(ended):
            info, last_values = self._with_final_memory(info, ended)
        if self.learning:
            self.episodes.advance(actions, reward, observation)
            for e, value in zip(ended, np.where(terminated[ended], 0.0, last_values), strict=True):
                self.episodes.finish(int(e), float(value))
        else:
            self.episodes.start(observation)
        return self._with_memory(observation), reward, terminated, truncated, info

    def _with_memory(self, observation: Any) -> dict[str, Any]:
        return _extended(observation, self.episodes.recall(self.episodes.now, touch=self.learning)[0])

    def _with_final_memory(self, info: dict[str, Any], ended: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        """`info` with the memory's part in its final observations, and the best values recalled of them `[n]`."""
        final = info["final_obs"]
        last = _rows(final, ended)  # [n, ...]
        recalled, best = self.episodes.recall(self.episodes.keys(last), touch=False)
        extended = np.full(self.num_envs, None, dtype=object)
        for row, e in enumerate(ended):
            extended[e] = _extended(_row(last, row), recalled[row])
        return {**info, "final_obs": extended}, best


def _episodes(
    space: spaces.Space,
    actions: spaces.Space,
    memory: DifferentiableNeuralDictionary,
    num_envs: int,
    key: MakeKeys | None,
    discount: float,
) -> RunningEpisodes:
    names = [name for name in memory.space.names if name != ACTION]
    if key is None:
        _check_parts(space, memory, names)
        key = keys_of_parts(names)
    count = int(actions.n) if isinstance(actions, spaces.Discrete) and actions.start == 0 else None
    return RunningEpisodes(memory, key, num_envs, count, discount)


def _check_parts(space: spaces.Space, memory: DifferentiableNeuralDictionary, names: list[str]) -> None:
    """Raise unless the observation has the numbers that the memory's modalities ask for."""
    sizes = {m.name: m.size for m in memory.space}
    if isinstance(space, spaces.Dict):
        for name in names:
            if name not in space.spaces:
                raise unknown(
                    "modality of the memory (the observation has no such part; give key=...)", name, space.spaces
                )
        shown = {name: space[name] for name in names}
    elif len(names) == 1:
        shown = {names[0]: space}
    else:
        raise ValueError(
            f"the memory has the modalities {', '.join(names)}, the observation is one {space}; give key=..."
        )
    for name, part in shown.items():
        numbers = int(np.prod(part.shape)) if part.shape is not None else None
        if numbers != sizes[name]:
            raise ValueError(
                f"modality {name!r} has size {sizes[name]}, the observation {part} has {numbers} numbers; give the "
                "modality that size, or key=... that makes the one from the other, such as memory.RandomProjection"
            )


def _with_memory_space(space: spaces.Space, width: int) -> spaces.Dict:
    parts = dict(space.spaces) if isinstance(space, spaces.Dict) else {OBSERVATION: space}
    if MEMORY in parts:
        raise ValueError(f"the observation has a part {MEMORY!r} already; rename it with a wrapper, or wrap only once")
    return spaces.Dict(parts | {MEMORY: spaces.Box(-np.inf, np.inf, (width,), np.float32)})


def _extended(observation: Any, recalled: np.ndarray) -> dict[str, Any]:
    parts = observation if isinstance(observation, dict) else {OBSERVATION: observation}
    return {**parts, MEMORY: recalled}


def _batch_of_one(observation: Any) -> Any:
    if isinstance(observation, dict):
        return {name: _batch_of_one(part) for name, part in observation.items()}
    return np.asarray(observation)[None]


def _rows(final: Any, rows: np.ndarray) -> Any:
    """The final observations of these environments as a batch, however they are kept.  `[n, ...]`."""
    if isinstance(final, dict):
        return {name: _rows(part, rows) for name, part in final.items()}
    chosen = final[rows]
    if chosen.dtype != object:
        return chosen
    if isinstance(chosen[0], dict):
        return {name: np.stack([one[name] for one in chosen]) for name in chosen[0]}
    return np.stack(list(chosen))


def _row(batch: Any, row: int) -> Any:
    return {name: _row(part, row) for name, part in batch.items()} if isinstance(batch, dict) else batch[row]
