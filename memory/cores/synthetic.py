"""Synthetic gradients (Jaderberg et al. 2017, arXiv 1608.05343): what lies beyond a truncated sequence, foretold."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from engram_rl.memory.cores.core import Core, State, require_sizes


class SyntheticGradients(nn.Module):
    """Learns to tell from a state how the loss of all later steps changes with it, so that short sequences suffice.

        beyond = <f(s_T), s_T>, f(s_T) held constant                    its gradient by s_T is f(s_T)
        target = d (loss of the window + beyond) / d s_0                (section 2.2)
        error  = |f(s_0) - target|^2

    so that of each window both the core and f are taught, the latter by itself of the window after, as values are in
    temporal-difference learning.

        foretold = SyntheticGradients(core)
        state = foretold.opened(state)                           # for each window of a sequence
        outputs, after, losses = core(xs, state, reset)
        loss = task_loss(outputs) + foretold.beyond(after)
        (loss + foretold.error(state, loss)).backward()
        state = after

    f is a net of one layer of hidden units, whose output begins at 0: at first windows are merely truncated.

    Args:
        core: Of whose states; leaves of whole numbers have no gradient.
        hidden: Units of f.

    Raises:
        ValueError: A size below 1, or a state without numbers that could be differentiated.
    """

    def __init__(self, core: Core, hidden: int = 64) -> None:
        super().__init__()
        require_sizes(self, hidden=hidden)
        with torch.no_grad():
            state = core.initial_state(1)
        self.shapes = {name: leaf.shape[1:] for name, leaf in state.items() if leaf.is_floating_point()}
        size = sum(math.prod(shape) for shape in self.shapes.values())
        if not size:
            raise ValueError(f"the state of {type(core).__name__} holds nothing that could be differentiated")
        last = nn.Linear(hidden, size)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.foretells = nn.Sequential(nn.Linear(size, hidden), nn.Tanh(), last).to(next(core.parameters()))

    def opened(self, state: State) -> State:
        """The state, cut off from what went before, and differentiable."""
        return {
            name: leaf.detach().requires_grad_() if name in self.shapes else leaf.detach()
            for name, leaf in state.items()
        }

    def forward(self, state: State) -> State:
        """What is foretold to be the gradient of all later losses by each leaf. `[B, ...]`."""
        rows = torch.cat([state[name].detach().reshape(len(state[name]), -1) for name in self.shapes], 1)
        told = self.foretells(rows).split([math.prod(shape) for shape in self.shapes.values()], 1)
        parts = zip(self.shapes.items(), told, strict=True)
        return {name: part.reshape(-1, *shape) for (name, shape), part in parts}

    def beyond(self, after: State, ends: Tensor | None = None) -> Tensor:
        """To be added to a window's loss: its gradient by the last state is what is foretold.

        Args:
            after: The state after the window.
            ends: Rows whose episode ends with the window, so that nothing lies beyond. `[B]` of bool
        """
        with torch.no_grad():
            told = self(after)
        if ends is not None:
            told = {name: part.masked_fill(ends.reshape(-1, *[1] * (part.dim() - 1)), 0) for name, part in told.items()}
        return torch.stack([(told[name] * after[name]).sum() for name in told]).sum()

    def error(self, opened: State, loss: Tensor) -> Tensor:
        """How far what is foretold of a window's first state is from what the window says: mean over rows.

        Args:
            opened: Of `opened`, before the window.
            loss: Of the window, `beyond` included.
        """
        leaves = [opened[name] for name in self.shapes]
        slopes = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True)
        told, error = self(opened), []
        for (name, part), slope in zip(told.items(), slopes, strict=True):
            wanted = torch.zeros_like(opened[name]) if slope is None else slope
            error.append((part - wanted).square().sum())
        return torch.stack(error).sum() / len(leaves[0])
