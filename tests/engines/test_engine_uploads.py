"""Bodies in pieces, engine by engine: early answers, breaks half-way, deadlines, and what is left open."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from engine_carriers import Carrier
from wire_faults import Behaviour, Certificates, Faults, answer, reset, says

from failwell.call.messages import Broken, Phase, Reason, Response, Send
from failwell.call.operation import Upload
from failwell.engines import open_async_engine, open_engine
from failwell.engines.base import Connections
from failwell.engines.bodies import PIECE_BYTES, Body, BodyError, body_of

Make = Callable[..., Send]
MakeBody = Callable[[Any], Body]

# More than the buffers of both ends of a connection hold: whoever sends it waits for a reader.
LARGE = 24 * 1024 * 1024
REFUSAL = answer(b'{"detail": "too large"}', "413 Content Too Large", "connection: close")


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uploads") / "large.bin"
    path.write_bytes(random.Random("large").randbytes(1024 * 1024) * (LARGE // (1024 * 1024)))
    return path


@pytest.fixture
def upload() -> Iterator[Callable[[Any], Body]]:
    """Makes bodies, and ends their tries as whoever drives an engine does."""
    made: list[Body] = []

    def make(content: Any) -> Body:
        made.append(body_of(content, awaiting=False))
        return made[-1]

    yield make
    for body in made:
        body.close()


def head_of(connection: socket.socket) -> bytes:
    """The head of a request, and what of its body came with it."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(4096)
        if not piece:
            return b""
        data += piece
    return data


def drain(connection: socket.socket, size: int) -> int:
    """Read so many bytes, or as many as come; how many are left."""
    while size > 0 and (piece := connection.recv(min(size, 65536))):
        size -= len(piece)
    return size


def early(*, then: str, said: bytes = REFUSAL) -> Behaviour:
    """Answer when the head has come, head and body apart, and then do what `then` says with the rest."""

    def behave(server: Faults, connection: Any, number: int) -> None:
        # Or what is said stays here until something before it was acknowledged, and ends with an RST.
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        head_of(connection)
        server.noted.set()
        head, end, body = said.partition(b"\r\n\r\n")
        connection.sendall(head + end)
        connection.sendall(body)
        if then == "close":
            return  # unread data makes it an RST
        if then == "stay":
            server.over.wait(20)
        while then == "read" and connection.recv(65536):
            pass

    return behave


@pytest.mark.parametrize("then", ["close", "stay", "read"])
def test_an_answer_that_comes_early_is_heard(
    carrier: Carrier, order: Make, upload: MakeBody, large: Path, then: str
) -> None:
    """The service has seen enough: it closes with most of the body unread, stops reading, or reads on."""
    body = upload(large)
    with Faults(early(then=then)) as server:
        [result] = carrier(order(server.url, content=body))

    if carrier.engine == "pyreqwest" and isinstance(result, Broken):
        # Rust hears what came before the break only if it reads before it writes.
        assert (then, result.phase, result.reason) == ("close", Phase.SENT, Reason.RESET)
        return
    assert isinstance(result, Response), result
    assert result.status == 413
    assert result.json() == {"detail": "too large"}


@pytest.mark.parametrize("then", ["close", "stay", "read"])
def test_an_answer_that_comes_early_is_heard_over_tls(
    carrier: Carrier, order: Make, upload: MakeBody, large: Path, certificates: Certificates, then: str
) -> None:
    """Several times: whether the sending fails before the answer is read is a matter of luck."""
    if carrier.engine == "pyreqwest":
        pytest.skip("it hears over TLS what it hears without, and takes no certificates of ours")
    body = upload(large)

    def next_order() -> Send:
        body.close()
        body.begin(time.monotonic() + 20)
        return order(server.url, content=body)

    with Faults(early(then=then), certificates.server()) as server:
        results = carrier(*[next_order] * 5, connections=Connections(verify=certificates.client()))

    assert [getattr(result, "status", result) for result in results] == [413] * 5
    assert all(isinstance(result, Response) and result.json() for result in results)


def test_after_an_early_answer_the_connection_is_not_used_again(
    carrier: Carrier, order: Make, upload: MakeBody, large: Path
) -> None:
    def behave(server: Faults, connection: Any, number: int) -> None:
        if number == 1:
            early(then="read", said=answer(b"{}", "401 Unauthorized"))(server, connection, number)
        else:
            says(answer())(server, connection, number)

    if carrier.engine == "pyreqwest":
        pytest.skip("it goes on sending in the background, and uses the connection when all was sent")
    body = upload(large)

    def next_order() -> Send:
        body.close()
        return order(server.url, content=b"small")

    with Faults(behave) as server:
        first, second = carrier(order(server.url, content=body), next_order)

    assert isinstance(first, Response), first
    assert isinstance(second, Response), second
    assert (first.status, second.status) == (401, 200)
    assert server.connections == 2


def test_an_interim_answer_does_not_end_the_sending(
    carrier: Carrier, order: Make, upload: MakeBody, large: Path
) -> None:
    def behave(server: Faults, connection: Any, number: int) -> None:
        began = head_of(connection)
        connection.sendall(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\nHTTP/1.1 102 Pro")
        left = LARGE - len(began.partition(b"\r\n\r\n")[2])
        left = LARGE // 2 + drain(connection, left - LARGE // 2)
        connection.sendall(b"cessing\r\n\r\n")
        drain(connection, left)
        connection.sendall(answer())

    with Faults(behave) as server:
        [result] = carrier(order(server.url, content=upload(large)))

    assert isinstance(result, Response), result
    assert result.status == 200


@pytest.mark.parametrize("how", ["reset", "close"])
def test_a_break_in_the_middle_of_a_body_may_have_been_heard(
    carrier: Carrier, order: Make, upload: MakeBody, large: Path, how: str
) -> None:
    def behave(server: Faults, connection: Any, number: int) -> None:
        drain(connection, LARGE // 3)
        if how == "reset":
            reset(connection)

    body = upload(large)
    with Faults(behave) as server:
        [result] = carrier(order(server.url, content=body))

    assert isinstance(result, Broken), result
    assert result.phase is Phase.SENT
    assert result.reason in (Reason.RESET, Reason.CLOSED)
    assert body.told(result) is result


def test_a_service_that_does_not_read_is_left_at_the_deadline(
    carrier: Carrier, order: Make, upload: MakeBody, large: Path
) -> None:
    def behave(server: Faults, connection: Any, number: int) -> None:
        server.over.wait(20)

    body = upload(large)
    began = time.monotonic()
    with Faults(behave) as server:
        [result] = carrier(order(server.url, content=body, seconds=0.6))

    assert isinstance(result, Broken), result
    assert (result.phase, result.reason) == (Phase.SENT, Reason.DEADLINE)
    assert time.monotonic() - began < 15


def test_what_is_sent_in_pieces_without_a_size_is_chunked(
    carrier: Carrier, order: Make, upload: MakeBody
) -> None:
    heads: list[bytes] = []

    def behave(server: Faults, connection: Any, number: int) -> None:
        data = head_of(connection)
        while b"\r\n0\r\n\r\n" not in data:
            data += connection.recv(4096)
        heads.append(data)
        connection.sendall(answer())

    body = upload(Upload([b"one ", b"two"]))
    with Faults(behave) as server:
        [result] = carrier(order(server.url, content=body))

    assert isinstance(result, Response), result
    head, _, chunks = heads[0].partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head.lower()
    assert b"content-length" not in head.lower()
    assert b"".join(chunks.split(b"\r\n")[1::2]) == b"one two"


def open_files() -> set[str]:
    """The files this process has open."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/self/fd/{entry}"))
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs the list of open files")
@pytest.mark.parametrize("end", ["deadline", "early", "reset"])
def test_the_file_is_closed_however_the_try_ends(
    carrier: Carrier, order: Make, upload: MakeBody, large: Path, end: str
) -> None:
    def behave(server: Faults, connection: Any, number: int) -> None:
        head_of(connection)
        if end == "deadline":
            server.over.wait(20)
        elif end == "early":
            connection.sendall(REFUSAL)
        else:
            reset(connection)

    body = upload(large)
    with Faults(behave) as server:
        [result] = carrier(order(server.url, content=body, seconds=0.6 if end == "deadline" else 20.0))
    body.told(result)

    assert str(large) not in open_files()


def cut(path: Path) -> Callable[[], None]:
    return lambda: os.truncate(path, PIECE_BYTES)


def rewritten(path: Path) -> Callable[[], None]:
    def rewrite() -> None:
        with path.open("r+b") as file:
            file.write(b"other")
        os.utime(path, ns=(1, 1))

    return rewrite


@pytest.mark.parametrize("change", [cut, rewritten])
@pytest.mark.parametrize("opened", [False, True])
def test_a_file_that_changes_while_it_is_sent_never_arrives_whole(
    carrier: Carrier, order: Make, upload: MakeBody, tmp_path: Path, change: Any, opened: bool
) -> None:
    path = tmp_path / "changing"
    path.write_bytes(b"x" * LARGE)
    act = change(path)
    whole: list[bool] = []

    def behave(server: Faults, connection: Any, number: int) -> None:
        left = LARGE - len(head_of(connection).partition(b"\r\n\r\n")[2])
        act()
        with contextlib.suppress(OSError):
            left = drain(connection, left)
        whole.append(left <= 0)

    with path.open("rb") as handle:
        body = upload(handle if opened else path)
        with Faults(behave) as server:
            [result] = carrier(order(server.url, content=body))
            told = body.told(result)

    assert whole == [False]
    assert isinstance(told, Broken), told
    assert (told.phase, told.reason) == (Phase.SENT, Reason.SOURCE)
    assert "change" in str(told.cause) or "before its end" in str(told.cause)


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_brought_client_sends_a_file_and_hears_an_early_answer(
    library: Any, order: Make, upload: MakeBody, large: Path
) -> None:
    small = io.BytesIO(b"y" * (PIECE_BYTES + 1))
    with library.Client() as own, Faults(says(answer())) as server, Faults(early(then="close")) as hasty:
        engine = open_engine(own, Connections())
        first = engine.send(order(server.url, content=upload(small)))
        second = engine.send(order(hasty.url, content=upload(large)))

    assert isinstance(first, Response), first
    assert server.requests[0].endswith(b"\r\n\r\n" + small.getvalue())
    assert b"content-length: %d" % len(small.getvalue()) in server.requests[0].lower()
    assert isinstance(second, Response), second
    assert second.status == 413


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_brought_client_whose_auth_asks_twice_sends_the_file_twice(
    library: Any, order: Make, upload: MakeBody, tmp_path: Path
) -> None:
    """Digest authentication (RFC 7616): the first request is refused with a challenge."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"z" * (2 * PIECE_BYTES))

    def pieces() -> Iterator[bytes]:
        yield answer(b"{}", "401 Unauthorized", 'www-authenticate: Digest realm="a", nonce="b", qop="auth"')
        yield answer()

    script = pieces()

    def behave(server: Faults, connection: Any, number: int) -> None:
        while server.read(connection):
            connection.sendall(next(script))

    with library.Client(auth=library.DigestAuth("u", "p")) as own, Faults(behave) as server:
        engine = open_engine(own, Connections())
        wanted = order(server.url, content=upload(path))
        del wanted.request.headers["authorization"]
        result = engine.send(wanted)

    assert isinstance(result, Response), result
    assert result.status == 200
    assert [r.partition(b"\r\n\r\n")[2] for r in server.requests] == [path.read_bytes()] * 2


LOST = Broken(Phase.SENT, Reason.RESET, OSError("reset"))
OVER = "the try is over"


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("next_try", [False, True])
def test_what_is_asked_for_when_its_try_is_over_says_nothing_of_any_try(
    upload: MakeBody, large: Path, begun: bool, next_try: bool
) -> None:
    """A thread of the engine still holds the pieces, or comes only now."""
    told: list[int] = []
    sent: Iterator[bytes] = iter(())
    body = upload(Upload(large, progress=lambda sent, total: told.append(sent)))
    late = iter(body)
    if begun:
        next(late)
    assert body.told(LOST) is LOST
    if next_try:
        body.begin(time.monotonic() + 20)
        sent = iter(body)
        next(sent)

    with pytest.raises(BodyError, match=OVER):
        next(late)

    if next_try:
        assert PIECE_BYTES + sum(map(len, sent)) == LARGE
        assert told == list(range(PIECE_BYTES, LARGE + 1, PIECE_BYTES))
    else:
        assert told == []
    assert body.told(LOST) is LOST


def test_what_fails_because_its_try_was_ended_is_not_why_it_was_lost(upload: MakeBody) -> None:
    class Ended(Iterator[bytes]):
        def __next__(self) -> bytes:
            body.close()
            raise LookupError("there is nothing more")

    body = upload(Upload(Ended(), size=1000))
    with pytest.raises(BodyError, match=OVER):
        next(iter(body))

    assert body.told(LOST) is LOST


def test_an_iterator_is_spent_when_its_first_piece_is_waited_for(upload: MakeBody) -> None:
    """What it gives then may go to a try that is over, and be missing from the next."""

    class Slow(Iterator[bytes]):
        def __next__(self) -> bytes:
            spent.append(body.spent)
            return b"piece"

    spent: list[bool] = []
    body = upload(Slow())
    pieces = iter(body)

    assert not body.spent
    assert next(pieces) == b"piece"
    assert spent == [True]


def test_an_iterator_that_a_try_comes_too_late_for_is_left_to_the_next(upload: MakeBody) -> None:
    body = upload(Upload(part for part in (b"one ", b"two")))
    late = iter(body)
    body.begin(time.monotonic() + 20)
    with pytest.raises(BodyError, match=OVER):
        next(late)

    assert list(body) == [b"one ", b"two"]


def test_an_opened_file_that_an_old_try_still_reads_is_sent_whole_by_the_next(upload: MakeBody) -> None:
    class Slow(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() == PIECE_BYTES and not going_on.is_set():
                reading.set()
                assert going_on.wait(20)
            return super().read(size)

    reading, going_on = threading.Event(), threading.Event()
    data = random.Random("opened").randbytes(3 * PIECE_BYTES + 1)
    body = upload(Slow(data))
    old, sent = iter(body), b""
    next(old)

    def read_on() -> None:
        with contextlib.suppress(BodyError):
            next(old)

    def send() -> None:
        nonlocal sent
        sent = b"".join(body)

    first, second = threading.Thread(target=read_on), threading.Thread(target=send)
    first.start()
    assert reading.wait(20)
    body.begin(time.monotonic() + 20)
    second.start()
    going_on.set()
    first.join(20)
    second.join(20)

    assert sent == data


def test_what_progress_raises_at_the_end_is_raised_as_it_is(upload: MakeBody) -> None:
    """Some engines have all they want before they ask for the end of a body."""

    def stop(sent: int, total: int | None) -> None:
        raise LookupError("enough")

    body = upload(Upload(io.BytesIO(b"small"), progress=stop))
    next(iter(body))

    with pytest.raises(LookupError, match="enough"):
        body.told(Response(200, [], b""))


@pytest.mark.parametrize("engine", ["httpx", "aiohttp", "pyreqwest"])
def test_a_scope_of_anyio_ends_an_upload_and_nothing_else(
    engine: str, order: Make, upload: MakeBody, large: Path
) -> None:
    """The service reads nothing. What pyreqwest raises for a cancellation is not what it was told."""

    async def main(wanted: Send) -> bool:
        opened = open_async_engine(engine, Connections())
        with anyio.move_on_after(0.1) as scope:
            await opened.send(wanted)
        await opened.aclose()
        return scope.cancelled_caught

    def behave(server: Faults, connection: Any, number: int) -> None:
        server.over.wait(20)

    with Faults(behave) as server:
        assert asyncio.run(main(order(server.url, content=upload(large), seconds=20.0)))


LEAVES = """
import asyncio, os, socket, sys, threading
import failwell

listener = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{listener.getsockname()[1]}"
reading, writing = os.pipe()
os.write(writing, b"some")
loop = asyncio.new_event_loop()

async def main():
    client = failwell.AsyncClient(url, engine=sys.argv[2])
    with open(reading, "rb", buffering=0) as pipe:
        await asyncio.gather(
            client.request("PUT", "/", content=failwell.Upload(sys.argv[1])),
            client.request("PUT", "/", content=failwell.Upload(pipe)),
        )

def stop():
    heads = [listener.accept()[0] for _ in range(2)]
    for head in heads:
        head.recv(1)
    loop.call_soon_threadsafe(loop.stop)

threading.Thread(target=stop, daemon=True).start()
task = loop.create_task(main())
loop.run_forever()
print("left", flush=True)
os._exit(1) if task.done() else None
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs pipes")
@pytest.mark.parametrize("engine", ["httpx", "aiohttp"])
def test_a_loop_that_is_left_with_uploads_under_way_does_not_keep_the_interpreter(
    large: Path, engine: str
) -> None:
    """Threads have read for them, and one waits for a pipe that says nothing more."""
    done = subprocess.run(
        [sys.executable, "-c", LEAVES, str(large), engine], capture_output=True, text=True, timeout=300
    )

    assert done.stdout == "left\n"
    assert done.returncode == 0, done.stderr
