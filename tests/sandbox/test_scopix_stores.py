"""Scopix on PostgreSQL and Redis, with several worker processes that share its files."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

import pytest
from pictograph_caller import png
from sandbox_caller import said
from scopix_caller import CHUNK, Scopix, events_of, movie, parts_of

sys.path.insert(0, str(Path(__file__).parents[1] / "service"))

from postgres_server import fresh_database
from redis_server import fresh_redis

import failwell_sandbox
from failwell_sandbox import Sandbox

URLS: dict[str, Callable[[], str]] = {"postgres": fresh_database, "redis": lambda: fresh_redis(tcp=True)}


@pytest.fixture(scope="module", params=URLS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    with failwell_sandbox.running(
        ("scopix",), store=URLS[request.param](), workers=2, wait=5.0, lease=2.0
    ) as sandbox:
        yield sandbox


@pytest.fixture
def scopix(sandbox: Sandbox) -> Scopix:
    return Scopix(sandbox["scopix"])


def test_a_file_is_stored_once_whoever_serves(scopix: Scopix, sandbox: Sandbox) -> None:
    account, key = scopix.of(f"many-{uuid4()}"), str(uuid4())

    def upload(at: int) -> int:
        if at < 4:
            return account.upload("same.txt", b"Same.", {"Idempotency-Key": key}).status
        return account.upload("equal.txt" if at < 8 else f"{at}.txt", b"Text.").status

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(upload, range(16)))
    assert statuses[:4] == [201] * 4
    assert sorted(statuses[4:8]) == [200, 200, 200, 201]
    assert account.made("GET", "/v1/usage")["files"]["used"] == 10
    assert sandbox["scopix"].effects(key) == 1


def test_parts_that_several_processes_take_make_the_video(scopix: Scopix) -> None:
    data = random.Random(7).randbytes(9 * CHUNK)
    asked = {"filename": "a.mp4", "size": len(data), "chunk_size": CHUNK}
    media_id = scopix.made("POST", "/v1/videos", asked)["media_id"]
    parts = list(enumerate(parts_of(data), start=1))
    with ThreadPoolExecutor(8) as pool:
        sent = pool.map(lambda part: scopix.send_chunk(media_id, *part).status, parts * 2)
        assert set(sent) == {200}
    whole = {"sha256": hashlib.sha256(data).hexdigest()}
    with ThreadPoolExecutor(4) as pool:
        path = f"/v1/videos/{media_id}/complete"
        done = list(pool.map(lambda _: scopix("POST", path, whole), range(4)))
    assert {each.status for each in done} <= {200, 201}, [each.body for each in done]
    assert {said(each)["id"] for each in done} == {media_id}
    assert scopix("GET", f"/v1/videos/{media_id}/content").body == data


def test_the_last_space_is_given_once(scopix: Scopix) -> None:
    account = scopix.of("hooli")
    with ThreadPoolExecutor(8) as pool:
        statuses = pool.map(lambda at: account.upload(f"{at}.txt", b"%d" % at).status, range(8))
        assert sorted(statuses) == [201] * 3 + [429] * 5
    assert account.made("GET", "/v1/usage")["files"] == {"used": 3, "limit": 3}
    asked = {"filename": "a.txt", "size": 9}
    assert account("POST", "/v1/files/sessions", asked).status == 429
    assert scopix.of("umbrella")("POST", "/v1/files/sessions", asked).status == 402


def test_a_stream_and_its_repetition_are_one_answer(scopix: Scopix) -> None:
    pytest.importorskip("pypdf", reason="needs the extra `scopix`")
    account = scopix.of(f"chat-{uuid4()}")
    account.document("owls.txt", "Owls hunt mice.")
    (paper,) = account.made("GET", "/v1/files?processing_status=completed")["items"]
    chat = account.chat(file_ids=[paper["id"]])
    headers = {"Idempotency-Key": str(uuid4()), "Accept": "text/event-stream"}
    path, asked = f"/v1/chat/sessions/{chat}/messages", {"content": "owls"}
    first, again = (account("POST", path, asked, headers=headers) for _ in range(2))
    (told,) = account.made("GET", path)["items"]
    events = events_of(account("GET", told["events_url"]))

    assert events_of(first) == events_of(again) == events
    after = account("GET", told["events_url"], headers={"Last-Event-ID": events[3]["id"]})
    assert [each["id"] for each in events_of(after)] == [each["id"] for each in events[4:]]


def test_jobs_are_done_once_and_survive_a_worker(scopix: Scopix, sandbox: Sandbox) -> None:
    pytest.importorskip("av", reason="needs the extra `scopix`")
    video = scopix.video(f"{uuid4()}.mp4", movie(("red", "blue"), frames=20))
    image = scopix.file(f"{uuid4()}.png", png(9, 4))
    jobs = [scopix.made("POST", "/v1/video-analysis", {"media_id": video["id"]})["id"] for _ in range(4)]
    os.kill(sandbox.pids[0], signal.SIGKILL)
    done = [scopix.ended(f"/v1/video-analysis/{job}") for job in jobs]

    assert {each["status"] for each in done} == {"completed"}
    assert {len(each["result"]["scenes"]) for each in done} == {2}
    (described,) = scopix.looked_at(image)
    assert described["description"]["width"] == 9


def test_a_folder_is_imported_and_a_connection_forgotten(scopix: Scopix, sandbox: Sandbox) -> None:
    pytest.importorskip("fsspec", reason="needs the extra `scopix`")
    tenant = f"folder-{uuid4()}"
    account = scopix.of(tenant)
    folder = sandbox["scopix"]._storage.files / "local" / tenant
    folder.mkdir(parents=True)
    for at in range(5):
        (folder / f"{at}.txt").write_text(f"Text {at}.")
    asked = {"name": "folder", "provider": "local", "options": {"path": ""}}
    connection = account.made("POST", "/v1/cloud-storage/connections", asked)["id"]
    files = [f"{at}.txt" for at in range(5)]
    job = account.made("POST", "/v1/cloud-storage/imports", {"connection_id": connection, "files": files})
    done = account.ended(f"/v1/cloud-storage/jobs/{job['id']}")

    assert done["result"] == {"succeeded": 5, "skipped": 0, "failed": 0}
    account.made("DELETE", f"/v1/cloud-storage/connections/{connection}")
    assert account.made("GET", "/v1/cloud-storage/connections")["items"] == []
    assert account.made("GET", "/v1/videos?state=uploading&size=7")["items"] == []
