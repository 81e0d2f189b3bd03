"""Only who knows the key gets a line, and a process of environments brings no torch."""

import subprocess
import sys
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client

import pytest

from engram_rl.training.distributed.lines import Switchboard, call


def test_who_knows_the_key_is_heard_and_nobody_else():
    switchboard = Switchboard("127.0.0.1")
    with pytest.raises(AuthenticationError):
        Client(switchboard.address, authkey=b"another")
    with call(switchboard.address, switchboard.key, 7) as there:
        assert switchboard.line(8, seconds=0.05) is None
        here = switchboard.line(7, seconds=20)
        here.send("step")
        assert there.recv() == "step"
        here.close()
        with pytest.raises(EOFError):
            there.recv()
    switchboard.close()
    with pytest.raises(ConnectionRefusedError):
        Client(switchboard.address, authkey=switchboard.key)


def test_a_process_of_environments_brings_no_torch():
    code = (
        "import engram_rl.training.distributed.worker, engram_rl.training.making, sys; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
