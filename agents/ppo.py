"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.device import choose_device
from engram_rl.agents.common.observations import batch_size, map_observation, require_rows, require_supported, rows_of
from engram_rl.agents.common.schedules import Schedule
from engram_rl.agents.common.seeding import generator_for
from engram_rl.agents.policy_gradient.descent import Descent
from engram_rl.agents.policy_gradient.extra_inputs import ExtraInput, PreviousStep, read
from engram_rl.agents.policy_gradient.objectives import Objective, explained_variance, means
from engram_rl.agents.policy_gradient.perception import Perception, RewardScale, make_perception
from engram_rl.agents.policy_gradient.player import Player
from engram_rl.agents.policy_gradient.policies import Extras, Policy, make_policy
from engram_rl.agents.policy_gradient.rollouts import Rollout, shuffled_rows, shuffled_sequences


class PPO:
    """Acts by a stochastic policy and improves it, a little at a time, by what its last steps turned out to be worth.

    1. Take T steps in E environments with the policy as it is.
    2. Estimate advantages from the critic's values (generalised, Schulman et al. 2016).
    3. For some epochs over shuffled minibatches, ascend the clipped surrogate (equation 7), descend the value's error
       and ascend the entropy (equation 9); then forget these steps.

    Values and log-probabilities of a rollout are computed when it is full, in one batch with the weights that acted:
    acting itself pays for the actor alone. What was seen beside the observation is kept as it was.

    Args:
        policy: Actor and critic.
        descent: Takes the steps of an update; its rate is set before each.
        perceive: Observations to what the policy takes.
        learning_rate: By environment step.
        objective: What an update minimises.
        num_envs: E.
        num_steps: T.
        epochs: Passes over a rollout.
        minibatch_size: Steps of a minibatch; of a recurrent policy rounded down to whole sequences, at least one.
        discount: gamma in [0, 1].
        trace: lambda in [0, 1] of the advantages.
        generator: Of actions and minibatches.
        extras: What the policy is shown beside the observation.
        reward_scale: Of the rewards learned from; None for as they are.
        cut_at_episode_ends: Whether what follows an episode's end does not count for what came before.
        carry_state: Whether a recurrent policy's state, and what it is shown of the step before, outlive an episode.

    Raises:
        ValueError: A size below 1, or a factor outside [0, 1].
    """

    def __init__(
        self,
        *,
        policy: Policy,
        descent: Descent,
        perceive: Perception,
        learning_rate: Schedule,
        objective: Objective,
        num_envs: int,
        num_steps: int,
        epochs: int,
        minibatch_size: int,
        discount: float,
        trace: float,
        generator: torch.Generator,
        extras: Sequence[ExtraInput] = (),
        reward_scale: RewardScale | None = None,
        cut_at_episode_ends: bool = True,
        carry_state: bool = False,
    ):
        _require_counts(num_envs=num_envs, num_steps=num_steps, epochs=epochs, minibatch_size=minibatch_size)
        _require_shares(discount=discount, trace=trace)
        self.policy, self.descent, self.extras = policy, descent, tuple(extras)
        self._frozen = False
        self._perceive, self._reward_scale = perceive, reward_scale
        self._learning_rate, self._objective = learning_rate, objective
        self._num_envs, self._epochs, self._minibatch_size = num_envs, epochs, minibatch_size
        self._discount, self._trace = discount, trace
        self._generator = generator
        self._cut, self._carry = cut_at_episode_ends, carry_state
        self._rollout = Rollout(num_steps, num_envs)
        self._state = policy.initial_state(num_envs)  # [E, H] before the step to come
        self._starts = torch.ones(num_envs, dtype=torch.bool, device=self._state.device)  # [E]
        self._steps = 0
        self._next: Observation | None = None  # [E, ...] what is acted on after a full rollout
        self._acted: dict[str, Any] = {}  # the step taken and not yet observed; [E, ...] by name
        self._next_state = self._state

    @property
    def frozen(self) -> bool:
        """Whether nothing is learned: weights and running statistics stay as they are.

        Memories and the recurrent state live on, which is what adaptation without learning means. When it is set, the
        steps of the open rollout are forgotten, so that none is learned from across a gap.
        """
        return self._frozen

    @frozen.setter
    def frozen(self, frozen: bool) -> None:
        self._frozen = frozen
        self._forget_open_steps()

    def act(self, observation: Observation, *, explore: bool = True) -> np.ndarray:
        """Draw actions, `[E, ...]`; with `explore=False` the most probable ones, as at an episode's first step."""
        if not explore:
            return self.player(batch_size(observation)).act(observation)
        seen = self._perceive(observation, learn=not self.frozen)
        extras = read(self.extras, observation, explore=True)
        with torch.no_grad():
            features, self._next_state = self.policy.features(seen, self._state, self._starts[None], extras)
            action = self.policy.distribution(features, extras).sample(self._generator)  # [E, ...]
        self._acted = {"seen": seen, "action": action, "starts": self._starts, "extras": extras}
        return self.policy.head.taken(action)

    def observe(self, transition: Transition) -> None:
        """Add one vector step to the rollout.

        Raises:
            RuntimeError: It is not the outcome of the last `act`, or `learn` was not called on a full rollout.
        """
        if not self._acted:
            raise RuntimeError("PPO learns from its own actions only: call act, then observe what followed, in turns.")
        if not self.frozen:
            self._add(transition)
        for extra in self.extras:
            extra.observe(transition)
        self._state = self._next_state
        self._starts = torch.as_tensor(transition.done & (not self._carry), device=self._state.device)
        self._acted = {}

    def learn(self) -> dict[str, float]:
        """One update if the rollout is full."""
        metrics = {name: value for extra in self.extras for name, value in extra.metrics().items()}
        if not self._rollout.full:
            return metrics
        data = self._judged()
        rate = self._learning_rate(self._steps)
        self.descent.set_rate(rate)
        metrics |= self._update(data)
        metrics["train/explained_variance"] = explained_variance(data["value"], data["target"])
        metrics["train/learning_rate"] = rate
        self._rollout.clear()
        return metrics

    def begin_episodes(self) -> None:
        """All environments begin anew, wherever they were; the steps of the open rollout are forgotten."""
        self._forget_open_steps()
        self._state = self.policy.initial_state(self._num_envs)
        self._starts = torch.ones_like(self._starts)
        self._acted = {}
        for extra in self.extras:
            extra.begin_episodes()

    def player(self, num_envs: int, generator: torch.Generator | None = None) -> Player:
        """The policy as it is, for playing `num_envs` environments from their first step on, without a trace here.

        With a generator it draws its actions; without one it takes the most probable.
        """
        extras = [extra.player(num_envs) for extra in self.extras]
        return Player(self.policy, self._perceive, extras, num_envs, self._carry, generator)

    def _forget_open_steps(self) -> None:
        """Those that were to be learned from."""
        self._rollout.clear()

    def _add(self, transition: Transition) -> None:
        """Put the step just taken, and its outcome, into the rollout."""
        self._rollout.record(self._state, self._acted)
        reward, done = transition.reward, transition.done
        if self._reward_scale:
            reward = self._reward_scale(reward, done)
        self._rollout.complete(reward, done, self._final_values(transition))
        self._next = transition.reset_observation
        self._steps += self._num_envs

    def _final_values(self, transition: Transition) -> np.ndarray:
        """Values of the last observations of episodes that were cut, 0 elsewhere. `[E]`."""
        values = np.zeros(self._num_envs, dtype=np.float32)
        rows = np.flatnonzero(transition.truncated & ~transition.terminated)
        if len(rows) and self._cut:
            seen = self._perceive(rows_of(transition.next_observation, rows), learn=False)
            extras: Extras = {}
            for extra in self.extras:
                extras |= extra.read_final(transition, rows)
            values[rows] = self._values(seen, self._next_state[rows], extras)
        return values

    def _values(self, seen: Any, state: Tensor, extras: Extras, starts: Tensor | None = None) -> np.ndarray:
        """Values of one step of B environments. `[B]`."""
        if starts is None:
            starts = torch.zeros(len(state), dtype=torch.bool, device=state.device)
        with torch.no_grad():
            features, _ = self.policy.features(seen, state, starts[None], extras)
            return self.policy.values(features, extras).cpu().numpy()

    def _judged(self) -> dict[str, Any]:
        """The rollout with values, log-probabilities, advantages and the value's targets. `[T, E, ...]` by name."""
        rollout, data = self._rollout, self._rollout.stacked()
        shape = (rollout.num_steps, rollout.num_envs)
        flat = map_observation(lambda part: part.flatten(0, 1), data)
        assert rollout.initial_state is not None
        with torch.no_grad():
            judged = self.policy(flat["seen"], rollout.initial_state, data["starts"], flat["extras"])
            data["log_prob"] = judged.distribution.log_prob(flat["action"]).unflatten(0, shape)
        value = judged.value.unflatten(0, shape)
        advantage = rollout.advantages(
            value.cpu().numpy(), self._value_of_next(), self._discount, self._trace, self._cut
        )
        data["value"], data["advantage"] = value, torch.from_numpy(advantage).to(value.device)
        data["target"] = data["value"] + data["advantage"]
        return data

    def _value_of_next(self) -> np.ndarray:
        """The value of what is acted on next. `[E]`."""
        assert self._next is not None
        seen = self._perceive(self._next, learn=False)
        return self._values(seen, self._state, read(self.extras, self._next, explore=False), self._starts)

    def _update(self, data: dict[str, Any]) -> dict[str, float]:
        """Some epochs over the rollout; means over their minibatches."""
        clip = self._objective.clip(self._steps)
        reports: list[Tensor] = []
        for _ in range(self._epochs):
            for batch, state in self._minibatches(data):
                judged = self.policy(batch["seen"], state, batch["starts"], batch["extras"])
                loss, report = self._objective.loss(judged, batch, clip)
                reports.append(report)
                if self._objective.diverged(report):
                    return means(reports)
                self.descent(loss)
        return means(reports)

    def _minibatches(self, data: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Tensor]]:
        """Flat minibatches, `[N, ...]` but for `starts`, and the state before each sequence, `[B, H]`."""
        assert self._rollout.initial_state is not None
        if not self.policy.recurrent:
            for batch in shuffled_rows(data, self._minibatch_size, self._generator):
                yield batch, self._rollout.initial_state
            return
        for sequences, state in shuffled_sequences(
            data, self._rollout.initial_state, self._minibatch_size, self._generator
        ):
            batch = map_observation(lambda part: part.flatten(0, 1), sequences)
            yield batch | {"starts": sequences["starts"]}, state

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, counters, generator, running statistics, the open rollout and the extras' states."""
        return {
            "policy": self.policy.state_dict(),
            "descent": self.descent.state_dict(),
            "perception": self._perceive.state_dict(),
            "reward_scale": self._reward_scale.state_dict() if self._reward_scale else None,
            "extras": [extra.state_dict() for extra in self.extras],
            "rollout": self._rollout.state_dict(),
            "generator": self._generator.get_state(),
            "state": self._state,
            "starts": self._starts,
            "steps": self._steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave between `learn` and the next `act`."""
        device = self._state.device
        self._rollout.load_state_dict(state["rollout"], device)
        self.policy.load_state_dict(state["policy"])
        self.descent.load_state_dict(state["descent"])
        self._perceive.load_state_dict(state["perception"])
        if self._reward_scale:
            self._reward_scale.load_state_dict(state["reward_scale"])
        for extra, saved in zip(self.extras, state["extras"], strict=True):
            extra.load_state_dict(saved)
        self._generator.set_state(state["generator"])
        self._state, self._starts = state["state"].to(device), state["starts"].to(device)
        self._steps = state["steps"]


def _require_counts(**counts: int) -> None:
    for name, count in counts.items():
        if count < 1:
            raise ValueError(f"PPO's {name} is {count}; it must be at least 1.")


def _require_shares(**shares: float) -> None:
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ValueError(f"PPO's {name} is {share}; it must be within 0 and 1.")


def make_ppo(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    hidden: Sequence[int],
    picture_features: int,
    recurrent: int,
    carry_state: bool,
    show_previous: bool,
    num_steps: int,
    epochs: int,
    minibatch_size: int,
    discount: float,
    trace: float,
    cut_at_episode_ends: bool,
    optimiser: Callable[..., torch.optim.Optimizer],
    learning_rate: Schedule,
    clip: Schedule,
    value_clip: float | None,
    value_coefficient: float,
    entropy_coefficient: float,
    normalise_advantage: bool,
    max_gradient_norm: float | None,
    target_kl: float | None,
    normalise_observations: bool,
    scale_rewards: bool,
    device: str,
    extras: Sequence[ExtraInput] = (),
    actor_fusion: nn.Module | None = None,
    critic_fusion: nn.Module | None = None,
    actor_vote: nn.Module | None = None,
    agent: Callable[..., PPO] = PPO,
) -> PPO:
    """Build PPO for the spaces of an environment; `conf/agent/ppo.yaml` says what each value means.

    An agent built on PPO adds `extras`, and modules that mix them into the actor's and the critic's features, or add to
    the logits of actions.

    Raises:
        ValueError: Spaces that cannot be handled, or values out of range.
    """
    require_supported(observation_space, "PPO")
    remedy = "lower num_steps or env.num_envs"
    require_rows(f"a rollout of num_steps={num_steps}", num_steps * num_envs, observation_space, remedy)
    if carry_state and not recurrent:
        raise ValueError(
            "carry_state=true carries the state of a recurrent policy: set recurrent to its size, such as 64."
        )
    place = choose_device(device)
    torch.manual_seed(seed)
    previous = [PreviousStep(action_space, num_envs, carry_state, place)] if show_previous else []
    policy = make_policy(
        observation_space,
        action_space,
        hidden=hidden,
        picture_features=picture_features,
        recurrent=recurrent,
        appended={extra.NAME: extra.size for extra in previous},
        actor_fusion=actor_fusion,
        critic_fusion=critic_fusion,
        actor_vote=actor_vote,
    ).to(place)
    return agent(
        policy=policy,
        descent=Descent(policy, optimiser, max_gradient_norm),
        perceive=make_perception(observation_space, place, normalise_observations),
        learning_rate=learning_rate,
        objective=Objective(
            clip=clip,
            value_clip=value_clip,
            value_coefficient=value_coefficient,
            entropy_coefficient=entropy_coefficient,
            normalise_advantage=normalise_advantage,
            target_kl=target_kl,
        ),
        num_envs=num_envs,
        num_steps=num_steps,
        epochs=epochs,
        minibatch_size=minibatch_size,
        discount=discount,
        trace=trace,
        generator=generator_for(seed, "ppo"),
        extras=[*previous, *extras],
        reward_scale=RewardScale(num_envs, discount) if scale_rewards else None,
        cut_at_episode_ends=cut_at_episode_ends,
        carry_state=carry_state,
    )
