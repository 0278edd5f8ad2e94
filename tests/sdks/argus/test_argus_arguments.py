"""What is refused before anything is sent: over a real socket, on which nothing arrives."""

from __future__ import annotations

import copy
import itertools
import json
import logging
import pickle
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

import failwell
from argus import Argus, ArgusAuthenticationError, ArgusError, ArgusTypeError, ArgusValueError, AsyncArgus
from failwell.testing import FakeClock, ScriptedEngine, answer
from failwell_sandbox.argus.app import NewAsset, NewBatch, NewCheck

KEY = "rsk_0123456789abcdefghijABCDEFGHIJ01"
DIRECT = failwell.Connections(trust_env=False)

WRONG_TYPES: list[tuple[Callable[[Any], Any], str, str]] = [
    (lambda c: c.check(b"text"), "text", "bytes"),
    (lambda c: c.check(None), "text", "NoneType"),
    (lambda c: c.check(["text"]), "text", "list"),
    (lambda c: c.check("text", competitors="Globex"), "competitors", "str"),
    (lambda c: c.check("text", competitors={"Globex"}), "competitors", "set"),
    (lambda c: c.check("text", competitors=["Globex", 7]), "competitors[1]", "int"),
    (lambda c: c.check("text", competitors=[None]), "competitors[0]", "NoneType"),
    (lambda c: c.check("text", detect="secrets"), "detect", "str"),
    (lambda c: c.check("text", min_score="0.5"), "min_score", "str"),
    (lambda c: c.check("text", min_score=True), "min_score", "bool"),
    (lambda c: c.check("text", asset_id=7), "asset_id", "int"),
    (lambda c: c.check("text", asset_id="asset_1", save="yes"), "save", "str"),
    (lambda c: c.check("text", save=1), "save", "int"),
    (lambda c: c.check_batch("text"), "texts", "str"),
    (lambda c: c.check_batch(["text", b"text"]), "texts[1]", "bytes"),
    (lambda c: c.check_batch(text for text in ["text"]), "texts", "generator"),
    (lambda c: c.check_batch(["text"], competitors="Globex"), "competitors", "str"),
    (lambda c: c.assets.create(None), "name", "NoneType"),
    (lambda c: c.assets.create("site", competitors="Globex"), "competitors", "str"),
    (lambda c: c.assets.get(7), "asset_id", "int"),
    (lambda c: c.assets.list(limit="20"), "limit", "str"),
    (lambda c: c.assets.list(cursor=7), "cursor", "int"),
    (lambda c: c.assets.results(None), "asset_id", "NoneType"),
]

WRONG_VALUES: list[tuple[Callable[[Any], Any], str]] = [
    (lambda c: c.check("text", save=True), "save=True needs an asset_id"),
    (lambda c: c.check_batch(["text"], save=True), "save=True needs an asset_id"),
    (lambda c: c.check("text", asset_id="", save=True), "asset_id is empty"),
    (lambda c: c.check("text", competitors=["Globex", " "]), r"competitors\[1\] is empty"),
    (lambda c: c.check("text", detect=["secrets", "names"]), r"detect\[1\] is 'names'; it is one of"),
    (lambda c: c.check("text", min_score=1.1), "min_score is 1.1; it is 0.0 to 1.0"),
    (lambda c: c.check("text", min_score=float("nan")), "min_score is nan"),
    (lambda c: c.check("half \ud800 a pair"), "surrogate"),
    (lambda c: c.check_batch(["text"] * 101), "texts has 101 items; it has 0 to 100"),
    (lambda c: c.check("x" * 1_000_001), "text has 1000001 characters; it has 1000000 or less"),
    (lambda c: c.check_batch(["x" * 500_000, "x" * 500_001]), "texts have 1000001 characters together"),
    (lambda c: c.check("text", competitors=["x"] * 101), "competitors has 101 items; it has 0 to 100"),
    (lambda c: c.check("text", competitors=["x", "x" * 101]), r"competitors\[1\] has 101 characters"),
    (lambda c: c.check_batch([], competitors=["x" * 101]), r"competitors\[0\] has 101 characters"),
    (lambda c: c.assets.create("x" * 101), "name has 101 characters; it has 100 or less"),
    (lambda c: c.assets.create("a\0b"), "name holds a zero character"),
    (lambda c: c.assets.create("site", competitors=["x" * 101]), r"competitors\[0\] has 101 characters"),
    (lambda c: c.assets.list(cursor=""), "cursor is empty"),
    (lambda c: c.check("text", idempotency_key=""), "key"),
    (lambda c: c.assets.create(" "), "name is empty"),
    (lambda c: c.assets.get(".."), "asset_id is '..', which is no id"),
    (lambda c: c.assets.list(limit=0), "limit is 0; it is 1 to 100"),
]

EMPTY: list[tuple[Callable[[Any], Any], str]] = [
    (lambda c: c.check_batch([]), "texts"),
    (lambda c: c.check_batch(()), "texts"),
    (lambda c: c.check("text", competitors=[]), "competitors"),
    (lambda c: c.check("text", detect=[]), "detect"),
    (lambda c: c.check_batch(["text"], competitors=[]), "competitors"),
    (lambda c: c.check_batch([], asset_id="asset_1", save=True), "texts"),
    (lambda c: c.check_batch([], competitors=[], detect=[]), "texts"),
    (lambda c: c.check("", competitors=[], detect=[]), "competitors"),
]


def nothing_was_sent(wire: Any) -> bool:
    return (wire.asked, wire.connections) == ([], 0)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize(("call", "name", "kind"), WRONG_TYPES)
def test_a_wrong_type_is_named_with_the_argument_and_the_type_and_nothing_is_sent(
    use: Any, wire: Any, call: Any, name: str, kind: str, strict: bool
) -> None:
    with pytest.raises(ArgusTypeError) as caught:
        use(call, strict=strict)

    assert f"{name} is a {kind}; give " in str(caught.value)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value, ArgusValueError)
    assert nothing_was_sent(wire)


@pytest.mark.parametrize(("call", "says"), WRONG_VALUES)
def test_a_value_that_cannot_be_used_is_refused_and_nothing_is_sent(
    use: Any, wire: Any, call: Any, says: str
) -> None:
    with pytest.raises(ArgusValueError, match=says) as caught:
        use(call)

    assert type(caught.value) is ArgusValueError
    assert isinstance(caught.value, ValueError)
    assert not isinstance(caught.value, failwell.CallError)
    assert nothing_was_sent(wire)


@pytest.mark.parametrize(("call", "name"), EMPTY)
def test_an_empty_list_is_refused_in_strict_mode_and_nothing_is_sent(
    use: Any, wire: Any, call: Any, name: str
) -> None:
    with pytest.raises(ArgusValueError, match=f"{name} is an empty list, which strict mode does not allow"):
        use(call, strict=True)

    assert nothing_was_sent(wire)


@pytest.mark.parametrize(("call", "name"), EMPTY)
def test_an_empty_list_is_a_no_op_otherwise_and_the_result_says_so(
    use: Any, wire: Any, call: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "argus"):
        result = use(call)

    assert (bool(result), result.skipped, result.flagged) == (True, True, False)
    assert caplog.messages == [f"{name} is an empty list: nothing was sent and nothing was checked"]
    assert nothing_was_sent(wire)


def test_an_asset_without_competitors_is_one_unless_the_mode_is_strict(use: Any, wire: Any) -> None:
    wire.will_answer(201, {"id": "asset_1", "name": "site"})

    assert use(lambda c: c.assets.create("site", competitors=[])).competitors == ()
    assert json.loads(wire.asked.pop()[3]) == {"name": "site", "competitors": []}
    with pytest.raises(ArgusValueError, match="competitors is an empty list, which strict mode"):
        use(lambda c: c.assets.create("site", competitors=[]), strict=True)
    assert wire.asked == []


def test_what_is_to_be_looked_for_is_asked_for_once(use: Any, wire: Any) -> None:
    wire.will_answer(200, {"findings": [], "checked": ["secrets"]})

    use(lambda c: c.check("text", detect=["secrets"] * 20))

    assert json.loads(wire.asked[0][3])["detect"] == ["secrets"]


def test_a_no_op_for_a_batch_has_a_result_for_each_text(use: Any, wire: Any) -> None:
    result = use(lambda c: c.check_batch(["one", "two"], competitors=[]))

    assert [each.skipped for each in result] == [True, True]
    assert (len(use(lambda c: c.check_batch([]))), nothing_was_sent(wire)) == (0, True)


def test_an_empty_list_beside_a_wrong_argument_is_refused_in_any_mode(use: Any, wire: Any) -> None:
    with pytest.raises(ArgusTypeError):
        use(lambda c: c.check("text", competitors=[], asset_id=7))
    with pytest.raises(ArgusValueError, match="save=True needs"):
        use(lambda c: c.check_batch([], save=True))

    assert nothing_was_sent(wire)


@pytest.mark.parametrize(
    "key", ["", " ", "nonsense", "ago_0123456789", "sk-0123456789", "xrsk_01234567", "sk_", "rsk_", "SK_0123",
            "rsk_0123 4567", "rsk_0123\n", "sk_ключ", " rsk_01234567"]
)  # fmt: skip
@pytest.mark.parametrize("client", [Argus, AsyncArgus])
def test_a_malformed_key_is_refused_without_being_repeated(client: Any, key: str, wire: Any) -> None:
    with pytest.raises(ArgusValueError) as caught:
        client(key, base_url=wire.base_url)

    assert type(caught.value) is ArgusValueError
    assert len(key) < 5 or key not in str(caught.value)
    assert nothing_was_sent(wire)


@pytest.mark.parametrize("key", ["sk_...", "rsk_a", "sk_live.a+b/c=", "rsk_rsk_"])
def test_a_key_is_judged_by_what_it_begins_with(key: str, wire: Any) -> None:
    wire.will_answer(401, {"detail": "Nobody has this key."})
    with (
        Argus(key, base_url=wire.base_url, connections=DIRECT) as argus,
        pytest.raises(ArgusAuthenticationError),
    ):
        argus.check("text")

    assert wire.asked[0][2]["authorization"] == f"Bearer {key}"


@pytest.mark.parametrize("client", [Argus, AsyncArgus])
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"api_key": 7}, "api_key is a int; give a string"),
        ({"api_key": b"rsk_0123"}, "api_key is a bytes; give a string"),
        ({"strict": "yes"}, "strict is a str; give True or False"),
        ({"strict": None}, "strict is a NoneType; give True or False"),
        ({"timeout": "30"}, "timeout is a str; give a number of seconds"),
        ({"max_retries": 1.5}, "max_retries is a float; give an int"),
        ({"base_url": 7}, "base_url is a int; give a string"),
        ({"deadline": "60"}, "deadline is a str; give seconds"),
        ({"connections": 7}, "connections is a int; give a failwell.Connections"),
        ({"listeners": print}, "listeners is a builtin_function_or_method; give a list of functions"),
        (
            {"listeners": [print, 7]},
            "listeners[1] is a int; give a function that takes a failwell.telemetry.Event",
        ),
        ({"clock": 7}, "clock is a int; give a failwell.clock.Clock"),
        (
            {"engine": 7},
            "engine is a int; give the name of an engine, or a client or transport of httpx2",
        ),
        (
            {"engine": None},
            "engine is a NoneType; give the name of an engine, or a client or transport of httpx2",
        ),
    ],
)
def test_a_setting_of_the_wrong_type_is_an_argus_type_error(client: Any, settings: Any, says: str) -> None:
    with pytest.raises(ArgusTypeError) as caught:
        client(**({"api_key": KEY, "base_url": "http://127.0.0.1:9"} | settings))

    assert str(caught.value) == says


@pytest.mark.parametrize("client", [Argus, AsyncArgus])
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"api_key": None}, "no API key: pass api_key or set ARGUS_API_KEY"),
        ({"base_url": "nonsense"}, "base_url cannot be used"),
        ({"timeout": 0}, "timeout is 0"),
        ({"max_retries": -1}, "max_retries is -1"),
    ],
)
def test_a_setting_that_cannot_be_used_is_an_argus_value_error(client: Any, settings: Any, says: str) -> None:
    with pytest.raises(ArgusValueError, match=says) as caught:
        client(**({"api_key": KEY, "base_url": "http://127.0.0.1:9"} | settings))

    assert type(caught.value) is ArgusValueError


def test_key_and_address_come_from_the_environment(
    use: Any, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARGUS_API_KEY", "sk_from-the_environment1")
    monkeypatch.setenv("ARGUS_BASE_URL", wire.base_url)
    wire.will_answer(200, {"findings": [], "checked": ["secrets"]})

    use(lambda c: c.check("text"), api_key=None, base_url=None)

    assert wire.asked[0][1] == "/v1/checks"
    assert wire.asked[0][2]["authorization"] == "Bearer sk_from-the_environment1"


@pytest.mark.parametrize("kind", [pickle.dumps, copy.deepcopy])
def test_a_client_is_neither_pickled_nor_copied_and_shows_no_key(kind: Callable[[Any], Any]) -> None:
    with Argus(KEY) as argus, pytest.raises(TypeError, match="make one in each process") as caught:
        kind(argus)

    assert KEY not in f"{caught.value} {argus!r}"


def test_a_closed_client_sends_nothing(wire: Any) -> None:
    argus = Argus(KEY, base_url=wire.base_url, connections=DIRECT)
    argus.close()
    argus.close()

    with pytest.raises(ArgusValueError, match="this client was closed"):
        argus.check("text")
    assert nothing_was_sent(wire)


def test_one_except_catches_all_of_it(use: Any) -> None:
    with pytest.raises(ArgusError):
        use(lambda c: c.check(7))


# --- what is not refused is what the service takes ---

TEXTS = st.text(max_size=5) | st.sampled_from(["", " ", "\0", "\ud800", "x" * 100, "x" * 101, "Globex"])
LISTS = (
    st.none() | st.lists(TEXTS, max_size=3) | st.sampled_from([["x"] * 100, ["x"] * 101, "x", ("a",), [7]])
)
KINDS = st.none() | st.lists(
    st.sampled_from(["competitors", "secrets", "personal_data", "names", 7]), max_size=12
)
SCORES = st.none() | st.floats() | st.booleans() | st.integers(-1, 2)
LONG = st.sampled_from(["x" * 1_000_000, "x" * 1_000_001, "\U0001f600" * 1_000_000])
WANTED = st.fixed_dictionaries(
    {},
    optional={
        "competitors": LISTS, "detect": KINDS, "min_score": SCORES, "asset_id": st.none() | TEXTS,
        "save": st.booleans() | st.integers(0, 1),
    },
)  # fmt: skip
MODELS: dict[str, type[BaseModel]] = {
    "/v1/checks": NewCheck,
    "/v1/checks/batch": NewBatch,
    "/v1/assets": NewAsset,
}


@given(TEXTS | LONG, st.lists(TEXTS, max_size=3) | LONG.map(lambda text: [text, ""]), WANTED, st.booleans())
@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
def test_whatever_is_passed_is_refused_or_is_what_the_service_takes(
    text: str, texts: list[str], wanted: dict[str, Any], strict: bool
) -> None:
    engine = ScriptedEngine(itertools.repeat(answer(404, {})))
    with Argus(
        KEY, strict=strict, base_url="http://argus.example/v1", engine=engine, clock=FakeClock()
    ) as argus:
        for call in (
            lambda: argus.check(text, **wanted),
            lambda: argus.check_batch(texts, **wanted),
            lambda: argus.assets.create(text, competitors=wanted.get("competitors")),
        ):
            sent = len(engine.requests)
            try:
                call()
            except ArgusValueError:
                assert len(engine.requests) == sent
            except ArgusError:
                assert len(engine.requests) == sent + 1
            else:  # a no-op
                assert len(engine.requests) == sent

    for request in engine.requests:
        path = request.url.removeprefix("http://argus.example")
        assert isinstance(request.content, bytes)
        MODELS[path].model_validate_json(request.content)
