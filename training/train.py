"""Train an agent: `engram train agent=nec env=cartpole seed=1 steps=20000` (`--help` shows the rest)."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from contextlib import closing
from math import isnan
from pathlib import Path
from typing import Any

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig
from tqdm import tqdm

from engram_rl.agents.agent import Agent, Observation
from engram_rl.training.cadence import Every
from engram_rl.training.callbacks import Callback, Moment, end_asked
from engram_rl.training.cli import require_cadences, require_choices, require_positive, set_aside, stored_config
from engram_rl.training.construction import agent_in, build_curves, build_environments, check_agent
from engram_rl.training.distributed.actors import Actors, require_copies
from engram_rl.training.distributed.cluster import ray_for_shards
from engram_rl.training.evaluation import fitting
from engram_rl.training.interrupt import StopRequest
from engram_rl.training.judging import Judge
from engram_rl.training.logging.closing import close, rescue
from engram_rl.training.logging.logger import RunLogger
from engram_rl.training.logging.read_weights import show_read_weights
from engram_rl.training.logging.retrieved import show_retrieved
from engram_rl.training.rollout import (
    Playing,
    Worlds,
    environment_metrics,
    finished,
    inspected,
    lost_metrics,
    require_turns,
)
from engram_rl.training.runs.folder import RunFolder
from engram_rl.training.runs.naming import shell
from engram_rl.training.runs.restoring import restore_agent, restore_environments, say_if_done
from engram_rl.training.seeding import generators, seed_everything, use_threads, world_seeds


def main() -> Any:
    """Start or continue a run; what is given beside `resume=` is for the run's configuration, not for a new one."""
    set_aside("resume")
    return train_run()


@hydra.main(version_base="1.3", config_path="pkg://engram_rl.conf", config_name="train")
def train_run(config: DictConfig) -> float:
    """Start or continue a run; the score it returns is what a sweep compares."""
    if not config.resume:
        hydra_config = HydraConfig.get()
        folder = RunFolder(Path(hydra_config.runtime.output_dir), given=list(hydra_config.overrides.task))
        with folder.lock():
            score = train(config, folder)
        end_sweep_if_stopped(score, hydra_config)
        return score
    folder = RunFolder.open(Path(config.resume))
    with folder.lock():
        return train(stored_config(folder, config), folder, folder.checkpoint_to_resume())


def end_sweep_if_stopped(score: float, command: HydraConf) -> None:
    """End a sweep in this process with the run that was asked to stop; its next run would begin in spite of that.

    Args:
        score: Of the run; NaN if it was stopped.
        command: Hydra's own configuration.
    """
    if isnan(score) and command.mode == RunMode.MULTIRUN and command.launcher._target_.endswith(".BasicLauncher"):
        sys.exit("The sweep ends with it: runs that have not begun are left out.")


def train(
    config: DictConfig,
    folder: RunFolder,
    checkpoint: dict[str, Any] | None = None,
    callbacks: Sequence[Callback] = (),
) -> float:
    """Act, step, observe, learn; every so often log, evaluate and save. Returns the score."""
    require_positive(config, "steps", "log.every", "evaluation.episodes", "checkpoint.keep")
    require_cadences(config, "log.retrieved", "evaluation.every", "checkpoint.every")
    require_choices(config)
    seed_everything(config.seed)
    use_threads(config.threads)
    with (
        ray_for_shards(config),
        closing(worlds_of(config)) as environments,
        closing(Judge(config)) as judge,
        agent_in(environments, config) as agent,
    ):
        require_turns(agent, environments)
        beside = build_curves(config, folder.path)
        now, spent, best = 0, 0.0, None
        if checkpoint is None:
            seeds = world_seeds(config.seed, "training", environments, config.get("seeding", "counted"))
            observation, _ = environments.reset(seed=seeds)
            check_agent(agent, config, environments, observation)
            folder.start(config)
        else:
            now, spent, best = checkpoint["step"], checkpoint["seconds"], checkpoint.get("best")
            observation = restore_environments(environments, checkpoint, folder.path)
            restore_agent(agent, checkpoint, folder.path)
            folder.keep(config)
            say_if_done(now, config.steps, folder.path)
        source = source_of(environments, observation, agent)
        mode = config.evaluation.get("mode") or fitting(agent)
        logger = RunLogger(folder.path, now, config.env.success_above, checkpoint and checkpoint["logger"], beside)
        should_log, should_evaluate = Every(config.log.every, now), Every(config.evaluation.every, now)
        should_save, should_draw = Every(config.checkpoint.every, now), Every(config.log.retrieved, now)
        began = time.perf_counter() - spent

        def snapshot() -> dict[str, Any]:
            return {
                "agent": agent.state_dict(),
                "environments": environments.state_dict(),
                "observation": observation,
                "generators": generators(),
                "logger": logger.state_dict(),
                "seconds": time.perf_counter() - began,
                "best": best,
            }

        with (
            rescue(folder, config, logger, snapshot, lambda: now),
            StopRequest() as stop,
            tqdm(total=config.steps, initial=now, unit="step", mininterval=0.5, disable=not config.progress) as bar,
        ):
            stopping = ended = False
            while now < config.steps and not (stopping or ended):
                transition = source.step(agent)
                agent.observe(transition.of_rows())
                learned = agent.learn()
                logger.record(learned | environment_metrics(transition.info))
                logger.record_episodes(now := now + transition.steps, finished(transition.info))
                observation = transition.reset_observation
                bar.update(transition.steps)
                if should_evaluate(now) and (score := judge.in_passing(agent, mode, environments)) is not None:
                    logger.record({f"eval/{mode}_mean_reward": score})
                    if config.checkpoint.best and (best is None or score > best):
                        best = score
                        folder.save_best(now, snapshot())
                if should_log(now):
                    logger.record(inspected(agent) | lost_metrics(environments) | source.metrics())
                    logger.write(now)
                    bar.set_postfix(logger.headline())
                if should_draw(now):
                    show_retrieved(agent, observation, logger.writer, now)
                    show_read_weights(agent, logger.writer, now)
                stopping = bool(stop)  # read once, so that no run ends unsaved
                ended = end_asked(callbacks, Moment(now, agent, transition, learned, folder.path))
                if should_save(now) or stopping or ended or now >= config.steps:
                    folder.save_checkpoint(now, snapshot(), config.checkpoint.keep)

        if stopping and now < config.steps:
            logger.close()
            print(f"Stopped at step {now}; continue with: {shell('engram', 'train', f'resume={folder.path}')}")
            return float("nan")
        logger.write(now, closing=True)
        judge.reuse(environments)
        return close(agent, judge, mode, environments, config, folder, logger, now, time.perf_counter() - began)


def worlds_of(config: DictConfig) -> Worlds:
    """The environments of a run: here, or on actors that act in them as well."""
    cluster = config.get("cluster")
    if cluster is not None and cluster.get("actors") is not None:
        return Actors(config)
    return build_environments(config.env, cluster)


def source_of(environments: Worlds, observation: Observation, agent: Agent) -> Playing | Actors:
    """Where the steps come from that an agent learns from.

    Args:
        environments: Of the run.
        observation: What they show.
        agent: Acts here, or copies of it do elsewhere.

    Raises:
        UsageError: Copies of this agent cannot act.
    """
    if isinstance(environments, Actors):
        require_copies(agent)
        return environments
    return Playing(environments, observation)
