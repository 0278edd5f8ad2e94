"""
Which standard error an answer means.

The status decides, unless the service's own code or words say beyond doubt that it is something
else: throttling sent with a 403, an allowance that is spent sent with a 429, an idempotency key
used twice, a declined card. What a plain 400 (or a 200) leaves open, a code that ends in a known
meaning may settle, as AWS and OAuth have it.
"""

from __future__ import annotations

import re
from functools import lru_cache

from failwell.errors import (
    APIError,
    AuthenticationError,
    CallError,
    ConflictError,
    IdempotencyMismatchError,
    InvalidRequestError,
    NotFoundError,
    PaymentRequiredError,
    PermissionDeniedError,
    QuotaExceededError,
    RateLimitError,
    ServerError,
    TooLargeError,
    UnavailableError,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from failwell.dialects.base import Said
    from failwell.failure import Failure

# RFC 9110 section 15, and the numbers that proxies and frameworks made up.
BY_STATUS: dict[int, type[APIError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    402: PaymentRequiredError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: InvalidRequestError,
    406: InvalidRequestError,
    407: AuthenticationError,
    408: UnavailableError,  # sent by proxies that gave up on the service, whatever the RFC means by it
    409: ConflictError,
    410: NotFoundError,
    411: InvalidRequestError,
    412: ConflictError,
    413: TooLargeError,
    414: TooLargeError,
    415: InvalidRequestError,
    420: RateLimitError,
    422: InvalidRequestError,
    423: ConflictError,
    428: InvalidRequestError,
    429: RateLimitError,
    431: TooLargeError,
    440: AuthenticationError,
    451: PermissionDeniedError,
    498: AuthenticationError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
    509: UnavailableError,
    529: UnavailableError,
    530: UnavailableError,
    598: UnavailableError,
    599: UnavailableError,
    **dict.fromkeys(range(520, 528), UnavailableError),
}

BY_KIND: dict[str, type[APIError]] = {
    cls.kind: cls
    for cls in (
        APIError, AuthenticationError, ConflictError, IdempotencyMismatchError, InvalidRequestError,
        NotFoundError, PaymentRequiredError, PermissionDeniedError, QuotaExceededError,
        RateLimitError, ServerError, TooLargeError, UnavailableError,
    )
}  # fmt: skip


def standard_class(status: int, said: Said, headers: Mapping[str, str]) -> type[APIError]:
    """
    The standard error that an answer means.

    Args:
        status: The HTTP status.
        said: What the body says.
        headers: The answer's, names in lower case.
    """
    codes = (said.code, *said.signals) if said.code else said.signals
    kind = said.meaning or named(status, codes, said.message, headers)
    if kind is not None and kind in BY_KIND:
        return BY_KIND[kind]
    return _by_status(status)


def standard_class_of(failure: Failure) -> type[CallError]:
    """
    The standard error that an answered `failure` means, from what is kept of the answer.

    The same as `standard_class` but for what a body says outside its message and code, which
    `Contract.read` has already taken into account where the whole answer is at hand.
    """
    status = failure.status
    if status is None:
        return CallError
    kind = named(status, (failure.code,) if failure.code else (), failure.message, failure.headers)
    return BY_KIND[kind] if kind is not None else _by_status(status)


def named(status: int, codes: Iterable[str], message: str | None, headers: Mapping[str, str]) -> str | None:
    """
    The `kind` that the service names itself, where it goes before the status; None if the
    status decides.

    Args:
        status: The HTTP status. 401, 404 and 5xx other than 500 are never overruled.
        codes: Every word for programs that the answer holds, the most specific first.
        message: The sentence for people. Only phrases nobody uses for anything else count.
        headers: Names in lower case.
    """
    if status in _FIRM:
        return None
    flat = [_squash(code) for code in codes]
    traits = 0
    for code in flat:
        traits |= _traits(code)
    text = message.lower() if message else ""
    if traits & _IDEMPOTENCY or "idempoten" in text:
        kind = _idempotency(flat, text)
        if kind is not None:
            return kind
    throttled = traits & _THROTTLED
    if not throttled and status != 402 and (traits & _SPENT or _says(_SPENT_WORDS, _SPENT_TEXT, text)):
        return "quota_exceeded"
    if status == 429:
        return None
    if throttled or (status in _OVERRULED and _says(_THROTTLED_WORDS, _THROTTLED_TEXT, text)):
        return "rate_limited"
    if status == 403 and _refused_for_rate(headers):
        return "rate_limited"
    if status >= 500:
        return None
    if traits & _DECLINED:
        return "payment_required"
    if status in _OPEN:
        return _settled(status, flat)
    return None


def _says(words: tuple[str, ...], pattern: re.Pattern[str], text: str) -> bool:
    """Whether `pattern` is in `text`; only sought where one of its `words` is."""
    return any(word in text for word in words) and pattern.search(text) is not None


_IDEMPOTENCY, _THROTTLED, _SPENT, _DECLINED = 1, 2, 4, 8


@lru_cache(maxsize=1024)
def _traits(code: str) -> int:
    """What a squashed code says of itself, as bits."""
    traits = _IDEMPOTENCY if "idempoten" in code else 0
    traits |= _THROTTLED if _THROTTLED_CODE.search(code) else 0
    traits |= _SPENT if _SPENT_CODE.search(code) else 0
    return traits | (_DECLINED if _DECLINED_CODE.search(code) else 0)


def named_inside(codes: Iterable[str], message: str | None) -> str | None:
    """The `kind` an error names that came with a status which says nothing, such as 200."""
    listed = list(codes)
    kind = named(200, listed, message, {})
    if kind is not None:
        return kind
    flat = [_squash(code) for code in listed]
    return next((kind for code in flat for kind, pattern in _SAID_INSIDE if pattern.search(code)), None)


# What a status would have said, from the first or last word of a code.
_SAID_INSIDE = (
    (
        "invalid_request",
        re.compile(
            r"^(?:invalid|missing|malformed|bad|unsupported|unknown|too(?:long|many|short))"
            r"|validation|required$|parsefailed|invalid$"
        ),
    ),
    ("server", re.compile(r"internal|servererror|^fatal|unexpected")),
    ("unavailable", re.compile(r"unavailable|overload|timeout|timedout|maintenance")),
)


_FIRM = frozenset({401, 404, 405, 410, 413, 415, 501, 502, 503, 504, 507, 508, 520, 521, 522, 523, 524, 529})
# A 400 says no more than "not like this", a 200 nothing at all. A 409 is what an API answers that
# has one status for all the errors of its operations.
_OPEN = frozenset({200, 400, 409})
_OVERRULED = frozenset({400, 403, 409})
_SPENT_WORDS = ("quota", "credit", "allowance", " cap", "limit")
_THROTTLED_WORDS = ("limit", "too many", "throttl", "slow down", "per second", "per minute", "per hour")

_NOT_WORD = re.compile(r"[^a-z0-9]+")
_THROTTLED_CODE = re.compile(
    r"ratelimit|throttl|toomanyrequest|requestlimitexceeded|toomanycalls|callspersecond"
    r"|slowdown|throughputexceeded|bandwidthlimitexceeded|overratelimit|enhanceyourcalm|flood"
)
_SPENT_CODE = re.compile(
    r"insufficientquota|quotaexceed|exceededquota|exceedquota|overquota|quotareached|outofquota"
    r"|(?:daily|monthly|weekly|yearly|billing|usage|plan|spend|spending|credit|account)limit"
    r"(?:exceed|reach|hit)|outofcredit|insufficientcredit|notenoughcredit|nocredits|creditsexhausted"
    r"|billinghardlimit|dailylimitexceed|allowanceexceeded|quotalimit"
)
_SPENT_TEXT = re.compile(
    r"exceeded (?:your|the|its) (?:current |\w+ly |free |plan )?quota,? please check"
    r"|(?:daily|monthly|weekly|yearly|annual|billing|per[- ](?:day|month)) (?:\w+ ){0,3}"
    r"(?:quota|allowance|cap|limit)\b"
    r"|(?:out of|insufficient|not enough|no (?:more|remaining)) (?:\w+ )?credits"
    r"|credit balance is too low|quota (?:for|of) (?:the|this) (?:day|month|billing)"
)
_THROTTLED_TEXT = re.compile(
    r"rate[- ]?limit(?:s|ed|ing)?\b(?! (?:of|must|should|is set|value|config))|too many (?:requests|calls)"
    r"|request was throttled|(?:are|been|being) (?:rate[- ]?limited|throttled)|throttling"
    r"|(?:request|call|api|usage) limit (?:was |has been |is )?(?:reached|exceeded|hit)"
    r"|requests? (?:per|a) (?:second|minute|hour) (?:\w+ ){0,3}exceeded|slow down"
)
_DECLINED_CODE = re.compile(
    r"card(?:was)?declined|declinedcard|paymentdeclined|instrumentdeclined|genericdecline"
)

_SETTLED = (
    ("not_found", re.compile(r"notfound(?:exception|error|fault)?$|^nosuch|^pathnotfound")),
    ("authentication", re.compile(
        r"^(?:unauthorized|unauthenticated|invalidgrant|invalidclient|invalidtoken|invalidauth|notauthed"
        r"|tokenexpired|tokenrevoked|accountinactive|expiredtoken|authenticationfailed|authenticationerror"
        r"|invalidapikey|missingauthenticationtoken|unrecognizedclient|invalidsignature"
        r"|signaturedoesnotmatch|incompletesignature|invalidaccesskeyid|invalidclienttokenid|authfailure"
        r"|notauthenticated|invalidcredentials|badcredentials)(?:exception|error|fault)?$"
    )),
    ("permission_denied", re.compile(
        r"^(?:forbidden|accessdenied|permissiondenied|notauthorized|unauthorizedoperation|missingscope"
        r"|nopermission|notallowedtokentype|restrictedaction|insufficientpermissions?|insufficientscope"
        r"|unauthorizedaccess)(?:exception|error|fault)?$"
    )),
    ("conflict", re.compile(
        r"^(?:conflict|alreadyexists|conditionalcheckfailed|transactionconflict|concurrentmodification"
        r"|resourceinuse|resourceconflict|entityalreadyexists|resourcealreadyexists)(?:exception|error|fault)?$"
    )),
)  # fmt: skip

_MISMATCH_TEXT = re.compile(
    r"differ|reuse|already (?:been )?used|same (?:parameters|request|payload|body)|mismatch|not match|another"
)
_IN_FLIGHT_TEXT = re.compile(
    r"in progress|being processed|outstanding|concurrent|still processing|in flight|in use"
)
_MISMATCH_CODE = re.compile(r"mismatch|reuse|alreadyused|conflict|differ|^idempotencyerror$")
_IN_FLIGHT_CODE = re.compile(r"inuse|inprogress|processing|concurrent|inflight|locked|outstanding")


def _by_status(status: int) -> type[APIError]:
    cls = BY_STATUS.get(status)
    if cls is not None:
        return cls
    if 400 <= status < 500:  # RFC 9110, section 15: an unknown one is treated as the first of its class
        return InvalidRequestError
    return ServerError if status >= 500 else APIError


@lru_cache(maxsize=1024)
def _squash(code: str) -> str:
    """`code` without case and punctuation, so that all its spellings are one."""
    return _NOT_WORD.sub("", code[:200].lower())


def _idempotency(codes: list[str], text: str) -> str | None:
    """A key used for another payload is a mismatch; one whose request is still running a conflict."""
    about = [code for code in codes if "idempoten" in code]
    if any(_IN_FLIGHT_CODE.search(code) for code in about):
        return "conflict"
    if any(_MISMATCH_CODE.search(code) for code in about):
        return "idempotency_mismatch"
    if "idempoten" not in text or _IN_FLIGHT_TEXT.search(text):
        return None
    return "idempotency_mismatch" if _MISMATCH_TEXT.search(text) else None


def _refused_for_rate(headers: Mapping[str, str]) -> bool:
    """Whether a 403 carries what only a throttled answer does: a wait, or a limit with nothing left."""
    if "retry-after" in headers:
        return True
    return any(
        headers.get(name, "").strip() == "0" for name in ("x-ratelimit-remaining", "ratelimit-remaining")
    )


def _settled(status: int, codes: list[str]) -> str | None:
    for code in codes:
        for kind in _kinds(code):
            if status != 409 or kind == "not_found":
                return kind
    return None


@lru_cache(maxsize=1024)
def _kinds(code: str) -> tuple[str, ...]:
    """The kinds that a squashed code may name, the likeliest first."""
    return tuple(kind for kind, pattern in _SETTLED if pattern.search(code))
