"""
What each operation can answer when it fails: what its gates imply, and what its `raises` say.

The OpenAPI document, `check` and the record of what was sent undeclared all read this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from failwell.dialects.parts import phrase
from failwell.errors import CallError, ConfigurationError, UsageError
from failwell.failure import Failure
from failwell.service.framework_documents import FrameworkDocuments
from failwell.service.refusals import Refusal, code_of_status, error_for, error_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from failwell.service.gates import Service
    from failwell.service.operations import Operation, Raised


# RFC 9110, section 9.3: the methods in whose requests a body means nothing.
_WITHOUT_BODY = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "TRACE"})


@dataclass(frozen=True, slots=True)
class Declared:
    """
    One way in which an operation can fail.

    Attributes:
        status: What is answered.
        example: The exception, as it would be raised.
        raises: The class that was declared; None where any that says the same will do.
        code: The code; None where the declared class may have any.
        word: The key of the wording; empty if it is none.
        implied: Whether a gate says it, and not the handler.
    """

    status: int
    example: CallError
    raises: type[CallError] | None = None
    code: str | None = None
    word: str = ""
    implied: bool = False

    def covers(self, error: CallError, status: int) -> bool:
        """Whether `error`, answered with `status`, is what was declared."""
        if self.raises is not None:
            return isinstance(error, self.raises) and self.code in (None, error.failure.code)
        return self.status == status and self.code in (None, error.failure.code)


class Declarations:
    """The failures of each operation of a service, found out on first use."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._rows: dict[Operation, tuple[Declared, ...]] = {}
        for operation in service.table.operations:
            for raised in operation.raises:
                self._declared(operation, raised)

    def of(self, operation: Operation) -> tuple[Declared, ...]:
        """The failures of `operation`, each once."""
        rows = self._rows.get(operation)
        if rows is None:
            implied = [self._worded(word, implied=True) for word in self._implied(operation)]
            own = [self._declared(operation, raised) for raised in operation.raises]
            rows = self._rows[operation] = (*implied, *own)
        return rows

    def covers(self, operation: Operation, error: CallError, status: int) -> bool:
        """Whether `operation` says that it may answer `error`."""
        return any(row.covers(error, status) for row in self.of(operation))

    def _implied(self, operation: Operation) -> Iterator[str]:
        """The words of the gates that stand before an operation."""
        yield from ("not_found", "method_not_allowed", "payload_too_large", "internal_error", "unavailable")
        if not operation.while_draining:
            yield "draining"
        if not operation.public:
            yield from ("api_key_missing", "api_key_malformed", "api_key_invalid", "api_key_revoked")
            yield from ("api_key_expired", "tenant_suspended", "rate_limited")
        if operation.scope:
            yield "insufficient_scope"
        if operation.role:
            yield "insufficient_role"
        if operation.tiers:
            yield "tier_required"
        if operation.debits:
            yield from ("insufficient_credits", "quota_exceeded")
        # What FastAPI reads of a request it checks, too.
        if operation.parse is not None or self._is_read_by_framework(operation):
            yield from ("bad_request", "malformed_json", "validation_failed")
        elif not operation.streamed and operation.method not in _WITHOUT_BODY:
            # The handler may read it with `request.json()`.
            yield from ("bad_request", "malformed_json")
        if operation.idempotency is not None:
            yield from ("idempotency_key_invalid", "idempotency_mismatch", "idempotency_in_flight")
            yield "idempotency_answer_not_kept"
        if operation.key_required:
            yield "idempotency_key_missing"
        if operation.idempotency == "at_most_once":
            yield "idempotency_outcome_unknown"

    def _is_read_by_framework(self, operation: Operation) -> bool:
        documents = self._service.described
        return isinstance(documents, FrameworkDocuments) and documents.read(operation.path)

    def _declared(self, operation: Operation, raised: Raised) -> Declared:
        named = f"{operation.method} {operation.path} raises {raised!r}"
        contract = self._service.contract
        if isinstance(raised, str):
            if raised not in self._service.wording:
                raise ConfigurationError(f"{named}, which is no code of the wording")
            return self._worded(raised)
        if isinstance(raised, int):
            said = Failure(status=raised, code=code_of_status(raised), message=phrase(raised))
            example = error_of(contract, said)
            return Declared(raised, example)
        cls: Any
        cls, code = raised if isinstance(raised, tuple) else (raised, None)
        if not (isinstance(cls, type) and issubclass(cls, contract.base)):
            raise ConfigurationError(f"{named}, which is no exception of the contract {contract.name!r}")
        example = cls.from_failure(Failure(code=code, message=_meaning_of(cls)))
        try:
            status = contract.encode(example).status
        except UsageError as exc:
            raise ConfigurationError(f"{named}: {exc}") from exc
        return Declared(status, example, cls, code)

    def _worded(self, word: str, *, implied: bool = False) -> Declared:
        service = self._service
        refusal = Refusal(word, _Gaps(), retry_after=_WAITS.get(word))
        example = error_for(service.contract, service.wording, refusal, service.codes)
        # What fills the gaps of the words is told of in the details; here there is none.
        example = type(example).from_failure(replace(example.failure, details={}))
        return Declared(example.failure.status or 500, example, None, example.failure.code, word, implied)


# Which refusals say when to come back.
_WAITS = {"rate_limited": 30, "draining": 5, "unavailable": 1, "idempotency_in_flight": 1}


class _Gaps(dict[str, Any]):
    """A value for each gap of a wording."""

    def __missing__(self, name: str) -> str:
        return f"<{name}>"


def _meaning_of(cls: type[CallError]) -> str:
    """The first line of what a class says of itself."""
    return next((line.strip() for line in (cls.__doc__ or "").splitlines() if line.strip()), cls.__name__)
