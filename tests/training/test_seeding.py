"""Seeds: which are taken, which worlds come of them, and that what is drawn elsewhere leaves no trace."""

import random
import signal
import threading
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
import torch

from engram_rl.training.environments import make_environments
from engram_rl.training.errors import UsageError
from engram_rl.training.interrupt import StopRequest
from engram_rl.training.seeding import (
    PURPOSES,
    generators,
    require_seed,
    seed_everything,
    set_generators,
    undisturbed,
    use_threads,
    world_seeds,
)


def drawn():
    """One number, and a normal one that comes in pairs, of each generator that a process has anyway."""
    return (
        random.random(), random.gauss(0, 1), np.random.random(), np.random.normal(),  # noqa: NPY002
        torch.rand(1).item(), torch.randn(1).item(),
    )  # fmt: skip


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, np.int64(7), np.uint32(2**32 - 1)])
def test_whole_numbers_of_32_bits_are_seeds(seed):
    assert require_seed(seed) == seed and type(require_seed(seed)) is int


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, "1", None, np.float64(1)])
def test_other_seeds_are_refused(seed):
    for refuse in (require_seed, seed_everything):
        with pytest.raises(UsageError, match=r"it must be a whole number of at least 0 and below 2\*\*32"):
            refuse(seed)


def test_the_same_seed_gives_the_same_numbers_of_every_generator():
    with undisturbed():
        seed_everything(5)
        first = drawn()
        seed_everything(5)
        assert drawn() == first
        seed_everything(6)
        assert not set(drawn()) & set(first)


def test_generators_go_on_from_where_they_were_found():
    with undisturbed():
        drawn()  # of the normal numbers, which are made in pairs, one is left over
        state = generators()
        first = drawn()
        assert drawn() != first
        set_generators(state)
        assert drawn() == first


def test_what_fails_leaves_the_generators_alone_as_well():
    state = generators()
    following = drawn()
    set_generators(state)
    with pytest.raises(ZeroDivisionError), undisturbed():
        drawn()
        raise ZeroDivisionError
    assert drawn() == following


COUNTED = {"training": 3, "selection": 1_000_000, "score": 1_000_000, "evaluate": 1_000_003, "video": 1_000_000}


@pytest.mark.parametrize(("purpose", "first"), COUNTED.items())
def test_counted_seeds_are_those_of_the_first_version(purpose, first):
    assert world_seeds(3, purpose, SimpleNamespace(), "counted") == first


def test_the_worlds_of_a_run_stay_what_they_are():
    """Figures that were published can be drawn again: these seeds never change."""
    environments = make_environments("CartPole-v1", 3)
    for run in (0, 7):
        for at, purpose in enumerate(PURPOSES):
            words = np.random.SeedSequence(run, spawn_key=(at,)).generate_state(3)
            assert world_seeds(run, purpose, environments) == [int(word) // 2 for word in words]
            one = SimpleNamespace(num_envs=3, unwrapped=None, metadata={})
            assert world_seeds(run, purpose, one) == int(words[0]) // 2
            assert world_seeds(run, purpose, one, "spawned") == int(words[0]) // 2


def test_threads_are_those_of_torch_and_of_faiss():
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    try:
        for threads in (2, 1):
            use_threads(threads)
            assert torch.get_num_threads() == faiss.omp_get_max_threads() == threads
        with pytest.raises(UsageError, match="threads is 0; it must be at least 1"):
            use_threads(0)
    finally:
        torch.set_num_threads(before[0])
        faiss.omp_set_num_threads(before[1])


def test_a_run_in_a_thread_leaves_the_signals_to_the_main_one():
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    seen = []

    def run():
        with StopRequest() as stop:
            seen.append((bool(stop), [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_of_either_kind_asks_and_the_next_is_as_it_was(number):
    came = []
    before = signal.signal(number, lambda *given: came.append(given[0]))
    try:
        with StopRequest() as stop:
            assert not stop
            signal.raise_signal(number)
            assert stop and not came
            signal.raise_signal(number)
            assert came == [number]
        with StopRequest():
            pass
        signal.raise_signal(number)
        assert came == [number, number]
    finally:
        signal.signal(number, before)
