"""Videos in parts, and what is found in them."""

from __future__ import annotations

import hashlib
import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from pictograph_caller import digest_of, png
from sandbox_caller import said
from scopix_caller import CHUNK, Scopix, faults_of, is_refusal, movie, parts_of

from scopix.errors import (
    QuotaExceededError,
    ResourceNotFoundError,
    ServerError,
    ValidationError,
    VideoAnalysisError,
    VideoUploadError,
)

DATA = random.Random(5).randbytes(3 * CHUNK + 1000)
WHOLE = {"sha256": hashlib.sha256(DATA).hexdigest()}


def begun(scopix: Scopix, name: str = "a.mp4", data: bytes = DATA) -> str:
    """A video that is going to be sent."""
    asked = {"filename": name, "size": len(data), "chunk_size": CHUNK}
    media_id: str = scopix.made("POST", "/v1/videos", asked)["media_id"]
    return media_id


def parts_in(scopix: Scopix) -> set[str]:
    """The files of parts that are there."""
    return {path.name for path in (scopix.service._storage.files / "parts").iterdir()}


def test_parts_in_any_order_make_the_video(scopix: Scopix) -> None:
    name, before = f"{uuid4()}.mp4", parts_in(scopix)
    media_id = begun(scopix, name)
    for number, part in sorted(enumerate(parts_of(DATA), start=1), reverse=True):
        answer = scopix.send_chunk(media_id, number, part)
        assert said(answer) == {
            "number": number,
            "size": len(part),
            "sha256": hashlib.sha256(part).hexdigest(),
        }
    done, again = (scopix("POST", f"/v1/videos/{media_id}/complete", WHOLE) for _ in range(2))
    video = said(done)

    assert (done.status, again.status) == (201, 200)
    assert said(again) == video
    assert (video["id"], video["kind"], video["content_type"]) == (media_id, "video", "video/mp4")
    assert scopix("GET", f"/v1/videos/{media_id}/content").body == DATA
    part = scopix(
        "GET", f"/v1/videos/{media_id}/content", headers={"Range": f"bytes={CHUNK - 2}-{CHUNK + 1}"}
    )
    assert (part.status, part.body) == (206, DATA[CHUNK - 2 : CHUNK + 2])
    assert parts_in(scopix) == before, "they are all in the video"
    listed = scopix.made("GET", f"/v1/videos?name={name}")["items"]
    assert listed == [video] == scopix.made("GET", f"/v1/files?kind=video&name={name}")["items"]
    assert scopix.made("DELETE", f"/v1/videos/{media_id}") == {"id": media_id, "deleted": True}
    is_refusal(scopix("GET", f"/v1/videos/{media_id}"), 404, ResourceNotFoundError, "NOT_FOUND")


def test_whoever_comes_back_is_told_which_parts_are_there(scopix: Scopix) -> None:
    name = f"{uuid4()}.mp4"
    media_id = begun(scopix, name)
    scopix.send_chunk(media_id, 2, parts_of(DATA)[1])
    told = scopix.made("GET", f"/v1/videos/{media_id}/chunks")
    (found,) = scopix.made("GET", f"/v1/videos?state=uploading&name={name}&size={len(DATA)}")["items"]

    assert (told["state"], told["chunk_size"], told["chunk_count"]) == ("uploading", CHUNK, 4)
    sha256 = hashlib.sha256(parts_of(DATA)[1]).hexdigest()
    assert told["chunks"] == [{"number": 2, "size": CHUNK, "sha256": sha256}]
    assert found["media_id"] == media_id
    assert scopix.made("GET", f"/v1/videos?name={name}")["items"] == []
    missing = is_refusal(
        scopix("POST", f"/v1/videos/{media_id}/complete", WHOLE), 409, VideoUploadError,
        "VIDEO_UPLOAD_ERROR", stage="complete", media_id=media_id, partial_chunks=1, missing=[1, 3, 4],
    )  # fmt: skip
    assert missing.details["reason"] == "chunks_missing"


def test_a_part_that_is_sent_again_is_the_same_and_another_replaces_it(scopix: Scopix) -> None:
    media_id = begun(scopix)
    wrong, before = bytes(CHUNK), parts_in(scopix)
    first = parts_of(DATA)[0]
    for data, files in ((wrong, 1), (wrong, 1), (first, 1)):
        assert scopix.send_chunk(media_id, 1, data).status == 200
        assert len(parts_in(scopix) - before) == files, "what was replaced is gone"
    (told,) = scopix.made("GET", f"/v1/videos/{media_id}/chunks")["chunks"]

    assert told["sha256"] == hashlib.sha256(first).hexdigest()
    scopix.made("DELETE", f"/v1/videos/{media_id}")
    assert parts_in(scopix) <= before, "an upload that is given up leaves no part"


def test_a_part_that_is_not_what_was_announced_is_refused(scopix: Scopix) -> None:
    media_id = begun(scopix)
    short = scopix.send_chunk(media_id, 1, b"short")
    headers = {"Content-Digest": digest_of(b"another")}
    wrong = scopix("PUT", f"/v1/videos/{media_id}/chunks/1", headers=headers, body=DATA[:CHUNK])
    beyond = scopix.send_chunk(media_id, 5, b"")

    for answer, reason in ((short, "size_mismatch"), (wrong, "digest_mismatch")):
        is_refusal(
            answer, 422, VideoUploadError, "VIDEO_UPLOAD_ERROR", stage="chunk_upload", reason=reason,
            media_id=media_id, partial_chunks=0,
        )  # fmt: skip
    assert faults_of(beyond) == [(["path", "number"], "out_of_range")]


def test_parts_that_make_another_video_are_not_taken(scopix: Scopix) -> None:
    media_id = begun(scopix)
    for number, part in enumerate(parts_of(DATA[::-1]), start=1):
        scopix.send_chunk(media_id, number, part)
    answer = scopix("POST", f"/v1/videos/{media_id}/complete", WHOLE)

    is_refusal(
        answer, 422, VideoUploadError, "VIDEO_UPLOAD_ERROR", stage="complete", reason="digest_mismatch",
        partial_chunks=4,
    )  # fmt: skip
    for number, part in enumerate(parts_of(DATA), start=1):
        scopix.send_chunk(media_id, number, part)
    assert scopix("POST", f"/v1/videos/{media_id}/complete", WHOLE).status in (200, 201), "it can be mended"
    late = scopix.send_chunk(media_id, 1, parts_of(DATA)[0])
    is_refusal(late, 409, VideoUploadError, "VIDEO_UPLOAD_ERROR", reason="upload_completed")


def test_a_part_that_the_disk_has_lost_is_no_fault_of_who_sent_it(scopix: Scopix) -> None:
    media_id, before = begun(scopix), parts_in(scopix)
    for number, part in enumerate(parts_of(DATA), start=1):
        scopix.send_chunk(media_id, number, part)
    damaged = next(iter(parts_in(scopix) - before))
    (scopix.service._storage.files / "parts" / damaged).write_bytes(b"damaged")

    is_refusal(scopix("POST", f"/v1/videos/{media_id}/complete", WHOLE), 500, ServerError, "SERVER_ERROR")
    scopix.made("DELETE", f"/v1/videos/{media_id}")


def test_who_completes_a_video_at_the_same_time_gets_the_same(scopix: Scopix) -> None:
    media_id = begun(scopix, f"{uuid4()}.mp4")
    for number, part in enumerate(parts_of(DATA), start=1):
        scopix.send_chunk(media_id, number, part)
    with ThreadPoolExecutor(6) as pool:
        path = f"/v1/videos/{media_id}/complete"
        done = list(pool.map(lambda _: scopix("POST", path, WHOLE), range(6)))

    assert {each.status for each in done} <= {200, 201}, [each.body for each in done]
    assert {said(each)["id"] for each in done} == {media_id}
    assert scopix.service.effects(kind="video.uploaded", name=said(done[0])["name"]) == 1


def test_an_equal_video_takes_no_space(scopix: Scopix) -> None:
    account = scopix.of(f"equal-{uuid4()}")
    first, second = account.video("a.mp4", DATA), account.video("a.mp4", DATA)

    assert second["id"] == first["id"]
    assert account.made("GET", "/v1/usage")["bytes"]["used"] == len(DATA)
    assert account.made("GET", "/v1/usage")["files"]["used"] == 1


def test_a_video_that_the_account_has_no_space_for_is_refused_before_it_is_sent(scopix: Scopix) -> None:
    asked = {"filename": "a.mp4", "size": 128 * 1024}
    refused = is_refusal(
        scopix.of("hooli")("POST", "/v1/videos", asked), 429, QuotaExceededError, "QUOTA_EXCEEDED"
    )
    assert refused.limit in (3, 64 * 1024)


@pytest.mark.parametrize(
    ("asked", "path"),
    [
        ({"filename": "a.mp4", "size": 0}, ["body", "size"]),
        ({"filename": "a.mp4", "size": 2**50}, ["body", "size"]),
        ({"filename": "../a.mp4", "size": 9}, ["body", "filename"]),
        ({"filename": "a.mp4", "size": 9, "chunk_size": 9}, ["body", "chunk_size"]),
        ({"filename": "a.mp4", "size": 2**34, "chunk_size": 65536}, ["body", "chunk_size"]),
    ],
)
def test_a_video_that_cannot_be_taken_is_told_so(scopix: Scopix, asked: object, path: list[str]) -> None:
    answer = scopix("POST", "/v1/videos", asked)

    is_refusal(answer, 422, ValidationError, "VALIDATION_ERROR")
    assert [where for where, _ in faults_of(answer)] == [path]


# --- analysis ---


def test_the_scenes_of_a_video_begin_where_it_is_cut(scopix: Scopix) -> None:
    video = scopix.video("scenes.mp4", movie(("red", "blue", "white"), frames=10))
    job = scopix.made("POST", "/v1/video-analysis", {"media_id": video["id"]})
    done = scopix.ended(f"/v1/video-analysis/{job['id']}")

    assert (done["status"], done["error"], done["media_id"]) == ("completed", None, video["id"])
    found = done["result"]
    assert (found["width"], found["height"], found["codec"], found["fps"]) == (96, 64, "mpeg4", 25.0)
    assert (found["frames"], found["duration"]) == (30, 1.2)
    assert found["scenes"] == [
        {"start": 0.0, "end": 0.4, "frame": 0},
        {"start": 0.4, "end": 0.8, "frame": 10},
        {"start": 0.8, "end": 1.2, "frame": 20},
    ]


PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\nfile://SECRET\n#EXT-X-ENDLIST\n"


def test_what_is_no_video_fails_and_can_be_tried_again(scopix: Scopix, tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the extra `scopix`")
    (tmp_path / "secret.mp4").write_bytes(movie())
    playlist = PLAYLIST.replace(b"SECRET", str(tmp_path / "secret.mp4").encode())
    for data in (b"no video at all " * 99, png(), playlist):
        video = scopix.video(f"{uuid4()}.mp4", data)
        job = scopix.made("POST", "/v1/video-analysis", {"media_id": video["id"]})
        done = scopix.ended(f"/v1/video-analysis/{job['id']}")
        assert (done["status"], done["result"]) == ("failed", None)
        assert (done["error"]["code"], done["error"]["reason"]) == ("VIDEO_ANALYSIS_ERROR", "not_a_video")
        assert done["error"]["details"]["media_id"] == video["id"]
    path = f"/v1/video-analysis/{job['id']}"
    other = scopix("POST", f"{path}/retry", {"media_id": "vid_other"})
    assert faults_of(other) == [(["body", "media_id"], "other_video")]
    again = scopix.made("POST", f"{path}/retry", {"media_id": video["id"]})
    assert (again["id"], again["status"], again["error"]) == (job["id"], "queued", None)
    assert scopix.ended(path)["attempts"] == 1


def test_an_analysis_that_has_not_failed_is_neither_retried_nor_cancelled(scopix: Scopix) -> None:
    video = scopix.video("short.mp4", movie(("red",), frames=3))
    job = scopix.made("POST", "/v1/video-analysis", {"media_id": video["id"]})
    path = f"/v1/video-analysis/{job['id']}"
    scopix.ended(path)
    asked = {"media_id": video["id"]}

    for answer, reason in (
        (scopix("POST", f"{path}/retry", asked), "not_failed"),
        (scopix("POST", f"{path}/cancel"), "job_ended"),
    ):
        is_refusal(
            answer, 409, VideoAnalysisError, "VIDEO_ANALYSIS_ERROR", reason=reason, status="completed",
            media_id=video["id"], analysis_job_id=job["id"],
        )  # fmt: skip
    missing = scopix("POST", "/v1/video-analysis", {"media_id": "vid_none"})
    is_refusal(missing, 404, ResourceNotFoundError, "NOT_FOUND", resource_type="video")
