"""
A HAR file (HTTP Archive 1.2, what browsers save), one entry of it, or the response of one.

A browser saves every request of a page: those that failed are the ones to explain.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING

from failwell.answer import Answer
from failwell.call.messages import Phase, Reason
from failwell.cli import tokens
from failwell.cli.exchange import Exchange, UnreadableError

if TYPE_CHECKING:
    from typing import Any

# What Chrome, Firefox and Safari put where the status would be.
_ERRORS = (
    ("NAME_NOT_RESOLVED", (Phase.NOT_SENT, Reason.DNS)),
    ("UNKNOWN_HOST", (Phase.NOT_SENT, Reason.DNS)),
    ("CONNECTION_REFUSED", (Phase.NOT_SENT, Reason.REFUSED)),
    ("CONNECTION_TIMED_OUT", (Phase.NOT_SENT, Reason.CONNECT_TIMEOUT)),
    ("PROXY", (Phase.NOT_SENT, Reason.PROXY)),
    ("TUNNEL", (Phase.NOT_SENT, Reason.PROXY)),
    ("CERT_", (Phase.NOT_SENT, Reason.TLS_UNTRUSTED)),
    ("SSL", (Phase.NOT_SENT, Reason.TLS)),
    ("ADDRESS_UNREACHABLE", (Phase.NOT_SENT, Reason.UNREACHABLE)),
    ("INTERNET_DISCONNECTED", (Phase.NOT_SENT, Reason.UNREACHABLE)),
    ("EMPTY_RESPONSE", (Phase.SENT, Reason.CLOSED)),
    ("CONNECTION_CLOSED", (Phase.SENT, Reason.CLOSED)),
    ("CONNECTION_RESET", (Phase.SENT, Reason.RESET)),
    ("TIMED_OUT", (Phase.SENT, Reason.READ_TIMEOUT)),
    ("CONTENT_LENGTH_MISMATCH", (Phase.ANSWERED, Reason.CUT)),
    ("INCOMPLETE_CHUNKED", (Phase.ANSWERED, Reason.CUT)),
    ("CONTENT_DECODING", (Phase.ANSWERED, Reason.ENCODING)),
    ("INVALID_HTTP", (Phase.SENT, Reason.NOT_HTTP)),
)


def read(data: bytes) -> list[Exchange] | None:
    """
    The exchanges in a HAR file, in order; None if `data` is no HAR.

    Raises:
        UnreadableError: it is one, and has no entries.
    """
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    log = value.get("log")
    entries = log.get("entries") if isinstance(log, dict) else value.get("entries")
    if isinstance(entries, list):
        kept = [e for e in entries if isinstance(e, dict)]
        if not kept:
            raise UnreadableError("The HAR file has no entries.")
        return [_exchange(entry, f"HAR entry {n} of {len(kept)}") for n, entry in enumerate(kept, 1)]
    if isinstance(value.get("response"), dict) and isinstance(value["response"].get("status"), int):
        return [_exchange(value, "a HAR entry")]
    if isinstance(value.get("status"), int) and isinstance(value.get("content"), dict) and "headers" in value:
        return [_exchange({"response": value}, "a HAR response")]
    return None


def failed(exchange: Exchange) -> bool:
    """Whether an entry is worth explaining."""
    return exchange.broken is not None or (exchange.status or 0) >= 400


def _exchange(entry: dict[str, Any], source: str) -> Exchange:
    request, response = _dict(entry.get("request")), _dict(entry.get("response"))
    heads, asked = _headers(response.get("headers")), _headers(request.get("headers"))
    status = response.get("status")
    exchange = Exchange(source, status if isinstance(status, int) and 100 <= status <= 999 else None, heads)
    exchange.method = request["method"].upper() if isinstance(request.get("method"), str) else None
    exchange.url = request["url"] if isinstance(request.get("url"), str) else None
    exchange.key = asked.get("idempotency-key")
    exchange.secrets = list(tokens.ordered(_secrets(request, response, asked, heads, exchange.url)))
    error = next((v for v in (response.get("_error"), entry.get("_error")) if isinstance(v, str) and v), None)
    if exchange.status is None:
        exchange.broken = _broken_by(error or "")
        exchange.cause = error or "the browser recorded no answer"
    exchange.body = _body(_dict(response.get("content")), exchange)
    return exchange


def _broken_by(error: str) -> tuple[Phase, Reason]:
    name = error.upper()
    # Blocked by the page's own rules, aborted, lost: nothing may be ruled out.
    return next((judged for part, judged in _ERRORS if part in name), (Phase.SENT, Reason.CLOSED))


def _body(content: dict[str, Any], exchange: Exchange) -> bytes:
    text = content.get("text")
    if not isinstance(text, str):
        if isinstance(content.get("size"), int) and content["size"] > 0:
            exchange.notes.append("The body was not recorded.")
        return b""
    if content.get("encoding") == "base64":
        try:
            return base64.b64decode(text)
        except (binascii.Error, ValueError):
            exchange.notes.append("The body is no valid base64 and could not be read.")
            return b""
    return text.encode("utf-8", "surrogateescape" if text.isascii() else "replace")


def _secrets(
    request: dict[str, Any],
    response: dict[str, Any],
    asked: dict[str, str],
    heads: dict[str, str],
    url: str | None,
) -> list[str]:
    found = [*tokens.in_headers(asked), *tokens.in_headers(heads)]
    found += tokens.in_url(url or "") + tokens.in_url(heads.get("location", ""))
    for cookie in [*_list(request.get("cookies")), *_list(response.get("cookies"))]:
        found.append(str(_dict(cookie).get("value", "")))
    for pair in _list(request.get("queryString")):
        name, value = str(_dict(pair).get("name", "")), str(_dict(pair).get("value", ""))
        found += tokens.in_url(f"x?{name}={value}")
    posted = _dict(request.get("postData"))
    from failwell.cli.pasted import secrets_in_data

    found += secrets_in_data(str(posted.get("text", "")))
    for pair in _list(posted.get("params")):
        found += secrets_in_data(f"{_dict(pair).get('name', '')}={_dict(pair).get('value', '')}")
    return found


def _headers(pairs: Any) -> dict[str, str]:
    named = [(str(_dict(p).get("name", "")), str(_dict(p).get("value", ""))) for p in _list(pairs)]
    return Answer(0, [(n, v) for n, v in named if n]).headers


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
