"""How fast the fast/slow agent is: `python -m benchmarks.fast_slow_speed`.

1. The published agent on ShiftWall against a plain loop of the same algorithm, which walks one branch at a time through
   dictionaries and trains its network with torch; the same number of branches, network, minibatches and optimiser. In
   turns in one process on one thread, so that other load meets both; CPU time a step, the environment's included.
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
import torch
from omegaconf import DictConfig, OmegaConf
from torch.nn import functional

from benchmarks.cli import parse
from benchmarks.configuration import agent_config, value_of
from engram_rl.agents.common.perceptron import Perceptron
from engram_rl.agents.fast_slow import FastSlow
from engram_rl.training.construction import build_agent
from engram_rl.training.environments import make_environments
from engram_rl.training.rollout import step
from engram_rl.training.seeding import use_threads

Cell = tuple[float, ...]
_TURN = 5  # episodes


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


class PlainNetwork:
    """The network in torch, as one writes it: `nn.Sequential`, `backward`, `torch.optim.Adam`.

    Args:
        agent: The configuration of the agent whose network this is.
        num_actions: A.
    """

    def __init__(self, agent: DictConfig, num_actions: int) -> None:
        self.network = Perceptron([4, *agent.hidden, num_actions])
        self.optimiser = torch.optim.Adam(self.network.parameters(), value_of(agent, "learning_rate"))
        self.batch_size = value_of(agent, "batch_size")

    @torch.no_grad()
    def probabilities(self, row: list[float]) -> list[float]:
        """Probability of each action, given state and goal. `[4] -> [A]`."""
        return torch.softmax(self.network(torch.tensor([row])), 1)[0].tolist()

    def learn(self, rows: list[list[float]], actions: list[int]) -> None:
        """One pass over states with goals `[N, 4]` and actions `[N]` in minibatches."""
        inputs, taken = torch.tensor(rows), torch.tensor(actions)
        for batch in torch.randperm(len(rows)).split(self.batch_size):
            self.optimiser.zero_grad()
            functional.cross_entropy(self.network(inputs[batch]), taken[batch]).backward()
            self.optimiser.step()


class PlainFastSlow:
    """The published agent as a loop over single branches, with dictionaries as memory.

    Args:
        agent: The configuration of the agent that this one equals.
        num_actions: A.
        seed: Of its branches and its network.
    """

    def __init__(self, agent: DictConfig, num_actions: int, seed: int) -> None:
        torch.manual_seed(seed)
        self.network = PlainNetwork(agent, num_actions)
        self.branches, self.depth = value_of(agent, "branches"), value_of(agent, "depth")
        self.num_actions = num_actions
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
        preference = self.network.probabilities([*state, *goal])
        return int(np.argmax([preference[a] - self.visits[state, a] ** 0.5 for a in range(self.num_actions)]))

    def observe(self, state: Cell, action: int, next_state: Cell, goal: Cell, done: bool) -> None:
        """Remember, and replay."""
        self.memory[state][action] = next_state
        self.visits[state, action] += 1
        self.trace.append((state, action))
        rows = [[*s, *next_state] for s, _ in self.trace] + [[*s, *goal] for s, _ in self.imagined]
        self.network.learn(rows, [a for _, a in self.trace + self.imagined])
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
    _in_turns({"plain": _Play(bench, 1, plain=True), "one": _Play(bench, 1)}, 1)  # the first use of torch imports much
    runs = {"plain": _Play(bench, 1, plain=True), "one": _Play(bench, 1), "many": _Play(bench, bench.envs)}
    _in_turns(runs, bench.episodes)
    report: dict[str, Any] = {"measure": "published agent", "episodes": bench.episodes, "envs": bench.envs}
    report |= {name: run.report() for name, run in runs.items()}
    for name in ("one", "many"):
        report[f"times_faster_{name}"] = round(runs["plain"].ms_per_step / runs[name].ms_per_step, 2)
    print(json.dumps(report))
    print(json.dumps({"measure": "search", "n": bench.n} | _search(bench)))
    return 0


class _Play:
    """ShiftWall as one agent plays it: E runs side by side, and what they have cost so far."""

    def __init__(self, bench: SpeedBench, envs: int, plain: bool = False) -> None:
        self._environments = make_environments("engram/ShiftWall-v0", envs, vectorization="vector_entry_point")
        agent = _agent(f"fast_slow_paper +batch_size={32 * envs}", self._environments, bench.seed)
        self._player: Any = _Plain(bench.seed) if plain else agent
        self._observation, _ = self._environments.reset(seed=bench.seed)
        self._episodes, self._solved = np.zeros(envs, np.int64), 0
        self._steps, self._seconds = 0, 0.0

    def until(self, episodes: int) -> None:
        """Play on until every run has had so many episodes."""
        begun = time.process_time()
        while self._episodes.min() < episodes:
            transition = step(self._environments, self._observation, self._player.act(self._observation))
            self._player.observe(transition)
            self._player.learn()
            self._steps += len(self._episodes)
            self._solved += int(transition.terminated.sum())
            self._episodes += transition.done
            self._observation = transition.reset_observation
        self._seconds += time.process_time() - begun

    @property
    def ms_per_step(self) -> float:
        """CPU milliseconds for a step of one run."""
        return 1e3 * self._seconds / self._steps

    def report(self) -> dict[str, float]:
        """CPU seconds, steps, milliseconds a step, and the share of episodes solved in percent."""
        return {
            "seconds": round(self._seconds, 2),
            "steps": self._steps,
            "ms_per_step": round(self.ms_per_step, 3),
            "solved": round(100 * self._solved / int(self._episodes.sum()), 1),
        }


def _in_turns(runs: dict[str, _Play], episodes: int) -> None:
    """Let everyone play some episodes, then everyone the next."""
    for reached in [*range(_TURN, episodes, _TURN), episodes]:
        for run in runs.values():
            run.until(reached)


class _Plain:
    """The plain loop with the verbs of an agent."""

    def __init__(self, seed: int) -> None:
        self._plain = PlainFastSlow(OmegaConf.create(agent_config("fast_slow_paper")), 4, seed)

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
