"""A Ray whose workers are threads of this process, so that no process is waited for."""

import threading
from contextlib import suppress
from types import SimpleNamespace

import cloudpickle


class RayError(Exception):
    """What a call of a process that died raises."""


class RayTaskError(RayError):
    """What a call raises that itself raised."""


class Call:
    """Of `serve`, which goes on in a thread; or fails at once, where it was to."""

    def __init__(self, serve, arguments, error):
        self.error, self.thread = error, threading.Thread(target=self._serve, args=(serve, arguments), daemon=True)
        if error is None:
            self.thread.start()

    def _serve(self, serve, arguments):
        with suppress(SystemExit):
            serve(*arguments)


class Threads:
    """Stands in the place of the package.

    Attributes:
        begun: What it was begun with; None where it is not.
        ended: How often it was ended.
        processors: What each worker reserved.
        killed: How many workers were.
        failing: Errors of the workers that begin next, first to last; None for those that do begin.
    """

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    util = SimpleNamespace(get_node_ip_address=lambda: "127.0.0.1")
    cloudpickle = cloudpickle

    def __init__(self):
        self.begun, self.ended, self.killed, self.processors, self.failing = None, 0, 0, [], []

    def is_initialized(self):
        return self.begun is not None

    def init(self, **given):
        self.begun = given

    def shutdown(self):
        self.begun, self.ended = None, self.ended + 1

    def cluster_resources(self):
        return {"CPU": 4.0}

    def remote(self, kind):
        return SimpleNamespace(
            options=lambda num_cpus: SimpleNamespace(remote=lambda paths: self._actor(kind, num_cpus, paths))
        )

    def _actor(self, kind, processors, paths):
        self.processors.append(processors)
        error, worker = self.failing.pop(0) if self.failing else None, kind(paths)
        return SimpleNamespace(serve=SimpleNamespace(remote=lambda *given: Call(worker.serve, given, error)))

    def wait(self, calls, timeout):
        over = [call for call in calls if not call.thread.is_alive()]
        return over, [call for call in calls if call not in over]

    def get(self, call):
        if call.error is not None:
            raise call.error

    def kill(self, actor):
        self.killed += 1
