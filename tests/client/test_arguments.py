"""Arguments are refused by name before anything is sent, and never repeated."""

from __future__ import annotations

import asyncio
import copy
import pickle
from collections.abc import Callable
from math import inf, nan
from typing import Any

import pytest

from failwell import (
    ArgumentTypeError,
    AsyncClient,
    AuthenticationError,
    Client,
    ConfigurationError,
    Contract,
    InvalidRequestError,
    UsageError,
)
from failwell.testing import AsyncScriptedEngine, FakeClock, ScriptedEngine, answer, assert_no_secret

BASE = "https://api.example/v1"
SECRET = "s3cr3t-t0ken-value"


def made(**settings: Any) -> tuple[Client, ScriptedEngine]:
    engine = ScriptedEngine([answer(200)])
    return Client(settings.pop("base_url", BASE), engine=engine, clock=FakeClock(), **settings), engine


def sent(*given: Any, **named: Any) -> Any:
    client, engine = made()
    client.request(*given, **named)
    return engine.requests[0]


def refused(ask: Callable[[], Any]) -> UsageError:
    with pytest.raises(UsageError) as caught:
        ask()
    assert_no_secret(caught.value, SECRET)
    return caught.value


# --- The base URL ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "url"),
    [
        ("https://api.example", "https://api.example/x"),
        ("https://api.example/", "https://api.example/x"),
        (" https://api.example/v1/ ", "https://api.example/v1/x"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/x"),
        ("http://[::1]:8000/a", "http://[::1]:8000/a/x"),
    ],
)
def test_a_base_url_may_have_a_path(base: str, url: str) -> None:
    client, engine = made(base_url=base)
    client.request("GET", "/x")

    assert engine.requests[0].url == url


@pytest.mark.parametrize(
    "base",
    [
        "",
        "api.example",
        "ftp://api.example",
        "https://",
        "https:///x",
        "https://api.example?x=1",
        "https://api.example#x",
        "https://api.example:port",
        "https://[::1",
        "https://api.exa mple",
        "https://api.example/\tx",
        "https://b\u00fccher.example",
        f"https://user:{SECRET}@api.example",
        f"https://user:{SECRET}@api.example?x",
        f"user:{SECRET}@api.example",
        f"https://api.example/?key={SECRET}",
        f"https://user:a/{SECRET}@api.example?",
    ],
)
@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_another_base_url_is_refused_without_what_is_secret_in_it(cls: Any, base: str) -> None:
    error = refused(lambda: cls(base, engine=(ScriptedEngine if cls is Client else AsyncScriptedEngine)([])))

    assert type(error) is ConfigurationError
    assert "base_url" in str(error)


@pytest.mark.parametrize("base", [None, 7, b"https://api.example"])
def test_a_base_url_of_another_type_is_named(base: Any) -> None:
    error = refused(lambda: made(base_url=base))

    assert str(error) == f"base_url is a {type(base).__name__}; give a string"


# --- Paths and queries ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "url"),
    [
        ("/x", "/x"),
        ("x", "/x"),
        ("", "/"),
        (f"{BASE}/x?y=1", "/x?y=1"),
        ("/a b", "/a%20b"),
        ("/stra\u00dfe", "/stra%C3%9Fe"),
        ("/a%20b", "/a%20b"),
        ("/a\r\nx-evil: 1", "/a%0D%0Ax-evil:%201"),
        ("/a#b", "/a%23b"),
    ],
)
def test_a_path_is_encoded_where_it_has_to_be(path: str, url: str) -> None:
    assert sent("GET", path).url == BASE + url


@pytest.mark.parametrize(
    ("params", "query"),
    [
        ({}, ""),
        (None, ""),
        ({"a": None}, ""),
        ({"a": 1, "b": 2.5, "c": "x&y=z#"}, "?a=1&b=2.5&c=x%26y%3Dz%23"),
        ({"a": True, "b": [False, "x"]}, "?a=true&b=false&b=x"),
        ({"a": ["x", None, "y"], "b": ("z",)}, "?a=x&a=y&b=z"),
        ({"\u00e9": "\u20ac"}, "?%C3%A9=%E2%82%AC"),
        ({"a": []}, "?"),
    ],
)
def test_a_query_is_written_out(params: Any, query: str) -> None:
    assert sent("GET", "/x", params=params).url == f"{BASE}/x{query}"


def test_a_query_is_added_to_the_one_in_the_path() -> None:
    assert sent("GET", "/x?a=1", params={"b": 2}).url == f"{BASE}/x?a=1&b=2"


@pytest.mark.parametrize(
    "path", ["https://other.example/", "https://api.example/v2", "https://api.example/v1evil", "ftp://x/y"]
)
def test_an_address_elsewhere_is_refused(path: str) -> None:
    client, engine = made(credentials={"x-key": SECRET})
    error = refused(lambda: client.request("GET", f"{path}?token={SECRET}"))

    assert "is not below this client's base URL" in str(error)
    assert engine.orders == []


# --- Everything else that can be passed -----------------------------------------------------


class NotAMapping:
    items = 5


WRONG_TYPES = [
    ({"method": 7}, "method is a int; give a string"),
    ({"method": None}, "method is a NoneType; give a string"),
    ({"path": b"/"}, "path is a bytes; give a string"),
    ({"params": [("a", 1)]}, "params is a list; give a mapping"),
    ({"params": dict}, "params is a type; give a mapping"),
    ({"params": {1: 2}}, "a name in params is a int; give a string"),
    ({"params": {"a": {"b": 1}}}, "params['a'] is a dict; give a string, a number or a list of them"),
    ({"params": {"a": object()}}, "params['a'] is a object; give a string"),
    ({"params": {"a": [[1]]}}, "params['a'] is a list; give a string"),
    ({"params": {"a": [iter([])]}}, "params['a'] is a list_iterator; give a string"),
    ({"headers": "a: b"}, "headers is a str; give a mapping"),
    ({"headers": NotAMapping()}, "headers is a NotAMapping; give a mapping"),
    ({"method": ["GET"]}, "method is a list; give a string"),
    ({"headers": {"a": 1}}, "the value of header 'a' is a int; give a string"),
    ({"headers": {b"a": "1"}}, "a header's name is a bytes; give a string"),
    ({"content": "text"}, "content is a str; give bytes"),
    ({"json": {1, 2}}, "json cannot be encoded: Object of type set is not JSON serializable"),
    ({"json": {(1,): 2}}, "json cannot be encoded: keys must be str"),
    ({"idempotency_key": 7}, "idempotency_key is a int; give a string"),
    ({"deadline": "7"}, "deadline is a str; give seconds"),
    ({"deadline": True}, "deadline is a bool; give seconds"),
]


@pytest.mark.parametrize(("given", "says"), WRONG_TYPES, ids=[s for _, s in WRONG_TYPES])
def test_a_wrong_type_is_named(given: dict[str, Any], says: str) -> None:
    client, engine = made()
    error = refused(lambda: client.request(**{"method": "POST", "path": "/", **given}))

    assert type(error) is ArgumentTypeError
    assert isinstance(error, TypeError)
    assert str(error).startswith(says)
    assert engine.orders == []


CIRCULAR: list[Any] = []
CIRCULAR.append(CIRCULAR)
DEEP: Any = []
for _ in range(100_000):
    DEEP = [DEEP]

WRONG_VALUES = [
    ({"method": "GET /x HTTP/1.1\r\n"}, "is no HTTP method"),
    ({"method": ""}, "'' is no HTTP method"),
    ({"headers": {"a b": "1"}}, "'a b' is no header name"),
    ({"headers": {"": "1"}}, "'' is no header name"),
    ({"headers": {"x-key": f"{SECRET}\nx: y"}}, "the value of header 'x-key' has characters"),
    ({"headers": {"x-key": f"{SECRET}\u20ac"}}, "the value of header 'x-key' has characters"),
    ({"json": {"a": nan}}, "json cannot be encoded: Out of range float values"),
    ({"json": {"a": "\ud800"}}, "json cannot be encoded: 'utf-8' codec"),
    ({"json": CIRCULAR}, "it is nested too deeply, or contains itself"),
    ({"json": DEEP}, "json cannot be encoded: "),
    ({"json": {}, "content": b""}, "give json or content, not both"),
    ({"idempotency_key": ""}, "idempotency_key must be 1 to 255"),
    ({"headers": {"idempotency-key": "a b"}}, "idempotency_key must be 1 to 255"),
    ({"deadline": -1}, "deadline is -1; it is a number of seconds"),
    ({"deadline": nan}, "deadline is nan; it is a number of seconds"),
    ({"deadline": -(10**5000)}, "deadline is below zero; it is a number of seconds"),
    ({"params": {"a": 10**5000}}, "params['a'] is a number too large to be sent"),
    ({"method": "ß"}, "'ß' is no HTTP method"),
]


@pytest.mark.parametrize(("given", "says"), WRONG_VALUES, ids=[s for _, s in WRONG_VALUES])
@pytest.mark.parametrize("drive", ["sync", "async"])
def test_a_wrong_value_is_refused_and_secrets_are_not_repeated(
    drive: str, given: dict[str, Any], says: str
) -> None:
    named = {"method": "POST", "path": f"/?k={SECRET}", "headers": {"x-own": SECRET}, **given}
    if drive == "sync":
        client, _ = made()
        error = refused(lambda: client.request(**named))
    else:
        awaiting = AsyncClient(BASE, engine=AsyncScriptedEngine([]), clock=FakeClock())
        error = refused(lambda: asyncio.run(awaiting.request(**named)))

    assert type(error) is UsageError
    assert says in str(error)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"credentials": {"authorization": f"Bearer {SECRET}\n"}}, "the value of header 'authorization'"),
        ({"credentials": f"Bearer {SECRET}"}, "credentials is a str; give a mapping"),
        ({"credentials": {"x-key": None}}, "the value of header 'x-key' is a NoneType"),
        ({"headers": {"x-key": f"{SECRET}\r"}}, "the value of header 'x-key' has characters"),
        ({"headers": [SECRET]}, "headers is a list; give a mapping"),
        ({"deadline": -0.1}, "deadline is -0.1"),
        ({"deadline": "1"}, "deadline is a str"),
    ],
)
@pytest.mark.parametrize("cls", [Client, AsyncClient])
def test_a_setting_is_refused_and_secrets_are_not_repeated(
    cls: Any, settings: dict[str, Any], says: str
) -> None:
    error = refused(lambda: cls(BASE, **settings))

    assert says in str(error)


@pytest.mark.parametrize("deadline", [None, inf, 1, 2.5, 10**400])
def test_a_deadline_may_be_any_number_of_seconds_or_none(deadline: float | None) -> None:
    client, engine = made(deadline=deadline)
    client.request("GET", "/")

    assert engine.orders[0].deadline == 1000.0 + (inf if deadline is None or deadline > 1e9 else deadline)


def test_a_credential_of_one_call_goes_before_the_clients_and_is_as_secret() -> None:
    engine = ScriptedEngine([answer(401, {"message": f"no key {SECRET}", "hint": [SECRET]})])
    client = Client(BASE, engine=engine, credentials={"x-key": "another-value"})
    with pytest.raises(AuthenticationError) as caught:
        client.request("GET", "/", headers={"X-Key": f"  {SECRET} "})

    assert engine.requests[0].headers["x-key"] == SECRET
    assert_no_secret(caught.value, SECRET)


@pytest.mark.parametrize(
    "value",
    [
        f"Bearer {SECRET}",
        SECRET,
        f"session={SECRET}; theme=dark",
        f'Digest username="x", response="{SECRET}"',
    ],
)
def test_a_service_that_repeats_the_credential_is_not_quoted(value: str) -> None:
    engine = ScriptedEngine([answer(400, {"message": f"got {SECRET}!", "errors": {SECRET: [f"<{SECRET}>"]}})])
    with pytest.raises(InvalidRequestError) as caught:
        Client(BASE, engine=engine, credentials={"authorization": value}).request("GET", "/")

    assert_no_secret(caught.value, SECRET)
    assert "[redacted]" in str(caught.value)


def test_a_client_shows_where_it_calls_and_nothing_else() -> None:
    client, _ = made(credentials={"x-key": SECRET})

    assert repr(client) == "<Client https://api.example/v1 on scripted>"
    assert (
        repr(AsyncClient(BASE, engine=AsyncScriptedEngine([])))
        == "<AsyncClient https://api.example/v1 on scripted>"
    )
    assert repr(Client.__new__(Client)) == "<Client unmade>"


def test_closing_twice_is_harmless_and_closes_the_engine() -> None:
    client, engine = made()
    with client:
        pass
    client.close()

    assert engine.closed


@pytest.mark.parametrize("close", [Client.close, Client.__exit__])
def test_a_closed_client_says_so_and_sends_nothing(close: Callable[..., None]) -> None:
    client, engine = made()
    close(client)

    assert "closed" in str(refused(lambda: client.request("GET", "/x")))
    assert engine.requests == []


def test_a_closed_awaiting_client_says_so_and_sends_nothing() -> None:
    async def ask() -> None:
        engine = AsyncScriptedEngine([answer(200)])
        client = AsyncClient(BASE, engine=engine)
        await client.aclose()
        await client.aclose()
        with pytest.raises(UsageError, match="closed"):
            await client.request("GET", "/x")
        assert engine.requests == []

    asyncio.run(ask())


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_client_is_neither_pickled_nor_copied_and_says_what_to_do(duplicate: Any) -> None:
    for client in (made(credentials={"x-key": SECRET})[0], AsyncClient(BASE, engine=AsyncScriptedEngine([]))):
        with pytest.raises(TypeError, match="make one in each process"):
            duplicate(client)


@pytest.mark.parametrize(
    "setting", ["contract", "retry", "budget", "timeouts", "breaker", "connections", "listeners", "clock"]
)
@pytest.mark.parametrize("value", [5, "yes", [5]], ids=repr)
def test_a_setting_of_another_type_is_refused_by_name(setting: str, value: Any) -> None:
    for client, engine in ((Client, ScriptedEngine([])), (AsyncClient, AsyncScriptedEngine([]))):
        with pytest.raises(ArgumentTypeError, match=rf"^{setting}(\[0\])? "):
            client(BASE, engine=engine, **{setting: value})


@pytest.mark.parametrize("where", [{"path": "/\ud800"}, {"path": "/x", "params": {"q": "\udfff"}}])
def test_half_a_surrogate_pair_in_a_url_is_refused(where: dict[str, Any]) -> None:
    error = refused(lambda: sent("GET", **where))

    assert "surrogate" in str(error)
    assert error.__context__ is None


# --- Engines --------------------------------------------------------------------------------


class NotAnEngine:
    name = 7

    def __repr__(self) -> str:
        return "<NotAnEngine>"  # names the test, the same in every process

    def send(self) -> None: ...
    def close(self) -> None: ...


@pytest.mark.parametrize("engine", ["nothing", "aiohttp", NotAnEngine(), AsyncScriptedEngine([])], ids=repr)
def test_what_cannot_be_a_blocking_engine_is_refused(engine: Any) -> None:
    with pytest.raises(ConfigurationError):
        Client(BASE, engine=engine)


@pytest.mark.parametrize("engine", ["nothing", NotAnEngine(), ScriptedEngine([])], ids=repr)
def test_what_cannot_be_an_awaiting_engine_is_refused(engine: Any) -> None:
    with pytest.raises(ConfigurationError):
        AsyncClient(BASE, engine=engine)


@pytest.mark.parametrize("client", [Client, AsyncClient])
@pytest.mark.parametrize("engine", [7, None, [ScriptedEngine]], ids=repr)
def test_an_engine_that_is_a_thing_of_no_library_is_of_the_wrong_type(client: Any, engine: Any) -> None:
    with pytest.raises(ArgumentTypeError, match=r"^engine is a .*; give the name of an engine, or a client"):
        client(BASE, engine=engine)


def test_the_contract_names_the_header_of_the_key() -> None:
    engine = ScriptedEngine([answer(200)] * 2)
    client = Client(BASE, engine=engine, contract=Contract("own", idempotency_header="X-Once"))
    client.request("POST", "/")
    client.request("POST", "/", headers={"x-once": "k-1"})

    assert len(engine.requests[0].headers["x-once"]) == 32
    assert engine.requests[1].headers["x-once"] == "k-1"


@pytest.mark.parametrize(("breaker", "has"), [(None, False), (True, True), (False, False)])
def test_the_contract_decides_whether_there_is_a_breaker_unless_told(breaker: Any, has: bool) -> None:
    client, _ = made(contract=Contract("own"), breaker=breaker)

    assert (client._setup.breaker is not None) == has
    assert made()[0]._setup.breaker is not None
