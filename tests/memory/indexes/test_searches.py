"""The search in torch: what numpy finds in float64, in any precision, within the bytes that it is given."""

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engram_rl.memory.indexes import exact
from engram_rl.memory.indexes.exact import torch_search


class Held(TorchDispatchMode):
    """Counts the bytes of tensors that were made meanwhile and are still there, and their peak."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        known = {one.untyped_storage().data_ptr() for one in tree_leaves(args) if isinstance(one, torch.Tensor)}
        for one in tree_leaves(made):
            if isinstance(one, torch.Tensor) and one.untyped_storage().data_ptr() not in known:
                self.change(one.untyped_storage().nbytes())
                weakref.finalize(one, self.change, -one.untyped_storage().nbytes())
        return made

    def change(self, size):
        self.now += size
        self.peak = max(self.peak, self.now)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("by_distance", [True, False])
@pytest.mark.parametrize(("entries", "queries"), [(5000, n) for n in (0, 1, 7, 300, 2000)] + [(60_000, 7)])
def test_it_finds_what_a_whole_table_of_scores_gives_within_its_bytes(dtype, by_distance, entries, queries):
    draw = torch.Generator().manual_seed(queries)
    rows = torch.randn(entries, 6, generator=draw).to(dtype)
    asked = torch.randn(queries, 6, generator=draw).to(dtype)
    with Held() as held:
        found = torch_search(rows, asked, 5, by_distance, most_bytes=2**20)
    assert held.peak <= 2**20 + found.numel() * 8 * 3  # and the answer, in pieces and in one
    a, b = asked.double().numpy(), rows.double().numpy()
    score = 2 * a @ b.T - (b**2).sum(1) if by_distance else a @ b.T
    assert found.shape == (queries, 5)
    np.testing.assert_allclose(
        np.take_along_axis(score, found.numpy(), 1), -np.sort(-score, 1)[:, :5], rtol=1e-4, atol=1e-4
    )
    if dtype == torch.float64:
        assert found.tolist() == np.argsort(-score, 1)[:, :5].tolist()


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 4),
    columns=st.integers(1, 400),
    k=st.integers(1, 12),
    distinct=st.sampled_from([2, 30, 10**6]),
    lost=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_the_largest_are_those_of_a_sort_however_they_are_grouped(rows, columns, k, distinct, lost, seed):
    draw = torch.Generator().manual_seed(seed)
    values = torch.randint(distinct, (rows, columns), generator=draw).double()
    if lost:
        values[torch.rand(rows, columns, generator=draw) < 0.9] = -torch.inf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "MANY", 0)
        found, at = exact.largest(values, k)
    wanted = values.sort(dim=1, descending=True).values[:, :k]
    assert torch.equal(found, wanted) and torch.equal(values.gather(1, at), wanted)
    assert all(len(set(row)) == len(row) for row in at.tolist())
