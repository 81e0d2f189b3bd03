"""Train an agent: `python train.py agent=nec env=cartpole` is `engram train ...`; the loop is `training/train.py`."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:] = [folder for folder in sys.path if Path(folder).resolve() != HERE]  # `envs` and `memory` are the user's

from engram_rl.command_line import main  # noqa: E402

if __name__ == "__main__":
    main(["train", *sys.argv[1:]])
