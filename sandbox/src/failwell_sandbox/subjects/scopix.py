"""Scopix for the drill: how to call it, how to count, a real cause for each of its exceptions."""

from __future__ import annotations

import hashlib
import json
import os
import re
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import scopix
from failwell.drill.faults import Action, always, cut_body, cut_chunked, once, replaced
from failwell.drill.subject import (
    PART_BYTES,
    Call,
    Cause,
    Kind,
    Mode,
    Settings,
    hasten,
    hasten_stream,
)
from failwell.failure import Effect
from failwell_sandbox.parameters import digest_field
from failwell_sandbox.subjects.common import (
    DIRECT,
    ONE_TRY,
    SandboxSubject,
    during,
    exported,
    is_long,
)
from scopix import Scopix, ScopixSync
from scopix.models import Video

# A tenant with little space, and one whose payment is past due.
TENANTS = {"small": "hooli", "past_due": "umbrella"}

TEXT = b"Owls sleep by day. They hunt mice at night."

VIDEO = b"no video at all" * 99

# Seconds in which a busy machine has been asked about a job twice, and a storage that is silent says nothing.
JOB_TIMEOUT = 4.0


class ScopixSubject(SandboxSubject):
    """The Scopix SDK, blocking and awaiting, against the sandbox's Scopix."""

    name = "scopix"
    title = "Scopix"
    contract = scopix.CONTRACT
    exceptions = exported(scopix)
    logger = "scopix"
    opens_after = 10
    kinds = frozenset(Kind)

    @contextmanager
    def running(self) -> Iterator[str]:
        """The service, with files of every kind; gives the SDK's base URL."""
        with (
            tempfile.TemporaryDirectory(prefix="failwell-drill-") as folder,
            _nobody_at() as nowhere,
            super().running() as url,
        ):
            self.folder, self.nowhere = Path(folder), nowhere
            self._keys = {name: self.service.new_key(tenant=tenant) for name, tenant in TENANTS.items()}
            with self._direct() as client:
                self._prepare(client)
            yield url

    def _prepare(self, client: ScopixSync) -> None:
        owls, broken, no_image = client.files.upload_batch(
            [("owls.txt", TEXT), ("broken.pdf", b"%PDF-1.4 broken"), ("no.png", b"This is no image.")]
        )
        self.document_id, self.broken_id, self.no_image_id = (str(f.id) for f in (owls, broken, no_image))
        for file_id in (self.document_id, self.broken_id, self.no_image_id):
            with suppress(scopix.DocumentProcessingError, scopix.DescriptionError):
                client.files.wait_for_processing(file_id)
        self.closed_id = client.chat.sessions.create().id
        self.chat_id = client.chat.sessions.create().id
        self.owls_id = client.chat.sessions.create(file_ids=[self.document_id]).id
        client.chat.sessions.end(self.closed_id)
        self.video_id = client.videos.upload(VIDEO, name="no.mp4").media_id
        self.upload_id = self._raw(client, "/v1/videos", {"filename": "begun.mp4", "size": 9})["media_id"]
        self.session_id = self._raw(
            client, "/v1/files/sessions", {"filename": "begun.txt", "size": 9}
        )["session_id"]  # fmt: skip
        self.connection_id = client.cloud_storage.connections.create("folder", "local", {"path": ""}).id
        self.connector_id = client.s3_connector.create("bucket", endpoint_url=self.nowhere).id
        self.answer = client.chat.send(self.chat_id, "owls")

    @staticmethod
    def _raw(client: Any, path: str, body: Mapping[str, Any]) -> Any:
        return client._client.request("POST", path, json=dict(body)).json()

    def _direct(self, key: str = "good") -> ScopixSync:
        """A client past the proxy."""
        return ScopixSync(self.key(key), base_url=self.service.url, connections=DIRECT)

    def key(self, name: str) -> str:
        return self._keys[name] if name in TENANTS else super().key(name)

    def secrets(self) -> Sequence[str]:
        return (*super().secrets(), *self._keys.values())

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        make: Any = ScopixSync if mode == "sync" else Scopix
        client = make(
            self.key(key),
            base_url=base_url,
            deadline=settings.deadline,
            connections=self.connections(settings),
            listeners=settings.listeners,
        )
        hasten(client._client, settings)
        return client

    def call(self, client: Any, call: Call) -> Any:
        if call.kind is Kind.READ:
            return client.files.list()
        if call.kind is Kind.STREAM:
            stream = client.chat.stream(self.owls_id, _question(call.marker), idempotency_key=call.key)
            hasten_stream(stream, call.settings)
            return _listened(client, stream, call)
        if call.kind is Kind.PART_UPLOAD:
            return client.videos.upload(
                call.content, name=_video_name(call.marker), chunk_size=PART_BYTES, concurrency=1
            )
        return client.chat.sessions.create(title=call.marker, idempotency_key=call.key)

    def ids_of(self, marker: str) -> Sequence[str]:
        asked = self.service.ledger(name=_question(marker))
        uploaded = self.service.ledger(name=_video_name(marker), kind="video.uploaded")
        return [*super().ids_of(marker), *(row["resource"] for row in (*asked, *uploaded))]

    def id_of(self, value: Any) -> str | None:
        return value.media_id if isinstance(value, Video) else super().id_of(value)

    def stream_of(self, marker: str) -> Sequence[tuple[str, str]] | None:
        rows = self.service.database.read_blocking(
            "SELECT id, parts FROM messages WHERE question = ?", _question(marker)
        )
        for message_id, parts in rows:
            # Before its parts an event says that it begins, behind them one that it is over.
            texts = ["", *(part if isinstance(part, str) else "" for part in json.loads(parts)), ""]
            return [(f"{message_id}:{number}", text) for number, text in enumerate(texts)]
        return None

    def digest_of(self, marker: str) -> str | None:
        rows = self.service.database.read_blocking(
            "SELECT sha256 FROM files WHERE name = ?", _video_name(marker)
        )
        return rows[0][0] if len(rows) == 1 else None

    def step_of(self, method: str, target: str) -> str:
        found = re.fullmatch(r"/v1/videos/[^/]+/(?:chunks/(\d+)|(complete))", target)
        if found is None or method not in ("PUT", "POST"):
            return ""
        return found[2] or f"part {found[1]}"

    def leave(self, call: Call, parts: Mapping[int, bytes]) -> None:
        with self._direct() as client:
            new = {"filename": _video_name(call.marker), "size": len(call.content), "chunk_size": PART_BYTES}
            path = f"/v1/videos/{self._raw(client, '/v1/videos', new)['media_id']}/chunks"
            for number, part in parts.items():
                headers = {"content-digest": _digest_field(part)}
                client._client.request("PUT", f"{path}/{number}", content=part, headers=headers)

    def forget(self, marker: str) -> None:
        with self._direct() as client:
            for upload in client.videos.list(state="uploading", name=_video_name(marker)):
                client.videos.delete(upload.media_id)

    def causes(self) -> Sequence[Cause]:
        created = Kind.KEYED_WRITE
        known = (("code", bool), ("message", bool), ("request_id", bool))
        refused = Cause("", "", scopix.AuthenticationError, _list, 401,
                        facts=(("code", "AUTH_ERROR"), ("status", 401), *known))  # fmt: skip
        forbidden = replace(refused, raises=scopix.ScopixPermissionError, status=403,
                            facts=(("code", "PERMISSION_DENIED"), *known))  # fmt: skip
        missing = replace(refused, raises=scopix.ResourceNotFoundError, status=404,
                          facts=(("code", "NOT_FOUND"), ("details", _names_a_resource), *known))  # fmt: skip
        invalid = replace(refused, raises=scopix.ValidationError, kind=created,
                          facts=(("code", "VALIDATION_ERROR"), *known))  # fmt: skip
        conflict = Cause("", "", scopix.ScopixConflictError, _list, 409, created)
        closed = replace(refused, raises=scopix.ServerError, status=503, settings=ONE_TRY,
                         facts=(("code", "SERVER_ERROR"), ("status", 503), *known))  # fmt: skip
        unsent = Cause("", "", scopix.ScopixValueError, _list, requests=0)
        failed = Cause("", "", scopix.CloudStorageError, _list, at_least=True)
        return (
            replace(unsent, name="empty-key", title="The API key is empty", raises=scopix.MissingKeyError,
                    call=lambda client, call: type(client)("")),
            replace(unsent, name="malformed-url", title="The base URL is none",
                    raises=scopix.ScopixConfigurationError,
                    call=lambda client, call: type(client)(self.key("good"), base_url="scopix")),
            replace(unsent, name="no-file", title="There is no such file",
                    call=lambda client, call: client.files.upload_batch(str(self.folder / "nothing.png"))),
            replace(unsent, name="wrong-type", title="A number where an id is due",
                    raises=scopix.ScopixTypeError, call=lambda client, call: client.files.get(7)),
            replace(unsent, name="pipe", title="What is to be sent in parts can be read only once",
                    raises=scopix.ScopixTypeError, call=_upload_pipe, proves=("S78",),
                    facts=(("args", lambda args: "can be read twice" in args[0]),)),
            replace(refused, name="missing-key", title="No API key is sent", call=_with_key("")),
            replace(refused, name="malformed-key", title="The API key is nonsense",
                    call=_with_key("Bearer nonsense")),
            replace(refused, name="unknown-key", title="Nobody has this API key", key="unknown"),
            replace(refused, name="revoked-key", title="The API key was revoked", key="revoked"),
            replace(refused, name="expired-key", title="The API key has expired", key="expired"),
            replace(forbidden, name="short-scope", title="The API key may read, not write", key="read_only",
                    kind=created, call=self.call),
            replace(forbidden, name="suspended", title="The account is suspended", key="suspended"),
            Cause("past-due", "The payment is past due", scopix.PaymentRequiredError, self.call, 402, created,
                  key="past_due", facts=(("code", "PAYMENT_REQUIRED"), *known)),
            replace(missing, name="unknown-id", title="There is no such file",
                    call=lambda client, call: client.files.get("img_000000000000000000000000")),
            replace(missing, name="other-tenant", title="The file is another account's", key="other_tenant",
                    call=lambda client, call: client.files.get(self.document_id)),
            replace(conflict, name="mismatch", title="The key was used with another body",
                    before=(_create_first,), call=_create_other, facts=(("code", "IDEMPOTENCY_CONFLICT"),)),
            replace(conflict, name="in-flight", title="A request with this key is still being worked on",
                    call=self._send_again, settings=ONE_TRY, claims=frozenset({Effect.UNKNOWN}), alone=True,
                    facts=(("code", "IDEMPOTENCY_IN_FLIGHT"),)),
            self.own_retry(self._upload),
            self.killed_at_work(self._upload),
            replace(invalid, name="validation", title="A field is refused", status=422,
                    call=lambda client, call: client._client.request(
                        "POST", "/v1/chat/sessions", json={"title": "x" * 201})),
            replace(invalid, name="bad-key-format", title="The service cannot read the idempotency key",
                    status=400, call=_with_an_odd_key),
            replace(invalid, name="wrong-method", title="The path does not take this method", status=405,
                    call=lambda client, call: client._client.request("PUT", "/v1/files", json={})),
            replace(invalid, name="too-large", title="The body is larger than the service takes", status=413,
                    call=lambda client, call: client._client.request(
                        "POST", "/v1/chat/sessions", json={"title": "x" * 1_100_000})),
            Cause("no-space", "The account has too little space", scopix.QuotaExceededError,
                  lambda client, call: client.files.upload_batch([(f"{call.marker}.txt", bytes(70_000))]),
                  429, created, key="small", claims=frozenset({Effect.NOT_APPLIED}),
                  facts=(("limit", 64 * 1024), ("available", bool), ("code", "QUOTA_EXCEEDED"))),
            Cause("limit", "The key's rate limit is reached", scopix.RateLimitError, _list, 429,
                  key="once_an_hour", before=(_list,),
                  facts=(("retry_after", is_long), ("limit", 1), ("remaining", _is_zero), ("reset", bool))),
            Cause("limit-waited-out", "The key's rate limit is reached, and open again soon", None,
                  _list, key="two_in_six_seconds", before=(_list, _list), requests=2, wait_at_least=1.0,
                  proves=("S42",)),
            replace(closed, name="draining", title="The service is about to end", arrange=self.draining),
            replace(closed, name="locked", title="The service's database is locked", kind=created,
                    call=self.call, arrange=self.locked),
            Cause("closed-chat", "The chat is closed", scopix.ChatError,
                  lambda client, call: client.chat.send(self.closed_id, "owls"), 409, created,
                  facts=(("code", "CHAT_SESSION_CLOSED"), ("session_id", self._is_closed_chat))),
            Cause("document", "A document that could not be read is to be asked about",
                  scopix.DocumentProcessingError,
                  lambda client, call: client.chat.sessions.create(file_ids=[self.broken_id]), 409, created,
                  facts=(("document_id", bool), ("code", "DOCUMENT_PROCESSING_ERROR"))),
            Cause("video-parts", "A video is to be put together of parts that were not sent",
                  scopix.VideoUploadError, self._complete_nothing, 409, created,
                  facts=(("media_id", bool), ("stage", "complete"), ("partial_chunks", _is_zero))),
            Cause("digest", "A file is another one than its digest says", scopix.UploadError,
                  self._upload_wrong, 422, created, facts=(("filename", bool), ("stage", "upload"))),
            Cause("nothing-sent", "A file is to be made of what was not sent", scopix.UploadError,
                  lambda client, call: client._client.request(
                      "POST", f"/v1/files/sessions/{self.session_id}/complete", json={}),
                  409, created, facts=(("session_id", bool), ("stage", "complete"))),
            replace(failed, name="no-image", title="A file that is no image is to be described",
                    raises=scopix.DescriptionError,
                    call=lambda client, call: client.files.wait_for_processing(self.no_image_id),
                    facts=(("image_id", bool), ("code", "DESCRIPTION_ERROR"))),
            replace(failed, name="no-video", title="A file that is no video is analysed",
                    raises=scopix.VideoAnalysisError, call=self._analyse_nothing,
                    facts=(("media_id", bool), ("analysis_job_id", bool))),
            replace(failed, name="import-nothing", title="A file that is not there is imported",
                    call=self._import_nothing,
                    facts=(("job_id", bool), ("job_status", "failed"))),
            replace(failed, name="no-bucket", title="A bucket is where nobody listens",
                    raises=scopix.S3ConnectorError, call=self._sync_nothing,
                    facts=(("job_id", bool), ("job_status", "failed"))),
            Cause("still-importing", "An import is not over in the time allowed", scopix.WaitTimeoutError,
                  lambda client, call: client.cloud_storage.wait_for_job(self._job_id, timeout=JOB_TIMEOUT),
                  arrange=self._importing, at_least=True, proves=("S63",),
                  facts=(("last_result", self._is_the_job),)),
            Cause("looked-at-as-asked", "An import is looked at no earlier than the service says",
                  scopix.WaitTimeoutError,
                  lambda client, call: client.cloud_storage.wait_for_job(self._job_id, timeout=JOB_TIMEOUT),
                  arrange=self._importing, requests=2, at_least=True, wait_at_least=1.0, proves=("S64",)),
            Cause("job-begun-again", "A job is asked for again with its key: the same job, begun once", None,
                  self._import_marked, kind=created, before=(self._import_marked,), effects=1,
                  proves=("S65",)),
            Cause("batch-goes-on", "A batch was uploaded in part: the rest is, and nothing twice", None,
                  self._upload_five, before=(self._upload_three,), requests=2, at_least=True,
                  proves=("S62",)),
            Cause("stream-cut", "A stream is cut each time it is taken up", scopix.SSEStreamError,
                  self._stream, schedule=always(cut_chunked()), requests=2, at_least=True,
                  facts=(("code", "SSE_STREAM_ERROR"),)),
            Cause("download-goes-on", "A download is cut: the rest is asked for, the file is the same", None,
                  self._download, schedule=once(cut_body()), requests=2, proves=("S18",)),
            Cause("download-reset", "A download is reset: the rest is asked for, the file is the same", None,
                  self._download, schedule=once(cut_body(by=Action.RST)), requests=2, proves=("S19",)),
            Cause("download-damaged", "A download is another file than its digest says: none appears",
                  scopix.ScopixConnectionError, self._download, proves=("S80",),
                  schedule=always(replaced(VIDEO[::-1], "video/mp4", name="another file, as long"))),
            Cause("open-circuit", "The service has failed so often that it is left alone",
                  scopix.CircuitBreakerError, _list, settings=ONE_TRY, arrange=self.draining,
                  before=(_fail_often,), requests=0, facts=(("retry_after", bool), ("code", "CIRCUIT_OPEN"))),
            Cause("deadline", "The time is over before anything is sent", scopix.ScopixTimeoutError,
                  _list, settings=Settings(deadline=0.0), requests=0, facts=(("effect", Effect.NOT_SENT),)),
        )  # fmt: skip

    def _is_closed_chat(self, session_id: str) -> bool:
        return session_id == self.closed_id

    def _is_the_job(self, job: Any) -> bool:
        return job is not None and job.id == self._job_id

    # --- calls ---

    def _upload(self, client: Any, call: Call) -> Any:
        return client.files.upload_batch([(call.marker, TEXT + call.marker.encode())])

    def _upload_wrong(self, client: Any, call: Call) -> Any:
        return client._client.request(
            "POST", f"/v1/files?name={call.marker}.txt", content=TEXT,
            headers={"content-digest": _digest_field(b"another")},
        )  # fmt: skip

    @staticmethod
    def _five(call: Call) -> list[tuple[str, bytes]]:
        return [(f"{call.marker}-{at}.txt", f"{at} {call.marker}".encode()) for at in range(5)]

    def _upload_three(self, client: Any, call: Call) -> Any:
        return client.files.upload_batch(self._five(call)[:3])

    def _upload_five(self, client: Any, call: Call) -> Any:
        return client.files.upload_batch(self._five(call))

    def _send_again(self, client: Any, call: Call) -> Any:
        """Upload a file while the same upload, with the same key, is held."""
        key, path = f"{call.marker}-key", f"/v1/files?name={call.marker}.json"
        headers = {"content-type": "application/json", "content-digest": _digest_field(b"{}")}
        return during(
            self.at_work(path, {}, self._headers(key)),
            lambda: client._client.request(
                "POST", path, content=b"{}", headers=headers, idempotency_key=key
            ),
        )  # fmt: skip

    def _headers(self, key: str) -> dict[str, str]:
        return {
            "authorization": f"Bearer {self.key('good')}", "idempotency-key": key,
            "content-digest": _digest_field(b"{}"),
        }  # fmt: skip

    def _complete_nothing(self, client: Any, call: Call) -> Any:
        body = {"sha256": hashlib.sha256(b"").hexdigest()}
        return client._client.request("POST", f"/v1/videos/{self.upload_id}/complete", json=body)

    def _analyse_nothing(self, client: Any, call: Call) -> Any:
        with self._direct() as direct:
            job = direct.video_analysis.start(self.video_id)
        return client.video_analysis.wait_for_completion(job.id)

    def _import_nothing(self, client: Any, call: Call) -> Any:
        with self._direct() as direct:
            job = direct.cloud_storage.start_import(self.connection_id, ["nothing.txt"])
        return client.cloud_storage.wait_for_job(job.id)

    def _import_marked(self, client: Any, call: Call) -> Any:
        return client.cloud_storage.start_import(
            self.connection_id, [call.marker], idempotency_key=f"{call.marker}-key"
        )

    def _sync_nothing(self, client: Any, call: Call) -> Any:
        with self._direct() as direct:
            job = direct.s3_connector.sync(self.connector_id)
        return client.s3_connector.wait_for_job(job.id)

    @contextmanager
    def _importing(self) -> Iterator[None]:
        """An import from a storage that takes connections and never answers."""
        with self._direct() as client, socket.create_server(("127.0.0.1", 0)) as silent:
            url = "http://{}:{}".format(*silent.getsockname())
            options = {"bucket": "bucket", "endpoint_url": url}
            connection = client.cloud_storage.connections.create("silent", "s3", options)
            self._job_id = client.cloud_storage.start_import(connection.id, ["a.txt"]).id
            try:
                yield
            finally:
                client.cloud_storage.cancel_job(self._job_id)

    def _download(self, client: Any, call: Call) -> Any:
        """Download a video; the file has to be that, or not to be there."""
        path = self.folder / f"{call.marker}.mp4"
        value: Any = client.videos.download(self.video_id, path) if isinstance(client, Scopix) else None

        async def awaited() -> Any:
            try:
                await value
            finally:
                _check_file(path)

        if value is not None:
            return awaited()
        try:
            return client.videos.download(self.video_id, path)
        finally:
            _check_file(path)

    def _stream(self, client: Any, call: Call) -> Any:
        stream = client.chat.resume(self.chat_id, self.answer.id)
        if isinstance(client, ScopixSync):
            with stream as events:
                return [event.text for event in events]

        async def awaited() -> Any:
            async with stream as events:
                return [event.text async for event in events]

        return awaited()


def _question(marker: str) -> str:
    return f"Where do owls sleep, asks {marker}"


def _video_name(marker: str) -> str:
    return f"{marker}.mp4"


def _listened(client: Any, stream: Any, call: Call) -> Any:
    """The id of the answer that is streamed; each event is noted as it is handed over."""
    if isinstance(client, ScopixSync):
        with stream as events:
            for event in events:
                call.heard.append((events.last_event_id, event.text or ""))
        return Streamed(call.heard)

    async def awaited() -> Any:
        async with stream as events:
            async for event in events:
                call.heard.append((events.last_event_id, event.text or ""))
        return Streamed(call.heard)

    return awaited()


class Streamed:
    """An answer that was streamed to its end."""

    def __init__(self, heard: Sequence[tuple[str, str]]) -> None:
        self.id = heard[-1][0].rpartition(":")[0] if heard else ""


@contextmanager
def _nobody_at() -> Iterator[str]:
    """A URL where nobody listens, for as long as the block lasts."""
    # Bound and not listening: a connection is refused, and nobody else gets the port.
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield "http://{}:{}".format(*sock.getsockname())


def _digest_field(data: bytes) -> str:
    return digest_field(hashlib.sha256(data).hexdigest())


def _create_first(client: Any, call: Call) -> Any:
    return client.chat.sessions.create(title=f"{call.marker}-first", idempotency_key=f"{call.marker}-key")


def _create_other(client: Any, call: Call) -> Any:
    return client.chat.sessions.create(title=call.marker, idempotency_key=f"{call.marker}-key")


def _with_an_odd_key(client: Any, call: Call) -> Any:
    return client.chat.sessions.create(title=call.marker, idempotency_key=f"{call.marker},{call.marker}")


def _with_key(value: str) -> Callable[[Any, Call], Any]:
    return lambda client, call: client._client.request("GET", "/v1/files", headers={"authorization": value})


def _fail_often(client: Any, call: Call) -> Any:
    """Make as many calls in vain as open the circuit."""
    if isinstance(client, ScopixSync):
        for _ in range(10):
            with suppress(scopix.ServerError):
                client.files.list()
        return None

    async def awaited() -> None:
        for _ in range(10):
            with suppress(scopix.ServerError):
                await client.files.list()

    return awaited()


def _upload_pipe(client: Any, call: Call) -> Any:
    """Upload what stands in a pipe: whoever has read it cannot read it again."""
    reading, writing = os.pipe()
    os.close(writing)
    with open(reading, "rb") as file:
        return client.videos.upload(file, name=f"{call.marker}.mp4")


def _check_file(path: Path) -> None:
    """
    What was downloaded is the video, if there is anything.

    Raises:
        RuntimeError: it is not.
    """
    if path.exists() and path.read_bytes() != VIDEO:
        raise RuntimeError("what was downloaded is not what is stored")


def _list(client: Any, call: Call) -> Any:
    return client.files.list()


def _names_a_resource(details: Mapping[str, Any]) -> bool:
    return details.get("resource_type") == "file" and str(details.get("resource_id")).startswith(
        ("img", "doc")
    )


def _is_zero(value: object) -> bool:
    return value == 0


subject = ScopixSubject()
