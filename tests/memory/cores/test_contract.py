"""What holds for every core: one list of promises, one parametrised file."""

import io
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.cores import CORES, DNC, GRU, MNM, NTM, SAM, DeltaRule, StoreCore, make_core

D, H, B, T = 3, 8, 4, 7


def filled(key_size, value_size):
    """A dictionary that holds something already, so that all that reads it has something to read."""
    memory = DifferentiableNeuralDictionary(key_size, value_size, capacity=10, k=2)
    chance = torch.Generator().manual_seed(5)
    memory.write(torch.randn(5, key_size, generator=chance), torch.randn(5, value_size, generator=chance))
    return memory


SETTINGS = {name: {} for name in CORES} | {
    "compressive": {"window": 4, "compressed": 4, "compression": 2},
    "dual": {"core": partial(DNC, slots=4, width=3)},
    "mnm": {"writing_weight": 1.0},
    "multigrid": {"channels": 3, "base": 2},
    "tiers": {"memory": filled, "rows": 4, "heads": 2, "key_size": 3, "ram": partial(StoreCore, capacity=8)},
    "two_level": {"every": 2},
}
"""Where a core's defaults are too large for a test, smaller ones."""

SLOTS = {
    "dnc": partial(DNC, slots=6, width=4),
    "ntm": partial(NTM, slots=6, width=4),
    "sam": partial(SAM, slots=6, width=4, k=2),
}
WRAPPED = {
    **{f"uniform_writing {name}": {"core": core, "write_every": 2} for name, core in SLOTS.items()},
    **{f"cached_uniform_writing {name}": {"core": core, "write_every": 2} for name, core in SLOTS.items()},
    **{f"stored_programs {name}": {"core": core} for name, core in SLOTS.items()},
    **{f"dual {name}": {"core": core, "shared": True} for name, core in SLOTS.items()},
    "store choices": {"capacity": 8, "choices": 2, "choice_columns": [[0, 2], [0, 2]]},
    "two_level gru": {"every": 2, "decoupled": True},
    "two_level delta": {"fast": DeltaRule, "slow": SLOTS["ntm"], "every": 2},
    "two_level sam": {"fast": SLOTS["sam"], "slow": MNM, "every": 2},
    "adaptive_computation gru": {"core": GRU, "limit": 3, "halting_bias": 0.0},
    "adaptive_computation delta": {"core": DeltaRule, "limit": 3, "halting_bias": 0.0},
    "adaptive_computation sam": {"core": SLOTS["sam"], "limit": 3, "halting_bias": 0.0},
}
"""Each wrapper around three cores, and a core with scores of choices, with its settings."""

REACHES_A_PART = {"compressive", "mnm", "two_level sam"}
"""Cores whose losses are meant to reach some of their parameters only, so are no derivative of the loss's value."""

GUESSED = {"two_level gru", "tiers"}
"""Cores some of whose gradients are guesses on purpose."""

LIFELONG = {"lifelong"}
"""Cores whose memory outlives episodes; what holds for them is in a file of their own, `test_lifelong.py`."""

EACH = [*(name for name in CORES if name not in LIFELONG), *WRAPPED]
ALL = pytest.mark.parametrize("name", EACH)


def sized(name, input_size, hidden_size):
    return make_core(name.split()[0], input_size, hidden_size, **(SETTINGS | WRAPPED)[name])


def made(name, dtype=torch.float32, seed=0):
    torch.manual_seed(seed)
    return sized(name, D, H).to(dtype)


def inputs(steps=T, batch=B, dtype=torch.float32, seed=1):
    return torch.randn(steps, batch, D, generator=torch.Generator().manual_seed(seed)).to(dtype)


def resets(steps=T, batch=B, seed=2):
    return torch.rand(steps, batch, generator=torch.Generator().manual_seed(seed)) < 0.3


def begun(core, batch=B):
    """A state that is not the initial one: three steps on."""
    return core(inputs(3, batch, next(core.parameters()).dtype, seed=7), core.initial_state(batch))[1]


def same(actual, expected, **tolerance):
    torch.testing.assert_close(actual, expected, **{"rtol": 1e-5, "atol": 1e-6, **tolerance})


@ALL
def test_outputs_and_states_have_the_shapes_that_are_promised(name):
    core = made(name)
    outputs, state, losses = core(inputs(), core.initial_state(B))
    assert outputs.shape == (T, B, core.output_size)
    assert torch.isfinite(outputs).all()
    assert all(leaf.shape[0] == B for leaf in state.values())
    assert all(loss.shape == () for loss in losses.values())


@ALL
def test_what_is_told_of_a_batch_is_what_is_told_of_each_alone(name):
    core, reset = made(name), resets()
    state = core(inputs(), begun(core), reset)[1]
    told = core.inspect(state)
    for row in range(B):
        alone = core.inspect({part: leaf[row : row + 1] for part, leaf in state.items()})
        assert alone.keys() == told.keys()
        for what, number in told.items():
            assert number.shape == (B,) and not number.requires_grad, what
            same(number[row : row + 1], alone[what])


@ALL
@pytest.mark.parametrize("with_resets", [False, True])
def test_a_sequence_is_its_steps(name, with_resets):
    core, xs = made(name), inputs()
    reset = resets() if with_resets else None
    outputs, last, _ = core(xs, begun(core), reset)
    state = begun(core)
    for t in range(T):
        output, state, _ = core.step(xs[t], state, None if reset is None else reset[t])
        same(output, outputs[t])
    same(state, last)


@ALL
@pytest.mark.parametrize("cut", range(1, T))
def test_a_sequence_may_be_cut_anywhere(name, cut):
    core, xs, reset = made(name), inputs(), resets()
    outputs, last, _ = core(xs, begun(core), reset)
    first, state, _ = core(xs[:cut], begun(core), reset[:cut])
    second, state, _ = core(xs[cut:], state, reset[cut:])
    same(torch.cat([first, second]), outputs)
    same(state, last)


@ALL
def test_episodes_one_after_the_other_are_episodes_apart(name):
    core, xs = made(name), inputs()
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[0] = reset[3] = True
    outputs, last, _ = core(xs, begun(core), reset)
    first, _, _ = core(xs[:3], core.initial_state(B))
    second, state, _ = core(xs[3:], core.initial_state(B))
    same(torch.cat([first, second]), outputs)
    same(state, last)


@ALL
@pytest.mark.parametrize("at", [0, 1, T - 1])
def test_a_reset_row_is_a_fresh_one_and_the_others_go_on(name, at):
    core, xs = made(name), inputs()
    reset = torch.zeros(T, B, dtype=torch.bool)
    reset[at, 1] = True
    outputs, _, _ = core(xs, begun(core), reset)
    fresh, _, _ = core(xs[at:, 1:2], core.initial_state(1))
    going_on, _, _ = core(xs, begun(core))
    same(outputs[at:, 1:2], fresh)
    same(outputs[:, [0, 2, 3]], going_on[:, [0, 2, 3]])
    assert not torch.allclose(outputs[at:, 1], going_on[at:, 1])


@ALL
def test_rows_of_a_batch_do_not_meet(name):
    core, xs, reset = made(name), inputs(), resets()
    outputs, last, _ = core(xs, begun(core), reset)
    order = torch.tensor([2, 0, 3, 1])
    state = {leaf: part[order] for leaf, part in begun(core).items()}
    permuted, _, _ = core(xs[:, order], state, reset[:, order])
    same(permuted, outputs[:, order])
    alone, state, _ = core(xs[:, :1], {leaf: part[:1] for leaf, part in begun(core).items()}, reset[:, :1])
    same(alone, outputs[:, :1])
    same(state, {leaf: part[:1] for leaf, part in last.items()})


@ALL
def test_what_comes_later_changes_nothing_before(name):
    core, xs = made(name), inputs()
    outputs, _, _ = core(xs, core.initial_state(B))
    padded, _, _ = core(torch.cat([xs, 5 * inputs(4, seed=9)]), core.initial_state(B))
    same(padded[:T], outputs)


@ALL
def test_the_given_state_is_left_as_it_was_and_grows_no_larger(name):
    core = made(name)
    state = begun(core)
    kept = {leaf: part.clone() for leaf, part in state.items()}
    _, after, _ = core(inputs(), state, resets())
    assert all(torch.equal(state[leaf], kept[leaf]) for leaf in kept)
    shapes = {leaf: (part.shape, part.dtype) for leaf, part in core.initial_state(B).items()}
    assert {leaf: (part.shape, part.dtype) for leaf, part in after.items()} == shapes


@ALL
@pytest.mark.parametrize("batch", [1, B])
@torch.no_grad()
def test_who_writes_into_an_input_an_output_or_a_first_state_changes_nothing_else(name, batch):
    core, x = made(name), inputs(1, batch)[0]
    before = {leaf: part.clone() for leaf, part in core.state_dict().items()}
    output, state, _ = core.step(x, core.initial_state(batch))
    kept = {leaf: part.clone() for leaf, part in state.items()}
    for part in (x, output, *core.initial_state(batch).values()):
        part.fill_(3)
    assert all(torch.equal(state[leaf], part) for leaf, part in kept.items())
    assert all(torch.equal(part, before[leaf]) for leaf, part in core.state_dict().items())


@ALL
def test_nothing_is_kept_on_the_module_and_nothing_is_drawn(name):
    core = made(name)
    before = {leaf: part.clone() for leaf, part in core.state_dict().items()}
    chance = torch.get_rng_state()
    first, _, _ = core(inputs(), core.initial_state(B))
    state = core.initial_state(B)
    core(inputs(seed=5), begun(core))
    with torch.no_grad():
        acting, _, _ = core(inputs(), state)
    core.train()
    learning, _, _ = core(inputs(), state)
    core.eval()
    judged, _, _ = core(inputs(), state)
    for other in (acting, learning, judged):
        assert torch.equal(other, first)
    assert torch.equal(torch.get_rng_state(), chance)
    assert core.state_dict().keys() == before.keys() == dict(core.named_parameters()).keys()
    assert all(torch.equal(part, before[leaf]) for leaf, part in core.state_dict().items())


@ALL
def test_sizes_may_be_numbers_of_numpy(name):
    core = sized(name, np.int64(D), np.int64(H))  # as np.prod gives them of a shape
    assert core(inputs(2), core.initial_state(np.int64(B)))[0].shape == (2, B, core.output_size)


@ALL
def test_saved_and_loaded_it_answers_alike(name):
    core, other, file = made(name), made(name, seed=3), io.BytesIO()
    torch.save(core.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(core(inputs(), core.initial_state(B))[0], other(inputs(), other.initial_state(B))[0])


@ALL
def test_it_works_in_double_precision(name):
    core = made(name, torch.float64)
    outputs, state, _ = core(inputs(dtype=torch.float64), core.initial_state(B), resets())
    assert outputs.dtype == torch.float64
    assert all(part.dtype == torch.float64 for part in state.values() if part.is_floating_point())


@ALL
def test_autocast_rounds_nothing_that_is_carried_on(name):
    core, xs, reset = made(name), inputs(), resets()
    plain, after, _ = core(xs, begun(core), reset)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state, _ = core(xs, begun(core), reset)
        output, first, _ = core.step(xs[0].bfloat16(), core.initial_state(B), reset[0])
    assert torch.equal(outputs, plain)
    assert all(torch.equal(state[leaf], part) for leaf, part in after.items())
    same(output, core.step(xs[0].bfloat16().float(), core.initial_state(B))[0])
    core.step(xs[0], first)
    outputs.sum().backward()


@pytest.mark.parametrize("name", [name for name in EACH if name not in GUESSED])
def test_gradients_are_those_of_differences(name):
    torch.manual_seed(0)
    core = sized(name, 2, 4).double()
    xs = inputs(3, 2, torch.float64)[..., :2].clone().requires_grad_()
    reset = torch.tensor([[False, False], [False, True], [False, False]])
    parameters = list(core.parameters())

    def function(xs, *_):
        outputs, state, losses = core(xs, core.initial_state(2), reset)
        losses = {} if name in REACHES_A_PART else losses
        return outputs.sum(), *losses.values(), *(p.sum() for p in state.values() if p.is_floating_point())

    assert torch.autograd.gradcheck(function, (xs, *parameters), atol=1e-5, rtol=1e-3, fast_mode=True)


@ALL
def test_every_parameter_has_a_gradient_on_the_second_update(name):
    core = made(name)
    readout = nn.Linear(core.output_size, 2)
    optimiser = torch.optim.Adam([*core.parameters(), *readout.parameters()], 1e-2)
    for _ in range(2):
        optimiser.zero_grad()
        outputs, _, losses = core(inputs(12), core.initial_state(B), resets(12))
        (readout(outputs).square().mean() + sum(losses.values())).backward()
        optimiser.step()
    for parameter, value in core.named_parameters():
        assert value.grad is not None, parameter
        assert torch.isfinite(value.grad).all(), parameter
        assert value.grad.abs().sum() > 0, parameter


@ALL
def test_gradients_reach_the_first_input_and_stop_at_a_detached_state(name):
    core = made(name)
    first, later = inputs(1).requires_grad_(), inputs(T - 1, seed=4)
    _, state, _ = core(first, core.initial_state(B))
    core(later, state)[0][-1].square().sum().backward()
    assert first.grad.abs().sum() > 0
    first.grad = None
    _, state, _ = core(first, core.initial_state(B))
    core(later, {leaf: part.detach() for leaf, part in state.items()})[0][-1].square().sum().backward()
    assert first.grad is None


@ALL
def test_bad_input_is_refused_by_name(name):
    core = made(name)
    kind, state = type(core).__name__, core.initial_state(B)
    leaf = next(iter(state))
    nan = inputs()
    nan[2, 1, 0] = torch.nan
    for xs, given, reset, message in (
        (inputs(batch=2), state, None, f"{kind} got state '{leaf}' of shape"),
        (inputs()[0], state, None, f"{kind} takes inputs"),
        (inputs()[..., :1], state, None, f"{kind} takes inputs"),
        (inputs().repeat(1, 1, 2), state, None, f"{kind} takes inputs"),
        (inputs().unsqueeze(-1), state, None, f"{kind} takes inputs"),
        (inputs(0), state, None, f"{kind} takes inputs"),
        (inputs(batch=0), state, None, f"{kind} takes inputs"),
        (nan, state, None, f"{kind} was given NaN or infinity"),
        (inputs(), {k: v for k, v in state.items() if k != leaf}, None, f"{kind} has a state of"),
        (inputs(), state | {"more": state[leaf]}, None, f"{kind} has a state of"),
        (inputs(), {}, None, f"{kind} has a state of {', '.join(state)}, got nothing"),
        (inputs(), {"more": state[leaf]}, None, f"{kind} has a state of {', '.join(state)}, got more"),
        (inputs(), None, None, f"{kind} takes the state"),
        (inputs(), {k: v.double() for k, v in state.items()}, None, f"{kind} got state '{leaf}' of torch.float64"),
        (inputs(), {k: v.to("meta") for k, v in state.items()}, None, f"{kind} got state '{leaf}' of .* on meta"),
        (inputs(dtype=torch.float64), state, None, f"{kind} takes inputs of torch.float32"),
        (inputs(dtype=torch.int64), state, None, f"{kind} takes inputs of torch.float32"),
        (inputs(), state, resets()[0], f"{kind} takes a reset of bool"),
        (inputs(), state, resets(T + 1), f"{kind} takes a reset of bool"),
        (inputs(), state, resets(T, B - 1), f"{kind} takes a reset of bool"),
        (inputs(), state, resets().float(), f"{kind} takes a reset of bool"),
    ):
        with pytest.raises(ValueError, match=message):
            core(xs, given, reset)
    for x in (inputs(), inputs()[0, 0]):
        with pytest.raises(ValueError, match=rf"{kind}\.step takes x of shape \[B, {D}\], got \[(7, 4, )?3\]"):
            core.step(x, state)
    for xs, given, reset in (
        (inputs().numpy(), state, None),
        (inputs(), state | {leaf: state[leaf].tolist()}, None),
        (inputs(), state, resets().tolist()),
    ):
        with pytest.raises(TypeError, match="must be a tensor"):
            core(xs, given, reset)
    with pytest.raises(TypeError, match="must be a tensor"):
        core.step(inputs()[0].numpy(), state)
    for sizes in ((0, H), (D, 0), (D, -1), (D, 2.5), (True, H)):
        with pytest.raises(ValueError, match="must be a whole number of at least 1"):
            sized(name, *sizes)


@ALL
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_state_that_holds_no_number_is_refused_by_name_and_mended_by_a_reset(name, bad):
    core = made(name)
    kind = type(core).__name__
    floating = {
        leaf: part for leaf, part in core.initial_state(B).items() if part.is_floating_point() and part[0].numel()
    }
    for leaf in floating:
        state = core.initial_state(B)
        with torch.no_grad():
            for row in (1, 3):
                state[leaf][row].view(-1)[-1] = bad
        fresh = torch.zeros(T, B, dtype=torch.bool)
        fresh[:, 0] = True
        for reset in (None, fresh):
            with pytest.raises(ValueError, match=f"{kind} got state '{leaf}' with NaN or infinity in row 1"):
                core(inputs(), state, reset)
        with pytest.raises(ValueError, match=f"{kind} got state '{leaf}' with NaN or infinity in row 1"):
            core.step(inputs()[0], state)
        fresh[0, 1] = True
        with pytest.raises(ValueError, match="in row 3"):
            core(inputs(), state, fresh)
        fresh[0, 3] = True
        outputs, ended, _ = core(inputs(), state, fresh)
        assert outputs.isfinite().all() and all(part.isfinite().all() for part in ended.values())


def test_a_state_of_large_numbers_is_a_state():
    core = made("lstm")
    state = {leaf: torch.full_like(part, 1e38) for leaf, part in core.initial_state(B).items()}
    assert core(inputs(), state)[0].isfinite().all()


@pytest.mark.parametrize("name", [*SLOTS, *(f"uniform_writing {name}" for name in SLOTS)])
def test_with_more_slots_than_it_learned_with_it_goes_on(name):
    core = sized(name, D, H) if " " in name else SLOTS[name](D, H)
    core(inputs(), core.initial_state(B))
    getattr(core, "core", core).slots = 9
    outputs, state, _ = core(inputs(), core.initial_state(B), resets())
    assert state["memory"].shape[1] == 9 and outputs.isfinite().all()
    with pytest.raises(ValueError, match=f"a batch of {B} has"):
        core(inputs(), state | {"memory": state["memory"][:, :6]})


def test_an_unknown_core_is_named_with_its_neighbours():
    with pytest.raises(ValueError, match="lstm"):
        make_core("lstn", D, H)
