"""The context variables of a request, within its effect: what logs and tracing go by."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import pytest
from opened_stores import TRANSACTIONAL, transactional

from failwell.answer import Answer

OF_REQUEST: ContextVar[str] = ContextVar("OF_REQUEST", default="nobody's")


@pytest.fixture(params=TRANSACTIONAL)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    made = transactional(request.param, tmp_path)
    yield made
    made.close()


def effect(db: Any) -> Answer:
    db.execute("SELECT 1")
    return Answer(200, {}, OF_REQUEST.get().encode())


def test_each_effect_has_those_of_its_own_request(store: Any) -> None:
    async def ask(name: str) -> bytes:
        OF_REQUEST.set(name)
        answer = await store.commit(None, effect, keep=60.0)
        body: bytes = answer.body
        return body

    async def all_at_once() -> list[bytes]:
        return [*await asyncio.gather(*(ask(f"request {n}") for n in range(20)))]

    assert asyncio.run(all_at_once()) == [f"request {n}".encode() for n in range(20)]


def test_work_besides_effects_has_them_too(store: Any) -> None:
    async def write() -> str:
        OF_REQUEST.set("a job's")
        told: str = await store.write(lambda db: OF_REQUEST.get())
        return told

    def write_in_a_thread() -> None:
        OF_REQUEST.set("a thread's")
        told.append(store.write_blocking(lambda db: OF_REQUEST.get()))

    told: list[str] = []
    thread = threading.Thread(target=write_in_a_thread)
    thread.start()
    thread.join()

    assert asyncio.run(write()) == "a job's"
    assert told == ["a thread's"]
