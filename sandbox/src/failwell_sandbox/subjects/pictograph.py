"""Pictograph for the drill: how to call it, how to count, a real cause for each of its exceptions."""

from __future__ import annotations

import struct
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from failwell.drill.faults import Action, answer, lose_answer, once
from failwell.drill.subject import Call, Cause, Kind, Mode, Settings, hasten
from failwell.engines.base import Connections
from failwell.failure import Effect
from failwell_sandbox.subjects.common import NAMED_WAITS, SandboxSubject, exported
from pictograph import AsyncClient, Client, FileResult, exceptions
from pictograph.workflows import upload_folder, upload_folder_async

_DIRECT = Connections(trust_env=False)
ONE_TRY = Settings(attempts=1)

# A tenant that has bought too little for a training.
POOR = "hooli"

# Why its clients have no budget, which all bounds on retries need.
RETRIES_OF_EACH = "Its document promises each call its retries, however many calls fail: there is no budget."

# Minutes of work.
ENDLESS = {"epochs": 100_000}

BOX = {"name": "leaf", "type": "bbox", "bbox": {"x": 1, "y": 1, "w": 4, "h": 4}}


class PictographSubject(SandboxSubject):
    """The Pictograph SDK, blocking and awaiting, against the sandbox's Pictograph."""

    name = "pictograph"
    title = "Pictograph"
    contract = exceptions.CONTRACT
    exceptions = exported(exceptions)
    retried = frozenset({429, *range(500, 600)})
    logger = "pictograph"
    # Its document promises three retries of each call: an outage does not use them up.
    instead = dict.fromkeys(("S50", "S51-multiplied", "S51-recovery"), RETRIES_OF_EACH) | {"S53": NAMED_WAITS}
    unfilled = dict.fromkeys(  # what failwell has for others
        ("UploadError.stage", "UploadError.upload_id", "UploadError.parts"),
        "A file is sent in one request, whole or not at all.",
    ) | {"BatchError.partial_results": "A folder's `results` have what became of each file."}

    @contextmanager
    def running(self) -> Iterator[str]:
        """The service, with a dataset that can be trained of; gives the SDK's base URL."""
        with tempfile.TemporaryDirectory(prefix="failwell-drill-") as folder, super().running() as url:
            self.folder = Path(folder)
            self.image_file = self.folder / "leaf.png"
            self.image_file.write_bytes(_png())
            for name in ("broken", "five"):
                (self.folder / name).mkdir()
            for number in range(5):
                (self.folder / "five" / f"{number}.png").write_bytes(_png() + bytes(number))
            (self.folder / "broken" / "text.png").write_text("This is no image.")
            self._poor_key = self.service.new_key(tenant=POOR)
            self._prepare("poor")
            self.dataset_id, self.image_id, self._export_id = self._prepare("good")
            yield url

    def _prepare(self, key: str) -> tuple[str, str, str]:
        with self._direct(key) as client:
            dataset = client.datasets.create("leaves")
            image = client.images.upload(dataset.id, self.image_file)
            client.annotations.save(image.id, [BOX])
            export = client.exports.wait(client.datasets.export(dataset.id, name="v1").id)
            return dataset.id, image.id, export.id

    def _direct(self, key: str) -> Client:
        """A client past the proxy."""
        return Client(self.key(key), base_url=self.service.url, connections=_DIRECT)

    def key(self, name: str) -> str:
        return self._poor_key if name == "poor" else super().key(name)

    def secrets(self) -> Sequence[str]:
        return (*super().secrets(), self._poor_key)

    def client(self, mode: Mode, base_url: str, settings: Settings, key: str = "good") -> Any:
        make: Any = Client if mode == "sync" else AsyncClient
        client = make(
            self.key(key),
            base_url=base_url,
            deadline=settings.deadline,
            connections=Connections(trust_env=False, verify=settings.verify),
            listeners=settings.listeners,
        )
        hasten(client._client, settings)
        return client

    def call(self, client: Any, call: Call) -> Any:
        if call.kind is Kind.READ:
            return client.datasets.list()
        return client.datasets.create(call.marker, idempotency_key=call.key)

    def causes(self) -> Sequence[Cause]:
        created = Kind.KEYED_WRITE
        known = (("request_id", bool), ("error_code", bool))
        refused = Cause("", "", exceptions.AuthError, _list, 401,
                        facts=(("status_code", 401), *known))  # fmt: skip
        forbidden = replace(refused, raises=exceptions.ForbiddenError, status=403,
                            facts=(("status_code", 403), *known))  # fmt: skip
        missing = replace(refused, raises=exceptions.NotFoundError, status=404,
                          facts=(("status_code", 404), *known))  # fmt: skip
        conflict = Cause("", "", exceptions.ConflictError, _list, 409, created)
        closed = replace(refused, raises=exceptions.ServerError, status=503, settings=ONE_TRY,
                         facts=(("status_code", 503), *known))  # fmt: skip
        other = replace(refused, raises=exceptions.ApiError, facts=known, kind=created)
        unsent = Cause("", "", exceptions.ConfigurationError, _list, requests=0)
        return (
            replace(unsent, name="empty-key", title="The API key is empty",
                    call=lambda client, call: type(client)("")),
            replace(unsent, name="malformed-url", title="The base URL is none",
                    call=lambda client, call: type(client)(self.key("good"), base_url="pictograph")),
            replace(unsent, name="no-file", title="There is no such file",
                    raises=exceptions.PictographValueError,
                    call=lambda client, call: client.images.upload("ds_1", self.folder / "nothing.png")),
            replace(unsent, name="wrong-type", title="A number where a name is due",
                    raises=exceptions.PictographTypeError,
                    call=lambda client, call: client.datasets.create(7)),
            replace(refused, name="missing-key", title="No API key is sent", call=_with_key("")),
            replace(refused, name="malformed-key", title="The API key is nonsense",
                    call=_with_key("Bearer nonsense")),
            replace(refused, name="unknown-key", title="Nobody has this API key", key="unknown"),
            replace(refused, name="revoked-key", title="The API key was revoked", key="revoked"),
            replace(refused, name="expired-key", title="The API key has expired", key="expired"),
            replace(forbidden, name="viewer", title="A viewer's key creates a dataset", key="read_only",
                    kind=created, call=self.call, facts=(("error_code", "insufficient_role"),)),
            replace(forbidden, name="suspended", title="The organisation is suspended", key="suspended"),
            replace(missing, name="unknown-id", title="There is no such training run",
                    call=lambda client, call: client.training.get("run_000000000000000000000000")),
            replace(missing, name="other-case", title="The dataset's name is written in another case",
                    call=lambda client, call: client.datasets.get("Leaves")),
            replace(missing, name="other-tenant", title="The dataset is another organisation's",
                    key="other_tenant", call=lambda client, call: client.images.list(self.dataset_id)),
            replace(conflict, name="same-name", title="There is a dataset of this name already",
                    before=(_create_taken,), call=_create_taken, facts=(("error_code", "dataset_exists"),)),
            replace(conflict, name="same-image", title="There is an image of this name in the folder already",
                    call=lambda client, call: client.images.upload(self.dataset_id, self.image_file),
                    facts=(("error_code", "image_exists"),)),
            replace(conflict, name="other-version", title="Somebody else has changed the annotations",
                    call=lambda client, call: client.annotations.save(self.image_id, [BOX], version=0),
                    facts=(("error_code", "version_conflict"),)),
            replace(conflict, name="mismatch", title="The key was used with another body",
                    before=(_create_first,), call=_create_other,
                    facts=(("error_code", "idempotency_conflict"),)),
            replace(conflict, name="in-flight", title="A request with this key is still being worked on",
                    call=self._upload_again, settings=ONE_TRY, claims=frozenset({Effect.UNKNOWN}), alone=True,
                    facts=(("error_code", "idempotency_in_flight"),)),
            Cause("class-for-name", "An annotation has a class instead of a name", exceptions.ValidationError,
                  lambda client, call: client.annotations.save(
                      self.image_id, [{"class": "person", "type": "bbox"}]),
                  422, created, facts=(("errors", _names_the_class), *known)),
            Cause("flat-polygon", "A polygon is a flat list of numbers", exceptions.ValidationError,
                  lambda client, call: client.annotations.save(
                      self.image_id, [{"name": "a", "type": "polygon", "polygon": [0, 0, 4, 0, 4, 4]}]),
                  422, created, facts=(("errors", bool), *known)),
            Cause("too-little", "The credits do not suffice", exceptions.PaymentRequiredError,
                  lambda client, call: client.training.create("leaves", "v1"), 402, created, key="poor",
                  claims=frozenset({Effect.NOT_APPLIED}),
                  facts=(("required", 50), ("remaining", 3), ("upgrade_url", bool), *known)),
            Cause("limit", "The key's rate limit is reached", exceptions.RateLimitError, _list, 429,
                  key="once_an_hour", before=(_list,),
                  facts=(("retry_after", _is_long), ("rate_limit", bool), *known)),
            Cause("limit-waited-out", "The key's rate limit is reached, and open again soon", None,
                  _list, key="two_in_six_seconds", before=(_list, _list), requests=2, wait_at_least=1.0,
                  proves=("S42",)),
            replace(closed, name="draining", title="The service is about to end", arrange=self.draining),
            replace(closed, name="locked", title="The service's database is locked", kind=created,
                    call=self.call, arrange=self.locked),
            replace(other, name="bad-key-format", title="The service cannot read the idempotency key",
                    status=400, call=_with_an_odd_key),
            replace(other, name="wrong-method", title="The path does not take this method", status=405,
                    call=lambda client, call: client._client.request("PUT", "/v1/datasets", json={})),
            replace(other, name="too-large", title="The body is larger than the service takes", status=413,
                    call=lambda client, call: client.datasets.create(
                        call.marker, description="x" * 1_100_000)),
            Cause("still-training", "A training is not over in the time allowed",
                  exceptions.PollTimeoutError,
                  lambda client, call: client.training.wait(self._run_id, timeout=0.9),
                  arrange=self._training, proves=("S63",),
                  facts=(("run_id", self._is_the_run), ("job_status", _is_open))),
            Cause("looked-at-as-asked", "A training is looked at no earlier than the service says",
                  exceptions.JobFailedError, self._wait_to_its_end, arrange=self._training, requests=3,
                  wait_at_least=1.0, proves=("S64",), facts=(("run_id", self._is_the_run),)),
            self.own_retry(self._upload),
            self.killed_at_work(self._upload),
            Cause("job-begun-again", "A job is asked for again with its key: the same job, begun once", None,
                  self._export, kind=created, before=(self._export,), effects=1, proves=("S65",)),
            Cause("job-answer-lost", "A job was begun, the answer was lost: found again by its key", None,
                  self._export, kind=created, schedule=once(lose_answer(Action.FIN)), requests=2, effects=1,
                  proves=("S65",)),
            Cause("job-through-outage", "A look at a job meets an outage: looked at again", None,
                  lambda client, call: client.exports.wait(self._export_id), schedule=once(answer(503)),
                  requests=2, proves=("S63",)),
            Cause("folder-goes-on", "A folder was uploaded in part: the rest is, and nothing twice", None,
                  self._upload_rest, before=(self._upload_some,), requests=4, proves=("S62",)),
            Cause("cancelled", "A training was cancelled", exceptions.JobFailedError,
                  lambda client, call: client.training.wait(self._cancelled_run()),
                  facts=(("run_id", bool),)),
            Cause("changed-file", "A file is cut short while it is sent", exceptions.UploadError,
                  self._upload_changing, kind=created, requests=0),  # none that was whole
            Cause("broken-folder", "A folder has a file that is no image", exceptions.FolderUploadError,
                  self._upload_broken, requests=2, facts=(("results", bool),)),
            Cause("deadline", "The time is over before anything is sent", exceptions.RequestTimeoutError,
                  _list, settings=Settings(deadline=0.0), requests=0, facts=(("effect", Effect.NOT_SENT),)),
        )  # fmt: skip

    @contextmanager
    def _training(self) -> Iterator[None]:
        with self._direct("good") as client:
            self._run_id = client.training.create("leaves", "v1", config=ENDLESS).id
            try:
                yield
            finally:
                with suppress(exceptions.ConflictError):  # it was cancelled meanwhile
                    client.training.cancel(self._run_id)

    def _wait_to_its_end(self, client: Any, call: Call) -> Any:
        """Wait for the training, which is cancelled once it was looked at twice."""
        looks: list[object] = []

        def seen(run: object) -> None:
            looks.append(run)
            if len(looks) == 2:
                with self._direct("good") as other:
                    other.training.cancel(self._run_id)

        return client.training.wait(self._run_id, timeout=60, progress=seen)

    def _is_the_run(self, run_id: object) -> bool:
        return run_id == self._run_id

    def _cancelled_run(self) -> str:
        with self._direct("good") as client:
            return client.training.cancel(client.training.create("leaves", "v1", config=ENDLESS).id).id

    def _upload_again(self, client: Any, call: Call) -> Any:
        """Upload a file while the same upload, with the same key, is held in the middle."""
        path = self.folder / f"{call.marker}.png"
        path.write_bytes(_png() + bytes(1024 * 1024))
        told: Any = {"idempotency_key": f"{call.marker}-key"}
        go_on = threading.Event()

        def upload_first() -> None:
            with self._direct("good") as first:
                first.images.upload(self.dataset_id, path, progress=lambda sent, of: go_on.wait(30), **told)

        for earlier in self._twins:  # its claim would end while we count
            earlier.join(30)
        claims = self._claims()
        twin = threading.Thread(target=upload_first, daemon=True)
        self._twins.append(twin)
        twin.start()
        try:
            self._wait_for_more_than(claims)
        except TimeoutError:
            go_on.set()
            raise
        if isinstance(client, Client):
            with _at_last(go_on):
                return client.images.upload(self.dataset_id, path, **told)

        async def awaited() -> Any:
            with _at_last(go_on):
                return await client.images.upload(self.dataset_id, path, **told)

        return awaited()

    def _wait_for_more_than(self, claims: int) -> None:
        for _ in range(1000):
            if self._claims() > claims:
                return
            time.sleep(0.01)
        raise TimeoutError("the service did not begin to work on the first upload")

    def _upload(self, client: Any, call: Call) -> Any:
        return client.images.upload(self.dataset_id, self.image_file, name=call.marker)

    def _upload_changing(self, client: Any, call: Call) -> Any:
        path = self.folder / f"{call.marker}.png"
        path.write_bytes(_png() + bytes(4 * 1024 * 1024))

        def cut(sent: int, of: int | None) -> None:
            path.write_bytes(_png())

        return client.images.upload(self.dataset_id, path, progress=cut)

    def _upload_broken(self, client: Any, call: Call) -> Any:
        upload: Any = upload_folder if isinstance(client, Client) else upload_folder_async
        return upload(client, self.dataset_id, self.folder / "broken", progress=False)

    def _export(self, client: Any, call: Call) -> Any:
        return client.datasets.export(self.dataset_id, name=call.marker, idempotency_key=f"{call.marker}-key")

    def _upload_some(self, client: Any, call: Call) -> Any:
        """Upload three of five files, and be interrupted."""

        def stop(result: FileResult, done: int, total: int) -> None:
            if done == 3:
                raise _InterruptedError

        uploading = self._upload_five(client, call, stop)
        if isinstance(client, Client):
            with suppress(_InterruptedError):
                uploading()
            return None

        async def awaited() -> None:
            with suppress(_InterruptedError):
                await uploading()

        return awaited()

    def _upload_rest(self, client: Any, call: Call) -> Any:
        return self._upload_five(client, call, False)()

    def _upload_five(self, client: Any, call: Call, progress: Any) -> Callable[[], Any]:
        upload: Any = upload_folder if isinstance(client, Client) else upload_folder_async
        return lambda: upload(
            client, self.dataset_id, self.folder / "five", into=call.marker, skip_existing=True,
            concurrency=1, progress=progress,
        )  # fmt: skip


class _InterruptedError(Exception):
    """What ends an upload in the middle."""


@contextmanager
def _at_last(event: threading.Event) -> Iterator[None]:
    try:
        yield
    finally:
        event.set()


def _png() -> bytes:
    """A grey image of 16 x 16 pixels."""
    rows = zlib.compress((b"\0" + b"\x80" * 16) * 16)
    header = struct.pack(">IIBBBBB", 16, 16, 8, 0, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )


def _create_taken(client: Any, call: Call) -> Any:
    return client.datasets.create(f"{call.marker}-taken")


def _create_first(client: Any, call: Call) -> Any:
    return client.datasets.create(f"{call.marker}-first", idempotency_key=f"{call.marker}-key")


def _create_other(client: Any, call: Call) -> Any:
    return client.datasets.create(call.marker, idempotency_key=f"{call.marker}-key")


def _with_an_odd_key(client: Any, call: Call) -> Any:
    return client.datasets.create(call.marker, idempotency_key=f"{call.marker},{call.marker}")


def _with_key(value: str) -> Any:
    return lambda client, call: client._client.request(
        "GET", "/v1/datasets", headers={"authorization": value}
    )


def _list(client: Any, call: Call) -> Any:
    return client.datasets.list()


def _names_the_class(errors: list[dict[str, Any]]) -> bool:
    return ["body", "annotations", 0, "class"] in [error["loc"] for error in errors]


def _is_open(status: str) -> bool:
    return status in ("queued", "running")


def _is_long(seconds: float | None) -> bool:
    return seconds is not None and 120 < seconds <= 3660


subject = PictographSubject()
