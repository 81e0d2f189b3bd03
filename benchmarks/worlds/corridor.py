"""A corridor whose middle is the goal: one task, which can be shown, steered, paid and ended in every way there is."""

from __future__ import annotations

from typing import Any

import gymnasium as gym

from benchmarks.worlds.actions import ACTIONS
from benchmarks.worlds.ends import ENDS
from benchmarks.worlds.habits import HABITS
from benchmarks.worlds.infos import INFOS
from benchmarks.worlds.observations import LAST, MIDDLE, OBSERVATIONS
from benchmarks.worlds.rewards import REWARDS

ID = "benchmarks.worlds.corridor:Corridor-v0"


class Corridor(gym.Env):
    """Seven places in a row.

    An episode begins at either end, so that who does not see where it is goes wrong half the time.

    Args:
        observation: How the place is shown, of `OBSERVATIONS`.
        action: How a step to the left or to the right is chosen, of `ACTIONS`.
        reward: What is paid, of `REWARDS`.
        end: When an episode ends, of `ENDS`.
        info: What is said beside a step, of `INFOS`.
        habit: What else it does, of `HABITS`.
        limit: Steps after which an episode is cut.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  (Gymnasium reads it from the class)

    def __init__(
        self,
        observation: str = "vector",
        action: str = "two",
        reward: str = "mixed",
        end: str = "goal",
        info: str = "empty",
        habit: str = "none",
        limit: int = 20,
        render_mode: str | None = None,
    ):
        self.render_mode = render_mode
        self.observation_space, self._show = OBSERVATIONS[observation]()
        self.action_space, self._move = ACTIONS[action]()
        self._pay, self._end, self._say, self._limit = REWARDS[reward], ENDS[end], INFOS[info], limit
        self._masked = action == "masked"
        self._habit = HABITS[habit](self)
        self.place, self.steps, self.total = 0, 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Begin at either end."""
        super().reset(seed=seed)
        self._habit.reset(options)
        self.steps = 0
        self._begin()
        return self._shown(), self._said()

    def step(self, action: Any) -> Any:
        """A step to the left or to the right."""
        self.steps, self.total = self.steps + 1, self.total + 1
        self._habit.step(action)
        before = self.place
        self.place = min(max(before + self._move(action, before), 0), LAST)
        arrived = self.place == MIDDLE
        terminated, truncated = self._end(arrived, self.steps, self._limit)
        if arrived and not terminated:
            self._begin()
        result = (self._shown(), self._pay(arrived), terminated, truncated, self._said())
        return self._habit.result(result)

    def render(self) -> Any:
        """A picture of the corridor, or what its habit makes of it."""
        return self._habit.render(self.place)

    def close(self) -> None:
        """Give back what a habit holds."""
        self._habit.close()

    def _begin(self) -> None:
        self.place = LAST * int(self.np_random.integers(2))

    def _shown(self) -> Any:
        return self._habit.observation(self._show(self.place, self.total))

    def _said(self) -> Any:
        said = self._say(self.total)
        return {**said, "action_mask": self._move.mask(self.place)} if self._masked else said  # type: ignore[attr-defined]


gym.register("Corridor-v0", entry_point=f"{__name__}:Corridor")
