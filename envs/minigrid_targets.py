"""The goal, key or door of any MiniGrid environment as a target, on a layout that stays the same."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from minigrid.core.world_object import Wall
from minigrid.minigrid_env import MiniGridEnv

from engram_rl.envs.checks import integer
from engram_rl.envs.shifting.schedules import Abrupt, OnSuccess, Periodic, Recurring, Schedule
from engram_rl.envs.shifting.wrapper import ShiftingTarget

Position = tuple[int, int]
State = tuple[int, int, int, bool, bool]  # x, y, direction, carries the key, the door is open

HEADINGS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # of MiniGrid's directions 0 to 3
SCHEDULES: dict[str, type[Schedule]] = {
    "abrupt": Abrupt,
    "periodic": Periodic,
    "recurring": Recurring,
    "on_success": OnSuccess,
}


@dataclass(frozen=True)
class MiniGridTarget:
    """Moves the one goal, key or door of a MiniGrid environment; called with the environment before a reset.

    The layout is drawn from `layout_seed` instead of the episode's seed, so that walls stay. The agent starts, facing
    anywhere, on a random cell that its place in that layout can reach without opening a door.

    Args:
        what: "goal", "key" or "door".
        layout_seed: What the layout is drawn from.
    """

    what: str = "goal"
    layout_seed: int = 0

    def __post_init__(self) -> None:
        if self.what not in ("goal", "key", "door"):
            raise ValueError(f'what must be "goal", "key" or "door", got {self.what!r}.')
        integer("layout_seed", self.layout_seed)

    def __call__(self, env: MiniGridEnv, target: Position | None) -> None:
        """From the next reset on the target is there; None is its place in the layout."""
        place = None if target is None else (int(target[0]), int(target[1]))
        setattr(env, "_gen_grid", partial(self._generate, env, place))  # noqa: B010 (a method, to the type checker)

    def sites(self, env: MiniGridEnv) -> list[Position]:
        """Where the target may be: cells that it can be carried to on its side of all doors; for a door, its wall."""
        self(env, None)
        env.reset(seed=self.layout_seed)
        own = find(env, self.what)
        if self.what == "door":
            return [own, *(place for place in _cells(env) if _splits(env, place))]
        return sorted(reachable(env, own) | {own})

    def draw_sites(self, env: MiniGridEnv, count: int) -> list[Position]:
        """Some of the sites, drawn at random from `layout_seed`."""
        sites = self.sites(env)
        if not 2 <= integer("sites", count) <= len(sites):
            raise ValueError(
                f"The {self.what} can be at {len(sites)} places here: give 2 to {len(sites)}, not {count}."
            )
        chosen = np.random.default_rng(self.layout_seed).choice(len(sites), size=count, replace=False)
        return [sites[i] for i in chosen]

    def _generate(self, env: MiniGridEnv, target: Position | None, width: int, height: int) -> None:
        """Stands in for the environment's own `_gen_grid`, which it calls."""
        episode_random, episode_seed = env._np_random, env._np_random_seed
        env._np_random = np.random.default_rng(self.layout_seed)
        type(env)._gen_grid(env, width, height)
        env._np_random, env._np_random_seed = episode_random, episode_seed
        own = find(env, self.what)
        if target is not None and target != own:
            self._carry(env, own, target)
        self._start(env)

    def _carry(self, env: MiniGridEnv, own: Position, target: Position) -> None:
        allowed = _splits(env, target) if self.what == "door" else target in reachable(env, own)
        if not allowed:
            raise ValueError(f"The {self.what} cannot be at {target}: see `MiniGridTarget.sites`.")
        thing: Any = env.grid.get(*own)
        env.grid.set(*own, Wall() if self.what == "door" else None)
        env.grid.set(*target, None)
        env.put_obj(thing, *target)

    def _start(self, env: MiniGridEnv) -> None:
        """A random start on the agent's side, where nothing lies."""
        here: Position = (int(env.agent_pos[0]), int(env.agent_pos[1]))
        choices = sorted(place for place in reachable(env, here) | {here} if env.grid.get(*place) is None)
        env.agent_pos = choices[env.np_random.integers(len(choices))]
        env.agent_dir = int(env.np_random.integers(4))


def find(env: MiniGridEnv, what: str) -> Position:
    """Where the one object of this type lies."""
    found = [place for place in _cells(env) if getattr(env.grid.get(*place), "type", None) == what]
    if len(found) != 1:
        there = sorted(
            {thing.type for place in _cells(env) if (thing := env.grid.get(*place))} & {"goal", "key", "door"}
        )
        raise ValueError(
            f"A target must be unique, but {env.unwrapped} has {len(found)} objects of type {what!r}. Of what can be a "
            f"target it has {', '.join(there) or 'nothing'}: give a world with exactly one {what}, or another `what`."
        )
    return found[0]


def reachable(env: MiniGridEnv, begin: Position) -> set[Position]:
    """Empty cells that can be reached over empty cells."""
    seen, queue = {begin}, deque([begin])
    while queue:
        x, y = queue.popleft()
        for dx, dy in HEADINGS:
            beside = (x + dx, y + dy)
            if beside not in seen and env.grid.get(*beside) is None:
                seen.add(beside)
                queue.append(beside)
    return {place for place in seen if env.grid.get(*place) is None}


def shortest_solution(env: MiniGridEnv) -> int:
    """The fewest actions from the current state to the goal: turning, walking, fetching the key, opening the door.

    Raises:
        ValueError: There is no solution.
    """
    door_open = not any(getattr(env.grid.get(*place), "is_locked", False) for place in _cells(env))
    begin: State = (
        int(env.agent_pos[0]),
        int(env.agent_pos[1]),
        int(env.agent_dir),
        env.carrying is not None,
        door_open,
    )
    steps, queue = {begin: 0}, deque([begin])
    while queue:
        state = queue.popleft()
        if getattr(env.grid.get(*state[:2]), "type", None) == "goal":
            return steps[state]
        for after in _successors(env, state):
            if after not in steps:
                steps[after] = steps[state] + 1
                queue.append(after)
    raise ValueError(f"The goal of {env.unwrapped} cannot be reached")


def minigrid_shift(
    base: str,
    what: str = "goal",
    schedule: str = "recurring",
    sites: int = 4,
    layout_seed: int = 0,
    render_mode: str | None = None,
    schedule_options: dict[str, Any] | None = None,
    **options: Any,
) -> gymnasium.Env:
    """A MiniGrid environment with a fixed layout, whose goal, key or door shifts between episodes, unannounced.

    Observation, actions, reward, termination, truncation: MiniGrid's own.
    Start: a random cell and heading in each episode, on the agent's side of the door.
    What shifts: the target goes from one of `sites` places, drawn from the layout seed, to another.
    `info["oracle_steps"]`: the fewest actions, turns included. `info["target"]`: where the target is.

    Args:
        base: The MiniGrid id.
        what: "goal", "key" or "door".
        schedule: "abrupt", "periodic", "recurring" or "on_success".
        sites: How many places.
        layout_seed: What layout, places and order of places are drawn from.
        render_mode: MiniGrid's: None, "human" or "rgb_array".
        schedule_options: The schedule's own arguments, such as `{"period": 20, "jitter": 5}`.
        **options: MiniGrid's own arguments.

    Raises:
        ValueError: The world has not exactly one such target, too few places for it, or no goal that can be reached
            with the target at each of them.
        TypeError: `base` is no MiniGrid world.

    Registered ids: engram/EmptyShift-v0, engram/FourRoomsShift-v0, engram/DoorKeyShift-v0
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}.")
    env = gymnasium.make(base, render_mode=render_mode, disable_env_checker=True, **options)
    if not isinstance(env.unwrapped, MiniGridEnv):
        raise TypeError(f"{base} is no MiniGrid world; shift its target with engram_rl.envs.ShiftingTarget.")
    mover = MiniGridTarget(what, layout_seed)
    targets = mover.draw_sites(env.unwrapped, sites)
    _require_solutions(env.unwrapped, mover, targets)
    plan = SCHEDULES[schedule](targets, **(schedule_options or {}))  # type: ignore[call-arg]
    return ShiftingTarget(env, plan, mover, layout_seed=layout_seed, oracle=shortest_solution)


def _require_solutions(env: MiniGridEnv, mover: MiniGridTarget, targets: Sequence[Position]) -> None:
    """Raise unless the goal can be reached wherever the target is: each episode says in how many steps."""
    for target in targets:
        mover(env, target)
        env.reset(seed=mover.layout_seed)
        try:
            shortest_solution(env)
        except ValueError as error:
            raise ValueError(
                f"{error} with its {mover.what} at {target}, so info['oracle_steps'] has no value. Give a world whose "
                f"goal square can be reached with at most one key and its door, such as MiniGrid-DoorKey-8x8-v0, "
                f"another layout_seed, or wrap {env} in ShiftingTarget with MiniGridTarget({mover.what!r}), without "
                f"an oracle."
            ) from error


def _successors(env: MiniGridEnv, state: State) -> Iterator[State]:
    """What one useful action leads to."""
    x, y, heading, has_key, door_open = state
    yield (x, y, (heading - 1) % 4, has_key, door_open)
    yield (x, y, (heading + 1) % 4, has_key, door_open)
    ahead = (x + HEADINGS[heading][0], y + HEADINGS[heading][1])
    thing = getattr(env.grid.get(*ahead), "type", None)
    if thing in (None, "goal", "floor") or (thing == "key" and has_key) or (thing == "door" and door_open):
        yield (*ahead, heading, has_key, door_open)
    elif thing == "key":
        yield (x, y, heading, True, door_open)
    elif thing == "door" and has_key:
        yield (x, y, heading, has_key, True)


def _splits(env: MiniGridEnv, place: Position) -> bool:
    """Whether a door fits here: a wall with nothing on two opposite sides."""
    x, y = place
    if not (0 < x < env.width - 1 and 0 < y < env.height - 1) or not isinstance(env.grid.get(x, y), Wall):
        return False
    sides = (((x - 1, y), (x + 1, y)), ((x, y - 1), (x, y + 1)))
    return any(_passable(env, one) and _passable(env, other) for one, other in sides)


def _passable(env: MiniGridEnv, place: Position) -> bool:
    thing = env.grid.get(*place)
    return thing is None or thing.type in ("key", "goal")


def _cells(env: MiniGridEnv) -> Iterator[Position]:
    return ((x, y) for y in range(env.height) for x in range(env.width))
