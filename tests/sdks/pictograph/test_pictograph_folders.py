"""Folders that are uploaded: nothing twice, nothing missing, and no file lost to another's failure."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
import trio
from pictograph_answers import BASE, KEY, START, refusal
from pictograph_store import Store

import pictograph
from failwell.testing import AsyncScriptedEngine, FakeClock, ScriptedEngine, answer, broken
from pictograph import (
    AsyncClient,
    Client,
    Dataset,
    FileResult,
    train_pipeline,
    upload_folder,
    upload_folder_async,
)
from pictograph.exceptions import (
    AuthError,
    ConfigurationError,
    ConflictError,
    FolderUploadError,
    NetworkError,
    NotFoundError,
    PictographError,
    PictographTypeError,
    PictographValueError,
    RateLimitError,
    ServerError,
    ValidationError,
)
from pictograph.folders import OUTAGE_FILES, File, same_file

Upload = Callable[..., list[FileResult]]


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture(params=["upload_folder", "upload_folder_async"])
def upload(request: pytest.FixtureRequest, store: Store) -> Upload:
    """Uploads a folder to the store with the blocking or the awaiting client."""

    def upload(folder: object, dataset: str = "street", **given: Any) -> list[FileResult]:
        settings: dict[str, Any] = {"base_url": BASE, "clock": FakeClock(START)}
        if request.param == "upload_folder":
            with Client(KEY, engine=ScriptedEngine(repeat(store)), **settings) as client:
                return upload_folder(client, dataset, folder, **given)  # type: ignore[arg-type]

        async def on_loop() -> list[FileResult]:
            async with AsyncClient(KEY, engine=AsyncScriptedEngine(repeat(store)), **settings) as client:
                return await upload_folder_async(client, dataset, folder, **given)  # type: ignore[arg-type]

        return asyncio.run(on_loop())

    return upload


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Seven images in two folders, and what is none."""
    root = tmp_path / "photos"
    for path in ("b.jpg", "a.PNG", "in/a.PNG", "in/deep/c.webp", "z.jpeg", "y.gif", "x.bmp"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(f"bytes of {path}".encode())
    for path in ("notes.txt", ".hidden.jpg", ".git/a.jpg"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"no image")
    (root / "folder.jpg").mkdir()
    return root


PATHS = ["a.PNG", "b.jpg", "in/a.PNG", "in/deep/c.webp", "x.bmp", "y.gif", "z.jpeg"]


def test_all_images_are_uploaded_and_told_in_the_order_of_their_paths(
    upload: Upload, folder: Path, store: Store
) -> None:
    results = upload(folder)

    assert [result.path for result in results] == PATHS
    assert {result.status for result in results} == {"uploaded"}
    assert len({result.image_id for result in results}) == 7
    assert store.images.keys() == {
        ("", "a.PNG"), ("", "b.jpg"), ("in", "a.PNG"), ("in/deep", "c.webp"), ("", "x.bmp"), ("", "y.gif"),
        ("", "z.jpeg"),
    }  # fmt: skip


def test_it_goes_into_a_folder_of_the_dataset_or_stays_in_its_own(
    upload: Upload, folder: Path, store: Store
) -> None:
    upload(str(folder), "ds_1", into="2026/05", recursive=False)

    assert {where for where, _ in store.images} == {"2026/05"}
    assert len(store.images) == 5


def test_what_the_service_has_is_skipped(upload: Upload, folder: Path, store: Store) -> None:
    upload(folder)
    (folder / "new.png").write_bytes(b"new")
    results = upload(folder, skip_existing=True)

    assert [r.path for r in results if r.status == "uploaded"] == ["new.png"]
    assert [r.path for r in results if r.status == "skipped"] == PATHS[:4] + PATHS[4:]
    assert all(result.image_id for result in results)
    assert set(store.received.values()) <= {1, 2}  # a.PNG is there in two folders


def test_another_file_of_the_same_name_is_a_conflict_and_never_skipped(
    upload: Upload, folder: Path, store: Store
) -> None:
    upload(folder)
    (folder / "b.jpg").write_bytes(b"BYTES of b.jpg")  # of the same length
    (folder / "x.bmp").write_bytes(b"longer than it was before")
    with pytest.raises(FolderUploadError) as caught:
        upload(folder, skip_existing=True)

    assert [type(error) for error in caught.value.exceptions] == [ConflictError, ConflictError]
    assert [r.path for r in caught.value.results if r.status == "failed"] == ["b.jpg", "x.bmp"]
    assert [r.status for r in caught.value.results].count("skipped") == 5


def test_without_skip_existing_what_is_there_is_a_conflict(upload: Upload, folder: Path) -> None:
    upload(folder)
    with pytest.raises(FolderUploadError) as caught:
        upload(folder)

    assert {type(error) for error in caught.value.exceptions} == {ConflictError}
    assert "7 of 7 files were not uploaded" in str(caught.value)


def test_an_answer_that_was_lost_is_asked_for_again_with_the_same_key(
    upload: Upload, folder: Path, store: Store
) -> None:
    lost: set[str] = set()

    def lose(name: str) -> Any:
        if name in lost:
            return None
        lost.add(name)
        del store.images["", name]  # the key's record answers in the real service
        return broken("reset")

    store.lose = lambda name: lose(name) if name == "b.jpg" else None

    assert {result.status for result in upload(folder)} == {"uploaded"}


def test_a_failure_of_one_file_does_not_lose_the_others(upload: Upload, folder: Path, store: Store) -> None:
    refused = answer(422, refusal("validation_failed", "This is no image."))
    store.fail = lambda name: refused if name == "b.jpg" else answer(503) if name == "y.gif" else None
    with pytest.raises(FolderUploadError) as caught:
        upload(folder, concurrency=2)
    error = caught.value

    assert [r.status for r in error.results] == [
        "uploaded", "failed", "uploaded", "uploaded", "uploaded", "failed", "uploaded",
    ]  # fmt: skip
    assert [type(e) for e in error.exceptions] == [ValidationError, ServerError]
    assert error.exceptions[0].__notes__ == ["while uploading b.jpg"]
    assert "2 of 7 files were not uploaded: b.jpg: This is no image. (422" in str(error)
    assert isinstance(error, PictographError)
    assert error.retryable


def test_what_failed_is_all_that_is_uploaded_the_next_time(
    upload: Upload, folder: Path, store: Store
) -> None:
    store.fail = lambda name: answer(503) if name in ("b.jpg", "c.webp") else None
    with pytest.raises(FolderUploadError):
        upload(folder)
    store.fail = lambda name: None
    results = upload(folder, skip_existing=True)

    assert [r.path for r in results if r.status == "uploaded"] == ["b.jpg", "in/deep/c.webp"]
    assert store.received.total() == 7


def test_a_file_that_somebody_else_uploads_meanwhile_is_skipped(
    upload: Upload, folder: Path, store: Store
) -> None:
    """As the last files of an upload that was interrupted, which were still on their way."""
    upload(folder)
    there, store.images = store.images, {}

    def appear(name: str) -> None:
        store.images |= there

    store.fail = appear
    results = upload(folder, skip_existing=True)

    assert {result.status for result in results} == {"skipped"}
    assert store.received.total() == 7


@pytest.mark.parametrize(
    ("status", "raises"), [(401, AuthError), (403, PictographError), (402, PictographError)]
)
def test_what_every_file_would_fail_with_stops_the_upload(
    upload: Upload, folder: Path, store: Store, status: int, raises: type[Exception]
) -> None:
    store.fail = lambda name: answer(status, refusal("no")) if name != "a.PNG" else None
    with pytest.raises(FolderUploadError) as caught:
        upload(folder, concurrency=1)

    assert isinstance(caught.value.exceptions[0], raises)
    assert [r.status for r in caught.value.results] == ["uploaded", "failed"] + ["not_tried"] * 5
    assert "6 of 7 files were not uploaded" in str(caught.value)


def test_a_limit_that_is_open_again_soon_is_waited_for_as_often_as_it_takes(
    upload: Upload, folder: Path, store: Store
) -> None:
    """More often than a call is tried: sixteen files at once share what the limit allows."""
    refusals = iter(range(12))
    limited = answer(429, refusal("rate_limited"), headers={"retry-after": "2"})
    store.fail = lambda name: limited if next(refusals, None) is not None else None

    assert {result.status for result in upload(folder, concurrency=1)} == {"uploaded"}


def test_a_limit_that_is_not_open_again_soon_is_a_failure(upload: Upload, folder: Path, store: Store) -> None:
    for headers in ({"retry-after": "121"}, {"retry-after": "100"}, {}):
        store.fail = lambda name, headers=headers: answer(429, refusal("rate_limited"), headers=headers)
        with pytest.raises(FolderUploadError) as caught:
            upload(folder, concurrency=1)
        assert {type(error) for error in caught.value.exceptions} == {RateLimitError}


def test_an_outage_stops_the_upload(upload: Upload, tmp_path: Path, store: Store) -> None:
    for number in range(OUTAGE_FILES + 5):
        (tmp_path / f"{number:03}.png").write_bytes(b"x")
    store.fail = lambda name: broken("refused")
    with pytest.raises(FolderUploadError) as caught:
        upload(tmp_path, concurrency=1)

    assert [r.status for r in caught.value.results].count("failed") == OUTAGE_FILES
    assert {type(error) for error in caught.value.exceptions} == {NetworkError}


def test_as_many_are_uploaded_at_once_as_asked_for(store: Store, tmp_path: Path) -> None:
    for number in range(12):
        (tmp_path / f"{number}.png").write_bytes(b"x")
    barrier = threading.Barrier(4)

    def together(name: str) -> None:
        barrier.wait(10)

    store.fail = together
    with Client(KEY, base_url=BASE, engine=ScriptedEngine(repeat(store))) as client:
        upload_folder(client, "street", tmp_path, concurrency=4)

    assert store.at_once == 4


def test_it_runs_under_trio(folder: Path, store: Store) -> None:
    async def on_loop() -> list[FileResult]:
        async with AsyncClient(KEY, base_url=BASE, engine=AsyncScriptedEngine(repeat(store))) as client:
            await upload_folder_async(client, "street", folder)
            return await upload_folder_async(client, "street", folder, skip_existing=True)

    assert {result.status for result in trio.run(on_loop)} == {"skipped"}


@pytest.mark.parametrize("workflow", [upload_folder, train_pipeline])
def test_a_workflow_and_its_twin_take_the_same(workflow: Any) -> None:
    twin = getattr(pictograph, f"{workflow.__name__}_async")

    def given(function: Any) -> list[tuple[str, Any, str]]:
        taken = inspect.signature(function).parameters.values()
        return [(p.name, p.default, str(p.annotation).removeprefix("Async")) for p in taken]

    assert given(workflow) == given(twin)


def test_a_folder_without_images_is_done_at_once(upload: Upload, tmp_path: Path) -> None:
    assert upload(tmp_path) == []


def test_a_dataset_that_is_not_there_is_not_found_and_nothing_is_sent(
    upload: Upload, folder: Path, store: Store
) -> None:
    with pytest.raises(NotFoundError):
        upload(folder, "Street")

    assert store.received.total() == 0


@pytest.mark.parametrize(
    ("given", "raises"),
    [
        ({"folder": "nowhere at all"}, PictographValueError),
        ({"folder": 7}, PictographTypeError),
        ({"folder": b"x"}, PictographTypeError),
        ({"dataset": 7}, PictographTypeError),
        ({"dataset": ""}, PictographValueError),
        ({"concurrency": 0}, PictographValueError),
        ({"concurrency": 101}, PictographValueError),
        ({"concurrency": "4"}, PictographTypeError),
        ({"skip_existing": "yes"}, PictographTypeError),
        ({"recursive": None}, PictographTypeError),
        ({"into": 1}, PictographTypeError),
        ({"progress": 1}, PictographTypeError),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused(
    upload: Upload, folder: Path, given: dict[str, Any], raises: type[Exception]
) -> None:
    with pytest.raises(raises):
        upload(**{"folder": folder, **given})


def test_a_client_of_the_other_kind_is_refused(folder: Path) -> None:
    with pytest.raises(PictographTypeError, match=r"pictograph\.Client"):
        upload_folder(AsyncClient(KEY), "street", folder)  # type: ignore[arg-type]
    with pytest.raises(PictographTypeError, match=r"pictograph\.AsyncClient"):
        asyncio.run(upload_folder_async(Client(KEY), "street", folder))  # type: ignore[arg-type]


def test_a_file_that_is_gone_when_its_turn_comes_is_a_failure_of_its_own(
    upload: Upload, folder: Path, store: Store
) -> None:
    def vanish(name: str) -> None:
        (folder / "z.jpeg").unlink(missing_ok=True)

    store.fail = vanish
    with pytest.raises(FolderUploadError) as caught:
        upload(folder, concurrency=1)

    assert [r.path for r in caught.value.results if r.status == "failed"] == ["z.jpeg"]
    assert isinstance(caught.value.exceptions[0], PictographValueError)


def test_an_interrupted_upload_goes_on_where_it_was(folder: Path, store: Store) -> None:
    """Ctrl-C stops it; nothing is uploaded twice and nothing is missing when it is run again."""

    def interrupt(name: str) -> None:
        if len(store.images) == 3:
            raise KeyboardInterrupt

    store.fail = interrupt
    with Client(KEY, base_url=BASE, engine=ScriptedEngine(repeat(store))) as client:
        with pytest.raises(KeyboardInterrupt):
            upload_folder(client, "street", folder, concurrency=1)
        stopped_at = len(store.images)
        store.fail = lambda name: None
        results = upload_folder(client, "street", folder, skip_existing=True)

    assert stopped_at == 3
    assert [r.status for r in results].count("skipped") == 3
    assert len(store.images) == store.received.total() == 7


def test_a_cancelled_upload_goes_on_where_it_was(folder: Path, store: Store) -> None:
    async def scenario() -> list[FileResult]:
        async with AsyncClient(KEY, base_url=BASE, engine=AsyncScriptedEngine(repeat(store))) as client:
            uploading = asyncio.create_task(upload_folder_async(client, "street", folder, concurrency=1))

            def cancel(name: str) -> None:
                if len(store.images) == 3:
                    uploading.cancel()

            store.fail = cancel
            with pytest.raises(asyncio.CancelledError):
                await uploading
            store.fail = lambda name: None
            return await upload_folder_async(client, "street", folder, skip_existing=True)

    results = asyncio.run(scenario())

    assert {result.status for result in results} == {"uploaded", "skipped"}
    assert len(store.images) == store.received.total() == 7


# --- progress ---


def test_a_function_is_told_of_each_file(upload: Upload, folder: Path) -> None:
    told: list[tuple[FileResult, int, int]] = []
    upload(folder, concurrency=1, progress=lambda *args: told.append(args))

    assert [result.path for result, _, _ in told] == PATHS
    assert [(done, total) for _, done, total in told] == [(n, 7) for n in range(1, 8)]


def test_what_the_function_raises_ends_the_upload(upload: Upload, folder: Path, store: Store) -> None:
    def fall(result: FileResult, done: int, total: int) -> None:
        raise LookupError("a bug of the caller's")

    with pytest.raises(LookupError, match="a bug of the caller's"):
        upload(folder, concurrency=1, progress=fall)

    assert len(store.images) == 1


def test_a_bar_is_shown_on_standard_error(
    upload: Upload, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "large.png").write_bytes(b"x" * (5 * 1024 * 1024))
    upload(folder, progress=True)

    shown = capsys.readouterr()
    assert shown.out == ""
    assert "8 of 8 files" in shown.err


def test_no_bar_is_shown_where_nobody_looks(
    upload: Upload, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    upload(folder)

    assert capsys.readouterr().err == ""


def test_a_bar_that_cannot_be_shown_is_a_configuration_error(
    upload: Upload, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("failwell.progress.find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match="pip install"):
        upload(folder, progress=True)
    upload(folder)


def test_the_dataset_may_be_told_by_its_id(upload: Upload, folder: Path) -> None:
    assert len(upload(folder, Dataset("ds_1", "street").id)) == 7


def test_a_conflict_that_does_not_say_what_is_there_stays_one(
    upload: Upload, folder: Path, store: Store
) -> None:
    for details in (
        {},
        {"size": 1},
        {"size": 1, "image_id": "img_1"},
        {"size": 1, "image_id": 7, "sha256": "0"},
    ):
        body = refusal("image_exists", **details)
        store.fail = lambda name, body=body: answer(409, body)
        with pytest.raises(FolderUploadError) as caught:
            upload(folder, skip_existing=True)
        assert {type(error) for error in caught.value.exceptions} == {ConflictError}


def test_a_file_that_cannot_be_read_is_no_file_that_the_service_has(tmp_path: Path) -> None:
    file = File(0, str(tmp_path / "gone.png"), "gone.png", "", "gone.png", 3)

    assert not same_file(file, 3, "0" * 64)
    assert not same_file(file, 4, "0" * 64)
