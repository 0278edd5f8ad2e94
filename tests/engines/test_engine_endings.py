"""Connections that were over before they were closed."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from failwell.engines.endings import let_go
from failwell.engines.network import AsyncioStream


class TransportOfDebian12:
    """What asyncio's transport over TLS does on Python 3.11.2 when it is closed again."""

    def __init__(self) -> None:
        self._ssl_protocol: object | None = object()
        self._closed = False
        self.aborted = 0

    def close(self) -> None:
        if self._closed:
            self._ssl_protocol = None
        self._closed = True

    def abort(self) -> None:
        self._closed = True
        if self._ssl_protocol is None:
            raise AttributeError("'NoneType' object has no attribute '_abort'")
        self.aborted += 1

    def get_write_buffer_size(self) -> int:
        if self._ssl_protocol is None:
            raise AttributeError("'NoneType' object has no attribute '_get_write_buffer_size'")
        return 0


def test_a_tls_connection_may_be_closed_any_number_of_times() -> None:
    async def close() -> TransportOfDebian12:
        transport = TransportOfDebian12()
        stream = AsyncioStream(asyncio.get_running_loop(), cast(Any, transport), cast(Any, None), layer=1)
        for _ in range(3):
            await stream.aclose()
        stream.spoil()
        return transport

    transport = asyncio.run(close())

    assert transport.aborted == 1
    assert let_go(cast(Any, transport))


def test_a_plain_connection_has_nothing_to_let_go() -> None:
    assert not let_go(asyncio.Transport())
