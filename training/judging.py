"""Judging the agent of a run: copies of it, in worlds that are built when they are first needed, all discarded."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from omegaconf import DictConfig

from engram_rl.agents.agent import Agent, Observation
from engram_rl.agents.random import RandomAgent
from engram_rl.training.construction import build_agent, build_environments, end
from engram_rl.training.environments import Resumable
from engram_rl.training.errors import UsageError, say_once
from engram_rl.training.evaluation import FRESH, FROZEN, evaluate, forgotten, shares
from engram_rl.training.rollout import Episodes, Worlds
from engram_rl.training.seeding import COUNTED, Purpose, undisturbed, world_seeds


def copyable(environments: Worlds) -> dict[str, Any] | None:
    """The state of a world, where a copy of it can be made from that; others are not waited for."""
    return environments.state_dict() if environments.metadata.get("restorable") else None


class Judge:
    """Evaluates copies of an agent; neither the agent nor what it lives in is touched.

    A copy that lives on does so in a copy of the world where it is, if that has a state to copy
    (`metadata["restorable"]`), and else in a new one. There `engram evaluate` counts episodes only after as many as the
    best checkpoint was chosen on; new worlds are others for each purpose anyway.

    Args:
        config: Of a run.
        seed: Of the worlds; that of the run by default.
        episodes: How many are played; as the run's own evaluations by default.
        max_steps: See `engram_rl.training.evaluation.evaluate`; it is told when it cut. As the run's by default.
    """

    def __init__(
        self, config: DictConfig, *, seed: int | None = None, episodes: int | None = None, max_steps: int | None = None
    ):
        self._config = config
        self._seed = config.seed if seed is None else seed
        self._episodes = episodes or config.evaluation.episodes
        self._max_steps = max_steps or config.evaluation.get("max_steps")
        self._world: Resumable | None = None
        self._only_one = False

    def __call__(
        self,
        agent: Agent,
        mode: str,
        purpose: Purpose,
        lives_in: dict[str, Any] | None = None,
    ) -> Episodes:
        """Evaluate.

        Args:
            agent: A copy is made of its state.
            mode: `online`, `frozen` or `fresh`.
            purpose: Decides which worlds, or which episodes of its own world, are met.
            lives_in: The state of the environments that the agent is in.
        """
        with undisturbed():
            copy = self._copy(agent, fresh=mode == FRESH)
            try:
                return self._play(copy, mode, purpose, lives_in)
            finally:
                end(copy)

    def play(self, agent: Agent, mode: str, lives_in: dict[str, Any]) -> Episodes:
        """Evaluate for `engram evaluate`: a copy of an agent of the run's kind, or the random one itself."""
        if isinstance(agent, RandomAgent):
            with undisturbed():
                return self._play(agent, mode, "evaluate", lives_in)
        return self(agent, mode, "evaluate", lives_in)

    def _play(self, copy: Agent, mode: str, purpose: Purpose, lives_in: dict[str, Any] | None) -> Episodes:
        world = self.world()
        seeds = world_seeds(self._seed, purpose, world, self._config.get("seeding", COUNTED))
        before: Observation | None = None
        uncounted = 0
        if mode != FROZEN and lives_in is not None and "state" in lives_in:
            before = world.load_state_dict(deepcopy(lives_in))
            chosen_on = int(shares(self._config.evaluation.episodes, world.num_envs).max())
            uncounted = chosen_on if purpose == "evaluate" else 0
        if (mode == FROZEN or (mode == FRESH and before is not None)) and hasattr(copy, "begin_episodes"):
            copy.begin_episodes()
        played = evaluate(
            copy,
            world,
            self._episodes,
            seeds,
            remember=mode != FROZEN,
            max_steps=self._max_steps,
            going_on_from=before,
            uncounted=uncounted,
        )
        if played.cut:
            print(
                f"The evaluation ended after {self._max_steps} steps (evaluation.max_steps): "
                f"{len(played.returns) - played.cut} of {self._episodes} episodes were over, {played.cut} count with "
                f"what they got so far. env.max_episode_steps=... limits an episode."
            )
        return played

    def in_passing(self, agent: Agent, mode: str, environments: Worlds) -> float | None:
        """The mean return during training, to choose the best; None, and told, where there cannot be a second world."""
        if self._only_one:
            return None
        try:
            with undisturbed():
                self.world()
        except UsageError as error:
            self._only_one = True
            say_once(f"No evaluation during training (evaluation.every=0): no second world can be made. {error}")
            return None
        return float(self(agent, mode, "selection", copyable(environments)).returns.mean())

    def reuse(self, environments: Worlds) -> None:
        """Evaluate where the agent was trained, now that it is not any more, unless there is a second world already.

        What can be there only once, such as what holds a port, is judged in this way.
        """
        if self._world is None and isinstance(environments, Resumable):
            self._world = environments

    def world(self) -> Resumable:
        """Where it is evaluated, built when first asked for."""
        if self._world is None:
            self._world = build_environments(self._config.env, self._config.get("cluster"), beside=True)
        return self._world

    def close(self) -> None:
        """Close what was built."""
        if self._world is not None:
            self._world.close()
            self._world = None

    def _copy(self, agent: Agent, fresh: bool) -> Agent:
        copy = build_agent(self._config.agent, self.world(), self._config.seed)
        state = deepcopy(agent.state_dict())
        copy.load_state_dict(forgotten(state, agent, copy) if fresh else state)
        return copy
