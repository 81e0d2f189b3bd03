"""Generators of one seed do not share their draws, and draw the same again."""

import pytest
import torch

from engram_rl.agents.common.seeding import copied, generator_for


def draws(generator):
    return torch.rand(20, generator=generator).tolist()


def test_each_seed_and_purpose_has_draws_of_its_own_that_come_again():
    named = [(0, "replay"), (1, "replay"), (0, "exploration")]
    first, again = ([draws(generator_for(*name)) for name in named] for _ in range(2))
    assert first == again and len({tuple(one) for one in first}) == 3


@pytest.mark.parametrize(("seed", "expected"), [(0, 1775862820), (1, 1724825138)])
def test_a_seed_means_what_it_meant_in_earlier_versions(seed, expected):
    assert generator_for(seed, "exploration").initial_seed() == expected


def test_a_copy_draws_the_same_and_changes_nothing():
    generator = generator_for(0, "replay")
    draws(generator)
    copy = copied(generator)
    assert draws(copy) == draws(generator) != draws(copy)
