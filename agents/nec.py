"""Neural Episodic Control (Pritzel et al. 2017, arXiv 1703.01988)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from agents.agent import Observation, Transition
from agents.device import choose_device
from agents.networks import make_encoder
from agents.observations import hash_observations, map_observation, require_discrete, require_supported, to_tensors
from agents.replay import Replay
from agents.returns import NStepReturns, Returns
from agents.schedules import Schedule
from memory import DifferentiableNeuralDictionary, Found, RowSGD


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
        encoder: Observations to keys. `[B, ...] -> [B, key_size]`
        memories: One dictionary per action, of keys `[key_size]` and values `[1]`.
        optimiser: Of the encoder's parameters.
        row_optimisers: One per memory, of its keys and values; empty to leave both as they were written.
        returns: Completes n-step returns.
        replay: Past `(observation, action, target, identity)`.
        exploration: Epsilon by environment step.
        generator: Draws the exploration.
        batch_size: Rows of a minibatch.
        learn_every: Environment steps between two minibatches.
        learn_after: Environment steps before the first.
        exclude_self: Whether a replayed situation is hidden from its own lookup; with it in place, it answers its own
            question and the loss says nothing.
        device: Where the encoder computes.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        memories: list[DifferentiableNeuralDictionary],
        optimiser: torch.optim.Optimizer,
        row_optimisers: Sequence[RowSGD],
        returns: NStepReturns,
        replay: Replay,
        exploration: Schedule,
        generator: torch.Generator,
        num_envs: int,
        batch_size: int,
        learn_every: int,
        learn_after: int,
        exclude_self: bool,
        device: torch.device,
    ):
        self.encoder, self.memories = encoder, memories
        self.optimiser, self.row_optimisers = optimiser, row_optimisers
        self._returns, self._replay = returns, replay
        self._exploration, self._generator = exploration, generator
        self._num_envs = num_envs
        self._batch_size, self._learn_every, self._learn_after = batch_size, learn_every, learn_after
        self._exclude_self, self._device = exclude_self, device
        self._steps = 0
        self._due = 0
        self._values = np.zeros(num_envs)  # [E] max_a Q of what was last acted on
        self._diagnostics: dict[str, float] = {}

    def act(self, observation: Observation, *, explore: bool = True) -> np.ndarray:
        """Epsilon-greedy actions, `[E]`; greedy, and without a trace, if not exploring."""
        began = time.perf_counter()
        q, found = self._action_values(observation, touch=explore)
        elapsed = time.perf_counter() - began
        greedy = q.argmax(dim=1)
        if not explore:
            return greedy.numpy()
        self._values = q.max(dim=1).values.double().numpy()
        self._diagnostics = _diagnostics(found, self.memories) | {"memory/lookup_ms": 1000 * elapsed}
        return self._explore(greedy, q.shape[1]).numpy()

    def observe(self, transition: Transition) -> None:
        """Write to memory and replay what this step completed."""
        self._steps += self._num_envs
        self._due += self._num_envs
        completed = self._returns.push(
            transition.observation,
            transition.action,
            transition.reward,
            transition.done,
            self._values,
            self._final_values(transition),
        )
        if len(completed.target):
            self._store(completed)

    def learn(self) -> dict[str, float]:
        """One minibatch for every `learn_every` environment steps since the last call."""
        metrics = dict(self._diagnostics)
        if self._steps < self._learn_after or not len(self._replay):
            self._due = 0
            return metrics
        for _ in range(self._due // self._learn_every):
            metrics["train/loss"] = self._learn_once()
        self._due %= self._learn_every
        metrics["train/epsilon"] = self._exploration(self._steps)
        return metrics

    @torch.no_grad()
    def _action_values(self, observation: Observation, touch: bool) -> tuple[Tensor, list[Found]]:
        """`Q(s, a)` for every action, 0 where its memory is empty. `[B, A]` on the CPU."""
        keys = self.encoder(to_tensors(observation, self._device))  # [B, D]
        found = [memory.lookup(keys, touch=touch) for memory in self.memories]
        return torch.cat([one.value for one in found], dim=1).cpu(), found

    def _final_values(self, transition: Transition) -> np.ndarray:
        """Bootstrap where an episode was cut, 0 elsewhere. `[E]`."""
        values = np.zeros(self._num_envs)
        cut = transition.truncated & ~transition.terminated
        if cut.any():
            last = map_observation(lambda part: part[cut], transition.next_observation)
            values[cut] = self._action_values(last, touch=False)[0].max(dim=1).values.numpy()
        return values

    def _explore(self, greedy: Tensor, num_actions: int) -> Tensor:
        epsilon = self._exploration(self._steps)
        random = torch.randint(num_actions, greedy.shape, generator=self._generator)
        return torch.where(torch.rand(greedy.shape, generator=self._generator) < epsilon, random, greedy)

    def _store(self, completed: Returns) -> None:
        identity = hash_observations(completed.observation)
        with torch.no_grad():
            keys = self.encoder(to_tensors(completed.observation, self._device))  # [B, D]
        targets = torch.as_tensor(completed.target, dtype=torch.float32, device=self._device).unsqueeze(1)
        for action, rows in self._by_action(completed.action):
            self.memories[action].write(keys[rows], targets[rows], identity=identity[rows])
        self._replay.add(
            {
                "observation": completed.observation,
                "action": completed.action,
                "target": completed.target.astype(np.float32),
                "identity": identity.numpy(),
            }
        )

    def _learn_once(self) -> float:
        batch = self._replay.sample(self._batch_size)
        self.optimiser.zero_grad()
        keys = self.encoder(to_tensors(batch["observation"], self._device))  # [B, D]
        target = torch.as_tensor(batch["target"], device=self._device)
        found, order = self._lookup_taken(keys, batch)
        loss = q_loss(torch.cat([one.value.squeeze(1) for one in found.values()]), target[order])
        loss.backward()
        self.optimiser.step()
        for action, optimiser in enumerate(self.row_optimisers):
            if action in found:
                optimiser.step(found[action])
        return loss.item()

    def _lookup_taken(self, keys: Tensor, batch: dict[str, Any]) -> tuple[dict[int, Found], Tensor]:
        """Lookups in the dictionary of the action each row took, and the rows in the order of the answers."""
        found, order = {}, []
        for action, rows in self._by_action(batch["action"]):
            identity = torch.from_numpy(batch["identity"])[rows]
            memory = self.memories[action]
            exclude = memory.find(identity).unsqueeze(1) if self._exclude_self else None  # [b, 1]
            found[action] = memory.lookup(keys[rows], exclude=exclude)
            order.append(rows)
        return found, torch.cat(order)

    def _by_action(self, actions: np.ndarray) -> Iterator[tuple[int, Tensor]]:
        """Each action that was taken, with the rows that took it."""
        for action in np.unique(actions).tolist():
            yield action, torch.from_numpy(np.flatnonzero(actions == action))

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimisers, counters, generator, unfinished returns, replay and memories."""
        return {
            "encoder": self.encoder.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "memories": [memory.state_dict() for memory in self.memories],
            "row_optimisers": [optimiser.state_dict() for optimiser in self.row_optimisers],
            "returns": self._returns.state_dict(),
            "replay": self._replay.state_dict(),
            "generator": self._generator.get_state(),
            "steps": self._steps,
            "due": self._due,
            "values": self._values,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self.encoder.load_state_dict(state["encoder"])
        self.optimiser.load_state_dict(state["optimiser"])
        for memory, saved in zip(self.memories, state["memories"], strict=True):
            memory.load_state_dict(saved)
        for optimiser, saved in zip(self.row_optimisers, state["row_optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        self._returns.load_state_dict(state["returns"])
        self._replay.load_state_dict(state["replay"])
        self._generator.set_state(state["generator"])
        self._steps, self._due = state["steps"], state["due"]
        self._values = state["values"]


def make_nec(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    key_size: int,
    hidden: Sequence[int],
    memory: Callable[..., DifferentiableNeuralDictionary],
    optimiser: Callable[..., torch.optim.Optimizer],
    row_optimiser: Callable[..., RowSGD] | None,
    exploration: Schedule,
    discount: float,
    horizon: int,
    replay_capacity: int,
    batch_size: int,
    learn_every: int,
    learn_after: int,
    exclude_self: bool,
    device: str,
) -> NEC:
    """Build NEC for the spaces of an environment; `conf/agent/nec.yaml` says what each value means.

    Raises:
        ValueError: Actions that are not Discrete, or observations that no encoder here reads.
    """
    require_supported(observation_space, "NEC")
    num_actions = require_discrete(action_space, "NEC")
    place = choose_device(device)
    torch.manual_seed(seed)
    encoder = make_encoder(observation_space, key_size, tuple(hidden)).to(place)
    memories = [memory(key_size, value_dim=1, device=place) for _ in range(num_actions)]
    return NEC(
        encoder=encoder,
        memories=memories,
        optimiser=optimiser(encoder.parameters()),
        row_optimisers=[row_optimiser(one) for one in memories] if row_optimiser else [],
        returns=NStepReturns(horizon, discount, num_envs),
        replay=Replay(replay_capacity, _generator(seed, 1)),
        exploration=exploration,
        generator=_generator(seed, 2),
        num_envs=num_envs,
        batch_size=batch_size,
        learn_every=learn_every,
        learn_after=learn_after,
        exclude_self=exclude_self,
        device=place,
    )


def _generator(seed: int, stream: int) -> torch.Generator:
    return torch.Generator().manual_seed(int(np.random.SeedSequence([seed, stream]).generate_state(1)[0]))


def _diagnostics(found: list[Found], memories: list[DifferentiableNeuralDictionary]) -> dict[str, float]:
    """How the memory answered the last observations, for TensorBoard."""
    metrics = {
        "memory/size": float(sum(len(memory) for memory in memories)),
        "memory/evictions": float(sum(memory.evictions for memory in memories)),
    }
    answered = [one for one in found if one.valid.any()]
    if answered:
        metrics["memory/hit_distance"] = float(np.mean([one.distances[:, 0].mean() for one in answered]))
        metrics["memory/top_weight"] = float(np.mean([one.weights.max(dim=1).values.mean() for one in answered]))
    return metrics
