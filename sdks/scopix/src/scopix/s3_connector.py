"""S3 buckets whose files are taken over."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from failwell.call.operation import Operation
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
from scopix.models import Connector, Page, StorageJob

_PATH = "/v1/s3-connectors"


class S3Connector(Resource):
    """S3 connectors."""

    @operation
    def create(
        self,
        bucket: str,
        *,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        prefix: str | None = None,
        endpoint_url: str | None = None,
        region: str | None = None,
        session_token: str | None = None,
        name: str | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Connector]:
        """
        Connect a bucket.

        Args:
            bucket: Its name.
            access_key_id: The key to it; never given back.
            secret_access_key: The secret of the key; never given back.
            prefix: Only what is below it.
            endpoint_url: Where it is, if not at Amazon.
            region: Which region it is in.
            session_token: What belongs to a key that is lent; never given back.
            name: What the connector is called; by default as the bucket.
            idempotency_key: Sent with every try; by default one is made for the call.
        """
        check.text("bucket", bucket, empty=False)
        body = present(
            name=bucket if name is None else check.text("name", name, empty=False),
            bucket=bucket,
            access_key_id=check.optional(check.text, "access_key_id", access_key_id),
            secret_access_key=check.optional(check.text, "secret_access_key", secret_access_key),
            prefix=check.optional(check.text, "prefix", prefix),
            endpoint_url=check.optional(check.text, "endpoint_url", endpoint_url),
            region=check.optional(check.text, "region", region),
            session_token=check.optional(check.text, "session_token", session_token),
        )
        return write("POST", _PATH, Connector.from_response, body, idempotency_key)

    @operation
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Operation[Page[Connector]]:
        """
        A page of the connectors, the oldest first.

        Args:
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        return Operation("GET", _PATH, Page.of(Connector.from_json), params=paging(limit, cursor))

    @operation
    def get(self, connector_id: str) -> Operation[Connector]:
        """A connector."""
        return Operation("GET", _connector(connector_id), Connector.from_response)

    @operation
    def delete(self, connector_id: str, *, idempotency_key: str | None = None) -> Operation[None]:
        """
        Forget a connector. The files that were taken over stay.

        Args:
            connector_id: The connector.
            idempotency_key: Sent with every try; by default one is made for the call.
        """
        return write("DELETE", _connector(connector_id), nothing, None, idempotency_key)

    @operation
    def sync(self, connector_id: str, *, idempotency_key: str | None = None) -> Operation[StorageJob]:
        """
        Begin to take over what is new in the bucket.

        Args:
            connector_id: The connector.
            idempotency_key: Sent with every try; by default one is made for the call.

        Returns:
            The job, queued; `wait_for_job(job.id)` waits for it.
        """
        path = f"{_connector(connector_id)}/sync"
        return write("POST", path, StorageJob.from_response, None, idempotency_key)

    @operation
    def get_job(self, job_id: str) -> Operation[StorageJob]:
        """A job as it is now."""
        return Operation("GET", _job(job_id), StorageJob.from_response)

    @operation
    def list_jobs(
        self,
        *,
        connector_id: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Operation[Page[StorageJob]]:
        """
        A page of the jobs, the oldest first.

        Args:
            connector_id: Only those of this connector.
            status: Only those in this state.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        query = {
            "connector_id": check.optional(check.text, "connector_id", connector_id),
            "status": check.optional(check.text, "status", status),
            **paging(limit, cursor),
        }
        return Operation("GET", f"{_PATH}/jobs", Page.of(StorageJob.from_json), params=query)

    @operation
    def cancel_job(self, job_id: str, *, idempotency_key: str | None = None) -> Operation[StorageJob]:
        """
        Stop a job. What it has taken over stays.

        Args:
            job_id: The job.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            S3ConnectorError: it has ended already.
        """
        return write("POST", f"{_job(job_id)}/cancel", StorageJob.from_response, None, idempotency_key)

    @operation
    def wait_for_job(
        self,
        job_id: str,
        *,
        timeout: float | None = JOB_TIMEOUT,
        progress: Callable[[StorageJob], object] | None = None,
    ) -> Steps[StorageJob]:
        """
        A job, once it is completed. It goes on whether or not somebody waits.

        Args:
            job_id: The job.
            timeout: Seconds to wait; None for no limit.
            progress: Called with the job as each look saw it.

        Raises:
            S3ConnectorError: it failed, or was cancelled.
            ScopixTimeoutError: it goes on; `last_result` is the job as last seen.
        """
        return _wait(job_id, timeout, progress)

    @operation
    def sync_and_wait(
        self,
        connector_id: str,
        *,
        timeout: float | None = JOB_TIMEOUT,
        progress: Callable[[StorageJob], object] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[StorageJob]:
        """
        Take over what is new in the bucket, and wait until it is there.

        Args:
            connector_id: The connector.
            timeout: Seconds to wait; None for no limit.
            progress: Called with the job as each look saw it.
            idempotency_key: Called again with the same key within 24 h, it takes up the same job.

        Raises:
            S3ConnectorError: it failed, or was cancelled.
            ScopixTimeoutError: it goes on; `wait_for_job(error.job_id)` takes it up again.
        """
        path = f"{_connector(connector_id)}/sync"
        start = write("POST", path, StorageJob.from_response, None, idempotency_key)
        _wait("checked", timeout, progress).close()  # what cannot be used is refused before the first call
        return started_and_done(start, lambda job: _wait(job.id, timeout, progress))


class AsyncS3Connector(AsyncResource):
    """S3 connectors."""

    create = awaiting(S3Connector.create)
    list = awaiting(S3Connector.list)
    get = awaiting(S3Connector.get)
    delete = awaiting(S3Connector.delete)
    sync = awaiting(S3Connector.sync)
    get_job = awaiting(S3Connector.get_job)
    list_jobs = awaiting(S3Connector.list_jobs)
    cancel_job = awaiting(S3Connector.cancel_job)
    wait_for_job = awaiting(S3Connector.wait_for_job)
    sync_and_wait = awaiting(S3Connector.sync_and_wait)


def _connector(connector_id: str) -> str:
    return f"{_PATH}/{check.segment('connector_id', connector_id)}"


def _job(job_id: str) -> str:
    return f"{_PATH}/jobs/{check.segment('job_id', job_id)}"


def _wait(job_id: str, timeout: object, progress: Any) -> Steps[StorageJob]:
    look = Operation("GET", _job(job_id), StorageJob.from_response)
    return wait_for(
        look, job_id, failed=_why_it_failed, timeout=timeout, progress=progress, called="S3 connector job"
    )


_why_it_failed: Callable[[StorageJob], Failure | None] = partial(job_failure, code="S3_CONNECTOR_ERROR")
