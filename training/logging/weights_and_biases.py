"""The curves of a run on Weights & Biases: `engram train logger=wandb` (extra `wandb`)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from engram_rl.training.errors import UsageError, did_you_mean
from engram_rl.training.runs.folder import RunFolder

MODES = ("online", "offline", "disabled")
VIDEO = "episode.gif"


class WeightsAndBiases:
    """Sends what `RunLogger` writes to Weights & Biases; a resumed run goes on in the same place.

    Args:
        folder: Of the run; what is kept offline goes there.
        settings: Of the run, as plain values.
        project: Where the run is filed.
        entity: A user or team; None for the user's own.
        mode: `online`, `offline`, or `disabled`.

    Raises:
        UsageError: The package is not installed, or there is no such mode.
    """

    def __init__(
        self, folder: Path, settings: dict[str, Any], *, project: str, entity: str | None = None, mode: str = "online"
    ):
        if mode not in MODES:
            raise UsageError(f"logger.mode is {mode!r}. {did_you_mean(mode, MODES)}")
        try:
            import wandb
        except ModuleNotFoundError as error:
            raise UsageError("logger=wandb needs an extra: pip install 'engram-rl[wandb]'.") from error
        self._folder, self._wandb = folder, wandb
        self._run = wandb.init(
            project=project,
            entity=entity,
            mode=mode,  # type: ignore[arg-type]
            dir=str(folder),
            name=folder.name,
            id=hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16],
            resume="allow",
            config=settings,
            tags=settings.get("tags") or None,
            settings=wandb.Settings(silent=True),
        )
        self._run.define_metric("*", step_metric="step")

    def write(self, step: int, means: dict[str, float]) -> None:
        """One point of every curve."""
        self._run.log({**means, "step": step})

    def close(self) -> None:
        """Add what the run came to, and its video, and finish."""
        if found := RunFolder(self._folder).summary():
            self._run.summary.update({"score": found.get("score"), "scores": found.get("scores")})
        if (video := self._folder / VIDEO).exists():
            self._run.log({"episode": self._wandb.Video(str(video), format="gif")})
        self._run.finish()
