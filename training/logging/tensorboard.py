"""What TensorBoard shows besides single curves: a layout, hyper-parameters, images and videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from torch.utils.tensorboard import SummaryWriter

HPARAMS = ".hparams"
"""How the file of events ends that holds the hyper-parameters."""

LAYOUT = {
    "Return beside task index and memory": {
        "return": ["Multiline", ["rollout/ep_rew_mean", "eval/.*mean_reward"]],
        "task index": ["Multiline", ["env/task_index"]],
        "success": ["Multiline", ["rollout/success_rate"]],
        "memory: entries": ["Multiline", ["memory/size", "memory/evictions"]],
    },
    "Memory health": {
        "how near lookups hit": ["Multiline", ["memory/hit_distance", "memory/staleness"]],
        "top weight, match rate, recall of the index": [
            "Multiline",
            ["memory/top_weight", "memory/match_rate", "memory/recall"],
        ],
        "age of what is retrieved": ["Multiline", ["memory/age"]],
        "strength of what is retrieved": ["Multiline", ["memory/strength"]],
        "value error by age": ["Multiline", ["memory/value_error_.*"]],
        "lookup ms": ["Multiline", ["memory/lookup_ms"]],
    },
    "Memory core": {
        "how much is written": ["Multiline", ["core/write_strength"]],
        "entropy of what is read": ["Multiline", ["core/read_entropy"]],
        "age of what is read": ["Multiline", ["core/read_age"]],
        "share that holds something": ["Multiline", ["core/usage"]],
    },
    "Machine": {
        "steps a second": ["Multiline", ["time/fps"]],
        "resident memory, MB": ["Multiline", ["time/rss_mb"]],
        "episodes lost with workers": ["Multiline", ["cluster/lost_episodes"]],
    },
}
"""Categories of charts, each of the curves whose names match: the tab Custom Scalars."""


def add_layout(writer: SummaryWriter) -> None:
    """Put the charts that belong together side by side."""
    writer.add_custom_scalars(LAYOUT)


def add_hyperparameters(folder: Path, config: DictConfig, metrics: dict[str, float], step: int) -> None:
    """Enter the run, with what it was made with and what it came to, in the tab HParams.

    TensorBoard keeps the first entry of a run, so a continued run's replaces the file of the one before.
    """
    from torch.utils.tensorboard.summary import hparams

    for old in folder.glob(f"events.out.tfevents.*{HPARAMS}"):
        old.unlink()
    writer = SummaryWriter(str(folder), filename_suffix=HPARAMS)
    for summary in hparams(flat(config), metrics):
        writer._get_file_writer().add_summary(summary)
    for name, value in metrics.items():
        writer.add_scalar(name, value, step)
    writer.close()


def add_video(writer: SummaryWriter, tag: str, gif: bytes, step: int) -> None:
    """Show an animated GIF in the tab Images."""
    from tensorboard.compat.proto.summary_pb2 import Summary

    image = Summary.Image(height=1, width=1, colorspace=3, encoded_image_string=gif)
    writer._get_file_writer().add_summary(Summary(value=[Summary.Value(tag=tag, image=image)]), step)


def add_image(writer: SummaryWriter, tag: str, image: np.ndarray, step: int) -> None:
    """Show an image, `[H, W, 3]` of uint8, in the tab Images."""
    writer.add_image(tag, image, step, dataformats="HWC")


def flat(config: DictConfig) -> dict[str, bool | int | float | str]:
    """The values that describe a run, by dotted name: of agent, environment and seed.

    A node that names a class or function is described by that, under its own name; the agent's factory is left out.
    """
    content = OmegaConf.to_container(config, resolve=True)
    assert isinstance(content, dict)
    described = {name: content[name] for name in ("agent", "env", "seed", "steps") if name in content}
    return dict(_leaves(described, ""))


def _leaves(node: Any, place: str) -> list[tuple[str, Any]]:
    if isinstance(node, dict):
        inner = [(f"{place}.{key}" if place else str(key), value) for key, value in node.items()]
        return [leaf for name, value in inner for leaf in _leaves(value, name)]
    plain = node if isinstance(node, bool | int | float | str) else str(node)
    of, _, name = place.rpartition(".")
    if name == "_target_":
        return [(of, _short(str(node)))] if "." in of else []
    return [] if name == "_partial_" else [(place, plain)]


def _short(target: str) -> str:
    """What a class or function is called; where it is ours, without its module."""
    return target.rpartition(".")[2] if target.startswith("engram_rl.") else target
