"""What a core tells of its memory: each figure against a loop over the state, row by row."""

import math

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import CORES, make_core
from engram_rl.memory.cores.addressing import entropy, mean_age, oneplus

D, H, B, T = 2, 6, 3, 5


def slow_entropy(weights):
    shares = [w / sum(weights) for w in weights]
    return -sum(share * math.log(share) for share in shares if share > 0)


def slow_age(weights, ages):
    return sum(w * age for w, age in zip(weights, ages, strict=True)) / sum(weights)


def mean(numbers):
    return sum(numbers) / len(numbers)


def dnc(core, state):
    return {
        "write_strength": sum(state["write_weights"]),
        "read_entropy": mean([slow_entropy(head) for head in state["read_weights"]]),
        "read_age": mean([slow_age(head, state["ages"]) for head in state["read_weights"]]),
        "usage": mean(state["usage"]),
    }


def ntm(core, state):
    reading, writing = state["weights"][: core.reads], state["weights"][core.reads :]
    return {
        "write_strength": mean([max(head) for head in writing]),
        "read_entropy": mean([slow_entropy(head) for head in reading]),
        "read_age": mean([slow_age(head, state["ages"]) for head in reading]),
    }


def sam(core, state):
    return {
        "write_strength": state["written"],
        "read_entropy": mean([slow_entropy(head) for head in state["weights"]]),
        "read_age": mean(
            [slow_age(head, state["ages"][rows]) for head, rows in zip(state["weights"], state["rows"], strict=True)]
        ),
        "usage": mean([float(idle < core.slots) for idle in state["idle"]]),
    }


def of_ages(name):
    def told(core, state, read):
        ages = range(read.shape[1])
        return {
            "read_entropy": mean([slow_entropy(head) for head in read]),
            "read_age": mean([slow_age(head, ages) for head in read]),
            "usage": min(int(state["count"]), getattr(core, name)) / getattr(core, name),
        }

    return told


def kanerva(core, state):
    return {"usage": 1 - np.trace(state["covariance"]) / core.slots}


TOLD = {
    "dnc": (dnc, {"slots": 7, "width": 4, "reads": 2}),
    "ntm": (ntm, {"slots": 7, "width": 4, "reads": 2, "writes": 3}),
    "sam": (sam, {"slots": 7, "width": 4, "reads": 2, "k": 3}),
    "store": (of_ages("capacity"), {"capacity": 8, "heads": 2}),
    "memory_network": (of_ages("slots"), {"slots": 8, "hops": 2}),
    "kanerva": (kanerva, {"slots": 4}),
    "dynamic_kanerva": (kanerva, {"slots": 4, "key_size": 2}),
    "compressive": (
        lambda core, state: {"usage": state["entries"] / 3},
        {"window": 2, "compressed": 3, "compression": 1, "leaving": 2, "heads": 2},
    ),
    "gtrxl": (lambda core, state: {"usage": state["count"] / 8}, {"window": 8, "heads": 2}),
    "multigrid": (
        lambda core, state: {"usage": np.abs(state["hidden_2_1"]).mean()},
        {"channels": 2, "base": 2},
    ),
    "adaptive_computation": (lambda core, state: {"ponder": state["ponder"]}, {}),
}


@pytest.mark.parametrize("name", TOLD)
@pytest.mark.parametrize("steps", [1, T, 11])
def test_what_is_told_is_what_the_state_says(name, steps):
    torch.manual_seed(0)
    slow, settings = TOLD[name]
    core = make_core(name, D, H, **settings).double()
    with torch.no_grad():
        for parameter in core.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))  # so that what is read is not all alike
    xs, reset = torch.randn(steps, B, D).double(), torch.zeros(steps, B, dtype=torch.bool)
    reset[steps // 2, 1] = True
    _, state, _ = core(xs, core.initial_state(B), reset)
    told = core.inspect(state)
    read = core.attention(xs, core.initial_state(B), reset)[-1].numpy() if core.reads_by == "age" else None
    for row in range(B):
        own = {leaf: part[row].detach().numpy() for leaf, part in state.items()}
        expected = slow(core, own) if name not in ("store", "memory_network") else slow(core, own, read[row])
        assert told.keys() == expected.keys()
        for what, number in expected.items():
            assert told[what][row].item() == pytest.approx(float(number), abs=1e-5), what


def test_nothing_is_told_of_what_has_nothing_worth_watching():
    silent = {name for name in CORES if not make_core(name, 2, 4).inspect(make_core(name, 2, 4).initial_state(1))}
    assert silent == set(CORES) - set(TOLD) - {"dual", "lifelong", "tiers"}
    with pytest.raises(ValueError, match="GRU has no heads that read"):
        gru = make_core("gru", D, H)
        gru.attention(torch.randn(T, B, D), gru.initial_state(B))


@pytest.mark.parametrize("name", ["store", "memory_network", "gtrxl"])
def test_an_episodes_first_step_reads_itself_alone(name):
    core = make_core(name, D, H, **{"heads": 3} if name != "memory_network" else {"hops": 3})
    reset = torch.zeros(4, B, dtype=torch.bool)
    reset[3, 2] = True
    read = core.attention(torch.randn(4, B, D), core.initial_state(B), reset)
    first = torch.zeros_like(read[0, 0])
    first[:, 0] = 1
    for row in (*read[0], read[3, 2]):
        torch.testing.assert_close(row, first)
    assert (read[3, :2, :, :4] > 0).all() and not read[3, :2, :, 4:].any() and not read.requires_grad
    _, state, _ = core.step(torch.randn(B, D), core.initial_state(B))
    told = core.inspect(state)
    if name != "gtrxl":
        assert not told["read_age"].any() and told["read_entropy"].abs().max() < 1e-4
    assert not any(number.requires_grad for number in told.values())


@pytest.mark.parametrize("name", ["dnc", "ntm", "sam"])
def test_heads_show_which_slots_they_read(name):
    settings = {"slots": 7, "width": 4, "reads": 2} | ({"k": 3} if name == "sam" else {})
    core = make_core(name, D, H, **settings)
    xs = torch.randn(T, B, D)
    read, state = core.attention(xs, core.initial_state(B)), core(xs, core.initial_state(B))[1]
    assert core.reads_by == "slot" and read.shape == (T, B, 2, 7) and not read.requires_grad
    found = (read[-1] @ state["memory"]).flatten(1)
    torch.testing.assert_close(found, state["read"].detach())
    assert ((read > 0).sum(-1) <= core.k).all() if name == "sam" else (read > 0).all()


def test_entropy_is_in_nats_of_the_shares_of_whatever_a_weighting_sums_to():
    weights = torch.tensor([[1.0, 1, 1, 1], [0.5, 0.25, 0.25, 0], [0, 3, 0, 0], [0, 0, 0, 0], [2, 2, 0, 0]])
    expected = [math.log(4), 1.5 * math.log(2), 0, 0, math.log(2)]
    assert entropy(weights).tolist() == pytest.approx(expected, abs=1e-4)
    assert entropy(weights.reshape(5, 1, 2, 2)).shape == (5, 1, 2)


def test_the_age_of_what_is_read_is_weighted_and_a_mean_over_heads():
    ages = torch.tensor([[0, 4, 8], [1, 2, 3]])
    weights = torch.tensor([[[0.0, 1, 1], [1, 0, 0]], [[0, 0, 0], [0.5, 0, 0.5]]])
    assert mean_age(weights, ages).tolist() == pytest.approx([3, 1])


def test_oneplus_is_never_below_one():
    told = oneplus(torch.tensor([-100.0, 0.0, 50.0]))
    assert told.tolist() == pytest.approx([1, 1 + math.log(2), 51])
