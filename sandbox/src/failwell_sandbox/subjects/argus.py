"""Argus for the drill: how to call it, how to count, a real cause for each of its exceptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import argus as errors
from argus import Argus, AsyncArgus
from failwell.drill.faults import once, replaced
from failwell.drill.subject import Call, Cause, Kind, Mode, Settings, hasten
from failwell.failure import Effect
from failwell_sandbox.subjects.common import (
    DIRECT,
    NO_JOBS,
    ONE_REQUEST,
    ONE_TRY,
    RETRIES_ONLY,
    SandboxSubject,
    during,
    exported,
    is_long,
)

# To look through it needs a thread for long work.
LONG = "Globex and " * 1000


class ArgusSubject(SandboxSubject):
    """The Argus SDK, blocking and awaiting, against the sandbox's Argus."""

    name = "argus"
    title = "Argus"
    contract = errors.CONTRACT
    exceptions = exported(errors)
    retried = frozenset({429, 500, 502, 503, 504})
    logger = "argus"
    instead = {"S51-recovery": RETRIES_ONLY}  # noqa: RUF012  # read, never changed
    path = "/v1"
    without = {"S62": ONE_REQUEST, "S63": NO_JOBS, "S64": NO_JOBS, "S65": NO_JOBS}  # noqa: RUF012  # read, never changed

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        make: Any = Argus if mode == "sync" else AsyncArgus
        client = make(
            self.key(key),
            strict=True,
            base_url=base_url,
            deadline=settings.deadline,
            connections=self.connections(settings),
            listeners=settings.listeners,
        )
        hasten(client._client, settings)
        return client

    def call(self, client: Any, call: Call) -> Any:
        if call.kind is Kind.READ:
            return client.assets.list()
        return client.assets.create(call.marker, idempotency_key=call.key)

    def ids_of(self, marker: str) -> Sequence[str]:
        """What has the name `marker`, and the results that are saved under the asset for it."""
        saved = (super(ArgusSubject, self).ids_of(asset) for asset in super().ids_of(_asset_for(marker)))
        return [*super().ids_of(marker), *chain.from_iterable(saved)]

    def causes(self) -> Sequence[Cause]:
        created = Kind.KEYED_WRITE
        known = (("response_body", bool), ("request_id", bool))
        refused = Cause("", "", errors.ArgusAuthenticationError, _list, 401,
                        facts=(("status_code", 401), *known))  # fmt: skip
        forbidden = replace(refused, raises=errors.ArgusPermissionError, status=403,
                            facts=(("status_code", 403), *known))  # fmt: skip
        missing = replace(refused, raises=errors.ArgusNotFoundError, status=404,
                          facts=(("status_code", 404), *known))  # fmt: skip
        other = replace(refused, raises=errors.ArgusAPIError, facts=known)
        closed = replace(refused, raises=errors.ArgusInternalServerError, status=503, settings=ONE_TRY,
                         facts=(("status_code", 503), *known))  # fmt: skip
        unsent = Cause("", "", errors.ArgusValueError, _list, requests=0)
        return (
            replace(unsent, name="no-such-key", title="The API key begins with neither sk_ nor rsk_",
                    call=lambda client, call: type(client)("ago_0123456789")),
            replace(unsent, name="empty-list", title="An empty list in strict mode",
                    call=lambda client, call: client.check_batch([])),
            replace(unsent, name="empty-competitors", title="No competitors to look for, in strict mode",
                    call=lambda client, call: client.check("Globex", competitors=[])),
            replace(unsent, name="saved-nowhere", title="A result is to be saved under no asset",
                    call=lambda client, call: client.check("Globex", save=True)),
            replace(unsent, name="too-long", title="A text is longer than a check takes",
                    call=lambda client, call: client.check("x" * 1_000_001)),
            replace(unsent, name="string-for-list", title="A string where a list of competitors is due",
                    raises=errors.ArgusTypeError,
                    call=lambda client, call: client.check("Globex", competitors="Globex")),
            replace(refused, name="missing-key", title="No API key is sent", call=_with_key("")),
            replace(refused, name="malformed-key", title="The API key is nonsense",
                    call=_with_key("Bearer nonsense")),
            replace(refused, name="unknown-key", title="Nobody has this API key", key="unknown"),
            replace(refused, name="revoked-key", title="The API key was revoked", key="revoked"),
            replace(refused, name="expired-key", title="The API key has expired", key="expired"),
            replace(forbidden, name="free-asset", title="A free key names an asset", key="free",
                    call=lambda client, call: client.check("Globex", asset_id="asset_1")),
            replace(forbidden, name="free-save", title="A free key wants a result saved", key="free",
                    kind=created, call=lambda client, call: client.check(
                        "Globex", asset_id="asset_1", save=True)),
            replace(forbidden, name="free-create", title="A free key creates an asset", key="free",
                    kind=created, call=self.call),
            replace(forbidden, name="short-scope", title="The API key may read, not write", key="read_only",
                    kind=created, call=self.call),
            replace(forbidden, name="suspended", title="The account is suspended", key="suspended"),
            replace(missing, name="unknown-id", title="There is no such asset", call=_nothing),
            replace(missing, name="unknown-asset", title="A text is checked for no such asset", kind=created,
                    call=lambda client, call: client.check("Globex", asset_id="asset_1", save=True)),
            replace(missing, name="other-tenant", title="The asset is another account's",
                    call=self._stranger),
            replace(other, name="mismatch", title="The key was used with another body", status=409,
                    kind=created, call=_create_other, before=(_create_first,)),
            replace(other, name="name-taken", title="There is an asset of this name already", status=409,
                    kind=created, before=(_create_taken,), call=_create_taken,
                    facts=(("code", "name_taken"), *known)),
            replace(other, name="in-flight", title="A request with this key is still being worked on",
                    status=409, kind=created, call=self._check_again, settings=ONE_TRY,
                    claims=frozenset({Effect.UNKNOWN}), alone=True,
                    facts=(("code", "idempotency_in_flight"), *known)),
            self.own_retry(self._save),
            self.killed_at_work(self._save),
            Cause("batch-short", "The answer to a batch has fewer results than it has texts",
                  errors.ArgusConnectionError, self._save_batch, kind=created,
                  schedule=once(replaced(b'{"results": []}', name="no results")), effects=3,
                  claims=frozenset({Effect.APPLIED}), facts=(("attempts", bool),), proves=("S31",)),
            replace(other, name="validation", title="A field is refused", status=422, kind=created,
                    call=lambda client, call: client._client.request(
                        "POST", "/assets", json={"name": "x" * 101}),
                    facts=(("fields", bool), *known)),
            replace(other, name="bad-key-format", title="The service cannot read the idempotency key",
                    status=400, kind=created, call=_with_an_odd_key),
            replace(other, name="wrong-method", title="The path does not take this method", status=405,
                    call=lambda client, call: client._client.request("DELETE", "/assets")),
            replace(other, name="too-large", title="The body is larger than the service takes", status=413,
                    kind=created, call=lambda client, call: client._client.request(
                        "POST", "/assets", json={"name": "x" * 1_100_000})),
            replace(other, name="limit", title="The key's rate limit is reached", status=429,
                    key="once_an_hour", before=(_list,),
                    facts=(("retry_after", is_long), ("rate_limit", bool), *known)),
            Cause("limit-waited-out", "The key's rate limit is reached, and open again soon", None,
                  _list, key="two_in_six_seconds", before=(_list, _list), requests=2, wait_at_least=1.0,
                  proves=("S42",)),
            replace(closed, name="bug", title="The service has a bug: it divides by zero", status=500,
                    settings=Settings(), requests=3, facts=(("status_code", 500), *known),
                    call=lambda client, call: client._client.request(
                        "POST", "/checks/batch", json={"texts": []})),
            replace(closed, name="draining", title="The service is about to end", arrange=self.draining),
            replace(closed, name="locked", title="The service's database is locked", kind=created,
                    call=self.call, arrange=self.locked),
            Cause("deadline", "The time is over before anything is sent", errors.ArgusConnectionError,
                  _list, settings=Settings(deadline=0.0), requests=0, facts=(("effect", Effect.NOT_SENT),)),
        )  # fmt: skip

    def _check_again(self, client: Any, call: Call) -> Any:
        key = f"{call.marker}-key"
        return during(
            self.at_work("/v1/checks", {"text": LONG}, self._headers(key)),
            lambda: client.check(LONG, idempotency_key=key),
        )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key('good')}", "idempotency-key": key}

    def _save(self, client: Any, call: Call) -> Any:
        """A check whose result is saved under an asset of its own."""
        return client.check(LONG, competitors=["Globex"], asset_id=self._new_asset(call), save=True)

    def _save_batch(self, client: Any, call: Call) -> Any:
        """A check of three texts, whose results are saved under an asset of their own."""
        return client.check_batch(["Globex", "", "Globex"], asset_id=self._new_asset(call), save=True)

    def _new_asset(self, call: Call) -> str:
        with self._other("good") as other:
            return other.assets.create(_asset_for(call.marker)).id

    def _other(self, key: str) -> Argus:
        """A client that goes past the proxy."""
        return Argus(self.key(key), base_url=self.service.url + self.path, connections=DIRECT)

    def _stranger(self, client: Any, call: Call) -> Any:
        """An asset made past the proxy, with another account's key."""
        with self._other("other_tenant") as other:
            asset = other.assets.create(f"{call.marker}-other")
        return client.assets.get(asset.id)


def _asset_for(marker: str) -> str:
    return f"{marker}-asset"


def _create_taken(client: Any, call: Call) -> Any:
    return client.assets.create(f"{call.marker}-taken")


def _create_first(client: Any, call: Call) -> Any:
    return client.assets.create(f"{call.marker}-first", idempotency_key=f"{call.marker}-key")


def _create_other(client: Any, call: Call) -> Any:
    return client.assets.create(call.marker, idempotency_key=f"{call.marker}-key")


def _with_an_odd_key(client: Any, call: Call) -> Any:
    return client.assets.create(call.marker, idempotency_key=f"{call.marker},{call.marker}")


def _with_key(value: str) -> Any:
    return lambda client, call: client._client.request("GET", "/assets", headers={"authorization": value})


def _list(client: Any, call: Call) -> Any:
    return client.assets.list()


def _nothing(client: Any, call: Call) -> Any:
    return client.assets.results("asset_1")


subject = ArgusSubject()
