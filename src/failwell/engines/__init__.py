"""Who carries a request out: the httpx family (the default), aiohttp, pyreqwest."""

from __future__ import annotations

import sys
import threading

from failwell.errors import ConfigurationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from failwell.engines.base import AsyncEngine, Connections, Engine


def open_engine(engine: str | Any, connections: Connections) -> Engine:
    """
    The engine of that name, blocking.

    Args:
        engine: "httpx" (the default) or "pyreqwest"; or a client or transport of httpx2 or
            httpx that you made. What you made is used as it is, with its own mounts, hooks and
            proxies, and left open. Or an engine of your own: see `failwell.engines.base.Engine`.
        connections: How to connect.

    Raises:
        ConfigurationError: there is no such engine, its package is not installed, or it is not
            a blocking one.
        ArgumentTypeError: it is neither a name nor a thing of a library.
    """
    if not isinstance(engine, str):
        if _is_engine(engine, "close"):
            ready: Engine = engine
            return ready
        from failwell.engines.brought import open_brought

        return open_brought(engine, connections)
    if engine == "httpx":
        from failwell.engines.httpx import HttpxEngine

        return HttpxEngine(connections)
    if engine == "pyreqwest":
        _need_pyreqwest()
        from failwell.engines.pyreqwest import PyreqwestEngine

        return PyreqwestEngine(connections)
    if engine == "aiohttp":
        raise ConfigurationError("The engine 'aiohttp' is for AsyncClient only; a Client runs on 'httpx'.")
    raise _unknown(engine, "'httpx' and 'pyreqwest'")


def open_async_engine(engine: str | Any, connections: Connections) -> AsyncEngine:
    """
    The engine of that name, awaiting. As `open_engine`, and "aiohttp" besides.

    Raises:
        ConfigurationError: there is no such engine, its package is not installed, or it is a
            blocking one.
        ArgumentTypeError: it is neither a name nor a thing of a library.
    """
    if not isinstance(engine, str):
        if _is_engine(engine, "aclose"):
            ready: AsyncEngine = engine
            return ready
        from failwell.engines.brought import open_async_brought

        return open_async_brought(engine, connections)
    if engine == "httpx":
        from failwell.engines.httpx import AsyncHttpxEngine

        return AsyncHttpxEngine(connections)
    if engine == "aiohttp":
        _need("aiohttp")
        from failwell.engines.aiohttp import AiohttpEngine

        return AiohttpEngine(connections)
    if engine == "pyreqwest":
        _need_pyreqwest()
        from failwell.engines.pyreqwest import AsyncPyreqwestEngine

        return AsyncPyreqwestEngine(connections)
    raise _unknown(engine, "'httpx', 'aiohttp' and 'pyreqwest'")


def _is_engine(thing: Any, close: str) -> bool:
    """Whether `thing` keeps to the protocol itself; `name` tells it from clients, which `send`, too."""
    return isinstance(getattr(thing, "name", None), str) and all(
        callable(getattr(thing, method, None)) for method in ("send", close)
    )


def _need_pyreqwest() -> None:
    _need("pyreqwest")
    # Loaded in a thread that ends, pyreqwest 0.15 takes the interpreter down (SIGSEGV) when a later
    # thread makes a client.
    if (
        "pyreqwest._pyreqwest" not in sys.modules
        and threading.current_thread() is not threading.main_thread()
    ):
        raise ConfigurationError(
            "The engine 'pyreqwest' must be loaded in the main thread before a thread uses it: write "
            "`import pyreqwest` at the top of the program."
        )


def _need(package: str) -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise ConfigurationError(
            f"The engine {package!r} needs a package that is not installed: "
            f"pip install 'failwell[{package}]'."
        )


def _unknown(engine: str, known: str) -> ConfigurationError:
    return ConfigurationError(f"There is no engine {engine!r}; there are {known}.")
