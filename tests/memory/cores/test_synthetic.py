"""Synthetic gradients: windows with the true ones are the whole sequence, and those that are learned bridge windows."""

import pytest
import torch
from torch import nn
from torch.func import functional_call, jacrev

from engram_rl.memory.cores import NTM, Core, SyntheticGradients, make_core

D, H, B, T, WINDOW = 3, 5, 4, 9, 3


def loss_of(outputs):
    return (outputs.sin() * outputs).sum()


class Told(SyntheticGradients):
    """Foretells what it is given."""

    def forward(self, state):
        return self.told


@pytest.mark.parametrize("name", ["gru", "lstm", "delta", "ntm"])
def test_windows_with_the_true_gradients_are_backpropagation_through_the_whole_sequence(name):
    torch.manual_seed(0)
    core = make_core(name, D, H, **({"slots": 4, "width": 3} if name == "ntm" else {})).double()
    xs = torch.randn(T, B, D).double()
    loss_of(core(xs, core.initial_state(B))[0]).backward()
    expected = {leaf: part.grad.clone() for leaf, part in core.named_parameters()}
    core.zero_grad()
    oracle, state = Told(core).double(), core.initial_state(B)
    for start in range(0, T, WINDOW):
        opened = state if start == 0 else oracle.opened(state)
        outputs, after, _ = core(xs[start : start + WINDOW], opened)
        later = oracle.opened(after)
        oracle.told = {leaf: torch.zeros_like(part) for leaf, part in later.items()}
        if start + WINDOW < T:
            beyond = loss_of(core(xs[start + WINDOW :], later)[0])
            slopes = torch.autograd.grad(beyond, [*later.values()], allow_unused=True)
            oracle.told = {
                leaf: torch.zeros_like(later[leaf]) if slope is None else slope
                for leaf, slope in zip(later, slopes, strict=True)
            }
        (loss_of(outputs) + oracle.beyond(after)).backward()
        state = after
    for leaf, part in core.named_parameters():
        torch.testing.assert_close(part.grad, expected[leaf], msg=lambda m, leaf=leaf: f"{leaf}: {m}")


def test_forward_accumulation_gives_the_same_gradient():
    """Real-time recurrent learning of a small core: the influence of every weight on the state is carried along."""
    torch.manual_seed(0)
    core = make_core("lstm", 2, 3).double()
    weights, xs = dict(core.named_parameters()), torch.randn(4, 1, 2).double()
    loss_of(core(xs, core.initial_state(1))[0]).backward()

    def step(weights, state, x):
        output, after, _ = functional_call(core, weights, (x.unsqueeze(0), state))
        return after, loss_of(output)

    state = {leaf: part.detach() for leaf, part in core.initial_state(1).items()}
    fixed = {leaf: part.detach() for leaf, part in weights.items()}
    influence = {s: {w: torch.zeros(*state[s].shape, *fixed[w].shape).double() for w in fixed} for s in state}
    gradient = {leaf: torch.zeros_like(part) for leaf, part in fixed.items()}
    for x in xs:
        by_state, from_loss = jacrev(step, 1)(fixed, state, x)
        by_weight, directly = jacrev(step, 0)(fixed, state, x)
        for w in fixed:
            gradient[w] += directly[w] + sum(torch.tensordot(from_loss[s], influence[s][w], 2) for s in state)
        influence = {
            s: {
                w: by_weight[s][w] + sum(torch.tensordot(by_state[s][r], influence[r][w], 2) for r in state)
                for w in fixed
            }
            for s in state
        }
        state = {leaf: part.detach() for leaf, part in step(fixed, state, x)[0].items()}
    for leaf, part in weights.items():
        torch.testing.assert_close(gradient[leaf], part.grad)


def test_what_is_foretold_becomes_the_gradient_of_what_follows():
    torch.manual_seed(0)
    core = make_core("gru", D, H)
    foretold = SyntheticGradients(core, 32)
    optimiser = torch.optim.Adam(foretold.parameters(), 1e-2)
    later = torch.randn(2, 1, D).expand(-1, 32, -1)
    errors = []
    for _ in range(200):
        state = foretold.opened({"hidden": torch.rand(32, H) * 2 - 1})
        loss = loss_of(core(later, state)[0])
        error = foretold.error(state, loss)
        errors.append(error.item())
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
    assert errors[-1] < 0.1 * errors[0] and not any(part.grad is not None for part in core.parameters())


@pytest.mark.parametrize(("name", "leaf"), [("gru", "hidden"), ("delta", "fast")])
def test_nothing_lies_beyond_the_end_of_an_episode(name, leaf):
    core = make_core(name, D, H)
    foretold = SyntheticGradients(core)
    nn.init.ones_(foretold.foretells[2].bias)
    _, after, _ = core(torch.randn(2, B, D), core.initial_state(B))
    ends = torch.tensor([True, False, True, False])
    (slopes,) = torch.autograd.grad(foretold.beyond(after, ends), after[leaf])
    assert not slopes[ends].any() and (slopes[~ends] != 0).all()


def test_the_error_is_the_squared_distance_from_the_windows_slopes_a_mean_over_rows():
    core = make_core("lstm", D, H)
    told = Told(core)
    state = told.opened(core.initial_state(B))
    told.told = {leaf: torch.full((B, H), 0.5).requires_grad_() for leaf in ("hidden", "cell")}
    loss = (torch.arange(1.0, H + 1) * state["hidden"]).sum()  # which does not depend on the cell
    error = told.error(state, loss)
    expected = sum((0.5 - h) ** 2 for h in range(1, H + 1)) + H * 0.25
    assert error.item() == pytest.approx(expected)
    (loss + error).backward()
    assert torch.allclose(told.told["cell"].grad, torch.full((B, H), 1 / B))


def test_a_state_of_whole_numbers_alone_is_refused():
    class Counter(Core):
        def _initial(self, batch_size, like):
            return {"count": torch.zeros(batch_size, dtype=torch.int64)}

    counter = Counter(D, H)
    counter.scale = nn.Parameter(torch.ones(()))
    with pytest.raises(ValueError, match="the state of Counter holds nothing that could be differentiated"):
        SyntheticGradients(counter)


def test_it_begins_as_mere_truncation_and_leaves_whole_numbers_alone():
    core = make_core("sam", D, H, slots=5, width=3, k=2)
    foretold = SyntheticGradients(core)
    state = foretold.opened(core.initial_state(B))
    _, after, _ = core(torch.randn(2, B, D), state)
    assert foretold.beyond(after) == 0 and "rows" not in foretold(after) and not state["rows"].requires_grad


def test_a_size_that_is_none_is_refused():
    with pytest.raises(ValueError, match="SyntheticGradients's hidden is 0"):
        SyntheticGradients(NTM(D, H), 0)


def test_it_computes_in_the_precision_of_the_core():
    core = make_core("gru", 3, 4).double()
    foretold = SyntheticGradients(core)
    state = foretold.opened(core.initial_state(2))
    outputs, after, _ = core(torch.randn(3, 2, 3).double(), state)
    foretold.error(state, outputs.sum() + foretold.beyond(after)).backward()
