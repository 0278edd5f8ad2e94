"""Which answer of the Agoralia API is which exception: one table, both ways."""

from __future__ import annotations

from agoralia.dialect import DETAIL, IN_PROGRESS
from agoralia.errors import (
    AgoraliaAPIError,
    AgoraliaAuthenticationError,
    AgoraliaBadAnswerError,
    AgoraliaBadRequestError,
    AgoraliaConnectError,
    AgoraliaConnectionLostError,
    AgoraliaDeadlineError,
    AgoraliaIdempotencyError,
    AgoraliaInProgressError,
    AgoraliaNotFoundError,
    AgoraliaPermissionError,
    AgoraliaRateLimitError,
    AgoraliaServerError,
    AgoraliaStatusError,
    AgoraliaTimeoutError,
    AgoraliaUnavailableError,
    AgoraliaValidationError,
)
from failwell.contract import Contract, Rule
from failwell.errors import (
    BadAnswerError,
    CallTimeoutError,
    ConnectError,
    ConnectionLostError,
    DeadlineExceededError,
)
from failwell.failure import Effect

CONTRACT = Contract(
    "agoralia",
    base=AgoraliaAPIError,
    dialect=DETAIL,
    rules=[
        Rule(AgoraliaBadRequestError, status=(400, 405, 415), means="Invalid request format or parameters"),
        Rule(
            AgoraliaAuthenticationError,
            status=401,
            message="Authentication failed",
            answer_headers={"www-authenticate": 'ApiKey realm="agoralia"'},
            means="Invalid or missing API key",
        ),
        Rule(
            AgoraliaPermissionError,
            status=403,
            message="Permission denied",
            means="API key missing required scope",
        ),
        Rule(AgoraliaNotFoundError, status=404, message="Resource not found", means="Resource not found"),
        Rule(
            AgoraliaInProgressError,
            status=409,
            code=IN_PROGRESS,
            message="Idempotency conflict",
            effect=Effect.UNKNOWN,
            retry=True,
            answer_headers={"x-error-code": IN_PROGRESS},
            means="The first request with the idempotency key is still running",
        ),
        Rule(
            AgoraliaIdempotencyError,
            status=409,
            message="Idempotency conflict",
            means="Idempotency key already used with a different request body",
        ),
        Rule(AgoraliaValidationError, status=422, message="Validation error", means="Validation failed"),
        Rule(
            AgoraliaRateLimitError,
            status=429,
            message="Rate limit exceeded",
            retry=True,
            means="Too many requests: retry with backoff",
        ),
        Rule(
            AgoraliaUnavailableError,
            status=(503, 502, 504),
            message="Server error",
            retry=True,
            means="Service temporarily unavailable: retry later",
        ),
        Rule(
            AgoraliaServerError,
            status=range(500, 1000),
            message="Server error",
            retry=True,
            means="Internal server error: retry later",
        ),
        Rule(AgoraliaStatusError, means="Any other answer that is a failure"),
    ],
    broken={
        ConnectError: AgoraliaConnectError,
        ConnectionLostError: AgoraliaConnectionLostError,
        CallTimeoutError: AgoraliaTimeoutError,
        BadAnswerError: AgoraliaBadAnswerError,
        DeadlineExceededError: AgoraliaDeadlineError,
    },
)
