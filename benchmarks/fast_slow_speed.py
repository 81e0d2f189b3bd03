"""How fast the fast/slow agent is: `python -m benchmarks.fast_slow_speed`.

1. The published agent on ShiftWall, batched, against a plain loop of the same algorithm that walks one branch at a
   time; one after the other in one process on one thread, in CPU time a step, the environment's included.
2. Search on a grid whose transitions are all remembered (10,000 of them with n = 51): environment steps a second.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from agents.fast import GoalNetwork
from agents.fast_slow import FastSlow
from benchmarks.cli import parse
from benchmarks.configuration import agent_config
from training.construction import build_agent
from training.environments import make_environments
from training.rollout import step
from training.seeding import use_threads

Cell = tuple[float, ...]


@dataclass
class SpeedBench:
    """Measure the speed of the fast/slow agent.

    episodes: of ShiftWall, for the published agent, batched and plain.
    envs: environments that one published agent plays at once, with one network; minibatches grow with them.
    n: side of the grid for search; 4 n n transitions are remembered.
    steps: of search.
    seed: of the agents.
    """

    episodes: int = 100
    envs: int = 10
    n: int = 51
    steps: int = 2000
    seed: int = 1


class PlainFastSlow:
    """The published agent as a loop over single branches, with dictionaries as memory; the network is the same."""

    def __init__(self, network: GoalNetwork, branches: int, depth: int, num_actions: int, seed: int) -> None:
        self.network, self.branches, self.depth, self.num_actions = network, branches, depth, num_actions
        self.memory: dict[Cell, dict[int, Cell]] = defaultdict(dict)
        self.visits: dict[tuple[Cell, int], int] = defaultdict(int)
        self.trace: list[tuple[Cell, int]] = []
        self.imagined: list[tuple[Cell, int]] = []
        self.rng = np.random.default_rng(seed)

    def act(self, state: Cell, goal: Cell) -> int:
        """The first action of the shortest branch, else the preferred one."""
        found = [branch for branch in (self._branch(state, goal) for _ in range(self.branches)) if branch]
        self.imagined = min(found, key=len) if found else []
        if self.imagined:
            return self.imagined[0][1]
        preference = self.network.probabilities(np.array([state]), np.array([goal]))[0]
        return int(np.argmax([preference[a] - self.visits[state, a] ** 0.5 for a in range(self.num_actions)]))

    def observe(self, state: Cell, action: int, next_state: Cell, goal: Cell, done: bool) -> None:
        """Remember, and replay."""
        self.memory[state][action] = next_state
        self.visits[state, action] += 1
        self.trace.append((state, action))
        rows = [(s, next_state, a) for s, a in self.trace] + [(s, goal, a) for s, a in self.imagined]
        states, goals, actions = (np.array(column) for column in zip(*rows, strict=True))
        self.network.learn(states.astype(np.float32), goals.astype(np.float32), actions)
        if done:
            self.trace, self.visits = [], defaultdict(int)

    def _branch(self, state: Cell, goal: Cell) -> list[tuple[Cell, int]]:
        """One random walk along remembered transitions; empty unless it meets the goal."""
        walk = []
        for _ in range(self.depth):
            known = list(self.memory[state].items())
            if not known:
                return []
            action, following = known[int(self.rng.integers(len(known)))]
            walk.append((state, action))
            if following == goal:
                return walk
            state = following
        return []


def main(arguments: list[str]) -> int:
    """Measure, and print one JSON object a line."""
    bench = parse(SpeedBench, arguments)
    use_threads(1)
    _published(SpeedBench(episodes=1), 1)  # the first use of torch's optimisers imports much
    runs = {
        "plain": _published(bench, 1, plain=True),
        "one": _published(bench, 1),
        "many": _published(bench, bench.envs),
    }
    faster = {name: round(runs["plain"]["ms_per_step"] / runs[name]["ms_per_step"], 2) for name in ("one", "many")}
    report = {"measure": "published agent", "episodes": bench.episodes, "envs": bench.envs}
    print(json.dumps(report | runs | {"times_faster_one": faster["one"], "times_faster_many": faster["many"]}))
    print(json.dumps({"measure": "search", "n": bench.n} | _search(bench)))
    return 0


def _published(bench: SpeedBench, envs: int, plain: bool = False) -> dict[str, float]:
    """Play ShiftWall; CPU seconds, environment steps taken and episodes solved, a run on average."""
    environments = make_environments("engram/ShiftWall-v0", envs, vectorization="vector_entry_point")
    agent = _agent(f"fast_slow_paper batch_size={32 * envs}", environments, bench.seed)
    player: Any = _Plain(agent, bench.seed) if plain else agent
    observation, _ = environments.reset(seed=bench.seed)
    steps, episodes, solved = 0, np.zeros(envs, np.int64), 0
    begun = time.process_time()
    while episodes.min() < bench.episodes:
        transition = step(environments, observation, player.act(observation))
        player.observe(transition)
        player.learn()
        steps += envs
        solved += int((transition.terminated & (episodes < bench.episodes)).sum())
        episodes += transition.done
        observation = transition.reset_observation
    seconds = time.process_time() - begun
    per_step = round(1e3 * seconds / steps, 3)
    return {"seconds": round(seconds, 2), "steps": steps, "ms_per_step": per_step, "solved": solved / envs}


class _Plain:
    """The plain loop with the verbs of an agent."""

    def __init__(self, agent: FastSlow, seed: int) -> None:
        assert agent.fast is not None
        self._plain = PlainFastSlow(agent.fast, 100, 20, 4, seed)

    def act(self, observation: np.ndarray) -> np.ndarray:
        state, goal = _cells(observation)
        return np.array([self._plain.act(state, goal)])

    def observe(self, transition: Any) -> None:
        state, goal = _cells(transition.observation)
        following, _ = _cells(transition.next_observation)
        self._plain.observe(state, int(transition.action[0]), following, goal, bool(transition.done[0]))

    def learn(self) -> None:
        pass


def _search(bench: SpeedBench) -> dict[str, float]:
    """Walk from start to goal over and over with everything remembered; whole loop, environment included."""
    options = {"n": bench.n}
    environments = make_environments("engram/ShiftWall-v0", 1, vectorization="vector_entry_point", kwargs=options)
    agent = _agent("fast_slow", environments, bench.seed)
    _remember_everything(agent, environments)
    observation, _ = environments.reset(seed=bench.seed)
    agent.act(observation)  # takes in what was written
    entries = len(agent.memory)
    begun = time.process_time()
    for _ in range(bench.steps):
        transition = step(environments, observation, agent.act(observation))
        agent.observe(transition)
        agent.learn()
        observation = transition.reset_observation
    return {"entries": entries, "steps_per_s": round(bench.steps / (time.process_time() - begun), 1)}


def _remember_everything(agent: FastSlow, environments: Any) -> None:
    """Write every transition of the grid, with the wall where it is at first."""
    environments.reset(seed=0)
    core = environments.unwrapped.core
    free = np.flatnonzero(~core.walls[0])
    cells, actions = np.repeat(free, 4), np.tile(np.arange(4), len(free))
    targets = cells + core.geometry.moves[actions]
    ends = np.where(core.walls[0][targets], cells, targets)
    coordinates = core.geometry.coordinates.astype(np.float32)
    agent.memory.write(coordinates[cells], actions, coordinates[ends])


def _agent(name: str, environments: Any, seed: int) -> FastSlow:
    agent = build_agent(OmegaConf.create(agent_config(name)), environments, seed)
    assert isinstance(agent, FastSlow)
    return agent


def _cells(observation: np.ndarray) -> tuple[Cell, Cell]:
    """State and goal of the one environment."""
    x, y, goal_x, goal_y = (float(number) for number in observation[0])
    return (x, y), (goal_x, goal_y)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
