"""Gradient descent on all parameters of a network as one vector."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from engram_rl.memory.checks import number


class Descent:
    """Steps of an optimiser that sees one long vector, of which the network's parameters and gradients are views.

    The norm of the gradient and a step of the optimiser are then some operations in all rather than some for each
    layer, which for small networks is half the cost of an update. An optimiser that treats each number by itself, as
    Adam and RMSprop do, takes the same steps as on the parameters apart.

    Args:
        network: Its parameters become views; it must stay on its device from here on.
        optimiser: Makes the optimiser of the vector.
        max_norm: Gradients longer than this are shortened to it; None for as long as they are.

    Raises:
        ValueError: Parameters of several types or devices, or a norm that is not positive.
    """

    def __init__(
        self, network: nn.Module, optimiser: Callable[..., torch.optim.Optimizer], max_norm: float | None = None
    ):
        if max_norm is not None:
            number("max_gradient_norm", max_norm, above=0, hint=", or null for none")
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        if len({(parameter.dtype, parameter.device) for parameter in parameters}) != 1:
            raise ValueError("Descent needs parameters, all of one type and on one device.")
        self.vector = nn.Parameter(torch.cat([parameter.detach().flatten() for parameter in parameters]))  # [P]
        self._gradient = torch.zeros_like(self.vector)  # [P]
        sizes = [parameter.numel() for parameter in parameters]
        views = zip(parameters, self.vector.data.split(sizes), self._gradient.split(sizes), strict=True)
        for parameter, values, gradient in views:
            parameter.data = values.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)
        self.vector.grad = self._gradient
        self._optimiser = optimiser([self.vector])
        self._max_norm = max_norm

    def __call__(self, loss: Tensor) -> None:
        """One step down the gradient of `loss`, `[]`."""
        self._gradient.zero_()
        loss.backward()
        if self._max_norm is not None:
            shorter = self._max_norm / (torch.linalg.vector_norm(self._gradient) + 1e-6)
            self._gradient.mul_(shorter.clamp(max=1.0))
        self._optimiser.step()

    def set_rate(self, rate: float) -> None:
        """The learning rate of the steps to come."""
        for group in self._optimiser.param_groups:
            group["lr"] = rate

    def state_dict(self) -> dict[str, Any]:
        """The optimiser's state; the parameters are the network's to save."""
        return self._optimiser.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        self._optimiser.load_state_dict(deepcopy(state))
