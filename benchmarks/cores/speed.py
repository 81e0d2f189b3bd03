"""What a step costs: acting, a sequence forwards, and forwards and backwards, beside torch's own GRU and LSTM."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.memory.measure import side_by_side
from engram_rl.memory.cores import Core, make_core

BATCH, INPUT, HIDDEN, STEPS = 16, 16, 64, 64


def speed(name: str, settings: dict[str, Any], tiny: bool = False) -> dict[str, Any]:
    """Milliseconds a step of a core, and its score: forwards and backwards, over what an LSTM of that size takes.

    All calls take turns, so that what disturbs one disturbs all; medians.
    """
    steps, rounds = (4, 2) if tiny else (STEPS, 15)
    xs = torch.randn(steps, BATCH, INPUT)
    core, lstm = make_core(name, INPUT, HIDDEN, **settings), make_core("lstm", INPUT, HIDDEN)
    torch_gru = nn.GRU(INPUT, HIDDEN)
    taken = side_by_side(
        rounds,
        {
            "step": lambda: _acting(core, xs),
            "forward": lambda: core(xs, core.initial_state(BATCH)),
            "train": lambda: _train(core, xs),
            "lstm_train": lambda: _train(lstm, xs),
            "torch_gru_train": lambda: torch_gru(xs)[0].sum().backward(),
        },
    )
    per_step = {f"{call}_ms": round(1e3 * float(np.median(s)) / steps, 4) for call, s in taken.items()}
    ratio = float(np.median(taken["train"]) / np.median(taken["lstm_train"]))
    return {
        "score": round(ratio, 2),
        "measure": "x lstm",
        "seconds": round(sum(map(np.sum, taken.values())), 2),
    } | per_step


@torch.no_grad()
def _acting(core: Core, xs: torch.Tensor) -> None:
    state = core.initial_state(BATCH)
    for x in xs:
        _, state, _ = core.step(x, state)


def _train(core: Core, xs: torch.Tensor) -> None:
    outputs, _, losses = core(xs, core.initial_state(BATCH))
    (outputs.sum() + sum(losses.values())).backward()
