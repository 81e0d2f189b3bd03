"""Cores around a core: their equations, what they leave as it was, and what they refuse."""

from functools import partial

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import (
    DNC,
    GRU,
    LSTM,
    MNM,
    NTM,
    SAM,
    AdaptiveComputation,
    DeltaRule,
    Lifelong,
    StoreCore,
    make_core,
)
from tests.memory.cores import test_delta, test_ntm, test_sam
from tests.memory.cores.slow_steps import D, H, T, agrees, cosine, linear, lstm, sigmoid, softmax, softplus

NTM_SMALL, SAM_SMALL = partial(NTM, **test_ntm.SMALL), partial(SAM, **test_sam.SMALL)
SLOTTED = {"ntm": (NTM_SMALL, test_ntm.slow_step(1, 1, 1)), "sam": (SAM_SMALL, test_sam.slow_step(1))}
OFTEN = 3


def inner(p):
    return {name.removeprefix("core."): part for name, part in p.items() if name.startswith("core.")}


def controlled(p, x, state):
    return lstm(inner(p), "controller", np.concatenate([x, state["read"]]), state["hidden"], state["cell"])


def between(p, x, state):
    """A step at which nothing is written or read."""
    hidden, cell = controlled(p, x, state)
    output = linear(inner(p), "output", np.concatenate([hidden, state["read"]]))
    return output, state | {"hidden": hidden, "cell": cell, "tick": state["tick"] + 1}


def uniform(slow_step):
    def step(p, x, state):
        if state["tick"] < OFTEN - 1:
            return between(p, x, state)
        output, after = slow_step(inner(p), x, {name: leaf for name, leaf in state.items() if name != "tick"})
        return output, after | {"tick": 0}

    return step


def cached(slow_step):
    """The core's slow step, told by the mean of the controller's states: an LSTM that gives it, whatever it is told."""

    def step(p, x, state):
        hidden, cell = controlled(p, x, state)
        states = [*state["cache"], hidden]
        if state["tick"] < OFTEN - 1:
            output, after = between(p, x, state)
            return output, after | {"cache": np.array(states[1:])}
        context = linear(p, "of_context", np.concatenate([state["hidden"], state["read"]]))
        alpha = softmax(np.array([p["score.weight"][0] @ np.tanh(linear(p, "of_state", d) + context) for d in states]))
        mean = sum(a * d for a, d in zip(alpha, states, strict=True))
        wide = 100 * np.ones(H)  # gates that are open or shut, so that h is tanh(c)
        told = inner(p) | {
            "controller.weight_ih": np.zeros((4 * H, D + 4)),
            "controller.weight_hh": np.zeros((4 * H, H)),
        }
        told |= {
            "controller.bias_ih": np.concatenate([-wide, wide, 0 * wide, wide]),
            "controller.bias_hh": np.zeros(4 * H),
        }
        output, after = slow_step(told, x, state | {"cell": np.arctanh(mean)})
        kept = {"hidden": mean, "cell": cell, "tick": 0, "cache": np.array(states[1:])}
        return output, {name: leaf for name, leaf in after.items() if name not in kept} | kept

    return step


@pytest.mark.parametrize("name", SLOTTED)
def test_uniform_writing_is_its_equations(name):
    core, slow_step = SLOTTED[name]
    agrees("uniform_writing", uniform(slow_step), core=core, write_every=OFTEN)


@pytest.mark.parametrize("name", SLOTTED)
def test_cached_uniform_writing_is_its_equations(name):
    core, slow_step = SLOTTED[name]
    agrees("cached_uniform_writing", cached(slow_step), core=core, write_every=OFTEN, attention=5)


@pytest.mark.parametrize("core", [NTM_SMALL, SAM_SMALL, partial(DNC, slots=5, width=4)])
def test_written_at_every_step_it_is_the_core(core):
    torch.manual_seed(0)
    wrapped = make_core("uniform_writing", D, H, core=core, write_every=1)
    xs = torch.randn(T, 2, D)
    outputs, state, _ = wrapped(xs, wrapped.initial_state(2))
    plain, expected, _ = wrapped.core(xs, wrapped.core.initial_state(2))
    torch.testing.assert_close(outputs, plain)
    torch.testing.assert_close({name: state[name] for name in expected}, expected)


def test_memory_changes_at_every_third_step_of_each_row_alone():
    core = make_core("uniform_writing", D, H, core=NTM_SMALL, write_every=3)
    state, changed = core.initial_state(2), []
    for t in range(9):
        reset = torch.tensor([False, t == 4])
        _, after, _ = core.step(torch.randn(2, D), state, reset)
        before = core._where(reset, core.initial_state(2), state)
        changed.append((after["memory"] != before["memory"]).flatten(1).any(1).tolist())
        state = after
    changed = np.array(changed)
    assert changed[:, 0].nonzero()[0].tolist() == [2, 5, 8] and changed[:, 1].nonzero()[0].tolist() == [2, 6]


def programmed(slow_step, maps):
    def step(p, x, state):
        hidden, _ = controlled(p, x, state)
        told, p = inner(p), p
        for name in maps:
            asked = linear(p, f"core.{name}.ask", hidden)
            key, beta = np.tanh(asked[:-1]), softplus(asked[-1])
            w = softmax(np.array([beta * cosine(key, np.tanh(row)) for row in p[f"core.{name}.keys"]]))
            whole = sum(share * program for share, program in zip(w, p[f"core.{name}.programs"], strict=True))
            told |= {f"{name}.weight": whole[:, :-1], f"{name}.bias": whole[:, -1]}
        return slow_step(told, x, state)

    return step


@pytest.mark.parametrize(("name", "maps"), [("ntm", ["heads", "contents"]), ("sam", ["heads"])])
def test_stored_programs_are_their_equations(name, maps):
    core, slow_step = SLOTTED[name]
    agrees("stored_programs", programmed(slow_step, maps), core=core, programs=3, key_size=2)


def test_programs_that_are_alike_cost():
    core = make_core("stored_programs", D, H, core=SAM_SMALL, programs=3)
    keys = core.core.heads.keys
    with torch.no_grad():
        keys.copy_(torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]))
    _, _, losses = core.step(torch.randn(2, D), core.initial_state(2))
    assert losses["programs"].item() == pytest.approx(1 / 3)


LIMIT = 5


def pondering(p, x, state):
    y, s, h, halted = [], {"fast": state["fast"]}, [], 0.0
    states, step = [], test_delta.slow_step(1, False)
    while True:
        output, s = step(inner(p), np.append(x, float(not y)), s)
        y.append(output)
        states.append(s["fast"])
        h.append(sigmoid(p["halting.weight"][0] @ output + p["halting.bias"][0]))
        halted += h[-1]
        if halted >= 0.99 or len(y) == LIMIT:
            break
    p_n = [*h[:-1], 1 - sum(h[:-1])]
    mean = {"fast": sum(share * fast for share, fast in zip(p_n, states, strict=True)), "ponder": len(y)}
    return sum(share * output for share, output in zip(p_n, y, strict=True)), mean


@pytest.mark.parametrize("bias", [-3.0, 0.0, 1.0])
def test_adaptive_computation_is_its_equations(bias):
    agrees("adaptive_computation", pondering, core=DeltaRule, limit=LIMIT, halting_bias=bias)


@pytest.mark.parametrize("core", [GRU, DeltaRule, SAM_SMALL])
def test_halting_holds_to_its_law(core):
    """Shares sum to 1, no row thinks past its limit, and it stops at the first step at which the sum is enough."""
    torch.manual_seed(0)
    wrapped = make_core("adaptive_computation", D, H, core=core, limit=LIMIT, halting_bias=-0.5, ponder_cost=2.0)
    with torch.no_grad():
        wrapped.halting.weight.mul_(20)
    xs, state, thought = torch.randn(12, 3, D), wrapped.initial_state(3), []
    for x in xs:
        asked = []
        hook = wrapped.halting.register_forward_hook(lambda _, __, found, to=asked: to.append(found.sigmoid()))
        _, state, losses = wrapped.step(x, state)
        hook.remove()
        h = torch.stack(asked)[:, :, 0]  # [n, B]
        total = h.cumsum(0)
        for row, n in enumerate(state["ponder"].int().tolist()):
            assert 1 <= n <= LIMIT and (n == LIMIT or total[n - 1, row] >= 0.99 - 1e-6)
            assert n == 1 or total[n - 2, row] < 0.99 + 1e-6
        last = torch.cat([torch.zeros(1, 3), total]).gather(0, state["ponder"].long().unsqueeze(0) - 1)
        torch.testing.assert_close(losses["ponder"], 2 * (state["ponder"] + 1 - last[0]).mean())
        thought.append(state["ponder"])
    assert 1 < torch.stack(thought).mean() < LIMIT and torch.equal(wrapped.inspect(state)["ponder"], thought[-1])


def test_a_core_that_is_sure_at_once_takes_one_step_and_is_the_core():
    wrapped = make_core("adaptive_computation", D, H, core=LSTM, halting_bias=20.0)
    xs = torch.randn(T, 2, D)
    outputs, state, _ = wrapped(xs, wrapped.initial_state(2))
    plain, _, _ = wrapped.core(torch.nn.functional.pad(xs, (0, 1), value=1.0), wrapped.core.initial_state(2))
    torch.testing.assert_close(outputs, plain)
    assert (state["ponder"] == 1).all()


def test_the_cost_of_thinking_falls_where_it_is_descended():
    torch.manual_seed(0)
    wrapped = make_core("adaptive_computation", D, H, limit=6, ponder_cost=1.0)
    optimiser, steps = torch.optim.Adam(wrapped.parameters(), 3e-2), [6.0]
    while steps[-1] > 2 and len(steps) < 150:
        _, state, losses = wrapped(torch.randn(2, 4, D), wrapped.initial_state(4))
        optimiser.zero_grad()
        losses["ponder"].backward()
        optimiser.step()
        steps.append(state["ponder"].mean().item())
    assert steps[1] == 6 and steps[-1] <= 2


def test_thinking_may_cost_nothing_and_what_the_core_loses_is_a_mean_over_its_steps():
    wrapped = make_core(
        "adaptive_computation", D, H, core=partial(MNM, width=4, writing_weight=1.0), ponder_cost=0, limit=3
    )
    said = []
    inner = wrapped.core._step
    wrapped.core._step = lambda *given: said.append(inner(*given)) or said[-1]
    _, _, losses = wrapped.step(torch.randn(2, D), wrapped.initial_state(2))
    assert losses["ponder"] == 0 and len(said) == 3
    torch.testing.assert_close(losses["writing"], sum(loss["writing"] for _, _, loss in said) / 3)


def test_rates_of_parts_stay_and_every_parameter_is_in_one_group():
    wrapped = make_core("adaptive_computation", D, H, core=StoreCore)
    groups = wrapped.parameter_groups(1e-3)
    listed = [id(one) for group in groups for one in group["params"]]
    assert sorted(listed) == sorted(id(one) for one in wrapped.parameters())
    assert {group["lr"] for group in groups} == {1e-3, 1e-2, 3e-2}


def test_what_the_heads_of_the_core_read_is_told():
    wrapped = make_core("uniform_writing", D, H, core=NTM_SMALL, write_every=2)
    xs = torch.randn(4, 2, D)
    read = wrapped.attention(xs, wrapped.initial_state(2))
    assert wrapped.reads_by == "slot" and read.shape == (4, 2, 1, 5) and torch.equal(read[1], read[2])
    assert wrapped.inspect(wrapped(xs, wrapped.initial_state(2))[1]).keys() >= {"read_age", "write_strength"}


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("uniform_writing", {"core": LSTM}, r"UniformWriting wraps a core such as DNC, NTM or SAM, got LSTM"),
        ("uniform_writing", {"write_every": 0}, "UniformWriting's write_every is 0"),
        ("cached_uniform_writing", {"attention": 0}, "CachedUniformWriting's attention is 0"),
        ("stored_programs", {"core": GRU}, "StoredPrograms wraps a core such as NTM, DNC or SAM, got GRU"),
        ("stored_programs", {"programs": 1}, "programs is 1; of one there is nothing to choose"),
        (
            "adaptive_computation",
            {"core": partial(StoreCore, choices=2, choice_columns=[[0, 2]])},
            "AdaptiveComputation would take StoreCore's scores of 2 choices for features; leave choices and",
        ),
        ("adaptive_computation", {"core": Lifelong}, "whose memory ends with an episode; Lifelong's does not"),
        (
            "adaptive_computation",
            {"core": AdaptiveComputation},
            "AdaptiveComputation keeps 'ponder' in its state, and AdaptiveComputation does too",
        ),
        ("adaptive_computation", {"limit": 0}, "AdaptiveComputation's limit is 0"),
        ("adaptive_computation", {"ponder_cost": -1.0}, "ponder_cost is -1.0; it must be at least 0"),
    ],
)
def test_what_cannot_be_wrapped_is_refused_by_name(name, settings, message):
    with pytest.raises(ValueError, match=message):
        make_core(name, D, H, **settings)


@pytest.mark.parametrize("name", ["adaptive_computation", "uniform_writing", "stored_programs", "dual"])
@pytest.mark.parametrize(
    ("core", "error", "message"),
    [
        (DNC(D, H, slots=2), TypeError, r"takes what makes its core .* such as core=DNC .* got DNC"),
        ("dnc", TypeError, r"takes what makes its core .* got 'dnc'"),
        (lambda inputs, outputs: None, TypeError, "makes NoneType, which is no core"),
        (
            lambda inputs, outputs: DNC(inputs + 5, outputs, slots=2),
            ValueError,
            "is to take . numbers; .* makes one of",
        ),
    ],
)
def test_what_makes_no_core_of_the_sizes_is_refused(name, core, error, message):
    with pytest.raises(error, match=message):
        make_core(name, D, H, core=core)
