"""Random calls, files and configurations end in success or in a documented error; and the fuzzer would notice if not.

`python -m benchmarks.fuzz examples=20000` tries more of them.
"""

import pytest
import torch

from benchmarks.fuzz.__main__ import try_many
from benchmarks.fuzz.outcome import CrashError, attempt
from engram_rl.memory import DifferentiableNeuralDictionary


@pytest.mark.parametrize(
    ("target", "examples"), [("calls", 60), ("memory_files", 60), ("checkpoints", 60), ("configurations", 6)]
)
def test_nothing_crashes(target, examples):
    row = try_many(target, examples, 0)
    assert row["examples"] >= examples
    assert row["done"] + row["refused"] > 0


class TestItWouldNotice:
    def test_an_error_that_is_not_documented(self):
        with pytest.raises(CrashError, match="ended in ZeroDivisionError"):
            attempt(lambda: 1 / 0)

    def test_an_error_of_the_right_kind_that_nobody_raised_on_purpose(self):
        with pytest.raises(CrashError, match="was not raised on purpose"):
            attempt(lambda: int("x"))
        with pytest.raises(CrashError, match="was not raised on purpose"):
            attempt(lambda: DifferentiableNeuralDictionary.load(torch.zeros(1)))

    def test_a_documented_error_is_let_through(self):
        assert "at least 1" in str(attempt(lambda: DifferentiableNeuralDictionary(3, 1, 0)))
