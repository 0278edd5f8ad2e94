"""A request has one answer, and so one commit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from service_behind import Behind
from starlette.responses import Response

from failwell.answer import Answer
from failwell.service import Operation, exchange_of

SCHEMA = "CREATE TABLE IF NOT EXISTS things (name TEXT)"


def effect(name: str, *, error: type[Exception] | None = None) -> Any:
    def work(db: Any) -> Answer:
        db.execute("INSERT INTO things VALUES (?)", (name,))
        if error is not None:
            raise error
        return Answer(201, {}, name.encode())

    return work


class TakenError(LookupError):
    """What an effect finds out."""


def rendered(answer: Answer) -> Response:
    return Response(answer.body, answer.status, answer.headers)


async def twice(request: Any) -> Response:
    exchange = exchange_of(request)
    await exchange.commit(effect("order"))
    return rendered(await exchange.commit(effect("invoice")))


async def side_by_side(request: Any) -> Response:
    exchange = exchange_of(request)
    both = await asyncio.gather(exchange.commit(effect("order")), exchange.commit(effect("invoice")))
    return rendered(both[1])


async def another_instead(request: Any) -> Response:
    exchange = exchange_of(request)
    try:
        return rendered(await exchange.commit(effect("order", error=TakenError)))
    except TakenError:
        return rendered(await exchange.commit(effect("other")))


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Behind]:
    table = [
        Operation("POST", path, handler, idempotency="transactional")
        for path, handler in (("/twice", twice), ("/beside", side_by_side), ("/instead", another_instead))
    ]
    with Behind(tmp_path, operations=table, schema=SCHEMA) as behind:
        yield behind


def names(here: Behind) -> list[str]:
    return [name for (name,) in here.store.read("SELECT name FROM things ORDER BY rowid")]


def test_a_second_commit_is_a_fault_and_does_nothing(here: Behind) -> None:
    assert here.ask("POST", "/twice").status == 500
    assert names(here) == ["order"]


def test_with_a_key_it_is_a_fault_at_first_and_then_what_was_committed(here: Behind) -> None:
    """Before, the second one was dropped, and the first one's answer looked like a replay."""
    answers = [here.ask("POST", "/twice", headers={"Idempotency-Key": "k"}) for _ in range(2)]

    assert [(a.status, a.headers.get("idempotent-replayed")) for a in answers] == [(500, None), (201, "true")]
    assert (answers[1].body, names(here)) == (b"order", ["order"])


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_of_two_at_once_one_is_refused(here: Behind, headers: dict[str, str]) -> None:
    answer = here.ask("POST", "/beside", headers=headers)

    # A request with a key may yet be told what the other one has recorded meanwhile.
    assert answer.status == 500 or (headers and answer.body == b"order")
    here.store.write_blocking(lambda db: None)  # what was begun before it has ended
    assert names(here) == ["order"]


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "k"}])
def test_after_one_that_was_undone_comes_another(here: Behind, headers: dict[str, str]) -> None:
    answers = [here.ask("POST", "/instead", headers=headers) for _ in range(2)]

    assert [(a.status, a.body) for a in answers] == [(201, b"other")] * 2
    assert names(here) == ["other"] * (1 if headers else 2)


def test_it_is_said_what_to_do(here: Behind, caplog: pytest.LogCaptureFixture) -> None:
    here.ask("POST", "/twice")

    assert "a request commits once: do all that belongs to its answer in one effect" in caplog.text
