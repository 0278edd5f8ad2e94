"""Which answer of the Pictograph API is which exception: one table, both ways."""

from __future__ import annotations

import failwell.errors as standard
from failwell.contract import Contract, Rule
from failwell.failure import Effect
from pictograph.dialect import DIALECT
from pictograph.exceptions import (
    ApiError,
    AuthError,
    ConfigurationError,
    ConflictError,
    FolderUploadError,
    ForbiddenError,
    JobFailedError,
    NetworkError,
    NotFoundError,
    PaymentRequiredError,
    PictographCallError,
    PictographTypeError,
    PictographValueError,
    PollTimeoutError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    UploadError,
    ValidationError,
)

# The document's word for a key that was used with another body, and ours for one whose first request
# is still being carried out: asking again brings its answer.
IDEMPOTENCY_CONFLICT = "idempotency_conflict"
IDEMPOTENCY_IN_FLIGHT = "idempotency_in_flight"

CONTRACT = Contract(
    "pictograph",
    base=PictographCallError,
    dialect=DIALECT,
    rules=[
        Rule(AuthError, status=401, answer_headers={"www-authenticate": 'Bearer realm="pictograph"'},
             means="The API key is missing, wrong, revoked or expired."),
        Rule(PaymentRequiredError, status=402, means="The credits do not suffice."),
        Rule(ForbiddenError, status=403, means="The role of the API key does not allow this."),
        Rule(NotFoundError, status=404, means="There is no such thing; names are case-sensitive."),
        Rule(ConflictError, status=409, when=lambda failure: failure.code != IDEMPOTENCY_IN_FLIGHT,
             means="The name is taken, the version is old, or the idempotency key had another body."),
        Rule(ConflictError, status=409, effect=Effect.UNKNOWN, retry=True,
             means="The first request with this idempotency key is still being carried out."),
        Rule(ValidationError, status=422, means="The payload was refused."),
        Rule(RateLimitError, status=429, retry=True, means="Too many requests with this key."),
        Rule(ServerError, status=range(500, 600), retry=True, means="The service failed."),
        Rule(ApiError, means="Any other answer that is a failure."),
    ],
    # The breaker stays off: the document names no exception for it.
    broken={
        standard.TransportError: NetworkError,
        standard.CallTimeoutError: RequestTimeoutError,
        standard.RefusedError: NetworkError,
        standard.DeadlineExceededError: RequestTimeoutError,
        standard.PollTimeoutError: PollTimeoutError,
        standard.JobFailedError: JobFailedError,
        standard.UploadError: UploadError,
        standard.BatchError: FolderUploadError,
    },
    usage={
        standard.UsageError: PictographValueError,
        standard.ArgumentTypeError: PictographTypeError,
        standard.ConfigurationError: ConfigurationError,
    },
)  # fmt: skip
