"""One worker process of the sandbox; `processes` starts it and says what orders there are."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any, NoReturn

from failwell_sandbox.server import KINDS, served
from failwell_sandbox.storage import Storage

# Between two looks at whether the parent is still the one that started us, seconds.
LOOK_SECONDS = 1.0

# Work that has not ended so long after the order to end will not.
END_SECONDS = 8.0


def work(line: socket.socket, parent: int) -> None:
    """
    Serve as ordered until the line ends.

    Args:
        line: To the parent.
        parent: Its process id.
    """
    heard = _orders(line, parent)
    first = next(heard, None)
    if first is None:
        return
    with ExitStack() as stack:
        services, listening = {}, []
        for name, facts in first["services"].items():
            kind = KINDS[name]
            storage = Storage(**facts["storage"])
            store, database = storage.open(kind.schema)
            stack.callback(store.close)
            stack.callback(database.close)
            service = kind.service(store, database, storage, wait=first["wait"], lease=first["lease"])
            service.draining = bool(first["draining"].get(name))
            services[name] = service
            listening.append((service, stack.enter_context(socket.socket(fileno=facts["listens_on"]))))
        stack.enter_context(served(listening))
        # Whatever hangs in the end does not keep a process alive that nobody waits for.
        stack.callback(_end_soon)
        _say(line, {"ready": True})
        for order in heard:
            for name, draining in order["draining"].items():
                services[name].draining = draining
            _say(line, {"done": True})


def _orders(line: socket.socket, parent: int) -> Iterator[dict[str, Any]]:
    """The orders as they come, until the parent lets go or is gone."""
    line.settimeout(LOOK_SECONDS)
    heard = b""
    while os.getppid() == parent:
        try:
            received = line.recv(65536)
        except TimeoutError:
            continue
        if not received:
            return
        *orders, heard = (heard + received).split(b"\n")
        yield from map(json.loads, orders)


def _say(line: socket.socket, answer: dict[str, Any]) -> None:
    with suppress(OSError):  # the parent is gone, as the next order would have told
        line.sendall(json.dumps(answer).encode() + b"\n")


def _end_soon() -> None:
    timer = threading.Timer(END_SECONDS, os._exit, (1,))
    timer.daemon = True
    timer.start()


def _leave(*_: object) -> NoReturn:
    raise SystemExit(0)


def main() -> int:
    """Begin, with the line's file descriptor as the argument."""
    parent = os.getppid()
    # Ctrl-C reaches all processes of a terminal; what becomes of us is the parent's to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _leave)
    with socket.socket(fileno=int(sys.argv[1])) as line:
        try:
            work(line, parent)
        except Exception as exc:  # noqa: BLE001  # the parent says it to whoever asked
            _say(line, {"failed": f"{type(exc).__name__}: {exc}"})
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
