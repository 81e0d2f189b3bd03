"""Atari games whose mode and difficulty shift: variants of a game that its cartridge holds (extra `atari`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium

from engram_rl.envs.checks import integer
from engram_rl.envs.shifting.schedules import Periodic
from engram_rl.envs.shifting.wrapper import ShiftingTarget

Variant = tuple[int, int]  # mode, difficulty


class AtariVariant:
    """Moves an Atari game to another mode and difficulty; called with the bare environment before a reset.

    The Arcade Learning Environment takes both up with the next reset (Machado et al. 2018, arXiv 1709.06009, section
    5.2, has what the modes of each game are). A reset with a seed loads the cartridge anew, with what the environment
    was made for, so that is changed too.
    """

    def __call__(self, env: Any, variant: Variant) -> None:
        """From the next reset on it is this variant.

        Raises:
            TypeError: The environment is no Atari game, or the variant no pair of whole numbers.
            ValueError: The game has no such mode or difficulty.
        """
        if not hasattr(env, "ale"):
            raise TypeError(f"{env} is no Atari game: make one of ale_py, such as ALE/Freeway-v5.")
        mode, difficulty = _pair(variant)
        modes, difficulties = map(int, env.ale.getAvailableModes()), map(int, env.ale.getAvailableDifficulties())
        _refuse_unknown("mode", mode, sorted(modes))
        _refuse_unknown("difficulty", difficulty, sorted(difficulties))
        env.ale.setMode(mode)
        env.ale.setDifficulty(difficulty)
        env._game_mode, env._game_difficulty = mode, difficulty


def atari_shift(
    game: str = "ALE/Freeway-v5",
    variants: Sequence[Variant] = ((0, 0), (1, 0)),
    period: int = 20,
    success_above: float = 0.0,
    layout_seed: int | None = None,
    render_mode: str | None = None,
    **options: Any,
) -> gymnasium.Env:
    """An Atari game whose mode and difficulty shift between episodes, unannounced.

    Observation, actions, reward, termination, truncation: the game's own.
    What shifts: every `period` episodes the game takes the next of `variants`, and round again.
    `info["target"]`: mode and difficulty.

    Args:
        game: An id of ale_py.
        variants: Pairs of mode and difficulty, in turn.
        period: Episodes between shifts.
        success_above: An episode with a return above this counts as solved.
        layout_seed: Accepted as everywhere in the suite; this schedule leaves nothing to chance.
        render_mode: ale_py's: None, "human" or "rgb_array".
        **options: ale_py's own arguments, such as `frameskip` and `obs_type`.

    Raises:
        ImportError: ale_py is not installed.
        TypeError: The game is none of ale_py's.
        ValueError: The game has no such mode or difficulty.

    Registered ids: engram/AtariShift-v0
    """
    _require_atari()
    schedule = Periodic([_pair(variant) for variant in variants], period)
    if "ale_py" not in str(gymnasium.spec(game).entry_point):
        raise TypeError(f"{game} is no Atari game: give an id of ale_py, such as ALE/Freeway-v5.")
    env = gymnasium.make(game, render_mode=render_mode, disable_env_checker=True, **options)
    for variant in reversed(schedule.targets):  # an unknown one is refused here rather than at a reset to come
        AtariVariant()(env.unwrapped, variant)
    return ShiftingTarget(env, schedule, AtariVariant(), success_above, layout_seed)


def _require_atari() -> None:
    try:
        import ale_py
    except ImportError as error:
        raise ImportError("Atari games need ale_py: pip install 'engram-rl[atari]'") from error
    gymnasium.register_envs(ale_py)


def _pair(variant: Any) -> Variant:
    if isinstance(variant, str) or not hasattr(variant, "__len__") or len(variant) != 2:
        raise TypeError(f"A variant is a pair of mode and difficulty, such as (1, 0); got {variant!r}.")
    return integer("mode", variant[0]), integer("difficulty", variant[1])


def _refuse_unknown(what: str, value: int, available: Sequence[int]) -> None:
    if value not in available:
        raise ValueError(f"{what} must be one of {', '.join(map(str, available))} in this game, got {value}.")
