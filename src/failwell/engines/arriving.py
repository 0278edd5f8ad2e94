"""
Bodies that are read as they come: what all engines do alike with them.

An engine hands the head of an answer over and keeps its connection until the body was read to its
end, broke or was closed. Here are the rules for that; each engine adds how the next bytes are had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from failwell.call.messages import Broken
from failwell.engines.decoding import UndecodableError, Undoing

if TYPE_CHECKING:
    from failwell.engines.decoding import Head


class Arriving:
    """
    A body that is read as it comes, blocking; see `failwell.call.messages.Pieces`.

    Args:
        head: What the head of the answer says about it.

    Raises:
        UndecodableError: it is of a coding we did not ask for.
    """

    def __init__(self, head: Head) -> None:
        self._undoing = None if head.coding is None else Undoing(head.coding.decode("latin-1"))
        self._over: bytes | Broken | None = None

    if TYPE_CHECKING:  # what each engine adds

        def _next(self) -> bytes | Broken:
            """The bytes that come next, as received; b"" at the end."""
            ...

        def _refused(self, exc: UndecodableError) -> Broken:
            """How it broke, if its coding is damaged."""
            ...

        def _let_go(self) -> None:
            """Give the connection back, or close it if something is left unread."""

    def _interrupted(self) -> None:
        """Give up what Ctrl-C came into."""
        self.close()

    def read(self) -> bytes | Broken:
        """What came next."""
        if self._over is not None:
            return self._over
        try:
            undoing = self._undoing
            while True:
                if undoing is not None and (piece := undoing.give()):
                    return piece
                came = self._next()
                if undoing is None or type(came) is Broken:
                    break
                assert isinstance(came, bytes)
                if not came:
                    undoing.end()
                    break
                undoing.take(came)
        except UndecodableError as exc:
            came = self._refused(exc)
        except BaseException:
            self._interrupted()
            raise
        if not came or type(came) is Broken:
            self._over = came
            self._let_go()
        return came

    def close(self) -> None:
        """Read no more. Calling twice is harmless."""
        if self._over is None:
            self._over = b""
            self._let_go()


class AwaitedArriving:
    """As `Arriving`, for whoever awaits."""

    def __init__(self, head: Head) -> None:
        self._undoing = None if head.coding is None else Undoing(head.coding.decode("latin-1"))
        self._over: bytes | Broken | None = None

    if TYPE_CHECKING:  # what each engine adds

        async def _next(self) -> bytes | Broken:
            """The bytes that come next, as received; b"" at the end."""
            ...

        def _refused(self, exc: UndecodableError) -> Broken:
            """How it broke, if its coding is damaged."""
            ...

        async def _let_go(self) -> None:
            """Give the connection back, or close it if something is left unread."""

    async def read(self) -> bytes | Broken:
        """What came next."""
        if self._over is not None:
            return self._over
        try:
            undoing = self._undoing
            while True:
                if undoing is not None and (piece := undoing.give()):
                    return piece
                came = await self._next()
                if undoing is None or type(came) is Broken:
                    break
                assert isinstance(came, bytes)
                if not came:
                    undoing.end()
                    break
                undoing.take(came)
        except UndecodableError as exc:
            came = self._refused(exc)
        except BaseException:
            await self.aclose()
            raise
        if not came or type(came) is Broken:
            self._over = came
            await self._let_go()
        return came

    async def aclose(self) -> None:
        """Read no more. Calling twice is harmless."""
        if self._over is None:
            self._over = b""
            await self._let_go()
