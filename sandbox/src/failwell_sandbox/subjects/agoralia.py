"""Agoralia for the drill: how to call it, how to count, a real cause for each of its exceptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import agoralia as errors
from agoralia import Agoralia, AsyncAgoralia
from failwell.drill.subject import Call, Cause, Kind, Mode, Settings, hasten
from failwell.failure import Effect
from failwell_sandbox.subjects.common import (
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

# To find who is entered twice needs a thread for long work.
CROWD: dict[str, Any] = {"contacts": [{"name": "Ada"}, {"name": "ADA"}], "merge_duplicates": True}


# What the service's document has it say of a key.
SAID = {
    "missing-key": "Invalid API key",
    "malformed-key": "Invalid API key format",
    "unknown-key": "Invalid API key",
    "revoked-key": "API key revoked",
    "expired-key": "API key expired",
}


class AgoraliaSubject(SandboxSubject):
    """The Agoralia SDK, blocking and awaiting, against the sandbox's Agoralia."""

    name = "agoralia"
    title = "Agoralia"
    contract = errors.CONTRACT
    exceptions = exported(errors)
    retried = frozenset({429, 500, 502, 503, 504})
    logger = "agoralia.transport"
    instead = {"S51-recovery": RETRIES_ONLY, "S53": NAMED_WAITS}  # noqa: RUF012  # read, never changed
    path = "/api/v1"
    without = {"S62": ONE_REQUEST, "S63": NO_JOBS, "S64": NO_JOBS, "S65": JOBS_ALREADY}  # noqa: RUF012  # read, never changed

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        make: Any = Agoralia if mode == "sync" else AsyncAgoralia
        client = make(
            self.key(key),
            base_url=base_url,
            deadline=settings.deadline,
            connections=self.connections(settings),
            listeners=settings.listeners,
        )
        hasten(client._client, settings)
        return client

    def call(self, client: Any, call: Call) -> Any:
        if call.kind is Kind.READ:
            return client.agents.list()
        return _create(client, call.marker, call.key)

    def causes(self) -> Sequence[Cause]:
        created = Kind.KEYED_WRITE
        known = (("request_id", bool), ("detail", bool))
        refused = Cause("", "", errors.AgoraliaAuthenticationError, _list, 401,
                        facts=(("status_code", 401), *known))  # fmt: skip
        missing = replace(refused, raises=errors.AgoraliaNotFoundError, status=404,
                          facts=(("status_code", 404), *known))  # fmt: skip
        closed = replace(refused, raises=errors.AgoraliaUnavailableError, status=503, settings=ONE_TRY,
                         facts=(("status_code", 503), *known))  # fmt: skip
        return (
            *(replace(cause, facts=(*cause.facts, ("detail", SAID[cause.name])))
              for cause in bad_keys(refused, _with_header)),
            Cause("short-scope", "The API key may read, not write", errors.AgoraliaPermissionError,
                  self.call, 403, created, key="read_only",
                  facts=(("detail", "Insufficient permissions. Required scope: campaigns:write"),)),
            Cause("suspended", "The tenant is suspended", errors.AgoraliaPermissionError, _list, 403,
                  key="suspended"),
            replace(missing, name="unknown-id", title="There is no such campaign", call=_nothing,
                    facts=(("detail", "Campaign not found"),)),
            replace(missing, name="other-tenant", title="The agent is another tenant's", call=_stranger),
            replace(missing, name="unknown-agent", title="There is no such agent to call with",
                    kind=created, call=lambda client, call: _create(client, call.marker, agent_ref_id=999)),
            Cause("mismatch", "The key was used with another body", errors.AgoraliaIdempotencyError,
                  _create_other, 409, created, before=(_create_first,),
                  facts=(("detail", "Idempotency key already used with different request body"),)),
            Cause("in-flight", "A request with this key is still running", errors.AgoraliaInProgressError,
                  self._create_again, 409, created, settings=ONE_TRY, claims=frozenset({Effect.UNKNOWN}),
                  alone=True),
            self.own_retry(lambda client, call: _create(client, call.marker, extra=CROWD)),
            self.killed_at_work(lambda client, call: _create(client, call.marker, extra=CROWD)),
            Cause("validation", "A field is refused", errors.AgoraliaValidationError,
                  lambda client, call: _create(client, call.marker, purpose=""), 422, created,
                  facts=(("fields", bool), ("detail", _is_a_list))),
            Cause("bad-key-format", "The service cannot read the idempotency key",
                  errors.AgoraliaBadRequestError, _with_an_odd_key, 400, created),
            Cause("wrong-method", "The path does not take this method", errors.AgoraliaBadRequestError,
                  lambda client, call: client.request("PUT", "/agents", json={}), 405),
            Cause("too-large", "The body is larger than the service takes", errors.AgoraliaStatusError,
                  lambda client, call: _create(client, call.marker, extra={"note": "x" * 1_100_000}), 413,
                  created),
            *limits(replace(refused, raises=errors.AgoraliaRateLimitError, status=429,
                            facts=(("retry_after", is_long), ("rate_limit", bool)))),
            Cause("bug", "The service has a bug: it divides by zero", errors.AgoraliaServerError,
                  lambda client, call: _create(
                      client, call.marker, extra={"contacts": [], "budget_cents": 100}),
                  500, created, requests=3),
            *self.out_of_order(closed, self.call),
            no_time(errors.AgoraliaDeadlineError, _list),
        )  # fmt: skip

    def _create_again(self, client: Any, call: Call) -> Any:
        name, key = f"{call.marker}-twin", f"{call.marker}-key"
        body = {"name": name, "purpose": "quote_request", "agent_ref_id": 1, **CROWD}
        return during(
            self.at_work("/api/v1/campaigns", body, self._headers(key)),
            lambda: _create(client, name, key, extra=CROWD),
        )

    def _headers(self, key: str) -> dict[str, str]:
        return {"x-api-key": self.key("good"), "idempotency-key": key}


def _create(
    client: Any,
    marker: str,
    key: str | None = None,
    *,
    purpose: str = "quote_request",
    agent_ref_id: int = 1,
    extra: dict[str, Any] | None = None,
) -> Any:
    """A campaign that the ledger knows by `marker`."""
    return client.campaigns.create(
        name=marker, purpose=purpose, agent_ref_id=agent_ref_id, extra=extra, idempotency_key=key
    )


def _create_first(client: Any, call: Call) -> Any:
    return _create(client, f"{call.marker}-first", f"{call.marker}-key")


def _create_other(client: Any, call: Call) -> Any:
    return _create(client, call.marker, f"{call.marker}-key")


def _with_an_odd_key(client: Any, call: Call) -> Any:
    return _create(client, call.marker, f"{call.marker},{call.marker}")


def _with_header(key: str) -> Any:
    return lambda client, call: client.request("GET", "/agents", headers={"x-api-key": key})


def _list(client: Any, call: Call) -> Any:
    return client.agents.list()


def _nothing(client: Any, call: Call) -> Any:
    return client.campaigns.results(99999)


def _stranger(client: Any, call: Call) -> Any:
    return client.agents.get(3)  # Reception, of the second tenant


def _is_a_list(detail: object) -> bool:
    return isinstance(detail, list) and bool(detail)


subject = AgoraliaSubject()
