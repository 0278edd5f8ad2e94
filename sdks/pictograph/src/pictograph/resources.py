"""What can be asked of the Pictograph API, each method once for both clients."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from failwell.arguments import Arguments
from failwell.call.messages import Response
from failwell.call.operation import Operation, Upload
from failwell.failure import Failure
from failwell.operations.polling import Poll, PollPolicy
from failwell.operations.steps import Steps, do
from failwell.resources import AsyncResource, Resource, awaiting, operation
from pictograph.contract import CONTRACT
from pictograph.exceptions import NotFoundError
from pictograph.models import (
    Annotation,
    AnnotationSet,
    AutoAnnotation,
    Dataset,
    Export,
    Image,
    Import,
    Job,
    Page,
    Prediction,
    TrainedModel,
    TrainingRun,
)

T = TypeVar("T")
J = TypeVar("J", bound=Job)

check = Arguments(CONTRACT)

MAX_LIMIT = 1000

# The document: what is at most so many seconds is waited for.
MAX_RETRY_AFTER = 120.0

# An upload has a second more for so many bytes: what a connection of half a megabit carries.
BYTES_PER_SECOND = 64 * 1024

ENDED = ("completed", "failed", "cancelled")

_DATASET_ID = re.compile(r"ds_[0-9A-Za-z_-]+")


class Datasets(Resource):
    """Datasets: images, and what is annotated in them."""

    @operation
    def list(
        self, *, name: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Operation[Page[Dataset]]:
        """
        A page of the organisation's datasets, the oldest first.

        Args:
            name: Only the one of this name.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        query = paging(limit, cursor, name=name)
        return Operation("GET", "/v1/datasets", Page.of(Dataset.from_json), params=query)

    @operation
    def get(self, dataset: str) -> Steps[Dataset]:
        """
        A dataset.

        Args:
            dataset: Its id or its name. Of a name, upper and lower case count.

        Raises:
            NotFoundError: there is none.
        """
        check.text("dataset", dataset, empty=False)
        return find_dataset(dataset)

    @operation
    def create(
        self, name: str, *, description: str | None = None, idempotency_key: str | None = None
    ) -> Operation[Dataset]:
        """
        A new dataset, empty.

        Args:
            name: At most 100 characters.
            description: At most 2000 characters.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            ConflictError: the organisation has one of this name.
        """
        body = present(
            name=check.text("name", name, empty=False),
            description=check.optional(check.text, "description", description),
        )
        return write("POST", "/v1/datasets", Dataset.from_response, body, idempotency_key)

    @operation
    def export(
        self,
        dataset_id: str,
        *,
        name: str | None = None,
        format: str = "coco",
        idempotency_key: str | None = None,
    ) -> Operation[Export]:
        """
        Begin to make a file of a dataset as it is now.

        Args:
            dataset_id: The dataset.
            name: What the export is called; by default the service makes a name up.
            format: "coco".
            idempotency_key: Sent with every try; by default one is made for the call.

        Returns:
            The export, queued; `client.exports.wait(export.id)` waits for it.

        Raises:
            ConflictError: the dataset has an export of this name.
        """
        return create_export(dataset_id, name, format, idempotency_key)

    @operation
    def import_from(
        self,
        dataset_id: str,
        source_dataset_id: str,
        *,
        timeout: float = 3600.0,
        progress: Callable[[Import], object] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[Import]:
        """
        Copy all images of another dataset into this one, and wait for it.

        Folders and annotations come along; an image is left out if its folder has one of its name.

        Args:
            dataset_id: Where to.
            source_dataset_id: Where from.
            timeout: Seconds to wait.
            progress: Called with the job as each look saw it.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            NotFoundError: one of the datasets is not there.
            PollTimeoutError: it is still running, and goes on; `run_id` says which.
            JobFailedError: it failed, or was cancelled.
        """
        start = create_import(dataset_id, source_dataset_id, idempotency_key)
        time_to_wait("timeout", timeout)
        callback("progress", progress)
        return started_and_done(start, lambda job: wait_for_import(job.id, timeout, progress))

    @operation
    def delete(self, dataset_id: str, *, idempotency_key: str | None = None) -> Operation[None]:
        """
        Delete a dataset with its images, annotations and exports.

        Args:
            dataset_id: The dataset.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            ForbiddenError: the key is no admin's.
        """
        path = f"/v1/datasets/{check.segment('dataset_id', dataset_id)}"
        return write("DELETE", path, nothing, None, idempotency_key)


class AsyncDatasets(AsyncResource):
    """Datasets: images, and what is annotated in them."""

    list = awaiting(Datasets.list)
    get = awaiting(Datasets.get)
    create = awaiting(Datasets.create)
    export = awaiting(Datasets.export)
    import_from = awaiting(Datasets.import_from)
    delete = awaiting(Datasets.delete)


class Images(Resource):
    """The images of datasets."""

    @operation
    def upload(
        self,
        dataset_id: str,
        file_path: str | os.PathLike[str],
        *,
        name: str | None = None,
        folder: str = "",
        progress: Callable[[int, int | None], object] | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[Image]:
        """
        Upload a file. It is sent in pieces while it is read; the service checks its SHA-256.

        Args:
            dataset_id: Where to.
            file_path: The file: PNG, JPEG, GIF, BMP or WebP, at most 2 GiB.
            name: What the image is called; by default as the file.
            folder: Where in the dataset: "a/b"; "" for the root.
            progress: Called with the bytes sent and the bytes in all.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            ConflictError: the folder has an image of this name.
            PictographValueError: there is no such file, or it cannot be read. Nothing was sent.
            UploadError: the file changed while it was sent.
        """
        check.segment("dataset_id", dataset_id)
        path = file_to_send(file_path)
        if progress is not None and not callable(progress):
            raise check.wrong_type("progress", progress, "a function")
        given = check.optional(check.text, "name", name, empty=False)
        return upload_operation(
            dataset_id,
            path,
            name=given or os.path.basename(path),
            folder=check.text("folder", folder),
            progress=progress,
            idempotency_key=idempotency_key,
            patience=patience_of(self._client),
        )

    @operation
    def list(
        self,
        dataset_id: str,
        *,
        folder: str | None = None,
        name: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Operation[Page[Image]]:
        """
        A page of the images of a dataset, the oldest first.

        Args:
            dataset_id: The dataset.
            folder: Only those of this folder; "" for the root, None for all folders.
            name: Only those of this name.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        query = paging(limit, cursor, folder=folder, name=name)
        path = f"/v1/datasets/{check.segment('dataset_id', dataset_id)}/images"
        return Operation("GET", path, Page.of(Image.from_json), params=query)

    @operation
    def get(self, image_id: str) -> Operation[Image]:
        """An image."""
        return Operation("GET", f"/v1/images/{check.segment('image_id', image_id)}", Image.from_response)

    @operation
    def download(self, image_id: str) -> Operation[bytes]:
        """The file of an image, at most 64 MiB unless `Connections(max_body_bytes=)` says otherwise."""
        path = f"/v1/images/{check.segment('image_id', image_id)}/content"
        return Operation("GET", path, checked_content, headers={"accept": "*/*"})

    @operation
    def delete(self, image_id: str, *, idempotency_key: str | None = None) -> Operation[None]:
        """
        Delete an image with its annotations.

        Args:
            image_id: The image.
            idempotency_key: Sent with every try; by default one is made for the call.
        """
        path = f"/v1/images/{check.segment('image_id', image_id)}"
        return write("DELETE", path, nothing, None, idempotency_key)


class AsyncImages(AsyncResource):
    """The images of datasets."""

    upload = awaiting(Images.upload)
    list = awaiting(Images.list)
    get = awaiting(Images.get)
    download = awaiting(Images.download)
    delete = awaiting(Images.delete)


class Annotations(Resource):
    """What is annotated in images."""

    @operation
    def save(
        self,
        image_id: str,
        annotations: Sequence[Annotation | Mapping[str, Any]],
        *,
        version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[AnnotationSet]:
        """
        Replace all annotations of an image.

        Args:
            image_id: The image.
            annotations: Each an `Annotation`, or a dict such as
                `{"name": "person", "type": "bbox", "bbox": {"x": 1, "y": 2, "w": 3, "h": 4}}`.
            version: The version that is to be replaced; None for whichever it is.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            ConflictError: somebody else saved meanwhile: the version is another.
            ValidationError: an annotation was refused; `errors` says which and why.
        """
        body = present(
            annotations=check.items(
                "annotations",
                annotations,
                partial(check.body, model=Annotation),
                wanted="a list of annotations",
            ),
            version=check.optional(check.whole, "version", version, least=0),
        )
        path = annotations_path(image_id)
        return write("PUT", path, AnnotationSet.from_response, body, idempotency_key)

    @operation
    def list(self, image_id: str) -> Operation[AnnotationSet]:
        """All annotations of an image, and their version."""
        return Operation("GET", annotations_path(image_id), AnnotationSet.from_response)


class AsyncAnnotations(AsyncResource):
    """What is annotated in images."""

    save = awaiting(Annotations.save)
    list = awaiting(Annotations.list)


class Training(Resource):
    """Training runs."""

    @operation
    def create(
        self,
        dataset_name: str,
        export_name: str,
        pipeline_type: str = "yolox",
        *,
        config: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[TrainingRun]:
        """
        Start a training run. It costs credits.

        Args:
            dataset_name: The dataset.
            export_name: The export of it to learn from.
            pipeline_type: "yolox", "rfdetr" or "classifier".
            config: `epochs` and `seed`; None for the service's defaults.
            idempotency_key: Sent with every try; by default one is made for the call.

        Returns:
            The run, queued; `client.training.wait(run.id)` waits for it.

        Raises:
            PaymentRequiredError: the credits do not suffice.
        """
        return create_run(dataset_name, export_name, pipeline_type, config, idempotency_key)

    @operation
    def get(self, run_id: str) -> Operation[TrainingRun]:
        """The run as it is now."""
        return look_at_run(run_id)

    @operation
    def list(
        self,
        *,
        status: str | None = None,
        dataset_name: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Operation[Page[TrainingRun]]:
        """
        A page of training runs, the oldest first.

        Args:
            status: Only those in this state: "queued", "running", "completed", "failed" or "cancelled".
            dataset_name: Only those of this dataset.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        query = paging(limit, cursor, status=status, dataset_name=dataset_name)
        return Operation("GET", "/v1/training", Page.of(TrainingRun.from_json), params=query)

    @operation
    def wait(
        self,
        run_id: str,
        *,
        timeout: float = 3600.0,
        progress: Callable[[TrainingRun], object] | None = None,
    ) -> Poll[TrainingRun]:
        """
        The run, once it is completed.

        Args:
            run_id: The run; of this process or another.
            timeout: Seconds to wait.
            progress: Called with the run as each look saw it.

        Raises:
            PollTimeoutError: it is still running, and goes on; `run_id` says which.
            JobFailedError: it failed, or was cancelled.
        """
        return wait_for_run(run_id, timeout, progress)

    @operation
    def cancel(self, run_id: str, *, idempotency_key: str | None = None) -> Operation[TrainingRun]:
        """
        Cancel a run.

        Args:
            run_id: The run.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            ConflictError: it has ended already.
        """
        path = f"/v1/training/{check.segment('run_id', run_id)}/cancel"
        return write("POST", path, TrainingRun.from_response, {}, idempotency_key)


class AsyncTraining(AsyncResource):
    """Training runs."""

    create = awaiting(Training.create)
    get = awaiting(Training.get)
    list = awaiting(Training.list)
    wait = awaiting(Training.wait)
    cancel = awaiting(Training.cancel)


class Models(Resource):
    """The models that training has made."""

    @operation
    def get(self, model_id: str) -> Operation[TrainedModel]:
        """A model."""
        return get_model(model_id)

    @operation
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Operation[Page[TrainedModel]]:
        """
        A page of models, the oldest first.

        Args:
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        read = Page.of(TrainedModel.from_json)
        return Operation("GET", "/v1/models", read, params=paging(limit, cursor))

    @operation
    def predict(
        self, model_id: str, image_id: str, *, threshold: float | None = None
    ) -> Operation[Prediction]:
        """
        What a model sees in an image.

        Args:
            model_id: The model.
            image_id: The image.
            threshold: How sure it has to be, 0 to 1; 0.5 by the service's default.
        """
        path = f"/v1/models/{check.segment('model_id', model_id)}/predict"
        body = present(
            image_id=check.text("image_id", image_id, empty=False),
            threshold=check.optional(check.number, "threshold", threshold, least=0, most=1),
        )
        return Operation("POST", path, Prediction.from_response, json=body)


class AsyncModels(AsyncResource):
    """The models that training has made."""

    get = awaiting(Models.get)
    list = awaiting(Models.list)
    predict = awaiting(Models.predict)


class Exports(Resource):
    """Files that are made of datasets."""

    @operation
    def create(
        self,
        dataset_id: str,
        *,
        name: str | None = None,
        format: str = "coco",
        idempotency_key: str | None = None,
    ) -> Operation[Export]:
        """
        Begin to make a file of a dataset as it is now; the same as `client.datasets.export`.

        Args:
            dataset_id: The dataset.
            name: What the export is called; by default the service makes a name up.
            format: "coco".
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            ConflictError: the dataset has an export of this name.
        """
        return create_export(dataset_id, name, format, idempotency_key)

    @operation
    def get(self, export_id: str) -> Operation[Export]:
        """The export as it is now."""
        return look_at_export(export_id)

    @operation
    def list(
        self,
        *,
        dataset_id: str | None = None,
        name: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Operation[Page[Export]]:
        """
        A page of exports, the oldest first.

        Args:
            dataset_id: Only those of this dataset.
            name: Only those of this name.
            status: Only those in this state.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        query = paging(limit, cursor, dataset_id=dataset_id, name=name, status=status)
        return Operation("GET", "/v1/exports", Page.of(Export.from_json), params=query)

    @operation
    def wait(
        self, export_id: str, *, timeout: float = 600.0, progress: Callable[[Export], object] | None = None
    ) -> Poll[Export]:
        """
        The export, once it is completed.

        Args:
            export_id: The export; of this process or another.
            timeout: Seconds to wait.
            progress: Called with the export as each look saw it.

        Raises:
            PollTimeoutError: it is still being made, and goes on.
            JobFailedError: it failed, or was cancelled.
        """
        return wait_for_export(export_id, timeout, progress)

    @operation
    def download(self, export_id: str) -> Operation[bytes]:
        """
        The file of an export, at most 64 MiB unless `Connections(max_body_bytes=)` says otherwise.

        Raises:
            ConflictError: it is not completed yet.
        """
        path = f"/v1/exports/{check.segment('export_id', export_id)}/download"
        return Operation("GET", path, checked_content, headers={"accept": "*/*"})


class AsyncExports(AsyncResource):
    """Files that are made of datasets."""

    create = awaiting(Exports.create)
    get = awaiting(Exports.get)
    list = awaiting(Exports.list)
    wait = awaiting(Exports.wait)
    download = awaiting(Exports.download)


class Imports(Resource):
    """Jobs that copy one dataset into another."""

    @operation
    def create(
        self, dataset_id: str, source_dataset_id: str, *, idempotency_key: str | None = None
    ) -> Operation[Import]:
        """
        Start a job; `client.datasets.import_from` waits for it, too.

        Args:
            dataset_id: Where to.
            source_dataset_id: Where from.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            NotFoundError: one of the datasets is not there.
        """
        return create_import(dataset_id, source_dataset_id, idempotency_key)

    @operation
    def get(self, import_id: str) -> Operation[Import]:
        """The job as it is now."""
        return look_at_import(import_id)

    @operation
    def list(
        self,
        *,
        dataset_id: str | None = None,
        status: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Operation[Page[Import]]:
        """
        A page of jobs, the oldest first.

        Args:
            dataset_id: Only those into this dataset.
            status: Only those in this state.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        query = paging(limit, cursor, dataset_id=dataset_id, status=status)
        return Operation("GET", "/v1/imports", Page.of(Import.from_json), params=query)

    @operation
    def wait(
        self, import_id: str, *, timeout: float = 3600.0, progress: Callable[[Import], object] | None = None
    ) -> Poll[Import]:
        """
        The job, once it is completed.

        Args:
            import_id: The job; of this process or another.
            timeout: Seconds to wait.
            progress: Called with the job as each look saw it.

        Raises:
            PollTimeoutError: it is still running, and goes on; `run_id` says which.
            JobFailedError: it failed, or was cancelled.
        """
        return wait_for_import(import_id, timeout, progress)

    @operation
    def cancel(self, import_id: str, *, idempotency_key: str | None = None) -> Operation[Import]:
        """
        Cancel a job. What it has copied stays.

        Args:
            import_id: The job.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            ConflictError: it has ended already.
        """
        path = f"/v1/imports/{check.segment('import_id', import_id)}/cancel"
        return write("POST", path, Import.from_response, {}, idempotency_key)


class AsyncImports(AsyncResource):
    """Jobs that copy one dataset into another."""

    create = awaiting(Imports.create)
    get = awaiting(Imports.get)
    list = awaiting(Imports.list)
    wait = awaiting(Imports.wait)
    cancel = awaiting(Imports.cancel)


class AutoAnnotations(Resource):
    """Jobs that annotate many images."""

    @operation
    def create(
        self,
        dataset_id: str,
        *,
        model_id: str | None = None,
        name: str | None = None,
        image_ids: Sequence[str] | None = None,
        overwrite: bool = False,
        threshold: float | None = None,
        idempotency_key: str | None = None,
    ) -> Operation[AutoAnnotation]:
        """
        Start a job. It costs a credit for each image.

        Args:
            dataset_id: The dataset.
            model_id: Which model annotates; None for segmentation, which needs none.
            name: What segmentation calls what it finds.
            image_ids: Which images; None for all of the dataset.
            overwrite: Whether annotations that are there are replaced; images with some are left alone
                otherwise.
            threshold: How sure the model has to be, 0 to 1.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            PaymentRequiredError: the credits do not suffice.
        """
        body = batch_body(dataset_id, model_id, name, image_ids, overwrite, threshold)
        return write("POST", "/v1/auto-annotate", AutoAnnotation.from_response, body, idempotency_key)

    @operation
    def batch(
        self,
        dataset_id: str,
        *,
        model_id: str | None = None,
        name: str | None = None,
        image_ids: Sequence[str] | None = None,
        overwrite: bool = False,
        threshold: float | None = None,
        timeout: float = 3600.0,
        progress: Callable[[AutoAnnotation], object] | None = None,
        idempotency_key: str | None = None,
    ) -> Steps[AutoAnnotation]:
        """
        Annotate many images and wait for it: `create` and `wait` in one.

        Args:
            dataset_id: The dataset.
            model_id: Which model annotates; None for segmentation, which needs none.
            name: What segmentation calls what it finds.
            image_ids: Which images; None for all of the dataset.
            overwrite: Whether annotations that are there are replaced; images with some are left alone
                otherwise.
            threshold: How sure the model has to be, 0 to 1.
            timeout: Seconds to wait.
            progress: Called with the job as each look saw it.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            PaymentRequiredError: the credits do not suffice.
            PollTimeoutError: it is still running, and goes on; `run_id` says which.
            JobFailedError: it failed, or was cancelled.
        """
        body = batch_body(dataset_id, model_id, name, image_ids, overwrite, threshold)
        time_to_wait("timeout", timeout)
        callback("progress", progress)
        start = write("POST", "/v1/auto-annotate", AutoAnnotation.from_response, body, idempotency_key)
        return started_and_done(start, lambda job: wait_for_batch(job.id, timeout, progress))

    @operation
    def get(self, job_id: str) -> Operation[AutoAnnotation]:
        """The job as it is now."""
        return look_at_batch(job_id)

    @operation
    def list(self, *, limit: int | None = None, cursor: str | None = None) -> Operation[Page[AutoAnnotation]]:
        """
        A page of jobs, the oldest first.

        Args:
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        read = Page.of(AutoAnnotation.from_json)
        return Operation("GET", "/v1/auto-annotate", read, params=paging(limit, cursor))

    @operation
    def wait(
        self,
        job_id: str,
        *,
        timeout: float = 3600.0,
        progress: Callable[[AutoAnnotation], object] | None = None,
    ) -> Poll[AutoAnnotation]:
        """
        The job, once it is completed.

        Args:
            job_id: The job; of this process or another.
            timeout: Seconds to wait.
            progress: Called with the job as each look saw it.

        Raises:
            PollTimeoutError: it is still running, and goes on; `run_id` says which.
            JobFailedError: it failed, or was cancelled.
        """
        return wait_for_batch(job_id, timeout, progress)

    @operation
    def cancel(self, job_id: str, *, idempotency_key: str | None = None) -> Operation[AutoAnnotation]:
        """
        Cancel a job. What it has annotated stays.

        Args:
            job_id: The job.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            ConflictError: it has ended already.
        """
        path = f"/v1/auto-annotate/{check.segment('job_id', job_id)}/cancel"
        return write("POST", path, AutoAnnotation.from_response, {}, idempotency_key)


class AsyncAutoAnnotations(AsyncResource):
    """Jobs that annotate many images."""

    create = awaiting(AutoAnnotations.create)
    batch = awaiting(AutoAnnotations.batch)
    get = awaiting(AutoAnnotations.get)
    list = awaiting(AutoAnnotations.list)
    wait = awaiting(AutoAnnotations.wait)
    cancel = awaiting(AutoAnnotations.cancel)


# --- what the methods, and the workflows, are made of ---


def present(**members: Any) -> dict[str, Any]:
    """The members that say something."""
    return {name: value for name, value in members.items() if value is not None}


def paging(limit: object, cursor: object, **texts: object) -> dict[str, Any]:
    """The query that asks for a page, of those with these texts; None for any."""
    return {
        **{name: check.optional(check.text, name, text) for name, text in texts.items()},
        "limit": check.optional(check.whole, "limit", limit, least=1, most=MAX_LIMIT),
        "cursor": check.optional(check.text, "cursor", cursor),
    }


def callback(name: str, value: object) -> None:
    """Refuse what cannot be called."""
    if value is not None and not callable(value):
        raise check.wrong_type(name, value, "a function")


def time_to_wait(name: str, value: object) -> float:
    """Seconds to wait for a job: so many that it can be looked at."""
    return check.number(name, value, least=0.001, wanted="a number of seconds")


def write(
    method: str, path: str, parse: Callable[[Response], T], body: Any, idempotency_key: str | None
) -> Operation[T]:
    """A call that changes something."""
    return Operation(method, path, parse, json=body, idempotency_key=idempotency_key)


def nothing(response: Response) -> None:
    """What is read in an answer that says nothing but that it is done."""


def checked_content(response: Response) -> bytes:
    """
    The body, if it is what the service says that it sent.

    Source:
        RFC 9530, section 2 (`Content-Digest`).
    """
    from base64 import b64encode
    from hashlib import sha256

    told = re.search(r"sha-256=:([^:]*):", response.headers.get("content-digest", ""))
    if told and told[1] != b64encode(sha256(response.content).digest()).decode():
        raise ValueError("the file is not what its Content-Digest says")
    return response.content


def annotations_path(image_id: object) -> str:
    """Where the annotations of an image are."""
    return f"/v1/images/{check.segment('image_id', image_id)}/annotations"


def find_dataset(dataset: str) -> Steps[Dataset]:
    """The dataset of an id or a name, as a step."""
    if _DATASET_ID.fullmatch(dataset):
        try:
            by_id = Operation("GET", f"/v1/datasets/{dataset}", Dataset.from_response)
            return (yield from do(by_id))
        except NotFoundError:  # a name may look like an id
            pass
    by_name = Operation("GET", "/v1/datasets/by-name", Dataset.from_response, params={"name": dataset})
    return (yield from do(by_name))


def create_export(
    dataset_id: object, name: object, format: object, idempotency_key: str | None
) -> Operation[Export]:
    """Begin an export."""
    path = f"/v1/datasets/{check.segment('dataset_id', dataset_id)}/exports"
    body = present(
        name=check.optional(check.text, "name", name, empty=False),
        format=check.text("format", format, empty=False),
    )
    return write("POST", path, Export.from_response, body, idempotency_key)


def create_import(
    dataset_id: object, source_dataset_id: object, idempotency_key: str | None
) -> Operation[Import]:
    """Begin an import."""
    path = f"/v1/datasets/{check.segment('dataset_id', dataset_id)}/imports"
    body = {"source_dataset_id": check.text("source_dataset_id", source_dataset_id, empty=False)}
    return write("POST", path, Import.from_response, body, idempotency_key)


def create_run(
    dataset_name: object,
    export_name: object,
    pipeline_type: object,
    config: object,
    idempotency_key: str | None,
) -> Operation[TrainingRun]:
    """Begin a training run."""
    body = present(
        dataset_name=check.text("dataset_name", dataset_name, empty=False),
        export_name=check.text("export_name", export_name, empty=False),
        pipeline_type=check.text("pipeline_type", pipeline_type, empty=False),
        config=check.optional(check.mapping, "config", config),
    )
    return write("POST", "/v1/training", TrainingRun.from_response, body, idempotency_key)


def batch_body(
    dataset_id: object,
    model_id: object,
    name: object,
    image_ids: object,
    overwrite: object,
    threshold: object,
) -> dict[str, Any]:
    """What asks for a batch auto-annotation."""
    return present(
        dataset_id=check.text("dataset_id", dataset_id, empty=False),
        model_id=check.optional(check.text, "model_id", model_id, empty=False),
        name=check.optional(check.text, "name", name, empty=False),
        image_ids=check.optional(check.texts, "image_ids", image_ids, least=1, empty=False),
        overwrite=check.flag("overwrite", overwrite),
        threshold=check.optional(check.number, "threshold", threshold, least=0, most=1),
    )


def get_model(model_id: object) -> Operation[TrainedModel]:
    """A model."""
    return Operation("GET", f"/v1/models/{check.segment('model_id', model_id)}", TrainedModel.from_response)


def look_at_run(run_id: object) -> Operation[TrainingRun]:
    """A training run as it is now."""
    return Operation("GET", f"/v1/training/{check.segment('run_id', run_id)}", TrainingRun.from_response)


def look_at_export(export_id: object) -> Operation[Export]:
    """An export as it is now."""
    return Operation("GET", f"/v1/exports/{check.segment('export_id', export_id)}", Export.from_response)


def look_at_import(import_id: object) -> Operation[Import]:
    """An import as it is now."""
    return Operation("GET", f"/v1/imports/{check.segment('import_id', import_id)}", Import.from_response)


def look_at_batch(job_id: object) -> Operation[AutoAnnotation]:
    """A batch auto-annotation as it is now."""
    path = f"/v1/auto-annotate/{check.segment('job_id', job_id)}"
    return Operation("GET", path, AutoAnnotation.from_response)


def wait_for_run(run_id: str, timeout: float, progress: Any) -> Poll[TrainingRun]:
    """A training run, once it is completed."""
    return _job(look_at_run(run_id), run_id, timeout, progress, "training run")


def wait_for_export(export_id: str, timeout: float, progress: Any) -> Poll[Export]:
    """An export, once it is completed."""
    return _job(look_at_export(export_id), export_id, timeout, progress, "export")


def wait_for_import(import_id: str, timeout: float, progress: Any) -> Poll[Import]:
    """An import, once it is completed."""
    return _job(look_at_import(import_id), import_id, timeout, progress, "import")


def wait_for_batch(job_id: str, timeout: float, progress: Any) -> Poll[AutoAnnotation]:
    """A batch auto-annotation, once it is completed."""
    return _job(look_at_batch(job_id), job_id, timeout, progress, "auto-annotation")


def _job(look: Operation[J], job_id: str, timeout: float, progress: Any, called: str) -> Poll[J]:
    callback("progress", progress)
    policy = PollPolicy(interval=1.0, cap=10.0, timeout=time_to_wait("timeout", timeout))
    return Poll(look, job_id, _has_ended, _why_it_failed, policy=policy, progress=progress, called=called)


def _has_ended(job: Job) -> bool:
    return job.status in ENDED


def _why_it_failed(job: Job) -> Failure | None:
    if job.status not in ("failed", "cancelled"):
        return None
    if job.error is None:
        return Failure(code=f"job_{job.status}", message=f"{job.id} was {job.status}")
    return Failure(code=job.error.code or f"job_{job.status}", message=job.error.message)


def started_and_done(start: Operation[T], wait: Callable[[T], Poll[T]]) -> Steps[T]:
    """A job, started and waited for."""
    job = yield from do(start)
    return (yield from do(wait(job)))


def file_to_send(file_path: Any) -> str:
    """The path of a file that can be read, as text."""
    try:
        path = os.fspath(file_path)
    except TypeError:
        raise check.wrong_type("file_path", file_path, "a path") from None
    if not isinstance(path, str):
        raise check.wrong_type("file_path", file_path, "a path as a string")
    why = "is no file"
    try:
        if os.path.isfile(path):
            os.close(os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0)))
            return path
    except (OSError, ValueError) as exc:
        why = f"cannot be read: {getattr(exc, 'strerror', None) or type(exc).__name__}"
    raise check.refused(f"file_path {path[:200]!r} {why}")


def upload_operation(
    dataset_id: str,
    path: str,
    *,
    name: str,
    folder: str,
    progress: Callable[[int, int | None], object] | None,
    idempotency_key: str | None,
    patience: float | None,
) -> Operation[Image]:
    """
    Upload the file at `path`, which is there.

    Args:
        patience: Seconds for a call that uploads nothing; None for no limit.
    """
    for what, text in (("name", name), ("folder", folder)):
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise check.refused(f"{what} {text[:200]!r} is not UTF-8: call the image something else")
    return Operation(
        "POST",
        f"/v1/datasets/{check.segment('dataset_id', dataset_id)}/images",
        Image.from_response,
        params=present(name=name, folder=folder or None),
        content=Upload(path, digest=True, progress=progress),
        headers={"content-type": "application/octet-stream"},
        idempotency_key=idempotency_key,
        deadline=_time_to_upload(path, patience),
    )


def patience_of(client: object) -> float | None:
    """Seconds that a client of ours allows for a call; None for no limit."""
    patience: float | None = getattr(client, "patience", None)
    return patience


def _time_to_upload(path: str, patience: float | None) -> float | None:
    """Seconds for an upload: what any call has, and more by the size of the file."""
    try:
        return None if patience is None else patience + os.path.getsize(path) / BYTES_PER_SECOND
    except OSError:  # whoever reads it says so
        return patience
