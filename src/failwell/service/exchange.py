"""One request on its way to its answer: what the gates found out, and how its effect is made safe."""

from __future__ import annotations

import hashlib
import json
import os
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from failwell.errors import ConfigurationError
from failwell.service.outgoing import fields_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from failwell.answer import Answer
    from failwell.service.credits import Debit
    from failwell.service.gates import Service
    from failwell.service.holding import Holding
    from failwell.service.idempotency import Claim
    from failwell.service.keys import StoredKey
    from failwell.service.limits import Decision
    from failwell.service.operations import Operation

    T = TypeVar("T")

SCOPE_KEY = "failwell"


class Exchange:
    """
    One request, for its handler.

    Attributes:
        request_id: On the answer, in the logs.
        headers: Its header fields by lower-case name; repeated ones joined with a comma.
        accept: The `Accept` field; empty if there is none.
        operation: The row of the table.
        path_values: What stands in the path in place of each name of its template.
        key: The key it came with; None where none is asked for.
        body: The whole body; empty if the operation reads it itself.
        input: What the operation's `parse` made of it.
        idempotency_key: The key, unquoted; None if there was none.
        decision: The rate limit's; None where there is no limit.
        slot: Where the record of its idempotency key is; what the keys of its steps are made of.
        holding: Its right to do the work of its idempotency key; None if it has none.
        committed: Whether the effect and the record are written.
        unread: Whether the client may still be sending its body.
        cut_off: Whether it hung up in the middle of it.
        broken_by: What ended its answer half-way, as was seen behind the application's middlewares;
            None if nothing has.
    """

    # What most requests leave as it is: set at the class, it costs them nothing.
    operation: Operation | None = None
    path_values: Mapping[str, str] = MappingProxyType({})
    key: StoredKey | None = None
    body: bytes = b""
    unread: bool = True
    cut_off: bool = False
    broken_by: Exception | None = None
    input: Any = None
    idempotency_key: str | None = None
    decision: Decision | None = None
    slot: bytes = b""
    holding: Holding | None = None
    committed: bool = False
    _committing: bool = False
    _done: frozenset[str] = frozenset()

    def __init__(self, service: Service, request_id: str, headers: Mapping[bytes, bytes]) -> None:
        self._service = service
        self.request_id = request_id
        self.headers = headers
        self.accept = headers.get(b"accept", b"")

    @property
    def service(self) -> Service:
        """The service it came to."""
        return self._service

    @property
    def claim(self) -> Claim | None:
        """The claim on its idempotency key; None if it has none."""
        return None if self.holding is None else self.holding.claim

    @property
    def tenant(self) -> str:
        """Whose data may be touched. Only where a key was asked for."""
        if self.key is None:
            raise LookupError("a public operation has no tenant")
        return self.key.tenant

    async def commit(self, effect: Callable[[Any], Answer], *debits: Debit) -> Answer:
        """
        Carry out the request's effect, pay for it and record its answer, in one transaction.

        Args:
            effect: Takes the store's connection, returns the answer. It may raise an exception
                of the contract; whatever it raises leaves nothing behind.
            debits: What it costs, besides what the operation's table says.

        Returns:
            The answer to send.

        Raises:
            ConfigurationError: the store holds no tables of the service: it is Redis.
            InsufficientCreditsError: there is less left than it costs; answered with a 402.
            RuntimeError: the request has committed an effect, or is at it: there is one answer,
                and so one record.
            ValueError: a header of the answer cannot be sent; nothing was done.
        """
        store = self._service.transactional
        if store is None:
            raise ConfigurationError(
                "this store has no transactions to share: use exchange.step, or SQLiteStore or PostgresStore"
            )
        holding, operation = self.holding, self.operation
        if self.committed or self._committing:
            raise RuntimeError("a request commits once: do all that belongs to its answer in one effect")

        def sendable_effect(db: Any) -> Answer:
            answer = effect(db)
            # What cannot be sent is not recorded, nor done.
            fields_of(answer)
            return answer

        self._committing = True
        if holding is not None:
            holding.committing = True
        try:
            answer = await store.commit(
                self.claim, sendable_effect, keep=self._service.keep,
                taken=holding is not None and holding.taken,
                tenant=self.key.tenant if self.key else "", request_id=self.request_id,
                debits=(*(operation.debits if operation is not None else ()), *debits),
            )  # fmt: skip
        finally:
            self._committing = False
            if holding is not None:
                holding.committing = False
        self.committed = True
        return answer

    async def step(self, name: str, work: Callable[[str], Awaitable[T]]) -> T:
        """
        Do one step of the work, unless an earlier try of the same request has done it.

        A step whose work raised may be tried again, with the same key for the service that does it.

        Args:
            name: Different for each step of a request, the same in each try.
            work: Takes the step's own idempotency key, to be sent along to the service that
                does it; returns what JSON can say.

        Returns:
            The result, as JSON brings it back.

        Raises:
            FencedError: another request took over; its outcome is the outcome.
            ValueError: the request has had a step of this name, or is at it.
        """
        if name in self._done:
            raise ValueError(f"a request has one step called {name!r}")
        self._done |= {name}
        if self.holding is not None:
            await self.holding.take()
        if self.claim is not None and name in self.claim.steps:
            kept: T = self.claim.steps[name]
            return kept
        try:
            done = await work(self.step_key(name))
        except BaseException:
            # Nothing was kept: the handler may try it again.
            self._done -= {name}
            raise
        result: T = json.loads(json.dumps(done))
        if self.claim is not None:
            await self._service.store.keep_step(self.claim, name, result)
        return result

    def step_key(self, name: str) -> str:
        """The idempotency key of a step: the same for each try of the request, and for no other."""
        if not self.slot:
            self.slot = os.urandom(32)
        return hashlib.sha256(self.slot + name.encode("utf-8", "surrogateescape")).hexdigest()[:40]


def exchange_of(request: Any) -> Exchange:
    """The exchange behind a framework's request, or an ASGI scope."""
    scope = getattr(request, "scope", request)
    exchange: Exchange = scope[SCOPE_KEY]
    return exchange
