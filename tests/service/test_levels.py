"""The levels `resumable` and `at_most_once`, and what else happens between a claim and its answer."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from service_place import Payments, Place, code_of, fine, place
from service_world import KEYS, Clock
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

import failwell
from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.errors import ConfigurationError
from failwell.failure import Effect, Failure
from failwell.service import (
    Debit,
    FencedError,
    Operation,
    Service,
    SQLiteStore,
    StoreBusyError,
    exchange_of,
)
from failwell.service.exchange import Exchange
from failwell.service.idempotency import Claim, InFlight, Recorded, Unsettled


class Killed(BaseException):
    """The process is gone: nothing that a server or a handler catches runs any more."""


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
        here.store.settle = never_settled
        usual, here.service.app = here.service.app, _killed
        with pytest.raises(Killed):
            here.run()
        here.service.app = usual
        here.clock.now += 30.0
        answer = here.run()

    assert code_of(answer) == (409, "idempotency_outcome_unknown")


def test_a_hook_that_is_slow_settles_nothing_that_came_after(tmp_path: Path) -> None:
    """While it asked the bank, an operator settled the claim, and another worker died at the next one."""
    sent: list[int] = []

    async def settle(exchange: Exchange) -> Answer | Effect:
        (looked_at,) = await here.store.unsettled()
        await here.store.settle(looked_at, None, keep=3600.0)
        later = Claim(looked_at.slot, fingerprint, b"l" * 16, looked_at.request_id)
        assert later == await here.store.claim(later, lease=30.0, keep=3600.0, take_over=False)
        sent.append(1)
        here.clock.now += 30.0
        return Effect.NOT_APPLIED

    with place(tmp_path, fine, idempotency="at_most_once", settle=settle) as here:
        usual, here.service.app = here.service.app, _killed
        with pytest.raises(Killed):
            here.run(headers={"x-request-id": "request-1"})
        ((fingerprint,),) = here.store.read("SELECT fingerprint FROM failwell_idempotency")
        here.service.app = usual
        here.clock.now += 30.0
        answer = here.run()
        waiting = asyncio.run(here.store.unsettled())

    assert code_of(answer) == (409, "idempotency_outcome_unknown")
    assert ([u.request_id for u in waiting], sent) == (["request-1"], [1])


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
        told = {u.request_id.removeprefix("request-"): u for u in waiting}
        settled = [
            asyncio.run(here.store.settle(told["done"], Answer(201, {}, b"sent"), keep=60.0)),
            asyncio.run(here.store.settle(told["undone"], None, keep=60.0)),
            asyncio.run(here.store.settle(told["done"], None, keep=60.0)),
            asyncio.run(here.store.settle(told["done"], Answer(500, {}, b""), keep=60.0)),
            asyncio.run(here.store.settle(told["undone"], None, keep=60.0)),
            asyncio.run(here.store.settle(Unsettled(b"nobody's", "r", 0.0), Answer(201, {}, b""), keep=60.0)),
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
        lapsing = Unsettled(claim.slot, claim.request_id, here.clock.now + 30.0)
        settled = asyncio.run(here.store.settle(lapsing, None, keep=60.0))
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
        assert await here.store.settle(unsettled, said, keep=3600.0)
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
        (unsettled,) = asyncio.run(here.store.unsettled())
        asyncio.run(here.store.settle(unsettled, Answer(200, {}, b""), keep=3600.0))
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


# --- the key is asked for ---


def test_an_operation_may_insist_on_a_key(tmp_path: Path) -> None:
    with place(tmp_path, fine, idempotency="at_most_once", key_required=True) as here:
        missing, malformed, good = here.run(key=None), here.run(key="two words"), here.run()

    assert code_of(missing) == (400, "idempotency_key_missing")
    assert code_of(malformed) == (400, "idempotency_key_invalid")
    assert good.status == 201
    assert here.handled == 1


# --- the store fails ---


def test_a_record_that_cannot_be_written_leaves_the_outcome_to_be_settled(tmp_path: Path) -> None:
    """The effect is there and its record is not: the key stays taken."""

    async def busy(*_: Any, **__: Any) -> None:
        raise StoreBusyError("no")

    with place(tmp_path, fine, idempotency="at_most_once") as here:
        usual = here.store.record
        here.store.record = busy
        first = here.run()
        here.store.record = usual
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
        here.store.renew = renew
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
