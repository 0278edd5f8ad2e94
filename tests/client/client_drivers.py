"""The two drivers, blocking and awaiting under two event loops, asked the same way."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from failwell import AsyncClient, Client

DRIVES = ("sync", "asyncio", "trio")


class Driver:
    """
    Asks `steps` of a client that is made for it and closed after it.

    A step is what `request` takes; what comes back is the response or the exception, for each.
    """

    def __init__(self, drive: str) -> None:
        self.drive = drive

    def __call__(self, base_url: str, *steps: tuple[Any, ...], **settings: Any) -> list[Any]:
        if self.drive == "sync":
            with Client(base_url, **settings) as client:
                return [_tried(client.request, step) for step in steps]

        async def ask() -> list[Any]:
            async with AsyncClient(base_url, **settings) as client:
                return [await _atried(client.request, step) for step in steps]

        return asyncio.run(ask()) if self.drive == "asyncio" else trio.run(ask)

    def operation(self, base_url: str, operation: Any, *, facts: Any = None, **settings: Any) -> Any:
        """The result of one operation, or its exception."""
        facts = facts or {}
        if self.drive == "sync":
            with Client(base_url, **settings) as client:
                return _tried(lambda: client.call(operation, **facts), ())

        async def ask() -> Any:
            async with AsyncClient(base_url, **settings) as client:
                return await _atried(lambda: client.call(operation, **facts), ())

        return asyncio.run(ask()) if self.drive == "asyncio" else trio.run(ask)

    def perform(self, base_url: str, order: Callable[[], Any], **settings: Any) -> Any:
        """What an order (made anew, as it may be a generator) brings, or its exception."""
        if self.drive == "sync":
            with Client(base_url, **settings) as client:
                return _tried(lambda: client.perform(order()), ())

        async def ask() -> Any:
            async with AsyncClient(base_url, **settings) as client:
                return await _atried(lambda: client.perform(order()), ())

        return asyncio.run(ask()) if self.drive == "asyncio" else trio.run(ask)


def _split(step: tuple[Any, ...]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (step[:-1], step[-1]) if step and isinstance(step[-1], dict) else (step, {})


def _tried(ask: Callable[..., Any], step: tuple[Any, ...]) -> Any:
    given, named = _split(step)
    try:
        return ask(*given, **named)
    except Exception as exc:
        return exc


async def _atried(ask: Callable[..., Awaitable[Any]], step: tuple[Any, ...]) -> Any:
    given, named = _split(step)
    try:
        return await ask(*given, **named)
    except Exception as exc:
        return exc
