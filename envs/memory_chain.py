"""MemoryChain: bits are shown at the beginning, and one of them is asked for at the end."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, Discrete

from engram_rl.envs import draws
from engram_rl.envs.checks import integer
from engram_rl.envs.core import Core, LayoutSeed
from engram_rl.envs.rendering import draw_items
from engram_rl.envs.suite import SuiteEnv, SuiteVectorEnv

_BITS, _ASKED = range(2)


class MemoryChainCore(Core):
    """E runs of MemoryChain; the arguments are those of `MemoryChain`.

    Attributes:
        bits: What is to be remembered, 0 or 1. `[E, M]`
        asked: Which of them will be asked for. `[E]`
    """

    def __init__(self, num_envs: int, *, length: int = 10, bits: int = 1, layout_seed: LayoutSeed = None) -> None:
        if integer("length", length) < 1 or integer("bits", bits) < 1:
            raise ValueError(f"MemoryChain needs a length and bits of at least 1, got {length} and {bits}.")
        super().__init__(num_envs, step_limit=length + 1, layout_seed=layout_seed)
        self._length = length
        self.bits = np.zeros((num_envs, bits), dtype=np.int64)
        self.asked = np.zeros(num_envs, dtype=np.int64)
        self._all = np.arange(num_envs)
        self.action_space = Discrete(2)
        low, high = np.array([0, 0] + [-1] * bits, np.float32), np.array([1, bits - 1] + [1] * bits, np.float32)
        self.observation_space = Box(low, np.maximum(high, 1))

    def observation(self) -> np.ndarray:
        """(time left, the bit asked for, the bits as -1 or 1). `[E, 2 + M]` of float32."""
        time = self._time()[:, None]
        asked = np.where(time == self._length - 1, self.asked[:, None], 0)
        bits = np.where(time == 0, 2 * self.bits - 1, 0)
        return np.concatenate([1 - time / self._length, asked, bits], axis=1).astype(np.float32)

    def render(self, row: int) -> np.ndarray:
        """The bits, the one asked for framed; lamps while they are shown, and when it is. `[H, W, 3]` of uint8."""
        bits, time = self.bits[row], self._time()[row]
        side = max(len(bits), 3)
        colours = np.zeros((side, side, 3))
        colours[0, : len(bits)] = (2.0 * bits - 1)[:, None]
        return draw_items(colours, (0, int(self.asked[row])), (bool(time == 0), bool(time >= self._length - 1), False))

    def _time(self) -> np.ndarray:
        """Steps on the clock that is shown, which does not run in the first step. `[E]`."""
        return np.maximum(self.elapsed - 1, 0)

    def _start_run(self, rows: np.ndarray) -> None:
        pass

    def _start_episode(self, rows: np.ndarray) -> None:
        seed, episode, count = self.run_seed[rows], self.episode_index[rows], self.bits.shape[1]
        before = self.bits[rows].copy()
        self.bits[rows] = draws.keys(seed, episode, _BITS, count) < 0.5
        self.asked[rows] = draws.integers(seed, episode, _ASKED, count)
        self._enter_task(rows, self.task_index[rows] + ((self.bits[rows] != before).any(axis=1) & (episode > 0)))
        self.oracle_steps[rows] = self.step_limit

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        over = self.elapsed > self._length
        right = actions == self.bits[self._all, self.asked]
        return np.where(over, np.where(right, 1.0, -1.0), 0.0), over


class MemoryChain(SuiteEnv):
    """Bits are shown at the beginning; at the end one of them is asked for. The behaviour suite's `memory_len`.

    Observation: (share of the time that is left, which bit is asked for, the bits), float32. The bits are -1 or 1 in
    the first two observations of an episode and 0 after; which one is asked for is shown in the last observation that
    is acted on, and 0 before.
    Actions: 0 or 1. All but the last do nothing.
    Reward: in the last step 1 if the action is the bit that was asked for, -1 otherwise; 0 before.
    Termination: after length + 1 steps. The bits have been out of sight for length - 1 of them then.
    What shifts: the bits are drawn anew for every episode. A run never ends.
    `info["oracle_steps"]`: length + 1.
    Limit: a mean return of 1; 0 without memory, but for a length of 1.

    The published protocol: one bit; lengths 1 to 10, 12, 14, 17, 20, 25 and 30, 40, ..., 100; 10,000 episodes each.
    A length counts as solved if more than .625 of all of these episodes were answered rightly (a regret below .75 of a
    guesser's).

    Args (`gymnasium.make("engram/MemoryChain-v0", ...)`):
        length: What the clock counts down (default 10).
        bits: How many are shown (default 1).
        layout_seed: What the bits are drawn from; None takes the reset seed.
        render_mode: None or "rgb_array".

    Source: Osband et al. 2020, "Behaviour suite for reinforcement learning", arXiv 1908.03568.
    Registered ids: engram/MemoryChain-v0
    """

    core_class = MemoryChainCore


class MemoryChainVector(SuiteVectorEnv):
    """E runs of `MemoryChain` at once."""

    core_class = MemoryChainCore
