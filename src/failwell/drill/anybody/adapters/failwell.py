"""failwell's own client, by the same rules: with a contract, its policies, and nothing set for the drill."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from failwell.drill.subject import Call, Kind

if TYPE_CHECKING:
    from failwell import Client
    from failwell.call.messages import Response
    from failwell.drill.anybody.subject import Setup


class Failwell:
    """One client with the standard contract."""

    name = "failwell"
    packages = ("failwell", "httpx2")
    attempts = 3

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._client: Client | None = None

    def __call__(self, base_url: str, call: Call) -> Any:
        from failwell import Operation

        self._client = client = self._client or self._open(base_url, keyed=call.kind is not Kind.PLAIN_WRITE)
        if call.kind is Kind.READ:
            return client.call(Operation("GET", f"/things/{call.marker}", _id))
        write = Operation("POST", "/things", _id, json={"name": call.marker})
        return client.call(write, idempotency_key=call.key)

    def _open(self, base_url: str, *, keyed: bool) -> Client:
        from failwell import Client
        from failwell.call.messages import Timeouts
        from failwell.engines.base import Connections

        setup = self._setup
        return Client(
            base_url,
            credentials={"authorization": f"Bearer {setup.api_key}"},
            timeouts=Timeouts(connect=setup.connect, read=setup.read),
            deadline=setup.total,
            idempotency=keyed,
            connections=Connections(trust_env=False, verify=setup.verify),
        )

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def _id(answer: Response) -> str:
    return str(answer.json()["id"])
