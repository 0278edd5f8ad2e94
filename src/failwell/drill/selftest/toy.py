"""
A small service with a ledger, and a good client for it: what the drill is tried on.

It stands here, and not among the tests, so that `failwell drill --self-test` works where failwell
is installed.
"""

from __future__ import annotations

import contextlib
import json
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from failwell import Operation, errors
from failwell.call.messages import Response, Timeouts
from failwell.call.retry import RetryPolicy
from failwell.client import AsyncClient, Client
from failwell.contract import Contract, Rule
from failwell.drill.subject import Call, Cause, Kind, Mode, Settings, Subject
from failwell.engines.base import Connections

KEY = "toy_sk_4f0c9a7e21"
REVOKED = "toy_sk_revoked_99"


class ToyError(errors.CallError):
    """Base of the toy's errors."""


class ToyAuthError(ToyError, errors.AuthenticationError):
    """401."""


class ToyNotFoundError(ToyError, errors.NotFoundError):
    """404."""


class ToyConflictError(ToyError, errors.IdempotencyMismatchError):
    """409."""


class ToyRateLimitError(ToyError, errors.RateLimitError):
    """429."""


class ToyServerError(ToyError, errors.ServerError):
    """5xx."""


class ToyNetworkError(ToyError, errors.TransportError):
    """No usable answer."""


TOY = Contract(
    "toy",
    base=ToyError,
    rules=[
        Rule(ToyAuthError, status=401),
        Rule(ToyNotFoundError, status=404),
        Rule(ToyConflictError, status=409),
        Rule(ToyRateLimitError, status=429),
        Rule(ToyServerError, status=range(500, 600)),
    ],
    broken={errors.TransportError: ToyNetworkError},
)


@dataclass(frozen=True)
class Thing:
    """What the service gives back."""

    id: str


def _thing(answer: Response) -> Thing:
    return Thing(answer.json()["id"])


class ToyUploads:
    """Files that come in parts, each with its digest."""

    def __init__(self) -> None:
        self.parts: dict[str, dict[int, bytes]] = {}  # upload, which is called as its file
        self.files: dict[str, bytes] = {}
        self.lock = threading.Lock()

    def handle(self, method: str, path: str, body: bytes, digest: str) -> tuple[int, bytes]:
        """
        Begin an upload, take a part, say what is there, put it together.

        Args:
            method: GET, PUT or POST.
            path: `/uploads/<name>`, and behind it nothing, `/parts/<number>` or `/complete`.
            body: The request's.
            digest: What its `Content-Digest` holds; "" for nothing.
        """
        _, _, name, *what = path.split("/")
        with self.lock:
            there = self.parts.setdefault(name, {})
            if method == "PUT":
                if digest and digest != digest_field(body):
                    return 422, b'{"detail": "the part is not what was announced"}'
                there[int(what[1])] = body
            elif what == ["complete"]:
                wanted = json.loads(body)
                whole = b"".join(there[number] for number in sorted(there))
                if len(whole) != wanted["size"] or wanted["sha256"] not in ("", sha256(whole).hexdigest()):
                    return 409, b'{"detail": "the parts are not the whole"}'
                self.files[name] = whole
            known = {number: sha256(part).hexdigest() for number, part in there.items()}
            return 200, json.dumps({"id": name, "parts": known}).encode()


def digest_field(content: bytes) -> str:
    """A `Content-Digest` (RFC 9530)."""
    return f"sha-256=:{b64encode(sha256(content).digest()).decode()}:"


class ToyService:
    """Things that can be made, read, told of in events; a key used again replays, or is refused."""

    def __init__(self) -> None:
        self.uploads = ToyUploads()
        self.things: list[tuple[str, str]] = []  # id, marker
        self.answers: dict[str, tuple[bytes, int, bytes]] = {}
        self.lock = threading.Lock()

    def ids_of(self, marker: str) -> list[str]:
        """Ids of the things called `marker`."""
        with self.lock:
            return [i for i, m in self.things if m == marker]

    @staticmethod
    def events_of(thing: str) -> list[tuple[str, str]]:
        """What is told of a thing: id and text of each event; the last, without a text, is the end."""
        return [(f"{thing}:{at}", f"wörd {at} of ten" if at < 10 else "") for at in range(11)]

    def post(self, key: str | None, body: bytes) -> tuple[int, bytes]:
        """Make a thing, unless `key` was used before: status and body of the answer."""
        with self.lock:
            if key is not None and key in self.answers:
                first, status, answer = self.answers[key]
                return (
                    (status, answer) if first == body else (409, b'{"detail": "key used with another body"}')
                )
            thing = f"thing-{len(self.things) + 1}"
            self.things.append((thing, json.loads(body)["name"]))
            answer = json.dumps({"id": thing, "padding": "x" * 40}).encode()
            if key is not None:
                self.answers[key] = (body, 201, answer)
            return 201, answer

    @contextlib.contextmanager
    def running(self) -> Iterator[str]:
        """Serve on loopback; gives the base URL."""
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: object) -> None:
                pass

            # Small answers must not wait for an acknowledgement of their heads.
            disable_nagle_algorithm = True

            def answer(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("X-Request-ID", "req-1")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def tell(self, events: Sequence[tuple[str, str]]) -> None:
                """Send what follows the event the client has seen last."""
                seen = self.headers.get("last-event-id")
                names = [name for name, _ in events]
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Connection", "close")
                self.end_headers()
                for name, text in events[names.index(seen) + 1 if seen in names else 0 :]:
                    kind = "" if text else "event: end\n"
                    self.wfile.write(f"id: {name}\n{kind}data: {text}\n\n".encode())

            def do_GET(self) -> None:
                if self.path.startswith("/uploads"):
                    self.answer(*service.uploads.handle("GET", self.path, b"", ""))
                elif self.headers.get("x-api-key") != KEY:
                    self.answer(401, b'{"detail": "who are you?"}')
                elif self.path == "/things":
                    self.answer(200, b'{"id": "thing-0", "padding": "%s"}' % (b"x" * 40))
                elif self.path == "/trap":
                    self.answer(500, b'{"detail": "trapped"}')
                else:
                    self.answer(404, b'{"detail": "no such thing"}')

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                digest = self.headers.get("content-digest", "")
                if self.path.startswith("/uploads"):
                    self.answer(*service.uploads.handle(self.command, self.path, body, digest))
                    return
                status, answer = service.post(self.headers.get("idempotency-key"), body)
                if status == 201 and self.headers.get("accept") == "text/event-stream":
                    self.tell(service.events_of(json.loads(answer)["id"]))
                else:
                    self.answer(status, answer)

            do_PUT = do_POST

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # the usual 5 would be too few for a crowd

        server = Server(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class Toy(Subject):
    """The good one: failwell's own client with the toy's contract."""

    name = "toy"
    title = "Toy"
    contract = TOY
    exceptions: tuple[type[BaseException], ...] = (
        ToyError,
        ToyAuthError,
        ToyNotFoundError,
        ToyConflictError,
        ToyRateLimitError,
        ToyServerError,
        ToyNetworkError,
    )
    logger = "toy.transport"

    def __init__(self) -> None:
        self.service = ToyService()

    def running(self) -> contextlib.AbstractContextManager[str]:
        return self.service.running()

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        make: Any = Client if mode == "sync" else AsyncClient
        return make(
            base_url,
            contract=self.contract,
            credentials={"x-api-key": KEY if key == "good" else REVOKED},
            retry=RetryPolicy(
                max_attempts=settings.attempts,
                base=settings.backoff,
                cap=settings.max_backoff,
            ),
            timeouts=Timeouts(connect=settings.connect, read=settings.read),
            deadline=settings.deadline,
            breaker=False,
            idempotency=settings.keyed,
            connections=Connections(trust_env=False, verify=settings.verify),
            listeners=settings.listeners,
            random=settings.random,
        )

    def call(self, client: Any, call: Call) -> Any:
        if call.kind is Kind.READ:
            return client.call(Operation("GET", "/things", _thing))
        write = Operation("POST", "/things", _thing, json={"name": call.marker})
        return client.call(write, idempotency_key=call.key)

    def ids_of(self, marker: str) -> Sequence[str] | None:
        return self.service.ids_of(marker)

    def secrets(self) -> Sequence[str]:
        return (KEY,)

    def causes(self) -> Sequence[Cause]:
        def get(path: str) -> Callable[[Any, Call], Any]:
            return lambda client, call: client.request("GET", path)

        return (
            Cause("revoked", "The key was revoked", ToyAuthError, get("/things"), 401, key="revoked"),
            Cause("unknown-id", "There is no such thing", ToyNotFoundError, get("/things/9"), 404),
            Cause("trap", "The service breaks", ToyServerError, get("/trap"), 500, requests=3),
        )
