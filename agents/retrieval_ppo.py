"""PPO whose actor and critic read past episodes from the project's memory by attention."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from gymnasium import spaces
from torch import Tensor, nn

from engram_rl.agents.agent import Observation
from engram_rl.agents.common.device import choose_device
from engram_rl.agents.common.observations import rows_of
from engram_rl.agents.common.seeding import generator_for
from engram_rl.agents.policy_gradient.extra_inputs import PreviousStep, read
from engram_rl.agents.policy_gradient.policies import Extras, feature_width
from engram_rl.agents.ppo import PPO, make_ppo
from engram_rl.agents.retrieval.attention import Retrieval
from engram_rl.agents.retrieval.controls import Control, Empty, Random, Shuffled
from engram_rl.agents.retrieval.entries import key_space, value_size
from engram_rl.agents.retrieval.logit_bias import Vote
from engram_rl.agents.retrieval.memory_input import Recall
from engram_rl.agents.retrieval.retrieved import Recalled
from engram_rl.agents.retrieval.situations import Situations
from engram_rl.memory import DifferentiableNeuralDictionary

CONTROLS = ("none", "empty", "shuffled", "random", "novelty")


class Fusion(nn.Module):
    """Reads what `Recall` shows into a policy's features.

    Args:
        retrieval: Does it.
    """

    def __init__(self, retrieval: Retrieval) -> None:
        super().__init__()
        self.retrieval = retrieval

    def forward(self, features: Tensor, extras: Extras) -> Tensor:
        """`[N, H]` to `[N, H]`."""
        return self.retrieval(features, extras[Recall.TOKENS], extras[Recall.VALID])


class RecalledVote(nn.Module):
    """Gives the votes that `Recall` shows to a policy's logits.

    Args:
        vote: Weighs them.
    """

    def __init__(self, vote: Vote) -> None:
        super().__init__()
        self.vote = vote

    def forward(self, extras: Extras) -> Tensor:
        """`[N, A]`."""
        return self.vote(extras[Recall.VOTES])


class RetrievalPPO(PPO):
    """Proximal policy optimisation with episodic recall.

    1. Before each step recall what past episodes say of the present situation (`agents/retrieval/memory_input.py`).
    2. Actor and critic attend to it (`attention.py` there), and recalled returns may be added to the logits of their
       actions (`logit_bias.py`); PPO acts and learns as ever. What was recalled stays in the rollout as it was, so that
       an update sees what the actor saw.
    3. Write an episode into memory when it ends. That needs no gradient: with `frozen` weights the agent adapts by it.
    """

    def _update(self, data: dict[str, Any]) -> dict[str, float]:
        """PPO's update, and how the actor used what it was shown."""
        metrics = super()._update(data)
        vote = self.policy.actor_vote
        if isinstance(vote, RecalledVote):
            metrics["retrieval/vote_strength"] = float(vote.vote.strength.detach())
        return metrics | self._attention(data)

    @torch.no_grad()
    def recalled(self, observation: Observation) -> Recalled | None:
        """What the first environment's actor would be shown now, and how it attends to it; None without recall.

        Nothing is changed by it.
        """
        recall, fusion = self._recall, self.policy.actor_fusion
        if not recall or not isinstance(fusion, Fusion):
            return None
        others = read([extra for extra in self.extras if extra is not recall], observation, explore=False)
        seen = self._perceive(observation, learn=False)
        features = self.policy.features(seen, self._state, self._starts[None], others)[0]
        retrieval = fusion.retrieval

        def attention(shown: Extras) -> Tensor:
            return retrieval.read(self.policy.actor(features), shown[Recall.TOKENS], shown[Recall.VALID])[1].mean(1)

        return recall.look(observation, attention)

    @property
    def _recall(self) -> Recall | None:
        return next((extra for extra in self.extras if isinstance(extra, Recall)), None)

    @torch.no_grad()
    def _attention(self, data: dict[str, Any]) -> dict[str, float]:
        fusion, recall = self.policy.actor_fusion, self._recall
        if not isinstance(fusion, Fusion) or not recall or self.policy.recurrent:
            return {}
        last = rows_of({name: data[name] for name in ("seen", "starts", "extras")}, -1)
        step = last["extras"]
        features = self.policy.features(last["seen"], self._state, last["starts"][None], step)[0]
        features = self.policy.actor(features)
        weights = fusion.retrieval.read(features, step[Recall.TOKENS], step[Recall.VALID])[1]  # [E, heads, K + 1]
        entropy = -(weights * weights.clamp(min=1e-12).log()).sum(2).mean()
        attention, gained = weights[..., :-1].mean(1), step[Recall.TOKENS][..., recall.return_column]  # [E, K] each
        recalled = (attention * gained.sign() * gained.abs().expm1()).sum(1) / attention.sum(1).clamp(min=1e-6)  # [E]
        return {
            "retrieval/gate": float(fusion.retrieval.gate),
            "retrieval/attention_entropy": float(entropy),
            "retrieval/null_share": float(weights[..., -1].mean()),
            "retrieval/recalled_return": float(recalled.mean()),
            "retrieval/realised_return": float(data["target"][-1].mean()),
        }


def make_retrieval_ppo(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    view: Callable[..., Situations],
    memory: Callable[..., DifferentiableNeuralDictionary],
    separate: bool,
    here: int,
    found: int,
    refuted: float,
    least_trust: float,
    hide: float,
    by_action: bool,
    recall_discount: float,
    width: int,
    heads: int,
    gate: float,
    learn_gate: bool,
    vote: float,
    control: str,
    **ppo: Any,
) -> PPO:
    """Build it for the spaces of an environment; `conf/agent/retrieval_ppo.yaml` says what each value means.

    Raises:
        ValueError: Spaces that cannot be handled, or values out of range.
    """
    if control not in CONTROLS:
        raise ValueError(f"control is {control!r}; choose one of {', '.join(CONTROLS)}.")
    if vote and isinstance(action_space, spaces.Box):
        raise ValueError(
            f"vote={vote} adds to the logits of discrete actions, but this environment has {action_space}: set vote=0."
        )
    if control == "novelty":
        return make_ppo(observation_space, action_space, num_envs, seed, **ppo)
    situations = view(observation_space, seed)
    recall = Recall(
        situations=situations,
        make_memory=partial(memory, key_space(situations, separate, found), value_size(situations, action_space)),
        action_space=action_space,
        num_envs=num_envs,
        separate=separate,
        here=here,
        found=found,
        discount=recall_discount,
        refuted=refuted,
        least_trust=least_trust,
        hide=hide,
        generator=generator_for(seed, "recall"),
        by_action=by_action,
        votes=vote > 0,
        control=_control(control, seed, situations),
        device=choose_device(ppo["device"]),
    )
    features = feature_width(
        observation_space,
        hidden=ppo["hidden"],
        picture_features=ppo["picture_features"],
        recurrent=ppo["recurrent"],
        appended={PreviousStep.NAME: PreviousStep.size_of(action_space)} if ppo["show_previous"] else None,
    )
    torch.manual_seed(seed + 1)

    def fusion() -> Fusion:
        retrieval = Retrieval(features, recall.token_size, width=width, heads=heads, gate=gate, learn_gate=learn_gate)
        return Fusion(retrieval)

    return make_ppo(
        observation_space,
        action_space,
        num_envs,
        seed,
        **ppo,
        extras=[recall],
        actor_fusion=fusion(),
        critic_fusion=fusion(),
        actor_vote=RecalledVote(Vote(vote)) if vote else None,
        agent=RetrievalPPO,
    )


def _control(name: str, seed: int, situations: Situations) -> Control:
    generator = generator_for(seed, "control")
    if name == "empty":
        return Empty()
    if name == "random":
        return Random(generator)
    if name == "shuffled":
        return Shuffled(generator, outcome=situations.place_size + 2)
    return Control()
