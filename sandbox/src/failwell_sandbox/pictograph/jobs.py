"""
Work in the background: exports, imports, training, batch auto-annotation.

What is taken up again: training begins anew and, from the same seed, comes to the same model. An
auto-annotation goes on after the last image, whose annotations were saved in one transaction with
the note that it is done, and so does an import. An export is written anew.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from failwell.service import StoreBusyError
from failwell_sandbox.child import Child
from failwell_sandbox.database import Connection, Database, DuplicateError
from failwell_sandbox.job_queue import LOOK_EVERY, Job, JobFailedError, JobQueue, OvertakenError
from failwell_sandbox.pictograph.annotations import AnnotationsError, validated
from failwell_sandbox.pictograph.coco import CocoFile
from failwell_sandbox.pictograph.files import Files
from failwell_sandbox.stored_files import Incoming

# What the process of a job runs.
WORK = "failwell_sandbox.pictograph.work"

# Images of an export that are read at once.
IMAGES_AT_ONCE = 50

# Whoever exports a large dataset is not to wait for two long trainings.
WORKERS = (("export",), ("import",), ("training", "auto_annotation"), ("auto_annotation", "training"))

# An image of a dataset, unless another one has its name already.
_MISSING = """id = ? AND NOT EXISTS (
    SELECT 1 FROM images AS there
    WHERE there.dataset_id = ? AND there.folder = images.folder AND there.name = images.name
)"""

_COPY = f"""
INSERT INTO images (id, tenant, dataset_id, folder, name, size, sha256, content_type, width, height,
                    annotations, annotation_count, annotation_version, annotated_at, created_at)
SELECT ?, tenant, ?, folder, name, size, sha256, content_type, width, height,
       annotations, annotation_count, CASE WHEN annotation_count > 0 THEN 1 ELSE 0 END, annotated_at, {{now}}
FROM images WHERE {_MISSING}
"""  # noqa: S608  # constant words

_NEW_MODEL = """
INSERT INTO models (id, tenant, name, training_run_id, dataset_id, dataset_name, pipeline_type, classes,
                    metrics, size, sha256, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {now})
"""


class Jobs:
    """
    Carries out what is queued.

    Args:
        database: The service's.
        files: The service's.
        lease: Seconds after which a job is taken over, if nothing is heard of who carries it out.
    """

    def __init__(self, database: Database, files: Files, lease: float) -> None:
        self._database = database
        self._files = files
        self.queue = JobQueue(
            database, lease, self._work_of, WORKERS, _error_of, "pictograph", target="dataset_id",
            more=("dataset_name", "cost"), cost_of=lambda job: job.more["cost"],
        )  # fmt: skip

    async def _work_of(self, job: Job) -> None:
        match job.kind:
            case "export":
                await self._export(job)
            case "import":
                await self._import(job)
            case "training":
                await self._train(job)
            case _:
                await self._annotate(job)

    # --- exports ---

    async def _export(self, job: Job) -> None:
        with self._files.begin() as images, self._files.begin() as annotations:
            coco = CocoFile(images, annotations, job.more["dataset_name"])
            total = max(job.facts["image_count"], 1)
            told, last = time.monotonic(), 0
            while True:
                rows = await self._database.read(
                    "SELECT seq, id, folder, name, width, height, sha256, annotations FROM images "
                    "WHERE dataset_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                    job.target, last, IMAGES_AT_ONCE,
                )  # fmt: skip
                if not rows:
                    break
                last = rows[-1][0]
                await asyncio.to_thread(coco.add, [row[1:] for row in rows])
                if time.monotonic() - told > LOOK_EVERY:
                    told = time.monotonic()
                    await self.queue.tell(job, min(coco.images / total, 0.99), _counted(coco))
            await asyncio.to_thread(coco.finish)
            await asyncio.to_thread(images.keep, "exports", job.id)
            state = {**_counted(coco), "size": images.size, "sha256": images.digest().hex()}
            await self._complete_with(images, job, state)

    async def _complete_with(
        self,
        file: Incoming,
        job: Job,
        state: Mapping[str, Any],
        also: Callable[[Connection], object] = lambda db: None,
    ) -> None:
        """Complete a job whose outcome is a file."""
        try:
            await self.queue.complete(job, state, also)
        except StoreBusyError:  # nothing was written, so nobody knows of the file
            file.discard()
            raise

    # --- imports ---

    async def _import(self, job: Job) -> None:
        state = {"last": 0, "imported": 0, "skipped": 0} | job.state
        source = job.facts["source_dataset_id"]
        while True:
            rows = await self._database.read(
                "SELECT seq, id FROM images WHERE dataset_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                source, state["last"], IMAGES_AT_ONCE,
            )  # fmt: skip
            if not rows:
                break
            for seq, image_id in rows:
                state = await self._imported(job, seq, image_id, state)
        if not await self._database.read("SELECT 1 FROM datasets WHERE id = ?", source):
            raise JobFailedError("source_gone", "The dataset that was imported was deleted meanwhile.")
        await self.queue.complete(job, state)

    async def _imported(self, job: Job, seq: int, image_id: str, state: Mapping[str, int]) -> dict[str, int]:
        """Copy one image, unless its name is taken, and note that it is done; the state after that."""
        new_id = f"img_{secrets.token_hex(12)}"
        rows = await self._database.read(
            f"SELECT 1 FROM images WHERE {_MISSING}", image_id, job.target  # noqa: S608  # constant words
        )  # fmt: skip
        with self._files.begin() as file:
            is_copied = bool(rows) and await asyncio.to_thread(self._copied, file, image_id, new_id)
            try:
                after = await self.queue.advance(
                    job, partial(self._noted, job, seq, (new_id, image_id) if is_copied else None, state)
                )
            except DuplicateError:  # somebody was faster
                after = await self.queue.advance(job, partial(self._noted, job, seq, None, state))
            except (OvertakenError, StoreBusyError):  # nothing was written
                file.discard()
                raise
            if after["imported"] == state["imported"]:
                file.discard()
        return after

    def _copied(self, file: Incoming, image_id: str, new_id: str) -> bool:
        """Copy the bytes of an image under a name of their own; False if they are gone. Blocks."""
        try:
            with self._files.path("images", image_id).open("rb") as source:
                while chunk := source.read(1 << 20):
                    file.write(chunk)
        except FileNotFoundError:  # deleted a moment ago
            return False
        file.keep("images", new_id)
        return True

    def _noted(
        self, job: Job, seq: int, copy: tuple[str, str] | None, state: Mapping[str, int], db: Connection
    ) -> tuple[float, dict[str, int]]:
        outcome = "skipped"
        if copy is not None:
            new_id, image_id = copy
            if db.execute(_COPY, new_id, job.target, image_id, job.target):
                outcome = "imported"
        after = {**state, "last": seq, outcome: state[outcome] + 1}
        done = (after["imported"] + after["skipped"]) / max(job.facts["image_count"], 1)
        return min(done, 0.999), after

    # --- training ---

    async def _train(self, job: Job) -> None:
        config, model_id = job.facts["config"], f"mdl_{secrets.token_hex(12)}"
        with self._files.begin() as file:
            task = {
                "kind": "training", "export": str(self._files.path("exports", job.facts["export_id"])),
                "images": str(self._files.folder / "images"), "to": str(file.path), **config,
            }  # fmt: skip
            result = await self.queue.done_by_child(job, WORK, task, {})
            await asyncio.to_thread(file.read_again)
            await asyncio.to_thread(file.keep, "models", model_id)
            pipeline, dataset_name = job.facts["pipeline_type"], job.more["dataset_name"]
            metrics = result["metrics"]
            row = (
                model_id, job.tenant, f"{dataset_name}-{pipeline}-{job.id[-6:]}", job.id, job.target,
                dataset_name, pipeline, json.dumps(result["classes"]), json.dumps(metrics), file.size,
                file.digest().hex(),
            )  # fmt: skip
            state = {"epoch": config["epochs"], "metrics": metrics, "model_id": model_id}
            await self._complete_with(file, job, state, lambda db: db.execute(_NEW_MODEL, *row))

    # --- batch auto-annotation ---

    async def _annotate(self, job: Job) -> None:
        facts, state = job.facts, {"done": 0, "annotated": 0, "skipped": 0, "failed": 0} | job.state
        model = facts["model_id"]
        if model is not None and not await self._database.read("SELECT 1 FROM models WHERE id = ?", model):
            raise JobFailedError("model_gone", "The model was deleted.")
        task = {
            "kind": "auto_annotation", "model": model and str(self._files.path("models", model)),
            "images": str(self._files.folder / "images"), "image_ids": job.items[state["done"] :],
            "name": facts["label"], "threshold": facts["threshold"],
        }  # fmt: skip
        async with Child(WORK, task) as child:
            while "result" not in (said := await child.hear_or_end(LOOK_EVERY)):
                state = await self.queue.advance(job, partial(self._annotated, job, said, state))
        await self.queue.complete(job, state)

    def _annotated(
        self, job: Job, said: Mapping[str, Any], state: Mapping[str, int], db: Connection
    ) -> tuple[float, dict[str, int]]:
        """Save what was found in one image, if there is news of one, and that it is done."""
        after = dict(state)
        if said:
            outcome = self._saved(db, job, said)
            after |= {"done": state["done"] + 1, outcome: state[outcome] + 1}
        return after["done"] / len(job.items), after

    def _saved(self, db: Connection, job: Job, said: Mapping[str, Any]) -> str:
        if "failed" in said:
            return "failed"
        rows = db.rows(
            "SELECT width, height, annotation_count FROM images WHERE id = ? AND tenant = ? {for_update}",
            said["image"], job.tenant,
        )  # fmt: skip
        for width, height, count in rows:
            if count and not job.facts["overwrite"]:
                return "skipped"
            try:
                found = validated(said["annotations"], width, height)
            except AnnotationsError:
                return "failed"  # the file is another size than its header says
            db.execute(
                "UPDATE images SET annotations = ?, annotation_count = ?, "
                "annotation_version = annotation_version + 1, annotated_at = {now} WHERE id = ?",
                json.dumps(found), len(found), said["image"],
            )  # fmt: skip
            return "annotated"
        return "skipped"  # it was deleted meanwhile


def _counted(coco: CocoFile) -> dict[str, int]:
    return {"image_count": coco.images, "annotation_count": coco.annotations}


def _error_of(job: Job, code: str, message: str) -> dict[str, str]:
    return {"code": code, "message": message}
