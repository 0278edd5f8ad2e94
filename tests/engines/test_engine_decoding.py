"""Content encodings: undone whole, or refused."""

from __future__ import annotations

import contextlib
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell.call.messages import Reason
from failwell.engines.decoding import Head, UndecodableError, decoded

LIMIT = 100_000


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


def reason_of(body: bytes, coding: str, limit: int = LIMIT) -> Reason:
    with pytest.raises(UndecodableError) as caught:
        decoded(body, coding, limit)
    return caught.value.reason


@given(st.binary(max_size=2000))
def test_what_was_encoded_comes_back(body: bytes) -> None:
    assert decoded(gzip.compress(body), "gzip", LIMIT) == body
    assert decoded(zlib.compress(body), "deflate", LIMIT) == body
    assert decoded(raw_deflate(body), "deflate", LIMIT) == body
    assert decoded(zlib.compress(gzip.compress(body)), "gzip, deflate", LIMIT) == body
    assert decoded(body, "identity", LIMIT) == body


@given(st.binary(min_size=1, max_size=500), st.data())
def test_no_part_of_a_body_passes_for_the_whole(body: bytes, data: st.DataObject) -> None:
    """
    Wherever a compressed body is cut, it is refused: six Python stacks return what they have.
    """
    for coding, whole in (("gzip", gzip.compress(body)), ("deflate", zlib.compress(body))):
        part = whole[: data.draw(st.integers(1, len(whole) - 1))]

        assert reason_of(part, coding) is Reason.ENCODING


@given(st.binary(max_size=300), st.sampled_from(["gzip", "deflate", "x-gzip", "br", "gzip,gzip", ",,", "?"]))
def test_any_bytes_are_decoded_or_refused(body: bytes, coding: str) -> None:
    """
    Nothing else is raised, and nothing above the limit comes out.
    """
    with contextlib.suppress(UndecodableError):
        assert len(decoded(body, coding, 1000)) <= 1000


def test_a_body_that_grows_past_the_limit_is_too_large() -> None:
    """
    A bomb of 10 MB in 10 kB is stopped at the limit, not after it; so is one made of members.
    """
    assert reason_of(gzip.compress(b"\0" * 10_000_000), "gzip") is Reason.TOO_LARGE
    assert reason_of(gzip.compress(b"\0" * 60_000) * 2, "gzip") is Reason.TOO_LARGE
    assert len(decoded(gzip.compress(b"\0" * LIMIT), "gzip", LIMIT)) == LIMIT


def test_an_empty_body_is_empty_whatever_its_coding() -> None:
    assert decoded(b"", "gzip", LIMIT) == b""
    assert decoded(b"", "br", LIMIT) == b""


def test_what_follows_a_body_is_refused() -> None:
    """
    Zeros after gzip are padding, which gzip itself ignores; anything else is not ours.
    """
    assert decoded(gzip.compress(b"a") + b"\0" * 10, "gzip", LIMIT) == b"a"
    assert reason_of(gzip.compress(b"a") + b"junk", "gzip") is Reason.ENCODING
    assert reason_of(zlib.compress(b"a") + b"junk", "deflate") is Reason.ENCODING


def test_many_members_or_many_codings_are_refused() -> None:
    """
    Each costs a copy of the rest: a body of tiny ones must not take quadratic time.
    """
    assert decoded(gzip.compress(b"a") * 64, "gzip", LIMIT) == b"a" * 64
    assert reason_of(gzip.compress(b"a") * 65, "gzip") is Reason.ENCODING
    assert reason_of(b"a", ",".join(["gzip"] * 5)) is Reason.ENCODING


def test_a_coding_nobody_asked_for_is_refused() -> None:
    assert reason_of(b"a", "br") is Reason.ENCODING
    assert reason_of(gzip.compress(b"a"), "br, gzip") is Reason.ENCODING


def test_a_head_says_length_and_codings() -> None:
    """
    In any case; several fields are one list; a length that is none, or absurd, is not said.
    """
    head = Head(
        [(b"Content-Length", b"12"), (b"CONTENT-ENCODING", b"deflate"), (b"content-encoding", b"gzip")]
    )
    assert (head.expected, head.coding) == (12, b"deflate,gzip")
    for value in (b"", b"-1", b"1 2", b"9" * 5000):
        assert Head([(b"content-length", value)]).expected is None
