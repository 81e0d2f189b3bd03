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
from engram_rl.memory.cores.pieces import Pieces
from engram_rl.memory.cores.pointing import Pointer, columns_of_choices

AGES_LR = 3e-2
"""Learning rate of Adam for what is asked of ages; chosen with PPO on RepeatPrevious."""

POSITIONS_LR = 1e-2
"""The same of positions, which turn many scores at once: with 3e-2 some runs wander off before they find anything."""

SHORTEST = 4
"""Steps in the shortest wave of a position; the longest has twice the episode's."""

MOST_FILLED = 3
"""How much more than there are steps may be computed so that pieces of several lengths go through at once."""

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

        age       A[h, t - i]                        "what was 31 steps ago"
        position  phi(i)^T (P[h] phi(t) + p[h])      "the mirror image of now", "the first"
        content   (Q[h] x_t)^T (K x_i) / sqrt d      "what followed something like this"
        others    as content, of the columns of x that `parts` names: "where was this seen"

    and what was read is answered with `y = tanh(W_2 tanh(W_1 [x_t; r_1; ...; r_H; s_1; ...; s_H]))`; `clock` adds
    phi(t). Of n entries, what was shown once is an n-th of the mean that a head reads before it has learned, so reads
    are told as `s_h = asinh(n r_h)` too, about the logarithm of 2 n |r_h|, where it is heard from the beginning.

    phi(i) are sines and cosines of the number of a step in its episode, with wavelengths that grow by equal factors. A
    reflection of time, like a shift, takes the pair of a frequency to a linear map of itself, so P[h] is a 2 x 2 matrix
    for each frequency and no more: pairs of different ones would only add noise. Steps are counted from the resets that
    every core is told of; nothing else is known of an episode, its length neither.

    A, P, p and Q begin so close to 0 that every head reads the mean of the episode; then each finds what it needs. A, P
    and p want larger steps of Adam than a network does: `core.parameter_groups(lr)` says which.

    Entries are raw inputs, so that their keys never age; the last `capacity` of them are kept.

    Where columns of an input tell of the choices of who acts (a card's face in its place, whether it was chosen last),
    what was read tells of each of them too: `choices` scores come after the output, each by the same small network from
    the columns of that choice, of x_t and of every r_h and s_h, and from y (`pointing.Pointer`).

    Args:
        input_size: D.
        hidden_size: Numbers in an output, and in the layer before it.
        capacity: N, steps that are kept; ages beyond are forgotten.
        heads: H, queries at each step.
        queries: For each head the parts that its query gives; all of them by default.
        parts: Further parts of a key, by name: the first column of the input and the one after the last.
        period: Steps within which positions are told apart; `capacity` by default. Twice as far on they repeat.
        frequencies: Of the sines and cosines of a position.
        key_size: d, numbers in the key of content and of each further part.
        top: How many entries a query reads; all of them by default.
        clock: Whether the answer hears phi(t) too: what to do depends on the step, such as on every second one.
        choices: A, how many scores of choices follow the output; none by default.
        choice_columns: Blocks of columns that tell of the choices, an equal share of each for each choice, in order:
            the first column of each block and the one after its last.
    """

    reads_by = "age"
    phases: Tensor
    of_choices: Tensor

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        capacity: int = 512,
        heads: int = 4,
        queries: Sequence[Sequence[str]] | None = None,
        parts: Mapping[str, Sequence[int]] | None = None,
        period: int | None = None,
        frequencies: int = 16,
        key_size: int = 16,
        top: int | None = None,
        clock: bool = False,
        choices: int = 0,
        choice_columns: Sequence[Sequence[int]] = (),
    ) -> None:
        super().__init__(input_size, hidden_size)
        self.period = capacity if period is None else period
        require_sizes(self, capacity=capacity, heads=heads, frequencies=frequencies, key_size=key_size)
        require_sizes(self, period=self.period, top=1 if top is None else top)
        self.capacity, self.heads, self.frequencies, self.top = capacity, heads, frequencies, top
        self.columns = {"content": slice(0, input_size), **self._named(parts or {})}
        self.queries = self._given(queries)
        self.parts = [part for part in ("age", "position", *self.columns) if any(part in q for q in self.queries)]

        self.strengths = nn.Parameter(torch.zeros(heads, len(self.parts)))  # c
        if "age" in self.parts:
            self.ages = nn.Parameter(NEUTRAL * torch.randn(heads, capacity))  # A
        if "position" in self.parts:
            self.positions = nn.Parameter(NEUTRAL * torch.randn(heads, frequencies, 2, 2))  # P
            self.places = nn.Parameter(NEUTRAL * torch.randn(heads, frequencies, 2))  # p
        if clock or "position" in self.parts:
            self.register_buffer("phases", waves(self.period, frequencies), persistent=False)  # phi
        self.alike = [part for part in self.columns if part in self.parts]  # that are compared with what is asked
        widths = [self.columns[part].stop - self.columns[part].start for part in self.alike]
        self.keys = nn.ModuleList(nn.Linear(width, key_size, bias=False) for width in widths)  # K
        self.asked = nn.ModuleList(neutral(input_size, heads * key_size) for _ in widths)  # Q
        self.clock = bool(clock)
        heard = (1 + 2 * heads) * input_size + 2 * frequencies * self.clock
        self.answer = nn.Sequential(
            outspoken(heard, hidden_size), nn.Tanh(), outspoken(hidden_size, hidden_size), nn.Tanh()
        )
        if choices or choice_columns:
            require_sizes(self, choices=choices)
            of_choices = columns_of_choices(choice_columns, choices, input_size)  # [A, K]
            self.register_buffer("of_choices", of_choices, persistent=False)
            self.pointer = Pointer((1 + 2 * heads) * of_choices.shape[1], hidden_size)
            self.choices, self.output_size = int(choices), hidden_size + int(choices)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """See `Core.parameter_groups`: ages are asked at a rate of 3e-2, positions at 1e-2, the rest with `lr`."""
        named = dict(self.named_parameters())
        of_ages = [named.pop(name) for name in ("ages",) if name in named]
        of_positions = [named.pop(name) for name in ("positions", "places") if name in named]
        groups = [(list(named.values()), lr), (of_ages, AGES_LR), (of_positions, POSITIONS_LR)]
        return [{"params": parameters, "lr": rate} for parameters, rate in groups if parameters]

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
        entries = self._entries(xs, state)
        count = state["count"] + steps
        outputs = self._outputs(xs, entries, state["count"], int(count.max()))
        return outputs, {"entries": entries[:, -self.capacity :], "count": count}, {}

    def _side_by_side(self, rows: Tensor, states: State, pieces: Pieces) -> tuple[Tensor, State, Losses]:
        """See `Core._side_by_side`; short pieces are filled up to the longest, unless most would be filling."""
        there = (torch.arange(pieces.count) < pieces.sizes.unsqueeze(1)).to(rows.device)  # [L, K]
        if there.numel() > MOST_FILLED * len(rows):
            return super()._side_by_side(rows, states, pieces)
        xs = rows.new_zeros(*there.shape, self.input_size)
        xs[there] = rows
        lengths = there.sum(0)  # [K]
        entries = self._entries(xs, states)
        count = states["count"] + lengths
        outputs = self._outputs(xs, entries, states["count"], int(count.max()))
        last = (lengths - 1).unsqueeze(1) + torch.arange(self.capacity, device=rows.device)  # [K, C]
        kept = entries.gather(1, last.unsqueeze(-1).expand(-1, -1, self.input_size))
        return outputs[there], {"entries": kept, "count": count}, {}

    def _entries(self, xs: Tensor, state: State) -> Tensor:
        """What is kept, and then the steps. `[B, C - 1 + T, D]`."""
        return torch.cat([state["entries"][:, 1:], xs.transpose(0, 1)], 1)

    def _outputs(self, xs: Tensor, entries: Tensor, count: Tensor, longest: int) -> Tensor:
        """What is answered at each step. `[T, B, output_size]`.

        Args:
            xs: `[T, B, D]`
            entries: What is kept, and the steps. `[B, C - 1 + T, D]`
            count: Steps of the episode before the first of them. `[B]`
            longest: Steps of the longest episode so far: nothing older is looked at.
        """
        steps = len(xs)
        entries = entries[:, -(min(self.capacity, longest) - 1 + steps) :]
        weights = self._weights(entries, count, steps)  # [B, H, T, N]
        read = (along_the_band(weights).flatten(1, 2) @ entries).unflatten(1, (self.heads, steps))
        read = read.permute(2, 0, 1, 3)  # [T, B, H, D]
        now = count + torch.arange(steps, device=count.device).unsqueeze(1)  # [T, B]
        told = torch.asinh((now + 1).clamp_max(self.capacity)[..., None, None] * read)  # [T, B, H, D]
        clock = [self._waves(now, xs).flatten(2)] if self.clock else []
        answer = self.answer(torch.cat([xs, read.flatten(2), told.flatten(2), *clock], -1))
        if not self.choices:
            return answer
        known = torch.cat([xs.unsqueeze(2), read, told], 2)[..., self.of_choices]  # [T, B, 1 + 2 H, A, K]
        return torch.cat([answer, self.pointer(known.transpose(2, 3).flatten(3), answer)], -1)

    def _weights(self, entries: Tensor, count: Tensor, steps: int) -> Tensor:
        """What each head reads at the last `steps` of the entries, the oldest first. `[B, H, T, N]`.

        Args:
            entries: The steps that are kept, up to the last. `[B, N - 1 + T, D]`
            count: Steps of the episode before the first that reads. `[B]`
            steps: T.
        """
        scores = self._scores(entries, count, steps)
        scores = scores.masked_fill(unseen(count, steps, entries.shape[1] - steps + 1).unsqueeze(1), -torch.inf)
        if self.top is not None and self.top < scores.shape[-1]:
            least = scores.topk(self.top, -1).values[..., -1:]
            scores = scores.masked_fill(scores < least, -torch.inf)
        return torch.softmax(scores, -1)

    def _scores(self, entries: Tensor, count: Tensor, steps: int) -> Tensor:
        """The sum over the parts of a key. `[B, H, T, N]`."""
        window = entries.shape[1] - steps + 1
        strengths = dict(zip(self.parts, self._strengths(entries).unbind(1), strict=True))  # [H] each
        scores = entries.new_zeros(len(entries), self.heads, steps, window)
        if "age" in self.parts:
            scores = scores + (strengths["age"].unsqueeze(-1) * self.ages[:, :window]).flip(-1).unsqueeze(1)
        queries, keys = [], []
        if "position" in self.parts:
            first = count.unsqueeze(1) - (window - 1)
            steps_of_episode = first + torch.arange(entries.shape[1], device=count.device)
            places = self._waves(steps_of_episode, entries)  # [B, N - 1 + T, F, 2]
            turned = torch.einsum("ntfb,hfab->nhtfa", places[:, -steps:], self.positions)
            asked = (turned + self.places.unsqueeze(1)).flatten(-2)
            queries.append(strengths["position"].reshape(-1, 1, 1) * asked)
            keys.append(places.flatten(-2))
        for part, key_of, query_of in zip(self.alike, self.keys, self.asked, strict=True):
            key = key_of(entries[..., self.columns[part]])  # [B, N - 1 + T, d]
            asked = query_of(entries[:, -steps:]).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            queries.append((strengths[part] / math.sqrt(key.shape[-1])).reshape(-1, 1, 1) * asked)
            keys.append(key)
        if not queries:
            return scores
        query = torch.cat(queries, -1).flatten(1, 2)  # [B, H T, ...]
        return scores + of_the_band((query @ torch.cat(keys, -1).mT).unflatten(1, (self.heads, steps)), window)

    def _waves(self, steps: Tensor, like: Tensor) -> Tensor:
        """The waves phi of steps of an episode. `[...]` to `[..., F, 2]`."""
        return self.phases[steps % (2 * self.period)].to(like.dtype)

    def _strengths(self, like: Tensor) -> Tensor:
        """`e^c`, and 0 for the parts that a head's query does not give. `[H, M]`."""
        given = torch.tensor([[part in query for part in self.parts] for query in self.queries], device=like.device)
        return torch.where(given, self.strengths.exp(), 0.0)

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


def waves(period: int, count: int) -> Tensor:
    """Sine and cosine of each step at each frequency. `[2 P, F, 2]` of float64.

    Args:
        period: P; all waves repeat after twice as many steps.
        count: F, how many there are, from one of 2 P steps to one of `SHORTEST`, at equal factors.
    """
    most = max(2 * period / SHORTEST, 1.0)
    turns = torch.logspace(0, math.log10(most), count, dtype=torch.float64).round().long()
    angles = (torch.arange(2 * period).unsqueeze(1) * turns % (2 * period)).double() * (math.pi / period)
    return torch.stack([angles.sin(), angles.cos()], -1)


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
