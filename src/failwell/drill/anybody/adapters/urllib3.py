"""urllib3, with one pool and its default retries: three, of what it takes for safe."""

from __future__ import annotations

import ssl
import uuid
from typing import TYPE_CHECKING, Any

from failwell.drill.subject import Call, Kind

if TYPE_CHECKING:
    from failwell.drill.anybody.subject import Setup


class Urllib3:
    """One pool, as its documentation recommends."""

    name = "urllib3"
    packages = ("urllib3",)
    attempts = 4

    def __init__(self, setup: Setup) -> None:
        import urllib3

        context = setup.verify if isinstance(setup.verify, ssl.SSLContext) else None
        self._pool = urllib3.PoolManager(
            headers={"Authorization": f"Bearer {setup.api_key}"},
            timeout=urllib3.Timeout(connect=setup.connect, read=setup.read),
            ssl_context=context,
        )

    def __call__(self, base_url: str, call: Call) -> Any:
        if call.kind is Kind.READ:
            answer = self._pool.request("GET", f"{base_url}/things/{call.marker}")
        else:
            headers = dict(self._pool.headers)
            if call.kind is Kind.KEYED_WRITE:
                headers["Idempotency-Key"] = call.key or str(uuid.uuid4())
            answer = self._pool.request(
                "POST", f"{base_url}/things", json={"name": call.marker}, headers=headers
            )
        if answer.status >= 400:  # there is no raise_for_status
            raise RuntimeError(f"status {answer.status}")
        return answer.json()["id"]

    def close(self) -> None:
        self._pool.clear()
