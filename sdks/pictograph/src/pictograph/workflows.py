"""
Work of many calls: upload a folder, train a model.

    results = upload_folder(client, "street", "photos/", skip_existing=True)
    run, model = train_pipeline(client, "street", pipeline="yolox", timeout=600.0)

With an `AsyncClient`, `await upload_folder_async(...)` and `await train_pipeline_async(...)` do the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from failwell.call.operation import Operation
from failwell.engines.threads import in_thread
from failwell.operations.steps import Steps, do
from pictograph.client import AsyncClient, Client
from pictograph.folders import CONCURRENCY, Folder
from pictograph.models import Export, FileResult, Page, TrainedModel, TrainingRun
from pictograph.progress import told
from pictograph.resources import (
    callback,
    check,
    create_export,
    create_run,
    find_dataset,
    get_model,
    patience_of,
    time_to_wait,
    wait_for_export,
    wait_for_run,
)

if TYPE_CHECKING:
    import os

# Seconds: an export is made of what is in the service already.
EXPORT_TIMEOUT = 600.0


def upload_folder(
    client: Client,
    dataset: str,
    folder: str | os.PathLike[str],
    *,
    skip_existing: bool = False,
    concurrency: int = CONCURRENCY,
    recursive: bool = True,
    into: str = "",
    progress: bool | Callable[[FileResult, int, int], object] | None = None,
) -> list[FileResult]:
    """
    Upload the images of a folder.

    A file is PNG, JPEG, GIF, BMP or WebP by its name; what begins with a dot is left out. A folder in
    the folder is one in the dataset. Each file is sent in pieces and checked by its SHA-256, so memory
    does not grow with the folder or its files.

    Args:
        client: The client; it stays open.
        dataset: The dataset's id or name.
        folder: The folder.
        skip_existing: Leave out what the service has: the same name in the same folder, with the same
            SHA-256. An upload that was interrupted goes on where it was.
        concurrency: Uploads at once.
        recursive: Whether folders in the folder are uploaded, too.
        into: The folder of the dataset to upload into; "" for the root.
        progress: True for a bar (`pip install pictograph[progress]`), False for none; by default there is
            one if it can be shown on standard error. A function is called with the result of each file,
            how many files are done, and how many there are.

    Returns:
        What became of each file, in the order of their paths.

    Raises:
        FolderUploadError: some files were not uploaded; the others are. `results` has all of them,
            `exceptions` what went wrong. After a failure that every file would have (401, 402, 403, or
            one outage for many files in a row), files that are left are not tried.
        NotFoundError: there is no such dataset.
        PictographValueError: there is no such folder, or an argument cannot be used.
    """
    check.instance("client", client, Client, "a pictograph.Client")
    plan = Folder(
        folder, concurrency=concurrency, skip_existing=skip_existing, recursive=recursive, into=into
    )
    plan.patience = patience_of(client._client)
    with told(progress, plan.size) as tell:
        return client._client.perform(plan.uploaded(dataset, tell, tell.moved_of))


async def upload_folder_async(
    client: AsyncClient,
    dataset: str,
    folder: str | os.PathLike[str],
    *,
    skip_existing: bool = False,
    concurrency: int = CONCURRENCY,
    recursive: bool = True,
    into: str = "",
    progress: bool | Callable[[FileResult, int, int], object] | None = None,
) -> list[FileResult]:
    """Upload the images of a folder; as `upload_folder`, awaiting, under asyncio or trio."""
    check.instance("client", client, AsyncClient, "a pictograph.AsyncClient")
    plan = await in_thread(
        lambda: Folder(
            folder, concurrency=concurrency, skip_existing=skip_existing, recursive=recursive, into=into
        )
    )
    plan.patience = patience_of(client._client)
    with told(progress, plan.size) as tell:
        return await client._client.perform(plan.uploaded(dataset, tell, tell.moved_of))


def train_pipeline(
    client: Client,
    dataset: str,
    *,
    pipeline: str = "yolox",
    export_name: str | None = None,
    config: Mapping[str, Any] | None = None,
    timeout: float = 3600.0,
    export_timeout: float = EXPORT_TIMEOUT,
    progress: Callable[[TrainingRun], object] | None = None,
    idempotency_key: str | None = None,
) -> tuple[TrainingRun, TrainedModel]:
    """
    Export a dataset, train a model on it, and wait until it is there.

    Args:
        client: The client; it stays open.
        dataset: The dataset's id or name.
        pipeline: "yolox", "rfdetr" or "classifier".
        export_name: The export to learn from; it is made if there is none of this name. By default a
            new one is made.
        config: `epochs` and `seed`; None for the service's defaults.
        timeout: Seconds to wait for the training run, from its start.
        export_timeout: Seconds to wait for the export, before that.
        progress: Called with the run as each look saw it.
        idempotency_key: Called again with the same key within 24 h, it takes up the same run instead of
            starting, and paying for, another.

    Returns:
        The run and the model.

    Raises:
        PollTimeoutError: the run goes on; `run_id` says which.
        JobFailedError: the run, or the export, failed or was cancelled.
        PaymentRequiredError: the credits do not suffice.
    """
    check.instance("client", client, Client, "a pictograph.Client")
    steps = _train(dataset, pipeline, export_name, config, timeout, export_timeout, progress, idempotency_key)
    return client._client.perform(steps)


async def train_pipeline_async(
    client: AsyncClient,
    dataset: str,
    *,
    pipeline: str = "yolox",
    export_name: str | None = None,
    config: Mapping[str, Any] | None = None,
    timeout: float = 3600.0,
    export_timeout: float = EXPORT_TIMEOUT,
    progress: Callable[[TrainingRun], object] | None = None,
    idempotency_key: str | None = None,
) -> tuple[TrainingRun, TrainedModel]:
    """Export a dataset, train a model on it, and wait for it; as `train_pipeline`, awaiting."""
    check.instance("client", client, AsyncClient, "a pictograph.AsyncClient")
    steps = _train(dataset, pipeline, export_name, config, timeout, export_timeout, progress, idempotency_key)
    return await client._client.perform(steps)


def _train(
    dataset: str,
    pipeline: str,
    export_name: str | None,
    config: Mapping[str, Any] | None,
    timeout: float,
    export_timeout: float,
    progress: Callable[[TrainingRun], object] | None,
    idempotency_key: str | None,
) -> Steps[tuple[TrainingRun, TrainedModel]]:
    # What cannot be used is refused before the first call.
    check.text("dataset", dataset, empty=False)
    check.text("pipeline", pipeline, empty=False)
    check.optional(check.text, "export_name", export_name, empty=False)
    check.optional(check.mapping, "config", config)
    time_to_wait("timeout", timeout)
    time_to_wait("export_timeout", export_timeout)
    check.optional(check.text, "idempotency_key", idempotency_key, empty=False)
    callback("progress", progress)

    found = yield from find_dataset(dataset)
    export = yield from _export_named(found.id, export_name)
    if export is None:
        export = yield from do(create_export(found.id, export_name, "coco", _key(idempotency_key, "export")))
    if export.status != "completed":
        export = yield from do(wait_for_export(export.id, export_timeout, None))
    run = yield from do(create_run(found.name, export.name, pipeline, config, _key(idempotency_key, "run")))
    run = yield from do(wait_for_run(run.id, timeout, progress))
    model = yield from do(get_model(run.model_id))
    return run, model


def _export_named(dataset_id: str, name: str | None) -> Steps[Export | None]:
    """The export of a dataset that has this name, if there is one."""
    if name is None:
        return None
    query = {"dataset_id": dataset_id, "name": name, "limit": 1}
    page = yield from do(Operation("GET", "/v1/exports", Page.of(Export.from_json), params=query))
    return page.items[0] if page.items else None


def _key(given: str | None, step: str) -> str | None:
    return None if given is None else f"{given}-{step}"
