"""The lifelong memory as a core: what followed situations like this one, in any episode, by anybody."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn

from engram_rl.memory.checks import real
from engram_rl.memory.cores.addressing import SMALL, entropy
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes
from engram_rl.memory.cores.store import neutral, outspoken
from engram_rl.memory.dictionary import DifferentiableNeuralDictionary

MEMORY = partial(DifferentiableNeuralDictionary, capacity=10_000, k=8)
"""Makes the memory of the size of a key and the numbers in a value."""

RECALLED = ("recalled_keys", "recalled_values", "recalled_valid")
"""Leaves of the state that say what was found at the last step."""


class Lifelong(Core):
    """Each step is written under the step before it, and the K entries nearest to the present step are read.

    An entry is the pair (x_{t-1}, x_t): its key is a step, its value the step that followed. Head h reads, of the K
    nearest keys to x_t in the dictionary,

        w   = softmax over k of (Q[h] x_t)^T (P key_k) / sqrt d - e^{c[h]} |x_t - key_k|^2
        r_h = sum_k w_k value_k

    and what was read is answered with `y = tanh(W_2 tanh(W_1 [x_t; r_1; ...; r_H]))`; an empty memory reads zeros.

    It is a core with three exemptions, all because the memory outlives episodes: a reset row is not a fresh one (it
    forgets only which step came before), rows of a batch meet (they read and write one memory), and what is remembered
    grows, up to the capacity. All else holds, and reading changes nothing: a step *emits* what it would write, in its
    state, and `commit(state)` writes it, which whoever acts calls once a step.

    An update that unrolls a rollout again is to see what acting saw, while the memory has changed since. What a step
    found is in its state (`RECALLED`): keep it, and give it to `forward` as `recalled`.

    Args:
        input_size: D.
        hidden_size: Numbers in an output, and in the layer before it.
        memory: Makes the memory of the size of a key and the numbers in a value, D both.
        heads: H, reads at each step.
        key_size: d, numbers in which a head compares.

    Attributes:
        memory: The dictionary. It is no part of `state_dict()`; its own `state_dict()` saves it.
    """

    lifelong = True
    reads_by = "entry"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        memory: Callable[[int, int], DifferentiableNeuralDictionary] = MEMORY,
        heads: int = 4,
        key_size: int = 16,
    ) -> None:
        super().__init__(input_size, hidden_size)
        require_sizes(self, heads=heads, key_size=key_size)
        self.heads = heads
        self.memory = memory(input_size, input_size)
        self.asked = neutral(input_size, heads * key_size)  # Q
        self.key = nn.Linear(input_size, key_size, bias=False)  # P
        self.sharpness = nn.Parameter(torch.zeros(heads))  # c
        self.answer = nn.Sequential(
            outspoken((1 + heads) * input_size, hidden_size), nn.Tanh(), outspoken(hidden_size, hidden_size), nn.Tanh()
        )

    # ---- the memory

    @torch.no_grad()
    def recall(self, xs: Tensor) -> dict[str, Tensor]:
        """The entries nearest to each input; nothing changes. `[N, D]` -> `[N, K, D]` twice and `[N, K]` of bool."""
        found = self.memory.lookup(xs.detach().to(self.memory.device, self.memory.dtype), touch=False)
        keys = torch.embedding(self.memory.store.vectors, found.slots.clamp(min=0))
        keys = keys.masked_fill(~found.valid.unsqueeze(-1), 0)
        keys, values = (part.detach().to(xs.device, xs.dtype) for part in (keys, found.values))
        return dict(zip(RECALLED, (keys, values, found.valid.to(xs.device)), strict=True))

    @torch.no_grad()
    def commit(self, state: State) -> None:
        """Write what the step that led to a state emitted; once for each step that was acted on."""
        rows = state["emitted"]
        if rows.any():
            key, value = (state[name][rows].to(self.memory.device, self.memory.dtype) for name in ("key", "value"))
            self.memory.write(key, value)

    # ---- the recurrence

    def _initial(self, batch_size: int, like: Tensor) -> State:
        none = torch.zeros(batch_size, dtype=torch.bool, device=like.device)
        rows = like.new_zeros(batch_size, self.memory.k, self.input_size)
        return {
            "key": like.new_zeros(batch_size, self.input_size),  # the step before the last
            "value": like.new_zeros(batch_size, self.input_size),  # the last step
            "emitted": none,  # whether that pair is to be written
            "going_on": none.clone(),  # whether there was a step
            "recalled_keys": rows,
            "recalled_values": rows.clone(),
            "recalled_valid": none.unsqueeze(1).repeat(1, self.memory.k),
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self._sequence(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        found = {name: part.unflatten(0, xs.shape[:2]) for name, part in self.recall(xs.flatten(0, 1)).items()}
        return self._unrolled(xs, state, found, None)

    def forward(
        self, xs: Tensor, state: State, reset: Tensor | None = None, recalled: Mapping[str, Tensor] | None = None
    ) -> tuple[Tensor, State, Losses]:
        """See `Core.forward`.

        Args:
            xs: `[T, B, D]`
            state: Before the first of them.
            reset: Which open an episode. `[T, B]` of bool
            recalled: What acting found at these steps; it is looked up by default. `[T, B, ...]` by name, as `RECALLED`

        Raises:
            ValueError: As of `Core.forward`; or what was recalled is of other steps.
        """
        if recalled is None:
            return super().forward(xs, state, reset)
        if torch.is_autocast_enabled(real("xs", xs).device.type):
            with torch.autocast(xs.device.type, enabled=False):
                return self.forward(self._unrounded(xs), state, reset, recalled)
        self._check(xs, state, reset)
        for name in RECALLED:
            if name not in recalled or recalled[name].shape[:3] != (*xs.shape[:2], self.memory.k):
                got = list(recalled[name].shape) if name in recalled else "nothing"
                raise ValueError(
                    f"{self._name} takes {name!r} of {[*xs.shape[:2], self.memory.k]} and what is found, got {got}"
                )
        return self._unrolled(xs, state, recalled, reset)

    def _unrolled(
        self, xs: Tensor, state: State, found: Mapping[str, Tensor], reset: Tensor | None
    ) -> tuple[Tensor, State, Losses]:
        """A sequence, with what was found at each of its steps."""
        after = self._after(xs, state, found)
        if reset is not None:
            after["emitted"] = after["emitted"] & ~reset[-1]
        return self._answered(xs, found), after, {}

    def _answered(self, xs: Tensor, found: Mapping[str, Tensor]) -> Tensor:
        """Y. `[T, B, D]` -> `[T, B, output_size]`."""
        read = self._weights(xs, found) @ found["recalled_values"]  # [T, B, H, D]
        return self.answer(torch.cat([xs, read.flatten(2)], -1))

    def _weights(self, xs: Tensor, found: Mapping[str, Tensor]) -> Tensor:
        """What each head reads of the entries that were found. `[..., D]` -> `[..., H, K]`."""
        keys, valid = found["recalled_keys"], found["recalled_valid"].unsqueeze(-2)
        queries = self.asked(xs).unflatten(-1, (self.heads, -1))  # [..., H, d]
        alike = queries @ self.key(keys).mT / math.sqrt(queries.shape[-1])
        apart = (xs.unsqueeze(-2) - keys).square().sum(-1).unsqueeze(-2)  # [..., 1, K]
        scores = (alike - self.sharpness.exp().unsqueeze(-1) * apart).masked_fill(~valid, -1 / SMALL)
        return scores.softmax(-1) * valid

    def _after(self, xs: Tensor, state: State, found: Mapping[str, Tensor]) -> State:
        last = xs[-2:].detach().clone()  # which outlive this step, while who gave them may fill them anew
        return {
            "key": last[0] if len(last) > 1 else state["value"],
            "value": last[-1],
            "emitted": torch.ones_like(state["going_on"]) if len(last) > 1 else state["going_on"],
            "going_on": torch.ones_like(state["going_on"]),
            **{name: found[name][-1] for name in RECALLED},
        }

    # ---- what is told of it

    def _read_weights(self, state: State) -> Tensor:
        return self._weights(state["value"], state)

    @torch.no_grad()
    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Core.inspect`; `usage` is the share of the memory's capacity that is filled, the same for each row."""
        weights = self._read_weights(state)
        filled = len(self.memory) / self.memory.capacity
        return {
            "write_strength": state["emitted"].to(weights.dtype),
            "read_entropy": entropy(weights).mean(-1),
            "usage": weights.new_full((len(weights),), filled),
        }
