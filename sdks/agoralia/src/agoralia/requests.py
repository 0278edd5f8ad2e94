"""
For code that speaks `requests` itself: the document's two functions.

Both decide by the contract's table, as the clients do. `handle_api_error` takes the responses of
other libraries as well.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace

from agoralia.contract import CONTRACT
from agoralia.errors import RESET_SECONDS
from failwell.answer import Answer
from failwell.call.outcome import effect_of_call
from failwell.contract import SAFE_METHODS
from failwell.errors import ArgumentTypeError, ConfigurationError, UsageError
from failwell.failure import Attempt, Effect
from failwell.interop import request_behind
from failwell.redaction import Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    import requests

    from failwell.contract import Reading
    from failwell.failure import Failure

# A rate-limit window is a minute. Who is asked to wait longer than two is told so, not kept waiting.
MAX_WAIT = 120.0

# Without one, requests waits for ever for an answer that was lost.
TIMEOUT = 60.0

KEY_HEADER = "Idempotency-Key"
WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def handle_api_error(response: Any) -> None:
    """
    Raise the exception that `response` means; return if its status is below 400.

    Args:
        response: A response of requests, httpx, httpx2, or anything else with a status, headers
            and a body.

    Raises:
        AgoraliaAPIError: the subclass for the status, with what the service said in `detail`.
        ArgumentTypeError: `response` is no response.

    Source:
        Error Handling, "Error Handling Example".
    """
    reading = _read(response)
    if reading is not None:
        raise reading.error()


def make_request_with_retry(
    method: str,
    url: str,
    headers: Mapping[str, str | bytes],
    max_retries: int = 3,
    **kwargs: Any,
) -> requests.Response:
    """
    Make a request with `requests`, and again where another try can help.

    A 429 is waited for until `X-RateLimit-Reset` (a minute, if it does not say), a 5xx and a
    broken connection for 1, 2, 4 ... seconds. A write without an idempotency key is given one,
    the same for all tries, so that none of them can carry it out twice. A body that can be sent
    only once (an open file, a generator) is sent once. A wait of more than two minutes is not
    begun.

    Args:
        method: The HTTP method.
        url: The absolute URL.
        headers: With the key in `X-API-Key`.
        max_retries: Tries in all; 1 or more.
        kwargs: As for `requests.request`. `timeout` is a minute unless you say otherwise.

    Returns:
        The first response with a status below 400.

    Raises:
        AgoraliaAPIError: the service answered with a failure that another try does not help, or
            the last try did; `attempts` has all of them.
        requests.exceptions.RequestException: the last try brought no answer, or a URL or header
            cannot be sent.
        ConfigurationError: `requests` is not installed.
        UsageError: `method`, `headers` or `max_retries` cannot be used. Nothing was sent.

    Source:
        Error Handling, "Error Handling Example".
    """
    try:
        import requests
    except ImportError as exc:
        raise ConfigurationError(
            "make_request_with_retry() needs requests: install agoralia[requests]"
        ) from exc
    if not isinstance(method, str):
        raise ArgumentTypeError(f"method is a {type(method).__name__}; give a string")
    if not isinstance(headers, Mapping):
        raise ArgumentTypeError(f"headers is a {type(headers).__name__}; give a mapping")
    if isinstance(max_retries, bool) or not isinstance(max_retries, int):
        raise ArgumentTypeError(f"max_retries is a {type(max_retries).__name__}; give an int")
    if max_retries < 1:
        raise UsageError(f"Max retries exceeded: max_retries is {max_retries}, which allows no try at all")
    try:
        sent = _headers_to_send(method, headers)
    except UsageError as exc:
        raise exc.with_traceback(None) from None
    finally:
        headers = {}  # not for tracebacks that show locals
    kwargs.setdefault("timeout", TIMEOUT)
    tries = max_retries if _can_be_sent_again(kwargs) else 1
    began = time.monotonic()
    attempts: list[Attempt] = []
    effect = Effect.NOT_SENT  # of all tries so far: what one left open stays open
    while True:
        attempt = len(attempts)
        last = attempt == tries - 1
        start = time.monotonic()
        try:
            response = requests.request(method, url, headers=sent, **kwargs)  # noqa: S113  # set above
        except requests.exceptions.RequestException as exc:
            # What is also a ValueError is an argument nobody can send, such as a URL without a scheme.
            if last or isinstance(exc, ValueError):
                raise
            status, outcome, wait = None, type(exc).__name__, float(2**attempt)
            reading, effect = None, effect if method.upper() in SAFE_METHODS else Effect.UNKNOWN
        else:
            if response.status_code < 400:
                return response
            reading = _read(response)
            assert reading is not None
            wait = _wait_after(reading.failure, attempt)
            last = last or not reading.retry or wait > MAX_WAIT
            status, outcome = response.status_code, "status"
            effect = effect_of_call(effect, reading.failure.effect)
        attempts.append(
            Attempt(
                number=attempt + 1,
                start=start - began,
                duration=time.monotonic() - start,
                outcome=outcome,
                status=status,
                wait=0.0 if last else wait,
            )
        )
        if last and reading is not None:
            error = reading.error()
            error.failure = replace(error.failure, attempts=tuple(attempts), effect=effect)
            raise error
        _sleep(wait)


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


def _read(response: Any) -> Reading | None:
    """What the contract reads in `response`; None if its status is below 400."""
    status = getattr(response, "status_code", None)
    if isinstance(status, int) and status < 400:
        return None  # without touching the body, which may be a stream that is still to be read
    answer = _answer(response)
    if answer.status < 400:
        return None
    asked = request_behind(response)
    return CONTRACT.read(
        answer, method=asked.method, url=asked.url, idempotency_key=asked.key, secrets=asked.secrets
    )


def _answer(response: Any) -> Answer:
    try:
        return Answer.of(response)
    except ArgumentTypeError:
        # The document asks for four members only; a stand-in in a test has no more.
        status, read = getattr(response, "status_code", None), getattr(response, "json", None)
        if not isinstance(status, int) or not callable(read):
            raise
        try:
            body = json.dumps(read(), default=str)
        except ValueError:
            body = str(response.text)
        fields = getattr(response, "headers", None)
        return Answer(status, fields if isinstance(fields, Mapping) else {}, body)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _wait_after(failure: Failure, attempt: int) -> float:
    """Seconds to wait after a failed answer: never less than it asks for."""
    if failure.status == 429:
        return float(RESET_SECONDS) if failure.retry_after is None else failure.retry_after
    return max(float(2**attempt), failure.retry_after or 0.0)


def _headers_to_send(method: str, headers: Mapping[Any, Any]) -> dict[str, str]:
    """`headers`, with an idempotency key if the request writes and has none."""
    sent: dict[str, str] = {}
    for name, value in headers.items():
        if not isinstance(name, str | bytes) or not isinstance(value, str | bytes):
            pair = f"{type(name).__name__} and a {type(value).__name__}"
            raise ArgumentTypeError(f"headers hold a {pair}; give strings")
        # A traceback that shows locals shows masks.
        name, value = _text(name), Secret(_text(value))
        if not all(c <= "\xff" for c in value):
            raise UsageError(f"the value of header {name!r} has characters outside ISO-8859-1")
        sent[name] = value
    if method.upper() in WRITES and not any(name.lower() == KEY_HEADER.lower() for name in sent):
        sent[KEY_HEADER] = str(uuid.uuid4())
    return sent


def _can_be_sent_again(kwargs: Mapping[str, Any]) -> bool:
    # requests reads a file or a generator once; the next try would send what is left, or nothing.
    data = kwargs.get("data")
    return not kwargs.get("files") and (
        data is None or isinstance(data, (str, bytes, bytearray, Mapping, list, tuple))
    )
