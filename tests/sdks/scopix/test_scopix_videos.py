"""Videos: parts, stages, what is kept when one fails, and how an upload is taken up again."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from scopix_answers import BASE, KEY, START, UPLOAD, VIDEO, page, refusal
from scopix_store import Store
from sdk_clients import Play

from failwell.testing import FakeClock, ScriptedEngine, answer, broken
from scopix import (
    AuthenticationError,
    QuotaExceededError,
    ScopixError,
    ScopixSync,
    ScopixValueError,
    ValidationError,
    Video,
    VideoUpload,
    VideoUploadError,
)

FILM = b"0123456789"  # three parts of at most four bytes


@pytest.fixture
def film(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "film.mp4").write_bytes(FILM)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "film.mp4"


def uploaded(what: Any = "film.mp4", **settings: Any) -> Callable[[Any], Any]:
    return lambda client: client.videos.upload(what, **settings)


def test_a_video_goes_in_parts_each_with_its_digest(play: Play, film: Path) -> None:
    store = Store()
    went = play(uploaded(concurrency=1), store.script())

    assert isinstance(went.result, Video)
    assert (went.result.size, went.result.media_id) == (10, "vid_1")
    assert store.chunks == {1: b"0123", 2: b"4567", 3: b"89"}
    assert store.sent[:2] == ["search", "begin"]
    assert sorted(store.sent[2:5]) == ["chunk 1", "chunk 2", "chunk 3"]
    assert store.sent[5:] == ["complete"]


@pytest.mark.parametrize("what", [FILM, io.BytesIO(FILM)])
def test_bytes_and_open_files_need_a_name(play: Play, film: Path, what: Any) -> None:
    nameless = play(uploaded(what), Store().script())

    assert type(nameless.error) is ScopixValueError
    assert "name" in nameless.error.message
    assert nameless.requests == []


def test_bytes_can_be_uploaded_under_a_name(play: Play) -> None:
    store = Store()
    went = play(uploaded(FILM, name="clip.mp4", chunk_size=4), store.script())

    assert went.error is None
    assert b"".join(content for _, content in sorted(store.chunks.items())) == FILM
    begin = next(r for r in went.requests if r.method == "POST")
    assert b'"filename":"clip.mp4","size":10,"chunk_size":4' in begin.content


def test_progress_is_told_and_the_id_too(play: Play, film: Path) -> None:
    told: list[Any] = []
    started: list[str] = []
    play(
        uploaded(concurrency=1, progress=lambda *news: told.append(news), on_started=started.append),
        Store().script(),
    )

    assert started == ["vid_1"]
    assert told[-1] == (10, 10)
    assert [sent for sent, _ in told] == sorted(sent for sent, _ in told)


def test_a_bar_is_shown_if_one_is_asked_for(
    play: Play, film: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert play(uploaded(progress=True), Store().script()).error is None

    assert "bytes" in capsys.readouterr().err


def test_a_part_that_fails_once_is_sent_again_and_no_other(play: Play, film: Path) -> None:
    store = Store({"chunk 2": [answer(503)]})
    went = play(uploaded(concurrency=1), store.script())

    assert went.error is None
    parts = sorted(sent for sent in store.sent if sent.startswith("chunk"))
    assert parts == ["chunk 1", "chunk 2", "chunk 2", "chunk 3"]


def test_a_part_whose_answer_was_lost_is_asked_for_before_it_is_sent_again(play: Play, film: Path) -> None:
    store = Store()

    def losing(order: Any) -> Any:
        said = store(order)
        if order.request.url.endswith("chunks/2") and store.sent.count("chunk 2") == 1:
            return broken("reset")
        return said

    went = play(uploaded(concurrency=1), repeat(losing))

    assert went.error is None
    assert store.sent.count("chunk 2") == 1
    assert "look" in store.sent


STAGES = [
    ("search", "initiate", None, 0),
    ("begin", "initiate", None, 0),
    ("chunk", "chunk_upload", "vid_1", 0),
    ("complete", "complete", "vid_1", 3),
]


@pytest.mark.parametrize(("step", "stage", "media_id", "chunks"), STAGES)
def test_the_error_says_where_it_failed_and_how_many_parts_are_safe(
    play: Play, film: Path, step: str, stage: str, media_id: str | None, chunks: int
) -> None:
    steps = [step] if step != "chunk" else ["chunk 1", "chunk 2", "chunk 3"]
    store = Store({name: [answer(422, refusal("VIDEO_UPLOAD_ERROR", "No."))] * 9 for name in steps})
    error = play(uploaded(concurrency=1), store.script()).error

    assert type(error) is VideoUploadError
    assert (error.stage, error.media_id, error.partial_chunks) == (stage, media_id, chunks)
    assert {"stage": stage, "partial_chunks": chunks}.items() <= error.details.items()
    assert error.code == "VIDEO_UPLOAD_ERROR"
    again = pickle.loads(pickle.dumps(error))
    assert (again.stage, again.media_id, again.partial_chunks) == (stage, media_id, chunks)


def test_a_service_that_fails_is_a_video_upload_error_with_its_cause(play: Play, film: Path) -> None:
    store = Store({f"chunk {number}": [answer(503)] * 99 for number in (1, 2, 3)})
    wanted = uploaded(concurrency=1, resume=False)
    error = play(wanted, store.script(), max_retries=1, breaker=False).error

    assert type(error) is VideoUploadError
    assert (error.stage, error.partial_chunks) == ("chunk_upload", 0)
    assert type(error.__cause__).__name__ == "ServerError"
    assert "search" not in store.sent


@pytest.mark.parametrize(
    ("answered", "cls"),
    [
        (answer(401, refusal("AUTH_ERROR")), AuthenticationError),
        (answer(429, refusal("QUOTA_EXCEEDED", available=1, limit=2)), QuotaExceededError),
    ],
)
def test_what_has_a_class_of_its_own_keeps_it(
    play: Play, film: Path, answered: Any, cls: type[ScopixError]
) -> None:
    for step in ("search", "begin"):
        assert type(play(uploaded(), Store({step: [answered]}).script()).error) is cls


# --- taken up again ---


class GoneError(BaseException):
    """The client is no more."""


def crashed(store: Store) -> None:
    """A client that is gone after its first part."""

    def service(order: Any) -> Any:
        if order.request.method == "PUT" and store.chunks:
            raise GoneError
        return store(order)

    clock = FakeClock(START)
    engine = ScriptedEngine(repeat(service), clock)
    with (
        ScopixSync(KEY, base_url=BASE, engine=engine, clock=clock) as client,
        pytest.raises(GoneError),
    ):
        client.videos.upload("film.mp4", concurrency=1)
    assert len(store.chunks) == 1
    store.sent.clear()
    store.known = True


def test_after_a_crash_only_the_missing_parts_are_sent(play: Play, film: Path) -> None:
    store = Store()
    crashed(store)
    missing = [f"chunk {number}" for number in (1, 2, 3) if number not in store.chunks]
    went = play(uploaded(concurrency=1), store.script())

    assert (store.sent[:2], store.sent[-1]) == (["search", "look"], "complete")
    assert sorted(store.sent[2:-1]) == missing
    assert went.result.size == 10


def test_an_upload_is_taken_up_by_its_id(play: Play, film: Path) -> None:
    store = Store()
    crashed(store)
    play(uploaded(media_id="vid_1", concurrency=1), store.script())

    assert "search" not in store.sent
    assert sum(sent.startswith("chunk") for sent in store.sent) == 2


def test_a_part_that_is_another_now_is_sent_anew(play: Play, film: Path) -> None:
    store = Store()
    crashed(store)
    film.write_bytes(b"abcdefghij")
    went = play(uploaded(concurrency=1), store.script())

    assert store.chunks == {1: b"abcd", 2: b"efgh", 3: b"ij"}
    assert went.error is None


def test_an_upload_of_another_size_is_not_taken_up(play: Play, film: Path) -> None:
    def service(order: Any) -> Any:
        if order.request.method == "GET":
            return answer(200, page({**UPLOAD, "size": 11}))
        return answer(401)

    went = play(uploaded(), repeat(service))

    assert went.paths == ["GET /v1/videos", "POST /v1/videos"]


def test_an_upload_that_is_complete_is_the_video(play: Play, film: Path) -> None:
    store = Store()
    first = play(uploaded(), store.script()).result
    store.sent.clear()
    again = play(uploaded(media_id="vid_1"), store.script())

    assert store.sent == ["look", "get"]
    assert again.result == first


def test_an_upload_that_is_complete_and_another_video_is_refused(play: Play, film: Path) -> None:
    store = Store()
    play(uploaded(), store.script())
    film.write_bytes(b"abcdefghij")
    went = play(uploaded(media_id="vid_1"), store.script())

    assert type(went.error) is ScopixValueError
    assert "another than film.mp4" in went.error.message


def test_an_end_whose_answer_was_lost_is_looked_up(play: Play, film: Path) -> None:
    store = Store()

    def losing(order: Any) -> Any:
        said = store(order)
        return broken("reset") if order.request.url.endswith("complete") else said

    went = play(uploaded(), repeat(losing), max_retries=0)

    assert went.result.sha256 == store.finished["sha256"]  # type: ignore[index]
    assert store.sent[-2:] == ["look", "get"]


# --- what is refused, and the rest ---


@pytest.mark.parametrize(
    ("what", "settings"),
    [
        ("nothing.mp4", {}),
        ("*.mp4", {"concurrency": 0}),
        ("film.mp4", {"concurrency": 65}),
        ("film.mp4", {"chunk_size": 0}),
        ("film.mp4", {"name": ""}),
        ("film.mp4", {"media_id": ".."}),
        ("film.mp4", {"resume": "yes"}),
        ("film.mp4", {"progress": 3}),
        ("film.mp4", {"on_started": 3}),
        (["film.mp4", "film.mp4"], {}),
        ([], {}),
        (7, {}),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_is_sent(
    play: Play, film: Path, what: Any, settings: dict[str, Any]
) -> None:
    went = play(uploaded(what, **settings), Store().script())

    assert isinstance(went.error, ValidationError)
    assert went.requests == []


def test_videos_are_read_listed_and_deleted(play: Play) -> None:
    assert play(lambda c: c.videos.get("vid_1"), [answer(200, VIDEO)]).result == Video.from_json(VIDEO)
    listed = play(
        lambda c: c.videos.list(state="completed", name="film.mp4", limit=1), [answer(200, page(VIDEO))]
    )
    assert listed.result[0].media_id == "vid_1"
    assert listed.requests[0].url.endswith("?state=completed&name=film.mp4&limit=1")
    record = play(lambda c: c.videos.chunks("vid_1"), [answer(200, UPLOAD)])
    assert record.result == VideoUpload.from_json(UPLOAD)
    gone = play(lambda c: c.videos.delete("vid_1"), [answer(200, {"deleted": True})])
    assert gone.paths == ["DELETE /v1/videos/vid_1"]
