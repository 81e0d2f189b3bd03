"""Multigrid memory: its equations cell by cell, and how far what is told reaches in a step."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import agrees, linear, relu, sigmoid

C = 2


def conv(p, name, image):
    """3 x 3, zeros around: `[channels, n, n]`."""
    weight, bias = p[f"{name}.weight"], p[f"{name}.bias"]
    size = image.shape[1]
    found = np.zeros((len(weight), size, size))
    for row in range(size):
        for column in range(size):
            found[:, row, column] = bias
            for r in range(3):
                for c in range(3):
                    y, x = row + r - 1, column + c - 1
                    if 0 <= y < size and 0 <= x < size:
                        found[:, row, column] += weight[:, :, r, c] @ image[:, y, x]
    return found


def heard(grids, j):
    parts = []
    if 0 < j <= len(grids):
        parts.append(grids[j - 1].repeat(2, axis=1).repeat(2, axis=2))
    if j < len(grids):
        parts.append(grids[j])
    if j + 1 < len(grids):
        fine = grids[j + 1]
        parts.append(np.maximum.reduce([fine[:, r::2, c::2] for r in (0, 1) for c in (0, 1)]))
    return parts


def slow_step(base, sizes):
    def step(p, x, state):
        seen = linear(p, "inputs", x).reshape(C, base, base)
        told, read, after = [seen], [seen], {}
        for layer, grids in enumerate(sizes):
            hidden = []
            for j in range(grids):
                h, c = state[f"hidden_{layer}_{j}"], state[f"cell_{layer}_{j}"]
                gates = conv(p, f"writers.{layer}.{j}", np.concatenate([*heard(told, j), h]))
                i, f, o, g = np.split(gates, 4)
                c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
                hidden.append(sigmoid(o) * np.tanh(c))
                after |= {f"hidden_{layer}_{j}": hidden[-1], f"cell_{layer}_{j}": c}
            told, before = hidden, read
            read = [np.concatenate([*heard(before, j), told[j]]) for j in range(grids)]
            read = [relu(conv(p, f"readers.{layer}.{j}", grid)) for j, grid in enumerate(read)]
        return linear(p, "output", np.concatenate([grid.flatten() for grid in read])), after

    return step


@pytest.mark.parametrize(
    ("base", "levels", "layers", "grids"), [(2, 2, 3, [1, 2, 2]), (1, 3, 4, [1, 2, 3, 3]), (3, 1, 2, [1, 1])]
)
def test_it_is_its_equations(base, levels, layers, grids):
    agrees("multigrid", slow_step(base, grids), length=6, channels=C, base=base, levels=levels, layers=layers)


def test_grids_grow_by_two_and_by_one_a_layer():
    core = make_core("multigrid", 3, 6, levels=3, layers=4, channels=2)
    sizes = {name: leaf.shape[-1] for name, leaf in core.initial_state(1).items() if "hidden" in name}
    assert sizes == {f"hidden_{layer}_{j}": 3 * 2**j for layer, grids in enumerate([1, 2, 3, 3]) for j in range(grids)}


def test_what_one_cell_is_told_reaches_every_cell_of_the_last_layer_in_a_step():
    torch.manual_seed(0)
    core = make_core("multigrid", 3, 6, levels=2, layers=4, channels=4).double()
    one, other = core.initial_state(1), core.initial_state(1)
    other["hidden_0_0"] = other["hidden_0_0"].clone()
    other["hidden_0_0"][..., 0, 0] = 1.0
    x = torch.randn(1, 3).double()
    for j in range(2):
        leaf = f"hidden_3_{j}"
        assert (core.step(x, one)[1][leaf] != core.step(x, other)[1][leaf]).any(1).all()


def test_fewer_layers_than_levels_are_refused():
    with pytest.raises(ValueError, match="layers=1 leave no layer for each of levels=2"):
        make_core("multigrid", 3, 6, layers=1)
    assert len(make_core("multigrid", 3, 6, levels=3, layers=3).writers) == 3


def test_large_inputs_leave_it_finite():
    core = make_core("multigrid", 3, 6, channels=C, base=2)
    outputs, state, _ = core(1e4 * torch.randn(60, 2, 3), core.initial_state(2))
    outputs.mean().backward()
    assert torch.isfinite(outputs).all() and all(torch.isfinite(one.grad).all() for one in core.parameters())
    told = core.inspect(state)["usage"]
    assert ((told > 0) & (told <= 1)).all()
