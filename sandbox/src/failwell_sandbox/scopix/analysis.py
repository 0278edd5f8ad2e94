"""The analysis of videos: a job for each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from failwell.answer import Answer
from failwell.failure import Failure
from failwell.service import Operation, exchange_of, json_body
from failwell_sandbox import ledger
from failwell_sandbox.answers import json_answer, respond
from failwell_sandbox.database import Connection
from failwell_sandbox.parameters import invalid
from failwell_sandbox.scopix.background import Background
from failwell_sandbox.scopix.core import INVALID, NOT_FOUND, NOT_PAID, READ, WRITE, Core
from failwell_sandbox.scopix.tables import ANALYSES, VIDEOS, job_facts
from scopix.errors import VideoAnalysisError

_REFUSED = (VideoAnalysisError, "VIDEO_ANALYSIS_ERROR")


class NewAnalysis(BaseModel):
    """The body of `POST /v1/video-analysis`, and of a retry."""

    model_config = ConfigDict(extra="forbid")

    media_id: str = Field(min_length=1, max_length=100)


class AnalysisHandlers:
    """The handlers of video analyses."""

    def __init__(self, core: Core, background: Background) -> None:
        self.core = core
        self.background = background
        level = core.level
        job = "/v1/video-analysis/{job_id}"
        self.operations = (
            Operation("GET", "/v1/video-analysis", self.list_jobs, scope=READ, raises=(INVALID,)),
            Operation("POST", "/v1/video-analysis", self.start, scope=WRITE, idempotency=level,
                      parse=json_body(NewAnalysis), raises=(NOT_PAID, NOT_FOUND)),
            Operation("GET", job, self.get_job, scope=READ, raises=(NOT_FOUND,)),
            Operation("POST", f"{job}/retry", self.retry, scope=WRITE, idempotency=level,
                      parse=json_body(NewAnalysis), raises=(NOT_PAID, NOT_FOUND, _REFUSED, INVALID)),
            Operation("POST", f"{job}/cancel", self.cancel, scope=WRITE, idempotency=level,
                      raises=(NOT_PAID, NOT_FOUND, _REFUSED)),
        )  # fmt: skip

    async def list_jobs(self, request: Request) -> Response:
        """The account's analyses."""
        return await self.core.page(request, ANALYSES)

    async def get_job(self, request: Request) -> Response:
        """One analysis."""
        return await self.core.one(request, ANALYSES, "job_id")

    async def start(self, request: Request) -> Response:
        """Queue the analysis of a video."""
        exchange = exchange_of(request)
        asked: NewAnalysis = exchange.input

        def insert(db: Connection) -> Answer:
            video = self.core.row(db, VIDEOS, exchange.tenant, asked.media_id)
            return self.background.insert(
                db, request, ANALYSES, "va", "analysis", asked.media_id, {"total": 1}, name=video[2]
            )

        answer = await self.core.effect(exchange, insert)
        self.background.queue.wake()
        return respond(answer)

    async def retry(self, request: Request) -> Response:
        """Queue an analysis again that failed or was cancelled."""
        exchange = exchange_of(request)
        asked: NewAnalysis = exchange.input
        job_id = request.path_params["job_id"]

        def again(db: Connection) -> Answer:
            job = job_facts(self.core.row(db, ANALYSES, exchange.tenant, job_id))
            if job["target"] != asked.media_id:
                raise invalid(("body", "media_id"), "This is not the video of that analysis.", "other_video")
            if job["status"] not in ("failed", "cancelled"):
                raise self._refused(job, "not_failed", f"The analysis is {job['status']}.")
            self.core.row(db, VIDEOS, exchange.tenant, asked.media_id)
            db.execute(
                "UPDATE jobs SET status = 'queued', progress = 0, state = '{}', error = NULL, attempts = 0, "
                "started_at = NULL, finished_at = NULL, holder = NULL, held_until = NULL WHERE id = ?",
                job_id,
            )
            ledger.note_effect(db, exchange, "analysis.queued", job_id)
            return json_answer(ANALYSES.shown(self.core.row(db, ANALYSES, exchange.tenant, job_id)))

        answer = await self.core.effect(exchange, again)
        self.background.queue.wake()
        return respond(answer)

    async def cancel(self, request: Request) -> Response:
        """Stop an analysis that has not ended."""
        return await self.background.cancel(request, ANALYSES, self._refused)

    def _refused(self, job: Mapping[str, Any], reason: str, message: str) -> Exception:
        return self.core.service.error(
            Failure(
                status=409, code="VIDEO_ANALYSIS_ERROR", message=message,
                details={
                    "media_id": job["target"], "analysis_job_id": job["id"], "status": job["status"],
                    "reason": reason,
                },
            )
        )  # fmt: skip
