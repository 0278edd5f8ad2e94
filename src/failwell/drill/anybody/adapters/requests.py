"""requests, with a session and both timeouts."""

from __future__ import annotations

import ssl
import uuid
from typing import TYPE_CHECKING, Any

from failwell.drill.subject import Call, Kind

if TYPE_CHECKING:
    import requests

    from failwell.drill.anybody.subject import Setup


class Requests:
    """One session, as its documentation recommends."""

    name = "requests"
    packages = ("requests",)
    attempts = 1

    def __init__(self, setup: Setup) -> None:
        self._timeout = (setup.connect, setup.read)
        self._session = session(setup)
        self._session.headers["Authorization"] = f"Bearer {setup.api_key}"

    def __call__(self, base_url: str, call: Call) -> Any:
        if call.kind is Kind.READ:
            answer = self._session.get(f"{base_url}/things/{call.marker}", timeout=self._timeout)
        else:
            keyed = (
                {"Idempotency-Key": call.key or str(uuid.uuid4())} if call.kind is Kind.KEYED_WRITE else {}
            )
            answer = self._session.post(
                f"{base_url}/things", json={"name": call.marker}, headers=keyed, timeout=self._timeout
            )
        answer.raise_for_status()
        return answer.json()["id"]

    def close(self) -> None:
        self._session.close()


def session(setup: Setup) -> requests.Session:
    """A session that takes the certificates of `setup`, and no proxy from the environment."""
    import requests
    from requests.adapters import HTTPAdapter

    made = requests.Session()
    made.trust_env = False
    if isinstance(setup.verify, ssl.SSLContext):
        context = setup.verify

        class Trusting(HTTPAdapter):
            def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
                super().init_poolmanager(*args, **kwargs, ssl_context=context)

        made.mount("https://", Trusting())
    return made
