"""Proximal policy optimisation (Schulman et al. 2017, arXiv 1707.06347)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.device import choose_device
from engram_rl.agents.common.observations import batch_size, map_observation, require_rows, require_supported, rows_of
from engram_rl.agents.common.restoring import all_or_nothing
from engram_rl.agents.common.scaling import SCALE_RULE, has_picture, require_rule, require_same_rule
from engram_rl.agents.common.schedules import Schedule, as_schedule
from engram_rl.agents.common.seeding import generator_for
from engram_rl.agents.policy_gradient.descent import Descent
from engram_rl.agents.policy_gradient.extra_inputs import ExtraInput, PreviousStep, read
from engram_rl.agents.policy_gradient.objectives import Objective, explained_variance, means, require_learnable
from engram_rl.agents.policy_gradient.perception import (
    ModestRewards,
    Perception,
    RewardScale,
    bytes_seen,
    make_perception,
)
from engram_rl.agents.policy_gradient.player import Player
from engram_rl.agents.policy_gradient.policies import Extras, Policy, make_policy
from engram_rl.agents.policy_gradient.read_weights import ReadWeights, first_environment, read_weights
from engram_rl.agents.policy_gradient.recurrence import require_losses, require_same_leaves
from engram_rl.agents.policy_gradient.rollouts import Rollout
from engram_rl.agents.policy_gradient.updates import evaluated, minibatches, require_counts, require_shares
from engram_rl.memory.cores import Core, State
from engram_rl.memory.cores.gru import GRU
from engram_rl.memory.cores.lifelong import RECALLED


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
        gae_lambda: lambda in [0, 1] of the advantages.
        generator: Of actions and minibatches.
        extras: What the policy is shown beside the observation.
        reward_scale: Of the rewards learned from; None for as they are.
        cut_at_episode_ends: Whether what follows an episode's end does not count for what came before.
        carry_state: Whether a recurrent policy's state, and what it is shown of the step before, outlive an episode.
        scale_rule: Of what the policy is given.

    An agent built on PPO adds extras, and overrides `add`, `update` and `forget_open_steps`.

    Attributes:
        acted: The step taken and not yet observed: what was seen, the action, `starts`, `extras` and, where there
            was one, the `mask`. `[E, ...]` by name
        state: Of a recurrent policy, before the step to come. `[E, ...]` by name
        starts: Whether an episode begins with that step. `[E]` of bool

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
        gae_lambda: float,
        generator: torch.Generator,
        extras: Sequence[ExtraInput] = (),
        reward_scale: RewardScale | ModestRewards | None = None,
        cut_at_episode_ends: bool = True,
        carry_state: bool = False,
        scale_rule: int = SCALE_RULE,
    ):
        require_counts(num_envs=num_envs, num_steps=num_steps, epochs=epochs, minibatch_size=minibatch_size)
        require_shares(discount=discount, gae_lambda=gae_lambda)
        self.policy, self.descent, self.extras = policy, descent, tuple(extras)
        self._frozen = False
        self.perceive, self.reward_scale = perceive, reward_scale
        self._learning_rate, self._objective = learning_rate, objective
        self.num_envs, self._epochs, self.minibatch_size = num_envs, epochs, minibatch_size
        self.discount, self._gae_lambda = discount, gae_lambda
        self._generator = generator
        self.cut_at_episode_ends, self.carry_state = cut_at_episode_ends, carry_state
        self._rollout = Rollout(num_steps, num_envs)
        self.state = policy.initial_state(num_envs)  # [E, ...] by name, before the step to come
        self.starts = torch.ones(num_envs, dtype=torch.bool, device=policy.device)  # [E]
        self._scale_rule = scale_rule
        self._steps = 0
        self._next: Observation | None = None  # [E, ...] what is acted on after a full rollout
        self.acted: dict[str, Any] = {}  # the step taken and not yet observed; [E, ...] by name
        self._state_after = self.state
        self._looked_at: tuple[dict[str, Any], State] | None = None  # of the last rollout, for pictures

    @property
    def memory_parts(self) -> tuple[str, ...]:
        """The parts of the state that hold what was experienced; none, if nothing but an open rollout does."""
        remembers = self.carry_state or any(getattr(extra, "remembers", False) for extra in self.extras)
        lifelong = ("lifelong",) if self.policy.lifelong else ()
        return ("extras", "rollout", "state", "starts", *lifelong) if remembers or lifelong else ()

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
        self.forget_open_steps()

    def act(self, observation: Observation, *, explore: bool = True, mask: np.ndarray | None = None) -> np.ndarray:
        """Draw actions, `[E, ...]`; with `explore=False` the most probable ones, as at an episode's first step."""
        if not explore:
            return self.player(batch_size(observation)).act(observation, mask=mask)
        allowed = self.policy.head.allowed(mask, self.num_envs)
        seen = self.perceive(observation, learn=not self.frozen)
        extras = read(self.extras, observation, explore=True)
        with torch.no_grad():
            features, self._state_after, _ = self.policy.features(seen, self.state, self.starts[None], extras)
            action = self.policy.distribution(features, extras, allowed).sample(self._generator)  # [E, ...]
        if self.policy.lifelong:  # an update sees what acting recalled
            extras |= {name: self._state_after[name] for name in RECALLED}
        self.acted = {"seen": seen, "action": action, "starts": self.starts, "extras": extras}
        if allowed is not None:
            self.acted["mask"] = allowed
        return self.policy.head.taken(action)

    def observe(self, transition: Transition) -> None:
        """Add one vector step to the rollout.

        Raises:
            RuntimeError: It is not the outcome of the last `act`, or `learn` was not called on a full rollout.
        """
        if not self.acted:
            raise RuntimeError("PPO learns from its own actions only: call act, then observe what followed, in turns.")
        if not self.frozen:
            self.add(transition, self._final_values(transition))
        for extra in self.extras:
            extra.observe(transition)
        if self.policy.lifelong:
            self.policy.lifelong.commit(self._state_after)
        self._go_on(transition)

    def _go_on(self, transition: Transition) -> None:
        """The state after the step is the one before the next."""
        self.state = self._state_after
        self.starts = torch.as_tensor(transition.done & (not self.carry_state), device=self.starts.device)
        self.acted = {}

    def learn(self) -> dict[str, float]:
        """One update if the rollout is full."""
        metrics = {name: value for extra in self.extras for name, value in extra.metrics().items()}
        if not self._rollout.full:
            return metrics
        data = self._evaluated()
        if self.policy.core is not None and self.policy.core.reads_by is not None:
            self._looked_at = first_environment(data, self._rollout.initial_state)
        rate = self._learning_rate(self._steps)
        self.descent.set_rate(rate)
        learned = self.update(data)
        require_learnable(learned, self._steps)
        metrics |= learned
        metrics["train/explained_variance"] = explained_variance(data["value"], data["target"])
        metrics["train/learning_rate"] = rate
        self._rollout.clear()
        return metrics

    def inspect(self) -> dict[str, float]:
        """What is worth watching of the memory core now, means over the environments; nothing without one."""
        core = self.policy.core
        told = core.inspect(self.state) if core is not None else {}
        return {f"core/{name}": float(numbers.mean()) for name, numbers in told.items()}

    def read_weights(self) -> ReadWeights | None:
        """What the heads of the core read in the first environment over the last rollout; None where none read."""
        if self._looked_at is None:
            return None
        return read_weights(self.policy, *self._looked_at)

    def begin_episodes(self) -> None:
        """All environments begin anew, wherever they were; the steps of the open rollout are forgotten."""
        self.forget_open_steps()
        self.state = self.policy.initial_state(self.num_envs)
        self.starts = torch.ones_like(self.starts)
        self.acted = {}
        for extra in self.extras:
            extra.begin_episodes()

    def player(self, num_envs: int, generator: torch.Generator | None = None) -> Player:
        """The policy as it is, for playing `num_envs` environments from their first step on, without a trace here.

        With a generator it draws its actions; without one it takes the most probable.
        """
        extras = [extra.player(num_envs) for extra in self.extras]
        return Player(self.policy, self.perceive, extras, num_envs, self.carry_state, generator)

    def knowledge(self) -> dict[str, Any]:
        """The policy, running statistics of observations, and what the extras remember.

        Raises:
            ValueError: The policy's core remembers for life, which copies of it would each do apart.
        """
        if self.policy.lifelong:
            raise ValueError(
                "core=lifelong writes to one memory as it acts, which actors cannot do together: leave cluster.actors "
                "out, or choose another core."
            )
        remembered = [extra.knowledge() for extra in self._remembering]
        return {"policy": self.policy.state_dict(), "perception": self.perceive.state_dict(), "extras": remembered}

    def know(self, knowledge: dict[str, Any], rows: np.ndarray) -> None:
        """Take in what the learner's `knowledge` gave; from here on nothing is learned, statistics included."""
        self._frozen = True
        self.policy.load_state_dict(knowledge["policy"])
        self.perceive.load_state_dict(knowledge["perception"])
        for extra, known in zip(self._remembering, knowledge["extras"], strict=True):
            extra.know(known, rows)

    def noted(self) -> dict[str, Any]:
        """What was seen and done, a recurrent state after it, and what the extras noted."""
        acted = {name: part for name, part in self.acted.items() if name != "mask"}
        noted = {str(at): extra.noted() for at, extra in enumerate(self._remembering)}
        return {"acted": acted, "state": self._state_after, "extras": noted}

    def note(self, noted: dict[str, Any], transition: Transition) -> None:
        """Take in what copies noted when they acted; running statistics are learned here."""
        here = map_observation(
            lambda part: part.to(self.starts.device), {name: noted[name] for name in ("acted", "state")}
        )
        self.acted, self._state_after = here["acted"], here["state"]
        if (allowed := self.policy.head.allowed(transition.mask, self.num_envs)) is not None:
            self.acted["mask"] = allowed
        if not self.frozen:
            self.perceive(transition.observation, learn=True)
        for at, extra in enumerate(self._remembering):
            extra.note(noted["extras"][str(at)])

    def follow(self, transition: Transition) -> None:
        """Take in what the next step is acted with: the recurrent state, the step before, that an episode ended."""
        for extra in self.extras:
            take_in = extra.follow if extra in self._remembering else extra.observe  # type: ignore[attr-defined]
            take_in(transition)
        self._go_on(transition)

    def acting_state(self) -> dict[str, Any]:
        """What actions are drawn from, the recurrent state, and what the extras hold of the open episodes."""
        extras = [(e.acting_state if e in self._remembering else e.state_dict)() for e in self.extras]  # type: ignore[attr-defined]
        held = {"state": self.state, "starts": self.starts, "generator": self._generator.get_state()}
        return {**held, "extras": extras}

    def load_acting_state(self, state: dict[str, Any]) -> None:
        """Restore what `acting_state` gave."""
        self.state, self.starts = state["state"], state["starts"]
        self._generator.set_state(state["generator"])
        for extra, held in zip(self.extras, state["extras"], strict=True):
            restore = extra.load_acting_state if extra in self._remembering else extra.load_state_dict  # type: ignore[attr-defined]
            restore(held)

    @property
    def _remembering(self) -> list[Any]:
        """The extras that outlive episodes."""
        return [extra for extra in self.extras if getattr(extra, "remembers", False)]

    def forget_open_steps(self) -> None:
        """Drop the steps that were to be learned from."""
        self._rollout.clear()

    def add(self, transition: Transition, final_value: np.ndarray) -> None:
        """Put the step just taken, and its outcome, into the rollout.

        Args:
            transition: The outcome.
            final_value: Of the last observations of episodes that were cut, 0 elsewhere. `[E]`
        """
        reward = transition.reward
        if self.reward_scale:
            reward = self.reward_scale(reward, transition.done)
        self._rollout.add(self.state, self.acted, reward, transition.done, final_value)
        self._next = transition.reset_observation
        self._steps += self.num_envs

    def _final_values(self, transition: Transition) -> np.ndarray:
        """Values of the last observations of episodes that were cut, 0 elsewhere, and where no end counts. `[E]`."""
        values = np.zeros(self.num_envs, dtype=np.float32)
        rows = np.flatnonzero(transition.truncated & ~transition.terminated)
        if len(rows) and self.cut_at_episode_ends:
            seen = self.perceive(rows_of(transition.next_observation, rows), learn=False)
            extras: Extras = {}
            for extra in self.extras:
                extras |= extra.read_final(transition, rows)
            going_on = torch.zeros(len(rows), dtype=torch.bool, device=self.starts.device)
            values[rows] = self._values(seen, rows_of(self._state_after, rows), extras, going_on)
        return values

    def _values(self, seen: Any, state: State, extras: Extras, starts: Tensor) -> np.ndarray:
        """Values of one step of B environments. `[B]`."""
        with torch.no_grad():
            features, _, _ = self.policy.features(seen, state, starts[None], extras)
            return self.policy.values(features, extras).cpu().numpy()

    def _evaluated(self) -> dict[str, Any]:
        """The rollout and what its steps turned out to be worth. `[T, E, ...]` by name."""
        assert self._next is not None
        seen = self.perceive(self._next, learn=False)
        last_value = self._values(seen, self.state, read(self.extras, self._next, explore=False), self.starts)
        factors = {"discount": self.discount, "gae_lambda": self._gae_lambda}
        return evaluated(self.policy, self._rollout, last_value, cut=self.cut_at_episode_ends, **factors)

    def update(self, data: dict[str, Any]) -> dict[str, float]:
        """Some epochs over the rollout; means over their minibatches."""
        reports: list[Tensor] = []
        losses: Sequence[str] = ()
        initial_state, size, recurrent = self._rollout.initial_state, self.minibatch_size, self.policy.recurrent
        assert initial_state is not None
        for _ in range(self._epochs):
            for batch, state in minibatches(data, initial_state, size, self._generator, recurrent=recurrent):
                judged = self.policy(batch["seen"], state, batch["starts"], batch["extras"], batch.get("mask"))
                loss, report = self._objective.loss(judged, batch, self._steps)
                reports.append(report)
                losses = tuple(judged.losses)
                if self._objective.diverged(report):
                    return means(reports, losses)
                self.descent(loss)
        return means(reports, losses)

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimiser, counters, generator, running statistics, the open rollout and the extras' states."""
        return {
            "policy": self.policy.state_dict(),
            "descent": self.descent.state_dict(),
            "perception": self.perceive.state_dict(),
            "reward_scale": self.reward_scale.state_dict() if self.reward_scale else None,
            "extras": [extra.state_dict() for extra in self.extras],
            "rollout": self._rollout.state_dict(),
            "generator": self._generator.get_state(),
            "state": self.state,
            "starts": self.starts,
            "steps": self._steps,
            "scale_rule": self._scale_rule,
            **({"lifelong": self.policy.lifelong.memory.state_dict()} if self.policy.lifelong else {}),
        }

    @all_or_nothing
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave between `learn` and the next `act`."""
        require_same_rule(state.get("scale_rule", 1), self._scale_rule)
        device = self.starts.device
        require_same_leaves(state["state"], self.state, self.policy.core)
        self._rollout.load_state_dict(state["rollout"], device)
        self.policy.load_state_dict(state["policy"])
        self.descent.load_state_dict(state["descent"])
        self.perceive.load_state_dict(state["perception"])
        if self.reward_scale:
            self.reward_scale.load_state_dict(state["reward_scale"])
        for extra, saved in zip(self.extras, state["extras"], strict=True):
            extra.load_state_dict(saved)
        if self.policy.lifelong:
            self.policy.lifelong.memory.load_state_dict(state["lifelong"])
        self._generator.set_state(state["generator"])
        self.state = {name: leaf.to(device) for name, leaf in state["state"].items()}
        self.starts = state["starts"].to(device)
        self._steps = state["steps"]


ADAM = partial(torch.optim.Adam, eps=1e-5, fused=True)
"""Its rate is set before each update; eps as in Andrychowicz et al. (2021, arXiv 2006.05990)."""


def make_ppo(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    hidden: Sequence[int] = (64, 64),
    picture_features: int = 512,
    recurrent: int = 0,
    core: Callable[[int, int], Core] = GRU,
    core_losses: Mapping[str, float] | None = None,
    carry_state: bool = False,
    show_previous: bool | Literal["action"] = False,
    num_steps: int = 128,
    epochs: int = 4,
    minibatch_size: int = 256,
    discount: float = 0.99,
    gae_lambda: float = 0.95,
    cut_at_episode_ends: bool = True,
    optimiser: Callable[..., torch.optim.Optimizer] = ADAM,
    learning_rate: float | Schedule = 1e-3,
    clip: float | Schedule = 0.2,
    value_clip: float | None = None,
    value_coefficient: float = 0.5,
    entropy_coefficient: float | Schedule = 0.0,
    normalise_advantage: bool = True,
    max_gradient_norm: float | None = 0.5,
    target_kl: float | None = None,
    normalise_observations: bool = False,
    scale_rewards: bool | Literal["modest"] | None = None,
    scale_rule: int = SCALE_RULE,
    device: str = "cpu",
    extras: Sequence[ExtraInput] = (),
    fusion: Callable[[int], nn.Module] | None = None,
    logit_bias: nn.Module | None = None,
    agent: Callable[..., PPO] = PPO,
) -> PPO:
    """Build PPO for the spaces of an environment; `conf/agent/ppo.yaml` says what its values mean, others are here.

    - `picture_features`: units after the convolutions, which pictures pass instead of the hidden layers
    - `core`: makes the memory core, of which `recurrent` is the size of the output (`conf/core`)
    - `core_losses`: weights of the losses that a core has of its own, by their names; 1 of those not named
    - `carry_state`: whether a recurrent state outlives an episode
    - `show_previous`: whether the action and reward of the step before are shown; `action` for the action alone
    - `optimiser`: of all weights, as one vector; `max_gradient_norm` limits its steps, None does not
    - `value_clip`, `value_coefficient`, `normalise_advantage`, `target_kl`: see `Objective`
    - `normalise_observations`: rows of numbers only, to mean 0 and deviation 1 over all seen so far
    - `scale_rewards`: by the deviation of the discounted return, or `modest`: by the size of returns, and only where
      they are in the thousands or thousandths; false for never. By default `modest`, but true where actor and critic
      share convolutions or a core: a critic of returns of -20 drowns the actor there
    - `scale_rule`: how numbers of observations and actions are scaled; 1 for what the first version learned
    - `extras`, `fusion` (see `make_policy`), `logit_bias` and `agent`: for an agent built on PPO

    Raises:
        ValueError: Spaces that cannot be handled, or values out of range.
    """
    require_supported(observation_space, "PPO")
    require_rule(scale_rule)
    each = bytes_seen(observation_space, scale_rule)
    remedy = "lower num_steps or env.num_envs"
    require_rows(f"a rollout of num_steps={num_steps}", num_steps * num_envs, each, remedy)
    if carry_state and not recurrent:
        raise ValueError(
            "carry_state=true carries the state of a recurrent policy: give it a memory core, such as core=gru, or set "
            "recurrent to its size, such as 64."
        )
    place = choose_device(device)
    if show_previous not in (True, False, "action"):
        raise ValueError(f"show_previous is {show_previous!r}; it must be true, false or action (without the reward).")
    shared = bool(recurrent) or has_picture(observation_space, scale_rule)
    shown = partial(PreviousStep, action_space, num_envs, carry_state, place, scale_rule)
    previous = [shown(reward=show_previous is True)] if show_previous else []
    policy = make_policy(
        observation_space,
        action_space,
        seed,
        hidden=hidden,
        picture_features=picture_features,
        recurrent=recurrent,
        core=core,
        num_envs=num_envs,
        appended={extra.NAME: extra.size for extra in previous},
        fusion=fusion,
        logit_bias=logit_bias,
        scale_rule=scale_rule,
    ).to(place)
    return agent(
        policy=policy,
        descent=Descent(policy, optimiser, max_gradient_norm),
        perceive=make_perception(observation_space, place, normalise_observations, scale_rule),
        learning_rate=as_schedule(learning_rate, "learning_rate"),
        objective=Objective(
            clip=as_schedule(clip, "clip"),
            value_clip=value_clip,
            value_coefficient=value_coefficient,
            entropy_coefficient=as_schedule(entropy_coefficient, "entropy_coefficient"),
            normalise_advantage=normalise_advantage,
            target_kl=target_kl,
            core_losses=require_losses(policy, core_losses or {}),
        ),
        num_envs=num_envs,
        num_steps=num_steps,
        epochs=epochs,
        minibatch_size=minibatch_size,
        discount=discount,
        gae_lambda=gae_lambda,
        generator=generator_for(seed, "ppo"),
        extras=[*previous, *extras],
        reward_scale=_reward_scale(scale_rewards, shared, num_envs, discount),
        cut_at_episode_ends=cut_at_episode_ends,
        carry_state=carry_state,
        scale_rule=scale_rule,
    )


def _reward_scale(
    asked: bool | str | None, shared: bool, num_envs: int, discount: float
) -> RewardScale | ModestRewards | None:
    """What rewards are divided by; `shared` says whether actor and critic see through the same weights."""
    if asked not in (True, False, "modest", None):
        raise ValueError(f"scale_rewards is {asked!r}; it must be true, false or modest, or be left out.")
    if asked == "modest" or (asked is None and not shared):
        return ModestRewards(num_envs, discount)
    return None if asked is False else RewardScale(num_envs, discount)
