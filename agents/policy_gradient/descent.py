"""Gradient descent on all parameters of a network as one vector."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor, nn

from engram_rl.agents.common.restoring import restore_optimiser
from engram_rl.memory.checks import number


class Descent:
    """Steps of an optimiser that sees one long vector, of which the network's parameters and gradients are views.

    The norm of the gradient and a step of the optimiser are then some operations in all rather than some for each
    layer, which for small networks is half the cost of an update. An optimiser that treats each number by itself, as
    Adam and RMSprop do, takes the same steps as on the parameters apart.

    A network that has `parameter_groups(lr)` says which of its parameters want another rate: each group is a stretch
    of the vector, and their gradients still have one norm.

    Args:
        network: Its parameters become views; it must stay on its device from here on.
        optimiser: Makes the optimiser of the vector, or of its stretches.
        max_norm: Gradients longer than this are shortened to it; None for as long as they are.

    Raises:
        ValueError: Parameters of several types or devices, or a norm that is not positive.
    """

    def __init__(
        self, network: nn.Module, optimiser: Callable[..., torch.optim.Optimizer], max_norm: float | None = None
    ):
        if max_norm is not None:
            number("max_gradient_norm", max_norm, above=0, hint=", or null for none")
        self._groups: Callable[[float], list[dict[str, Any]]] = getattr(network, "parameter_groups", None) or (
            lambda lr: [{"params": list(network.parameters()), "lr": lr}]
        )
        groups = [[one for one in group["params"] if one.requires_grad] for group in self._groups(1.0)]
        parameters = [parameter for group in groups for parameter in group]
        if len({(parameter.dtype, parameter.device) for parameter in parameters}) != 1:
            raise ValueError("Descent needs parameters, all of one type and on one device.")
        self.vector = torch.cat([parameter.detach().flatten() for parameter in parameters])  # [P]
        self._gradient = torch.zeros_like(self.vector)  # [P]
        sizes = [parameter.numel() for parameter in parameters]
        views = zip(parameters, self.vector.split(sizes), self._gradient.split(sizes), strict=True)
        for parameter, values, gradient in views:
            parameter.data = values.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)
        ends = accumulate((sum(parameter.numel() for parameter in group) for group in groups), initial=0)
        self._optimiser = optimiser([{"params": [self._stretch(*where)]} for where in pairwise(ends)])
        self._max_norm = max_norm

    def _stretch(self, start: int, end: int) -> nn.Parameter:
        """A part of the vector, with its gradient."""
        stretch = nn.Parameter(self.vector[start:end])
        stretch.grad = self._gradient[start:end]
        return stretch

    def __call__(self, loss: Tensor) -> None:
        """One step down the gradient of `loss`, `[]`."""
        self._gradient.zero_()
        loss.backward()
        if self._max_norm is not None:
            shorter = self._max_norm / (torch.linalg.vector_norm(self._gradient) + 1e-6)
            self._gradient.mul_(shorter.clamp(max=1.0))
        self._optimiser.step()

    def set_rate(self, rate: float) -> None:
        """The learning rate of the steps to come, of all parameters that have none of their own."""
        for group, wanted in zip(self._optimiser.param_groups, self._groups(rate), strict=True):
            group["lr"] = wanted["lr"]

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state; the parameters are the network's to save."""
        return self._optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave, the rate that was set last included.

        What was saved of other stretches of the same vector, when other parameters had rates of their own, is cut anew.
        """
        sizes = [group["params"][0].numel() for group in self._optimiser.param_groups]
        if len(state["param_groups"]) != len(sizes):
            state = _cut_anew(state, sizes)
        restore_optimiser(self._optimiser, state)
        for group, saved in zip(self._optimiser.param_groups, state["param_groups"], strict=True):
            group["lr"] = saved["lr"]


def _cut_anew(state: dict[str, Any], sizes: list[int]) -> dict[str, Any]:
    """The state of an optimiser of one vector, for stretches of these sizes; as it is if they are of another vector."""
    groups, saved = state["param_groups"], list(state["state"].values())
    first = saved[0] if saved else {}
    names = [name for name, value in first.items() if isinstance(value, Tensor) and value.dim()]  # not `step`, of all
    vectors = {name: torch.cat([one[name] for one in saved]) for name in names}
    if any(len(vector) != sum(sizes) for vector in vectors.values()):
        return state
    pieces = {name: vector.split(sizes) for name, vector in vectors.items()}
    at = range(len(sizes))
    return {
        "state": {i: deepcopy(first | {name: piece[i] for name, piece in pieces.items()}) for i in at if saved},
        "param_groups": [groups[min(i, len(groups) - 1)] | {"params": [i]} for i in at],
    }
