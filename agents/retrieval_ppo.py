"""PPO whose actor and critic read past episodes from the project's memory by attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor

from engram_rl.agents.agent import Observation
from engram_rl.agents.common.device import choose_device
from engram_rl.agents.common.observations import rows_of
from engram_rl.agents.common.seeding import generator_for
from engram_rl.agents.policy_gradient.action_heads import require_actions
from engram_rl.agents.policy_gradient.extra_inputs import read
from engram_rl.agents.policy_gradient.policies import Extras
from engram_rl.agents.ppo import PPO, make_ppo
from engram_rl.agents.retrieval.attention import Fusion, RetrievalAttention
from engram_rl.agents.retrieval.controls import CONTROLS, make_control
from engram_rl.agents.retrieval.entries import key_space, value_size
from engram_rl.agents.retrieval.last_site import LastSite
from engram_rl.agents.retrieval.logit_bias import LogitBias
from engram_rl.agents.retrieval.memory_input import MemoryInput
from engram_rl.agents.retrieval.options import AttentionOptions, RetrievalOptions
from engram_rl.agents.retrieval.retrieved import Retrieved
from engram_rl.agents.retrieval.situations import Situations
from engram_rl.agents.retrieval.tokens import NEIGHBOURS
from engram_rl.memory.sharded import AnyMemory


class RetrievalPPO(PPO):
    """Proximal policy optimisation with retrieval from an episodic memory.

    1. Before each step retrieve what past episodes say of the present situation (`agents/retrieval/memory_input.py`).
    2. Actor and critic attend to it (`attention.py` there), and retrieved returns may be added to the logits of their
       actions (`logit_bias.py`); PPO acts and learns as ever. What was retrieved stays in the rollout as it was, so
       that an update sees what the actor saw.
    3. Write an episode into memory when it ends. That needs no gradient: with `frozen` weights the agent adapts by it.
    """

    def update(self, data: dict[str, Any]) -> dict[str, float]:
        """PPO's update, and how the actor used what it was shown."""
        metrics = super().update(data)
        bias = self.policy.logit_bias
        if isinstance(bias, LogitBias):
            metrics["retrieval/vote_strength"] = float(bias.strength.detach())
        return metrics | self._attention(data)

    @torch.no_grad()
    def retrieved(self, observation: Observation) -> Retrieved:
        """What the first environment's actor would be shown now, and how it attends to it; nothing is changed."""
        memory_input, fusion = self._memory_input, self._fusion
        others = read([extra for extra in self.extras if extra is not memory_input], observation, explore=False)
        seen = self.perceive(observation, learn=False)
        features = self.policy.features(seen, self.state, self.starts[None], others).features
        features, _ = self.policy.split(features)

        def attention(shown: Extras) -> Tensor:
            return fusion.read(self.policy.actor(features), shown)[1].mean(1)

        return memory_input.look(observation, attention)

    def close(self) -> None:
        """End what lies in shards."""
        self._memory_input.close()

    @property
    def _memory_input(self) -> MemoryInput:
        return next(extra for extra in self.extras if isinstance(extra, MemoryInput))

    @property
    def _fusion(self) -> Fusion:
        assert isinstance(self.policy.actor_fusion, Fusion)
        return self.policy.actor_fusion

    @torch.no_grad()
    def _attention(self, data: dict[str, Any]) -> dict[str, float]:
        if self.policy.recurrent:  # what the last step began with is not kept
            return {}
        fusion, memory_input = self._fusion, self._memory_input
        last = rows_of({name: data[name] for name in ("seen", "starts", "extras")}, -1)
        step = last["extras"]
        features = self.policy.features(last["seen"], self.state, last["starts"][None], step).features
        weights = fusion.read(self.policy.actor(features), step)[1]  # [E, heads, K + 1]
        entropy = -(weights * weights.clamp(min=1e-12).log()).sum(2).mean()
        attention, gained = weights[..., :-1].mean(1), step[NEIGHBOURS][..., memory_input.return_column]  # [E, K] each
        expected = (attention * gained.sign() * gained.abs().expm1()).sum(1) / attention.sum(1).clamp(min=1e-6)  # [E]
        return {
            "retrieval/gate": float(fusion.attention.gate),
            "retrieval/attention_entropy": float(entropy),
            "retrieval/null_share": float(weights[..., -1].mean()),
            "retrieval/recalled_return": float(expected.mean()),
            "retrieval/realised_return": float(data["target"][-1].mean()),
        }


def make_retrieval_ppo(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    view: Callable[..., Situations],
    memory: Callable[..., AnyMemory],
    retrieval: RetrievalOptions,
    attention: AttentionOptions = AttentionOptions(),  # noqa: B008  (frozen)
    control: str = "none",
    **ppo: Any,
) -> PPO:
    """Build it for the spaces of an environment; `conf/agent/retrieval_ppo.yaml` says what each value means.

    Raises:
        ValueError: Spaces that cannot be handled, or values out of range.
    """
    if control not in CONTROLS:
        raise ValueError(f"control is {control!r}; choose one of {', '.join(CONTROLS)}.")
    require_actions(action_space)
    if retrieval.logit_bias and isinstance(action_space, spaces.Box):
        raise ValueError(
            f"logit_bias={retrieval.logit_bias} adds to the logits of discrete actions, but this environment has "
            f"{action_space}: set agent.retrieval.logit_bias=0."
        )
    if control == "novelty":
        return make_ppo(observation_space, action_space, num_envs, seed, **ppo)
    situations = view(observation_space, seed)

    def fusion(features: int) -> Fusion:
        return Fusion(RetrievalAttention(features, shown.token_size, **vars(attention)))

    shown: LastSite | MemoryInput
    if control == "last_site":
        shown = LastSite(
            situations=situations,
            action_space=action_space,
            num_envs=num_envs,
            options=retrieval,
            generator=generator_for(seed, "recall"),
            device=choose_device(ppo.get("device", "cpu")),
        )
        return make_ppo(observation_space, action_space, num_envs, seed, **ppo, extras=[shown], fusion=fusion)
    space = key_space(situations, retrieval.separate, retrieval.reward_sites > 0)
    shown = MemoryInput(
        situations=situations,
        make_memory=partial(memory, space, value_size(situations, action_space)),
        action_space=action_space,
        num_envs=num_envs,
        options=retrieval,
        generator=generator_for(seed, "recall"),
        control=make_control(control, seed, outcome=situations.place_size + 2),
        device=choose_device(ppo.get("device", "cpu")),
    )
    return make_ppo(
        observation_space,
        action_space,
        num_envs,
        seed,
        **ppo,
        extras=[shown],
        fusion=fusion,
        logit_bias=LogitBias(retrieval.logit_bias) if retrieval.logit_bias else None,
        agent=RetrievalPPO,
    )
