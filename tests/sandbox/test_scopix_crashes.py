"""What is left of uploads, jobs and streams when the process that was at them is killed, and what goes on."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pictograph_caller import digest_of, png
from sandbox_caller import Elsewhere, said, served_elsewhere, until
from scopix_caller import CHUNK, Scopix, events_of, movie, parts_of

import failwell_sandbox
from failwell_sandbox import stored_files

# A service in a process of its own, which says where it listens and lives until it is killed.
SERVE = """
import logging, sys, time, failwell_sandbox
logging.basicConfig(level=logging.WARNING)
with failwell_sandbox.running(("scopix",), state=sys.argv[1], lease=1.0) as sandbox:
    print(sandbox["scopix"].url, sandbox["scopix"].keys.full, flush=True)
    time.sleep(600)
"""

DATA = random.Random(6).randbytes(3 * CHUNK)


class ScopixElsewhere(Elsewhere, Scopix):
    """The service in another process."""


def elsewhere(state: Path) -> AbstractContextManager[ScopixElsewhere]:
    return served_elsewhere(ScopixElsewhere, SERVE, state)


@contextmanager
def here(state: Path) -> Iterator[Scopix]:
    with failwell_sandbox.running(("scopix",), state=state, lease=1.0) as sandbox:
        yield Scopix(sandbox["scopix"])


def files_in(state: Path, kind: str) -> list[Path]:
    return sorted((state / "scopix-files" / kind).iterdir())


# --- uploads ---


def test_a_file_that_a_sweep_takes_away_before_it_is_locked_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, locked = stored_files.Files(tmp_path, ["any"]), stored_files._locked
    swept: list[int] = []

    def late(fd: int) -> bool:
        if not swept:
            monkeypatch.setattr(stored_files, "_locked", locked)
            swept.append(files.sweep(lambda kind, names: []))
        return locked(fd)

    monkeypatch.setattr(stored_files, "_locked", late)
    with files.begin() as file:
        assert swept == [1]
        file.write(b"x")
        file.keep("any", "kept")
    assert (tmp_path / "any" / "kept").read_bytes() == b"x"


def test_an_upload_that_a_crash_breaks_off_takes_no_space_and_its_file_is_swept(tmp_path: Path) -> None:
    data = b"text " * 400_000
    head = f"Content-Digest: {digest_of(data)}\r\nContent-Length: {len(data)}\r\n"
    with elsewhere(tmp_path) as service:
        kept = service.file("kept.txt", b"Kept.")
        with service.begin("POST", "/v1/files?name=half.txt", head, data[:1_500_000]):
            until(lambda: files_in(tmp_path, "incoming"), "the upload does not begin")
            service.kill()
        assert len(files_in(tmp_path, "incoming")) == 1, "the crash took nothing away"
    with here(tmp_path) as scopix:
        until(lambda: not files_in(tmp_path, "incoming"), "half a file is left")
        assert [each["id"] for each in scopix.made("GET", "/v1/files")["items"]] == [kept["id"]]
        assert scopix.made("GET", "/v1/usage")["bytes"]["used"] == len(b"Kept.")
        assert said(scopix.upload("half.txt", data))["size"] == len(data)


def test_a_video_goes_on_with_the_parts_that_are_missing(tmp_path: Path) -> None:
    asked = {"filename": "a.mp4", "size": len(DATA), "chunk_size": CHUNK}
    first, second, third = parts_of(DATA)
    with elsewhere(tmp_path) as service:
        media_id = service.made("POST", "/v1/videos", asked)["media_id"]
        assert service.send_chunk(media_id, 3, third).status == 200
        head = f"Content-Digest: {digest_of(first)}\r\nContent-Length: {CHUNK}\r\n"
        with service.begin("PUT", f"/v1/videos/{media_id}/chunks/1", head, first[:50_000]):
            until(lambda: files_in(tmp_path, "incoming"), "the part does not begin")
            service.kill()
    with here(tmp_path) as scopix:
        told = scopix.made("GET", f"/v1/videos/{media_id}/chunks")
        assert [each["number"] for each in told["chunks"]] == [3]
        for number, part in ((1, first), (2, second)):
            assert scopix.send_chunk(media_id, number, part).status == 200
        whole = {"sha256": hashlib.sha256(DATA).hexdigest()}
        video = scopix.made("POST", f"/v1/videos/{media_id}/complete", whole)
        assert scopix("GET", f"/v1/videos/{video['id']}/content").body == DATA
        assert files_in(tmp_path, "parts") == []
        assert scopix.made("GET", "/v1/usage")["bytes"]["used"] == len(DATA)


# --- jobs ---


def test_files_that_nobody_has_looked_at_are_looked_at_by_the_next_service(tmp_path: Path) -> None:
    pytest.importorskip("PIL", reason="needs the extra `scopix`")
    with elsewhere(tmp_path) as service:
        files = [service.file(f"{at}.png", png(at + 1, 9)) for at in range(8)]
        service.kill()
    with here(tmp_path) as scopix:
        found = scopix.looked_at(*files)
    assert [each["description"]["width"] for each in found] == list(range(1, 9))


def test_jobs_of_a_service_that_is_killed_are_done_by_the_next(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="needs the extra `scopix`")
    with elsewhere(tmp_path) as service:
        video = service.video("scenes.mp4", movie(("red", "blue"), frames=100))
        asked = {"media_id": video["id"]}
        jobs = [service.made("POST", "/v1/video-analysis", asked)["id"] for _ in range(3)]
        first = f"/v1/video-analysis/{jobs[0]}"
        until(lambda: service.made("GET", first)["status"] != "queued", "the analysis does not begin")
        service.kill()
    with here(tmp_path) as scopix:
        done = [scopix.ended(f"/v1/video-analysis/{job}") for job in jobs]
    assert [each["status"] for each in done] == ["completed"] * 3
    for each in done:
        assert [scene["frame"] for scene in each["result"]["scenes"]] == [0, 100]
        assert each["attempts"] in (1, 2)


def test_an_import_goes_on_after_the_last_file(tmp_path: Path) -> None:
    pytest.importorskip("fsspec", reason="needs the extra `scopix`")
    folder = tmp_path / "scopix-files" / "local" / "acme"
    folder.mkdir(parents=True)
    names = [f"{at:02}.txt" for at in range(60)]
    for name in names:
        (folder / name).write_text(f"This is {name}.")
    with elsewhere(tmp_path) as service:
        new = {"name": "folder", "provider": "local"}
        connection = service.made("POST", "/v1/cloud-storage/connections", new)["id"]
        asked = {"connection_id": connection, "files": names}
        path = f"/v1/cloud-storage/jobs/{service.made('POST', '/v1/cloud-storage/imports', asked)['id']}"
        until(lambda: service.made("GET", path)["files"], "the import does not begin")
        service.kill()
    with here(tmp_path) as scopix:
        done = scopix.ended(path)
        assert done["result"] == {"succeeded": 60, "skipped": 0, "failed": 0}, "nothing twice"
        assert [each["path"] for each in done["files"]] == names
        assert [each["name"] for each in scopix.made("GET", "/v1/files")["items"]] == names
        assert scopix.made("GET", "/v1/usage")["files"]["used"] == 60


def test_a_job_whose_process_dies_is_taken_up_again_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av", reason="needs the extra `scopix`")
    from failwell_sandbox import job_queue

    let_children_do(
        monkeypatch, tmp_path, "import av, os; av.open = lambda *_, **__: os.kill(os.getpid(), 9)"
    )
    monkeypatch.setattr(job_queue, "MOST_ATTEMPTS", 2)
    monkeypatch.setattr(job_queue, "PAUSE", 0.01)
    with here(tmp_path / "state") as scopix:
        video = scopix.video("any.mp4", movie(("red",), frames=2))
        job = scopix.made("POST", "/v1/video-analysis", {"media_id": video["id"]})
        failed = scopix.ended(f"/v1/video-analysis/{job['id']}")
    assert (failed["status"], failed["error"]["reason"]) == ("failed", "abandoned")
    assert failed["error"]["message"] == "It broke off 2 times."
    assert failed["error"]["code"] == "VIDEO_ANALYSIS_ERROR"


def let_children_do(monkeypatch: pytest.MonkeyPatch, folder: Path, code: str) -> None:
    """Have every process of a job run some code first."""
    inner = "\n".join(f"    {line}" for line in code.splitlines())
    guard = 'import sys\nif "failwell_sandbox.scopix.work" in " ".join(sys.orig_argv):\n'
    (folder / "sitecustomize.py").write_text(f"{guard}{inner}\n")
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)


@pytest.mark.parametrize(
    ("module", "name", "data"),
    [("PIL", "a.png", png()), ("pypdf", "a.txt", b"Some words."), ("pypdf", "a.pdf", b"%PDF-1.4")],
)
def test_what_is_not_installed_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str, data: bytes
) -> None:
    (tmp_path / f"{module}.py").write_text(f"raise ModuleNotFoundError('none', name={module!r})")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with here(tmp_path / "state") as scopix:
        (found,) = scopix.looked_at(scopix.file(name, data))
    error = found["description_error"] or found["processing_error"]

    assert "failed" in (found["description_status"], found["processing_status"])
    assert error == f"{module} is not installed: pip install failwell-sandbox[scopix]"


def test_an_image_that_kills_its_process_fails_and_the_others_are_described(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("PIL", reason="needs the extra `scopix`")
    from failwell_sandbox.scopix import looking

    # A decoder with a fault that no exception tells of.
    let_children_do(monkeypatch, tmp_path, FAULTY)
    monkeypatch.setattr(looking, "MOST_ATTEMPTS", 2)
    monkeypatch.setattr(looking, "PAUSE", 0.01)
    with here(tmp_path / "state") as scopix:
        files = [scopix.file(f"{at}.png", png(13 if at == 1 else 9, at + 1)) for at in range(4)]
        found = scopix.looked_at(*files)
    assert [each["description_status"] for each in found] == ["completed", "failed", "completed", "completed"]
    assert found[1]["description_error"] == "It broke off 2 times."


FAULTY = """
import os, PIL.Image
whole = PIL.Image.Image.getexif
def getexif(image):
    if image.width == 13:
        os.kill(os.getpid(), 9)
    return whole(image)
PIL.Image.Image.getexif = getexif
"""


def test_an_index_that_is_lost_is_made_again(tmp_path: Path) -> None:
    pytest.importorskip("pypdf", reason="needs the extra `scopix`")
    with here(tmp_path) as scopix:
        owls = scopix.document("owls.txt", "Owls hunt mice.")
    for path in (tmp_path / "scopix-files").glob("search.db*"):
        path.unlink()
    with here(tmp_path) as scopix:
        path = f"/v1/chat/sessions/{scopix.chat()}/messages"

        def cited() -> Any:
            answer = scopix("POST", path, {"content": "mice"})
            return answer.status == 201 and said(answer)["citations"]

        (found,) = until(cited, "the document is not read again")
    assert (found["file_id"], found["quote"]) == (owls["id"], "Owls hunt mice.")


# --- streams ---


def test_a_stream_goes_on_in_the_next_service(tmp_path: Path) -> None:
    pytest.importorskip("pypdf", reason="needs the extra `scopix`")
    with elsewhere(tmp_path) as service:
        service.document("owls.txt", "Owls sleep by day. They hunt mice at night.")
        path = f"/v1/chat/sessions/{service.chat()}/messages"
        body = b'{"content": "owls", "pace": 20}'
        head = f"Accept: text/event-stream\r\nContent-Length: {len(body)}\r\n"
        with service.begin("POST", path, head, body) as sock:
            heard = b""
            while heard.count(b"event: delta") < 3:
                # No more than a few events: what is on its way is lost with the connection.
                heard += sock.recv(100)
            service.kill()
    heard = heard[: heard.rindex(b"\n\n")]
    seen = [line.split(": ")[1] for line in heard.decode().splitlines() if line.startswith("id: ")]
    with here(tmp_path) as scopix:
        (told,) = scopix.made("GET", path)["items"]
        rest = events_of(scopix("GET", told["events_url"], headers={"Last-Event-ID": seen[-1]}))
        whole = events_of(scopix("GET", told["events_url"]))
    assert [*seen, *(each["id"] for each in rest)] == [each["id"] for each in whole], "each once, in order"
    assert rest[-1]["event"] == "message.completed"
    text: Any = "".join(each["data"].get("text", "") for each in whole if each["event"] == "delta")
    assert rest[-1]["data"]["sha256"] == hashlib.sha256(text.encode()).hexdigest()
