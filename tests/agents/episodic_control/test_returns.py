"""N-step returns against a sum written out, float64."""

import dataclasses
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engram_rl.agents.episodic_control.returns import MonteCarloReturns, NStepReturns
from engram_rl.memory import checks


def slow_targets(rewards, values, final_value, steps, discount):
    """Equation 3, one transition at a time: rewards r_0..r_{L-1}, values of s_0..s_{L-1}, value of s_L."""
    length = len(rewards)
    targets = []
    for t in range(length):
        ahead = min(steps, length - t)
        total = sum(discount**j * rewards[t + j] for j in range(ahead))
        bootstrap = values[t + steps] if t + steps < length else final_value
        targets.append(total + discount**ahead * bootstrap)
    return targets


@settings(deadline=None, max_examples=60)
@given(
    steps=st.integers(1, 6),
    discount=st.sampled_from([0.0, 0.5, 0.99, 1.0]),
    lengths=st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=4), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_every_transition_of_every_episode_gets_its_return(steps, discount, lengths, seed):
    rng = np.random.default_rng(seed)
    horizon = min(sum(episodes) for episodes in lengths)
    returns = NStepReturns(steps, discount, len(lengths))
    done = np.zeros((horizon, len(lengths)), dtype=bool)
    for env, episodes in enumerate(lengths):
        ends = np.cumsum(episodes) - 1
        done[ends[ends < horizon], env] = True
    reward, value, final = rng.normal(size=(3, horizon, len(lengths)))
    got = {}
    for t in range(horizon):
        observation = np.stack([[env, t] for env in range(len(lengths))])  # [E, 2] names the transition
        out = returns.push(observation, np.full(len(lengths), t), reward[t], done[t], value[t], final[t])
        assert (out.action == out.observation[:, 1]).all()
        got |= {tuple(row): target for row, target in zip(out.observation.tolist(), out.target, strict=True)}
    for env in range(len(lengths)):
        start = 0
        for end in np.flatnonzero(done[:, env]):
            span = slice(start, end + 1)
            slow = slow_targets(reward[span, env], value[span, env], final[end, env], steps, discount)
            for t, expected in enumerate(slow):
                assert got[env, start + t] == pytest.approx(expected, abs=1e-12)
            start = end + 1


def test_the_last_reward_counts_and_short_episodes_need_no_padding():
    returns = NStepReturns(steps=100, discount=1.0, num_envs=1)
    one = np.ones(1)
    first = returns.push(np.zeros((1, 1)), np.zeros(1, int), one, np.array([False]), 0 * one, 0 * one)
    second = returns.push(np.ones((1, 1)), np.zeros(1, int), 5 * one, np.array([True]), 0 * one, 0 * one)
    assert len(first.target) == 0
    assert second.target.tolist() == [6.0, 5.0]


def test_truncation_bootstraps_and_termination_does_not():
    returns = NStepReturns(steps=3, discount=0.5, num_envs=2)
    done, zero = np.array([True, True]), np.zeros(2)
    out = returns.push(np.zeros((2, 1)), np.zeros(2, int), np.ones(2), done, zero, np.array([0.0, 8.0]))
    assert out.target.tolist() == [1.0, 1.0 + 0.5 * 8.0]


def test_state_dict_continues_an_open_episode():
    def run(stop_at):
        returns = NStepReturns(2, 0.9, 1)
        targets = []
        for t in range(6):
            if t == stop_at:
                state = returns.state_dict()
                returns = NStepReturns(2, 0.9, 1)
                returns.load_state_dict(state)
            row = np.array([float(t)])
            out = returns.push(np.array([[t]]), np.array([t]), row, np.array([t == 5]), row, 0 * row)
            targets += out.target.tolist()
        return targets

    assert run(stop_at=3) == run(stop_at=None)


@pytest.mark.parametrize(("steps", "discount"), [(0, 0.9), (3, 1.1), (3, -0.1)])
def test_impossible_settings_are_refused_by_value(steps, discount):
    with pytest.raises(ValueError, match=str(steps if steps < 1 else discount)):
        NStepReturns(steps, discount, 1)


@pytest.mark.parametrize("discount", [-0.1, 1.1, float("nan")])
def test_a_discount_beyond_0_to_1_is_refused_by_value(discount):
    with pytest.raises(ValueError, match=f"discount is {discount}; it must be at least 0 and at most 1"):
        MonteCarloReturns(discount, 1)


def test_episodes_of_unlike_length_that_end_together_get_their_own_returns():
    returns, none = MonteCarloReturns(0.5, 2), np.zeros(2)
    step, action = np.zeros((2, 1)), np.zeros(2, np.int64)
    returns.push(step, action, np.array([1.0, 1.0]), np.array([False, True]), none)
    returns.push(step, action, np.array([2.0, 2.0]), np.array([False, False]), none)
    ended = returns.push(step, action, np.array([4.0, 4.0]), np.array([True, True]), np.array([8.0, 0.0]))
    assert sorted(ended.target.tolist()) == sorted([1 + 1 + 1 + 1, 2 + 2 + 2, 4 + 4, 2 + 2, 4])


@pytest.mark.parametrize("discount", [0.0, 0.9, 1.0])
def test_an_episodes_monte_carlo_returns_are_known_when_it_ends(discount):
    rng = np.random.default_rng(0)
    lengths = [[5, 200, 1], [130, 7]]  # longer than the first room
    returns = MonteCarloReturns(discount, len(lengths))
    horizon = min(map(sum, lengths))
    done = np.zeros((horizon, 2), dtype=bool)
    for env, episodes in enumerate(lengths):
        ends = np.cumsum(episodes) - 1
        done[ends[ends < horizon], env] = True
    reward, final = rng.normal(size=(2, horizon, 2))
    got = {}
    for t in range(horizon):
        if t == 100:  # as a resumed run would go on
            saved, returns = returns.state_dict(), MonteCarloReturns(discount, 2)
            returns.load_state_dict(saved)
        observation = {"name": np.stack([[env, t] for env in range(2)])}  # [E, 2]
        out = returns.push(observation, np.full(2, t), reward[t], done[t], final[t])
        assert (out.action == out.observation["name"][:, 1]).all()
        got |= {tuple(row): target for row, target in zip(out.observation["name"].tolist(), out.target, strict=True)}
    for env in range(2):
        start = 0
        for end in np.flatnonzero(done[:, env]):
            expected = final[end, env]
            for t in range(end, start - 1, -1):
                expected = reward[t, env] + discount * expected
                assert got.pop((env, t)) == pytest.approx(expected, abs=1e-9)
            start = end + 1
    assert not got


def slow_tries(running, identity, actions):
    """One step of one running episode at a time."""
    counts = np.zeros((len(identity), actions))
    for episode in running:
        for seen, taken in episode:
            counts[identity == seen, taken] += 1
    return counts


@settings(deadline=None, max_examples=12)
@given(
    situations=st.sampled_from([3, 40, 2000]),
    ends=st.sampled_from([0.0, 0.02, 0.3]),
    first_asked=st.sampled_from([0, 60]),
    seed=st.integers(0, 99),
)
def test_tries_are_those_of_the_running_episodes(situations, ends, first_asked, seed):
    rng, envs, actions = np.random.default_rng(seed), 3, 4
    names = rng.integers(-(2**63), 2**63 - 1, situations)
    names[:2] = 0, -1
    returns, running = MonteCarloReturns(0.9, envs), [[] for _ in range(envs)]
    for t in range(120):
        seen = names[rng.integers(situations, size=envs)]
        if t >= first_asked:
            np.testing.assert_array_equal(returns.tries(seen, actions), slow_tries(running, seen, actions))
        if t == 80:  # as a resumed run would go on
            saved, returns = returns.state_dict(), MonteCarloReturns(0.9, envs)
            returns.load_state_dict(saved)
        taken, done = rng.integers(actions, size=envs), rng.random(envs) < ends
        returns.push({"identity": seen}, taken, np.zeros(envs), done, np.zeros(envs))
        for env in range(envs):
            running[env] = [] if done[env] else [*running[env], (seen[env], taken[env])]
    returns.clear()
    assert not returns.tries(names[:5], actions).any()


def test_the_last_steps_of_an_episode_of_100_000_cost_what_the_first_do():
    steps, measured, reward = 100_000, 1500, np.ones(1)

    def seconds_of_steps(returns, first):
        """Of each of the steps from there on, the last of all of which ends the episode."""
        seconds = np.zeros(measured)
        for t in range(first, first + measured):
            began = time.process_time()
            seen, done = np.array([t % 50_000]), np.array([t == steps - 1])
            tried = returns.tries(seen, 3)
            ended = returns.push({"identity": seen}, np.array([t % 3]), reward, done, np.zeros(1))
            seconds[t - first] = time.process_time() - began
        return seconds, tried, ended

    returns = MonteCarloReturns(0.99, 1)
    early, tried, _ = seconds_of_steps(returns, 0)
    assert not tried.any()
    t = np.arange(steps - measured)[None]
    held = {"observation": {"identity": t % 50_000}, "action": t % 3, "reward": np.ones(t.shape)}
    returns.load_state_dict(held | {"count": np.array([t.size])})
    late, tried, ended = seconds_of_steps(returns, t.size)
    assert tried.sum() == 1 and len(ended.target) == steps
    assert ended.target[0] == pytest.approx(100.0) and ended.target[-1] == 1
    assert np.median(late) < 3 * np.median(early)
    assert not returns.tries(np.array([0]), 3).any()


@pytest.mark.parametrize("kind", ["n-step", "Monte-Carlo"])
def test_environments_that_do_not_step_together_get_the_returns_of_each_alone(kind):
    rng = np.random.default_rng(3)
    envs, pushes = 3, 120

    def make(count):
        return NStepReturns(4, 0.9, count) if kind == "n-step" else MonteCarloReturns(0.9, count)

    def push(returns, observation, action, reward, done, value, final, rows=None):
        values = (value,) if kind == "n-step" else ()
        return returns.push(observation, action, reward, done, *values, final, rows)

    together, alone = make(envs), [make(1) for _ in range(envs)]
    found, expected = ([[] for _ in range(envs)] for _ in range(2))
    for number in range(pushes):
        rows = np.sort(rng.choice(envs, size=rng.integers(1, envs + 1), replace=False))
        step = (
            np.stack([rows, np.full(len(rows), number)], axis=1),
            rng.integers(3, size=len(rows)),
            rng.normal(size=len(rows)),
            rng.random(len(rows)) < 0.2,
            rng.normal(size=len(rows)),
            rng.normal(size=len(rows)),
        )
        going_on = together.going_on(step[2], rows)
        for at, row in enumerate(rows):
            assert going_on[at] == pytest.approx(alone[row].going_on(step[2][at : at + 1])[0])
            done = push(alone[row], *(part[at : at + 1] for part in step))
            expected[row] += list(zip(done.observation.tolist(), done.action, done.target, strict=True))
        done = push(together, *step, rows)
        for seen, action, target in zip(done.observation.tolist(), done.action, done.target, strict=True):
            found[seen[0]].append((seen, action, target))
    assert all(map(len, expected))
    for row in range(envs):
        assert [one[:2] for one in found[row]] == [one[:2] for one in expected[row]]
        np.testing.assert_allclose([one[2] for one in found[row]], [one[2] for one in expected[row]], rtol=1e-12)


KINDS = {"n-step": lambda envs: NStepReturns(4, 0.9, envs), "Monte-Carlo": lambda envs: MonteCarloReturns(0.9, envs)}


def pushed(returns, reward, done):
    """A step of all environments; what was seen is the row."""
    none, envs = np.zeros(len(reward)), np.arange(len(reward))
    values = (none,) if isinstance(returns, NStepReturns) else ()
    return returns.push({"name": envs[:, None]}, envs, np.asarray(reward, float), np.asarray(done), *values, none)


@pytest.mark.parametrize("kind", KINDS)
def test_what_goes_on_and_what_was_found_are_those_of_the_rewards_held(kind):
    rng, envs = np.random.default_rng(0), 3
    returns, running = KINDS[kind](envs), [[] for _ in range(envs)]
    for _ in range(120):
        reward, done = rng.choice([-1.0, 0.0, 0.25], size=envs), rng.random(envs) < 0.15
        held = [episode[-4:] if kind == "n-step" else episode for episode in running]
        means = np.array([(sum(one) + new) / (len(one) + 1) for one, new in zip(held, reward, strict=True)])
        some = np.array([2, 0])
        assert returns.going_on(reward) == pytest.approx(means / (1 - 0.9))
        assert returns.going_on(reward[some], some) == pytest.approx(means[some] / (1 - 0.9))
        if kind == "Monte-Carlo":
            found = np.array([any(one > 0 for one in episode) for episode in running])
            assert np.array_equal(returns.rewarded(), found) and np.array_equal(returns.rewarded(some), found[some])
        pushed(returns, reward, done)
        running = [[] if over else [*one, new] for one, new, over in zip(running, reward, done, strict=True)]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_forgotten_is_never_completed(kind):
    returns = KINDS[kind](2)
    for _ in range(3):
        pushed(returns, [7.0, 7.0], [False, False])
    returns.clear()
    assert returns.going_on(np.ones(2)) == pytest.approx([10.0, 10.0])
    ended = pushed(returns, [1.0, 2.0], [True, True])
    assert sorted(ended.target.tolist()) == [1.0, 2.0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_completes_nothing_gives_no_rows_of_any_part(kind):
    nothing = pushed(KINDS[kind](3), np.ones(3), np.zeros(3, bool))
    assert nothing.observation["name"].shape == (0, 1) and nothing.action.shape == nothing.target.shape == (0,)
    with pytest.raises(dataclasses.FrozenInstanceError):
        nothing.target = np.ones(3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("envs", [1, 3])
def test_a_state_of_other_environments_is_refused(kind, envs):
    returns = KINDS[kind](2)
    with pytest.raises(ValueError, match=str(envs)):
        returns.load_state_dict(KINDS[kind](envs).state_dict())
    if kind == "n-step":
        with pytest.raises(ValueError, match=r"hold \(2, 4\) .*, the state \(2, 5\)"):
            returns.load_state_dict(NStepReturns(5, 0.9, 2).state_dict())


def test_the_steps_held_have_to_fit_into_memory(monkeypatch):
    size = 8 * (3 * 3 + 2 * 3 + 2 * 3)  # weights, rewards and actions
    monkeypatch.setattr(checks, "ram", lambda device: size)
    NStepReturns(3, 0.9, 2)
    monkeypatch.setattr(checks, "ram", lambda device: size - 1)
    with pytest.raises(ValueError, match=r"n_step=3 would take .*; lower n_step"):
        NStepReturns(3, 0.9, 2)
