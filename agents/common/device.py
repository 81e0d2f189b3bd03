"""Where networks compute."""

from __future__ import annotations

import torch


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is the GPU where there is one.

    Raises:
        ValueError: A GPU was asked for and torch sees none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"agent.device is {name}, but torch sees no NVIDIA GPU here. Use agent.device=cpu.")
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"agent.device is {name!r}; use cpu, cuda, cuda:0 or auto.") from error
