"""Batches of files: what may be given, what is sent, what is kept when some of it fails."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import threading
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from scopix_answers import BASE, KEY, START, file, found, page, refusal
from scopix_store import Store
from sdk_clients import Play

import failwell.progress
import scopix.files
import scopix.sources
from failwell.testing import FakeClock, ScriptedEngine, answer, broken, streamed
from scopix import (
    AuthenticationError,
    BatchUploadResults,
    DescriptionError,
    DocumentProcessingError,
    File,
    PaymentRequiredError,
    QuotaExceededError,
    RateLimitError,
    ResourceNotFoundError,
    ScopixConnectionError,
    ScopixError,
    ScopixPermissionError,
    ScopixSync,
    ScopixTypeError,
    ScopixValueError,
    ServerError,
    UploadError,
    UploadResult,
    ValidationError,
    WaitTimeoutError,
)

NAMES = [f"{letter}.png" for letter in "abcdef"]


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with six files, which is where the test stands."""
    for name in NAMES:
        (tmp_path / name).write_bytes(f"\x89PNG\r\n\x1a\n{name}".encode("latin-1"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def digest_error(name: str) -> Any:
    return answer(422, refusal("UPLOAD_ERROR", "Not what was announced.", filename=name, stage="upload"))


# --- what may be given ---


def given(what: Any, **settings: Any) -> Callable[[Any], Any]:
    return lambda client: client.files.upload_batch(what, **settings)


def test_one_file_is_one_call_that_announces_its_digest(play: Play, photos: Path) -> None:
    went = play(given("a.png"), Store().script())

    assert isinstance(went.result, BatchUploadResults)
    assert [(result.name, result.status) for result in went.result] == [("a.png", "uploaded")]
    assert went.paths == ["POST /v1/files"]
    headers = went.requests[0].headers
    assert headers["content-digest"].startswith("sha-256=:")
    assert headers["content-type"] == "image/png"
    assert headers["idempotency-key"]


JPEG = "upload-" + hashlib.sha256(b"\xff\xd8\xffjpeg").hexdigest()[:16] + ".jpg"


def several(photos: Path) -> dict[str, tuple[Any, list[str]]]:
    opened = io.BytesIO(b"xxopened")
    opened.seek(2)
    return {
        "a path": (photos / "a.png", ["a.png"]),
        "a glob": ("*.png", NAMES),
        "a glob with folders": (f"{photos}/**/[ab].png", ["a.png", "b.png"]),
        "paths": (["b.png", photos / "a.png"], ["b.png", "a.png"]),
        "bytes": (b"\xff\xd8\xffjpeg", [JPEG]),
        "a bytearray": ([bytearray(b"plain"), memoryview(b"view")], []),
        "a pair": (("c.txt", b"text"), ["c.txt"]),
        "pairs": ([("c.txt", b"text"), ("d.txt", io.BytesIO(b"more"))], ["c.txt", "d.txt"]),
        "a file object": (opened, []),
        "an iterator": (iter(["a.png", ("c.txt", b"text")]), ["a.png", "c.txt"]),
        "two paths in a tuple": (("a.png", "b.png"), ["a.png", "b.png"]),
        "nothing": ([], []),
    }


@pytest.mark.parametrize("kind", several(Path()))
def test_files_are_given_in_many_ways(play: Play, photos: Path, kind: str) -> None:
    what, names = several(photos)[kind]
    store = Store()
    went = play(given(what), store.script())

    assert went.error is None
    assert went.result.ok
    if names:
        assert [result.name for result in went.result] == names
    assert sorted(store.files) == sorted(result.name for result in went.result)
    assert {result.status for result in went.result} <= {"uploaded"}


def test_an_opened_file_is_sent_from_where_it_stands_under_its_name(play: Play, photos: Path) -> None:
    store = Store()
    with open("a.png", "rb") as opened:
        opened.seek(8)
        went = play(given(opened), store.script())

    assert went.error is None
    assert store.files == {"a.png": b"a.png"}


def test_the_content_arrives(play: Play, photos: Path) -> None:
    store = Store()
    play(given("*.png"), store.script())

    assert store.files == {name: (photos / name).read_bytes() for name in NAMES}


REFUSED: dict[str, tuple[Any, type[ScopixError]]] = {
    "no such file": ("nothing.png", ScopixValueError),
    "a glob that matches nothing": ("*.gif", ScopixValueError),
    "a folder": (".", ScopixValueError),
    "a path with a null": ("a\0b", ScopixValueError),
    "a number": (7, ScopixTypeError),
    "nothing": (None, ScopixTypeError),
    "a dict": ({"a.png": 1}, ScopixTypeError),
    "a list with a number": (["a.png", 7], ScopixTypeError),
    "a list in a list": ([["a.png"]], ScopixTypeError),
    "a path of bytes": (type("P", (), {"__fspath__": lambda self: b"a.png"})(), ScopixTypeError),
    "a path that is none": (type("P", (), {"__fspath__": lambda self: 7})(), ScopixTypeError),
    "a text file": (io.StringIO("text"), ScopixTypeError),
    "a pipe": (type("P", (), {"read": lambda self, n=-1: b"", "name": "x"})(), ScopixTypeError),
    "the same open file twice": ([twice := io.BytesIO(b"x"), twice], ScopixValueError),
    "a name that is not UTF-8": (("\udcff.png", b"x"), ScopixValueError),
    "a class": (io.BytesIO, ScopixTypeError),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_uploaded_is_refused_before_anything_is_sent(
    play: Play, photos: Path, kind: str
) -> None:
    what, cls = REFUSED[kind]
    went = play(given(what), Store().script())

    assert type(went.error) is cls
    assert isinstance(went.error, ValidationError)
    assert went.requests == []


@pytest.mark.parametrize("settings", [{"concurrency": 0}, {"concurrency": 1.5}, {"progress": 3}])
def test_a_setting_of_a_batch_that_cannot_be_used_is_refused(
    play: Play, photos: Path, settings: dict[str, Any]
) -> None:
    went = play(given("a.png", **settings), Store().script())

    assert isinstance(went.error, ValidationError)
    assert went.requests == []


def test_a_file_that_goes_away_before_it_is_read_is_refused(
    play: Play, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(content: Any) -> Any:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(scopix.sources, "_digest_of", gone)
    went = play(given("a.png"), Store().script())

    assert type(went.error) is ScopixValueError
    assert "cannot be read: No such file" in str(went.error)


def test_a_file_that_may_not_be_read_is_refused(
    play: Play, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def forbidden(path: Any, *rest: Any, **more: Any) -> int:
        if path == "a.png":
            raise PermissionError(13, "Permission denied")
        return real(path, *rest, **more)

    monkeypatch.setattr(os, "open", forbidden)
    went = play(given("a.png"), Store().script())

    assert type(went.error) is ScopixValueError
    assert "cannot be read: Permission denied" in str(went.error)


# --- progress ---


def test_progress_is_told_of_each_file_once(play: Play, photos: Path) -> None:
    told: list[Any] = []
    play(given("*.png", concurrency=1, progress=lambda *news: told.append(news)), Store().script())

    assert [result.name for result, _, _ in told] == NAMES
    assert [(done, total) for _, done, total in told] == [(n, 6) for n in range(1, 7)]
    assert all(isinstance(result, UploadResult) for result, _, _ in told)


def test_a_bar_is_shown_if_one_is_asked_for(
    play: Play, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    went = play(given("*.png", progress=True), Store().script())

    assert went.result.ok
    assert "6 of 6 files" in capsys.readouterr().err


def test_a_bar_without_what_draws_it_is_refused_before_anything_is_sent(
    play: Play, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failwell.progress, "find_spec", lambda name: None)
    went = play(given("*.png", progress=True), Store().script())

    assert isinstance(went.error, ValidationError)
    assert "scopix[progress]" in went.error.message
    assert went.requests == []


def test_no_more_are_under_way_than_allowed(photos: Path) -> None:
    under_way, most, lock = 0, 0, threading.Lock()
    three = threading.Barrier(3, timeout=20)

    def service(order: Any) -> Any:
        nonlocal under_way, most
        if "lookup" in order.request.url:
            return answer(200, found(*[None] * 6))
        with lock:
            under_way += 1
            most = max(most, under_way)
        three.wait()  # so many are there at once, and no more
        with lock:
            under_way -= 1
        return answer(201, file())

    clock = FakeClock(START)
    engine = ScriptedEngine(repeat(service), clock)
    with ScopixSync(KEY, base_url=BASE, engine=engine, clock=clock) as client:
        assert client.files.upload_batch("*.png", concurrency=3).ok

    assert most == 3


# --- when some of it fails ---


def test_a_partial_failure_keeps_what_succeeded_in_order(play: Play, photos: Path) -> None:
    store = Store({"b.png": [digest_error("b.png")], "e.png": [answer(404)]})
    went = play(given("*.png"), store.script())
    error, results = went.error, went.error.partial_results

    assert type(error) is UploadError
    assert error.message.startswith("2 of 6 files were not uploaded: b.png: Not what was announced.; e.png: ")
    assert (error.filename, error.stage, error.code) == ("b.png", "upload", "UPLOAD_ERROR")
    assert error.__cause__ is results[1].error
    assert [result.name for result in results] == NAMES
    assert [result.status for result in results] == [
        "uploaded", "failed", "uploaded", "uploaded", "failed", "uploaded",
    ]  # fmt: skip
    assert [type(result.error) for result in results.failed] == [UploadError, ResourceNotFoundError]
    assert [found.name for found in results.files] == ["a.png", "c.png", "d.png", "f.png"]
    assert repr(results) == "<BatchUploadResults 4 uploaded, 2 failed>"
    with pytest.raises(UploadError):
        results.raise_on_failures()


def test_many_failures_are_not_all_told(play: Play, photos: Path) -> None:
    store = Store({name: [answer(404)] for name in NAMES[:5]})
    error = play(given("*.png"), store.script()).error

    assert error.message.endswith("; and 2 more")


def test_the_error_survives_a_pickle_with_its_results(play: Play, photos: Path) -> None:
    store = Store({"b.png": [digest_error("b.png")]})
    error = play(given("*.png"), store.script()).error
    again = pickle.loads(pickle.dumps(error)).partial_results

    assert [result.status for result in again] == [result.status for result in error.partial_results]
    assert type(again[1].error) is UploadError
    assert again.files == error.partial_results.files


def test_uploading_the_results_again_touches_only_what_is_missing(photos: Path) -> None:
    store = Store({"b.png": [digest_error("b.png")], "e.png": [answer(404)]})
    clock = FakeClock(START)
    engine = ScriptedEngine(store.script(), clock)
    with ScopixSync(KEY, base_url=BASE, engine=engine, clock=clock) as client:
        with pytest.raises(UploadError) as caught:
            client.files.upload_batch("*.png")
        store.sent.clear()
        results = client.files.upload_batch(caught.value.partial_results)
        assert client.files.upload_batch(results) == results

    assert sorted(store.sent) == ["b.png", "e.png"]
    assert [(result.name, result.status) for result in results] == [(name, "uploaded") for name in NAMES]


def test_uploading_the_files_again_touches_only_what_is_missing(photos: Path) -> None:
    store = Store({"b.png": [digest_error("b.png")]})
    clock = FakeClock(START)
    engine = ScriptedEngine(store.script(), clock)
    with ScopixSync(KEY, base_url=BASE, engine=engine, clock=clock) as client:
        with pytest.raises(UploadError):
            client.files.upload_batch("*.png")
        store.sent.clear()
        (photos / "f.png").write_bytes(b"changed")
        results = client.files.upload_batch("*.png")

    assert store.sent[0] == "lookup"
    assert sorted(store.sent[1:]) == ["b.png", "f.png"]
    assert [result.status for result in results] == [
        "existing", "uploaded", "existing", "existing", "existing", "uploaded",
    ]  # fmt: skip
    assert len(results.existing) == 4
    assert results.existing[0].description_status == "pending"


def test_what_is_there_already_is_said_to_be(play: Play, photos: Path) -> None:
    store = Store()
    store.files["a.png"] = (photos / "a.png").read_bytes()
    went = play(given("a.png"), store.script())

    assert went.result[0].status == "existing"


def test_results_of_another_process_can_be_looked_at_but_not_sent_again(play: Play, photos: Path) -> None:
    store = Store({"b.png": [digest_error("b.png")]})
    results = pickle.loads(pickle.dumps(play(given("*.png"), store.script()).error.partial_results))
    went = play(given(results), Store().script())

    assert type(went.error) is ScopixValueError
    assert went.requests == []
    assert len(results) == 6


def test_complete_results_of_another_process_need_nothing(play: Play, photos: Path) -> None:
    results = pickle.loads(pickle.dumps(play(given("*.png"), Store().script()).result))
    went = play(given(results), [])

    assert (went.error, went.requests) == (None, [])
    assert went.result is results


STOPPERS = [
    (401, refusal("AUTH_ERROR"), AuthenticationError),
    (402, refusal("PAYMENT_REQUIRED"), PaymentRequiredError),
    (403, refusal("PERMISSION_DENIED"), ScopixPermissionError),
    (429, refusal("QUOTA_EXCEEDED", available=0, limit=2), QuotaExceededError),
]


@pytest.mark.parametrize(("status", "body", "cls"), STOPPERS, ids=lambda v: getattr(v, "__name__", ""))
def test_what_every_other_file_would_meet_too_ends_the_sending(
    play: Play, photos: Path, status: int, body: Any, cls: type[ScopixError]
) -> None:
    store = Store({"c.png": [answer(status, body)]})
    went = play(given("*.png", concurrency=1), store.script())
    results = went.error.partial_results

    assert type(went.error) is cls
    assert store.sent == ["lookup", "a.png", "b.png", "c.png"]
    assert [result.status for result in results] == [*["uploaded"] * 2, "failed", *["not_sent"] * 3]
    assert [result.name for result in results.not_sent] == NAMES[3:]
    assert results.not_sent[0].description_status is None
    assert type(pickle.loads(pickle.dumps(went.error)).partial_results[2].error) is cls


def test_a_quota_is_never_tried_again_and_says_what_is_left(play: Play, photos: Path) -> None:
    store = Store({"a.png": [answer(429, refusal("QUOTA_EXCEEDED", available=5, limit=9))] * 5})
    went = play(given("a.png"), store.script())

    assert (went.error.details["available"], went.error.details["limit"]) == (5, 9)
    assert store.sent == ["a.png"]
    assert went.error.partial_results[0].status == "failed"


ALONE = [
    (answer(503), ServerError),
    (broken("reset"), ScopixConnectionError),
    (answer(422, refusal("VALIDATION_ERROR", "No such kind.")), ValidationError),
    (answer(429, refusal("RATE_LIMIT"), headers={"retry-after": "200"}), RateLimitError),
]


@pytest.mark.parametrize(("answered", "cls"), ALONE, ids=lambda v: getattr(v, "__name__", ""))
def test_the_failure_of_an_only_file_is_raised_as_it_is(
    play: Play, photos: Path, answered: Any, cls: type[ScopixError]
) -> None:
    went = play(given("a.png"), Store({"a.png": [answered] * 9}).script())

    assert type(went.error) is cls
    assert went.error.partial_results[0].error is not went.error
    assert type(went.error.partial_results[0].error) is cls


def test_one_file_is_told_of_a_rate_limit_when_its_retries_are_used_up(play: Play, photos: Path) -> None:
    throttled = answer(429, refusal("RATE_LIMIT"), headers={"retry-after": "1"})
    went = play(given("a.png"), Store({"a.png": [throttled] * 9}).script())

    assert type(went.error) is RateLimitError
    assert (len(went.requests), went.error.retry_after) == (4, 1)


def test_a_batch_waits_for_a_rate_limit_and_goes_on(play: Play, photos: Path) -> None:
    throttled = answer(429, refusal("RATE_LIMIT"), headers={"retry-after": "60"})
    went = play(given("*.png", concurrency=1), Store({"b.png": [throttled] * 9}).script())

    assert went.result.ok
    assert sum(went.sleeps) >= 9 * 60


def test_a_batch_without_retries_is_told_of_a_rate_limit(play: Play, photos: Path) -> None:
    throttled = answer(429, refusal("RATE_LIMIT"), headers={"retry-after": "1"})
    store = Store({"b.png": [throttled]})
    went = play(given("*.png", concurrency=1), store.script(), max_retries=0)

    assert type(went.error) is RateLimitError
    assert [result.status for result in went.error.partial_results][:3] == ["uploaded", "failed", "not_sent"]
    assert went.sleeps == []


def test_a_batch_that_is_to_wait_too_long_says_when_to_come_back(play: Play, photos: Path) -> None:
    throttled = answer(429, refusal("RATE_LIMIT"), headers={"retry-after": "3600"})
    went = play(given("*.png"), Store({"b.png": [throttled], "a.png": [answer(404)]}).script())

    assert type(went.error) is RateLimitError
    assert went.error.retry_after == 3600
    assert len(went.error.partial_results.uploaded) == 4


def test_a_lookup_that_fails_is_raised_and_nothing_is_sent(play: Play, photos: Path) -> None:
    store = Store({"lookup": [answer(401, refusal("AUTH_ERROR"))]})
    went = play(given("*.png"), store.script())

    assert type(went.error) is AuthenticationError
    assert store.sent == ["lookup"]


def test_a_lookup_that_tells_of_another_number_of_files_is_not_believed(play: Play, photos: Path) -> None:
    store = Store({"lookup": [answer(200, found(file("a.png")))]})
    went = play(given("*.png"), store.script())

    assert {result.status for result in went.result} == {"uploaded"}


def test_five_hundred_files_are_looked_up_at_a_time(
    play: Play, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scopix.files, "LOOKUP_FILES", 4)
    store = Store()
    went = play(given("*.png"), store.script())

    assert store.sent[:2] == ["lookup", "lookup"]
    assert went.result.ok


def test_a_file_that_changes_while_it_is_sent_is_an_upload_error(play: Play, photos: Path) -> None:
    went = play(given("a.png"), Store({"a.png": [broken("source")]}).script())

    assert type(went.error) is UploadError
    assert (went.error.filename, went.error.stage) == ("a.png", "upload")
    assert went.error.failure.reason == "source"


# --- large files ---


@pytest.fixture
def small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger than eight bytes goes in three steps."""
    monkeypatch.setattr(scopix.files, "ONE_CALL_BYTES", 8)


@pytest.mark.usefixtures("small_calls")
def test_a_large_file_goes_in_three_steps(play: Play, photos: Path) -> None:
    store = Store()
    went = play(given("a.png"), store.script())

    assert [result.status for result in went.result] == ["uploaded"]
    assert store.sent == ["begin a.png", "content of a.png", "complete a.png"]
    assert store.files["a.png"] == (photos / "a.png").read_bytes()
    keys = [request.headers["idempotency-key"] for request in went.requests]
    assert len(set(keys)) == 3


@pytest.mark.usefixtures("small_calls")
def test_a_large_file_that_is_there_is_not_sent(play: Play, photos: Path) -> None:
    store = Store()
    store.files["a.png"] = (photos / "a.png").read_bytes()
    went = play(given("a.png"), store.script())

    assert store.sent == ["begin a.png"]
    assert went.result[0].status == "existing"


@pytest.mark.usefixtures("small_calls")
@pytest.mark.parametrize(
    ("step", "stage", "session"),
    [("begin a.png", "initiate", None), ("content of a.png", "upload", "a.png"),
     ("complete a.png", "complete", "a.png")],
)  # fmt: skip
def test_the_step_that_failed_is_the_stage(
    play: Play, photos: Path, step: str, stage: str, session: str | None
) -> None:
    body = refusal("UPLOAD_ERROR", "It is not there.", reason="content_missing")
    store = Store({step: [answer(409, body)]})
    error = play(given("a.png"), store.script()).error

    assert type(error) is UploadError
    assert (error.filename, error.stage, error.session_id) == ("a.png", stage, session)
    assert error.details["reason"] == "content_missing"


@pytest.mark.usefixtures("small_calls")
def test_a_batch_says_of_its_first_failure_in_which_session_it_was(play: Play, photos: Path) -> None:
    store = Store({"content of b.png": [answer(409, refusal("UPLOAD_ERROR", "Too late."))]})
    error = play(given(["a.png", "b.png"]), store.script()).error

    assert (error.filename, error.stage, error.session_id) == ("b.png", "upload", "b.png")


@pytest.mark.usefixtures("small_calls")
@pytest.mark.parametrize("body", [["no object"], {"session_id": None, "file": {"id": 7}}, {"session_id": 7}])
def test_a_session_that_is_none_is_a_connection_error(play: Play, photos: Path, body: Any) -> None:
    store = Store({"begin a.png": [answer(200, body)]})

    assert type(play(given("a.png"), store.script()).error) is ScopixConnectionError


# --- descriptions ---


def results(*files: dict[str, Any]) -> BatchUploadResults:
    stored = [File.from_json(each) for each in files]
    return BatchUploadResults([UploadResult(each.name, "uploaded", each) for each in stored])


def test_descriptions_are_waited_for(play: Play) -> None:
    given = results(file("a.png", 1), file("b.png", 2, description_status="completed"))
    described = {"text": "A landscape.", "width": 4, "dominant_colours": [{"colour": "#ff0000"}]}
    went = play(
        lambda client: client.files.wait_for_descriptions(given),
        [
            answer(200, file("a.png", 1)),
            answer(200, file("a.png", 1, description_status="completed", description=described)),
        ],
    )

    assert went.paths == ["GET /v1/files/img_1"] * 2
    assert [result.description_status for result in went.result] == ["completed", "completed"]
    assert went.result[0].description.dominant_colours[0].colour == "#ff0000"
    assert went.result.raise_on_failures() is went.result


def test_what_could_not_be_described_is_surfaced(play: Play) -> None:
    given = results(file("a.png", 1), file("b.png", 2))
    broke = {"description_status": "failed", "description_error": "This is no image."}

    def service(order: Any) -> Any:
        return answer(200, file("a.png", 1, **broke) if order.request.url.endswith("img_1") else file(
            "b.png", 2, description_status="completed"
        ))  # fmt: skip

    went = play(lambda client: client.files.wait_for_descriptions(given), repeat(service))

    assert went.result[0].description_error == "This is no image."
    with pytest.raises(
        DescriptionError, match=r"1 of 2 files could not be described: a\.png: This is no"
    ) as told:
        went.result.raise_on_failures()
    assert told.value.details == {"image_id": "img_1", "status": "failed"}


def test_what_was_not_stored_is_waited_for_by_nobody(play: Play) -> None:
    given = BatchUploadResults([UploadResult("a.png", "failed")])
    went = play(lambda client: client.files.wait_for_descriptions(given), [])

    assert list(went.result) == list(given)
    assert (given[0].id, given[0].description, given[0].description_error) == (None, None, None)


def test_a_wait_for_descriptions_that_is_over_has_what_was_last_seen(play: Play) -> None:
    given = results(file("a.png", 1))
    now = file("a.png", 1, description_status="processing")
    went = play(lambda client: client.files.wait_for_descriptions(given, timeout=5), repeat(answer(200, now)))

    assert type(went.error) is WaitTimeoutError
    assert went.error.last_result[0].description_status == "processing"


def test_a_file_that_is_gone_ends_the_wait_for_descriptions(play: Play) -> None:
    went = play(lambda client: client.files.wait_for_descriptions(results(file("a.png", 1))), [answer(404)])

    assert type(went.error) is ResourceNotFoundError


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.files.wait_for_descriptions(["img_1"]),
        lambda client: client.files.wait_for_descriptions(results(), concurrency=0),
        lambda client: client.files.wait_for_descriptions(results(), timeout=0),
        lambda client: client.files.wait_for_processing("img_1", timeout="soon"),
        lambda client: client.files.get(7),
        lambda client: client.files.list(limit=0),
        lambda client: client.files.read(""),
    ],
)
def test_an_argument_that_cannot_be_used_is_refused(play: Play, call: Any) -> None:
    went = play(call, [])

    assert isinstance(went.error, ValidationError)
    assert went.requests == []


def test_one_file_is_waited_for(play: Play) -> None:
    done = file("t.txt", 1, kind="document", description_status="skipped", processing_status="completed")
    under_way = {**done, "processing_status": "processing"}
    went = play(
        lambda client: client.files.wait_for_processing("doc_1"), [answer(200, under_way), answer(200, done)]
    )

    assert went.result.processing_status == "completed"


def test_an_image_that_could_not_be_described_is_raised(play: Play) -> None:
    broke = file("a.png", 1, description_status="failed", description_error="This is no image.")
    error = play(lambda client: client.files.wait_for_processing("img_1"), [answer(200, broke)]).error

    assert type(error) is DescriptionError
    assert (error.message, error.image_id, error.details["status"]) == (
        "This is no image.",
        "img_1",
        "failed",
    )


def test_a_document_that_could_not_be_processed_is_raised(play: Play) -> None:
    told = {"processing_status": "failed", "processing_error": "No PDF.", "description_status": "skipped"}
    broke = file("a.pdf", 1, id="doc_1", kind="document", **told)
    error = play(lambda client: client.files.wait_for_processing("doc_1"), [answer(200, broke)]).error

    assert type(error) is DocumentProcessingError
    assert (error.message, error.document_id) == ("No PDF.", "doc_1")
    with pytest.raises(DocumentProcessingError, match=r"1 of 1 files could not be processed: a\.pdf: No PDF"):
        results(broke).raise_on_failures()


# --- files ---


def test_files_are_listed_by_pages(play: Play) -> None:
    went = play(
        lambda client: client.files.list(kind="image", name="a.png", sha256="0", limit=2),
        [answer(200, page(file("a.png"), next_cursor="c"))],
    )

    assert (went.result[0].name, went.result.next_cursor) == ("a.png", "c")
    assert went.requests[0].url.endswith("?kind=image&name=a.png&sha256=0&limit=2")


def test_a_document_that_is_processed_cannot_be_deleted(play: Play) -> None:
    body = refusal("DOCUMENT_PROCESSING_ERROR", "Still processed.", document_id="doc_1", status="processing")
    error = play(lambda client: client.files.delete("doc_1"), [answer(409, body)]).error

    assert type(error) is DocumentProcessingError
    assert error.details == {"document_id": "doc_1", "status": "processing"}


def test_a_content_is_compared_with_its_digest(play: Play) -> None:
    good = {"content-digest": "sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:"}
    read = play(lambda client: client.files.read("img_1"), [answer(200, headers=good, content=b"abc")])
    assert read.result == b"abc"
    error = play(lambda client: client.files.read("img_1"), [answer(200, headers=good, content=b"abd")]).error
    assert type(error) is ScopixConnectionError
    assert play(lambda client: client.files.read("img_1"), [answer(200, content=b"x")]).result == b"x"


# --- downloads ---


def content(*pieces: Any, size: int = 6, **headers: str) -> Any:
    told = {"content-type": "image/png", "content-length": str(size), "etag": '"e1"', **headers}
    return streamed(*pieces, headers=told)


DOWNLOADS: list[Any] = [
    pytest.param(lambda c, to, **k: c.files.download("img_1", to, **k), "/v1/files/img_1/content", id="file"),
    pytest.param(
        lambda c, to, **k: c.videos.download("vid_1", to, **k), "/v1/videos/vid_1/content", id="video"
    ),
]


@pytest.mark.parametrize(("download", "path"), DOWNLOADS)
def test_a_content_is_written_to_a_path(play: Play, tmp_path: Path, download: Any, path: str) -> None:
    told: list[Any] = []
    to = tmp_path / "back.png"
    went = play(
        lambda c: download(c, to, progress=lambda *news: told.append(news)), [content(b"abc", b"def")]
    )

    assert went.result == to
    assert to.read_bytes() == b"abcdef"
    assert went.paths == [f"GET {path}"]
    assert told[-1] == (6, 6)


@pytest.mark.parametrize(("download", "path"), DOWNLOADS)
def test_a_download_that_breaks_fetches_only_the_rest(
    play: Play, tmp_path: Path, download: Any, path: str
) -> None:
    to = tmp_path / "back.png"
    rest = streamed(
        b"def",
        status=206,
        headers={
            "content-range": "bytes 3-5/6",
            "content-length": "3",
            "etag": '"e1"',
            "content-type": "x/y",
        },
    )
    went = play(lambda c: download(c, to), [content(b"abc", broken("reset")), rest])

    assert went.result == to
    assert to.read_bytes() == b"abcdef"
    assert went.requests[1].headers["range"] == "bytes=3-"
    assert went.requests[1].headers["if-range"] == '"e1"'


def test_a_download_that_cannot_go_on_is_taken_up_later(play: Play, tmp_path: Path) -> None:
    to = tmp_path / "back.png"
    script = [content(b"abc", broken("reset")), *repeat(broken("refused"), 40)]
    # Whether so many failures open a circuit depends on chance: on how long is waited between them.
    error = play(lambda c: c.files.download("img_1", to), script, breaker=False).error
    assert isinstance(error, ScopixConnectionError)
    assert not to.exists()
    rest = streamed(
        b"def", status=206, headers={"content-range": "bytes 3-5/6", "content-length": "3", "etag": '"e1"'}
    )
    went = play(lambda c: c.files.download("img_1", to, resume=error.details), [rest])

    assert went.error is None
    assert to.read_bytes() == b"abcdef"


@pytest.mark.parametrize(
    ("to", "settings"),
    [
        (7, {}),
        ("", {}),
        ("a\ud800", {}),
        ("a\0b", {}),
        (b"x", {}),
        (type("P", (), {"__fspath__": lambda self: b"x"})(), {}),
        ("x", {"overwrite": 1}),
        ("x", {"progress": 1}),
        ("x", {"resume": "yes"}),
    ],
)
def test_a_download_that_cannot_be_made_is_refused(
    play: Play, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: Any, settings: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    went = play(lambda c: c.files.download("img_1", to, **settings), [])

    assert isinstance(went.error, ValidationError)
    assert went.requests == []


# --- results ---


def test_results_are_a_sequence() -> None:
    both = results(file("a.png", 1), file("b.png", 2))

    assert len(both) == 2
    assert [result.name for result in both[:1]] == ["a.png"]
    assert both == results(file("a.png", 1), file("b.png", 2))
    assert both != results(file("a.png", 1))
    assert hash(both) == hash(results(file("a.png", 1), file("b.png", 2)))
    assert repr(both) == "<BatchUploadResults 2 uploaded>"
    assert repr(BatchUploadResults([])) == "<BatchUploadResults of nothing>"
    assert json.dumps([found.to_json() for found in both.files])


def test_a_source_is_shown_without_its_content() -> None:
    assert repr(scopix.sources.Source("a.png", b"secret", 6)) == "<Source 'a.png', 6 bytes>"
