"""The names failwell promises. A change here is a change for everybody who uses it."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path

import pytest

import failwell

NAMES = [
    "APIError",
    "Answer",
    "ArgumentTypeError",
    "AsyncClient",
    "AsyncEventStream",
    "Attempt",
    "AuthenticationError",
    "BadAnswerError",
    "Batch",
    "BatchError",
    "BatchItem",
    "BatchResult",
    "Breaker",
    "BreakerPolicy",
    "CallError",
    "CallTimeoutError",
    "CircuitOpenError",
    "Client",
    "ConfigurationError",
    "ConflictError",
    "ConnectError",
    "ConnectionLostError",
    "Connections",
    "Contract",
    "DeadlineExceededError",
    "DocumentedWaits",
    "Download",
    "Downloaded",
    "Effect",
    "Error",
    "EventStream",
    "Failure",
    "FieldError",
    "IdempotencyMismatchError",
    "InvalidRequestError",
    "JobFailedError",
    "NotFoundError",
    "Operation",
    "OperationError",
    "Part",
    "PartUpload",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "Poll",
    "PollPolicy",
    "PollTimeoutError",
    "QuotaExceededError",
    "RateLimit",
    "RateLimitError",
    "RefusedError",
    "Response",
    "ResumePolicy",
    "RetryBudget",
    "RetryPolicy",
    "Rule",
    "Secret",
    "ServerError",
    "ServerSentEvent",
    "Stream",
    "StreamError",
    "Timeouts",
    "TooLargeError",
    "TransportError",
    "UnavailableError",
    "Upload",
    "UploadError",
    "UploadSession",
    "UsageError",
    "WholeFile",
    "decode",
    "raise_for",
    "understand",
]

# What `failwell.testing` promises besides.
TESTING = [
    "AsyncScriptedEngine",
    "FakeClock",
    "Played",
    "ScriptedEngine",
    "ScriptedPieces",
    "answer",
    "assert_exports",
    "assert_no_secret",
    "broken",
    "make_error",
    "play",
    "streamed",
]


HOME_OF = {name: home for home, names in failwell._HOMES.items() for name in names}


def test_the_promised_names_are_these() -> None:
    assert sorted(NAMES) == sorted(failwell.__all__)


def test_what_a_type_checker_sees_is_what_is_there() -> None:
    tree = ast.parse(Path(str(failwell.__file__)).read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.asname: f"{node.module}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }

    assert sorted(seen) == sorted(failwell.__all__)
    assert seen == HOME_OF


@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_had_and_explains_itself(name: str) -> None:
    thing = getattr(failwell, name)

    assert getattr(importlib.import_module(HOME_OF[name]), name) is thing
    assert inspect.getdoc(thing), f"{name} has no docstring"
    assert "Create and return a new object" not in str(inspect.getdoc(thing))


def test_a_star_import_brings_them_all() -> None:
    namespace: dict[str, object] = {}
    exec("from failwell import *", namespace)

    assert set(NAMES) <= namespace.keys()


def test_dir_lists_them_and_the_version() -> None:
    assert {*NAMES, "__version__"} <= set(dir(failwell))
    assert failwell.__version__.count(".") == 2


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'failwell' has no attribute 'RateLimitErorr'"):
        _ = failwell.RateLimitErorr


@pytest.mark.parametrize("name", TESTING)
def test_the_tools_for_tests_explain_themselves(name: str) -> None:
    assert inspect.getdoc(getattr(importlib.import_module("failwell.testing"), name))
