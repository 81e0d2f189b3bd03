"""A memory core in a supervised loop: `python -m examples.core_supervised dnc` learns to say what came first.

Sequences of four episodes each: what an episode opened with is to be said at each of its steps, so that a core has to
hold it, and to let go of it when the next episode begins.
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn
from torch.nn import functional

from engram_rl.memory.cores import make_core

SYMBOLS, STEPS, EPISODES, BATCH = 4, 5, 4, 16


def episodes(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Inputs `[T, B, SYMBOLS]`, what is to be said `[T, B]`, and which inputs open an episode `[T, B]`."""
    symbols = torch.randint(SYMBOLS, (EPISODES, STEPS, BATCH), generator=generator)
    first = symbols[:, :1].expand_as(symbols)
    reset = torch.zeros(EPISODES, STEPS, BATCH, dtype=torch.bool)
    reset[:, 0] = True
    return functional.one_hot(symbols.flatten(0, 1), SYMBOLS).float(), first.flatten(0, 1), reset.flatten(0, 1)


def train(name: str = "gru", updates: int = 400, seed: int = 0) -> list[float]:
    """Accuracy of each update, before it was made."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    core = make_core(name, input_size=SYMBOLS, hidden_size=32)
    read_out = nn.Linear(core.output_size, SYMBOLS)
    optimiser = torch.optim.Adam([*core.parameter_groups(3e-3), {"params": read_out.parameters(), "lr": 3e-3}])
    accuracy = []
    for _ in range(updates):
        xs, first, reset = episodes(generator)
        outputs, _, losses = core(xs, core.initial_state(BATCH), reset)  # [T, B, H]; one call, four episodes a row
        logits = read_out(outputs)
        loss = functional.cross_entropy(logits.flatten(0, 1), first.flatten())
        optimiser.zero_grad()
        (loss + sum(losses.values())).backward()  # a core's own losses, of which most have none
        optimiser.step()
        accuracy.append(float((logits.argmax(-1) == first).float().mean()))
    return accuracy


if __name__ == "__main__":
    found = train(sys.argv[1] if sys.argv[1:] else "gru")
    for start in range(0, len(found), 50):
        print(f"updates {start:3d} to {start + 49}: accuracy {sum(found[start : start + 50]) / 50:.3f}")
