"""What the headers of an answer say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failwell import headers
from failwell.failure import Failure, RateLimit

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ({"retry-after": "20"}, 20.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "120, 120"}, 120.0),
        ({"retry-after": "Sun, 01 Mar 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sunday, 01-Mar-26 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sun Mar  1 12:00:30 2026"}, 30.0),
        ({"retry-after": "Sun, 01 Mar 2026 14:00:30 +0200"}, 30.0),
        ({"retry-after": "2026-03-01T12:01:00Z"}, 60.0),
        ({"retry-after": "Fri, 31 Dec 1999 23:59:59 GMT"}, 0.0),
        ({"retry-after": f"{EPOCH + 90}"}, 90.0),
        ({"retry-after": "1m30s"}, 90.0),
        ({"retry-after": "PT30S"}, 30.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "250"}, 0.25),
        ({"x-amz-retry-after": "3000"}, 3.0),
        ({"x-acme-retry-after": "9"}, 9.0),
        ({"x-retry-after-seconds": "11"}, 11.0),
        ({"retry-after": "60", "retry-after-ms": "60123"}, 60.123),
        ({"retry-after": "soon", "x-retry-after": "4"}, 4.0),
    ],
    ids=str,
)
def test_a_wait_is_read_in_every_form_seen(sent: dict[str, str], seconds: float) -> None:
    assert headers.retry_after(sent, NOW, throttled=False) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "value",
    ["", "-10", "nan", "inf", "-inf", "soon", "1e400", "9" * 35, "٣", "Fri, 29 Sep 100000 16:26:57 GMT",
     "Zun, 99 Foo 2023 99:99:99 GMT", "2026-13-45", "1 day", "--", "0x10", "\x00"],
)  # fmt: skip
def test_a_wait_that_makes_no_sense_is_no_wait(value: str) -> None:
    assert headers.retry_after({"retry-after": value}, NOW, throttled=True) is None


def test_a_date_is_held_against_the_answer_s_own_clock() -> None:
    """The server's clock is an hour ahead of ours; the gap it meant is ten seconds."""
    sent = {"date": "Sun, 01 Mar 2026 13:00:00 GMT", "retry-after": "Sun, 01 Mar 2026 13:00:10 GMT"}

    assert headers.retry_after(sent, NOW, throttled=True) == 10.0


def test_a_date_without_a_clock_is_held_against_the_machine_s() -> None:
    in_an_hour = datetime.now(UTC) + timedelta(hours=1)
    sent = {"retry-after": in_an_hour.strftime("%a, %d %b %Y %H:%M:%S GMT")}

    wait = headers.retry_after(sent, throttled=False)

    assert wait is not None
    assert 3000 < wait <= 3601


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "30"}, 30.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{EPOCH + 45}"}, 45.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{(EPOCH + 45) * 1000}"}, 45.0),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": f"{EPOCH + 45}.5"}, 45.5),
        ({"x-ratelimit-remaining": "0", "x-ratelimit-reset": "2026-03-01T12:02:00Z"}, 120.0),
        ({"x-ratelimit-reset": "6m0s"}, 360.0),
        ({"x-rate-limit-reset": "20ms"}, 0.02),
        ({"x-ratelimit-reset-after": "64.57", "x-ratelimit-reset": "1470173023.123"}, 64.57),
        ({"ratelimit": '"default";r=0;t=30'}, 30.0),
        ({"ratelimit": '"burst";r=5;t=2, "day";r=0;t=600'}, 600.0),
        ({"ratelimit": "limit=10, remaining=0, reset=15"}, 15.0),
        ({"ratelimit-limit": "10", "ratelimit-remaining": "0", "ratelimit-reset": "8"}, 8.0),
        ({"acme-ratelimit-remaining": "0", "acme-ratelimit-reset": "5"}, 5.0),
        (
            {
                "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s",
            },
            360.0,
        ),
        (
            {
                "x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "900", "x-ratelimit-reset-tokens": "6m0s",
            },
            1.0,
        ),
        ({"x-ratelimit-remaining": "9", "x-ratelimit-reset": "3"}, 3.0),
    ],
    ids=str,
)  # fmt: skip
def test_a_throttled_answer_waits_for_the_limit_to_be_renewed(sent: dict[str, str], seconds: float) -> None:
    assert headers.retry_after(sent, NOW, throttled=True) == pytest.approx(seconds)
    assert headers.retry_after(sent, NOW, throttled=False) is None


@pytest.mark.parametrize(
    "sent",
    [
        {"x-ratelimit-remaining": "14", "x-ratelimit-reset": f"{EPOCH + 45}"},
        {"x-ratelimit-remaining": "14", "x-ratelimit-reset": "1800"},
        {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "0;w=21600"},
        {"x-ratelimit-limit": "10", "x-ratelimit-remaining": "0"},
        {"x-rate-limit-api-key-interval-ms": "10000", "x-rate-limit-api-key-remaining": "0"},
        {"x-ratelimit-reset": "later"},
    ],
    ids=str,
)
def test_a_limit_that_is_not_spent_or_not_dated_says_no_wait(sent: dict[str, str]) -> None:
    """What refused the call is another limit, and a window's length is no wait."""
    assert headers.retry_after(sent, NOW, throttled=True) is None


@pytest.mark.parametrize(
    ("sent", "limit"),
    [
        (
            {"x-ratelimit-limit": "100", "x-ratelimit-remaining": "7", "x-ratelimit-reset": f"{EPOCH + 60}"},
            RateLimit(100, 7, NOW + timedelta(seconds=60)),
        ),
        (
            {
                "ratelimit-limit": "10", "ratelimit-remaining": "3", "ratelimit-reset": "60",
                "ratelimit-policy": "10;w=60",
            },
            RateLimit(10, 3, NOW + timedelta(seconds=60), "10;w=60"),
        ),
        (
            {"ratelimit": '"day";r=50;t=30', "ratelimit-policy": '"day";q=100;w=86400'},
            RateLimit(100, 50, NOW + timedelta(seconds=30), "day"),
        ),
        ({"ratelimit": '"a";r=9;t=1, "b";r=2;t=5'}, RateLimit(None, 2, NOW + timedelta(seconds=5), "b")),
        ({"x-acme-ratelimit-max": "300", "x-acme-ratelimit-remaining": "296"}, RateLimit(300, 296)),
        ({"x-ratelimit-remaining": "597.0", "x-ratelimit-reset": "323"},
         RateLimit(None, 597, NOW + timedelta(seconds=323))),
        (
            {
                "x-ratelimit-limit-requests": "500", "x-ratelimit-remaining-requests": "499",
                "x-ratelimit-limit-tokens": "30000", "x-ratelimit-remaining-tokens": "0",
            },
            RateLimit(30000, 0),
        ),
        ({"x-ratelimit-limit": "many", "x-ratelimit-reset": "soon"}, None),
        ({"x-ratelimit-bucket": "abcd"}, None),
        ({"date": "Sun, 01 Mar 2026 12:00:00 GMT"}, None),
    ],
    ids=str,
)  # fmt: skip
def test_three_generations_of_rate_limit_headers(sent: dict[str, str], limit: RateLimit | None) -> None:
    assert headers.rate_limit(sent, NOW) == limit


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ({"x-request-id": "a", "x-trace-id": "b"}, "a"),
        ({"request-id": "r"}, "r"),
        ({"x-acme-request-id": "v", "x-correlation-id": "c"}, "v"),
        ({"x-amzn-requestid": "aws", "x-amz-cf-id": "edge", "x-amzn-trace-id": "Root=1"}, "aws"),
        ({"x-ep-request-uuid": "u"}, "u"),
        ({"x-ms-correlation-request-id": "c", "x-ms-request-id": "m", "x-ms-routing-request-id": "r"}, "m"),
        ({"x-ms-client-request-id": "mine", "client-request-id": "mine"}, None),
        ({"x-correlation-id": "c", "x-b3-traceid": "t"}, "c"),
        ({"x-b3-traceid": "t"}, "t"),
        ({"cf-ray": "ray-1", "content-type": "application/json"}, None),
        ({"cf-ray": "ray-1", "content-type": "text/html; charset=UTF-8"}, "ray-1"),
        ({"cf-auditlog-id": "x", "x-user-id": "7", "idempotency-key": "k"}, None),
        ({"x-request-id": "", "request-id": "r"}, "r"),
        ({"x-request-id": "one, one"}, "one"),
    ],
    ids=str,
)
def test_the_request_id_is_the_service_s_own(sent: dict[str, str], found: str | None) -> None:
    assert headers.request_id(sent) == found


@pytest.mark.parametrize(
    ("sent", "verdict"),
    [
        ({"x-should-retry": "true"}, True),
        ({"stripe-should-retry": "false"}, False),
        ({"acme-should-retry": "1"}, True),
        ({"x-should-retry": "perhaps"}, None),
        ({}, None),
    ],
    ids=str,
)
def test_the_service_may_say_whether_to_try_again(sent: dict[str, str], verdict: bool | None) -> None:
    assert headers.should_retry(sent) is verdict


whole_seconds = st.datetimes(datetime(2002, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001  # the zone is drawn, too
    lambda d: d.replace(microsecond=0)
)
visible_letters = st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters=",")
visible = st.text(visible_letters, min_size=1, max_size=60)


@given(
    st.builds(
        Failure,
        request_id=st.one_of(st.none(), visible),
        retry_after=st.one_of(st.none(), st.integers(0, 10**6).map(float)),
        rate_limit=st.one_of(
            st.none(),
            st.builds(
                RateLimit,
                st.integers(0, 10**9),
                st.one_of(st.none(), st.integers(0, 10**9)),
                st.one_of(st.none(), whole_seconds),
                st.one_of(st.none(), visible),
            ),
        ),
    )
)
def test_what_is_written_is_read_back(failure: Failure) -> None:
    written = headers.write(failure)

    assert headers.request_id(written) == failure.request_id
    assert headers.retry_after(written, NOW, throttled=False) == failure.retry_after
    assert headers.rate_limit(written, NOW) == failure.rate_limit


def test_a_part_of_a_second_is_rounded_up_so_that_nobody_comes_early() -> None:
    limit = RateLimit(10, 0, NOW + timedelta(milliseconds=1))

    written = headers.write(Failure(retry_after=0.2, rate_limit=limit))

    assert written["retry-after"] == "1"
    assert written["x-ratelimit-reset"] == str(EPOCH + 1)


@given(st.builds(Failure, request_id=st.text(), rate_limit=st.builds(RateLimit, policy=st.text())))
def test_nothing_is_written_that_could_split_a_header(failure: Failure) -> None:
    for name, value in headers.write(failure).items():
        assert value.isascii(), name
        assert value.isprintable(), name


header_names = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-ratelimit-remaining", "x-ratelimit-limit",
         "ratelimit", "ratelimit-reset", "ratelimit-policy", "date", "x-request-id", "cf-ray",
         "x-should-retry"]
    ),
)  # fmt: skip
header_values = st.one_of(
    st.text(max_size=60),
    st.integers(-(10**40), 10**40).map(str),
    st.floats().map(str),
    st.datetimes().map(str),
    st.from_regex(r"\d{1,12}(ms|s|m|h)(\d{1,12}s)?", fullmatch=True),
)


@given(st.dictionaries(header_names, header_values, max_size=8), st.booleans())
def test_no_headers_raise_and_no_wait_is_negative(sent: dict[str, str], throttled: bool) -> None:
    wait = headers.retry_after(sent, NOW, throttled=throttled)
    limit = headers.rate_limit(sent, NOW)

    assert wait is None or 0.0 <= wait <= headers.LONGEST_WAIT
    assert limit is None or limit.reset_at is None or limit.reset_at.tzinfo is not None
    headers.request_id(sent)
    headers.should_retry(sent)


def test_names_from_the_network_do_not_fill_the_memory() -> None:
    headers.request_id({f"x-{number}-request-id": "v" for number in range(10_000)})

    assert len(headers._roles) <= headers._ROLES_KEPT
