"""A maze is walked through with a narrow view: what is where, and where was it that it looked like this?"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.runs import Row
from engram_rl.memory.cores import make_core

SIDE, WALLS, VIEW = 8, 0.35, 9
"""Cells along an edge of a maze, the share of walls, and cells of a view: that of the agent and the eight around."""
CELLS = SIDE * SIDE
TRAINED_ON, JUDGED_ON = 40, 200
"""Steps of a walk."""
SECONDS = 100.0

MAPPERS = {
    "multigrid": partial(make_core, "multigrid", levels=2, layers=3, channels=6, base=4),
    "one_level": partial(make_core, "multigrid", levels=1, layers=3, channels=6, base=8),
    "dnc_mapper": partial(make_core, "dnc", slots=64, width=16),
}
"""What is tried: a pyramid, a ConvLSTM on the finest grid alone, and slots; of about as many parameters (`HIDDEN`)."""

HIDDEN = {"multigrid": 64, "one_level": 48, "dnc_mapper": 68}
"""Numbers in an output of each."""


@dataclass(frozen=True)
class Walks:
    """A batch of walks through mazes of their own.

    Attributes:
        inputs: What is seen, the place, and the view that is asked for. `[T, B, 2 VIEW + CELLS]`
        walls: Of each maze. `[B, CELLS]` of 0 and 1
        seen: Which cells had been in view by then. `[T, B, CELLS]` of bool
        alike: Which visited places look like what is asked for. `[T, B, CELLS]` of bool
    """

    inputs: Tensor
    walls: Tensor
    seen: Tensor
    alike: Tensor


def walked(batch: int, steps: int, chance: torch.Generator) -> Walks:
    """Random walks from the middle; who would walk into a wall, or out, stays. Each step asks for a view of before."""
    walls = (torch.rand(batch, SIDE, SIDE, generator=chance) < WALLS).float()
    walls[:, SIDE // 2, SIDE // 2] = 0
    views = functional.unfold(functional.pad(walls.unsqueeze(1), (1, 1, 1, 1), value=1.0), 3)  # [B, VIEW, CELLS]
    views, row = views.transpose(1, 2), torch.arange(batch)
    near = torch.stack([views_of(cell) for cell in range(CELLS)])  # [CELLS, CELLS]
    place = torch.full((batch,), (SIDE // 2) * SIDE + SIDE // 2)
    visited = torch.zeros(batch, CELLS, dtype=torch.bool)
    seen, inputs, seen_by, alike = visited.clone(), [], [], []
    for _ in range(steps):
        visited[row, place] = True
        seen |= near[place]
        asked = views[row, (torch.rand(batch, CELLS, generator=chance) * visited).argmax(1)]  # [B, VIEW]
        inputs.append(torch.cat([2 * views[row, place] - 1, functional.one_hot(place, CELLS), 2 * asked - 1], 1))
        seen_by.append(seen.clone())
        alike.append((views == asked.unsqueeze(1)).all(2) & visited)
        y, x = place // SIDE, place % SIDE
        move = torch.randint(4, (batch,), generator=chance)
        y = (y + (move == 0).long() - (move == 1).long()).clamp(0, SIDE - 1)
        x = (x + (move == 2).long() - (move == 3).long()).clamp(0, SIDE - 1)
        place = torch.where(walls[row, y, x] > 0, place, y * SIDE + x)
    return Walks(torch.stack(inputs), walls.flatten(1), torch.stack(seen_by), torch.stack(alike))


def views_of(cell: int) -> Tensor:
    """The cells in view from a cell. `[CELLS]` of bool."""
    y, x = torch.arange(CELLS) // SIDE, torch.arange(CELLS) % SIDE
    return ((y - cell // SIDE).abs() <= 1) & ((x - cell % SIDE).abs() <= 1)


def mapping(mapper: str, tiny: bool) -> Row:
    """The share of seen cells that are told wrongly after 200 steps; and of asked views, how many are located."""
    chance = torch.Generator().manual_seed(torch.initial_seed())
    net, updates, seconds = learned(mapper, chance, 2 if tiny else 10**6)
    walks = walked(4 if tiny else 64, 8 if tiny else JUDGED_ON, torch.Generator().manual_seed(10**6))
    with torch.no_grad():
        told, where = net(walks.inputs)
    wrong = (((told[-1] > 0) != (walks.walls > 0.5)) & walks.seen[-1]).sum() / walks.seen[-1].sum()
    guess = where.masked_fill(~visited_by(walks), -torch.inf).argmax(2, keepdim=True)
    found = walks.alike.gather(2, guess).float()[len(guess) // 2 :].mean()
    by_chance = (walks.alike.sum(2) / visited_by(walks).sum(2))[len(guess) // 2 :].mean()
    return {
        "score": round(float(wrong), 5),
        "measure": "share",
        "located": round(float(found), 4),
        "located_by_chance": round(float(by_chance), 4),
        "parameters": sum(one.numel() for one in net.parameters()),
        "updates": updates,
        "seconds": round(seconds, 4),
    }


def visited_by(walks: Walks) -> Tensor:
    """Which places had been visited by each step. `[T, B, CELLS]` of bool."""
    return walks.inputs[..., VIEW:-VIEW].cumsum(0) > 0


class Mapper(nn.Module):
    """A core, and two linear maps of its output: of each cell whether it is a wall, and whether it is asked for."""

    def __init__(self, mapper: str) -> None:
        super().__init__()
        self.core = MAPPERS[mapper](2 * VIEW + CELLS, HIDDEN[mapper])
        self.told, self.where = (nn.Linear(self.core.output_size, CELLS) for _ in range(2))

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of walls and of places. `[T, B, D]` -> `[T, B, CELLS]` twice."""
        outputs, _, _ = self.core(inputs, self.core.initial_state(inputs.shape[1]))
        return self.told(outputs), self.where(outputs)


def learned(mapper: str, chance: torch.Generator, most: int) -> tuple[Mapper, int, float]:
    """A mapper that was trained on walks of forty steps, how many updates that took, and processor seconds."""
    net, updates, seconds = Mapper(mapper), 0, 0.0
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    while updates < most and seconds < SECONDS:
        began = time.process_time()
        walks = walked(16, TRAINED_ON, chance)
        told, where = net(walks.inputs)
        each = functional.binary_cross_entropy_with_logits(told, walks.walls.expand_as(told), reduction="none")
        right = where.masked_fill(~visited_by(walks), -torch.inf).log_softmax(2).masked_fill(~walks.alike, -torch.inf)
        loss = (each * walks.seen).sum() / walks.seen.sum() - torch.logsumexp(right, 2).mean()
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        updates, seconds = updates + 1, seconds + time.process_time() - began
    return net, updates, seconds
