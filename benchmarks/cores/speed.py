"""What a step costs: acting, a sequence forwards, and forwards and backwards, beside torch's own GRU and LSTM."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.memory.measure import side_by_side
from engram_rl.memory.cores import Core, make_core

BATCH, INPUT, HIDDEN, STEPS = 16, 16, 64, 64


def speed(name: str, settings: dict[str, Any], tiny: bool = False) -> dict[str, Any]:
    """Milliseconds a step of a core, and its score: forwards and backwards, over what an LSTM's cell takes in a loop.

    A loop, as every core that reads a memory between two steps is one. All calls take turns, so that what disturbs one
    disturbs all; medians, of processor time, so that what else the machine does is not counted.
    """
    steps, rounds = (4, 2) if tiny else (STEPS, 15)
    xs = torch.randn(steps, BATCH, INPUT)
    core, cell = make_core(name, INPUT, HIDDEN, **settings), nn.LSTMCell(INPUT, HIDDEN)
    torch_gru, torch_lstm = nn.GRU(INPUT, HIDDEN), nn.LSTM(INPUT, HIDDEN)
    taken = side_by_side(
        rounds,
        {
            "step": lambda: _acting(core, xs),
            "forward": lambda: core(xs, core.initial_state(BATCH)),
            "train": lambda: _train(core, xs),
            "lstm_cell_train": lambda: _train_cell(cell, xs),
            "torch_lstm_train": lambda: torch_lstm(xs)[0].sum().backward(),
            "torch_gru_train": lambda: torch_gru(xs)[0].sum().backward(),
        },
        time.process_time,
    )
    per_step = {f"{call}_ms": round(1e3 * float(np.median(s)) / steps, 4) for call, s in taken.items()}
    ratio = float(np.median(taken["train"]) / np.median(taken["lstm_cell_train"]))
    return {
        "score": round(ratio, 2),
        "measure": "x LSTM cell",
        "seconds": round(sum(map(np.sum, taken.values())), 4),
    } | per_step


@torch.no_grad()
def _acting(core: Core, xs: torch.Tensor) -> None:
    state = core.initial_state(BATCH)
    for x in xs:
        _, state, _ = core.step(x, state)


def _train(core: Core, xs: torch.Tensor) -> None:
    outputs, _, losses = core(xs, core.initial_state(BATCH))
    (outputs.sum() + sum(losses.values())).backward()


def _train_cell(cell: nn.LSTMCell, xs: torch.Tensor) -> None:
    hidden, memory = cell(xs[0])
    hiddens = [hidden]
    for x in xs[1:]:
        hidden, memory = cell(x, (hidden, memory))
        hiddens.append(hidden)
    torch.stack(hiddens).sum().backward()
