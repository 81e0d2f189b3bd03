"""Agents on the device: frames of pictures a second, beside the processor; and whether each of them learns there."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from omegaconf import OmegaConf
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.configuration import environment_config
from benchmarks.control.runs import resolve_agent
from benchmarks.gpu.measure import Options, settled
from benchmarks.throughput import rate, stored, vector_step
from benchmarks.worlds.kinds import KINDS, PLAYERS
from benchmarks.worlds.measure import ENOUGH, WorldRun, apart
from engram_rl.agents.agent import Agent
from engram_rl.memory import Modality
from engram_rl.training.construction import build_agent, build_environments
from engram_rl.training.seeding import seed_everything

PICTURES = "benchmarks.gpu.pictures:Pictures-v0"
ENTRIES, ENVIRONMENTS = 100_000, 16
STEPS = 32
"""Of each environment between two updates, and counted to say what a frame costs."""

PLAYING = {
    "nec": "nec n_step=10 memory.k=50 learn_after=0",
    "ppo": f"ppo num_steps={STEPS}",
    "retrieval_ppo": f"retrieval_ppo_view num_steps={STEPS}",
}
WORLD = "plain"
"""The kind of world in which every agent has to learn."""


def pictures(options: Options) -> Iterator[dict[str, Any]]:
    """Frames a second of 84 x 84 x 4 bytes, learning included, the memories full."""
    for name, words in PLAYING.items():
        told = _frames(options, words, options.device)
        beside = _frames(options, words, "cpu")
        yield {
            "name": f"pictures_{name}",
            "value": told["frames_s"] / beside["frames_s"],
            "unit": "times as fast as the processor",
            "limit": "",
            **told,
            "cpu_frames_s": beside["frames_s"],
            "entries": options.size(ENTRIES, 100),
            "environments": ENVIRONMENTS,
            "agent": words,
        }


def _frames(options: Options, words: str, device: str) -> dict[str, float]:
    """Frames a second, and the floating point operations that go into them: products and convolutions."""
    seed_everything(options.seed)
    environments = build_environments(OmegaConf.create(environment_config(PICTURES, {"num_envs": ENVIRONMENTS})))
    settings, entries = resolve_agent(words, PICTURES) | {"device": device}, options.size(ENTRIES, 100)
    if "memory" in settings:
        settings["memory"] |= {"capacity": entries}
    agent = build_agent(OmegaConf.create(settings), environments, seed=options.seed)
    _fill(agent, entries)
    advance = _player(agent, environments, options.seed)
    for _ in range(options.size(STEPS, 2)):
        advance()
    with FlopCounterMode(display=False) as counter:
        frames = sum(advance() for _ in range(options.size(STEPS, 2)))
    per_second = rate(advance, 6.0 if not options.tiny else 0.1)
    environments.close()
    flop = counter.get_total_flops() / frames
    return {"frames_s": per_second, "gflop_a_frame": flop / 1e9, "tflop_s": per_second * flop / 1e12}


def _player(agent: Agent, environments: Any, seed: int) -> Callable[[], int]:
    observation, _ = environments.reset(seed=seed)

    def advance() -> int:
        nonlocal observation
        observation = vector_step(agent, environments, observation)
        settled()
        return int(environments.num_envs)

    return advance


def _fill(agent: Any, entries: int) -> None:
    """Random keys in every dictionary, so that lookups look at as many as they ever will."""
    if hasattr(agent, "memories"):
        memories = agent.memories.per_action
    else:
        memories = [extra.memory for extra in getattr(agent, "extras", ()) if hasattr(extra, "memory")]
    for seed, memory in enumerate(memories):
        keys = {part.name: _keys(part, entries, seed).to(memory.device) for part in memory.space}
        for rows in torch.arange(entries).split(50_000):
            values = torch.zeros(len(rows), memory.value_dim, device=memory.device)
            memory.write({name: column[rows] for name, column in keys.items()}, values, identity=rows)


def _keys(part: Modality, entries: int, seed: int) -> torch.Tensor:
    if part.kind == "discrete":
        return torch.randint(4, (entries, part.size), generator=torch.Generator().manual_seed(seed))
    return stored(entries, part.size, seed)[0]


def learning(options: Options) -> Iterator[dict[str, Any]]:
    """Every agent that computes on a device, in a world that it has to learn; side by side."""
    runs = [
        WorldRun(WORLD, agent, options.seed + 1, options.size(player.steps, 64), 240.0)
        for agent, player in PLAYERS.items()
        if "device" in resolve_agent(agent, PICTURES)
    ]
    with ThreadPoolExecutor(options.workers) as side:
        for run, told in zip(runs, side.map(lambda run: _told(run, options.device), runs), strict=True):
            yield {
                "name": f"learns_{run.agent}",
                "value": _share(told),
                "unit": "of the way from random play to the best",
                "limit": f">= {ENOUGH}",
                "steps": run.steps,
                "said": " ".join(told[name] for name in ("refused", "crash") if name in told)[-900:],
            }


def _told(run: WorldRun, device: str) -> dict[str, Any]:
    return apart([*run.overrides, f"agent.device={device}"], run.seconds)


def _share(told: dict[str, Any]) -> float:
    if "score" not in told:
        return math.nan
    return float((told["score"] - told["random"]) / (KINDS[WORLD].best - told["random"]))
