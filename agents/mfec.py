"""Model-Free Episodic Control (Blundell et al. 2016, arXiv 1606.04460)."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.actions import Actions
from engram_rl.agents.common.device import choose_device
from engram_rl.agents.common.encoders import make_projection
from engram_rl.agents.common.exploration import EPSILON, EpsilonGreedy
from engram_rl.agents.common.observations import hash_observations, require_supported, rows_of, rows_of_mask, to_tensors
from engram_rl.agents.common.restoring import all_or_nothing
from engram_rl.agents.common.scaling import SCALE_RULE, require_rule, require_same_rule
from engram_rl.agents.common.schedules import Schedule, as_schedule
from engram_rl.agents.common.seeding import generator_for
from engram_rl.agents.episodic_control.action_memories import ActionMemories, Lookups, make_memories, restricted
from engram_rl.agents.episodic_control.modality_keys import make_keys
from engram_rl.agents.episodic_control.returns import MonteCarloReturns, Returns
from engram_rl.memory.sharded import AnyMemory


class Seen(NamedTuple):
    """An observation with its keys `[E, D]` and identities `[E]`, so that neither is computed twice."""

    observation: Observation
    keys: Tensor
    identity: Tensor


class MFEC:
    """Acts by the best return that an action ever had in this situation, or by what it had in the nearest ones.

    1. Project the observation: the key, fixed for ever. An action's value is the stored one if this very observation is
       stored for it, otherwise the mean of its k nearest entries (equation 2).
    2. Act epsilon-greedily.
    3. At the end of an episode write each pair's return, `Q(s, a) <- max(Q(s, a), R_t)` (equation 1).

    The write rule and the kernel are the memories' own, so other rules than the maximum are a matter of configuration.
    Of several visits to a pair in one episode the one with the highest return counts. Where a rule corrects
    overestimates, a return of 0 or less leaves alone what another episode has written since the visit.

    Args:
        project: Observations to keys; never trained. `[B, ...] -> [B, D]`
        memories: One dictionary per action.
        returns: Completes episodes.
        explore: Chooses actions by their values.
        novelty: Whether to explore by what was tried in a situation during the episode; the paper explores blindly.
        bootstrap: Whether the return of an episode that was cut goes on with the stored value of its last situation, or
            where there is none as the episode went; the paper's returns end with the episode. A guess from neighbours
            would stay for ever where it is too high, as the largest return counts. Where a rule corrects overestimates,
            a promise of reward is not taken over from the last observation of an episode that found none: it is what
            the rule is to doubt.
        scale_rule: Of what `project` is given.
        device: Where keys are computed.
    """

    def __init__(
        self,
        *,
        project: nn.Module,
        memories: ActionMemories,
        actions: Actions,
        returns: MonteCarloReturns,
        explore: EpsilonGreedy,
        novelty: bool,
        bootstrap: bool,
        scale_rule: int,
        device: torch.device,
    ):
        self.project, self.memories = project, memories
        self._actions, self._returns, self._explore = actions, returns, explore
        self._novelty, self._bootstrap, self._device = novelty, bootstrap, device
        self._scale_rule = scale_rule
        self._steps = 0
        self._diagnostics: dict[str, float] = {}
        self._acted_on: Seen | None = None
        self._lookups = Lookups({}, {})  # when acting last

    memory_parts = ("memories", "returns")
    """The parts of the state that hold what was experienced, rather than what was trained."""

    def act(
        self,
        observation: Observation,
        *,
        explore: bool = True,
        mask: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """Epsilon-greedy actions of all environments or of `rows`, `[B]`; greedy, and no trace, if not exploring."""
        began = time.perf_counter()
        keys, identity = self._keys(observation)
        allowed = self._actions.allowed(mask, len(keys))
        if explore:
            self._acted_on = Seen(observation, keys, identity)
        q, lookups = self.memories.read_exact(keys, identity, touch=explore)
        elapsed = time.perf_counter() - began
        if not explore:
            return self._actions.named(restricted(q, allowed).argmax(dim=1).numpy())
        self._lookups = lookups
        self._diagnostics = self.memories.report(lookups, self._steps) | {"memory/lookup_ms": 1000 * elapsed}
        return self._actions.named(self._explore(q, self._steps, self._tries(identity), allowed).numpy())

    def observe(self, transition: Transition) -> None:
        """Hold the step; write the episodes that it ended."""
        self._steps += transition.steps
        completed = self._hold(transition, self._final_values(transition))
        if len(completed.target):
            self._store(best_of_each(completed))

    def _hold(self, transition: Transition, final_value: np.ndarray) -> Returns:
        """Hold the step until its episode ends; the steps of those that ended with it."""
        acted_on = self._acted_on
        if acted_on is None or acted_on.observation is not transition.observation:
            acted_on = Seen(transition.observation, *self._keys(transition.observation))
        return self._returns.push(
            {
                "key": acted_on.keys.cpu().numpy(),
                "identity": acted_on.identity.numpy(),
                "step": np.full(transition.steps, self._steps - transition.steps),  # when it was acted on
            },
            self._actions.numbered(transition.action),
            transition.reward,
            transition.done,
            final_value,
            transition.rows,
        )

    def learn(self) -> dict[str, float]:
        """Nothing is left to learn; how the memories answered."""
        return self._diagnostics | {"train/epsilon": self._explore.epsilon(self._steps)}

    def begin_episodes(self) -> None:
        """All environments begin anew, wherever they were; of the open episodes nothing is written."""
        self._returns.clear()

    def close(self) -> None:
        """End what lies in shards."""
        self.memories.close()

    def knowledge(self) -> dict[str, Any]:
        """The projection, memories and the steps that exploration goes by."""
        memories = self.memories.state_dict()
        return {"project": self.project.state_dict(), "memories": memories, "steps": self._steps}

    def know(self, knowledge: dict[str, Any], rows: np.ndarray) -> None:
        """Take in what the learner's `knowledge` gave."""
        self.project.load_state_dict(knowledge["project"])
        self.memories.load_state_dict(knowledge["memories"])
        self._steps = knowledge["steps"]

    def noted(self) -> dict[str, Any]:
        """Which entries answered."""
        return {"used": self.memories.used(self._lookups)}

    def note(self, noted: dict[str, Any], transition: Transition) -> None:
        """Take in what copies noted when they acted."""
        self._diagnostics = self.memories.report(self.memories.use(noted["used"]), self._steps)

    def follow(self, transition: Transition) -> None:
        """Count what was tried during the episodes, where exploration goes by it."""
        if self._novelty:
            self._hold(transition, np.zeros(transition.steps))

    def acting_state(self) -> dict[str, Any]:
        """What exploration draws from, and the open episodes."""
        return {"explore": self._explore.state_dict(), "returns": self._returns.state_dict()}

    def load_acting_state(self, state: dict[str, Any]) -> None:
        """Restore what `acting_state` gave."""
        self._explore.load_state_dict(state["explore"])
        self._returns.load_state_dict(state["returns"])

    def _tries(self, identity: Tensor) -> Tensor | None:
        """What was tried in these situations during the episodes. `[E, A]`."""
        if not self._novelty:
            return None
        return torch.from_numpy(self._returns.tries(identity.numpy(), self._actions.count)).float()

    @torch.no_grad()
    def _keys(self, observation: Observation) -> tuple[Tensor, Tensor]:
        """Keys `[B, D]` and identities `[B]`."""
        return self.project(to_tensors(observation, self._device)), hash_observations(observation)

    def _final_values(self, transition: Transition) -> np.ndarray:
        """What follows where an episode was cut, 0 elsewhere. `[B]`."""
        values = np.zeros(transition.steps)
        cut = transition.truncated & ~transition.terminated
        if self._bootstrap and cut.any():
            identity = hash_observations(rows_of(transition.next_observation, cut))
            allowed = self._actions.allowed(rows_of_mask(transition.next_mask, cut), len(identity))
            best = self.memories.best_stored(identity, allowed).double().numpy()
            going_on = self._returns.going_on(transition.reward, transition.rows)[cut]
            values[cut] = np.where(np.isfinite(best), best, going_on)
            if self.memories.blame:
                found = self._returns.rewarded(transition.rows) | (transition.reward > 0)
                values = np.where(found, values, np.minimum(values, 0))
        return values

    def _store(self, best: Returns) -> None:
        observed: Any = best.observation
        keys = torch.as_tensor(observed["key"], device=self._device)
        identity = torch.from_numpy(observed["identity"])
        newer = self.memories.newer_overestimates(best.action, identity, torch.from_numpy(observed["step"]))
        rows = torch.from_numpy(best.target > 0) | ~newer
        actions, identity = best.action[rows.numpy()], identity[rows]
        targets = torch.as_tensor(best.target, dtype=torch.float32, device=self._device)[rows]
        self._diagnostics |= self.memories.value_errors(actions, identity, targets, self._steps)
        self.memories.write(actions, keys[rows], targets, identity, self._steps)

    def state_dict(self) -> dict[str, Any]:
        """The projection, memories, unfinished episodes, generator and counters."""
        return {
            "project": self.project.state_dict(),
            "memories": self.memories.state_dict(),
            "returns": self._returns.state_dict(),
            "explore": self._explore.state_dict(),
            "steps": self._steps,
            "scale_rule": self._scale_rule,
        }

    @all_or_nothing
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; a state that does not fit changes nothing."""
        require_same_rule(state.get("scale_rule", 1), self._scale_rule)
        self.project.load_state_dict(state["project"])
        self.memories.load_state_dict(state["memories"])
        self._returns.load_state_dict(state["returns"])
        self._explore.load_state_dict(state["explore"])
        self._steps = state["steps"]


def best_of_each(episodes: Returns) -> Returns:
    """Of all visits to the same (situation, action) the one with the highest return, in the order of the visits."""
    observed: Any = episodes.observation
    pairs = np.stack([observed["identity"], episodes.action], axis=1)  # [B, 2]
    falling = np.argsort(-episodes.target, kind="stable")
    first = np.unique(pairs[falling], axis=0, return_index=True)[1]
    best = np.sort(falling[first])
    kept = rows_of(observed, best)
    return Returns(kept, episodes.action[best], episodes.target[best])


def make_mfec(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    memory: Callable[..., AnyMemory],
    key_size: int = 64,
    modalities: Mapping[str, Any] | None = None,
    exploration: float | Schedule = EPSILON,
    novelty: float | None = None,
    discount: float = 0.99,
    bootstrap: bool = True,
    scale_rule: int = SCALE_RULE,
    device: str = "cpu",
) -> MFEC:
    """Build MFEC for the spaces of an environment; `conf/agent/mfec.yaml` says what its values mean.

    - `key_size`: columns of the random projection, where a key is one vector
    - `novelty`: bonus for what was tried once in a situation during the episode; 0 settles ties by it, None ignores it
    - `bootstrap`: whether the return of an episode that was cut goes on with the value of its last observation, as
      if it had not been; the paper's does not
    - `scale_rule`: how numbers of observations are scaled; 1 for what the first version learned

    Raises:
        ValueError: Actions that cannot be counted, or observations of an unsupported kind.
    """
    require_supported(observation_space, "MFEC")
    actions = Actions(action_space, "MFEC")
    place = choose_device(device)
    make_part = partial(make_projection, seed=seed, scale_rule=require_rule(scale_rule))
    project, space = make_keys(observation_space, key_size, modalities, make_part, scale_rule)
    return MFEC(
        project=project.to(place),
        memories=make_memories(memory, space, actions.count, place),
        actions=actions,
        returns=MonteCarloReturns(discount, num_envs),
        explore=EpsilonGreedy(
            as_schedule(exploration, "exploration", most=1), generator_for(seed, "exploration"), novelty or 0.0
        ),
        novelty=novelty is not None,
        bootstrap=bootstrap,
        scale_rule=scale_rule,
        device=place,
    )
