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
from engram_rl.memory.checks import require_ram
from engram_rl.memory.cores import Core, Losses, State
from engram_rl.memory.cores.gru import GRU
from engram_rl.memory.cores.lifelong import RECALLED, Lifelong

Extras = dict[str, Tensor]
"""Named tensors beside the observation, `[N, ...]` each."""


SCALE = (
    "Observations or rewards are too large, or the rate is: give +agent.normalise_observations=true or "
    "+agent.scale_rewards=true, or lower agent.learning_rate."
)
"""What to do when learning has diverged."""


class Shared(NamedTuple):
    """What actor and critic share of N situations, the core's state after the last step, and the core's own losses."""

    features: Tensor  # [N, G]
    state: State  # [B, ...] by name
    losses: Losses


class Judgement(NamedTuple):
    """What a policy makes of N situations: how to act, what it is worth, and what its core leaves behind."""

    distribution: Distribution
    value: Tensor  # [N]
    state: State  # [B, ...] by name, after the last step
    losses: Losses


class Policy(nn.Module):
    """Encoder, core, actor and critic.

    The N rows of a call are T steps of B environments, one step after the other (`N = T * B`, row `t * B + b`); without
    a core they may be any N steps.

    Args:
        encoder: Of what is seen. `[N, ...] -> [N, F]`
        actor: Features to the actor's. `[N, G] -> [N, A]`, where G counts the core's output, or F and what is appended.
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
        core: Core | None = None,
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

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self.value.weight.device

    @property
    def lifelong(self) -> Lifelong | None:
        """The core, if its memory outlives episodes: whoever acts is to keep what it recalls, and to commit."""
        return self.core if isinstance(self.core, Lifelong) else None

    @torch.no_grad()
    def initial_state(self, num_envs: int) -> State:
        """The state before anything was seen. `[E, ...]` by name; nothing without a core."""
        return self.core.initial_state(num_envs) if self.core is not None else {}

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """The parameters, for an optimiser: those for which the core wants a rate of its own come last.

        Args:
            lr: Learning rate of all others.
        """
        groups = self.core.parameter_groups(lr)[1:] if self.core is not None else []
        own = {id(parameter) for group in groups for parameter in group["params"]}
        rest = [parameter for parameter in self.parameters() if id(parameter) not in own]
        return [{"params": rest, "lr": lr}, *groups]

    def forward(self, seen: Any, state: State, starts: Tensor, extras: Extras, mask: Tensor | None = None) -> Judgement:
        """Judge N situations.

        Args:
            seen: From the agent's perception. `[N, ...]`, perhaps by name
            state: Before the first step. `[B, ...]` by name
            starts: Whether an episode begins with a step; read by a core only. `[T, B]` of bool
            extras: `[N, ...]` by name
            mask: Which choices are allowed; None for all. `[N, A]` of bool
        """
        features, state, losses = self.features(seen, state, starts, extras)
        return Judgement(self.distribution(features, extras, mask), self.values(features, extras), state, losses)

    def features(self, seen: Any, state: State, starts: Tensor, extras: Extras) -> Shared:
        """What actor and critic share, and the state after the last step."""
        sequence = self.inputs(seen, extras)
        if self.core is None:
            return Shared(sequence, state, {})
        recalled = {name: extras[name].unflatten(0, starts.shape) for name in RECALLED if name in extras}
        more = {"recalled": recalled} if recalled else {}
        try:
            outputs, state, losses = self.core(sequence.unflatten(0, starts.shape), state, starts, **more)
        except ValueError as error:
            if all(bool(torch.isfinite(parameter).all()) for parameter in self.parameters()):
                raise
            raise ValueError(f"The policy's weights are no numbers any more: learning has diverged. {SCALE}") from error
        return Shared(outputs.flatten(0, 1), state, losses)

    def inputs(self, seen: Any, extras: Extras) -> Tensor:
        """What the core takes, or actor and critic without one: what is seen, and what is appended. `[N, F]`."""
        features = self.encoder(seen)  # [N, F]
        if self._appended:
            features = torch.cat([features, *(extras[name].flatten(1) for name in self._appended)], dim=1)
        return features

    def distribution(self, features: Tensor, extras: Extras, mask: Tensor | None = None) -> Distribution:
        """How to act. `[N, G]`, and `[N, A]` for what is allowed."""
        features, added = self.split(features)
        features = self.actor(features)
        if self.actor_fusion is not None:
            features = self.actor_fusion(features, extras)
        if self.logit_bias is not None:
            bias = self.logit_bias(extras)
            added = bias if added is None else added + bias
        return self.head(features, added, mask)

    def values(self, features: Tensor, extras: Extras) -> Tensor:
        """What to expect. `[N, G]` to `[N]`."""
        features = self.critic(self.split(features)[0])
        if self.critic_fusion is not None:
            features = self.critic_fusion(features, extras)
        return self.value(features).squeeze(1)

    def split(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features without the core's scores of choices, and those, if it gives any. `[N, G]`, `[N, A]`."""
        if self.core is None or not self.core.choices:
            return features, None
        return features[:, : -self.core.choices], features[:, -self.core.choices :]


def make_policy(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    seed: int,
    *,
    hidden: Sequence[int],
    picture_features: int = 512,
    recurrent: int = 0,
    core: Callable[[int, int], Core] = GRU,
    num_envs: int = 1,
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
        recurrent: H, numbers in the core's output; 0 for no core.
        core: Makes the core of its input's numbers and H.
        num_envs: E, of which each has a state of the core.
        appended: Extras to put beside the encoder's features, and how many numbers each has, flattened.
        fusion: Makes the fusion of the actor, and that of the critic, for features of a width that it must keep.
        logit_bias: As of `Policy`.
        scale_rule: How numbers of observations and actions are scaled.

    Raises:
        ValueError: Spaces that no encoder or head here takes.
    """
    sizes = dict(appended or {})
    pictures = has_picture(observation_space, scale_rule)
    layers_before = () if not (recurrent or pictures) else tuple(hidden)
    torch.manual_seed(seed)
    encoder, width = _encoder(observation_space, layers_before, picture_features, scale_rule)
    width += sum(sizes.values())
    memory = make_memory_core(core, width, recurrent, num_envs) if recurrent else None
    width = memory.output_size - memory.choices if memory is not None else width
    layers = [] if pictures or recurrent else list(hidden)
    actor, critic = _tanh_layers(width, layers), _tanh_layers(width, layers)
    features = layers[-1] if layers else width
    value = nn.Linear(features, 1)
    head = make_action_head(action_space, features, scale_rule)
    if memory is not None and memory.choices not in (0, len(head.bias)):
        raise ValueError(
            f"agent.core.choices is {memory.choices}, but a distribution over {action_space} has {len(head.bias)} "
            f"parameters; set agent.core.choices={len(head.bias)}, or agent.core.choices=0 and "
            f"agent.core.choice_columns=[] for none."
        )
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
        core=memory,
        appended=tuple(sizes),
        actor_fusion=actor_fusion,
        critic_fusion=critic_fusion,
        logit_bias=logit_bias,
    )


def make_memory_core(make: Callable[[int, int], Core], width: int, size: int, num_envs: int) -> Core:
    """A core, if there is room for it and for the states of so many environments.

    Raises:
        ValueError: There is not, or the core cannot have these sizes.
    """
    generator = torch.get_rng_state()
    with torch.device("meta"):  # nothing is allocated
        unmade = make(width, size)
        state = unmade.initial_state(1)
    torch.set_rng_state(generator)
    numbers = sum(parameter.numel() for parameter in unmade.parameters())
    require_ram(f"a recurrent core of {size} units", 4 * numbers, "lower agent.recurrent")
    held = num_envs * sum(leaf.numel() * leaf.element_size() for leaf in state.values())
    remedy = "lower the sizes in agent.core or env.num_envs"
    require_ram(f"the states of a {type(unmade).__name__} in {num_envs} environments", held, remedy)
    return make(width, size)


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
