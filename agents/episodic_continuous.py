"""Episodic control of continuous actions: one memory of (state, action), asked with incomplete keys."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from engram_rl.agents.agent import Observation, Transition
from engram_rl.agents.common.device import choose_device
from engram_rl.agents.common.observations import require_supported, rows_of, to_tensors
from engram_rl.agents.common.restoring import all_or_nothing
from engram_rl.agents.common.schedules import Schedule, as_schedule
from engram_rl.agents.common.seeding import copied, generator_for
from engram_rl.agents.episodic_control.box_actions import BoxActions
from engram_rl.agents.episodic_control.candidates import Candidates
from engram_rl.agents.episodic_control.regressions import Choice, KernelRegression, LocalLinearRegression
from engram_rl.agents.episodic_control.returns import NStepReturns, Returns
from engram_rl.agents.episodic_control.state_action_memory import StateActionMemory, with_action
from engram_rl.agents.episodic_control.states import make_states
from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.checks import number


class EpisodicContinuous:
    """Does what was best among what was done in similar situations, and what lies near it.

    Model-Free and Neural Episodic Control keep a dictionary for each action; where actions are numbers there is one for
    all, whose keys are (state, action).

    1. Ask for the state alone: the nearest entries tell what was done there, and what came of it.
    2. `regression="local_linear"`: fit a plane to the returns of these entries over state and action (Atkeson, Moore
       and Schaal 1997); the best action is the corner of the box to which it rises.
       `regression="kernel"`: candidates are these actions, the same with normal noise, and a few uniform draws. Ask for
       state and each candidate: `Q(s, a)` is the kernel regression over the nearest entries (Pritzel et al. 2017,
       equation 2). Take the best.
    3. When exploring, add normal noise to it, and now and then take a uniform one.
    4. When the n-step return `Q^(N)` is known (equation 3), bootstrapped from the best action's value, write it under
       (state, action).

    Nothing is trained. Where the memory forgets the oldest, a target that has shifted is forgotten with them.

    Args:
        states: Observations to the state's part of a key. `[B, ...] -> [B, D]`
        memory: Of (state, action).
        actions: Between the environments' and those of keys.
        regression: Judges actions by what is remembered.
        returns: Completes n-step returns.
        noise: Standard deviation of the noise on actions, where an action's numbers lie from -1 to 1.
        exploration: Share of uniform actions by environment step.
        generator: Draws candidates, noise and exploration.
        num_envs: E.
        device: Where states are computed.
    """

    def __init__(
        self,
        *,
        states: nn.Module,
        memory: StateActionMemory,
        actions: BoxActions,
        regression: KernelRegression | LocalLinearRegression,
        returns: NStepReturns,
        noise: float,
        exploration: Schedule,
        generator: torch.Generator,
        num_envs: int,
        device: torch.device,
    ):
        self.states, self.memory = states, memory
        self._actions, self._regression, self._returns = actions, regression, returns
        self._noise = number("noise", noise, 0)
        self._exploration, self._generator, self._device = exploration, generator, device
        self._steps = 0
        self._values = np.zeros(num_envs)  # [E] the value of what was last acted on
        self._diagnostics: dict[str, float] = {}

    memory_parts = ("memory", "returns", "values")
    """The parts of the state that hold what was experienced, rather than what was trained."""

    def act(
        self,
        observation: Observation,
        *,
        explore: bool = True,
        mask: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> np.ndarray:
        """The best actions of all environments or of `rows`, `[B, ...]`; no trace is left if not exploring.

        Raises:
            ValueError: There is a mask, which actions of a Box have not.
        """
        if mask is not None:
            raise ValueError(
                "A mask is for Discrete and MultiDiscrete actions; those of a Box are limited by its bounds."
            )
        began = time.perf_counter()
        if not explore:
            return self._actions.named(self._choose(self._keys(observation), copied(self._generator)).action)
        choice = self._choose(self._keys(observation), self._generator, touch=True)
        elapsed = time.perf_counter() - began
        self._values = self._values.copy()
        self._values[slice(None) if rows is None else rows] = choice.value.double().cpu().numpy()
        self._diagnostics = self.memory.report(choice.found) | {"memory/lookup_ms": 1000 * elapsed}
        return self._actions.named(self._explored(choice.action))

    def observe(self, transition: Transition) -> None:
        """Write to memory what this step completed."""
        final_values = self._final_values(transition)
        self._steps += transition.steps
        done = {
            "state": self._keys(transition.observation).cpu().numpy(),
            "action": self._actions.scaled(transition.action).numpy(),
        }
        completed = self._returns.push(
            done,
            np.zeros(transition.steps, dtype=np.int64),  # actions that are numbers are part of what was done
            transition.reward,
            transition.done,
            self._values if transition.rows is None else self._values[transition.rows],
            final_values,
            transition.rows,
        )
        if len(completed.target):
            self._store(completed)

    def learn(self) -> dict[str, float]:
        """Nothing is left to learn; how the memory answered."""
        return self._diagnostics | {"train/epsilon": self._exploration(self._steps)}

    def begin_episodes(self) -> None:
        """All environments begin anew, wherever they were; of the open episodes nothing is written."""
        self._returns.clear()

    @torch.no_grad()
    def _keys(self, observation: Observation) -> Tensor:
        """`[B, ...]` to `[B, D]`."""
        return self.states(to_tensors(observation, self._device))

    def _choose(self, states: Tensor, generator: torch.Generator, touch: bool = False) -> Choice:
        """The best action in each state. `[B, D]`."""
        return self._regression(self.memory, states, generator, touch)

    def _explored(self, action: Tensor) -> Tensor:
        """The actions with noise, some of them replaced by uniform ones. `[B, A]`."""
        blind = torch.rand(len(action), 1, generator=self._generator) < self._exploration(self._steps)
        anywhere = 2 * torch.rand(action.shape, generator=self._generator) - 1
        noise = self._noise * torch.randn(action.shape, generator=self._generator)
        return torch.where(blind, anywhere, (action.cpu() + noise).clamp(-1, 1))

    def _final_values(self, transition: Transition) -> np.ndarray:
        """Bootstrap where an episode was cut, 0 elsewhere. `[B]`."""
        values = np.zeros(transition.steps)
        cut = transition.truncated & ~transition.terminated
        if not cut.any():
            return values
        if len(self.memory):
            last = self._keys(rows_of(transition.next_observation, cut))
            values[cut] = self._choose(last, copied(self._generator)).value.double().cpu().numpy()
        else:
            values[cut] = self._returns.going_on(transition.reward, transition.rows)[cut]
        return values

    def _store(self, completed: Returns) -> None:
        done: Any = completed.observation
        states, actions = (torch.as_tensor(done[part], device=self._device) for part in ("state", "action"))
        self.memory.write(states, actions, torch.as_tensor(completed.target, dtype=torch.float32, device=self._device))

    def state_dict(self) -> dict[str, Any]:
        """What projects pictures, the memory, unfinished returns, generator and counters."""
        return {
            "states": self.states.state_dict(),
            "memory": self.memory.state_dict(),
            "returns": self._returns.state_dict(),
            "generator": self._generator.get_state(),
            "steps": self._steps,
            "values": self._values,
        }

    @all_or_nothing
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; a state that does not fit changes nothing."""
        self.states.load_state_dict(state["states"])
        self.memory.load_state_dict(state["memory"])
        self._returns.load_state_dict(state["returns"])
        self._generator.set_state(state["generator"])
        self._steps, self._values = state["steps"], state["values"]


def make_episodic_continuous(
    observation_space: spaces.Space,
    action_space: spaces.Space,
    num_envs: int,
    seed: int,
    *,
    memory: Callable[..., DifferentiableNeuralDictionary],
    key_size: int = 64,
    modalities: Mapping[str, Any] | None = None,
    regression: Literal["local_linear", "kernel"] = "local_linear",
    ridge: float = 0.3,
    action_weight: float = 4.0,
    proposals: int = 8,
    perturbations: int = 2,
    spread: float = 0.3,
    uniform: int = 8,
    noise: float = 0.2,
    exploration: float | Schedule = 0.05,
    discount: float = 0.95,
    n_step: int = 5,
    device: str = "cpu",
) -> EpisodicContinuous:
    """Build the agent for the spaces of an environment; `conf/agent/episodic_continuous.yaml` says what values mean.

    - `key_size`: columns of the random projection of pictures; other numbers are taken as they are, within -1 and 1
      where they have bounds
    - `regression`: how actions are judged; `ridge` is of "local_linear", the five that follow it of "kernel"
    - `ridge`: how far slopes are drawn to 0, beside a variance of 1
    - `action_weight`: factor of an action's squared distance beside the state's
    - `proposals`: nearest states whose actions are candidates
    - `perturbations`: how often each of these is a candidate with noise as well
    - `spread`: standard deviation of that noise, where an action's numbers lie from -1 to 1
    - `uniform`: candidates drawn from the whole box
    - `noise`: standard deviation of what is added to the best action when exploring

    Raises:
        ValueError: A `regression` of another name, too few neighbours for a plane, actions that are no bounded Box, or
            observations of an unsupported kind.
    """
    require_supported(observation_space, "Episodic control of continuous actions")
    actions = BoxActions(action_space, "Episodic control of continuous actions")
    place = choose_device(device)
    states, space = make_states(observation_space, key_size, modalities, seed)
    whole_space = with_action(space, actions.size, number("action_weight", action_weight, above=0))
    remembered = StateActionMemory(memory(whole_space, value_dim=1, device=place), actions.size)
    return EpisodicContinuous(
        states=states.to(place),
        memory=remembered,
        actions=actions,
        regression=_regression(
            regression, ridge, Candidates(proposals, perturbations, spread, uniform), remembered.neighbours
        ),
        returns=NStepReturns(n_step, discount, num_envs),
        noise=noise,
        exploration=as_schedule(exploration, "exploration", most=1),
        generator=generator_for(seed, "exploration"),
        num_envs=num_envs,
        device=place,
    )


def _regression(
    name: str, ridge: float, candidates: Candidates, neighbours: int
) -> KernelRegression | LocalLinearRegression:
    if name == "local_linear":
        if neighbours < LocalLinearRegression.fewest:
            raise ValueError(
                f"regression=local_linear has {neighbours} neighbours, the smaller of agent.memory.k and "
                f"agent.memory.capacity; a plane needs at least {LocalLinearRegression.fewest}. Raise both, or take "
                f"agent.regression=kernel."
            )
        return LocalLinearRegression(ridge)
    if name == "kernel":
        return KernelRegression(candidates)
    raise ValueError(f"regression is {name!r}; it must be local_linear or kernel.")
