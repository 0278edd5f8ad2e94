"""
What the headers of an answer say: how long to wait, how much is left, what to quote to support.

Names are told by their parts (`x-acme-ratelimit-remaining`, `acme-request-id`), not by a list of
vendors, and what a name was found to mean is remembered, so that a header seen before costs one
look-up. Nothing here raises, whatever the values: a field that cannot be read says nothing
(RFC 9110, section 5.5), because it must not stop a call from being understood.

Where to look for the seconds to wait, the first that can be read:

1. a header that ends in `retry-after-ms` (or is `x-amz-retry-after`, which counts milliseconds too);
2. `Retry-After`: seconds, or a date held against the answer's own `Date`;
3. another header that ends in `retry-after`, or in that and a unit;
4. on a throttled answer only: when the limit is renewed, of every limit that has nothing left.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from math import ceil, isfinite

from failwell.failure import RateLimit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from failwell.failure import Failure

# Numbers above this are points in time, not waits: 10^9 s after 1970 was in 2001, 10^9 s from now
# is 31 years off.
EPOCH_FROM = 1e9
# No answer means a wait of more than ten years; a longer one is a broken number.
LONGEST_WAIT = 10 * 366 * 86400.0
# With something left of a limit, the limit is not what refused the call. A counter may lag, though
# (it is read before the refusal), and a renewal this near costs little to wait for.
NEAR_RENEWAL = 60.0

_NONE, _ID, _RETRY, _LIMIT, _VERDICT = 0, 1, 2, 3, 4

# name -> (role, rank or part, key of the limit); bounded, because names come from the network.
_Role = tuple[int, int, str]
_roles: dict[str, _Role] = {}
_NO_ROLE: _Role = (_NONE, 0, "")
_ROLES_KEPT = 2048

# An id that the client made up, or another request's, is no use to support.
_FOREIGN_ID = re.compile(r"client|original|parent|previous|session|device|visitor|user-id")
_EDGE_IDS = frozenset({"cf-ray", "x-amz-cf-id", "x-azure-ref", "x-vercel-id", "x-cdn-request-id"})
_ID_ENDINGS = (
    (1, ("request-id", "requestid", "request-uuid", "req-id")),
    (2, ("correlation-id", "correlationid")),
    (3, ("-trace-id", "-traceid", "-transaction-id", "-transactionid", "-log-id", "-logid")),
)
_RETRY_NAME = re.compile(r"retry-?(?:after|in)(?:-?(ms|msec|millis|milliseconds|s|sec|secs|seconds))?$")
_LIMIT_NAME = re.compile(r"rate-?limit|quota|request-?limit")
_LIMIT_PART = re.compile(r"(remaining|reset-?after|reset|policy|limit|max)")

_LEFT, _AFTER, _RESET, _POLICY, _MOST, _WHOLE = 1, 2, 3, 4, 5, 6
_PARTS = {"remaining": _LEFT, "resetafter": _AFTER, "reset": _RESET, "policy": _POLICY}


def request_id(headers: Mapping[str, str]) -> str | None:
    """
    The service's id of this request: what to quote to support.

    In this order: `x-request-id` and `request-id`; a name that ends so; a correlation id; a trace
    id. Of two such names the shorter, which is the service's own rather than a hop's. The id that
    a content network stamps on everything (`cf-ray`) counts only on a page, since a page on an
    API's host is the network's own answer. Ids that the client supplied never count.
    """
    best: str | None = None
    rank = (9, 0)
    page = "html" in headers.get("content-type", "")
    for name in headers:
        role = _roles.get(name) or _role(name)
        if role[0] != _ID:
            continue
        if role[1] == 4 and not page:
            continue
        if (role[1], len(name)) < rank:
            value = headers[name].partition(",")[0].strip()
            if value:
                best, rank = value[:200], (role[1], len(name))
    return best


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """
    Whether the service says that the call should be tried again: a header that ends in
    `should-retry`. None if it does not say.
    """
    for name in headers:
        role = _roles.get(name) or _role(name)
        if role[0] == _VERDICT:
            value = headers[name].strip().lower()
            if value in ("true", "1", "yes"):
                return True
            if value in ("false", "0", "no"):
                return False
    return None


def retry_after(headers: Mapping[str, str], now: datetime | None = None, *, throttled: bool) -> float | None:
    """
    How long the service asks to be left alone.

    Args:
        headers: Names in lower case.
        now: The current time, aware. Dates and epochs are held against the answer's own `Date`,
            because the two clocks need not agree; else against this; else the machine's clock.
        throttled: Whether the answer refuses because of too many calls. Only then does the
            renewal of a rate limit say anything about a wait.

    Returns:
        Seconds, 0.0 or more; a point in the past is 0.0. None if there is no hint that can be
        read: a negative wait, garbage, a number beyond all sense.

    Source:
        RFC 9110, section 10.2.3; draft-ietf-httpapi-ratelimit-headers.
    """
    found: list[tuple[int, str]] = []
    limits = False
    for name in headers:
        role = _roles.get(name) or _role(name)
        if role[0] == _RETRY:
            found.append((role[1], name))
        elif role[0] == _LIMIT:
            limits = True
    if found:
        found.sort()
        for rank, name in found:
            wait = _wait(headers[name], headers, now, milliseconds=rank == 0)
            if wait is not None:
                return wait
    if not (throttled and limits):
        return None
    return _renewal_wait(headers, now)


def rate_limit(headers: Mapping[str, str], now: datetime | None = None) -> RateLimit | None:
    """
    The service's rate limit as it stood.

    Reads `RateLimit` as a structured field (`"default";r=0;t=30`, and of `RateLimit-Policy` the `q`
    of the policy that it names) or a list (`limit=10, remaining=0, reset=30`), and the families
    `RateLimit-Limit`, `X-RateLimit-Limit` and
    `<Vendor>-RateLimit-Limit` with their `-Remaining` and `-Reset`. Of several limits, the one
    with the least left, since that is the one in the way.

    Args:
        headers: Names in lower case.
        now: As for `retry_after`.

    Returns:
        None if no header says how many are allowed, how many are left or when it is renewed.

    Source:
        draft-ietf-httpapi-ratelimit-headers, drafts 3 to 11.
    """
    buckets = _buckets(headers)
    if not buckets:
        return None
    policy = next((b.policy for b in buckets if b.policy), None)
    known = [b for b in buckets if b.limit is not None or b.left is not None or b.reset]
    if not known:
        return None if policy is None else RateLimit(policy=policy)
    least = min(known, key=lambda b: (b.left is None, b.left or 0, b.reset is None))
    reset_at = _point(least, headers, now)
    if least.limit is None and least.left is None and reset_at is None and policy is None:
        return None
    return RateLimit(least.limit, least.left, reset_at, least.policy or policy)


def write(failure: Failure) -> dict[str, str]:
    """
    The headers that say what `failure` knows: the encode half of this module.

    `retry-after` is whole seconds, rounded up, never earlier than asked; the renewal of the
    limit is an epoch in seconds. What does not fit into a header field is left out.
    """
    written: dict[str, str] = {}
    if failure.request_id and _fits(failure.request_id):
        written["x-request-id"] = failure.request_id
    wait = failure.retry_after
    if wait is not None and isfinite(wait):
        written["retry-after"] = str(max(0, ceil(wait)))
    limit = failure.rate_limit
    if limit is None:
        return written
    if limit.limit is not None:
        written["x-ratelimit-limit"] = str(limit.limit)
    if limit.remaining is not None:
        written["x-ratelimit-remaining"] = str(limit.remaining)
    if limit.reset_at is not None:
        written["x-ratelimit-reset"] = str(ceil(limit.reset_at.timestamp()))
    if limit.policy and _fits(limit.policy):
        written["ratelimit-policy"] = limit.policy
    return written


def http_date(text: str) -> datetime | None:
    """
    The point in time that `text` names, aware, UTC; None if it is no date.

    Reads the three forms of an HTTP-date and ISO 8601 with a zone (without one: UTC).

    Source:
        RFC 9110, section 5.6.7; RFC 3339.
    """
    text = text.strip()[:64]
    match = _IMF.match(text) or _RFC850.match(text) or _ASCTIME.match(text)
    try:
        if match is None:
            return _iso_date(text)
        part = match.groupdict()
        year = int(part["year"])
        if year < 100:  # RFC 850 has two digits: the century in which they are nearest
            year += 2000 if year < 70 else 1900
        zone = part.get("zone") or "GMT"
        point = datetime(
            year, _MONTHS[part["month"].lower()], int(part["day"]),
            int(part["hour"]), int(part["minute"]), min(59, int(part["second"])), tzinfo=UTC,
        )  # fmt: skip
        return point - _offset(zone)
    except (ValueError, KeyError, OverflowError):
        return None


def seconds_of(text: str) -> float | None:
    """
    The seconds in a number ("2.5") or a duration ("1m30s", "20ms", "PT30S"); None if it is neither,
    or negative, or not finite.
    """
    text = text.strip()[:64]
    if _NUMBER.fullmatch(text):
        value = float(text)
        return value if isfinite(value) else None
    match = _DURATION.fullmatch(text.lower())
    if match is None or not text:
        return None
    total = sum(float(n) * _UNITS[unit] for n, unit in _DURATION_PART.findall(text.lower()))
    return total if isfinite(total) else None


_NUMBER = re.compile(r"\d{1,32}(?:\.\d{0,16})?|\.\d{1,16}", re.ASCII)
_DURATION_PART = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s?(ms|us|µs|ns|d|h|m|s)", re.ASCII)
_DURATION = re.compile(r"(?:p?t?(?:\d{1,12}(?:\.\d{1,12})?\s?(?:ms|us|µs|ns|d|h|m|s)\s?t?)+)", re.ASCII)
_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_MONTHS = {
    "jan": 1, "feb": 2, "mar": 3, "apr": 4, "may": 5, "jun": 6,
    "jul": 7, "aug": 8, "sep": 9, "oct": 10, "nov": 11, "dec": 12,
}  # fmt: skip
_CLOCK = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_IMF = re.compile(
    rf"(?:\w{{3}},? )?(?P<day>\d\d?) (?P<month>\w{{3}}) (?P<year>\d{{4}}) {_CLOCK}(?: (?P<zone>\S+))?$"
)
_RFC850 = re.compile(rf"\w{{6,9}}, (?P<day>\d\d)-(?P<month>\w{{3}})-(?P<year>\d\d) {_CLOCK} GMT$")
_ASCTIME = re.compile(rf"\w{{3}} (?P<month>\w{{3}}) [ \d](?P<day>\d) {_CLOCK} (?P<year>\d{{4}})$")


def _role(name: str) -> _Role:
    if len(_roles) >= _ROLES_KEPT:
        _roles.clear()
    role = _roles[name] = _find_role(name)
    return role


def _find_role(name: str) -> _Role:
    name = name[:100].replace("_", "-")
    if name in ("x-request-id", "request-id"):
        return _ID, 0, ""
    if name in _EDGE_IDS:
        return _ID, 4, ""
    if name.endswith("should-retry"):
        return _VERDICT, 0, ""
    retry = _RETRY_NAME.search(name)
    if retry is not None:
        milliseconds = (retry[1] or "").startswith("m") or name == "x-amz-retry-after"
        return _RETRY, 0 if milliseconds else 1 if name == "retry-after" else 2, ""
    if _LIMIT_NAME.search(name):
        return _limit_role(name)
    if _FOREIGN_ID.search(name):
        return _NO_ROLE
    rank = next((rank for rank, endings in _ID_ENDINGS if f"-{name}".endswith(endings)), None)
    if rank is None:
        return _NO_ROLE
    return _ID, 2 if "correlation" in name else rank, ""


def _limit_role(name: str) -> _Role:
    """Which part of which limit `name` carries; the key is what two parts of one limit share."""
    if name in ("ratelimit", "x-ratelimit", "rate-limit"):
        return _LIMIT, _WHOLE, ""
    # "ratelimit-limit": the word after the family's own name says the part.
    family = re.sub(r"rate-?limit|request-?s?-?limit(?:-?header)?", "rate", name)
    found = _LIMIT_PART.search(family)
    if found is None:
        return _NO_ROLE
    part = found[1].replace("-", "")
    key = family[: found.start()] + family[found.end() :]
    return _LIMIT, _PARTS.get(part, _MOST), key.replace("--", "-").strip("-")


class _Bucket:
    """One limit, as its headers spell it."""

    __slots__ = ("left", "limit", "policy", "relative", "reset")

    def __init__(self) -> None:
        self.limit: int | None = None
        self.left: int | None = None
        self.reset: str | None = None
        self.relative = False
        self.policy: str | None = None


def _buckets(headers: Mapping[str, str]) -> list[_Bucket]:
    buckets: dict[str, _Bucket] = {}
    whole: list[_Bucket] = []
    policies = ""
    for name in headers:
        role = _roles.get(name) or _role(name)
        if role[0] != _LIMIT:
            continue
        _, part, key = role
        value = headers[name]
        if part == _WHOLE:
            whole = _structured(value)
            continue
        bucket = buckets.get(key)
        if bucket is None:
            bucket = buckets[key] = _Bucket()
        if part == _POLICY:
            bucket.policy, policies = value[:200], value
        elif part == _LEFT:
            bucket.left = _count(value)
        elif part == _MOST:
            bucket.limit = _count(value)
        elif part == _AFTER or not bucket.relative:
            bucket.reset, bucket.relative = value, part == _AFTER
    if whole and policies:
        quotas = _quotas(policies)
        for bucket in whole:
            if bucket.limit is None:
                bucket.limit = quotas.get(bucket.policy)
    return whole + list(buckets.values())


def _structured(value: str) -> list[_Bucket]:
    """
    The limits of a `RateLimit` field: `"burst";r=0;t=5, "day";r=10;t=3600`, or the older
    `limit=10, remaining=0, reset=30`.
    """
    found: list[_Bucket] = []
    older = _Bucket()
    for head, parameters in _items(value):
        if not parameters or ("=" in head and not head.startswith('"')):
            name, _, text = head.partition("=")
            _older_part(older, name.strip().lower(), text.strip())
            continue
        bucket = _Bucket()
        bucket.policy = _word(head) or None
        for name, text in parameters:
            if name == "r":
                bucket.left = _count(text)
            elif name == "t":
                bucket.reset, bucket.relative = text.strip(), True
            elif name in ("q", "l"):
                bucket.limit = _count(text)
        found.append(bucket)
    if older.limit is not None or older.left is not None or older.reset is not None:
        found.append(older)
    return found


def _quotas(value: str) -> dict[str | None, int | None]:
    """
    How many each policy of a `RateLimit-Policy` field allows: `"burst";q=10;w=1, "day";q=5000`.

    A policy that says so twice, and not the same, says nothing; neither does a `q` that is no
    whole number.
    """
    found: dict[str | None, int | None] = {}
    for head, parameters in _items(value):
        # Of a parameter that is given twice the last one holds (RFC 9651, section 3.1.2).
        text = dict(parameters).get("q", "").strip()
        quota = int(text) if _QUOTA.fullmatch(text) else None
        name = _word(head) or None
        found[name] = quota if found.get(name, quota) == quota else None
    found.pop(None, None)  # a limit without a name is of no policy
    return found


def _items(value: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """The items of a list that is a structured field, each with its parameters, names in lower case."""
    found = []
    for item in _BY_COMMA.findall(value[:2000]):
        head, *parameters = _BY_SEMICOLON.findall(item) or [""]
        pairs = [parameter.partition("=") for parameter in parameters]
        found.append((head.strip(), [(name.strip().lower(), text) for name, _, text in pairs]))
    return found


def _word(text: str) -> str:
    """The word of an item: a string, or what is used as one."""
    if len(text) > 1 and text[0] == text[-1] == '"':
        return re.sub(r"\\(.)", r"\1", text[1:-1])
    return text.strip('"')


# What stands between separators, which do not count within a string (RFC 9651, section 3.3.3); one
# that is not closed goes on to the end.
_STRING = r'"(?:[^"\\]|\\.)*"?'
_BY_COMMA = re.compile(rf'(?:[^",]|{_STRING})+', re.DOTALL)
_BY_SEMICOLON = re.compile(rf'(?:[^";]|{_STRING})+', re.DOTALL)
_QUOTA = re.compile(r"\d{1,15}", re.ASCII)


def _older_part(bucket: _Bucket, name: str, text: str) -> None:
    if name == "limit":
        bucket.limit = _count(text)
    elif name in ("remaining", "r"):
        bucket.left = _count(text)
    elif name in ("reset", "t"):
        bucket.reset, bucket.relative = text, True


def _count(text: str) -> int | None:
    """The first whole number of `text` ("100;w=60", "597.0"); None if there is none."""
    if text.isdigit() and text.isascii() and len(text) < 16:
        return int(text)
    match = re.match(r"\s*(\d{1,15})(?![\d])", text)
    return int(match[1]) if match else None


def _renewal_wait(headers: Mapping[str, str], now: datetime | None) -> float | None:
    buckets = [b for b in _buckets(headers) if b.reset]
    spent = [b for b in buckets if b.left == 0] or [b for b in buckets if b.left is None]
    waits = [_bucket_wait(b, headers, now) for b in spent]
    known = [w for w in waits if w is not None]
    if known:
        return max(known)
    if len(buckets) == 1 and not spent:
        wait = seconds_of(buckets[0].reset or "")
        return wait if wait is not None and wait <= NEAR_RENEWAL else None
    return None


def _bucket_wait(bucket: _Bucket, headers: Mapping[str, str], now: datetime | None) -> float | None:
    return _wait(bucket.reset or "", headers, now, milliseconds=False)


def _point(bucket: _Bucket, headers: Mapping[str, str], now: datetime | None) -> datetime | None:
    """When `bucket` is full again, aware, UTC."""
    text = (bucket.reset or "").strip()
    if not text:
        return None
    seconds = seconds_of(text)
    if seconds is None:
        return http_date(text)
    try:
        if seconds > EPOCH_FROM:
            return datetime.fromtimestamp(_epoch_seconds(seconds), UTC)
        return _reference(headers, now) + timedelta(seconds=seconds)
    except (ValueError, OverflowError, OSError):
        return None


def _wait(text: str, headers: Mapping[str, str], now: datetime | None, *, milliseconds: bool) -> float | None:
    text = text.strip()[:64]
    if "," in text and text[0].isdigit():  # the header was sent twice
        text = text.partition(",")[0].strip()
    seconds = seconds_of(text)
    if seconds is not None:
        if milliseconds and _NUMBER.fullmatch(text):
            seconds /= 1000.0
        if seconds > EPOCH_FROM:
            seconds = max(0.0, _epoch_seconds(seconds) - _reference(headers, now).timestamp())
        return seconds if seconds <= LONGEST_WAIT else None
    point = http_date(text)
    if point is None:
        return None
    wait = max(0.0, (point - _reference(headers, now)).total_seconds())
    return wait if wait <= LONGEST_WAIT else None


def _epoch_seconds(value: float) -> float:
    """Seconds since 1970 of an epoch in seconds, milliseconds, microseconds or nanoseconds."""
    for factor in (1.0, 1e3, 1e6, 1e9):
        if value / factor < 1e11:
            return value / factor
    return float("inf")


def _reference(headers: Mapping[str, str], now: datetime | None) -> datetime:
    """What the answer's dates are held against."""
    date = headers.get("date")
    point = http_date(date) if date else None
    if point is not None:
        return point
    if now is None:
        return datetime.now(UTC)
    return now if now.tzinfo is not None else now.replace(tzinfo=UTC)


def _iso_date(text: str) -> datetime | None:
    if len(text) < 10 or text[4:5] != "-":
        return None
    point = datetime.fromisoformat(text)
    return point.replace(tzinfo=UTC) if point.tzinfo is None else point.astimezone(UTC)


def _offset(zone: str) -> timedelta:
    if zone in ("GMT", "UTC", "UT", "Z"):
        return timedelta()
    sign, hours, minutes = zone[0], int(zone[1:3]), int(zone[3:5])
    return timedelta(hours=hours, minutes=minutes) * (-1 if sign == "-" else 1)


def _fits(text: str) -> bool:
    """Whether `text` can stand in a header field as it is."""
    return text.isascii() and text.isprintable() and text == text.strip() and len(text) <= 200
