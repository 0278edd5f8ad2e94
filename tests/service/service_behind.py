"""An application of a test's own behind the gates: with a store, a key, and how to ask it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from service_asgi import ask
from service_world import KEYS
from starlette.applications import Starlette

from agoralia.contract import CONTRACT as AGORALIA
from failwell.answer import Answer
from failwell.contract import STANDARD, Contract
from failwell.service import Operation, Service, SQLiteStore, install, routes_for, stored
from kneo_client.core.contract import CONTRACT as KNEO

CONTRACTS = {"standard": STANDARD, "kneo": KNEO, "agoralia": AGORALIA}


class Behind:
    """
    An application behind the gates.

    Args:
        folder: Where its store is made.
        contract: What it speaks.
        app: The application; None for one with the routes of `operations`.
        operations: The table; None to have it read from the application.
        facts: What the store knows of its key, besides the tenant.
        schema: Of the store.
        settings: Of the service.
    """

    def __init__(
        self,
        folder: Path,
        contract: Contract = STANDARD,
        app: Any = None,
        *,
        operations: Sequence[Operation] | None = None,
        facts: Mapping[str, Any] | None = None,
        schema: str = "",
        **settings: Any,
    ) -> None:
        self.contract = contract
        self.app = Starlette(routes=routes_for(operations or ())) if app is None else app
        self.store = SQLiteStore(folder / "behind.db", schema=schema)
        self.key = self.new_key(**(facts or {}))
        settings.setdefault("keys", KEYS)
        self.service: Service = install(
            self.app, contract, store=self.store, operations=operations, **settings
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.store.close()

    def new_key(self, **facts: Any) -> str:
        """Another key of the same tenant."""
        key = KEYS.new()
        self.store.add_keys([stored(key, KEYS, **{"tenant": "t1", **facts})])
        return key

    def ask(self, method: str, path: str, *, key: str | None = "", **asked: Any) -> Answer:
        """The answer, asked for with the service's own key; with none for None."""
        headers = dict(asked.pop("headers", {}))
        if key is not None:
            headers.setdefault("authorization", f"Bearer {key or self.key}")
        return asyncio.run(ask(self.service, method, path, headers=headers, **asked))
