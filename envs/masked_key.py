"""MaskedKey: learn what to do with each thing, then meet the things with a part of their description missing."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from engram_rl.envs import draws
from engram_rl.envs.checks import integer
from engram_rl.envs.core import Core, LayoutSeed
from engram_rl.envs.rendering import draw_items
from engram_rl.envs.suite import SuiteEnv, SuiteVectorEnv

ACTIONS = 4
COLOUR_SIZE = 8
NOISE_SIZE = 4
WITHHELD = ("place", "colour", "either")
_ORDER, _COLOURS, _ANSWERS, _NOISE, _WHICH = range(5)


class MaskedKeyCore(Core):
    """E runs of MaskedKey; the arguments are those of `MaskedKey`.

    Attributes:
        colours: Each thing's colour, a unit vector. `[E, K, 8]`
        answers: What to do with each thing. `[E, K]`
        order: Which thing is shown when. `[E, K]`
    """

    def __init__(
        self,
        num_envs: int,
        *,
        n: int = 4,
        withheld: str = "either",
        train_episodes: int = 20,
        test_episodes: int = 20,
        layout_seed: LayoutSeed = None,
    ) -> None:
        if integer("n", n) < 2 or n % 2:
            raise ValueError(f"n must be even and at least 2, so that no place is the origin; got {n}.")
        if withheld not in WITHHELD:
            raise ValueError(f"withheld must be one of {', '.join(WITHHELD)}; got {withheld!r}.")
        if integer("train_episodes", train_episodes) < 1 or integer("test_episodes", test_episodes) < 1:
            raise ValueError(f"A run needs both kinds of episodes, got {train_episodes} and {test_episodes}.")
        super().__init__(num_envs, step_limit=n * n, layout_seed=layout_seed, episodes=train_episodes + test_episodes)
        self._n = n
        self._withheld = withheld
        self._train_episodes = train_episodes
        things = n * n
        self.places = _places(n)  # [K, 2]
        self.colours = np.zeros((num_envs, things, COLOUR_SIZE))
        self.answers = np.zeros((num_envs, things), dtype=np.int64)
        self.order = np.zeros((num_envs, things), dtype=np.int64)
        self._all = np.arange(num_envs)
        self.action_space = Discrete(ACTIONS)
        self.observation_space = Dict(
            colour=Box(-1.0, 1.0, (COLOUR_SIZE,), np.float32),
            noise=Box(-1.0, 1.0, (NOISE_SIZE,), np.float32),
            place=Box(-1.0, 1.0, (2,), np.float32),
        )

    def observation(self) -> dict[str, np.ndarray]:
        """What is shown of the current thing; zeros for what is withheld, and after the last thing."""
        thing = self.thing()
        shown = self.shown() & (self.elapsed < self.step_limit)[:, None]  # [E, 2]
        moment = self.episode_index * (self.step_limit + 1) + self.elapsed  # [E]
        return {
            "colour": (self.colours[self._all, thing] * shown[:, 1:]).astype(np.float32),
            "noise": (2 * draws.keys(self.run_seed, moment, _NOISE, NOISE_SIZE) - 1).astype(np.float32),
            "place": (self.places[thing] * shown[:, :1]).astype(np.float32),
        }

    def thing(self) -> np.ndarray:
        """Which thing is in front of the agent; the last one again when all have been shown. `[E]`."""
        return self.order[self._all, np.minimum(self.elapsed, self.step_limit - 1)]

    def shown(self) -> np.ndarray:
        """Whether place and colour are given now. `[E, 2]` of bool."""
        withheld = np.zeros((self.num_envs, 2), dtype=np.bool_)
        withheld[self._all, self._modality()] = self.task_index == 1
        return ~withheld

    def render(self, row: int) -> np.ndarray:
        """All things in their places, the current one ringed; below, which modalities are given. `[H, W, 3]`."""
        shown = self.shown()[row]
        return draw_items(
            colours=self.colours[row, :, :3].reshape(self._n, self._n, 3),
            current=divmod(int(self.thing()[row]), self._n),
            given=(bool(shown[0]), bool(shown[1]), True),
        )

    def _start_run(self, rows: np.ndarray) -> None:
        things = self.step_limit
        seed = self.run_seed[rows]
        colours = draws.normals(seed, 0, _COLOURS, things * COLOUR_SIZE).reshape(-1, things, COLOUR_SIZE)
        self.colours[rows] = colours / np.linalg.norm(colours, axis=2, keepdims=True)
        self.answers[rows] = (draws.keys(seed, 0, _ANSWERS, things) * ACTIONS).astype(np.int64)

    def _start_episode(self, rows: np.ndarray) -> None:
        self._enter_task(rows, (self.episode_index[rows] >= self._train_episodes).astype(np.int64))
        keys = draws.keys(self.run_seed[rows], self.episode_index[rows], _ORDER, self.step_limit)
        self.order[rows] = keys.argsort(axis=1)
        self.oracle_steps[rows] = self.step_limit

    def _act(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        thing = self.order[self._all, self.elapsed - 1]
        right = actions == self.answers[self._all, thing]
        return right.astype(np.float64), self.elapsed >= self.step_limit

    def _modality(self) -> np.ndarray | int:
        """Which modality test episodes withhold now: 0 the place, 1 the colour. `[E]`."""
        if self._withheld != "either":
            return WITHHELD.index(self._withheld)
        moment = self.episode_index * (self.step_limit + 1) + self.elapsed
        return draws.integers(self.run_seed, moment, _WHICH, 2)


class MaskedKey(SuiteEnv):
    """Things with a place and a colour, each wanting one action; in test episodes one of the two is withheld.

    Observation: Dict of `place` [2], the thing's coordinates from -1 to 1; `colour` [8], a unit vector; `noise` [4],
    uniform from -1 to 1, new in every step and without meaning; float32. Place and colour each suffice to tell the
    things apart. A withheld modality is all zeros, which a given one never is.
    Actions: 0 to 3, one of which is right for each thing.
    Reward: 1 for the right action, 0 otherwise.
    Termination: after each of the n * n things was shown once, in random order. The last observation shows nothing.
    What shifts: for `train_episodes` everything is shown; in the `test_episodes` that follow, each observation lacks
    its place or its colour. Things and answers stay the same for the run, which then starts over.
    `info["oracle_steps"]`: n * n.
    Limit: the score with nothing withheld, n * n once every answer is known; 4 by chance at n = 4.

    Args (`gymnasium.make("engram/MaskedKey-v0", ...)`):
        n: Things along a side of their grid; even (default 4).
        withheld: "place", "colour", or "either", drawn for each observation (default).
        train_episodes: Episodes with everything shown (default 20).
        test_episodes: Episodes with a modality withheld (default 20).
        layout_seed: What the run is drawn from; None takes the reset seed.
        render_mode: None or "rgb_array".

    Registered ids: engram/MaskedKey-v0
    """

    core_class = MaskedKeyCore


class MaskedKeyVector(SuiteVectorEnv):
    """E runs of `MaskedKey` at once."""

    core_class = MaskedKeyCore


def _places(n: int) -> np.ndarray:
    """The coordinates of the things, from -1 to 1, row by row. `[n * n, 2]`."""
    along = (2 * np.arange(n) + 1 - n) / (n - 1)
    y, x = np.divmod(np.arange(n * n), n)
    return np.stack([along[x], along[y]], axis=1)
