"""A small classifier with its gradient worked out by hand, for agents that train at every step."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from engram_rl.memory.checks import require_ram

_SAVED = ("parameters", "mean", "square")


class Perceptron:
    """Linear layers with ReLU between them and a softmax at the end, trained by Adam on cross-entropy.

    It stands beside `engram_rl.agents.common.perceptron` because its agent trains at every step: what torch does with a
    minibatch of 32 rows and layers of 128 is mostly overhead of its calls. Here the parameters are one array, and a
    minibatch takes a fifth of the time.

    Adam: Kingma and Ba 2015 (arXiv 1412.6980), algorithm 1. Weights begin Glorot-uniform, biases at 0.

    Args:
        sizes: Numbers in the input, units of the hidden layers, and classes.
        rng: Draws the first weights.
        learning_rate: Adam's.
        dtype: Of all numbers.

    Attributes:
        parameters: All weights, then all biases. `[P]`
        updates: Minibatches learned from.
    """

    def __init__(
        self, sizes: Sequence[int], rng: np.random.Generator, learning_rate: float, dtype: Any = np.float32
    ) -> None:
        self._layers = list(pairwise(sizes))
        size = sum((fan_in + 1) * fan_out for fan_in, fan_out in self._layers)
        require_ram(f"a network with layers of {list(sizes)}", 20 * size, "lower agent.hidden")
        self.parameters = np.zeros(size, dtype)  # [P]
        self.mean, self.square = np.zeros_like(self.parameters), np.zeros_like(self.parameters)  # [P], of the gradients
        self.updates = 0
        self._gradient, self._scratch = np.empty_like(self.parameters), np.empty_like(self.parameters)  # [P]
        self._weights, self._biases = self._views(self.parameters)
        self._weight_gradients, self._bias_gradients = self._views(self._gradient)
        self._learning_rate = learning_rate
        for weights in self._weights:
            limit = (6 / sum(weights.shape)) ** 0.5
            weights[...] = rng.uniform(-limit, limit, weights.shape)

    def probabilities(self, inputs: np.ndarray) -> np.ndarray:
        """Probability of each class. `[B, D] -> [B, C]`."""
        return _softmax(self._activations(inputs)[-1])

    def learn(self, inputs: np.ndarray, classes: np.ndarray) -> float:
        """One step of Adam on a minibatch `[B, D]`, `[B]`; returns its mean cross-entropy before the step."""
        loss = self.differentiate(inputs, classes)
        self._step()
        return loss

    def differentiate(self, inputs: np.ndarray, classes: np.ndarray) -> float:
        """Mean cross-entropy of a minibatch `[B, D]`, `[B]`; its gradient is kept for the step."""
        activations = self._activations(inputs)
        rows = np.arange(len(inputs))
        slope = _softmax(activations[-1])  # [B, C]
        loss = -float(np.log(np.maximum(slope[rows, classes], np.finfo(slope.dtype).tiny)).mean())
        slope[rows, classes] -= 1
        slope /= len(inputs)
        for layer in reversed(range(len(self._layers))):
            np.matmul(activations[layer].T, slope, out=self._weight_gradients[layer])
            slope.sum(0, out=self._bias_gradients[layer])
            if layer:
                slope = slope @ self._weights[layer].T
                slope *= activations[layer] > 0
        return loss

    def gradient(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Of the last minibatch, by weights and by biases, a layer each. `[I, O]` and `[O]` each."""
        return self._weight_gradients, self._bias_gradients

    def state_dict(self) -> dict[str, Any]:
        """Parameters and Adam's moments."""
        return {name: getattr(self, name).copy() for name in _SAVED} | {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave.

        Raises:
            ValueError: It is of a network of other sizes.
        """
        saved = {name: np.asarray(state[name]) for name in _SAVED}
        if saved["parameters"].shape != self.parameters.shape:
            raise ValueError(
                f"The saved network has {saved['parameters'].size} parameters, this one {self.parameters.size}: "
                f"give the sizes that it was saved with (here {self._layers})."
            )
        for name in _SAVED:
            getattr(self, name)[...] = saved[name]
        self.updates = state["updates"]

    def _activations(self, inputs: np.ndarray) -> list[np.ndarray]:
        """The input of each layer, then what the last one gives. `[B, I]` each."""
        activations = [inputs]
        for layer, (weights, biases) in enumerate(zip(self._weights, self._biases, strict=True)):
            if layer:
                np.maximum(activations[-1], 0, out=activations[-1])
            outputs = activations[-1] @ weights
            outputs += biases
            activations.append(outputs)
        return activations

    def _step(self) -> None:
        """Adam, in place: no array is made."""
        self.updates += 1
        gradient, scratch = self._gradient, self._scratch
        for moment, decay in ((self.mean, 0.9), (self.square, 0.999)):
            np.subtract(gradient, moment, out=scratch)
            scratch *= 1 - decay
            moment += scratch
            gradient *= gradient  # the second moment is of squares
        np.sqrt(self.square, out=scratch)
        scratch *= (1 - 0.999**self.updates) ** -0.5
        scratch += 1e-8
        np.divide(self.mean, scratch, out=scratch)
        scratch *= self._learning_rate / (1 - 0.9**self.updates)
        self.parameters -= scratch

    def _views(self, flat: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Weights and biases of each layer within `[P]`. `[I, O]` and `[O]` each."""
        ends = np.cumsum([fan_in * fan_out for fan_in, fan_out in self._layers])
        last = np.cumsum([ends[-1], *(fan_out for _, fan_out in self._layers)])
        weights = [
            part.reshape(shape) for part, shape in zip(np.split(flat[: ends[-1]], ends[:-1]), self._layers, strict=True)
        ]
        return weights, [flat[start:end] for start, end in pairwise(last)]


def _softmax(logits: np.ndarray) -> np.ndarray:
    """`[B, C] -> [B, C]`."""
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    exponentials /= exponentials.sum(1, keepdims=True)
    return exponentials
