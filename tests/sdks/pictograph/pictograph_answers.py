"""What the service of Pictograph answers, for scripts."""

from __future__ import annotations

from typing import Any

KEY = "pk_" + "a1B2" * 10
BASE = "http://pictograph.example"
# What the clocks of the tests read at first. The bodies of uploads go by the machine's clock, which is
# far from a deadline of this one.
START = 1e9

MOMENT = "2026-11-21T08:00:00+00:00"

DATASET: dict[str, Any] = {
    "id": "ds_1", "name": "street", "description": None, "image_count": 2, "annotated_count": 0,
    "created_at": MOMENT, "updated_at": None,
}  # fmt: skip
IMAGE: dict[str, Any] = {
    "id": "img_1", "dataset_id": "ds_1", "name": "x.jpg", "folder": "", "size": 3, "sha256": "0" * 64,
    "content_type": "image/jpeg", "width": 4, "height": 5, "annotation_count": 0, "annotation_version": 0,
    "created_at": MOMENT,
}  # fmt: skip
BOX: dict[str, Any] = {"name": "person", "type": "bbox", "bbox": {"x": 1, "y": 2.5, "w": 3, "h": 4}}
POLYGON: dict[str, Any] = {
    "name": "road", "type": "polygon", "polygon": [[{"x": 0, "y": 0}, {"x": 4, "y": 0}, {"x": 4, "y": 5}]]
}  # fmt: skip
SAVED: dict[str, Any] = {
    "image_id": "img_1", "version": 1, "annotations": [{**BOX, "id": "an_1"}, {**POLYGON, "id": "an_2"}],
    "updated_at": MOMENT,
}  # fmt: skip
EXPORT: dict[str, Any] = {
    "id": "exp_1", "dataset_id": "ds_1", "dataset_name": "street", "name": "first", "format": "coco",
    "status": "queued", "progress": 0.0, "image_count": 2, "annotation_count": 2, "size": None,
    "sha256": None, "error": None, "created_at": MOMENT, "started_at": None, "finished_at": None,
}  # fmt: skip
RUN: dict[str, Any] = {
    "id": "run_1", "dataset_id": "ds_1", "dataset_name": "street", "export_id": "exp_1",
    "export_name": "first", "pipeline_type": "yolox", "config": {"epochs": 30, "seed": 0},
    "status": "queued", "progress": 0.0, "epoch": 0, "metrics": None, "model_id": None, "error": None,
    "cost": 50, "attempts": 0, "created_at": MOMENT, "started_at": None, "finished_at": None,
}  # fmt: skip
MODEL: dict[str, Any] = {
    "id": "mdl_1", "name": "street-yolox", "training_run_id": "run_1", "dataset_id": "ds_1",
    "dataset_name": "street", "pipeline_type": "yolox", "classes": ["person", "road"],
    "metrics": {"accuracy": 0.5}, "size": 100, "sha256": "0" * 64, "created_at": MOMENT,
}  # fmt: skip
BATCH: dict[str, Any] = {
    "id": "aa_1", "dataset_id": "ds_1", "model_id": "mdl_1", "method": "model", "name": "object",
    "threshold": 0.5, "overwrite": False, "status": "queued", "progress": 0.0, "image_count": 2,
    "annotated": 0, "skipped": 0, "failed": 0, "error": None, "cost": 2, "attempts": 0,
    "created_at": MOMENT, "started_at": None, "finished_at": None,
}  # fmt: skip
IMPORT: dict[str, Any] = {
    "id": "imp_1", "dataset_id": "ds_1", "dataset_name": "street", "source_dataset_id": "ds_2",
    "source_dataset_name": "sky", "status": "queued", "progress": 0.0, "image_count": 2, "imported": 0,
    "skipped": 0, "error": None, "attempts": 0, "created_at": MOMENT, "started_at": None,
    "finished_at": None,
}  # fmt: skip
ORGANIZATION: dict[str, Any] = {
    "id": "org_1", "name": "Acme", "role": "member", "tier": "pro",
    "credits": {"remaining": 7, "upgrade_url": "https://pictograph.example/billing/upgrade"},
}  # fmt: skip


def page(*items: dict[str, Any], next_cursor: str | None = None) -> dict[str, Any]:
    """A page of a list."""
    return {"items": list(items), "next_cursor": next_cursor}


def completed(job: dict[str, Any], **members: Any) -> dict[str, Any]:
    """A job that has done its work."""
    return {**job, "status": "completed", "progress": 1.0, "finished_at": MOMENT, **members}


def refusal(error_code: str, message: str = "Refused.", **details: Any) -> dict[str, Any]:
    """The body of an error."""
    return {"detail": {"error_code": error_code, "message": message, **details}, "request_id": "req_1"}
