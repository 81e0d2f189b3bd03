"""Go-Explore (Ecoffet et al. 2021, Nature 590, arXiv 2004.12919): first return, then explore, then imitate the best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.actions import Actions
from engram_rl.agents.common.device import choose_device
from engram_rl.agents.common.encoders import make_encoder
from engram_rl.agents.common.observations import require_supported, rows_of, to_tensors
from engram_rl.agents.common.restoring import all_or_nothing
from engram_rl.agents.common.scaling import SCALE_RULE, require_rule, require_same_rule
from engram_rl.agents.common.seeding import generator_for
from engram_rl.agents.episodic_control.action_memories import restricted
from engram_rl.agents.episodic_control.returns import MonteCarloReturns
from engram_rl.agents.goal_directed.archive import Archive
from engram_rl.agents.goal_directed.best_actions import BestActions
from engram_rl.agents.goal_directed.cells import Cells, make_cells
from engram_rl.agents.goal_directed.returning import Returning
from engram_rl.agents.goal_directed.sticky import StickyExplorer
from engram_rl.agents.goal_directed.trajectories import Trajectories
from engram_rl.agents.policy_gradient.descent import Descent
from engram_rl.memory import Planner, TransitionMemory
from engram_rl.memory.checks import number, unknown, whole

WAYS_BACK = ("replay", "plan")


def cloning_loss(logits: Tensor, action: Tensor) -> Tensor:
    """How improbable the actions to imitate are: mean cross entropy. `[B, A], [B] -> []`."""
    return functional.cross_entropy(logits, action)


class GoExplore:
    """Returns to a cell that it has seen little of, explores from there, and imitates the best that came of it.

    1. As an episode begins, choose a cell of the archive with probability proportional to `1 / sqrt(C_seen + 1)`.
    2. Return: repeat the actions of the best trajectory to it, or follow a shortest way over the remembered
       transitions. These steps are steps of the environment like others.
    3. Explore from there, at random, repeating the last action with a high probability.
    4. Archive every cell that is come to, with its trajectory if that earned more, or as much in fewer steps.
    5. As an episode ends, keep from every cell the action that the highest return followed; train a policy on these by
       behavioural cloning, half of it on the best trajectories from where episodes began last. This stands for the
       paper's robustification, which needs a simulator that can be set to any state of a demonstration.

    Repeated actions lead back where the world is deterministic from its reset on. A return that ends elsewhere is
    counted as missed, and exploring goes on from there. With `explore=False` it acts by the policy alone, so
    an evaluation says what was robustified, not what was found.

    Args:
        cells: Observations to cells.
        archive: Of cells.
        planner: Of ways over the archive's memory; None to repeat the actions of trajectories.
        actions: Numbers them.
        best: What is imitated.
        returns: Completes the returns of episodes.
        policy: Observations to preferences among actions. `[B, ...] -> [B, A]`
        descent: Takes its gradient steps.
        explorer: Draws actions.
        explore_steps: Exploring steps before a planner goes to another cell, k; trajectories begin with the episode,
            so without a planner exploring lasts until its end.
        batch_size: Cells of a minibatch.
        learn_every: Environment steps between two minibatches.
        rng: Chooses cells.
        num_envs: E.
        scale_rule: Of what the policy is given.
        device: Where it computes.
    """

    memory_parts = ()  # it is judged by the policy, as the archive does not act

    def __init__(
        self,
        *,
        cells: Cells,
        archive: Archive,
        planner: Planner | None,
        actions: Actions,
        best: BestActions,
        returns: MonteCarloReturns,
        policy: nn.Module,
        descent: Descent,
        explorer: StickyExplorer,
        explore_steps: int,
        batch_size: int,
        learn_every: int,
        rng: np.random.Generator,
        num_envs: int,
        scale_rule: int,
        device: torch.device,
    ) -> None:
        for name, value in (("explore_steps", explore_steps), ("batch_size", batch_size), ("learn_every", learn_every)):
            whole(name, value)
        self.archive, self.best, self.policy = archive, best, policy
        self.returning = Returning(num_envs, cells.dim)
        self._cells, self._planner, self._actions = cells, planner, actions
        self._returns, self._descent, self._explorer = returns, descent, explorer
        self._explore_steps, self._batch_size, self._learn_every = explore_steps, batch_size, learn_every
        self._rng, self._scale_rule, self._device = rng, scale_rule, device
        self._starts = np.ones(num_envs, bool)  # [E] whether an episode begins
        self._explored = np.zeros(num_envs, np.int64)  # [E] exploring steps since the last return
        self._due = 0  # environment steps since the last minibatch

    def act(self, observation: Observation, *, explore: bool = True, mask: np.ndarray | None = None) -> np.ndarray:
        """Return or explore; with `explore=False` what the policy prefers, and no trace. `[E]`, or `[E, P]`."""
        if not explore:
            return self._actions.named(self._preferred(observation, mask))
        permitted = self._actions.allowed(mask, len(self._starts))
        allowed = None if permitted is None else permitted.numpy()
        self._decide(observation)
        drawn = self._explorer(allowed)
        return self._actions.named(self.returning.act(drawn, allowed))

    def observe(self, transition: Transition) -> None:
        """Archive what one vector step has come to; keep what was best of the episodes that it ended."""
        cells, next_cells = (self._cell(o) for o in (transition.observation, transition.next_observation))
        action, exploring = self._actions.numbered(transition.action), ~self.returning.active
        self.archive.step(cells, action, next_cells, transition.reward, transition.terminated, exploring)
        self.returning.observe(next_cells, transition.terminated, transition.truncated)
        self._explorer.observe(action, fresh=~exploring | transition.done)
        self._explored = np.where(exploring & ~transition.done, self._explored + 1, 0)
        held: dict[str, Any] = {"observation": transition.observation, "cell": cells}
        final = self._final_values(transition, next_cells)
        ended = self._returns.push(held, action, transition.reward, transition.done, final)
        assert isinstance(ended.observation, dict)
        self.best.take_in(ended.observation["observation"], ended.observation["cell"], ended.action, ended.target)
        self._starts = transition.done.copy()
        self._due += transition.steps

    def learn(self) -> dict[str, float]:
        """Imitate what was best so far, if it is time."""
        metrics = {
            "go_explore/cells": float(len(self.archive.memory.states)),
            "go_explore/returns_arrived": float(self.returning.arrived),
            "go_explore/returns_missed": float(self.returning.missed),
            "go_explore/returns_cut": float(self.returning.cut),
            "go_explore/imitated_cells": float(len(self.best)),
        }
        if self._due >= self._learn_every and len(self.best):
            self._due = 0
            seen, action = self.best.sample(self._batch_size)
            logits = self.policy(to_tensors(seen, self._device))
            loss = cloning_loss(logits, torch.as_tensor(action, device=self._device))
            self._descent(loss)
            metrics["train/imitation_loss"] = float(loss.detach())
        return metrics

    def begin_episodes(self) -> None:
        """All environments begin anew, wherever they were."""
        self._starts[:] = True
        self._explored[:] = 0
        self.returning.stop()
        self._explorer.forget()
        self._returns.clear()

    def _decide(self, observation: Observation) -> None:
        """Where an episode begins, and where a planner has explored enough: choose a cell to go to, and the way."""
        exhausted = (self._explored >= self._explore_steps) & ~self.returning.active & (self._planner is not None)
        envs = np.flatnonzero(self._starts | exhausted)
        if not len(envs):
            return
        cells = self._cell(rows_of(observation, envs))
        begin = self._starts[envs]
        if begin.any():
            self.best.follow(self.archive.begin(cells[begin], envs[begin]))
        targets, *ways = self._replayed(len(envs)) if self._planner is None else self._planned(self._planner, cells)
        self.returning.begin(envs, cells, self.archive.memory.states.vectors[targets], *ways)
        self._starts[envs], self._explored[envs] = False, 0

    def _replayed(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cells (ids) to go to, and the trajectories to them: actions and lengths. `[B]`, `[B, L]`, `[B]`."""
        targets = self.archive.choose(count, self._rng)
        return targets, *self.archive.way_to(targets)

    def _planned(self, planner: Planner, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """As `_replayed`, of what can be reached from cells `[B, D]`, by shortest remembered ways from there."""
        here = self.archive.memory.name(cells)
        row, reached, _ = planner.reached_from(here)
        targets = self.archive.choose_among(row, reached, len(here), self._rng)
        walks = planner.shortest_path(here, targets[:, None])
        return targets, walks.actions, walks.lengths

    def _cell(self, observation: Observation) -> np.ndarray:
        """As the memory keeps them. `[E, D]`."""
        return self.archive.memory.states.canonical(self._cells(observation))

    def _preferred(self, observation: Observation, mask: np.ndarray | None) -> np.ndarray:
        """The policy's choice, of what is allowed. `[E]`."""
        with torch.no_grad():
            logits = self.policy(to_tensors(observation, self._device)).cpu()
        return restricted(logits, self._actions.allowed(mask, len(logits))).argmax(dim=1).numpy()

    def _final_values(self, transition: Transition, next_cells: np.ndarray) -> np.ndarray:
        """Of the last observations of episodes that were cut: the best that ever followed, or as it went. `[E]`."""
        values = np.zeros(len(next_cells))
        rows = np.flatnonzero(transition.truncated & ~transition.terminated)
        if len(rows):
            as_it_went = self._returns.going_on(transition.reward[rows], rows)
            values[rows] = self.best.worth(next_cells[rows], as_it_went)
        return values

    def state_dict(self) -> dict[str, Any]:
        """Archive, ways, what is imitated, the policy, generators, and where the open episodes stand."""
        return {
            "archive": self.archive.state_dict(),
            "planner": self._planner.state_dict() if self._planner else {},
            "best": self.best.state_dict(),
            "returns": self._returns.state_dict(),
            "returning": self.returning.state_dict(),
            "explorer": self._explorer.state_dict(),
            "policy": self.policy.state_dict(),
            "descent": self._descent.state_dict(),
            "rng": self._rng.bit_generator.state,
            "starts": self._starts.copy(),
            "explored": self._explored.copy(),
            "due": self._due,
            "scale_rule": self._scale_rule,
        }

    @all_or_nothing
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            KeyError: It lacks a part.
            ValueError: It is of other sizes.
        """
        require_same_rule(state["scale_rule"], self._scale_rule)
        self.archive.load_state_dict(state["archive"])
        if self._planner and state["planner"]:
            self._planner.load_state_dict(state["planner"])
        self.best.load_state_dict(state["best"])
        self._returns.load_state_dict(state["returns"])
        self.returning.load_state_dict(state["returning"])
        self._explorer.load_state_dict(state["explorer"])
        self.policy.load_state_dict(state["policy"])
        self._descent.load_state_dict(state["descent"])
        self._rng.bit_generator.state = state["rng"]
        self._starts, self._explored = state["starts"].copy(), state["explored"].copy()
        self._due = state["due"]


def _units(hidden: Sequence[int]) -> list[int]:
    """Units of the policy's layers.

    Raises:
        TypeError: They are no list of whole numbers.
        ValueError: There is no layer, or one without units.
    """
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        raise TypeError(f"agent.hidden is {hidden!r}; it must list the units of the policy's layers, such as [64, 64]")
    if not hidden:
        raise ValueError("agent.hidden is empty; it must list the units of at least one layer, such as [64, 64]")
    return [whole("a layer of agent.hidden", units) for units in hidden]


ADAM = partial(torch.optim.Adam, eps=1e-5)


def make_go_explore(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    memory: Callable[..., TransitionMemory],
    cells: Callable[[spaces.Space], Cells] | None = None,
    way_back: Literal["replay", "plan"] = "replay",
    repeat: float = 0.95,
    explore_steps: int = 100,
    discount: float = 0.99,
    hidden: Sequence[int] = (64, 64),
    optimiser: Callable[..., torch.optim.Optimizer] = ADAM,
    learning_rate: float = 1e-3,
    batch_size: int = 256,
    learn_every: int = 8,
    scale_rule: int = SCALE_RULE,
    device: str = "cpu",
) -> GoExplore:
    """Build Go-Explore for the spaces of an environment; `conf/agent/go_explore.yaml` says what its values mean.

    - `cells`: what counts as one place; None for those that fit the space (`agents/goal_directed/cells.py`)
    - `optimiser`: of the policy, made from its weights; its rate is `learning_rate`
    - `batch_size`: cells of a minibatch
    - `scale_rule`: how numbers of observations are scaled

    Raises:
        ValueError: Actions that are not Discrete or MultiDiscrete, observations that cannot be read, or values out of
            range.
    """
    require_supported(observation_space, "Go-Explore")
    if way_back not in WAYS_BACK:
        raise unknown("way_back", way_back, WAYS_BACK)
    actions = Actions(action_space, "Go-Explore")
    place = choose_device(device)
    cell = make_cells(observation_space, cells)
    remembered = memory(cell.dim, actions.count)
    torch.manual_seed(seed)
    *layers, features = _units(hidden)
    encoder = make_encoder(observation_space, features, tuple(layers), require_rule(scale_rule))
    policy = nn.Sequential(encoder, nn.ReLU(), nn.Linear(features, actions.count)).to(place)
    descent = Descent(policy, optimiser, max_norm=None)
    descent.set_rate(number("learning_rate", learning_rate, above=0))
    return GoExplore(
        cells=cell,
        archive=Archive(remembered, Trajectories(), num_envs),
        planner=Planner(remembered, imagine=False) if way_back == "plan" else None,
        actions=actions,
        best=BestActions(remembered, generator_for(seed, "imitation")),
        returns=MonteCarloReturns(discount, num_envs),
        policy=policy,
        descent=descent,
        explorer=StickyExplorer(actions.count, num_envs, repeat, generator_for(seed, "exploration")),
        explore_steps=explore_steps,
        batch_size=batch_size,
        learn_every=learn_every,
        rng=np.random.default_rng(seed),
        num_envs=num_envs,
        scale_rule=scale_rule,
        device=place,
    )
