"""What is left of uploads and jobs when the process that was at them is killed, and what becomes of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from pictograph_caller import RED, Pictograph, digest_of, png
from sandbox_caller import Elsewhere, said, served_elsewhere, until

import failwell_sandbox
from failwell_sandbox import RunningService
from failwell_sandbox.pictograph.files import Files

# A service in a process of its own, which says where it listens and lives until it is killed.
SERVE = """
import sys, time, failwell_sandbox
with failwell_sandbox.running(("pictograph",), state=sys.argv[1], lease=1.0) as sandbox:
    print(sandbox.pictograph.url, sandbox.pictograph.keys.full, flush=True)
    time.sleep(600)
"""

# Some seconds of work.
LONG = {"epochs": 120, "seed": 3}


class PictographElsewhere(Elsewhere, Pictograph):
    """The service in another process."""


def elsewhere(state: Path) -> AbstractContextManager[PictographElsewhere]:
    return served_elsewhere(PictographElsewhere, SERVE, state)


@contextmanager
def here(state: Path) -> Iterator[tuple[Pictograph, RunningService]]:
    with failwell_sandbox.running(("pictograph",), state=state, lease=1.0) as sandbox:
        yield Pictograph(sandbox.pictograph), sandbox.pictograph


def files_in(state: Path) -> list[str]:
    folder = state / "pictograph-files"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def children_of(pid: int) -> list[int]:
    """The processes of jobs that a service has started."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            command = stat.with_name("cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == pid and b"failwell_sandbox.pictograph.work" in command:
            found.append(int(stat.parent.name))
    return found


def begun_upload(
    service: PictographElsewhere, dataset_id: str, name: str, data: bytes, send: int
) -> socket.socket:
    """Send the beginning of a file, and keep the connection open."""
    head = f"Content-Digest: {digest_of(data)}\r\nContent-Length: {len(data)}\r\n"
    return service.begin("POST", f"/v1/datasets/{dataset_id}/images?name={name}", head, data[:send])


def test_an_upload_that_a_crash_breaks_off_leaves_no_row_and_its_file_is_swept(tmp_path: Path) -> None:
    data = png(64, 64) + b"\0" * 3_000_000
    with elsewhere(tmp_path) as service:
        dataset = service.dataset("crash")
        kept = service.image(dataset["id"], "kept.png", png())
        with begun_upload(service, dataset["id"], "half.png", data, 2_000_000):
            until(lambda: len(files_in(tmp_path)) == 2, "the upload does not begin")
            assert any(name.startswith("incoming/") for name in files_in(tmp_path))
            service.kill()
        assert len(files_in(tmp_path)) == 2, "the crash took nothing away"
    with here(tmp_path) as (pictograph, _):
        until(lambda: files_in(tmp_path) == [f"images/{kept['id']}"], "half a file is left")
        (only,) = pictograph.made("GET", f"/v1/datasets/{dataset['id']}/images")["items"]
        assert only == kept
        assert pictograph("GET", f"/v1/images/{kept['id']}/content").body == png()
        assert said(pictograph.upload(dataset["id"], "half.png", data))["size"] == len(data)


def test_an_upload_whose_client_hangs_up_leaves_nothing(tmp_path: Path) -> None:
    data = png(64, 64) + b"\0" * 3_000_000
    with elsewhere(tmp_path) as service:
        dataset = service.dataset("hang up")
        with begun_upload(service, dataset["id"], "half.png", data, 2_000_000):
            until(lambda: files_in(tmp_path), "the upload does not begin")
        until(lambda: not files_in(tmp_path), "half a file is left")
        assert service.made("GET", f"/v1/datasets/{dataset['id']}")["image_count"] == 0


KEEP_AND_WAIT = """
import sys, time
from pathlib import Path
from failwell_sandbox.pictograph.files import Files
file = Files(Path(sys.argv[1])).begin()
file.write(b"x")
file.keep("images", "img_1")
print("kept", flush=True)
time.sleep(600)
"""


def test_a_file_without_a_row_is_swept_once_nobody_is_at_it(tmp_path: Path) -> None:
    files = Files(tmp_path)
    process = subprocess.Popen(
        [sys.executable, "-c", KEEP_AND_WAIT, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "kept\n"
        path = files.path("images", "img_1")
        os.utime(path, (time.time() - 3600, time.time() - 3600))
        assert files.sweep(lambda kind, names: []) == 0, "its row may be written any moment"
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
    assert files.sweep(lambda kind, names: names) == 0, "it has a row"
    os.utime(path, (time.time(), time.time()))
    assert files.sweep(lambda kind, names: []) == 0, "a commit may still be on its way"
    os.utime(path, (time.time() - 3600, time.time() - 3600))
    assert files.sweep(lambda kind, names: []) == 1
    assert not path.exists()


def test_a_training_whose_service_is_killed_is_taken_up_again_and_comes_to_the_same_model(
    tmp_path: Path,
) -> None:
    asked = {"dataset_name": "boxes", "export_name": "v1", "pipeline_type": "yolox", "config": LONG}
    with elsewhere(tmp_path) as service:
        service.annotated("boxes", images=3)
        run = service.made("POST", "/v1/training", asked)
        path = f"/v1/training/{run['id']}"
        until(lambda: service.made("GET", path)["epoch"] > 0, "the training does not begin")
        (child,) = children_of(service.process.pid)
        service.kill()
        until(lambda: not Path(f"/proc/{child}/cmdline").exists() or _ended(child), "the job lives on")
    with here(tmp_path) as (pictograph, running):
        done = pictograph.ended(path)
        assert (done["status"], done["attempts"], done["epoch"]) == ("completed", 2, 120)
        model = pictograph.made("GET", f"/v1/models/{done['model_id']}")
        twin = pictograph.ended(f"/v1/training/{pictograph.made('POST', '/v1/training', asked)['id']}")
        assert pictograph.made("GET", f"/v1/models/{twin['model_id']}")["sha256"] == model["sha256"]
        assert running.effects(kind="training.queued") == 2
        entries = pictograph.made("GET", "/v1/credits")["items"]
        assert [each["amount"] for each in entries] == [1_000_000, -50, -50], "each was paid once"


def _ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_training_goes_on_in_the_next_service_when_one_ends_in_good_order(tmp_path: Path) -> None:
    with here(tmp_path) as (pictograph, _):
        pictograph.annotated("boxes", images=2)
        run = pictograph.made(
            "POST", "/v1/training",
            {"dataset_name": "boxes", "export_name": "v1", "pipeline_type": "yolox", "config": LONG},
        )  # fmt: skip
        path = f"/v1/training/{run['id']}"
        until(lambda: pictograph.made("GET", path)["epoch"] > 0, "the training does not begin")
    with here(tmp_path) as (pictograph, _):
        done = pictograph.ended(path)
    assert (done["status"], done["attempts"]) == ("completed", 1), "it was given back"


def test_a_job_whose_process_dies_is_taken_up_again_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from failwell_sandbox import job_queue

    monkeypatch.setattr(job_queue, "MOST_ATTEMPTS", 2)
    with here(tmp_path) as (pictograph, _):
        pictograph.annotated("boxes", images=2)
        asked: dict[str, Any] = {
            "dataset_name": "boxes", "export_name": "v1", "pipeline_type": "yolox",
            "config": {"epochs": 100_000},
        }  # fmt: skip
        path = f"/v1/training/{pictograph.made('POST', '/v1/training', asked)['id']}"
        killed: set[int] = set()

        def kill() -> bool:
            for pid in children_of(os.getpid()):
                if pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            return len(killed) == 2

        until(kill, "it is not taken up again")
        failed = pictograph.ended(path)
        assert (failed["status"], failed["error"]["code"]) == ("failed", "abandoned")
        entries = pictograph.made("GET", "/v1/credits")["items"]
        assert [each["amount"] for each in entries] == [1_000_000, -50, 50]


def test_a_batch_that_a_crash_breaks_off_goes_on_after_the_last_image(tmp_path: Path) -> None:
    data = png(96, 64, [((10, 12, 24, 24), RED)])
    with elsewhere(tmp_path) as service:
        dataset = service.dataset("batch")
        ids = [service.image(dataset["id"], f"{at}.png", data)["id"] for at in range(150)]
        job = service.made("POST", "/v1/auto-annotate", {"dataset_id": dataset["id"], "overwrite": True})
        path = f"/v1/auto-annotate/{job['id']}"
        until(lambda: service.made("GET", path)["annotated"] > 0, "the batch does not begin")
        service.kill()
    with here(tmp_path) as (pictograph, _):
        done = pictograph.ended(path)
        assert (done["status"], done["annotated"], done["progress"]) == ("completed", 150, 1.0)
        versions = {
            pictograph.made("GET", f"/v1/images/{image_id}/annotations")["version"] for image_id in ids
        }
        assert versions == {1}, "no image was annotated twice"


def test_an_import_that_a_crash_breaks_off_goes_on_after_the_last_image(tmp_path: Path) -> None:
    with elsewhere(tmp_path) as service:
        source, into = service.dataset("source"), service.dataset("into")
        for at in range(60):
            service.image(source["id"], f"{at:02}.png", png())
        job = service.made("POST", f"/v1/datasets/{into['id']}/imports", {"source_dataset_id": source["id"]})
        path = f"/v1/imports/{job['id']}"
        until(lambda: service.made("GET", path)["imported"] > 0, "the import does not begin")
        service.kill()
    with here(tmp_path) as (pictograph, _):
        done = pictograph.ended(path)
        assert (done["status"], done["imported"], done["skipped"]) == ("completed", 60, 0)
        names = [i["name"] for i in pictograph.made("GET", f"/v1/datasets/{into['id']}/images")["items"]]
        assert names == [f"{at:02}.png" for at in range(60)], "nothing twice, nothing missing"
        # A copy that was killed before its row was written waits for a sweep.
        assert 120 <= len(files_in(tmp_path)) <= 121


def test_training_without_what_it_needs_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "PIL.py").write_text("raise ModuleNotFoundError('none', name='PIL')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with here(tmp_path / "state") as (pictograph, _):
        pictograph.annotated("boxes", images=1)
        asked = {"dataset_name": "boxes", "export_name": "v1", "pipeline_type": "yolox"}
        failed = pictograph.ended(f"/v1/training/{pictograph.made('POST', '/v1/training', asked)['id']}")

    assert (failed["status"], failed["error"]["code"]) == ("failed", "not_installed")
    assert "failwell-sandbox[learning]" in failed["error"]["message"]


def test_what_a_process_says_before_it_breaks_off_is_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from failwell_sandbox import job_queue

    monkeypatch.setattr(job_queue, "MOST_ATTEMPTS", 1)
    (tmp_path / "PIL.py").write_text("raise RuntimeError('the machine has no memory left')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    with here(tmp_path / "state") as (pictograph, _):
        pictograph.annotated("boxes", images=1)
        asked = {"dataset_name": "boxes", "export_name": "v1", "pipeline_type": "yolox"}
        failed = pictograph.ended(f"/v1/training/{pictograph.made('POST', '/v1/training', asked)['id']}")

    assert (failed["status"], failed["error"]["code"]) == ("failed", "abandoned")
    assert "the machine has no memory left" in caplog.text
