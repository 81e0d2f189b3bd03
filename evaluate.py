"""Evaluate a trained run: `python evaluate.py run=<run folder> episodes=20` (`run=latest` is the newest)."""

from __future__ import annotations

from pathlib import Path

import hydra
import numpy as np
from gymnasium.vector import VectorEnv
from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from agents.agent import Agent
from agents.uniform import Uniform
from training.cli import run_command, stored_config
from training.construction import build_agent, build_environments
from training.rollout import Episodes, evaluate
from training.run_folder import RunFolder
from training.seeding import EVALUATION_SEED, seed_everything, use_threads
from training.statistics import stratified_bootstrap


@hydra.main(version_base="1.3", config_path="conf", config_name="evaluate")
def main(config: DictConfig) -> float:
    """Play with a random, the untrained and the trained agent; print a table and keep it as JSON."""
    folder = RunFolder.open(Path(config.run))
    stored = stored_config(folder, config)
    seed_everything(stored.seed)
    use_threads(stored.threads)
    environments = build_environments(stored.env)
    checkpoint = folder.load_checkpoint()
    contestants = {
        "random": Uniform(environments.action_space, config.seed),
        "untrained": build_agent(stored.agent, environments, stored.seed),
        "trained": build_agent(stored.agent, environments, stored.seed),
    }
    contestants["trained"].load_state_dict(checkpoint["agent"])
    results = {name: _play(agent, environments, config) for name, agent in contestants.items()}
    _show(results, config.episodes, stored)
    rows = {name: {"returns": e.returns.tolist(), "lengths": e.lengths.tolist()} for name, e in results.items()}
    report = {"step": checkpoint["step"], "episodes": config.episodes, "seed": config.seed, "agents": rows}
    print(f"Written to {folder.write_json('evaluation.json', report)}")
    print(f"Learning curve: {folder.path / 'learning_curve.png'}\nTensorBoard: tensorboard --logdir {folder.path}")
    return float(results["trained"].returns.mean())


def _play(agent: Agent, environments: VectorEnv, config: DictConfig) -> Episodes:
    return evaluate(agent, environments, config.episodes, EVALUATION_SEED + config.seed)


def _show(results: dict[str, Episodes], episodes: int, stored: DictConfig) -> None:
    table = Table(title=f"{stored.env.id}, {episodes} episodes each")
    for column in ("agent", "mean return", "95 % interval", "worst", "best"):
        table.add_column(column, justify="left" if column == "agent" else "right")
    for name, played in results.items():
        mean = stratified_bootstrap(played.returns, np.mean)
        worst, best = played.returns.min(), played.returns.max()
        table.add_row(name, f"{mean.point:.1f}", f"{mean.low:.1f} to {mean.high:.1f}", f"{worst:.1f}", f"{best:.1f}")
    Console().print(table)


if __name__ == "__main__":
    run_command(main)
