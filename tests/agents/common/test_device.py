"""A device by its name: automatic where asked for, and never one that is not there."""

import pytest
import torch

from engram_rl.agents.common.device import choose_device


@pytest.mark.parametrize(
    ("name", "gpu", "chosen"),
    [
        ("auto", False, "cpu"),
        ("auto", True, "cuda"),
        ("cpu", False, "cpu"),
        ("cpu", True, "cpu"),
        ("cuda", True, "cuda"),
        ("cuda:0", True, "cuda:0"),
    ],
)
def test_what_is_asked_for_is_chosen_and_the_gpu_where_it_is_left_open(name, gpu, chosen, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    assert choose_device(name) == torch.device(chosen)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cuda", r"agent.device is cuda, but torch sees no NVIDIA GPU here. Use agent.device=cpu"),
        ("cuda:1", r"agent.device is cuda:1, but torch sees no NVIDIA GPU"),
        ("tpu9", r"agent.device is 'tpu9'; use cpu, cuda, cuda:0 or auto"),
    ],
)
def test_what_is_not_there_is_refused_with_a_remedy(name, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=message):
        choose_device(name)
