"""Within a recurrent cell on a GPU nothing is rounded to ten bits, and whatever was set before is set after."""

from types import SimpleNamespace

import pytest
import torch

from engram_rl.memory.cores.precision import unrounded

NEW = SimpleNamespace(rnn=SimpleNamespace(fp32_precision="tf32"))
OLD = SimpleNamespace(allow_tf32=True)
SET = {"new": lambda: NEW.rnn.fp32_precision, "old": lambda: OLD.allow_tf32}


@pytest.mark.parametrize(("which", "before", "within"), [("new", "tf32", "ieee"), ("old", True, False)])
@pytest.mark.parametrize("fails", [False, True])
def test_cudnn_is_told_within_and_what_it_was_told_before_stands_after(which, before, within, fails, monkeypatch):
    monkeypatch.setattr(torch.backends, "cudnn", {"new": NEW, "old": OLD}[which])
    try:
        with unrounded(SimpleNamespace(is_cuda=True)):
            assert SET[which]() == within
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert fails
    assert SET[which]() == before


def test_on_the_processor_there_is_nothing_to_tell(monkeypatch):
    monkeypatch.setattr(torch.backends, "cudnn", None)
    with unrounded(torch.zeros(1)):
        pass
