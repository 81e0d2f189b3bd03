"""Actor and critic: one network from what is seen to a distribution over actions and a value."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn

from engram_rl.agents.common.encoders import make_encoder
from engram_rl.agents.common.perceptron import Perceptron
from engram_rl.agents.common.scaling import SCALE_RULE, has_picture
from engram_rl.agents.policy_gradient.action_heads import ActionHead, make_action_head
from engram_rl.agents.policy_gradient.distributions import Distribution
from engram_rl.agents.policy_gradient.gru import ResettingGRU

Extras = dict[str, Tensor]
"""Named tensors beside the observation, `[N, ...]` each."""


class Judgement(NamedTuple):
    """What a policy makes of N situations: how to act, what it is worth, and the state after the last step `[B, H]`."""

    distribution: Distribution
    value: Tensor  # [N]
    state: Tensor


class Policy(nn.Module):
    """Encoder, core, actor and critic.

    The N rows of a call are T steps of B environments, one step after the other (`N = T * B`, row `t * B + b`); without
    a core they may be any N steps.

    Args:
        encoder: Of what is seen. `[N, ...] -> [N, F]`
        actor: Features to the actor's. `[N, G] -> [N, A]`, where G counts the core's state, or F and what is appended.
        critic: Features to the critic's. `[N, G] -> [N, C]`
        head: The actor's features to distributions over actions.
        value: The critic's features to a value. `[N, C] -> [N, 1]`
        core: Carries a state from step to step; None for a policy that sees each step alone.
        appended: Names of extras that are put beside the encoder's features, flattened, in this order.
        actor_fusion: Mixes extras into the actor's features: a module called with `[N, A]` and the extras; None for
            none.
        critic_fusion: The same for the critic.
        logit_bias: Adds to the parameters of distributions over actions: called with the extras; None for nothing.
    """

    def __init__(
        self,
        *,
        encoder: nn.Module,
        actor: nn.Module,
        critic: nn.Module,
        head: ActionHead,
        value: nn.Linear,
        core: ResettingGRU | None = None,
        appended: Sequence[str] = (),
        actor_fusion: nn.Module | None = None,
        critic_fusion: nn.Module | None = None,
        logit_bias: nn.Module | None = None,
    ):
        super().__init__()
        self.encoder, self.core = encoder, core
        self.actor, self.critic, self.head, self.value = actor, critic, head, value
        self.actor_fusion, self.critic_fusion, self.logit_bias = actor_fusion, critic_fusion, logit_bias
        self._appended = tuple(appended)

    @property
    def recurrent(self) -> bool:
        """Whether a state is carried, so that sequences must stay whole."""
        return self.core is not None

    def initial_state(self, num_envs: int) -> Tensor:
        """The state before anything was seen. `[E, H]`, H = 0 without a core."""
        size = self.core.size if self.core else 0
        return torch.zeros(num_envs, size, device=self.value.weight.device)

    def forward(
        self, seen: Any, state: Tensor, starts: Tensor, extras: Extras, mask: Tensor | None = None
    ) -> Judgement:
        """Judge N situations.

        Args:
            seen: From the agent's perception. `[N, ...]`, perhaps by name
            state: Before the first step. `[B, H]`
            starts: Whether an episode begins with a step; read by a core only. `[T, B]` of bool
            extras: `[N, ...]` by name
            mask: Which choices are allowed; None for all. `[N, A]` of bool
        """
        features, state = self.features(seen, state, starts, extras)
        return Judgement(self.distribution(features, extras, mask), self.values(features, extras), state)

    def features(self, seen: Any, state: Tensor, starts: Tensor, extras: Extras) -> tuple[Tensor, Tensor]:
        """What actor and critic share, `[N, G]`, and the state after the last step, `[B, H]`."""
        features = self.encoder(seen)  # [N, F]
        if self._appended:
            features = torch.cat([features, *(extras[name].flatten(1) for name in self._appended)], dim=1)
        if self.core is None:
            return features, state
        sequence = features.unflatten(0, starts.shape)  # [T, B, F]
        output, state = self.core(sequence, state, starts)
        return output.flatten(0, 1), state

    def distribution(self, features: Tensor, extras: Extras, mask: Tensor | None = None) -> Distribution:
        """How to act. `[N, G]`, and `[N, A]` for what is allowed."""
        features = self.actor(features)
        if self.actor_fusion is not None:
            features = self.actor_fusion(features, extras)
        return self.head(features, None if self.logit_bias is None else self.logit_bias(extras), mask)

    def values(self, features: Tensor, extras: Extras) -> Tensor:
        """What to expect. `[N, G]` to `[N]`."""
        features = self.critic(features)
        if self.critic_fusion is not None:
            features = self.critic_fusion(features, extras)
        return self.value(features).squeeze(1)


def make_policy(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    seed: int,
    *,
    hidden: Sequence[int],
    picture_features: int = 512,
    recurrent: int = 0,
    appended: Mapping[str, int] | None = None,
    fusion: Callable[[int], nn.Module] | None = None,
    logit_bias: nn.Module | None = None,
    scale_rule: int = SCALE_RULE,
) -> Policy:
    """The policy for the spaces of an environment.

    Rows of numbers pass one tanh perceptron for the actor and one for the critic; with a recurrent core, one before it
    that both share. Observations with pictures pass shared convolutions, and no further layers. Weights begin
    orthogonal with gain sqrt(2), 0.01 for the actions, 1 for the value, and biases at 0.

    Args:
        observation_space: Of one environment.
        action_space: Of one environment.
        seed: Of the weights; torch's generator goes on from it.
        hidden: Units of each perceptron's layers.
        picture_features: Units after the convolutions.
        recurrent: H, numbers of the core's state; 0 for no core.
        appended: Extras to put beside the encoder's features, and how many numbers each has, flattened.
        fusion: Makes the fusion of the actor, and that of the critic, for features of a width that it must keep.
        logit_bias: As of `Policy`.
        scale_rule: How numbers of observations and actions are scaled.

    Raises:
        ValueError: Spaces that no encoder or head here takes.
    """
    torch.manual_seed(seed)
    sizes = dict(appended or {})
    pictures = has_picture(observation_space, scale_rule)
    layers_before = () if not (recurrent or pictures) else tuple(hidden)
    encoder, width = _encoder(observation_space, layers_before, picture_features, scale_rule)
    width += sum(sizes.values())
    core = ResettingGRU(width, recurrent) if recurrent else None
    width = recurrent or width
    layers = [] if pictures or recurrent else list(hidden)
    actor, critic = _tanh_layers(width, layers), _tanh_layers(width, layers)
    features = layers[-1] if layers else width
    value = nn.Linear(features, 1)
    head = make_action_head(action_space, features, scale_rule)
    initialise(value, gain=1.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)  # with fusions or without, the other weights are the same
        actor_fusion, critic_fusion = (fusion(features) if fusion else None for _ in range(2))
    return Policy(
        encoder=encoder,
        actor=actor,
        critic=critic,
        head=head,
        value=value,
        core=core,
        appended=tuple(sizes),
        actor_fusion=actor_fusion,
        critic_fusion=critic_fusion,
        logit_bias=logit_bias,
    )


def _encoder(
    space: spaces.Space, hidden: tuple[int, ...], picture_features: int, scale_rule: int
) -> tuple[nn.Module, int]:
    """An encoder of what the agent's perception gives, and its columns."""
    if has_picture(space, scale_rule):
        encoder = nn.Sequential(make_encoder(space, picture_features, hidden, scale_rule), nn.ReLU())
        initialise(encoder)
        return encoder, picture_features
    size = spaces.flatdim(space)
    return (_tanh_layers(size, hidden), hidden[-1]) if hidden else (nn.Identity(), size)


def _tanh_layers(in_features: int, hidden: Sequence[int]) -> Perceptron:
    """Linear layers, each followed by tanh, with their first weights."""
    layers = Perceptron([in_features, *hidden], nn.Tanh, activate_last=True)
    initialise(layers)
    return layers


def initialise(network: nn.Module, gain: float = math.sqrt(2)) -> None:
    """Orthogonal weights and no bias, in every linear and convolutional layer."""
    for layer in network.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]
