"""
Scopix's jobs: the analysis of a video, imports and exports, and syncs with S3.

What is taken up again: an analysis begins anew. A copy goes on after the last file, whose row was
written in one transaction with the note that it is done.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from failwell.answer import Answer
from failwell.service import exchange_of
from failwell_sandbox import ledger
from failwell_sandbox.answers import json_answer, respond
from failwell_sandbox.database import Connection
from failwell_sandbox.job_queue import Job, JobFailedError, JobQueue
from failwell_sandbox.resource_tables import Table, inserted
from failwell_sandbox.scopix.copying import Copying
from failwell_sandbox.scopix.core import FILES, Core
from failwell_sandbox.scopix.looking import WORK, Looking
from failwell_sandbox.scopix.tables import job_facts

# Whoever waits for an analysis is not to wait for two long imports.
LANES = (("analysis",), ("import", "export", "sync"), ("export", "sync", "import"))

CODES = {
    "analysis": "VIDEO_ANALYSIS_ERROR", "import": "CLOUD_STORAGE_ERROR", "export": "CLOUD_STORAGE_ERROR",
    "sync": "S3_CONNECTOR_ERROR",
}  # fmt: skip


Refused = Callable[[Mapping[str, Any], str, str], Exception]


class Background:
    """
    Carries out the service's jobs, and queues them.

    Args:
        core: The service's.
        looking: Woken for files that were imported.
        lease: Seconds after which a job is taken over, if nothing is heard of who carries it out.
    """

    def __init__(self, core: Core, looking: Looking, lease: float) -> None:
        self.core = core
        self.queue = JobQueue(core.database, lease, self._work, LANES, _error_of, "scopix")
        self._copying = Copying(core, looking, self.queue)

    async def _work(self, job: Job) -> None:
        match job.kind:
            case "analysis":
                await self._analyse(job)
            case "export":
                await self._copying.export(job)
            case _:
                await self._copying.fetch(job)

    async def _analyse(self, job: Job) -> None:
        rows = await self.core.database.read("SELECT stored FROM files WHERE id = ?", job.target)
        if not rows:
            raise JobFailedError("video_gone", "The video was deleted.")
        task = {"kind": "analysis", "path": str(self.core.files.path(FILES, rows[0][0]))}
        result = await self.queue.done_by_child(job, WORK, task, {})
        await self.queue.complete(job, {"result": result})

    def insert(
        self, db: Connection, request: Request, table: Table, prefix: str, kind: str, target: str,
        facts: Mapping[str, Any], items: Sequence[Any] = (), *, name: str | None = None,
    ) -> Answer:  # fmt: skip
        """
        Queue a job within the transaction of `db`; call `queue.wake` once that has ended.

        Args:
            db: A transaction's.
            request: Who asks.
            table: What the job is on the wire.
            prefix: What its id begins with.
            kind, target, facts, items: See `Job`.
            name: For the ledger.
        """
        exchange = exchange_of(request)
        job_id = f"{prefix}_{secrets.token_hex(12)}"
        db.execute(
            "INSERT INTO jobs (id, tenant, kind, target, facts, items, request_id, created_at) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, {now})",
            job_id, exchange.tenant, kind, target, json.dumps(facts), json.dumps(items), exchange.request_id,
        )  # fmt: skip
        ledger.note_effect(db, exchange, f"{kind}.queued", job_id, name=name)
        return json_answer(table.shown(inserted(db, table, exchange.tenant, job_id)), 201)

    async def cancel(self, request: Request, table: Table, refused: Refused) -> Response:
        """
        Stop a job that has not ended; what is done by then stays.

        Args:
            request: Who asks.
            table: What the job is on the wire.
            refused: What to raise if it has ended, by the job, a word and a sentence.
        """
        exchange = exchange_of(request)
        job_id = request.path_params["job_id"]

        def cancel(db: Connection) -> Answer:
            job = job_facts(self.core.row(db, table, exchange.tenant, job_id))
            if job["status"] not in ("queued", "running"):
                raise refused(job, "job_ended", f"The job has ended: it is {job['status']}.")
            db.execute("UPDATE jobs SET status = 'cancelled', finished_at = {now} WHERE id = ?", job_id)
            ledger.note_effect(db, exchange, f"{job['kind']}.cancelled", job_id)
            return json_answer(table.shown(self.core.row(db, table, exchange.tenant, job_id)))

        return respond(await self.core.effect(exchange, cancel))


def _error_of(job: Job, code: str, message: str) -> dict[str, Any]:
    details = (
        {"media_id": job.target, "analysis_job_id": job.id, "status": "failed"}
        if job.kind == "analysis"
        else {"job_id": job.id, "job_status": "failed"}
    )
    return {"code": CODES[job.kind], "message": message, "reason": code, "details": details}
