"""
stripe's SDK as it comes, making and reading customers; it gives every write a key.

Its older form, the module's own functions, tries twice more by default; a `StripeClient` does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from failwell.drill.anybody.adapters.requests import session
from failwell.drill.subject import Call, Kind

if TYPE_CHECKING:
    import stripe

    from failwell.drill.anybody.subject import Setup


class Stripe:
    """One client, pointed at the service by its base address; on requests, its first choice."""

    name = "stripe"
    packages = ("stripe", "requests")
    attempts = 1
    kinds = frozenset({Kind.READ, Kind.KEYED_WRITE})

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._session = session(setup)
        self._client: stripe.StripeClient | None = None

    def __call__(self, base_url: str, call: Call) -> Any:
        self._client = client = self._client or self._open(base_url)
        if call.kind is Kind.READ:
            return client.v1.customers.retrieve(call.marker)
        keyed: Any = {} if call.key is None else {"idempotency_key": call.key}
        return client.v1.customers.create({"name": call.marker}, keyed)

    def _open(self, base_url: str) -> stripe.StripeClient:
        import stripe

        setup = self._setup
        http = stripe.RequestsClient(timeout=(setup.connect, setup.read), session=self._session)
        return stripe.StripeClient(setup.api_key, base_addresses={"api": base_url}, http_client=http)

    def close(self) -> None:
        self._session.close()
