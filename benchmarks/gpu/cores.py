"""Milliseconds a step of every memory core, forwards and backwards, on the device and on the processor beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.measure import Options, in_turns
from engram_rl.memory.cores import CORES, make_core

INPUT, HIDDEN, STEPS, BATCH = 64, 128, 16, 256


def cores(options: Options) -> Iterator[dict[str, Any]]:
    """How much longer the processor takes for the same sequences."""
    steps, batch = options.size(STEPS, 2), options.size(BATCH, 2)
    for name in CORES:
        there, here = (_training(name, device, steps, batch, options.seed) for device in (options.device, "cpu"))
        taken = in_turns(options.size(5, 1), {"there": there})["there"]
        beside = in_turns(1, {"here": here})["here"]
        with FlopCounterMode(display=False) as counter:
            there()
        yield {
            "name": f"core_{name}",
            "value": beside / taken,
            "unit": "times as fast as the processor",
            "limit": "",
            "ms_a_step": taken / steps,
            "cpu_ms_a_step": beside / steps,
            "tflop_s": counter.get_total_flops() / taken / 1e9,
            "batch": batch,
            "steps": steps,
            "hidden": HIDDEN,
        }


def _training(name: str, device: str, steps: int, batch: int, seed: int) -> Callable[[], None]:
    torch.manual_seed(seed)
    core, xs = make_core(name, INPUT, HIDDEN).to(device), torch.randn(steps, batch, INPUT).to(device)

    def train() -> None:
        outputs, _, losses = core(xs, core.initial_state(batch))
        (outputs.sum() + sum(losses.values())).backward()

    return train
