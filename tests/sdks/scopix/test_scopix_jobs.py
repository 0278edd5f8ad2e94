"""Analyses, imports, exports and connectors: how they are started, waited for, and fail."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from itertools import repeat
from typing import Any

import pytest
from scopix_answers import (
    ANALYSIS,
    CONNECTION,
    CONNECTOR,
    FOUND,
    IMPORT,
    SYNC,
    completed,
    failed,
    page,
)
from sdk_clients import Play

from failwell.testing import answer
from scopix import (
    CloudStorageError,
    Connection,
    Connector,
    RemoteFile,
    S3ConnectorError,
    ScopixTimeoutError,
    ServerError,
    StorageJob,
    ValidationError,
    VideoAnalysis,
    VideoAnalysisError,
    WaitTimeoutError,
)


def body_of(request: Any) -> Any:
    return json.loads(request.content)


# --- what is asked ---

ASKED: list[tuple[Callable[[Any], Any], str, Any, Any]] = [
    (lambda c: c.video_analysis.start("vid_1"), "POST /v1/video-analysis", {"media_id": "vid_1"}, ANALYSIS),
    (lambda c: c.video_analysis.get("va_1"), "GET /v1/video-analysis/va_1", None, ANALYSIS),
    (
        lambda c: c.video_analysis.retry("va_1", "vid_1"),
        "POST /v1/video-analysis/va_1/retry",
        {"media_id": "vid_1"},
        ANALYSIS,
    ),
    (
        lambda c: c.cloud_storage.start_import("conn_1", ["a.png"]),
        "POST /v1/cloud-storage/imports",
        {"connection_id": "conn_1", "files": ["a.png"]},
        IMPORT,
    ),
    (
        lambda c: c.cloud_storage.start_export("conn_1", ["img_1"], prefix="out/"),
        "POST /v1/cloud-storage/exports",
        {"connection_id": "conn_1", "file_ids": ["img_1"], "prefix": "out/"},
        IMPORT,
    ),
    (lambda c: c.video_analysis.cancel("va_1"), "POST /v1/video-analysis/va_1/cancel", None, ANALYSIS),
    (
        lambda c: c.cloud_storage.cancel_job("job_1"),
        "POST /v1/cloud-storage/jobs/job_1/cancel",
        None,
        IMPORT,
    ),
    (lambda c: c.cloud_storage.get_job("job_1"), "GET /v1/cloud-storage/jobs/job_1", None, IMPORT),
    (lambda c: c.s3_connector.sync("s3c_1"), "POST /v1/s3-connectors/s3c_1/sync", None, SYNC),
    (lambda c: c.s3_connector.get_job("job_1"), "GET /v1/s3-connectors/jobs/job_1", None, SYNC),
    (lambda c: c.s3_connector.cancel_job("job_1"), "POST /v1/s3-connectors/jobs/job_1/cancel", None, SYNC),
]


@pytest.mark.parametrize(("call", "path", "body", "job"), ASKED, ids=[path for _, path, _, _ in ASKED])
def test_a_job_is_asked_for_as_the_service_wants(
    play: Play, call: Callable[[Any], Any], path: str, body: Any, job: dict[str, Any]
) -> None:
    went = play(call, [answer(200, job)])

    assert went.error is None
    assert (went.paths, went.result.id) == ([path], job["id"])
    assert not body or body_of(went.requests[0]) == body
    assert ("idempotency-key" in went.requests[0].headers) == path.startswith("POST")


def test_analyses_are_listed_by_pages(play: Play) -> None:
    went = play(
        lambda c: c.video_analysis.list(media_id="vid_1", limit=2, cursor="c"),
        [answer(200, page(ANALYSIS, next_cursor="d"))],
    )

    assert went.result.items == (VideoAnalysis.from_json(ANALYSIS),)
    assert went.result.next_cursor == "d"
    assert went.requests[0].url.endswith("?media_id=vid_1&limit=2&cursor=c")


def test_jobs_are_listed_by_pages(play: Play) -> None:
    stored = play(
        lambda c: c.cloud_storage.list_jobs(connection_id="conn_1", kind="import", status="queued"),
        [answer(200, page(IMPORT))],
    )
    assert stored.result[0].connection_id == "conn_1"
    assert stored.requests[0].url.endswith("/jobs?connection_id=conn_1&kind=import&status=queued")
    synced = play(lambda c: c.s3_connector.list_jobs(connector_id="s3c_1"), [answer(200, page(SYNC))])
    assert synced.result[0].connector_id == "s3c_1"
    assert synced.requests[0].url.endswith("/jobs?connector_id=s3c_1")


def test_connections_are_made_listed_read_and_forgotten(play: Play) -> None:
    made = play(
        lambda c: c.cloud_storage.connections.create("archive", "s3", {"secret": "s"}),
        [answer(201, CONNECTION)],
    )
    assert made.result == Connection.from_json(CONNECTION)
    assert body_of(made.requests[0]) == {"name": "archive", "provider": "s3", "options": {"secret": "s"}}

    listed = play(lambda c: c.cloud_storage.connections.list(), [answer(200, page(CONNECTION))])
    assert listed.result[0].id == "conn_1"
    read = play(lambda c: c.cloud_storage.connections.get("conn_1"), [answer(200, CONNECTION)])
    assert read.result.provider == "local"
    there = play(
        lambda c: c.cloud_storage.connections.files("conn_1"),
        [answer(200, page({"path": "a.png", "size": 3}))],
    )
    assert there.result[0] == RemoteFile("a.png", 3)
    gone = play(lambda c: c.cloud_storage.connections.delete("conn_1"), [answer(200, {})])
    assert gone.paths == ["DELETE /v1/cloud-storage/connections/conn_1"]


def test_connectors_are_made_listed_read_and_forgotten(play: Play) -> None:
    keys = {"access_key_id": "k", "secret_access_key": "s"}
    made = play(
        lambda c: c.s3_connector.create("photos", **keys, endpoint_url="http://127.0.0.1:1"),
        [answer(201, CONNECTOR)],
    )
    assert made.result == Connector.from_json(CONNECTOR)
    where = {"name": "photos", "bucket": "photos", "endpoint_url": "http://127.0.0.1:1"}
    assert body_of(made.requests[0]) == {**where, **keys}

    listed = play(lambda c: c.s3_connector.list(), [answer(200, page(CONNECTOR))])
    assert listed.result[0].bucket == "photos"
    assert play(lambda c: c.s3_connector.get("s3c_1"), [answer(200, CONNECTOR)]).result.id == "s3c_1"
    gone = play(lambda c: c.s3_connector.delete("s3c_1"), [answer(200, {})])
    assert gone.paths == ["DELETE /v1/s3-connectors/s3c_1"]


# --- waiting ---

WAITED: list[Any] = [
    pytest.param(lambda c, **k: c.video_analysis.wait_for_completion("va_1", **k), ANALYSIS, id="analysis"),
    pytest.param(lambda c, **k: c.cloud_storage.wait_for_job("job_1", **k), IMPORT, id="cloud storage"),
    pytest.param(lambda c, **k: c.s3_connector.wait_for_job(job_id="job_1", **k), SYNC, id="s3 connector"),
]


@pytest.mark.parametrize(("wait", "job"), WAITED)
def test_a_job_is_looked_at_until_it_is_completed(play: Play, wait: Any, job: dict[str, Any]) -> None:
    seen: list[str] = []
    running = answer(200, {**job, "status": "running", "progress": 0.5}, headers={"retry-after": "2"})
    went = play(
        lambda c: wait(c, progress=lambda look: seen.append(look.status)),
        [answer(200, job), running, answer(503), answer(200, completed(job))],
    )

    assert went.result.status == "completed"
    assert seen == ["queued", "running", "completed"]
    assert went.sleeps[1] == 2.0


@pytest.mark.parametrize(("wait", "job"), WAITED)
def test_one_that_is_not_completed_in_time_goes_on_and_is_what_was_last_seen(
    play: Play, wait: Any, job: dict[str, Any]
) -> None:
    running = {**job, "status": "running", "progress": 0.5}
    went = play(lambda c: wait(c, timeout=30), repeat(answer(200, running)))

    assert type(went.error) is WaitTimeoutError
    assert isinstance(went.error, ScopixTimeoutError)
    assert went.error.code == "TIMEOUT"
    assert went.error.last_result == type(went.error.last_result).from_json(running)
    assert went.error.job_id == job["id"]
    assert 25 < sum(went.sleeps) <= 30
    assert pickle.loads(pickle.dumps(went.error)).last_result == went.error.last_result


def test_a_wait_in_which_nothing_was_seen_has_no_last_result(play: Play) -> None:
    went = play(lambda c: c.s3_connector.wait_for_job("job_1", timeout=5), repeat(answer(503)), max_retries=0)

    assert type(went.error) in (WaitTimeoutError, ServerError)
    assert getattr(went.error, "last_result", None) is None


def test_without_a_limit_it_is_waited_for_as_long_as_it_takes(play: Play) -> None:
    went = play(
        lambda c: c.video_analysis.wait_for_completion("va_1", timeout=None),
        [*[answer(200, ANALYSIS)] * 200, answer(200, completed(ANALYSIS, result=FOUND))],
    )

    assert went.result.result.scenes[1].frame == 50
    assert sum(went.sleeps) > 900


def test_an_analysis_that_failed_says_which_video_and_job(play: Play) -> None:
    job = failed(ANALYSIS, "VIDEO_ANALYSIS_ERROR", "No video stream.", reason="no_video")
    went = play(lambda c: c.video_analysis.wait_for_completion("va_1", timeout=600), [answer(200, job)])
    error = went.error

    assert type(error) is VideoAnalysisError
    assert (error.media_id, error.analysis_job_id, error.message) == ("vid_1", "va_1", "No video stream.")
    told = {"media_id": "vid_1", "analysis_job_id": "va_1", "status": "failed", "reason": "no_video"}
    assert told.items() <= error.details.items()


def test_a_cloud_storage_job_that_failed_says_which(play: Play) -> None:
    job = failed(IMPORT, "CLOUD_STORAGE_ERROR", "No such file.")
    error = play(lambda c: c.cloud_storage.wait_for_job("job_1"), [answer(200, job)]).error

    assert type(error) is CloudStorageError
    assert (error.details["job_id"], error.details["job_status"]) == ("job_1", "failed")
    assert error.message == "No such file."


def test_a_job_of_a_connector_that_was_cancelled_is_raised_too(play: Play) -> None:
    job = {**SYNC, "status": "cancelled"}
    error = play(lambda c: c.s3_connector.wait_for_job("job_1"), [answer(200, job)]).error

    assert type(error) is S3ConnectorError
    assert (error.job_status, error.message) == ("cancelled", "job_1 was cancelled")


@pytest.mark.parametrize(
    ("call", "job"),
    [
        (lambda c: c.cloud_storage.import_and_wait(connection_id="conn_1", files=["a.png"]), IMPORT),
        (lambda c: c.cloud_storage.export_and_wait("conn_1", ["img_1"]), IMPORT),
        (lambda c: c.s3_connector.sync_and_wait("s3c_1"), SYNC),
    ],
)
def test_a_job_is_started_once_and_waited_for(play: Play, call: Any, job: dict[str, Any]) -> None:
    went = play(call, [answer(201, job), answer(200, job), answer(200, completed(job))])

    assert went.result == StorageJob.from_json(completed(job))
    assert [path.split()[0] for path in went.paths] == ["POST", "GET", "GET"]


# --- what is refused ---


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.video_analysis.start(""),
        lambda c: c.video_analysis.start(7),
        lambda c: c.video_analysis.get(".."),
        lambda c: c.video_analysis.wait_for_completion("va_1", timeout=0),
        lambda c: c.video_analysis.wait_for_completion("va_1", progress="yes"),
        lambda c: c.video_analysis.list(limit=0),
        lambda c: c.cloud_storage.import_and_wait("conn_1", "a.png"),
        lambda c: c.cloud_storage.import_and_wait("conn_1", []),
        lambda c: c.cloud_storage.import_and_wait("conn_1", ["a.png"], timeout="soon"),
        lambda c: c.cloud_storage.export_and_wait("conn_1", [1]),
        lambda c: c.cloud_storage.connections.create("archive", "s3", ["x"]),
        lambda c: c.s3_connector.create(""),
        lambda c: c.s3_connector.sync_and_wait("s3c_1", progress=3),
        lambda c: c.s3_connector.sync("s3c_1", idempotency_key=3),
        lambda c: c.s3_connector.wait_for_job(None),
    ],
)
def test_what_cannot_be_used_is_a_validation_error_before_anything_is_sent(play: Play, call: Any) -> None:
    went = play(call, repeat(answer(404)))

    assert went.requests == []
    assert isinstance(went.error, ValidationError)
    assert isinstance(went.error, ValueError)
    assert went.error.effect.value == "not_sent"
