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
