"""Counter-based draws are uniform, independent of who asks, and never depend on state."""

import numpy as np

from engram_rl.envs import draws

SEEDS = np.arange(4000, dtype=np.uint64)


def chi_squared(counts: np.ndarray) -> float:
    expected = counts.sum() / len(counts)
    return float(((counts - expected) ** 2 / expected).sum())


def test_a_draw_does_not_depend_on_its_company():
    together = draws.integers(SEEDS, 3, 0, 1000)
    alone = [draws.integers(SEEDS[i : i + 1], 3, 0, 1000)[0] for i in (0, 17, 3999)]
    assert alone == [together[0], together[17], together[3999]]


def test_integers_are_uniform_over_seeds_counters_and_streams():
    over_seeds = draws.integers(SEEDS, 0, 0, 10)
    over_counters = draws.integers(np.zeros_like(SEEDS), np.arange(4000), 0, 10)
    over_streams = np.concatenate([draws.integers(SEEDS[:16], 0, stream, 10) for stream in range(256)])
    for drawn in (over_seeds, over_counters, over_streams):
        assert chi_squared(np.bincount(drawn, minlength=10)) < 27.9  # 9 degrees of freedom, p = 0.001


def test_neighbouring_seeds_counters_and_streams_are_uncorrelated():
    base = draws.uniforms(SEEDS, 5, 1)
    for other in (draws.uniforms(SEEDS + np.uint64(1), 5, 1), draws.uniforms(SEEDS, 6, 1), draws.uniforms(SEEDS, 5, 2)):
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.06


def test_uniforms_fill_the_unit_interval():
    drawn = draws.uniforms(SEEDS, 0, 0)
    assert 0 <= drawn.min() < 0.005
    assert 0.995 < drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 0.02


def test_one_of_draws_allowed_cells_uniformly():
    allowed = np.tile(np.array([False, True, True, False, True, False]), (len(SEEDS), 1))
    counts = np.bincount(draws.one_of(allowed, SEEDS, 0, 0), minlength=6)
    assert (counts > 0).tolist() == [False, True, True, False, True, False]
    assert chi_squared(counts[[1, 2, 4]]) < 13.9  # 2 degrees of freedom, p = 0.001


def test_the_smallest_keys_are_a_uniform_subset_of_the_size_asked_for():
    keys = draws.keys(SEEDS, 0, 0, 6)
    chosen = draws.smallest(keys, 2)
    assert (chosen.sum(axis=1) == 2).all()
    assert (np.where(chosen, keys, -1).max(axis=1) <= np.where(chosen, 2, keys).min(axis=1)).all()
    assert chi_squared(np.unique(chosen @ (1 << np.arange(6)), return_counts=True)[1]) < 36.1  # 14 degrees, p = 0.001
    assert not draws.smallest(keys, 0).any()


def test_normals_have_mean_0_variance_1_and_no_correlation():
    drawn = draws.normals(SEEDS, 0, 0, 3)
    assert np.allclose(drawn.mean(axis=0), 0, atol=0.06)
    assert np.allclose(np.cov(drawn.T), np.eye(3), atol=0.08)


def test_no_two_coordinates_share_their_draw():
    drawn = np.stack([draws.uniforms(SEEDS[:50], counter, stream) for counter in range(40) for stream in range(5)])
    assert len(np.unique(drawn)) == drawn.size
