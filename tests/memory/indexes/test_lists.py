"""Lists of packed codes: what is filed is proposed, under one name each; centres are found as by looking at all."""

import numpy as np
import pytest
import torch

from engram_rl.memory.indexes.fitting import coding_axes, fitted, main_axes
from engram_rl.memory.indexes.lists import Nearest

N, D = 1200, 6


def made(keys, lists=16):
    fitting = fitted(lambda slots: keys[torch.from_numpy(slots)], np.arange(len(keys)), lists, len(keys), 100)
    while True:
        try:
            next(fitting)
        except StopIteration as end:
            return end.value


def proposed(packed, query, candidates=40, probes=16):
    seen = packed.view.seen(query)
    return packed.near(seen, *packed.lists_near(seen, probes), candidates)


@pytest.mark.parametrize(("centres", "n"), [(5, 1), (5, 5), (64, 3), (67, 20), (1000, 16)])
@pytest.mark.parametrize("points", [1, 7, 2050])
def test_the_nearest_centres_are_those_of_a_pass_over_all(centres, n, points):
    g = torch.Generator().manual_seed(centres)
    places, query = torch.randn(centres, D, generator=g), torch.randn(points, D, generator=g)
    true = torch.cdist(query.double(), places.double()).square()
    lists, distances = Nearest(places)(query, n)
    torch.testing.assert_close(true.gather(1, lists), true.topk(n, largest=False).values, rtol=1e-4, atol=1e-5)
    known = distances.double() + query.double().square().sum(1, keepdim=True)
    torch.testing.assert_close(known, true.gather(1, lists), rtol=1e-4, atol=1e-5)


def test_what_is_filed_again_or_taken_out_is_proposed_once_or_not_at_all():
    keys = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    packed = made(keys)
    packed.add(np.arange(N), keys)
    again, gone = np.arange(0, N, 10), np.arange(5, N, 10)
    for _ in range(3):
        packed.add(again, -keys[again])
    packed.remove(gone)
    for _ in range(2):
        assert len(packed) == N - len(gone)
        slots = proposed(packed, -keys[again])
        assert (slots == again[:, None]).sum(1).tolist() == [1] * len(again)
        assert not np.isin(slots, gone).any()
        packed.tidy(16)
        assert packed.void == 0
    packed.add(gone, keys[gone])
    assert (proposed(packed, keys[gone]) == gone[:, None]).any(1).all()


def test_it_gives_nobody_where_its_lists_hold_too_few():
    keys = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    packed = made(keys)
    packed.add(np.arange(7), keys[:7])
    slots = proposed(packed, keys[:3])
    assert [sorted(row[row >= 0]) for row in slots] == [list(range(7))] * 3


@pytest.mark.parametrize("columns", [1, 5, 16, 17, 24])
def test_axes_turn_keys_without_changing_how_far_they_are_from_each_other(columns):
    g = torch.Generator().manual_seed(columns)
    keys = torch.randn(300, columns, generator=g) * torch.logspace(-2, 2, columns)
    axes = coding_axes(keys)
    assert axes.shape[1] in (columns, columns + 1)
    turned = (keys @ axes).double()
    torch.testing.assert_close(
        torch.cdist(turned, turned), torch.cdist(keys.double(), keys.double()), rtol=1e-4, atol=1e-4
    )


def test_main_axes_are_the_few_that_tell_nearly_all():
    g = torch.Generator().manual_seed(0)
    plane = torch.linalg.qr(torch.randn(40, 40, generator=g)).Q[:, :10]
    keys = torch.randn(2000, 10, generator=g) @ plane.T + 0.01 * torch.randn(2000, 40, generator=g)
    axes = main_axes(keys.double())
    assert axes.shape == (40, 10)
    kept = (keys.double() @ axes).square().sum() / keys.square().sum()
    assert kept > 0.95


@pytest.mark.parametrize("keys", [torch.ones(N, D), torch.eye(D).repeat(N // D, 1), torch.zeros(3, D)])
def test_keys_that_tell_nothing_are_filed_all_the_same(keys):
    packed = made(keys)
    packed.add(np.arange(len(keys)), keys)
    slots = proposed(packed, keys[:1], candidates=len(keys))
    assert np.isin(np.nonzero((keys == keys[0]).all(1).numpy())[0], slots).all()


def test_keys_are_seen_from_their_middle_on_the_scale_of_their_spread():
    keys = 50 + 3 * torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    packed = made(keys)
    view = packed.view
    spread = float((keys - keys.mean(0)).square().sum(1).mean().sqrt())
    assert view.spread == pytest.approx(spread, rel=1e-4)
    seen = view.seen(keys)
    torch.testing.assert_close(seen.mean(0), torch.zeros(D), rtol=0, atol=1e-4)
    assert float(seen.square().sum(1).mean()) == pytest.approx(1, rel=1e-4)
    between = [torch.nn.functional.pdist(part[:100].double()) for part in (seen * spread, keys)]
    torch.testing.assert_close(between[0], between[1], rtol=1e-3, atol=1e-4)
    along = seen @ view.main_of_seen.T  # all six axes tell something, so nothing is lost
    torch.testing.assert_close(view.unseen(along), keys, rtol=1e-3, atol=1e-3)
    far = view.seen(torch.full((1, D), 1e30))
    assert far.isfinite().all() and float(far.abs().max()) == 1e6


def test_blur_is_the_typical_distance_from_what_a_code_says():
    keys = 20 * torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    packed = made(keys)
    seen = packed.view.seen(keys)
    nearest, _ = packed.lists_near(seen, 1)
    centres = packed.view.seen(packed.view.unseen(torch.from_numpy(packed.centres)))
    residuals = (seen - centres[nearest[:, 0]]).numpy()
    coded = packed._file.pq.decode(packed._file.pq.compute_codes(residuals))
    blur = float(np.sqrt(np.square(coded - residuals).sum(1).mean())) * packed.view.spread
    assert packed.blur == pytest.approx(blur, rel=0.02)


def test_lists_are_tidied_in_turn_and_only_where_something_counts_no_more():
    keys = torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    packed = made(keys)
    packed.add(np.arange(N), keys)
    packed.tidy(5)
    assert packed._next == 0  # nothing to be done
    packed.add(np.arange(N), keys)
    assert packed.void == N and len(packed) == N
    left = []
    for _ in range(4):
        packed.tidy(4)
        left.append(packed.void)
    assert left == sorted(left, reverse=True) and left[0] < N and left[-2] > 0 == left[-1] and packed._next == 0
    packed.remove(np.arange(10))
    packed.remove(np.arange(10))
    assert packed.void == 10 and len(packed) == N - 10 and not packed.filed[:10].any()
    packed.tidy(3)
    assert packed._next == 3


@pytest.mark.parametrize(("lists", "again"), [(16, True), (12, False)])
def test_lists_are_fitted_from_those_there_were_if_there_are_as_many(lists, again):
    keys = 50 + 3 * torch.randn(N, D, generator=torch.Generator().manual_seed(0))
    before = made(keys)
    fitting = fitted(lambda slots: keys[torch.from_numpy(slots)], np.arange(N), lists, N, 100, before)
    while True:
        try:
            next(fitting)
        except StopIteration as end:
            packed = end.value
            break
    assert len(packed.centres) == lists
    places = [one.view.unseen(torch.from_numpy(one.centres)) for one in (before, packed)]
    moved = torch.cdist(places[0][:lists], places[1]).diagonal()
    assert (float(moved.max()) < 0.3 * before.view.spread) is again
    misses = [torch.cdist(keys, place).amin(1).square().mean() for place in places]
    assert not again or misses[1] <= misses[0]
