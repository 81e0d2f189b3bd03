"""The store: its equations, queries that give a part of a key, and the three questions that it is for."""

import numpy as np
import pytest
import torch

from engram_rl.memory.cores import make_core
from tests.memory.cores.slow_steps import D, agrees, linear, softmax, stays_finite

N, HEADS, F, KEY = 4, 3, 2, 2
SMALL = {"capacity": N, "heads": HEADS, "frequencies": F, "key_size": KEY}


def phi(step, period):
    """Two waves: one of twice the period, one as near to four steps as a whole number of waves allows."""
    angles = [np.pi * turns * step / period for turns in (1, np.round(period / 2))]
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


def slow_scores(p, known, answer):
    each = [np.tanh(linear(p, "pointer.known", one) + p["pointer.context.weight"] @ answer) for one in known]
    amid = p["pointer.others.weight"] @ np.max(each, axis=0)
    return [p["pointer.judged"] @ np.tanh(linear(p, "pointer.own", one) + amid) for one in each]


def slow_step(period, parts, columns, queries, top=None, clock=False, of_choices=()):
    def step(p, x, state):
        entries = np.concatenate([state["entries"][1:], [x]])
        now, read = int(state["count"]), []
        for head in range(HEADS):
            scores, rows = [], [age for age in range(N) if age <= now]
            for age in rows:
                entry, score = entries[N - 1 - age], 0.0
                for m, part in enumerate(parts):
                    if part not in queries[head]:
                        continue
                    if part == "age":
                        found = p["ages"][head, age]
                    elif part == "position":
                        then, here = phi(now - age, period), phi(now, period)
                        found = sum(
                            then[f] @ (p["positions"][head, f] @ here[f] + p["places"][head, f]) for f in range(F)
                        )
                    else:
                        number = [other for other in parts if other in columns].index(part)
                        asked = linear(p, f"asked.{number}", x)[head * KEY : (head + 1) * KEY]
                        found = asked @ (p[f"keys.{number}.weight"] @ entry[columns[part]]) / np.sqrt(KEY)
                    score += np.exp(p["strengths"][head, m]) * found
                scores.append(score)
            if top is not None:
                least = sorted(scores, reverse=True)[:top][-1]
                scores = [score if score >= least else -np.inf for score in scores]
            read.append(softmax(scores) @ np.array([entries[N - 1 - age] for age in rows]))
        told = [np.arcsinh(min(now + 1, N) * one) for one in read]
        heard = np.concatenate([x, *read, *told, *([phi(now, period).ravel()] if clock else [])])
        hidden = np.tanh(linear(p, "answer.0", heard))
        answer = np.tanh(linear(p, "answer.2", hidden))
        known = [np.concatenate([one[mine] for one in (x, *read, *told)]) for mine in of_choices]
        scores = slow_scores(p, known, answer) if known else []
        return np.concatenate([answer, scores]), {"entries": entries, "count": now + 1}

    return step


EVERY = ["age", "position", "content", "place"]
COLUMNS = {"content": slice(0, D), "place": slice(1, 3)}


@pytest.mark.parametrize("top", [None, 1, 3])
def test_it_is_its_equations(top):
    step = slow_step(N, EVERY, COLUMNS, [EVERY] * HEADS, top)
    agrees("store", step, parts={"place": [1, 3]}, top=top, **SMALL)


@pytest.mark.parametrize("queries", [[EVERY] * HEADS, [["age"]] * HEADS], ids=["all", "ages"])
def test_it_hears_the_waves_of_the_present_step_if_asked_to(queries):
    parts = [part for part in EVERY[:3] if part in queries[0]]
    step = slow_step(5, parts, COLUMNS, queries, clock=True)
    given = {"queries": queries} if queries[0] == ["age"] else {}
    agrees("store", step, clock=True, period=5, **given, **SMALL)


def test_queries_may_give_any_part_of_a_key():
    queries = [["age"], ["place", "content"], ["place", "position"]]
    step = slow_step(7, ["age", "position", "content", "place"], COLUMNS, queries)
    agrees("store", step, queries=queries, parts={"place": [1, 3]}, period=7, **SMALL)


@pytest.mark.parametrize(
    ("choices", "blocks", "of_choices"),
    [(3, [[0, 3]], [[0], [1], [2]]), (1, [[1, 3]], [[1, 2]]), (2, [[1, 3], [0, 2]], [[1, 0], [2, 1]])],
)
def test_choices_are_judged_by_what_was_read_of_each(choices, blocks, of_choices):
    step = slow_step(N, EVERY[:3], COLUMNS, [EVERY] * HEADS, of_choices=of_choices)
    agrees("store", step, choices=choices, choice_columns=blocks, **SMALL)


def test_choices_begin_nearly_equally_good():
    core = make_core("store", 12, 8, choices=6, choice_columns=[[0, 12]])
    scores = core(torch.randn(20, 3, 12), core.initial_state(3))[0][..., 8:]
    assert 0 < scores.std(-1).max() < 0.02


@pytest.mark.parametrize(
    ("choices", "blocks", "message"),
    [
        (3, [], "choice_columns is empty; say which columns of the 3 tell of the 3 choices"),
        (0, [[0, 3]], "choices is 0"),
        (2, [[0, 3]], r"choice_columns has \[0, 3\], which are 3 columns; .* each of the 2 choices"),
        (2, [[0, 4]], r"choice_columns has \[0, 4\]; .* of 3"),
        (1, [[2, 1]], r"choice_columns has \[2, 1\]"),
        (1, [[1]], r"choice_columns has \[1\]"),
        (2, [0, 2], r"choice_columns has 0; give the first column .* such as \[\[0, 2\]\]"),
        (2, [None], "choice_columns has None"),
        (2, [[0.0, 2.0]], r"choice_columns has \[0\.0, 2\.0\]"),
        (2, [["a", "b"]], r"choice_columns has \['a', 'b'\]"),
        (-1, [[0, 1]], "choices is -1"),
    ],
)
def test_columns_that_cannot_tell_of_choices_are_refused(choices, blocks, message):
    with pytest.raises(ValueError, match=message):
        make_core("store", 3, 8, choices=choices, choice_columns=blocks)


def test_every_step_is_read_alike_at_first_and_only_those_of_the_episode():
    core = make_core("store", 5, 8, capacity=10)
    reset = torch.zeros(25, 2, dtype=torch.bool)
    reset[20, 0] = True
    read = core.attention(torch.randn(25, 2, 5), core.initial_state(2), reset)
    assert read.shape == (25, 2, 4, 10)
    torch.testing.assert_close(read.sum(-1), torch.ones(25, 2, 4))
    torch.testing.assert_close(read[24, 1], torch.full((4, 10), 0.1), atol=0.05, rtol=0)
    assert not read[24, 0, :, 5:].any() and (read[24, 0, :, :5] > 0.12).all()


@pytest.mark.parametrize("begins", [[3], range(1, 12)], ids=["filled up", "one long among many short"])
def test_pieces_of_any_lengths_are_their_steps(begins):
    core = make_core("store", 3, 8, capacity=5).double()
    xs, reset = torch.randn(12, 4, 3, dtype=torch.float64), torch.zeros(12, 4, dtype=torch.bool)
    reset[list(begins), 1:] = True
    begun = core(torch.randn(2, 4, 3, dtype=torch.float64), core.initial_state(4))[1]
    outputs, last, _ = core(xs, begun, reset)
    state = begun
    for x, output, opens in zip(xs, outputs, reset, strict=True):
        stepped, state, _ = core.step(x, state, opens)
        torch.testing.assert_close(stepped, output, rtol=0, atol=1e-12)
    torch.testing.assert_close(state, last, rtol=0, atol=1e-12)


def test_positions_are_waves_that_meet_again_after_two_periods():
    phases = make_core("store", 3, 8, capacity=64, frequencies=5).phases
    assert phases.shape == (128, 5, 2) and phases.dtype == torch.float64
    turns = [1, 2, 6, 13, 32]  # 32 ** (f / 4), rounded
    steps = torch.arange(128, dtype=torch.float64)
    for f, turn in enumerate(turns):
        torch.testing.assert_close(phases[:, f, 0], torch.sin(2 * torch.pi * turn * steps / 128), rtol=0, atol=1e-12)
        torch.testing.assert_close(phases[:, f, 1], torch.cos(2 * torch.pi * turn * steps / 128), rtol=0, atol=1e-12)


def test_what_was_read_is_told_from_the_state_alone():
    core = make_core("store", 3, 8, capacity=6, heads=2, queries=[["age"], ["age"]])
    with torch.no_grad():
        core.ages[0, 4], core.ages[1, 2] = 50.0, 50.0
    state = core(torch.randn(9, 2, 3), core.initial_state(2))[1]
    told = core.inspect(state)
    torch.testing.assert_close(told["read_age"], torch.full((2,), 3.0))
    assert (told["read_entropy"] < 1e-4).all() and (told["usage"] == 1).all()
    fresh = core.inspect(core.initial_state(2))
    assert all(torch.isfinite(number).all() for number in fresh.values())


def test_ages_and_positions_learn_at_rates_of_their_own():
    core = make_core("store", 3, 8)
    groups = core.parameter_groups(1e-3)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rates) == len(list(core.parameters())) == sum(len(group["params"]) for group in groups)
    assert rates[id(core.ages)] == 3e-2 and rates[id(core.positions)] == rates[id(core.places)] == 1e-2
    assert rates[id(core.strengths)] == rates[id(core.answer[0].weight)] == 1e-3
    assert len(make_core("store", 3, 8, queries=[["content"]] * 4).parameter_groups(1e-3)) == 1
    (group,) = make_core("gru", 3, 8).parameter_groups(2e-3)
    assert group["lr"] == 2e-3 and len(group["params"]) == 4


def suits(steps, batch):
    return torch.randint(4, (steps, batch))


def shown(symbols, mode):
    return torch.cat([torch.nn.functional.one_hot(symbols, 4).float(), torch.full((*symbols.shape, 1), mode)], -1)


def repeat_previous():
    symbols = suits(60, 16)
    return shown(symbols, 0.0), symbols[:-31], slice(31, None)


def recall_in_reverse():
    symbols = suits(26, 16)
    return torch.cat([shown(symbols, 0.0), torch.eye(5)[4].expand(26, 16, 5)]), symbols.flip(0), slice(26, None)


def recall_the_first():
    symbols = suits(60, 16)
    return shown(symbols, 0.0), symbols[:1].expand(30, 16), slice(30, None)


def one_of_a_hundred():
    """Once, anywhere in a long episode, a symbol is shown; which was it?"""
    symbols, when = suits(1, 16), torch.randint(99, (1, 16, 1))
    xs = torch.zeros(100, 16, 4).scatter(0, when.expand(1, 16, 4), torch.eye(4)[symbols])
    return xs, symbols, slice(99, None)


def where_it_was():
    """Symbols at places that are all visited; then a place alone: which symbol was there?"""
    places = torch.rand(16, 12).argsort(1).T
    symbols = suits(12, 16)
    asked = torch.rand(16, 12).argsort(1).T
    code = torch.nn.functional.one_hot
    first = torch.cat([code(symbols, 4), code(places, 12)], -1).float()
    then = torch.cat([torch.zeros(12, 16, 4), code(asked, 12)], -1)
    answer = torch.gather(symbols, 0, torch.gather(places.argsort(0), 0, asked))
    return torch.cat([first, then]), answer, slice(12, None)


@pytest.mark.parametrize(
    ("task", "updates", "settings"),
    [
        (repeat_previous, 50, {}),
        (recall_in_reverse, 50, {}),
        (recall_the_first, 50, {}),
        (one_of_a_hundred, 30, {}),
        (where_it_was, 120, {"parts": {"place": [4, 16]}, "capacity": 32}),
    ],
)
def test_it_learns_what_was_so_long_ago_the_mirror_image_of_now_the_first_the_rare_and_where_something_was_seen(
    task, updates, settings
):
    torch.manual_seed(0)
    core = make_core("store", task()[0].shape[-1], 64, **settings)
    head = torch.nn.Linear(64, 4)
    groups = [*core.parameter_groups(1e-2), {"params": list(head.parameters()), "lr": 1e-2}]
    optimiser = torch.optim.Adam(groups)
    for _ in range(updates):
        xs, answers, when = task()
        logits = head(core(xs, core.initial_state(16))[0][when])
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits.flatten(0, 1), answers.flatten()).backward()
        optimiser.step()
    assert (logits.argmax(-1) == answers).float().mean() > 0.97


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"queries": [["age"]]}, "has 4 heads; name the parts of each one's query"),
        ({"queries": [["age"], ["agee"], ["age"], ["age"]]}, "age"),
        ({"queries": [["age"]] * 5}, "has 4 heads; name the parts of each one's query"),
        ({"queries": [["age"], [], ["age"], ["age"]]}, "has 4 heads; name the parts of each one's query"),
        *(({"parts": {part: [0, 1]}}, f"has a part '{part}' of its own") for part in ("age", "position", "content")),
        *(
            ({"parts": {"place": columns}}, "part 'place' is .* of 3")
            for columns in ([2, 4], [-1, 2], [1, 1], [2, 1], [3, 3], [1], [0, 1, 2])
        ),
        ({"top": 0}, "top is 0"),
        ({"heads": 0}, "heads is 0"),
        ({"frequencies": 0}, "frequencies is 0"),
        ({"key_size": 0}, "key_size is 0"),
        ({"capacity": 0}, "capacity is 0"),
        ({"period": -1}, "period is -1"),
    ],
)
def test_what_cannot_be_a_key_is_refused_by_name(wrong, message):
    with pytest.raises(ValueError, match=message):
        make_core("store", 3, 8, **wrong)


@pytest.mark.parametrize("columns", [(0, 1), (0, 3), (2, 3)])
def test_a_part_may_be_any_columns(columns):
    core = make_core("store", 3, 8, parts={"place": columns})
    assert core.keys[1].weight.shape == (16, columns[1] - columns[0])
    assert core(torch.randn(4, 2, 3), core.initial_state(2))[0].isfinite().all()


@pytest.mark.parametrize(("period", "turns"), [(1, [1, 1, 1]), (2, [1, 1, 1]), (3, [1, 1, 2]), (8, [1, 2, 4])])
def test_the_shortest_wave_has_four_steps_or_is_the_only_one(period, turns):
    phases = make_core("store", 3, 8, capacity=5, period=period, frequencies=3).phases
    angles = torch.pi * torch.arange(2 * period).double().unsqueeze(1) * torch.tensor(turns) / period
    torch.testing.assert_close(phases, torch.stack([angles.sin(), angles.cos()], -1), rtol=0, atol=1e-12)


def test_large_inputs_and_long_sequences_leave_it_finite():
    stays_finite("store", **SMALL)
