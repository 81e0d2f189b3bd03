"""What a core on whole sequences does not show: cut windows, lessons, thinking longer, answers that are drawn."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.cores.tasks import copy
from benchmarks.runs import Row
from engram_rl.memory.cores import SyntheticGradients, VariationalMemory, make_core
from engram_rl.memory.cores.ntm import NTM
from engram_rl.memory.cores.variational import Gaussian
from engram_rl.training.curriculum import Curriculum

JUDGED_ON = 256
"""Fresh episodes for the score that is reported."""


def truncation(way: str, tiny: bool, window: int = 5, length: int = 4, width: int = 4) -> Row:
    """Wrong bits in copying four vectors, ten steps, of an LSTM that is trained by windows of five.

    All vectors are shown in the first window, all are asked for in the second, so no error reaches what should have
    been kept: `truncated` leaves it at that, `synthetic_gradients` foretells, `whole_sequences` has no windows.
    """
    chance = torch.Generator().manual_seed(torch.initial_seed())
    core, read_out = make_core("lstm", width + 2, 48), nn.Linear(48, width)
    foretold = SyntheticGradients(core, hidden=128)
    optimiser = torch.optim.Adam([*core.parameters(), *read_out.parameters()], 3e-3)
    teacher = torch.optim.Adam(foretold.parameters(), 3e-3)
    steps = 2 * length + 2

    def update(batch: int = 32) -> None:
        episodes, state = copy(batch, chance, True, width, length), core.initial_state(batch)
        size = steps if way == "whole_sequences" else window
        for start in range(0, steps, size):
            opened, asked = foretold.opened(state), episodes.asked[start : start + size]
            outputs, after, _ = core(episodes.inputs[start : start + size], opened)
            wanted = episodes.bits[start : start + size][asked]
            loss = functional.binary_cross_entropy_with_logits(read_out(outputs[asked]), wanted, reduction="sum")
            if way == "synthetic_gradients":
                if start + size < steps:
                    loss = loss + foretold.beyond(after)
                loss = loss + foretold.error(opened, loss)
            optimiser.zero_grad()
            teacher.zero_grad()
            if loss.requires_grad:
                loss.backward()
                nn.utils.clip_grad_norm_([*core.parameters(), *read_out.parameters()], 1.0)
                optimiser.step()
                teacher.step()
            state = after

    updates, seconds = _repeated(update, 2 if tiny else 10**6, 12.0)
    with torch.no_grad():
        episodes = copy(4 if tiny else JUDGED_ON, torch.Generator().manual_seed(10**6), True, width, length)
        outputs, _, _ = core(episodes.inputs, core.initial_state(episodes.inputs.shape[1]))
        wrong = (read_out(outputs[episodes.asked]) > 0) != (episodes.bits[episodes.asked] > 0.5)
    return _row(float(wrong.float().mean()), "share", updates, seconds)


LENGTHS = (1, 2, 3, 4, 6)
"""Lessons of `lessons`: how long a sequence is to be copied."""


def lessons(way: str, tiny: bool, width: int = 3, limit: float = 0.05) -> Row:
    """Updates until no more than one bit in twenty is wrong in copying six vectors, with an NTM; lower is better.

    What is practised next is chosen by a `curriculum` that is paid by the fall of a lesson's loss, at random
    (`uniform`), or is the longest at once (`fixed`). Where the limit is not reached, the updates that were made.
    """
    chance = torch.Generator().manual_seed(torch.initial_seed())
    core, read_out = make_core("ntm", width + 2, 32, slots=8, width=8), nn.Linear(32, width)
    optimiser = torch.optim.Adam([*core.parameters(), *read_out.parameters()], 3e-3)
    curriculum = Curriculum(len(LENGTHS), rate=0.1, seed=torch.initial_seed())
    draw = np.random.default_rng(torch.initial_seed())

    def wrong(logits: Tensor, bits: Tensor) -> float:
        return float(((logits > 0) != (bits > 0.5)).float().mean())

    def answered(length: int, batch: int) -> tuple[Tensor, Tensor]:
        episodes = copy(batch, chance, True, width, length)
        outputs, _, _ = core(episodes.inputs, core.initial_state(batch))
        return read_out(outputs[episodes.asked]), episodes.bits[episodes.asked]

    choose: Callable[[], int] = {
        "curriculum": curriculum.draw,
        "uniform": lambda: int(draw.integers(len(LENGTHS))),
        "fixed": lambda: len(LENGTHS) - 1,
    }[way]
    latest: dict[int, float] = {}  # a running mean of each lesson's loss

    def update() -> None:
        lesson = choose()
        logits, bits = answered(LENGTHS[lesson], 16)
        loss = functional.binary_cross_entropy_with_logits(logits, bits)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*core.parameters(), *read_out.parameters()], 1.0)
        optimiser.step()
        curriculum.learned(lesson, latest.get(lesson, loss.item()) - loss.item())
        latest[lesson] = 0.8 * latest.get(lesson, loss.item()) + 0.2 * loss.item()

    @torch.no_grad()
    def enough() -> bool:
        return all(wrong(*answered(LENGTHS[-1], batch)) <= limit for batch in (32, 128))

    updates, seconds = _repeated(update, 2 if tiny else 10**6, 40.0, enough)
    return _row(float(updates), "updates", updates, seconds)


def pondering(way: str, tiny: bool, width: int = 4, steps: int = 12) -> Row:
    """How long is thought where the input says nothing, over how long it is where it speaks.

    At a third of the steps there are four bits, and whether an odd number of them is set is asked; at the others there
    is nothing, and 0 is asked. The core is a GRU of sixteen units that may take six steps for an input. A score below 1
    says that thinking goes where it is of use.
    """
    chance = torch.Generator().manual_seed(torch.initial_seed())
    core = make_core("adaptive_computation", width + 1, 16, limit=6, ponder_cost=0.05)
    read_out = nn.Linear(16, 1)
    optimiser = torch.optim.Adam([*core.parameters(), *read_out.parameters()], 5e-3)

    def drawn(batch: int) -> tuple[Tensor, Tensor, Tensor]:
        bits = torch.randint(2, (steps, batch, width), generator=chance).float()
        speaks = (torch.rand(steps, batch, 1, generator=chance) < 1 / 3).float()
        parity = (bits.sum(2, keepdim=True) % 2) * speaks
        return torch.cat([(2 * bits - 1) * speaks, speaks], 2), parity, speaks[..., 0] > 0

    def update(batch: int = 32) -> None:
        xs, parity, _ = drawn(batch)
        outputs, _, losses = core(xs, core.initial_state(batch))
        loss = functional.binary_cross_entropy_with_logits(read_out(outputs), parity) + losses["ponder"]
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([*core.parameters(), *read_out.parameters()], 1.0)
        optimiser.step()

    updates, seconds = _repeated(update, 2 if tiny else 10**6, 14.0)
    with torch.no_grad():
        xs, parity, speaks = drawn(4 if tiny else JUDGED_ON)
        state, thought, right = core.initial_state(xs.shape[1]), [], []
        for x, wanted in zip(xs, parity, strict=True):
            output, state, _ = core.step(x, state)
            thought.append(state["ponder"])
            right.append(((read_out(output) > 0) == (wanted > 0.5))[:, 0])
        steps_taken, correct = torch.stack(thought), torch.stack(right)
    told = {
        "thought_silent": round(float(steps_taken[~speaks].mean()), 3),
        "thought_speaking": round(float(steps_taken[speaks].mean()), 3),
        "right_speaking": round(float(correct[speaks].float().mean()), 4),
    }
    return _row(told["thought_silent"] / told["thought_speaking"], "ratio", updates, seconds) | told


class WithoutDraws(VariationalMemory):
    """The same with nothing to draw: z is 0, and the bits of an answer are on their own."""

    def parts(self, xs: Tensor, ys: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        """See `VariationalMemory.parts`; nothing is drawn, so there is no divergence."""
        surprise, divergence = super().parts(xs, ys, generator)
        return surprise, 0 * divergence

    def _drawn(self, q: Gaussian, generator: torch.Generator | None) -> Tensor:
        return torch.zeros_like(q[0])


def one_of_three(way: str, tiny: bool, width: int = 5) -> Row:
    """The share of answers that are, in every bit, one of three vectors that were shown; each is as good an answer."""
    chance = torch.Generator().manual_seed(torch.initial_seed())
    make = {"variational_memory": VariationalMemory, "without_draws": WithoutDraws}[way]
    memory = make(width, 32, width, core=partial(NTM, slots=4, width=12, reads=3), latent=4)
    optimiser = torch.optim.Adam(memory.parameters(), 5e-3)
    made = 0

    def drawn(batch: int) -> tuple[Tensor, Tensor]:
        shown = torch.randint(2, (3, batch, width), generator=chance).float()
        which = torch.randint(3, (batch,), generator=chance)
        return 2 * shown - 1, shown[which, torch.arange(batch)].unsqueeze(0)

    def update(batch: int = 32) -> None:
        nonlocal made
        made += 1
        optimiser.zero_grad()
        memory.loss(*drawn(batch), kl_weight=min(1.0, made / 300)).backward()
        nn.utils.clip_grad_norm_(memory.parameters(), 1.0)
        optimiser.step()

    updates, seconds = _repeated(update, 2 if tiny else 10**6, 14.0)
    xs, _ = drawn(4 if tiny else JUDGED_ON)
    answers = torch.stack([memory.draw(xs, 1)[0] for _ in range(8)])  # [8, B, width]
    same = (answers.unsqueeze(1) == (xs > 0).float()).all(-1)  # [8, 3, B]
    found = same.any(0).float().sum(0).mean()  # of the three, in eight draws
    return _row(float(same.any(1).float().mean()), "answers", updates, seconds) | {"found": round(float(found), 3)}


WAYS: dict[str, Callable[[str, bool], Row]] = {
    "truncation": truncation,
    "lessons": lessons,
    "pondering": pondering,
    "one_of_three": one_of_three,
}
"""By name: from the way's name, and whether it is to be a handful of updates only, to its score and what it took."""

WAY_CLAIMS: dict[str, dict[str, str]] = {
    "truncation": {"synthetic_gradients": "", "truncated": "", "whole_sequences": ""},
    "lessons": {"curriculum": "", "uniform": "", "fixed": ""},
    "pondering": {"act_gru": "<= 0.8"},
    "one_of_three": {"variational_memory": "", "without_draws": ""},
}
"""Which way claims which of them, and the limit; without one it is there to compare."""


def _repeated(
    update: Callable[[], None], updates: int, seconds: float, enough: Callable[[], bool] = lambda: False
) -> tuple[int, float]:
    """Updates made and processor seconds taken, looks at whether it is enough not counted."""
    spent, made = 0.0, 0
    while made < updates and spent < seconds:
        began = time.process_time()
        update()
        made, spent = made + 1, spent + time.process_time() - began
        if made % 25 == 0 and enough():
            break
    return made, spent


def _row(score: float, measure: str, updates: int, seconds: float) -> Row:
    return {"score": round(score, 5), "measure": measure, "updates": updates, "seconds": round(seconds, 4)}
