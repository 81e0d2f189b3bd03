"""The neural Bloom filter: its equations, sets in any order, and a threshold that denies no member."""

import math
from inspect import Parameter, signature

import numpy as np
import pytest
import torch

from engram_rl.memory.associative import NeuralBloomFilter
from tests.memory.cores.slow_steps import layer_norm, relu, softmax


def layers(p, name, x):
    return p[f"{name}.2.weight"] @ relu(p[f"{name}.0.weight"] @ x + p[f"{name}.0.bias"]) + p[f"{name}.2.bias"]


def slow_logits(p, stored, asked):
    """Of one set, item by item."""

    def coded(x):
        z = layers(p, "code", x)
        query = layer_norm(p["query.0.weight"] @ z + p["query.0.bias"], p["query.1.weight"], p["query.1.bias"])
        return z, softmax(p["addresses"] @ query), p["words.weight"] @ z + p["words.bias"]

    memory = np.zeros((3, 4))
    for x in stored:
        _, at, word = coded(x)
        for slot in range(3):
            memory[slot] += at[slot] * word
    found = []
    for x in asked:
        z, at, word = coded(x)
        seen = np.concatenate([at[slot] * memory[slot] for slot in range(3)])
        found.append(layers(p, "answer", np.concatenate([seen, word, z]))[0])
    return np.array(found)


def test_it_is_its_equations():
    torch.manual_seed(0)
    bloom = NeuralBloomFilter(5, hidden=6, slots=3, word=4).double()
    numbers = {name: part.detach().numpy() for name, part in bloom.named_parameters()}
    stored, asked = torch.randn(2, 7, 5).double(), torch.randn(2, 4, 5).double()
    logits = bloom.logits(bloom.write(bloom.empty(2), stored), asked).detach().numpy()
    for row in range(2):
        expected = slow_logits(numbers, stored[row].numpy(), asked[row].numpy())
        np.testing.assert_allclose(logits[row], expected, atol=1e-10)


def test_a_set_has_no_order_and_may_be_written_in_parts():
    bloom, items = NeuralBloomFilter(5), torch.randn(2, 7, 5)
    whole = bloom.write(bloom.empty(2), items)
    parts = bloom.write(bloom.write(bloom.empty(2), items[:, [4, 2, 6]]), items[:, [0, 1, 5, 3]])
    torch.testing.assert_close(whole, parts)


def draw(chance, kinds, sets=32, items=6):
    """Members are noisy copies of two of eight kinds, others of the rest. `[sets, items, 16]` twice."""
    order = torch.rand(sets, 8, generator=chance).argsort(1)

    def of(among):
        picked = among.gather(1, torch.randint(among.shape[1], (sets, items), generator=chance))
        return kinds[picked] + 0.2 * torch.randn(sets, items, 16, generator=chance)

    return of(order[:, :2]), of(order[:, 2:])


def test_trained_it_tells_members_from_others_and_denies_no_member():
    torch.manual_seed(0)
    bloom, chance = NeuralBloomFilter(16, hidden=32, slots=8, word=8), torch.Generator().manual_seed(1)
    kinds = torch.randn(8, 16, generator=chance)
    optimiser = torch.optim.Adam(bloom.parameters(), 3e-3)
    for _ in range(150):
        optimiser.zero_grad()
        bloom.loss(*draw(chance, kinds)).backward()
        optimiser.step()
    items, others = draw(chance, kinds, sets=100)
    memory = bloom.write(bloom.empty(100), items)
    threshold = bloom.threshold(memory, items)
    assert (bloom.logits(memory, items) >= threshold).all()
    assert (bloom.logits(memory, others) >= threshold).float().mean() < 0.05
    assert bloom.novelty(memory, others).mean() > 0.9 > 0.1 > bloom.novelty(memory, items).mean()


def test_gradients_are_those_of_differences():
    torch.manual_seed(0)
    bloom = NeuralBloomFilter(3, hidden=4, slots=2, word=3).double()
    items, others = torch.randn(2, 2, 3, 3).double().unbind(0)
    bloom.loss(items, others).backward()
    for name, part in bloom.named_parameters():
        at = tuple(0 for _ in part.shape)
        ends = []
        for side in (1e-6, -1e-6):
            with torch.no_grad():
                part[at] += side
                ends.append(bloom.loss(items, others).item())
                part[at] -= side
        assert part.grad[at].item() == pytest.approx((ends[0] - ends[1]) / 2e-6, abs=1e-7), name


def test_autocast_rounds_no_set():
    torch.manual_seed(0)
    bloom, items = NeuralBloomFilter(5), torch.randn(2, 3, 5).bfloat16()
    memory = bloom.write(bloom.empty(2), items.float())
    logits = bloom.logits(memory, items.float())
    with torch.autocast("cpu", torch.bfloat16):
        again = bloom.write(bloom.empty(2), items)
        assert torch.equal(again, memory) and torch.equal(bloom.logits(again, items), logits)
        assert torch.equal(bloom.threshold(memory, items), logits.amin(1, keepdim=True))


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (torch.zeros(2, 3, 4), r"items have shape \[2, 3, 4\]; this memory takes \[2, N, 5\]"),
        (torch.zeros(1, 3, 5), r"takes \[2, N, 5\]"),
        (torch.full((2, 3, 5), math.nan), "NaN or infinity"),
        (torch.ones(2, 3, 5, dtype=torch.bool), "items are of torch.bool; this memory computes in torch.float32"),
    ],
)
def test_bad_items_are_refused_by_name(items, message):
    bloom = NeuralBloomFilter(5)
    with pytest.raises(ValueError, match=message):
        bloom.write(bloom.empty(2), items)


def test_it_has_the_size_that_is_said_and_begins_at_the_scale_of_its_words():
    torch.manual_seed(0)
    bloom = NeuralBloomFilter(5)
    assert {name: one.default for name, one in signature(NeuralBloomFilter).parameters.items()} == {
        "width": Parameter.empty,
        "hidden": 64,
        "slots": 16,
        "word": 16,
    }
    assert bloom.addresses.detach().std().item() == pytest.approx(1 / 4, rel=0.15)
    assert not bloom.empty(3).any() and bloom.empty(3).shape == (3, 16, 16)


def test_novelty_is_the_probability_of_not_belonging_and_no_part_of_learning():
    bloom, items = NeuralBloomFilter(5), torch.randn(2, 7, 5)
    memory = bloom.write(bloom.empty(2), items)
    novelty = bloom.novelty(memory, items)
    torch.testing.assert_close(novelty, 1 - bloom.logits(memory, items).detach().sigmoid())
    assert not novelty.requires_grad


def test_the_threshold_is_the_least_logit_of_each_set_and_the_loss_a_cross_entropy():
    bloom, (items, others) = NeuralBloomFilter(5), torch.randn(2, 3, 4, 5)
    memory = bloom.write(bloom.empty(3), items)
    inside, outside = bloom.logits(memory, items), bloom.logits(memory, others[:, :2])
    assert torch.equal(bloom.threshold(memory, items), inside.min(1, keepdim=True).values)
    cross_entropy = torch.nn.functional.binary_cross_entropy_with_logits
    members, strangers = (cross_entropy(x, torch.full_like(x, y)) for x, y in ((inside, 1.0), (outside, 0.0)))
    torch.testing.assert_close(bloom.loss(items, others[:, :2]), (members + strangers) / 2)


@pytest.mark.parametrize("shape", [(2, 5), (2, 0, 5), (2, 3, 6), (3, 3, 5), (2, 3, 5, 1)])
def test_items_of_another_shape_are_refused(shape):
    bloom = NeuralBloomFilter(5)
    with pytest.raises(ValueError, match=r"this memory takes \[2, N, 5\]"):
        bloom.logits(bloom.empty(2), torch.zeros(shape))


@pytest.mark.parametrize("size", ["width", "hidden", "slots", "word"])
def test_sizes_are_at_least_one(size):
    with pytest.raises(ValueError, match=f"{size} is 0; it must be at least 1"):
        NeuralBloomFilter(**{"width": 2} | {size: 0})
    assert NeuralBloomFilter(**{"width": 2, "hidden": 3} | {size: 1}).width >= 1
