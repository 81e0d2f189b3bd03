"""Videos of episodes: what an agent does, frame by frame, as an animated GIF.

A GIF needs nothing but Pillow and plays in a browser, in TensorBoard and in a README. MP4, which is smaller and keeps
its colours, needs an encoder: it is written beside where there is one.
"""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from engram_rl.agents.agent import Agent
from engram_rl.training.construction import build_environments
from engram_rl.training.environments import Resumable
from engram_rl.training.errors import UsageError
from engram_rl.training.evaluation import player_of
from engram_rl.training.intake.frames import image
from engram_rl.training.rollout import act, allowed, step
from engram_rl.training.seeding import COUNTED, undisturbed, world_seeds

FRAMES = 120
"""Most frames of a video; of longer episodes they are picked evenly."""
SIDE = 240
"""Most pixels along a side."""
LONGEST = 2_000
"""Steps after which a video ends even if the episode does not."""


def record(agent: Agent, config: DictConfig, seed: int | None = None) -> list[np.ndarray]:
    """The frames of one episode, played without exploring. Each `[H, W, 3]` of uint8.

    Args:
        agent: Acts.
        config: Of its run.
        seed: Of the environments; that of the run by default.

    Raises:
        UsageError: The environment cannot be rendered to arrays.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
    with undisturbed():
        _refuse_what_cannot_be_drawn(config)
        rendered = OmegaConf.merge(
            OmegaConf.create(OmegaConf.to_container(config.env)), {"kwargs": {"render_mode": "rgb_array"}}
        )
        with closing(build_environments(DictConfig(rendered), config.get("cluster"), beside=True)) as environments:
            chosen = config.seed if seed is None else seed
            seeds = world_seeds(chosen, "video", environments, config.get("seeding", COUNTED))
            return _played(agent, environments, seeds)


def _refuse_what_cannot_be_drawn(config: DictConfig) -> None:
    environments = build_environments(config.env, config.get("cluster"), beside=True)
    modes = environments.metadata.get("render_modes") or []
    environments.close()
    if "rgb_array" not in modes:
        raise UsageError(f"{config.env.id} renders to {modes}, but a video needs rgb_array among its render_modes.")


def _played(agent: Agent, environments: Resumable, seeds: int | list[int]) -> list[np.ndarray]:
    observation, info = environments.reset(seed=seeds)
    player, mask = player_of(agent, environments), allowed(environments, info)
    frames, done = [_frame(environments)], False
    while not done and len(frames) < LONGEST:
        transition = step(environments, observation, act(player, observation, mask, explore=False), mask)
        if player is not agent:
            player.observe(transition)
        observation, mask, done = transition.reset_observation, transition.reset_mask, bool(transition.done[0])
        if not done:  # else the next episode has begun
            frames.append(_frame(environments))
    return frames


def gif(frames: Sequence[np.ndarray], seconds: float = 0.08) -> bytes:
    """The frames as an animated GIF, made small and few enough to be looked at."""
    chosen = np.unique(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int))
    images = [_small(frames[i]) for i in chosen]
    images = [one if one.size == images[0].size else one.resize(images[0].size) for one in images]
    content = io.BytesIO()
    last = round(1000 * max(seconds, 1.0))
    durations = [round(1000 * seconds)] * (len(images) - 1) + [last]
    images[0].save(content, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return content.getvalue()


def has_encoder() -> bool:
    """Whether MP4 can be written here (extra `video`)."""
    return find_spec("imageio_ffmpeg") is not None


def write_mp4(frames: Sequence[np.ndarray], path: Path, seconds: float = 0.08) -> None:
    """Write every frame as MP4 (H.264); sides are made even, as the format asks.

    Args:
        frames: `[H, W, 3]` of uint8 each, the first of which gives the size.
        path: Where.
        seconds: Each is shown for.
    """
    from imageio_ffmpeg import write_frames

    height, width = (max(side - side % 2, 2) for side in frames[0].shape[:2])
    writer = write_frames(str(path), (width, height), fps=1 / seconds, macro_block_size=2, ffmpeg_log_level="error")
    writer.send(None)
    for frame in frames:
        image = Image.fromarray(frame)
        image = image if image.size == (width, height) else image.resize((width, height))
        writer.send(np.ascontiguousarray(image))
    writer.close()


def contact_sheet(frames: Sequence[np.ndarray], count: int = 5) -> np.ndarray:
    """A few frames from the first to the last, side by side. `[H, W, 3]`."""
    chosen = np.linspace(0, len(frames) - 1, count).round().astype(int)
    images = [_small(frames[i]) for i in chosen]
    return np.concatenate([np.asarray(one.resize(images[0].size)) for one in images], axis=1)


def _small(frame: np.ndarray) -> Image.Image:
    image = Image.fromarray(frame)
    image.thumbnail((SIDE, SIDE))
    return image


def _frame(environments: Resumable) -> np.ndarray:
    """What the first environment looks like now. `[H, W, 3]` of uint8."""
    inner: Any = environments.unwrapped
    if hasattr(inner, "core"):
        frame = inner.core.render(0)
    elif hasattr(inner, "envs"):
        frame = inner.envs[0].render()
    else:
        frame = (inner.render() or [None])[0]
    return image(frame, f"the environment ({inner.spec.id})" if inner.spec else "the environment")
