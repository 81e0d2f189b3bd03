"""One dictionary per action: what each action returned in similar situations (Pritzel et al. 2017, section 2)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engram_rl.agents.common.uses import names_of, use
from engram_rl.agents.episodic_control.overestimates import STEPS, errors_by_age
from engram_rl.memory import Forgetting, Found, KeySpace
from engram_rl.memory.checks import require_ram
from engram_rl.memory.in_each import lookup_in_each
from engram_rl.memory.keys.identity import find_in_each
from engram_rl.memory.sharded import AnyMemory, ShardedMemory


class Lookups(NamedTuple):
    """What answered one reading of all memories, by action.

    Attributes:
        found: The neighbours of those queries that were searched for.
        stored: The slots of the entries that are the very situations asked for; `[n]` each.
    """

    found: dict[int, Found]
    stored: dict[int, Tensor]


class Drift(NamedTuple):
    """Of the rows whose situation is stored for its action.

    Attributes:
        rows: Which of those asked for. `[n]`
        squared: Squared distance between the stored key and the one of now. `[n]`
        age: Environment steps since the entry was written. `[n]`
    """

    rows: Tensor
    squared: Tensor
    age: Tensor


class ActionMemories:
    """Reads and writes the memories of all actions, and says how they answer.

    Args:
        memories: One per action, of keys `[D]` and values `[1]`.
    """

    def __init__(self, memories: Sequence[AnyMemory]):
        self.per_action = list(memories)
        self._written = [torch.zeros(memory.capacity, dtype=torch.int64) for memory in memories]  # [N] step of writing
        self._in_shards = [memory for memory in memories if isinstance(memory, ShardedMemory)]
        self._known = self._writes = 0  # of the rows written since the last report

    def __getitem__(self, action: int) -> AnyMemory:
        return self.per_action[action]

    def __len__(self) -> int:
        return sum(map(len, self.per_action))

    @property
    def empty(self) -> Tensor:
        """Of which actions nothing is known. `[A]` of bool on the CPU."""
        return torch.tensor([not len(memory) for memory in self.per_action])

    @property
    def blame(self) -> bool:
        """Whether the write rule counts a failure against what is stored."""
        return bool(getattr(self[0].write_rule, "blames", False))

    def slots_of(self, identity: Tensor) -> Tensor:
        """Where each situation is stored for each action, -1 where it is not.  `[B]` -> `[B, A]` on the CPU."""
        return torch.from_numpy(self._slots_of(identity))

    def _slots_of(self, identity: Tensor) -> np.ndarray:
        tables = [memory.identities for memory in self.per_action if not isinstance(memory, ShardedMemory)]
        if self._in_shards:
            return torch.stack([memory.find(identity) for memory in self.per_action], dim=1).cpu().numpy()
        return find_in_each(tables, identity.numpy()).T

    @torch.no_grad()
    def read(self, keys: Tensor, touch: bool) -> tuple[Tensor, Lookups]:
        """The value of every action, 0 where its memory is empty.  `[B, D]` -> `[B, A]` on the CPU."""
        found = self._lookup_in_each(range(len(self.per_action)), [keys] * len(self.per_action), touch)
        return torch.cat([one.value for one in found.values()], dim=1).cpu(), Lookups(found, {})

    @torch.no_grad()
    def read_exact(self, keys: Tensor, identity: Tensor, touch: bool) -> tuple[Tensor, Lookups]:
        """As `read`, but the stored value wherever this very situation is stored; only the others are searched for."""
        slots = self._slots_of(identity)  # [B, A]
        q, lookups = np.zeros(slots.shape, np.float32), Lookups({}, {})
        for action, memory in enumerate(self.per_action):
            at = slots[:, action]
            known, others = np.flatnonzero(at >= 0), np.flatnonzero(at < 0)
            if len(known):
                stored = lookups.stored[action] = torch.from_numpy(at[known]).to(memory.device)
                q[known, action] = _numbers(memory.values[stored])[:, 0]
                if touch:
                    memory.touch(stored)
            if len(others):
                asked = keys[torch.from_numpy(others).to(keys.device)] if len(known) else keys
                found = lookups.found[action] = memory.lookup(asked, touch=touch)
                q[others, action] = _numbers(found.value)[:, 0]
        return torch.from_numpy(q), lookups

    def best_stored(self, identity: Tensor, allowed: Tensor | None) -> Tensor:
        """The largest stored value of these very situations, -inf of those of which nothing is.  `[B]` on the CPU.

        Args:
            identity: `[B]`
            allowed: Which actions count; None for all. `[B, A]`
        """
        slots = self.slots_of(identity)  # [B, A]
        q = torch.full(slots.shape, -torch.inf)
        for action, memory in enumerate(self.per_action):
            known = slots[:, action] >= 0
            q[known, action] = memory.values[slots[known, action].to(memory.device)].squeeze(1).cpu().float()
        return restricted(q, allowed).amax(1)

    def write(self, actions: np.ndarray, keys: Tensor, values: Tensor, identity: Tensor | None, step: int) -> None:
        """Store `[B]` values under `[B, D]` keys in the memories of the actions `[B]`.

        Args:
            actions: `[B]`
            keys: `[B, D]`
            values: `[B]`
            identity: What makes two rows the same entry; None leaves that to the memories. `[B]`
            step: The environment step, from which ages count.
        """
        for action, rows in by_action(actions):
            memory, names = self.per_action[action], None if identity is None else identity[rows]
            before = len(memory) + memory.evictions
            slots = memory.write(keys[rows], values[rows].unsqueeze(1), identity=names)
            self._known += len(rows) - (len(memory) + memory.evictions - before)
            self._written[action][slots[slots >= 0].cpu()] = step
        self._writes += len(actions)

    def used(self, lookups: Lookups) -> dict[str, dict[str, Tensor]]:
        """The names of the entries that answered, by action, in the order in which they did.  `[n, 2]` each."""
        none = torch.empty(0, dtype=torch.int64)
        used = {}
        for action, memory in enumerate(self.per_action):
            found = lookups.found.get(action)
            stored = names_of(memory, lookups.stored.get(action, none))
            used[str(action)] = {"stored": stored, "found": names_of(memory, none if found is None else found.slots)}
        return used

    def use(self, used: dict[str, dict[str, Tensor]]) -> Lookups:
        """Count entries as looked up, by what `used` of another process gave; what is known here of these lookups."""
        stored = {
            int(action): torch.cat([use(self[int(action)], names) for names in answers.values()])
            for action, answers in used.items()
        }
        return Lookups({}, stored)

    def age(self, action: int, slots: Tensor, step: int) -> Tensor:
        """Environment steps since entries were last written.  `[...]` int64 on the CPU."""
        return step - self._written[action][slots.cpu()]

    def newer_overestimates(self, actions: np.ndarray, identity: Tensor, step: Tensor) -> Tensor:
        """Whether what is stored was written after these steps, and a failure would count against it.  `[B]` each."""
        newer = torch.zeros(len(actions), dtype=torch.bool)
        for action, rows in by_action(actions) if self.blame else ():
            slots = self[action].find(identity[rows]).cpu()  # [b]
            newer[rows] = (slots >= 0) & (self._written[action][slots] > step[rows])
        return newer

    def lookup_taken(self, keys: Tensor, actions: np.ndarray, exclude: Tensor | None) -> dict[int, Found]:
        """Lookups in the memory of the action each row took, by action in ascending order, with gradients.

        Args:
            keys: `[B, D]`
            actions: `[B]`
            exclude: A slot for each row that does not answer it, -1 for none. `[B]`
        """
        taken = list(by_action(actions))
        hidden = None if exclude is None else [exclude[rows] for _, rows in taken]
        return self._lookup_in_each([action for action, _ in taken], [keys[rows] for _, rows in taken], True, hidden)

    def _lookup_in_each(
        self, actions: Sequence[int], queries: list[Tensor], touch: bool, exclude: list[Tensor] | None = None
    ) -> dict[int, Found]:
        """Lookups of the queries `[B, D]` of each of these actions in its memory."""
        memories = [memory for action in actions if not isinstance(memory := self[action], ShardedMemory)]
        if len(memories) == len(actions):
            return dict(zip(actions, lookup_in_each(memories, queries, touch, exclude), strict=True))
        hidden = [None] * len(actions) if exclude is None else exclude
        parts = zip(actions, queries, hidden, strict=True)
        return {action: self[action].lookup(query, touch=touch, exclude=own) for action, query, own in parts}

    def slots_of_taken(self, actions: np.ndarray, identity: Tensor) -> Tensor:
        """Where each situation is stored for its action, -1 where it is not.  `[B]`, `[B]` -> `[B]` on the CPU."""
        if not self._in_shards:  # one hash serves all actions
            return torch.from_numpy(self._slots_of(identity)[np.arange(len(actions)), actions])
        slots = torch.empty(len(actions), dtype=torch.int64)
        for action, rows in by_action(actions):
            slots[rows] = self[action].find(identity[rows]).cpu()
        return slots

    def drift(self, actions: np.ndarray, slots: Tensor, keys: Tensor, step: int) -> Drift:
        """How far the keys of stored situations are from what they would be now.

        Args:
            actions: `[B]`
            slots: Where the situations are stored for these actions, -1 where they are not. `[B]`
            keys: What the situations' keys would be now. `[B, D]`
            step: The environment step now.
        """
        now = self[0].space.pack(keys).vectors.to(keys.device)  # [B, D] without discrete modalities
        parts = []
        for action, rows in by_action(actions):
            rows = rows[slots[rows] >= 0]
            at = slots[rows]  # [b]
            squared = (self[action].key_vectors[at.to(keys.device)] - now[rows]).square().sum(dim=1).cpu()
            parts.append((rows, squared, self.age(action, at, step)))
        return Drift(*(torch.cat(part) for part in zip(*parts, strict=True)))

    def value_errors(self, actions: np.ndarray, identity: Tensor, values: Tensor, step: int) -> dict[str, float]:
        """How wrong what is stored of situations proves, by age; to be asked before their `[B]` values are written."""
        errors, ages = [], []
        for action, rows in by_action(actions):
            slots = self[action].find(identity[rows])
            known = slots >= 0
            stored = self[action].values[slots[known]].squeeze(1)
            errors.append((stored - values[rows.to(values.device)][known]).abs().cpu())
            ages.append(self.age(action, slots[known], step))
        return errors_by_age(torch.cat(errors), torch.cat(ages), STEPS) if errors else {}

    def report(self, lookups: Lookups, step: int) -> dict[str, float]:
        """How the memories answered, for TensorBoard; distances, weights, ages and strengths are means.

        `memory/match_rate` is the share of the rows written since the last report whose situation was known,
        `memory/recall` the share of true neighbours that approximate indexes find, by their own samples, `memory/lost`
        how many entries were lost with shards.
        """
        metrics = {
            "memory/size": float(len(self)),
            "memory/evictions": float(sum(memory.evictions for memory in self.per_action)),
        }
        recalls = [recall for memory in self.per_action if (recall := memory.recall) is not None]
        if recalls:
            metrics["memory/recall"] = float(np.mean(recalls))
        if self._in_shards:
            metrics["memory/lost"] = float(sum(memory.lost for memory in self._in_shards))
        if self._writes:
            metrics["memory/match_rate"] = self._known / self._writes
            self._known = self._writes = 0
        valid = {action: _numbers(one.valid) for action, one in lookups.found.items()}  # [B, k]s
        answered = [(action, lookups.found[action]) for action, which in valid.items() if which.any()]
        if answered:
            metrics["memory/hit_distance"] = _mean([_numbers(one.distances)[:, 0] for _, one in answered])
            metrics["memory/top_weight"] = float(
                np.concatenate([_numbers(one.weights) for _, one in answered]).max(axis=1).mean(dtype=np.float64)
            )
        slots = [(action, _numbers(one.slots)[valid[action]]) for action, one in answered]
        slots += [(action, _numbers(stored)) for action, stored in lookups.stored.items() if len(stored)]
        if slots:
            metrics["memory/age"] = _mean([step - self._written[action].numpy()[of] for action, of in slots])
            knows = type(self[0].forgetting).strength is not Forgetting.strength
            metrics["memory/strength"] = _mean([_strength(self[action], of) for action, of in slots]) if knows else 1.0
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """The memories, when their entries were written, and the counts since the last report."""
        written = [steps[: memory.used].clone() for steps, memory in zip(self._written, self.per_action, strict=True)]
        memories = [memory.state_dict() for memory in self.per_action]
        return {"memories": memories, "written": written, "known": self._known, "writes": self._writes}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave."""
        parts = zip(self.per_action, self._written, state["memories"], state["written"], strict=True)
        for memory, steps, saved, written in parts:
            slots = memory.load_state_dict(saved)
            if slots is None:
                steps[: len(written)] = written
            else:  # entries have other slots now
                stand = slots[: len(written)] >= 0
                steps[slots[: len(written)][stand]] = written[stand]
        self._known, self._writes = state["known"], state["writes"]

    def close(self) -> None:
        """End what lies in shards."""
        for memory in self._in_shards:
            memory.close()


def make_memories(
    make: Callable[..., AnyMemory], space: KeySpace, actions: int, device: torch.device
) -> ActionMemories:
    """Empty memories, one per action, if there is room for all of them.

    Raises:
        ValueError: There is not. None has taken any memory then.
    """
    first = make(space, value_dim=1, device=device)  # whose pages are taken as they fill
    what = f"memory.capacity={first.capacity} with keys of {space.dim} numbers for each of {actions} actions"
    require_ram(what, actions * first.nbytes, "lower agent.memory.capacity or agent.key_size", device)
    return ActionMemories([first, *(make(space, value_dim=1, device=device) for _ in range(actions - 1))])


def restricted(q: Tensor, allowed: Tensor | None) -> Tensor:
    """Values, minus infinity where an action is not allowed; None allows all. `[B, A]`, `[B, A]` -> `[B, A]`."""
    return q if allowed is None else q.masked_fill(~allowed, -torch.inf)


def double_value(lookups: Lookups, allowed: Tensor | None = None) -> Tensor:
    """`max_a Q` without its upward bias: half of the neighbours chooses the action, the others say what it is worth.

    Entries fall into halves by the parity of their slot, which makes them two memories of different experience; both
    take both parts and the mean is given (van Hasselt 2010, "Double Q-learning"). A half without neighbours leaves the
    judgement to the whole. Only actions allowed, `[B, A]`, are chosen.  `[B]`.
    """
    found = lookups.found.values()
    halves = [torch.cat([_half_value(one, parity) for one in found], dim=1) for parity in (0, 1)]  # [B, A] each
    chosen = [restricted(half, allowed).argmax(dim=1, keepdim=True) for half in halves]
    return (halves[1].gather(1, chosen[0]) + halves[0].gather(1, chosen[1])).squeeze(1) / 2


def _half_value(found: Found, parity: int) -> Tensor:
    """The value that the neighbours in even or odd slots give.  `[B, 1]`."""
    weights = found.weights * (found.slots % 2 == parity)  # [B, k]
    total = weights.sum(dim=1, keepdim=True)
    value = (weights.unsqueeze(2) * found.values).sum(dim=1) / total.clamp(min=1e-12)
    return torch.where(total > 0, value, found.value).detach().cpu()


def by_action(actions: np.ndarray) -> Iterator[tuple[int, Tensor]]:
    """Each action that was taken, with the rows that took it."""
    for action in np.unique(actions).tolist():
        yield action, torch.from_numpy(np.flatnonzero(actions == action))


def _strength(memory: AnyMemory, slots: np.ndarray) -> np.ndarray:
    """How strong entries are.  `[n]`."""
    return _numbers(memory.strength(torch.from_numpy(slots).to(memory.device)))


def _numbers(part: Tensor) -> np.ndarray:
    return part.cpu().numpy()


def _mean(parts: list[np.ndarray]) -> float:
    return float(np.concatenate(parts).mean(dtype=np.float64))
