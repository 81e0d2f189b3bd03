"""A configuration as the command line would compose it, from Python: `train("nec", "cartpole", seed=1)`."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from engram_rl.memory.checks import shown
from engram_rl.training.cli import explain, in_whole_numbers
from engram_rl.training.configuration.prepared import prepare
from engram_rl.training.errors import UsageError

ID = re.compile(r".*-v\d+|.*:.*")
"""A Gymnasium id, unlike the name of a YAML in `conf/env`; one that is neither is known by its being registered."""

MADE_FOR = {"MiniGrid-": "minigrid", "BabyAI-": "minigrid", "ALE/": "atari"}
"""The YAML of `conf/env` for ids that begin so; of others it is `gym`."""

PLAIN = re.compile(r"[A-Za-z_][\w./-]*")
"""Words that Hydra's grammar takes without quotes."""


@contextmanager
def composed(name: str, words: Sequence[str], config_dir: str | Path | None = None) -> Iterator[DictConfig]:
    """The configuration of a command; inside, Hydra's own configuration is there as on a command line.

    Args:
        name: `train` or `evaluate`.
        words: Overrides, as on a command line.
        config_dir: A folder of YAML and modules of the user's own, as with `--config-dir`.

    Raises:
        UsageError: An override names nothing, or a value of another kind; also what Hydra raises inside.
    """
    prepare()
    given = [in_whole_numbers(word) for word in words]
    searched = []
    if config_dir is not None:
        own = Path(config_dir).resolve()
        searched = [f"hydra.searchpath=[{_written(f'file://{own}')}]"]
        sys.path += [str(own)] if str(own) not in sys.path else []
    before, cached = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("engram_rl.conf", version_base="1.3"):
            config = compose(name, [*given, *searched], return_hydra_config=True)
        HydraConfig.instance().set_config(config.copy())
        with open_dict(config):
            del config["hydra"]
        yield config
    except (HydraException, OmegaConfBaseException) as error:
        raise UsageError(explain(error)) from error
    finally:
        GlobalHydra.instance().clear()
        GlobalHydra.instance().hydra = before
        HydraConfig.instance().cfg = cached


def environment_words(env: str) -> list[str]:
    """The overrides that name an environment: a choice of `conf/env` such as `cartpole`, or any Gymnasium id."""
    if not ID.fullmatch(env) and env not in gym.registry:
        return [f"env={env}"]
    choice = next((choice for prefix, choice in MADE_FOR.items() if env.startswith(prefix)), "gym")
    return [f"env={choice}", f"env.id={_written(env)}"]


def value_words(values: Mapping[str, Any]) -> list[str]:
    """Overrides from keyword arguments: `{"steps": 500}` is `["steps=500"]`.

    Args:
        values: Numbers, words, True, False, None, paths, arrays, and lists and dicts of these.

    Raises:
        UsageError: A value is something else.
    """
    return [f"{place}={_written(value, place)}" for place, value in values.items()]


def _written(value: Any, place: str = "env") -> str:
    """A value in the grammar of Hydra's overrides; arrays and tensors are lists of their numbers.

    Raises:
        UsageError: It is neither a number, a word nor made of these.
    """
    if OmegaConf.is_config(value):
        value = OmegaConf.to_container(value)
    if isinstance(value, np.ndarray | np.generic | torch.Tensor):
        value = value.tolist()
    if isinstance(value, range):
        value = list(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{key}:{_written(one, f'{place}.{key}')}" for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_written(one, f"{place}[{at}]") for at, one in enumerate(value)) + "]"
    if not isinstance(value, int | float | str | Path):
        raise UsageError(
            f"{place} is {shown(value)}; a value here is a number, a word, True, False, None, a path, an array, or a "
            f"list or dict of these. What is built, such as a network, is named by its _target_: "
            f"{place}={{'_target_': 'my_module.Mine'}}."
        )
    if isinstance(value, str | Path) and not PLAIN.fullmatch(str(value)):
        return "'" + str(value).replace("'", r"\'") + "'"
    return str(value)
