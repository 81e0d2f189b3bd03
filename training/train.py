"""Train an agent: `engram train agent=nec env=cartpole seed=1 steps=20000` (`--help` shows the rest)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from tqdm import tqdm

from engram_rl.training.cadence import Every
from engram_rl.training.cli import require_positive, stored_config
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.evaluation import evaluate
from engram_rl.training.interrupt import StopRequest
from engram_rl.training.logging.closing import show
from engram_rl.training.logging.curves import draw_learning_curve
from engram_rl.training.logging.logger import RunLogger
from engram_rl.training.logging.retrieved import show_retrieved
from engram_rl.training.rollout import environment_metrics, finished, step
from engram_rl.training.runs.folder import RunFolder, versions
from engram_rl.training.runs.restoring import restore_agent, restore_environments
from engram_rl.training.seeding import EVALUATION_SEED, seed_everything, use_threads


@hydra.main(version_base="1.3", config_path="pkg://engram_rl.conf", config_name="train")
def main(config: DictConfig) -> float:
    """Start or continue a run; the score it returns is what a sweep compares."""
    if not config.resume:
        folder = RunFolder(Path(HydraConfig.get().runtime.output_dir))
        with folder.lock():
            return train(config, folder)
    folder = RunFolder.open(Path(config.resume))
    with folder.lock():
        return train(stored_config(folder, config), folder, folder.checkpoint_to_resume())


def train(config: DictConfig, folder: RunFolder, checkpoint: dict[str, Any] | None = None) -> float:
    """Act, step, observe, learn; every so often log, evaluate and save. Returns the final evaluation's mean return."""
    require_positive(config, "steps", "log.every", "evaluation.episodes", "checkpoint.keep")
    seed_everything(config.seed)
    use_threads(config.threads)
    environments, evaluated_in = build_environments(config.env), build_environments(config.env)
    agent = build_agent(config.agent, environments, config.seed)
    observation, _ = environments.reset(seed=config.seed)
    now, spent, best = 0, 0.0, None
    if checkpoint is None:
        folder.start(config)
    else:
        now, spent, best = checkpoint["step"], checkpoint["seconds"], checkpoint.get("best")
        observation = restore_environments(environments, checkpoint, folder.path)
        restore_agent(agent, checkpoint, folder.path)
    logger = RunLogger(folder.path, now, config.env.success_above, checkpoint and checkpoint["logger"])
    should_log, should_evaluate = Every(config.log.every, now), Every(config.evaluation.every, now)
    should_save, should_draw = Every(config.checkpoint.every, now), Every(config.log.retrieved, now)
    began = time.perf_counter() - spent

    def snapshot() -> dict[str, Any]:
        return {
            "agent": agent.state_dict(),
            "environments": environments.state_dict(),
            "logger": logger.state_dict(),
            "seconds": time.perf_counter() - began,
            "best": best,
        }

    with (
        StopRequest() as stop,
        tqdm(total=config.steps, initial=now, unit="step", mininterval=0.5, disable=not config.progress) as bar,
    ):
        stopping = False
        while now < config.steps and not stopping:
            action = agent.act(observation)
            transition = step(environments, observation, action)
            agent.observe(transition)
            logger.record(agent.learn() | environment_metrics(transition.info))
            logger.record_episodes(now := now + environments.num_envs, finished(transition.info))
            observation = transition.reset_observation
            bar.update(environments.num_envs)
            if should_evaluate(now):
                score = float(evaluate(agent, evaluated_in, config.evaluation.episodes, EVALUATION_SEED).returns.mean())
                logger.record({"eval/mean_reward": score})
                if config.checkpoint.best and (best is None or score > best):
                    best = score
                    folder.save_best(now, snapshot())
            if should_log(now):
                logger.write(now)
                bar.set_postfix(logger.headline())
            if should_draw(now):
                show_retrieved(agent, observation, logger.writer, now)
            stopping = bool(stop)  # read once, so that no run ends unsaved
            if should_save(now) or stopping or now >= config.steps:
                folder.save_checkpoint(now, snapshot(), config.checkpoint.keep)

    if now < config.steps:
        logger.close()
        print(f"Stopped at step {now}; continue with: engram train resume={folder.path}")
        return float("nan")
    logger.write(now, closing=True)
    score = float(evaluate(agent, evaluated_in, config.evaluation.episodes, EVALUATION_SEED).returns.mean())
    show(agent, config, folder.path, logger, now, score)
    logger.close()
    summary = {"score": score, "steps": now, "seconds": time.perf_counter() - began, "seed": config.seed}
    summary |= {"memory_entries": int(logger.last.get("memory/size", 0)), "versions": versions()}
    folder.write_json("summary.json", summary)
    curve = draw_learning_curve([folder.path], folder.path / "learning_curve.png")
    print(f"Score {score:.1f} after {now} steps in {summary['seconds']:.0f} s\nRun folder: {folder.path}")
    print(f"Learning curve: {curve}\nTensorBoard: tensorboard --logdir {folder.path} (tab Custom Scalars)")
    return score
