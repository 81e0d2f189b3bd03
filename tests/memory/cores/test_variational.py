"""The variational memory encoder-decoder: its equations, its bound, and answers that are drawn and not averaged."""

import math
from functools import partial

import pytest
import torch

from engram_rl.memory.cores import DNC, GRU, NTM, SAM, VariationalMemory
from engram_rl.memory.cores.variational import SMALLEST, mixture_kl

D, H, C, B, T, S, K = 3, 5, 4, 2, 4, 3, 2
SLOTTED = {
    "dnc": partial(DNC, slots=5, width=4, reads=K),
    "ntm": partial(NTM, slots=5, width=4, reads=K),
    "sam": partial(SAM, slots=5, width=4, k=2, reads=K),
}
EACH = pytest.mark.parametrize("name", SLOTTED)


def made(name="dnc", **settings):
    torch.manual_seed(0)
    return VariationalMemory(D, H, C, core=SLOTTED[name], latent=3, **settings).double()


def pairs(seed=1):
    chance = torch.Generator().manual_seed(seed)
    return torch.randn(T, B, D, generator=chance).double(), torch.randint(2, (S, B, C), generator=chance).double()


def softplus(x):
    return math.log1p(math.exp(x))


def slow_parts(memory, xs, ys, noise):
    """Row by row and number by number, but for the cores, which have slow steps of their own."""
    surprise, divergence = [], []
    for row in range(B):
        _, state, _ = memory.encoder(xs[:, row : row + 1], memory.encoder.initial_state(1))
        g, last = torch.zeros(1, H).double(), torch.zeros(1, C).double()
        for t in range(S):
            y = ys[t, row : row + 1]
            g = memory.of_answers(y, g)
            told = memory.posterior(torch.cat([g, state["read"]], 1))[0].tolist()
            mean, std = told[:3], [softplus(x) + SMALLEST for x in told[3:]]
            surest = [max(w) for w in memory.decoder._read_weights(state)[0].tolist()]
            pi = [math.exp(w) / sum(math.exp(v) for v in surest) for w in surest]
            total = 0.0
            for i, read in enumerate(state["read"][0].chunk(K)):
                told = memory.prior(read).tolist()
                kl = 0.0
                for m, s, m_i, raw in zip(mean, std, told[:3], told[3:], strict=True):
                    s_i = softplus(raw) + SMALLEST
                    kl += math.log(s_i / s) + (s * s + (m - m_i) ** 2) / (2 * s_i * s_i) - 0.5
                total += pi[i] * math.exp(-kl)
            divergence.append(-math.log(total))
            z = torch.tensor([[m + s * e for m, s, e in zip(mean, std, noise[t, row].tolist(), strict=True)]]).double()
            output, state, _ = memory.decoder.step(torch.cat([last, z], 1), state)
            for logit, bit in zip(memory.output(output)[0].tolist(), y[0].tolist(), strict=True):
                surprise.append(softplus(-logit if bit else logit))
            last = y
    return sum(surprise) / (B * S), sum(divergence) / (B * S)


@EACH
@torch.no_grad()
def test_it_is_its_equations(name):
    memory, (xs, ys) = made(name), pairs()
    noise = torch.stack([torch.randn(B, 3, generator=g, dtype=torch.float64) for g in [chance(5)] for _ in range(S)])
    surprise, divergence = memory.parts(xs, ys, chance(5))
    expected = slow_parts(memory, xs, ys, noise)
    assert (surprise.item(), divergence.item()) == pytest.approx(expected, abs=1e-7)
    loss = memory.loss(xs, ys, 0.3, chance(5))
    assert loss.item() == pytest.approx(expected[0] + 0.3 * expected[1], abs=1e-7)


def chance(seed):
    return torch.Generator().manual_seed(seed)


def test_the_bound_lies_above_the_divergence_and_is_it_for_one_mode():
    torch.manual_seed(0)
    mean, std = torch.randn(1, 2).double(), torch.rand(1, 2).double() + 0.5
    means, stds = torch.randn(1, 3, 2).double(), torch.rand(1, 3, 2).double() + 0.5
    shares = torch.tensor([[0.2, 0.5, 0.3]]).double()
    z = mean + std * torch.randn(200_000, 2).double()
    each = torch.distributions.Normal(means[0], stds[0]).log_prob(z.unsqueeze(1)).sum(-1)
    under_q = torch.distributions.Normal(mean, std).log_prob(z).sum(-1)
    true = (under_q - torch.logsumexp(each + shares.log(), 1)).mean()
    assert mixture_kl((mean, std), (means, stds), shares).item() > true.item() > 0
    one = mixture_kl((mean, std), (means[:, :1], stds[:, :1]), torch.ones(1, 1).double())
    assert one.item() == pytest.approx((under_q - each[:, 0]).mean().item(), rel=0.02)


@EACH
def test_every_parameter_learns_and_draws_are_the_generators(name):
    memory, (xs, ys) = made(name), pairs()
    memory.loss(xs, ys).backward()
    for leaf, part in memory.named_parameters():  # what the encoder would answer is not asked
        assert leaf.startswith("encoder.output") or (part.grad is not None and part.grad.isfinite().all()), leaf
    one, again, other = (memory.draw(xs.repeat(1, 8, 1), 6, chance(seed)) for seed in (1, 1, 2))
    assert one.shape == (6, 8 * B, C) and torch.equal(one, again) and not torch.equal(one, other)
    assert set(one.unique().tolist()) <= {0.0, 1.0}


def test_of_two_answers_it_draws_one_and_no_mean_of_them():
    """Whatever is asked, the answer is 0000 or 1111: bit by bit all mixtures of them are as probable."""
    torch.manual_seed(0)
    memory = VariationalMemory(1, 8, 4, core=partial(NTM, slots=2, width=4, reads=2), latent=2)
    optimiser = torch.optim.Adam(memory.parameters(), 1e-2)
    xs = torch.ones(1, 64, 1)
    for update in range(150):
        ys = torch.randint(2, (1, 64, 1)).float().expand(-1, -1, 4)
        optimiser.zero_grad()
        memory.loss(xs, ys, min(1.0, update / 100)).backward()
        optimiser.step()
    drawn = memory.draw(torch.ones(1, 200, 1), 1)[0].sum(1)
    assert ((drawn == 0) | (drawn == 4)).float().mean() > 0.9
    assert 40 < (drawn == 4).sum() < 160


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: made().loss(pairs()[0], pairs()[1].to(torch.int8)), "ys is of torch.int8, but xs of torch"),
        (lambda: made().loss(pairs()[0].numpy(), pairs()[1]), "xs is .* it must be a tensor"),
        (
            lambda: VariationalMemory(D, H, C, core=GRU),
            "VariationalMemory wraps a core such as DNC, NTM or SAM, got GRU",
        ),
        (lambda: VariationalMemory(D, H, 0), "VariationalMemory's bits is 0"),
        (lambda: made().loss(pairs()[0][..., :1], pairs()[1]), "DNC takes inputs"),
        (lambda: made().loss(pairs()[0][0], pairs()[1]), "DNC takes inputs"),
        (lambda: made().loss(pairs()[0], pairs()[1][:, :1]), r"ys has shape \[3, 1, 4\]; answers are \[S, 2, 4\]"),
        (lambda: made().loss(pairs()[0], pairs()[1] / 2), "ys holds other numbers than 0 and 1"),
        (lambda: made().loss(*pairs(), kl_weight=-1.0), "kl_weight is -1.0"),
        (lambda: made().draw(pairs()[0], 0), "steps is 0"),
    ],
)
def test_bad_input_is_refused_by_name(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
