"""
A service that takes files and keeps nothing: every fiftieth number is refused with a 422 until it is told
otherwise, every other is answered 201 with the count of bytes.

Prints its port, and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio

from taking import Taking, serve


class Refusing(Taking):
    """Refuses every fiftieth number, until it is mended."""

    mended = False

    def answer(self, target: bytes, size: int) -> tuple[bytes, bytes]:
        if target == b"/mend":
            Refusing.mended = True
        if target.startswith(b"/files/") and int(target[7:]) % 50 == 7 and not Refusing.mended:
            return b"422 Unprocessable Content", b'{"detail": "This file is wrong."}'
        return b"201 Created", b'{"bytes": %d}' % size


if __name__ == "__main__":
    asyncio.run(serve(Refusing, __doc__, str))
