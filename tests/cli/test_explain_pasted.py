"""What `explain` reads in pasted text."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_contract import NOON, TOY

from failwell.call.messages import Phase, Reason
from failwell.cli import pasted, screen
from failwell.cli.exchange import INPUT_LIMIT, Exchange, UnreadableError
from failwell.cli.explanation import of_exchange
from failwell.cli.known import Known
from failwell.contract import STANDARD

BODY = b'{"detail": "Rate limit exceeded"}'
HEAD = b"""\
HTTP/1.1 429 Too Many Requests
Date: Sat, 21 Nov 2026 12:00:00 GMT
Content-Type: application/json
Retry-After: 30
X-Request-ID: req_1
Content-Length: 33

"""
ANSWER = HEAD + BODY
METER = (
    b"  % Total    % Received % Xferd  Average Speed   Time    Time     Time  Current\n"
    b"                                 Dload  Upload   Total   Spent    Left  Speed\n"
    b"\r  0     0    0     0    0     0      0      0 --:--:-- --:--:-- --:--:--     0"
)
METER_END = b"\r100    33  100    33    0     0  35791      0 --:--:-- --:--:-- --:--:-- 33000\n"


def one(data: bytes) -> Exchange:
    (exchange,) = pasted.read(data)
    return exchange


def crlf(data: bytes) -> bytes:
    return data.replace(b"\n", b"\r\n")


@pytest.mark.parametrize(
    "data",
    [
        ANSWER,
        crlf(HEAD) + BODY,
        ANSWER.replace(b"HTTP/1.1", b"HTTP/1.0"),
        ANSWER.replace(b"HTTP/1.1 429 Too Many Requests", b"HTTP/2 429 "),
        ANSWER.replace(b"HTTP/1.1 429 Too Many Requests", b"HTTP/3 429"),
        b"\xef\xbb\xbf" + ANSWER,
        b"\xff\xfe" + ANSWER.decode().encode("utf-16-le"),
        b"$ curl -i https://api.test/things\n" + ANSWER + b"\nme@host:~$ ",
        METER + METER_END + ANSWER,
        METER + b"\n" + ANSWER + METER_END,
        crlf(HEAD).replace(b"\r\n", b"\r\r\n") + BODY,
        b"HTTP/1.1 100 Continue\n\n" + ANSWER,
        b"HTTP/1.1 200 Connection established\n\n" + ANSWER,
        b"HTTP/1.1 301 Moved\nLocation: /b\nContent-Length: 9\n\n" + ANSWER,
        b"HTTP/1.1 302 Found\nLocation: /b\n\nsee there\nHTTP/1.1 100 Continue\n\n" + ANSWER,
        b"HTTP/1.1 401 Unauthorized\nContent-Length: 5\n\n" + ANSWER,
        b"  HTTP/1.1 429 Too Many Requests\n  Retry-After: 30\n  X-Request-ID: req_1\n\n" + BODY,
        ANSWER.replace(b"Retry-After", b"\x1b[1mRetry-After\x1b[0m"),
        ANSWER.replace(b"X-Request-ID: req_1", b"X-Request-ID:\n req_1"),
    ],
    ids=[
        "lf", "crlf", "http10", "http2", "http3", "bom", "utf16", "prompt", "meter", "meter-behind", "pty",
        "continue", "proxy", "redirect", "redirects", "digest", "wget", "bold", "folded",
    ],
)  # fmt: skip
def test_an_answer_is_found_in_what_stands_around_it(data: bytes) -> None:
    exchange = one(data)

    assert exchange.status == 429
    assert exchange.headers["retry-after"] == "30"
    assert exchange.headers["x-request-id"] == "req_1"
    assert json.loads(exchange.body) == {"detail": "Rate limit exceeded"}


VERBOSE = b"""\
*   Trying 127.0.0.1:443...
* Connected to api.test (127.0.0.1) port 443 (#0)
* SSL connection using TLSv1.3 / TLS_AES_256_GCM_SHA384
> POST /v1/things HTTP/1.1
> Host: api.test
> Authorization: Bearer hush-hush-hush
> Idempotency-Key: key-1
>
} [3 bytes data]
< HTTP/1.1 429 Too Many Requests
< Content-Type: application/json
< Retry-After: 30
< Content-Length: 33
<
{ [33 bytes data]
"""


@pytest.mark.parametrize(
    "data",
    [
        VERBOSE + b"* Connection #0 to host api.test left intact\n" + BODY,
        VERBOSE + BODY + b"* Connection #0 to host api.test left intact\n",
        VERBOSE + BODY + b"\n* Closing connection 0\n",
        VERBOSE + METER_END + b"* Connection #0 to host api.test left intact\n" + ANSWER,
        crlf(VERBOSE) + BODY,
        METER + VERBOSE + METER_END + BODY,
    ],
    ids=["body-last", "glued", "closing", "with-i", "crlf", "meter"],
)
def test_verbose_output_tells_the_request_too(data: bytes) -> None:
    exchange = one(data)

    assert (exchange.method, exchange.url) == ("POST", "https://api.test/v1/things")
    assert (exchange.status, exchange.key) == (429, "key-1")
    assert json.loads(exchange.body) == {"detail": "Rate limit exceeded"}
    assert "hush-hush-hush" in exchange.secrets


def test_the_last_request_of_a_redirected_verbose_call_counts() -> None:
    first = VERBOSE.replace(b"429 Too Many Requests", b"307 Temporary Redirect")
    second = VERBOSE.replace(b"/v1/things", b"/v2/things")

    exchange = one(first + b"* Issue another request to this URL\n" + second + BODY)

    assert exchange.url == "https://api.test/v2/things"
    assert exchange.earlier == [307]
    assert "redirect" in exchange.notes[0]


@pytest.mark.parametrize(
    ("command", "method", "url"),
    [
        ("curl -i https://api.test/a", "GET", "https://api.test/a"),
        ("curl -si -X DELETE 'https://api.test/a?b=c'", "DELETE", "https://api.test/a?b=c"),
        ("curl -i https://api.test/a -d '{\"a\": 1}'", "POST", "https://api.test/a"),
        ("curl -i --json @x.json api.test/a", "POST", "http://api.test/a"),
        ("curl -I https://api.test/a", "HEAD", "https://api.test/a"),
        ("curl -i -T file --url https://api.test/a", "PUT", "https://api.test/a"),
        (
            "curl -i \\\n  -H 'Idempotency-Key: k' \\\n  --request PATCH https://api.test/a",
            "PATCH",
            "https://api.test/a",
        ),
        ("curl -i -o 'unclosed https://api.test/a", "GET", "https://api.test/a"),
    ],
)
def test_a_typed_command_tells_the_request(command: str, method: str, url: str) -> None:
    exchange = one(f"me@host:~$ {command}\n".encode() + ANSWER)

    assert (exchange.method, exchange.url) == (method, url)
    assert exchange.status == 429


def test_a_request_printed_in_front_tells_itself() -> None:
    """HTTPie prints it without marks."""
    exchange = one(b"PUT /a HTTP/1.1\nHost: api.test\nAuthorization: Bearer 12345678\n\n{}\n\n\n" + ANSWER)

    assert (exchange.method, exchange.url) == ("PUT", "http://api.test/a")
    assert "12345678" in exchange.secrets


def test_a_compressed_body_is_read() -> None:
    head = HEAD.replace(b"Content-Length: 33", b"Content-Encoding: gzip")

    assert one(head + gzip.compress(BODY)).body == BODY


def test_a_body_its_tool_has_unpacked_is_left_alone() -> None:
    exchange = one(HEAD.replace(b"Content-Length: 33", b"Content-Encoding: br") + BODY)

    assert exchange.body == BODY
    assert exchange.notes == []


@pytest.mark.parametrize("coding", [b"br", b"gzip", b"zstd"])
def test_a_compressed_body_that_cannot_be_read_is_said_to_be_one(coding: bytes) -> None:
    exchange = one(
        HEAD.replace(b"Content-Length: 33", b"Content-Encoding: " + coding) + b"\x1f\x8b\x00\xff\x9d" * 20
    )

    assert exchange.body == b""
    assert "--compressed" in exchange.notes[0]


def test_a_raw_chunked_body_is_put_together() -> None:
    head = HEAD.replace(b"Content-Length: 33", b"Transfer-Encoding: chunked")

    assert one(head + b"a\r\n" + BODY[:10] + b"\r\n17\r\n" + BODY[10:] + b"\r\n0\r\n\r\n").body == BODY


def test_a_body_shorter_than_announced_is_told() -> None:
    assert "cut short: 10 of 33 bytes" in one(HEAD + BODY[:10]).notes[0]


def test_another_answer_inside_a_body_is_not_taken_for_the_answer() -> None:
    dump = b"HTTP/1.1 500 Inside\nA: b\n\nx"
    answer = b"HTTP/1.1 400 Bad\nContent-Type: text/plain\nContent-Length: %d\n\nYou sent:\n%s" % (
        10 + len(dump),
        dump,
    )

    assert one(answer).status == 400


def test_an_interim_answer_alone_is_said_to_be_one() -> None:
    assert "interim" in one(b"HTTP/1.1 100 Continue\n\n").notes[0]


def test_a_head_without_a_body_is_an_answer() -> None:
    exchange = one(HEAD.rstrip(b"\n"))

    assert (exchange.status, exchange.body, exchange.notes) == (429, b"", [])


@pytest.mark.parametrize(
    ("line", "phase", "reason"),
    [
        ("curl: (6) Could not resolve host: nobody.invalid", Phase.NOT_SENT, Reason.DNS),
        ("curl: (7) Failed to connect to x port 1: Connection refused", Phase.NOT_SENT, Reason.REFUSED),
        ("curl: (7) Failed to connect to x port 1: No route to host", Phase.NOT_SENT, Reason.UNREACHABLE),
        ("curl: (28) Connection timed out after 1001 milliseconds", Phase.NOT_SENT, Reason.CONNECT_TIMEOUT),
        ("curl: (28) Operation timed out after 9 ms with 0 bytes received", Phase.SENT, Reason.READ_TIMEOUT),
        ("curl: (35) OpenSSL SSL_connect: SSL_ERROR_SYSCALL", Phase.NOT_SENT, Reason.TLS),
        ("curl: (52) Empty reply from server", Phase.SENT, Reason.CLOSED),
        ("curl: (56) Recv failure: Connection reset by peer", Phase.SENT, Reason.RESET),
        ("curl: (56) Received HTTP code 407 from proxy after CONNECT", Phase.NOT_SENT, Reason.PROXY),
        ("curl: (60) SSL certificate problem: self-signed certificate", Phase.NOT_SENT, Reason.TLS_UNTRUSTED),
        ("curl: (18) transfer closed with 97 bytes remaining to read", Phase.ANSWERED, Reason.CUT),
    ],
)  # fmt: skip
def test_curls_own_errors_tell_how_far_it_came(line: str, phase: Phase, reason: Reason) -> None:
    assert one(f"$ curl https://api.test/\n{line}\n".encode()).broken == (phase, reason)


def test_curls_fail_option_leaves_the_status() -> None:
    assert one(b"curl: (22) The requested URL returned error: 503").status == 503


def test_an_error_of_curl_that_is_about_no_answer_is_refused() -> None:
    with pytest.raises(UnreadableError, match="error 23"):
        pasted.read(b"curl: (23) Failed writing body")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"status": 404, "title": "Not Found"}', 404),
        (b'{"error": {"code": 429, "message": "slow"}}', 429),
        (b'{"errors": [{"status": "422", "detail": "x"}]}', 422),
        (b'{"statusCode": 503}', 503),
        (b'{"status": 7, "code": "x"}', None),
        (b'{"detail": "busy"}', None),
        (b"<Error><Code>SlowDown</Code></Error>", None),
        (b"upstream connect error", None),
    ],
)
def test_a_bare_body_has_the_status_it_repeats(body: bytes, status: int | None) -> None:
    exchange = one(body)

    assert exchange.status == status
    assert exchange.body == body


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "empty"),
        (b" \n\r\n", "empty"),
        (bytes(range(256)) * 20, "not text"),
        (b"\x00" * 100, "not text"),
        (b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR", "not text"),
        (b"\x1f\x8b broken", "compressed"),
        (b"x" * (INPUT_LIMIT + 1), "larger than 16 MiB"),
        (b'{"log": {"entries": []}}', "no entries"),
    ],
)
def test_what_cannot_be_read_is_refused_with_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(UnreadableError, match=sentence):
        pasted.read(data)


PIECES = st.sampled_from(
    [
        b"HTTP/1.1 500 X",
        b"HTTP/2 200",
        b"\n",
        b"\r\n",
        b"\n\n",
        b": ",
        b"a: b",
        b"< ",
        b"> ",
        b"* ",
        b"{",
        b"}",
        b"[",
        b'"',
        b"curl: (7) x",
        b"curl -i ",
        b"$ curl 'x",
        b"Content-Length: 5",
        b"Content-Encoding: gzip",
        b"\x1f\x8b",
        b"Transfer-Encoding: chunked",
        b"ffffffff\r\n",
        b"\xff\xfe",
        b"\x00",
        b"\x1b[1m",
        b"> GET / HTTP/1.1",
        b'{"log":{"entries":[{}]}}',
        b"--:--:--",
        b"100  33",
        b"\xf0\x9f\x98\x80",
        b"401",
        b"\\\n",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=400), st.lists(PIECES, max_size=40).map(b"".join)))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        exchanges = pasted.read(data)
    except UnreadableError:
        return

    known = Known({"toy": TOY, "standard": STANDARD})
    for exchange in exchanges:
        out = io.StringIO()
        explanation = of_exchange(exchange, known, NOON)
        screen.show(explanation, screen.console(out), [])

        assert json.dumps(explanation.to_dict())
        assert out.getvalue()
        assert "\x1b" not in out.getvalue()


@pytest.mark.parametrize(
    "piece",
    [
        b"HTTP/1.1 200 OK\n", b"HTTP/1.1 200 OK\na: b\n\n", b"< HTTP/1.1 200 OK\n", b"* Closing connection ",
        b"curl: (7) ", b"curl -i \\\n", b"100 33 ", b"{", b"[1,", b"a: b\n", b" ", b"> GET / HTTP/1.1\n",
        b"\x1b]", b"1\r\na\r\n",
        b"password=", b"0 0 0 0 0 --:--:-- ",
    ],
)  # fmt: skip
def test_reading_takes_time_in_proportion_to_the_input(piece: bytes) -> None:
    """Four megabytes of anything; a quadratic pattern would take hours."""
    began = time.process_time()
    with contextlib.suppress(UnreadableError):
        pasted.read(b"HTTP/1.1 500 X\nTransfer-Encoding: chunked\n\n" + piece * (4_000_000 // len(piece)))

    assert time.process_time() - began < 60
