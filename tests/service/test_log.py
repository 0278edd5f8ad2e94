"""What the log says of a fault: where it was, and nothing of what was sent or kept."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError, ResponseValidationError
from pydantic import BaseModel, ValidationError
from service_asgi import ask
from service_world import KEYS

from failwell.contract import STANDARD
from failwell.service import Service, SQLiteStore, guarded, install
from failwell.service.validation import InvalidDataError, loggable

SECRET = "hunter2-and-more"


class Thing(BaseModel):
    name: str
    number: int = 0


def invalid() -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        Thing.model_validate({"name": "a", "number": SECRET})
    return caught.value


class Unforeseen(Exception):
    """A service's own."""


def wrapped() -> Exception:
    try:
        raise invalid()
    except ValidationError as exc:
        error = Unforeseen("the row is not valid")
        error.__cause__ = exc
        return error


def while_handling() -> BaseException:
    try:
        try:
            raise invalid()
        except ValidationError:
            raise KeyError("name")  # noqa: B904  # what came before it is the point
    except KeyError as exc:
        return exc


RAISED: dict[str, Any] = {
    "a model's": invalid,
    "the cause": wrapped,
    "the context": while_handling,
    "in a group": lambda: ExceptionGroup("two", [invalid(), ExceptionGroup("more", [wrapped()])]),
    "a response's": lambda: ResponseValidationError(
        [{"type": "missing", "loc": ("response", "name"), "msg": "Field required", "input": SECRET}]
    ),
    "many": lambda: ResponseValidationError(
        [{"type": "missing", "loc": ("response", n), "msg": SECRET} for n in range(20)]
    ),
    "odd": lambda: ResponseValidationError([SECRET]),
}


class Here:
    """A service whose route raises what it is told."""

    def __init__(self, folder: Path) -> None:
        self.store = SQLiteStore(folder / "log.db")
        self.raised: BaseException = ValueError()
        app = FastAPI()

        @app.get("/raise")
        @guarded(public=True)
        async def raise_() -> None:
            raise self.raised

        @app.get("/things", response_model=list[Thing])
        @guarded(public=True)
        async def things() -> Any:
            return [{"name": "a"}, {"name": {"password": SECRET}}]

        self.service: Service = install(app, STANDARD, store=self.store, keys=KEYS)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Here]:
    made = Here(tmp_path)
    yield made
    made.store.close()


def test_what_a_handler_returned_is_not_logged(here: Here, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        answer = asyncio.run(ask(here.service, "GET", "/things"))

    assert answer.status == 500
    assert "hunter2" not in caplog.text
    assert f"request {answer.headers['x-request-id']} failed" in caplog.text
    assert "ResponseValidationError of GET /things: response.1.name: string_type" in caplog.text


@pytest.mark.parametrize("kind", RAISED)
def test_what_was_found_fault_with_is_not_logged(
    here: Here, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    here.raised = RAISED[kind]()
    assert "hunter2" in "".join(map(str, _all_of(here.raised))), "else the test could not fail"
    with caplog.at_level(logging.DEBUG):
        answer = asyncio.run(ask(here.service, "GET", "/raise"))

    assert answer.status == 500
    assert b"hunter2" not in answer.body
    assert "hunter2" not in caplog.text
    assert "InvalidDataError" in caplog.text
    (record,) = [r for r in caplog.records if r.levelno >= logging.ERROR]
    assert record.exc_info is not None
    assert "raise_" in caplog.text, "the traceback is kept"


def _all_of(exc: BaseException) -> Iterator[BaseException]:
    yield exc
    for other in (exc.__cause__, exc.__context__, *getattr(exc, "exceptions", ())):
        if other is not None:
            yield from _all_of(other)


def test_other_exceptions_are_logged_as_they_are() -> None:
    cause = ValueError("dsn")
    error = Unforeseen("words")
    error.__cause__ = cause
    error.__suppress_context__ = False
    group = ExceptionGroup("g", [error])

    assert loggable(error) is error
    assert loggable(group) is group
    assert (error.__cause__, error.__suppress_context__) == (cause, False)


def test_a_chain_that_bites_its_tail_has_an_end() -> None:
    first: BaseException = invalid()
    second = KeyError("a")
    first.__context__, second.__context__ = second, first
    said = loggable(first)

    assert isinstance(said, InvalidDataError)
    assert said.__context__ is second
    assert second.__context__ is said


def test_a_name_that_was_sent_is_not_logged() -> None:
    class Strict(BaseModel):
        model_config = {"extra": "forbid"}
        names: dict[int, str] = {}

    for sent in ({SECRET: 1}, {"names": {SECRET: "a"}}, {"names": {"x" * 65: "a"}}):
        with pytest.raises(ValidationError) as caught:
            Strict.model_validate(sent)
        said = str(loggable(caught.value))
        assert "hunter2" not in said
        assert "x" * 65 not in said
        assert "…" in said


def test_no_more_than_ten_places_are_named() -> None:
    said = str(loggable(RAISED["many"]()))

    assert said.count("missing") == 10
    assert said.endswith("; …")


def test_a_request_that_is_not_valid_is_not_logged_at_all(
    here: Here, caplog: pytest.LogCaptureFixture
) -> None:
    here.raised = RequestValidationError(
        [{"type": "missing", "loc": ("body",), "msg": "No.", "input": SECRET}]
    )
    with caplog.at_level(logging.DEBUG):
        answer = asyncio.run(ask(here.service, "GET", "/raise"))

    assert answer.status == 422
    assert [r for r in caplog.records if r.name.startswith("failwell")] == []
