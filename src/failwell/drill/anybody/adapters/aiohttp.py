"""aiohttp, with one session, a timeout for the whole call and for each piece of it."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from failwell.drill.subject import Call, Kind

if TYPE_CHECKING:
    import aiohttp

    from failwell.drill.anybody.subject import Setup


class Aiohttp:
    """One session, as its documentation recommends."""

    name = "aiohttp"
    packages = ("aiohttp",)
    attempts = 1

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._session: aiohttp.ClientSession | None = None

    async def __call__(self, base_url: str, call: Call) -> Any:
        self._session = session = self._session or self._open()
        if call.kind is Kind.READ:
            asked = session.get(f"{base_url}/things/{call.marker}")
        else:
            keyed = (
                {"Idempotency-Key": call.key or str(uuid.uuid4())} if call.kind is Kind.KEYED_WRITE else {}
            )
            asked = session.post(f"{base_url}/things", json={"name": call.marker}, headers=keyed)
        async with asked as answer:
            answer.raise_for_status()
            return (await answer.json())["id"]

    def _open(self) -> aiohttp.ClientSession:
        """A session belongs to the event loop that runs when it is made."""
        import aiohttp

        setup = self._setup
        verify: Any = setup.verify
        return aiohttp.ClientSession(
            headers={"Authorization": f"Bearer {setup.api_key}"},
            timeout=aiohttp.ClientTimeout(total=setup.total, connect=setup.connect, sock_read=setup.read),
            connector=aiohttp.TCPConnector(ssl=verify),
        )

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
