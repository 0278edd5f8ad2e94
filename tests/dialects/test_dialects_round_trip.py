"""What a dialect writes it reads back, as far as it has a place for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from failwell import dialects
from failwell.answer import Answer
from failwell.dialects.words import is_phrase
from failwell.failure import Failure, FieldError

if TYPE_CHECKING:
    from failwell.dialects.base import Dialect, Said


class Carries(NamedTuple):
    """
    Which facts a dialect has a place for.

    `with_fields` says what becomes of message and code if there are fields: "kept", or "first" if
    the first field's stand for them.
    """

    code: bool = True
    fields: bool = True
    field_codes: bool = True
    request_id: bool = False
    with_fields: str = "kept"


# Nineteen dialects share a table; a few dozen examples of each find what hundreds of one would.
quick = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))

# Every limit stands in the dialect's own docstring, too.
CARRIES = {
    "problem": Carries(request_id=True),
    "fastapi": Carries(with_fields="first"),
    "google": Carries(request_id=True),
    "jsonapi": Carries(request_id=True, with_fields="first"),
    "oauth": Carries(fields=False),
    "odata": Carries(request_id=True),
    "graphql": Carries(request_id=True),
    "jsonrpc": Carries(request_id=True),
    "aws": Carries(field_codes=False),
    "aws_xml": Carries(fields=False, request_id=True),
    "soap": Carries(fields=False),
    "xmlrpc": Carries(fields=False),
    "spring": Carries(code=False),
    "drf": Carries(field_codes=False, with_fields="first"),
    "laravel": Carries(code=False, field_codes=False),
    "rails": Carries(code=False, field_codes=False),
    "envelope": Carries(request_id=True),
    "flat": Carries(request_id=True),
    "text": Carries(code=False, fields=False),
}

# Text that begins like a document is read as one, in the dialects that have no frame around it.
letters = st.characters(codec="utf-8", exclude_categories=("C", "Z", "M"), exclude_characters="{}[]<>\u0085")
words = st.text(letters, min_size=1, max_size=12)
sentences = st.lists(words, min_size=2, max_size=8).map(" ".join).filter(lambda s: not is_phrase(s))
codes = st.from_regex(r"[a-z]{2,8}_[a-z]{2,8}(_[a-z]{2,8})?", fullmatch=True)
names = st.from_regex(r"x_[a-z]{1,6}", fullmatch=True)
paths = st.builds(
    lambda first, rest: (first, *rest), names, st.lists(st.one_of(names, st.integers(0, 99)), max_size=3)
)
fields = st.lists(
    st.builds(FieldError, paths, sentences, st.one_of(st.none(), codes)),
    max_size=4,
    unique_by=lambda f: f.path[0],
).map(tuple)
request_ids = st.one_of(st.none(), st.from_regex(r"req_[0-9a-f]{12}", fullmatch=True))
failures = st.builds(
    Failure,
    status=st.sampled_from([400, 404, 409, 422, 500]),
    message=sentences,
    code=st.one_of(st.none(), codes),
    fields=fields,
    request_id=request_ids,
)


def test_every_dialect_is_in_the_table() -> None:
    assert set(CARRIES) == set(dialects.DIALECTS)


@pytest.mark.parametrize("name", CARRIES)
@quick
@given(failure=failures)
def test_reads_what_it_wrote(name: str, failure: Failure) -> None:
    dialect, carries = dialects.DIALECTS[name], CARRIES[name]
    if not carries.fields and failure.fields:
        assume(False)

    said = _read_back(dialect, failure)

    message, code = failure.message, failure.code
    if failure.fields and carries.with_fields == "first":
        message, code = failure.fields[0].message, None
        if name == "jsonapi":
            code = failure.fields[0].code
    assert message == said.message
    if carries.code and (code is not None or name not in _HAS_DEFAULT_CODE):
        assert code == said.code
    assert _told(failure.fields, carries.field_codes) == _told(said.fields, carries.field_codes)
    if carries.request_id:
        assert failure.request_id == said.request_id


# These must have a code by their standard; without one they write one.
_HAS_DEFAULT_CODE = frozenset({"google", "oauth", "jsonrpc", "soap", "xmlrpc"})


@pytest.mark.parametrize("name", CARRIES)
@quick
@given(failure=failures)
def test_what_it_wrote_is_read_without_knowing_the_dialect(name: str, failure: Failure) -> None:
    """The message comes back through the general rule, too."""
    carries = CARRIES[name]
    if failure.fields and (not carries.fields or carries.with_fields == "first"):
        assume(False)
    media_type, body = dialects.DIALECTS[name].write(failure)

    said = dialects.read(Answer(failure.status or 500, {"content-type": media_type}, body))

    assert failure.message == said.message


@pytest.mark.parametrize("name", CARRIES)
@quick
@given(
    failure=st.builds(
        Failure,
        status=st.one_of(st.none(), st.integers(100, 599)),
        message=st.one_of(st.none(), st.text()),
        code=st.one_of(st.none(), st.text()),
        fields=st.lists(
            st.builds(
                FieldError,
                st.lists(st.one_of(st.text(), st.integers())).map(tuple),
                st.one_of(st.none(), st.text()),
                st.one_of(st.none(), st.text()),
            ),
            max_size=4,
        ).map(tuple),
        request_id=st.one_of(st.none(), st.text()),
        retry_after=st.one_of(st.none(), st.floats(0, 1e9)),
    )
)
def test_writes_any_failure_and_reads_it_without_raising(name: str, failure: Failure) -> None:
    dialect = dialects.DIALECTS[name]

    media_type, body = dialect.write(failure)

    assert isinstance(body, bytes)
    dialects.read(Answer(failure.status or 500, {"content-type": media_type}, body), dialect)


@quick
@given(failure=failures)
def test_google_carries_the_wait(failure: Failure) -> None:
    failure = Failure(status=429, message=failure.message, code=failure.code, retry_after=7.5)

    assert _read_back(dialects.GOOGLE, failure).retry_after == 7.5


def test_problem_keeps_a_uri_as_its_type() -> None:
    failure = Failure(status=409, message="It is taken.", code="https://api.example/problems/taken")

    assert _read_back(dialects.PROBLEM, failure).code == "https://api.example/problems/taken"


def test_jsonrpc_keeps_an_integer_as_the_protocol_s_code() -> None:
    _, body = dialects.JSONRPC.write(Failure(status=200, message="Invalid params", code="-32602"))

    assert b'"code":-32602' in body


def _read_back(dialect: Dialect, failure: Failure) -> Said:
    media_type, body = dialect.write(failure)
    return dialects.read(Answer(failure.status or 500, {"content-type": media_type}, body), dialect)


def _told(fields: tuple[FieldError, ...], with_codes: bool) -> list[tuple[object, ...]]:
    return sorted((tuple(map(str, f.path)), f.message, (f.code or "") if with_codes else "") for f in fields)
