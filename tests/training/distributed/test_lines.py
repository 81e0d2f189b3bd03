"""Only who knows the key gets a line, and a process of environments brings no torch."""

import os
import socket
import struct
import subprocess
import sys
import threading
from contextlib import closing
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client

import pytest

from engram_rl.training.distributed.lines import Switchboard, at_once, call


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


def options(line):
    """Whether what is written is sent at once, and the seconds that receiving and sending may take."""
    with socket.socket(fileno=os.dup(line.fileno())) as same:
        limits = [same.getsockopt(socket.SOL_SOCKET, one, 16) for one in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO)]
        at_once_there = same.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
    return at_once_there, [struct.unpack("ll", limit) for limit in limits]


def test_messages_are_sent_at_once_and_a_line_is_given_up_after_some_seconds():
    with (
        closing(Switchboard("127.0.0.1")) as switchboard,
        call(switchboard.address, switchboard.key, 7) as there,
        switchboard.line(7, seconds=20) as here,
    ):
        assert options(there) == (True, [(0, 0), (0, 0)])
        at_once(here, 7.5)
        assert options(here) == (True, [(8, 0), (8, 0)])
        at_once(here, 0.0)
        assert options(here) == (True, [(1, 0), (1, 0)])


def test_who_hangs_up_keeps_nobody_from_calling():
    with closing(Switchboard("127.0.0.1")) as switchboard:
        Client(switchboard.address, authkey=switchboard.key).close()
        with call(switchboard.address, switchboard.key, 1) as there, switchboard.line(1, seconds=20) as here:
            there.send("hello")
            assert here.recv() == "hello"
        assert switchboard.line(1, seconds=0) is None
        assert len(switchboard.key) == 32


def test_nobody_listens_any_more_once_it_is_closed():
    before = set(threading.enumerate())
    switchboard = Switchboard("127.0.0.1")
    (listening,) = set(threading.enumerate()) - before
    assert listening.daemon
    switchboard.close()
    listening.join(20)
    assert not listening.is_alive()
    switchboard.close()
