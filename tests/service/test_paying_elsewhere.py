"""What is done elsewhere is paid for by a commit at its end, and by nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from service_place import Place, code_of, place
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from failwell.answer import Answer
from failwell.service import Debit, Exchange, exchange_of

LEVELS = ["resumable", "at_most_once"]


class Killed(BaseException):
    """The process ends here."""


class Elsewhere:
    """Another service, and a handler that has it do something and pays."""

    def __init__(self, *, commits: bool = True, killed: str = "") -> None:
        self.done: list[str] = []
        self.commits, self.killed = commits, killed

    async def work(self, key: str) -> str:
        self.done.append(key)
        return "done"

    def die(self, moment: str) -> None:
        if self.killed == moment:
            self.killed = ""
            raise Killed

    async def __call__(self, request: Request) -> Response:
        exchange = exchange_of(request)
        await exchange.step("work", self.work)
        self.die("before the commit")
        if not self.commits:
            return JSONResponse("done", 201)
        answer = await exchange.commit(
            lambda db: Answer(201, {"content-type": "application/json"}, b'"done"')
        )
        self.die("after the commit")
        return Response(answer.body, answer.status, answer.headers)


def paid(folder: Path, handler: Any, level: str, **row: Any) -> Any:
    return place(folder, handler, idempotency=level, debits=(Debit(3),), **row)


def balance(here: Place) -> int:
    return asyncio.run(here.store.account("t1", "credits")).balance


@pytest.mark.parametrize("level", LEVELS)
def test_a_commit_without_an_effect_pays_and_records(tmp_path: Path, level: str) -> None:
    elsewhere = Elsewhere()
    with paid(tmp_path, elsewhere, level) as here:
        here.store.grant("t1", 10)
        first, again = here.run(), here.run()

        assert balance(here) == 7
    assert (first.status, again.headers["idempotent-replayed"]) == (201, "true")
    assert len(elsewhere.done) == 1


@pytest.mark.parametrize("level", LEVELS)
def test_a_handler_that_does_not_commit_is_not_charged(tmp_path: Path, level: str) -> None:
    """
    It may have had nothing to do; only the handler knows.
    """
    with paid(tmp_path, Elsewhere(commits=False), level) as here:
        here.store.grant("t1", 10)
        answers = [here.run(), here.run(key=None)]

        assert balance(here) == 10
    assert [a.status for a in answers] == [201, 201]


@pytest.mark.parametrize("moment", ["before the commit", "after the commit"])
def test_whatever_is_killed_pays_once(tmp_path: Path, moment: str) -> None:
    elsewhere = Elsewhere(killed=moment)
    with paid(tmp_path, elsewhere, "resumable") as here:
        here.store.grant("t1", 10)
        with pytest.raises(Killed):
            here.run()
        here.clock.now += 30.0
        again = here.run()

        assert balance(here) == 7
    assert again.status == 201
    assert len(elsewhere.done) == 1


def test_what_is_settled_was_not_paid_for(tmp_path: Path) -> None:
    """
    A hook that finds out that it was done may pay for it itself.
    """

    async def settle(exchange: Exchange) -> Answer:
        return Answer(201, {}, b"found")

    with paid(tmp_path, Elsewhere(killed="before the commit"), "at_most_once", settle=settle) as here:
        here.store.grant("t1", 10)
        with pytest.raises(Killed):
            here.run()
        here.clock.now += 30.0
        again = here.run()

        assert balance(here) == 10
    assert (again.status, again.body) == (201, b"found")


@pytest.mark.parametrize(("level", "code"), [("resumable", 201), ("at_most_once", 409)])
def test_who_is_poor_by_then_does_not_have_it_done_twice(tmp_path: Path, level: str, code: int) -> None:
    """
    The account was emptied meanwhile; the step was kept.
    """
    elsewhere = Elsewhere()
    work = elsewhere.work

    async def spending(key: str) -> str:
        if len(elsewhere.done) == 0:
            await here.store.commit(None, lambda db: Answer(200), keep=1.0, tenant="t1", debits=(Debit(3),))
        return await work(key)

    elsewhere.work = spending  # type: ignore[method-assign]  # it spends, too
    with paid(tmp_path, elsewhere, level) as here:
        here.store.grant("t1", 3)
        first = here.run()
        here.store.grant("t1", 3)
        again = here.run()
    assert code_of(first) == (402, "insufficient_credits")
    assert again.status == code
    assert len(elsewhere.done) == 1
