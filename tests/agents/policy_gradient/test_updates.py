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
        number = seen["view"][:, :1].float().sum(1) + extras["shown"]
        return SimpleNamespace(
            distribution=SimpleNamespace(log_prob=lambda action: -number * action), value=number, losses={}
        )


def rollout(view=None):
    draw = torch.Generator().manual_seed(0)
    shape = (STEPS, ENVS)
    views = torch.randint(0, 255, (*shape, 4), generator=draw, dtype=torch.uint8)
    data = {
        "seen": {"view": views if view is None else view.expand(*shape, -1), "more": torch.zeros(*shape, 0)},
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


@pytest.mark.parametrize(
    ("view", "bytes_at_once", "shown"),
    [
        (torch.zeros(3, dtype=torch.float32), 12 * 8, [8, 8, 5]),
        (torch.zeros(1, dtype=torch.uint8), 8, [8, 8, 5]),
        (torch.zeros(0), 8, [8, 8, 5]),
        (torch.zeros(1, dtype=torch.uint8).expand(2**22), None, [8, 8, 5]),
        (torch.zeros(1, dtype=torch.uint8).expand(2**22 + 1), None, [7, 7, 7]),
    ],
    ids=["numbers", "a byte each", "nothing", "32 MiB", "more"],
)
def test_as_many_bytes_are_judged_at_once_as_are_allowed_and_32_mebibytes_by_default(
    monkeypatch, view, bytes_at_once, shown
):
    if bytes_at_once:
        monkeypatch.setattr(updates, "AT_ONCE", bytes_at_once)
    policy = Policy(False)
    updates.evaluated(policy, rollout(view), np.zeros(ENVS), discount=0.9, gae_lambda=1.0, cut=False)
    assert policy.shown == shown


def test_counts_begin_at_1_and_shares_are_within_0_and_1():
    updates.require_counts(epochs=1, num_steps=2)
    for count in (0, -1):
        with pytest.raises(ValueError, match=f"PPO's epochs is {count}; it must be at least 1"):
            updates.require_counts(num_steps=1, epochs=count)
    for share in (0, 0.0, 0.5, 1, 1.0):
        updates.require_shares(discount=share, gae_lambda=share)
    for share in (-0.01, 1.01, 2, -1, float("nan")):
        with pytest.raises(ValueError, match=f"PPO's gae_lambda is {share}; it must be within 0 and 1"):
            updates.require_shares(discount=0.5, gae_lambda=share)
