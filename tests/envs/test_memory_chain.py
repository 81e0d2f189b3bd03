"""MemoryChain: bsuite's memory_len, rule by rule."""

import gymnasium
import numpy as np
import pytest

import engram_rl.envs  # noqa: F401 (registers the suite)


def chain(**options):
    environment = gymnasium.make("engram/MemoryChain-v0", **options)
    environment.reset(seed=3)
    return environment


def episode(environment, last):
    """Observations and rewards of one in which `last` is answered at the end, 0 before."""
    seen, rewards = [environment.reset()[0]], []
    core = environment.unwrapped.core
    terminated = False
    while not terminated:
        action = last(core) if len(rewards) == core.step_limit - 1 else 0
        observation, reward, terminated, truncated, _ = environment.step(action)
        assert not truncated
        seen.append(observation)
        rewards.append(reward)
    return np.array(seen), rewards


@pytest.mark.parametrize("length", [1, 2, 5, 100])
def test_the_clock_waits_for_the_first_step_and_the_bits_go_out_when_it_runs(length):
    environment = chain(length=length)
    for _ in range(3):
        seen, rewards = episode(environment, lambda core: 1)
        bit = environment.unwrapped.core.bits[0, 0]
        assert len(rewards) == length + 1
        np.testing.assert_allclose(seen[:, 0], [1.0, *(1 - t / length for t in range(length + 1))], atol=1e-6)
        assert (seen[:2, 2] == 2 * bit - 1).all() and not seen[2:, 2].any()
        assert not seen[:, 1].any()


@pytest.mark.parametrize(("answer", "paid"), [(lambda bit: bit, 1.0), (lambda bit: 1 - bit, -1.0)])
def test_only_the_last_action_counts(answer, paid):
    environment = chain(length=4, bits=3)
    for _ in range(20):
        _, rewards = episode(environment, lambda core: answer(core.bits[0, core.asked[0]]))
        assert rewards == [0, 0, 0, 0, paid]


def test_what_is_asked_for_is_shown_before_the_answer_alone():
    environment = chain(length=6, bits=4)
    asked = []
    for _ in range(40):
        seen, _ = episode(environment, lambda core: 0)
        asked.append(int(environment.unwrapped.core.asked[0]))
        assert seen[:, 1].tolist() == [0] * 6 + [asked[-1]] + [0]
    assert set(asked) == {0, 1, 2, 3}


def test_bits_are_drawn_evenly_and_each_alone():
    environment = gymnasium.make_vec("engram/MemoryChain-v0", 2000, vectorization_mode="vector_entry_point", bits=2)
    environment.reset(seed=1)
    bits = environment.unwrapped.core.bits
    assert abs(bits.mean(axis=0) - 0.5).max() < 0.04
    assert abs(np.corrcoef(bits.T)[0, 1]) < 0.08


@pytest.mark.parametrize("wrong", [{"length": 0}, {"bits": 0}])
def test_sizes_are_at_least_one(wrong):
    with pytest.raises(ValueError, match="at least 1"):
        chain(**wrong)
