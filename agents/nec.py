"""Neural Episodic Control (Pritzel et al. 2017, arXiv 1703.01988)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.actions import Actions
from engram_rl.agents.common.device import choose_device
from engram_rl.agents.common.encoders import make_encoder
from engram_rl.agents.common.exploration import EPSILON, EpsilonGreedy
from engram_rl.agents.common.observations import (
    hash_observations,
    require_rows,
    require_supported,
    rows_of,
    rows_of_mask,
    space_bytes,
    to_tensors,
)
from engram_rl.agents.common.replay import Replay
from engram_rl.agents.common.restoring import all_or_nothing, restore_optimiser
from engram_rl.agents.common.scaling import SCALE_RULE, require_rule, require_same_rule
from engram_rl.agents.common.schedules import Schedule, as_schedule
from engram_rl.agents.common.seeding import generator_for
from engram_rl.agents.episodic_control.action_memories import (
    ActionMemories,
    Lookups,
    double_value,
    make_memories,
    restricted,
)
from engram_rl.agents.episodic_control.modality_keys import make_keys
from engram_rl.agents.episodic_control.overestimates import STEPS, errors_by_age
from engram_rl.agents.episodic_control.returns import NStepReturns, Returns
from engram_rl.memory import Found, RowRMSprop, RowSGD
from engram_rl.memory.checks import number, whole
from engram_rl.memory.learning import step_each
from engram_rl.memory.sharded import AnyMemory, ShardedMemory, ShardedOptimiser


def q_loss(q_tm1: Tensor, target_tm1: Tensor) -> Tensor:
    """Mean squared error between `Q(s, a)` and its stored n-step return (section 3.3). `[B], [B] -> []`."""
    return (target_tm1 - q_tm1).square().mean()


class NEC:
    """Acts by what similar situations returned, and learns what makes situations similar.

    1. Embed the observation, `h = encoder(s)`; read `Q(s, a)` from the dictionary of each action (equations 1, 2, 5).
    2. Act epsilon-greedily; hold transitions until the n-step return `Q^(N)` is known (equation 3).
    3. Write `(h, Q^(N))` to the dictionary of the action taken; the same observation again is blended (equation 4).
    4. Every so many steps regress `Q(s, a)` on stored `Q^(N)` of a replayed minibatch: gradients reach the encoder, the
       keys and the values.

    Args:
        encoder: Observations to keys. `[B, ...] -> [B, D]`
        memories: One dictionary per action, of keys `[D]` and values `[1]`.
        actions: Numbers them.
        optimiser: Of the encoder's parameters; None leaves the encoder as it is.
        row_optimisers: One per memory, of its keys and values; empty to leave both as they were written.
        returns: Completes n-step returns.
        replay: Past `(observation, action, target, identity)`.
        explore: Chooses actions by their values.
        batch_size: Rows of a minibatch.
        learn_every: Environment steps between two minibatches.
        learn_after: Environment steps before the first.
        identify: Whether the same observation is the same entry, however its embedding has moved; otherwise the
            memories decide by closeness, if at all.
        exclude_self: Whether a replayed situation is hidden from its own lookup; with it in place, it answers its own
            question and the loss says nothing.
        double: Whether what is bootstrapped is a double estimate rather than `max_a Q`.
        scale_rule: Of what the encoder is given.
        device: Where the encoder computes.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        memories: ActionMemories,
        actions: Actions,
        optimiser: torch.optim.Optimizer | None,
        row_optimisers: Sequence[RowSGD | ShardedOptimiser],
        returns: NStepReturns,
        replay: Replay,
        explore: EpsilonGreedy,
        num_envs: int,
        batch_size: int,
        learn_every: int,
        learn_after: int,
        identify: bool,
        exclude_self: bool,
        double: bool,
        scale_rule: int,
        device: torch.device,
    ):
        if exclude_self and not identify:
            raise ValueError("exclude_self needs to know which entry is a situation's own: set identify=true as well.")
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("learn_every", learn_every, 1),
            ("learn_after", learn_after, 0),
        ):
            whole(name, value, least)
        self.encoder, self.memories = encoder, memories
        self.optimiser, self.row_optimisers = optimiser, row_optimisers
        self._actions, self._returns, self._replay, self._explore = actions, returns, replay, explore
        self._batch_size, self._learn_every, self._learn_after = batch_size, learn_every, learn_after
        self._identify, self._exclude_self, self._double = identify, exclude_self, double
        self._scale_rule, self._device = scale_rule, device
        self._steps = 0
        self._due = 0
        self._values = np.zeros(num_envs)  # [E] the value of what was last acted on
        self._lookups = Lookups({}, {})  # when acting last
        self._diagnostics: dict[str, float] = {}

    memory_parts = ("memories", "replay", "returns", "values")
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
        q, lookups = self._action_values(observation, touch=explore)
        elapsed = time.perf_counter() - began
        allowed = self._actions.allowed(mask, len(q))
        if not explore:
            return self._actions.named(restricted(q, allowed).argmax(dim=1).numpy())
        self._lookups = lookups
        self._values = self._values.copy()
        self._values[slice(None) if rows is None else rows] = self._state_values(q, lookups, allowed)
        self._diagnostics = self.memories.report(lookups, self._steps) | {"memory/lookup_ms": 1000 * elapsed}
        return self._actions.named(self._explore(q, self._steps, allowed=allowed).numpy())

    def observe(self, transition: Transition) -> None:
        """Write to memory and replay what this step completed."""
        self._steps += transition.steps
        self._due += transition.steps
        completed = self._returns.push(
            transition.observation,
            self._actions.numbered(transition.action),
            transition.reward,
            transition.done,
            self._values if transition.rows is None else self._values[transition.rows],
            self._final_values(transition),
            transition.rows,
        )
        if len(completed.target):
            self._store(completed)

    def learn(self) -> dict[str, float]:
        """One minibatch for every `learn_every` environment steps since the last call."""
        metrics = dict(self._diagnostics)
        if self._steps < self._learn_after or not len(self._replay):
            self._due = 0
            return metrics
        for remaining in reversed(range(self._due // self._learn_every)):
            metrics |= self._learn_once(report=not remaining)
        self._due %= self._learn_every
        metrics["train/epsilon"] = self._explore.epsilon(self._steps)
        return metrics

    def begin_episodes(self) -> None:
        """All environments begin anew, wherever they were; of the open episodes nothing is written."""
        self._returns.clear()

    def close(self) -> None:
        """End what lies in shards."""
        self.memories.close()

    def knowledge(self) -> dict[str, Any]:
        """Encoder, memories and the steps that exploration goes by."""
        memories = self.memories.state_dict()
        return {"encoder": self.encoder.state_dict(), "memories": memories, "steps": self._steps}

    def know(self, knowledge: dict[str, Any], rows: np.ndarray) -> None:
        """Take in what the learner's `knowledge` gave."""
        self.encoder.load_state_dict(knowledge["encoder"])
        self.memories.load_state_dict(knowledge["memories"])
        self._steps = knowledge["steps"]

    def noted(self) -> dict[str, Any]:
        """The values of what was acted on, from which is bootstrapped, and which entries gave them."""
        return {"values": self._values, "used": self.memories.used(self._lookups)}

    def note(self, noted: dict[str, Any], transition: Transition) -> None:
        """Take in what copies noted when they acted."""
        self._values = noted["values"]
        self._diagnostics = self.memories.report(self.memories.use(noted["used"]), self._steps)

    def follow(self, transition: Transition) -> None:
        """Acting needs nothing of what came before."""

    def acting_state(self) -> dict[str, Any]:
        """What exploration draws from."""
        return {"explore": self._explore.state_dict()}

    def load_acting_state(self, state: dict[str, Any]) -> None:
        """Restore what `acting_state` gave."""
        self._explore.load_state_dict(state["explore"])

    def _action_values(self, observation: Observation, touch: bool) -> tuple[Tensor, Lookups]:
        """`Q(s, a)` for every action, 0 where its memory is empty. `[B, A]` on the CPU."""
        with torch.no_grad():
            keys = self.encoder(to_tensors(observation, self._device))  # [B, D]
        return self.memories.read(keys, touch)

    def _state_values(self, q: Tensor, lookups: Lookups, allowed: Tensor | None) -> np.ndarray:
        """What is bootstrapped from, of actions allowed `[B, A]`. `[B]` of float64."""
        best = double_value(lookups, allowed) if self._double else restricted(q, allowed).max(dim=1).values
        return best.double().numpy()

    def _final_values(self, transition: Transition) -> np.ndarray:
        """Bootstrap where an episode was cut, 0 elsewhere. `[B]`."""
        values = np.zeros(transition.steps)
        cut = transition.truncated & ~transition.terminated
        if cut.any():
            last = rows_of(transition.next_observation, cut)
            q, lookups = self._action_values(last, touch=False)
            known, allowed = (
                ~self.memories.empty,
                self._actions.allowed(rows_of_mask(transition.next_mask, cut), len(q)),
            )
            known = known.expand(len(q), -1) if allowed is None else known & allowed  # [n, A]
            best = self._state_values(q, lookups, known)
            going_on = self._returns.going_on(transition.reward, transition.rows)[cut]
            values[cut] = np.where(known.any(dim=1).numpy(), best, going_on)
        return values

    def _store(self, completed: Returns) -> None:
        identity = hash_observations(completed.observation)
        with torch.no_grad():
            keys = self.encoder(to_tensors(completed.observation, self._device))  # [B, D]
        targets = torch.as_tensor(completed.target, dtype=torch.float32, device=self._device)
        self.memories.write(completed.action, keys, targets, identity if self._identify else None, self._steps)
        self._replay.add(
            {
                "observation": completed.observation,
                "action": completed.action,
                "target": completed.target.astype(np.float32),
                "identity": identity.numpy(),
            }
        )

    def _learn_once(self, report: bool) -> dict[str, float]:
        """One minibatch; its metrics if they are to be reported."""
        batch = self._sample()
        keys = self.encoder(to_tensors(batch["observation"], self._device))  # [B, D]
        target = torch.as_tensor(batch["target"], device=self._device)
        own = self._own_slots(batch)
        found = self.memories.lookup_taken(keys, batch["action"], own if self._exclude_self else None)
        q = torch.cat([one.value.squeeze(1) for one in found.values()])
        loss = q_loss(q, target)
        if not math.isfinite(float(loss.detach())):
            raise ValueError(
                f"train/loss is {float(loss.detach())} after {self._steps} steps: observations or rewards are too "
                f"large, or the rate is. Scale them in a wrapper (env.wrappers), or lower agent.learning_rate."
            )
        self._descend(loss, found)
        if not report:
            return {}
        errors = (q - target).detach().abs().cpu()
        return {"train/loss": loss.item()} | self._staleness(batch["action"], own, keys.detach(), errors)

    def _descend(self, loss: Tensor, found: dict[int, Found]) -> None:
        """One step of whatever is not frozen."""
        if not self.optimiser and not self.row_optimisers:
            return
        if self.optimiser:
            self.optimiser.zero_grad()
        loss.backward()
        if self.optimiser:
            self.optimiser.step()
        if self.row_optimisers:
            _step_rows([self.row_optimisers[action] for action in found], list(found.values()))

    def _own_slots(self, batch: dict[str, Any]) -> Tensor | None:
        """Where the replayed situations are stored, if that is known. `[B]`."""
        if not self._identify:
            return None
        return self.memories.slots_of_taken(batch["action"], torch.from_numpy(batch["identity"]))

    def _staleness(self, actions: np.ndarray, own: Tensor | None, keys: Tensor, errors: Tensor) -> dict[str, float]:
        """How far what is stored has fallen behind the encoder, and how wrong values are by the age of the entry."""
        if own is None:
            return {}
        drift = self.memories.drift(actions, own, keys, self._steps)
        if not len(drift.rows):
            return {}
        return {"memory/staleness": float(drift.squared.mean())} | errors_by_age(errors[drift.rows], drift.age, STEPS)

    def _sample(self) -> dict[str, Any]:
        """A minibatch, sorted by action."""
        batch = self._replay.sample(self._batch_size)
        order = np.argsort(batch["action"], kind="stable")
        return rows_of(batch, order)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimisers, counters, generator, unfinished returns, replay and memories."""
        return {
            "encoder": self.encoder.state_dict(),
            "optimiser": self.optimiser.state_dict() if self.optimiser else None,
            "memories": self.memories.state_dict(),
            "row_optimisers": [optimiser.state_dict() for optimiser in self.row_optimisers],
            "returns": self._returns.state_dict(),
            "replay": self._replay.state_dict(),
            "explore": self._explore.state_dict(),
            "steps": self._steps,
            "due": self._due,
            "values": self._values,
            "scale_rule": self._scale_rule,
        }

    @all_or_nothing
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; a state that does not fit changes nothing."""
        require_same_rule(state.get("scale_rule", 1), self._scale_rule)
        self.encoder.load_state_dict(state["encoder"])
        if self.optimiser:
            restore_optimiser(self.optimiser, state["optimiser"])
        self.memories.load_state_dict(state["memories"])
        for optimiser, saved in zip(self.row_optimisers, state["row_optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self._returns.load_state_dict(state["returns"])
        self._replay.load_state_dict(state["replay"])
        self._explore.load_state_dict(state["explore"])
        self._steps, self._due = state["steps"], state["due"]
        self._values = state["values"]


def _step_rows(optimisers: list[RowSGD | ShardedOptimiser], found: list[Found]) -> None:
    """Move what each has found."""
    here = [optimiser for optimiser in optimisers if isinstance(optimiser, RowSGD)]
    if len(here) == len(optimisers):
        step_each(here, found)
    else:
        for optimiser, one in zip(optimisers, found, strict=True):
            optimiser.step(one)


RMSPROP = partial(torch.optim.RMSprop, alpha=0.9, eps=0.01)
"""The paper's."""


def make_nec(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    memory: Callable[..., AnyMemory],
    key_size: int = 64,
    modalities: Mapping[str, Any] | None = None,
    hidden: Sequence[int] = (64,),
    learning_rate: float | None = 1e-4,
    optimiser: Callable[..., torch.optim.Optimizer] | None = RMSPROP,
    row_learning_rate: float | None = 1e-4,
    row_optimiser: Callable[..., RowSGD] | None = RowRMSprop,
    exploration: float | Schedule = EPSILON,
    discount: float = 0.99,
    n_step: int = 100,
    replay_capacity: int = 100_000,
    batch_size: int = 32,
    learn_every: int = 4,
    learn_after: int = 1000,
    identify: bool = True,
    exclude_self: bool = True,
    double: bool = False,
    scale_rule: int = SCALE_RULE,
    device: str = "cpu",
) -> NEC:
    """Build NEC for the spaces of an environment; `conf/agent/nec.yaml` says what its values mean.

    - `optimiser`: of the encoder, made from its weights and `lr`; None leaves it as it began, as no rate does
    - `row_learning_rate`: of the keys and values in memory; None leaves them as written
    - `row_optimiser`: makes theirs, from a memory and `lr`
    - `replay_capacity`, `batch_size`, `learn_every` (environment steps between two minibatches): of the replay
    - `identify`: whether the same observation is the same entry; if not, the memory's `match_within` decides
    - `exclude_self`: whether a replayed situation is hidden from its own lookup
    - `double`: whether a double estimate is bootstrapped rather than the maximum
    - `scale_rule`: how numbers of observations are scaled; 1 for what the first version learned

    Raises:
        ValueError: Actions that cannot be counted, or observations that no encoder here reads.
    """
    require_supported(observation_space, "NEC")
    actions = Actions(action_space, "NEC")
    each = space_bytes(observation_space)
    require_rows(f"replay_capacity={replay_capacity}", replay_capacity, each, "lower replay_capacity")
    require_rows(f"n_step={n_step}", n_step * num_envs, each, "lower n_step or env.num_envs")
    place = choose_device(device)
    torch.manual_seed(seed)
    make_part = partial(make_encoder, hidden=tuple(hidden), scale_rule=require_rule(scale_rule))
    encoder, space = make_keys(observation_space, key_size, modalities, make_part, scale_rule)
    encoder = encoder.to(place)
    memories = make_memories(memory, space, actions.count, place)
    return NEC(
        encoder=encoder,
        memories=memories,
        actions=actions,
        optimiser=_optimiser_of(encoder, optimiser, learning_rate),
        row_optimisers=_row_optimisers_of(memories, row_optimiser, row_learning_rate),
        returns=NStepReturns(n_step, discount, num_envs),
        replay=Replay(replay_capacity, generator_for(seed, "replay")),
        explore=EpsilonGreedy(as_schedule(exploration, "exploration", most=1), generator_for(seed, "exploration")),
        num_envs=num_envs,
        batch_size=batch_size,
        learn_every=learn_every,
        learn_after=learn_after,
        identify=identify,
        exclude_self=exclude_self,
        double=double,
        scale_rule=scale_rule,
        device=place,
    )


def _optimiser_of(
    encoder: nn.Module, optimiser: Callable[..., torch.optim.Optimizer] | None, rate: float | None
) -> torch.optim.Optimizer | None:
    """None where there is nothing to train, as when all modalities are numbers as they are."""
    weights = list(encoder.parameters())
    if not optimiser or rate is None or not weights:
        return None
    return optimiser(weights, lr=number("learning_rate", rate, 0))


def _row_optimisers_of(
    memories: ActionMemories, optimiser: Callable[..., RowSGD] | None, rate: float | None
) -> list[RowSGD | ShardedOptimiser]:
    """One for each memory, or none at all."""
    if optimiser is None or rate is None:
        return []
    return [_row_optimiser_of(memory, optimiser, rate) for memory in memories.per_action]


def _row_optimiser_of(memory: AnyMemory, optimiser: Callable[..., RowSGD], rate: float) -> RowSGD | ShardedOptimiser:
    if isinstance(memory, ShardedMemory):
        return ShardedOptimiser(memory, optimiser, lr=rate)
    return optimiser(memory, lr=rate)
