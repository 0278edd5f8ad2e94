"""Which answer of Argus, which break and which refused argument is which exception: one table."""

from __future__ import annotations

from argus.errors import (
    ArgusAPIError,
    ArgusAuthenticationError,
    ArgusCallError,
    ArgusConnectionError,
    ArgusInternalServerError,
    ArgusNotFoundError,
    ArgusPermissionError,
    ArgusTypeError,
    ArgusValueError,
)
from failwell.contract import Contract, Rule
from failwell.errors import ArgumentTypeError, RefusedError, TransportError, UsageError
from failwell.failure import Effect

CONTRACT = Contract(
    "argus",
    base=ArgusCallError,
    rules=[
        Rule(
            ArgusAuthenticationError,
            status=401,
            answer_headers={"www-authenticate": 'Bearer realm="argus"'},
            means="The API key is missing, invalid, revoked or expired.",
        ),
        Rule(
            ArgusPermissionError,
            status=403,
            means="The API key may not do this; platform features need a Runtime Security Key.",
        ),
        Rule(ArgusNotFoundError, status=404, means="There is no such asset in the account."),
        Rule(
            ArgusAPIError,
            status=(400, 405, 413, 415, 422, 429),
            means="Argus does not take the request as it is, or not so many of them.",
        ),
        # The first request with the key may yet succeed, and asking again brings its answer.
        Rule(
            ArgusAPIError,
            status=409,
            code="idempotency_in_flight",
            effect=Effect.UNKNOWN,
            retry=True,
            means="The first request with this idempotency key is still being worked on.",
        ),
        Rule(ArgusAPIError, status=409, means="The name or the idempotency key is taken."),
        Rule(ArgusInternalServerError, status=range(500, 600), means="Argus failed."),
        Rule(ArgusAPIError, means="Any other answer that is a failure."),
    ],
    # One class for all that happens below HTTP, as the document has it. The breaker stays off: the
    # document names no exception for it.
    broken={TransportError: ArgusConnectionError, RefusedError: ArgusConnectionError},
    usage={UsageError: ArgusValueError, ArgumentTypeError: ArgusTypeError},
)
