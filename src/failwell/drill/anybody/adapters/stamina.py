"""stamina around httpx2: what may be repeated is, with one key, as its users write it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from failwell.drill.anybody.adapters.httpx2 import client, key_of, once
from failwell.drill.subject import Call, Kind

if TYPE_CHECKING:
    from failwell.drill.anybody.subject import Setup

# Its default is 10; a drill is no place for waits of a minute.
ATTEMPTS = 3


class Stamina:
    """Reads and writes with a key are retried on transport errors, 429 and 5xx; others are not."""

    name = "stamina"
    packages = ("stamina", "httpx2")
    attempts = ATTEMPTS
    logger = "stamina"

    def __init__(self, setup: Setup) -> None:
        self._client = client(setup)

    def __call__(self, base_url: str, call: Call) -> Any:
        import stamina

        key = key_of(call)
        if call.kind is Kind.PLAIN_WRITE:
            return once(self._client, base_url, call, key)
        for attempt in stamina.retry_context(on=_worth_another_try, attempts=ATTEMPTS):
            with attempt:
                return once(self._client, base_url, call, key)
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        self._client.close()


def _worth_another_try(error: Exception) -> bool | float:
    """Whether to try again; seconds, if the service said how many."""
    import httpx2

    if not isinstance(error, httpx2.HTTPStatusError):
        return isinstance(error, httpx2.TransportError)
    status, asked = error.response.status_code, error.response.headers.get("retry-after", "")
    if status != 429 and status < 500:
        return False
    return float(asked) if asked.isdecimal() else True
