"""openai's SDK with its default retries, making and reading vector stores."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from failwell.drill.subject import Call, Kind

if TYPE_CHECKING:
    import openai

    from failwell.drill.anybody.subject import Setup


class OpenAI:
    """One client, pointed at the service by its base URL."""

    name = "openai"
    packages = ("openai", "httpx2")
    attempts = 3  # its default: two retries

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._client: openai.OpenAI | None = None

    def __call__(self, base_url: str, call: Call) -> Any:
        self._client = client = self._client or self._open(base_url)
        if call.kind is Kind.READ:
            return client.vector_stores.retrieve(call.marker)
        keyed = {"Idempotency-Key": call.key or str(uuid.uuid4())} if call.kind is Kind.KEYED_WRITE else {}
        return client.vector_stores.create(name=call.marker, extra_headers=keyed)

    def _open(self, base_url: str) -> openai.OpenAI:
        import httpx2
        import openai

        setup = self._setup
        return openai.OpenAI(
            api_key=setup.api_key,
            base_url=f"{base_url}/v1",
            timeout=httpx2.Timeout(setup.read, connect=setup.connect),
            http_client=openai.DefaultHttpxClient(verify=setup.verify, trust_env=False),
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()
