"""What a policy is shown of an entry is what a slow reading of its parts gives, in float64, number by number."""

import math

import pytest
import torch

from engram_rl.agents.retrieval.neighbours import Neighbours
from engram_rl.agents.retrieval.tokens import Tokens

R, NEAR, SITES, REACH = 4, 3, 2, 5.0


def entries(places, actions, seed):
    """Random entries, some far, some without reward, some not shown; and how their values are parted."""
    draw = torch.Generator().manual_seed(seed)
    parts = [places, 1, 1, places, actions, 2]  # outcome, rewarded, gained, where, action, the rest
    shape = (R, NEAR + SITES)
    values = 6 * torch.randn(*shape, sum(parts), generator=draw)
    values[..., places] = (torch.rand(shape, generator=draw) < 0.5).float()
    age = torch.randint(0, 5, shape, generator=draw)
    distances = 9 * torch.rand(shape, generator=draw)
    shown = torch.rand(shape, generator=draw) < 0.7
    asked = torch.zeros(shape, dtype=torch.int64)
    return parts, Neighbours(values, torch.rand(shape, generator=draw), distances, age, shown, asked)


def within(number):
    return min(1.0, max(-1.0, number))


def slow_token(near, row, k, place, places, actions):
    """One entry, as its docstring says it."""
    if not near.shown[row, k]:
        return [0.0] * (2 * places + actions + 7)
    value, believed = near.values[row, k].tolist(), near.confidence[row, k].item()
    outcome, rewarded, gained = value[:places], value[places], value[places + 1]
    where, action = value[places + 2 : 2 * places + 2], value[2 * places + 2 : 2 * places + 2 + actions]
    site = k >= NEAR
    token = [float(site), 1 / (k - NEAR + 1 if site else k + 1)]
    token += [within((there - here) / REACH) * rewarded * believed for there, here in zip(outcome, place, strict=True)]
    token += [rewarded, math.copysign(math.log(1 + abs(gained)), gained)]
    token += [0.0 if site else within((there - here) / REACH) for there, here in zip(where, place, strict=True)]
    token += [math.log(1 + near.distances[row, k].item()), *action, 1 / max(1, near.age[row, k].item()), believed]
    return token


@pytest.mark.parametrize("places", [0, 1, 3])
@pytest.mark.parametrize("actions", [1, 4])
def test_a_token_is_what_its_entry_says(places, actions):
    parts, near = entries(places, actions, seed=places + actions)
    place = 6 * torch.randn(R, places, generator=torch.Generator().manual_seed(9))
    tokens = Tokens(parts, neighbours=NEAR, reward_sites=SITES, reach=REACH)
    shown = tokens(near, place)
    expected = [
        [slow_token(near, row, k, place[row].tolist(), places, actions) for k in range(NEAR + SITES)]
        for row in range(R)
    ]
    torch.testing.assert_close(shown, torch.tensor(expected), rtol=1e-5, atol=1e-6)
    assert shown.shape == (R, NEAR + SITES, tokens.size)
    gained = near.values[..., places + 1]
    told = shown[..., tokens.return_column]
    torch.testing.assert_close(told, torch.where(near.shown, gained.sign() * gained.abs().log1p(), 0))
