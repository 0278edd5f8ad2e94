"""A step is done once; one that failed may be tried again by its handler."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from service_place import code_of, place
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from failwell.service import exchange_of


class Busy(Exception):
    """What the other service says twice."""


@pytest.mark.parametrize("key", ["k", None])
@pytest.mark.parametrize("level", ["resumable", "at_most_once"])
def test_a_step_whose_work_raised_may_be_tried_again(tmp_path: Path, level: str, key: str | None) -> None:
    """
    With the same key for the other service; what was done in the end is kept.
    """
    keys: list[str] = []

    async def charge(step_key: str) -> int:
        keys.append(step_key)
        if len(keys) < 3:
            raise Busy
        return len(keys)

    async def handler(request: Request) -> Response:
        while True:
            try:
                return JSONResponse(await exchange_of(request).step("charge", charge))
            except Busy:
                pass

    with place(tmp_path, handler, idempotency=level) as here:
        answer = here.run(key=key)

    assert (answer.status, answer.body) == (200, b"3")
    assert len(keys) == 3
    assert len(set(keys)) == 1


def test_a_step_that_was_cancelled_may_be_tried_again(tmp_path: Path) -> None:
    async def never(_: str) -> None:
        await asyncio.Event().wait()

    async def at_once(_: str) -> str:
        return "done"

    async def handler(request: Request) -> Response:
        exchange = exchange_of(request)
        task = asyncio.create_task(exchange.step("send", never))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return JSONResponse(await exchange.step("send", at_once))

    with place(tmp_path, handler, idempotency="resumable") as here:
        assert here.run().body == b'"done"'


@pytest.mark.parametrize("first", ["done", "under way", "no JSON"])
def test_a_step_that_was_begun_and_did_not_fail_is_not_tried_again(tmp_path: Path, first: str) -> None:
    """
    Even if its result cannot be kept: it was done.
    """
    asked: list[str] = []

    async def work(step_key: str) -> Any:
        asked.append(step_key)
        await asyncio.sleep(0)
        return object() if first == "no JSON" else "done"

    async def handler(request: Request) -> Response:
        exchange = exchange_of(request)
        task = asyncio.create_task(exchange.step("send", work))
        await (asyncio.sleep(0) if first == "under way" else asyncio.wait([task]))
        try:
            with pytest.raises(ValueError, match="one step called 'send'"):
                await exchange.step("send", work)
        finally:
            await asyncio.wait([task])
        if first == "no JSON":
            assert isinstance(task.exception(), TypeError)
        return JSONResponse({})

    with place(tmp_path, handler, idempotency="resumable") as here:
        answer = here.run()

    assert (answer.status, len(asked)) == (200, 1)


def test_a_handler_that_gives_up_after_a_failed_step_frees_its_key(tmp_path: Path) -> None:
    tries: list[str] = []

    async def charge(step_key: str) -> str:
        tries.append(step_key)
        if len(tries) < 3:
            raise Busy
        return "charged"

    async def handler(request: Request) -> Response:
        exchange = exchange_of(request)
        for _ in range(2):
            try:
                return JSONResponse(await exchange.step("charge", charge))
            except Busy:
                pass
        raise Busy

    with place(tmp_path, handler, idempotency="resumable") as here:
        first, again = here.run(), here.run()

    assert code_of(first) == (500, "internal_error")
    assert (again.status, again.body) == (200, b'"charged"')
    assert len(set(tries)) == 1
