"""Both clients against the service of the sandbox: every exception and every example from its real cause."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import trio
from pictograph_examples import IDEMPOTENCY, IMPORTS, PAYMENT, RECOVERY, SETTINGS, VALIDATION
from pictograph_pictures import BLUE, RED, png
from sdk_clients import on

import failwell_sandbox
import pictograph
from failwell import Connections
from failwell.service import Limit
from failwell.testing import FakeClock
from pictograph import AsyncClient, Client, Dataset, FileResult, train_pipeline, upload_folder
from pictograph.exceptions import (
    ApiError,
    AuthError,
    ConflictError,
    FolderUploadError,
    ForbiddenError,
    JobFailedError,
    NotFoundError,
    PaymentRequiredError,
    PictographCallError,
    PollTimeoutError,
    RateLimitError,
    ServerError,
    ValidationError,
)

DIRECT = Connections(trust_env=False)
# Some minutes of training: long enough not to end while a test looks.
LONG = {"epochs": 100_000}


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with failwell_sandbox.running(("pictograph",)) as sandbox:
        yield sandbox.pictograph


@pytest.fixture(scope="module")
def client(service: Any) -> Iterator[Client]:
    with Client(service.keys.full, base_url=service.url, connections=DIRECT) as client:
        yield client


@pytest.fixture(params=[Client, AsyncClient])
def use(request: pytest.FixtureRequest, service: Any) -> Callable[..., Any]:
    """Runs one function on the blocking or on the awaiting client, the same way for a test."""

    def use(call: Callable[[Any], Any], key: str | None = None, **settings: Any) -> Any:
        chosen = {"api_key": key or service.keys.full, "base_url": service.url, "connections": DIRECT}
        return on(request.param, call, chosen | settings)

    return use


@pytest.fixture
def dataset(client: Client) -> Dataset:
    return client.datasets.create(f"dataset {uuid4()}")


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "x.png"
    path.write_bytes(png(96, 64, [((10, 10, 24, 24), RED)], padding=100))
    return path


@pytest.fixture(scope="module")
def learnable(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset of red and blue boxes, annotated, with a completed export."""
    dataset = _learnable(client, tmp_path_factory.mktemp("learnable"), f"learnable {uuid4()}")
    client.exports.wait(client.datasets.export(dataset.id, name="first").id, timeout=60.0)
    return dataset


def _learnable(client: Client, folder: Path, name: str) -> Dataset:
    dice = random.Random(7)
    dataset = client.datasets.create(name)
    for number in range(6):
        red = (dice.randrange(4, 20), dice.randrange(4, 30), 24, 24)
        blue = (dice.randrange(56, 64), dice.randrange(4, 30), 30, 16)
        path = folder / f"{number}.png"
        path.write_bytes(png(96, 64, [(red, RED), (blue, BLUE)]))
        image = client.images.upload(dataset.id, path)
        client.annotations.save(
            image.id,
            [
                {"name": name, "type": "bbox", "bbox": dict(zip("xywh", box, strict=True))}
                for name, box in (("red", red), ("blue", blue))
            ],
        )
    return dataset


def raised(use: Any, call: Callable[[Any], Any], **given: Any) -> Any:
    with pytest.raises(PictographCallError) as caught:
        use(call, **given)
    return caught.value


# --- what is refused, and why ---


def test_a_key_that_opens_nothing_is_an_auth_error(use: Any, service: Any) -> None:
    for key, code in (
        (service.keys.revoked, "api_key_revoked"),
        (service.keys.expired, "api_key_expired"),
        (service.keys.unknown, "api_key_invalid"),
        ("pk_short", "api_key_malformed"),
    ):
        error = raised(use, lambda c: c.datasets.list(), key=key)
        assert (type(error), error.status_code, error.error_code) == (AuthError, 401, code)


def test_a_viewer_who_writes_is_forbidden(use: Any, service: Any) -> None:
    error = raised(use, lambda c: c.datasets.create("x"), key=service.keys.read_only)

    assert (type(error), error.status_code) == (ForbiddenError, 403)
    assert use(lambda c: c.datasets.list(limit=1), key=service.keys.read_only) is not None


def test_a_name_with_another_case_is_not_found(use: Any, dataset: Dataset) -> None:
    assert use(lambda c: c.datasets.get(dataset.name)).id == dataset.id
    assert use(lambda c: c.datasets.get(dataset.id)).name == dataset.name
    error = raised(use, lambda c: c.datasets.get(dataset.name.upper()))
    assert (type(error), error.error_code) == (NotFoundError, "dataset_not_found")


def test_a_name_that_is_taken_is_a_conflict(use: Any, dataset: Dataset, photo: Path) -> None:
    assert raised(use, lambda c: c.datasets.create(dataset.name)).error_code == "dataset_exists"
    image = use(lambda c: c.images.upload(dataset.id, photo))
    error = raised(use, lambda c: c.images.upload(dataset.id, photo))
    assert (type(error), error.error_code) == (ConflictError, "image_exists")
    assert error.failure.details["sha256"] == image.sha256
    assert use(lambda c: c.images.upload(dataset.id, photo, folder="a/b")).folder == "a/b"


def test_a_version_that_is_old_is_a_conflict(use: Any, dataset: Dataset, photo: Path) -> None:
    image = use(lambda c: c.images.upload(dataset.id, photo))
    box = {"name": "red", "type": "bbox", "bbox": {"x": 10, "y": 10, "w": 24, "h": 24}}
    saved = use(lambda c: c.annotations.save(image.id, [box], version=0))
    error = raised(use, lambda c: c.annotations.save(image.id, [], version=0))

    assert (type(error), error.error_code) == (ConflictError, "version_conflict")
    assert use(lambda c: c.annotations.list(image.id)) == saved
    again = use(lambda c: c.annotations.save(image.id, list(saved), version=saved.version))
    assert again.version == 2


def test_a_key_with_another_body_is_a_conflict_and_with_the_same_one_the_same_answer(use: Any) -> None:
    key, name = f"key-{uuid4()}", f"dataset {uuid4()}"
    first = use(lambda c: c.datasets.create(name, idempotency_key=key))
    again = use(lambda c: c.datasets.create(name, idempotency_key=key))
    error = raised(use, lambda c: c.datasets.create(name + "!", idempotency_key=key))

    assert again == first
    assert (type(error), error.status_code, error.error_code) == (ConflictError, 409, "idempotency_conflict")


def test_twenty_at_once_with_one_key_make_one_dataset(client: Client, service: Any) -> None:
    key, name = f"key-{uuid4()}", f"dataset {uuid4()}"
    with ThreadPoolExecutor(20) as pool:
        made = list(pool.map(lambda _: client.datasets.create(name, idempotency_key=key), range(20)))

    assert made == [made[0]] * 20
    assert service.effects(key) == 1


def test_it_is_awaited_under_trio(service: Any, dataset: Dataset, photo: Path) -> None:
    async def work() -> list[str]:
        async with AsyncClient(service.keys.full, base_url=service.url, connections=DIRECT) as client:
            image = await client.images.upload(dataset.id, photo)
            box = {"name": "red", "type": "bbox", "bbox": {"x": 10, "y": 10, "w": 24, "h": 24}}
            await client.annotations.save(image.id, [box])
            assert await client.images.download(image.id) == photo.read_bytes()
            return [annotation.name for annotation in await client.annotations.list(image.id)]

    assert trio.run(work) == ["red"]


def test_a_payload_that_is_refused_names_every_field(use: Any, dataset: Dataset, photo: Path) -> None:
    image = use(lambda c: c.images.upload(dataset.id, photo))
    bad = [
        {"class": "person", "type": "bbox"},
        {"name": "x", "type": "polygon", "polygon": [1, 2, 3, 4, 5, 6]},
    ]
    error = raised(use, lambda c: c.annotations.save(image.id, bad))
    told = {(tuple(e["loc"]), e["type"]) for e in error.errors}

    assert type(error) is ValidationError
    assert (("body", "annotations", 0, "class"), "class_not_name") in told
    assert any(kind == "flat_polygon" for _, kind in told)


def test_a_file_that_is_no_image_is_refused(use: Any, dataset: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(b"not an image at all")
    error = raised(use, lambda c: c.images.upload(dataset.id, path))

    assert type(error) is ValidationError
    assert error.errors[0]["type"] == "not_an_image"


def test_credits_that_do_not_suffice_are_told(use: Any, service: Any, photo: Path) -> None:
    key = service.new_key(tenant="hooli")
    dataset = use(lambda c: c.datasets.create(f"poor {uuid4()}"), key=key)
    for number in range(4):
        use(lambda c, number=number: c.images.upload(dataset.id, photo, name=f"{number}.png"), key=key)
    error = raised(use, lambda c: c.auto_annotation.create(dataset.id), key=key)

    assert (type(error), error.required, error.remaining) == (PaymentRequiredError, 4, 3)
    assert error.upgrade_url.startswith("https://")
    assert use(lambda c: c.organization(), key=key).credits.remaining == 3


def test_a_limit_that_is_open_again_soon_is_waited_for(use: Any, service: Any) -> None:
    key = service.new_key(limit=Limit(1, 1.0))
    began = time.monotonic()
    for _ in range(2):
        use(lambda c: c.datasets.list(limit=1), key=key)

    assert time.monotonic() - began >= 0.5


def test_a_limit_that_is_open_again_in_an_hour_is_raised_at_once(use: Any, service: Any) -> None:
    key = service.new_key(limit=Limit(1, 3600.0))
    use(lambda c: c.datasets.list(limit=1), key=key)
    error = raised(use, lambda c: c.datasets.list(limit=1), key=key)

    assert (type(error), error.status_code) == (RateLimitError, 429)
    assert error.retry_after > 120
    assert len(error.attempts) == 1


def test_a_service_that_is_about_to_end_is_a_server_error(use: Any, service: Any) -> None:
    with service.draining():
        error = raised(use, lambda c: c.datasets.list(limit=1), max_retries=0)

    assert (type(error), error.status_code) == (ServerError, 503)


def test_an_answer_that_no_class_stands_for_is_an_api_error(use: Any) -> None:
    from failwell import Operation

    error = raised(use, lambda c: c._client.perform(Operation("PATCH", "/v1/datasets", lambda r: None)))

    assert (type(error), error.status_code) == (ApiError, 405)


# --- the examples of the document ---


def test_the_examples_of_the_settings_run(service: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PICTOGRAPH_API_KEY", service.keys.full)
    monkeypatch.setenv("PICTOGRAPH_BASE_URL", service.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    names: dict[str, Any] = {"Client": pictograph.Client}
    exec(IMPORTS + SETTINGS, names)
    with names["client"] as client:
        assert client.organization().role == "admin"


def test_the_example_of_credits_runs(
    service: Any, client: Client, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(service.new_key(tenant="hooli"), base_url=service.url, connections=DIRECT) as poor:
        dataset = poor.datasets.create(f"poor {uuid4()}")
        image = poor.images.upload(dataset.id, photo)
        box = {"name": "red", "type": "bbox", "bbox": {"x": 10, "y": 10, "w": 24, "h": 24}}
        poor.annotations.save(image.id, [box])
        poor.exports.wait(poor.datasets.export(dataset.id, name="first").id, timeout=60.0)
        exec(PAYMENT, {"client": poor, "dataset_name": dataset.name, "export_name": "first"})

    assert capsys.readouterr().out.startswith("Need 50 credits, you have 3\nTop up at: https://")


def test_the_example_of_a_refused_payload_runs(
    client: Client, dataset: Dataset, photo: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image = client.images.upload(dataset.id, photo)
    exec(VALIDATION, {"client": client, "image_id": image.id})

    summary, errors = capsys.readouterr().out.splitlines()
    assert "name" in summary
    assert "class_not_name" in errors


def test_the_example_of_idempotency_runs_and_uploads_once(
    client: Client, dataset: Dataset, photo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photo.parent)
    photo.rename("x.jpg")
    for _ in range(2):
        exec(IDEMPOTENCY, {"client": client, "ds": dataset})

    assert client.datasets.get(dataset.id).image_count == 1


@pytest.fixture(scope="module")
def ds(client: Client, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """The dataset of the document's example, which can be learnt from."""
    return _learnable(client, tmp_path_factory.mktemp("ds"), "ds")


def test_the_example_of_recovery_runs_for_a_run_that_is_done_in_time(client: Client, ds: Dataset) -> None:
    names: dict[str, Any] = {"client": client, "train_pipeline": train_pipeline}
    exec(RECOVERY, names)

    assert names["run"].status == "completed"
    assert set(names["model"].classes) == {"red", "blue"}
    assert "run_id" not in names


class Hasty(FakeClock):
    """A clock whose seconds are hundredths: a minute is over soon, and an export is still done in ten."""

    def sleep(self, seconds: float, /) -> None:
        time.sleep(seconds / 100)
        super().sleep(seconds)


def test_the_example_of_recovery_runs_for_a_run_that_takes_longer(
    client: Client, service: Any, learnable: Dataset, ds: Dataset
) -> None:
    # All that trains is busy for minutes: the run of the example is queued until they are cancelled.
    busy = [client.training.create(learnable.name, "first", config=LONG) for _ in range(2)]
    try:
        with Client(service.keys.full, base_url=service.url, connections=DIRECT, clock=Hasty(1e9)) as hasty:
            names: dict[str, Any] = {"client": hasty, "train_pipeline": train_pipeline}
            exec(RECOVERY, names)
    finally:
        for run in busy:
            client.training.cancel(run.id)
    done = client.training.wait(names["run_id"], timeout=100.0)

    assert (names["run"].id, names["run"].status) == (names["run_id"], "queued")
    assert "model" not in names
    assert set(client.models.get(str(done.model_id)).classes) == {"red", "blue"}


# --- jobs that outlive whoever waits for them ---


PICK_UP = """
import json, sys, pictograph
from failwell import Connections
from pictograph.exceptions import JobFailedError, PollTimeoutError

url, key, run_id = sys.argv[1:]
with pictograph.Client(key, base_url=url, connections=Connections(trust_env=False)) as client:
    run = client.training.get(run_id)
    try:
        client.training.wait(run_id, timeout=0.5)
    except PollTimeoutError as error:
        again = error.run_id
    client.training.cancel(run_id)
    try:
        client.training.wait(run_id, timeout=60.0)
    except JobFailedError as error:
        print(json.dumps([run.status, again, error.job_status]))
"""


def test_a_run_that_takes_longer_goes_on_and_is_picked_up_in_another_process(
    use: Any, service: Any, learnable: Dataset
) -> None:
    def train(c: Any) -> Any:
        run = train_pipeline if isinstance(c, Client) else pictograph.train_pipeline_async
        return run(c, learnable.name, export_name="first", config=LONG, timeout=1.0)

    error = raised(use, train)
    told = subprocess.run(
        [sys.executable, "-c", PICK_UP, service.url, service.keys.full, error.run_id],
        capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    status, again, ended = json.loads(told.stdout)

    assert type(error) is PollTimeoutError
    assert status in ("queued", "running")
    assert (again, ended) == (error.run_id, "cancelled")


def test_a_model_predicts_what_it_has_learnt(use: Any, learnable: Dataset) -> None:
    run = use(lambda c: c.training.create(learnable.name, "first", "classifier", config={"epochs": 5}))
    done = use(lambda c: c.training.wait(run.id, timeout=100.0))
    model = use(lambda c: c.models.get(done.model_id))
    image = use(lambda c: c.images.list(learnable.id, limit=1))[0]
    seen = use(lambda c: c.models.predict(model.id, image.id, threshold=0.0))

    assert {annotation.name for annotation in seen.annotations} <= {"red", "blue"}
    assert all(0 <= annotation.confidence <= 1 for annotation in seen.annotations)


def test_a_run_that_cannot_learn_fails_with_why(use: Any, dataset: Dataset, photo: Path) -> None:
    image = use(lambda c: c.images.upload(dataset.id, photo))
    whole = {"name": "red", "type": "bbox", "bbox": {"x": 0, "y": 0, "w": 96, "h": 64}}
    use(lambda c: c.annotations.save(image.id, [whole]))
    export = use(lambda c: c.exports.create(dataset.id, name="v1"))
    use(lambda c: c.exports.wait(export.id, timeout=60.0))
    run = use(lambda c: c.training.create(dataset.name, "v1"))
    error = raised(use, lambda c: c.training.wait(run.id, timeout=100.0))

    assert (type(error), error.error_code, error.run_id) == (JobFailedError, "one_class", run.id)


def test_a_batch_annotates_what_it_finds(use: Any, dataset: Dataset, photo: Path) -> None:
    image = use(lambda c: c.images.upload(dataset.id, photo))
    job = use(lambda c: c.auto_annotation.batch(dataset.id, name="box", timeout=100.0))
    found = use(lambda c: c.annotations.list(image.id))

    assert (job.status, job.annotated) == ("completed", 1)
    assert found[0].name == "box"
    assert found[0].polygon


def test_a_dataset_is_imported_into_another(use: Any, client: Client, learnable: Dataset) -> None:
    into = client.datasets.create(f"into {uuid4()}")
    first = use(lambda c: c.datasets.import_from(into.id, learnable.id, timeout=100.0))
    again = use(lambda c: c.datasets.import_from(into.id, learnable.id, timeout=100.0))
    copies, originals = _all_images(client, into.id), _all_images(client, learnable.id)

    assert (first.status, first.imported, first.skipped) == ("completed", 6, 0)
    assert (again.status, again.imported, again.skipped) == ("completed", 0, 6)
    assert [(i.name, i.sha256) for i in copies] == [(i.name, i.sha256) for i in originals]
    assert client.images.download(copies[0].id) == client.images.download(originals[0].id)
    assert [[a.name for a in client.annotations.list(image.id)] for image in copies] == [["red", "blue"]] * 6


def test_an_export_is_the_file_that_was_promised(use: Any, learnable: Dataset) -> None:
    [export] = use(lambda c: c.exports.list(dataset_id=learnable.id, name="first"))
    coco = json.loads(use(lambda c: c.exports.download(export.id)))

    assert len(coco["images"]) == 6
    assert {category["name"] for category in coco["categories"]} == {"red", "blue"}


# --- folders ---


def test_an_image_comes_back_byte_for_byte(use: Any, dataset: Dataset, photo: Path) -> None:
    image = use(lambda c: c.images.upload(dataset.id, photo))

    assert use(lambda c: c.images.download(image.id)) == photo.read_bytes()
    assert (image.width, image.height, image.size) == (96, 64, photo.stat().st_size)


UPLOAD = """
import sys, time, pictograph
from failwell import Connections

def stop_at_half(result, done, total):
    if done == 20:
        print("half", flush=True)
        time.sleep(100)  # until somebody ends this process

url, key, dataset, folder = sys.argv[1:]
with pictograph.Client(key, base_url=url, connections=Connections(trust_env=False)) as client:
    pictograph.upload_folder(client, dataset, folder, skip_existing=True, progress=stop_at_half)
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_an_upload_that_was_interrupted_goes_on_with_nothing_twice_and_nothing_missing(
    client: Client, service: Any, dataset: Dataset, tmp_path: Path, how: signal.Signals
) -> None:
    for number in range(60):
        (tmp_path / f"{number:03}.png").write_bytes(png(padding=50_000))
    command = [sys.executable, "-c", UPLOAD, service.url, service.keys.full, dataset.name, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == b"half\n"
        first.send_signal(how)
        assert first.wait(60) != 0
    half = client.datasets.get(dataset.id).image_count
    results = upload_folder(client, dataset.name, tmp_path, skip_existing=True)
    stored = _all_images(client, dataset.id)

    assert 20 <= half < 60
    assert {result.status for result in results} == {"uploaded", "skipped"}
    assert sorted(image.name for image in stored) == sorted(path.name for path in tmp_path.iterdir())
    assert {image.id for image in stored} == {result.image_id for result in results}


def _all_images(client: Client, dataset_id: str) -> list[pictograph.Image]:
    found: list[pictograph.Image] = []
    cursor = None
    while True:
        page = client.images.list(dataset_id, limit=25, cursor=cursor)
        found += page
        cursor = page.next_cursor
        if cursor is None:
            return found


def test_a_folder_with_a_file_that_is_no_image_loses_no_other(
    use: Any, client: Client, dataset: Dataset, tmp_path: Path
) -> None:
    for name in ("a.png", "in/b.png", "in/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(png())
    (tmp_path / "in/bad.png").write_bytes(b"no image")

    def upload(c: Any) -> Any:
        run = upload_folder if isinstance(c, Client) else pictograph.upload_folder_async
        return run(c, dataset.id, tmp_path, skip_existing=True)

    for statuses in (
        ["uploaded", "uploaded", "failed", "uploaded"],
        ["skipped", "skipped", "failed", "skipped"],
    ):
        error = raised(use, upload)
        assert type(error) is FolderUploadError
        assert [result.status for result in error.results] == statuses
        assert [type(inner) for inner in error.exceptions] == [ValidationError]
    (tmp_path / "in/bad.png").unlink()
    assert [type(result) for result in use(upload)] == [FileResult] * 3


def test_a_folder_is_uploaded_within_a_narrow_limit(
    use: Any, service: Any, dataset: Dataset, tmp_path: Path
) -> None:
    for number in range(40):
        (tmp_path / f"{number}.png").write_bytes(png())

    def upload(c: Any) -> Any:
        run = upload_folder if isinstance(c, Client) else pictograph.upload_folder_async
        return run(c, dataset.id, tmp_path)

    assert len(use(upload, key=service.new_key(limit=Limit(10, 1.0)))) == 40


def test_the_command_line_does_it_all(service: Any, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png())
    name = f"dataset {uuid4()}"
    environ = {**os.environ, "PICTOGRAPH_API_KEY": service.keys.full, "PICTOGRAPH_BASE_URL": service.url,
               "NO_PROXY": "127.0.0.1"}  # fmt: skip

    def run(*arguments: str) -> tuple[int, Any]:
        told = subprocess.run(
            [sys.executable, "-m", "pictograph.cli", *arguments, "--json"],
            capture_output=True, text=True, env=environ, timeout=100, check=False,
        )  # fmt: skip
        return told.returncode, json.loads(told.stdout)

    assert run("upload", name, str(tmp_path))[1]["error"]["type"] == "NotFoundError"
    with Client(service.keys.full, base_url=service.url, connections=DIRECT) as client:
        client.datasets.create(name)
    status, told = run("upload", name, str(tmp_path), "--skip-existing")
    assert (status, told["uploaded"]) == (0, 1)
    assert name in [dataset["name"] for dataset in run("datasets", "list")[1]]
    status, told = run("train", name)
    assert (status, told["error"]["type"], told["error"]["status_code"]) == (1, "ValidationError", 422)


@pytest.fixture
def program(service: Any) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command line in a process of its own, with standard output as told."""
    environ = {**os.environ, "PICTOGRAPH_API_KEY": service.keys.full, "PICTOGRAPH_BASE_URL": service.url,
               "NO_PROXY": "127.0.0.1"}  # fmt: skip

    def run(*arguments: str, stdout: Any = subprocess.PIPE, **also: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pictograph.cli", *arguments], stdout=stdout, stderr=subprocess.PIPE,
            text=True, env=environ | also, timeout=100, check=False,
        )  # fmt: skip

    return run


def test_nobody_at_the_other_end_of_the_pipe_is_no_failure(program: Any, dataset: Dataset) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    told = program("datasets", "list", stdout=writing)
    os.close(writing)

    assert (told.returncode, told.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_result_that_cannot_be_written_is_status_1(program: Any, dataset: Dataset) -> None:
    with open("/dev/full", "w") as full:
        told = program("datasets", "list", stdout=full)

    assert told.returncode == 1
    assert told.stderr.startswith("pictograph: the result cannot be written: ")


def test_a_key_that_opens_nothing_is_told_in_two_lines(program: Any, service: Any) -> None:
    ran = program("datasets", "list", PICTOGRAPH_API_KEY=service.keys.revoked)

    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr.splitlines()[1:] == ["The API key is read from PICTOGRAPH_API_KEY."]
    assert service.keys.revoked not in ran.stderr
