"""What is in a video: its scenes, read from the file itself."""

from __future__ import annotations

from collections.abc import Callable

from failwell.call.operation import Operation
from failwell.failure import Failure
from failwell.operations.steps import Steps
from failwell.resources import AsyncResource, Resource, awaiting, operation
from scopix.calls import JOB_TIMEOUT, check, job_failure, paging, present, wait_for, write
from scopix.models import Page, VideoAnalysis


class VideoAnalyses(Resource):
    """Analyses of videos."""

    @operation
    def start(self, media_id: str, *, idempotency_key: str | None = None) -> Operation[VideoAnalysis]:
        """
        Begin to analyse a video.

        Args:
            media_id: The video.
            idempotency_key: Sent with every try; by default one is made for the call.

        Returns:
            The job, queued; `wait_for_completion(job.id)` waits for it.
        """
        body = {"media_id": check.text("media_id", media_id, empty=False)}
        return write("POST", "/v1/video-analysis", VideoAnalysis.from_response, body, idempotency_key)

    @operation
    def get(self, job_id: str) -> Operation[VideoAnalysis]:
        """An analysis as it is now."""
        return _look(job_id)

    @operation
    def list(
        self, *, media_id: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Operation[Page[VideoAnalysis]]:
        """
        A page of the analyses, the oldest first.

        Args:
            media_id: Only those of this video.
            limit: How many, 1 to 1000; 100 by the service's default.
            cursor: `next_cursor` of the page before.
        """
        query = {"media_id": check.optional(check.text, "media_id", media_id), **paging(limit, cursor)}
        return Operation("GET", "/v1/video-analysis", Page.of(VideoAnalysis.from_json), params=query)

    @operation
    def retry(
        self, job_id: str, media_id: str, *, idempotency_key: str | None = None
    ) -> Operation[VideoAnalysis]:
        """
        Run an analysis that failed again.

        Args:
            job_id: The job.
            media_id: Its video.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            VideoAnalysisError: it has not failed.
        """
        path = f"/v1/video-analysis/{check.segment('job_id', job_id)}/retry"
        body = {"media_id": check.text("media_id", media_id, empty=False)}
        return write("POST", path, VideoAnalysis.from_response, body, idempotency_key)

    @operation
    def cancel(self, job_id: str, *, idempotency_key: str | None = None) -> Operation[VideoAnalysis]:
        """
        Stop an analysis.

        Args:
            job_id: The job.
            idempotency_key: Sent with every try; by default one is made for the call.

        Raises:
            VideoAnalysisError: it has ended already.
        """
        path = f"/v1/video-analysis/{check.segment('job_id', job_id)}/cancel"
        return write("POST", path, VideoAnalysis.from_response, None, idempotency_key)

    @operation
    def wait_for_completion(
        self,
        job_id: str,
        *,
        timeout: float | None = JOB_TIMEOUT,
        progress: Callable[[VideoAnalysis], object] | None = None,
    ) -> Steps[VideoAnalysis]:
        """
        An analysis, once it is completed. It goes on whether or not somebody waits.

        Args:
            job_id: The job.
            timeout: Seconds to wait; None for no limit.
            progress: Called with the job as each look saw it.

        Raises:
            VideoAnalysisError: it failed.
            ScopixTimeoutError: it goes on; `last_result` is the job as last seen.
        """
        return wait_for(
            _look(job_id),
            job_id,
            failed=_why_it_failed,
            timeout=timeout,
            progress=progress,
            called="video analysis",
        )


class AsyncVideoAnalyses(AsyncResource):
    """Analyses of videos."""

    start = awaiting(VideoAnalyses.start)
    get = awaiting(VideoAnalyses.get)
    list = awaiting(VideoAnalyses.list)
    retry = awaiting(VideoAnalyses.retry)
    cancel = awaiting(VideoAnalyses.cancel)
    wait_for_completion = awaiting(VideoAnalyses.wait_for_completion)


def _look(job_id: str) -> Operation[VideoAnalysis]:
    path = f"/v1/video-analysis/{check.segment('job_id', job_id)}"
    return Operation("GET", path, VideoAnalysis.from_response)


def _why_it_failed(job: VideoAnalysis) -> Failure | None:
    told = present(media_id=job.media_id, analysis_job_id=job.id, status=job.status)
    return job_failure(job, "VIDEO_ANALYSIS_ERROR", **told)
