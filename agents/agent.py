"""What every agent offers, and what it is shown: four verbs over one vector step."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

Observation = np.ndarray | dict[str, np.ndarray]
"""A batch over environments: `[E, ...]`, or one such array per name for Dict observation spaces."""


@dataclass(frozen=True)
class Transition:
    """One step of E environments in SAME_STEP autoreset mode.

    Attributes:
        observation: What the agent acted on. `[E, ...]`
        action: What it did. `[E]`, or `[E, A]` where an action has several parts.
        reward: What it got. `[E]`
        terminated: Whether the task ended: nothing follows, so nothing is bootstrapped. `[E]` of bool
        truncated: Whether the episode was cut: bootstrap from `next_observation`. `[E]` of bool
        next_observation: The true successor; where an episode ended its last observation, not the reset one. `[E, ...]`
        reset_observation: What the agent acts on next; differs from `next_observation` only where an episode
            ended. `[E, ...]`
        info: The environments' own remarks, never shown to the agent's policy.
        mask: Which actions were allowed where the agent acted; None for all. `[E, A]` of bool
        next_mask: Which are in `next_observation`, for who bootstraps. `[E, A]` of bool, or None
        reset_mask: Which are in `reset_observation`. `[E, A]` of bool, or None
        rows: Which environments stepped, where not all did, as workers that are not in step; None for all. `[B]`
        done: Whether the episode ended, either way. `[E]` of bool
    """

    observation: Observation
    action: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    next_observation: Observation
    reset_observation: Observation
    info: dict[str, Any] = field(default_factory=dict)
    mask: np.ndarray | None = None
    next_mask: np.ndarray | None = None
    reset_mask: np.ndarray | None = None
    rows: np.ndarray | None = None
    done: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "done", self.terminated | self.truncated)

    @property
    def steps(self) -> int:
        """How many environments stepped."""
        return len(self.reward) if self.rows is None else len(self.rows)

    def of_rows(self) -> Transition:
        """The step of those environments that took one: `[B, ...]` in place of `[E, ...]`, but for the info."""
        if self.rows is None:
            return self
        names = ("observation", "action", "reward", "terminated", "truncated", "next_observation", "reset_observation")
        masks = ("mask", "next_mask", "reset_mask")
        cut = {name: _rows(getattr(self, name), self.rows) for name in (*names, *masks)}
        return replace(self, **cut)


def _rows(batch: Any, rows: np.ndarray) -> Any:
    if isinstance(batch, dict):
        return {name: _rows(part, rows) for name, part in batch.items()}
    return None if batch is None else batch[rows]


class Agent(Protocol):
    """An agent, batched over E vectorised environments and built from ready objects, never from a config.

    An agent may offer more, each asked for only where it is there:

    - `player(num_envs)`: who plays for it when it is evaluated, because acting needs what came before
    - `begin_episodes()`: drop the episodes that it holds open, as all environments begin anew
    - `memory_parts`: an attribute; the names of the parts of `state_dict` that hold what was experienced rather than
      what was trained. An agent that names some is judged as it lives on (`engram_rl.training.evaluation`)
    - `frozen`: an attribute; set, what is trained rests while the memory lives on
    - `act(..., rows=None)`: it can act for some of its environments, `observation` and `mask` being theirs, and is then
      shown transitions of those that stepped, with `rows`. Only such an agent goes with workers that are not in step
    - `close()`: end what it holds in other processes; it is not used any more
    - `knowledge()`, `know(...)`, `noted()`, `note(...)`, `follow(...)`, `acting_state()`, `load_acting_state(...)`:
      copies of it act in other processes while it learns (`ActsElsewhere`)
    - `inspect()`: what is worth watching of its inside, by TensorBoard name; asked when a point of a curve is due
    - `read_weights()`: what its memory core's heads read, for people
      (`engram_rl.agents.policy_gradient.read_weights.ReadWeights`), or None
    - `retrieved(observation)`: what its memory says now in the first environment, for people
      (`engram_rl.agents.retrieval.retrieved.Retrieved`), or None
    """

    def act(self, observation: Observation, *, explore: bool = True, mask: np.ndarray | None = None) -> np.ndarray:
        """Choose one action per environment. With `explore=False` nothing inside the agent changes.

        Args:
            observation: `[E, ...]`
            explore: Whether it may try what it does not know.
            mask: Which of A actions are allowed, None for all; only of agents with discrete actions. `[E, A]` of bool
        """

    def observe(self, transition: Transition) -> None:
        """Take in one vector step; may write to memory."""

    def learn(self) -> dict[str, float]:
        """Improve; returns metrics by TensorBoard name, or `{}` if there was nothing to learn yet."""

    def state_dict(self) -> dict[str, Any]:
        """Everything a continued run needs: weights, optimiser, counters, RNG and memory."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, or raise before anything is changed."""


class ActsElsewhere(Protocol):
    """What an agent offers besides, so that copies of it act in other processes while it learns.

    A copy acts as ever and is shown what followed by `follow` in place of `observe`. The learner takes each step of
    the copies in with `note`, in place of acting itself, and then `observe` and `learn`.
    """

    def knowledge(self) -> dict[str, Any]:
        """What acting goes by: weights, memories, counters of schedules; dicts and lists of tensors and values."""

    def know(self, knowledge: dict[str, Any], rows: np.ndarray) -> None:
        """Take in, as a copy, what the learner's `knowledge` gave; what is held of the open episodes stays.

        Args:
            knowledge: Of an agent built alike, with the same seed, but for the number of its environments. It is what
                the next changes are counted from: what is kept of it is copied before it is written to.
            rows: Which of the learner's environments this copy acts in. `[B]`
        """

    def noted(self) -> dict[str, Any]:
        """What `observe` needs to know of the last `act`: tensors by name, nested. `[B, ...]` or `[n, ...]`."""

    def note(self, noted: dict[str, Any], transition: Transition) -> None:
        """Take in, as the learner, what the copies noted before this step, as if it had acted itself.

        Args:
            noted: What `noted` of all copies gave, side by side. `[E, ...]`
            transition: The step, which `observe` is shown next.
        """

    def follow(self, transition: Transition) -> None:
        """Take in, as a copy, as much of a step as acting needs; nothing is written to memory or learned from."""

    def acting_state(self) -> dict[str, Any]:
        """What a copy holds that no `knowledge` gives: generators, and what it needs of the open episodes."""

    def load_acting_state(self, state: dict[str, Any]) -> None:
        """Restore, as a copy, what `acting_state` gave."""


WHOLE = ("knowledge", "know", "noted", "note", "follow", "acting_state", "load_acting_state")
"""The methods of `ActsElsewhere`."""
