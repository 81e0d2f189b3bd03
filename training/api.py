"""Training, evaluating and using agents from Python: what `engram_rl` offers beside its memory.

    from engram_rl import train, evaluate, make_agent, load_agent

    run = train("nec", "cartpole", steps=5_000, seed=1)
    print(run.score, evaluate(run, episodes=20))
    agent = load_agent(run)

Agents and environments are those of the command line, composed from the same YAML with the same overrides.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, TypeAlias

import gymnasium as gym
from gymnasium.vector import VectorEnv
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from engram_rl.memory.checks import shown
from engram_rl.training.callbacks import Callback, require_callable
from engram_rl.training.cli import in_whole_numbers, stored_config
from engram_rl.training.composing import composed, environment_words, value_words
from engram_rl.training.construction import build_agent, build_agent_for, build_environment, end, space_shown
from engram_rl.training.distributed.cluster import ray_for_shards
from engram_rl.training.environments import require_same_step
from engram_rl.training.errors import UsageError
from engram_rl.training.evaluate import Evaluation, evaluated
from engram_rl.training.legacy import metrics_today
from engram_rl.training.logging.logger import read_episodes, read_metrics
from engram_rl.training.runs.folder import RunFolder
from engram_rl.training.runs.naming import claimed
from engram_rl.training.runs.restoring import restore_agent
from engram_rl.training.seeding import require_seed
from engram_rl.training.single import SingleAgent
from engram_rl.training.train import train as train_in


class Run:
    """A run's folder, from Python.

    Attributes:
        path: Where it is; what lies in it is described in docs/watching.md.
    """

    def __init__(self, path: str | Path):
        self.path = RunFolder.open(Path(path)).path

    @property
    def summary(self) -> dict[str, Any]:
        """What it came to: score, steps, seconds, entries, versions; empty if it has not ended."""
        return RunFolder(self.path).summary()

    @property
    def score(self) -> float | None:
        """The mean return of its last evaluation; None if it has not ended, or ended in an error."""
        found = self.summary.get("score")
        return None if found is None else float(found)

    @property
    def config(self) -> DictConfig:
        """What it was made with."""
        return RunFolder(self.path).config()

    def episodes(self) -> list[dict[str, Any]]:
        """Every episode of training: the `step` at which it ended, its `return` and its `length`."""
        return read_episodes(self.path)

    def metrics(self) -> list[dict[str, Any]]:
        """The points of its curves, by TensorBoard name; the lists give a table with pandas.DataFrame."""
        return [metrics_today(row) for row in read_metrics(self.path)]

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, score={self.score})"


AnyRun: TypeAlias = Run | str | Path
"""A run, its folder, or `latest`: the newest below `runs/`."""


def train(
    agent: str = "nec",
    env: str = "cartpole",
    *overrides: str,
    folder: str | Path | None = None,
    resume: AnyRun | None = None,
    config_dir: str | Path | None = None,
    callbacks: Sequence[Callback] = (),
    **values: Any,
) -> Run:
    """Train an agent as `engram train` does, and return its run.

    Args:
        agent: A choice of `conf/agent`.
        env: A choice of `conf/env`, or any Gymnasium id.
        overrides: As on the command line: `"agent.discount=0.95"`, `"+shift@env=abrupt"`.
        folder: Of the run; a new one below `runs/` by default.
        resume: A run to go on with; agent and env are then its own, overrides and values replace its own.
        config_dir: A folder of YAML and modules of your own, as with `--config-dir`.
        callbacks: Are told after each step, and may end the run; see `engram_rl.training.callbacks.Moment`.
        values: On top of the configuration: `steps=5_000`, `seed=1`, `progress=False`, `name="first"`,
            `evaluation={"every": 0}`.

    Raises:
        UsageError: A name or value that there is not, with the nearest valid ones.
    """
    if not isinstance(env, str):
        raise UsageError(
            f"env is {shown(env)}; train makes its environments itself: give an id that is registered, such as "
            f"'CartPole-v1' or 'my_module:Mine-v0', or take make_agent into a loop of your own."
        )
    require_callable(callbacks)
    given = [in_whole_numbers(word) for word in (*overrides, *value_words(values))]
    if resume is not None:
        return _resumed(_path(resume), given, config_dir, callbacks)
    words = [f"agent={agent}", *environment_words(env), *given]
    with composed("train", words, config_dir) as config:
        path = Path(folder) if folder is not None else claimed(Path(HydraConfig.get().run.dir))
        started = RunFolder(path, given=words)
        with started.lock():
            train_in(config, started, callbacks=callbacks)
    return Run(path)


def _resumed(path: Path, given: list[str], config_dir: str | Path | None, callbacks: Sequence[Callback]) -> Run:
    with composed("train", [], config_dir) as config:
        folder = RunFolder.open(path)
        with folder.lock():
            train_in(stored_config(folder, config, given), folder, folder.checkpoint_to_resume(), callbacks)
    return Run(folder.path)


def evaluate(
    run: AnyRun,
    episodes: int = 20,
    *,
    memory: str | None = None,
    checkpoint: str = "last",
    seed: int = 0,
    config_dir: str | Path | None = None,
) -> Evaluation:
    """Evaluate a run as `engram evaluate` does, beside a random and an untrained agent; nothing is written.

    Args:
        run: Whose agent.
        episodes: Of each agent.
        memory: `online`, `frozen` or `fresh` (docs/watching.md); as the run's own score by default.
        checkpoint: `last`, or `best`.
        seed: Of the episodes.
        config_dir: A folder of YAML and modules of your own.

    Returns:
        `mean` and `intervals`, and every episode in `results`.
    """
    given: dict[str, Any] = {"run": str(_path(run)), "episodes": episodes, "checkpoint": checkpoint, "seed": seed}
    with composed("evaluate", value_words({**given, "memory_mode": memory}), config_dir) as config:
        folder = RunFolder.open(_path(run))
        stored = stored_config(folder, config, [])
        with ray_for_shards(stored):
            evaluation, trained = evaluated(config, folder, stored)
            end(trained)
        return evaluation


def make_agent(
    name: str,
    env: gym.Env | VectorEnv,
    *overrides: str,
    seed: int = 0,
    config_dir: str | Path | None = None,
    **values: Any,
) -> Any:
    """Build an agent of `conf/agent` with its defaults, for a loop of your own.

    Args:
        name: Such as `nec`, `mfec`, `ppo`.
        env: Where it is going to act; only its spaces are read.
        overrides: As on the command line: `"agent.discount=0.95"`.
        seed: Of the agent.
        config_dir: A folder of YAML and modules of your own.
        values: Of the agent: `discount=0.95`, `memory={"capacity": 5_000}`.

    Returns:
        For one environment a `SingleAgent`: `act(observation)`, `observe(observation, reward, terminated,
        truncated)`. For environments side by side (autoreset mode SAME_STEP) the batched `Agent`: `act`,
        `observe(transition)`, `learn`, with `engram_rl.training.rollout.step` for the transition.

    Raises:
        UsageError: There is no such agent or value, or it does not fit the spaces.
    """
    if not isinstance(env, gym.Env | VectorEnv):
        raise UsageError(
            f"env is {shown(env)}; make_agent takes an environment, such as gymnasium.make('CartPole-v1')."
        )
    seed = require_seed(seed)
    agent_words = value_words({f"agent.{place}": value for place, value in values.items()})
    with composed("train", [f"agent={name}", "env=gym", "env.id=own", *agent_words, *overrides], config_dir) as config:
        if isinstance(env, VectorEnv):
            require_same_step(env, "the vector environment")
            return build_agent(config.agent, env, seed)
        shown_as = space_shown(env.observation_space, config.env)
        built = build_agent_for(config.agent, shown_as, env.action_space, 1, seed)
        return SingleAgent(built, env.observation_space, env.action_space, shown_as)


def load_agent(run: AnyRun, *, checkpoint: str = "last", config_dir: str | Path | None = None) -> SingleAgent:
    """The trained agent of a run, for acting in one environment; it neither explores, writes nor learns.

    Args:
        run: Whose agent.
        checkpoint: `last`, or `best`: the one whose evaluation was best.
        config_dir: A folder of YAML and modules of your own.

    Returns:
        `act(observation)` gives its action, `agent` is the batched agent with its memory. `make_env(run)` makes an
        environment like those that it was trained in.
    """
    with composed("evaluate", value_words({"run": str(_path(run))}), config_dir) as config:
        folder = RunFolder.open(_path(run))
        stored = stored_config(folder, config, [])
        kept = folder.load_checkpoint(checkpoint)
        with closing(build_environment(stored.env)) as one:
            observed, acted = one.observation_space, one.action_space
        shown_as = space_shown(observed, stored.env)
        agent = build_agent_for(stored.agent, shown_as, acted, stored.env.num_envs, stored.seed)
        restore_agent(agent, kept, folder.path)
        return SingleAgent(agent, observed, acted, shown_as, num_envs=stored.env.num_envs, learning=False)


def make_env(run: AnyRun, *, config_dir: str | Path | None = None, **kwargs: Any) -> gym.Env:
    """One environment like those of a run, with its wrappers, such as `make_env(run, render_mode="human")`.

    Args:
        run: Whose.
        config_dir: A folder of YAML and modules of your own.
        kwargs: Replace arguments of its constructor.
    """
    with composed("evaluate", value_words({"run": str(_path(run))}), config_dir) as config:
        folder = RunFolder.open(_path(run))
        stored = stored_config(folder, config, [])
        env = OmegaConf.create(OmegaConf.to_container(stored.env))
        return build_environment(DictConfig(OmegaConf.merge(env, {"kwargs": kwargs})))


def _path(run: AnyRun) -> Path:
    return run.path if isinstance(run, Run) else Path(run)
