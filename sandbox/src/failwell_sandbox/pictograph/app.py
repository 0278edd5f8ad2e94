"""
Pictograph: images in datasets, what is annotated in them, and models that are trained of that.

    GET, POST          /v1/datasets                       viewer, member
    GET                /v1/datasets/by-name?name=         viewer
    GET, DELETE        /v1/datasets/{id}                  viewer, admin
    GET, POST          /v1/datasets/{id}/images           viewer, member   the body is the file
    GET, DELETE        /v1/images/{id}                    viewer, member
    GET                /v1/images/{id}/content            viewer
    GET, PUT           /v1/images/{id}/annotations        viewer, member
    POST               /v1/datasets/{id}/exports          member
    GET                /v1/exports, /v1/exports/{id}, /v1/exports/{id}/download
    POST               /v1/datasets/{id}/imports          member
    GET                /v1/imports, /v1/imports/{id}      viewer
    POST               /v1/imports/{id}/cancel            member
    GET, POST          /v1/training                       viewer, member   50 credits
    GET, POST          /v1/training/{id}, …/cancel        viewer, member
    GET                /v1/models, /v1/models/{id}        viewer
    POST               /v1/models/{id}/predict            member
    GET, POST          /v1/auto-annotate                  viewer, member   1 credit for each image
    GET, POST          /v1/auto-annotate/{id}, …/cancel   viewer, member
    GET                /v1/organization, /v1/credits      viewer
    GET                /livez, /readyz, /openapi.json     no key

Each key belongs to an organisation, with a role and a tier. Lists are in the order in which things
were made, so that a cursor stays where it is whatever is added. Images, models and exports are files
(see `files`); what takes long is a job (see `jobs`).
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from failwell.answer import Answer
from failwell.errors import CallError
from failwell.failure import Failure
from failwell.service import (
    Debit,
    Endpoints,
    InsufficientCreditsError,
    KeyFormat,
    Limit,
    Operation,
    Refusal,
    RefusedRequest,
    Service,
    Store,
    StoreBusyError,
    exchange_of,
    install,
    json_body,
)
from failwell.service.openapi import openapi_operation
from failwell_sandbox import ledger
from failwell_sandbox.answers import json_answer, loaded, moment, respond
from failwell_sandbox.child import ChildFailedError, result_of
from failwell_sandbox.database import Connection, Database, DuplicateError
from failwell_sandbox.effects import carry_out, level_of
from failwell_sandbox.health import livez, readyz_of
from failwell_sandbox.image_headers import ImageHeader, read_image_header
from failwell_sandbox.parameters import announced_digest, digest_field, invalid, is_name, paging
from failwell_sandbox.pictograph.annotations import AnnotationsError, validated
from failwell_sandbox.pictograph.files import Files
from failwell_sandbox.pictograph.jobs import WORK, Jobs
from failwell_sandbox.pictograph.tables import (
    AUTO_ANNOTATIONS,
    DATASET_ROWS,
    DATASETS,
    EXPORTS,
    IMAGES,
    IMPORTS,
    MODELS,
    RUNS,
    SCHEMA,
)
from failwell_sandbox.resource_tables import Resources, Table, inserted
from failwell_sandbox.stored_files import Incoming
from pictograph.contract import CONTRACT
from pictograph.exceptions import ConflictError, NotFoundError, PaymentRequiredError

if TYPE_CHECKING:
    from failwell.service.idempotency import Level

__all__ = ["KEYS", "LIMIT", "ROLES", "SCHEMA", "SCOPES", "TENANTS", "TIERS", "pictograph_service", "seed"]

log = logging.getLogger("failwell_sandbox")

KEYS = KeyFormat("pk_", lengths=(40,), challenge='Bearer realm="pictograph"')
ROLES = ("viewer", "member", "admin")
TIERS = {
    "free": (Limit(60, 60.0),),
    "pro": (Limit(600, 60.0),),
    "enterprise": (Limit(60_000, 60.0),),
}
SCOPES = ()
TENANTS = ("acme", "globex", "initech")
LIMIT = Limit(600, 60.0)
STRANGER_LIMIT = Limit(60_000, 60.0)

# What organisations have bought when the sandbox begins; the last of them soon has too little.
GRANTS = {"acme": 1_000_000, "globex": 1_000_000, "hooli": 3}
UPGRADE_URL = "https://pictograph.example/billing/upgrade"

TRAINING_COST = 50
ANNOTATION_COST = 1

MOST_IMAGE_BYTES = 2 * 1024**3
MOST_ANNOTATION_BYTES = 8 * 1024 * 1024

# Predictions at once: each is a process.
PREDICTIONS = 2
PREDICTION_SECONDS = 60.0

# Between two sweeps, seconds.
SWEEP_EVERY = 600.0

# What the handlers raise, by what is wrong.
_NO_DATASET = ((NotFoundError, "dataset_not_found"),)
_NO_IMAGE = ((NotFoundError, "image_not_found"),)
_NO_EXPORT = ((NotFoundError, "export_not_found"),)
_NO_IMPORT = ((NotFoundError, "import_not_found"),)
_NO_RUN = ((NotFoundError, "training_run_not_found"),)
_NO_MODEL = ((NotFoundError, "model_not_found"),)
_NO_ANNOTATION = ((NotFoundError, "auto_annotation_not_found"),)
_DATASET_EXISTS = (ConflictError, "dataset_exists")
_IMAGE_EXISTS = (ConflictError, "image_exists")
_EXPORT_EXISTS = (ConflictError, "export_exists")
_OTHER_VERSION = (ConflictError, "version_conflict")
_NOT_READY = (ConflictError, "export_not_ready")
_ENDED = (ConflictError, "job_ended")
_TOO_LITTLE = (PaymentRequiredError, "insufficient_credits")
_INVALID = ("validation_failed",)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


# A text that any database can hold, and that stands on one line.
_LINE = r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$"


class NewDataset(_Body):
    """The body of `POST /v1/datasets`."""

    name: str = Field(min_length=1, max_length=100, pattern=_LINE)
    description: str | None = Field(default=None, max_length=2000, pattern=r"^[^\x00]*$")


class SavedAnnotations(_Body):
    """The body of `PUT /v1/images/{image_id}/annotations`; each annotation is looked at by itself."""

    annotations: list[Any]
    version: int | None = Field(default=None, ge=0, le=2**31)


class NewExport(_Body):
    """The body of `POST /v1/datasets/{dataset_id}/exports`."""

    name: str | None = Field(default=None, min_length=1, max_length=100, pattern=_LINE)
    format: Literal["coco"] = "coco"


class NewImport(_Body):
    """The body of `POST /v1/datasets/{dataset_id}/imports`."""

    source_dataset_id: str = Field(min_length=1, max_length=100)


class TrainingConfig(_Body):
    """How to train."""

    epochs: int = Field(default=30, ge=1, le=100_000)
    seed: int = Field(default=0, ge=0, lt=2**31)


class NewRun(_Body):
    """The body of `POST /v1/training`."""

    dataset_name: str = Field(min_length=1, max_length=100)
    export_name: str = Field(min_length=1, max_length=100)
    pipeline_type: Literal["yolox", "rfdetr", "classifier"]
    config: TrainingConfig = Field(default_factory=TrainingConfig)


class Prediction(_Body):
    """The body of `POST /v1/models/{model_id}/predict`."""

    image_id: str = Field(min_length=1, max_length=100)
    threshold: float = Field(default=0.5, ge=0, le=1)


class NewAutoAnnotation(_Body):
    """The body of `POST /v1/auto-annotate`."""

    dataset_id: str = Field(min_length=1, max_length=100)
    model_id: str | None = Field(default=None, min_length=1, max_length=100)
    name: str = Field(default="object", min_length=1, max_length=100, pattern=_LINE)
    image_ids: list[str] | None = Field(default=None, min_length=1, max_length=10_000)
    overwrite: bool = False
    threshold: float = Field(default=0.5, ge=0, le=1)


class Nothing(_Body):
    """The body of a cancellation: none, or an empty object."""


class Pictograph(Resources):
    """
    The service's handlers, around its database and its files.

    Args:
        database: Everything but the bytes of images, models and exports.
        folder: For those.
        level: At which requests are repeatable.
        lease: Seconds after which a job is taken over, if nothing is heard of who carries it out.
    """

    def __init__(self, database: Database, folder: Path, level: Level, lease: float) -> None:
        self.database = database
        self.files = Files(folder)
        self.jobs = Jobs(database, self.files, lease)
        self._predicting = asyncio.Semaphore(PREDICTIONS)
        self.operations = (
            Operation("GET", "/v1/datasets", self.list_datasets, role="viewer", raises=_INVALID),
            Operation("POST", "/v1/datasets", self.create_dataset, role="member", idempotency=level,
                      parse=json_body(NewDataset), raises=(_DATASET_EXISTS,)),
            Operation("GET", "/v1/datasets/by-name", self.find_dataset, role="viewer",
                      raises=(*_NO_DATASET, *_INVALID)),
            Operation("GET", "/v1/datasets/{dataset_id}", self.get_dataset, role="viewer",
                      raises=_NO_DATASET),
            Operation("DELETE", "/v1/datasets/{dataset_id}", self.delete_dataset, role="admin",
                      idempotency=level, raises=_NO_DATASET),
            Operation("GET", "/v1/datasets/{dataset_id}/images", self.list_images, role="viewer",
                      raises=(*_NO_DATASET, *_INVALID)),
            Operation("POST", "/v1/datasets/{dataset_id}/images", self.upload, role="member",
                      idempotency=level, streamed=True, max_body_bytes=MOST_IMAGE_BYTES,
                      raises=(*_NO_DATASET, _IMAGE_EXISTS, *_INVALID)),
            Operation("GET", "/v1/images/{image_id}", self.get_image, role="viewer", raises=_NO_IMAGE),
            Operation("DELETE", "/v1/images/{image_id}", self.delete_image, role="member",
                      idempotency=level, raises=_NO_IMAGE),
            Operation("GET", "/v1/images/{image_id}/content", self.content, role="viewer", raises=_NO_IMAGE),
            Operation("GET", "/v1/images/{image_id}/annotations", self.get_annotations, role="viewer",
                      raises=_NO_IMAGE),
            Operation("PUT", "/v1/images/{image_id}/annotations", self.save_annotations, role="member",
                      idempotency=level, parse=json_body(SavedAnnotations),
                      max_body_bytes=MOST_ANNOTATION_BYTES, raises=(*_NO_IMAGE, _OTHER_VERSION)),
            Operation("POST", "/v1/datasets/{dataset_id}/exports", self.create_export, role="member",
                      idempotency=level, parse=json_body(NewExport), raises=(*_NO_DATASET, _EXPORT_EXISTS)),
            Operation("GET", "/v1/exports", self.list_exports, role="viewer", raises=_INVALID),
            Operation("GET", "/v1/exports/{export_id}", self.get_export, role="viewer", raises=_NO_EXPORT),
            Operation("GET", "/v1/exports/{export_id}/download", self.download, role="viewer",
                      raises=(*_NO_EXPORT, _NOT_READY)),
            Operation("POST", "/v1/datasets/{dataset_id}/imports", self.create_import, role="member",
                      idempotency=level, parse=json_body(NewImport), raises=_NO_DATASET),
            Operation("GET", "/v1/imports", self.list_imports, role="viewer", raises=_INVALID),
            Operation("GET", "/v1/imports/{import_id}", self.get_import, role="viewer", raises=_NO_IMPORT),
            Operation("POST", "/v1/imports/{import_id}/cancel", self.cancel_import, role="member",
                      idempotency=level, parse=_nothing, raises=(*_NO_IMPORT, _ENDED)),
            Operation("GET", "/v1/training", self.list_runs, role="viewer", raises=_INVALID),
            Operation("POST", "/v1/training", self.create_run, role="member", idempotency=level,
                      parse=json_body(NewRun),
                      raises=(*_NO_DATASET, *_NO_EXPORT, _NOT_READY, _TOO_LITTLE)),
            Operation("GET", "/v1/training/{run_id}", self.get_run, role="viewer", raises=_NO_RUN),
            Operation("POST", "/v1/training/{run_id}/cancel", self.cancel_run, role="member",
                      idempotency=level, parse=_nothing, raises=(*_NO_RUN, _ENDED)),
            Operation("GET", "/v1/models", self.list_models, role="viewer", raises=_INVALID),
            Operation("GET", "/v1/models/{model_id}", self.get_model, role="viewer", raises=_NO_MODEL),
            Operation("POST", "/v1/models/{model_id}/predict", self.predict, role="member",
                      parse=json_body(Prediction), raises=(*_NO_MODEL, *_NO_IMAGE)),
            Operation("GET", "/v1/auto-annotate", self.list_auto_annotations, role="viewer",
                      raises=_INVALID),
            Operation("POST", "/v1/auto-annotate", self.create_auto_annotation, role="member",
                      idempotency=level, parse=json_body(NewAutoAnnotation),
                      raises=(*_NO_DATASET, *_NO_IMAGE, *_NO_MODEL, _TOO_LITTLE)),
            Operation("GET", "/v1/auto-annotate/{job_id}", self.get_auto_annotation, role="viewer",
                      raises=_NO_ANNOTATION),
            Operation("POST", "/v1/auto-annotate/{job_id}/cancel", self.cancel_auto_annotation,
                      role="member", idempotency=level, parse=_nothing, raises=(*_NO_ANNOTATION, _ENDED)),
            Operation("GET", "/v1/organization", self.organization, role="viewer"),
            Operation("GET", "/v1/credits", self.credits, role="viewer", raises=_INVALID),
            Operation("GET", "/livez", livez, public=True, while_draining=True),
            Operation("GET", "/readyz", readyz_of(self.database), public=True),
            openapi_operation(),
        )  # fmt: skip
        self.service: Service

    @asynccontextmanager
    async def lifespan(self, _app: Endpoints) -> AsyncIterator[None]:
        """Jobs are done, and what crashes left is swept away, as long as the application lives."""
        self.jobs.queue.start()
        sweeping = asyncio.create_task(self._sweep_now_and_then(), name="pictograph-sweep")
        try:
            yield
        finally:
            sweeping.cancel()
            await self.jobs.queue.stop()
            with suppress(asyncio.CancelledError):
                await sweeping

    async def _sweep_now_and_then(self) -> None:
        while True:
            try:
                gone = await asyncio.to_thread(self.files.sweep, self._known)
                if gone:
                    log.info("%d files that nothing was written about are gone", gone)
            except (StoreBusyError, OSError) as exc:
                log.warning("could not sweep: %s", exc)
            await asyncio.sleep(SWEEP_EVERY)

    def _known(self, kind: str, names: Collection[str]) -> Collection[str]:
        """Those of some files that have a row. On a thread of its own."""
        table = {"images": "images", "models": "models", "exports": "jobs"}[kind]
        places = ", ".join("?" * len(names))
        rows = self.database.read_blocking(f"SELECT id FROM {table} WHERE id IN ({places})", *names)  # noqa: S608  # constant words
        return {row[0] for row in rows}

    # --- datasets ---

    async def list_datasets(self, request: Request) -> Response:
        """The organisation's datasets."""
        return await self.page(request, DATASETS)

    async def create_dataset(self, request: Request) -> Response:
        """An empty dataset."""
        exchange = exchange_of(request)
        new: NewDataset = exchange.input
        dataset_id = f"ds_{secrets.token_hex(12)}"

        def insert(db: Connection) -> Answer:
            try:
                db.execute(
                    "INSERT INTO datasets (id, tenant, name, description, created_at) "
                    "VALUES (?, ?, ?, ?, {now})",
                    dataset_id, exchange.tenant, new.name, new.description,
                )  # fmt: skip
            except DuplicateError as exc:
                raise self._conflict(
                    "dataset_exists", f"There is a dataset named {new.name!r} already.", name=new.name
                ) from exc
            ledger.note_effect(db, exchange, "dataset.created", dataset_id, name=new.name)
            row = inserted(db, DATASETS, exchange.tenant, dataset_id)
            return json_answer(DATASETS.shown(row), 201, {"location": f"/v1/datasets/{dataset_id}"})

        return respond(await carry_out(exchange, self.database, insert))

    async def find_dataset(self, request: Request) -> Response:
        """The dataset of a name, in exactly this case."""
        name = request.query_params.get("name")
        if not name:
            raise invalid(("query", "name"), "Field required", "missing")
        return respond(json_answer(DATASETS.shown(await self._named(exchange_of(request).tenant, name))))

    async def get_dataset(self, request: Request) -> Response:
        """One dataset."""
        return await self.one(request, DATASETS, "dataset_id")

    async def delete_dataset(self, request: Request) -> Response:
        """Delete a dataset, with all that is in it; models that were trained of it stay."""
        exchange = exchange_of(request)
        dataset_id = request.path_params["dataset_id"]
        images: list[str] = []
        exports: list[str] = []

        def delete(db: Connection) -> Answer:
            row = self.row(db, DATASET_ROWS, exchange.tenant, dataset_id)
            db.execute(
                "UPDATE jobs SET status = 'cancelled', finished_at = {now} "
                "WHERE dataset_id = ? AND status IN ('queued', 'running')",
                dataset_id,
            )
            rows = db.rows("DELETE FROM images WHERE dataset_id = ? RETURNING id", dataset_id)
            images[:] = [image_id for (image_id,) in rows]
            rows = db.rows(
                "DELETE FROM jobs WHERE dataset_id = ? AND kind = 'export' RETURNING id", dataset_id
            )
            exports[:] = [export_id for (export_id,) in rows]
            db.execute("DELETE FROM datasets WHERE id = ?", dataset_id)
            ledger.note_effect(db, exchange, "dataset.deleted", dataset_id, name=row[1])
            return json_answer({"id": dataset_id, "deleted": True})

        answer = await carry_out(exchange, self.database, delete)
        # What a crash leaves here is swept.
        await asyncio.to_thread(self.files.remove, "images", images)
        await asyncio.to_thread(self.files.remove, "exports", exports)
        return respond(answer)

    # --- images ---

    async def list_images(self, request: Request) -> Response:
        """The images of a dataset."""
        dataset_id = request.path_params["dataset_id"]
        await self.found(DATASET_ROWS, exchange_of(request).tenant, dataset_id)
        return await self.page(request, IMAGES, dataset_id=dataset_id)

    async def upload(self, request: Request) -> Response:
        """Store a file that is sent piece by piece."""
        exchange = exchange_of(request)
        dataset_id = request.path_params["dataset_id"]
        name, folder = _name_of_file(request), _folder(request)
        announced = announced_digest(request)
        await self.found(DATASET_ROWS, exchange.tenant, dataset_id)
        # Better told before the file is sent than after.
        await self._check_free(dataset_id, folder, name)
        image_id = f"img_{secrets.token_hex(12)}"
        with self.files.begin() as file:
            async for chunk in request.stream():
                file.write(chunk)
            header = await asyncio.to_thread(_checked, file, announced)
            await asyncio.to_thread(file.keep, "images", image_id)

            def insert(db: Connection) -> Answer:
                self.row(db, DATASET_ROWS, exchange.tenant, dataset_id)
                try:
                    db.execute(
                        "INSERT INTO images (id, tenant, dataset_id, folder, name, size, sha256, "
                        "content_type, width, height, created_at) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {now})",
                        image_id, exchange.tenant, dataset_id, folder, name, file.size,
                        file.digest().hex(), *header,
                    )  # fmt: skip
                except DuplicateError as exc:
                    raise self._taken(folder, name) from exc
                ledger.note_effect(db, exchange, "image.uploaded", image_id, name=name)
                row = inserted(db, IMAGES, exchange.tenant, image_id)
                return json_answer(IMAGES.shown(row), 201, {"location": f"/v1/images/{image_id}"})

            try:
                answer = await carry_out(exchange, self.database, insert)
            except (CallError, RefusedRequest, StoreBusyError) as exc:
                # Nothing was written. Of any other break nobody knows: the file waits for the sweep.
                file.discard()
                if isinstance(exc, CallError) and exc.failure.code == "image_exists":
                    await self._check_free(dataset_id, folder, name)  # which says more
                raise
            if json.loads(answer.body).get("id") != image_id:
                file.discard()  # an earlier try had stored it
        return respond(answer)

    async def _check_free(self, dataset_id: str, folder: str, name: str) -> None:
        rows = await self.database.read(
            "SELECT id, sha256, size FROM images WHERE dataset_id = ? AND folder = ? AND name = ?",
            dataset_id, folder, name,
        )  # fmt: skip
        for image_id, sha256, size in rows:
            raise self._taken(folder, name, image_id=image_id, sha256=sha256, size=size)

    def _taken(self, folder: str, name: str, **details: Any) -> Exception:
        where = f"the folder {folder!r}" if folder else "the dataset's root"
        return self._conflict(
            "image_exists", f"There is an image named {name!r} in {where} already.",
            name=name, folder=folder, **details,
        )  # fmt: skip

    async def get_image(self, request: Request) -> Response:
        """One image, without its bytes."""
        return await self.one(request, IMAGES, "image_id")

    async def delete_image(self, request: Request) -> Response:
        """Delete an image with its annotations."""
        exchange = exchange_of(request)
        image_id = request.path_params["image_id"]

        def delete(db: Connection) -> Answer:
            row = self.row(db, IMAGES, exchange.tenant, image_id)
            db.execute("DELETE FROM images WHERE id = ?", image_id)
            ledger.note_effect(db, exchange, "image.deleted", image_id, name=row[2])
            return json_answer({"id": image_id, "deleted": True})

        answer = await carry_out(exchange, self.database, delete)
        await asyncio.to_thread(self.files.remove, "images", [image_id])
        return respond(answer)

    async def content(self, request: Request) -> Response:
        """The bytes of an image."""
        tenant, image_id = exchange_of(request).tenant, request.path_params["image_id"]
        image = IMAGES.shown(await self.found(IMAGES, tenant, image_id))
        return self._file("images", image_id, image["content_type"], image["sha256"])

    def _file(self, kind: str, name: str, media_type: str, sha256: str) -> Response:
        path = self.files.path(kind, name)
        if not path.is_file():  # deleted a moment ago
            raise self.service.error(
                Failure(status=404, code=f"{kind.removesuffix('s')}_not_found", message="It was deleted.")
            )
        return FileResponse(
            path,
            media_type=media_type,
            headers={
                "etag": f'"{sha256}"',
                "content-digest": digest_field(sha256),
                # What strangers have sent is not to be taken for a page.
                "x-content-type-options": "nosniff",
            },
        )

    # --- annotations ---

    async def get_annotations(self, request: Request) -> Response:
        """What is annotated in an image."""
        tenant, image_id = exchange_of(request).tenant, request.path_params["image_id"]
        rows = await self.database.read(_ANNOTATIONS, tenant, image_id)
        if not rows:
            raise self.missing(IMAGES.called, image_id)
        return respond(_annotations(rows[0]))

    async def save_annotations(self, request: Request) -> Response:
        """Replace what is annotated in an image, unless somebody else just did."""
        exchange = exchange_of(request)
        given: SavedAnnotations = exchange.input
        image_id = request.path_params["image_id"]
        row = await self.found(IMAGES, exchange.tenant, image_id)
        expected = _if_match(request)
        expected = given.version if expected is None else expected
        try:
            # A second of work for the largest: others are served meanwhile.
            kept = await asyncio.to_thread(
                validated, given.annotations, row[7], row[8], where=("body", "annotations")
            )
        except AnnotationsError as exc:
            raise RefusedRequest(Refusal("validation_failed", fields=exc.fields)) from None

        def save(db: Connection) -> Answer:
            image = self.row(db, IMAGES, exchange.tenant, image_id)
            version = image[10]
            if expected is not None and expected != version:
                raise self._conflict(
                    "version_conflict",
                    f"The annotations were changed meanwhile: they are at version {version}.",
                    expected=expected, version=version, image_id=image_id,
                )  # fmt: skip
            db.execute(
                "UPDATE images SET annotations = ?, annotation_count = ?, "
                "annotation_version = annotation_version + 1, annotated_at = {now} WHERE id = ?",
                json.dumps(kept), len(kept), image_id,
            )  # fmt: skip
            ledger.note_effect(db, exchange, "annotations.saved", image_id, name=image[2])
            return _annotations(db.rows(_ANNOTATIONS, exchange.tenant, image_id)[0])

        return respond(await carry_out(exchange, self.database, save))

    # --- exports ---

    async def create_export(self, request: Request) -> Response:
        """Queue an export of a dataset."""
        exchange = exchange_of(request)
        new: NewExport = exchange.input
        dataset = DATASETS.shown(
            await self.found(DATASETS, exchange.tenant, request.path_params["dataset_id"])
        )
        name = new.name or f"export-{secrets.token_hex(4)}"
        facts = {"format": new.format, "image_count": dataset["image_count"]}

        def insert(db: Connection) -> Answer:
            self.row(db, DATASET_ROWS, exchange.tenant, dataset["id"])
            try:
                return self._queue(db, request, EXPORTS, "exp", "export", dataset, facts, name=name)
            except DuplicateError as exc:
                raise self._conflict(
                    "export_exists", f"The dataset has an export named {name!r} already.", name=name
                ) from exc

        return await self._queued(request, insert)

    async def list_exports(self, request: Request) -> Response:
        """The organisation's exports."""
        return await self.page(request, EXPORTS)

    async def get_export(self, request: Request) -> Response:
        """One export."""
        return await self.one(request, EXPORTS, "export_id")

    async def download(self, request: Request) -> Response:
        """The file of an export."""
        tenant, export_id = exchange_of(request).tenant, request.path_params["export_id"]
        export = EXPORTS.shown(await self.found(EXPORTS, tenant, export_id))
        self._check_completed(export)
        return self._file("exports", export_id, "application/json", export["sha256"])

    def _check_completed(self, export: dict[str, Any]) -> None:
        if export["status"] != "completed":
            raise self._conflict(
                "export_not_ready", f"The export {export['name']!r} is {export['status']}.",
                export_id=export["id"], status=export["status"],
            )  # fmt: skip

    # --- imports ---

    async def create_import(self, request: Request) -> Response:
        """Queue the import of another dataset's images, with what is annotated in them."""
        exchange = exchange_of(request)
        new: NewImport = exchange.input
        dataset_id = request.path_params["dataset_id"]
        dataset = DATASET_ROWS.shown(await self.found(DATASET_ROWS, exchange.tenant, dataset_id))
        source = DATASETS.shown(await self.found(DATASETS, exchange.tenant, new.source_dataset_id))
        if source["id"] == dataset["id"]:
            raise invalid(
                ("body", "source_dataset_id"), "A dataset is not imported into itself.", "same_dataset"
            )
        facts = {
            "source_dataset_id": source["id"], "source_dataset_name": source["name"],
            "image_count": source["image_count"],
        }  # fmt: skip

        def insert(db: Connection) -> Answer:
            self.row(db, DATASET_ROWS, exchange.tenant, dataset["id"])
            return self._queue(db, request, IMPORTS, "imp", "import", dataset, facts)

        return await self._queued(request, insert)

    async def list_imports(self, request: Request) -> Response:
        """The organisation's imports."""
        return await self.page(request, IMPORTS)

    async def get_import(self, request: Request) -> Response:
        """One import."""
        return await self.one(request, IMPORTS, "import_id")

    async def cancel_import(self, request: Request) -> Response:
        """Stop an import that has not ended; what was imported stays."""
        return await self._cancel(request, IMPORTS, "import_id")

    # --- training ---

    async def create_run(self, request: Request) -> Response:
        """Queue a training."""
        exchange = exchange_of(request)
        new: NewRun = exchange.input
        dataset = DATASETS.shown(await self._named(exchange.tenant, new.dataset_name))
        rows = await self.database.read(
            f"SELECT {EXPORTS.columns} FROM jobs WHERE kind = 'export' AND dataset_id = ? AND name = ?",  # noqa: S608  # constant words
            dataset["id"], new.export_name,
        )  # fmt: skip
        if not rows:
            raise self.missing(EXPORTS.called, new.export_name)
        export = EXPORTS.shown(rows[0])
        self._check_completed(export)
        if not export["annotation_count"]:
            raise invalid(("body", "export_name"), "Nothing is annotated in this export.", "nothing_to_learn")
        facts = {
            "export_id": export["id"], "export_name": export["name"], "pipeline_type": new.pipeline_type,
            "config": new.config.model_dump(),
        }  # fmt: skip

        def insert(db: Connection) -> Answer:
            return self._queue(db, request, RUNS, "run", "training", dataset, facts, cost=TRAINING_COST)

        return await self._paid(request, insert, TRAINING_COST)

    async def list_runs(self, request: Request) -> Response:
        """The organisation's training runs."""
        return await self.page(request, RUNS)

    async def get_run(self, request: Request) -> Response:
        """One training run."""
        return await self.one(request, RUNS, "run_id")

    async def cancel_run(self, request: Request) -> Response:
        """Stop a training that has not ended."""
        return await self._cancel(request, RUNS, "run_id")

    # --- models ---

    async def list_models(self, request: Request) -> Response:
        """The organisation's models."""
        return await self.page(request, MODELS)

    async def get_model(self, request: Request) -> Response:
        """One model."""
        return await self.one(request, MODELS, "model_id")

    async def predict(self, request: Request) -> Response:
        """What a model sees in an image."""
        exchange = exchange_of(request)
        asked: Prediction = exchange.input
        model_id = request.path_params["model_id"]
        await self.found(MODELS, exchange.tenant, model_id)
        await self.found(IMAGES, exchange.tenant, asked.image_id)
        task = {
            "kind": "predict", "model": str(self.files.path("models", model_id)),
            "image": str(self.files.path("images", asked.image_id)), "threshold": asked.threshold,
        }  # fmt: skip
        try:
            async with asyncio.timeout(PREDICTION_SECONDS), self._predicting:
                found = await result_of(WORK, task, PREDICTION_SECONDS)
        except TimeoutError:
            raise RefusedRequest(Refusal("unavailable", retry_after=5)) from None
        except ChildFailedError as exc:
            if exc.code not in ("not_decodable", "too_large_to_decode"):
                raise
            raise invalid(("body", "image_id"), str(exc), exc.code) from exc
        return respond(json_answer({"model_id": model_id, "image_id": asked.image_id, **found}))

    # --- batch auto-annotation ---

    async def create_auto_annotation(self, request: Request) -> Response:
        """Queue the annotation of many images, by a model or by segmentation."""
        exchange = exchange_of(request)
        new: NewAutoAnnotation = exchange.input
        dataset = DATASET_ROWS.shown(await self.found(DATASET_ROWS, exchange.tenant, new.dataset_id))
        if new.model_id is not None:
            await self.found(MODELS, exchange.tenant, new.model_id)
        rows = await self.database.read(
            "SELECT id FROM images WHERE dataset_id = ? ORDER BY seq LIMIT 10001", dataset["id"]
        )
        known = [image_id for (image_id,) in rows]
        if new.image_ids is None:
            image_ids = known
        else:
            image_ids = list(dict.fromkeys(new.image_ids))
            unknown = set(image_ids) - set(known)
            for image_id in sorted(unknown):
                # A dataset may have more than were read.
                row = await self.found(IMAGES, exchange.tenant, image_id)
                if row[1] != dataset["id"]:
                    raise self.missing(IMAGES.called, image_id)
        if not image_ids or len(image_ids) > 10_000:
            raise invalid(
                ("body", "image_ids"), "A batch has 1 to 10000 images: name them, if there are more.",
                "too_long" if image_ids else "nothing_to_annotate",
            )  # fmt: skip
        cost = ANNOTATION_COST * len(image_ids)
        facts = {
            "model_id": new.model_id, "method": "segmentation" if new.model_id is None else "model",
            "label": new.name, "threshold": new.threshold, "overwrite": new.overwrite,
            "image_count": len(image_ids),
        }  # fmt: skip

        def insert(db: Connection) -> Answer:
            return self._queue(
                db, request, AUTO_ANNOTATIONS, "aa", "auto_annotation", dataset, facts,
                cost=cost, items=image_ids,
            )  # fmt: skip

        return await self._paid(request, insert, cost)

    async def list_auto_annotations(self, request: Request) -> Response:
        """The organisation's batches."""
        return await self.page(request, AUTO_ANNOTATIONS)

    async def get_auto_annotation(self, request: Request) -> Response:
        """One batch."""
        return await self.one(request, AUTO_ANNOTATIONS, "job_id")

    async def cancel_auto_annotation(self, request: Request) -> Response:
        """Stop a batch that has not ended; what is annotated stays."""
        return await self._cancel(request, AUTO_ANNOTATIONS, "job_id")

    # --- jobs ---

    def _queue(
        self, db: Connection, request: Request, table: Table, prefix: str, kind: str,
        dataset: dict[str, Any], facts: dict[str, Any], *, name: str | None = None, cost: int = 0,
        items: Sequence[str] = (),
    ) -> Answer:  # fmt: skip
        exchange = exchange_of(request)
        job_id = f"{prefix}_{secrets.token_hex(12)}"
        db.execute(
            "INSERT INTO jobs (id, tenant, kind, dataset_id, dataset_name, name, facts, items, cost, "
            "request_id, created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {now})",
            job_id, exchange.tenant, kind, dataset["id"], dataset["name"], name, json.dumps(facts),
            json.dumps(items), cost, exchange.request_id,
        )  # fmt: skip
        ledger.note_effect(db, exchange, f"{kind}.queued", job_id, name=name or dataset["name"])
        return json_answer(table.shown(inserted(db, table, exchange.tenant, job_id)), 201)

    async def _queued(
        self, request: Request, insert: Callable[[Connection], Answer], *debits: Debit
    ) -> Response:
        answer = await carry_out(exchange_of(request), self.database, insert, *debits)
        self.jobs.queue.wake()
        return respond(answer)

    async def _paid(self, request: Request, insert: Callable[[Connection], Answer], cost: int) -> Response:
        try:
            return await self._queued(request, insert, Debit(cost))
        except InsufficientCreditsError as exc:
            left = exc.account.balance
            raise self.service.error(
                Failure(
                    status=402, code="insufficient_credits",
                    message=f"This needs {cost} credits, and {left} are left.",
                    details={"required": cost, "remaining": left, "upgrade_url": UPGRADE_URL},
                )
            ) from exc  # fmt: skip

    async def _cancel(self, request: Request, table: Table, parameter: str) -> Response:
        exchange = exchange_of(request)
        job_id = request.path_params[parameter]

        def cancel(db: Connection) -> Answer:
            status = table.shown(self.row(db, table, exchange.tenant, job_id))["status"]
            if status not in ("queued", "running"):
                raise self._conflict(
                    "job_ended", f"It has already {_ENDINGS[status]}.", id=job_id, status=status
                )
            db.execute("UPDATE jobs SET status = 'cancelled', finished_at = {now} WHERE id = ?", job_id)
            ledger.note_effect(db, exchange, f"{table.called}.cancelled", job_id)
            return json_answer(table.shown(self.row(db, table, exchange.tenant, job_id)))

        return respond(await carry_out(exchange, self.database, cancel))

    # --- the organisation ---

    async def organization(self, request: Request) -> Response:
        """Who asks, and what is left to spend."""
        exchange = exchange_of(request)
        account = await self.database.store.account(exchange.tenant, "credits")
        key = exchange.key
        assert key is not None  # no operation of ours but the public ones is served without
        said = {
            "id": exchange.tenant, "name": exchange.tenant.title(), "role": key.role, "tier": key.tier,
            "credits": {"remaining": account.balance, "upgrade_url": UPGRADE_URL},
        }  # fmt: skip
        return respond(json_answer(said))

    async def credits(self, request: Request) -> Response:
        """What was bought and spent, line by line."""
        limit, after = paging(request)
        entries = await self.database.store.entries(
            exchange_of(request).tenant, "credits", after=after, most=limit + 1
        )
        page = entries[:limit]
        items = [
            {
                "seq": each.seq, "amount": each.amount, "balance": each.balance, "reason": each.reason,
                "request_id": each.request_id or None, "at": moment(each.at),
            }
            for each in page
        ]  # fmt: skip
        cursor = str(page[-1].seq) if len(entries) > limit else None
        return respond(json_answer({"items": items, "next_cursor": cursor}))

    # --- rows ---

    async def _named(self, tenant: str, name: str) -> Sequence[Any]:
        rows = await self.database.read(
            f"SELECT {DATASETS.columns} FROM datasets WHERE tenant = ? AND name = ?", tenant, name  # noqa: S608  # constant words
        )  # fmt: skip
        if not rows:
            raise self.missing(DATASETS.called, name)
        row: Sequence[Any] = rows[0]
        return row

    # --- failures ---

    def missing(self, called: str, sought: str) -> Exception:
        """What to raise for a resource that is not there."""
        what = called.replace("_", " ")
        return self.service.error(
            Failure(status=404, code=f"{called}_not_found", message=f"There is no {what} {sought!r}.")
        )

    def _conflict(self, code: str, message: str, **details: Any) -> Exception:
        return self.service.error(Failure(status=409, code=code, message=message, details=details))


def seed(database: Database) -> None:
    """What the organisations have bought, once."""
    for tenant, amount in GRANTS.items():
        if not database.read_blocking("SELECT 1 FROM failwell_accounts WHERE tenant = ?", tenant):
            database.store.grant(tenant, amount, "credits")


def pictograph_service(
    store: Store, database: Database, *, folder: Path, wait: float = 0.0, lease: float = 30.0
) -> Service:
    """Pictograph behind its gates: keys, limits and records in `store`, files in `folder`."""
    pictograph = Pictograph(database, folder, level_of(store, database), lease)
    app = Endpoints(lifespan=pictograph.lifespan)
    pictograph.service = install(
        app, CONTRACT, store=store, keys=KEYS, operations=pictograph.operations, roles=ROLES, tiers=TIERS,
        limit=LIMIT, stranger_limit=STRANGER_LIMIT, wait=wait, lease=lease,
        codes={"idempotency_mismatch": "idempotency_conflict"},
    )  # fmt: skip
    return pictograph.service


_ANNOTATIONS = (
    "SELECT id, annotation_version, annotations, annotated_at FROM images WHERE tenant = ? AND id = ?"
)

_ENDINGS = {"completed": "completed", "failed": "failed", "cancelled": "been cancelled"}


def _annotations(row: Sequence[Any]) -> Answer:
    image_id, version, annotations, at = row
    said = {
        "image_id": image_id, "version": version, "annotations": loaded(annotations),
        "updated_at": moment(at),
    }  # fmt: skip
    return json_answer(said, headers={"etag": f'"{version}"'})


def _checked(file: Incoming, announced: bytes) -> ImageHeader:
    """What kind of image a file is, if it is one, and the one that was announced. Blocks."""
    if not file.size:
        raise invalid(("body",), "The file is empty.", "empty")
    if file.digest() != announced:
        raise invalid(("header", "content-digest"), "The digest is that of another file.", "digest_mismatch")
    with file.path.open("rb") as opened:
        header = read_image_header(opened)
    if header is None:
        raise invalid(("body",), "This is no PNG, JPEG, GIF, BMP or WebP image.", "not_an_image")
    return header


def _name_of_file(request: Request) -> str:
    name = request.query_params.get("name")
    if name is None:
        raise invalid(("query", "name"), "Field required", "missing")
    if not is_name(name):
        raise invalid(
            ("query", "name"), "A name has 1 to 255 printable characters, and no slash.", "name_not_usable"
        )
    return name


def _folder(request: Request) -> str:
    folder = request.query_params.get("folder", "")
    if folder and not (len(folder) <= 500 and all(map(is_name, folder.split("/")))):
        raise invalid(
            ("query", "folder"), "A folder is names with one slash between each two, such as a/b.",
            "name_not_usable",
        )  # fmt: skip
    return folder


def _if_match(request: Request) -> int | None:
    tag = request.headers.get("if-match")
    if tag is None or tag.strip() == "*":
        return None
    bare = tag.strip().strip('"')
    # A tag of ours is a number; another one cannot match, and version -1 never does.
    return int(bare) if bare.isascii() and bare.isdigit() and len(bare) < 19 else -1


def _nothing(body: bytes) -> Nothing:
    return json_body(Nothing)(body) if body else Nothing()
