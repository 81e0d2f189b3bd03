"""Self-imitation learning (Oh et al. 2018, arXiv 1806.05635): it learns from its past instead of retrieving it."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor

from engram_rl.agents.agent import Transition
from engram_rl.agents.common.observations import map_observation, require_rows, require_supported, rows_of, to_tensors
from engram_rl.agents.common.prioritised import PrioritisedReplay
from engram_rl.agents.common.restoring import all_or_nothing
from engram_rl.agents.common.scaling import SCALE_RULE
from engram_rl.agents.common.seeding import generator_for
from engram_rl.agents.episodic_control.returns import MonteCarloReturns
from engram_rl.agents.policy_gradient.action_heads import CodesHead
from engram_rl.agents.policy_gradient.perception import ModestRewards, RewardScale, bytes_seen
from engram_rl.agents.ppo import PPO, make_ppo
from engram_rl.memory.checks import number, whole


def imitation_loss(
    log_prob: Tensor, value: Tensor, gained: Tensor, value_coefficient: float, weight: Tensor | None = None
) -> Tensor:
    """What went better than expected is done again and expected from now on (equations 1 to 3).

    Args:
        log_prob: Of the actions that were taken. `[N]`
        value: What is expected now. `[N]`
        gained: The returns that followed. `[N]`
        value_coefficient: Weight of the value's error.
        weight: Of each step; 1 if not given. `[N]`
    """
    better = (gained - value).clamp(min=0)
    losses = -log_prob * better.detach() + value_coefficient * 0.5 * better.square()
    return losses.mean() if weight is None else (weight * losses).mean()


class SelfImitationPPO(PPO):
    """PPO that imitates its own past successes after each update, those most that went most above what is expected.

    A recurrent policy imitates whole episodes, from their first step on, so that its state is what it would be now.

    Args:
        capacity: Steps of finished episodes that are kept, the newest.
        batches: Minibatches of them after each update, as large as PPO's.
        imitation_value: Weight of the value's error.
        prioritisation: Exponent of the priorities by which steps are drawn; a priority is by how much the return was
            better than the value, or 0 (section 3: "(R - V)+ as the priority"). 0 draws them uniformly.
        correction: How far losses make up for that, 0 to 1.
        bootstrap: Whether the return of an episode that was cut goes on with the value of its last observation.
        imitation_generator: Of the minibatches.
        **options: Of PPO; what counts as return is what its critic learns, so values must end with the episode and be
            of rewards as they are.

    Raises:
        ValueError: The state is carried over episodes: what came before an episode is not kept. Or values are of
            something else than the returns that are imitated.
    """

    def __init__(
        self,
        *,
        capacity: int,
        batches: int,
        imitation_value: float,
        prioritisation: float,
        correction: float,
        bootstrap: bool,
        imitation_generator: torch.Generator,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if self.policy.recurrent and self.carry_state:
            raise ValueError(
                "Self-imitation learns from past episodes, of which it does not know what came before: set "
                "agent.carry_state=false."
            )
        if not self.cut_at_episode_ends or isinstance(self.reward_scale, RewardScale):
            raise ValueError(
                "Self-imitation compares an episode's return with its value, which must be of the same: set "
                "agent.cut_at_episode_ends=true and leave agent.scale_rewards out."
            )
        self._batches, self._bootstrap = whole("batches", batches), bootstrap
        self._value_weight = number("imitation_value", imitation_value, 0)
        self._masks = isinstance(self.policy.head, CodesHead)
        self._returns = MonteCarloReturns(self.discount, self.num_envs)
        self._replay = PrioritisedReplay(capacity, imitation_generator, exponent=prioritisation, correction=correction)
        self._whole = np.zeros(self.num_envs, dtype=bool)  # [E] whether the open episode is held from its first step on

    def forget_open_steps(self) -> None:
        """Those of the open episodes as well."""
        super().forget_open_steps()
        self._returns.clear()
        self._whole[:] = False

    def add(self, transition: Transition, final_value: np.ndarray) -> None:
        """Add one vector step; keep the episodes that it ended."""
        taken = {name: self.acted[name] for name in ("seen", "action", "extras")}
        held = map_observation(lambda part: part.cpu().numpy(), taken)
        if self._masks:
            mask = self.acted.get("mask")
            held["mask"] = self._all_allowed(self.num_envs) if mask is None else mask.cpu().numpy()
        if self.policy.recurrent:
            starts = self.acted["starts"].cpu().numpy()
            self._whole |= starts
            held |= {"starts": starts, "whole": self._whole}
        follows = final_value * self._bootstrap * self._reward_size
        unused = np.zeros(self.num_envs, np.int64)
        ended = self._returns.push(held, unused, transition.reward, transition.done, follows)
        assert isinstance(ended.observation, dict)
        rows: dict[str, Any] = {**ended.observation, "gained": ended.target.astype(np.float32)}
        if self.policy.recurrent:
            rows = rows_of(rows, rows.pop("whole"))
        if len(rows["gained"]):
            self._replay.add(rows)
        super().add(transition, final_value)

    @property
    def _reward_size(self) -> float:
        """What values are of: rewards divided by this."""
        return self.reward_scale.size if isinstance(self.reward_scale, ModestRewards) else 1.0

    def update(self, data: dict[str, Any]) -> dict[str, float]:
        """PPO's update, then imitation."""
        metrics = super().update(data)
        if not len(self._replay):
            return metrics
        losses = [self._imitate() for _ in range(self._batches)]
        return metrics | {"train/imitation_loss": float(np.mean(losses))}

    def _imitate(self) -> float:
        """One minibatch."""
        size = min(self.minibatch_size, len(self._replay))
        if self.policy.recurrent:
            return self._imitate_episodes(size)
        drawn = self._replay.draw(size)
        starts = torch.zeros(1, size, dtype=torch.bool)
        loss, better = self._descend(drawn.rows | {"weight": drawn.weight, "starts": starts})
        self._replay.prioritise(drawn.at, better)
        return loss

    def _imitate_episodes(self, size: int) -> float:
        """One minibatch of whole episodes, one after the other, drawn as often as they are long."""
        rows = self._replay.sample_episodes(size, "starts")
        count = len(rows["gained"])
        if not count:
            return 0.0
        return self._descend(rows | {"weight": np.ones(count, np.float32), "starts": rows["starts"][:, None]})[0]

    def _descend(self, rows: dict[str, Any]) -> tuple[float, np.ndarray]:
        """The loss, and how much better each step went than expected. `starts` are `[T, B]`; returns `[]`, `[N]`."""
        rows["gained"] = rows["gained"] / np.float32(self._reward_size)
        batch = to_tensors(rows, self.policy.device)
        starts = batch["starts"]
        state = self.policy.initial_state(starts.shape[1])
        judged = self.policy(batch["seen"], state, starts, batch["extras"], batch.get("mask"))
        log_prob = judged.distribution.log_prob(batch["action"])
        loss = imitation_loss(log_prob, judged.value, batch["gained"], self._value_weight, batch["weight"])
        self.descent(loss)
        better = (batch["gained"] - judged.value.detach()).clamp(min=0)
        return float(loss.detach()), better.cpu().numpy()

    def state_dict(self) -> dict[str, Any]:
        """PPO's, and what is imitated."""
        own = {"replay": self._replay.state_dict(), "returns": self._returns.state_dict(), "whole": self._whole.copy()}
        return super().state_dict() | {"imitation": own}

    @all_or_nothing
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        super().load_state_dict(state)
        imitation = state["imitation"]
        replay, returns = imitation["replay"], imitation["returns"]
        self._replay.load_state_dict(replay | {"rows": self._with_mask(replay["rows"])})
        self._returns.load_state_dict(returns | {"observation": self._with_mask(returns["observation"])})
        self._whole = imitation.get("whole", np.zeros(self.num_envs, dtype=bool)).copy()

    def _with_mask(self, held: dict[str, Any] | None) -> dict[str, Any] | None:
        """Steps; those kept without a mask, as all were once, with one that allows all. `[N, ...]` or `[E, T, ...]`."""
        if not held or not self._masks or "mask" in held:
            return held
        return held | {"mask": self._all_allowed(*held["action"].shape[: 2 if "gained" not in held else 1])}

    def _all_allowed(self, *rows: int) -> np.ndarray:
        return np.ones((*rows, len(self.policy.head.bias)), bool)


def make_self_imitation_ppo(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    capacity: int,
    batches: int,
    imitation_value: float,
    prioritisation: float = 0.6,
    correction: float = 0.1,
    bootstrap: bool = True,
    **ppo: Any,
) -> PPO:
    """Build it for the spaces of an environment; `conf/agent/self_imitation_ppo.yaml` says what each value means.

    Raises:
        ValueError: Spaces that cannot be handled, or values out of range.
    """
    require_supported(observation_space, "PPO")
    each = bytes_seen(observation_space, ppo.get("scale_rule", SCALE_RULE))
    require_rows(f"capacity={capacity}", capacity, each, "lower capacity")
    agent = partial(
        SelfImitationPPO,
        capacity=capacity,
        batches=batches,
        imitation_value=imitation_value,
        prioritisation=prioritisation,
        correction=correction,
        bootstrap=bootstrap,
        imitation_generator=generator_for(seed, "imitation"),
    )
    scaled = {"scale_rewards": "modest"} | ppo  # so that returns and values are of the same
    return make_ppo(observation_space, action_space, num_envs, seed, **scaled, agent=agent)
