"""httpx2, with one client and its timeouts; it follows no redirects by default."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from failwell.drill.subject import Call, Kind

if TYPE_CHECKING:
    import httpx2

    from failwell.drill.anybody.subject import Setup


class Httpx2:
    """One client, as its documentation recommends."""

    name = "httpx2"
    packages = ("httpx2",)
    attempts = 1

    def __init__(self, setup: Setup) -> None:
        self._client = client(setup)

    def __call__(self, base_url: str, call: Call) -> Any:
        return once(self._client, base_url, call, key_of(call))

    def close(self) -> None:
        self._client.close()


def client(setup: Setup) -> httpx2.Client:
    """A client with the timeouts and the key of `setup`."""
    import httpx2

    return httpx2.Client(
        headers={"Authorization": f"Bearer {setup.api_key}"},
        timeout=httpx2.Timeout(setup.read, connect=setup.connect),
        verify=setup.verify,
        trust_env=False,
    )


def key_of(call: Call) -> str | None:
    """The key of one logical write, for all its tries."""
    return (call.key or str(uuid.uuid4())) if call.kind is Kind.KEYED_WRITE else None


def once(client: httpx2.Client, base_url: str, call: Call, key: str | None) -> Any:
    """One request; raises for a status that is no success."""
    if call.kind is Kind.READ:
        answer = client.get(f"{base_url}/things/{call.marker}")
    else:
        keyed = {} if key is None else {"Idempotency-Key": key}
        answer = client.post(f"{base_url}/things", json={"name": call.marker}, headers=keyed)
    answer.raise_for_status()
    return answer.json()["id"]
