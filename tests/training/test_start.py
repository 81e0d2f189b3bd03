"""Nobody waits for what they do not use: help comes without torch, the memory without faiss."""

import subprocess
import sys

import pytest

from engram_rl import command_line

HELP = """
from engram_rl.command_line import main
try:
    main(["{command}", "--help"])
except SystemExit as end:
    assert not end.code
"""


@pytest.mark.parametrize(
    ("program", "spared"),
    [
        (HELP.format(command="train"), ("torch", "gymnasium")),
        (HELP.format(command="evaluate"), ("torch", "gymnasium")),
        ("import engram_rl.memory", ("faiss", "scipy")),
    ],
)
def test_what_is_not_used_is_not_imported(program, spared):
    program += f"\nimport sys\nassert not {{*sys.modules}} & {{*{spared!r}}}"
    subprocess.run([sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, timeout=120)


def test_ctrl_c_while_all_is_still_imported_shows_no_traceback(monkeypatch):
    def interrupted(name, arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(command_line, "run", interrupted)
    with pytest.raises(SystemExit, match=r"Interrupted\."):
        command_line.main(["train"])
