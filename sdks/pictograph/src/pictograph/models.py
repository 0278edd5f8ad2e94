"""What the Pictograph API answers and is asked; unknown members of an answer are in `extra`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from failwell.models import Model, unknown_members
from failwell.models import Page as Page  # of lists: one name for all that is answered


@dataclass(frozen=True, slots=True)
class Dataset(Model):
    """
    A dataset: images, and what is annotated in them.

    Attributes:
        name: Unique in the organisation; upper and lower case differ.
        image_count: Images in it.
        annotated_count: Images with at least one annotation.
    """

    id: str
    name: str
    description: str | None = None
    image_count: int = 0
    annotated_count: int = 0
    created_at: datetime | None = None
    updated_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Image(Model):
    """
    An image of a dataset.

    Attributes:
        name: Unique in its folder.
        folder: Where in the dataset: "a/b"; "" for the root.
        size: Bytes.
        sha256: Of the file, in hexadecimal digits.
        width: Pixels.
        height: Pixels.
        annotation_version: As `AnnotationSet.version`.
    """

    id: str
    dataset_id: str
    name: str
    size: int
    sha256: str
    folder: str = ""
    content_type: str | None = None
    width: int | None = None
    height: int | None = None
    annotation_count: int = 0
    annotation_version: int = 0
    created_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class BBox(Model):
    """A box, pixels: its upper left corner, its width and its height."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)
class Point(Model):
    """A point, pixels from the upper left corner of the image."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Annotation(Model):
    """
    One thing that is to be seen in an image.

    Attributes:
        name: What it is: "person".
        type: "bbox" or "polygon".
        bbox: Where, if it is a box.
        polygon: Where, if it is a polygon: one ring of points or several.
        id: What the service calls it.
        confidence: From 0 to 1, where a model said it.
    """

    name: str
    type: str = "bbox"
    bbox: BBox | None = None
    polygon: tuple[tuple[Point, ...], ...] | None = None
    id: str | None = None
    confidence: float | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class AnnotationSet(Model):
    """
    All annotations of an image: iterates over them, has a length, and takes an index.

    Attributes:
        version: Grows by one with each save; 0 if nothing was saved yet.
    """

    image_id: str
    version: int
    annotations: tuple[Annotation, ...] = ()
    updated_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()

    def __iter__(self) -> Any:
        return iter(self.annotations)

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, index: int) -> Annotation:
        return self.annotations[index]


@dataclass(frozen=True, slots=True)
class JobError(Model):
    """Why a job failed."""

    code: str | None = None
    message: str | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Job(Model):
    """
    What takes the service a while: exports, imports, training runs and batches.

    Attributes:
        status: "queued", "running", "completed", "failed" or "cancelled".
        progress: From 0 to 1.
        error: Why it failed.
    """

    id: str
    status: str
    dataset_id: str | None = None
    dataset_name: str | None = None
    progress: float = 0.0
    error: JobError | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(Job):
    """
    A file that is made of a dataset as it is now: what training learns from.

    Attributes:
        name: Unique in its dataset.
        size: Bytes, once it is completed.
        sha256: Of the file, in hexadecimal digits, once it is completed.
    """

    name: str
    format: str = "coco"
    image_count: int | None = None
    annotation_count: int | None = None
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Import(Job):
    """
    A job that copies the images of one dataset, with what is annotated in them, into another.

    Attributes:
        dataset_id: Where to.
        source_dataset_id: Where from.
        image_count: Images it goes through.
        imported: Images it has copied.
        skipped: Images it has left out, because the folder had one of this name.
    """

    source_dataset_id: str | None = None
    source_dataset_name: str | None = None
    image_count: int | None = None
    imported: int = 0
    skipped: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun(Job):
    """
    A training run.

    Attributes:
        epoch: How many times it has been through the data.
        metrics: How good it is so far.
        model_id: What it has made, once it is completed.
        cost: Credits.
    """

    export_id: str | None = None
    export_name: str | None = None
    pipeline_type: str | None = None
    config: Mapping[str, Any] | None = None
    epoch: int = 0
    metrics: Mapping[str, Any] | None = None
    model_id: str | None = None
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class TrainedModel(Model):
    """
    A model that a training run has made.

    Attributes:
        classes: What it tells apart.
        metrics: How good it is.
        size: Bytes.
    """

    called = "model"

    id: str
    name: str | None = None
    training_run_id: str | None = None
    dataset_id: str | None = None
    dataset_name: str | None = None
    pipeline_type: str | None = None
    classes: tuple[str, ...] = ()
    metrics: Mapping[str, Any] | None = None
    size: int | None = None
    sha256: str | None = None
    created_at: datetime | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Prediction(Model):
    """What a model sees in an image; each annotation has a `confidence`."""

    model_id: str
    image_id: str
    annotations: tuple[Annotation, ...] = ()
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoAnnotation(Job):
    """
    A job that annotates many images.

    Attributes:
        method: "model" or "segmentation".
        image_count: Images it goes through.
        annotated: Images it has annotated.
        skipped: Images it has left alone, because they had annotations.
        failed: Images it could not make anything of.
        cost: Credits.
    """

    model_id: str | None = None
    method: str | None = None
    name: str | None = None
    threshold: float | None = None
    overwrite: bool = False
    image_count: int | None = None
    annotated: int = 0
    skipped: int = 0
    failed: int = 0
    cost: float | None = None


@dataclass(frozen=True, slots=True)
class Credits(Model):
    """
    What is left to spend.

    Attributes:
        remaining: Credits.
        upgrade_url: Where more are to be had.
    """

    remaining: float
    upgrade_url: str | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class Organization(Model):
    """
    Whose API key this is.

    Attributes:
        role: Of the key: "viewer", "member" or "admin".
        tier: Of the key's rate limit: "free", "pro" or "enterprise".
    """

    id: str
    name: str
    role: str
    tier: str
    credits: Credits | None = None
    extra: Mapping[str, Any] = unknown_members()


@dataclass(frozen=True, slots=True)
class FileResult(Model):
    """
    What became of one file of a folder.

    Attributes:
        path: The file, below the folder, with "/" between the parts.
        status: "uploaded", "skipped" (the service has it already), "failed" or "not_tried".
        image_id: The image, where there is one.
        error: What went wrong, for a person; None if nothing did.
    """

    path: str
    status: str
    image_id: str | None = None
    error: str | None = None
