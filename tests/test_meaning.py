"""Which standard error an answer means."""

from __future__ import annotations

import pytest

from failwell import errors, meaning
from failwell.dialects.base import Said
from failwell.failure import Failure

BY_STATUS = {
    300: "APIError", 302: "APIError", 304: "APIError", 400: "InvalidRequestError",
    401: "AuthenticationError", 402: "PaymentRequiredError", 403: "PermissionDeniedError",
    404: "NotFoundError", 405: "InvalidRequestError", 406: "InvalidRequestError",
    407: "AuthenticationError", 408: "UnavailableError", 409: "ConflictError", 410: "NotFoundError",
    411: "InvalidRequestError", 412: "ConflictError", 413: "TooLargeError", 414: "TooLargeError",
    415: "InvalidRequestError", 418: "InvalidRequestError", 422: "InvalidRequestError",
    423: "ConflictError", 428: "InvalidRequestError", 429: "RateLimitError", 431: "TooLargeError",
    451: "PermissionDeniedError", 499: "InvalidRequestError", 500: "ServerError", 501: "ServerError",
    502: "UnavailableError", 503: "UnavailableError", 504: "UnavailableError", 505: "ServerError",
    507: "ServerError", 520: "UnavailableError", 524: "UnavailableError", 529: "UnavailableError",
    555: "ServerError",
}  # fmt: skip


@pytest.mark.parametrize(("status", "name"), BY_STATUS.items())
def test_the_status_decides_where_the_body_is_silent(status: int, name: str) -> None:
    assert meaning.standard_class(status, Said(), {}) is getattr(errors, name)


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_a_meaning(status: int) -> None:
    assert issubclass(meaning.standard_class(status, Said(), {}), errors.APIError)


@pytest.mark.parametrize(
    ("status", "code", "name"),
    [
        (429, "insufficient_quota", "QuotaExceededError"),
        (403, "quotaExceeded", "QuotaExceededError"),
        (403, "dailyLimitExceeded", "QuotaExceededError"),
        (400, "MONTHLY_LIMIT_REACHED", "QuotaExceededError"),
        (402, "insufficient_quota", "PaymentRequiredError"),
        (429, "rate_limit_exceeded", "RateLimitError"),
        (403, "userRateLimitExceeded", "RateLimitError"),
        (403, "REQUEST_LIMIT_EXCEEDED", "RateLimitError"),
        (400, "ThrottlingException", "RateLimitError"),
        (400, "TooManyRequestsException", "RateLimitError"),
        (500, "ThrottlingException", "RateLimitError"),
        (503, "ThrottlingException", "UnavailableError"),
        (400, "ResourceNotFoundException", "NotFoundError"),
        (400, "NoSuchBucket", "NotFoundError"),
        (422, "RESOURCE_NOT_FOUND", "InvalidRequestError"),
        (409, "path/not_found", "NotFoundError"),
        (409, "AlreadyExists", "ConflictError"),
        (400, "ExpiredTokenException", "AuthenticationError"),
        (400, "UnrecognizedClientException", "AuthenticationError"),
        (400, "invalid_grant", "AuthenticationError"),
        (403, "MissingAuthenticationTokenException", "PermissionDeniedError"),
        (400, "AccessDeniedException", "PermissionDeniedError"),
        (400, "ConditionalCheckFailedException", "ConflictError"),
        (400, "card_declined", "PaymentRequiredError"),
        (400, "idempotency_error", "IdempotencyMismatchError"),
        (409, "idempotency_key_in_use", "ConflictError"),
        (422, "IDEMPOTENCY_KEY_REUSED", "IdempotencyMismatchError"),
        (401, "quota_exceeded", "AuthenticationError"),
        (404, "rate_limited", "NotFoundError"),
        (400, "invalid_request_error", "InvalidRequestError"),
        (400, "model_not_found_in_list", "InvalidRequestError"),
        (403, "forbidden", "PermissionDeniedError"),
    ],
)  # fmt: skip
def test_a_code_goes_before_the_status_where_it_leaves_no_doubt(status: int, code: str, name: str) -> None:
    assert meaning.standard_class(status, Said(code=code), {}) is getattr(errors, name)


@pytest.mark.parametrize(
    ("status", "message", "name"),
    [
        (403, "API rate limit exceeded for user ID 1.", "RateLimitError"),
        (403, "You have exceeded a secondary rate limit. Please wait.", "RateLimitError"),
        (400, "The rate limit must be a positive number.", "InvalidRequestError"),
        (403, "You may not change the limit of this project.", "PermissionDeniedError"),
        (429, "You exceeded your current quota, please check your plan.", "QuotaExceededError"),
        (429, "You have used up your monthly quota.", "QuotaExceededError"),
        (429, "Too many requests. Add a payment method to raise your limit.", "RateLimitError"),
        (400, "Your credit balance is too low to use this API.", "QuotaExceededError"),
        (402, "Not enough credits.", "PaymentRequiredError"),
        (409, "Idempotency key already used with different request body", "IdempotencyMismatchError"),
        (409, "A request with this idempotency key is being processed.", "ConflictError"),
        (400, "Idempotency-Key header is required.", "InvalidRequestError"),
        (422, "Idempotency-Key is already used", "IdempotencyMismatchError"),
        (500, "Too many requests were in memory", "ServerError"),
        (400, "There is no such campaign, credit limit unknown.", "InvalidRequestError"),
    ],
)  # fmt: skip
def test_words_go_before_the_status_only_where_nobody_uses_them_for_anything_else(
    status: int, message: str, name: str
) -> None:
    assert meaning.standard_class(status, Said(message=message), {}) is getattr(errors, name)


@pytest.mark.parametrize(
    "headers", [{"retry-after": "60"}, {"x-ratelimit-remaining": "0"}, {"ratelimit-remaining": "0"}], ids=str
)
def test_a_403_that_asks_to_wait_is_a_rate_limit(headers: dict[str, str]) -> None:
    said = Said(message="You have triggered an abuse detection mechanism.")

    assert meaning.standard_class(403, said, headers) is errors.RateLimitError
    assert meaning.standard_class(403, said, {"x-ratelimit-remaining": "58"}) is errors.PermissionDeniedError


def test_what_the_body_means_beyond_doubt_goes_before_everything() -> None:
    assert meaning.standard_class(200, Said(meaning="not_found"), {}) is errors.NotFoundError


def test_the_finer_code_beside_the_first_is_heard_too() -> None:
    """`PERMISSION_DENIED` is the code, the reason in its details says why."""
    said = Said(code="PERMISSION_DENIED", signals=("rateLimitExceeded",))

    assert meaning.standard_class(403, said, {}) is errors.RateLimitError


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 429, 500, 503])
@pytest.mark.parametrize(
    "code", [None, "insufficient_quota", "ThrottlingException", "idempotency_key_reused"]
)
@pytest.mark.parametrize("headers", [{}, {"retry-after": "5"}], ids=str)
def test_a_failure_means_what_its_answer_meant(
    status: int, code: str | None, headers: dict[str, str]
) -> None:
    said = Said(message="It did not work.", code=code)
    failure = Failure(status=status, message=said.message, code=code, headers=headers)

    assert meaning.standard_class_of(failure) is meaning.standard_class(status, said, headers)


def test_a_failure_without_an_answer_is_a_call_that_failed() -> None:
    assert meaning.standard_class_of(Failure()) is errors.CallError
