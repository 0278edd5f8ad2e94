"""Which answer of the Kneo platform is which exception, both ways, as one table."""

from __future__ import annotations

from failwell.contract import Contract, Rule
from failwell.errors import RefusedError, TransportError
from failwell.failure import Effect
from kneo_client.core.dialect import KNEO
from kneo_client.core.errors import (
    KneoAuthError,
    KneoConflictError,
    KneoError,
    KneoIdempotencyMismatchError,
    KneoNetworkError,
    KneoNotFoundError,
    KneoPermissionError,
    KneoRateLimited,
    KneoServerError,
)

# The codes of the service's 409s. Written out, because a 409 without a code is read by its key.
CONFLICTS = ("conflict", "run_not_cancellable", "environment_retired", "name_taken", "version_mismatch")

_RULES = (
    Rule(KneoAuthError, status=401, answer_headers={"www-authenticate": 'Bearer realm="kneo"'},
         means="The API key is missing, malformed, revoked or expired."),
    Rule(KneoPermissionError, status=403, means="The API key's scopes or role do not allow this."),
    Rule(KneoNotFoundError, status=404, means="There is no such run, spec or environment."),
    Rule(KneoIdempotencyMismatchError, status=409, code="idempotency_mismatch",
         means="The idempotency key was used before, with another payload."),
    Rule(KneoConflictError, status=409, code=CONFLICTS,
         means="The request does not fit the state of the resource."),
    # The first request with the key may yet succeed, and asking again brings its answer.
    Rule(KneoConflictError, status=409, code="idempotency_in_flight", retry=True, effect=Effect.UNKNOWN,
         means="The first request with this idempotency key is still being worked on."),
    # Where a gateway replaced the body, it may have said that the first request is still at work.
    Rule(KneoIdempotencyMismatchError, status=409, when=lambda f: f.code is None and bool(f.idempotency_key),
         effect=Effect.UNKNOWN,
         means="A conflict without a code, answered to a request with an idempotency key."),
    Rule(KneoConflictError, status=409, means="Any other conflict."),
    Rule(KneoRateLimited, status=429, means="Too many requests."),
    Rule(KneoServerError, status=range(500, 600), means="The platform failed."),
)  # fmt: skip

CONTRACT = Contract(
    "kneo",
    base=KneoError,
    rules=_RULES,
    # One class for all that happens below HTTP, as the platform's document has it. The breaker
    # stays off: the document names no exception for it.
    broken={TransportError: KneoNetworkError, RefusedError: KneoNetworkError},
    dialect=KNEO,
)

# The same table for a response that somebody already calls a failure: even a 2xx is one then.
ANY_STATUS = Contract("kneo", base=KneoError, rules=_RULES, dialect=KNEO, success=())
