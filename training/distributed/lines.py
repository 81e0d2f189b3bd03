"""Lines from workers to the driver: each worker calls in once, and whatever is asked and answered goes over its line.

A call of a Ray actor took 2.4 ms of the processor on a busy machine, a message over a line and its answer a quarter of
that; and a line that breaks says at once that a process has died.
"""

from __future__ import annotations

import os
import secrets
import socket
import struct
import threading
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener


class Switchboard:
    """Takes the calls of workers that know the key.

    Args:
        host: The address of this machine, by which workers reach it.

    Attributes:
        address: Where to call.
        key: Known to workers by Ray; who does not know it gets no line.
    """

    def __init__(self, host: str):
        self.key = secrets.token_bytes(32)
        self._listener = Listener((host, 0), backlog=1024, authkey=self.key)
        self.address = self._listener.address
        self._called = threading.Condition()
        self._lines: dict[int, Connection] = {}
        self._open = True
        threading.Thread(target=self._take_calls, daemon=True).start()

    def line(self, ticket: int, seconds: float) -> Connection | None:
        """The line of the worker with this ticket, waited for; None where it did not call."""
        with self._called:
            self._called.wait_for(lambda: ticket in self._lines, timeout=seconds)
            return self._lines.pop(ticket, None)

    def close(self) -> None:
        """Take no more calls."""
        self._open = False
        with suppress(OSError, AuthenticationError, EOFError):  # wakes who waits for a call
            Client(self.address, authkey=self.key).close()
        self._listener.close()

    def _take_calls(self) -> None:
        while self._open:
            try:
                line = self._listener.accept()
                ticket = line.recv()
            except (OSError, EOFError, AuthenticationError):
                continue
            with self._called:
                self._lines[ticket] = line
                self._called.notify_all()


def call(address: tuple[str, int], key: bytes, ticket: int) -> Connection:
    """A line to the driver."""
    line = Client(address, authkey=key)
    at_once(line)
    line.send(ticket)
    return line


def at_once(line: Connection, patience: float | None = None) -> None:
    """Send what is written at once; with a patience, raise OSError where a message stops half-way for so long."""
    with socket.socket(fileno=os.dup(line.fileno())) as same:
        same.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if patience is not None:
            limit = struct.pack("ll", int(patience) + 1, 0)
            for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                same.setsockopt(socket.SOL_SOCKET, option, limit)
