"""An inverted file over the live keys: looks only at the lists whose centres are near, and keeps itself in repair.

Entry s is filed under the id s, in half precision, in the list of its nearest centre; faiss's direct map finds it there
again, so re-filing costs microseconds. Everything that takes long is a job done a piece at a time, one per search.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import faiss
import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.checks import number, whole
from engram_rl.memory.indexes.exact import SPARE, ExactIndex, products_early
from engram_rl.memory.indexes.index import Proposer
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.store import KeyStore

PIECE = 512
"""Rows that a job looks at in one go: a few milliseconds with 4000 lists."""

AT_ONCE = 65_536
"""The same where nobody waits for a search."""

PER_LIST = 32
"""Rows a centre is fitted to."""

HALF = 65504.0
"""The largest half-precision number."""

FARTHEST = 1024.0
"""Spreads from the middle of the keys within which they may lie before they are filed from another middle."""

FINEST = 1 / 64
"""Share of the spread they were filed with, below which keys are filed on another scale."""

MOST_STALE = 4096
"""Slots to be filed anew, each once, that are kept apart; and as many more as there are filed entries."""

UNBALANCED = 2.0
"""Factor by which uneven lists may make searches slower before the centres are fitted anew."""

DRIFT = 0.2
"""Share of the distance to the k-th neighbour that a key may move before it is filed anew."""

SETTLED = 0.1
"""Share of entries that may come or move before the centres are held to blame for what is missed."""

ENOUGH = 16
"""Checks that make an estimate."""

DONE = object()


class IVFIndex:
    """Approximate search for large memories on the CPU, with an estimate of what it misses.

    It answers queries that ask for every modality of keys without discrete ones; others go to the exact search, since
    lists shaped by all modalities serve a part of them badly. Until `start` entries are there everything does.

    Of every `check_every` searches one is drawn by lot, and one of its queries is searched exactly too; it counts for
    as many as were searched with it, so that the estimate is of queries, however they come in batches. When the share
    of true neighbours it found, over the last checks, is below `target`, more lists are looked at from then on; and if
    more than a tenth of the entries have come or moved since the centres were fitted, that is done anew and all entries
    are re-filed, a piece per search.

    Keys are filed in half precision, as seen from amid them and on the scale of their spread.

    Args:
        lists: How many; by default `4 sqrt(capacity)`, at most 4096.
        probes: Lists that a query looks at.
        start: Entries from which on it is worth having.
        target: Recall to keep up.
        check_every: Searches of which one is checked; 0 for none.
    """

    exact = False

    def __init__(
        self,
        lists: int | None = None,
        probes: int = 20,
        *,
        start: int = 50_000,
        target: float = 0.95,
        check_every: int = 64,
    ) -> None:
        if lists is not None:
            whole("lists", lists)
        whole("probes", probes)
        whole("start", start, least=lists or 1, hint=": no list can start empty")
        number("target", target, 0, most=1, hint=": it is a recall")
        whole("check_every", check_every, 0)
        self.lists, self.probes = lists, probes
        self.start, self.target, self.check_every = start, target, check_every

    def attach(self, store: KeyStore) -> None:
        """File this store's entries when there are enough."""
        if store.rows.device.type != "cpu" or store.rows.dtype != torch.float32:
            raise ValueError(
                f"an ivf index needs float32 keys on the CPU, not {store.rows.dtype} on {store.rows.device}"
            )
        self._exact = ExactIndex()
        self._exact.attach(store)
        self._store = store
        self._lists = self.lists or int(min(4096, 4 * len(store.rows) ** 0.5, self.start))
        self._probes = self.probes
        self._root = store.column_weights.sqrt().numpy()  # [D]
        self._scale = self._root.copy()
        """What keys are multiplied with before they are filed. `[D]`"""
        self._middle = np.zeros_like(self._scale)
        """What is taken off before. `[D]`"""
        self._file: Any = None
        """The faiss index, once there are centres."""
        self._ready = False
        self._job: Iterator[None] | None = None
        self._stale: list[np.ndarray] = []
        """Slots to be filed anew."""
        self._waiting = 0
        self._drift = np.zeros(len(store.rows), dtype=np.float32)
        """How far each key has moved since it was filed. `[N]`"""
        self._reach = np.inf  # until the first check
        """Typical distance to the k-th neighbour."""
        self._imbalance = 1.0
        self._moved = np.zeros(len(store.rows), dtype=bool)
        """Whether each entry has come or moved since the centres were last fitted. `[N]`"""
        self._searches = 0
        self._lot = np.random.default_rng(0)
        self._drawn = 0
        """Which of the next searches is to be checked."""
        self._recalls: list[tuple[float, int]] = []
        """Of the last checks with the present lists and probes; and for how many queries each stands."""
        self._recall: float | None = None
        """The estimate; that of the lists and probes before until these have been checked often enough."""

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or a pickle goes on with: a job that is under way cannot be copied, so it begins again there."""
        return vars(self) | {"_job": None}

    def serving(self, query: Keys, used: int) -> Proposer:
        """Itself if it is ready and the queries ask for everything; else the exact search, while it works on."""
        if self._store.space.code_size or used < self.start:
            return self._exact
        if not self._ready:
            self._work(used)
            return self._exact
        return self if query.present.all() else self._exact

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        """Filed entries near the queries, after keeping up with what has changed."""
        self._work(used)
        self._catch_up(used)
        if not len(query):
            return torch.empty(0, k, dtype=torch.int64)
        slots = self._search(self._scaled(query.vectors.detach()), k)
        due = bool(self.check_every) and self._searches == self._drawn
        self._searches += 1
        if self.check_every and self._searches >= self.check_every:
            self._searches, self._drawn = 0, int(self._lot.integers(self.check_every))
        if due or self._reach == np.inf:
            self._check(query, slots, k, used)
        return torch.from_numpy(slots)

    def written(self, slots: Tensor) -> None:
        """File these anew before the next search."""
        at = slots.numpy()
        self._moved[at] = True
        if self._file is not None:
            self._note(at)

    def moving(self, slots: Tensor, vectors: Tensor) -> None:
        """Add up how far keys move; file anew what has moved too far."""
        if self._file is None:
            return
        at = slots.numpy()
        change = (vectors - self._store.vectors.index_select(0, slots)) * torch.from_numpy(self._root)
        self._drift[at] += torch.linalg.vector_norm(change, dim=1).numpy()
        far = at[self._drift[at] > DRIFT * self._reach]
        if len(far):
            self._moved[far] = True
            self._note(far)

    def build(self, used: int) -> None:
        """Do the whole of the first filing now, rather than a piece per search."""
        self._job = None
        for _ in self._refit(used, piece=AT_ONCE):
            pass

    def report(self) -> dict[str, Any]:
        """Lists, probes, recall as estimated, and whether a job is under way."""
        return {
            "kind": "ivf",
            "ready": self._ready,
            "lists": self._lists,
            "probes": self._probes,
            "recall": self._recall,
            "repairing": self._job is not None,
        }

    # ---- searching

    def _search(self, queries: np.ndarray, k: int) -> np.ndarray:
        self._file.nprobe = min(self._probes, self._lists)
        with products_early():
            return self._file.search(queries, k + SPARE)[1]

    def _check(self, query: Keys, proposed: np.ndarray, k: int, used: int) -> None:
        """Search one query exactly; act on what is missed, and on lists that have grown too long."""
        one = int(self._lot.integers(len(query)))
        with torch.no_grad():
            true = self._exact.propose(query[one : one + 1], k, used)
            distances, order = self._store.distances_at(query[one : one + 1], true).topk(min(k, used), largest=False)
        recall = float(np.isin(true[0, order[0]].numpy(), proposed[one]).mean())
        self._recalls = [*self._recalls[-63:], (recall, len(query))]
        estimate = sum(r * n for r, n in self._recalls) / sum(n for _, n in self._recalls)
        if self._recall is None or len(self._recalls) >= ENOUGH:
            self._recall = estimate
        self._reach = float(distances[0, -1].sqrt())
        if self._job is None and len(self._recalls) >= ENOUGH:
            if estimate < self.target:
                self._improve(used)
            elif self._file.invlists.imbalance_factor() > UNBALANCED * self._imbalance:
                self._job = self._refit(used)

    def _improve(self, used: int) -> None:
        """Look at more lists; fit the centres anew if they may be to blame."""
        self._recalls.clear()
        self._probes = min(self._lists, self._probes + max(1, self._probes // 8))
        if self._moved[:used].mean() > SETTLED:
            self._job = self._refit(used)

    # ---- keeping up

    def _work(self, used: int) -> None:
        """One piece of the job under way, if there is one."""
        if self._file is None and self._job is None:
            self._job = self._refit(used)
        if self._job is not None and next(self._job, DONE) is DONE:
            self._job = None

    def _note(self, slots: np.ndarray) -> None:
        """File these anew some time; each is kept once, so that what waits is no more than there is."""
        self._stale.append(slots)
        self._waiting += len(slots)
        if self._waiting > MOST_STALE + 2 * self._file.ntotal or len(self._stale) > MOST_STALE:
            self._stale = [np.unique(np.concatenate(self._stale))]
            self._waiting = len(self._stale[0])

    def _catch_up(self, used: int) -> None:
        if self._stale:
            stale = np.unique(np.concatenate(self._stale))
            self._stale.clear()
            self._waiting = 0
            self._file_anew(stale[stale < self._file.ntotal])
        if self._file.ntotal < used:
            self._file_new(self._file.ntotal, used)

    def _refit(self, used: int, piece: int = PIECE) -> Iterator[None]:
        """Fit the centres to a sample, from where they are, and file every entry under the new ones."""
        self._set_centres((yield from self._fitted_centres(used, piece)))
        for start in range(0, used, piece):
            if start < self._file.ntotal:
                self._file_anew(np.arange(start, min(start + piece, self._file.ntotal)))
            else:
                self._file_new(self._file.ntotal, min(start + piece, used))
            yield
        self._imbalance = self._file.invlists.imbalance_factor()
        self._recalls.clear()
        self._ready = True

    def _fitted_centres(self, used: int, piece: int) -> Generator[None, None, np.ndarray]:
        """K-means on a sample, a piece at a time; warm where there are centres."""
        self._moved[:] = False
        random = np.random.default_rng(used)
        sample = random.choice(used, min(used, PER_LIST * self._lists), replace=False)
        sample = sample[self._store.present[torch.from_numpy(sample)].any(1).numpy()]
        self._see_from(sample)
        warm = self._file is not None
        centres = self._centres if warm else self._vectors(np.resize(sample, self._lists))
        for _ in range(2 if warm else 5):
            sums = torch.zeros(centres.shape, dtype=torch.float32)
            counts = torch.zeros(len(centres), dtype=torch.float32)
            for start in range(0, len(sample), piece):
                rows = self._vectors(sample[start : start + piece])
                nearest = torch.from_numpy(_nearest_centre(rows, centres))
                sums.index_add_(0, nearest, torch.from_numpy(rows))
                counts += torch.bincount(nearest, minlength=len(counts))
                yield
            centres = (sums / counts.clamp(min=1).unsqueeze(1)).numpy()
            empty = (counts == 0).numpy()
            centres[empty] = self._vectors(random.choice(sample, int(empty.sum())))
        return centres

    def _see_from(self, sample: np.ndarray) -> None:
        """Choose where keys are seen from and on which scale, so that half precision tells them apart.

        Where they have gone so far, or come so close together, that it no longer does, all is filed from the start.
        """
        rows = self._store.vectors.index_select(0, torch.from_numpy(sample)).to(torch.float64)
        if not len(rows):
            return
        middle = rows.mean(0)
        spread = float(((rows - middle).square().mean(0) * torch.from_numpy(self._root).square()).sum().sqrt()) or 1.0
        if self._file is not None:
            off = float(((middle - torch.from_numpy(self._middle)) * torch.from_numpy(self._scale)).norm())
            now = spread * float(self._scale.max() / self._root.max())
            if off < FARTHEST * now and FINEST < now < FARTHEST:
                return
            self._file, self._ready, self._stale, self._waiting = None, False, [], 0
        self._middle = middle.to(torch.float32).numpy()
        self._scale = (self._root / spread).astype(np.float32)

    def _set_centres(self, centres: np.ndarray) -> None:
        if self._file is None:
            D = centres.shape[1]
            self._file = faiss.IndexIVFScalarQuantizer(
                faiss.IndexFlatL2(D), D, self._lists, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_L2, False
            )
            self._file.is_trained = True
            self._file.make_direct_map()
        self._file.quantizer.reset()
        self._file.quantizer.add(centres)
        self._centres = centres

    def _file_new(self, start: int, end: int) -> None:
        with products_early():
            self._file.add(np.clip(self._vectors(np.arange(start, end)), -HALF, HALF))

    def _file_anew(self, slots: np.ndarray) -> None:
        rows = self._vectors(slots)
        lists = _nearest_centre(rows, self._centres)
        codes = np.clip(rows, -HALF, HALF).astype(np.float16).view(np.uint8)
        self._file.direct_map.update_codes(
            self._file.invlists, len(slots), *(faiss.swig_ptr(a) for a in (slots, lists, codes))
        )
        self._drift[slots] = 0

    def _vectors(self, slots: np.ndarray) -> np.ndarray:
        """What is filed for these slots; far from everything where there is no entry."""
        at = torch.from_numpy(slots)
        rows = self._scaled(self._store.vectors.index_select(0, at))
        rows[~self._store.present[at].any(1).numpy()] = HALF
        return rows

    def _scaled(self, vectors: Tensor) -> np.ndarray:
        scaled = (vectors.numpy() - self._middle) * self._scale
        return np.ascontiguousarray(scaled)


def _nearest_centre(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    with products_early():
        return faiss.knn(rows, centres, 1)[1][:, 0]
