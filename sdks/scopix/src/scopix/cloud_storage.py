"""Files that are imported from, and exported to, a cloud storage."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from failwell.call.operation import Operation
from failwell.client import AsyncClient, Client
from failwell.failure import Failure
from failwell.operations.steps import Steps
from failwell.resources import AsyncResource, Resource, awaiting, operation
from scopix.calls import (
    JOB_TIMEOUT,
    check,
    job_failure,
    nothing,
    paging,
    present,
    started_and_done,
    wait_for,
    write,
)
from scopix.models import Connection, Page, RemoteFile, StorageJob

_PATH = "/v1/cloud-storage"
_MOST_FILES = 1000


class Connections(Resource):
    """Cloud storages that are connected."""

    @operation
    def create(
        self,
        name: str,
        provider: str,
        options: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> Operation[Connection]:
        """
        Connect a cloud storage.

        Args:
            name: What it is called.
            provider: "local" or "s3".
            options: Where it is: `path` of a local one; `bucket`, `prefix`, `endpoint_url`, `region`,
                `access_key_id`, `secret_access_key` and `session_token` of an S3. The keys are never
                given back.
            idempotency_key: Sent with every try; by default one is made for the call.
        """
        body = present(
            name=check.text("name", name, empty=False),
            provider=check.text("provider", provider, empty=False),
            options=check.optional(check.mapping, "options", options),
        )
        return write("POST", f"{_PATH}/connections", Connection.from_response, body, idempotency_key)

    @operation
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Operation[Page[Connection]]:
        """
        A page of the connections, the oldest first.

        Args:
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        parse = Page.of(Connection.from_json)
        return Operation("GET", f"{_PATH}/connections", parse, params=paging(limit, cursor))

    @operation
    def get(self, connection_id: str) -> Operation[Connection]:
        """A connection."""
        return Operation("GET", _connection(connection_id), Connection.from_response)

    @operation
    def files(
        self, connection_id: str, *, limit: int | None = None, cursor: str | None = None
    ) -> Operation[Page[RemoteFile]]:
        """
        A page of the files that are there.

        Args:
            connection_id: The connection.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        path = f"{_connection(connection_id)}/files"
        return Operation("GET", path, Page.of(RemoteFile.from_json), params=paging(limit, cursor))

    @operation
    def delete(self, connection_id: str, *, idempotency_key: str | None = None) -> Operation[None]:
        """
        Forget a connection. The files that were imported stay.

        Args:
            connection_id: The connection.
            idempotency_key: Sent with every try; by default one is made for the call.
        """
        return write("DELETE", _connection(connection_id), nothing, None, idempotency_key)


class AsyncConnections(AsyncResource):
    """Cloud storages that are connected."""

    create = awaiting(Connections.create)
    list = awaiting(Connections.list)
    get = awaiting(Connections.get)
    files = awaiting(Connections.files)
    delete = awaiting(Connections.delete)


class CloudStorage(Resource):
    """
    Imports and exports.

    Attributes:
        connections: Connect, list and forget cloud storages.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client)
        self.connections = Connections(client)

    @operation
    def start_import(
        self, connection_id: str, files: Sequence[str], *, idempotency_key: str | None = None
    ) -> Operation[StorageJob]:
        """
        Begin to import files.

        Args:
            connection_id: Where from.
            files: Their paths there.
            idempotency_key: Sent with every try; by default one is made for the call.

        Returns:
            The job, queued; `wait_for_job(job.id)` waits for it.
        """
        return _import(connection_id, files, idempotency_key)

    @operation
    def start_export(
        self,
        connection_id: str,
        file_ids: Sequence[str],
        *,
        prefix: str | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[StorageJob]:
        """
        Begin to export files.

        Args:
            connection_id: Where to.
            file_ids: The files.
            prefix: What their paths begin with there.
            idempotency_key: Sent with every try; by default one is made for the call.

        Returns:
            The job, queued; `wait_for_job(job.id)` waits for it.
        """
        return _export(connection_id, file_ids, prefix, idempotency_key)

    @operation
    def get_job(self, job_id: str) -> Operation[StorageJob]:
        """An import or export as it is now."""
        return _look(job_id)

    @operation
    def list_jobs(
        self,
        *,
        connection_id: str | None = None,
        kind: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Operation[Page[StorageJob]]:
        """
        A page of the imports and exports, the oldest first.

        Args:
            connection_id: Only those of this connection.
            kind: Only "import" or "export".
            status: Only those in this state.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        query = {
            "connection_id": check.optional(check.text, "connection_id", connection_id),
            "kind": check.optional(check.text, "kind", kind),
            "status": check.optional(check.text, "status", status),
            **paging(limit, cursor),
        }
        return Operation("GET", f"{_PATH}/jobs", Page.of(StorageJob.from_json), params=query)

    @operation
    def cancel_job(self, job_id: str, *, idempotency_key: str | None = None) -> Operation[StorageJob]:
        """
        Stop an import or export. What was copied stays.

        Args:
            job_id: The job.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            CloudStorageError: it has ended already.
        """
        path = f"{_PATH}/jobs/{check.segment('job_id', job_id)}/cancel"
        return write("POST", path, StorageJob.from_response, None, idempotency_key)

    @operation
    def wait_for_job(
        self,
        job_id: str,
        *,
        timeout: float | None = JOB_TIMEOUT,
        progress: Callable[[StorageJob], object] | None = None,
    ) -> Steps[StorageJob]:
        """
        An import or export, once it is completed. It goes on whether or not somebody waits.

        Args:
            job_id: The job.
            timeout: Seconds to wait; None for no limit.
            progress: Called with the job as each look saw it.

        Raises:
            CloudStorageError: it failed.
            ScopixTimeoutError: it goes on; `last_result` is the job as last seen.
        """
        return _wait(job_id, timeout, progress)

    @operation
    def import_and_wait(
        self,
        connection_id: str,
        files: Sequence[str],
        *,
        timeout: float | None = JOB_TIMEOUT,
        progress: Callable[[StorageJob], object] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[StorageJob]:
        """
        Import files, and wait until they are there.

        Args:
            connection_id: Where from.
            files: Their paths there.
            timeout: Seconds to wait; None for no limit.
            progress: Called with the job as each look saw it.
            idempotency_key: Called again with the same key within 24 h, it takes up the same job.

        Raises:
            CloudStorageError: the import failed.
            ScopixTimeoutError: it goes on; `wait_for_job(error.job_id)` takes it up again.
        """
        start = _import(connection_id, files, idempotency_key)
        _wait("checked", timeout, progress).close()  # what cannot be used is refused before the first call
        return started_and_done(start, lambda job: _wait(job.id, timeout, progress))

    @operation
    def export_and_wait(
        self,
        connection_id: str,
        file_ids: Sequence[str],
        *,
        prefix: str | None = None,
        timeout: float | None = JOB_TIMEOUT,
        progress: Callable[[StorageJob], object] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[StorageJob]:
        """
        Export files, and wait until they are there.

        Args:
            connection_id: Where to.
            file_ids: The files.
            prefix: What their paths begin with there.
            timeout: Seconds to wait; None for no limit.
            progress: Called with the job as each look saw it.
            idempotency_key: Called again with the same key within 24 h, it takes up the same job.

        Raises:
            CloudStorageError: the export failed.
            ScopixTimeoutError: it goes on; `wait_for_job(error.job_id)` takes it up again.
        """
        start = _export(connection_id, file_ids, prefix, idempotency_key)
        _wait("checked", timeout, progress).close()  # what cannot be used is refused before the first call
        return started_and_done(start, lambda job: _wait(job.id, timeout, progress))


class AsyncCloudStorage(AsyncResource):
    """
    Imports and exports.

    Attributes:
        connections: Connect, list and forget cloud storages.
    """

    def __init__(self, client: AsyncClient) -> None:
        super().__init__(client)
        self.connections = AsyncConnections(client)

    start_import = awaiting(CloudStorage.start_import)
    start_export = awaiting(CloudStorage.start_export)
    get_job = awaiting(CloudStorage.get_job)
    list_jobs = awaiting(CloudStorage.list_jobs)
    cancel_job = awaiting(CloudStorage.cancel_job)
    wait_for_job = awaiting(CloudStorage.wait_for_job)
    import_and_wait = awaiting(CloudStorage.import_and_wait)
    export_and_wait = awaiting(CloudStorage.export_and_wait)


def _connection(connection_id: str) -> str:
    return f"{_PATH}/connections/{check.segment('connection_id', connection_id)}"


def _import(connection_id: str, files: Sequence[str], idempotency_key: str | None) -> Operation[StorageJob]:
    body = {
        "connection_id": check.text("connection_id", connection_id, empty=False),
        "files": check.texts("files", files, least=1, most=_MOST_FILES, empty=False),
    }
    return write("POST", f"{_PATH}/imports", StorageJob.from_response, body, idempotency_key)


def _export(
    connection_id: str, file_ids: Sequence[str], prefix: str | None, idempotency_key: str | None
) -> Operation[StorageJob]:
    body = present(
        connection_id=check.text("connection_id", connection_id, empty=False),
        file_ids=check.texts("file_ids", file_ids, least=1, most=_MOST_FILES, empty=False),
        prefix=check.optional(check.text, "prefix", prefix),
    )
    return write("POST", f"{_PATH}/exports", StorageJob.from_response, body, idempotency_key)


def _look(job_id: str) -> Operation[StorageJob]:
    path = f"{_PATH}/jobs/{check.segment('job_id', job_id)}"
    return Operation("GET", path, StorageJob.from_response)


def _wait(job_id: str, timeout: object, progress: Any) -> Steps[StorageJob]:
    return wait_for(
        _look(job_id),
        job_id,
        failed=_why_it_failed,
        timeout=timeout,
        progress=progress,
        called="cloud storage job",
    )


_why_it_failed: Callable[[StorageJob], Failure | None] = partial(job_failure, code="CLOUD_STORAGE_ERROR")
