"""
The outermost layer of a service: every answer leaves through it, whatever went wrong inside.

The gates, in their order, and what they answer:

    request id       taken over if it is well formed, else made; on every answer
    draining   503   with Retry-After, while the process shuts down
    operation  404   405 with Allow: what the table does not name is not served
    size       413   by the announced length, and again while reading
    key        401   with WWW-Authenticate
    scope      403
    tenant     403
    limit      429   with Retry-After; the numbers are on every later answer
    input      422   by the operation's `parse`
    key reuse  409   a record is replayed, a claim is taken, or it is a conflict
    handler

A gate that refuses has changed nothing, except that every request with a good key is counted by
its limit, replays and refusals included, so that each answer says truly what is left.
"""

from __future__ import annotations

import asyncio
import logging
import math
import re
import secrets
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeGuard

from failwell.answer import Answer
from failwell.errors import CallError, UsageError
from failwell.service.idempotency import (
    KEPT_FOR,
    LEASE,
    Claim,
    InFlight,
    Mismatch,
    Recorded,
    fingerprint_of,
    parse_key,
    slot_of,
)
from failwell.service.operations import OperationTable
from failwell.service.refusals import (
    STANDARD_WORDING,
    Refusal,
    RefusedRequest,
    error_for,
    error_of,
)
from failwell.service.stores.base import FencedError, StoreBusyError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping

    from failwell.contract import Contract
    from failwell.failure import Failure
    from failwell.service.idempotency import Claimed
    from failwell.service.keys import KeyFormat, StoredKey
    from failwell.service.limits import Decision, Limit
    from failwell.service.operations import Operation
    from failwell.service.stores.base import Store

    Scope = MutableMapping[str, Any]
    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

log = logging.getLogger("failwell.service")

SCOPE_KEY = "failwell"

# RFC 9110 lets a field hold nearly anything; what we repeat and log has to be harmless.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{8,128}")

# RFC 9110, section 9.2.1.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

# What is read of a body that nobody wants, and for how long, so that its sender gets to read why.
LINGER_BYTES = 32 * 1024 * 1024
LINGER_SECONDS = 5.0


class ClientGoneError(Exception):
    """The client hung up before its request was read."""


class Exchange:
    """
    One request on its way to its answer: what the gates found out, for the handler.

    Attributes:
        request_id: On the answer, in the logs.
        operation: The row of the table.
        key: The key it came with; None where none is asked for.
        body: The whole body.
        input: What the operation's `parse` made of it.
        idempotency_key: The key, unquoted; None if there was none.
        decision: The rate limit's; None where there is no limit.
        committed: Whether the effect and the record are written.
        unread: Whether the client may still be sending its body.
    """

    __slots__ = (
        "_service",
        "body",
        "claim",
        "committed",
        "decision",
        "idempotency_key",
        "input",
        "key",
        "operation",
        "request_id",
        "unread",
    )

    def __init__(self, service: Service, request_id: str) -> None:
        self._service = service
        self.request_id = request_id
        self.operation: Operation | None = None
        self.key: StoredKey | None = None
        self.body = b""
        self.unread = True
        self.input: Any = None
        self.idempotency_key: str | None = None
        self.decision: Decision | None = None
        self.claim: Claim | None = None
        self.committed = False

    @property
    def tenant(self) -> str:
        """Whose data may be touched. Only where a key was asked for."""
        if self.key is None:
            raise LookupError("a public operation has no tenant")
        return self.key.tenant

    async def commit(self, effect: Callable[[Any], Answer]) -> Answer:
        """
        Carry out the request's effect, and record its answer, in one transaction.

        Args:
            effect: Takes the store's connection, returns the answer. It may raise an exception
                of the contract; whatever it raises leaves nothing behind.

        Returns:
            The answer to send.
        """
        answer = await self._service.store.commit(self.claim, effect, keep=self._service.keep)
        self.committed = True
        return answer


def exchange_of(request: Any) -> Exchange:
    """The exchange behind a framework's request, or an ASGI scope."""
    scope = getattr(request, "scope", request)
    exchange: Exchange = scope[SCOPE_KEY]
    return exchange


class Service:
    """
    An ASGI application behind the gates.

    Args:
        app: Any ASGI application.
        contract: How failures are spelled.
        store: Keys, limits and records.
        keys: How keys look and where they are.
        operations: What is served.
        limit: For keys without a limit of their own; None for none.
        stranger_limit: For requests without a valid key, by address: guessing keys is not free.
        wording: Status and words by code, where they differ from `STANDARD_WORDING`.
        codes: Codes that this service calls by another name.
        max_body_bytes: The largest body taken.
        code_header: A header that carries the code of an error, for bodies without a place for it.
        request_id_header: The header of the request id, both ways.
        lease: Seconds a claim on an idempotency key is held.
        wait: Seconds a request waits for another one with its key before it is refused.
        keep: Seconds a record lives.
        drain_seconds: What a 503 asks a client to wait.
        translate: What a framework's own exceptions mean, such as its 404.
    """

    def __init__(
        self,
        app: ASGIApp,
        contract: Contract,
        *,
        store: Store,
        keys: KeyFormat,
        operations: Iterable[Operation],
        limit: Limit | None = None,
        stranger_limit: Limit | None = None,
        wording: Mapping[str, tuple[int, str]] | None = None,
        codes: Mapping[str, str] | None = None,
        max_body_bytes: int = 1024 * 1024,
        code_header: str = "",
        request_id_header: str = "X-Request-ID",
        lease: float = LEASE,
        wait: float = 0.0,
        keep: float = KEPT_FOR,
        drain_seconds: int = 5,
        translate: Callable[[Exception], Refusal | None] | None = None,
    ) -> None:
        self.app = app
        self.contract = contract
        self.store = store
        self.keys = keys
        self.table = OperationTable(operations)
        self.limit = limit
        self.stranger_limit = stranger_limit
        self.wording = {**STANDARD_WORDING, **(wording or {})}
        self.codes = codes or {}
        self.max_body_bytes = max_body_bytes
        self.lease, self.wait, self.keep = lease, wait, keep
        self.drain_seconds = drain_seconds
        self.draining = False
        self._translate = translate
        self._code_header = code_header.lower()
        self._request_id_header = request_id_header.lower().encode()
        self._key_header = keys.header.lower().encode()
        self._idempotency_header = contract.idempotency_header.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = _headers(scope)
        exchange = Exchange(self, self._request_id(headers))
        scope[SCOPE_KEY] = exchange
        outgoing = _Outgoing(self, exchange, send, head=scope["method"] == "HEAD")
        try:
            await self._pass(exchange, scope, headers, receive, outgoing)
        except ClientGoneError:
            return
        except Exception as exc:  # noqa: BLE001  # the outermost layer: somebody has to answer
            unread = receive if exchange.unread and _announces_body(headers) else None
            await outgoing.finish(self.answer_to(exc, exchange), unread)

    def refuse(self, code: str, **values: Any) -> CallError:
        """The contract's exception for a code of the wording, for a handler to raise."""
        return error_for(self.contract, self.wording, Refusal(code, values), self.codes)

    def error(self, failure: Failure) -> CallError:
        """The contract's exception for `failure`, for a handler to raise."""
        return error_of(self.contract, failure)

    # --- the gates ---

    async def _pass(
        self,
        exchange: Exchange,
        scope: Scope,
        headers: Mapping[bytes, bytes],
        receive: Receive,
        outgoing: _Outgoing,
    ) -> None:
        operation = await self._operation(exchange, scope, headers)
        limit = operation.max_body_bytes or self.max_body_bytes
        _check_announced(headers, limit)
        if not operation.public:
            await self._admit(exchange, scope, headers)
        if scope["method"] not in _SAFE or _announces_body(headers):
            exchange.body = await _read(receive, limit)
        exchange.unread = False
        if operation.parse is not None:
            exchange.input = operation.parse(exchange.body)
        if operation.idempotent:
            recorded = await self._claim(exchange, scope, headers)
            if recorded is not None:
                await outgoing.finish(_replay(recorded))
                return
        await self._handle(exchange, scope, receive, outgoing)

    async def _operation(self, exchange: Exchange, scope: Scope, headers: Mapping[bytes, bytes]) -> Operation:
        match = self.table.match(scope["method"], scope["path"])
        operation = exchange.operation = match.operation
        if self.draining and not (operation is not None and operation.while_draining):
            raise RefusedRequest(Refusal("draining", retry_after=self.drain_seconds))
        if operation is not None:
            return operation
        await self._count_stranger(exchange, scope)
        if match.allowed:
            raise RefusedRequest(
                Refusal(
                    "method_not_allowed",
                    {"method": scope["method"]},
                    headers={"allow": ", ".join(match.allowed)},
                )
            )
        raise RefusedRequest(Refusal("not_found"))

    async def _admit(self, exchange: Exchange, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Key, scope, tenant, limit."""
        key = exchange.key = await self._authenticate(exchange, scope, headers)
        operation = exchange.operation
        limit = key.limit or self.limit
        refusal = None
        if operation is not None and operation.scope and operation.scope not in key.scopes:
            refusal = Refusal("insufficient_scope", {"scope": operation.scope})
        elif not key.tenant_active:
            refusal = Refusal("tenant_suspended")
        if limit is not None:
            # A request that is refused anyway is counted, too, so that its answer tells the
            # truth about what is left; but the scope's answer goes before the limit's.
            exchange.decision = await self.store.take(f"key:{key.public}", limit)
            if refusal is None and not exchange.decision.allowed:
                refusal = _too_many(exchange.decision)
        if refusal is not None:
            raise RefusedRequest(refusal)

    async def _authenticate(
        self, exchange: Exchange, scope: Scope, headers: Mapping[bytes, bytes]
    ) -> StoredKey:
        value = headers.get(self._key_header)
        presented = "" if value is None else self.keys.presented(value.decode("latin-1"))
        if not presented:
            code = "api_key_missing"
        elif not self.keys.well_formed(presented):
            code = "api_key_malformed"
        else:
            key = await self.store.find_key(self.keys.public_part(presented))
            # What became of a key is told only to who can show all of it.
            if key is None or not key.opens(presented):
                code = "api_key_invalid"
            elif key.state == "revoked":
                code = "api_key_revoked"
            elif key.expired(time.time()):
                code = "api_key_expired"
            else:
                return key
        await self._count_stranger(exchange, scope)
        raise RefusedRequest(Refusal(code))

    async def _count_stranger(self, exchange: Exchange, scope: Scope) -> None:
        if self.stranger_limit is None:
            return
        address = (scope.get("client") or ("",))[0]
        exchange.decision = await self.store.take(f"address:{address}", self.stranger_limit)
        if not exchange.decision.allowed:
            raise RefusedRequest(_too_many(exchange.decision))

    async def _claim(
        self, exchange: Exchange, scope: Scope, headers: Mapping[bytes, bytes]
    ) -> Recorded | None:
        """Take the claim that the request's key asks for; the record, if the work is done."""
        value = headers.get(self._idempotency_header)
        if value is None or exchange.key is None or exchange.operation is None:
            return None
        key = parse_key(value.decode("latin-1"))
        if key is None:
            raise RefusedRequest(Refusal("idempotency_key_invalid"))
        exchange.idempotency_key = key
        owner, operation = exchange.key, exchange.operation
        slot = slot_of(owner.tenant, owner.principal, operation.method, operation.path, key)
        fingerprint = fingerprint_of(scope["path"], scope["query_string"], exchange.body)
        match await self._claimed(slot, fingerprint, exchange.request_id):
            case Claim() as claim:
                exchange.claim = claim
                return None
            case Recorded() as recorded:
                return recorded
            case Mismatch():
                raise RefusedRequest(Refusal("idempotency_mismatch"))
            case InFlight(left):
                raise RefusedRequest(Refusal("idempotency_in_flight", retry_after=max(1, math.ceil(left))))

    async def _claimed(self, slot: bytes, fingerprint: bytes, request_id: str) -> Claimed:
        waited, pause = 0.0, 0.005
        while True:
            claimed = await self.store.claim(slot, fingerprint, request_id, lease=self.lease, keep=self.keep)
            if not isinstance(claimed, InFlight) or waited >= self.wait:
                return claimed
            await asyncio.sleep(pause)
            waited += pause
            pause = min(pause * 2, 0.1)

    async def _handle(self, exchange: Exchange, scope: Scope, receive: Receive, outgoing: _Outgoing) -> None:
        receive = _again(exchange.body, receive)
        claim = exchange.claim
        if claim is None:
            await self.app(scope, receive, outgoing.send)
            outgoing.expect_started()
            return
        # Nothing leaves before it is recorded.
        try:
            try:
                with _Heartbeat(self.store, claim, self.lease):
                    answer = await _collect(self.app, scope, receive)
            except FencedError:
                raise
            except Exception as exc:  # noqa: BLE001  # a failure is an answer, too
                answer = self.answer_to(exc, exchange)
            await self._settle(exchange, claim, answer)
        except FencedError:
            # We were so slow that another request took over; its outcome is the outcome.
            answer = await self._outcome_of_other(exchange, scope)
        await outgoing.finish(answer)

    async def _settle(self, exchange: Exchange, claim: Claim, answer: Answer) -> None:
        if exchange.committed:
            return
        final = exchange.operation.final if exchange.operation is not None else ()
        if 200 <= answer.status < 300 or answer.status in final:
            await self.store.record(claim, answer, keep=self.keep)
        else:
            await self._release(claim)

    async def _release(self, claim: Claim) -> None:
        try:
            await self.store.release(claim)
        except StoreBusyError:
            # The lease lapses by itself.
            log.warning("could not release the claim of request %s", claim.request_id)

    async def _outcome_of_other(self, exchange: Exchange, scope: Scope) -> Answer:
        recorded = await self._claim(exchange, scope, _headers(scope))
        if recorded is None:
            if exchange.claim is not None:
                await self._release(exchange.claim)
            raise RefusedRequest(Refusal("idempotency_in_flight", retry_after=1))
        return _replay(recorded)

    # --- answers ---

    def answer_to(self, exc: Exception, exchange: Exchange) -> Answer:
        """
        The answer for an exception that ended a request.

        An exception of the contract means itself. Any other is our own fault, and the answer
        says no more than that: the log has the rest, under the same request id.
        """
        refusal = self._refusal_in(exc)
        if refusal is not None:
            error = error_for(self.contract, self.wording, refusal, self.codes)
            return self._encoded(error, exchange, refusal)
        if self._means_itself(exc):
            with suppress(UsageError):  # a class that says that no answer came has none
                return self._encoded(exc, exchange, None)
        log.error("request %s failed", exchange.request_id, exc_info=exc)
        fault = error_for(self.contract, self.wording, Refusal("internal_error"), self.codes)
        return self._encoded(fault, exchange, None)

    def _refusal_in(self, exc: Exception) -> Refusal | None:
        if isinstance(exc, RefusedRequest):
            return exc.refusal
        if isinstance(exc, StoreBusyError):
            return Refusal("unavailable", retry_after=1)
        return None if self._translate is None else self._translate(exc)

    def _means_itself(self, exc: Exception) -> TypeGuard[CallError]:
        # An error that knows a URL is what another service answered to a call of ours: that our
        # handler did not catch it is our fault, not our client's.
        return isinstance(exc, self.contract.base) and exc.failure.url is None

    def _encoded(self, error: CallError, exchange: Exchange, refusal: Refusal | None) -> Answer:
        code = error.failure.code
        # A code that travels in a header leaves the body as it is documented.
        failure = replace(
            error.failure, request_id=exchange.request_id, code=None if self._code_header else code
        )
        answer = self.contract.encode(type(error).from_failure(failure))
        if answer.status == 401:
            answer.headers["www-authenticate"] = self.keys.challenge
        if self._code_header and code:
            answer.headers[self._code_header] = code
        if refusal is not None:
            answer.headers.update(refusal.headers)
            if refusal.retry_after is not None:
                answer.headers["retry-after"] = str(refusal.retry_after)
        return answer

    def _request_id(self, headers: Mapping[bytes, bytes]) -> str:
        sent = headers.get(self._request_id_header, b"").decode("latin-1")
        return sent if _REQUEST_ID.fullmatch(sent) else f"req_{secrets.token_hex(12)}"


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
        with suppress(StoreBusyError):
            held = await self._store.renew(self._claim, lease=self._lease)
        if held and self._timer is not None:
            self._timer = self._loop.call_later(self._lease / 3, self._beat)


class _Outgoing:
    """The way out: adds what every answer carries, and refuses to answer twice."""

    __slots__ = ("_exchange", "_head", "_send", "_service", "_started")

    def __init__(self, service: Service, exchange: Exchange, send: Send, *, head: bool) -> None:
        self._service = service
        self._exchange = exchange
        self._send = send
        self._head = head
        self._started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            message["headers"] = self._dressed(message.get("headers", ()), message["status"])
        await self._send(message)

    async def finish(self, answer: Answer, unread: Receive | None = None) -> None:
        """
        Send a whole answer, unless one is under way already.

        Args:
            answer: What to send.
            unread: Where the rest of the request's body comes from, if it was not read. Were
                the connection closed on it, the client's machine would throw the answer away
                (RFC 9112, section 9.6); so it is read, for a while, and the connection not
                used again.
        """
        if self._started:
            # What was promised cannot be taken back; ending here tells the client it was cut.
            return
        fields = [
            (name.encode("latin-1"), value.encode("latin-1", "replace"))
            for name, value in answer.headers.items()
        ]
        fields.append((b"content-length", b"%d" % len(answer.body)))
        if unread is not None:
            fields.append((b"connection", b"close"))
        await self.send({"type": "http.response.start", "status": answer.status, "headers": fields})
        body = b"" if self._head else answer.body
        if unread is not None:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})
            await _linger(unread)
            body = b""
        await self._send({"type": "http.response.body", "body": body})

    def expect_started(self) -> None:
        if not self._started:
            raise RuntimeError("the application returned without an answer")

    def _dressed(self, headers: Iterable[tuple[bytes, bytes]], status: int) -> list[tuple[bytes, bytes]]:
        service, exchange = self._service, self._exchange
        own = [(service._request_id_header, exchange.request_id.encode("latin-1"))]
        if exchange.decision is not None:
            own += exchange.decision.headers()
        if status >= 400:
            own.append((b"cache-control", b"no-store"))
        taken = {name for name, _ in own}
        return [pair for pair in headers if pair[0].lower() not in taken] + own


def _headers(scope: Scope) -> dict[bytes, bytes]:
    headers: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        # Two keys in one request are no key; the comma makes sure of that.
        headers[name] = headers[name] + b", " + value if name in headers else value
    return headers


def _check_announced(headers: Mapping[bytes, bytes], limit: int) -> None:
    announced = headers.get(b"content-length", b"0")
    if announced.isdigit() and int(announced) > limit:
        raise RefusedRequest(Refusal("payload_too_large", {"limit": limit}))


async def _read(receive: Receive, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGoneError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise RefusedRequest(Refusal("payload_too_large", {"limit": limit}))
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _announces_body(headers: Mapping[bytes, bytes]) -> bool:
    # RFC 9112, section 6. A request of HTTP/2 may have a body and say nothing of it beforehand.
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers


async def _linger(receive: Receive) -> None:
    left = LINGER_BYTES
    with suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _again(body: bytes, receive: Receive) -> Receive:
    """`receive` for a handler that reads the body we have read already."""
    given = False

    async def receive_again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive_again


async def _collect(app: ASGIApp, scope: Scope, receive: Receive) -> Answer:
    """The whole answer of `app`, sent to nobody yet."""
    status: int | None = None
    headers: list[tuple[str, str]] = []
    chunks: list[bytes] = []

    async def keep(message: Message) -> None:
        nonlocal status, headers
        if message["type"] == "http.response.start":
            status = message["status"]
            headers = [(n.decode("latin-1"), v.decode("latin-1")) for n, v in message.get("headers", ())]
        elif message["type"] == "http.response.body":
            chunks.append(message.get("body", b""))

    await app(scope, receive, keep)
    if status is None:
        raise RuntimeError("the application returned without an answer")
    answer = Answer(status, headers, b"".join(chunks))
    answer.headers.pop("content-length", None)
    return answer


def _replay(recorded: Recorded) -> Answer:
    answer = recorded.answer
    headers = {
        **answer.headers,
        "idempotent-replayed": "true",
        "idempotent-original-request": recorded.request_id,
    }
    return Answer(answer.status, headers, answer.body)


def _too_many(decision: Decision) -> Refusal:
    return Refusal("rate_limited", retry_after=decision.retry_after)
