"""What `benchmarks.forgetting` remembers and forgets: worlds whose values shift, and ways to forget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from engram_rl.memory import Decay, DifferentiableNeuralDictionary

KEY_SIZE = 8
JITTER = 0.02  # standard deviation of a place's key between visits; places are about 4 apart
SAME_PLACE = 0.3  # distance within which a neighbour speaks about the place visited
NEIGHBOURS = 3
CHECKED = 16  # entries near a place that its visit may refute
TOLERANCE = 0.25  # an entry that is further off than this is refuted: half of what tells something from nothing


@dataclass(frozen=True)
class World:
    """Places with values that are redrawn at every shift; a visit shows a place's value, with noise.

    Attributes:
        name: In the records.
        question: What it asks of a memory.
        places: Places whose values count.
        visits: Of each place in a task.
        passing: Observations in between, for each that counts, which are made once and are worth nothing.
        noise: Standard deviation of a visit's value.
        recalled: Places that are asked about, without a visit, at each step.
        step: Visits that happen at once.
        capacity: Entries in memory.
    """

    name: str
    question: str
    places: int = 100
    visits: int = 6
    passing: int = 0
    noise: float = 0.0
    recalled: int = 0
    step: int = 20
    capacity: int = 300

    @property
    def sweep(self) -> int:
        """Steps in which every place is visited once."""
        return -(-self.places // self.step)

    @property
    def writes(self) -> int:
        """Observations in a task."""
        return self.places * self.visits * (1 + self.passing)


WORLDS = [
    World("plain", "values shift"),
    World("noisy", "values shift and are noisy", noise=0.3),
    World("flood", "values shift and are rarely seen", places=40, passing=4, recalled=8, step=4, capacity=80),
]


@dataclass(frozen=True)
class Experience:
    """What happens in one step: B observations of distinct places.

    Attributes:
        keys: `[B, KEY_SIZE]`
        values: What the visits showed. `[B, 1]`
        identity: Of the place. `[B]` int64
        recalled: Keys of places that are asked about without a visit. `[R, KEY_SIZE]`
    """

    keys: Tensor
    values: Tensor
    identity: Tensor
    recalled: Tensor


@dataclass(frozen=True)
class Task:
    """The time between two shifts.

    Attributes:
        keys: Of the places that count. `[M, KEY_SIZE]`
        values: Their true values. `[M, 1]`
        experiences: What happens, in order.
    """

    keys: Tensor
    values: Tensor
    experiences: Iterator[Experience]


def live_through(world: World, tasks: int, seed: int) -> Iterator[Task]:
    """The tasks of one run; the same for every variant with the same seed."""
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn(world.places, KEY_SIZE, generator=generator)
    for _ in range(tasks):
        values = draw_values(world.places, generator)
        yield Task(keys, values, _experiences(world, keys, values, generator))


def draw_values(places: int, generator: torch.Generator) -> Tensor:
    """Half of the places are worth nothing, the others between 0.5 and 1.  `[M, 1]`."""
    worth = 0.5 + 0.5 * torch.rand(places, 1, generator=generator)
    return worth * (torch.rand(places, 1, generator=generator) < 0.5)


def _experiences(world: World, keys: Tensor, values: Tensor, generator: torch.Generator) -> Iterator[Experience]:
    for _ in range(world.visits):
        for places in torch.randperm(world.places, generator=generator).split(world.step):
            new = len(places) * world.passing
            passing = torch.randn(new, KEY_SIZE, generator=generator)
            seen = keys[places] + JITTER * torch.randn(len(places), KEY_SIZE, generator=generator)
            shown = values[places] + world.noise * torch.randn(len(places), 1, generator=generator)
            names = torch.randint(world.places, 2**62, (new,), generator=generator)
            yield Experience(
                torch.cat([seen, passing]),
                torch.cat([shown, torch.zeros(new, 1)]),
                torch.cat([places, names]),
                keys[torch.randint(world.places, (world.recalled,), generator=generator)],
            )


@dataclass
class Variant:
    """A memory and what it does with an experience.

    Args:
        memory: Where to write.
        contradicts: Whether to remove neighbours at the place that an experience refutes.
        by_priority: Whether surprise and reward make an entry stronger.
    """

    memory: DifferentiableNeuralDictionary
    contradicts: bool = False
    by_priority: bool = False

    def live(self, experience: Experience) -> None:
        """Predict, compare, and remember."""
        with torch.no_grad():
            if len(experience.recalled):
                self.memory.lookup(experience.recalled)  # what is asked about counts as used
            found = self.memory.lookup(experience.keys)
        surprise = (experience.values - found.value).abs().squeeze(1)
        if self.contradicts:
            self._contradict(experience)
        priority = surprise + experience.values.abs().squeeze(1) if self.by_priority else None
        self.memory.write(experience.keys, experience.values, priority=priority, identity=experience.identity)

    @torch.no_grad()
    def error(self, task: Task) -> float:
        """Mean absolute error of the values that the memory gives for the places; reading leaves it as it is."""
        found = self.memory.lookup(task.keys, touch=False)
        return float((found.value - task.values).abs().mean())

    def _contradict(self, experience: Experience) -> None:
        """Remove what the memory holds about the places that is not so any more."""
        with torch.no_grad():
            found = self.memory.lookup(experience.keys, k=CHECKED, touch=False)
        off = (found.values.squeeze(2) - experience.values).abs() > TOLERANCE  # [B, k]
        self.memory.contradict(found.slots[found.valid & (found.distances < SAME_PLACE**2) & off])


def variants(tasks: int) -> dict[str, Callable[[World], Variant]]:
    """Ways to forget, by name: each makes a variant for a world."""
    return {
        "none": lambda world: Variant(_memory(world, capacity=tasks * world.writes)),
        "fifo": lambda world: Variant(_memory(world, forgetting="fifo")),
        "lru": lambda world: Variant(_memory(world, forgetting="lru")),
        "decay": lambda world: Variant(_memory(world, forgetting=_decay(world)), by_priority=True),
        "priority": lambda world: Variant(_memory(world, forgetting="priority"), by_priority=True),
        "surprise-gated": lambda world: Variant(_memory(world, write_rule="surprise_gated")),
        "contradiction": lambda world: Variant(_memory(world), contradicts=True),
        "together": lambda world: Variant(_memory(world, forgetting=_decay(world)), contradicts=True, by_priority=True),
    }


def _decay(world: World) -> Decay:
    return Decay(half_life=world.capacity / 2, durability=0.0)


def _memory(world: World, capacity: int = 0, **options: object) -> DifferentiableNeuralDictionary:
    return DifferentiableNeuralDictionary(KEY_SIZE, 1, capacity or world.capacity, k=NEIGHBOURS, **options)  # type: ignore[arg-type]
