"""Files in parts over real sockets: in threads, under asyncio and under trio."""

from __future__ import annotations

import itertools
import os
import random
import threading
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from answering_server import PATIENCE, AnsweringServer, Asked
from client_drivers import Driver
from part_service import DROPPED, FORGOTTEN, LOST, PART, PartService, upload

import failwell
from failwell import Batch, Contract, Operation, RetryPolicy, Rule, UploadError
from failwell.testing import AsyncScriptedEngine, FakeClock, ScriptedEngine, answer, broken

CONTENT = random.Random("parts").randbytes(9 * PART + 321)
PARTS = range(1, 11)
PROMPT = RetryPolicy(max_attempts=3, base=0.001)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "video.bin"
    path.write_bytes(CONTENT)
    return path


def sent(
    driver: Driver, service: Any, source: Any, *, client: dict[str, Any] | None = None, **settings: Any
) -> Any:
    """What an upload brings, or its exception."""
    with AnsweringServer(service) as server:
        return driver.perform(server.url, lambda: upload(source, **settings), retry=PROMPT, **(client or {}))


def parts_that_came(service: PartService) -> dict[int, int]:
    return {n: service.came[f"part {n}"] for n in PARTS if service.came[f"part {n}"]}


def once(numbers: Any = PARTS) -> dict[int, int]:
    return dict.fromkeys(numbers, 1)


def test_a_file_arrives_as_it_is_each_part_once(driver: Driver, file: Path) -> None:
    service = PartService()

    assert sent(driver, service, file, concurrency=3) == {"id": "up_1", "size": len(CONTENT)}
    assert service.done == CONTENT
    assert parts_that_came(service) == once()
    assert (service.came["begin"], service.came["look"], service.came["complete"]) == (1, 0, 1)


def test_parts_are_under_way_at_once(driver: Driver, file: Path) -> None:
    service = PartService()
    together = threading.Barrier(4, timeout=PATIENCE)

    def wait(asked: Asked) -> Any:
        if asked.target.rpartition("/")[2] in "1234":
            together.wait()
        return service(asked)

    with AnsweringServer(wait) as server:
        driver.perform(server.url, lambda: upload(file, concurrency=4))

    assert service.done == CONTENT
    assert server.most == 4


@pytest.mark.parametrize("kind", ["path as text", "opened", "bytes"])
def test_a_file_may_be_given_in_other_ways(driver: Driver, file: Path, kind: str) -> None:
    service = PartService()
    with file.open("rb") as opened:
        opened.seek(5)
        sources: dict[str, Any] = {"path as text": str(file), "opened": opened, "bytes": CONTENT}
        sent(driver, service, sources[kind])
        assert opened.tell() == 5

    assert service.done == CONTENT


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1])
def test_a_file_of_any_size_is_sent(driver: Driver, size: int) -> None:
    service = PartService()
    sent(driver, service, CONTENT[:size])

    assert service.done == CONTENT[:size]
    assert len(service.parts) == max(1, -(-size // PART))


def test_a_part_that_is_refused_for_now_is_sent_again(driver: Driver, file: Path) -> None:
    service = PartService({"part 3": [503, 503], "part 7": [DROPPED]})
    sent(driver, service, file)

    assert service.done == CONTENT
    assert parts_that_came(service) == {**once(), 3: 3, 7: 2}
    for place in ("part 3", "part 7"):
        assert len(set(service.keys[place])) == 1, "one key for all its tries"


def test_a_part_whose_answer_was_lost_is_asked_about_and_not_sent_again(driver: Driver, file: Path) -> None:
    service = PartService({"part 2": [LOST], "part 10": [LOST]})
    sent(driver, service, file)

    assert service.done == CONTENT
    assert parts_that_came(service) == once()
    assert service.came["look"] == 2


def test_without_a_way_to_ask_it_is_sent_again(driver: Driver, file: Path) -> None:
    service = PartService({"part 2": [LOST]})
    sent(driver, service, file, look=None)

    assert service.done == CONTENT
    assert parts_that_came(service) == {**once(), 2: 2}


def test_a_service_that_cannot_be_asked_gets_the_part_again(driver: Driver, file: Path) -> None:
    service = PartService({"part 2": [LOST], "look": [404]})
    sent(driver, service, file)

    assert (service.done, parts_that_came(service)) == (CONTENT, {**once(), 2: 2})


def test_a_part_that_fails_for_good_ends_it_and_the_error_says_what_is_safe(
    driver: Driver, file: Path
) -> None:
    service = PartService({"part 4": [422]})
    error = sent(driver, service, file, concurrency=1, whole_digest=False)

    assert type(error) is UploadError
    assert (error.stage, error.upload_id, error.parts) == ("chunk_upload", "up_1", (1, 2, 3))
    assert (error.bytes_safe, error.status, error.effect.value) == (3 * PART, 422, "not_applied")
    told = error.failure.details
    assert (told["part"], told["parts_total"], told["size"], told["part_bytes"], told["media_id"]) == (
        4, 10, len(CONTENT), PART, "vid_1"
    )  # fmt: skip
    assert "part 4: 422; 3 of 10 parts of the video are safe: resume upload up_1" in str(error)
    assert isinstance(error.__cause__, failwell.InvalidRequestError)
    assert parts_that_came(service) == once(range(1, 5))


def test_it_is_resumed_by_its_id_and_only_what_is_missing_is_sent(driver: Driver, file: Path) -> None:
    service = PartService({"part 4": [422]})
    error = sent(driver, service, file, concurrency=1, whole_digest=False)
    service.came.clear()
    result = sent(driver, service, file, upload_id=error.upload_id)

    assert (result["id"], service.done) == ("up_1", CONTENT)
    assert parts_that_came(service) == once(range(4, 11))
    assert (service.came["begin"], service.came["look"]) == (0, 1)


def test_a_part_of_another_content_is_not_trusted(driver: Driver, file: Path) -> None:
    service = PartService()
    service.size = len(CONTENT)
    service.parts = {n: CONTENT[(n - 1) * PART : n * PART] for n in PARTS} | {6: b"x" * PART}
    sent(driver, service, file, upload_id="up_1")

    assert (service.done, parts_that_came(service)) == (CONTENT, once([6]))


def test_a_service_that_states_no_digests_is_believed(driver: Driver, file: Path) -> None:
    service = PartService()
    service.size, service.parts = len(CONTENT), {1: CONTENT[:PART]}
    bare = failwell.UploadSession("up_1", PART, {1: None})
    look = Operation("GET", "/uploads/up_1", lambda answer: bare)
    sent(driver, service, file, upload_id="up_1", look=lambda known: look)

    assert (service.done, parts_that_came(service)) == (CONTENT, once(range(2, 11)))


def test_an_upload_that_is_complete_already_is_not_sent(driver: Driver, file: Path) -> None:
    service = PartService()
    sent(driver, service, file)
    service.came.clear()

    assert sent(driver, service, file, upload_id="up_1") == {"id": "up_1", "size": len(CONTENT)}
    assert service.came == {"look": 1}


def test_an_upload_of_another_size_is_refused(driver: Driver, file: Path) -> None:
    service = PartService()
    service.size = 77
    error = sent(driver, service, file, upload_id="up_1")

    assert type(error) is failwell.UsageError
    assert "up_1 is of 77 bytes, and 'video.bin' has 9321" in str(error)


def test_parts_that_a_service_forgot_are_sent_once_more(driver: Driver, file: Path) -> None:
    service = PartService({"part 5": [FORGOTTEN], "part 8": [FORGOTTEN]})
    sent(driver, service, file)

    assert (service.done, parts_that_came(service)) == (CONTENT, {**once(), 5: 2, 8: 2})
    assert service.came["complete"] == 2


class HalfSentError(UploadError):
    """What an SDK may have for a service that misses parts."""


def test_parts_are_sent_once_more_whatever_class_says_that_they_are_missing(
    driver: Driver, file: Path
) -> None:
    table = Contract("halves", rules=[Rule(HalfSentError, status=(409, 422))])
    service = PartService({"part 5": [FORGOTTEN]})
    sent(driver, service, file, client={"contract": table})

    assert (service.done, parts_that_came(service)) == (CONTENT, {**once(), 5: 2})


def test_a_service_that_forgets_for_ever_is_not_believed_for_ever(driver: Driver, file: Path) -> None:
    service = PartService({"part 5": [FORGOTTEN] * 9})
    error = sent(driver, service, file)

    assert (type(error), error.stage, error.status) == (UploadError, "complete", 409)
    assert service.came["part 5"] == 2


def test_an_end_whose_answer_was_lost_is_found_out(driver: Driver, file: Path) -> None:
    service = PartService({"complete": [LOST] * 3})

    assert sent(driver, service, file) == {"id": "up_1", "size": len(CONTENT)}
    assert len(set(service.keys["complete"])) == 1


def test_an_end_that_fails_says_that_all_parts_are_safe(driver: Driver, file: Path) -> None:
    service = PartService({"complete": [500, 500, 500], "look": [500] * 3})
    error = sent(driver, service, file)

    assert (type(error), error.stage, error.parts) == (UploadError, "complete", tuple(PARTS))
    assert (error.bytes_safe, error.effect.value) == (len(CONTENT), "unknown")


def test_a_beginning_that_fails_has_no_parts(driver: Driver, file: Path) -> None:
    error = sent(driver, PartService({"begin": [422]}), file)

    assert (type(error), error.stage, error.upload_id, error.parts) == (UploadError, "initiate", None, ())
    assert str(error) == "begin: 422 (422)"


@pytest.mark.parametrize("status", [401, 402, 403, 429])
def test_what_says_nothing_of_the_upload_is_raised_as_it_is(driver: Driver, file: Path, status: int) -> None:
    refused = (status, {"detail": "no"}, {"retry-after": "999"})
    error = sent(driver, PartService({"part 3": [refused]}), file, concurrency=1, whole_digest=False)

    assert not isinstance(error, UploadError)
    assert (error.status, error.failure.details["stage"]) == (status, "chunk_upload")
    assert error.failure.details["parts"] == [1, 2]


class VideoError(failwell.CallError):
    """The SDK's."""


class VideoUploadError(VideoError, UploadError):
    """A video was not uploaded whole."""


@pytest.mark.parametrize("named", ["by the upload", "by the contract"])
def test_the_class_is_the_sdk_s(driver: Driver, file: Path, named: str) -> None:
    contract = Contract("videos", base=VideoError, broken={UploadError: VideoUploadError})
    by = {"raises": VideoUploadError} if named == "by the upload" else {}
    client = {"contract": contract} if named == "by the contract" else {}
    error = sent(driver, PartService({"begin": [422]}), file, client=client, **by)

    assert type(error) is VideoUploadError


def test_a_file_that_changes_meanwhile_ends_it(driver: Driver, file: Path) -> None:
    service = PartService()

    def write(asked: Asked) -> Any:
        if asked.target.endswith("/parts/2"):
            os.utime(file, ns=(1, 1))
        return service(asked)

    with AnsweringServer(write) as server:
        error = driver.perform(server.url, lambda: upload(file, concurrency=1, whole_digest=False))

    assert (type(error), error.failure.reason) == (UploadError, "source")
    assert "'video.bin' has changed since the upload began" in str(error)
    assert (error.parts, service.done) == ((1, 2), None)


def test_a_file_that_goes_away_ends_it(driver: Driver, file: Path) -> None:
    service = PartService({"part 2": [503]})

    def remove(asked: Asked) -> Any:
        if asked.target.endswith("/parts/2"):
            file.unlink(missing_ok=True)
        return service(asked)

    with AnsweringServer(remove) as server:
        error = driver.perform(
            server.url, lambda: upload(file, concurrency=1, whole_digest=False), retry=PROMPT
        )

    assert (type(error), error.failure.reason, error.parts) == (UploadError, "source", (1,))
    assert isinstance(error.__cause__, FileNotFoundError)


@pytest.mark.parametrize(
    "source",
    ["/nowhere", Path(__file__).parent, iter([b"a"]), 7, "a\0b"],
    ids=["missing", "a folder", "an iterator", "a number", "no path"],
)
def test_what_cannot_be_read_in_any_order_is_refused(driver: Driver, source: Any) -> None:
    error = sent(driver, PartService(), source)

    assert isinstance(error, failwell.UsageError)
    assert str(error).startswith("source")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"concurrency": 0}, "concurrency"),
        ({"first": -1}, "first"),
        ({"deadline": -1}, "deadline"),
        ({"progress": 1}, "progress"),
        ({"begun": 1}, "begun"),
        ({"upload_id": ""}, "upload_id"),
        ({"upload_id": "up_1", "look": None}, "look"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_used_are_refused(
    driver: Driver, settings: dict[str, Any], said: str
) -> None:
    service = PartService()
    error = sent(driver, service, b"content", **settings)

    assert isinstance(error, failwell.UsageError)
    assert said in str(error)
    assert not service.came


def test_bytes_are_told_of_while_they_are_sent(driver: Driver, file: Path) -> None:
    told: list[tuple[int, int]] = []
    service = PartService({"part 1": [503]})
    service.parts[2] = CONTENT[PART : 2 * PART]
    sent(driver, service, file, progress=lambda sent, size: told.append((sent, size)))

    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert {size for _, size in told} == {len(CONTENT)}
    assert max(sent for sent, _ in told) == len(CONTENT)


def test_what_progress_raises_ends_it(driver: Driver, file: Path) -> None:
    def stop(sent: int, size: int) -> None:
        raise ZeroDivisionError

    assert type(sent(driver, PartService(), file, progress=stop)) is ZeroDivisionError


def test_it_is_known_what_to_resume_before_a_part_is_sent(driver: Driver, file: Path) -> None:
    service = PartService()
    known: list[tuple[str, int]] = []
    sent(driver, service, file, begun=lambda s: known.append((s.upload_id, len(service.parts))))

    assert known == [("up_1", 0)]


def test_parts_may_be_counted_from_nought(driver: Driver, file: Path) -> None:
    service = PartService()
    sent(driver, service, file, first=0)

    assert (service.done, min(service.parts), max(service.parts)) == (CONTENT, 0, 9)


@pytest.mark.parametrize(("place", "stage"), [("POST", "initiate"), ("PUT", "chunk_upload")])
def test_the_deadline_is_for_all_of_it(driver: Driver, place: str, stage: str) -> None:
    clock = FakeClock()
    error = driver.perform(
        "https://api.example",
        lambda: upload(CONTENT, concurrency=1, deadline=10.0, whole_digest=False),
        engine=silent(driver.drive, clock, place),
        clock=clock,
        retry=PROMPT,
    )

    assert (type(error), error.stage) == (UploadError, stage)
    assert clock.monotonic() == 1010.0


def silent(drive: str, clock: FakeClock, method: str) -> Any:
    """An engine that hears nothing in answer to requests of one method."""

    def say(order: Any) -> Any:
        if order.request.method == method:
            clock.advance(order.deadline - clock.monotonic())
            return broken("deadline")
        return answer(200, {"id": "up_1", "size": len(CONTENT), "parts": {}, "done": False})

    return (ScriptedEngine if drive == "sync" else AsyncScriptedEngine)(itertools.repeat(say), clock)


def test_the_end_is_told_all_digests_and_answers(driver: Driver, file: Path) -> None:
    seen: list[Any] = []

    def complete(known: Any, whole: Any) -> Operation[Any]:
        seen.append(whole)
        return Operation("POST", "/uploads/up_1/complete", lambda a: a.json(), json={"sha256": whole.sha256})

    sent(driver, PartService(), file, complete=complete)
    (whole,) = seen
    assert (whole.size, whole.sha256) == (len(CONTENT), sha256(CONTENT).hexdigest())
    assert whole.parts == {n: sha256(CONTENT[(n - 1) * PART : n * PART]).hexdigest() for n in PARTS}
    assert whole.answers == {n: {"etag": PART if n < 10 else 321} for n in PARTS}


def test_several_files_are_sent_in_parts_as_a_batch(driver: Driver, file: Path) -> None:
    service = PartService()

    def send(path: Path, key: str) -> Any:
        return upload(path, concurrency=2)

    with AnsweringServer(service) as server:
        result = driver.perform(server.url, lambda: Batch([file, file], send, concurrency=1))

    assert result.ok
    assert service.done == CONTENT


def test_a_write_without_keys_sends_none(driver: Driver, file: Path) -> None:
    service = PartService({"part 3": [503]})
    sent(driver, service, file, client={"idempotency": False})

    assert (service.done, set(service.keys["part 3"])) == (CONTENT, {None})


def test_nothing_is_left_open(driver: Driver, file: Path) -> None:
    before = set(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else set()
    service = PartService({"part 3": [503], "part 5": [422]})
    sent(driver, service, file)

    links = [Path(f"/proc/self/fd/{n}") for n in set(_open_files()) - before]
    assert not [link for link in links if link.exists() and link.resolve() == file.resolve()]


def _open_files() -> list[str]:
    return os.listdir("/proc/self/fd") if Path("/proc/self/fd").exists() else []
