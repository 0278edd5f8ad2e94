"""Both clients against the service of the sandbox: every example of the document, from its real cause."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
import scopix_examples as examples
from scopix_answers import BASE, KEY, file, refusal
from sdk_clients import on

import failwell_sandbox
from failwell import Breaker, BreakerPolicy, Connections
from failwell.service import Limit
from failwell.telemetry import Event, Kind
from failwell.testing import AsyncScriptedEngine, answer
from failwell_sandbox.scopix import looking
from scopix import (
    AuthenticationError,
    ChatError,
    ChatEvent,
    CircuitBreakerError,
    CloudStorageError,
    DescriptionError,
    DocumentProcessingError,
    PaymentRequiredError,
    QuotaExceededError,
    RateLimitError,
    ResourceNotFoundError,
    Scopix,
    ScopixConnectionError,
    ScopixError,
    ScopixPermissionError,
    ScopixSync,
    ServerError,
    UploadError,
    ValidationError,
    VideoUploadError,
)

DIRECT = Connections(trust_env=False)

# A picture of one point, and a text.
GIF = bytes.fromhex("47494638396101000100800000ff000000000021f90400000000002c00000000010001000002024401003b")
TEXT = b"The owl sleeps by day. It hunts mice at night.\n\nFoxes eat berries."


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with failwell_sandbox.running(("scopix",)) as sandbox:
        yield sandbox["scopix"]


@pytest.fixture(params=[ScopixSync, Scopix])
def use(request: pytest.FixtureRequest, service: Any) -> Callable[..., Any]:
    """Runs one function on the blocking or on the awaiting client, the same way for a test."""

    def use(call: Callable[[Any], Any], key: str | None = None, **settings: Any) -> Any:
        chosen = {"api_key": key or service.keys.full, "base_url": service.url, "connections": DIRECT}
        return on(request.param, call, chosen | settings)

    return use


@pytest.fixture
def client(service: Any) -> Iterator[ScopixSync]:
    with ScopixSync(service.keys.full, base_url=service.url, connections=DIRECT) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an image, which no other test has uploaded, and in which the test stands."""
    (tmp_path / "image.jpg").write_bytes(GIF + uuid4().bytes)
    monkeypatch.chdir(tmp_path)
    return tmp_path


class Held:
    """What looks at documents, standing still until it is let go; then it finds fault with each."""

    released = threading.Event()

    def __init__(self, work: str, task: Any) -> None:
        self._files = [file["id"] for file in task["files"]]

    async def __aenter__(self) -> Held:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def hear(self, seconds: float) -> Any:
        if not self.released.is_set():
            await asyncio.sleep(0.01)
            return None
        return {"file": self._files.pop(0), "error": "It was let go."}


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing is processed until this is set."""
    Held.released = threading.Event()
    monkeypatch.setattr(looking, "Child", Held)
    yield Held.released
    Held.released.set()


def raised(use: Any, call: Callable[[Any], Any], **given: Any) -> Any:
    with pytest.raises(ScopixError) as caught:
        use(call, **given)
    return caught.value


# --- the examples of the document ---


def example(
    code: str, service: Any, key: str | None = None, *, engine: Any = "httpx", **names: Any
) -> dict[str, Any]:
    """What an example leaves behind: its code is run as it stands, with a client."""
    compiled = compile(code, "example", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    settings: dict[str, Any] = {"base_url": service.url, "connections": DIRECT, "max_retries": 0}
    settings["engine"] = engine

    async def run() -> None:
        async with Scopix(key or service.keys.full, **settings) as client:
            names.setdefault("client", client)
            awaited = eval(compiled, names)
            if awaited is not None:
                await awaited

    asyncio.run(run())
    return names


def call(code: str, line: str) -> str:
    """An example that defines a function, and one line that calls it."""
    return f"{code}\nresult = await {line}\n"


def test_the_example_of_the_base(service: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert example(examples.BASE, service)["result"].ok
    example(examples.BASE, service, service.keys.revoked)

    told = capsys.readouterr().out.splitlines()
    assert told[0] == "Error code: AUTH_ERROR"
    assert told[1].startswith("Message: ")
    assert "'reason': 'api_key_revoked'" in told[2]


@pytest.mark.parametrize("key", ["unknown", "revoked", "expired"])
def test_the_example_of_authentication(
    service: Any, folder: Path, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    example(examples.AUTHENTICATION, service, getattr(service.keys, key))

    assert capsys.readouterr().out == "Invalid API key - check your credentials\n"


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that an example has slept; it goes on at once."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(examples, "asyncio", SimpleNamespace(sleep=sleep), raising=False)
    return slept


def without_sleep(code: str) -> str:
    """An example whose `asyncio` is that of `slept`."""
    assert "import asyncio\n" in code
    return code.replace("import asyncio\n", "from scopix_examples import asyncio\n", 1)


def test_the_example_of_a_rate_limit(
    service: Any, folder: Path, slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    key = service.new_key(limit=Limit(1, 3600.0))
    with pytest.raises(RateLimitError) as caught:  # it comes back, and no time has passed
        example("await client.usage()\n" + without_sleep(examples.RATE_LIMIT), service, key)

    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Rate limited: ")
    assert told[1] == f"Retry after: {slept[0]} seconds"
    assert slept[0] > 3000
    assert (caught.value.limit, caught.value.remaining) == (1, 0)
    assert caught.value.reset is not None


def test_the_example_of_a_rate_limit_goes_on_when_it_is_open_again(
    folder: Path, slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    throttled = answer(429, refusal("RATE_LIMIT", "Slowly."), headers={"retry-after": "7"})
    engine = AsyncScriptedEngine([throttled, answer(201, file())])
    played = SimpleNamespace(url=BASE, keys=SimpleNamespace(full=KEY))
    names = example(without_sleep(examples.RATE_LIMIT), played, engine=engine)

    assert capsys.readouterr().out == "Rate limited: Slowly.\nRetry after: 7 seconds\n"
    assert slept == [7]
    assert names["result"][0].status == "uploaded"


def test_the_example_of_a_quota(service: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    key = service.new_key(tenant="hooli")
    full = "await client.files.upload_batch([(f'{n}.txt', bytes([n])) for n in range(3)])\n"
    example(full + examples.QUOTA, service, key)

    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Quota exceeded: ")
    assert told[1:] == ["Available: 0", "Limit: 3"]


def test_the_example_of_what_does_not_exist(service: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example(examples.NOT_FOUND, service)

    told = capsys.readouterr().out.splitlines()
    assert told[1:] == ["Resource type: file", "Resource ID: nonexistent"]


def test_the_example_of_an_upload(service: Any, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = examples.UPLOAD.replace('"image.jpg"', '["image.jpg", ("bad.bin", bytes(2))]')
    example(code, service)

    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Upload failed: 1 of 2 files were not uploaded: bad.bin: ")
    assert told[1:] == ["Filename: bad.bin", "Stage: upload"]


def test_the_example_of_a_document(
    service: Any, client: ScopixSync, held: threading.Event, capsys: pytest.CaptureFixture[str]
) -> None:
    document = client.files.upload_batch((f"{uuid4()}.txt", TEXT))[0].id
    assert document is not None
    example(examples.DOCUMENT.replace("doc_abc123", document), service)

    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Cannot process document: ")
    assert told[1] == f"Document ID: {document}"
    held.set()
    with pytest.raises(DocumentProcessingError, match=r"It was let go\."):
        client.files.wait_for_processing(document, timeout=60)


def test_the_example_of_a_cloud_storage(
    service: Any, client: ScopixSync, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = client.cloud_storage.connections.create(f"{uuid4()}", "local", {"path": "nothing/here"})
    code = examples.CLOUD_STORAGE.replace("conn_abc123", connection.id)
    example(code, service, files=["not-there.png"])

    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Job failed: ")
    assert told[1].startswith("Job ID: csj_")
    assert told[2] == "Status: failed"


def test_the_example_of_an_s3_connector(
    service: Any, client: ScopixSync, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {"access_key_id": "k", "secret_access_key": "s", "region": "us-east-1"}
    connector = client.s3_connector.create(f"photos-{uuid4()}", endpoint_url="http://127.0.0.1:9", **keys)
    job = client.s3_connector.sync(connector.id)
    example(examples.S3_CONNECTOR.replace("job_abc123", job.id), service)

    told = capsys.readouterr().out.splitlines()
    assert told[0].startswith("Job failed: ")
    assert told[1:] == [f"Job ID: {job.id}", "Status: failed"]


def test_the_example_of_a_video_analysis(
    service: Any, client: ScopixSync, capsys: pytest.CaptureFixture[str]
) -> None:
    video = client.videos.upload(uuid4().bytes * 100, name=f"{uuid4()}.mp4")
    job = client.video_analysis.start(video.media_id)
    example(examples.VIDEO_ANALYSIS, service, job_id=job.id)

    assert capsys.readouterr().out.startswith(f"Analysis failed for video {video.media_id}: ")
    assert client.video_analysis.get(job.id).attempts >= 1


COMPREHENSIVE: list[tuple[str, type[ScopixError], str]] = [
    ("unknown", AuthenticationError, "Invalid API key"),
    ("spent", RateLimitError, "Rate limited. Retry after 36"),
    ("full", QuotaExceededError, "Quota exceeded: 0/3"),
    ("refused", ValidationError, "Invalid request: "),
    ("past due", PaymentRequiredError, "API error [PAYMENT_REQUIRED]: "),
]


@pytest.mark.parametrize(("case", "cls", "told"), COMPREHENSIVE)
def test_the_comprehensive_example(
    service: Any,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    case: str,
    cls: type[ScopixError],
    told: str,
) -> None:
    before, key, file = "", service.keys.full, "'image.jpg'"
    if case == "unknown":
        key = service.keys.unknown
    elif case == "spent":
        before, key = "await client.usage()\n", service.new_key(limit=Limit(1, 3600.0))
    elif case == "full":
        before = "await client.files.upload_batch([(f'{n}.txt', bytes([n])) for n in range(3)])\n"
        key = service.new_key(tenant="hooli")
    elif case == "past due":
        key = service.new_key(tenant="umbrella")
    else:
        file = "('odd.bin', bytes(2))"
    with pytest.raises(cls):
        example(before + call(examples.COMPREHENSIVE, f"safe_upload(client, {file})"), service, key)

    assert capsys.readouterr().out.startswith(told)


def test_the_example_of_retries_waits_as_long_as_it_is_told(
    service: Any, folder: Path, slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    code = "await client.usage()\n" + call(examples.BACKOFF, "upload_with_retry(client, 'image.jpg')")
    with pytest.raises(RateLimitError):
        example(without_sleep(code), service, service.new_key(limit=Limit(1, 3600.0)))

    told = capsys.readouterr().out.splitlines()
    assert told == [f"Rate limited, waiting {seconds}s..." for seconds in slept]
    assert len(slept) == 2
    assert min(slept) > 3000


def test_the_example_of_retries_gives_up_after_three_times(
    service: Any, folder: Path, slept: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    code = without_sleep(call(examples.BACKOFF, "upload_with_retry(client, 'image.jpg')"))
    with service.draining(), pytest.raises(ServerError):
        example(code, service)

    assert slept == [1, 2]
    waited = [line.rpartition(" ")[2] for line in capsys.readouterr().out.splitlines()]
    assert waited == ["1s...", "2s..."]


# --- every exception from its real cause ---


def test_a_key_without_the_scope_is_refused(service: Any, use: Any, folder: Path) -> None:
    error = raised(use, lambda c: c.files.upload_batch("image.jpg"), key=service.keys.read_only)

    assert type(error) is ScopixPermissionError
    assert error.code == "PERMISSION_DENIED"
    assert error.partial_results[0].status == "failed"


def test_a_service_that_is_not_there_is_a_connection_error(use: Any) -> None:
    error = raised(use, lambda c: c.usage(), base_url="http://127.0.0.1:9", max_retries=0)

    assert type(error) is ScopixConnectionError


def test_a_service_that_drains_opens_the_circuit(service: Any) -> None:
    breaker = Breaker(BreakerPolicy(min_attempts=3, window=3600.0, open_for=60.0))
    settings: dict[str, Any] = {"base_url": service.url, "connections": DIRECT, "max_retries": 0}
    with service.draining(), ScopixSync(service.keys.full, breaker=breaker, **settings) as impatient:
        for _ in range(3):
            with pytest.raises(ServerError):
                impatient.usage()
        with pytest.raises(CircuitBreakerError) as caught:
            impatient.usage()

    assert 0 < caught.value.retry_after <= 60


def test_a_batch_is_described_and_what_is_no_image_says_so(use: Any, folder: Path) -> None:
    bad = f"{uuid4()}.png"
    (folder / bad).write_bytes(b"no image")
    results = use(lambda c: c.files.upload_batch([("point.gif", GIF), bad, ("owl.txt", TEXT)]))
    described = use(lambda c: c.files.wait_for_descriptions(results, timeout=60))

    assert described[0].description.width == 1
    assert [result.description_status for result in described] == ["completed", "failed", "skipped"]
    assert described[2].file.processing_status == "completed"
    with pytest.raises(DescriptionError) as caught:
        described.raise_on_failures()
    assert caught.value.image_id == described[1].id


def test_a_second_batch_sends_only_what_is_missing(use: Any, service: Any, folder: Path) -> None:
    names = [f"{uuid4()}-{number}.txt" for number in range(6)]
    for name in names:
        (folder / name).write_bytes(name.encode())
    with pytest.raises(UploadError) as caught:
        use(lambda c: c.files.upload_batch([*names, ("odd.bin", bytes(2))]))
    assert len(caught.value.partial_results.uploaded) == 6
    (folder / names[3]).write_bytes(b"changed")
    again = use(lambda c: c.files.upload_batch(names))

    assert [result.status for result in again] == [*["existing"] * 3, "uploaded", *["existing"] * 2]


def test_a_digest_that_is_another_is_an_upload_error(use: Any, folder: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("scopix.sources._digest_of", lambda content: (b"", "0" * 64))
    error = raised(use, lambda c: c.files.upload_batch("image.jpg"))

    assert type(error) is UploadError
    assert (error.filename, error.stage) == ("image.jpg", "upload")
    assert error.details["reason"] == "digest_mismatch"


def test_a_large_file_goes_through_a_session(use: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("scopix.files.ONE_CALL_BYTES", 100)
    name = f"{uuid4()}.txt"
    results = use(lambda c: c.files.upload_batch((name, TEXT * 9)))
    assert results[0].status == "uploaded"
    assert use(lambda c: c.files.upload_batch((name, TEXT * 9)))[0].status == "existing"
    assert use(lambda c: c.files.read(results[0].id)) == TEXT * 9


def test_a_video_in_parts_is_the_same_at_the_service(use: Any, tmp_path: Path) -> None:
    film = os.urandom(1_000_003)
    (tmp_path / "film.mp4").write_bytes(film)
    video = use(lambda c: c.videos.upload(tmp_path / "film.mp4", chunk_size=65_536, name=f"{uuid4()}.mp4"))

    assert video.sha256 == hashlib.sha256(film).hexdigest()
    to = tmp_path / "back.mp4"
    assert use(lambda c: c.videos.download(video.media_id, to)) == to
    assert to.read_bytes() == film
    use(lambda c: c.videos.delete(video.media_id))
    assert type(raised(use, lambda c: c.videos.get(video.media_id))) is ResourceNotFoundError


CRASH = """
import os, sys
from failwell import Breaker, BreakerPolicy, Connections
from scopix import ScopixSync

def tell(sent, _):
    if sent >= 200_000:
        os._exit(9)

path, url, key, name = sys.argv[1:]
with ScopixSync(key, base_url=url, connections=Connections(trust_env=False)) as client:
    client.videos.upload(path, chunk_size=65_536, concurrency=1, progress=tell, name=name)
"""


def test_an_upload_whose_client_died_is_taken_up_where_it_was(service: Any, tmp_path: Path) -> None:
    film, name = tmp_path / "film.mp4", f"{uuid4()}.mp4"
    film.write_bytes(os.urandom(500_000))
    died = subprocess.run(
        [sys.executable, "-c", CRASH, str(film), service.url, service.keys.full, name], check=False
    )
    assert died.returncode == 9
    asked: list[str] = []
    settings: dict[str, Any] = {"base_url": service.url, "connections": DIRECT}

    def listen(event: Event) -> None:
        if event.kind is Kind.ATTEMPT_ENDED:
            asked.append(f"{event.method} {event.url.rpartition('/')[2]}")

    with ScopixSync(service.keys.full, listeners=[listen], **settings) as another:
        video = another.videos.upload(film, name=name)

    assert video.sha256 == hashlib.sha256(film.read_bytes()).hexdigest()
    parts = {int(each.partition(" ")[2]) for each in asked if each.startswith("PUT ")}
    assert len(parts) < 8
    assert min(parts) >= 3  # those before it were there


def test_a_part_that_the_service_will_not_take_is_a_video_upload_error(use: Any, tmp_path: Path) -> None:
    error = raised(use, lambda c: c.videos.upload(b"x" * 10, name="film.txt\n"))

    assert type(error) in (VideoUploadError, ValidationError)


def test_files_go_out_and_come_back(client: ScopixSync) -> None:
    path = f"box-{uuid4()}"
    connection = client.cloud_storage.connections.create(path, "local", {"path": path})
    name = f"{uuid4()}.txt"
    stored = client.files.upload_batch((name, TEXT))[0]
    assert stored.id is not None
    out = client.cloud_storage.export_and_wait(connection.id, [stored.id], timeout=60)
    assert [file.status for file in out.files] == ["completed"]
    there = client.cloud_storage.connections.files(connection.id)
    assert [remote.path for remote in there] == [name]
    client.files.wait_for_processing(stored.id, timeout=60)
    client.files.delete(stored.id)
    back = client.cloud_storage.import_and_wait(connection.id, [there[0].path], timeout=60)

    assert back.files[0].file_id is not None
    assert client.files.read(back.files[0].file_id) == TEXT
    client.cloud_storage.connections.delete(connection.id)
    with pytest.raises((ResourceNotFoundError, CloudStorageError)):
        client.cloud_storage.import_and_wait(connection.id, ["x"])


def test_a_chat_answers_from_the_files(use: Any, client: ScopixSync) -> None:
    file = client.files.upload_batch((f"{uuid4()}.txt", TEXT))[0]
    assert file.id is not None
    client.files.wait_for_processing(file.id, timeout=60)
    session = use(lambda c: c.chat.sessions.create(file_ids=[file.id], title="birds"))
    answer = use(lambda c: c.chat.send(session.id, "When does the owl hunt?"))

    assert answer.citations[0].file_id == file.id
    assert hashlib.sha256(answer.content.encode()).hexdigest() == answer.sha256
    assert use(lambda c: c.chat.messages(session.id))[0] == answer
    assert use(lambda c: c.chat.message(session.id, answer.id)) == answer
    assert use(lambda c: c.chat.sessions.get(session.id)).status == "open"
    use(lambda c: c.chat.sessions.end(session.id))
    error = raised(use, lambda c: c.chat.send(session.id, "And now?"))
    assert type(error) is ChatError
    assert (error.code, error.session_id) == ("CHAT_SESSION_CLOSED", session.id)


# --- streams ---


def streamed(use: Any, open_it: Callable[[Any], Any], seen: list[ChatEvent], most: int = 10**6) -> str:
    """The id after which a stream goes on; what came of it, up to `most` events, is in `seen`."""

    def call(client: Any) -> Any:
        if isinstance(client, ScopixSync):
            with open_it(client) as events:
                for each in events:
                    seen.append(each)
                    if len(seen) >= most:
                        break
            return events.last_event_id

        async def awaited() -> str:
            async with open_it(client) as events:
                async for each in events:
                    seen.append(each)
                    if len(seen) >= most:
                        break
            return str(events.last_event_id)

        return awaited()

    return str(use(call))


@pytest.fixture(scope="module")
def library(service: Any) -> str:
    """A document that chats can answer from."""
    with ScopixSync(service.keys.full, base_url=service.url, connections=DIRECT) as client:
        stored = client.files.upload_batch((f"{uuid4()}.txt", TEXT * 5))[0].id
        assert stored is not None
        client.files.wait_for_processing(stored, timeout=60)
    return stored


def test_a_streamed_answer_is_the_whole_one(use: Any, library: str) -> None:
    session = use(lambda c: c.chat.sessions.create(file_ids=[library]))
    seen: list[ChatEvent] = []
    streamed(use, lambda c: c.chat.stream(session.id, "When does the owl hunt?"), seen)
    message_id = seen[0].message_id
    whole = use(lambda c: c.chat.message(session.id, message_id))

    assert seen[-1].type == "completed"
    assert "".join(each.text for each in seen) == whole.content
    assert tuple(each.citation for each in seen if each.citation) == whole.citations


def test_a_stream_that_was_left_goes_on_where_it_was(use: Any, library: str) -> None:
    session = use(lambda c: c.chat.sessions.create(file_ids=[library]))
    seen: list[ChatEvent] = []
    last = streamed(use, lambda c: c.chat.stream(session.id, "Who eats berries?"), seen, most=3)
    assert len(seen) == 3
    message_id = seen[0].message_id
    streamed(use, lambda c: c.chat.resume(session.id, message_id, last_event_id=last), seen)
    whole = use(lambda c: c.chat.message(session.id, message_id))

    assert "".join(each.text for each in seen) == whole.content
    assert seen[-1].type == "completed"


def test_a_chat_that_is_closed_or_has_nothing_to_answer_from_is_not_streamed(
    use: Any, service: Any, library: str
) -> None:
    session = use(lambda c: c.chat.sessions.create(file_ids=[library]))
    use(lambda c: c.chat.sessions.end(session.id))
    error = raised(lambda call: streamed(use, call, []), lambda c: c.chat.stream(session.id, "And now?"))

    assert type(error) is ChatError
    assert error.code == "CHAT_SESSION_CLOSED"
