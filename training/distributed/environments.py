"""Vectorised environments on Ray workers, which an agent that knows nothing of it acts in as if they were here."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space, create_empty_array

from engram_rl.training.distributed.cluster import Cluster
from engram_rl.training.distributed.crew import Crew
from engram_rl.training.distributed.history import History
from engram_rl.training.distributed.worker import Answer
from engram_rl.training.errors import UsageError
from engram_rl.training.intake.infos import LOST, STEPPED, AnyInfo


class RayEnvironments(AnyInfo, VectorEnv):
    """E environments on W workers, each of which steps its own one after another and answers once for all of them.

    In step, what they give is what `SyncVectorEnv` gives, bit for bit: a vector step waits for all. Asynchronously a
    step sends actions only to those that are not stepping already, and returns as soon as any have answered;
    `info["engram/stepped"]` says which. Observations of the others are what they showed last, their rewards 0.

    Where a worker dies its environments are made anew and reset, with other seeds. Their open episodes are lost: they
    end, truncated, with what was last observed and no reward, and `info["engram/lost"]` says which.

    Args:
        makers: Make one environment each.
        cluster: Where the workers run.
        asynchronous: Whether to return as soon as any have answered; as the cluster's by default.
        reserve: Whether workers take processors of the cluster for themselves.

    Attributes:
        taken: The last action of each. `[E, ...]`
        lost: How many open episodes were lost so far.

    Raises:
        UsageError: There are fewer environments than workers, or an environment cannot be made.
    """

    def __init__(
        self,
        makers: Sequence[Callable[[], gym.Env]],
        cluster: Cluster,
        *,
        asynchronous: bool | None = None,
        reserve: bool = True,
    ):
        self.num_envs = len(makers)
        workers = cluster.workers or self.num_envs
        if workers > self.num_envs:
            raise UsageError(
                f"cluster.workers is {workers}, but there are only {self.num_envs} environments for them: raise "
                f"env.num_envs to at least as many, or lower cluster.workers."
            )
        self.asynchronous = cluster.asynchronous if asynchronous is None else asynchronous
        self._rows = np.array_split(np.arange(self.num_envs), workers)  # [B] of each worker
        of_each = [[makers[row] for row in rows] for rows in self._rows]
        self._crew = Crew(of_each, replace(cluster, workers=workers), reserve=reserve)
        made = self._crew.made[0]
        self.metadata = {**made.metadata, "autoreset_mode": AutoresetMode.SAME_STEP}
        self.render_mode = made.render_mode
        self.single_observation_space, self.single_action_space = made.observation_space, made.action_space
        self.observation_space = batch_space(made.observation_space, self.num_envs)
        self.action_space = batch_space(made.action_space, self.num_envs)
        self._observations: Any = create_empty_array(made.observation_space, n=self.num_envs, fn=np.zeros)
        self._history = History(np.asarray(self.action_space.sample()))
        self.lost = 0

    @property
    def taken(self) -> np.ndarray:
        """The last action of each, an arbitrary one where it took none since its last reset. `[E, ...]`."""
        return self._history.last()

    @property
    def waiting(self) -> np.ndarray | None:
        """Which environments wait for an action; None in step, where all do. `[B]`."""
        if not self.asynchronous:
            return None
        return np.concatenate([rows for worker, rows in enumerate(self._rows) if not self._crew.is_busy(worker)])

    @property
    def processes(self) -> list[int]:
        """The number that each worker's process has on its machine."""
        return [made.process for made in self._crew.made]

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Reset all; those that are stepping finish first.

        Args:
            seed: One for each, or one to count up from, or None.
            options: For each environment's `reset`.
        """
        self._finish()
        seeds = self._seeds(seed)
        for worker, rows in enumerate(self._rows):
            self._history.begin(rows, [seeds[row] for row in rows])
            self._crew.ask(worker, "reset", [seeds[row] for row in rows], options)
        return self._begun()

    def step(self, actions: Any) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Step those that are not stepping already, and take the answers of all, or of those that have answered.

        Args:
            actions: `[E, ...]`; of environments that are stepping they are not read.
        """
        for worker, rows in enumerate(self._rows):
            if not self._crew.is_busy(worker):
                self._history.add(rows, actions[rows])
                self._crew.ask(worker, "step", actions[rows])
        answered = self._crew.ready() if self.asynchronous else range(len(self._rows))
        reward, terminated, truncated = np.zeros(self.num_envs), *np.zeros((2, self.num_envs), dtype=bool)
        infos: dict[str, Any] = {}
        for worker in answered:
            rows, answer = self._rows[worker], self._crew.take(worker)
            if answer is None:
                self._lose(worker, infos)
                truncated[rows] = True
            else:
                reward[rows], terminated[rows], truncated[rows] = answer.reward, answer.terminated, answer.truncated
                self._put(rows, answer.observation, answer.said, infos)
        if self.asynchronous:
            infos[STEPPED] = np.isin(np.arange(self.num_envs), np.concatenate([self._rows[w] for w in answered]))
        return self._observations, reward, terminated, truncated, infos

    def history(self) -> dict[str, Any]:
        """What leads to where the environments are, those that are stepping included."""
        stepping = np.zeros(self.num_envs, dtype=bool)
        for worker, rows in enumerate(self._rows):
            stepping[rows] = self._crew.is_busy(worker)
        return {**self._history.state_dict(), "stepping": stepping, "lost": self.lost}

    def replay(self, history: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Go to where a history leads, each worker on its own; those that were stepping then step again.

        Raises:
            UsageError: It is of other environments.
        """
        self._finish()
        try:
            self._history.load_state_dict(history)
        except ValueError as error:
            raise UsageError(f"{error} Resume with the same env.id and env.num_envs.") from error
        stepping = np.asarray(history["stepping"])
        self._require_whole(stepping)
        seeds, actions = self._history.seeds, self._history.actions
        self.lost = history["lost"]
        shown = self._history.counts - stepping
        for worker, rows in enumerate(self._rows):
            self._crew.ask(worker, "replay", [seeds[row] for row in rows], actions[:, rows], shown[rows])
        result = self._begun()
        for worker, rows in enumerate(self._rows):
            if stepping[rows].all():
                self._crew.ask(worker, "step", self.taken[rows])
        return result

    def call(self, name: str, *arguments: Any, **named: Any) -> tuple[Any, ...]:
        """Call a method of each environment, or read an attribute.

        Raises:
            UsageError: It failed there, or a worker died.
        """
        self._finish()
        for worker in range(len(self._rows)):
            self._crew.ask(worker, "call", name, *arguments, **named)
        answers = [self._crew.take(worker) for worker in range(len(self._rows))]
        if None in answers:
            raise UsageError(f"Worker {answers.index(None)} died while {name} was called.")
        return tuple(one for answer in answers for one in answer)

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """An attribute of each environment."""
        return self.call(name)

    def render(self) -> tuple[Any, ...]:
        """What each environment draws."""
        return self.call("render")

    def close_extras(self, **options: Any) -> None:
        """Close the environments and end the workers."""
        self._crew.close()

    def _begun(self) -> tuple[Any, dict[str, Any]]:
        """The answers of all, who were asked to begin."""
        infos: dict[str, Any] = {}
        for worker, rows in enumerate(self._rows):
            answer = self._crew.take(worker)
            if answer is None:
                answer = self._anew(worker)
            self._put(rows, answer.observation, answer.said, infos)
        return self._observations, infos

    def _put(self, rows: np.ndarray, observation: Any, said: list[Any], infos: dict[str, Any]) -> None:
        """Take in what the environments of a worker showed and said, as `SyncVectorEnv` puts it together."""
        _put_rows(self._observations, rows, observation)
        for row, (info, last) in zip(rows, said, strict=True):
            if last is not None:
                self._add_info(infos, {"final_obs": last[0], "final_info": last[1]}, row)
            self._add_info(infos, info, row)

    def _lose(self, worker: int, infos: dict[str, Any]) -> None:
        """In place of the answer of a worker that died: its episodes are cut where they were last seen."""
        rows = self._rows[worker]
        seen = [_row(self._observations, row) for row in rows]
        answer = self._anew(worker)
        begun = [info for info, _ in answer.said]
        said: list[Any] = [({**info, LOST: True}, (last, {})) for info, last in zip(begun, seen, strict=True)]
        self._put(rows, answer.observation, said, infos)
        self.lost += len(rows)
        print(
            f"Worker {worker} died: its environments ({rows[0]} to {rows[-1]}) begin anew and their open episodes are "
            f"lost, {self.lost} so far in this run.",
            file=sys.stderr,
        )

    def _anew(self, worker: int) -> Answer:
        """Replace a worker that died; what its environments begin with, seeded otherwise than before."""
        rows = self._rows[worker]
        seeds = [other_seed(self._history.seeds[row], self._crew.lost) for row in rows]
        answer = self._crew.replace(worker, seeds)
        self._history.begin(rows, seeds)
        return answer

    def _finish(self) -> None:
        """Wait for those that are stepping, and drop what they answer."""
        for worker in range(len(self._rows)):
            if self._crew.is_busy(worker) and self._crew.take(worker) is None:
                self._anew(worker)

    def _require_whole(self, stepping: np.ndarray) -> None:
        """Raise where some of a worker's environments were stepping and others not."""
        if any(stepping[rows].any() != stepping[rows].all() for rows in self._rows):
            raise UsageError(
                "The checkpoint was made while other workers were stepping: resume an asynchronous run with its own "
                "cluster.workers."
            )

    def _seeds(self, seed: Any) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        seeds = [seed + row for row in range(self.num_envs)] if isinstance(seed, int) else list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"There are {len(seeds)} seeds for {self.num_envs} environments.")
        return seeds


def other_seed(seed: int | None, losses: int) -> int | None:
    """Another seed for an environment that begins anew: the same one would repeat its first episodes."""
    if seed is None:
        return None
    return int(np.random.SeedSequence(seed, spawn_key=(losses,)).generate_state(1)[0]) >> 1


def _put_rows(batch: Any, rows: np.ndarray, part: Any) -> None:
    if isinstance(batch, dict):
        for name, one in batch.items():
            _put_rows(one, rows, part[name])
    else:
        batch[rows] = part


def _row(batch: Any, row: int) -> Any:
    """A copy of one observation of a batch, as its environment gave it."""
    if isinstance(batch, dict):
        return {name: _row(part, row) for name, part in batch.items()}
    return batch[row].copy()
