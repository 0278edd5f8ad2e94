"""
Streams of events that are open: two thin drivers, blocking and awaiting, over the same flow.

What is decided is decided in `failwell.operations.streams`; here its effects are acted on, and one
item after another is handed to whoever iterates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from failwell.call.messages import Sleep
from failwell.errors import CallError
from failwell.operations.streams import Came, Connect, Deliver, Read, stream_flow
from failwell.redaction import secrets_in_url

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn, Self

    from failwell.call.flow import Call
    from failwell.call.messages import Response
    from failwell.client.caller import AsyncCaller, Caller
    from failwell.operations.streams import Stream

T = TypeVar("T")


class Whole:
    """The pieces of an answer that an engine read whole: all of it, then the end."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def read(self) -> bytes:
        content, self._content = self._content, b""
        return content

    def close(self) -> None:
        self._content = b""


class AwaitedWhole(Whole):
    async def read(self) -> bytes:  # type: ignore[override]  # as `AwaitedPieces` has it
        return super().read()

    async def aclose(self) -> None:
        self.close()


class _Open(Generic[T]):
    """What both kinds of open streams know."""

    def __init__(self, client: Any, stream: Stream[T]) -> None:
        self._client = client
        self._stream = stream
        self._flow: Any = None
        self._effect: Any = None
        self._pieces: Any = None
        self._key: str | None = None
        self._waiting: Iterator[tuple[T, str]] = iter(())
        self._over = False
        self._last_event_id = stream.last_event_id
        self._response: Response | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._stream.open!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: it holds a connection")

    @property
    def last_event_id(self) -> str:
        """The id to go on after the item that was handed over last; "" if there is none."""
        return self._last_event_id

    @property
    def response(self) -> Response | None:
        """The head of the answer that is read; None before the stream is open."""
        return self._response

    def _start(self) -> None:
        """Begin the flow."""
        setup = self._client._setup
        self._flow = stream_flow(
            self._stream, setup.contract, now=setup.clock.monotonic(), random=setup.random
        )
        self._effect = next(self._flow)

    def _came(self, **facts: Any) -> Came:
        return Came(self._client._setup.clock.monotonic(), **facts)

    def _told(self, came: Came) -> bool:
        """Tell the flow what came; whether it goes on."""
        try:
            self._effect = self._flow.send(came)
        except StopIteration:
            return False
        return True

    def _connected(self, call: Call, response: Response, whole: type[Whole]) -> Came:
        """Take the answer to a connection."""
        if self._key is None:
            self._key = call.key
        self._response = response
        self._pieces = whole(response.content) if response.pieces is None else response.pieces
        return self._came(response=response, secrets=call.secrets + secrets_in_url(call.request.url))


class EventStream(_Open[T]):
    """
    An open stream of events, blocking: a `with` block around it, a `for` loop over it.

        with client.stream(stream) as events:
            for item in events:
                ...

    It opens when the block begins, and is closed when it ends, at whatever item. Iterating ends when
    the stream is complete, and raises what `Client.stream` says when it is not.
    """

    _client: Caller

    def __enter__(self) -> Self:
        if self._flow is None and not self._over:
            self._advance()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        while (waiting := next(self._waiting, None)) is None:
            if self._over:
                raise StopIteration
            self._advance()
        item, self._last_event_id = waiting
        return item

    def close(self) -> None:
        """Read no more, and close the connection. Calling twice is harmless."""
        self._over = True
        self._waiting = iter(())
        self._hang_up()
        if self._flow is not None:
            self._flow.close()

    def _advance(self) -> None:
        """Act on effects until there are items, or the stream is open for the first time."""
        is_new = self._flow is None
        try:
            if is_new:
                self._start()
            while True:
                effect = self._effect
                # Items are what was handed over before this is asked for more.
                came = self._came() if isinstance(effect, Deliver) else self._perform(effect)
                if not self._told(came):
                    self.close()
                    return
                if isinstance(self._effect, Deliver):
                    self._waiting = iter(self._effect.items)
                    return
                if is_new and isinstance(self._effect, Read):
                    return
        except BaseException:
            self.close()
            raise

    def _perform(self, effect: Connect | Read | Sleep) -> Came:
        """Act on one effect."""
        if isinstance(effect, Read):
            return self._came(piece=self._pieces.read())
        self._hang_up()
        if isinstance(effect, Sleep):
            setup = self._client._setup
            setup.announce(effect)
            setup.clock.sleep(effect.seconds)
            return self._came()
        try:
            call, response = self._client._open(effect, self._key)
        except CallError as exc:
            return self._came(error=exc)
        return self._connected(call, response, Whole)

    def _hang_up(self) -> None:
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            pieces.close()


class AsyncEventStream(_Open[T]):
    """
    An open stream of events, awaiting: an `async with` block around it, an `async for` loop over it.

        async with client.stream(stream) as events:
            async for item in events:
                ...

    It opens when the block begins, and is closed when it ends, at whatever item. Iterating ends when
    the stream is complete, and raises what `AsyncClient.stream` says when it is not.
    """

    _client: AsyncCaller

    async def __aenter__(self) -> Self:
        if self._flow is None and not self._over:
            await self._advance()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        while (waiting := next(self._waiting, None)) is None:
            if self._over:
                raise StopAsyncIteration
            await self._advance()
        item, self._last_event_id = waiting
        return item

    async def aclose(self) -> None:
        """Read no more, and close the connection. Calling twice is harmless."""
        self._over = True
        self._waiting = iter(())
        try:
            await self._hang_up()
        finally:
            if self._flow is not None:
                self._flow.close()

    async def _advance(self) -> None:
        """Act on effects until there are items, or the stream is open for the first time."""
        is_new = self._flow is None
        try:
            if is_new:
                self._start()
            while True:
                effect = self._effect
                # Items are what was handed over before this is asked for more.
                came = self._came() if isinstance(effect, Deliver) else await self._perform(effect)
                if not self._told(came):
                    await self.aclose()
                    return
                if isinstance(self._effect, Deliver):
                    self._waiting = iter(self._effect.items)
                    return
                if is_new and isinstance(self._effect, Read):
                    return
        except BaseException:
            await self.aclose()
            raise

    async def _perform(self, effect: Connect | Read | Sleep) -> Came:
        """Act on one effect."""
        if isinstance(effect, Read):
            return self._came(piece=await self._pieces.read())
        await self._hang_up()
        if isinstance(effect, Sleep):
            setup = self._client._setup
            setup.announce(effect)
            await setup.clock.asleep(effect.seconds)
            return self._came()
        try:
            call, response = await self._client._open(effect, self._key)
        except CallError as exc:
            return self._came(error=exc)
        return self._connected(call, response, AwaitedWhole)

    async def _hang_up(self) -> None:
        pieces, self._pieces = self._pieces, None
        if pieces is not None:
            await pieces.aclose()
