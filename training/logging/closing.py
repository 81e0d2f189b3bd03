"""What a run leaves once it is done, or once something stopped it: summary and curve first, then what only shows.

A video that cannot be made, or a memory that cannot be laid out, costs itself and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from omegaconf import DictConfig

from engram_rl.agents.agent import Agent
from engram_rl.training.errors import FAILURES, UsageError, causes, in_your, raised_by_user
from engram_rl.training.evaluation import FROZEN, MODES
from engram_rl.training.judging import Judge, copyable
from engram_rl.training.logging.curves import draw_learning_curve
from engram_rl.training.logging.logger import DivergedError, RunLogger
from engram_rl.training.logging.projector import write_projector
from engram_rl.training.logging.tensorboard import add_hyperparameters, add_image, add_video
from engram_rl.training.logging.video import contact_sheet, gif, has_encoder, record, write_mp4
from engram_rl.training.rollout import Episodes, Worlds
from engram_rl.training.runs.checkpoint import UnwritableError
from engram_rl.training.runs.folder import SUMMARY, RunFolder, versions
from engram_rl.training.runs.naming import shell

VIDEO, CURVE = "episode.gif", "learning_curve.png"


def close(
    agent: Agent,
    judge: Judge,
    mode: str,
    environments: Worlds,
    config: DictConfig,
    folder: RunFolder,
    logger: RunLogger,
    step: int,
    seconds: float,
) -> float:
    """Judge the agent, and write everything that a finished run has; returns the score.

    Args:
        agent: Trained.
        judge: Evaluates it.
        mode: In which it is judged; frozen it is judged besides.
        environments: Of the agent; they are closed.
        config: Of the run.
        folder: Of the run.
        logger: Of the run; it is closed.
        step: The last.
        seconds: What the run took.
    """
    lived_in = copyable(environments)
    judged: dict[str, Episodes] = {}
    failed: Exception | None = None
    try:
        for one in dict.fromkeys((mode, FROZEN)):
            judged[one] = judge(agent, one, "score", lived_in)
    except Exception as error:
        failed = error
    judge.close()
    environments.close()
    scores = {name: float(played.returns.mean()) for name, played in judged.items()}
    summary = {"score": scores.get(mode), "mode": mode, "scores": scores}
    summary |= {"episodes": config.evaluation.episodes, "cut": judged[mode].cut if mode in judged else None}
    _summarise(summary, config, folder, logger, step, seconds)
    if failed is None:
        _attempt("hyper-parameters", "", add_hyperparameters, folder.path, config, {"hparam/score": scores[mode]}, step)
    if config.log.video:
        _attempt("video of an episode", "log.video=false", _film, agent, config, folder, logger, step)
    if config.log.memory:
        _attempt("memory for the projector", "log.memory=false", write_projector, agent, folder.path, step)
    logger.close()
    if failed is not None:
        raise failed
    if "rollout/ep_len_mean" not in logger.last:
        print(
            f"No episode ended in {step} steps: what agents learn when an episode ends was not learned. "
            f"env.max_episode_steps=1000 cuts episodes.",
            file=sys.stderr,
        )
    beside = "".join(f", {shown(value)} {name} ({MODES[name]})" for name, value in scores.items() if name != mode)
    print(f"Score {shown(scores[mode])} {mode} ({MODES[mode]}){beside}, after {step} steps in {seconds:.0f} s")
    print(f"Run folder: {folder.path}\nLearning curve: {folder.path / CURVE}")
    print(f"TensorBoard: {shell('tensorboard', '--logdir', folder.path)} (tab Custom Scalars)")
    return scores[mode]


@contextmanager
def rescue(
    folder: RunFolder,
    config: DictConfig,
    logger: RunLogger,
    snapshot: Callable[[], dict[str, Any]],
    now: Callable[[], int],
) -> Iterator[None]:
    """Whatever stops a run in here, such as an exception in an environment, leaves checkpoint, summary and curve.

    An agent that has diverged is not saved, and nothing is written to a disk that is full.
    """
    try:
        yield
    except UnwritableError:
        logger.close()
        raise
    except FAILURES as error:
        ours = [cause for cause in causes(error) if isinstance(cause, UsageError)]
        told = in_your("code", "training", error) if not ours and raised_by_user(error) else error
        with suppress(Exception):
            if not isinstance(error, DivergedError) and now():
                folder.save_checkpoint(now(), snapshot(), config.checkpoint.keep)
        with suppress(Exception):  # also where there is no state that could be saved
            _summarise({"score": None, "error": str(told)}, config, folder, logger, now(), None)
            print(f"What the run had until step {now()} is kept in {folder.path}", file=sys.stderr)
        logger.close()
        if told is error:
            raise
        raise told from error


def shown(number: float) -> str:
    """A return as people read it: one decimal where it is large, three where it is small."""
    return f"{number:.1f}" if abs(number) >= 10 or number == round(number, 1) else f"{number:.3f}"


def between(limits: Sequence[float] | None) -> str:
    """An interval for a cell of a table, or a dash where there is none."""
    return " to ".join(map(shown, limits)) if limits else "-"


def _summarise(
    summary: dict[str, Any], config: DictConfig, folder: RunFolder, logger: RunLogger, step: int, seconds: float | None
) -> None:
    entries = int(logger.last.get("memory/size", 0))
    rest = {"steps": step, "seconds": seconds, "seed": config.seed, "memory_entries": entries, "versions": versions()}
    folder.write_json(SUMMARY, summary | rest)
    _attempt("learning curve", "", draw_learning_curve, [folder.path], folder.path / CURVE)


def _attempt(what: str, without: str, make: Callable[..., Any], *given: Any) -> None:
    """Make what only shows; what goes wrong with it is told, and how to leave it out."""
    try:
        make(*given)
    except FAILURES as error:
        plain = isinstance(error, UsageError | OSError | ImportError)
        hint = f" ({without} leaves it out)" if without else ""
        print(f"No {what}: {error if plain else in_your('code', what, error)}{hint}", file=sys.stderr)


def _film(agent: Agent, config: DictConfig, folder: RunFolder, logger: RunLogger, step: int) -> None:
    frames = record(agent, config)
    content = gif(frames)
    path = folder.path / VIDEO
    try:
        path.write_bytes(content)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    add_video(logger.writer, "episode/video", content, step)
    add_image(logger.writer, "episode/frames", contact_sheet(frames), step)
    if has_encoder():
        write_mp4(frames, path.with_suffix(".mp4"))
