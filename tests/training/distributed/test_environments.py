"""Environments on Ray workers: the numbers of one process, errors with their place, and what happens where one dies."""

import os
import signal
import time
from contextlib import closing

import numpy as np
import pytest

from benchmarks.same_run import same
from engram_rl.training.environments import make_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.rollout import finished, step

pytestmark = [pytest.mark.cluster, pytest.mark.usefixtures("ray_here"), pytest.mark.filterwarnings("default")]


def there(id, num_envs, workers=2, kwargs=None, **cluster):
    cluster = {"workers": workers, **cluster}
    return make_environments(id, num_envs, vectorization="ray", cluster=cluster, kwargs=kwargs)


def played(environments, steps, seed=5):
    observation, info = environments.reset(seed=seed)
    drawn = np.random.default_rng(seed)
    actions = drawn.integers(2, size=(steps, environments.num_envs))
    return [(observation, info), *(environments.step(action) for action in actions)]


def in_lists(value):
    """Arrays of objects as lists, whose items can be compared."""
    if isinstance(value, np.ndarray) and value.dtype == object:
        value = value.tolist()
    if isinstance(value, dict):
        return {name: in_lists(part) for name, part in value.items()}
    return list(map(in_lists, value)) if isinstance(value, list | tuple) else value


def alive(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("id", ["distant_worlds:Talker-v0", "CartPole-v1"])
def test_in_step_everything_is_as_in_one_process_bit_for_bit(id):
    with closing(there(id, 5)) as ray, closing(make_environments(id, 5)) as sync:
        assert ray.single_observation_space == sync.single_observation_space
        assert ray.action_space == sync.action_space
        for one, other in zip(played(ray, 40), played(sync, 40), strict=True):
            assert same(in_lists(one), in_lists(other))


def test_what_it_gives_may_be_written_to_and_does_not_change_later():
    with closing(there("distant_worlds:Talker-v0", 2)) as environments:
        seen = played(environments, 12)
        kept = [np.array(one[0]["view"]) for one in seen]
        finals = [last for one in seen[1:] for last in one[4].get("final_obs", []) if last is not None]
        for array in (*(one[0]["view"] for one in seen), *(one["at"] for one in finals)):
            assert array.flags.writeable
        assert all(np.array_equal(a, b[0]["view"]) for a, b in zip(kept, seen, strict=True))
        assert len(finals) > 1 and not np.array_equal(finals[0]["at"], finals[1]["at"])


def test_an_error_in_an_environment_arrives_with_its_file_and_line_and_all_are_closed(tmp_path):
    closed = tmp_path / "closed"
    environments = there("distant_worlds:Waiting-v0", 2, kwargs={"closed": str(closed)})
    processes = environments.unwrapped.processes
    environments.reset(seed=0)
    place = r"in step: RuntimeError: the arm is stuck\n.*distant_worlds.py, line \d+"
    with pytest.raises(UsageError, match=f"In your environment .*Waiting-v0, {place}"):
        environments.step(np.array([0, 1]))
    assert all(map(alive, processes))
    environments.close()
    assert closed.exists()
    wait_until(lambda: not any(map(alive, processes)))


def test_an_environment_that_cannot_be_made_there_says_why():
    with pytest.raises(UsageError, match=r"in making it: RuntimeError: no licence\n.*distant_worlds.py, line \d+"):
        there("distant_worlds:Refusing-v0", 1, workers=1)
    with pytest.raises(UsageError, match=r"CartPol-v1.*Did you mean CartPole-v1"):
        there("CartPol-v1", 1, workers=1)


def test_of_a_worker_that_is_killed_the_open_episodes_are_lost_and_nothing_else(capsys):
    ids = ("distant_worlds:Waiting-v0", 4)
    with closing(there(*ids)) as environments, closing(make_environments(*ids)) as sync:
        observation, _ = environments.reset(seed=0)
        expected, _ = sync.reset(seed=0)
        nothing = np.zeros(4, np.int64)
        for _ in range(3):
            observation, expected = environments.step(nothing)[0], sync.step(nothing)[0]
        os.kill(environments.unwrapped.processes[1], signal.SIGKILL)
        transition = step(environments, observation, nothing)
        assert transition.truncated.tolist() == [False, False, True, True]
        assert transition.reward.tolist() == [1, 1, 0, 0]
        assert np.array_equal(transition.next_observation[2:], observation[2:])
        assert transition.reset_observation[2:, 0].tolist() == [0, 0]
        assert not np.isin(transition.reset_observation[2:, 1], expected[:, 1]).any()  # other seeds, other episodes
        assert np.array_equal(transition.reset_observation[:2], sync.step(nothing)[0][:2])
        assert len(finished(transition.info).returns) == 0
        assert environments.unwrapped.lost == 2
        assert "(2 to 3) begin anew and their open episodes are lost, 2 so far" in capsys.readouterr().err
        for _ in range(5):
            following, after = environments.step(nothing), sync.step(nothing)
        assert np.array_equal(following[0][:2], after[0][:2])
        assert finished(following[4]).lengths.tolist() == [5, 5]
        assert_same_future(environments)


def assert_same_future(environments):
    """Replaying its history elsewhere leads to where it is, with another number of workers too."""
    now = environments.step(np.zeros(environments.num_envs, np.int64))[0]
    with closing(there("distant_worlds:Waiting-v0", environments.num_envs, workers=1)) as copy:
        assert np.array_equal(copy.load_state_dict(environments.state_dict()), now)
        for _ in range(4):
            action = np.zeros(environments.num_envs, np.int64)
            one, other = environments.step(action), copy.step(action)
            assert same(in_lists(one), in_lists(other))
            assert (one[4]["n"] == one[4]["_n"]).all() and "lock" not in one[4]  # which cannot be sent


def test_a_process_that_dies_again_and_again_ends_the_run():
    with closing(there("distant_worlds:Waiting-v0", 2, restarts=1)) as environments:
        environments.reset(seed=0)
        with pytest.raises(UsageError, match=r"Worker 0 died.* 2 times without a step .*\(cluster.restarts=1\)"):
            for _ in range(3):
                environments.step(np.array([2, 0]))


def test_one_that_hangs_is_ended_and_begun_anew():
    with closing(there("distant_worlds:Waiting-v0", 2, patience=60)) as environments:
        environments.reset(seed=0)
        impatient(environments, 1.0)
        began = time.monotonic()
        assert environments.step(np.array([0, 3]))[3].tolist() == [False, True]
        assert time.monotonic() - began < 50


def impatient(environments, seconds):
    """Patience that is short for a step, after processes had theirs for beginning, for which they are asked again."""
    crew = environments.unwrapped._crew
    ask = crew.ask

    def in_a_hurry(worker, method, *arguments):
        ask(worker, method, *arguments)
        if method == "step":
            crew._late[worker] = time.monotonic() + seconds

    crew.ask = in_a_hurry


def test_not_in_step_each_goes_its_own_way_in_its_own_order_and_nobody_waits_for_the_slow():
    slow_and_fast = {"wait": (0.2, 0.0), "length": 4}
    ids = ("distant_worlds:Waiting-v0", 3)
    with closing(there(*ids, workers=3, asynchronous=True, kwargs=slow_and_fast)) as environments:
        observation, _ = environments.reset(seed=0)
        steps, episodes = [[] for _ in range(3)], 0
        for _ in range(60):
            transition = step(environments, observation, np.zeros(len(environments.waiting), np.int64))
            for row, seen, following, done in zip(
                transition.rows,
                transition.of_rows().observation,
                transition.of_rows().next_observation,
                transition.of_rows().done,
                strict=True,
            ):
                steps[row].append((seen, following, done))
            lengths = finished(transition.info).lengths
            assert lengths.tolist() == [4] * len(lengths)
            episodes += len(lengths)
            observation = transition.reset_observation
            if min(map(len, steps)) >= 3:
                break
        counts = list(map(len, steps))
        assert counts[1] > 2 * max(counts[0], counts[2])  # the seed 1 is the fast one
        assert episodes == sum(count // 4 for count in counts)
        for taken in steps:
            for number, (seen, following, done) in enumerate(taken):
                assert (seen[0], following[0], done) == (number % 4, number % 4 + 1, number % 4 == 3)
                assert seen[1] == following[1]
        resumed_where_it_was(environments, slow_and_fast, observation)


def resumed_where_it_was(environments, kwargs, observation):
    """Those that were stepping when it was saved step again, and all others wait for an action."""
    state, waiting = environments.state_dict(), environments.waiting
    assert state["history"]["stepping"].sum() == 3 - len(waiting)
    with closing(there("distant_worlds:Waiting-v0", 3, workers=3, asynchronous=True, kwargs=kwargs)) as copy:
        assert np.array_equal(copy.load_state_dict(state), observation)
        assert np.array_equal(copy.waiting, waiting)
        assert np.array_equal(copy.unwrapped.taken, environments.unwrapped.taken)
    with pytest.raises(UsageError, match=r"did not take the same number of steps each.*vectorization=ray"):
        make_environments("distant_worlds:Waiting-v0", 3, kwargs=kwargs).load_state_dict(state)


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)
