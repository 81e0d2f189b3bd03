"""Errors of what a memory promised, against a row-by-row reference."""

import numpy as np
import pytest
import torch

from engram_rl.agents.episodic_control.overestimates import EPISODES, STEPS, errors_by_age, met_again
from engram_rl.memory import DifferentiableNeuralDictionary


@pytest.mark.parametrize(("groups", "young", "old"), [(STEPS, 1_000, 10_000), (EPISODES, 10, 100)])
def test_ages_are_young_middle_and_old_from_limits_on_that_do_not_overlap(groups, young, old):
    names = {0: "young", young - 1: "young", young: "middle", old - 1: "middle", old: "old", 10**9: "old"}
    for age, name in names.items():
        assert errors_by_age(torch.ones(1), torch.tensor([age]), groups) == {f"memory/value_error_{name}": 1.0}


@pytest.mark.parametrize("groups", [STEPS, EPISODES])
def test_each_error_counts_in_the_group_of_its_age(groups):
    generator = torch.Generator().manual_seed(0)
    ages = torch.cat([torch.tensor([limit + d for limit in (0, 10, 100, 1000, 10_000) for d in (0, 1)])] * 3)
    errors = torch.rand(len(ages), generator=generator)
    expected = {}
    for error, age in zip(errors.tolist(), ages.tolist(), strict=True):
        (name,) = [name for name, (youngest, limit) in groups.items() if youngest <= age < limit]
        expected.setdefault(f"memory/value_error_{name}", []).append(error)
    assert errors_by_age(errors, ages, groups) == {k: pytest.approx(np.mean(v)) for k, v in expected.items()}
    assert errors_by_age(errors[:0], ages[:0], groups) == {}
    assert errors_by_age(errors[:1], ages[:1], groups).keys() == {"memory/value_error_young"}


def test_what_is_met_again_tells_how_wrong_it_was():
    memory = DifferentiableNeuralDictionary(2, 3, 50, 2, write_rule="last")
    generator = torch.Generator().manual_seed(0)
    stored = torch.rand(20, 3, generator=generator)
    stored[:, 2] = torch.arange(20) * 10
    memory.write(torch.randn(20, 2, generator=generator), stored, identity=torch.arange(20))
    names = torch.tensor([3, 50, 19, 0, 60])
    new = torch.rand(5, 3, generator=generator)
    new[:, 2] = 200
    expected = {}
    for name, row in zip(names.tolist(), new, strict=True):
        if name < 20:
            age = "middle" if 10 <= 200 - 10 * name < 100 else "old"
            expected.setdefault(f"memory/value_error_{age}", []).append(abs(float(row[1] - stored[name, 1])))
    seen = met_again(memory, new, names, column=1)
    assert seen.pop("memory/match_rate") == pytest.approx(3 / 5)
    assert seen == {k: pytest.approx(np.mean(v), rel=1e-5) for k, v in expected.items()}
    assert met_again(memory, new, names, column=None).keys() == {"memory/match_rate"}
