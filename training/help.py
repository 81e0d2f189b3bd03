"""What `engram train --help` says, without what only a run needs: to import torch takes longer than all of this."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import hydra
from omegaconf import DictConfig

from engram_rl.training.configuration.overrides import flags_first
from engram_rl.training.configuration.prepared import PATHS, prepare
from engram_rl.training.runs.naming import quoted

COMPOSED = ("train", "evaluate")
"""Commands whose help is that of a configuration, composed as the command line says."""


def asked_for(command: str, arguments: Sequence[str]) -> bool:
    """Whether nothing but the help of such a command is wanted."""
    return command in COMPOSED and not {"-h", "--help"}.isdisjoint(arguments)


def show(command: str, arguments: Sequence[str]) -> None:
    """Print the help and leave; what is wrong with the command line is left for the command itself to say."""
    prepare()
    sys.argv = [f"engram {command}", *flags_first([quoted(argument, PATHS) for argument in arguments])]
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands exceptions on instead of printing them itself
    try:
        hydra.main(version_base="1.3", config_path="pkg://engram_rl.conf", config_name=command)(_nothing)()
    except Exception:
        return
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


def _nothing(config: DictConfig) -> None:
    """Hydra leaves before it comes to this."""
