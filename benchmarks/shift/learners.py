"""Who takes part: the limits' policies, this project's agents, and Stable-Baselines3's, behind one protocol."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from omegaconf import OmegaConf

from benchmarks.baselines import BaselineAgent, total_steps
from benchmarks.shift.protocol import EpisodeLog, Learner, PinnedEpisode
from benchmarks.shift.specs import RunSpec
from benchmarks.tabular.agents import make_tabular
from engram_rl.agents.agent import Agent, Transition
from engram_rl.envs.oracles import make_policy
from engram_rl.training.construction import build_agent
from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import step


def make_learner(spec: RunSpec, log: EpisodeLog) -> Learner:
    """Build who takes part in a run.

    Raises:
        UsageError: The agent cannot play this environment.
    """
    if spec.kind == "baseline":
        return BaselineAgent(spec.name, log, total_steps(log, spec.budget), spec.seed, spec.settings)
    environments = OneRun(log)
    if spec.kind == "tabular":
        return AgentLearner(
            make_tabular(spec.name, log.observation_space, log.action_space, 1, spec.seed, **spec.settings)
        )
    if spec.kind == "agent":
        return AgentLearner(build_agent(OmegaConf.create(spec.settings), environments, spec.seed))
    try:
        return AgentLearner(make_policy(spec.name, environments, spec.seed))  # type: ignore[arg-type]
    except TypeError as error:
        raise UsageError(f"The policy {spec.name} cannot play {spec.env}: {error}") from error


class OneRun(SyncVectorEnv):
    """A single environment as a batch of one, in SAME_STEP mode, with the `core` that the limits' policies read."""

    def __init__(self, env: gym.Env):
        super().__init__([lambda: env], autoreset_mode=AutoresetMode.SAME_STEP)

    @property
    def core(self) -> Any:
        """The suite's core; of any other environment, only its action space."""
        env = self.envs[0]
        if env.has_wrapper_attr("core"):
            return env.get_wrapper_attr("core")
        return SimpleNamespace(action_space=env.action_space)


class AgentLearner:
    """Anything with the verbs of `agents.Agent`.

    Args:
        agent: An agent of this project, or a policy of `envs/oracles`.
    """

    def __init__(self, agent: Agent | Any):
        self._agent = agent
        self.privileged = getattr(agent, "privileged", "")
        self.entries = 0  # as `learn` last reported it

    @property
    def unseen_gradient_steps(self) -> int:
        """Those that an agent takes without torch and counts itself."""
        return getattr(self._agent, "gradient_steps", 0)

    def live(self, log: EpisodeLog) -> None:
        """Play the episodes that count, learning from them."""
        environments = OneRun(log)
        observation, _ = environments.reset()
        while not log.finished:
            observation = self._learn_step(environments, observation)

    def practise(self, episode: PinnedEpisode, steps: int) -> None:
        """Learn from `steps` steps of an episode that does not count."""
        environments = OneRun(episode)
        observation, _ = environments.reset()
        for _ in range(steps):
            observation = self._learn_step(environments, observation)

    def attempt(self, log: EpisodeLog, observation: Any) -> None:
        """Play one episode with `explore=False`: nothing inside the agent changes."""
        player = self._agent.player(1) if hasattr(self._agent, "player") else None
        shown, done = _batch(observation), False
        while not done:
            action = (player or self._agent).act(shown, explore=False)
            following, reward, terminated, truncated, _ = log.step(action[0])
            acted_on, shown, done = shown, _batch(following), terminated or truncated
            if player:
                outcome = (np.array([float(reward)]), np.array([terminated]), np.array([truncated]))
                player.observe(Transition(acted_on, action, *outcome, shown, shown))

    def _learn_step(self, environments: OneRun, observation: Any) -> Any:
        transition = step(environments, observation, self._agent.act(observation))
        self._agent.observe(transition)
        self.entries = int(self._agent.learn().get("memory/size", self.entries))
        return transition.reset_observation


def _batch(observation: Any) -> Any:
    """One observation as a batch of one."""
    if isinstance(observation, dict):
        return {name: _batch(part) for name, part in observation.items()}
    return np.asarray(observation)[None]
