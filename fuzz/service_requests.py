"""
Requests made at random for a service: those its document describes, and those nobody would describe.

Keys do not stand in a request but their names, such as `<key:full>`, so that it can be printed and
sent again to another sandbox. `~ID~` is a thing that the service told of: which one is `pick`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests
from hypothesis import strategies as st

# Planted where no answer and no log has any business to repeat it.
SECRET = "hunter2-c0ffee-5ecret"  # made up

ID = b"~ID~"

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """
    A request as it goes onto the wire.

    Attributes:
        method: Any bytes.
        target: Path and query, any bytes.
        headers: In this order; names of keys instead of keys.
        body: Any bytes.
        framing: `length`, `chunked`, or `cut`: less than was announced, and then silence.
        pick: Which of the things that the service told of is meant by `~ID~`.
        version: What follows the target.
    """

    method: bytes
    target: bytes
    headers: Headers = ()
    body: bytes = b""
    framing: str = "length"
    pick: int = 0
    version: bytes = b"HTTP/1.1"

    def raw(self, keys: Mapping[str, str], identifier: bytes = b"x") -> bytes:
        """The bytes to send, with the keys in place."""
        lines = [b" ".join((self.method, self.target.replace(ID, identifier), self.version))]
        names = {name.lower() for name, _ in self.headers}
        fields = list(self.headers)
        if b"host" not in names:
            fields.append((b"Host", b"127.0.0.1"))
        fields.append((b"Connection", b"close"))
        body = self.body
        if self.framing == "chunked":
            fields.append((b"Transfer-Encoding", b"chunked"))
            half = len(body) // 2
            pieces = [piece for piece in (body[:half], body[half:]) if piece]
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        elif body or self.framing == "cut":
            announced = len(body) + (10 if self.framing == "cut" else 0)
            fields.append((b"Content-Length", b"%d" % announced))
        lines += [name + b": " + value for name, value in fields]
        head = b"\r\n".join(lines) + b"\r\n\r\n"
        for name, key in keys.items():
            head = head.replace(b"<key:%s>" % name.encode(), key.encode())
        return head + body


# --- what the document describes ---


def described(document: Mapping[str, Any], key_header: bytes, before_key: bytes) -> list[Described]:
    """
    Strategies for each operation of an OpenAPI document, for data that fits it and data that does not.

    Raises:
        ImportError: schemathesis is not installed.
    """
    import schemathesis
    from schemathesis.core.result import Err

    found = []
    for result in schemathesis.openapi.from_dict(dict(document)).get_all_operations():
        if isinstance(result, Err):
            raise result.err()
        operation = result.ok()
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            strategy = operation.as_strategy(generation_mode=mode)
            found.append(
                Described(
                    f"{operation.method.upper()} {operation.path}, {mode.value}",
                    st.builds(
                        lambda case, key, replay, pick: _from_case(case, key_header, key, replay, pick),
                        strategy,
                        _keys(before_key),
                        st.sampled_from((None, None, b"again", b'"again"', b"another")),
                        st.integers(0, 99),
                    ),
                )
            )
    return found


@dataclass(frozen=True, slots=True)
class Described:
    """Requests for one operation, made to fit its description or not to."""

    name: str
    strategy: st.SearchStrategy[Request]


def _from_case(case: Any, key_header: bytes, key: bytes | None, replay: bytes | None, pick: int) -> Request:
    arguments = case.as_transport_kwargs(base_url="http://127.0.0.1")
    made_of = {k: v for k, v in arguments.items() if k in ("params", "json", "data", "cookies", "files")}
    prepared = requests.Request(arguments["method"], arguments["url"], **made_of).prepare()
    body = prepared.body or b""
    sent = {**prepared.headers, **arguments["headers"]}
    dropped = {"content-length", "connection", "user-agent", "x-schemathesis-testcaseid"}
    headers = [(_bytes(name), _bytes(value)) for name, value in sent.items() if name.lower() not in dropped]
    # Its own keys are inventions; with ours it comes further. Both are tried.
    if key is not None:
        headers = [(n, v) for n, v in headers if n.lower() != key_header.lower()]
        headers.append((key_header, key))
    if replay is not None:
        headers.append((b"Idempotency-Key", replay))
    return Request(
        arguments["method"].encode(),
        (prepared.path_url or "/").encode(),
        tuple(headers),
        body if isinstance(body, bytes) else str(body).encode("utf-8", "surrogatepass"),
        pick=pick,
    )


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


# --- what nobody would describe ---

_SPOILT = SECRET.encode()

_METHODS = (
    b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"QUERY",
    b"get", b"FOO", b"G" * 300, b"PRI", b"M-SEARCH", b"POST\t",
)  # fmt: skip

_SEGMENTS = (
    ID, ID, ID, b"%00", b"a%00b", b"%2e%2e", b"..", b"%2F", b"%", b"%zz", b"%ff%fe", b"%ED%A0%80", b"%C3%A9",
    b"\xc3\xa9", b"\x00", b"\x7f", b"\\", b"'%20OR%20'1'='1", b"{run_id}", b"%0d%0aSet-Cookie:%20a=b", b"-1",
    b"0",
    b"1", b"2", b"9" * 19, b"9" * 400, b"1e3", b"%EF%BC%91", b"1.0", b"+1", b"%2B1", b"%20", b"a" * 5_000,
    b"%41" * 30_000, b"~", b";a=b", b"spec_text_stats", b"env_default", b"env_retired",
)  # fmt: skip

_TARGETS = (
    b"/", b"*", b"//", b"/.", b"/..", b"", b"http://127.0.0.1/livez", b"//evil.example/livez", b"/%", b"/%00",
    b"/" + b"a" * 9_000, b"/" + b"/" * 2_000, b"/openapi.json", b"/api/v1/openapi.json", b"/docs", b"/LIVEZ",
    b"/livez/", b"/livez%2F", b"/livez?" + b"a" * 70_000, b"/livez#a", b"livez", b"/ livez", b"/v1", b"/api",
)  # fmt: skip

_QUERY_NAMES = (b"limit", b"cursor", b"status", b"spec_id", b"limit[]", b"", b"%00", b"a")
_QUERY_VALUES = (
    b"", b"0", b"1", b"2", b"100", b"101", b"-1", b"-9223372036854775809", b"9223372036854775807", b"9" * 30,
    b"1.5", b"1e2", b"%00", b"a%00b", b"%ff", b"\xc3\xa9", b"%EF%BC%91", b"null", b"queued", b"succeeded",
    b"'", b"%ED%A0%80", b"a" * 2_000, b"+1", b"%2B1", b"1_0", b" 1", b"%201", b"spec_text_stats",
)  # fmt: skip

_ACCEPTS = (
    b"application/problem+json", b"application/json", b"*/*", b"text/html", b"", b",", b";;;", b"a/b;q=nan",
    b"application/problem+json;q=0", b"application/problem+json;q=1e999, */*",
    b"application/problem+json, " * 50,
    b"APPLICATION/PROBLEM+JSON;Q=1", b"application/problem+json;q=0.5, application/json;q=0.4",
    b"text/event-stream",
    b"\xff", b"application/xml",
)  # fmt: skip

_REPLAY_KEYS = (
    b"k1", b"k2", b'"k1"', b'"k2"', b"k3", b'"', b'""', b"", b'"a";v=1', b'"a", "b"', b"a" * 255, b"a" * 256,
    b'"' + b"a" * 300 + b'"', b"\xc3\xa9", b"\xff", b'"\\""', b'"\\a"', b"a b", b"?1", b":YWJj:", b"1",
    b"1.5",
    b"()", b"k1 ", b"\tk1", b"idem-" + _SPOILT, b"../../x", b"a\x00b", b"'; DROP TABLE runs; --", b"%00",
    b"@1",
)  # fmt: skip

_REQUEST_IDS = (
    b"req_mine_12345678", b"short", b"a" * 128, b"a" * 129, b"\xff" * 20, b"a b c d e f g h", b"",
    b"id\x0bid-12345",
    b"abcdefgh, abcdefgh", b"%0d%0aX: y 12345", b"<script>alert(1)</script>", b"${jndi:ldap://a}",
)  # fmt: skip

_TAGS = (
    b"*",
    b'"1"',
    b"1",
    b'W/"1"',
    b'"' + b"9" * 40 + b'"',
    b'"\xb2"',
    b"",
    b'"a", "1"',
    b"-1",
    b'"-1"',
    b"\xff",
)

_OTHER_HEADERS = (
    (b"Cookie", b"session=" + _SPOILT),
    (b"Proxy-Authorization", b"Basic " + _SPOILT),
    (b"X-Forwarded-For", b"127.0.0.1, " * 40),
    (b"X-Forwarded-Host", b"evil.example"),
    (b"Host", b"evil.example/?\\@"),
    (b"Host", b"\xff"),
    (b"Host", b""),
    (b"Forwarded", b"for=" + _SPOILT),
    (b"Content-Encoding", b"gzip"),
    (b"Range", b"bytes=0-0"),
    (b"If-None-Match", b"*"),
    (b"Expect", b"100-continue"),
    (b"Expect", b"the-unexpected"),
    (b"Upgrade", b"websocket"),
    (b"TE", b"trailers"),
    (b"Transfer-Encoding", b"gzip"),
    (b"Content-Length", b"-1"),
    (b"Content-Length", b"5, 5"),
    (b"Content-Length", b"9" * 30),
    (b"X-HTTP-Method-Override", b"DELETE"),
    (b"traceparent", b"00-" + b"0" * 32 + b"-" + b"0" * 16 + b"-00"),
    (b"X-Error-Code", b"internal_error"),
    (b"Idempotent-Replayed", b"true"),
    (b"X-Long", b"a" * 20_000),
    (b"X-Spoilt", b"a\x00b"),
    (b"X-Spoilt", b"a\r\n b"),
    (b"Bad Name", b"a"),
    (b"", b"a"),
    (b"X-\xff", b"a"),
)

_TYPES = (
    b"application/json", b"text/plain", b"application/x-www-form-urlencoded", b"multipart/form-data", b"",
    b"\xff",
    b"application/json; charset=utf-16", b"application/json; charset=nope", b"application/" + b"x" * 500,
)  # fmt: skip

_NO_JSON = (
    b"", b" ", b"null", b"true", b"0", b'"a"', b"[]", b"[[]]", b"{}", b"{", b"}", b'{"password": "' + _SPOILT,
    b'{"password": "%s", }' % _SPOILT, b"password=" + _SPOILT, b"<password>" + _SPOILT + b"</password>",
    b"\xff\xfe" + "{}".encode("utf-16-le"), '{"password": "x"}'.encode("utf-16"), b"\xef\xbb\xbf{}", b"\x00",
    b"\xff" * 50, b'{"name": "\xff"}', b'{"name": "\\ud800"}', b'{"\\udfff": 1}', b'{"name": "\\u0000"}',
    b'{"name": "\\ud83d\\ude00", "purpose": "\\ude00\\ud83d"}', b"[" * 100, b"[" * 50_000, b'{"a":' * 30_000,
    b"[" * 900 + b"]" * 900, b'{"input":' + b'{"a":' * 900 + b"1" + b"}" * 901, b"1" * 5_000,
    b"-" + b"1" * 9_000,
    b'{"version": ' + b"1" * 4_301 + b"}", b'{"version": 1e400}', b'{"budget_cents": -1e999}', b"NaN",
    b'{"version": Infinity}', b'{"input": {"a": NaN}}', b'{"version": 1E-9999}', b'{"agent_ref_id": 1e300}',
    b'{"name": "a", "name": "b"}', b"\x1f\x8b\x08\x00", b"a" * (1024 * 1024 + 1), b"//{}", b"{'a': 1}",
    b"{}{}",
)  # fmt: skip

_NUMBERS = st.one_of(
    st.sampled_from(
        (0, 1, -1, 2, 3, 2**31, 2**53, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**40, 0.5, 1e308, -0.0)
    ),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
)
_WORDS = st.one_of(
    st.sampled_from(
        ("", "a", " ", "\0", "a\0b", "\ud800", "\u202e", "\ufffe", "é", "😀", "x" * 300, "'", "\r\n", "%s")
    ),
    st.text(st.characters(codec="utf-8"), max_size=20),
)  # fmt: skip
_LEAVES = st.one_of(st.none(), st.booleans(), _NUMBERS, _WORDS)
_VALUES = st.recursive(
    _LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_WORDS, inner, max_size=3)),
    max_leaves=6,
)  # fmt: skip

_STEPS: tuple[Any, ...] = (
    ["tokenize"], ["tokenize", "count", "summarize"], ["split"], ["parse"], ["parse", "shape"], ["shape"],
    ["nope"],
    [[]], [{}], [None], [], ["parse"] * 20, "parse",
)  # fmt: skip
# No `rounds` of any size: a service that works for hours on what it was told to is not broken.
_TEXTS = (
    "one two two", "", "NaN", "[NaN, Infinity]", "1e999", '"\\ud800"', '{"\\ud800": 1}', "[" * 20_000,
    '{"a": 1}',
    "1" * 5_000, "\0", '"\\u0000"', "é" * 100, '{"a": [1, 2.5, null]}', 5, None, ["a"],
)  # fmt: skip
_SIZES: tuple[Any, ...] = (1, 2, -1, 10**30, 1.5, "2", "many", None, [], {}, True, 1e308)

# A body that is taken, for each operation that has one; members are left out or spoilt afterwards.
_GOOD: Mapping[str, Mapping[str, st.SearchStrategy[Any]]] = {
    "/v1/runs": {
        "spec_id": st.sampled_from(
            (
                "spec_text_stats",
                "spec_chunks",
                "spec_json_shape",
                "spec_sealed",
                "spec_none",
                "~ID~",
                "~ID~",
                "a\0b",
            )
        ),
        "environment_id": st.sampled_from(("env_default", "env_staging", "env_retired", "env_none", "a\0b")),
        "input": st.fixed_dictionaries(
            {"text": st.sampled_from(_TEXTS)},
            optional={
                "chunk_size": st.sampled_from(_SIZES),
                "rounds": st.sampled_from((1, 10, 0, -1, "x", None, 1.5)),
            },
        ),
        "metadata": st.one_of(
            st.just({}), st.fixed_dictionaries({"name": _VALUES}), st.dictionaries(_WORDS, _VALUES)
        ),
    },
    "/v1/runs/{run_id}/cancel": {"version": _NUMBERS},
    "/v1/specs": {
        "name": _WORDS,
        "definition": st.fixed_dictionaries(
            {"steps": st.sampled_from(_STEPS)},
            optional={
                "admission": st.sampled_from((["chunks"], ["seal"], ["nope"], [[]], {}, None)),
                "more": _VALUES,
            },
        ),
    },
    "/v1/specs/{spec_id}": {
        "name": _WORDS,
        "definition": st.fixed_dictionaries({"steps": st.sampled_from(_STEPS)}),
        "version": _NUMBERS,
    },
    "/v1/environments": {"name": _WORDS, "variables": st.dictionaries(_WORDS, _WORDS, max_size=3)},
    "/api/v1/campaigns": {
        "name": _WORDS,
        "purpose": _WORDS,
        "agent_ref_id": st.one_of(st.none(), st.sampled_from((1, 2, 3)), _NUMBERS),
        "extraction_schema": st.one_of(
            st.none(),
            st.dictionaries(
                _WORDS,
                st.one_of(st.sampled_from(("number", "email", "boolean", "text")), _VALUES),
                max_size=3,
            ),
        ),
        "display_columns": st.lists(_WORDS, max_size=3),
        "contacts": st.one_of(
            st.none(),
            st.lists(
                st.fixed_dictionaries(
                    {"name": _WORDS},
                    optional={
                        "phone": _WORDS,
                        "transcript": st.sampled_from(
                            (
                                "Budget: 1,200 EUR. Email: a@b.c. Interested: yes.",
                                "Budget: " + "9" * 400,
                                "\0",
                                "budget: -",
                                "Budget: 1e999",
                                "Interested: maybe",
                                "Budget: ١٢",
                                "x" * 5_001,
                            )
                        ),
                        "password": st.just(SECRET),
                    },
                ),
                max_size=3,
            ),
        ),
        "merge_duplicates": st.booleans(),
        "budget_cents": st.one_of(st.none(), st.integers(0, 10**6), _NUMBERS),
    },
}


def _keys(before_key: bytes) -> st.SearchStrategy[bytes | None]:
    """Values of the header with the key; None for none. The good key most often."""
    names = (b"read_only", b"limited", b"revoked", b"expired", b"other_tenant", b"suspended", b"unknown")
    full = before_key + b"<key:full>"
    return st.sampled_from(
        [
            *[full] * 24,
            *[before_key + b"<key:%s>" % name for name in names],
            before_key + b"<key:other_tenant>",
            None,
            before_key,
            b"",
            before_key.lower() + b"<key:full>",
            before_key + b"  <key:full> ",
            full + b"x",
            full + b", " + full,
            full + b"\xc3\xa9",
            b"<key:full>",
            b"Basic " + _SPOILT,
            b"Bearer " + _SPOILT,
            before_key + b"kneo_" + _SPOILT,
            before_key + b"ago_" + _SPOILT,
            before_key + b"\xff" * 40,
            before_key + b"<key:unknown>" * 50,
        ]
    )


def hostile(document: Mapping[str, Any], key_header: bytes, before_key: bytes) -> st.SearchStrategy[Request]:
    """Requests that know the operations, and do not keep to what is said of them."""
    operations = [
        (path, method.upper().encode())
        for path, item in document["paths"].items()
        for method in item
    ]  # fmt: skip
    # What changes something is what can go wrong.
    operations += [each for each in operations if each[1] not in (b"GET", b"HEAD")] * 3

    @st.composite
    def request(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Request:
        path, method = draw(st.sampled_from(operations))
        odd = draw(st.sampled_from(("", "", "", "", "method", "target", "segments", "framing", "head")))
        target = draw(_targets(path, odd == "segments"))
        if odd == "target":
            target = draw(st.one_of(st.sampled_from(_TARGETS), st.binary(max_size=40)))
        if odd == "method":
            method = draw(st.one_of(st.sampled_from(_METHODS), st.just(b"HEAD")))
        body = b""
        if method not in (b"GET", b"HEAD") or draw(st.integers(0, 9)) == 0:
            body = draw(_bodies(path))
        headers = draw(_headers(key_header, before_key))
        if odd == "head":
            headers += draw(st.lists(st.sampled_from(_OTHER_HEADERS), max_size=3))
            headers += draw(_many_headers())
        framing, version = "length", b"HTTP/1.1"
        if odd == "framing":
            framing = draw(st.sampled_from(("chunked", "chunked", "chunked", "cut")))
            version = draw(
                st.sampled_from((b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b""))
            )
        return Request(method, target, tuple(headers), body, framing, draw(st.integers(0, 99)), version)

    return request()


def _targets(path: str, odd: bool) -> st.SearchStrategy[bytes]:
    pieces = path.split("/")
    known: Any = (
        st.sampled_from(_SEGMENTS) if odd else st.sampled_from((ID, ID, b"spec_text_stats", b"1", b"none"))
    )
    segments = [known if piece.startswith("{") else st.just(quote(piece).encode()) for piece in pieces]
    queries = st.one_of(
        st.just(b""),
        st.lists(
            st.tuples(st.sampled_from(_QUERY_NAMES), st.sampled_from(_QUERY_VALUES)), min_size=1, max_size=3
        ).map(lambda pairs: b"?" + b"&".join(name + b"=" + value for name, value in pairs)),
        st.just(b"?api_key=" + _SPOILT),
    )
    return st.builds(lambda query, *found: b"/".join(found) + query, queries, *segments)


def _bodies(path: str) -> st.SearchStrategy[bytes]:
    members = _GOOD.get(path, {})
    good = st.fixed_dictionaries(dict(members)).map(_dumped)
    spoilt = st.builds(
        _spoilt, st.fixed_dictionaries({}, optional=dict(members)), st.integers(0, 99), _VALUES
    )
    return st.one_of(
        good, good, spoilt, spoilt, st.sampled_from(_NO_JSON), _VALUES.map(_dumped), st.binary(max_size=60)
    )


def _spoilt(value: dict[str, Any], which: int, other: Any) -> bytes:
    """A body with a secret in it, where it is of the wrong type or not known at all."""
    value = {**value, "password": SECRET, "Authorization": {"token": SECRET}}
    names = [name for name in value if name not in ("password", "Authorization")]
    if names and which % 3:
        name = names[which % len(names)]
        # A list where a list fits would be kept, and shown again to whom it belongs.
        wrong: Any = {"password": SECRET} if name in ("display_columns", "contacts") else [SECRET]
        value[name] = wrong if which % 3 == 1 else other
    return _dumped(value)


def _dumped(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=len(str(value)) % 2 == 0)
    return text.encode("utf-8", "surrogatepass")


def _headers(key_header: bytes, before_key: bytes) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    def optional(
        name: bytes, values: tuple[bytes, ...], often: int
    ) -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
        one = st.sampled_from(values).map(lambda value: [(name, value)])
        twice = st.lists(st.sampled_from(values), min_size=2, max_size=3).map(
            lambda v: [(name, x) for x in v]
        )
        return st.one_of(*[st.just([])] * often, one, one, twice)

    kinds = [
        _keys(before_key).map(lambda key: [] if key is None else [(key_header, key)]),
        optional(b"Idempotency-Key", _REPLAY_KEYS, 2),
        optional(b"Accept", _ACCEPTS, 4),
        optional(b"Content-Type", _TYPES, 3),
        optional(b"If-Match", _TAGS, 8),
        optional(b"X-Request-ID", _REQUEST_IDS, 6),
        st.sampled_from([[]] * 12 + [[header] for header in _OTHER_HEADERS[:4]]),
    ]
    return st.tuples(*kinds).map(lambda found: [header for headers in found for header in headers])


def _many_headers() -> st.SearchStrategy[list[tuple[bytes, bytes]]]:
    # Visible and obsolete octets, and now and then what is no field value at all.
    value = st.binary(max_size=20)
    pair = st.tuples(st.sampled_from((b"X-A", b"X-B", b"Accept-Language", b"If-Match", b"Accept")), value)
    return st.one_of(st.just([]), st.lists(pair, max_size=4), st.just([(b"X-A", b"1")] * 300))


def key_values(keys: Any) -> Iterator[tuple[str, str]]:
    """Name and key of each of a sandbox's demo keys."""
    for name in keys.__dataclass_fields__:
        if key := getattr(keys, name):  # a service without a free tier has no key of it
            yield name, key
