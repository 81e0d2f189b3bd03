"""Evaluate a run: `python evaluate.py run=latest` is `engram evaluate ...`; what it does is `training/evaluate.py`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != HERE]  # `envs` and `memory` are the user's

from engram_rl.command_line import main  # noqa: E402

if __name__ == "__main__":
    main(["evaluate", *sys.argv[1:]])
