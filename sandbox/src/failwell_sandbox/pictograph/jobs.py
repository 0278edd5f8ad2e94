"""
Work in the background: exports, imports, training, batch auto-annotation.

A job is a row. Who takes it up writes its name and a term into it, and renews that while it works;
when the term is over without news, another one takes it up again. Each change asks that the row be
still ours, so that whoever was overtaken, or whose job was cancelled, changes nothing any more.

What is taken up again: training begins anew and, from the same seed, comes to the same model. An
auto-annotation goes on after the last image, whose annotations were saved in one transaction with
the note that it is done, and so does an import. An export is written anew.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from failwell.answer import Answer
from failwell.service import Debit, StoreBusyError
from failwell_sandbox.child import SILENCE, Child, ChildFailedError
from failwell_sandbox.database import Connection, Database, DuplicateError
from failwell_sandbox.pictograph.annotations import AnnotationsError, validated
from failwell_sandbox.pictograph.coco import CocoFile
from failwell_sandbox.pictograph.files import Files
from failwell_sandbox.stored_files import Incoming
from failwell_sandbox.worker import Worker

log = logging.getLogger("failwell_sandbox")

# What the process of a job runs.
WORK = "failwell_sandbox.pictograph.work"

# Between two looks whether a job is still wanted, seconds.
LOOK_EVERY = 0.25

# A job whose process, or whose service, died so often is no longer taken up.
MOST_ATTEMPTS = 5

# After the first time, seconds; twice as long after each further one. What ails a machine, such as
# too little memory, is seldom over at once.
PAUSE = 0.5

# Images of an export that are read at once.
IMAGES_AT_ONCE = 50

# Whoever exports a large dataset is not to wait for two long trainings.
WORKERS = (("export",), ("import",), ("training", "auto_annotation"), ("auto_annotation", "training"))

_OPEN = "(status = 'queued' OR (status = 'running' AND held_until <= {now}))"

_TAKE = """
UPDATE jobs SET status = 'running', started_at = coalesce(started_at, {now}), attempts = attempts + 1,
                holder = ?, held_until = {now} + ?
WHERE seq = (SELECT seq FROM jobs WHERE kind IN (KINDS) AND OPEN ORDER BY seq LIMIT 1 {skip_locked})
RETURNING seq, id, tenant, kind, dataset_id, dataset_name, facts, items, state, cost, attempts, request_id
""".replace("OPEN", _OPEN)

_OURS = "WHERE seq = ? AND holder = ? AND status = 'running'"

_RENEW = f"UPDATE jobs SET held_until = {{now}} + ?, progress = ?, state = ? {_OURS}"  # noqa: S608  # constant words

# An image of a dataset, unless another one has its name already.
_MISSING = """id = ? AND NOT EXISTS (
    SELECT 1 FROM images AS there
    WHERE there.dataset_id = ? AND there.folder = images.folder AND there.name = images.name
)"""

_GIVE_BACK = f"""
UPDATE jobs SET status = 'queued', holder = NULL, held_until = NULL, attempts = attempts - 1 {_OURS}
"""  # noqa: S608  # constant words

_BROKE_OFF = f"UPDATE jobs SET holder = NULL, held_until = {{now}} + ? {_OURS}"  # noqa: S608  # constant words

_END = f"""
UPDATE jobs SET status = ?, state = ?, error = ?, finished_at = {{now}}, holder = NULL {_OURS}
"""  # noqa: S608  # constant words

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


class OvertakenError(Exception):
    """The job is no longer ours."""


class JobFailedError(Exception):  # no failure of a call: it becomes the job's `error`
    """
    A job that cannot be done.

    Attributes:
        code: For programs.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Job:
    """
    A job that is being carried out.

    Attributes:
        seq: Its row.
        id: Its name on the wire.
        tenant: Whose.
        kind: One of `export`, `import`, `training`, `auto_annotation`.
        dataset_id: Of what.
        dataset_name: Of what.
        facts: What is to be done.
        items: With which images.
        state: How far it was when it was last left.
        cost: Credits that were paid for it.
        attempts: How often it was taken up, this time included.
        request_id: Of the request that asked for it.
        holder: Who does it: nobody else's news of it count.
    """

    seq: int
    id: str
    tenant: str
    kind: str
    dataset_id: str
    dataset_name: str
    facts: dict[str, Any]
    items: list[str]
    state: dict[str, Any]
    cost: int
    attempts: int
    request_id: str
    holder: str


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
        self._lease = lease
        self._workers = [
            Worker(self._next_of(kinds), f"pictograph-{at}-{kinds[0]}") for at, kinds in enumerate(WORKERS)
        ]

    def start(self) -> None:
        """Begin, on the running loop."""
        for worker in self._workers:
            worker.start()

    def wake(self) -> None:
        """Say that there is something to do."""
        for worker in self._workers:
            worker.wake()

    async def stop(self) -> None:
        """Give back what is being done, and end."""
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def _next_of(self, kinds: Sequence[str]) -> Any:
        listed = ", ".join(f"'{kind}'" for kind in kinds)
        taking = _TAKE.replace("KINDS", listed)
        looking = f"SELECT 1 FROM jobs WHERE kind IN ({listed}) AND {_OPEN} LIMIT 1"  # noqa: S608  # constant words

        async def carry_out_next() -> bool:
            """Carry out the oldest job that is queued, or that its worker left behind."""
            # A look spares all the others the lock of a write.
            looked = await self._database.read(looking)
            job = await self._database.write(lambda db: self._taken(db, taking)) if looked else None
            if job is None:
                return False
            await self._carry_out(job)
            return True

        return carry_out_next

    def _taken(self, db: Connection, taking: str) -> Job | None:
        holder = secrets.token_hex(8)
        for row in db.rows(taking, holder, self._lease):
            seq, job_id, tenant, kind, dataset_id, dataset_name, *said, cost, attempts, request_id = row
            facts, items, state = map(json.loads, said)
            return Job(
                seq, job_id, tenant, kind, dataset_id, dataset_name, facts, items, state, cost, attempts,
                request_id, holder,
            )  # fmt: skip
        return None

    async def _carry_out(self, job: Job) -> None:
        try:
            if job.attempts > MOST_ATTEMPTS:
                raise JobFailedError("abandoned", f"It broke off {MOST_ATTEMPTS} times.")
            await self._work_of(job)
        except OvertakenError:
            return
        except asyncio.CancelledError:
            # This process ends: another one need not wait for the term.
            with suppress(StoreBusyError):
                await self._database.write(lambda db: db.execute(_GIVE_BACK, job.seq, job.holder))
            raise
        except ChildFailedError as exc:
            if exc.code == "crashed":
                # Nobody holds it from now on, and it is taken up again after a while, if not for ever.
                log.warning("job %s broke off, attempt %d", job.id, job.attempts)
                pause = PAUSE * 2 ** (job.attempts - 1)
                await self._database.write(lambda db: db.execute(_BROKE_OFF, pause, job.seq, job.holder))
                return
            await self._fail(job, exc.code, str(exc))
        except JobFailedError as exc:
            await self._fail(job, exc.code, str(exc))

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

    # --- what all kinds have in common ---

    async def _tell(self, job: Job, progress: float, state: Mapping[str, Any]) -> None:
        """
        Write down how far it is, and that somebody is at it.

        Raises:
            OvertakenError: it was cancelled, or is another one's.
        """
        values = (self._lease, progress, json.dumps(state), job.seq, job.holder)
        if not await self._database.write(lambda db: db.execute(_RENEW, *values)):
            raise OvertakenError

    async def _complete(
        self, job: Job, state: Mapping[str, Any], also: Callable[[Connection], object] = lambda db: None
    ) -> None:
        """Write down that it is done, and with it what else there is to be written."""

        def end(db: Connection) -> None:
            if not db.execute(_END, "completed", json.dumps(state), None, job.seq, job.holder):
                raise OvertakenError
            also(db)

        await self._database.write(end)

    async def _fail(self, job: Job, code: str, message: str) -> None:
        """Write down that it cannot be done, and give back what was paid for it."""
        error = json.dumps({"code": code, "message": message})

        def end(raw: Any) -> Answer:
            db = self._database.on(raw)
            if not db.execute(_END, "failed", json.dumps(job.state), error, job.seq, job.holder):
                raise OvertakenError
            return Answer(200, {}, b"")

        with suppress(OvertakenError):
            await self._database.store.commit(
                None, end, keep=1.0, tenant=job.tenant, request_id=job.request_id,
                debits=(Debit(-job.cost),) if job.cost else (),
            )  # fmt: skip

    # --- exports ---

    async def _export(self, job: Job) -> None:
        with self._files.begin() as images, self._files.begin() as annotations:
            coco = CocoFile(images, annotations, job.dataset_name)
            total = max(job.facts["image_count"], 1)
            told, last = time.monotonic(), 0
            while True:
                rows = await self._database.read(
                    "SELECT seq, id, folder, name, width, height, sha256, annotations FROM images "
                    "WHERE dataset_id = ? AND seq > ? ORDER BY seq LIMIT ?",
                    job.dataset_id, last, IMAGES_AT_ONCE,
                )  # fmt: skip
                if not rows:
                    break
                last = rows[-1][0]
                await asyncio.to_thread(coco.add, [row[1:] for row in rows])
                if time.monotonic() - told > LOOK_EVERY:
                    told = time.monotonic()
                    await self._tell(job, min(coco.images / total, 0.99), _counted(coco))
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
            await self._complete(job, state, also)
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
        await self._complete(job, state)

    async def _imported(self, job: Job, seq: int, image_id: str, state: Mapping[str, int]) -> dict[str, int]:
        """Copy one image, unless its name is taken, and note that it is done; the state after that."""
        new_id = f"img_{secrets.token_hex(12)}"
        rows = await self._database.read(
            f"SELECT 1 FROM images WHERE {_MISSING}", image_id, job.dataset_id  # noqa: S608  # constant words
        )  # fmt: skip
        with self._files.begin() as file:
            is_copied = bool(rows) and await asyncio.to_thread(self._copied, file, image_id, new_id)
            try:
                after = await self._database.write(
                    partial(self._noted, job, seq, (new_id, image_id) if is_copied else None, state)
                )
            except DuplicateError:  # somebody was faster
                after = await self._database.write(partial(self._noted, job, seq, None, state))
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
    ) -> dict[str, int]:
        outcome = "skipped"
        if copy is not None:
            new_id, image_id = copy
            if db.execute(_COPY, new_id, job.dataset_id, image_id, job.dataset_id):
                outcome = "imported"
        after = {**state, "last": seq, outcome: state[outcome] + 1}
        done = (after["imported"] + after["skipped"]) / max(job.facts["image_count"], 1)
        if not db.execute(_RENEW, self._lease, min(done, 0.999), json.dumps(after), job.seq, job.holder):
            raise OvertakenError
        return after

    # --- training ---

    async def _train(self, job: Job) -> None:
        config, model_id = job.facts["config"], f"mdl_{secrets.token_hex(12)}"
        with self._files.begin() as file:
            task = {
                "kind": "training", "export": str(self._files.path("exports", job.facts["export_id"])),
                "images": str(self._files.folder / "images"), "to": str(file.path), **config,
            }  # fmt: skip
            result = await self._done_by_child(job, task)
            await asyncio.to_thread(file.read_again)
            await asyncio.to_thread(file.keep, "models", model_id)
            facts, metrics = job.facts, result["metrics"]
            row = (
                model_id, job.tenant, f"{job.dataset_name}-{facts['pipeline_type']}-{job.id[-6:]}", job.id,
                job.dataset_id, job.dataset_name, facts["pipeline_type"], json.dumps(result["classes"]),
                json.dumps(metrics), file.size, file.digest().hex(),
            )  # fmt: skip
            state = {"epoch": config["epochs"], "metrics": metrics, "model_id": model_id}
            await self._complete_with(file, job, state, lambda db: db.execute(_NEW_MODEL, *row))

    async def _done_by_child(self, job: Job, task: Mapping[str, Any]) -> dict[str, Any]:
        progress, state = 0.0, dict[str, Any]()
        async with Child(WORK, task) as child:
            heard = time.monotonic()
            while True:
                said = await child.hear(LOOK_EVERY)
                if said is not None:
                    heard = time.monotonic()
                    if "result" in said:
                        result: dict[str, Any] = said["result"]
                        return result
                    progress = min(said.pop("progress"), 0.999)
                    state = said
                elif time.monotonic() - heard > SILENCE:
                    raise ChildFailedError("crashed", "The process says nothing any more.")
                await self._tell(job, progress, state)

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
            heard = time.monotonic()
            while True:
                said = await child.hear(LOOK_EVERY)
                if said is None:
                    if time.monotonic() - heard > SILENCE:
                        raise ChildFailedError("crashed", "The process says nothing any more.")
                    await self._tell(job, state["done"] / len(job.items), state)
                    continue
                heard = time.monotonic()
                if "result" in said:
                    break
                state = await self._database.write(partial(self._annotated, job, said, state))
        await self._complete(job, state)

    def _annotated(
        self, job: Job, said: Mapping[str, Any], state: Mapping[str, int], db: Connection
    ) -> dict[str, int]:
        """Save what was found in one image, and that it is done."""
        outcome = self._saved(db, job, said)
        after = {**state, "done": state["done"] + 1, outcome: state[outcome] + 1}
        progress = after["done"] / len(job.items)
        if not db.execute(_RENEW, self._lease, progress, json.dumps(after), job.seq, job.holder):
            raise OvertakenError
        return after

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
