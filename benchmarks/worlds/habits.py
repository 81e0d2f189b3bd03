"""What environments do besides: arrays used again, pictures that fail, generators of everybody's, ports, mistakes."""

from __future__ import annotations

import random
import socket
from collections.abc import Callable
from typing import Any

import numpy as np

SIDE = 32
PORT = 47_631


class Habit:
    """None: every part of it can be replaced by one."""

    def __init__(self, world: Any):
        self.world = world

    def reset(self, options: dict[str, Any] | None) -> None:
        """Before a reset."""

    def step(self, action: Any) -> None:
        """Before a step."""

    def observation(self, observation: Any) -> Any:
        """What is shown of it."""
        return observation

    def result(self, result: tuple[Any, ...]) -> Any:
        """What a step gives of it."""
        return result

    def render(self, place: int) -> Any:
        """A picture."""
        image = np.zeros((SIDE, 7 * SIDE, 3), np.uint8)
        image[:, place * SIDE : (place + 1) * SIDE] = 255
        return image

    def close(self) -> None:
        """At the end."""


class ReusedArray(Habit):
    """Every observation is written into one array."""

    def __init__(self, world: Any):
        super().__init__(world)
        self._array = np.zeros(world.observation_space.shape, world.observation_space.dtype)

    def observation(self, observation: Any) -> Any:
        """The array, again."""
        self._array[...] = observation
        return self._array


class ReadOnly(Habit):
    """Observations cannot be written to, and are no array of their own."""

    def observation(self, observation: Any) -> Any:
        """A view that is locked."""
        view = np.stack([observation, observation])[::-1][1]
        view.flags.writeable = False
        return view


class SpoilsActions(Habit):
    """Writes into the actions that it is given."""

    def step(self, action: Any) -> None:
        """Spoil it where that can be; what was chosen is read first by none."""
        if isinstance(action, np.ndarray) and action.ndim:
            self.world.kept = action.copy()
            action[...] = action  # in place, as those who clip do
            np.clip(action, -1, 1, out=action)


class GlobalChance(Habit):
    """Draws from the generators that a process has anyway, in the middle of an episode."""

    def step(self, action: Any) -> None:
        """Seldom, it begins anew at an end."""
        if random.random() < 0.02 and np.random.random() < 0.5:  # noqa: NPY002
            self.world.place = 0


class NeedsOptions(Habit):
    """Cannot be reset without options."""

    def reset(self, options: dict[str, Any] | None) -> None:
        """Read what nobody gives."""
        self.world.level = options["level"]  # type: ignore[index]


class Port(Habit):
    """Holds what only one can hold, until it is closed."""

    def __init__(self, world: Any):
        super().__init__(world)
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", PORT))

    def close(self) -> None:
        """Free it."""
        self._socket.close()


class RenderFails(Habit):
    """Cannot be drawn."""

    def render(self, place: int) -> Any:
        """Raise."""
        raise RuntimeError("no display")


class RenderReused(Habit):
    """Draws into one array."""

    def __init__(self, world: Any):
        super().__init__(world)
        self._frame = np.zeros((SIDE, 7 * SIDE, 3), np.uint8)

    def render(self, place: int) -> Any:
        """The frame, again."""
        self._frame[...] = super().render(place)
        return self._frame


class RenderFloats(Habit):
    """Draws shares of light, channels first."""

    def render(self, place: int) -> Any:
        """Between 0 and 1."""
        return np.moveaxis(super().render(place), 2, 0) / 255.0


class RenderNothing(Habit):
    """Has nothing to show."""

    def render(self, place: int) -> Any:
        """Nothing."""
        return


class FailsLater(Habit):
    """Has a mistake that shows after a while."""

    def step(self, action: Any) -> None:
        """Divide by nothing."""
        _ = 1 / (60 - self.world.total if self.world.total <= 60 else 1)


class FourValues(Habit):
    """Steps as Gym did: observation, reward, done, info."""

    def result(self, result: tuple[Any, ...]) -> Any:
        """Without truncated."""
        observation, reward, terminated, _, info = result
        return observation, reward, terminated, info


HABITS: dict[str, Callable[[Any], Habit]] = {
    "none": Habit,
    "reused_array": ReusedArray,
    "read_only": ReadOnly,
    "spoils_actions": SpoilsActions,
    "global_chance": GlobalChance,
    "needs_options": NeedsOptions,
    "port": Port,
    "render_fails": RenderFails,
    "render_reused": RenderReused,
    "render_floats": RenderFloats,
    "render_nothing": RenderNothing,
    "fails_later": FailsLater,
    "four_values": FourValues,
}
