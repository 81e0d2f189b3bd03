"""A lookup and a write go forward: through few files, and hardly ever back to one that they have left."""

import sys
from itertools import groupby
from pathlib import Path

import pytest
import torch

import engram_rl.memory
from engram_rl.memory import DifferentiableNeuralDictionary, Modality

ROOM = Path(engram_rl.memory.__file__).resolve().parent


def way_of(call):
    """The files of the memory that a call passes through, a stay each, in the order in which functions are called."""
    files = []

    def note(frame, event, _):
        if event == "call" and (file := Path(frame.f_code.co_filename)).is_absolute() and ROOM in file.parents:
            files.append(file.relative_to(ROOM).as_posix())

    sys.setprofile(note)
    try:
        call()
    finally:
        sys.setprofile(None)
    return [file for file, _ in groupby(files)]


@pytest.fixture
def memory():
    torch.manual_seed(0)
    made = DifferentiableNeuralDictionary([Modality("view", 8), Modality("place", 2)], 1, 1000, k=5)
    made.write(keys(100), torch.randn(100, 1))
    return made


def keys(n):
    return {"view": torch.randn(n, 8), "place": torch.rand(n, 2)}


@pytest.mark.parametrize("gradients", [True, False])
def test_a_lookup_passes_through_seven_files_and_comes_back_five_times(memory, gradients):
    query = keys(4)
    with torch.set_grad_enabled(gradients):
        way = way_of(lambda: memory.lookup(query))
    assert len(set(way)) <= 7, way
    assert len(way) - len(set(way)) <= 5, way  # two of them since what is read is weighed by a function of its own


def test_a_write_passes_through_ten_files_and_comes_back_three_times(memory):
    rows, values = keys(4), torch.randn(4, 1)
    way = way_of(lambda: memory.write(rows, values))
    assert len(set(way)) <= 10, way
    assert len(way) - len(set(way)) <= 3, way
