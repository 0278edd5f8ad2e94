"""anthropic's SDK with its default retries, making and reading memory stores."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from failwell.drill.subject import Call, Kind

if TYPE_CHECKING:
    import anthropic

    from failwell.drill.anybody.subject import Setup


class Anthropic:
    """One client, pointed at the service by its base URL."""

    name = "anthropic"
    packages = ("anthropic", "httpx2")
    attempts = 3  # its default: two retries

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._client: anthropic.Anthropic | None = None

    def __call__(self, base_url: str, call: Call) -> Any:
        self._client = client = self._client or self._open(base_url)
        if call.kind is Kind.READ:
            return client.beta.memory_stores.retrieve(call.marker)
        keyed = {"Idempotency-Key": call.key or str(uuid.uuid4())} if call.kind is Kind.KEYED_WRITE else {}
        return client.beta.memory_stores.create(name=call.marker, extra_headers=keyed)

    def _open(self, base_url: str) -> anthropic.Anthropic:
        import anthropic
        import httpx2

        setup = self._setup
        return anthropic.Anthropic(
            api_key=setup.api_key,
            base_url=base_url,
            timeout=httpx2.Timeout(setup.read, connect=setup.connect),
            http_client=anthropic.DefaultHttpxClient(verify=setup.verify, trust_env=False),
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
