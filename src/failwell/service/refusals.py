"""
What a gate says when it does not let a request through.

A refusal is words and numbers; the contract makes the service's own exception of it and encodes
that. So a gate answers in the same dialect as a handler, and a client reads both by one table.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from failwell.answer import Answer
from failwell.dialects.parts import phrase
from failwell.failure import Failure, FieldError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from failwell.contract import Contract
    from failwell.errors import CallError


# Code to status and words. A service that documents other words names them in `wording`.
STANDARD_WORDING: Mapping[str, tuple[int, str]] = {
    "bad_request": (400, "The request cannot be read."),
    "malformed_json": (400, "The body is not valid JSON."),
    "idempotency_key_invalid": (
        400,
        "Idempotency-Key must be one key of 1 to 255 letters, digits or characters of ._~:+/=- "
        "or, in double quotes, of 1 to 255 printable ASCII characters.",
    ),
    "idempotency_key_missing": (400, "This operation needs an Idempotency-Key."),
    "api_key_missing": (401, "No API key was given."),
    "api_key_malformed": (401, "This is not the format of an API key."),
    "api_key_invalid": (401, "The API key is not valid."),
    "api_key_revoked": (401, "The API key was revoked."),
    "api_key_expired": (401, "The API key has expired."),
    "insufficient_credits": (402, "{required} {unit} are needed, {remaining} are left."),
    "insufficient_scope": (403, "The API key lacks the scope {scope}."),
    "insufficient_role": (403, "The API key lacks the role {role}."),
    "tier_required": (403, "The plan does not include this."),
    "quota_exceeded": (403, "The quota of {allowance} {unit} is spent: {remaining} are left."),
    "tenant_suspended": (403, "The account is suspended."),
    "not_found": (404, "There is nothing at this path."),
    "method_not_allowed": (405, "This path does not take {method}."),
    "idempotency_mismatch": (409, "The idempotency key was already used with a different request."),
    "idempotency_in_flight": (409, "A request with this idempotency key is still being processed."),
    "idempotency_outcome_unknown": (
        409,
        "The first request with this idempotency key broke off, and its outcome is not known.",
    ),
    "idempotency_answer_not_kept": (
        409,
        "The request with this idempotency key was carried out; its answer was too large to keep.",
    ),
    "payload_too_large": (413, "The body is larger than {limit} bytes."),
    "validation_failed": (422, "The request does not have the expected fields."),
    "rate_limited": (429, "Too many requests."),
    "internal_error": (500, "Internal server error."),
    "draining": (503, "The service is shutting down. Try again shortly."),
    "unavailable": (503, "The service is temporarily unavailable."),
}


# Statuses for which the wording has a code; the others are called by their own name.
_CODES = {
    400: "bad_request", 413: "payload_too_large", 422: "validation_failed", 429: "rate_limited",
    500: "internal_error", 503: "unavailable",
}  # fmt: skip


def code_of_status(status: int) -> str:
    """The code for an exception of the framework's, which says a status only."""
    fallback = "internal_error" if status >= 500 else phrase(status).lower()
    return _CODES.get(status) or fallback.replace(" ", "_").replace("'", "").replace("-", "_")


@dataclass(frozen=True, slots=True)
class Refusal:
    """
    Why a request is not let through.

    Attributes:
        code: For programs: a key of the wording, or any other code with a status and a message.
        values: What the words have gaps for; also the details of the error.
        fields: What is wrong, field by field.
        headers: Further headers of the answer, names in lower case.
        retry_after: Whole seconds after which the same request may succeed.
        status: Instead of the wording's.
        message: Instead of the wording's.
    """

    code: str
    values: Mapping[str, Any] = field(default_factory=dict)
    fields: tuple[FieldError, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    retry_after: int | None = None
    status: int | None = None
    message: str | None = None


class RefusedRequest(Exception):  # no failure of a call: it never leaves the service
    """Carries a refusal out of a gate or a handler."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.code)
        self.refusal = refusal


def error_for(
    contract: Contract,
    wording: Mapping[str, tuple[int, str]],
    refusal: Refusal,
    codes: Mapping[str, str] | None = None,
) -> CallError:
    """
    The exception of `contract` that says what `refusal` says.

    Args:
        contract: The service's.
        wording: Code to status and words.
        refusal: What to say.
        codes: Codes that the service calls by another name.
    """
    if refusal.status is None or refusal.message is None:
        status, words = wording[refusal.code]
        refusal = replace(
            refusal,
            status=refusal.status or status,
            message=refusal.message or words.format_map(refusal.values),
        )
    failure = Failure(
        status=refusal.status,
        message=refusal.message,
        code=(codes or {}).get(refusal.code, refusal.code),
        fields=refusal.fields,
        details=refusal.values,
        retry_after=None if refusal.retry_after is None else float(refusal.retry_after),
    )
    return error_of(contract, failure)


def error_of(contract: Contract, failure: Failure) -> CallError:
    """
    The exception that `contract` raises for `failure`.

    A contract without a row for it is asked what it reads in the answer it would write.
    """
    rule = next((r for r in contract.rules if r.matches(failure)), None)
    if rule is not None:
        return rule.raises.from_failure(failure, rule.message)
    media_type, body = contract.dialect.write(failure)
    reading = contract.read(Answer(failure.status or 500, {"content-type": media_type}, body))
    raises = contract.base if reading is None else reading.raises
    return raises.from_failure(failure)
