"""An inverted file over the live keys: looks only at the lists whose centres are near, and keeps itself in repair.

Lists propose (`lists.py`); the keys themselves decide, so what the lists keep of a key may be rough. Everything that
takes long is a job done a piece at a time, one per search, beside the lists that serve meanwhile.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from engram_rl.memory.checks import number, whole
from engram_rl.memory.indexes.estimate import ENOUGH, Check, RecallEstimate
from engram_rl.memory.indexes.exact import SPARE, ExactIndex
from engram_rl.memory.indexes.index import Proposer
from engram_rl.memory.keys.space import Keys
from engram_rl.memory.keys.store import KeyStore

if TYPE_CHECKING:
    from engram_rl.memory.indexes.lists import PackedLists

PIECE = 512
"""Rows that a job looks at in one go: a few milliseconds with 4000 lists."""

AT_ONCE = 65_536
"""The same where nobody waits for a search."""

PER_LIST = 32
"""Rows a centre is fitted to."""

WIDTH, WIDEST = 1.5, 16.0
"""Proposals for each neighbour that is asked for: at first, and at most."""

MOST_STALE = 4096
"""Slots to be filed anew, each once, that are kept apart; and as many more as there are filed entries."""

MOST_VOID = 0.1
"""Share of what is filed that may no longer count before lists are tidied."""

TIDIED, TIDIED_SOON = 256, 16
"""One list of so many is tidied in a search; and where what does not count is more than what does."""

UNBALANCED = 2.0
"""Factor by which uneven lists may make searches slower before the centres are fitted anew."""

DRIFT, BLUR = 0.2, 0.5
"""How far keys may move before they are filed anew: shares of the way to the k-th neighbour and of what codes miss."""

SETTLED, OTHERS = 0.1, 0.5
"""Shares of entries that may come or move before the centres are held to blame for what is missed: where it takes many
more lists than at first, and anyway."""

MORE_LISTS = 1.5
"""Factor by which the lists that are looked at may have to become more before the centres are."""

FAR_BELOW, ABOVE, WELL_ABOVE = 0.05, 0.01, 0.03
"""How far below the target it takes more than a little, and how far above it recall is kept."""

DONE = object()


class IVFIndex:
    """Approximate search for large memories on the CPU, with an estimate of what it misses.

    It answers queries that ask for every modality of keys without discrete ones; others go to the exact search, since
    lists shaped by all modalities serve a part of them badly. Until `start` entries are there everything does.

    Of every `check_every` searches (at first, of fewer) one is drawn by lot, and one of its queries is searched exactly
    too; it counts for as many as were searched with it, so that the estimate is of queries, however they come in
    batches. When the share of true neighbours it found, over the last checks, is not safely above `target`, more lists
    are looked at from then on, or more of what they hold is proposed, whichever lost more; and less again when it is
    well above. Where a quarter of the entries have come or moved since a check, it counts no longer, and searches are
    checked more often again. If that does not help, and more than a tenth of the entries have come or moved since the
    centres were fitted, all is fitted anew and filed again, a piece per search.

    Args:
        lists: How many; by default `4 sqrt(capacity)`, at most 4096.
        probes: Lists that a query looks at, at least.
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
        self._root = store.column_weights.sqrt()  # [D]
        self._weighed = bool((self._root != 1).any())
        self._wanted = self.lists or int(min(4096, 4 * len(store.rows) ** 0.5, self.start))
        self._lists: PackedLists | None = None
        """Those that serve."""
        self._job: Iterator[None] | None = None
        self._stale: list[np.ndarray] = []
        """Slots to be filed anew."""
        self._waiting = 0
        self._drift = np.zeros(len(store.rows), dtype=np.float32)
        """How far each key has moved since it was filed. `[N]`"""
        self._reach: float | None = None
        """Typical distance to the k-th neighbour, from the first check on."""
        self._changed = np.zeros(len(store.rows), dtype=bool)
        """Whether each entry has come or moved since the job under way began, or the last. `[N]`"""
        self._late: list[np.ndarray] | None = None
        """Slots that have changed since a job began, or began to file all once more; None while there is none."""
        self._changes = 0
        """Entries that have come or moved, each as often as it did."""
        self._imbalance = 1.0
        self._probes, self._width, self._probes_at_first = self.probes, WIDTH, self.probes
        self._least_probes, self._least_width = self.probes, WIDTH
        """Less has been found to be too little since the centres were fitted."""
        self._estimate = RecallEstimate(self.check_every)

    def __getstate__(self) -> dict[str, Any]:
        """What makes another like it, which files its store's entries anew: a cache is not worth copying."""
        names = ("lists", "probes", "start", "target", "check_every", "serves", "_store")
        return {name: value for name, value in vars(self).items() if name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if "_store" in state:
            self.attach(self._store)

    def serving(self, query: Keys, used: int) -> Proposer:
        """Itself if it is ready and the queries ask for everything; else the exact search, while it works on."""
        if self._store.space.code_size or used < self.start:
            return self._exact
        if self._lists is None:
            self._work(used)
            return self._exact
        return self if query.present.all() else self._exact

    def propose(self, query: Keys, k: int, used: int) -> Tensor:
        """Filed entries near the queries, after keeping up with what has changed."""
        self._work(used)
        self._catch_up()
        self._estimate.outdate(self._changes, used)
        if not len(query):
            return torch.empty(0, k, dtype=torch.int64)
        assert self._lists is not None
        seen = self._lists.view.seen(self._by_weight(query.vectors.detach()))
        looked_at, slots = self._search(seen, min(self._probes, self._wanted), k)
        if self._estimate.is_drawn() or self._reach is None:
            self._check(query, looked_at, slots, k, used)
        return torch.from_numpy(slots)

    def written(self, slots: Tensor) -> None:
        """File these anew before the next search."""
        self._note(slots.numpy())

    def moving(self, slots: Tensor, vectors: Tensor) -> None:
        """Add up how far keys move; file anew what has moved too far."""
        at = slots.numpy()
        if self._lists is None:
            self._note(at)
            return
        change = self._by_weight(vectors - self._store.vectors.index_select(0, slots))
        drift = self._drift[at] + torch.linalg.vector_norm(change, dim=1).numpy()
        self._drift[at] = drift
        far = at[drift > max(DRIFT * (self._reach or 0.0), BLUR * self._lists.blur)]
        if len(far):
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
            "ready": self._lists is not None,
            "lists": self._wanted,
            "probes": self._probes,
            "width": self._width,
            "recall": self._estimate.reported,
            "repairing": self._job is not None,
        }

    def _search(self, seen: Tensor, probes: int, k: int, width: float = 1.0) -> tuple[Tensor, np.ndarray]:
        """The lists that were looked at first, and what is proposed; more is looked at where too few are left of it."""
        assert self._lists is not None
        lists, distances = self._lists.lists_near(seen, probes)
        filings = len(self._lists) + self._lists.void
        of_each = filings / max(1, len(self._lists))  # of which one counts
        candidates = max(1, min(filings, int((self._width * k + 2 * SPARE) * of_each * width)))
        slots = self._lists.near(seen, lists, distances, candidates)
        short = ((slots >= 0).sum(1) < min(k, len(self._lists))).nonzero()[0]
        if len(short) and (probes < self._wanted or candidates < filings):
            more = self._search(seen[short], min(4 * probes, self._wanted), k, 4 * width)[1]
            slots = np.pad(slots, ((0, 0), (0, more.shape[1] - candidates)), constant_values=-1)
            slots[short] = more
        return lists, slots

    # ---- how well it does

    def _check(self, query: Keys, looked_at: Tensor, proposed: np.ndarray, k: int, used: int) -> None:
        """Search one query exactly; act on what is missed, and on lists that have grown too long."""
        assert self._lists is not None
        one = self._estimate.query_of(len(query))
        with torch.no_grad():
            true = self._exact.propose(query[one : one + 1], k, used)
            true = true[:, self._store.present[true[0]].any(1)]  # where hardly anybody is left, it proposes holes too
            distances = self._store.distances_at(query[one : one + 1], true)
            distances, order = distances.topk(min(k, true.shape[1]), largest=False)
        if not order.numel():
            return
        nearest = true[0, order[0]].numpy()
        found = np.isin(nearest, proposed[one])
        elsewhere = 0.0
        if not found.all():
            missed = self._lists.view.seen(self._weighted_at(nearest[~found]))
            elsewhere = 1 - float(torch.isin(self._lists.lists_near(missed, 1)[0], looked_at[one]).double().mean())
        self._estimate.add(Check(float(found.mean()), len(query), elsewhere, self._changes))
        self._reach = float(distances[0, -1].sqrt())
        if self._estimate.has(ENOUGH):
            self._act_on(self._estimate.now, used)

    def _act_on(self, estimate: float, used: int) -> None:
        """Look at more or at less; fit the centres anew if they may be to blame, or make searches slow."""
        assert self._lists is not None
        if estimate < min(self.target + ABOVE, 1.0):
            self._look_at(9 / 8 if estimate > self.target - FAR_BELOW else 3 / 2, many_checks=False)
            changed = float(self._changed[:used].mean())
            if self._job is None and changed > (
                SETTLED if self._probes >= MORE_LISTS * self._probes_at_first else OTHERS
            ):
                self._job = self._refit(used)
        elif self._job is not None:
            return
        elif self._lists.imbalance > UNBALANCED * self._imbalance:
            self._job = self._refit(used)
        elif estimate > self.target + WELL_ABOVE:
            self._look_at(8 / 9, many_checks=True)

    def _look_at(self, factor: float, many_checks: bool) -> None:
        """Look at so many times the lists, or propose so many times as much of them, by what loses more."""
        if many_checks and not self._estimate.has(4 * ENOUGH):
            return
        step = round(self._probes * (factor - 1)) or (1 if factor > 1 else -1)
        probes = min(self._wanted, max(self._least_probes, self._probes + step))
        width = min(WIDEST, max(self._least_width, self._width * factor))
        lists_lose = self._estimate.mostly_elsewhere
        if probes != self._probes and (lists_lose == (factor > 1) or width == self._width):
            self._probes = probes
        elif width != self._width:
            self._width = width
        else:
            return
        if factor > 1:
            self._least_probes, self._least_width = self._probes, self._width
        self._estimate.begin_anew()

    # ---- keeping up

    def _work(self, used: int) -> None:
        """One piece of the job under way, if there is one."""
        if self._lists is None and self._job is None:
            self._job = self._refit(used)
        if self._job is not None and next(self._job, DONE) is DONE:
            self._job = None

    def _note(self, slots: np.ndarray) -> None:
        """These have come or moved: they are to be filed anew."""
        self._changed[slots] = True
        self._changes += len(slots)
        if self._late is not None:
            self._late.append(slots)
        if self._lists is not None:
            self._await_filing(slots)

    def _await_filing(self, slots: np.ndarray) -> None:
        """File these before the next search; each is kept once, so that what waits is no more than there is."""
        assert self._lists is not None
        self._stale.append(slots)
        self._waiting += len(slots)
        if self._waiting > MOST_STALE + 2 * len(self._lists) or len(self._stale) > MOST_STALE:
            self._stale = [np.unique(np.concatenate(self._stale))]
            self._waiting = len(self._stale[0])

    def _catch_up(self) -> None:
        assert self._lists is not None
        if self._stale:
            stale = np.unique(np.concatenate(self._stale))
            self._stale, self._waiting = [], 0
            self._file(self._lists, stale)
        share = self._lists.void / max(1, len(self._lists))
        if share > MOST_VOID:
            self._lists.tidy(-(-self._wanted // (TIDIED if share < 1 else TIDIED_SOON)))

    def _file(self, lists: PackedLists, slots: np.ndarray) -> None:
        """File what is stored in these distinct slots now."""
        there = self._store.present[torch.from_numpy(slots)].any(1).numpy()
        if not there.all():
            lists.remove(slots[~there])
            slots = slots[there]
        lists.add(slots, self._weighted_at(slots))
        self._drift[slots] = 0

    def _refit(self, used: int, piece: int = PIECE) -> Generator[None, None, None]:
        """Fit lists to a sample, from those there are, and file every entry; what changes meanwhile once more."""
        from engram_rl.memory.indexes.fitting import fitted  # here and not above: faiss takes long to import

        self._changed[:] = False
        random = np.random.default_rng(used)
        sample = random.choice(used, min(used, PER_LIST * self._wanted), replace=False)
        sample = sample[self._store.present[torch.from_numpy(sample)].any(1).numpy()]
        if not len(sample):
            return
        self._late, capacity = [], len(self._store.rows)
        lists = yield from fitted(self._weighted_at, sample, self._wanted, capacity, piece, self._lists)
        yield
        waiting = np.unique(np.concatenate([np.arange(used), *self._late]))
        while True:
            before, self._late = len(waiting), []
            for start in range(0, before, piece):
                self._file(lists, waiting[start : start + piece])
                yield
            waiting = np.unique(np.concatenate([waiting[:0], *self._late]))
            if (
                len(waiting) <= piece or len(waiting) >= before
            ):  # few are left, or they change as fast as they are filed
                break
        self._lists, self._late = lists, None
        self._await_filing(waiting)
        self._imbalance = lists.imbalance
        self._probes_at_first = self._probes
        self._least_probes, self._least_width = self.probes, WIDTH
        self._estimate.begin_anew()

    def _weighted_at(self, slots: np.ndarray) -> Tensor:
        """The keys in these slots, weighted.  `[n, D]`."""
        return self._by_weight(self._store.vectors.index_select(0, torch.from_numpy(slots)))

    def _by_weight(self, vectors: Tensor) -> Tensor:
        return vectors * self._root if self._weighed else vectors
