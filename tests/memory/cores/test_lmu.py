"""LMU: its equations, and a memory that holds a window of the past as Legendre polynomials."""

import numpy as np
import torch
from scipy.linalg import expm

from engram_rl.memory.cores import LMU, make_core
from engram_rl.memory.cores.lmu import _delay
from tests.memory.cores.slow_steps import agrees, stays_finite


def delay(order, theta):
    """Zero-order hold by its definition: `exp A` and `A^-1 (exp A - 1) B`."""
    A, B = np.zeros((order, order)), np.zeros(order)
    for i in range(order):
        B[i] = (2 * i + 1) * (-1) ** i / theta
        for j in range(order):
            A[i, j] = (2 * i + 1) / theta * (-1 if i < j else (-1) ** (i - j + 1))
    return expm(A), np.linalg.solve(A, (expm(A) - np.eye(order)) @ B)


def test_it_is_its_equations():
    A, B = delay(5, 12)

    def slow_step(p, x, state):
        h, m = state["hidden"], state["memory"]
        u = p["encode_x"] @ x + p["encode_h"] @ h + p["encode_m"] @ m
        m = A @ m + B * u
        h = np.tanh(p["W_x"] @ x + p["W_h"] @ h + p["W_m"] @ m)
        return h, {"hidden": h, "memory": m}

    agrees("lmu", slow_step, order=5, theta=12)


def test_a_delay_is_worked_out_once():
    asked = (6, 13, torch.device("cpu"), torch.float64)
    assert _delay(*asked)[0] is _delay(*asked)[0]


def test_a_smooth_signal_of_the_window_can_be_read_from_the_memory():
    order, theta = 12, 32
    A, B = _delay(order, theta, torch.device("cpu"), torch.float64)
    u = torch.sin(torch.arange(200) / 9.0).double()
    m = torch.zeros(order, dtype=torch.float64)
    for value in u:
        m = A @ m + B * value
    for age in (0, 8, 16, 31):  # the shifted Legendre polynomials at age / theta
        read = m.numpy() @ [np.polynomial.Legendre.basis(i)(2 * age / theta - 1) for i in range(order)]
        assert abs(read - u[199 - age].item()) < 0.06


def test_large_orders_are_stable():
    A, _ = _delay(256, 64, torch.device("cpu"), torch.float64)
    assert torch.linalg.eigvals(A).abs().max() < 1
    core = make_core("lmu", 3, 256)
    assert torch.isfinite(core(torch.randn(200, 2, 3), core.initial_state(2))[0]).all()


def test_it_stays_finite():
    stays_finite("lmu")


def test_after_acting_in_inference_mode_it_learns():
    core = LMU(3, 4, order=5, theta=11)  # a delay that no other test has asked for
    xs = torch.randn(4, 2, 3)
    with torch.inference_mode():
        core(xs.clone(), core.initial_state(2))
    core(xs, core.initial_state(2))[0].sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in core.parameters())
