"""Evaluate a trained run: `engram evaluate run=<run folder> episodes=20` (`run=latest` is the newest)."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import hydra
import numpy as np
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from engram_rl.agents.agent import Agent
from engram_rl.agents.random import RandomAgent
from engram_rl.training.cli import require_positive, stored_config
from engram_rl.training.construction import build_agent, end
from engram_rl.training.distributed.cluster import ray_for_shards
from engram_rl.training.evaluation import FROZEN, MODES, fitting, require_mode
from engram_rl.training.judging import Judge
from engram_rl.training.logging.closing import between, shown
from engram_rl.training.logging.video import gif, has_encoder, record, write_mp4
from engram_rl.training.rollout import Episodes
from engram_rl.training.runs.folder import RunFolder, write_atomically
from engram_rl.training.runs.naming import shell
from engram_rl.training.runs.restoring import restore_agent
from engram_rl.training.seeding import require_seed, seed_everything, use_threads
from engram_rl.training.statistics import Interval, limits_of, stratified_bootstrap

RENAMED = {"carry": "online"}
"""Modes of the first version."""


def main() -> Any:
    """Evaluate; `memory=carry` is a value here, although a group of the configuration bears that name."""
    sys.argv[1:] = [f"memory_mode{word[6:]}" if word.startswith("memory=") else word for word in sys.argv[1:]]
    return evaluate_run()


@dataclass(frozen=True)
class Evaluation:
    """What a trained agent came to, beside a random and the untrained one.

    Attributes:
        env: Where.
        mode: `online`, `frozen` or `fresh`; see `engram_rl.training.evaluation`.
        step: The environment step of the checkpoint.
        results: Episodes of `random`, `untrained` and `trained`.
    """

    env: str
    mode: str
    step: int
    results: dict[str, Episodes]

    @cached_property
    def intervals(self) -> dict[str, Interval]:
        """Mean return of each with its 95 % bootstrap interval over episodes."""
        return {name: stratified_bootstrap(played.returns, np.mean) for name, played in self.results.items()}

    @property
    def mean(self) -> float:
        """The trained agent's mean return."""
        return float(self.results["trained"].returns.mean())

    def rows(self) -> dict[str, Any]:
        """Everything by agent, as JSON holds it."""
        return {
            name: {
                "mean": float(self.intervals[name].point),
                "interval": limits_of(self.intervals[name]),
                "returns": played.returns.tolist(),
                "lengths": played.lengths.tolist(),
            }
            for name, played in self.results.items()
        }

    def __str__(self) -> str:
        return "\n".join(f"{name}: {interval:.4g}" for name, interval in self.intervals.items())


@hydra.main(version_base="1.3", config_path="pkg://engram_rl.conf", config_name="evaluate")
def evaluate_run(config: DictConfig) -> float:
    """Play with a random, the untrained and the trained agent; print a table, keep it as JSON, record an episode."""
    folder = RunFolder.open(Path(config.run))
    stored = stored_config(folder, config)
    with ray_for_shards(stored):
        evaluation, trained = evaluated(config, folder, stored)
        frames = _frames(trained, stored, config) if config.video else []
        end(trained)
    _show(evaluation, config)
    out = Path(config.out or folder.path)
    out.mkdir(parents=True, exist_ok=True)
    report = {"step": evaluation.step, "checkpoint": config.checkpoint, "memory": evaluation.mode}
    report |= {"episodes": config.episodes, "seed": config.seed, "agents": evaluation.rows()}
    write_atomically(out / "evaluation.json", json.dumps(report, indent=2) + "\n")
    print(f"Written to {out / 'evaluation.json'}")
    if frames:
        (out / "evaluation.gif").write_bytes(gif(frames))
        if has_encoder():
            write_mp4(frames, out / "evaluation.mp4")
        print(f"Video: {out / 'evaluation.gif'}")
    print(f"Learning curve: {folder.path / 'learning_curve.png'}")
    print(f"TensorBoard: {shell('tensorboard', '--logdir', folder.path)}")
    return evaluation.mean


def evaluated(config: DictConfig, folder: RunFolder, stored: DictConfig) -> tuple[Evaluation, Agent]:
    """Evaluate a run; nothing is written.

    Args:
        config: `conf/evaluate.yaml` with what was given.
        folder: The run's.
        stored: The run's configuration.

    Returns:
        What came of it, and the trained agent.
    """
    require_positive(config, "episodes")
    require_seed(config.seed)
    asked = RENAMED.get(config.memory_mode, config.memory_mode)
    require_mode(asked, "memory")
    seed_everything(stored.seed)
    use_threads(stored.threads)
    checkpoint = folder.load_checkpoint(config.checkpoint)
    judge = Judge(stored, seed=config.seed, episodes=config.episodes, max_steps=config.max_steps)
    with closing(judge):
        untrained, trained = (build_agent(stored.agent, judge.world(), stored.seed) for _ in range(2))
        restore_agent(trained, checkpoint, folder.path)
        # runs of the first version do not say, and were judged frozen
        mode = asked or stored.evaluation.get("mode", FROZEN) or fitting(trained)
        players: dict[str, Agent] = {
            "random": RandomAgent(judge.world().action_space, config.seed),
            "untrained": untrained,
            "trained": trained,
        }
        results = {name: judge.play(agent, mode, checkpoint["environments"]) for name, agent in players.items()}
        end(untrained)
    return Evaluation(stored.env.id, mode, checkpoint["step"], results), trained


def _frames(agent: Agent, stored: DictConfig, config: DictConfig) -> list[np.ndarray]:
    """The frames of an episode; none, and told, where that cannot be."""
    try:
        return record(agent, stored, config.seed)
    except Exception as error:
        print(f"No video: {error}", file=sys.stderr)
        return []


def _show(evaluation: Evaluation, config: DictConfig) -> None:
    mode = evaluation.mode
    table = Table(title=f"{evaluation.env}, {config.episodes} episodes each, memory {mode}: {MODES[mode]}")
    for column in ("agent", "mean return", "95 % interval", "worst", "best", "steps"):
        table.add_column(column, justify="left" if column == "agent" else "right")
    for name, played in evaluation.results.items():
        mean, worst, best = evaluation.intervals[name], played.returns.min(), played.returns.max()
        table.add_row(
            name, shown(mean.point), between(limits_of(mean)), shown(worst), shown(best), f"{played.lengths.mean():.1f}"
        )
    Console().print(table)
