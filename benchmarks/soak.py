"""`python -m benchmarks.soak out=FILE figure=FILE`: memory and speed over a long run."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from matplotlib.figure import Figure

from benchmarks.cli import parse, write_lines
from benchmarks.configuration import CONF
from engram_rl.training import train
from engram_rl.training.configuration.prepared import prepare
from engram_rl.training.logging.logger import METRICS, read_rows
from engram_rl.training.runs.folder import RunFolder

WINDOWS = 20
"""Parts of the run over which speed and memory are taken."""


@dataclass
class SoakBench:
    """Train for long by the loop of `engram train`: resident memory flat once the memory is full, speed within 10 %.

    python -m benchmarks.soak steps=1000000 out=results/soak.jsonl figure=soak.png

    agent, env: names of conf/agent and conf/env; num_envs environments side by side.
    capacity: entries an action; small, so that most of the run is spent replacing them.
    """

    agent: str = "mfec"
    env: str = "shiftwall"
    num_envs: int = 64
    capacity: int = 2_000
    steps: int = 1_000_000
    seed: int = 1
    out: str = "results/soak.jsonl"
    figure: str = ""


def main(arguments: list[str]) -> int:
    """Run, print how far memory and speed moved, write a row for each part and one for the whole."""
    bench = parse(SoakBench, arguments)
    rows = run(bench)
    parts = summarise(rows, bench)
    write_lines(bench.out, parts)
    whole = parts[-1]
    print(
        f"{whole['steps']} steps, full after {whole['full_at']}. Since then: resident memory "
        f"{whole['rss_growth_mb']:+.1f} MB of {whole['rss_mb']:.0f}, speed {whole['speed_change']:+.1%} "
        f"(last quarter against first), slowest part {whole['slowest']:.1%} of the median"
    )
    if bench.figure:
        draw(parts, bench.figure)
    return 0


def run(bench: SoakBench) -> list[dict[str, Any]]:
    """Train; the rows of the run's metrics."""
    prepare()
    overrides = [f"agent={bench.agent}", f"env={bench.env}", f"env.num_envs={bench.num_envs}", f"seed={bench.seed}"]
    overrides += [f"steps={bench.steps}", f"agent.memory.capacity={bench.capacity}", "progress=false"]
    overrides += [f"log.every={max(bench.steps // 200, bench.num_envs)}", f"checkpoint.every={bench.steps // 4}"]
    overrides += ["evaluation.every=0", "evaluation.episodes=1", "log.video=false", "log.memory=false"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("train", overrides)
    with tempfile.TemporaryDirectory() as scratch:
        train.train(config, RunFolder(Path(scratch) / "run"))
        return read_rows(Path(scratch) / "run" / METRICS)


def summarise(rows: list[dict[str, Any]], bench: SoakBench) -> list[dict[str, Any]]:
    """A row for each of WINDOWS parts of the run, and one that compares those since the memory was full."""
    parts = [_part(chunk) for chunk in np.array_split(np.array(rows, dtype=object), WINDOWS)]
    full_at = next((row["step"] for row in rows if row.get("memory/evictions", 0) > 0), rows[-1]["step"])
    after = [part for part in parts if part["from"] >= full_at] or parts[-1:]
    quarter = max(len(after) // 4, 1)
    speeds = np.array([part["steps_per_second"] for part in after])
    rss = np.array([part["rss_mb"] for part in after])
    whole = {
        "what": "whole",
        "agent": bench.agent,
        "env": bench.env,
        "capacity": bench.capacity,
        "steps": rows[-1]["step"],
        "full_at": full_at,
        "entries": rows[-1]["memory/size"],
        "evictions": rows[-1]["memory/evictions"],
        "rss_mb": round(float(rss[-1]), 1),
        "rss_growth_mb": round(float(rss[-quarter:].mean() - rss[:quarter].mean()), 2),
        "steps_per_second": round(float(np.median(speeds)), 1),
        "speed_change": round(float(np.median(speeds[-quarter:]) / np.median(speeds[:quarter]) - 1), 4),
        "slowest": round(float(speeds.min() / np.median(speeds)), 4),
    }
    return [{"what": "part", **part} for part in parts] + [whole]


def draw(parts: list[dict[str, Any]], path: str) -> None:
    """Resident memory and speed along the run."""
    figure = Figure(figsize=(9, 3.4), layout="constrained")
    whole, at = parts[-1], [part["to"] for part in parts[:-1]]
    for axes, name, label in zip(
        figure.subplots(1, 2),
        ("rss_mb", "steps_per_second"),
        ("resident memory, MB", "steps a processor second"),
        strict=True,
    ):
        axes.plot(at, [part[name] for part in parts[:-1]], marker=".")
        axes.axvline(whole["full_at"], color="grey", linestyle="--", linewidth=1, label="memory full")
        axes.set(xlabel="environment steps", ylabel=label, ylim=(0, 1.15 * max(part[name] for part in parts[:-1])))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)


def _part(rows: Any) -> dict[str, Any]:
    """Steps, speed and memory from the first to the last of these rows."""
    first, last = rows[0], rows[-1]
    steps, seconds = last["step"] - first["step"], last["time/processor_s"] - first["time/processor_s"]
    return {
        "from": first["step"],
        "to": last["step"],
        "steps_per_second": round(steps / max(seconds, 1e-9), 1),
        "rss_mb": round(float(np.median([row["time/rss_mb"] for row in rows])), 1),
        "entries": last.get("memory/size", 0),
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
