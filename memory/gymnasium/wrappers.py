"""The memory beside any Gymnasium environment: what similar situations returned becomes part of the observation.

    memory = DifferentiableNeuralDictionary([Modality("state", 4), Modality("action", kind="discrete")], 1, 10_000, k=5)
    environment = MemoryWrapper(gymnasium.make("CartPole-v1"), memory)
    observation, _ = environment.reset()
    observation["memory"]                    # of each action: value, squared distance, and whether there is one

Needs gymnasium, which the rest of `memory` does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode, VectorEnv, VectorWrapper
from gymnasium.vector.utils import batch_space

from engram_rl.memory.checks import ending, endings, unknown
from engram_rl.memory.dictionary import DifferentiableNeuralDictionary
from engram_rl.memory.gymnasium.episodes import ACTION, MakeKeys, RunningEpisodes, keys_of_parts
from engram_rl.memory.gymnasium.observations import as_tensors, batch_of_one, parts_of, row_of, rows_of

OBSERVATION, MEMORY = "observation", "memory"


class MemoryWrapper(gym.Wrapper, RecordConstructorArgs):
    """Adds what a memory recalls to each observation, and writes each episode's returns when it is over.

    The observation becomes a Dict: its own parts, or `observation` if it had none, and `memory`, `[3 A]` of float32:
    values, squared distances of the nearest entries and whether there are any, for each of A actions if the memory has
    a discrete modality `action`, else for the situation (A = 1). `memory.gymnasium.episodes` says what is written and
    why nothing leaks.

    An episode that a reset leaves in the middle was cut, as by a `TimeLimit` around this wrapper: it is written too,
    unless it is a single step.

    Several wrappers of one process may share a memory. `learning = False` leaves the memory as it is: nothing is
    written or touched.

    Args:
        env: Any environment.
        memory: With `value_dim=1`; how it writes, weighs and forgets is its own affair.
        key: A batch of observations (a tensor `[E, ...]`, or one by name) to keys: a tensor, or one by modality. By
            default the parts of a Dict, or of a Tuple by their numbers, that bear the names of the memory's modalities,
            or all numbers of another observation. Of an image a projection makes a key:
            `key=lambda parts: {"image": project(parts["image"])}`. Parts that are text are not handed to it.
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
        arguments = {"memory": memory, "key": key, "discount": discount}
        RecordConstructorArgs.__init__(self, _disable_deepcopy=True, **arguments)
        gym.Wrapper.__init__(self, env)
        self.learning = True
        self._best = np.zeros(1)  # of what was recalled last, what stands for the rest of a cut episode
        self.episodes = _episodes(env.observation_space, env.action_space, memory, 1, key, discount)
        self.observation_space = _with_memory_space(env.observation_space, self.episodes.width)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin an episode; one that was running was cut."""
        observation, info = self.env.reset(seed=seed, options=options)
        if self.learning:
            self.episodes.cut(self._best)
        self.episodes.start(batch_of_one(observation))
        return self._with_memory(observation), info

    def step(self, action: Any) -> tuple[dict, Any, bool, bool, dict]:
        """Step; what is recalled of an episode's last observation was known before the episode is written."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        terminated, truncated = ending("terminated", terminated), ending("truncated", truncated)
        if not self.learning:
            self.episodes.start(batch_of_one(observation))
            return self._with_memory(observation), reward, terminated, truncated, info
        self.episodes.advance(np.asarray([action]), reward, batch_of_one(observation))
        extended = self._with_memory(observation)
        if terminated or truncated:
            self.episodes.finish(0, 0.0 if terminated else float(self._best[0]))
        return extended, reward, terminated, truncated, info

    def _with_memory(self, observation: Any) -> dict[str, Any]:
        recalled, self._best = self.episodes.recall(self.episodes.now, touch=self.learning)
        return _extended(observation, recalled[0])


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
        if getattr(mode, "value", mode) != AutoresetMode.SAME_STEP.value:
            raise ValueError(
                f"these environments reset in mode {mode}, whose step after an episode's end is not a real transition; "
                "make them with autoreset_mode=AutoresetMode.SAME_STEP"
            )
        single = env.single_observation_space
        self.learning = True
        self._best = np.zeros(env.num_envs)  # [E] see MemoryWrapper
        self.episodes = _episodes(single, env.single_action_space, memory, env.num_envs, key, discount)
        self.single_observation_space = _with_memory_space(single, self.episodes.width)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin episodes in all environments, or where `options["reset_mask"]` says; open ones were cut."""
        rows = np.flatnonzero(options["reset_mask"]) if options and "reset_mask" in options else None
        observation, info = self.env.reset(seed=seed, options=options)
        if self.learning:
            self.episodes.cut(self._best, rows)
        self.episodes.start(observation, rows)
        return self._with_memory(observation), info

    def step(self, actions: Any) -> tuple[dict, Any, Any, Any, dict]:
        """Step all, write the episodes that ended, then recall for what each acts on next."""
        observation, reward, terminated, truncated, info = self.env.step(actions)
        terminated = endings("terminated", terminated, self.num_envs)
        truncated = endings("truncated", truncated, self.num_envs)
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
        recalled, self._best = self.episodes.recall(self.episodes.now, touch=self.learning)
        return _extended(observation, recalled)

    def _with_final_memory(self, info: dict[str, Any], ended: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
        """`info` with the memory's part in its final observations, and the best values recalled of them `[n]`."""
        if info.get("final_obs") is None:
            raise ValueError(
                "these environments give no info['final_obs'] where an episode ends, so its last observation is lost; "
                "mend them, or step single ones side by side with gymnasium.vector.SyncVectorEnv"
            )
        last = rows_of(info["final_obs"], ended)  # [n, ...]
        recalled, best = self.episodes.recall(self.episodes.keys(last), touch=False)
        extended = np.full(self.num_envs, None, dtype=object)
        for row, e in enumerate(ended):
            extended[e] = _extended(row_of(last, row), recalled[row])
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
    return RunningEpisodes(memory, key, as_tensors(space), num_envs, actions, discount)


def _check_parts(space: spaces.Space, memory: DifferentiableNeuralDictionary, names: list[str]) -> None:
    """Raise unless the observation has the numbers that the memory's modalities ask for."""
    sizes = {m.name: m.size for m in memory.space}
    parts = parts_of(space)
    if parts is not None:
        for name in names:
            if name not in parts:
                raise unknown("modality of the memory (the observation has no such part; give key=...)", name, parts)
        shown = {name: parts[name] for name in names}
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
    parts = observation if isinstance(observation, Mapping) else {OBSERVATION: observation}
    return {**parts, MEMORY: recalled}
