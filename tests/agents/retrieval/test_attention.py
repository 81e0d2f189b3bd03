"""The attention over what was retrieved: against a slow reference, and harmless when shut or when nothing is there."""

import math

import pytest
import torch

from engram_rl.agents.retrieval.attention import Fusion, RetrievalAttention
from engram_rl.agents.retrieval.tokens import NEIGHBOURS, SHOWN

B, H, K, F = 5, 6, 4, 3


def module(**changes) -> RetrievalAttention:
    torch.manual_seed(0)
    made = RetrievalAttention(H, F, **({"width": 8, "heads": 2, "gate": 1.0} | changes)).double()
    torch.nn.init.normal_(made.null)
    assert all(part.abs().sum() > 0 for name, part in made.named_parameters() if name != "a")  # biases too
    return made


def example():
    torch.manual_seed(1)
    valid = torch.rand(B, K) < 0.6
    valid[0], valid[1] = True, False
    return torch.randn(B, H, dtype=torch.float64), torch.randn(B, K, F, dtype=torch.float64), valid


def slow(made: RetrievalAttention, features, tokens, valid):
    """One row, one head, one neighbour at a time."""
    rows, width = [], made.query.out_features // made.heads
    for h, neighbours, there in zip(features, tokens, valid, strict=True):
        embedded = [*(made.embed(one) for one, here in zip(neighbours, there, strict=True) if here), made.null]
        read = []
        for head in range(made.heads):
            part = slice(head * width, (head + 1) * width)
            query = made.query(h)[part]
            pairs = [made.key_value(e) for e in embedded]
            keys, values = [p[: len(p) // 2][part] for p in pairs], [p[len(p) // 2 :][part] for p in pairs]
            likeness = torch.stack([query @ key / math.sqrt(width) for key in keys])
            weights = likeness.exp() / likeness.exp().sum()
            read.append(sum(w * value for w, value in zip(weights, values, strict=True)))
        rows.append(h + torch.tanh(made.a) * made.out(torch.cat(read)))
    return torch.stack(rows)


def test_it_is_attention_over_the_neighbours_that_are_there_and_the_null_token():
    made, given = module(), example()
    torch.testing.assert_close(made(*given), slow(made, *given))


def test_what_is_not_there_changes_nothing_and_gets_no_attention():
    made, (features, tokens, valid) = module(), example()
    other = torch.where(valid[..., None], tokens, 1e3)
    assert torch.equal(made(features, tokens, valid), made(features, other, valid))
    weights = made.read(features, tokens, valid)[1]
    assert torch.equal(weights[:, :, :K] > 0, valid[:, None].expand(-1, 2, -1))
    torch.testing.assert_close(weights.sum(2), torch.ones(B, 2, dtype=torch.float64))


def test_without_any_neighbour_all_attention_is_on_the_null_token():
    made, (features, tokens, _) = module(), example()
    assert (made.read(features, tokens, torch.zeros(B, K, dtype=torch.bool))[1][..., -1] == 1).all()


def test_a_gate_held_at_0_gives_back_the_features_bit_for_bit():
    made, given = module(gate=0.0), example()
    assert torch.equal(made(*given), given[0])


def test_the_order_of_neighbours_does_not_matter():
    made, (features, tokens, valid) = module(), example()
    order = torch.randperm(K)
    torch.testing.assert_close(made(features, tokens[:, order], valid[:, order]), made(features, tokens, valid))


def test_the_gradient_reaches_everything_that_is_trained():
    made, given = module(), example()
    made(*given).square().mean().backward()
    assert all(part.grad is not None and part.grad.abs().sum() > 0 for part in made.parameters())


def test_a_gate_that_is_not_trained_stays():
    made = module(learn_gate=False)
    made(*example()).sum().backward()
    assert made.a.grad is None


@pytest.mark.parametrize("gate", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("learn_gate", [False, True])
def test_only_a_gate_that_is_held_at_0_leaves_nothing_to_train(gate, learn_gate):
    trained = {name: part.requires_grad for name, part in module(gate=gate, learn_gate=learn_gate).named_parameters()}
    assert trained.pop("a") == learn_gate
    assert set(trained.values()) == {bool(gate) or learn_gate}


def test_the_gate_is_trained_unless_it_is_said_to_be_held():
    assert RetrievalAttention(H, F, width=8, heads=2, gate=0.0).a.requires_grad


@pytest.mark.parametrize("gate", [-1.0, 0.0, 0.5])
def test_how_much_is_let_in_is_the_tanh_of_the_gate(gate):
    assert module(gate=gate).gate.item() == pytest.approx(math.tanh(gate))


@pytest.mark.parametrize("heads", [3, 0, -1, 16])
def test_heads_must_divide_the_width(heads):
    with pytest.raises(ValueError, match=f"{heads} heads do not divide a width of 8"):
        module(heads=heads)


@pytest.mark.parametrize("heads", [1, 4, 8])
def test_any_heads_that_divide_the_width_will_do(heads):
    made, given = module(heads=heads), example()
    torch.testing.assert_close(made(*given), slow(made, *given))


def test_a_fusion_reads_what_a_memory_input_shows():
    made, (features, tokens, valid) = module(), example()
    fusion, shown = Fusion(made), {NEIGHBOURS: tokens, SHOWN: valid}
    assert torch.equal(fusion(features, shown), made(features, tokens, valid))
    assert all(
        torch.equal(*pair)
        for pair in zip(fusion.read(features, shown), made.read(features, tokens, valid), strict=True)
    )
