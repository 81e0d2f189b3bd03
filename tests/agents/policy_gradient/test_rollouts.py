"""Advantages against their definition in float64; rollouts that keep, return and restore what they were given."""

import numpy as np
import pytest
import torch

from engram_rl.agents.policy_gradient.rollouts import Rollout, generalised_advantages, shuffled_rows, shuffled_sequences

T, E = 12, 3
DISCOUNT, TRACE = 0.9, 0.8


def slow_advantages(reward, value, next_value, cut):
    """Schulman et al. (2016), equation 16: the sum of all later temporal differences of the same episode."""
    advantage = np.zeros((T, E))
    for e in range(E):
        for t in range(T):
            for later in range(t, T):
                delta = reward[later, e] + DISCOUNT * next_value[later, e] - value[later, e]
                advantage[t, e] += (DISCOUNT * TRACE) ** (later - t) * delta
                if cut[later, e]:
                    break
    return advantage


def case(seed=0):
    rng = np.random.default_rng(seed)
    reward, value, final = rng.normal(size=(3, T, E))
    done = rng.random((T, E)) < 0.25
    done[-1] = [True, False, True]
    return reward, value, final, done, rng.normal(size=E)


def filled(seed=0):
    reward, _, final, done, _ = case(seed)
    rollout = Rollout(T, E)
    for t in range(T):
        step = {"action": torch.arange(E) + t, "seen": {"x": torch.rand(E, 2)}}
        rollout.add({"hidden": torch.full((E, 2), float(t))}, step, reward[t], done[t], final[t])
    return rollout


def test_advantages_are_the_sum_of_later_differences():
    reward, value, following, cut, _ = case()
    found = generalised_advantages(reward, value, following, cut, DISCOUNT, TRACE)
    assert found == pytest.approx(slow_advantages(reward, value, following, cut), abs=1e-12)


def test_an_episodes_end_bootstraps_its_last_observation_and_lets_nothing_through():
    _, value, final, done, last = case()
    rollout = filled()
    found = rollout.advantages(value, last, DISCOUNT, TRACE, cut_at_episode_ends=True)
    following = np.concatenate([value[1:], last[None]])
    following[done] = final[done]
    expected = slow_advantages(case()[0], value, following, done)
    assert found == pytest.approx(expected, abs=1e-5)


def test_without_a_cut_what_the_next_episode_is_worth_counts():
    reward, value, _, _, last = case()
    found = filled().advantages(value, last, DISCOUNT, TRACE, cut_at_episode_ends=False)
    expected = slow_advantages(reward, value, np.concatenate([value[1:], last[None]]), np.zeros((T, E), dtype=bool))
    assert found == pytest.approx(expected, abs=1e-5)


def test_steps_come_back_stacked_with_the_state_before_the_first():
    stacked, rollout = filled().stacked(), filled()
    assert stacked["action"].tolist() == (np.arange(T)[:, None] + np.arange(E)).tolist()
    assert stacked["seen"]["x"].shape == (T, E, 2)
    assert (rollout.initial_state["hidden"] == 0).all()


def test_a_full_rollout_takes_no_more_and_says_what_to_do():
    with pytest.raises(RuntimeError, match=r"12 steps is full.*learn"):
        filled().add({}, {}, np.zeros(E), np.zeros(E, bool), np.zeros(E))


def test_a_rollout_is_restored_to_the_step():
    whole, part = Rollout(T, E), Rollout(T, E)
    reward, value, final, done, last = case()
    seen = torch.rand(T, E)

    def play(rollout, steps):
        for t in steps:
            rollout.add({}, {"action": seen[t]}, reward[t], done[t], final[t])

    play(whole, range(T))
    play(part, range(5))
    restored = Rollout(T, E)
    restored.load_state_dict(part.state_dict())
    assert len(restored) == 5
    play(restored, range(5, T))
    assert torch.equal(restored.stacked()["action"], seen)
    args = (value, last, DISCOUNT, TRACE, True)
    assert (restored.advantages(*args) == whole.advantages(*args)).all()


def test_an_empty_rollout_is_restored_too():
    restored = filled()
    restored.load_state_dict(Rollout(T, E).state_dict())
    assert len(restored) == 0 and not restored.full


@pytest.mark.parametrize("shape", [(T + 1, E + 1), (T + 1, E - 1), (3, E), (T, E)])
def test_another_size_is_refused_before_anything_is_changed(shape):
    rollout, other = filled(), Rollout(*shape)
    with pytest.raises(ValueError, match=r"12 steps of 3 environments.*env.num_envs"):
        other.load_state_dict(rollout.state_dict())
    assert len(other) == 0 and other.initial_state is None


def test_a_rollout_that_has_room_for_a_step_more_is_restored():
    longer = Rollout(T + 1, E)
    longer.load_state_dict(filled().state_dict())
    assert len(longer) == T and not longer.full and (longer.initial_state["hidden"] == 0).all()


def test_every_step_is_in_one_minibatch():
    data = {"action": torch.arange(T * E).reshape(T, E), "seen": {"x": torch.arange(T * E).reshape(T, E) * 2}}
    batches = list(shuffled_rows(data, 10, torch.Generator().manual_seed(0)))
    assert [len(batch["action"]) for batch in batches] == [10, 10, 10, 6]
    actions = torch.cat([batch["action"] for batch in batches])
    assert sorted(actions.tolist()) == list(range(T * E)) != actions.tolist()
    assert all(torch.equal(batch["seen"]["x"], 2 * batch["action"]) for batch in batches)


@pytest.mark.parametrize(("size", "rows"), [(2 * T, [2, 1]), (5, [1, 1, 1]), (1000, [3])])
def test_sequences_stay_whole_and_keep_their_state(size, rows):
    data = {"action": torch.arange(T * E).reshape(T, E)}
    state = torch.arange(E).float().unsqueeze(1)
    batches = list(shuffled_sequences(data, state, size, torch.Generator().manual_seed(1)))
    assert [batch["action"].shape for batch, _ in batches] == [(T, count) for count in rows]
    for batch, initial in batches:
        assert torch.equal(batch["action"][0].float(), initial[:, 0])
        assert (batch["action"].diff(dim=0) == E).all()
    assert sorted(torch.cat([initial[:, 0] for _, initial in batches]).tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("size", "sizes"), [(10, [10, 10, 10, 6]), (35, [36]), (18, [18, 18]), (7, [7, 7, 7, 7, 8]), (1, [1] * 36)]
)
def test_no_step_is_left_alone_in_a_minibatch(size, sizes):
    data = {"action": torch.arange(T * E).view(T, E)}
    found = [batch["action"] for batch in shuffled_rows(data, size, torch.Generator().manual_seed(0))]
    assert [len(one) for one in found] == sizes
    assert sorted(torch.cat(found).tolist()) == list(range(T * E))


def test_a_rollout_of_one_step_is_one_minibatch():
    data = {"action": torch.tensor([[4]])}
    found = list(shuffled_rows(data, 5, torch.Generator().manual_seed(0)))
    assert [batch["action"].tolist() for batch in found] == [[4]]
    reward, value, following, cut = np.array([[[1.0]], [[2.0]], [[3.0]], [[False]]])
    found = generalised_advantages(reward, value, following, cut.astype(bool), DISCOUNT, TRACE)
    assert found == pytest.approx(np.array([[1 + 0.9 * 3 - 2]]))


def test_actions_of_several_parts_are_dealt_out_whole():
    action = torch.arange(T * E).view(T, E, 1) * 10 + torch.arange(2)  # [T, E, 2]
    data, order = {"action": action}, torch.Generator().manual_seed(0)
    rows = torch.cat([batch["action"] for batch in shuffled_rows(data, 10, order)])
    assert sorted(rows.tolist()) == action.flatten(0, 1).tolist() != rows.tolist()
    state = {"hidden": torch.arange(E).float().unsqueeze(1)}
    for batch, initial in shuffled_sequences(data, state, 2 * T, order):
        assert torch.equal(batch["action"], action[:, initial["hidden"][:, 0].long()])


def test_steps_of_other_parts_are_refused_by_name_and_masks_fill_up():
    nothing = np.zeros(E), np.zeros(E, bool), np.zeros(E)
    masks = torch.rand(T, E, 2, generator=torch.Generator().manual_seed(0)) < 0.5
    rollout = Rollout(T, E)
    expected = masks.clone()
    for t in range(T):
        step = {"action": torch.zeros(E)}
        if t % 3:
            step["mask"] = masks[t]
        else:
            expected[t] = True
        rollout.add({}, step, *nothing)
    assert torch.equal(rollout.stacked()["mask"], expected)
    for first, then, named in (
        ({"seen", "mask"}, {"seen", "extras"}, "extras"),
        ({"seen", "starts"}, {"seen", "extras", "mask"}, "extras, starts"),
        ({"seen", "starts"}, {"seen"}, "starts"),
    ):
        rollout = Rollout(T, E)
        rollout.add({}, dict.fromkeys(first, torch.zeros(E)), *nothing)
        with pytest.raises(RuntimeError, match=rf"have a {named}: give it"):
            rollout.add({}, dict.fromkeys(then, torch.zeros(E)), *nothing)


def test_a_long_rollout_of_many_environments_is_full_at_its_last_step_and_restored_before():
    size, nothing = 300, (np.zeros(300), np.zeros(300, bool), np.zeros(300))
    rollout, other = Rollout(size, size), Rollout(size, size)
    for t in range(size):
        assert not rollout.full
        if t == size - 1:
            other.load_state_dict(rollout.state_dict())
        rollout.add({}, {"action": torch.full((size,), t)}, *nothing)
    assert rollout.full and len(other) == size - 1
    assert torch.equal(other.stacked()["action"], rollout.stacked()["action"][:-1])
