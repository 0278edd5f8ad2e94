"""The four promises about errors, over every class of failwell and of each SDK."""

from __future__ import annotations

import copy
import inspect
import json
import multiprocessing
import pickle
import sys
import types
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest
from error_classes import (
    PACKAGES,
    call_errors,
    classes,
    constructed,
    contracts,
    facts,
    raise_again,
    with_failure,
)
from failure_strategies import failures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import failwell
from failwell import Answer, CallError, Client, Error, Failure, RetryPolicy
from failwell.call.messages import Reason
from failwell.call.outcome import STANDARD_CLASS
from failwell.testing import ScriptedEngine, answer, assert_no_secret, broken, make_error

ALL = pytest.mark.parametrize("cls", classes(), ids=lambda c: c.__name__)
CALLS = pytest.mark.parametrize("cls", call_errors(), ids=lambda c: c.__name__)
# Few examples of each of many classes; more of them together than any one test would have.
FEW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def through_json(error: Error) -> Error:
    return type(error).from_dict(json.loads(json.dumps(error.to_dict())))


WAYS: dict[str, Any] = {
    **{f"pickle {n}": lambda e, n=n: pickle.loads(pickle.dumps(e, n)) for n in range(2, 6)},
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "json": through_json,
}


def test_the_walk_finds_every_package() -> None:
    found = {cls.__module__.partition(".")[0] for cls in classes()}

    assert set(PACKAGES) == found
    assert len(classes()) >= 60


# --- The tree -------------------------------------------------------------------------------


@CALLS
def test_a_class_of_an_sdk_is_its_base_and_a_standard_class(cls: type[CallError]) -> None:
    package = cls.__module__.partition(".")[0]
    if package == "failwell":
        return
    base = contracts()[package].base
    standard = [c for c in cls.__mro__ if c.__module__ == "failwell.errors" and c not in (CallError, Error)]

    assert issubclass(cls, base)
    assert standard or cls is base, f"{cls.__name__} says nothing of what it means"


@ALL
def test_a_class_says_what_it_means(cls: type[Error]) -> None:
    text = inspect.getdoc(cls) or ""

    assert text
    assert cls.kind == cls.kind.lower()
    if issubclass(cls, CallError) and cls is not CallError:
        assert "## Was it carried out?" in text


def test_no_two_standard_classes_have_one_kind() -> None:
    kinds = [vars(cls)["kind"] for cls in classes() if "kind" in vars(cls)]

    assert len(kinds) == len(set(kinds))


# --- 1. It travels --------------------------------------------------------------------------


@ALL
@FEW
@given(failure=failures)
def test_1_it_comes_back_as_the_same_class_with_equal_facts(cls: type[Error], failure: Failure) -> None:
    error = with_failure(cls, failure)
    known = facts(error)

    for way, travel in WAYS.items():
        assert facts(travel(error)) == known, way


@ALL
@pytest.mark.parametrize("way", WAYS)
def test_1_it_does_so_if_it_was_made_by_its_documented_constructor(cls: type[Error], way: str) -> None:
    error = constructed(cls)
    error.add_note("seen by the worker")
    error.custom = {"list": [1, "two"]}
    back = WAYS[way](error)

    assert facts(back) == facts(error)
    assert back.__notes__ == ["seen by the worker"]


def test_1_it_comes_back_from_another_process() -> None:
    errors = [make(cls) for cls in classes() for make in (constructed, _made)]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        back = [pool.submit(raise_again, error).exception(60) for error in errors]

    assert [facts(error) for error in back] == [facts(error) for error in errors]


def _made(cls: type[Error]) -> Error:
    return make_error(cls) if issubclass(cls, CallError) else cls("It broke")


@ALL
@pytest.mark.parametrize("way", ["pickle 2", "pickle 5", "json"])
def test_1_an_unknown_class_comes_back_as_its_nearest_known_base(cls: type[Error], way: str) -> None:
    module = types.ModuleType("sdk_that_is_gone")

    class GoneError(cls):
        def __init__(self, only: str) -> None:
            self.only = only

    GoneError.__module__, GoneError.__qualname__ = module.__name__, "GoneError"
    module.GoneError = GoneError
    sys.modules[module.__name__] = module
    try:
        error = with_failure(GoneError, Failure(message="It broke", status=503))
        sent = json.dumps(error.to_dict()) if way == "json" else pickle.dumps(error, int(way[-1]))
    finally:
        del sys.modules[module.__name__]

    back = Error.from_dict(json.loads(sent)) if isinstance(sent, str) else pickle.loads(sent)

    assert type(back) is cls
    assert str(back) == str(error)
    if isinstance(back, CallError):
        assert back.failure == error.failure


@CALLS
def test_1_a_class_whose_constructor_forgot_the_facts_has_some(cls: type[CallError]) -> None:
    class HastyError(cls):
        def __init__(self, *_: Any) -> None:
            pass

    group = issubclass(cls, BaseExceptionGroup)
    error: CallError = HastyError("It broke", [ValueError("item")]) if group else HastyError("It broke")
    # An OSError keeps nothing of what a constructor does not pass on; then the class speaks.
    headline = "HastyError" if issubclass(cls, OSError) else "It broke"

    assert str(error) == headline
    assert error.failure.message == (None if issubclass(cls, OSError) else "It broke")
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = error.nothing


# --- 2. No secret rides along ---------------------------------------------------------------

# Starts like nothing else, so that finding it means that it was planted.
secrets = st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~", min_size=8, max_size=60
).map(lambda rest: f"zQ7{rest}")
CONTRACTS = pytest.mark.parametrize("package", contracts())


def bodies(secret: str) -> st.SearchStrategy[Any]:
    """Whatever a service may say with `secret` somewhere in it."""
    said = st.sampled_from(
        [secret, f"Incorrect API key provided: {secret}.", f"Bearer {secret}", f"{secret} {secret}", "No."]
    )
    leaf = said | st.integers() | st.none()
    names = st.sampled_from(
        ["error", "message", "detail", "code", "errors", "fields", "path", "loc", "msg", "type", "title",
         "request_id", "status", "details", "description", "retry_after", secret]
    )  # fmt: skip
    return st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
        max_leaves=10,
    )


@CONTRACTS
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_2_a_service_that_repeats_the_credential_puts_it_nowhere(package: str, data: st.DataObject) -> None:
    secret = data.draw(secrets)
    body = data.draw(bodies(secret))
    kept = ["x-request-id", "server", "retry-after", "ratelimit-policy", "www-authenticate", "x-error-code"]
    headers = dict.fromkeys(data.draw(st.lists(st.sampled_from([*kept, "set-cookie", "x-any"]))), secret)
    said = data.draw(
        st.sampled_from(
            [
                answer(data.draw(st.integers(300, 599)), body, headers=headers),
                answer(
                    500, headers=headers, content=f"<html><title>{secret}</title>{secret}</html>".encode()
                ),
                answer(502, headers=headers, content=f"bad {secret}".encode()),
                answer(400, headers=headers, content=f'{{"error": {{"message": "{secret}", "co'.encode()),
            ]
        )
    )
    causes = st.sampled_from([OSError(f"key {secret}?"), OSError("key?")])
    if data.draw(st.booleans()):
        said = broken("cut", status=said.status, raw_headers=said.raw_headers, cause=data.draw(causes))
    _check(package, said, secret, credentials={"authorization": f"Bearer {secret}"})


@CONTRACTS
@pytest.mark.parametrize("reason", list(Reason), ids=str)
@settings(max_examples=5, deadline=None)
@given(
    secret=secrets,
    name=st.sampled_from(["api_key", "token", "sig", "X-Amz-Signature", "access_token", "pwd"]),
)
def test_2_an_engine_that_quotes_the_url_puts_no_secret_of_it_anywhere(
    package: str, reason: Reason, secret: str, name: str
) -> None:
    said = broken(reason, cause=OSError(f"no answer from https://u:{secret}@api.example/x?{name}={secret}"))

    _check(package, said, secret, path=f"/x?{name}={secret}&page=2")


@CONTRACTS
@settings(max_examples=20, deadline=None)
@given(secret=secrets)
def test_2_an_answer_that_cannot_be_parsed_puts_no_secret_anywhere(package: str, secret: str) -> None:
    def parse(response: failwell.Response) -> None:
        raise ValueError(f"cannot read {response.text}")

    engine = ScriptedEngine([answer(200, {"token": [secret]})])
    client = Client(
        "https://api.example", engine=engine, contract=contracts()[package], credentials={"x-key": secret}
    )
    operation = failwell.Operation("GET", f"/x?token={secret}", parse)
    with pytest.raises(failwell.BadAnswerError if package == "failwell" else CallError) as caught:
        client.call(operation)

    assert caught.value.__cause__ is None
    assert_no_secret(caught.value, secret)


def _check(package: str, said: Any, secret: str, *, path: str = "/", credentials: Any = None) -> None:
    client = Client(
        "https://api.example",
        engine=ScriptedEngine([said]),
        contract=contracts()[package],
        credentials=credentials,
        retry=RetryPolicy(max_attempts=1),
    )
    error = None
    try:
        client.request("POST", path, json={"password": secret}, headers={"x-own": secret})
    except CallError as exc:
        error = exc
    if error is not None:
        # An exception that quotes the secret is left behind.
        cause = getattr(said, "cause", None)
        assert error.__cause__ is (None if secret in str(cause) else cause)
        assert_no_secret(error, secret)


# --- 3. One line for a person ---------------------------------------------------------------


@CALLS
@FEW
@given(failure=failures)
def test_3_its_text_is_one_line_that_says_what_happened(cls: type[CallError], failure: Failure) -> None:
    text = str(with_failure(cls, failure))

    assert len(text.splitlines()) == 1
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in text)
    text.encode()
    if failure.status is not None:
        assert str(failure.status) in text
    if len(failure.attempts) > 1:
        assert f"{len(failure.attempts)} tries in " in text


@CALLS
def test_3_it_holds_status_code_request_id_and_tries(cls: type[CallError]) -> None:
    attempts = (failwell.Attempt(1, 0.0, 0.5, "status", 503), failwell.Attempt(2, 1.0, 0.25, "status", 503))
    error = make_error(
        cls,
        status=503,
        code="over\nloaded",
        request_id="req\x1b[31m_9",
        attempts=attempts,
        message="Come\nback.",
    )

    assert str(error).endswith("(503 over loaded, request req [31m_9, 2 tries in 1.2 s)")
    assert "\n" not in str(error)


@CALLS
def test_3_a_text_in_another_script_is_left_as_it_is(cls: type[CallError]) -> None:
    error = cls.from_failure(Failure(message="نمی‌خواهم 👩‍💻 \u202ebad\ud800"))

    assert str(error).startswith("نمی‌خواهم 👩‍💻 bad") or "نمی‌خواهم 👩‍💻 bad" in str(error)


PAGES = [
    b"<html><head><title>502 Bad Gateway</title></head><body><center><h1>502</h1></center></body></html>",
    b"<!DOCTYPE html><html><body><p>Something</p></body></html>",
    b"\n\n<HTML><BODY>x" + b"y" * 5000,
]


@CONTRACTS
@pytest.mark.parametrize("page", PAGES, ids=["title", "paragraph", "long"])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 418, 422, 429, 500, 502, 503, 504, 599])
@pytest.mark.parametrize("media_type", ["text/html", "application/json", None])
def test_3_a_proxys_page_is_never_the_message(
    package: str, page: bytes, status: int, media_type: str | None
) -> None:
    error = contracts()[package].decode(
        Answer(status, {"content-type": media_type} if media_type else {}, page)
    )

    assert error is not None
    assert "<" not in str(error)
    assert str(status) in str(error)
    assert len(str(error)) < 400


# --- 4. What caused it ----------------------------------------------------------------------


@CONTRACTS
@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_4_the_engines_own_exception_is_the_cause_of_the_contracts_class(
    package: str, reason: Reason
) -> None:
    contract, cause = contracts()[package], OSError("the engine's own")
    client = Client(
        "https://api.example",
        engine=ScriptedEngine([broken(reason, cause=cause)]),
        contract=contract,
        retry=RetryPolicy(max_attempts=1),
    )
    with pytest.raises(CallError) as caught:
        client.request("GET", "/")

    assert type(caught.value) is contract.class_for(STANDARD_CLASS[reason])
    assert isinstance(caught.value, contract.base) or package == "failwell"
    assert caught.value.__cause__ is cause


@CONTRACTS
@pytest.mark.parametrize(
    "exc", [MemoryError, RuntimeError, KeyError, OSError, StopIteration, KeyboardInterrupt]
)
def test_4_what_an_engine_raises_is_no_failure_of_the_call(package: str, exc: type[BaseException]) -> None:
    raised = exc("a bug")
    client = Client("https://api.example", engine=ScriptedEngine([raised]), contract=contracts()[package])
    with pytest.raises(exc) as caught:
        client.request("GET", "/")

    assert caught.value is raised
    assert caught.value.__cause__ is None
