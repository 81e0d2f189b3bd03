"""The command `engram`: `engram train agent=nec env=cartpole`, `engram evaluate run=latest`, ..."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any, NamedTuple


class Command(NamedTuple):
    """A subcommand: the function `main` of a module, which reads `sys.argv`."""

    module: str
    teaches: str


COMMANDS = {
    "train": Command("engram_rl.training.train", "train an agent: engram train agent=nec env=cartpole seed=1"),
    "evaluate": Command("engram_rl.training.evaluate", "evaluate an agent: engram evaluate run=latest episodes=20"),
    "compare": Command(
        "engram_rl.training.reporting.compare", "runs in one picture and one table: engram compare runs/a runs/b"
    ),
    "report": Command("engram_rl.training.reporting.page", "a run as one HTML page: engram report run=latest"),
    "card": Command("engram_rl.training.reporting.card", "a run as a model card: engram card run=latest"),
    "sweep-summary": Command("engram_rl.training.sweep_summary", "what the runs of a sweep came to, best first"),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a subcommand; without one, say which there are. Ctrl-C while all is still imported shows no traceback."""
    try:
        _main(arguments)
    except KeyboardInterrupt:
        sys.exit("Interrupted.")


def _main(arguments: Sequence[str] | None) -> None:
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(usage())
        return
    if name not in COMMANDS:
        from engram_rl.training.errors import did_you_mean

        sys.exit(f"Error: there is no command {name!r}. {did_you_mean(name, COMMANDS)}")
    run(name, rest)


def run(name: str, arguments: Sequence[str]) -> None:
    """Run one subcommand with these arguments."""
    from engram_rl.training import help

    if help.asked_for(name, arguments):
        help.show(name, arguments)
    from engram_rl.training.cli import run_command

    sys.argv = [f"engram {name}", *arguments]
    command: Callable[[], Any] = import_module(COMMANDS[name].module).main
    run_command(command)


def usage() -> str:
    """What `engram --help` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}   {command.teaches}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "Reinforcement-learning agents with an episodic memory.",
            "",
            "Usage: engram COMMAND [key=value ...]",
            "",
            *lines,
            "",
            "engram COMMAND --help says what each takes. In a checkout, python train.py and evaluate.py do the same.",
        ]
    )
