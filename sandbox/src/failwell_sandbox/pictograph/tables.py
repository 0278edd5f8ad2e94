"""Pictograph's tables, and what their rows are on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from failwell_sandbox import effects, ledger
from failwell_sandbox.answers import loaded, moment
from failwell_sandbox.resource_tables import Table, equal

SCHEMA = (
    ledger.SCHEMA
    + effects.SCHEMA
    + """
CREATE TABLE IF NOT EXISTS datasets (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT,
    created_at DOUBLE PRECISION NOT NULL,
    updated_at DOUBLE PRECISION,
    UNIQUE (tenant, name)
);
CREATE TABLE IF NOT EXISTS images (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,       -- also the name of its file
    tenant TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    folder TEXT NOT NULL,
    name TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    content_type TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    annotations TEXT NOT NULL DEFAULT '[]',
    annotation_count INTEGER NOT NULL DEFAULT 0,
    annotation_version INTEGER NOT NULL DEFAULT 0,
    annotated_at DOUBLE PRECISION,
    created_at DOUBLE PRECISION NOT NULL,
    UNIQUE (dataset_id, folder, name)
);
CREATE INDEX IF NOT EXISTS images_by_dataset ON images (dataset_id, seq);
CREATE TABLE IF NOT EXISTS jobs (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    tenant TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('export', 'import', 'training', 'auto_annotation')),
    dataset_id TEXT NOT NULL,
    dataset_name TEXT NOT NULL,
    name TEXT,                     -- of an export
    facts TEXT NOT NULL,           -- what is to be done
    items TEXT NOT NULL DEFAULT '[]',  -- with which images
    status TEXT NOT NULL DEFAULT 'queued'
        CHECK (status IN ('queued', 'running', 'completed', 'failed', 'cancelled')),
    progress DOUBLE PRECISION NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT '{}',  -- how far it is, for the next who takes it up
    error TEXT,
    cost INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    request_id TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    started_at DOUBLE PRECISION,
    finished_at DOUBLE PRECISION,
    holder TEXT,                   -- who carries it out, and until when without news of it
    held_until DOUBLE PRECISION
);
CREATE INDEX IF NOT EXISTS jobs_by_tenant ON jobs (tenant, kind, seq);
CREATE INDEX IF NOT EXISTS jobs_open ON jobs (seq) WHERE status IN ('queued', 'running');
CREATE UNIQUE INDEX IF NOT EXISTS exports_by_name ON jobs (dataset_id, name) WHERE kind = 'export';
CREATE TABLE IF NOT EXISTS models (
    seq {serial} PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,       -- also the name of its file
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    training_run_id TEXT NOT NULL UNIQUE,
    dataset_id TEXT NOT NULL,
    dataset_name TEXT NOT NULL,
    pipeline_type TEXT NOT NULL,
    classes TEXT NOT NULL,
    metrics TEXT NOT NULL,
    size BIGINT NOT NULL,
    sha256 TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL
);
CREATE INDEX IF NOT EXISTS models_by_tenant ON models (tenant, seq);
"""
)


def _dataset(row: Sequence[Any]) -> dict[str, Any]:
    dataset_id, name, description, created_at, updated_at, images, annotated = row
    return {
        "id": dataset_id, "name": name, "description": description, "image_count": images,
        "annotated_count": annotated, "created_at": moment(created_at), "updated_at": moment(updated_at),
    }  # fmt: skip


def _image(row: Sequence[Any]) -> dict[str, Any]:
    names = (
        "id", "dataset_id", "name", "folder", "size", "sha256", "content_type", "width", "height",
        "annotation_count", "annotation_version",
    )  # fmt: skip
    return {**dict(zip(names, row, strict=False)), "created_at": moment(row[-1])}


def _job(row: Sequence[Any]) -> dict[str, Any]:
    job_id, dataset_id, dataset_name, name, facts, status, progress, state, error, cost, attempts, *times = (
        row
    )
    created_at, started_at, finished_at = map(moment, times)
    return {
        "id": job_id, "dataset_id": dataset_id, "dataset_name": dataset_name, "name": name,
        "status": status, "progress": 1.0 if status == "completed" else progress, "error": loaded(error),
        "cost": cost, "attempts": attempts, "created_at": created_at, "started_at": started_at,
        "finished_at": finished_at, **loaded(facts), **loaded(state),
    }  # fmt: skip


def _export(row: Sequence[Any]) -> dict[str, Any]:
    job = _job(row)
    kept = (
        "id", "dataset_id", "dataset_name", "name", "format", "status", "progress", "error",
        "created_at", "started_at", "finished_at",
    )  # fmt: skip
    counted = {name: job.get(name, 0) for name in ("image_count", "annotation_count")}
    return {name: job[name] for name in kept} | counted | {n: job.get(n) for n in ("size", "sha256")}


def _import(row: Sequence[Any]) -> dict[str, Any]:
    job = _job(row)
    kept = (
        "id", "dataset_id", "dataset_name", "source_dataset_id", "source_dataset_name", "image_count",
        "status", "progress", "error", "attempts", "created_at", "started_at", "finished_at",
    )  # fmt: skip
    return {name: job[name] for name in kept} | {n: job.get(n, 0) for n in ("imported", "skipped")}


def _run(row: Sequence[Any]) -> dict[str, Any]:
    job = _job(row)
    kept = (
        "id", "dataset_id", "dataset_name", "export_id", "export_name", "pipeline_type", "config", "status",
        "progress", "error", "cost", "attempts", "created_at", "started_at", "finished_at",
    )  # fmt: skip
    said = {name: job.get(name) for name in ("metrics", "model_id")}
    return {name: job[name] for name in kept} | {"epoch": job.get("epoch", 0)} | said


def _auto_annotation(row: Sequence[Any]) -> dict[str, Any]:
    job = _job(row)
    kept = (
        "id", "dataset_id", "dataset_name", "model_id", "method", "threshold", "overwrite", "status",
        "progress", "error", "cost", "attempts", "created_at", "started_at", "finished_at",
    )  # fmt: skip
    counted = {name: job.get(name, 0) for name in ("annotated", "skipped", "failed")}
    return (
        {name: job[name] for name in kept}
        | {"name": job["label"], "image_count": job["image_count"]}
        | counted
    )


def _model(row: Sequence[Any]) -> dict[str, Any]:
    model_id, name, run_id, dataset_id, dataset_name, pipeline_type, classes, metrics, size, sha256, at = row
    return {
        "id": model_id, "name": name, "training_run_id": run_id, "dataset_id": dataset_id,
        "dataset_name": dataset_name, "pipeline_type": pipeline_type, "classes": loaded(classes),
        "metrics": loaded(metrics), "size": size, "sha256": sha256, "created_at": moment(at),
    }  # fmt: skip


_JOB = (
    "id, dataset_id, dataset_name, name, facts, status, progress, state, error, cost, attempts, "
    "created_at, started_at, finished_at"
)

DATASETS = Table(
    "dataset",
    "datasets",
    "id, name, description, created_at, updated_at, "
    "(SELECT count(*) FROM images WHERE dataset_id = datasets.id), "
    "(SELECT count(*) FROM images WHERE dataset_id = datasets.id AND annotation_count > 0)",
    _dataset,
    filters=equal("name"),
)
# Whether it is there, and whose: without the counting.
DATASET_ROWS = Table("dataset", "datasets", "id, name", lambda row: {"id": row[0], "name": row[1]})
IMAGES = Table(
    "image",
    "images",
    "id, dataset_id, name, folder, size, sha256, content_type, width, height, annotation_count, "
    "annotation_version, created_at",
    _image,
    filters=equal("folder", "name"),
)
EXPORTS = Table("export", "jobs", _JOB, _export, "kind = 'export'", equal("dataset_id", "name", "status"))
IMPORTS = Table("import", "jobs", _JOB, _import, "kind = 'import'", equal("dataset_id", "status"))
RUNS = Table("training_run", "jobs", _JOB, _run, "kind = 'training'", equal("status", "dataset_name"))
AUTO_ANNOTATIONS = Table(
    "auto_annotation",
    "jobs",
    _JOB,
    _auto_annotation,
    "kind = 'auto_annotation'",
    equal("status", "dataset_id"),
)
MODELS = Table(
    "model",
    "models",
    "id, name, training_run_id, dataset_id, dataset_name, pipeline_type, classes, metrics, size, sha256, "
    "created_at",
    _model,
    filters=equal("dataset_name"),
)
