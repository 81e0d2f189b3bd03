"""The lifelong memory as a core: what it emits is written once it is committed, and read by whoever comes near."""

from functools import partial

import numpy as np
import pytest
import torch

from engram_rl.memory import DifferentiableNeuralDictionary
from engram_rl.memory.cores import CORES, make_core
from tests.memory.filled import assert_same

D, H, B, K = 3, 8, 4, 2
MEMORY = partial(DifferentiableNeuralDictionary, capacity=20, k=K)


def made(seed=0, **settings):
    torch.manual_seed(seed)
    core = make_core("lifelong", D, H, **({"memory": MEMORY} | settings))
    for parameter in core.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return core


def inputs(steps, batch=B, seed=1):
    return torch.randn(steps, batch, D, generator=torch.Generator().manual_seed(seed))


def lived(core, xs, reset=None):
    """Steps, each committed."""
    state, outputs = core.initial_state(xs.shape[1]), []
    for t, x in enumerate(xs):
        output, state, _ = core.step(x, state, None if reset is None else reset[t])
        core.commit(state)
        outputs.append(output)
    return torch.stack(outputs), state


def test_it_and_tiers_with_a_disk_are_the_only_cores_whose_memory_outlives_episodes():
    assert [name for name, kind in CORES.items() if kind.lifelong] == ["lifelong", "tiers"]


def test_pairs_of_steps_are_written_but_not_over_the_beginning_of_an_episode():
    core, xs = made(), inputs(4)
    reset = torch.zeros(4, B, dtype=torch.bool)
    reset[0] = reset[2, 1] = True
    lived(core, xs, reset)
    slots = core.memory.slots
    found = {
        (tuple(k.tolist()), tuple(v.tolist()))
        for k, v in zip(core.memory.key_vectors[slots], core.memory.values[slots], strict=True)
    }
    pairs = [(xs[t - 1, b], xs[t, b]) for t in range(1, 4) for b in range(B) if not (t == 2 and b == 1)]
    assert found == {(tuple(k.tolist()), tuple(v.tolist())) for k, v in pairs}


def slow_answer(core, x, entries):
    """The docstring's equations for one input, in NumPy."""
    p = {name: value.detach().double().numpy() for name, value in core.named_parameters()}
    near = sorted(entries, key=lambda e: ((e[0] - x) ** 2).sum())[:K]
    asked = (p["asked.weight"] @ x + p["asked.bias"]).reshape(core.heads, -1)
    read = []
    for h in range(core.heads):
        if not near:
            read.append(np.zeros(D))
            continue
        scores = [
            asked[h] @ (p["key.weight"] @ k) / np.sqrt(asked.shape[1])
            - np.exp(p["sharpness"][h]) * ((k - x) ** 2).sum()
            for k, _ in near
        ]
        w = np.exp(scores - np.max(scores))
        read.append(sum(one * v for one, (_, v) in zip(w / w.sum(), near, strict=True)))
    first = np.tanh(p["answer.0.weight"] @ np.concatenate([x, *read]) + p["answer.0.bias"])
    return np.tanh(p["answer.2.weight"] @ first + p["answer.2.bias"])


@pytest.mark.parametrize("heads", [1, 3])
def test_it_is_its_equations(heads):
    core, xs = made(heads=heads), inputs(6, 2)
    entries, before = [], [None, None]
    state = core.initial_state(2)
    for x in xs:
        output, state, _ = core.step(x, state)
        expected = [slow_answer(core, row.double().numpy(), entries) for row in x]
        np.testing.assert_allclose(output.detach().numpy(), expected, rtol=1e-4, atol=1e-5)
        core.commit(state)
        rows = x.double().numpy()
        entries += [(before[b], rows[b]) for b in range(2) if before[b] is not None]
        before = [rows[0], rows[1]]


def test_a_step_that_is_not_committed_leaves_no_trace():
    core = made()
    lived(core, inputs(3))
    kept = core.memory.state_dict()
    state = core.initial_state(B)
    for x in inputs(3, seed=2):
        _, state, _ = core.step(x, state)
    core(inputs(5, seed=3), state)
    assert_same(core.memory.state_dict(), kept)


def test_learning_sees_what_acting_found_though_the_memory_has_changed_since():
    core = made()
    lived(core, inputs(5))
    xs, state = inputs(6, seed=4), core.initial_state(B)
    acted, found = [], []
    for x in xs:
        output, state, _ = core.step(x, state)
        core.commit(state)
        acted.append(output)
        found.append({name: state[name] for name in state if name.startswith("recalled")})
    recalled = {name: torch.stack([one[name] for one in found]) for name in found[0]}
    learned, after, _ = core(xs, core.initial_state(B), recalled=recalled)
    torch.testing.assert_close(learned, torch.stack(acted))
    torch.testing.assert_close(after, state)
    again, _, _ = core(xs, core.initial_state(B))
    assert not torch.allclose(again, learned)


@pytest.mark.parametrize("steps", [1, 2, 5])
@pytest.mark.parametrize("opened", [[], [(0, 1)], [(-1, 1), (-1, 3)], [(0, 2), (-2, 0), (-1, 1)]])
def test_learning_from_what_was_found_ends_where_acting_did_though_episodes_began(steps, opened):
    core = made()
    lived(core, inputs(5))
    xs, state, found = inputs(steps, seed=4), core.step(inputs(1, seed=8)[0], core.initial_state(B))[1], []
    reset = torch.zeros(steps, B, dtype=torch.bool)
    for t, row in opened:
        reset[max(t, -steps), row] = True
    begun = state
    for x, begins in zip(xs, reset, strict=True):
        _, state, _ = core.step(x, state, begins)
        found.append({name: state[name] for name in state if name.startswith("recalled")})
    recalled = {name: torch.stack([one[name] for one in found]) for name in found[0]}
    _, after, _ = core(xs, begun, reset, recalled)
    assert torch.equal(after["emitted"], state["emitted"]) and after["going_on"].all()
    assert state["emitted"].tolist() == (~reset[-1]).tolist()
    assert torch.equal(after["key"][after["emitted"]], state["key"][state["emitted"]])
    assert torch.equal(after["value"], state["value"])


def test_of_fewer_entries_than_it_asks_for_it_reads_those_there_are():
    core, xs = made(memory=partial(DifferentiableNeuralDictionary, capacity=20, k=3)), inputs(3, 1)
    empty = core.recall(xs[0])
    assert not any(part.any() for part in empty.values()) and empty["recalled_keys"].shape == (1, 3, D)
    _, state = lived(core, xs)  # two entries of three
    read = core.attention(xs[:1], state)
    assert read.shape == (1, 1, core.heads, 3) and (read[..., :2] > 0).all() and not read[..., 2].any()
    torch.testing.assert_close(read.sum(-1), torch.ones(1, 1, core.heads))
    told = core.inspect(core.step(xs[0], state)[1])
    assert (told["usage"].item(), told["write_strength"].item()) == (pytest.approx(0.1), 1)
    spread = [-sum(p * np.log(p) for p in head[:2].tolist()) for head in read[0, 0]]
    assert told["read_entropy"].item() == pytest.approx(np.mean(spread), abs=1e-4)
    assert core.inspect(core.initial_state(2))["write_strength"].tolist() == [0, 0]
    assert not any(number.requires_grad for number in told.values())


def test_what_is_written_is_no_longer_differentiable():
    core = made()
    _, state, _ = core(inputs(2), core.initial_state(B))
    core.commit({name: part.requires_grad_() if part.is_floating_point() else part for name, part in state.items()})
    assert len(core.memory) == B
    assert not core.memory.values.requires_grad and not core.memory.key_vectors.requires_grad


def test_every_parameter_learns_and_no_gradient_reaches_the_memory():
    core = made()
    lived(core, inputs(5))
    core(inputs(4, seed=6), core.initial_state(B))[0].square().sum().backward()
    for name, parameter in core.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
    assert not core.memory.values.requires_grad


def test_the_given_state_stays_and_what_was_recalled_is_checked():
    core, state = made(), None
    state = core.initial_state(B)
    kept = {name: part.clone() for name, part in state.items()}
    core(inputs(4), state)
    assert all(torch.equal(state[name], kept[name]) for name in kept)
    with pytest.raises(ValueError, match=r"Lifelong takes 'recalled_keys' of \[4, 4, 2\] .*, got nothing"):
        core(inputs(4), state, recalled={})
    found = {name: part.unflatten(0, (4, B)) for name, part in core.recall(inputs(4).flatten(0, 1)).items()}
    core(inputs(4), state, recalled=found)
    for name, part in found.items():
        for wrong in (part[:3], torch.cat([part, part]), part[:, :3], part[:, :, :1]):
            with pytest.raises(
                ValueError, match=rf"'{name}' of \[4, 4, 2\] .*, got \[{str(list(wrong.shape))[1:-1]}\]"
            ):
                core(inputs(4), state, recalled=found | {name: wrong})
    with pytest.raises(ValueError, match="Lifelong got state 'key' of shape"):
        core(inputs(4, 2), state)
    with pytest.raises(ValueError, match="NaN"):
        core(inputs(4) * torch.nan, state)


def test_what_is_written_is_what_was_seen_though_the_caller_fills_one_buffer_again_and_again():
    xs, buffer = inputs(5), torch.empty(B, D)
    core, other = made(), made()
    lived(core, xs)
    state = other.initial_state(B)
    for x in xs:
        other.commit(other.step(buffer.copy_(x), state)[1])
        state = other.step(buffer, state)[1]
    assert len(core.memory) == len(other.memory) == 4 * B
    assert torch.equal(core.memory.key_vectors, other.memory.key_vectors)
    assert torch.equal(core.memory.values, other.memory.values)


def test_the_memory_forgets_when_it_is_full():
    core = made(memory=partial(DifferentiableNeuralDictionary, capacity=5, k=K))
    lived(core, inputs(9))
    assert len(core.memory) == 5
    told = core.inspect(core.initial_state(B))
    assert (told["usage"] == 1).all()


def test_autocast_rounds_neither_what_is_read_nor_what_is_written():
    xs, core = inputs(4), made()
    lived(core, xs)
    outputs, state, _ = core(xs, core.initial_state(B))
    recalled = {name: part.unflatten(0, (4, B)) for name, part in core.recall(xs.flatten(0, 1)).items()}
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(core(xs, core.initial_state(B))[0], outputs)
        again, after, _ = core(xs, core.initial_state(B), recalled=recalled)
    assert torch.equal(again, outputs)
    assert all(torch.equal(after[name], part) for name, part in state.items())
