"""Failures of every kind, as hypothesis makes them up."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import strategies as st

from failwell import Attempt, Effect, Failure, FieldError, RateLimit

texts = st.text(max_size=40)
words = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=20)
seconds = st.floats(0, 1e6)
statuses = st.integers(400, 599)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
fields = st.builds(
    FieldError,
    st.lists(texts | st.integers(0, 99), max_size=3).map(tuple),
    st.none() | texts,
    st.none() | texts,
)
limits = st.builds(
    RateLimit,
    st.none() | st.integers(0, 10**9),
    st.none() | st.integers(0, 10**9),
    st.none() | st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # the zone is drawn, too
    st.none() | texts,
)
attempts = st.builds(
    Attempt,
    st.integers(1, 9),
    seconds,
    seconds,
    words,
    st.none() | statuses,
    st.none() | texts,
    seconds,
    words,
)
failures = st.builds(
    Failure,
    method=st.sampled_from(["GET", "POST", None]),
    url=st.none() | texts,
    status=st.none() | statuses,
    headers=st.dictionaries(words, texts, max_size=2),
    body=json_values,
    message=st.none() | texts,
    code=st.none() | texts,
    fields=st.lists(fields, max_size=2).map(tuple),
    details=st.dictionaries(texts, json_values, max_size=2),
    request_id=st.none() | texts,
    idempotency_key=st.none() | texts,
    retry_after=st.none() | seconds,
    rate_limit=st.none() | limits,
    reason=st.none() | words,
    cause=st.none() | texts,
    attempts=st.lists(attempts, max_size=2).map(tuple),
    effect=st.sampled_from(Effect),
    retryable=st.booleans(),
    stopped=st.just("") | words,
)
