"""
Decide how an answer becomes a file: no I/O, no clock, no dice. Drivers act on the effects.

Theory of operation. What comes is stored under another name, next to the file, which appears under its
own when it is whole and checked. After a break the flow asks for the rest (`Range`), on the condition
that it is still the same (`If-Range`): the service then sends the rest, or all of it from the start,
and never the rest of something else. Where it gives nothing to tell by, it is asked for from the
start.

A file is whole when the answer has ended in order and has as many bytes as were announced. If the
service has announced its digest, it is checked; what has another is thrown away.

What is there when it cannot go on stays there, if the rest can be asked for later: the error says
where, how much it is and what tells whether it is still the same.

Source:
    RFC 9110, section 14 (ranges), 13.1.5 (`If-Range`), 8.8 (validators); RFC 9530 (digests).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from os import PathLike
from pathlib import Path
from typing import Any, Generic, TypeVar

from failwell import headers
from failwell.call import outcome
from failwell.call.flow import repeats
from failwell.call.messages import Broken, Phase, Reason, Response, Sleep
from failwell.call.operation import Operation
from failwell.contract import effect_of, scrubbed
from failwell.errors import BadAnswerError, CallError, CallTimeoutError
from failwell.failure import Attempt, Failure
from failwell.operations.resuming import ResumePolicy
from failwell.operations.streams import Came, Connect, Read
from failwell.redaction import kept_headers, kept_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

    from failwell.contract import Contract

T = TypeVar("T")

_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)")
_DIGEST = re.compile(r"(sha-512|sha-256)\s*=\s*:([A-Za-z0-9+/=]+):", re.IGNORECASE)
# RFC 9110, section 8.8.2.2: a date is told apart from the next change if it is that much older.
_OLD_ENOUGH = 60.0
# Answers that are told of on an error.
_MOST_ATTEMPTS = 100


@dataclass(frozen=True, slots=True)
class Downloaded:
    """
    A file that was downloaded.

    Attributes:
        path: Where it is.
        size: Bytes.
        etag: The service's name for what it holds; None if it has none.
        content_type: What the service says it is; None if it does not say.
        checked: What its contents were held against: "sha-256" or "sha-512" (the service's digest),
            "length", or "" where the service announced neither.
    """

    path: Path
    size: int
    etag: str | None = None
    content_type: str | None = None
    checked: str = ""


def _itself(done: Downloaded) -> Any:
    return done


@dataclass(frozen=True, slots=True)
class Download(Generic[T]):
    """
    An answer that becomes a file.

    Attributes:
        get: Asks for it. Its `parse` is not asked; its `deadline` bounds the wait for one answer's head.
        to: The file. It appears when it is whole and checked.
        result: Turns what was downloaded into the result; by default it is it.
        policy: When an answer counts as broken, and how it goes on then.
        progress: Called after each piece with the bytes that are there and the bytes in all (None if
            that is not known). What it raises ends the download.
        resume: `failure.details` of the error of an earlier one, to go on with what it left.
        overwrite: Whether a file that is there is replaced; refused before anything is sent if not.
        max_bytes: The largest file taken; None for no limit.
    """

    get: Operation[Any]
    to: str | PathLike[str]
    result: Callable[[Downloaded], T] = _itself
    policy: ResumePolicy = field(default_factory=ResumePolicy)
    progress: Callable[[int, int | None], object] | None = None
    resume: Mapping[str, Any] | None = None
    overwrite: bool = True
    max_bytes: int | None = None

    def __repr__(self) -> str:
        return f"<Download {self.get!r}>"


@dataclass(slots=True)
class Store:
    """Effect: add a piece to what is there."""

    piece: bytes

    def __repr__(self) -> str:
        return f"<Store {len(self.piece)} bytes>"


@dataclass(slots=True)
class StartOver:
    """Effect: throw away what is there."""


@dataclass(slots=True)
class ReadBack:
    """Effect: read the next piece of what an earlier download left; it comes as a piece, b"" at the end."""


if TYPE_CHECKING:
    DownloadEffect = Connect | Read | Store | StartOver | ReadBack | Sleep
    DownloadFlow = Generator[DownloadEffect, Came, Downloaded]


def download_flow(
    download: Download[Any], contract: Contract, part: str, *, now: float, random: Callable[[], float]
) -> DownloadFlow:
    """
    Get a file until it is whole.

    Args:
        download: Which, and how it goes on.
        contract: Which failure is which exception.
        part: What the file is called until then.
        now: Monotonic seconds.
        random: Gives a number from 0 up to 1.

    Returns:
        By way of `StopIteration`, what was downloaded.

    Raises:
        CallError: the class the contract names for what broke the last answer, for an answer that is
            not what was announced, or for the deadline; what asking raised. What is there, and how to
            go on with it, is in `failure.details`.
    """
    policy = download.policy
    idle = inf if policy.idle is None else policy.idle
    until = inf if policy.deadline is None else now + policy.deadline
    getting = _Getting(download, contract, part, now)
    breaks = 0

    while True:
        # 1. Ask for it, or for the rest of it.
        began, operation = now, getting.operation()
        came = yield Connect(
            operation, getting.tries > 0, _shorter(operation.deadline, until - now), idle, until
        )
        now = came.now
        getting.answered(came, began)
        error = came.error
        if error is not None:
            if getting.is_range_refused():
                yield StartOver()
                getting.start_over()
                continue
            if getting.tries == 1 or not error.retryable:
                raise getting.told(error)
        else:
            # 2. Take it.
            if getting.begins_anew():
                yield StartOver()
                getting.start_over()
            getting.begin()
            while getting.must_read_back():
                getting.read_back((yield ReadBack()).piece)
            while True:
                came = yield Read()
                now, piece = came.now, came.piece
                getting.latest = now
                if not piece or isinstance(piece, Broken):
                    break
                yield Store(piece)
                if getting.take(piece):
                    breaks = 0
            if not piece and getting.is_whole():
                return getting.checked()
            getting.broke(piece)

        # 3. It broke. Is there time to go on?
        breaks += 1
        asked = None if error is None else error.retry_after
        if now >= until:
            raise getting.timed_out(now) from getting.cause()
        if breaks > policy.reconnects or (asked is not None and asked > policy.max_wait):
            raise getting.lost(
                "reconnects_exhausted" if asked is None else "retry_after"
            ) from getting.cause()
        delay = policy.delay(breaks, asked, random)
        if now + delay >= until:
            raise getting.timed_out(now) from getting.cause()
        now = (yield Sleep(delay, getting.broken_off(delay), getting.words())).now
        if now >= until:  # a busy machine sleeps longer than it was asked to
            raise getting.timed_out(now) from getting.cause()


def _shorter(stated: float | None, left: float) -> float | None:
    if stated is not None:
        return min(stated, left)
    return None if left == inf else left


class _Getting:
    """
    What is known of a file that is being downloaded.

    Attributes:
        tries: How often it was asked for.
        latest: Monotonic seconds of what came last.
    """

    def __init__(self, download: Download[Any], contract: Contract, part: str, now: float) -> None:
        self.tries = 0
        self._download = download
        self._contract = contract
        self._part = part
        self._began = self._since = self.latest = now
        self._attempts: list[Attempt] = []
        left = download.resume or {}
        self._etag: str | None = left.get("etag")
        self._modified: str | None = left.get("last_modified")
        self._size: int | None = left.get("size")
        self._received: int = left.get("received", 0)
        self._unread = 0  # of what is there, for the digest
        self._best = self._received
        self._response: Response | None = None
        self._error: CallError | None = None
        self._broken: Broken | None = None
        self._secrets: tuple[str, ...] = ()
        self._coded = False
        self._hash: Any = None
        self._algorithm = ""
        self._digest = ""

    # --- asking ---

    def operation(self) -> Operation[Any]:
        """What to ask next."""
        get = self._download.get
        # Of a compressed answer, the bytes that were announced would not be those that are stored.
        fields = {"accept": "*/*", "accept-encoding": "identity"}
        if self._received and (validator := self._etag or self._modified):
            fields |= {"range": f"bytes={self._received}-", "if-range": validator}
        return replace(get, headers=fields | dict(get.headers))

    def answered(self, came: Came, began: float) -> None:
        """Take what asking brought, which began at `began`."""
        self.tries += 1
        self._since, self.latest = began, came.now
        self._response, self._error, self._broken = came.response, came.error, None
        self._secrets = came.secrets or self._secrets

    def is_range_refused(self) -> bool:
        """Whether the service has nothing behind what is there: then it is another file, or all is here."""
        return self._error is not None and self._error.status == 416 and self._received > 0

    def begins_anew(self) -> bool:
        """Whether what is there is of no use: the answer is not what comes behind it."""
        response = self._response
        assert response is not None
        if response.status != 206:
            return self._received > 0
        found = _RANGE.fullmatch(response.headers.get("content-range", "").strip())
        etag = _strong(response.headers.get("etag"))
        same = etag is None or self._etag is None or etag == self._etag
        if found is None or int(found[1]) != self._received or not same:
            text = f"{outcome.WORDS[Reason.FORMAT]}: it is another part of the file than was asked for"
            raise self._failed(BadAnswerError, text, Reason.FORMAT.value, "not_retryable", kept=False)
        return False

    def start_over(self) -> None:
        """Nothing is there any more."""
        self._received = self._unread = 0
        self._etag = self._modified = self._size = self._hash = None
        self._algorithm = self._digest = ""

    def begin(self) -> None:
        """Take the head of an answer."""
        response = self._response
        assert response is not None
        fields = response.headers
        coding = fields.get("content-encoding", "identity").strip().lower()
        self._coded = coding not in ("", "identity")
        announced = fields.get("content-length", "")
        part = _RANGE.fullmatch(fields.get("content-range", "").strip()) if response.status == 206 else None
        if part is not None:
            self._size = None if part[3] == "*" else int(part[3])
        elif announced.isascii() and announced.isdigit() and "transfer-encoding" not in fields:
            self._size = None if self._coded else int(announced)
        self._etag = None if self._coded else _strong(fields.get("etag")) or self._etag
        self._modified = None if self._coded else _old_enough(fields) or self._modified
        most = self._download.max_bytes
        if most is not None and self._size is not None and self._size > most:
            raise self._too_large(most)
        # The digest of a part is not that of the file.
        told = fields.get("repr-digest") or (fields.get("content-digest") if response.status != 206 else None)
        found = None if told is None or self._coded or self._hash is not None else _DIGEST.search(told)
        if found is not None:
            import hashlib

            self._algorithm, self._digest = found[1].lower(), found[2]
            self._hash = hashlib.new(self._algorithm.replace("-", ""))
            self._unread = self._received

    # --- what comes ---

    def must_read_back(self) -> bool:
        """Whether the digest lacks something of what is there."""
        return self._hash is not None and self._unread > 0

    def read_back(self, piece: bytes | Broken | None) -> None:
        """Take a piece of what is there."""
        assert isinstance(piece, bytes)
        self._hash.update(piece)
        self._unread = max(0, self._unread - len(piece)) if piece else 0

    def take(self, piece: bytes) -> bool:
        """Take a piece that was stored; whether it is further than ever before."""
        download = self._download
        self._received += len(piece)
        if self._hash is not None:
            self._hash.update(piece)
        if self._size is not None and self._received > self._size:
            text = f"{outcome.WORDS[Reason.FORMAT]}: {self._received} bytes came of {self._size}"
            raise self._failed(BadAnswerError, text, Reason.FORMAT.value, "not_retryable", kept=False)
        if download.max_bytes is not None and self._received > download.max_bytes:
            raise self._too_large(download.max_bytes)
        if download.progress is not None:
            download.progress(self._received, self._size)
        if self._received <= self._best:
            return False
        self._best = self._received
        return True

    def is_whole(self) -> bool:
        """Whether an answer that has ended in order has brought all of it."""
        return self._size is None or self._received == self._size

    def checked(self) -> Downloaded:
        """
        What was downloaded.

        Raises:
            CallError: it is not what the service says it is.
        """
        from base64 import b64encode

        response = self._response
        assert response is not None
        if self._hash is not None:
            found = b64encode(self._hash.digest()).decode()
            if found != self._digest:
                what = f"its {self._algorithm} is {found}, not {self._digest}"
                text = f"The file is not what was announced: {what}"
                raise self._failed(BadAnswerError, text, "digest", "not_retryable", kept=False)
        return Downloaded(
            Path(self._download.to),
            self._received,
            response.headers.get("etag"),
            response.headers.get("content-type"),
            self._algorithm or ("" if self._size is None else "length"),
        )

    def broke(self, piece: bytes | Broken | None) -> None:
        """Take the end of an answer that did not bring all."""
        if isinstance(piece, Broken):
            self._broken = piece
        else:
            self._broken = Broken(Phase.ANSWERED, Reason.CUT, received=self._received, expected=self._size)

    def broken_off(self, wait: float) -> Attempt:
        """Note how an answer went that is gone on with after `wait` seconds."""
        attempt = self._attempt("status" if self._broken is None else self._broken.reason.value, wait)
        self._attempts = [*self._attempts[1 - _MOST_ATTEMPTS :], attempt]
        return attempt

    def _attempt(self, outcome: str, wait: float = 0.0, stopped: str = "") -> Attempt:
        """How the last answer went."""
        error, response = self._error, self._response
        return Attempt(
            number=self.tries,
            start=self._since - self._began,
            duration=self.latest - self._since,
            outcome=outcome,
            status=response.status if response is not None else error.status if error is not None else None,
            request_id=self._request_id(),
            wait=wait,
            stopped=stopped,
        )

    def _told_attempts(self, reason: str, why: str) -> tuple[Attempt, ...]:
        """How all answers went; the last one, which may have been noted, ends it."""
        earlier = (attempt for attempt in self._attempts if attempt.number != self.tries)
        return (*earlier, self._attempt(reason, stopped=why))

    def _request_id(self) -> str | None:
        return None if self._response is None else headers.request_id(self._response.headers)

    def words(self) -> str:
        """What went wrong with the last answer."""
        if self._error is not None:
            return self._error.headline()
        return "" if self._broken is None else outcome.words(self._broken)

    # --- errors ---

    def told(self, error: CallError) -> CallError:
        """`error` of asking, with what is there."""
        error.failure = replace(error.failure, details={**self._details(), **error.failure.details})
        return error

    def lost(self, why: str) -> CallError:
        """The error of a download that cannot go on."""
        if self._error is not None:
            error = self.told(self._error)
            error.failure = replace(error.failure, stopped=why)
            return error
        assert self._broken is not None
        of = "" if self._size is None else f" of {self._size}"
        text = (
            f"{outcome.words(self._broken)}: {self._received}{of} bytes are there, after {self.tries} answers"
        )
        standard = outcome.STANDARD_CLASS[self._broken.reason]
        return self._failed(standard, text, self._broken.reason.value, why, kept=True)

    def timed_out(self, now: float) -> CallError:
        """The error of a download that was not whole in time."""
        of = "" if self._size is None else f" of {self._size}"
        text = f"The file was not whole after {now - self._began:.1f} s: {self._received}{of} bytes are there"
        return self._failed(CallTimeoutError, text, Reason.DEADLINE.value, "deadline", kept=True)

    def cause(self) -> BaseException | None:
        """What the last break was caused by."""
        exc = None if self._broken is None else self._broken.cause
        return None if repeats(exc, self._secrets) else exc

    def _too_large(self, most: int) -> CallError:
        text = f"{outcome.WORDS[Reason.TOO_LARGE]}: more than {most} bytes"
        return self._failed(BadAnswerError, text, Reason.TOO_LARGE.value, "not_retryable", kept=False)

    def _failed(
        self, standard: type[CallError], text: str, reason: str, why: str, *, kept: bool
    ) -> CallError:
        response, method = self._response, self._download.get.method
        failure = Failure(
            method=method,
            url=kept_url(response.url) if response is not None and response.url else None,
            status=None if response is None else response.status,
            headers={} if response is None else kept_headers(response.headers),
            message=text,
            request_id=self._request_id(),
            reason=reason,
            attempts=self._told_attempts(reason, why),
            effect=effect_of(method, 200),
            retryable=why != "not_retryable",
            stopped=why,
            details=self._details() if kept else {},
        )
        if self._secrets:
            failure = scrubbed(failure, self._secrets)
        return self._contract.class_for(standard).from_failure(failure)

    def _details(self) -> dict[str, Any]:
        """What is there, if something can be done with it."""
        if not self._received or not (self._etag or self._modified):
            return {}
        return {
            "part": self._part,
            "received": self._received,
            "size": self._size,
            "etag": self._etag,
            "last_modified": self._modified,
        }


def _strong(etag: str | None) -> str | None:
    """An entity tag by which two parts can be told to be of the same; None for a weak one."""
    return etag if etag is not None and etag.startswith('"') else None


def _old_enough(fields: Mapping[str, str]) -> str | None:
    """When it was changed last, if a change after that would have another date."""
    modified, date = fields.get("last-modified"), fields.get("date")
    if modified is None or date is None:
        return None
    then, now = headers.http_date(modified), headers.http_date(date)
    if then is None or now is None or (now - then).total_seconds() < _OLD_ENOUGH:
        return None
    return modified
