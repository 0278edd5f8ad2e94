"""
Other libraries' exceptions and answers, read as the same facts.

Nobody's library is imported for it: an exception is known by the names of its class and bases,
an answer by its shape. What is judged is how far the request came, and where the class does not
say, the traceback does: a `ReadTimeout` of requests that came out of a TLS handshake was never
sent. Three rules:

1. An exception that carries an answer means that answer.
2. Else its class, or the error inside it that says more, tells whether the request left.
   "Nothing was sent" is claimed only where that is sure; the rest is unknown.
3. What is told of tries and redirects before the last request counts: what they left open stays
   open, and a POST that was answered 303 was carried out even if the next host is down.

An exception that has nothing to do with a call (a bug, a missing file, a cancellation) is not
read as one.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from failwell import contract
from failwell.answer import Answer
from failwell.call import outcome
from failwell.call.messages import Broken, Phase, Reason
from failwell.errors import ArgumentTypeError, CallError
from failwell.failure import Effect, Failure
from failwell.redaction import kept_url

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import datetime
    from types import FrameType
    from typing import Any

    Judged = tuple[Phase, Reason]

# A chain of causes longer than this is a loop in disguise.
CHAIN_LIMIT = 100
TEXT_LIMIT = 500


def understand(thing: Any, *, now: datetime | None = None) -> Failure:
    """
    What is known about a failed call, whichever library made it.

    Args:
        thing: An exception or an answer. Exceptions of failwell, httpx, httpx2, requests,
            urllib3, urllib, http.client, aiohttp, pyreqwest and the operating system; of SDKs
            that carry a response, a status or the exception of their HTTP library (openai,
            anthropic, stripe, botocore, google-api-core, azure-core and what is shaped like
            them); exceptions raised from these, and groups that hold one. Answers as for
            `failwell.decode`.
        now: The current time, aware; for dates in headers.

    Returns:
        Plain data, redacted. Nothing of `thing` is kept.

    Raises:
        ArgumentTypeError: `thing` is no failure of a call: a bug, a success, something else.
    """
    if isinstance(thing, Failure):
        return thing
    if isinstance(thing, BaseException):
        failure = _of_exception(thing, now)
        if failure is None:
            raise ArgumentTypeError(f"{type(thing).__name__} is not a failure of an HTTP call")
        return failure
    answer = Answer.of(thing)
    failure = _of_answer(answer, _asked([thing]), now)
    if failure is None:
        raise ArgumentTypeError(f"an answer with status {answer.status} is not a failure")
    return failure


def _of_exception(exc: BaseException, now: datetime | None) -> Failure | None:
    line = list(_said_by(exc))
    for index, each in enumerate(line):
        if isinstance(each, CallError):
            return each.failure
        # The request is often known further out than the reason is, or only by who made it.
        asked = _asked([*reversed(line[: index + 1]), *_requests_in_frames(line)])
        hops = [hop for e in line for hop in _hops_in_frames(e)]
        failure = _of_one(each, line[index:], asked, now)
        if failure is not None:
            return _after(failure, hops or _hops_of_answer(_get(each, "response")), asked)
    return _of_stranger(line)


def _of_one(
    exc: BaseException, inside: list[BaseException], asked: Asked, now: datetime | None
) -> Failure | None:
    """What `exc` says by itself; None if it leaves the word to what is inside it."""
    names = _names(exc)
    if _is_made_up(exc, names):
        return _of_broken(exc, (Phase.SENT, Reason.NOT_HTTP), asked)
    judged = _judged(exc, names, inside)
    if judged is None or judged[0] is Phase.ANSWERED:
        answer = _answer_on(exc, names)
        if answer is not None:
            failure = _of_answer(answer, asked, now)
            if failure is None:
                # A success that could not be used: its status is known, its content is not.
                return _of_broken(exc, judged or (Phase.ANSWERED, Reason.FORMAT), asked, answer.status)
            return _with_words_of(exc, failure)
    if judged is None:
        return None
    status = None if judged[0] is Phase.NOT_SENT else _status_in_frames(inside)
    return _of_broken(exc, judged if status is None else (Phase.ANSWERED, judged[1]), asked, status)


# --- What was asked -------------------------------------------------------------------------


class Asked(NamedTuple):
    """The request, as far as it is known; `secrets` must not appear anywhere in what is kept."""

    method: str | None = None
    url: str | None = None
    key: str | None = None
    retries: int = 0
    secrets: tuple[str, ...] = ()


class Hop(NamedTuple):
    """A request before the last one: answered with a redirect, or tried and broken."""

    method: str | None
    url: str | None
    status: int | None
    sent: bool = True


_SECRET_NAME = re.compile(r"auth|key|token|secret|cookie|signature|password|session", re.IGNORECASE)


def _asked(things: Iterable[Any]) -> Asked:
    """What the first of `things` that knows it says of its request; secrets of all of them."""
    method = url = key = None
    retries = 0
    secrets: list[str] = []
    for thing in things:
        for request in _requests_of(thing):
            one = _get(request, "method") or _called(_get(request, "get_method"))
            method = method or (one.upper() if isinstance(one, str) else None)
            address = _get(request, "real_url") or _get(request, "full_url") or _get(request, "url")
            url = url or (str(address) if address is not None and "://" in str(address) else None)
            heads = _headers_of(request)
            # The key on the wire is for repeating; every other header of that kind is a secret.
            key = key or heads.pop("idempotency-key", None)
            secrets += _secrets_in(heads)
            count = heads.get("x-stainless-retry-count", "")
            retries = max(retries, int(count) if count.isdigit() else 0)
    if url is not None:
        secrets += _secrets_of_url(url)
    return Asked(method, url, key, retries, tuple(secrets))


def request_behind(response: Any) -> Asked:
    """
    What a response knows of the request it answers: method, URL, idempotency key and secrets.

    Args:
        response: Of httpx, httpx2, requests, aiohttp, or anything that keeps its request.

    Returns:
        What is not known is None. `secrets` are the values that must not appear in what is kept:

            asked = request_behind(response)
            error = CONTRACT.decode(response, method=asked.method, url=asked.url,
                                    idempotency_key=asked.key, secrets=asked.secrets)
    """
    return _asked([response])


def _requests_of(thing: Any) -> Iterator[Any]:
    for holder in (thing, _get(thing, "response")):
        if holder is None:
            continue
        for name in ("request", "request_info", "_request"):
            request = _get(holder, name)
            if request is not None:
                yield request
        if _get(holder, "url") is not None and not isinstance(holder, type):
            yield holder  # an answer that knows its own address, such as aiohttp's


def _headers_of(thing: Any) -> dict[str, str]:
    heads = _get(thing, "headers")
    try:
        return dict(Answer(0, heads).headers) if heads else {}
    except Exception:  # noqa: BLE001 - a stranger's object may do anything
        return {}


def _secrets_in(heads: Mapping[str, str]) -> list[str]:
    found = []
    for name, value in heads.items():
        if _SECRET_NAME.search(name):
            found += [value, *re.split(r"[\s;,=]+", value)]
    # Longest first, so that a part does not tear the whole.
    return sorted((f for f in found if len(f) >= 8), key=len, reverse=True)


def _secrets_of_url(url: str) -> list[str]:
    """User info and the values of query parameters that `kept_url` masks."""
    kept = kept_url(url)
    parts = re.findall(r"=([^&#\s]+)", url) + re.findall(r"://([^/@\s]+)@", url)
    return [part for whole in parts for part in (whole, *whole.split(":")) if part and part not in kept]


# --- Answers --------------------------------------------------------------------------------


def _of_answer(answer: Answer, asked: Asked, now: datetime | None) -> Failure | None:
    reading = contract.STANDARD.read(
        answer,
        now=now,
        method=asked.method,
        url=asked.url,
        idempotency_key=asked.key,
        secrets=asked.secrets,
    )
    return None if reading is None else reading.failure


def _answer_on(exc: BaseException, names: tuple[str, ...]) -> Answer | None:
    """The answer that `exc` carries, in whatever shape."""
    if "urllib.error.HTTPError" in names:
        return _answer_of_urllib(exc)
    response = _get(exc, "response")
    if isinstance(response, dict):
        return _answer_of_botocore(response)
    if response is not None:
        status = _status_in(response, "status_code", "status")
        if status is not None:
            return _answer_with(status, response, exc)
    if any(name.startswith("google.api_core.") for name in names):
        status = _status_in(exc, "code")
        return None if status is None else _answer_of_google(status, exc)
    status = _status_in(exc, "status_code", "http_status", "status")
    details = _get(exc, "details")
    if status is None and isinstance(details, dict):  # pyreqwest
        status = details.get("status") if isinstance(details.get("status"), int) else None
    if status is None:
        many = re.search(r"too many (\d{3}) error responses", str(exc))
        return Answer(int(many[1])) if many and names[0].startswith("urllib3.") else None
    return _answer_with(status, exc, exc)


def _answer_with(status: int, holder: Any, exc: BaseException) -> Answer:
    try:
        return Answer.of(holder)
    except ArgumentTypeError:
        # The body is not read, or is called otherwise on the exception.
        return Answer(status, _headers_of(holder) or _headers_of(exc), _body_on(exc))


def _body_on(exc: BaseException) -> bytes:
    for name in ("http_body", "body", "json_body", "text", "detail"):
        value = _get(exc, name)
        if isinstance(value, bytes):
            return value
        if isinstance(value, str):
            return value.encode("utf-8", "surrogateescape")
        if isinstance(value, (dict, list)):
            return _json(value)
    return b""


def _json(value: Any) -> bytes:
    import json

    try:
        return json.dumps(value, default=str).encode()
    except (TypeError, ValueError, RecursionError):
        return b""


def _answer_of_urllib(exc: Any) -> Answer:
    """The answer of a `urllib.error.HTTPError`, which stays readable for its owner."""
    import io

    try:
        body = exc.read()
    except Exception:  # noqa: BLE001 - closed, or broken in the middle
        body = b""
    else:
        # It is a response that can be read once. A bound `read` of the drained one is kept in
        # its `__dict__`.
        exc.__dict__.pop("read", None)
        exc.__init__(exc.filename, exc.code, exc.msg, exc.hdrs, io.BytesIO(body))
    return Answer(exc.code, list(exc.headers.items()) if exc.headers else (), body)


def _answer_of_botocore(response: dict[str, Any]) -> Answer | None:
    """botocore hands out what it parsed; this is the same in AWS's own JSON spelling."""
    about = response.get("ResponseMetadata")
    error = response.get("Error")
    status = about.get("HTTPStatusCode") if isinstance(about, dict) else None
    if not isinstance(status, int) or not isinstance(about, dict):
        return None
    heads = dict(about.get("HTTPHeaders") or {})
    if about.get("RequestId"):
        heads.setdefault("x-amzn-requestid", str(about["RequestId"]))
    heads["content-type"] = "application/x-amz-json-1.1"
    said = error if isinstance(error, dict) else {}
    return Answer(status, heads, _json({"__type": said.get("Code"), "message": said.get("Message")}))


def _answer_of_google(status: int, exc: BaseException) -> Answer:
    """google-api-core without its response (gRPC): the same in Google's own JSON spelling."""
    code = _get(_get(exc, "grpc_status_code"), "name")
    error = {"code": status, "message": _get(exc, "message") or str(exc)}
    if isinstance(code, str):
        error["status"] = code
    return Answer(status, {"content-type": "application/json"}, _json({"error": error}))


def _with_words_of(exc: BaseException, failure: Failure) -> Failure:
    """`failure` with what the exception knows and the answer does not say."""
    facts: dict[str, Any] = {}
    if failure.message is None:
        said = _get(exc, "user_message") or _get(exc, "message")
        if isinstance(said, str) and said.strip():
            facts["message"] = _clean(said, ())
    if failure.code is None and isinstance(_get(exc, "code"), str):
        facts["code"] = _get(exc, "code")
    if failure.request_id is None and isinstance(_get(exc, "request_id"), str):
        facts["request_id"] = _get(exc, "request_id")
    # botocore says how often it tried; what the tries before left open stays open.
    tries = _get(exc, "response")
    about = tries.get("ResponseMetadata") if isinstance(tries, dict) else None
    if isinstance(about, dict) and about.get("RetryAttempts"):
        facts["effect"] = outcome.effect_of_call(Effect.UNKNOWN, failure.effect)
    return replace(failure, **facts) if facts else failure


def _is_made_up(exc: BaseException, names: tuple[str, ...]) -> bool:
    """
    Whether the status on `exc` is the library's own, because what came was not HTTP.

    aiohttp says 400 then, as if the service had.
    """
    return "aiohttp.ClientResponseError" in names and any(
        "aiohttp.HttpProcessingError" in _names(e) for e in (exc.__cause__, exc.__context__) if e
    )


# --- No answer ------------------------------------------------------------------------------

_NOT, _SENT, _ANSWERED = Phase.NOT_SENT, Phase.SENT, Phase.ANSWERED

# Of the connect errors the operating system's own error in the chain says which one it was.
_HTTPX: dict[str, Judged] = {
    "ConnectError": (_NOT, Reason.UNREACHABLE),
    "ConnectTimeout": (_NOT, Reason.CONNECT_TIMEOUT),
    "PoolTimeout": (_NOT, Reason.POOL_TIMEOUT),
    "UnsupportedProtocol": (_NOT, Reason.BAD_URL),
    "InvalidURL": (_NOT, Reason.BAD_URL),
    "ReadTimeout": (_SENT, Reason.READ_TIMEOUT),
    "WriteTimeout": (_SENT, Reason.WRITE_TIMEOUT),
    "TimeoutException": (_SENT, Reason.READ_TIMEOUT),
    "ReadError": (_SENT, Reason.RESET),
    "WriteError": (_SENT, Reason.RESET),
    "CloseError": (_SENT, Reason.RESET),
    "NetworkError": (_SENT, Reason.RESET),
    "ProxyError": (_SENT, Reason.PROXY),
    "LocalProtocolError": (_SENT, Reason.NOT_HTTP),
    "RemoteProtocolError": (_SENT, Reason.NOT_HTTP),
    "SSEError": (_SENT, Reason.FORMAT),
    "ProtocolError": (_SENT, Reason.NOT_HTTP),
    "DecodingError": (_ANSWERED, Reason.ENCODING),
    "TooManyRedirects": (_SENT, Reason.FORMAT),
    "TransportError": (_SENT, Reason.CLOSED),
}
_URLLIB3: dict[str, Judged] = {
    "NameResolutionError": (_NOT, Reason.DNS),
    "NewConnectionError": (_NOT, Reason.UNREACHABLE),
    "ConnectTimeoutError": (_NOT, Reason.CONNECT_TIMEOUT),
    "EmptyPoolError": (_NOT, Reason.POOL_TIMEOUT),
    "ProxyError": (_NOT, Reason.PROXY),
    "LocationValueError": (_NOT, Reason.BAD_URL),
    "ReadTimeoutError": (_SENT, Reason.READ_TIMEOUT),
    "SSLError": (_SENT, Reason.TLS),
    "DecodeError": (_ANSWERED, Reason.ENCODING),
    "IncompleteRead": (_ANSWERED, Reason.CUT),
    "InvalidChunkLength": (_ANSWERED, Reason.CUT),
    "HeaderParsingError": (_ANSWERED, Reason.NOT_HTTP),
}
_REQUESTS: dict[str, Judged] = {
    "ConnectTimeout": (_NOT, Reason.CONNECT_TIMEOUT),
    "ProxyError": (_NOT, Reason.PROXY),
    "InvalidURL": (_NOT, Reason.BAD_URL),
    "InvalidSchema": (_NOT, Reason.BAD_URL),
    "MissingSchema": (_NOT, Reason.BAD_URL),
    "URLRequired": (_NOT, Reason.BAD_URL),
    "ReadTimeout": (_SENT, Reason.READ_TIMEOUT),
    "SSLError": (_SENT, Reason.TLS),
    "ChunkedEncodingError": (_ANSWERED, Reason.CUT),
    "ContentDecodingError": (_ANSWERED, Reason.ENCODING),
    "JSONDecodeError": (_ANSWERED, Reason.FORMAT),
}
_AIOHTTP: dict[str, Judged] = {
    "ClientConnectorDNSError": (_NOT, Reason.DNS),
    "ClientConnectorCertificateError": (_NOT, Reason.TLS_UNTRUSTED),
    "ClientSSLError": (_NOT, Reason.TLS),
    "ClientProxyConnectionError": (_NOT, Reason.PROXY),
    "ClientHttpProxyError": (_NOT, Reason.PROXY),
    "ClientConnectorError": (_NOT, Reason.UNREACHABLE),
    "ConnectionTimeoutError": (_NOT, Reason.CONNECT_TIMEOUT),
    "ServerFingerprintMismatch": (_NOT, Reason.TLS_UNTRUSTED),
    "RedirectClientError": (_SENT, Reason.FORMAT),
    "InvalidURL": (_NOT, Reason.BAD_URL),
    "NonHttpUrlClientError": (_NOT, Reason.BAD_URL),
    "ServerTimeoutError": (_SENT, Reason.READ_TIMEOUT),
    "ServerDisconnectedError": (_SENT, Reason.CLOSED),
    "ClientConnectionResetError": (_SENT, Reason.RESET),
    "ClientOSError": (_SENT, Reason.RESET),
    "ClientPayloadError": (_ANSWERED, Reason.CUT),
    "ContentTypeError": (_ANSWERED, Reason.FORMAT),
    "ClientConnectionError": (_SENT, Reason.CLOSED),
}
# pyreqwest names a reset after sending like a refused port; its causes tell them apart.
_PYREQWEST: dict[str, Judged] = {
    "BuilderError": (_NOT, Reason.BAD_URL),
    "PoolTimeoutError": (_NOT, Reason.POOL_TIMEOUT),
    "JSONDecodeError": (_ANSWERED, Reason.FORMAT),
    "DecodeError": (_ANSWERED, Reason.CUT),
    "RequestTimeoutError": (_SENT, Reason.READ_TIMEOUT),
    "RedirectError": (_SENT, Reason.FORMAT),
    "NetworkError": (_SENT, Reason.RESET),
    "TransportError": (_SENT, Reason.CLOSED),
}
_HTTP_CLIENT: dict[str, Judged] = {
    "RemoteDisconnected": (_SENT, Reason.CLOSED),
    "BadStatusLine": (_SENT, Reason.NOT_HTTP),
    "UnknownProtocol": (_SENT, Reason.NOT_HTTP),
    "LineTooLong": (_SENT, Reason.TOO_LARGE),
    "IncompleteRead": (_ANSWERED, Reason.CUT),
    "InvalidURL": (_NOT, Reason.BAD_URL),
}
# These two try again by themselves and do not say how often: "nothing was sent" is not sure.
_BOTOCORE: dict[str, Judged] = {
    "ProxyConnectionError": (_SENT, Reason.PROXY),
    "ConnectTimeoutError": (_SENT, Reason.CONNECT_TIMEOUT),
    "EndpointConnectionError": (_SENT, Reason.UNREACHABLE),
    "SSLError": (_SENT, Reason.TLS),
    "ReadTimeoutError": (_SENT, Reason.READ_TIMEOUT),
    "ConnectionClosedError": (_SENT, Reason.CLOSED),
    "IncompleteReadError": (_ANSWERED, Reason.CUT),
    "ResponseStreamingError": (_ANSWERED, Reason.CUT),
    "ConnectionError": (_SENT, Reason.CLOSED),
    "HTTPClientError": (_SENT, Reason.CLOSED),
}
_AZURE: dict[str, Judged] = {
    "ServiceRequestTimeoutError": (_SENT, Reason.CONNECT_TIMEOUT),
    "ServiceRequestError": (_SENT, Reason.UNREACHABLE),
    "ServiceResponseTimeoutError": (_SENT, Reason.READ_TIMEOUT),
    "IncompleteReadError": (_ANSWERED, Reason.CUT),
    "ServiceResponseError": (_SENT, Reason.CLOSED),
    "DecodeError": (_ANSWERED, Reason.FORMAT),
}
_TABLES: dict[str, dict[str, Judged]] = {
    "httpx": _HTTPX,
    "httpx2": _HTTPX,
    "httpcore": _HTTPX,
    "httpcore2": _HTTPX,
    "urllib3": _URLLIB3,
    "requests": _REQUESTS,
    "aiohttp": _AIOHTTP,
    "pyreqwest": _PYREQWEST,
    "http": _HTTP_CLIENT,
    "botocore": _BOTOCORE,
    "azure": _AZURE,
}
# Bases that say only whose exception it is: a call failed, and no more is known.
_STRANGERS = frozenset(
    {
        "httpx.RequestError",
        "httpx2.RequestError",
        "requests.RequestException",
        "urllib3.HTTPError",
        "aiohttp.ClientError",
        "pyreqwest.RequestError",
        "http.HTTPException",
        "urllib.URLError",
        "openai.APIConnectionError",
        "anthropic.APIConnectionError",
        "stripe.APIConnectionError",
        "azure.AzureError",
    }
)
# Errors of their families that are a wrong argument or a bug, not a call that failed.
_MISUSE = frozenset(
    {
        "requests.InvalidHeader",
        "requests.InvalidJSONError",
        "requests.StreamConsumedError",
        "requests.UnrewindableBodyError",
        "urllib3.BodyNotHttplibCompatible",
        "urllib3.ClosedPoolError",
        "urllib3.InvalidHeader",
        "urllib3.TimeoutStateError",
        "urllib3.UnrewindableBodyError",
        "http.ImproperConnectionState",
        "http.NotConnected",
        "pyreqwest.ClientClosedError",
    }
)
# An exception of these kinds that comes up while a failure is handled is a bug in the handler:
# it is followed to what it was raised from, not to what it came up in.
_BUGS = (
    ArithmeticError, AssertionError, AttributeError, BufferError, EOFError, ImportError, LookupError,
    MemoryError, NameError, ReferenceError, SyntaxError, TypeError, ValueError,
)  # fmt: skip


def _judged(exc: BaseException, names: tuple[str, ...], inside: list[BaseException]) -> Judged | None:
    """How far the request came and why it broke; None if this exception does not say."""
    judged = _by_table(exc, names)
    if judged is None:
        return _by_system(exc) if isinstance(exc, OSError) and _is_of_system(exc) else None
    phase, reason = judged
    if phase is _ANSWERED:
        return phase, reason
    seen = _seen_in(inside)
    if phase is _SENT and seen is not None and (seen[0] is _NOT or reason is not Reason.READ_TIMEOUT):
        retrying = names[0].partition(".")[0] in ("botocore", "azure")
        return (_SENT if retrying else seen[0]), _finer(reason, seen[1])
    if phase is _NOT and seen is not None:
        return phase, _finer(reason, seen[1])
    return phase, reason


def _by_table(exc: BaseException, names: tuple[str, ...]) -> Judged | None:
    for name in names:
        root, _, last = name.partition(".")
        judged = _TABLES.get(root, {}).get(last.rpartition(".")[2])
        if judged is None:
            continue
        if root == "pyreqwest":
            return _by_causes(exc, judged)
        if last == "RemoteProtocolError":
            return _by_text(str(exc))
        if last == "ClientPayloadError" and "content-encoding" in f"{exc} {exc.__cause__}":
            return _ANSWERED, Reason.ENCODING
        return judged
    return None


def _by_text(text: str) -> Judged:
    """h11 and h2 have one class for whatever the server did wrong."""
    if "without sending a response" in text or "connection closed" in text.lower():
        return _SENT, Reason.CLOSED
    if "peer closed connection" in text or "incomplete" in text:
        return _ANSWERED, Reason.CUT
    return _SENT, Reason.NOT_HTTP


def _by_causes(exc: BaseException, judged: Judged) -> Judged:
    """
    How far a request of pyreqwest came, by the causes it lists.

    Only "client error (Connect)" among them proves that nothing was sent.
    """
    causes = " / ".join(_causes(exc))
    phase, reason = judged
    if "client error (Connect)" not in causes:
        if "client error (SendRequest)" in causes and phase is _ANSWERED:
            return _SENT, Reason.NOT_HTTP
        if "connection closed before message" in causes:
            return _SENT, Reason.CLOSED
        coded = re.search(r"gzip|deflate|brotli|zstd|corrupt|Invalid .{0,20}header", causes)
        return (phase, Reason.ENCODING) if coded and phase is _ANSWERED else judged
    if "dns error" in causes:
        return _NOT, Reason.DNS
    if "refused" in causes:
        return _NOT, Reason.REFUSED
    if "certificate" in causes:
        return _NOT, Reason.TLS_UNTRUSTED
    if "tls handshake eof" in causes:
        return _NOT, Reason.TLS_CLOSED
    if "tls" in causes.lower() or "handshake" in causes or "fatal alert" in causes:
        return _NOT, Reason.TLS
    return _NOT, Reason.CONNECT_TIMEOUT if reason is Reason.READ_TIMEOUT else Reason.UNREACHABLE


def _causes(exc: BaseException) -> list[str]:
    details = _get(exc, "details")
    causes = details.get("causes") if isinstance(details, dict) else None
    return [str(c.get("message", "")) for c in causes or () if isinstance(c, dict)]


def _finer(reason: Reason, seen: Reason) -> Reason:
    """The more telling of what the library says and what the system said."""
    vague = {
        Reason.UNREACHABLE,
        Reason.TLS,
        Reason.CLOSED,
        Reason.READ_TIMEOUT,
        Reason.RESET,
        Reason.NOT_HTTP,
    }
    return seen if reason in vague else reason


def _seen_in(line: list[BaseException]) -> Judged | None:
    """
    What the first error of the operating system in `line` says.

    Only the first: behind it may stand an earlier call, during whose handling this one was made.
    """
    for exc in line:
        if isinstance(exc, OSError) and _is_of_system(exc):
            judged = _by_system(exc)
            if judged is not None:
                return judged
        named = _TABLES["http"].get(type(exc).__name__) if type(exc).__module__ == "http.client" else None
        if named is not None:
            return named
    return None


def _is_of_system(exc: OSError) -> bool:
    return type(exc).__module__ in ("builtins", "socket", "ssl", "_ssl")


def _by_system(exc: OSError) -> Judged | None:
    """What an error of the operating system says of a call; None if it is about something else."""
    import errno
    import socket
    import ssl

    connecting = _came_out_of_connect(exc)
    if isinstance(exc, (socket.gaierror, socket.herror)):
        return _NOT, Reason.DNS
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _NOT, Reason.TLS_UNTRUSTED
    if isinstance(exc, ssl.SSLError):
        ended = isinstance(exc, (ssl.SSLEOFError, ssl.SSLZeroReturnError))
        in_handshake = Reason.TLS_CLOSED if ended else Reason.TLS
        return (_NOT, in_handshake) if connecting else (_SENT, Reason.RESET)
    if isinstance(exc, ConnectionRefusedError):
        return _NOT, Reason.REFUSED
    if isinstance(exc, TimeoutError):
        if connecting:
            return _NOT, Reason.CONNECT_TIMEOUT
        # asyncio.timeout() ends a call by cancelling it; a socket says "timed out".
        return _SENT, Reason.READ_TIMEOUT if exc.args else Reason.DEADLINE
    if isinstance(exc, ConnectionError):
        return (_NOT, Reason.TLS_CLOSED) if connecting else (_SENT, Reason.RESET)
    no_way = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EHOSTDOWN, errno.EADDRNOTAVAIL}
    number = exc.errno
    folded = re.findall(r"\[Errno (\d+)\]", str(exc)) if number is None else ()
    if folded:  # asyncio before 3.12 folds the errors of several addresses into one text
        number = int(folded[-1])
    if number == errno.ECONNREFUSED:
        return _NOT, Reason.REFUSED
    if number in no_way:
        return (_NOT if connecting else _SENT), Reason.UNREACHABLE
    return None


# Where connections are made: an error that came out of these functions met no request.
_CONNECTING = {
    "socket": {"create_connection", "getaddrinfo"},
    "ssl": {"do_handshake", "wrap_socket", "_create"},
    "http.client": {"connect", "_tunnel"},
    "urllib3.connection": {"connect", "_new_conn", "_tunnel"},
    "urllib3.util.connection": {"create_connection"},
    "asyncio.base_events": {"create_connection", "_connect_sock", "_create_connection_transport"},
    "asyncio.streams": {"open_connection"},
    "anyio": {"connect_tcp"},
}


def _came_out_of_connect(exc: BaseException) -> bool:
    return any(
        frame.f_code.co_name in _CONNECTING.get(frame.f_globals.get("__name__", ""), ())
        for frame in _frames(exc)
    )


def _frames(exc: BaseException) -> Iterator[FrameType]:
    trace = exc.__traceback__
    while trace is not None:
        yield trace.tb_frame
        trace = trace.tb_next


def _of_broken(exc: BaseException, judged: Judged, asked: Asked, status: int | None = None) -> Failure:
    phase, reason = judged
    text = _clean(_text_of(exc), asked.secrets)
    words = outcome.WORDS[reason]
    failure = Failure(
        method=asked.method,
        url=None if asked.url is None else kept_url(asked.url),
        status=status,
        message=f"{words}: {text}" if text else words,
        idempotency_key=asked.key,
        reason=reason.value,
        cause=text or None,
        effect=outcome.effect_of_broken(asked.method, Broken(phase, reason, None, status)),
        retryable=reason not in outcome.LASTING,
    )
    return contract.scrubbed(failure, asked.secrets) if asked.secrets else failure


def _of_stranger(line: list[BaseException]) -> Failure | None:
    """What is known when a library says only that its call failed: nothing may be ruled out."""
    for index, exc in enumerate(line):
        names = _names(exc)
        if any(name in _MISUSE for name in names) or not any(name in _STRANGERS for name in names):
            continue
        asked = _asked(reversed(line[: index + 1]))
        text = _clean(_text_of(exc), asked.secrets)
        failure = Failure(
            method=asked.method,
            url=None if asked.url is None else kept_url(asked.url),
            message=text or None,
            idempotency_key=asked.key,
            cause=text or type(exc).__name__,
            effect=outcome.effect_of_broken(asked.method, Broken(_SENT, Reason.CLOSED)),
        )
        return contract.scrubbed(failure, asked.secrets) if asked.secrets else failure
    return None


# --- Before the last request ----------------------------------------------------------------


def _after(failure: Failure, hops: list[Hop], asked: Asked) -> Failure:
    """`failure` with what the requests before it are known, or not known, to have done."""
    effect = failure.effect
    if asked.retries and effect is not Effect.APPLIED and not _is_safe(failure.method):
        effect = Effect.UNKNOWN
    if not hops:
        return failure if effect is failure.effect else replace(failure, effect=effect)
    for hop in hops:
        effect = outcome.effect_of_call(_effect_of_hop(hop), effect)
    first = hops[0]
    return replace(
        failure,
        method=first.method or failure.method,
        url=kept_url(first.url) if first.url and "://" in first.url else failure.url,
        effect=Effect.NOT_APPLIED if _is_safe(first.method) and effect is Effect.UNKNOWN else effect,
    )


def _effect_of_hop(hop: Hop) -> Effect:
    if not hop.sent:
        return Effect.NOT_SENT
    if _is_safe(hop.method):
        return Effect.NOT_APPLIED
    if hop.status is None or hop.status in (301, 302):
        return Effect.UNKNOWN  # in practice a service that has acted answers 302, too
    return contract.effect_of(hop.method, hop.status)


# Where a response is in the hands of a function that reads its body: module, local name.
_READING = {
    "httpx._client": "response",
    "httpx2._client": "response",
    "requests.models": "self",
    "requests.sessions": "r",
    "urllib3.response": "self",
    "http.client": "self",
    "aiohttp.client_reqrep": "self",
}


def _status_in_frames(line: list[BaseException]) -> int | None:
    """
    The status of an answer that broke while its body was read.

    The exceptions do not carry it, and it decides whether a POST was carried out.
    """
    for exc in line:
        for frame in _frames(exc):
            name = _READING.get(frame.f_globals.get("__name__", ""))
            holder = None if name is None else frame.f_locals.get(name)
            status = (
                _status_in(holder, "status_code", "status") if _get(holder, "headers") is not None else None
            )
            if status is not None:
                return status
    return None


class _Seen(NamedTuple):
    """A request as the function that made it has it among its locals."""

    method: str
    url: str
    headers: Any

    @property
    def request(self) -> _Seen:
        return self


def _requests_in_frames(line: list[BaseException]) -> Iterator[_Seen]:
    for exc in line:
        for frame in _frames(exc):
            seen = _seen_in_frame(frame)
            if seen is not None:
                yield seen


def _seen_in_frame(frame: FrameType) -> _Seen | None:
    # `f_locals` only of the libraries' own functions, which have ended: the snapshot of a frame that
    # still runs would keep alive what its owner drops.
    match frame.f_globals.get("__name__"), frame.f_code.co_name:
        case "aiohttp.client", "_request":
            local = frame.f_locals
            return _Seen(str(local.get("method")), str(local.get("str_or_url")), local.get("headers"))
        case "urllib3.connectionpool", "urlopen":
            local = frame.f_locals
            pool, path = local.get("self"), str(local.get("url"))
            port = f":{_get(pool, 'port')}" if _get(pool, "port") else ""
            url = path if "://" in path else f"{_get(pool, 'scheme')}://{_get(pool, 'host')}{port}{path}"
            return _Seen(str(local.get("method")), url, local.get("headers"))
        case "urllib.request", "do_open":
            local = frame.f_locals
            asked = local.get("req")
            method = str(_called(_get(asked, "get_method")))
            return _Seen(method, str(_get(asked, "full_url")), local.get("headers"))
        case "botocore.client", "_make_api_call":
            asked = frame.f_locals.get("request_dict")
            if not isinstance(asked, dict):
                return None
            return _Seen(str(asked.get("method")), str(asked.get("url")), asked.get("headers"))
        case "stripe._api_requestor", "request":
            local = frame.f_locals
            key = _get(local.get("requestor"), "api_key")
            # It knows the path alone; the key is here because Stripe's messages may quote it.
            return _Seen(str(local.get("method")), "", {"authorization": key} if isinstance(key, str) else {})
        case "aiohttp.client_reqrep", _:
            asked = _get(frame.f_locals.get("self"), "request_info")
        case "requests.models", _:
            asked = _get(frame.f_locals.get("self"), "request")
        case _:
            return None
    if asked is None:
        return None
    return _Seen(str(_get(asked, "method")), str(_get(asked, "url")), _get(asked, "headers"))


def _is_safe(method: str | None) -> bool:
    return method in contract.SAFE_METHODS


def _hops_of_answer(answer: Any) -> list[Hop]:
    """The redirects and tries that an answer of httpx, requests, aiohttp or urllib3 remembers."""
    history = _get(answer, "history")
    if history is None:
        history = _get(_get(answer, "retries"), "history")
    return list(_hops(history))


def _hops(history: Any) -> Iterator[Hop]:
    if not isinstance(history, (list, tuple)):
        return
    for item in history:
        if _get(item, "redirect_location") is not None or hasattr(item, "error"):  # urllib3
            error, status = _get(item, "error"), _get(item, "status")
            sent = not (error is not None and (_by_table(error, _names(error)) or (_SENT,))[0] is _NOT)
            yield Hop(_get(item, "method"), _get(item, "url"), status, sent)
            continue
        asked = _asked([item])
        status = _status_in(item, "status_code", "status")
        if status is not None:
            yield Hop(asked.method, asked.url, status)


def _hops_in_frames(exc: BaseException) -> Iterator[Hop]:
    """
    The requests before the last one, as the functions that made them remember.

    No exception carries them: the `request` of a `ConnectError` after a redirect is the GET to
    the second host, and the POST that was carried out at the first is nowhere else.
    """
    for frame in _frames(exc):
        module, name = frame.f_globals.get("__name__", ""), frame.f_code.co_name
        if name == "_send_handling_redirects" and module in ("httpx._client", "httpx2._client"):
            yield from _hops(frame.f_locals.get("history"))
        elif name == "resolve_redirects" and module == "requests.sessions":
            yield from _hops(frame.f_locals.get("hist"))
        elif name == "urlopen" and module == "urllib3.connectionpool":
            yield from _hops(_get(frame.f_locals.get("retries"), "history"))
        elif name == "_request" and module == "aiohttp.client":
            yield from _hops(frame.f_locals.get("history"))
            yield from _replay_of_aiohttp(frame.f_locals)
        elif name.startswith("http_error_30") and module == "urllib.request":
            request, status = frame.f_locals.get("req"), frame.f_locals.get("code")
            yield Hop(_called(_get(request, "get_method")), _get(request, "full_url"), status)


def _replay_of_aiohttp(local: Mapping[str, Any]) -> Iterator[Hop]:
    """aiohttp sends an idempotent request twice if the first is not answered, and tells nobody."""
    method = local.get("method")
    may = bool(_get(local.get("self"), "_retry_connection")) and method in _IDEMPOTENT
    if may and local.get("retry_persistent_connection") is False:
        yield Hop(method, None, None)


_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})


# --- Walking --------------------------------------------------------------------------------


def _said_by(exc: BaseException) -> Iterator[BaseException]:
    """`exc` and what it leads to: the errors inside it, what it was raised from or came up in."""
    seen: set[int] = set()
    waiting: list[Any] = [exc]
    while waiting and len(seen) < CHAIN_LIMIT:
        each = waiting.pop(0)
        # Cancellation, Ctrl-C and the end of the interpreter are nobody's failed call.
        if not isinstance(each, (Exception, BaseExceptionGroup)) or id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        found: list[Any] = list(each.exceptions) if isinstance(each, BaseExceptionGroup) else []
        found += [_get(each, name) for name in ("reason", "inner_exception", "os_error")]
        found += [a for a in each.args if isinstance(a, BaseException)]
        if each.__cause__ is not None:
            found.append(each.__cause__)
        elif not each.__suppress_context__ and not _is_bug(each):
            found.append(each.__context__)
        waiting = found + waiting


def _is_bug(exc: BaseException) -> bool:
    return isinstance(exc, _BUGS) and type(exc).__module__ == "builtins"


def _names(exc: BaseException) -> tuple[str, ...]:
    """`httpx.ConnectError` and the like for the class of `exc` and each of its bases."""
    return tuple(_name(cls) for cls in type(exc).__mro__[:-2])


def _name(cls: type) -> str:
    if cls.__module__ == "urllib.error":
        return "urllib.error.HTTPError" if cls.__name__ == "HTTPError" else f"urllib.{cls.__name__}"
    if cls.__module__.startswith("google.api_core"):
        return f"google.api_core.{cls.__name__}"
    return f"{cls.__module__.partition('.')[0]}.{cls.__name__}"


def _get(thing: Any, name: str) -> Any:
    """An attribute of a stranger's object, which may refuse in any way it likes; None then."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - httpx raises RuntimeError for a request that was never set
        return None


def _text_of(exc: BaseException) -> str:
    causes = _causes(exc)
    if causes:  # pyreqwest: the innermost says most
        return f"{_get(exc, 'message')}: {causes[-1]}"
    # What is raised with several arguments prints as a tuple.
    first = exc.args[0] if exc.args else None
    return first if isinstance(first, str) and str(exc).startswith("(") else str(exc)


def _called(function: Any) -> Any:
    try:
        return function() if callable(function) else None
    except Exception:  # noqa: BLE001 - as above
        return None


def _status_in(thing: Any, *names: str) -> int | None:
    for name in names:
        value = _get(thing, name)
        # An HTTPStatus is an int; a bool is, too, and is no status.
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 999:
            return int(value)
    return None


_QUERY = re.compile(r"([?&;][\w.\-\[\]%]{1,80}=)([^&\s'\"<>)]{1,4096})")
_USERINFO = re.compile(r"(://)[^/@\s'\"]{1,512}@")
_ADDRESS = re.compile(r"<[\w.]+ object at 0x[0-9a-fA-F]+>(?:, |: )?")


def _clean(text: str, secrets: Iterable[str]) -> str:
    """
    An exception's text in one line, without what a URL in it may carry.

    requests and urllib3 put the whole URL, query included, into their texts.
    """
    from failwell.redaction import scrub

    text = " ".join(text[:4096].split())
    text = _ADDRESS.sub("", _USERINFO.sub(r"\1", text))
    text = _QUERY.sub(
        lambda m: m[1] + (m[2] if kept_url(f"x?{m[1][1:]}{m[2]}").endswith(m[2]) else "***"), text
    )
    cleaned: str = scrub(text, secrets)
    return cleaned if len(cleaned) <= TEXT_LIMIT else cleaned[: TEXT_LIMIT - 1] + "…"
