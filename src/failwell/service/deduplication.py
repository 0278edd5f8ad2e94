"""
Carry out each request with an idempotency key once: look for its record, work, record, answer.

What the levels promise, and by what means, stands in `idempotency`; here it is done.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from typing import TYPE_CHECKING

from failwell.answer import Answer
from failwell.failure import Effect
from failwell.service.holding import Holding
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
from failwell.service.outgoing import check_status, fields_of, sendable
from failwell.service.refusals import Refusal, RefusedRequest
from failwell.service.stores.base import FencedError, StoreBusyError, fenced_unless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from failwell.service.bodies import ASGIApp, Message, Receive, Scope
    from failwell.service.exchange import Exchange
    from failwell.service.idempotency import Claimed
    from failwell.service.operations import Operation
    from failwell.service.outgoing import Outgoing
    from failwell.service.stores.base import Store, TransactionalStore

log = logging.getLogger("failwell.service")

# An answer longer than this is sent as it comes, and not kept.
MOST_KEPT_BYTES = 1024 * 1024


class Deduplication:
    """
    The gate of the idempotency keys, and the handler behind it.

    Args:
        store: Where the slots are.
        transactional: The same, if effects can be committed with their records.
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
        transactional: TransactionalStore | None,
        lease: float,
        wait: float,
        keep: float,
        answer_to: Callable[[Exception, Exchange], Answer],
    ) -> None:
        self._store = store
        self._transactional = transactional
        self._header = header.encode()
        self._lease, self._wait, self._keep = lease, wait, keep
        self._answer_to = answer_to
        # Slots that a request of this process is at work on without having claimed them.
        self._at_work: dict[bytes, Holding] = {}

    async def claim(self, exchange: Exchange, scope: Scope) -> Answer | None:
        """
        Get the right to do the work that the request's key stands for, if it has one.

        Returns:
            The answer to send again, if the work is done; None if it is to be done now: then
            `exchange.holding` is the right.

        Raises:
            RefusedRequest: the key is malformed or missing, or something stands against it.
        """
        exchange.holding = None
        operation, owner = exchange.operation, exchange.key
        if operation is None or operation.idempotency is None or owner is None:
            return None
        headers = exchange.headers
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
        waited, pause, asked = 0.0, 0.005, False
        while True:
            match await self._sought(operation, wanted):
                case None:
                    exchange.holding = self._at_work[wanted.slot] = self._holding(wanted, taken=False)
                    return None
                case Claim() as claim:
                    exchange.holding = self._holding(claim, taken=True)
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
                case Unsettled() as unsettled:
                    if asked or not await self._settled(exchange, operation, unsettled):
                        raise RefusedRequest(Refusal("idempotency_outcome_unknown"))
                    asked = True

    async def _sought(self, operation: Operation, wanted: Claim) -> Claimed | None:
        if operation.idempotency == "transactional":
            assert self._transactional is not None  # or the operation could not be of that level
            return await self._looked_up(self._transactional, wanted)
        take_over = operation.idempotency != "at_most_once"
        return await self._store.claim(wanted, lease=self._lease, keep=self._keep, take_over=take_over)

    async def _looked_up(self, store: TransactionalStore, wanted: Claim) -> Claimed | None:
        if wanted.slot not in self._at_work:
            stands = await store.look_up(wanted)
            # Others may have come while we looked.
            if stands is not None or wanted.slot not in self._at_work:
                return stands
        at_work = self._at_work[wanted.slot].claim
        return InFlight(self._lease) if at_work.fingerprint == wanted.fingerprint else Mismatch()

    def _holding(self, claim: Claim, *, taken: bool) -> Holding:
        return Holding(self._store, claim, lease=self._lease, keep=self._keep, taken=taken)

    async def _settled(self, exchange: Exchange, operation: Operation, unsettled: Unsettled) -> bool:
        """Whether the operation knows by now what became of a broken-off request."""
        outcome = Effect.UNKNOWN if operation.settle is None else await operation.settle(exchange)
        if isinstance(outcome, Answer):
            fields_of(outcome)
            await self._store.settle(unsettled, outcome, keep=self._keep)
            return True
        if outcome is Effect.NOT_APPLIED or outcome is Effect.NOT_SENT:
            await self._store.settle(unsettled, None, keep=self._keep)
            return True
        return False

    async def carry_out(
        self,
        app: ASGIApp,
        exchange: Exchange,
        holding: Holding,
        scope: Scope,
        receive: Receive,
        outgoing: Outgoing,
    ) -> None:
        """Run the handler; nothing leaves before it is recorded."""
        held = _HeldBack(self, exchange, holding, receive, outgoing)
        # What a server offers to send by itself, such as a file, we could not record.
        scope = {**scope, "extensions": {}}
        cookies: Iterable[tuple[bytes, bytes]] = ()
        try:
            try:
                with holding:
                    await app(scope, held.receive, held.send)
                if held.live or outgoing.started:
                    return
                answer, cookies = held.answer(), held.cookies()
            except FencedError:
                raise
            except (Exception, asyncio.CancelledError) as exc:
                if held.live or outgoing.started:
                    raise
                answer = self._answer_to(fault_in(exc), exchange)
            await self.conclude(exchange, holding, answer.status, answer)
        except FencedError:
            if outgoing.started:
                raise
            # Another request was faster; its outcome is the outcome.
            self._left(holding)
            answer, cookies = await self._outcome_of_other(exchange, scope), ()
        finally:
            self._left(holding)
        await outgoing.finish(answer, cookies)

    def _left(self, holding: Holding) -> None:
        """Let others of this process begin with the slot."""
        if self._at_work.get(holding.claim.slot) is holding:
            del self._at_work[holding.claim.slot]

    async def conclude(
        self, exchange: Exchange, holding: Holding, status: int, answer: Answer | None
    ) -> None:
        """
        Record the outcome, or free the slot.

        Args:
            exchange: The request.
            holding: Its claim.
            status: What is answered.
            answer: The whole answer; None if it is too large to keep.

        Raises:
            FencedError: another request has done the work, or is at it.
        """
        operation = exchange.operation
        final = operation.final if operation is not None else ()
        unsure = status >= 500 and operation is not None and operation.idempotency == "at_most_once"
        if exchange.committed:
            self._left(holding)
        elif unsure and exchange.cut_off:
            # How much was done of what the client did not send to the end, a 500 does not say:
            # the claim is left to lapse, and to be settled.
            return
        elif status < 400 or status in final or unsure:
            await holding.take()
            await self._store.record(holding.claim, answer, keep=self._keep)
            self._left(holding)
        else:
            await self.give_up(holding)

    async def give_up(self, holding: Holding) -> None:
        """
        Free a slot of which nothing became.

        Raises:
            FencedError: what stood in our way is what another request with our key has done.
        """
        self._left(holding)
        if not await holding.is_taken():
            assert self._transactional is not None  # at any other level it is taken
            stands = await self._transactional.look_up(holding.claim)
            fenced_unless(not isinstance(stands, Recorded | Mismatch))
            return
        try:
            await self._store.release(holding.claim)
        except StoreBusyError:
            # The lease lapses by itself.
            log.warning("could not release the claim of request %s", holding.claim.request_id)

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
            if exchange.holding is not None:
                await self.give_up(exchange.holding)
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
    its first byte leaves, and from then on sent as it comes. One about an effect that was
    committed is recorded already, and is sent when it is whole: what the application does after
    it, such as a background task, changes nothing. Any other waits for that, too, since it may be
    what makes the answer true, as where a framework ends a transaction then.
    """

    __slots__ = (
        "_chunks",
        "_deduplication",
        "_ended",
        "_exchange",
        "_holding",
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
        holding: Holding,
        receive: Receive,
        outgoing: Outgoing,
    ) -> None:
        self._deduplication = deduplication
        self._exchange = exchange
        self._holding = holding
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
        if message["type"] == "http.disconnect" and not (self._exchange.unread or self._outgoing.started):
            await self._went_live.wait()
        return message

    async def send(self, message: Message) -> None:
        """Take what the application sends."""
        if self.live:
            await self._outgoing.send(message)
        elif self._ended or (self._start is not None and message["type"] == "http.response.start"):
            raise RuntimeError("the application answered twice")
        elif message["type"] == "http.response.start":
            check_status(message["status"])
            sendable(message.get("headers", ()))
            self._start = message
        elif message["type"] == "http.response.body":
            self._chunks.append(message.get("body", b""))
            self._size += len(self._chunks[-1])
            self._ended = not message.get("more_body", False)
            if self._ended and self._exchange.committed:
                await self._pass_on()
            elif self._size > MOST_KEPT_BYTES or self._is_stream():
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
        await self._deduplication.conclude(self._exchange, self._holding, status, None)
        self._went_live.set()
        if not self._exchange.committed:
            start["headers"] = [*start.get("headers", ()), (b"idempotency-stored", b"false")]
        await self._outgoing.send(start)
        body = b"".join(self._chunks)
        self._chunks.clear()
        await self._outgoing.send({"type": "http.response.body", "body": body, "more_body": more})

    async def _pass_on(self) -> None:
        """Send a whole answer about an effect that is recorded."""
        if self._start is None:
            raise RuntimeError("the application sent a body before it said what it is")
        await self._deduplication.conclude(self._exchange, self._holding, self._start["status"], None)
        says_length = any(name == b"content-length" for name, _ in self._start.get("headers", ()))
        if self._exchange.unread or not says_length:
            await self._outgoing.finish(self.answer(), self.cookies())
            return
        # As the application did: what was recorded is what the effect answered, so this needs no
        # second look.
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
