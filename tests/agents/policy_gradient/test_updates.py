"""A rollout is judged in pieces where it is large, with what judging it whole gives."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engram_rl.agents.policy_gradient import updates

STEPS, ENVS = 7, 3


class Policy:
    """Judges a step by the number that it shows; notes how many it was shown at once."""

    def __init__(self, recurrent):
        self.recurrent, self.shown = recurrent, []

    def __call__(self, seen, state, starts, extras, mask):
        self.shown.append(len(seen["view"]))
        assert len(extras["shown"]) == len(mask) == len(seen["view"]) == starts.numel()
        number = seen["view"][:, 0].float() + extras["shown"]
        return SimpleNamespace(
            distribution=SimpleNamespace(log_prob=lambda action: -number * action), value=number, losses={}
        )


def rollout(seed=0):
    draw = torch.Generator().manual_seed(seed)
    shape = (STEPS, ENVS)
    data = {
        "seen": {"view": torch.randint(0, 255, (*shape, 4), generator=draw, dtype=torch.uint8)},
        "extras": {"shown": torch.rand(shape, generator=draw)},
        "starts": torch.zeros(shape, dtype=torch.bool),
        "mask": torch.ones((*shape, 2), dtype=torch.bool),
        "action": torch.randint(0, 2, shape, generator=draw),
    }
    return SimpleNamespace(
        stacked=lambda: dict(data),
        num_steps=STEPS,
        num_envs=ENVS,
        initial_state={},
        advantages=lambda value, last, discount, trace, cut: value * discount,
    )


@pytest.mark.parametrize(("bytes_at_once", "shown"), [(4 * 21, [21]), (4 * 8, [8, 8, 5]), (1, [1] * 21)])
def test_a_large_rollout_is_judged_in_pieces(monkeypatch, bytes_at_once, shown):
    factors = {"discount": 0.9, "gae_lambda": 1.0, "cut": False}
    whole = updates.evaluated(Policy(False), rollout(), np.zeros(ENVS), **factors)
    monkeypatch.setattr(updates, "AT_ONCE", bytes_at_once)
    policy = Policy(False)
    pieces = updates.evaluated(policy, rollout(), np.zeros(ENVS), **factors)
    assert policy.shown == shown
    for name in ("log_prob", "value", "advantage", "target"):
        assert pieces[name].shape == (STEPS, ENVS) and torch.equal(pieces[name], whole[name])


def test_sequences_are_judged_whole(monkeypatch):
    monkeypatch.setattr(updates, "AT_ONCE", 1)
    policy = Policy(True)
    updates.evaluated(policy, rollout(), np.zeros(ENVS), discount=0.9, gae_lambda=1.0, cut=False)
    assert policy.shown == [STEPS * ENVS]
