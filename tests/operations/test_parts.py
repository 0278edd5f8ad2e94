"""Uploads in parts, with the client and its workers played by hand; and the file they are cut from."""

from __future__ import annotations

import os
from hashlib import sha256
from io import SEEK_CUR, SEEK_END
from pathlib import Path
from typing import Any

import pytest

import failwell
from failwell import Operation, Part, PartUpload, RetryBudget, RetryPolicy, UploadError, UploadSession
from failwell.contract import STANDARD
from failwell.operations.parts import Means, PartCrew, part_steps
from failwell.operations.slices import ChangedError, FileSlice, LocalFile
from failwell.operations.steps import Done, Locally, Together
from failwell.operations.together import Pause, Task

CONTENT = bytes(range(250)) * 4
MEANS = Means(STANDARD, RetryPolicy(), RetryBudget(), lambda: 0.0, True)


def described(source: Any = CONTENT, **settings: Any) -> PartUpload[Any]:
    where = Operation("POST", "/", lambda answer: None)

    def send(known: UploadSession, part: Part) -> Operation[None]:
        return Operation("PUT", f"/{part.number}", lambda answer: None, content=part.content)

    return PartUpload(
        source,
        begin=lambda size: where,
        send=lambda known, part: Operation(
            "PUT", f"/{part.number}", lambda answer: None, content=part.content
        ),
        complete=lambda known, whole: where,
        **settings,
    )


def begun(upload: PartUpload[Any], part_bytes: int = 100) -> tuple[Any, PartCrew]:
    """The steps of an upload that has begun, and the crew that sends its parts."""
    steps = part_steps(upload, MEANS)
    local = next(steps)
    assert isinstance(local, Locally)
    assert isinstance(steps.send(Done(0.0, local.work())), Operation)
    together = steps.send(Done(0.0, UploadSession("up_1", part_bytes)))
    assert isinstance(together, Together)
    assert isinstance(together.crew, PartCrew)
    return steps, together.crew


def may_begin(crew: PartCrew, now: float = 0.0) -> list[Task]:
    """What is begun when as many ask as may."""
    tasks = []
    while crew.ask(now) is True:
        task = crew.draw()
        assert task is not None
        tasks.append(task)
    return tasks


def ended(crew: PartCrew, task: Task, result: Any = None) -> None:
    crew.ended(task, Done(0.0, result))


def test_no_more_parts_are_under_way_than_is_allowed_even_when_the_digest_is_made() -> None:
    _, crew = begun(described(concurrency=2))
    whole, first, second = may_begin(crew)
    ended(crew, whole, "digest")

    assert crew.ask(0.0) == Pause(None)
    ended(crew, first)
    ended(crew, second)
    assert [task.number for task in may_begin(crew)] == [3, 4]


def test_without_a_digest_of_the_whole_all_workers_send() -> None:
    _, crew = begun(described(concurrency=3, whole_digest=False))

    assert [task.number for task in may_begin(crew)] == [1, 2, 3]
    assert crew.whole().sha256 is None


def test_an_upload_whose_time_is_over_says_what_is_safe() -> None:
    steps, crew = begun(described(concurrency=2, whole_digest=False))
    first, _ = may_begin(crew)
    ended(crew, first)
    crew.stop("deadline")

    with pytest.raises(UploadError) as caught:
        steps.send(Done(0.0, crew))
    error = caught.value
    assert (error.stage, error.parts, error.failure.reason) == ("part", (1,), "deadline")
    assert (error.retryable, error.effect.value) == (True, "not_applied")
    assert "The deadline has passed; 1 of 10 parts of the file are safe" in str(error)


def test_a_file_that_changes_while_its_digest_is_made_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    _, crew = begun(described(path))
    (whole, *_) = may_begin(crew)
    os.utime(path, ns=(1, 1))
    local = next(whole.order)
    with pytest.raises(ChangedError) as changed:
        local.work()
    with pytest.raises(UploadError, match="has changed since the upload began") as caught:
        whole.order.send(Done(0.0, error=changed.value))

    assert caught.value.failure.reason == "source"


def test_a_digest_that_nobody_wants_any_more_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    _, crew = begun(described(path))
    (whole, *_) = may_begin(crew)
    local = next(whole.order)
    crew.stop("error")

    assert local.work() == ""


def test_a_part_without_bytes_is_no_part() -> None:
    with pytest.raises(ValueError, match="a part of 0 bytes"):
        UploadSession("up_1", 0)


def test_what_is_uploaded_is_in_no_repr() -> None:
    assert repr(described("/secret/name")) == "<PartUpload of a str>"


@pytest.fixture
def file(tmp_path: Path) -> LocalFile:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    return LocalFile(path)


def test_a_stretch_is_read_like_a_file_of_its_own(file: LocalFile) -> None:
    stretch = file.slice(100, 50)
    try:
        assert stretch.read(20) == CONTENT[100:120]
        assert (stretch.tell(), stretch.seekable(), repr(stretch)) == (20, True, "<FileSlice of 50 bytes>")
        assert stretch.read() == CONTENT[120:150]
        assert stretch.read(5) == b""
        assert stretch.seek(-10, SEEK_END) == 40
        assert stretch.seek(5, SEEK_CUR) == 45
        assert stretch.read(99) == CONTENT[145:150]
        assert stretch.seek(-1) == 0
        assert os.fstat(stretch.fileno()).st_size == len(CONTENT)
    finally:
        stretch.close()
        stretch.close()


def test_a_stretch_that_was_closed_reads_nothing_of_another_file(file: LocalFile) -> None:
    stretch: FileSlice = file.slice(0, 10)
    stretch.close()

    with pytest.raises(ValueError, match="closed"):
        stretch.read()
    with pytest.raises(ValueError, match="closed"):
        stretch.fileno()


def test_the_last_piece_of_a_stretch_is_kept_back_if_the_file_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    stretch = LocalFile(path).slice(0, 100)
    assert len(stretch.read(60)) == 60
    path.write_bytes(CONTENT + b"more")

    with pytest.raises(ChangedError, match="'file' has changed since the upload began"):
        stretch.read(60)
    stretch.close()


def test_a_file_that_became_shorter_has_no_digest(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    file = LocalFile(path)
    path.write_bytes(CONTENT[:10])

    with pytest.raises(ChangedError):
        file.digest(0, len(CONTENT))


def test_a_digest_is_that_of_the_stretch(file: LocalFile) -> None:
    for source in (file, LocalFile(CONTENT)):
        assert source.digest(10, 20) == sha256(CONTENT[10:30]).hexdigest()
        assert source.digest(0, 0) == sha256(b"").hexdigest()


def test_an_argument_that_the_sdk_refuses_is_raised_as_it_is() -> None:
    steps, crew = begun(described(whole_digest=False, concurrency=1))
    (first,) = may_begin(crew)
    refusal = failwell.UsageError("no such place")
    crew.ended(first, Done(0.0, error=refusal))

    with pytest.raises(failwell.UsageError) as caught:
        steps.send(Done(0.0, crew))
    assert caught.value is refusal
