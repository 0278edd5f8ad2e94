"""
A connection under asyncio to whichever address of a host answers first, and to no other.

`loop.create_connection(..., happy_eyeballs_delay=...)` does the same, but forgets the socket that won
if it is cancelled before it has looked at it (`asyncio.staggered` of Python 3.11 to 3.13), and event
loops that are not asyncio's own do not know the argument (MagicStack/uvloop#406). So only the race is
run here: each attempt is a `create_connection` to one address, which closes what it opened when it is
cancelled, and whatever an attempt brings that nobody takes is closed when it comes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeAlias, TypeVar

    Protocol = TypeVar("Protocol", bound=asyncio.Protocol)
    Address: TypeAlias = tuple[str, int]
    Attempt: TypeAlias = asyncio.Task[tuple[asyncio.Transport, Protocol]]

# RFC 8305, section 5: the next address is tried after 250 ms, or as soon as one has failed.
NEXT_ADDRESS_SECONDS = 0.25


async def connect(
    protocol: Callable[[], Protocol], host: str, port: int, local_address: str | None = None
) -> tuple[asyncio.Transport, Protocol]:
    """
    The first connection that one of the addresses of `host` grants.

    Whichever way it ends, by a cancellation too, no other socket stays open.

    Args:
        protocol: Makes the protocol of a connection; called once for each that is made.
        host: A name, or an address in digits.
        port: Where to.
        local_address: Where from, in digits; None for wherever the system likes.

    Raises:
        OSError: no address granted one, or there is none.
        UnicodeError: `host` can be no name.
    """
    loop = asyncio.get_running_loop()
    local = None if local_address is None else (local_address, 0)
    untried = iter(await _addresses(loop, host, port))
    under_way: set[Attempt[Protocol]] = set()
    failed: list[OSError] = []
    try:
        while True:
            address = next(untried, None)
            if address is not None:
                attempt = loop.create_connection(protocol, *address, local_addr=local)
                under_way.add(loop.create_task(attempt))
            elif not under_way:
                raise _failure(failed)
            ended, _ = await asyncio.wait(
                under_way,
                timeout=None if address is None else NEXT_ADDRESS_SECONDS,
                return_when=asyncio.FIRST_COMPLETED,
            )
            for each in ended:
                under_way.remove(each)
                error = each.exception()
                if error is None:
                    return each.result()
                if not isinstance(error, OSError):
                    raise error
                failed.append(error)
    finally:
        for each in under_way:
            each.cancel()
            each.add_done_callback(_drop)


def _drop(attempt: Attempt[Protocol]) -> None:
    """Close the connection that comes too late, if one comes."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result()[0].abort()


def _failure(failed: list[OSError]) -> OSError:
    """What all the attempts together ended with, in asyncio's words."""
    if not failed:
        return OSError("the name has no address")
    if len({str(each) for each in failed}) == 1:
        return failed[0]
    return OSError(f"Multiple exceptions: {', '.join(map(str, failed))}")


async def _addresses(loop: asyncio.AbstractEventLoop, host: str, port: int) -> list[Address]:
    """Where to connect to, in the order to try: families by turns, the system's choice first."""
    if _is_numeric(host):
        return [(host, port)]  # a look-up would take a thread
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    preferred = [info for info in found if info[0] == found[0][0]]
    others = [info for info in found if info[0] != found[0][0]]
    turns = zip_longest(preferred, others)  # RFC 8305, section 4
    return [(numeric(info[4]), port) for turn in turns for info in turn if info is not None]


def _is_numeric(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def numeric(address: tuple[Any, ...]) -> str:
    """The host of a socket address, with its scope if it has one."""
    host = str(address[0])
    if len(address) == 4 and address[3] and "%" not in host:
        return f"{host}%{address[3]}"
    return host
