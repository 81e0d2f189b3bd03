"""Ctrl-C and SIGTERM end a run after the step in hand, so that it is saved whole."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class StopRequest:
    """True once the user (SIGINT) or the scheduler (SIGTERM) asked to stop; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self._requested = False
        self._previous: dict[int, signal.Handlers] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is not threading.main_thread():
            return self  # only the main thread may ask to hear of signals
        for number in (signal.SIGINT, signal.SIGTERM):
            self._previous[number] = signal.signal(number, self._request)  # type: ignore[assignment]
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._restore()

    def __bool__(self) -> bool:
        return self._requested

    def _request(self, number: int, frame: FrameType | None) -> None:
        self._requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
