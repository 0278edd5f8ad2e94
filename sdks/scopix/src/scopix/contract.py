"""Which answer of the Scopix API, which break and which refused argument is which exception: one table."""

from __future__ import annotations

import failwell.errors as standard
from failwell.contract import Contract, Rule
from failwell.failure import Effect
from scopix.dialect import DIALECT
from scopix.errors import (
    AuthenticationError,
    ChatError,
    CircuitBreakerError,
    CloudStorageError,
    DescriptionError,
    DocumentProcessingError,
    PaymentRequiredError,
    QuotaExceededError,
    RateLimitError,
    ResourceNotFoundError,
    S3ConnectorError,
    ScopixConfigurationError,
    ScopixConflictError,
    ScopixConnectionError,
    ScopixError,
    ScopixPermissionError,
    ScopixTimeoutError,
    ScopixTypeError,
    ScopixValueError,
    ServerError,
    SSEStreamError,
    UploadError,
    ValidationError,
    VideoAnalysisError,
    VideoUploadError,
    WaitTimeoutError,
)

# A key that was used with another body; and one whose first request is still being carried out:
# asking again brings its answer.
IDEMPOTENCY_CONFLICT = "IDEMPOTENCY_CONFLICT"
IDEMPOTENCY_IN_FLIGHT = "IDEMPOTENCY_IN_FLIGHT"

# A code says more than the status, and jobs and streams have no status: these go by it alone.
_BY_CODE = [
    Rule(QuotaExceededError, code="QUOTA_EXCEEDED", retry=False, effect=Effect.NOT_APPLIED,
         means="The upload or processing quota of the account is spent."),
    Rule(UploadError, code="UPLOAD_ERROR", means="A file was not uploaded whole."),
    Rule(VideoUploadError, code="VIDEO_UPLOAD_ERROR", means="A video was not uploaded whole."),
    Rule(DocumentProcessingError, code="DOCUMENT_PROCESSING_ERROR",
         means="A document is still processed, or could not be."),
    Rule(ChatError, code="CHAT_ERROR", means="A chat could not go on."),
    Rule(ChatError, when=lambda failure: (failure.code or "").startswith("CHAT_"),
         means="A chat could not go on, and the code says why."),
    Rule(DescriptionError, code="DESCRIPTION_ERROR", means="An image could not be described."),
    Rule(CloudStorageError, code="CLOUD_STORAGE_ERROR", means="An import or export failed."),
    Rule(S3ConnectorError, code="S3_CONNECTOR_ERROR", means="A job of an S3 connector failed."),
    Rule(VideoAnalysisError, code="VIDEO_ANALYSIS_ERROR", means="A video could not be analysed."),
]  # fmt: skip

CONTRACT = Contract(
    "scopix",
    base=ScopixError,
    dialect=DIALECT,
    rules=[
        *_BY_CODE,
        Rule(AuthenticationError, status=401, answer_headers={"www-authenticate": 'Bearer realm="scopix"'},
             means="The API key is missing, wrong, revoked or expired."),
        Rule(PaymentRequiredError, status=402, means="The payment for the subscription is past due."),
        Rule(ScopixPermissionError, status=403, means="The API key's scopes do not allow this."),
        Rule(ResourceNotFoundError, status=404, means="There is no such thing."),
        Rule(ScopixConflictError, status=409, when=lambda failure: failure.code != IDEMPOTENCY_IN_FLIGHT,
             means="The request does not fit the state, or the idempotency key had another body."),
        Rule(ScopixConflictError, status=409, effect=Effect.UNKNOWN, retry=True,
             means="The first request with this idempotency key is still being carried out."),
        Rule(ValidationError, status=(422, 400, 405, 413, 415, 416), means="The request is wrong."),
        Rule(RateLimitError, status=429, retry=True, means="Too many requests with this key."),
        Rule(ServerError, status=range(500, 600), means="The service failed."),
        Rule(ScopixError, means="Any other answer that is a failure."),
    ],
    # Naming what an open circuit raises turns the breaker on.
    broken={
        standard.TransportError: ScopixConnectionError,
        standard.CallTimeoutError: ScopixTimeoutError,
        standard.RefusedError: ScopixConnectionError,
        standard.DeadlineExceededError: ScopixTimeoutError,
        standard.CircuitOpenError: CircuitBreakerError,
        standard.PollTimeoutError: WaitTimeoutError,
        standard.JobFailedError: ScopixError,
        standard.StreamError: SSEStreamError,
        standard.UploadError: UploadError,
    },
    usage={
        standard.UsageError: ScopixValueError,
        standard.ArgumentTypeError: ScopixTypeError,
        standard.ConfigurationError: ScopixConfigurationError,
    },
)  # fmt: skip
