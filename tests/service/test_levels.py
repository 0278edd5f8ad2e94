"""The levels `resumable` and `at_most_once`, and what else happens between a claim and its answer."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from service_place import Place, code_of, place
from service_world import KEYS, Clock
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

import failwell
from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.errors import ConfigurationError
from failwell.failure import Effect, Failure
from failwell.service import (
    Debit,
    FencedError,
    Limit,
    Operation,
    Service,
    SQLiteStore,
    StoreBusyError,
    bodies,
    deduplication,
    exchange_of,
    stored,
)
from failwell.service.exchange import Exchange
from failwell.service.idempotency import Claim, InFlight, Recorded, Unsettled


class Payments:
    """Another service that knows idempotency keys: a charge with a known key is not made twice."""

    def __init__(self) -> None:
        self.charges: dict[str, int] = {}
        self.asked: list[str] = []

    async def charge(self, key: str) -> dict[str, int]:
        self.asked.append(key)
        return {"id": self.charges.setdefault(key, len(self.charges) + 1)}


class Killed(BaseException):
    """The process is gone: nothing that a server or a handler catches runs any more."""


async def fine(_request: Request) -> Response:
    return JSONResponse({"done": True}, 201)


# --- resumable ---


def order(payments: Payments, dies: list[str]) -> Callable[[Request], Awaitable[Response]]:
    """Charge, then mail; `dies` says where each try ends."""

    async def handler(request: Request) -> Response:
        exchange = exchange_of(request)
        ending = dies.pop(0) if dies else ""

        def end(point: str) -> None:
            if ending == f"killed {point}":
                raise Killed
            if ending == f"raised {point}":
                raise ZeroDivisionError

        async def charge(key: str) -> Any:
            end("before the charge")
            charged = await payments.charge(key)
            end("after the charge")
            return charged

        async def mail(key: str) -> Any:
            payments.asked.append(f"mail {key}")
            return (1, 2)

        end("at first")
        charged = await exchange.step("charge", charge)
        end("between the steps")
        mailed = await exchange.step("mail", mail)
        end("at last")
        return JSONResponse({"charge": charged, "mail": mailed}, 201)

    return handler


POINTS = ("at first", "before the charge", "after the charge", "between the steps", "at last")


@pytest.mark.parametrize("way", ["killed", "raised"])
@pytest.mark.parametrize("point", POINTS)
def test_a_resumable_request_that_ends_anywhere_charges_once(tmp_path: Path, way: str, point: str) -> None:
    payments = Payments()
    with place(tmp_path, order(payments, [f"{way} {point}"]), idempotency="resumable") as here:
        if way == "killed":
            with pytest.raises(Killed):
                here.run()
            while_leased = here.run()
            here.clock.now += 30.0
        else:
            while_leased = here.run(key="another")
            assert here.run(key="k").status in (201, 500)
        answer = here.run()

    if way == "killed":
        assert code_of(while_leased) == (409, "idempotency_in_flight")
        assert while_leased.headers["retry-after"] == "30"
    assert answer.status == 201
    assert json.loads(answer.body)["mail"] == [1, 2]
    assert len(payments.charges) <= (1 if way == "killed" else 2)


@pytest.mark.parametrize("point", POINTS)
def test_a_failure_frees_the_key_or_keeps_its_steps(tmp_path: Path, point: str) -> None:
    payments = Payments()
    with place(tmp_path, order(payments, [f"raised {point}"]), idempotency="resumable") as here:
        failed = here.run()
        again = here.run()
        replayed = here.run()

    assert (failed.status, again.status, replayed.status) == (500, 201, 201)
    assert (len(payments.charges), here.handled) == (1, 2), "the charge is made once, at once"
    assert "idempotent-replayed" not in again.headers
    assert replayed.headers["idempotent-replayed"] == "true"
    assert json.loads(again.body) == {"charge": {"id": 1}, "mail": [1, 2]}


def test_steps_that_were_kept_are_not_done_again(tmp_path: Path) -> None:
    payments = Payments()
    endings = ["killed between the steps", "raised at last"]
    with place(tmp_path, order(payments, endings), idempotency="resumable") as here:
        with pytest.raises(Killed):
            here.run()
        here.clock.now += 30.0
        statuses = [here.run().status, here.run().status]

    charges = [key for key in payments.asked if not key.startswith("mail")]
    assert statuses == [500, 201]
    assert len(charges) == 1
    assert len(payments.asked) == 2


def test_a_failure_with_kept_steps_still_belongs_to_its_payload(tmp_path: Path) -> None:
    """Half of the work is done: only the same request may go on with it."""
    payments = Payments()
    with place(tmp_path, order(payments, ["raised between the steps"]), idempotency="resumable") as here:
        failed = here.run({"order": 1})
        changed = here.run({"order": 2})
        again = here.run({"order": 1})

    assert failed.status == 500
    assert code_of(changed) == (409, "idempotency_mismatch")
    assert again.status == 201


def test_the_key_of_a_step_is_of_its_request_alone(tmp_path: Path) -> None:
    """Each of tenant, idempotency key and step has a part in it; a try has none."""
    seen: list[str] = []

    async def handler(request: Request) -> Response:
        exchange = exchange_of(request)
        seen.extend(exchange.step_key(name) for name in ("a", "b", "a"))
        return Response(status_code=500)

    with place(tmp_path, handler, idempotency="resumable") as here:
        other = here.new_key(tenant="t2")
        for asked in ({}, {}, {"key": "k2"}, {"api_key": other}, {"key": None}, {"key": None}):
            here.run(**asked)

    tries = [tuple(seen[n : n + 3]) for n in range(0, len(seen), 3)]
    assert tries[0] == tries[1]
    assert all(first == third and first != second for first, second, third in tries)
    assert len({key for a, b, _ in tries for key in (a, b)}) == 10
    assert {40} == {len(key) for key in seen}


@pytest.mark.parametrize("key", ["k", None])
def test_a_step_is_called_by_its_name_once(tmp_path: Path, key: str | None) -> None:
    done: list[str] = []

    async def handler(request: Request) -> Response:
        async def work(step_key: str) -> int:
            done.append(step_key)
            return 1

        await exchange_of(request).step("a", work)
        with pytest.raises(ValueError, match="one step called 'a'"):
            await exchange_of(request).step("a", work)
        return Response(status_code=204)

    with place(tmp_path, handler, idempotency="resumable") as here:
        assert here.run(key=key).status == 204

    assert len(done) == 1


def test_without_a_key_steps_are_done_each_time(tmp_path: Path) -> None:
    payments = Payments()
    with place(tmp_path, order(payments, []), idempotency="resumable") as here:
        answers = [here.run(key=None) for _ in range(2)]

    assert [a.status for a in answers] == [201, 201]
    assert len(payments.charges) == 2


def test_who_was_overtaken_between_two_steps_does_not_go_on(tmp_path: Path) -> None:
    """The zombie's next step cannot be kept; it answers with what its heir did."""
    payments = Payments()
    gate: list[asyncio.Event] = []

    async def handler(request: Request) -> Response:
        exchange = exchange_of(request)
        charged = await exchange.step("charge", payments.charge)
        if gate:
            await gate.pop().wait()
        mailed = await exchange.step("mail", payments.charge)
        return JSONResponse([exchange.request_id, charged, mailed])

    async def overtaken(here: Place) -> tuple[Answer, Answer]:
        held = asyncio.Event()
        gate.append(held)
        slow = asyncio.create_task(here.ask(headers={"x-request-id": "slow-one"}))
        while gate:
            await asyncio.sleep(0.001)
        here.clock.now += 30.0
        fast = await here.ask(headers={"x-request-id": "fast-one"})
        held.set()
        return await slow, fast

    with place(tmp_path, handler, idempotency="resumable") as here:
        slow, fast = asyncio.run(overtaken(here))

    assert json.loads(fast.body) == ["fast-one", {"id": 1}, {"id": 2}]
    assert slow.body == fast.body
    assert slow.headers["idempotent-original-request"] == "fast-one"
    assert len(payments.charges) == 2


def test_commit_ends_a_resumable_request_too(tmp_path: Path) -> None:
    async def handler(request: Request) -> Response:
        def effect(db: sqlite3.Connection) -> Answer:
            db.execute("INSERT INTO things (name) VALUES ('a')")
            return Answer(201, {}, b"made")

        answer = await exchange_of(request).commit(effect)
        return Response(answer.body, answer.status)

    with place(tmp_path, handler, idempotency="resumable") as here:
        answers = [here.run() for _ in range(2)]
        rows = here.store.read("SELECT name FROM things")

    assert [a.body for a in answers] == [b"made", b"made"]
    assert rows == [("a",)]


def test_an_effect_cannot_be_committed_in_a_store_without_transactions(tmp_path: Path) -> None:
    raised: list[str] = []

    async def handler(request: Request) -> Response:
        try:
            await exchange_of(request).commit(lambda _: Answer(200, {}, b""))
        except ConfigurationError as exc:
            raised.append(str(exc))
        return Response()

    with place(tmp_path, handler) as here:
        here.service.transactional = None
        here.run()

    assert "exchange.step" in raised[0]


# --- at most once ---


def stop_at(dies: list[str], sent: list[str]) -> Callable[[Request], Awaitable[Response]]:
    """Sends something that cannot be taken back; `dies` says how each try ends."""

    async def handler(request: Request) -> Response:
        ending = dies.pop(0) if dies else ""
        if ending == "killed before":
            raise Killed
        sent.append(exchange_of(request).request_id)
        if ending == "killed after":
            raise Killed
        if ending == "raised":
            raise ZeroDivisionError
        if ending == "refused":
            raise failwell.ConflictError("no", failure=Failure(status=409, message="no"))
        return JSONResponse({"sent": len(sent)}, int(ending or 200))

    return handler


@pytest.mark.parametrize("ending", ["killed before", "killed after"])
def test_an_outcome_that_nobody_knows_stays_unknown(tmp_path: Path, ending: str) -> None:
    sent: list[str] = []
    with place(tmp_path, stop_at([ending], sent), idempotency="at_most_once") as here:
        with pytest.raises(Killed):
            here.run()
        in_flight = here.run()
        here.clock.now += 30.0
        unknown = [here.run(), here.run()]
        here.clock.now += 3600.0
        unknown.append(here.run())
        changed = here.run({"other": True})

    assert code_of(in_flight) == (409, "idempotency_in_flight")
    assert {(409, "idempotency_outcome_unknown")} == {code_of(a) for a in unknown}
    assert not any("retry-after" in a.headers for a in unknown), "waiting does not help"
    assert code_of(changed) == (409, "idempotency_mismatch")
    assert (here.handled, len(sent)) == (1, int(ending == "killed after"))


@pytest.mark.parametrize(("ending", "status"), [("raised", 500), ("502", 502), ("200", 200)])
def test_a_failure_of_ours_is_recorded_where_twice_is_worse_than_never(
    tmp_path: Path, ending: str, status: int
) -> None:
    sent: list[str] = []
    with place(tmp_path, stop_at([ending], sent), idempotency="at_most_once") as here:
        first, again = here.run(), here.run()

    assert (first.status, again.status) == (status, status)
    assert first.body.replace(first.headers["x-request-id"].encode(), b"") == again.body.replace(
        first.headers["x-request-id"].encode(), b""
    )
    assert again.headers["idempotent-replayed"] == "true"
    assert len(sent) == 1


def test_a_refusal_by_the_handler_frees_the_key_at_every_level(tmp_path: Path) -> None:
    sent: list[str] = []
    with place(tmp_path, stop_at(["refused"], sent), idempotency="at_most_once") as here:
        statuses = [here.run().status for _ in range(2)]

    assert statuses == [409, 200]


def test_a_refusal_after_a_kept_step_leaves_the_outcome_unknown(tmp_path: Path) -> None:
    async def handler(request: Request) -> Response:
        await exchange_of(request).step("send", Payments().charge)
        return Response(status_code=404)

    with place(tmp_path, handler, idempotency="at_most_once") as here:
        first, again = here.run(), here.run()

    assert first.status == 404
    assert code_of(again) == (409, "idempotency_outcome_unknown")
    assert here.handled == 1


@pytest.mark.parametrize(
    ("outcome", "status", "handled"),
    [
        (Answer(202, {"x-from": "hook"}, b"it was sent"), 202, 1),
        (Effect.NOT_APPLIED, 200, 2),
        (Effect.NOT_SENT, 200, 2),
        (Effect.UNKNOWN, 409, 1),
        (Effect.APPLIED, 409, 1),
    ],
    ids=["an answer", "not applied", "not sent", "unknown", "applied, but no answer"],
)
def test_the_settle_hook_says_what_became_of_it(
    tmp_path: Path, outcome: Answer | Effect, status: int, handled: int
) -> None:
    asked: list[tuple[str, str]] = []
    keys: list[str] = []

    async def settle(exchange: Exchange) -> Answer | Effect:
        asked.append((exchange.tenant, exchange.idempotency_key or ""))
        keys.append(exchange.step_key("send"))
        return outcome

    dies = [True]

    async def handler(request: Request) -> Response:
        keys.append(exchange_of(request).step_key("send"))
        if dies:
            dies.pop()
            raise Killed
        return JSONResponse({})

    with place(tmp_path, handler, idempotency="at_most_once", settle=settle) as here:
        with pytest.raises(Killed):
            here.run()
        here.clock.now += 30.0
        first, again = here.run(), here.run()
        waiting = asyncio.run(here.store.unsettled())

    assert (first.status, again.status, here.handled) == (status, status, handled)
    assert set(asked) == {("t1", "k")}
    assert len(asked) == (2 if status == 409 else 1), "once settled, nobody is asked again"
    assert len(set(keys)) == 1, "the hook can look for what was sent under the step's key"
    assert len(waiting) == (status == 409)
    if status == 202:
        assert {b"it was sent"} == {first.body, again.body}
        assert first.headers["x-from"] == "hook"


def test_a_hook_that_settles_and_is_believed_once(tmp_path: Path) -> None:
    """Somebody else's claim lapses right after ours was settled: no endless questions."""

    async def settle(exchange: Exchange) -> Answer | Effect:
        return Effect.NOT_APPLIED

    async def never_settled(*_: Any, **__: Any) -> bool:
        return False

    with place(tmp_path, fine, idempotency="at_most_once", settle=settle) as here:
        here.store.settle = never_settled  # type: ignore[method-assign]
        usual, here.service.app = here.service.app, _killed
        with pytest.raises(Killed):
            here.run()
        here.service.app = usual
        here.clock.now += 30.0
        answer = here.run()

    assert code_of(answer) == (409, "idempotency_outcome_unknown")


async def _killed(*_: Any) -> None:
    raise Killed


def test_an_operator_settles_what_is_unknown(tmp_path: Path) -> None:
    sent: list[str] = []
    dies = ["killed after", "killed before", "killed before"]
    with place(tmp_path, stop_at(dies, sent), idempotency="at_most_once") as here:
        for number, key in enumerate(("done", "undone", "open")):
            with pytest.raises(Killed):
                here.run(key=key, headers={"x-request-id": f"request-{key}"})
            here.clock.now += number + 1
        too_early = asyncio.run(here.store.unsettled())
        here.clock.now += 30.0
        waiting = asyncio.run(here.store.unsettled())
        oldest = asyncio.run(here.store.unsettled(most=1))
        told = {u.request_id.removeprefix("request-"): u.slot for u in waiting}
        settled = [
            asyncio.run(here.store.settle(told["done"], Answer(201, {}, b"sent"), keep=60.0)),
            asyncio.run(here.store.settle(told["undone"], None, keep=60.0)),
            asyncio.run(here.store.settle(told["done"], None, keep=60.0)),
            asyncio.run(here.store.settle(told["done"], Answer(500, {}, b""), keep=60.0)),
            asyncio.run(here.store.settle(told["undone"], None, keep=60.0)),
            asyncio.run(here.store.settle(b"nobody's", Answer(201, {}, b""), keep=60.0)),
        ]
        answers = {key: here.run(key=key) for key in told}
        left = asyncio.run(here.store.unsettled())

    assert too_early == []
    assert [u.request_id for u in waiting] == ["request-done", "request-undone", "request-open"]
    assert waiting[0].since == Clock().now + 30.0
    assert oldest == waiting[:1]
    assert settled == [True, True, False, False, False, False]
    assert (answers["done"].status, answers["done"].body) == (201, b"sent")
    assert answers["done"].headers["idempotent-replayed"] == "true"
    assert answers["undone"].status == 200
    assert code_of(answers["open"]) == (409, "idempotency_outcome_unknown")
    assert [u.request_id for u in left] == ["request-open"]


def test_a_claim_whose_holder_lives_cannot_be_settled(tmp_path: Path) -> None:
    with place(tmp_path, fine) as here:
        claim = Claim(b"s" * 32, b"f" * 32, b"t" * 16, "r1")
        held = asyncio.run(here.store.claim(claim, lease=30.0, keep=3600.0, take_over=False))
        settled = asyncio.run(here.store.settle(claim.slot, None, keep=60.0))
        asyncio.run(here.store.record(claim, Answer(200, {}, b"late"), keep=60.0))
        found = asyncio.run(here.store.claim(claim, lease=30.0, keep=3600.0, take_over=False))

    assert held == claim
    assert not settled
    assert isinstance(found, Recorded)


@pytest.mark.parametrize("said", [Answer(201, {}, b"settled"), None], ids=["done", "not done"])
def test_who_comes_back_after_the_settlement_finds_itself_fenced_out(
    tmp_path: Path, said: Answer | None
) -> None:
    """What was settled stays settled; and a zombie is no reason to do it again."""
    gate: list[asyncio.Event] = [asyncio.Event()]

    async def handler(request: Request) -> Response:
        if gate:
            await gate[0].wait()
        return JSONResponse({"zombie": True})

    async def come_back(here: Place) -> tuple[Answer, Answer]:
        slow = asyncio.create_task(here.ask())
        while not here.handled:
            await asyncio.sleep(0.001)
        here.clock.now += 30.0
        (unsettled,) = await here.store.unsettled()
        assert await here.store.settle(unsettled.slot, said, keep=3600.0)
        gate.pop().set()
        zombie = await slow
        here.clock.now += 30.0
        return zombie, await here.ask()

    with place(tmp_path, handler, idempotency="at_most_once") as here:
        zombie, again = asyncio.run(come_back(here))

    assert here.handled == 1
    if said is None:
        assert {(409, "idempotency_outcome_unknown")} == {code_of(zombie), code_of(again)}
    else:
        assert {(201, b"settled")} == {(a.status, a.body) for a in (zombie, again)}


def test_a_steps_holder_is_fenced_after_settlement(tmp_path: Path) -> None:
    with place(tmp_path, fine) as here:
        claim = Claim(b"s" * 32, b"f" * 32, b"t" * 16, "r1")
        asyncio.run(here.store.claim(claim, lease=30.0, keep=3600.0, take_over=False))
        here.clock.now += 30.0
        asyncio.run(here.store.settle(claim.slot, Answer(200, {}, b""), keep=3600.0))
        for late in (
            here.store.keep_step(claim, "a", 1),
            here.store.record(claim, Answer(200, {}, b"zombie"), keep=3600.0),
            here.store.commit(claim, lambda _: Answer(200, {}, b"zombie"), keep=3600.0),
        ):
            with pytest.raises(FencedError):
                asyncio.run(late)
        renewed = asyncio.run(here.store.renew(claim, lease=30.0))
        asyncio.run(here.store.release(claim))
        again = Claim(claim.slot, claim.fingerprint, b"u" * 16, "r2")
        found = asyncio.run(here.store.claim(again, lease=30.0, keep=3600.0))

    assert not renewed
    assert found == Recorded(Answer(200, {}, b""), "r1")


# --- every store method can be asked again ---


def test_what_is_asked_again_changes_nothing_and_says_the_same(tmp_path: Path) -> None:
    with place(tmp_path, fine) as here:
        store, claim = here.store, Claim(b"s" * 32, b"f" * 32, b"t" * 16, "r1")

        async def twice() -> list[Any]:
            said: list[Any] = []
            for _ in range(2):
                said.append(await store.claim(claim, lease=30.0, keep=3600.0))
            for _ in range(2):
                await store.keep_step(claim, "a", {"n": 1})
            with_steps = await store.claim(claim, lease=30.0, keep=3600.0)
            assert isinstance(with_steps, Claim)
            assert with_steps.steps == {"a": {"n": 1}}
            for _ in range(2):
                await store.record(claim, Answer(200, {}, b"1"), keep=60.0)
            await store.release(claim)
            return said

        said = asyncio.run(twice())
        stranger = Claim(claim.slot, claim.fingerprint, b"u" * 16, "r2")
        found = asyncio.run(store.claim(stranger, lease=30.0, keep=3600.0))

    assert said == [claim, claim]
    assert found == Recorded(Answer(200, {}, b"1"), "r1")


def test_a_claim_that_lapses_while_it_is_looked_at_is_in_flight(tmp_path: Path) -> None:
    """The clock moves between two statements: to wait is always right."""
    with place(tmp_path, fine) as here:
        claim = Claim(b"s" * 32, b"f" * 32, b"t" * 16, "r1")
        asyncio.run(here.store.claim(claim, lease=30.0, keep=3600.0))
        ticks = iter([29.0, 29.0, 31.0])
        base = here.clock.now
        here.store._clock = lambda: base + next(ticks)
        stranger = Claim(claim.slot, claim.fingerprint, b"u" * 16, "r2")
        looked = here.store._write_blocking(
            lambda db: (next(ticks), here.store._claim(db, stranger, 30.0, 3600.0, True))[1]
        )

    assert isinstance(looked, InFlight)


@pytest.mark.parametrize("durable", [True, False])
def test_a_slot_is_held_by_the_level_of_its_holder(tmp_path: Path, durable: bool) -> None:
    """A deployment that changes the level takes over nothing that may be done already."""
    clock = Clock()
    with closing(SQLiteStore(tmp_path / "s.db", clock=clock, durable=durable)) as store:
        holder = Claim(b"s" * 32, b"f" * 32, b"t" * 16, "r1")
        asyncio.run(store.claim(holder, lease=30.0, keep=3600.0, take_over=False))
        clock.now += 30.0
        wanted = Claim(holder.slot, holder.fingerprint, b"u" * 16, "r2")
        found = asyncio.run(store.claim(wanted, lease=30.0, keep=3600.0, take_over=True))
        late = asyncio.run(store.renew(holder, lease=30.0))

    assert late, "the holder is slow, not gone, and nobody took its place"
    assert found == Unsettled(holder.slot, "r1", Clock().now + 30.0)


# --- cancelled ---


@pytest.mark.parametrize("level", ["resumable", "at_most_once"])
def test_a_cancelled_request_frees_nothing(tmp_path: Path, level: str) -> None:
    async def handler(request: Request) -> Response:
        if here.handled == 1:
            await asyncio.Event().wait()
        return JSONResponse({})

    async def cancel(here: Place) -> list[Answer]:
        task = asyncio.create_task(here.ask())
        while not here.handled:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        at_once = await here.ask()
        here.clock.now += 30.0
        return [at_once, await here.ask()]

    with place(tmp_path, handler, idempotency=level) as here:
        at_once, later = asyncio.run(cancel(here))

    assert code_of(at_once) == (409, "idempotency_in_flight")
    if level == "resumable":
        assert later.status == 200
    else:
        assert code_of(later) == (409, "idempotency_outcome_unknown")


@pytest.mark.parametrize("pieces", [1, 3])
def test_a_client_that_hangs_up_cuts_no_record_short(tmp_path: Path, pieces: int) -> None:
    """A framework ends a stream whose client is gone; what is recorded is whole all the same."""
    with place(tmp_path, written([b"x"] * pieces), idempotency="resumable") as here:
        asyncio.run(_hang_up(here))
        again = here.run(body=b"")

    assert (again.status, again.body) == (200, b"x" * pieces)
    assert again.headers["idempotent-replayed"] == "true"
    assert here.handled == 1


def test_a_live_stream_ends_when_its_client_hangs_up(tmp_path: Path) -> None:
    ended: list[str] = []

    async def handler(request: Request) -> Response:
        async def body() -> Any:
            try:
                while True:
                    yield b"data: 1\n\n"
                    await asyncio.sleep(0)
            finally:
                ended.append("stream")

        return StreamingResponse(body(), media_type="text/event-stream")

    with place(tmp_path, handler, idempotency="resumable") as here:
        asyncio.run(_hang_up(here))

    assert ended == ["stream"]


async def _hang_up(here: Place, *said: dict[str, Any]) -> None:
    """Ask as a server does whose client is gone at once, of a framework that listens for that."""
    messages = [*(said or ({"type": "http.request"},)), {"type": "http.disconnect"}]
    headers = [(b"authorization", f"Bearer {here.key}".encode()), (b"idempotency-key", b"k")]
    scope = {
        "type": "http", "method": "POST", "path": "/work", "query_string": b"", "headers": headers,
        "asgi": {"spec_version": "2.3"},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return messages.pop(0) if len(messages) > 1 else messages[0]

    async def send(message: Any) -> None:
        await asyncio.sleep(0)

    await here.service(scope, receive, send)


@pytest.mark.parametrize("level", ["resumable", "at_most_once"])
def test_a_client_that_hangs_up_in_its_body_is_no_reason_to_wait(tmp_path: Path, level: str) -> None:
    with place(tmp_path, reading, idempotency=level, streamed=True) as here:
        asyncio.run(_hang_up(here, {"type": "http.request", "body": b"abc", "more_body": True}))
        again = here.run(body=[b"abc", b""])

    assert here.handled == (2 if level == "resumable" else 1)
    assert again.status == (201 if level == "resumable" else 409)


# --- the key is asked for ---


def test_an_operation_may_insist_on_a_key(tmp_path: Path) -> None:
    with place(tmp_path, fine, idempotency="at_most_once", key_required=True) as here:
        missing, malformed, good = here.run(key=None), here.run(key="two words"), here.run()

    assert code_of(missing) == (400, "idempotency_key_missing")
    assert code_of(malformed) == (400, "idempotency_key_invalid")
    assert good.status == 201
    assert here.handled == 1


# --- streamed bodies ---


async def reading(request: Request) -> Response:
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
    return JSONResponse({"size": size, "beforehand": len(exchange_of(request).body)}, 201)


def streamed(folder: Path, handler: Any = reading, **row: Any) -> Any:
    return place(folder, handler, idempotency="resumable", streamed=True, max_body_bytes=100, **row)


def test_a_streamed_body_is_left_to_the_handler(tmp_path: Path) -> None:
    with streamed(tmp_path) as here:
        answer = here.run(body=[b"abc", b"de", b""])

    assert (answer.status, json.loads(answer.body)) == (201, {"size": 5, "beforehand": 0})
    assert "connection" not in answer.headers


@pytest.mark.parametrize(
    ("name", "value", "status"),
    [
        ("content-type", "text/plain", 409),
        ("content-length", "4", 409),
        ("content-digest", "sha-256=:AAAA:", 409),
        ("user-agent", "other", 201),
    ],
)
def test_what_is_known_of_a_streamed_body_makes_it_the_same(
    tmp_path: Path, name: str, value: str, status: int
) -> None:
    headers = {
        "content-type": "text/csv", "content-length": "3", "content-digest": "sha-256=:BBBB:",
    }  # fmt: skip
    with streamed(tmp_path) as here:
        first = here.run(body=b"abc", headers=headers)
        again = here.run(body=b"abc", headers={**headers, name: value})

    assert first.status == 201
    assert again.status == status
    if status == 409:
        assert code_of(again) == (409, "idempotency_mismatch")


@pytest.mark.parametrize("key", ["k", None])
def test_a_streamed_body_is_held_to_the_limit_and_its_rest_read(tmp_path: Path, key: str | None) -> None:
    """Or the sender's machine throws the 413 away, whether the request has a key or not."""
    chunks = [b"x" * 60, b"y" * 60, b"z" * 60, b""]
    with streamed(tmp_path) as here:
        answer = asyncio.run(_counting(here, chunks, key))

    assert code_of(answer) == (413, "payload_too_large")
    assert answer.headers["connection"] == "close"
    assert chunks == []


async def _counting(here: Place, chunks: list[bytes], key: str | None) -> Answer:
    """Ask with the very list, so that what was not read stays in it."""
    headers = [(b"authorization", f"Bearer {here.key}".encode()), (b"transfer-encoding", b"chunked")]
    if key is not None:
        headers.append((b"idempotency-key", key.encode()))
    scope = {
        "type": "http", "method": "POST", "path": "/work", "query_string": b"", "headers": headers,
        "client": ("10.0.0.1", 1),
    }  # fmt: skip
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        body = chunks.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(chunks)}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await here.service(scope, receive, send)
    start = sent[0]
    fields = [(n.decode(), v.decode()) for n, v in start["headers"]]
    return Answer(start["status"], fields, b"".join(m.get("body", b"") for m in sent[1:]))


async def early(request: Request) -> Response:
    return JSONResponse({"early": True}, 201)


def test_a_handler_that_answers_before_the_body_came_is_heard(tmp_path: Path) -> None:
    chunks, more = [b"abc", b"def", b""], [b"abc", b"def", b""]
    with streamed(tmp_path, early) as here:
        first = asyncio.run(_counting(here, chunks, "k"))
        replayed = asyncio.run(_counting(here, more, "k"))

    assert (first.status, replayed.status) == (201, 201)
    assert replayed.headers["idempotent-replayed"] == "true"
    assert {"close"} == {first.headers["connection"], replayed.headers["connection"]}
    assert (chunks, more) == ([], [])


def test_a_body_that_goes_on_and_on_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "LINGER_BYTES", 200)
    chunks = [b"x" * 90] * 50
    with streamed(tmp_path) as here:
        answer = asyncio.run(_counting(here, chunks, None))

    assert answer.status == 413
    assert len(chunks) == 50 - 2 - 3


# --- large answers and streams ---


def written(pieces: Sequence[bytes], media_type: str = "text/plain", status: int = 200) -> Any:
    async def handler(request: Request) -> Response:
        async def body() -> Any:
            for piece in pieces:
                for _ in range(5):  # time for others, such as whoever listens for a hang-up
                    await asyncio.sleep(0)
                yield piece

        return StreamingResponse(body(), status, media_type=media_type)

    return handler


@pytest.mark.parametrize(
    ("pieces", "media_type"),
    [
        ([b"x" * 40, b"y" * 40, b"z" * 40], "text/plain"),
        ([b"x" * 101], "text/plain"),
        ([b"data: 1\n\n", b"data: 2\n\n"], "text/event-stream"),
    ],
    ids=["grows too large", "large at once", "events"],
)
@pytest.mark.parametrize("level", ["transactional", "resumable", "at_most_once"])
def test_an_answer_too_large_to_keep_is_sent_as_it_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, pieces: list[bytes], media_type: str
) -> None:
    monkeypatch.setattr(deduplication, "MOST_KEPT_BYTES", 100)
    with place(tmp_path, written(pieces, media_type), idempotency=level) as here:
        first, again = here.run(), here.run()

    assert (first.status, first.body) == (200, b"".join(pieces))
    assert first.headers["idempotency-stored"] == "false"
    assert code_of(again) == (409, "idempotency_answer_not_kept")
    assert "retry-after" not in again.headers
    assert here.handled == 1


def test_an_answer_that_can_be_kept_is_sent_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deduplication, "MOST_KEPT_BYTES", 100)
    with place(tmp_path, written([b"x" * 50, b"y" * 50]), idempotency="resumable") as here:
        first, again = here.run(), here.run()

    assert first.body == again.body == b"x" * 50 + b"y" * 50
    assert first.headers["content-length"] == "100"
    assert "idempotency-stored" not in first.headers


def test_the_first_event_leaves_before_the_second_is_made(tmp_path: Path) -> None:
    order: list[str] = []

    async def handler(request: Request) -> Response:
        async def body() -> Any:
            for number in range(3):
                order.append(f"made {number}")
                yield f"data: {number}\n\n".encode()

        return StreamingResponse(body(), media_type="text/event-stream; charset=utf-8")

    async def watched(here: Place) -> None:
        async def send(message: Any) -> None:
            if message.get("body"):
                order.append("sent " + message["body"].decode()[6])

        async def receive() -> dict[str, Any]:
            if order and order[-1] == "never":
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": b"", "more_body": False}

        headers = [(b"authorization", f"Bearer {here.key}".encode()), (b"idempotency-key", b"k")]
        scope = {
            "type": "http", "method": "POST", "path": "/work", "query_string": b"", "headers": headers,
            "asgi": {"spec_version": "2.4"},
        }  # fmt: skip
        await here.service(scope, receive, send)

    with place(tmp_path, handler, idempotency="resumable") as here:
        asyncio.run(watched(here))

    assert order == ["made 0", "sent 0", "made 1", "sent 1", "made 2", "sent 2"]


def test_a_stream_that_fails_is_not_kept(tmp_path: Path) -> None:
    pieces = [b"data: no\n\n"]
    with place(
        tmp_path, written(pieces, "text/event-stream", 503), idempotency="resumable"
    ) as here:  # fmt: skip
        first, again = here.run(), here.run()

    assert (first.status, again.status, here.handled) == (503, 503, 2)
    assert first.headers["idempotency-stored"] == "false"


def test_a_stream_that_breaks_off_was_begun_and_is_not_begun_again(tmp_path: Path) -> None:
    async def handler(request: Request) -> Response:
        async def body() -> Any:
            yield b"data: 1\n\n"
            raise ZeroDivisionError

        return StreamingResponse(body(), media_type="text/event-stream")

    with place(tmp_path, handler, idempotency="resumable") as here:
        first, again = here.run(), here.run()

    assert first.body.startswith(b"data: 1\n\n")
    assert code_of(again) == (409, "idempotency_answer_not_kept")


def test_a_step_after_the_first_event_is_refused(tmp_path: Path) -> None:
    """The record is written by then, and says that all is done."""
    raised: list[BaseException] = []

    async def handler(request: Request) -> Response:
        async def body() -> Any:
            yield b"data: 1\n\n"
            try:
                await exchange_of(request).step("late", Payments().charge)
            except FencedError as exc:
                raised.append(exc)
                raise

        return StreamingResponse(body(), media_type="text/event-stream")

    with place(tmp_path, handler, idempotency="resumable") as here:
        answer = here.run()

    assert answer.body.startswith(b"data: 1\n\n")
    assert len(raised) == 1


def test_a_large_answer_about_a_committed_effect_is_replayed_as_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record was written with the effect; how much of it the handler sends is its own affair."""
    monkeypatch.setattr(deduplication, "MOST_KEPT_BYTES", 100)

    async def handler(request: Request) -> Response:
        answer = await exchange_of(request).commit(lambda _: Answer(201, {}, b"x" * 200))
        return Response(answer.body, answer.status)

    with place(tmp_path, handler, idempotency="transactional") as here:
        first, again = here.run(), here.run()

    assert first.body == again.body == b"x" * 200
    assert "idempotency-stored" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


def test_who_was_overtaken_before_a_large_answer_sends_none_of_it(tmp_path: Path) -> None:
    gate: list[asyncio.Event] = []

    async def handler(request: Request) -> Response:
        if gate:
            await gate.pop().wait()
            return StreamingResponse(iter([b"data: zombie\n\n"]), media_type="text/event-stream")
        return JSONResponse({"heir": True})

    async def overtaken(here: Place) -> tuple[Answer, Answer]:
        held = asyncio.Event()
        gate.append(held)
        slow = asyncio.create_task(here.ask())
        while gate:
            await asyncio.sleep(0.001)
        here.clock.now += 30.0
        fast = await here.ask()
        held.set()
        return await slow, fast

    with place(tmp_path, handler, idempotency="resumable") as here:
        slow, fast = asyncio.run(overtaken(here))

    assert slow.body == fast.body == b'{"heir":true}'


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"type": "http.response.body", "body": b"x" * 200}],
        [{"type": "http.response.body", "body": b"no start"}],
        [{"type": "http.response.start", "status": 200}],
        [
            {"type": "http.response.start", "status": 200},
            {"type": "http.response.body", "body": b"half", "more_body": True},
        ],
    ],
    ids=["nothing", "a large body without a start", "a body without a start", "only a start", "half"],
)
def test_an_application_that_does_not_answer_is_a_fault_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(deduplication, "MOST_KEPT_BYTES", 100)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        for message in messages:
            await send(dict(message))

    with place(tmp_path, fine, idempotency="resumable") as here:
        here.service.app = app
        answer = here.run()

    assert code_of(answer) == (500, "internal_error")


def test_other_messages_of_an_application_are_not_part_of_the_record(tmp_path: Path) -> None:
    """Such as trailers: what is held back is a start and a body."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["extensions"] == {}, "nor is it offered to send a file past the record"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"b")]})
        await send({"type": "http.response.trailers", "headers": []})
        await send({"type": "http.response.body", "body": b"all"})

    with place(tmp_path, fine, idempotency="resumable") as here:
        here.service.app = app
        first, again = here.run(), here.run()

    assert (first.body, again.body) == (b"all", b"all")


# --- the store fails ---


def test_a_record_that_cannot_be_written_leaves_the_outcome_to_be_settled(tmp_path: Path) -> None:
    """The effect is there and its record is not: the key stays taken."""

    async def busy(*_: Any, **__: Any) -> None:
        raise StoreBusyError("no")

    with place(tmp_path, fine, idempotency="at_most_once") as here:
        usual = here.store.record
        here.store.record = busy  # type: ignore[method-assign]
        first = here.run()
        here.store.record = usual  # type: ignore[method-assign]
        in_flight = here.run()
        here.clock.now += 30.0
        unknown = here.run()

    assert (first.status, first.headers["retry-after"]) == (503, "1")
    assert code_of(in_flight) == (409, "idempotency_in_flight")
    assert code_of(unknown) == (409, "idempotency_outcome_unknown")
    assert here.handled == 1


def test_a_heartbeat_goes_on_after_a_beat_that_was_not_possible(tmp_path: Path) -> None:
    beats: list[str] = []

    async def handler(request: Request) -> Response:
        while len(beats) < 3:
            await asyncio.sleep(0.001)
        return JSONResponse({})

    async def renew(claim: Claim, *, lease: float) -> bool:
        beats.append("beat")
        if len(beats) == 1:
            raise StoreBusyError("no")
        return len(beats) < 3

    with place(tmp_path, handler, idempotency="resumable") as here:
        here.service._deduplication._lease = 0.003
        here.store.renew = renew  # type: ignore[method-assign]
        answer = here.run()

    assert answer.status == 200
    assert len(beats) == 3


# --- configuration ---


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ({"idempotency": "resumable", "public": True}, "nobody to keep a record for"),
        ({"idempotency": "exactly_once"}, "SQLiteStore keeps at_most_once, resumable, transactional only"),
        ({"role": "boss"}, "asks for the role boss"),
        ({"streamed": True, "parse": json.loads}, "both streamed and parsed"),
        ({"debits": (Debit(1),), "public": True}, "nobody to pay"),
        ({"key_required": True}, "at no level"),
        ({"idempotency": "resumable", "settle": fine}, "which only at_most_once asks"),
    ],
)
def test_an_operation_that_cannot_be_kept_does_not_start(tmp_path: Path, row: Any, why: str) -> None:
    store = SQLiteStore(tmp_path / "s.db")
    operation = Operation("POST", "/work", **row)
    with pytest.raises(ConfigurationError, match=why) as raised:
        Service(_killed, STANDARD, store=store, keys=KEYS, operations=[operation], roles=("member",))
    store.close()

    assert "POST /work" in str(raised.value)


def test_a_store_without_transactions_keeps_no_ledger(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.db")
    store.levels = frozenset({"resumable", "at_most_once"})
    for row in ({"debits": (Debit(1),)}, {"idempotency": "transactional"}):
        with pytest.raises(ConfigurationError, match=r"no ledger|keeps at_most_once, resumable only"):
            Service(
                _killed, STANDARD, store=store, keys=KEYS,
                operations=[Operation("POST", "/work", **row)],
            )  # fmt: skip
    store.close()


# --- roles and tiers ---


@pytest.mark.parametrize(
    ("role", "status"), [("", 403), ("viewer", 403), ("member", 201), ("owner", 201), ("unheard of", 403)]
)
def test_a_role_is_at_least_the_one_asked_for(tmp_path: Path, role: str, status: int) -> None:
    with place(tmp_path, fine, role="member", roles=("viewer", "member", "owner")) as here:
        answer = here.run(api_key=here.new_key(role=role))

    assert answer.status == status
    if status == 403:
        assert code_of(answer) == (403, "insufficient_role")
        assert b"lacks the role member" in answer.body


@pytest.mark.parametrize(("tier", "status"), [("", 403), ("free", 403), ("pro", 201), ("team", 201)])
def test_some_operations_are_for_some_tiers(tmp_path: Path, tier: str, status: int) -> None:
    with place(tmp_path, fine, tiers=frozenset({"pro", "team"})) as here:
        answer = here.run(api_key=here.new_key(tier=tier))

    assert answer.status == status
    if status == 403:
        assert code_of(answer) == (403, "tier_required")


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"state": "revoked"}, "api_key_revoked"),
        ({"expires_at": 1.0}, "api_key_expired"),
        ({"state": "revoked", "expires_at": 1.0}, "api_key_revoked"),
    ],
)
def test_what_became_of_a_key_is_told_to_who_has_all_of_it(tmp_path: Path, facts: Any, code: str) -> None:
    with place(tmp_path, fine) as here:
        key = here.new_key(**facts)
        owner = here.run(api_key=key)
        guesser = here.run(api_key=key[:-1] + ("a" if key[-1] != "a" else "b"))

    assert code_of(owner) == (401, code)
    assert code_of(guesser) == (401, "api_key_invalid")
    assert owner.headers["www-authenticate"] == KEYS.challenge


def test_guessing_keys_is_counted_by_address(tmp_path: Path) -> None:
    with place(tmp_path, fine, stranger_limit=Limit(2, 60.0)) as here:
        guesses = [here.run(api_key=KEYS.new()) for _ in range(3)]
        neighbour = here.run(api_key=KEYS.new(), address="10.0.0.2")
        known = here.run()

    assert [g.status for g in guesses] == [401, 401, 429]
    assert guesses[1].headers["x-ratelimit-remaining"] == "0"
    assert guesses[2].headers["retry-after"] == "30"
    assert (neighbour.status, known.status) == (401, 201)


def test_a_key_s_limits_go_before_its_tier_s_and_those_before_the_service_s(tmp_path: Path) -> None:
    settings = {"limit": Limit(100, 60.0), "tier_limits": {"pro": [Limit(500, 60.0)]}}
    with place(tmp_path, fine, **settings) as here:
        asked = [
            here.run(api_key=here.new_key(**facts)).headers["x-ratelimit-limit"]
            for facts in ({}, {"tier": "free"}, {"tier": "pro"}, {"tier": "pro", "limit": Limit(7, 1.0)})
        ]

    assert asked == ["100", "100", "500", "7"]


def test_a_scope_is_a_word() -> None:
    for scopes in (["two words"], [""]):
        with pytest.raises(ValueError, match="without blanks"):
            stored(KEYS.new(), KEYS, tenant="t", scopes=scopes)


def test_scope_goes_before_role_before_tier_before_tenant(tmp_path: Path) -> None:
    row = {"scope": "w", "role": "member", "tiers": frozenset({"pro"}), "roles": ("member",)}
    facts: dict[str, Any] = {"tenant": "shut"}
    codes = []
    with place(tmp_path, fine, **row) as here:
        here.store.set_tenant_active("shut", False)
        for more in ({}, {"scopes": ["w"]}, {"role": "member"}, {"tier": "pro"}):
            facts.update(more)
            codes.append(code_of(here.run(api_key=here.new_key(**facts)))[1])

    assert codes == ["insufficient_scope", "insufficient_role", "tier_required", "tenant_suspended"]
