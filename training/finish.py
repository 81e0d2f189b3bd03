"""What a run shows of itself once it is done: hyper-parameters beside the score, a film, the memory as a cloud."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
from omegaconf import DictConfig

from engram_rl.agents.agent import Agent
from engram_rl.training.errors import UsageError
from engram_rl.training.film import animation, contact_sheet, film
from engram_rl.training.logger import RunLogger
from engram_rl.training.projector import write_projector
from engram_rl.training.seeding import EVALUATION_SEED
from engram_rl.training.tensorboard import add_animation, add_hyperparameters, add_picture

FILM = "episode.gif"


def show(agent: Agent, config: DictConfig, folder: Path, logger: RunLogger, step: int, score: float) -> None:
    """Enter the run among the hyper-parameters, film an episode and lay out the memory, as `config.log` asks."""
    add_hyperparameters(logger.writer, config, {"hparam/score": score}, step)
    if config.log.film:
        _film(agent, config, folder, logger, step)
    if config.log.memory:
        write_projector(agent, folder, step)


def _film(agent: Agent, config: DictConfig, folder: Path, logger: RunLogger, step: int) -> None:
    try:
        frames = film(agent, config.env, EVALUATION_SEED)
    except (UsageError, gym.error.Error, ImportError) as error:
        print(f"No film of an episode: {error} (log.film=false leaves it out)")
        return
    gif = animation(frames)
    (folder / FILM).write_bytes(gif)
    add_animation(logger.writer, "episode/film", gif, step)
    add_picture(logger.writer, "episode/frames", contact_sheet(frames), step)
