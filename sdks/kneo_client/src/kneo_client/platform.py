"""
What a client can do with the platform: `client.platform.runs`, `.specs`, `.environments`, `.health`.

Each method says what to ask and how to read the answer; the twins do the same, awaiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import failwell
from failwell.arguments import Arguments
from failwell.call.operation import Operation
from failwell.resources import AsyncResource, Resource, awaiting, operation
from kneo_client.models import (
    Environment,
    EnvironmentCreate,
    Health,
    Page,
    Run,
    RunCreate,
    Spec,
    SpecCreate,
)

check = Arguments()


class Runs(Resource):
    """Runs of specs."""

    @operation
    def create(
        self,
        payload: RunCreate | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Operation[Run]:
        """
        The run that was started, usually still "queued".

        Args:
            payload: `spec_id`, and if you like `environment_id`, `input` and `metadata`.
            idempotency_key: 1 to 255 visible ASCII characters, sent with every try; by default one
                is made. The same key with the same payload brings the first answer again.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoIdempotencyMismatchError: the key was used before, with another payload.
            KneoNotFoundError: there is no such spec or environment.
            KneoConflictError: the environment takes no runs any more.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return Operation(
            "POST",
            "/v1/runs",
            Run.from_response,
            json=check.body("payload", payload, RunCreate),
            idempotency_key=idempotency_key,
            deadline=deadline,
        )

    @operation
    def get(self, run_id: str, *, deadline: float | None = None) -> Operation[Run]:
        """
        The run as it is now.

        Args:
            run_id: Its `id`.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoNotFoundError: there is no such run.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return Operation(
            "GET", f"/v1/runs/{check.segment('run_id', run_id)}", Run.from_response, deadline=deadline
        )

    @operation
    def list(
        self,
        *,
        status: str | None = None,
        spec_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        deadline: float | None = None,
    ) -> Operation[Page[Run]]:
        """
        A page of runs, newest first.

        Args:
            status: Only runs in this state; None for all.
            spec_id: Only runs of this spec; None for all.
            limit: Runs on a page; None for the service's default.
            cursor: `next_cursor` of the page before; None for the first.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoError: the call did not succeed.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        query = {
            "status": check.optional(check.text, "status", status),
            "spec_id": check.optional(check.text, "spec_id", spec_id),
            **_paging(limit, cursor),
        }
        return Operation("GET", "/v1/runs", Page.of(Run.from_json), params=query, deadline=deadline)

    @operation
    def cancel(
        self,
        run_id: str,
        *,
        version: int | None = None,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Operation[Run]:
        """
        The run, cancelled.

        Args:
            run_id: Its `id`.
            version: Only if the run is still at this version; None for whatever it is at.
            idempotency_key: 1 to 255 visible ASCII characters, sent with every try; by default one
                is made.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoConflictError: it has ended already, or is at another version.
            KneoNotFoundError: there is no such run.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        path = f"/v1/runs/{check.segment('run_id', run_id)}/cancel"
        return Operation(
            "POST",
            path,
            Run.from_response,
            headers=_if_match(version),
            idempotency_key=idempotency_key,
            deadline=deadline,
        )


class Specs(Resource):
    """Specs: what runs do."""

    @operation
    def create(
        self,
        payload: SpecCreate | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Operation[Spec]:
        """
        The spec that was created, at version 1.

        Args:
            payload: `name` and `definition`.
            idempotency_key: 1 to 255 visible ASCII characters, sent with every try; by default one
                is made. The same key with the same payload brings the first answer again.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoIdempotencyMismatchError: the key was used before, with another payload.
            KneoConflictError: the name is taken.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return Operation(
            "POST",
            "/v1/specs",
            Spec.from_response,
            json=check.body("payload", payload, SpecCreate),
            idempotency_key=idempotency_key,
            deadline=deadline,
        )

    @operation
    def get(self, spec_id: str, *, deadline: float | None = None) -> Operation[Spec]:
        """
        The spec as it is now.

        Args:
            spec_id: Its `id`.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoNotFoundError: there is no such spec.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return Operation(
            "GET", f"/v1/specs/{check.segment('spec_id', spec_id)}", Spec.from_response, deadline=deadline
        )

    @operation
    def list(
        self, *, limit: int | None = None, cursor: str | None = None, deadline: float | None = None
    ) -> Operation[Page[Spec]]:
        """
        A page of your specs and the platform's, newest first.

        Args:
            limit: Specs on a page; None for the service's default.
            cursor: `next_cursor` of the page before; None for the first.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoError: the call did not succeed.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return Operation(
            "GET", "/v1/specs", Page.of(Spec.from_json), params=_paging(limit, cursor), deadline=deadline
        )

    @operation
    def update(
        self,
        spec_id: str,
        payload: SpecCreate | Mapping[str, Any],
        *,
        version: int | None = None,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Operation[Spec]:
        """
        The spec, replaced.

        Args:
            spec_id: Its `id`.
            payload: `name` and `definition`.
            version: Only if the spec is still at this version; None for whatever it is at.
            idempotency_key: 1 to 255 visible ASCII characters, sent with every try; by default one
                is made.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoConflictError: somebody else has changed it meanwhile, or the name is taken.
            KneoPermissionError: it is the platform's.
            KneoNotFoundError: there is no such spec.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return Operation(
            "PUT",
            f"/v1/specs/{check.segment('spec_id', spec_id)}",
            Spec.from_response,
            json=check.body("payload", payload, SpecCreate),
            headers=_if_match(version),
            idempotency_key=idempotency_key,
            deadline=deadline,
        )


class Environments(Resource):
    """Environments: where runs run."""

    @operation
    def create(
        self,
        payload: EnvironmentCreate | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Operation[Environment]:
        """
        The environment that was created.

        Args:
            payload: `name`, and if you like `variables`.
            idempotency_key: 1 to 255 visible ASCII characters, sent with every try; by default one
                is made. The same key with the same payload brings the first answer again.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoIdempotencyMismatchError: the key was used before, with another payload.
            KneoConflictError: the name is taken.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return Operation(
            "POST",
            "/v1/environments",
            Environment.from_response,
            json=check.body("payload", payload, EnvironmentCreate),
            idempotency_key=idempotency_key,
            deadline=deadline,
        )

    @operation
    def get(self, environment_id: str, *, deadline: float | None = None) -> Operation[Environment]:
        """
        The environment as it is now.

        Args:
            environment_id: Its `id`.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoNotFoundError: there is no such environment.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        path = f"/v1/environments/{check.segment('environment_id', environment_id)}"
        return Operation("GET", path, Environment.from_response, deadline=deadline)

    @operation
    def list(
        self, *, limit: int | None = None, cursor: str | None = None, deadline: float | None = None
    ) -> Operation[Page[Environment]]:
        """
        A page of your environments and the platform's, newest first.

        Args:
            limit: Environments on a page; None for the service's default.
            cursor: `next_cursor` of the page before; None for the first.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoError: the call did not succeed.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return Operation(
            "GET",
            "/v1/environments",
            Page.of(Environment.from_json),
            params=_paging(limit, cursor),
            deadline=deadline,
        )


class HealthChecks(Resource):
    """Whether the platform works."""

    @operation
    def livez(self, *, deadline: float | None = None) -> Operation[Health]:
        """
        How the platform is: whether it runs at all.

        Args:
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoNetworkError: it cannot be reached.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return Operation("GET", "/livez", Health.from_response, deadline=deadline)

    @operation
    def readyz(self, *, deadline: float | None = None) -> Operation[Health]:
        """
        How the platform is: whether it can do its work.

        Args:
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoServerError: it runs and is not ready.
            KneoNetworkError: it cannot be reached.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return Operation("GET", "/readyz", Health.from_response, deadline=deadline)


class Platform:
    """
    What the platform offers.

    Attributes:
        runs: Start, look at, cancel.
        specs: What runs do.
        environments: Where runs run.
        health: Whether the platform works.
    """

    def __init__(self, client: failwell.Client) -> None:
        self.runs = Runs(client)
        self.specs = Specs(client)
        self.environments = Environments(client)
        self.health = HealthChecks(client)


class AsyncRuns(AsyncResource):
    """Runs of specs."""

    create = awaiting(Runs.create)
    get = awaiting(Runs.get)
    list = awaiting(Runs.list)
    cancel = awaiting(Runs.cancel)


class AsyncSpecs(AsyncResource):
    """Specs: what runs do."""

    create = awaiting(Specs.create)
    get = awaiting(Specs.get)
    list = awaiting(Specs.list)
    update = awaiting(Specs.update)


class AsyncEnvironments(AsyncResource):
    """Environments: where runs run."""

    create = awaiting(Environments.create)
    get = awaiting(Environments.get)
    list = awaiting(Environments.list)


class AsyncHealthChecks(AsyncResource):
    """Whether the platform works."""

    livez = awaiting(HealthChecks.livez)
    readyz = awaiting(HealthChecks.readyz)


class AsyncPlatform:
    """
    What the platform offers.

    Attributes:
        runs: Start, look at, cancel.
        specs: What runs do.
        environments: Where runs run.
        health: Whether the platform works.
    """

    def __init__(self, client: failwell.AsyncClient) -> None:
        self.runs = AsyncRuns(client)
        self.specs = AsyncSpecs(client)
        self.environments = AsyncEnvironments(client)
        self.health = AsyncHealthChecks(client)


def _paging(limit: int | None, cursor: str | None) -> dict[str, Any]:
    return {
        "limit": check.optional(check.whole, "limit", limit, least=1),
        "cursor": check.optional(check.text, "cursor", cursor),
    }


def _if_match(version: int | None) -> dict[str, str]:
    """The header that asks for a version (RFC 9110, section 13.1.1)."""
    return {} if version is None else {"if-match": f'"{check.whole("version", version, least=1)}"'}
