"""
What a client can do with the platform: `client.platform.runs`, `.specs`, `.environments`, `.health`.

Each method is one line over `kneo_client.operations`, in the twin with `await`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import failwell
from kneo_client import operations as ops
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


class Runs:
    """Runs of specs."""

    def __init__(self, client: failwell.Client) -> None:
        self._client = client

    def create(
        self,
        payload: RunCreate | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Run:
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
        return self._client.call(ops.create_run(payload), idempotency_key=idempotency_key, deadline=deadline)

    def get(self, run_id: str, *, deadline: float | None = None) -> Run:
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
        return self._client.call(ops.get_run(run_id), deadline=deadline)

    def list(
        self,
        *,
        status: str | None = None,
        spec_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        deadline: float | None = None,
    ) -> Page[Run]:
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
        return self._client.call(ops.list_runs(status, spec_id, limit, cursor), deadline=deadline)

    def cancel(
        self,
        run_id: str,
        *,
        version: int | None = None,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Run:
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
        return self._client.call(
            ops.cancel_run(run_id, version), idempotency_key=idempotency_key, deadline=deadline
        )


class Specs:
    """Specs: what runs do."""

    def __init__(self, client: failwell.Client) -> None:
        self._client = client

    def create(
        self,
        payload: SpecCreate | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Spec:
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
        return self._client.call(ops.create_spec(payload), idempotency_key=idempotency_key, deadline=deadline)

    def get(self, spec_id: str, *, deadline: float | None = None) -> Spec:
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
        return self._client.call(ops.get_spec(spec_id), deadline=deadline)

    def list(
        self, *, limit: int | None = None, cursor: str | None = None, deadline: float | None = None
    ) -> Page[Spec]:
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
        return self._client.call(ops.list_specs(limit, cursor), deadline=deadline)

    def update(
        self,
        spec_id: str,
        payload: SpecCreate | Mapping[str, Any],
        *,
        version: int | None = None,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Spec:
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
        return self._client.call(
            ops.update_spec(spec_id, payload, version), idempotency_key=idempotency_key, deadline=deadline
        )


class Environments:
    """Environments: where runs run."""

    def __init__(self, client: failwell.Client) -> None:
        self._client = client

    def create(
        self,
        payload: EnvironmentCreate | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Environment:
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
        return self._client.call(
            ops.create_environment(payload), idempotency_key=idempotency_key, deadline=deadline
        )

    def get(self, environment_id: str, *, deadline: float | None = None) -> Environment:
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
        return self._client.call(ops.get_environment(environment_id), deadline=deadline)

    def list(
        self, *, limit: int | None = None, cursor: str | None = None, deadline: float | None = None
    ) -> Page[Environment]:
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
        return self._client.call(ops.list_environments(limit, cursor), deadline=deadline)


class HealthChecks:
    """Whether the platform works."""

    def __init__(self, client: failwell.Client) -> None:
        self._client = client

    def livez(self, *, deadline: float | None = None) -> Health:
        """
        How the platform is: whether it runs at all.

        Args:
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoNetworkError: it cannot be reached.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return self._client.call(ops.livez(), deadline=deadline)

    def readyz(self, *, deadline: float | None = None) -> Health:
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
        return self._client.call(ops.readyz(), deadline=deadline)


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


class AsyncRuns:
    """Runs of specs."""

    def __init__(self, client: failwell.AsyncClient) -> None:
        self._client = client

    async def create(
        self,
        payload: RunCreate | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Run:
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
        return await self._client.call(
            ops.create_run(payload), idempotency_key=idempotency_key, deadline=deadline
        )

    async def get(self, run_id: str, *, deadline: float | None = None) -> Run:
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
        return await self._client.call(ops.get_run(run_id), deadline=deadline)

    async def list(
        self,
        *,
        status: str | None = None,
        spec_id: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
        deadline: float | None = None,
    ) -> Page[Run]:
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
        return await self._client.call(ops.list_runs(status, spec_id, limit, cursor), deadline=deadline)

    async def cancel(
        self,
        run_id: str,
        *,
        version: int | None = None,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Run:
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
        return await self._client.call(
            ops.cancel_run(run_id, version), idempotency_key=idempotency_key, deadline=deadline
        )


class AsyncSpecs:
    """Specs: what runs do."""

    def __init__(self, client: failwell.AsyncClient) -> None:
        self._client = client

    async def create(
        self,
        payload: SpecCreate | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Spec:
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
        return await self._client.call(
            ops.create_spec(payload), idempotency_key=idempotency_key, deadline=deadline
        )

    async def get(self, spec_id: str, *, deadline: float | None = None) -> Spec:
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
        return await self._client.call(ops.get_spec(spec_id), deadline=deadline)

    async def list(
        self, *, limit: int | None = None, cursor: str | None = None, deadline: float | None = None
    ) -> Page[Spec]:
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
        return await self._client.call(ops.list_specs(limit, cursor), deadline=deadline)

    async def update(
        self,
        spec_id: str,
        payload: SpecCreate | Mapping[str, Any],
        *,
        version: int | None = None,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Spec:
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
        return await self._client.call(
            ops.update_spec(spec_id, payload, version), idempotency_key=idempotency_key, deadline=deadline
        )


class AsyncEnvironments:
    """Environments: where runs run."""

    def __init__(self, client: failwell.AsyncClient) -> None:
        self._client = client

    async def create(
        self,
        payload: EnvironmentCreate | Mapping[str, Any],
        *,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Environment:
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
        return await self._client.call(
            ops.create_environment(payload), idempotency_key=idempotency_key, deadline=deadline
        )

    async def get(self, environment_id: str, *, deadline: float | None = None) -> Environment:
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
        return await self._client.call(ops.get_environment(environment_id), deadline=deadline)

    async def list(
        self, *, limit: int | None = None, cursor: str | None = None, deadline: float | None = None
    ) -> Page[Environment]:
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
        return await self._client.call(ops.list_environments(limit, cursor), deadline=deadline)


class AsyncHealthChecks:
    """Whether the platform works."""

    def __init__(self, client: failwell.AsyncClient) -> None:
        self._client = client

    async def livez(self, *, deadline: float | None = None) -> Health:
        """
        How the platform is: whether it runs at all.

        Args:
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            KneoNetworkError: it cannot be reached.
            KneoError: any other failure of the call.
            failwell.UsageError: an argument cannot be used. Nothing was sent.
        """
        return await self._client.call(ops.livez(), deadline=deadline)

    async def readyz(self, *, deadline: float | None = None) -> Health:
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
        return await self._client.call(ops.readyz(), deadline=deadline)


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
