"""Episodes that begin within a sequence: the pieces are laid side by side, and nobody notices."""

from itertools import pairwise

import pytest
import torch

from engram_rl.memory.cores import make_core
from engram_rl.memory.cores.pieces import Pieces


def slow_unroll(core, inputs, state, starts):
    """Cho et al. (2014), as PyTorch orders the gates: reset, update, new."""
    weights = {name: parameter.double() for name, parameter in core.unit.named_parameters()}
    outputs = []
    state = state["hidden"].double()
    for x, begins in zip(inputs.double(), starts, strict=True):
        rows = []
        for b in range(len(x)):
            h = torch.zeros_like(state[b]) if begins[b] else state[b]
            a = weights["weight_ih_l0"] @ x[b] + weights["bias_ih_l0"]
            c = weights["weight_hh_l0"] @ h + weights["bias_hh_l0"]
            (ar, az, an), (cr, cz, cn) = a.chunk(3), c.chunk(3)
            r, z = torch.sigmoid(ar + cr), torch.sigmoid(az + cz)
            rows.append((1 - z) * torch.tanh(an + r * cn) + z * h)
        state = torch.stack(rows)
        outputs.append(state)
    return torch.stack(outputs), state


def case(steps=9, rows=3, seed=0):
    torch.manual_seed(seed)
    core = make_core("gru", 4, 5)
    for parameter in core.parameters():
        torch.nn.init.normal_(parameter)
    return core, torch.randn(steps, rows, 4), {"hidden": torch.randn(rows, 5)}


STARTS = {
    "nothing begins": [],
    "at the first step": [(0, 0), (0, 2)],
    "in the middle, in one row": [(4, 1)],
    "in several rows at once": [(3, 0), (3, 2)],
    "at every step": [(t, b) for t in range(9) for b in range(3)],
    "at the last step": [(8, 1)],
}


@pytest.mark.parametrize("where", STARTS.values(), ids=STARTS)
def test_it_is_the_equations_with_the_state_emptied_where_an_episode_begins(where):
    core, inputs, state = case()
    starts = torch.zeros(9, 3, dtype=torch.bool)
    for at in where:
        starts[at] = True
    output, last, _ = core(inputs, state, starts)
    expected, expected_last = slow_unroll(core, inputs, state, starts)
    torch.testing.assert_close(output.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last["hidden"].double(), expected_last, rtol=1e-4, atol=1e-5)


def test_gradients_are_those_of_the_equations_and_do_not_cross_a_beginning():
    core, inputs, state = case()
    starts = torch.zeros(9, 3, dtype=torch.bool)
    starts[4, 1] = True
    inputs.requires_grad_()
    output, _, _ = core(inputs, state, starts)
    (gradient,) = torch.autograd.grad(output[-1].square().sum(), inputs)
    expected, _ = slow_unroll(core, inputs, state, starts)
    (slow,) = torch.autograd.grad(expected[-1].square().sum(), inputs)
    torch.testing.assert_close(gradient, slow, rtol=1e-3, atol=1e-6)
    assert (gradient[:4, 1] == 0).all() and (gradient[:4, 0] != 0).all()


def test_step_by_step_is_the_same_as_all_at_once():
    core, inputs, state = case()
    starts = torch.rand(9, 3, generator=torch.Generator().manual_seed(1)) < 0.3
    together, last, _ = core(inputs, state, starts)
    for t in range(9):
        output, state, _ = core(inputs[t : t + 1], state, starts[t : t + 1])
        torch.testing.assert_close(output[0], together[t])
    torch.testing.assert_close(state, last)


def naive_pieces(reset):
    """Where each piece without a beginning lies: row, first step, and the one after its last."""
    steps, batch = reset.shape
    found = []
    for b in range(batch):
        opens = [0, *(t for t in range(1, steps) if reset[t, b]), steps]
        found += [(b, start, end) for start, end in pairwise(opens)]
    return found


@pytest.mark.parametrize(("steps", "rows", "share"), [(1, 1, 0.0), (1, 4, 0.5), (9, 1, 0.4), (9, 5, 0.3), (40, 3, 0.9)])
def test_pieces_are_those_between_beginnings_the_longest_first(steps, rows, share):
    reset = torch.rand(steps, rows, generator=torch.Generator().manual_seed(steps)) < share
    pieces, naive = Pieces(reset), naive_pieces(reset)
    assert pieces.count == len(naive)
    lengths = sorted((end - start for _, start, end in naive), reverse=True)
    assert pieces.sizes.tolist() == [sum(length > t for length in lengths) for t in range(lengths[0])]
    assert sum(count * length for count, length in pieces.runs()) == steps * rows
    marks = torch.arange(steps * rows).reshape(steps, rows, 1)
    laid = pieces.laid_out(marks)
    assert torch.equal(pieces.put_back(laid), marks)
    at = 0
    columns = [[] for _ in lengths]
    for size in pieces.sizes.tolist():
        for rank in range(size):
            columns[rank].append(int(laid[at + rank]))
        at += size
    assert sorted(columns) == sorted(marks[start:end, b, 0].tolist() for b, start, end in naive)
    for b in range(rows):
        assert columns[int(pieces.first[b])][0] == int(marks[0, b])
        assert columns[int(pieces.last[b])][-1] == int(marks[-1, b])


def test_a_cores_own_losses_are_means_over_all_steps_however_they_are_cut():
    torch.manual_seed(0)
    core = make_core("compressive", 3, 8, window=4, compressed=4, compression=2)
    xs = torch.randn(12, 3, 3)
    starts = torch.zeros(12, 3, dtype=torch.bool)
    starts[5, 0] = starts[8, 0] = starts[7, 2] = True
    _, _, losses = core(xs, core.initial_state(3), starts)
    parts = []
    for b, start, end in naive_pieces(starts):
        _, _, own = core(xs[start:end, b : b + 1], core.initial_state(1))
        parts.append(own["compression"] * (end - start))
    torch.testing.assert_close(losses["compression"], sum(parts) / 36)
    assert losses["compression"].item() > 0
