"""The flow that makes a file of an answer: played by hand, without I/O, clock or dice."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from failwell import (
    BadAnswerError,
    CallError,
    CallTimeoutError,
    Download,
    Downloaded,
    Failure,
    InvalidRequestError,
    NotFoundError,
    Operation,
    ResumePolicy,
    UnavailableError,
)
from failwell.call.messages import Broken, Phase, Reason, Response, Sleep
from failwell.contract import STANDARD
from failwell.operations.downloads import ReadBack, StartOver, Store, download_flow
from failwell.operations.streams import Came, Connect, Read

TAG = '"v1"'
FILE: Download[Any] = Download(
    Operation("GET", "/files/7"), "video.mp4", policy=ResumePolicy(wait=0.0, reconnects=3)
)
CUT = Broken(Phase.ANSWERED, Reason.CUT, ConnectionResetError("reset"), 200, received=3, expected=9)
END = b""


def head(status: int = 200, **headers: str) -> Response:
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, list(fields.items()), b"", "https://api.example/files/7?key=s3cr3t")


def whole(size: int = 9, **headers: str) -> Response:
    return head(content_length=str(size), **{"etag": TAG, **headers})


def rest(start: int, size: int = 9, **headers: str) -> Response:
    """The answer that begins at `start`."""
    fields = {"etag": TAG, "content_range": f"bytes {start}-{size - 1}/{size}", **headers}
    return head(206, content_length=str(size - start), **fields)


def digest(data: bytes, name: str = "sha-256") -> str:
    found = hashlib.new(name.replace("-", ""), data).digest()
    return f"{name}=:{base64.b64encode(found).decode()}:"


class Played:
    """A download, played: `Connect` gets the next entry of `script`, `Read` what stands behind it."""

    def __init__(self, download: Download[Any], *script: Any, there: bytes = b"") -> None:
        self.file = bytearray(there)
        self.asked: list[tuple[str | None, str | None]] = []
        self.connects: list[Connect] = []
        self.sleeps: list[float] = []
        self.error: CallError | None = None
        self.done: Downloaded | None = None
        self._read = 0
        self._now = 100.0
        self._script = iter(script)
        self._pieces: Iterator[Any] = iter(())
        flow = download_flow(download, STANDARD, "/x/.part", now=self._now, random=lambda: 1.0)
        try:
            effect = next(flow)
            while True:
                effect = flow.send(self._answered(effect))
        except StopIteration as stop:
            self.done = stop.value
        except CallError as exc:
            self.error = exc

    def _answered(self, effect: Any) -> Came:
        if isinstance(effect, Sleep):
            self._now += effect.seconds
            self.sleeps.append(effect.seconds)
        elif isinstance(effect, Store):
            self.file += effect.piece
        elif isinstance(effect, StartOver):
            self.file.clear()
        elif isinstance(effect, ReadBack):
            piece = bytes(self.file[self._read : self._read + 2])
            self._read += 2
            return Came(self._now, piece=piece)
        elif isinstance(effect, Read):
            piece = next(self._pieces)
            while isinstance(piece, float):
                self._now += piece
                piece = next(self._pieces)
            return Came(self._now, piece=piece)
        else:
            assert isinstance(effect, Connect)
            self.connects.append(effect)
            fields = dict(effect.operation.headers)
            self.asked.append((fields.get("range"), fields.get("if-range")))
            news = next(self._script)
            if isinstance(news, CallError):
                return Came(self._now, error=news)
            first, *pieces = news if isinstance(news, tuple) else (news,)
            self._pieces = iter(pieces)
            return Came(self._now, response=first, secrets=("s3cr3t",))
        return Came(self._now)


def test_a_file_is_whole_with_the_bytes_that_were_announced() -> None:
    played = Played(FILE, (whole(content_type="video/mp4"), b"abc", b"def", b"ghi", END))

    assert b"abcdefghi" == played.file
    assert Downloaded(Path("video.mp4"), 9, TAG, "video/mp4", "length") == played.done
    assert "identity" == played.connects[0].operation.headers["accept-encoding"]
    assert [(None, None)] == played.asked


def test_after_a_break_the_rest_is_asked_for_if_it_is_still_the_same() -> None:
    played = Played(FILE, (whole(), b"abc", CUT), (rest(3), b"def", CUT), (rest(6), b"ghi", END))

    assert b"abcdefghi" == played.file
    assert [(None, None), ("bytes=3-", TAG), ("bytes=6-", TAG)] == played.asked
    assert played.done is not None
    assert [False, True, True] == [c.again for c in played.connects]


def test_what_has_changed_meanwhile_comes_from_its_start() -> None:
    played = Played(FILE, (whole(), b"abc", CUT), (whole(4, etag='"v2"'), b"wxyz", END))

    assert b"wxyz" == played.file
    assert Downloaded(Path("video.mp4"), 4, '"v2"', None, "length") == played.done


@pytest.mark.parametrize(
    ("headers", "validator"),
    [
        ({"etag": 'W/"v1"'}, None),
        ({"etag": ""}, None),
        (
            {
                "etag": "",
                "last_modified": "Sat, 21 Nov 2026 08:00:00 GMT",
                "date": "Sat, 21 Nov 2026 12:00:00 GMT",
            },
            "Sat, 21 Nov 2026 08:00:00 GMT",
        ),
        (
            {
                "etag": "",
                "last_modified": "Sat, 21 Nov 2026 11:59:30 GMT",
                "date": "Sat, 21 Nov 2026 12:00:00 GMT",
            },
            None,
        ),
        ({"etag": "", "last_modified": "yesterday", "date": "Sat, 21 Nov 2026 12:00:00 GMT"}, None),
        ({"content_encoding": "gzip"}, None),
    ],
    ids=["weak", "none", "a date", "a date too fresh", "no date", "compressed"],
)
def test_only_what_tells_for_sure_makes_a_condition(headers: dict[str, str], validator: str | None) -> None:
    """RFC 9110, sections 8.8.1, 8.8.2.2 and 13.1.5; without one, it comes from the start again."""
    again = rest(3) if validator else whole(**headers)
    played = Played(
        FILE, (whole(**headers), b"abc", CUT), (again, b"defghi" if validator else b"abcdefghi", END)
    )

    assert b"abcdefghi" == played.file
    assert ("bytes=3-" if validator else None, validator) == played.asked[1]


@pytest.mark.parametrize(
    "wrong",
    [rest(4), rest(0), rest(3, content_range="items 3-8/9"), rest(3, content_range=""), rest(3, etag='"v2"')],
    ids=["further on", "from the start", "not bytes", "not said", "of another"],
)
def test_a_part_that_was_not_asked_for_is_not_taken(wrong: Response) -> None:
    played = Played(FILE, (whole(), b"abc", CUT), (wrong, b"def", END))

    assert isinstance(played.error, BadAnswerError)
    assert "another part of the file" in str(played.error)
    assert b"abc" == played.file
    assert {} == dict(played.error.failure.details), "nothing is kept that cannot be trusted"


def test_a_range_that_is_refused_begins_anew() -> None:
    refused = InvalidRequestError.from_failure(Failure(status=416))
    played = Played(FILE, (whole(), b"abc", CUT), refused, (whole(2), b"xy", END))

    assert b"xy" == played.file
    assert (None, None) == played.asked[2]
    assert [0.0] == played.sleeps


def test_the_end_of_an_answer_that_lacks_something_is_a_break() -> None:
    """Chunked, then without one byte: the service says how much there is only with the part."""
    played = Played(
        FILE,
        (head(etag=TAG, transfer_encoding="chunked"), b"abc", CUT),
        (rest(3), b"def", END),
        (rest(6), b"ghi", END),
    )

    assert b"abcdefghi" == played.file
    assert "length" == (played.done.checked if played.done else None)


def test_without_a_length_the_end_of_the_answer_is_the_end() -> None:
    played = Played(FILE, (head(transfer_encoding="chunked", content_length="3"), b"abcdef", END))

    assert (b"abcdef", "") == (played.file, played.done.checked if played.done else None)


@pytest.mark.parametrize("name", ["sha-256", "sha-512"])
@pytest.mark.parametrize("field", ["content_digest", "repr_digest"])
def test_a_digest_that_is_announced_is_checked(name: str, field: str) -> None:
    good = digest(b"abcdefghi", name)
    played = Played(FILE, (whole(**{field: f"md5=:xx==:, {good}"}), b"abc", CUT), (rest(3), b"defghi", END))
    assert name == (played.done.checked if played.done else None)

    bad = Played(FILE, (whole(**{field: good}), b"abcdefghX", END))
    assert isinstance(bad.error, BadAnswerError)
    assert "The file is not what was announced" in str(bad.error)
    assert ("digest", {}) == (bad.error.failure.reason, dict(bad.error.failure.details))


def test_the_digest_of_a_part_is_not_that_of_the_file() -> None:
    part = rest(3, content_digest=digest(b"defghi"))
    played = Played(FILE, (whole(), b"abc", CUT), (part, b"defghi", END))

    assert "length" == (played.done.checked if played.done else None)


def test_a_digest_that_comes_late_is_held_against_all_that_is_there() -> None:
    part = rest(3, repr_digest=digest(b"abcdefghi"))
    played = Played(FILE, (whole(), b"abc", CUT), (part, b"defghi", END))

    assert "sha-256" == (played.done.checked if played.done else None)


def test_more_bytes_than_announced_are_not_taken() -> None:
    played = Played(FILE, (whole(4), b"abcdef", END))

    assert isinstance(played.error, BadAnswerError)
    assert "6 bytes came of 4" in str(played.error)


@pytest.mark.parametrize(
    "answer", [whole(9), head(transfer_encoding="chunked")], ids=["announced", "chunked"]
)
def test_no_more_is_taken_than_allowed(answer: Response) -> None:
    played = Played(replace(FILE, max_bytes=5), (answer, b"abc", b"def", END))

    assert isinstance(played.error, BadAnswerError)
    assert "too_large" == played.error.failure.reason


def test_progress_is_told_and_may_begin_again() -> None:
    told: list[tuple[int, int | None]] = []
    download = replace(FILE, progress=lambda *facts: told.append(facts))
    Played(download, (whole(etag=""), b"abc", CUT), (whole(etag=""), b"abcdef", b"ghi", END))

    assert [(3, 9), (6, 9), (9, 9)] == told


# --- what cannot go on ---


def test_an_error_says_what_is_there_and_an_earlier_one_is_gone_on_with() -> None:
    cut = (rest(3), CUT)
    played = Played(FILE, (whole(), b"abc", CUT), cut, cut, cut)

    assert isinstance(played.error, BadAnswerError)
    assert "3 of 9 bytes are there, after 4 answers" in str(played.error)
    assert "reconnects_exhausted" == played.error.failure.stopped
    assert isinstance(played.error.__cause__, ConnectionResetError)
    left = dict(played.error.failure.details)
    assert {"part": "/x/.part", "received": 3, "size": 9, "etag": TAG, "last_modified": None} == left

    again = Played(
        replace(FILE, resume=left), (rest(3, repr_digest=digest(b"abcdefghi")), b"defghi", END), there=b"abc"
    )
    assert b"abcdefghi" == again.file
    assert [("bytes=3-", TAG)] == again.asked
    assert "sha-256" == (again.done.checked if again.done else None)


def test_an_error_tells_of_every_answer() -> None:
    good = digest(b"abcdefghi")
    policy = ResumePolicy(wait=2.0)
    cut_off = Played(
        replace(FILE, policy=policy),
        (whole(content_digest=good, x_request_id="r1"), b"abc", 1.5, CUT),
        (rest(3, x_request_id="r2"), b"defghX", END),
    )

    assert cut_off.error is not None
    assert [
        (1, 0.0, 1.5, "cut", 200, "r1", 2.0, ""),
        (2, 3.5, 0.0, "digest", 206, "r2", 0.0, "not_retryable"),
    ] == [
        (a.number, a.start, a.duration, a.outcome, a.status, a.request_id, a.wait, a.stopped)
        for a in cut_off.error.attempts
    ]


def test_the_last_answer_is_told_of_once() -> None:
    download = replace(FILE, policy=ResumePolicy(reconnects=0))
    lost = Played(download, (whole(), b"abc", CUT))

    assert lost.error is not None
    assert [(1, "cut", "reconnects_exhausted")] == [
        (a.number, a.outcome, a.stopped) for a in lost.error.attempts
    ]


def test_what_cannot_be_gone_on_with_is_not_kept() -> None:
    played = Played(replace(FILE, policy=ResumePolicy(reconnects=0)), (whole(etag=""), b"abc", CUT))

    assert played.error is not None
    assert {} == dict(played.error.failure.details)


def test_a_file_that_begins_anew_each_time_does_not_go_on_for_ever() -> None:
    """Without a condition each answer begins at the start: only what gets further than ever is progress."""
    same = (whole(etag=""), b"abc", CUT)
    played = Played(FILE, same, (whole(etag=""), b"abcdef", CUT), same, same, same, same)

    assert isinstance(played.error, BadAnswerError)
    assert "3 of 9 bytes are there, after 5 answers" in str(played.error)
    assert 4 == len(played.sleeps)


def test_asking_that_fails_is_raised_as_what_it_is() -> None:
    gone = NotFoundError.from_failure(Failure(status=404))
    assert Played(FILE, gone).error is gone

    later = NotFoundError.from_failure(Failure(status=404))
    played = Played(FILE, (whole(), b"abc", CUT), later)
    assert played.error is later
    assert 3 == later.failure.details["received"]


def busy(retry_after: float | None = None) -> CallError:
    return UnavailableError.from_failure(Failure(status=503, retryable=True, retry_after=retry_after))


def test_asking_that_may_succeed_later_counts_as_a_break() -> None:
    played = Played(FILE, (whole(), b"abc", CUT), busy(5.0), (rest(3), b"defghi", END))
    assert b"abcdefghi" == played.file
    assert [0.0, 6.0] == played.sleeps

    lost = Played(FILE, (whole(), b"abc", CUT), busy(), busy(), busy())
    assert isinstance(lost.error, UnavailableError)
    assert ("reconnects_exhausted", 3) == (lost.error.failure.stopped, lost.error.failure.details["received"])

    asked = Played(FILE, (whole(), b"abc", CUT), busy(1000.0))
    assert asked.error is not None
    assert "retry_after" == asked.error.failure.stopped


def test_the_deadline_is_for_all_of_it() -> None:
    late = Broken(Phase.ANSWERED, Reason.DEADLINE, None, 200)
    download = replace(FILE, policy=ResumePolicy(deadline=10.0, wait=0.0))
    played = Played(download, (whole(), 6.0, b"abc", CUT), (rest(3), 5.0, late))

    assert isinstance(played.error, CallTimeoutError)
    assert "was not whole after 11.0 s: 3 of 9 bytes are there" in str(played.error)
    assert 3 == played.error.failure.details["received"]
    assert [110.0, 110.0] == [c.until for c in played.connects]


def test_no_wait_is_begun_that_nothing_can_follow() -> None:
    download = replace(FILE, policy=ResumePolicy(deadline=10.0, wait=5.0, idle=None))
    played = Played(download, (whole(), 7.0, b"abc", CUT))

    assert isinstance(played.error, CallTimeoutError)
    assert [] == played.sleeps


def test_a_machine_that_oversleeps_does_not_begin_after_the_deadline() -> None:
    download = replace(FILE, policy=ResumePolicy(deadline=10.0, wait=1.0))
    flow = download_flow(download, STANDARD, "/x", now=0.0, random=lambda: 1.0)
    assert isinstance(next(flow), Connect)
    assert isinstance(flow.send(Came(0.0, response=whole())), Read)
    assert isinstance(flow.send(Came(0.0, piece=CUT)), Sleep)

    with pytest.raises(CallTimeoutError) as caught:
        flow.send(Came(11.0))
    assert [(1, "deadline")] == [(a.number, a.stopped) for a in caught.value.attempts]


def test_what_is_secret_is_on_no_error() -> None:
    broken = replace_cause(CUT, ConnectionResetError("reset s3cr3t"))
    played = Played(replace(FILE, policy=ResumePolicy(reconnects=0)), (whole(), b"abc", broken))

    assert played.error is not None
    assert "s3cr3t" not in f"{played.error} {played.error.failure}"
    assert played.error.__cause__ is None


def replace_cause(broken: Broken, cause: BaseException) -> Broken:
    return Broken(broken.phase, broken.reason, cause, broken.status, (), broken.received, broken.expected)


def test_the_operations_own_deadline_bounds_the_wait_for_one_head() -> None:
    download = replace(FILE, get=replace(FILE.get, deadline=4.0), policy=ResumePolicy(deadline=10.0))

    assert 4.0 == Played(download, (whole(0), END)).connects[0].deadline


def test_a_download_shows_no_more_than_its_operation_does() -> None:
    assert "<Download <Operation GET /files/7>>" == repr(FILE)
    assert "<Store 3 bytes>" == repr(Store(b"abc"))
