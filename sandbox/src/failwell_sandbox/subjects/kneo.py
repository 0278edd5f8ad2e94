"""Kneo for the drill: how to call it, how to count, and a real cause for each of its exceptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from failwell.call.messages import Timeouts
from failwell.drill.subject import Call, Cause, Kind, Mode, Settings, hasten
from failwell.failure import Effect
from failwell_sandbox.subjects.common import (
    DIRECT,
    JOBS_ALREADY,
    NAMED_WAITS,
    NO_JOBS,
    ONE_REQUEST,
    ONE_TRY,
    RETRIES_ONLY,
    SandboxSubject,
    bad_keys,
    during,
    exported,
    is_long,
    limits,
    no_time,
)
from kneo_client import AsyncKneoClient, KneoClient, RetryPolicy
from kneo_client.core import errors

PAYLOAD: dict[str, Any] = {
    "spec_id": "spec_text_stats",
    "environment_id": "env_staging",
    "input": {"text": "one two"},
}
# Sealing its input needs a thread for long work.
SEALED = {**PAYLOAD, "spec_id": "spec_sealed", "input": {"text": "one two", "rounds": 1}}
# Runs until it is cancelled.
ENDLESS = {**PAYLOAD, "spec_id": "spec_hash_chain", "input": {"text": "x", "rounds": 10**9}}
UNKNOWN = frozenset({Effect.UNKNOWN})


class Kneo(SandboxSubject):
    """The Kneo SDK, blocking and awaiting, against the sandbox's Kneo."""

    name = "kneo"
    title = "Kneo"
    contract = errors.CONTRACT
    exceptions = exported(errors)
    retried = RetryPolicy().statuses
    without = {"S62": ONE_REQUEST, "S63": NO_JOBS, "S64": NO_JOBS, "S65": JOBS_ALREADY}  # noqa: RUF012  # read, never changed
    logger = "kneo_client.transport"
    instead = {"S51-recovery": RETRIES_ONLY, "S53": NAMED_WAITS}  # noqa: RUF012  # read, never changed

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        make: Any = KneoClient if mode == "sync" else AsyncKneoClient
        client = make(
            self.key(key),
            base_url=base_url,
            deadline=settings.deadline,
            timeouts=Timeouts(connect=settings.connect, read=settings.read),
            connections=self.connections(settings),
            listeners=settings.listeners,
        )
        hasten(client._client, settings)
        return client

    def call(self, client: Any, call: Call) -> Any:
        if call.kind is Kind.READ:
            return client.platform.specs.list()
        return client.platform.runs.create(_named(call.marker), idempotency_key=call.key)

    def causes(self) -> Sequence[Cause]:
        created = Kind.KEYED_WRITE
        known = {"request_id": bool}
        refused = Cause("", "", errors.KneoAuthError, _list, 401, facts=tuple(known.items()))
        conflict = replace(refused, raises=errors.KneoConflictError, status=409, kind=created)
        server = replace(refused, raises=errors.KneoServerError, status=503, settings=ONE_TRY)
        return (
            *bad_keys(refused, _with_header),
            Cause("short-scope", "The API key may read, not write", errors.KneoPermissionError, self._create,
                  403, created, key="read_only"),
            Cause("suspended", "The tenant is suspended", errors.KneoPermissionError, _list, 403,
                  key="suspended"),
            Cause("unknown-id", "There is no such run", errors.KneoNotFoundError, _get_nothing, 404),
            Cause("other-tenant", "The run is another tenant's", errors.KneoNotFoundError,
                  self._get_a_stranger_s, 404),
            Cause("unknown-spec", "There is no such spec to run", errors.KneoNotFoundError,
                  _create({"spec_id": "spec_nothing"}), 404, created),
            replace(conflict, name="disabled", title="The environment takes no runs any more",
                    call=_create({"environment_id": "env_retired"})),
            replace(conflict, name="cancelled-twice", title="The run is cancelled already",
                    call=self._cancel_again),
            replace(conflict, name="in-flight", title="A request with this key is still being worked on",
                    call=self._create_again, settings=ONE_TRY, claims=UNKNOWN, alone=True,
                    facts=(("code", "idempotency_in_flight"), *known.items())),
            self.own_retry(_create_sealed),
            self.killed_at_work(_create_sealed),
            Cause("mismatch", "The key was used with another payload", errors.KneoIdempotencyMismatchError,
                  self._create_other, 409, created, before=(self._create_first,), facts=(
                      ("idempotency_key", bool), ("code", "idempotency_mismatch"))),
            *limits(replace(refused, raises=errors.KneoRateLimited, status=429,
                            facts=(("retry_after", is_long),))),
            Cause("bug", "The service has a bug: it divides by zero", errors.KneoServerError,
                  _create({"spec_id": "spec_chunks", "input": {"text": "x", "chunk_size": 0}}), 500, created),
            *self.out_of_order(server, self._create),
            Cause("validation", "The payload lacks what is required", errors.KneoError,
                  _create({"spec_id": None}), 422, created, facts=(("fields", bool), *known.items())),
            Cause("bad-key-format", "The service cannot read the idempotency key", errors.KneoError,
                  _with_an_odd_key, 400, created),
            no_time(errors.KneoNetworkError, _list),
        )  # fmt: skip

    def _create(self, client: Any, call: Call) -> Any:
        return self.call(client, call)

    def _create_first(self, client: Any, call: Call) -> Any:
        return client.platform.runs.create(
            _named(f"{call.marker}-first"), idempotency_key=f"{call.marker}-key"
        )

    def _create_other(self, client: Any, call: Call) -> Any:
        return client.platform.runs.create(_named(call.marker), idempotency_key=f"{call.marker}-key")

    def _create_again(self, client: Any, call: Call) -> Any:
        payload, key = _named(f"{call.marker}-twin", SEALED), f"{call.marker}-key"
        return during(
            self.at_work("/v1/runs", payload, self._headers(key)),
            lambda: client.platform.runs.create(payload, idempotency_key=key),
        )

    def _headers(self, key: str) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key('good')}", "idempotency-key": key}

    def _cancel_again(self, client: Any, call: Call) -> Any:
        return client.platform.runs.cancel(self._new_run("good", call.marker, cancelled=True))

    def _get_a_stranger_s(self, client: Any, call: Call) -> Any:
        return client.platform.runs.get(self._new_run("other_tenant", call.marker))

    def _new_run(self, key: str, marker: str, *, cancelled: bool = False) -> str:
        """A run made past the proxy, with another client."""
        with KneoClient(self.key(key), base_url=self.service.url, connections=DIRECT) as other:
            run = other.platform.runs.create(_named(f"{marker}-other", ENDLESS if cancelled else PAYLOAD))
            if cancelled:
                other.platform.runs.cancel(run.id)
            return run.id


def _named(marker: str, payload: dict[str, Any] = PAYLOAD) -> dict[str, Any]:
    """A run that the ledger knows by `marker`."""
    return {**payload, "metadata": {"name": marker}}


def _create_sealed(client: Any, call: Call) -> Any:
    return client.platform.runs.create(_named(call.marker, SEALED))


def _list(client: Any, call: Call) -> Any:
    return client.platform.specs.list()


def _get_nothing(client: Any, call: Call) -> Any:
    return client.platform.runs.get("run_000000000000000000000000")


def _create(changes: dict[str, Any]) -> Any:
    def create(client: Any, call: Call) -> Any:
        payload = _named(call.marker, PAYLOAD | changes)
        return client.platform.runs.create({n: v for n, v in payload.items() if v is not None})

    return create


def _with_header(key: str) -> Any:
    value = f"Bearer {key}" if key else ""
    return lambda client, call: client._client.request("GET", "/v1/specs", headers={"authorization": value})


def _with_an_odd_key(client: Any, call: Call) -> Any:
    return client.platform.runs.create(_named(call.marker), idempotency_key=f"{call.marker},{call.marker}")


subject = Kneo()
