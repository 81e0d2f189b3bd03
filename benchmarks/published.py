"""What others have published where `python -m benchmarks.partial` measures: mean returns, budgets and sources."""

from __future__ import annotations

from dataclasses import dataclass

POPGYM = "Morad et al. 2023 (arXiv 2303.01859), table 3 of the appendix, read second-hand"
SHM = "Le et al. 2024 (arXiv 2410.10132), table 1, read second-hand"


@dataclass(frozen=True)
class Published:
    """A figure of a paper.

    Attributes:
        model: As the paper calls it.
        mean: Over trials, of the largest mean return of an epoch.
        deviation: Over trials; None where none is told.
        source: Paper and table.
        steps: Environment steps of a trial.
        trials: How many there were; None where that was not told.
    """

    model: str
    mean: float
    deviation: float | None
    source: str
    steps: int = 15_000_000
    trials: int | None = None


def _popgym(gru: tuple[float, float], best: tuple[str, float]) -> list[Published]:
    """POPGym's GRU, and the best of its 13 models where that is another."""
    first = Published("GRU", *gru, POPGYM, trials=3)
    if best[0] == "GRU":
        return [first]
    return [first, Published(f"{best[0]}, best of 13", best[1], None, POPGYM, trials=3)]


PUBLISHED = {
    "AutoencodeEasy": [*_popgym((-0.283, 0.029), ("GRU", -0.283)), Published("SHM", 0.495, 0.233, SHM)],
    "AutoencodeMedium": _popgym((-0.425, 0.018), ("IndRNN", -0.420)),
    "AutoencodeHard": _popgym((-0.456, 0.009), ("IndRNN", -0.448)),
    "ConcentrationEasy": [Published("FFM", 0.107, None, SHM), Published("SHM", -0.019, None, SHM)],
    "HigherLowerEasy": _popgym((0.529, 0.002), ("GRU", 0.529)),
    "HigherLowerMedium": _popgym((0.511, 0.002), ("IndRNN", 0.513)),
    "HigherLowerHard": _popgym((0.506, 0.001), ("IndRNN", 0.509)),
    "MultiarmedBanditEasy": _popgym((0.619, 0.007), ("Elman", 0.631)),
    "MultiarmedBanditMedium": _popgym((0.538, 0.036), ("TCN", 0.598)),
    "MultiarmedBanditHard": _popgym((0.516, 0.083), ("TCN", 0.574)),
    "NoisyPositionOnlyCartPoleEasy": _popgym((0.995, 0.000), ("GRU", 0.995)),
    "NoisyPositionOnlyCartPoleMedium": _popgym((0.642, 0.012), ("IndRNN", 0.659)),
    "NoisyPositionOnlyCartPoleHard": _popgym((0.390, 0.007), ("IndRNN", 0.404)),
    "PositionOnlyCartPoleEasy": _popgym((1.000, 0.000), ("GRU", 1.000)),
    "RepeatFirstEasy": _popgym((1.000, 0.000), ("GRU", 1.000)),
    "RepeatFirstMedium": _popgym((1.000, 0.000), ("GRU", 1.000)),
    "RepeatFirstHard": _popgym((0.940, 0.012), ("IndRNN", 0.969)),
    "RepeatPreviousEasy": [*_popgym((1.000, 0.000), ("GRU", 1.000)), Published("SHM", 0.889, 0.111, SHM)],
    "RepeatPreviousMedium": _popgym((-0.315, 0.017), ("LMU", 0.789)),
    "RepeatPreviousHard": [
        *_popgym((-0.428, 0.002), ("LMU", 0.191)),
        Published("SHM", -0.194, 0.099, SHM),
    ],
}
"""By POPGym's short name. CountRecall has changed since (one action more), so it is left out."""
