"""Secrets in the input are not repeated: wherever they stand, in text and in JSON."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from failwell.cli.tokens import in_headers, in_url, masked, ordered

# Each could be a key of somebody; none has a shape that another one's rule would catch for it.
SECRET = "plain-old-hush-hush"  # known by its place alone
TOKENS = [
    "sk_live_51H8abcDEF0123456789",
    "ago_0123456789abcdef0123456789abcdef",
    "rsk_9aZ8bY7cX6dW5eV4",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "AKIAIOSFODNN7EXAMPLE",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
    "xoxb-17653672481-19874698323-pdFZKVeTuE8sk7oOcHrzqqgy",
    "AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe",
]

Run = Callable[..., Any]
BODY = '{"error": {"message": "No such thing.", "code": "no_thing"}}'


def answer(*lines: str, body: str = BODY) -> bytes:
    return "\n".join(["HTTP/1.1 404 Not Found", "Content-Type: application/json", *lines, "", body]).encode()


def har(**parts: Any) -> bytes:
    request = {"method": "POST", "url": "https://api.test/things", "headers": [], **parts.get("request", {})}
    response = {"status": 404, "headers": [], "content": {"text": BODY}, **parts.get("response", {})}
    return json.dumps({"log": {"entries": [{"request": request, "response": response}]}}).encode()


def quoting(text: str) -> str:
    return json.dumps({"error": {"message": f"Refused: {text}.", "code": "no_thing"}})


Q = quoting(SECRET)
VERBOSE_END = "\n>\n< HTTP/1.1 404 X\n< A: b\n<\n" + Q


def verbose(*lines: str) -> bytes:
    return ("\n".join(["> GET /a HTTP/1.1", "> Host: h", *lines]) + VERBOSE_END).encode()


def typed(command: str) -> bytes:
    return f"$ curl -i {command}\n".encode() + answer(body=Q)


def in_har(response: dict[str, Any] | None = None, **request: Any) -> bytes:
    return har(request=request, response={"content": {"text": Q}, **(response or {})})


PLACES: dict[str, bytes] = {
    "answer's cookie": answer(f"Set-Cookie: sid={SECRET}; Path=/; HttpOnly", body=Q),
    "answer's own header": answer(f"X-Auth-Token: {SECRET}", body=Q),
    "answer's location": answer(f"Location: https://api.test/x?code={SECRET}", body=Q),
    "redirect in front": f"HTTP/1.1 302 Found\nLocation: /x?code={SECRET}\n\n".encode() + answer(body=Q),
    "verbose authorization": verbose(f"> Authorization: Bearer {SECRET}"),
    "verbose cookie": verbose(f"> Cookie: a=1; sid={SECRET}"),
    "verbose key header": verbose(f"> x-api-key: {SECRET}"),
    "verbose query": verbose().replace(b"/a HTTP", f"/a?api_key={SECRET} HTTP".encode()),
    "first request of two": verbose(f"> x-api-key: {SECRET}").removesuffix(Q.encode()) + verbose(),
    "typed header": typed(f"-H 'Authorization: Bearer {SECRET}' https://h/"),
    "typed user": typed(f"-u me:{SECRET} https://h/"),
    "typed cookie": typed(f"-b sid={SECRET} https://h/"),
    "typed query": typed(f"'https://h/?token={SECRET}&limit=3'"),
    "typed user info": typed(f"https://me:{SECRET}@h/"),
    "typed data": typed(f"-d 'password={SECRET}' https://h/"),
    "typed json": typed(f'--json \'{{"client_secret": "{SECRET}"}}\' https://h/'),
    "printed request": f"GET /a HTTP/1.1\nAuthorization: Token {SECRET}\n\n".encode() + answer(body=Q),
    "har request header": in_har(headers=[{"name": "Authorization", "value": f"Bearer {SECRET}"}]),
    "har request cookie": in_har(cookies=[{"name": "sid", "value": SECRET}]),
    "har response cookie": in_har({"cookies": [{"name": "sid", "value": SECRET}]}),
    "har query": in_har(url=f"https://h/?sig={SECRET}"),
    "har query list": in_har(queryString=[{"name": "sig", "value": SECRET}]),
    "har posted text": in_har(postData={"text": json.dumps({"password": SECRET})}),
    "har posted form": in_har(postData={"params": [{"name": "password", "value": SECRET}]}),
    "har base64 body": in_har(
        {"content": {"text": base64.b64encode(Q.encode()).decode(), "encoding": "base64"}},
        headers=[{"name": "x-api-key", "value": SECRET}],
    ),
    "named in the message": answer(body=quoting(f"the API key '{SECRET}' is revoked")),
    "named in a bare body": quoting(f"password: {SECRET}").encode(),
    "curl's own error": f"curl: (7) Failed to connect, proxy http://me:{SECRET}@proxy:1\n".encode(),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("json_too", [[], ["--json"]], ids=["text", "json"])
def test_a_secret_is_known_by_its_place(place: str, json_too: list[str], failwell: Run) -> None:
    outcome = failwell("explain", *json_too, piped=PLACES[place])

    assert outcome.status == 0, outcome.err
    assert SECRET not in outcome.out.replace("\n              ", "")
    assert SECRET not in outcome.out + outcome.err


FIELDS = '{"detail": [{"loc": ["body", "%s"], "msg": "bad value %s", "type": "t.%s"}]}'
PROBLEM = '{"type": "about:blank", "title": "Bad %s", "detail": "No %s", "instance": "/x/%s"}'
WHERE: dict[str, Callable[[str], bytes]] = {
    "message": lambda t: answer(body=json.dumps({"error": {"message": f"Incorrect API key provided: {t}."}})),
    "code": lambda t: answer(body=json.dumps({"error": {"code": t, "message": "x"}})),
    "fields": lambda t: answer(body=FIELDS % (t, t, t)),
    "problem": lambda t: answer(body=PROBLEM % (t, t, t)),
    "text": lambda t: f"HTTP/1.1 401 X\nContent-Type: text/plain\n\nBad key {t}".encode(),
    "html": lambda t: f"HTTP/1.1 401 X\nContent-Type: text/html\n\n<h1>Bad key {t}</h1><p>{t}</p>".encode(),
    "xml": lambda t: (
        f"HTTP/1.1 403 X\n\n<Error><Code>{t}</Code><Message>The key {t} is bad</Message></Error>".encode()
    ),
    "bare text": lambda t: f"Bad key {t}".encode(),
    "rate limit policy": lambda t: answer(f"RateLimit-Policy: {t}", "RateLimit-Limit: 5"),
    "challenge": lambda t: answer(f'WWW-Authenticate: Bearer realm="{t}"'),
    "path": lambda t: f"$ curl -i https://api.test/hooks/{t}\n".encode() + answer(),
    "reason phrase": lambda t: f"HTTP/1.1 404 {t}\nA: b\n\n{BODY}".encode(),
    "method": lambda t: f"$ curl -i -X {t} https://h/\n".encode() + answer(),
    "content coding": lambda t: f"HTTP/1.1 404 X\nContent-Encoding: {t}\n\n\x00\x01\x02".encode(),
    "curl error": lambda t: f"curl: (23) failed {t}".encode(),
    "har error": lambda t: json.dumps(
        {"request": {}, "response": {"status": 0, "_error": f"net::{t}"}}
    ).encode(),
    "date": lambda t: answer(f"Date: {t}", f"Retry-After: {t}"),
}


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize("token", TOKENS, ids=lambda t: t[:6])
def test_a_token_is_known_by_its_shape(where: str, token: str, failwell: Run) -> None:
    data = WHERE[where](token)
    for outcome in (failwell("explain", piped=data), failwell("explain", "--json", piped=data)):
        printed = outcome.out + outcome.err

        assert outcome.status in (0, 2)
        assert token not in printed
        # Nor a telling part of it, should a line have been folded in the middle.
        assert token[8:20] not in printed


@pytest.mark.parametrize("token", TOKENS, ids=lambda t: t[:6])
def test_a_token_in_the_arguments_is_not_repeated(token: str, failwell: Run, tmp_path: Path) -> None:
    described = ("explain", "--status", "401")
    calls = [
        ("explain", token),
        ("explain", "a", token),
        ("explain", "--status", token),
        ("explain", f"--no-such-{token}"),
        ("explain", str(tmp_path / token / "x.txt")),
        (*described, "--header", f"Authorization: {token}", "--body", f'{{"detail": "bad {token}"}}'),
        (*described, "--header", token, "--body", "x"),
        (*described, "--body", "x", "--url", f"https://me:{token}@h/{token}?a={token}", "-X", token),
    ]
    for arguments in calls:
        outcome = failwell(*arguments)

        assert token not in outcome.out + outcome.err, arguments


def test_the_request_id_is_repeated_though_it_looks_random(failwell: Run) -> None:
    """It is what support asks for."""
    one = "req_8f14e45fceea167a5a36dedd4bea2543"

    outcome = failwell("explain", "--json", piped=answer(f"X-Request-ID: {one}"))

    assert outcome.json()["support"]["request_id"] == one


def test_a_secret_that_the_service_gives_as_request_id_is_not_repeated(failwell: Run) -> None:
    data = f"$ curl -i -H 'x-api-key: {SECRET}' https://h/\n".encode() + answer(f"X-Request-ID: {SECRET}")

    assert SECRET not in failwell("explain", piped=data).out


@pytest.mark.parametrize(
    "harmless",
    [
        "The access token expired.",
        "Token authentication is required.",
        "Missing required header: x-api-key",
        "Bearer authentication failed",
        "com.example.billing.exceptions.PaymentMethodNotFoundException was thrown",
        "No route for /v1/orgs/o1/users/u2/keys/k3",
        "projects/my-project-1234/locations/us-central1/clusters/c1 does not exist",
        "Run 3f2b8c1e-1111-4222-8333-444455556666 is finished",
        "rate_limit_exceeded_for_organization",
        "insufficient_authentication_scopes",
        "Internationalization-related configuration",
        "2026-11-21T12:00:01.123456+00:00",
        "https://docs.api.test/errors/invalid-request?page=2",
        "Secret not found",
        "password must have 8 characters",
    ],
)
def test_what_is_no_secret_stays_readable(harmless: str) -> None:
    assert masked(harmless) == harmless


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("a\x1b[31mred\x1b[0m\x07b", "aredb"),
        ("a\x1b]8;;https://evil.test\x1b\\link\x1b]8;;\x1b\\", "alink"),
        ("safe\u202egnp.exe", "safegnp.exe"),
        ("line\r\nline", "line\nline"),
        ("\x9b31mred", "31mred"),
    ],
)
def test_control_characters_do_not_reach_the_terminal(text: str, clean: str) -> None:
    assert masked(text) == clean


def test_secrets_of_headers_are_the_parts_that_may_be_quoted() -> None:
    basic = base64.b64encode(b"someone:swordfish").decode()

    found = in_headers({"authorization": f"Basic {basic}", "cookie": "sid=abcdefgh; theme=dark"})

    assert {basic, "swordfish", "someone:swordfish", "abcdefgh"} <= set(found)
    assert in_headers({"www-authenticate": "Bearer abcdefgh", "content-type": "application/json"}) == []


def test_secrets_of_a_url_are_what_is_masked_in_it() -> None:
    found = in_url("https://me:swordfish@h/p?sig=abc%2Fdefgh&limit=1000000")

    assert {"swordfish", "abc%2Fdefgh", "abc/defgh"} <= set(found)
    assert "1000000" not in found


def test_longer_secrets_are_masked_before_their_parts() -> None:
    assert ordered(["abcdefgh", "abcdefgh-more", "abcdefgh", "ab"]) == ("abcdefgh-more", "abcdefgh")
