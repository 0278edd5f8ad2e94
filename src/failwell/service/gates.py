"""
The outermost layer of a service: every answer leaves through it, whatever went wrong inside.

The gates, in their order, and what they answer:

    request id       taken over if it is well formed, else made; on every answer
    draining   503   with Retry-After, while the process shuts down
    operation  404   405 with Allow: what the table does not name is not served
    size       413   by the announced length, and again while reading
    key        401   with WWW-Authenticate
    scope      403   then role, then tier
    tenant     403
    limit      429   with Retry-After; the numbers are on every later answer
    input      422   by the operation's `parse`
    key reuse  409   a record is replayed, a claim is taken, or it is a conflict
    credits    402   if the effect could not be paid for; a replay costs nothing
    handler

A gate that refuses has changed nothing, except that every request with a good key is counted by
its limit, replays and refusals included, those before the key among them, so that each answer says
truly what is left. Only a public operation counts nobody.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NoReturn, TypeGuard, cast

from failwell.contract import SAFE_METHODS
from failwell.dialects.problem import BLANK, Problem
from failwell.errors import CallError, ConfigurationError, UsageError
from failwell.service.bodies import (
    Again,
    ClientGoneError,
    announces_body,
    announces_more,
    headers_of,
    limited,
    read_body,
)
from failwell.service.credits import InsufficientCreditsError
from failwell.service.declarations import Declarations
from failwell.service.deduplication import Deduplication, fault_in
from failwell.service.exchange import SCOPE_KEY, Exchange, exchange_of
from failwell.service.idempotency import KEPT_FOR, LEASE
from failwell.service.limits import Limit, checked
from failwell.service.operations import OperationTable
from failwell.service.outgoing import (
    AnswerCutError,
    Outgoing,
    OwnFields,
    asks_for_problem,
    event_data,
    fields_of,
)
from failwell.service.refusals import (
    STANDARD_WORDING,
    Refusal,
    RefusedRequest,
    error_for,
    error_of,
)
from failwell.service.stores.base import StoreBusyError, TransactionalStore
from failwell.service.validation import loggable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from failwell.answer import Answer
    from failwell.contract import Contract
    from failwell.failure import Failure
    from failwell.service.bodies import ASGIApp, Receive, Scope, Send
    from failwell.service.keys import KeyFormat, StoredKey
    from failwell.service.limits import Decision, Fields
    from failwell.service.operations import Operation
    from failwell.service.stores.base import Counted, Store

log = logging.getLogger("failwell.service")

# RFC 9110 lets a field hold nearly anything; what we repeat and log has to be harmless.
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=@-]{8,128}")

# Each is a defect of the service; more of them would say no more.
MOST_UNDECLARED = 1000

# How many keys are remembered.
MOST_KNOWN = 4096

# Asking the system for chance with each request would take twice as long.
_identities = random.Random()  # noqa: S311  # a request id is no secret
if hasattr(os, "register_at_fork"):
    # Or workers would give the same ids.
    os.register_at_fork(after_in_child=_identities.seed)


class _Asker:
    """
    Who asks: the key of one request, as it was sent, and what is wrong with it.

    Attributes:
        public: Its public part; empty if it cannot be one of ours.
        fault: The code of what is wrong with it; empty if nothing is, as far as is known.
    """

    __slots__ = ("_presented", "_scope", "_service", "fault", "public")

    def __init__(self, service: Service, exchange: Exchange, scope: Scope) -> None:
        keys = service.keys
        value = exchange.headers.get(service._key_header)
        presented, public = ("", "") if value is None else keys.read(value.decode("latin-1"))
        self._service = service
        self._scope = scope
        self._presented = presented
        self.public = public
        self.fault = ""
        if not public:
            self.fault = "api_key_malformed" if presented else "api_key_missing"

    def __call__(self, key: StoredKey | None) -> Counted | None:
        """What to count, once the stored key is known: by it, or by the address of a stranger."""
        # What became of a key is told only to who can show all of it.
        if key is None or not key.opens(self._presented):
            self.fault = "api_key_invalid"
        elif key.state == "revoked":
            self.fault = "api_key_revoked"
        elif key.expires_at is not None and key.expired(time.time()):
            self.fault = "api_key_expired"
        else:
            self.fault = ""
            return self._service._counted_by(key)
        return self._service._counted_by_address(self._scope)


class Service:
    """
    An ASGI application behind the gates.

    Args:
        app: Any ASGI application.
        contract: How failures are spelled.
        store: Keys, limits and records.
        keys: How keys look and where they are.
        operations: What is served.
        limit: For keys without limits of their own, one or several; None for none.
        tiers: The limits of each tier, by its name; they go before `limit`.
        roles: The service's roles, the least first.
        stranger_limit: For requests without a valid key, by address: guessing keys is not free.
        wording: Status and words by code, where they differ from `STANDARD_WORDING`.
        codes: Codes that this service calls by another name.
        max_body_bytes: The largest body taken.
        code_header: A header that carries the code of an error, for bodies without a place for it.
        request_id_header: The header of the request id, both ways.
        rate_limit_fields: `x-ratelimit`, the IETF `draft`'s, or `both`.
        lease: Seconds a claim on an idempotency key is held.
        wait: Seconds a request waits for another one with its key before it is refused.
        keep: Seconds a record lives.
        drain_seconds: What a 503 asks a client to wait.
        translate: What a framework's own exceptions mean, such as its 404.
        problem_type: The `type` of problem details, which a client gets that asks for them by
            name, such as `https://docs.example/errors/{code}`.

    Attributes:
        transactional: The store, if effects can be committed with their records; else None.
        undeclared: What was sent and stands in no `raises`: operation, class and code of each,
            up to `MOST_UNDECLARED` of them. A test holds it to be empty.

    Raises:
        ConfigurationError: an operation asks for what the store or the service does not have.
        ValueError: limits that cannot hold at once.
    """

    def __init__(
        self,
        app: ASGIApp,
        contract: Contract,
        *,
        store: Store,
        keys: KeyFormat,
        operations: Iterable[Operation],
        limit: Limit | Sequence[Limit] | None = None,
        tiers: Mapping[str, Sequence[Limit]] | None = None,
        roles: Sequence[str] = (),
        stranger_limit: Limit | None = None,
        wording: Mapping[str, tuple[int, str]] | None = None,
        codes: Mapping[str, str] | None = None,
        max_body_bytes: int = 1024 * 1024,
        code_header: str = "",
        request_id_header: str = "X-Request-ID",
        rate_limit_fields: Fields = "x-ratelimit",
        lease: float = LEASE,
        wait: float = 0.0,
        keep: float = KEPT_FOR,
        drain_seconds: int = 5,
        translate: Callable[[Exception], Refusal | None] | None = None,
        problem_type: str = BLANK,
    ) -> None:
        self.app = app
        self.contract = contract
        self.store = store
        self.keys = keys
        self.table = OperationTable(operations)
        self.limits = _several(limit)
        self.tiers = {tier: checked(limits) for tier, limits in (tiers or {}).items()}
        self.roles = {role: rank for rank, role in enumerate(roles)}
        self.stranger_limits = _several(stranger_limit)
        self.wording = {**STANDARD_WORDING, **(wording or {})}
        self.codes = codes or {}
        self.max_body_bytes = max_body_bytes
        self.keep = keep
        self.drain_seconds = drain_seconds
        self.draining = False
        shared = "transactional" in store.levels
        self.transactional = cast("TransactionalStore", store) if shared else None
        # FastAPI's own goes before the server's.
        self._root_path: str = getattr(app, "root_path", "")
        self._translate = translate
        self.code_header = code_header.lower()
        self.request_id_header = request_id_header
        self._request_id_header = request_id_header.lower().encode()
        self.rate_limit_fields: Fields = rate_limit_fields
        self._key_header = keys.header.lower().encode()
        self._own_fields = OwnFields(self._request_id_header, rate_limit_fields)
        # By public part: what does not change for as long as the key is the same.
        self._known: dict[str, tuple[StoredKey, Counted | None]] = {}
        self._deduplication = Deduplication(
            store, header=contract.idempotency_header, transactional=self.transactional,
            lease=lease, wait=wait, keep=keep, answer_to=self.answer_to,
        )  # fmt: skip
        for operation in self.table.operations:
            self._check(operation)
        self.problem = Problem(problem_type)
        # Where the contract speaks problem details anyway, they are these.
        self.error_dialect = self.problem if isinstance(contract.dialect, Problem) else None
        self.declarations = Declarations(self)
        self.undeclared: set[tuple[str, str, str]] = set()
        # What the framework's own document says, where it makes one.
        self.described: Callable[[], dict[str, Any]] | None = None

    def _check(self, operation: Operation) -> None:
        named = f"{operation.method} {operation.path}"
        level = operation.idempotency
        if level is not None and level not in self.store.levels:
            kept = ", ".join(sorted(self.store.levels))
            raise ConfigurationError(f"{named} is {level}, but {type(self.store).__name__} keeps {kept} only")
        if level is not None and operation.public:
            raise ConfigurationError(f"{named} is public: without a key there is nobody to keep a record for")
        if operation.debits and operation.public:
            raise ConfigurationError(f"{named} is public: without a key there is nobody to pay for it")
        if operation.key_required and level is None:
            raise ConfigurationError(f"{named} asks for an Idempotency-Key, but at no level")
        if operation.settle is not None and level != "at_most_once":
            raise ConfigurationError(f"{named} has a `settle` hook, which only at_most_once asks")
        if operation.role and operation.role not in self.roles:
            raise ConfigurationError(
                f"{named} asks for the role {operation.role}, which is not one of `roles`"
            )
        if operation.debits and self.transactional is None:
            raise ConfigurationError(f"{named} costs credits, and {type(self.store).__name__} has no ledger")
        if operation.streamed and operation.parse is not None:
            raise ConfigurationError(f"{named} has a body that is both streamed and parsed beforehand")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            # A WebSocket has no row in the table, and no gate asks it for a key.
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": ""})
            return
        headers = headers_of(scope)
        announced = announces_body(headers)
        exchange = Exchange(self, self._request_id(headers), headers)
        scope[SCOPE_KEY] = exchange
        outgoing = Outgoing(
            exchange, send, self._own_fields, head=scope["method"] == "HEAD",
            rest=receive if announced else None,
        )  # fmt: skip
        try:
            # What a request waits for that is let through is awaited right here: each frame in
            # between, and each object that waits along, costs it as much as a gate.
            operation = self._operation(exchange, scope)
            if self.draining and not (operation is not None and operation.while_draining):
                await self._shutting_down(exchange, operation, scope)
            if operation is None:
                await self._not_served(exchange, scope)
            if announced and announces_more(headers, self._most_bytes(operation)):
                await self._too_large(exchange, operation, scope)
            if not operation.public:
                asker = _Asker(self, exchange, scope)
                if asker.fault:
                    await self._not_known(exchange, scope, asker.fault)
                key, exchange.decision = await self.store.admit(asker.public, asker)
                self._let_through(exchange, operation, key, asker.fault)
            if operation.ungated and not announced and scope["method"] in SAFE_METHODS:
                exchange.unread = False
                await self.app(scope, Again(b"", receive), outgoing.send)
                outgoing.expect_started()
            else:
                await self._pass(exchange, operation, scope, receive, outgoing, announced=announced)
        except ClientGoneError:
            return
        except (Exception, asyncio.CancelledError) as raised:  # noqa: BLE001  # somebody has to answer
            exc = fault_in(raised)
            if outgoing.started:
                await self._break_off(exc, exchange, outgoing)
            else:
                await outgoing.finish(self.answer_to(exc, exchange))

    def refuse(self, code: str, **values: object) -> CallError:
        """The contract's exception for a code of the wording, for a handler to raise."""
        return error_for(self.contract, self.wording, Refusal(code, values), self.codes)

    def error(self, failure: Failure) -> CallError:
        """The contract's exception for `failure`, for a handler to raise."""
        return error_of(self.contract, failure)

    def openapi(self, *, title: str = "", version: str = "1.0.0") -> dict[str, Any]:
        """
        The OpenAPI 3.1 document: every operation, with every error that it can answer.

        Args:
            title: The API's name; the contract's by default. A FastAPI application has its own.
            version: The API's version, likewise.
        """
        from failwell.service.openapi import document

        return document(self, title=title, version=version)

    # --- the gates ---

    async def _pass(
        self,
        exchange: Exchange,
        operation: Operation,
        scope: Scope,
        receive: Receive,
        outgoing: Outgoing,
        *,
        announced: bool,
    ) -> None:
        """Input, idempotency key, credits, handler."""
        limit = self._most_bytes(operation)
        if operation.streamed:
            receive = limited(
                receive,
                limit,
                lambda: setattr(exchange, "unread", False),
                lambda: setattr(exchange, "cut_off", exchange.unread),
            )
        else:
            if announced or scope["method"] not in SAFE_METHODS:
                exchange.body = await read_body(receive, limit)
            exchange.unread = False
            receive = Again(exchange.body, receive)
        if operation.parse is not None:
            exchange.input = operation.parse(exchange.body)
        if operation.idempotency is not None:
            recorded = await self._deduplication.claim(exchange, scope)
            if recorded is not None:
                await outgoing.finish(recorded)
                return
        app = self._app_if_paid if operation.debits else self.app
        holding = exchange.holding
        if holding is None:
            await app(scope, receive, outgoing.send)
            outgoing.expect_started()
        else:
            await self._deduplication.carry_out(app, exchange, holding, scope, receive, outgoing)

    def _operation(self, exchange: Exchange, scope: Scope) -> Operation | None:
        """The row of the table; None if there is none."""
        operation, exchange.path_values, _ = self.table.match(scope["method"], self._path(scope))
        exchange.operation = operation
        return operation

    def _path(self, scope: Scope) -> str:
        root = self._root_path or scope.get("root_path", "")
        path: str = scope["path"]
        return _below(root, path) if root else path

    def _most_bytes(self, operation: Operation) -> int:
        """The largest body that it takes."""
        most = operation.max_body_bytes
        return self.max_body_bytes if most is None else most

    async def _shutting_down(self, exchange: Exchange, operation: Operation | None, scope: Scope) -> NoReturn:
        await self._count_refused(exchange, operation, scope)
        raise RefusedRequest(Refusal("draining", retry_after=self.drain_seconds))

    async def _too_large(self, exchange: Exchange, operation: Operation, scope: Scope) -> NoReturn:
        await self._count_refused(exchange, operation, scope)
        raise RefusedRequest(Refusal("payload_too_large", {"limit": self._most_bytes(operation)}))

    async def _not_served(self, exchange: Exchange, scope: Scope) -> NoReturn:
        await self._count_refused(exchange, None, scope)
        method = scope["method"]
        allowed = ", ".join(self.table.match(method, self._path(scope)).allowed)
        if allowed:
            raise RefusedRequest(
                Refusal("method_not_allowed", {"method": method}, headers={"allow": allowed})
            )
        raise RefusedRequest(Refusal("not_found"))

    async def _count_refused(self, exchange: Exchange, operation: Operation | None, scope: Scope) -> None:
        """Count a request that is refused before its key is asked for, by its key if it has a good one."""
        if operation is not None and operation.public:
            return
        asker = _Asker(self, exchange, scope)
        if asker.fault:
            await self._count_stranger(exchange, scope)
            return
        _, decision = await self.store.admit(asker.public, asker)
        exchange.decision = decision
        if decision is not None and not decision.allowed:
            raise RefusedRequest(_too_many(decision))

    async def _not_known(self, exchange: Exchange, scope: Scope, fault: str) -> NoReturn:
        await self._count_stranger(exchange, scope)
        raise RefusedRequest(Refusal(fault))

    def _let_through(
        self, exchange: Exchange, operation: Operation, key: StoredKey | None, fault: str
    ) -> None:
        """Key, scope, role, tier, tenant, limit."""
        decision = exchange.decision
        too_many = None if decision is None or decision.allowed else _too_many(decision)
        if key is None or fault:
            raise RefusedRequest(too_many or Refusal(fault))
        exchange.key = key
        # A request that is refused anyway was counted, too, so that its answer tells the truth
        # about what is left; but the scope's answer goes before the limit's.
        refusal = self._not_permitted(key, operation) or too_many
        if refusal is not None:
            raise RefusedRequest(refusal)

    def _not_permitted(self, key: StoredKey, operation: Operation) -> Refusal | None:
        if operation.scope and operation.scope not in key.scopes:
            return Refusal("insufficient_scope", {"scope": operation.scope})
        if operation.role and self.roles.get(key.role, -1) < self.roles[operation.role]:
            return Refusal("insufficient_role", {"role": operation.role})
        if operation.tiers and key.tier not in operation.tiers:
            return Refusal("tier_required", {"tiers": sorted(operation.tiers), "tier": key.tier})
        if not key.tenant_active:
            return Refusal("tenant_suspended")
        return None

    def _counted_by(self, key: StoredKey) -> Counted | None:
        """What to count for a request with `key`."""
        known = self._known.get(key.public)
        if known is None or known[0] is not key:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            limits = key.limits or self.tiers.get(key.tier) or self.limits
            known = self._known[key.public] = key, _counted(f"key:{key.public}", limits)
        return known[1]

    def _counted_by_address(self, scope: Scope) -> Counted | None:
        """What to count for a request without a good key."""
        return _counted(f"address:{_address(scope)}", self.stranger_limits)

    async def _count_stranger(self, exchange: Exchange, scope: Scope) -> None:
        counted = self._counted_by_address(scope)
        if counted is not None:
            decision = exchange.decision = await self.store.take(*counted)
            if not decision.allowed:
                raise RefusedRequest(_too_many(decision))

    async def _app_if_paid(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, for a request whose effect can be paid for."""
        exchange = exchange_of(scope)
        operation = exchange.operation
        # Or the operation could have no price, or none would be asked for.
        assert self.transactional is not None
        assert operation is not None
        for debit in operation.debits:
            account = await self.transactional.account(exchange.tenant, debit.unit)
            if account.balance < debit.amount:
                raise InsufficientCreditsError(account, debit.amount)
        await self.app(scope, receive, send)

    # --- answers ---

    def answer_to(self, exc: Exception, exchange: Exchange) -> Answer:
        """
        The answer for an exception that ended a request.

        An exception of the contract means itself. Any other is our own fault, and the answer
        says no more than that: the log has the rest, under the same request id.
        """
        error, refusal = self._meant_by(exc, exchange)
        return self._answered(error, refusal, exchange)[0]

    def _answered(
        self, error: CallError, refusal: Refusal | None, exchange: Exchange
    ) -> tuple[Answer, CallError]:
        """The answer, and the exception that it means."""
        try:
            answer = self._encoded(error, exchange, refusal)
            fields_of(answer)
        except Exception as broken:  # noqa: BLE001  # a class that says that no answer came has none
            error = self._fault(error if isinstance(broken, UsageError) else broken, exchange)
            answer = self._encoded(error, exchange, None)
        self._note(error, answer.status, exchange)
        return answer, error

    async def _break_off(self, exc: Exception, exchange: Exchange, outgoing: Outgoing) -> None:
        """End an answer that has begun, and cannot become another one."""
        if outgoing.ended:
            # Work that was left for afterwards: the client has its answer.
            self._fault(exc, exchange)
            return
        exchange.accept = b""
        # Middlewares may have made a group of it.
        exc, exchange.broken_by = exchange.broken_by or exc, None
        answer, error = self._answered(*self._meant_by(exc, exchange), exchange)
        code = error.failure.code
        try:
            await outgoing.break_off(event_data(answer, code, exchange.request_id))
        except AnswerCutError as cut:
            log.warning("the answer of request %s was cut: %d %s", exchange.request_id, answer.status, code)
            # Without what led to it, which the server would write into its own log.
            cut.__context__ = None
            raise

    def _meant_by(self, exc: Exception, exchange: Exchange) -> tuple[CallError, Refusal | None]:
        try:
            return self._worded(exc, exchange)
        except Exception as broken:  # noqa: BLE001  # a code without words, a `translate` that fails
            return self._fault(broken, exchange), None

    def _worded(self, exc: Exception, exchange: Exchange) -> tuple[CallError, Refusal | None]:
        while isinstance(exc, ExceptionGroup) and len(exc.exceptions) == 1:
            exc = exc.exceptions[0]  # a task group, which a framework streams from
        refusal = self._refusal_in(exc)
        if refusal is not None:
            return error_for(self.contract, self.wording, refusal, self.codes), refusal
        if self._means_itself(exc):
            return exc, None
        return self._fault(exc, exchange), None

    def _fault(self, exc: Exception, exchange: Exchange) -> CallError:
        """What we say of a fault of our own."""
        if exchange.cut_off:
            # Whatever it was, a handler has no other way to say that its client hung up.
            log.warning("the client of request %s hung up: %s", exchange.request_id, type(exc).__name__)
            return error_for(self.contract, self.wording, Refusal("internal_error"), self.codes)
        log.error("request %s failed", exchange.request_id, exc_info=loggable(exc))
        return error_for(self.contract, self.wording, Refusal("internal_error"), self.codes)

    def _note(self, error: CallError, status: int, exchange: Exchange) -> None:
        operation = exchange.operation
        if operation is None or len(self.undeclared) >= MOST_UNDECLARED:
            return
        if not self.declarations.covers(operation, error, status):
            named = f"{operation.method} {operation.path}"
            self.undeclared.add((named, type(error).__name__, error.failure.code or str(status)))

    def _refusal_in(self, exc: Exception) -> Refusal | None:
        if isinstance(exc, RefusedRequest):
            return exc.refusal
        if isinstance(exc, StoreBusyError):
            return Refusal("unavailable", retry_after=1)
        if isinstance(exc, InsufficientCreditsError):
            return _too_little(exc)
        return None if self._translate is None else self._translate(exc)

    def _means_itself(self, exc: Exception) -> TypeGuard[CallError]:
        # An error that knows a URL is what another service answered to a call of ours: that our
        # handler did not catch it is our fault, not our client's.
        return isinstance(exc, self.contract.base) and exc.failure.url is None

    def _encoded(self, error: CallError, exchange: Exchange, refusal: Refusal | None) -> Answer:
        code = error.failure.code
        # A code that travels in a header leaves the body as it is documented.
        failure = replace(
            error.failure, request_id=exchange.request_id, code=None if self.code_header else code
        )
        dialect = self.error_dialect
        if asks_for_problem(exchange.accept):
            # There it has a place, documented by the standard.
            failure, dialect = replace(failure, code=code), self.problem
        answer = self.contract.encode(type(error).from_failure(failure), dialect)
        if answer.status == 401:
            answer.headers["www-authenticate"] = self.keys.challenge
        if self.code_header and code:
            answer.headers[self.code_header] = code
        if refusal is not None:
            answer.headers.update(refusal.headers)
            if refusal.retry_after is not None:
                answer.headers["retry-after"] = str(refusal.retry_after)
        return answer

    def _request_id(self, headers: Mapping[bytes, bytes]) -> str:
        value = headers.get(self._request_id_header)
        if value is not None:
            sent = value.decode("latin-1")
            if _REQUEST_ID.fullmatch(sent):
                return sent
        return new_request_id()


def new_request_id() -> str:
    """An id that no other request has."""
    return "req_" + _identities.getrandbits(96).to_bytes(12, "big").hex()


def _counted(subject: str, limits: Sequence[Limit]) -> Counted | None:
    if not limits:
        return None
    # The names are part of it, so that a number is never held against another limit.
    names = limits[0].name if len(limits) == 1 else ",".join(limit.name for limit in limits)
    return f"{subject} {names}", limits


def _several(limit: Limit | Sequence[Limit] | None) -> tuple[Limit, ...]:
    if limit is None:
        return ()
    return (limit,) if isinstance(limit, Limit) else checked(limit)


def _below(root: str, path: str) -> str:
    """
    The part of a path that frameworks route by: what is behind the place that the service is mounted at.

    A path of ASGI begins with that place; one that does not is taken whole, as Starlette does.
    """
    return path[len(root) :] if path == root or path.startswith(f"{root}/") else path


def _address(scope: Scope) -> str:
    return str((scope.get("client") or ("",))[0])


def _too_many(decision: Decision) -> Refusal:
    return Refusal("rate_limited", retry_after=decision.retry_after)


def _too_little(exc: InsufficientCreditsError) -> Refusal:
    account = exc.account
    values = {"unit": account.unit, "required": exc.required, "remaining": account.balance}
    if account.allowance is None:
        return Refusal("insufficient_credits", values)
    if account.renews_at is not None:
        values["renews_at"] = math.ceil(account.renews_at)
    return Refusal("quota_exceeded", {**values, "allowance": account.allowance})
