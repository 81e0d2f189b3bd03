"""What a run shows of itself once it is done: hyper-parameters beside the score, a video, the memory as a cloud."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
from omegaconf import DictConfig

from engram_rl.agents.agent import Agent
from engram_rl.training.errors import UsageError
from engram_rl.training.logging.logger import RunLogger
from engram_rl.training.logging.projector import write_projector
from engram_rl.training.logging.tensorboard import add_hyperparameters, add_image, add_video
from engram_rl.training.logging.video import contact_sheet, gif, record
from engram_rl.training.seeding import EVALUATION_SEED

VIDEO = "episode.gif"


def show(agent: Agent, config: DictConfig, folder: Path, logger: RunLogger, step: int, score: float) -> None:
    """Enter the run among the hyper-parameters, record an episode and lay out the memory, as `config.log` asks."""
    add_hyperparameters(logger.writer, config, {"hparam/score": score}, step)
    if config.log.video:
        _record(agent, config, folder, logger, step)
    if config.log.memory:
        write_projector(agent, folder, step)


def _record(agent: Agent, config: DictConfig, folder: Path, logger: RunLogger, step: int) -> None:
    try:
        frames = record(agent, config.env, EVALUATION_SEED)
    except (UsageError, gym.error.Error, ImportError) as error:
        print(f"No video of an episode: {error} (log.video=false leaves it out)")
        return
    content = gif(frames)
    (folder / VIDEO).write_bytes(content)
    add_video(logger.writer, "episode/video", content, step)
    add_image(logger.writer, "episode/frames", contact_sheet(frames), step)
