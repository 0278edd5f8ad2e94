"""
Carry out each request with an idempotency key once: claim its slot, work, record, answer.

What the levels promise stands in `idempotency`; here is how it is done.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from typing import TYPE_CHECKING

from failwell.answer import Answer
from failwell.failure import Effect
from failwell.service.bodies import headers_of
from failwell.service.idempotency import (
    Claim,
    InFlight,
    Mismatch,
    Recorded,
    Unsettled,
    fingerprint_of,
    parse_key,
    slot_of,
)
from failwell.service.outgoing import fields_of, sendable
from failwell.service.refusals import Refusal, RefusedRequest
from failwell.service.stores.base import FencedError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from failwell.service.bodies import ASGIApp, Message, Receive, Scope
    from failwell.service.exchange import Exchange
    from failwell.service.operations import Operation
    from failwell.service.outgoing import Outgoing
    from failwell.service.stores.base import Store

log = logging.getLogger("failwell.service")

# An answer longer than this is sent as it comes, and not kept.
MOST_KEPT_BYTES = 1024 * 1024


class Deduplication:
    """
    The gate of the idempotency keys, and the handler behind it.

    Args:
        store: Where the slots are.
        header: The request header with the key, in lower case.
        lease: Seconds a claim is held without news of its holder.
        wait: Seconds a request waits for another one with its key before it is refused.
        keep: Seconds a record lives.
        answer_to: The answer for an exception that ended a request.
    """

    def __init__(
        self,
        store: Store,
        *,
        header: str,
        lease: float,
        wait: float,
        keep: float,
        answer_to: Callable[[Exception, Exchange], Answer],
    ) -> None:
        self._store = store
        self._header = header.encode()
        self._lease, self._wait, self._keep = lease, wait, keep
        self._answer_to = answer_to

    async def claim(self, exchange: Exchange, scope: Scope) -> Answer | None:
        """
        Take the claim that the request's key asks for, if it has one.

        Returns:
            The answer to send again, if the work is done; None if it is to be done now.

        Raises:
            RefusedRequest: the key is malformed or missing, or something stands against it.
        """
        exchange.claim = None
        operation, owner = exchange.operation, exchange.key
        if operation is None or operation.idempotency is None or owner is None:
            return None
        headers = headers_of(scope)
        value = headers.get(self._header)
        if value is None:
            if operation.key_required:
                raise RefusedRequest(Refusal("idempotency_key_missing"))
            return None
        key = parse_key(value.decode("latin-1"))
        if key is None:
            raise RefusedRequest(Refusal("idempotency_key_invalid"))
        exchange.idempotency_key = key
        where = (scope["path"].encode("utf-8", "surrogateescape"), scope["query_string"])
        what: tuple[bytes, ...] = (exchange.body,)
        if operation.streamed:
            names = (b"content-length", b"content-type", b"content-digest")
            what = tuple(headers.get(name, b"") for name in names)
        # Known from here on, so that a `settle` hook can ask for what its steps were called.
        exchange.slot = slot_of(owner.tenant, owner.principal, operation.method, operation.path, key)
        wanted = Claim(
            exchange.slot,
            fingerprint_of(key, *where, *what),
            os.urandom(16),
            exchange.request_id,
        )
        return await self._claimed(exchange, operation, wanted)

    async def _claimed(self, exchange: Exchange, operation: Operation, wanted: Claim) -> Answer | None:
        take_over = operation.idempotency != "at_most_once"
        waited, pause, asked = 0.0, 0.005, False
        while True:
            claimed = await self._store.claim(wanted, lease=self._lease, keep=self._keep, take_over=take_over)
            match claimed:
                case Claim() as claim:
                    exchange.claim = claim
                    return None
                case Recorded(answer=answer, request_id=request_id):
                    return _replay(answer, request_id)
                case Mismatch():
                    raise RefusedRequest(Refusal("idempotency_mismatch"))
                case InFlight(left) if waited >= self._wait:
                    wait = max(1, math.ceil(left))
                    raise RefusedRequest(Refusal("idempotency_in_flight", retry_after=wait))
                case InFlight():
                    await asyncio.sleep(pause)
                    waited += pause
                    pause = min(pause * 2, 0.1)
                case Unsettled(slot=slot):
                    if asked or not await self._settled(exchange, operation, slot):
                        raise RefusedRequest(Refusal("idempotency_outcome_unknown"))
                    asked = True

    async def _settled(self, exchange: Exchange, operation: Operation, slot: bytes) -> bool:
        """Whether the operation knows by now what became of a broken-off request."""
        outcome = Effect.UNKNOWN if operation.settle is None else await operation.settle(exchange)
        if isinstance(outcome, Answer):
            fields_of(outcome)
            await self._store.settle(slot, outcome, keep=self._keep)
            return True
        if outcome is Effect.NOT_APPLIED or outcome is Effect.NOT_SENT:
            await self._store.settle(slot, None, keep=self._keep)
            return True
        return False

    async def carry_out(
        self,
        app: ASGIApp,
        exchange: Exchange,
        claim: Claim,
        scope: Scope,
        receive: Receive,
        outgoing: Outgoing,
    ) -> None:
        """Run the handler under `claim`; nothing leaves before it is recorded."""
        held = _HeldBack(self, exchange, claim, receive, outgoing)
        # What a server offers to send by itself, such as a file, we could not record.
        scope = {**scope, "extensions": {}}
        cookies: Iterable[tuple[bytes, bytes]] = ()
        try:
            try:
                with _Heartbeat(self._store, claim, self._lease):
                    await app(scope, held.receive, held.send)
                if held.live:
                    return
                if exchange.committed and held.is_whole():
                    # What was recorded is what the effect answered; this needs no second look.
                    await held.pass_on()
                    return
                answer, cookies = held.answer(), held.cookies()
            except FencedError:
                raise
            except (Exception, asyncio.CancelledError) as exc:
                if held.live or outgoing.started:
                    raise
                answer = self._answer_to(fault_in(exc), exchange)
            await self.conclude(exchange, claim, answer.status, answer)
        except FencedError:
            if outgoing.started:
                raise
            # We were so slow that another request took over; its outcome is the outcome.
            answer, cookies = await self._outcome_of_other(exchange, scope), ()
        await outgoing.finish(answer, cookies)

    async def conclude(self, exchange: Exchange, claim: Claim, status: int, answer: Answer | None) -> None:
        """
        Record the outcome, or free the slot.

        Args:
            exchange: The request.
            claim: Its claim.
            status: What is answered.
            answer: The whole answer; None if it is too large to keep.
        """
        if exchange.committed:
            return
        operation = exchange.operation
        final = operation.final if operation is not None else ()
        unsure = status >= 500 and operation is not None and operation.idempotency == "at_most_once"
        if unsure and exchange.cut_off:
            # How much was done of what the client did not send to the end, a 500 does not say:
            # the claim is left to lapse, and to be settled.
            return
        if status < 400 or status in final or unsure:
            await self._store.record(claim, answer, keep=self._keep)
        else:
            await self.release(claim)

    async def release(self, claim: Claim) -> None:
        """Free a slot of which nothing became."""
        try:
            await self._store.release(claim)
        except StoreBusyError:
            # The lease lapses by itself.
            log.warning("could not release the claim of request %s", claim.request_id)

    async def _outcome_of_other(self, exchange: Exchange, scope: Scope) -> Answer:
        answer = await self.claim(exchange, scope)
        if answer is None:
            operation = exchange.operation
            if operation is not None and operation.idempotency == "at_most_once":
                # Somebody said that we had done nothing, while we were at it. To try again might
                # do it twice: the new claim is left to lapse, and to be settled again.
                raise RefusedRequest(Refusal("idempotency_outcome_unknown"))
            # It came to nothing meanwhile. Ours was undone, or does nothing if it is repeated:
            # the client may well try again.
            if exchange.claim is not None:
                await self.release(exchange.claim)
            raise RefusedRequest(Refusal("idempotency_in_flight", retry_after=1))
        return answer


def fault_in(exc: BaseException) -> Exception:
    """
    What is to be answered for `exc`.

    A task that a handler started may have been cancelled without the request being so; whoever
    waits for it is told CancelledError nevertheless.

    Raises:
        CancelledError: the request itself is to end.
    """
    if isinstance(exc, Exception):
        return exc
    task = asyncio.current_task()
    if task is None or task.cancelling():
        raise exc
    fault = RuntimeError("the application waited for something that was cancelled")
    fault.__cause__ = exc
    return fault


def _replay(answer: Answer | None, request_id: str) -> Answer:
    if answer is None:
        raise RefusedRequest(Refusal("idempotency_answer_not_kept"))
    headers = {
        **answer.headers,
        "idempotent-replayed": "true",
        "idempotent-original-request": request_id,
    }
    return Answer(answer.status, headers, answer.body)


class _HeldBack:
    """
    What the application answers, held back until it is recorded.

    An answer that is a stream of events, or grows too large to keep, is recorded as done before
    its first byte leaves, and from then on sent as it comes.
    """

    __slots__ = (
        "_chunks",
        "_claim",
        "_deduplication",
        "_ended",
        "_exchange",
        "_outgoing",
        "_receive",
        "_size",
        "_start",
        "_went_live",
    )

    def __init__(
        self,
        deduplication: Deduplication,
        exchange: Exchange,
        claim: Claim,
        receive: Receive,
        outgoing: Outgoing,
    ) -> None:
        self._deduplication = deduplication
        self._exchange = exchange
        self._claim = claim
        self._receive = receive
        self._outgoing = outgoing
        self._start: Message | None = None
        self._chunks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._went_live = asyncio.Event()

    @property
    def live(self) -> bool:
        """Whether the answer is sent as it comes."""
        return self._went_live.is_set()

    async def receive(self) -> Message:
        """
        What the client sends.

        That it hung up is no news before the answer is sent as it comes: a framework would end
        the handler in the middle, and what is to be recorded would be half of an answer.
        """
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._exchange.unread:
            await self._went_live.wait()
        return message

    async def send(self, message: Message) -> None:
        """Take what the application sends."""
        if self.live:
            await self._outgoing.send(message)
        elif self._ended or (self._start is not None and message["type"] == "http.response.start"):
            raise RuntimeError("the application answered twice")
        elif message["type"] == "http.response.start":
            sendable(message.get("headers", ()))
            self._start = message
        elif message["type"] == "http.response.body":
            self._chunks.append(message.get("body", b""))
            self._size += len(self._chunks[-1])
            self._ended = not message.get("more_body", False)
            if self._size > MOST_KEPT_BYTES or self._is_stream():
                await self._go_live(message.get("more_body", False))

    def _is_stream(self) -> bool:
        headers = () if self._start is None else self._start.get("headers", ())
        return any(
            name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
            for name, value in headers
        )

    async def _go_live(self, more: bool) -> None:
        if self._start is None:
            raise RuntimeError("the application sent a body before it said what it is")
        start, status = self._start, self._start["status"]
        await self._deduplication.conclude(self._exchange, self._claim, status, None)
        self._went_live.set()
        if not self._exchange.committed:
            start["headers"] = [*start.get("headers", ()), (b"idempotency-stored", b"false")]
        await self._outgoing.send(start)
        body = b"".join(self._chunks)
        self._chunks.clear()
        await self._outgoing.send({"type": "http.response.body", "body": body, "more_body": more})

    def is_whole(self) -> bool:
        """Whether the application sent an answer, to its end, and said how long it is."""
        return (
            self._ended
            and self._start is not None
            and not self._exchange.unread
            and any(name == b"content-length" for name, _ in self._start.get("headers", ()))
        )

    async def pass_on(self) -> None:
        """Send a whole answer as the application did."""
        assert self._start is not None
        await self._outgoing.send(self._start)
        await self._outgoing.send({"type": "http.response.body", "body": b"".join(self._chunks)})

    def cookies(self) -> list[tuple[bytes, bytes]]:
        """Its cookies, which cannot be joined in one field (RFC 6265, section 3), nor are they recorded."""
        headers = () if self._start is None else self._start.get("headers", ())
        return [(name, value) for name, value in headers if name.lower() == b"set-cookie"]

    def answer(self) -> Answer:
        """The whole answer without its cookies, sent to nobody yet."""
        if self._start is None:
            raise RuntimeError("the application returned without an answer")
        if not self._ended:
            raise RuntimeError("the application returned in the middle of its answer")
        headers = [
            (name.decode("latin-1"), value.decode("latin-1"))
            for name, value in self._start.get("headers", ())
        ]
        answer = Answer(self._start["status"], headers, b"".join(self._chunks))
        for name in ("content-length", "set-cookie"):
            answer.headers.pop(name, None)
        return answer


class _Heartbeat:
    """
    Renews a claim while its work is under way, three times a lease.

    So the lease can be short, and a slow handler is not overtaken: only a dead one is.
    """

    __slots__ = ("_claim", "_lease", "_loop", "_store", "_task", "_timer")

    def __init__(self, store: Store, claim: Claim, lease: float) -> None:
        self._store, self._claim, self._lease = store, claim, lease
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._task: asyncio.Task[None] | None = None

    def __enter__(self) -> None:
        self._timer = self._loop.call_later(self._lease / 3, self._beat)

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _beat(self) -> None:
        self._task = self._loop.create_task(self._renew())

    async def _renew(self) -> None:
        # A renewal that was not possible is tried again; one that came too late has no use.
        held = True
        try:
            held = await self._store.renew(self._claim, lease=self._lease)
        except Exception as exc:  # whatever it was, the next one may be possible
            if not isinstance(exc, StoreBusyError):
                log.warning("could not renew the claim of request %s", self._claim.request_id, exc_info=exc)
        if held and self._timer is not None:
            self._timer = self._loop.call_later(self._lease / 3, self._beat)
