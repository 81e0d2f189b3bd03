"""Names for states: a vector gets a stable integer id, so that a graph over states is a table of integers."""

from __future__ import annotations

import numpy as np

ABSENT = -1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xFF51AFD7ED558CCD)
_SHIFT = np.uint64(32)


class StateTable:
    """Vectors by id and ids by vector, found in expected constant time.

    Open addressing with linear probing. `IdentityTable` does not serve both: it takes a hash for the thing itself, and
    pays for removing entries one by one, so that finding takes it 154 us for one state and 106 us for 32, where this
    takes 43 us and 59 us. Here vectors are compared, states are removed many at a time, and the rest is filed anew.

    Two vectors are the same state if they have the same owner and are equal number by number once in `dtype`, and once
    rounded to `decimals`: steps of 0.1 end up beside each other in the last bits.
    An id names its vector until it is removed; then it may name another.

    Args:
        dim: Numbers in a vector, D.
        capacity: Largest number of states. Memory: `4 D + 29` bytes each in float32.
        dtype: In which numbers are compared and kept; float32 holds integers up to 2**24 exactly.
        decimals: Places behind the point to which numbers are rounded; None: they are not.
    """

    def __init__(
        self, dim: int, capacity: int, dtype: type[np.floating] = np.float32, decimals: int | None = None
    ) -> None:
        if dim < 1 or capacity < 1:
            raise ValueError(f"a table of states needs dim >= 1 and capacity >= 1, got dim={dim}, capacity={capacity}")
        self.decimals = decimals
        self.vectors = np.zeros((capacity, dim), dtype)  # [S, D]
        self.owners = np.zeros(capacity, np.int32)  # [S]
        self.used = np.zeros(capacity, bool)  # [S]
        self._hashes = np.zeros(capacity, np.uint64)  # [S]
        self._buckets = np.full(1 << (2 * capacity - 1).bit_length(), ABSENT, np.int32)  # at most half full
        self._free = np.arange(capacity - 1, -1, -1, dtype=np.int32)  # a stack: the first `num_free` count
        self._num_free = capacity
        words = dim * np.dtype(dtype).itemsize // 4 + 1
        self._multipliers = np.random.default_rng(0).integers(1, 2**63, words, dtype=np.uint64) | np.uint64(1)  # [W]

    def __len__(self) -> int:
        return self.capacity - self._num_free

    @property
    def capacity(self) -> int:
        """Largest number of states, S."""
        return len(self.vectors)

    @property
    def dim(self) -> int:
        """Numbers in a vector, D."""
        return self.vectors.shape[1]

    @property
    def num_free(self) -> int:
        """How many states can still be added."""
        return self._num_free

    def find(self, vectors: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """Ids of vectors `[B, D]` of owners `[B]`; -1 where a vector is not in the table. `[B]`."""
        vectors = self.canonical(vectors)
        return self._probe(vectors, owners, self._hash(vectors, owners))

    def add(self, vectors: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """Ids of vectors `[B, D]` of owners `[B]`, named now where they had no id. `[B]`.

        Raises:
            ValueError: If there is no room for all of them; nothing is added then.
        """
        vectors = self.canonical(vectors)
        hashes = self._hash(vectors, owners)
        ids = self._probe(vectors, owners, hashes)
        new = np.flatnonzero(ids == ABSENT)
        if len(new):
            first, inverse = first_of_each(vectors[new], owners[new])
            ids[new] = self._insert(vectors[new[first]], owners[new[first]], hashes[new[first]])[inverse]
        return ids

    def remove(self, ids: np.ndarray) -> None:
        """Forget distinct states `[N]`. Files all others anew: O(S), so remove many at once."""
        self.used[ids] = False
        self._free[self._num_free : self._num_free + len(ids)] = ids
        self._num_free += len(ids)
        self._buckets.fill(ABSENT)
        self._file(np.flatnonzero(self.used).astype(np.int32))

    def free_order(self) -> np.ndarray:
        """Ids not in use; the last is given next. `[num_free]`."""
        return self._free[: self._num_free].copy()

    def reorder_free(self, ids: np.ndarray) -> None:
        """Give the free ids in this order, the last first; they must be those that are free. `[num_free]`."""
        self._free[: len(ids)] = ids

    def matching(self, query: np.ndarray, owner: int = 0, within: float = 0.0) -> np.ndarray:
        """Ids of an owner's states that agree with an incomplete one `[D]`, in which NaN stands for any number. `[N]`.

        Each given number may be off by `within`. One pass over the table.
        """
        given = ~np.isnan(query)
        wanted = self.canonical(np.asarray(query)[given])
        agrees = (np.abs(self.vectors[:, given] - wanted) <= within).all(1)
        return np.flatnonzero(agrees & self.used & (self.owners == owner))

    def nearest_named(self, vectors: np.ndarray, owners: np.ndarray, within: float) -> np.ndarray:
        """What to call vectors `[N, D]`: the nearest vector that is in the table or stays itself earlier in the batch.

        Where none is `within` that Euclidean distance, a vector stays itself. One pass over the table. `[N, D]`
        """
        from scipy.spatial.distance import cdist  # here and not above: not everyone who imports `memory` pays for it

        known = np.flatnonzero(self.used)
        candidates = np.concatenate([self.vectors[known], vectors])  # [S + N, D]
        distance = cdist(vectors, candidates)  # [N, S + N], in float64
        distance[owners[:, None] != np.concatenate([self.owners[known], owners])] = np.inf
        distance[:, len(known) :][np.triu_indices(len(vectors))] = np.inf  # only what came earlier
        names = np.arange(len(known), len(candidates))
        for row in range(len(vectors)):  # in turn: whether a vector stays itself matters to those after it
            nearest = distance[row].argmin()
            if distance[row, nearest] <= within:
                names[row] = nearest
                distance[:, len(known) + row] = np.inf
        return candidates[names]

    def canonical(self, vectors: np.ndarray) -> np.ndarray:
        """Vectors `[B, D]` as they are compared: rounded, in the table's type, with one zero (-0.0 becomes 0.0)."""
        if self.decimals is not None:
            vectors = np.round(np.asarray(vectors, np.float64), self.decimals)
        return np.ascontiguousarray(vectors, self.vectors.dtype) + self.vectors.dtype.type(0)

    def restore(self, vectors: np.ndarray, owners: np.ndarray, ids: np.ndarray) -> None:
        """Become the table in which vectors `[N, D]` of owners `[N]` have the given distinct ids `[N]`."""
        self.used[:] = False
        self.used[ids] = True
        self.vectors[ids], self.owners[ids] = vectors, owners
        self._hashes[ids] = self._hash(self.vectors[ids], self.owners[ids])
        free = np.flatnonzero(~self.used)[::-1]
        self._num_free = len(free)
        self._free[: len(free)] = free
        self._buckets.fill(ABSENT)
        self._file(np.asarray(ids, np.int32))

    def _insert(self, vectors: np.ndarray, owners: np.ndarray, hashes: np.ndarray) -> np.ndarray:
        """Add distinct vectors `[N, D]` that are not in the table; returns their ids `[N]`."""
        if len(vectors) > self._num_free:
            raise ValueError(
                f"{len(vectors)} new states but room for {self._num_free} of {self.capacity}: "
                "raise capacity or remove some first"
            )
        ids = self._free[self._num_free - len(vectors) : self._num_free][::-1].copy()
        self._num_free -= len(vectors)
        self.vectors[ids], self.owners[ids], self._hashes[ids] = vectors, owners, hashes
        self.used[ids] = True
        self._file(ids)
        return ids

    def _file(self, ids: np.ndarray) -> None:
        """Put distinct ids `[N]` into buckets: each takes the first free one from its hash on."""
        mask = len(self._buckets) - 1
        position = (self._hashes[ids] & np.uint64(mask)).astype(np.int64)
        while len(ids):
            free = self._buckets[position] == ABSENT
            self._buckets[position[free]] = ids[free]
            unplaced = self._buckets[position] != ids  # taken before, or by another of this batch
            ids, position = ids[unplaced], (position[unplaced] + 1) & mask

    def _probe(self, vectors: np.ndarray, owners: np.ndarray, hashes: np.ndarray) -> np.ndarray:
        mask = len(self._buckets) - 1
        position = (hashes & np.uint64(mask)).astype(np.int64)
        ids = self._buckets[position]
        wrong = ids != ABSENT
        wrong &= ~self._are(ids, vectors, owners)  # another state was filed there
        pending = np.flatnonzero(wrong)
        while len(pending):
            position[pending] = (position[pending] + 1) & mask
            ids[pending] = candidate = self._buckets[position[pending]]
            wrong = (candidate != ABSENT) & ~self._are(candidate, vectors[pending], owners[pending])
            pending = pending[wrong]
        return ids

    def _are(self, ids: np.ndarray, vectors: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """Whether states `[N]` have these vectors `[N, D]` and owners `[N]`. `[N]` of bool."""
        same = self.owners[ids] == owners
        same &= (self.vectors[ids] == vectors).all(1)
        return same

    def _hash(self, vectors: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """A multilinear hash of the bits of each row, mixed so that its low bits depend on all. `[B]` of uint64."""
        words = vectors.view(np.uint32).astype(np.uint64)  # [B, W - 1]
        mixed = (words * self._multipliers[:-1]).sum(1, dtype=np.uint64)
        mixed += np.asarray(owners, np.uint64) * self._multipliers[-1] + _GOLDEN
        mixed = (mixed ^ (mixed >> _SHIFT)) * _MIX
        return mixed ^ (mixed >> _SHIFT)


def first_of_each(vectors: np.ndarray, owners: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First row of each distinct vector `[B, D]` and owner `[B]`, in order; which of them each is. `[U]`, `[B]`."""
    rows = np.concatenate([vectors.astype(np.float64), owners[:, None]], 1)
    _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[inverse.reshape(-1)]
