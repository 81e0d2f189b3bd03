"""This project's own core: the steps of an episode in a dictionary, read by queries that give only a part of a key."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from engram_rl.memory.checks import unknown
from engram_rl.memory.cores.addressing import entropy, mean_age
from engram_rl.memory.cores.band import along_the_band, of_the_band, unseen
from engram_rl.memory.cores.core import Core, Losses, State, require_sizes

AGES_LR = 3e-2
"""Learning rate of Adam for the weights of ages; chosen with PPO on RepeatPrevious."""

POSITIONS_LR = 1e-2
"""Learning rate of Adam for the maps of positions; chosen with PPO on Autoencode, where 3e-2 was too much."""

NEUTRAL = 0.01
"""Standard deviation with which all begins that says what a query looks for: steps are read alike at first."""


class StoreCore(Core):
    """Every step of an episode is an entry of a dictionary, and several learned queries read it at each step.

    An entry's key has parts, by name; a query is an incomplete key and gives some of them. Of the steps i of this
    episode, the present one t included, head h reads

        s_i = sum over its parts m of e^c[h, m] score_m(i, t)
        w   = softmax over i of s_i, or of the `top` largest
        r_h = sum_i w_i x_i

    where the parts score by

        age       A[h, t - i]                    "what was 31 steps ago"
        position  phi(i)^T P[h] phi(t)           "the mirror image of now", phi sines and cosines of linear frequencies
        content   (Q[h] x_t)^T (K x_i) / sqrt d  "what followed something like this"
        others    as content, of the columns of x that `parts` names: "where was this seen"

    and what was read is answered with `y = tanh(W_2 tanh(W_1 [x_t; r_1; ...; r_H]))`.

    A, P and Q begin so close to 0 that every head reads the mean of the episode; then each finds what it needs. Ages
    and positions want larger steps of Adam than a network does: `core.parameter_groups(lr)` says which. A reflection
    of time, like a shift, is linear in sines and cosines, so one matrix per head says either.

    Entries are raw inputs, so that their keys never age; the last `capacity` of them are kept.

    Args:
        input_size: D.
        hidden_size: Numbers in an output, and in the layer before it.
        capacity: N, steps that are kept; ages beyond are forgotten.
        heads: H, queries at each step.
        queries: For each head the parts that its query gives; all of them by default.
        parts: Further parts of a key, by name: the first column of the input and the one after the last.
        episode_length: Steps within which positions are told apart; `capacity` by default. Positions beyond repeat.
        frequencies: Of the sines and cosines of a position.
        key_size: d, numbers in the key of content and of each further part.
        top: How many entries a query reads; all of them by default.
    """

    reads_by = "age"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        capacity: int = 128,
        heads: int = 4,
        queries: Sequence[Sequence[str]] | None = None,
        parts: Mapping[str, Sequence[int]] | None = None,
        episode_length: int | None = None,
        frequencies: int = 16,
        key_size: int = 16,
        top: int | None = None,
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.period = capacity if episode_length is None else episode_length
        require_sizes(self, capacity=capacity, heads=heads, frequencies=frequencies, key_size=key_size)
        require_sizes(self, episode_length=self.period, top=1 if top is None else top)
        self.capacity, self.heads, self.frequencies, self.top = capacity, heads, frequencies, top
        self.columns = {"content": slice(0, input_size), **self._named(parts or {})}
        self.queries = self._given(queries)
        self.parts = [part for part in ("age", "position", *self.columns) if any(part in q for q in self.queries)]

        self.strengths = nn.Parameter(torch.zeros(heads, len(self.parts)))  # c
        if "age" in self.parts:
            self.ages = nn.Parameter(NEUTRAL * torch.randn(heads, capacity))  # A
        if "position" in self.parts:
            self.positions = nn.Parameter(NEUTRAL * torch.randn(heads, 2 * frequencies, 2 * frequencies))  # P
        self.alike = [part for part in self.columns if part in self.parts]  # that are compared with what is asked
        widths = [self.columns[part].stop - self.columns[part].start for part in self.alike]
        self.keys = nn.ModuleList(nn.Linear(width, key_size, bias=False) for width in widths)  # K
        self.asked = nn.ModuleList(neutral(input_size, heads * key_size) for _ in widths)  # Q
        self.answer = nn.Sequential(
            outspoken((1 + heads) * input_size, hidden_size), nn.Tanh(), outspoken(hidden_size, hidden_size), nn.Tanh()
        )

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """See `Core.parameter_groups`: ages learn with 3e-2, positions with 1e-2, all else with `lr`."""
        special = {"ages": AGES_LR, "positions": POSITIONS_LR}
        rest = [parameter for name, parameter in self.named_parameters() if name not in special]
        own = [{"params": [getattr(self, name)], "lr": rate} for name, rate in special.items() if hasattr(self, name)]
        return [{"params": rest, "lr": lr}, *own]

    # ---- the recurrence

    def _initial(self, batch_size: int, like: Tensor) -> State:
        return {
            "entries": like.new_zeros(batch_size, self.capacity, self.input_size),  # the newest last
            "count": torch.zeros(batch_size, dtype=torch.int64, device=like.device),  # steps of this episode
        }

    def _step(self, x: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        outputs, state, losses = self._sequence(x.unsqueeze(0), state)
        return outputs.squeeze(0), state, losses

    def _sequence(self, xs: Tensor, state: State) -> tuple[Tensor, State, Losses]:
        steps = len(xs)
        entries = torch.cat([state["entries"][:, 1:], xs.transpose(0, 1)], 1)  # [B, N - 1 + T, D]
        weights = self._weights(entries, state["count"], steps)  # [B, H, T, N]
        read = (along_the_band(weights).flatten(1, 2) @ entries).unflatten(1, (self.heads, steps))
        read = read.permute(2, 0, 1, 3).flatten(2)  # [T, B, H D]
        after = {"entries": entries[:, -self.capacity :], "count": state["count"] + steps}
        return self.answer(torch.cat([xs, read], -1)), after, {}

    def _weights(self, entries: Tensor, count: Tensor, steps: int) -> Tensor:
        """What each head reads at the last `steps` of the entries, the oldest first. `[B, H, T, N]`.

        Args:
            entries: The steps that are kept, up to the last. `[B, N - 1 + T, D]`
            count: Steps of the episode before the first that reads. `[B]`
            steps: T.
        """
        scores = self._scores(entries, count, steps)
        scores = scores.masked_fill(unseen(count, steps, self.capacity).unsqueeze(1), -torch.inf)
        if self.top is not None and self.top < self.capacity:
            least = scores.topk(self.top, -1).values[..., -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        return torch.softmax(scores, -1)

    def _scores(self, entries: Tensor, count: Tensor, steps: int) -> Tensor:
        """The sum over the parts of a key. `[B, H, T, N]`."""
        strengths = dict(zip(self.parts, self._strengths(entries).unbind(1), strict=True))  # [H] each
        scores = entries.new_zeros(len(entries), self.heads, steps, self.capacity)
        if "age" in self.parts:
            scores = scores + (strengths["age"].unsqueeze(-1) * self.ages).flip(-1).unsqueeze(1)
        queries, keys = [], []
        if "position" in self.parts:
            first = count.unsqueeze(1) - (self.capacity - 1)
            places = self._places(first + torch.arange(entries.shape[1], device=count.device), entries)
            asked = torch.einsum("btf,hfg->bhtg", places[:, -steps:], self.positions.mT)
            queries.append(strengths["position"].reshape(-1, 1, 1) * asked)
            keys.append(places)
        for part, key_of, query_of in zip(self.alike, self.keys, self.asked, strict=True):
            key = key_of(entries[..., self.columns[part]])  # [B, N - 1 + T, d]
            asked = query_of(entries[:, -steps:]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            queries.append((strengths[part] / math.sqrt(key.shape[-1])).reshape(-1, 1, 1) * asked)
            keys.append(key)
        if not queries:
            return scores
        query = torch.cat(queries, -1).flatten(1, 2)  # [B, H T, ...]
        return scores + of_the_band((query @ torch.cat(keys, -1).mT).unflatten(1, (self.heads, steps)), self.capacity)

    def _strengths(self, like: Tensor) -> Tensor:
        """`e^c`, and 0 for the parts that a head's query does not give. `[H, M]`."""
        given = torch.tensor([[part in query for part in self.parts] for query in self.queries], device=like.device)
        return torch.where(given, self.strengths.exp(), 0.0)

    def _places(self, steps: Tensor, like: Tensor) -> Tensor:
        """Phi of the number of a step in its episode. `[...]` -> `[..., 2 F]`."""
        frequencies = torch.arange(1, self.frequencies + 1, device=steps.device)
        angles = (steps.unsqueeze(-1) % (2 * self.period) * frequencies).to(like.dtype) * (math.pi / self.period)
        return torch.cat([angles.sin(), angles.cos()], -1)

    # ---- what it reads, for pictures

    def _read_weights(self, state: State) -> Tensor:
        """What was read at the step that led to a state, of age 0 first. `[B, H, N]`."""
        return self._weights(state["entries"], (state["count"] - 1).clamp_min(0), 1).squeeze(2).flip(-1)

    @torch.no_grad()
    def inspect(self, state: State) -> dict[str, Tensor]:
        """See `Core.inspect`; `usage` is the share of the capacity that is filled."""
        weights = self._read_weights(state)
        ages = torch.arange(self.capacity, device=weights.device).expand(len(weights), -1)
        return {
            "read_entropy": entropy(weights).mean(-1),
            "read_age": mean_age(weights, ages),
            "usage": state["count"].clamp_max(self.capacity).to(weights.dtype) / self.capacity,
        }

    # ---- what is checked

    def _named(self, parts: Mapping[str, Sequence[int]]) -> dict[str, slice]:
        for name, columns in parts.items():
            if name in ("age", "position", "content"):
                raise ValueError(f"{self._name} has a part {name!r} of its own; call yours otherwise")
            if len(columns) != 2 or not 0 <= columns[0] < columns[1] <= self.input_size:
                raise ValueError(
                    f"{self._name}'s part {name!r} is {columns!r}; give its first column and the one after its last, "
                    f"of {self.input_size}"
                )
        return {name: slice(*columns) for name, columns in parts.items()}

    def _given(self, queries: Sequence[Sequence[str]] | None) -> list[list[str]]:
        every = ["age", "position", *self.columns]
        if queries is None:
            return [every] * self.heads
        if len(queries) != self.heads or not all(queries):
            raise ValueError(
                f"{self._name} has {self.heads} heads; name the parts of each one's query, got {queries!r}"
            )
        for part in (part for query in queries for part in query):
            if part not in every:
                raise unknown("part of a key", part, every)
        return [list(query) for query in queries]


def neutral(inputs: int, outputs: int) -> nn.Linear:
    """A map that begins close to 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.normal_(layer.weight, std=NEUTRAL)
    nn.init.normal_(layer.bias, std=NEUTRAL)
    return layer


def outspoken(inputs: int, outputs: int) -> nn.Linear:
    """A map that begins orthogonal, as large as suits a tanh."""
    layer = nn.Linear(inputs, outputs)
    nn.init.orthogonal_(layer.weight, math.sqrt(2))
    nn.init.zeros_(layer.bias)
    return layer
