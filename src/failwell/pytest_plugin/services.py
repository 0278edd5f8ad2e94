"""What can stand behind the faults of a test, and how to have it listen."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from importlib import import_module
from typing import Any

from failwell.errors import UsageError

# Seconds for an application to start, with what its lifespan does.
START_SECONDS = 30.0
_SANDBOX = "sandbox:"


class Services:
    """Base URLs of what tests name as their service; an application is served once, until the end."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        # With the application, so that no other one gets its place in memory, and with it its URL.
        self._served: dict[int, tuple[object, str]] = {}

    def __enter__(self) -> Services:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def url_of(self, service: Any, sandbox: Callable[[], Any]) -> str:
        """
        The base URL of `service`.

        Args:
            service: A base URL, an ASGI application, something with a `url`, "module:attribute" of one
                of these, or "sandbox:NAME".
            sandbox: Gives the running sandbox, if it is asked for.

        Raises:
            UsageError: it is none of these, or what it needs is not installed.
        """
        if isinstance(service, str) and service.startswith(("http://", "https://")):
            return service
        if isinstance(service, str) and service.startswith(_SANDBOX):
            return _of_the_sandbox(sandbox(), service.removeprefix(_SANDBOX))
        if isinstance(service, str):
            return self.url_of(_imported(service), sandbox)
        if isinstance(url := getattr(service, "url", None), str):
            return url
        if not callable(service):
            raise UsageError(f"failwell_service is no base URL and no ASGI application: {service!r}")
        if id(service) not in self._served:
            self._served[id(service)] = (service, self._stack.enter_context(served(service)))
        return self._served[id(service)][1]


def _imported(name: str) -> Any:
    module, colon, attribute = name.partition(":")
    if not colon:
        raise UsageError(
            f"failwell_service is {name!r}, which is no base URL, no module:attribute and no sandbox:NAME"
        )
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as exc:
        raise UsageError(f"failwell_service is {name!r}, which cannot be loaded: {exc}") from exc


def _of_the_sandbox(sandbox: Any, name: str) -> str:
    try:
        url: str = sandbox[name].url
    except KeyError:
        there = ", ".join(sandbox.services)
        raise UsageError(f"the sandbox has no service {name!r}; it has {there}") from None
    return url


def running_sandbox() -> AbstractContextManager[Any]:
    """
    The sandbox, listening while the block lasts.

    Raises:
        UsageError: it is not installed.
    """
    try:
        # It stands above this package, so it is found by its name.
        running: Callable[[], AbstractContextManager[Any]] = import_module("failwell_sandbox").running
    except ModuleNotFoundError as exc:
        raise UsageError(
            f"the sandbox cannot be started without {exc.name}: pip install failwell-sandbox. "
            "If the tests have a service of their own, name it: "
            "failwell_service is an ini option, a marker and a fixture"
        ) from exc
    return running()


@contextmanager
def served(app: Any) -> Iterator[str]:
    """
    The ASGI application `app` on a free port of loopback, in a thread with an event loop of its own.

    Raises:
        UsageError: uvicorn is not installed, or the application does not start.
    """
    try:
        import uvicorn
    except ModuleNotFoundError as exc:
        raise UsageError("an ASGI application is served by uvicorn: pip install uvicorn") from exc
    config = uvicorn.Config(
        app, ws="none", loop="asyncio", lifespan="auto", access_log=False, log_config=None,
        log_level=logging.WARNING, timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(config)
    # With its protocol named, asyncio turns Nagle's delay off.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(128)
        thread = threading.Thread(target=_serve, args=(server, sock), name="failwell-service", daemon=True)
        thread.start()
        try:
            _wait_until_started(server, thread)
            yield f"http://127.0.0.1:{sock.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def _serve(server: Any, sock: socket.socket) -> None:
    try:
        asyncio.run(server.serve(sockets=[sock]))
    except SystemExit:  # what uvicorn does when the application does not start: it has logged why
        return


def _wait_until_started(server: Any, thread: threading.Thread) -> None:
    until = time.monotonic() + START_SECONDS
    while not server.started:
        if not thread.is_alive() or time.monotonic() > until:
            raise UsageError("the ASGI application behind `faults` did not start; the log says why")
        time.sleep(0.002)
