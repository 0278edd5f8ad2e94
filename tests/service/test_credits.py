"""Credits and quotas: spent with the effect, never twice, never below nothing."""

from __future__ import annotations

import asyncio
import copy
import pickle
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from service_place import Place, code_of, place
from service_world import SCHEMA, Clock
from starlette.requests import Request
from starlette.responses import Response

from failwell.answer import Answer
from failwell.service import Account, Debit, Entry, InsufficientCreditsError, SQLiteStore, exchange_of

MADE = Answer(201, {"content-type": "application/json"}, b"{}")
DAY = 86_400.0


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(tmp_path / "s.db", schema=SCHEMA, clock=clock)) as store:
        yield store


def pay(store: SQLiteStore, *debits: Debit, tenant: str = "t1", request_id: str = "r1") -> None:
    """An effect that costs something."""

    def effect(db: sqlite3.Connection) -> Answer:
        db.execute("INSERT INTO things (name) VALUES ('a')")
        return MADE

    asyncio.run(store.commit(None, effect, keep=60.0, tenant=tenant, request_id=request_id, debits=debits))


def account(store: SQLiteStore, unit: str = "credits", tenant: str = "t1") -> Account:
    return asyncio.run(store.account(tenant, unit))


def entries(store: SQLiteStore, unit: str = "credits", **asked: Any) -> list[Entry]:
    return asyncio.run(store.entries("t1", unit, **asked))


def things(store: SQLiteStore) -> int:
    ((number,),) = store.read("SELECT count(*) FROM things")
    return int(number)


# --- the ledger ---


def test_an_account_that_was_never_opened_is_empty(store: SQLiteStore) -> None:
    assert account(store) == Account("t1", "credits", 0)
    assert entries(store) == []


def test_what_was_granted_can_be_spent_and_each_change_is_a_line(store: SQLiteStore, clock: Clock) -> None:
    granted = store.grant("t1", 10, reason="invoice 7")
    clock.now += 1
    pay(store, Debit(3), request_id="r2")
    pay(store, Debit(-1), request_id="r3")

    assert granted == Account("t1", "credits", 10)
    assert account(store) == Account("t1", "credits", 8)
    start = clock.now - 1
    assert entries(store) == [
        Entry(1, "t1", "credits", 10, 10, "invoice 7", "", start),
        Entry(2, "t1", "credits", -3, 7, "debit", "r2", start + 1),
        Entry(3, "t1", "credits", 1, 8, "refund", "r3", start + 1),
    ]


def test_the_ledger_is_read_in_pieces(store: SQLiteStore) -> None:
    for amount in range(1, 6):
        store.grant("t1", amount)
        store.grant("t2", amount)
    pages = [entries(store, after=after, most=2) for after in (0, 3, 7, 9)]

    assert [[e.amount for e in page] for page in pages] == [[1, 2], [3, 4], [5], []]


def test_an_effect_that_cannot_be_paid_for_does_not_happen(store: SQLiteStore) -> None:
    store.grant("t1", 2)
    with pytest.raises(InsufficientCreditsError) as raised:
        pay(store, Debit(3))

    assert raised.value.account == Account("t1", "credits", 2)
    assert raised.value.required == 3
    assert str(raised.value) == "3 credits needed, 2 left"
    assert (things(store), account(store).balance, len(entries(store))) == (0, 2, 1)


def test_one_of_several_debits_that_fails_undoes_them_all(store: SQLiteStore) -> None:
    store.grant("t1", 10, "a")
    store.grant("t1", 1, "b")
    with pytest.raises(InsufficientCreditsError) as raised:
        pay(store, Debit(2, "b"), Debit(5, "a"))

    assert raised.value.account.unit == "b"
    assert (account(store, "a").balance, account(store, "b").balance, things(store)) == (10, 1, 0)


def test_an_error_of_the_effect_costs_nothing(store: SQLiteStore) -> None:
    store.grant("t1", 10)

    def fails(db: sqlite3.Connection) -> Answer:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        asyncio.run(store.commit(None, fails, keep=60.0, tenant="t1", debits=[Debit(3)]))

    assert account(store).balance == 10


def test_the_last_credit_can_be_spent(store: SQLiteStore) -> None:
    store.grant("t1", 3)
    pay(store, Debit(3))

    assert account(store).balance == 0
    pay(store, Debit(0))
    with pytest.raises(InsufficientCreditsError):
        pay(store, Debit(1))


def test_an_account_is_of_one_tenant_and_one_unit(store: SQLiteStore) -> None:
    store.grant("t1", 5)
    for tenant, unit in (("t2", "credits"), ("t1", "bytes")):
        with pytest.raises(InsufficientCreditsError):
            pay(store, Debit(1, unit), tenant=tenant)

    assert account(store).balance == 5


def test_nobody_can_be_granted_into_debt(store: SQLiteStore) -> None:
    store.grant("t1", 5)
    with pytest.raises(InsufficientCreditsError, match="6 credits needed, 5 left"):
        store.grant("t1", -6)
    store.grant("t1", -5, reason="charged back")
    store.grant("t1", 5)

    assert account(store).balance == 5
    assert [line.amount for line in entries(store)] == [5, -5, 5]


def test_the_error_survives_a_process_boundary() -> None:
    error = InsufficientCreditsError(Account("t1", "bytes", 4, 10, 5.0), 7)
    for copied in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert (copied.account, copied.required, str(copied)) == (error.account, 7, str(error))


def test_concurrent_debits_never_overspend(tmp_path: Path, clock: Clock) -> None:
    """Two processes' stores, many tasks and threads: as many effects as there was money."""
    failed: list[int] = []
    with (
        closing(SQLiteStore(tmp_path / "s.db", schema=SCHEMA, clock=clock, durable=False)) as one,
        closing(SQLiteStore(tmp_path / "s.db", schema=SCHEMA, clock=clock, durable=False)) as other,
    ):
        one.grant("t1", 50)

        def spend(store: SQLiteStore) -> None:
            async def all_at_once() -> list[Any]:
                paid = [
                    store.commit(None, _insert, keep=60.0, tenant="t1", debits=[Debit(3)]) for _ in range(10)
                ]
                return await asyncio.gather(*paid, return_exceptions=True)

            outcomes = asyncio.run(all_at_once())
            failed.extend(1 for o in outcomes if isinstance(o, InsufficientCreditsError))
            assert all(isinstance(o, (Answer, InsufficientCreditsError)) for o in outcomes), outcomes

        threads = [threading.Thread(target=spend, args=(s,)) for s in (one, other) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seen = (things(one), account(one).balance, len(failed))
        lines = asyncio.run(one.entries("t1", "credits", most=1000))

    assert seen == (16, 2, 24)
    assert sum(line.amount for line in lines) == 2


def _insert(db: sqlite3.Connection) -> Answer:
    db.execute("INSERT INTO things (name) VALUES ('a')")
    return MADE


# --- quotas ---


def test_a_quota_is_whole_again_with_each_period(store: SQLiteStore, clock: Clock) -> None:
    begun = clock.now
    opened = store.allow("t1", 10, "scans", period=DAY)
    pay(store, Debit(9, "scans"))
    clock.now += DAY - 1
    with pytest.raises(InsufficientCreditsError):
        pay(store, Debit(2, "scans"))
    clock.now += 1
    due = account(store, "scans")
    pay(store, Debit(2, "scans"))

    assert opened == Account("t1", "scans", 10, 10, begun + DAY)
    assert due == Account("t1", "scans", 10, 10, begun + 2 * DAY)
    assert account(store, "scans") == Account("t1", "scans", 8, 10, begun + 2 * DAY)
    assert [(e.amount, e.balance, e.reason) for e in entries(store, "scans")] == [
        (10, 10, "allowance"),
        (-9, 1, "debit"),
        (9, 10, "renewal"),
        (-2, 8, "debit"),
    ]


@pytest.mark.parametrize("missed", [1, 2, 5, 365])
@pytest.mark.parametrize("into", [0.0, 0.5])
def test_periods_that_nobody_saw_come_back_as_one(
    store: SQLiteStore, clock: Clock, missed: int, into: float
) -> None:
    begun = clock.now
    store.allow("t1", 10, "scans", period=DAY)
    pay(store, Debit(10, "scans"))
    clock.now = begun + (missed + into) * DAY
    before = account(store, "scans")
    pay(store, Debit(1, "scans"))
    lines = entries(store, "scans")

    assert before == Account("t1", "scans", 10, 10, begun + (missed + 1) * DAY)
    assert account(store, "scans") == Account("t1", "scans", 9, 10, begun + (missed + 1) * DAY)
    assert [e.reason for e in lines] == ["allowance", "debit", "renewal", "debit"]


def test_a_refund_gives_back_no_more_than_the_allowance(store: SQLiteStore) -> None:
    store.allow("t1", 10, "bytes")
    pay(store, Debit(4, "bytes"))
    pay(store, Debit(-100, "bytes"))

    assert account(store, "bytes") == Account("t1", "bytes", 10, 10)
    assert entries(store, "bytes")[-1].amount == 4


def test_what_is_granted_on_top_of_an_allowance_is_not_lost_by_spending(store: SQLiteStore) -> None:
    store.allow("t1", 10, "scans")
    store.grant("t1", 5, "scans")
    pay(store, Debit(1, "scans"))
    spent = account(store, "scans").balance
    pay(store, Debit(-1, "scans"))

    assert (spent, account(store, "scans").balance) == (14, 14)


def test_an_allowance_without_periods_never_comes_back_by_itself(store: SQLiteStore, clock: Clock) -> None:
    store.allow("t1", 10, "bytes")
    pay(store, Debit(10, "bytes"))
    clock.now += 1e9

    assert account(store, "bytes") == Account("t1", "bytes", 0, 10)


def test_an_allowance_may_be_changed(store: SQLiteStore, clock: Clock) -> None:
    store.allow("t1", 10, "scans", period=DAY)
    pay(store, Debit(4, "scans"))
    more = store.allow("t1", 100, "scans", period=2 * DAY)
    clock.now += 2 * DAY
    renewed = store.grant("t1", 1, "scans")

    assert more == Account("t1", "scans", 100, 100, clock.now)
    assert renewed == Account("t1", "scans", 101, 100, clock.now + 2 * DAY)


def test_a_clock_that_was_set_back_renews_nothing(store: SQLiteStore, clock: Clock) -> None:
    store.allow("t1", 10, "scans", period=DAY)
    pay(store, Debit(10, "scans"))
    clock.now -= 10 * DAY

    assert account(store, "scans").balance == 0


# --- the law ---

STEPS = st.one_of(
    st.tuples(st.just("grant"), st.integers(-20, 50)),
    st.tuples(st.just("debit"), st.integers(-20, 50)),
    st.tuples(st.just("allow"), st.integers(0, 50)),
    st.tuples(st.just("allow for ever"), st.integers(0, 50)),
    st.tuples(st.just("wait"), st.integers(-2, 40)),
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(STEPS, max_size=25))
def test_the_lines_of_a_ledger_add_up_to_its_balance(steps: list[tuple[str, int]]) -> None:
    """Whatever happens, in whatever order; and no line ever shows less than nothing."""
    clock = Clock()
    with (
        tempfile.TemporaryDirectory() as folder,
        closing(SQLiteStore(Path(folder) / "s.db", schema=SCHEMA, clock=clock, durable=False)) as store,
    ):
        effects = needless = 0
        for what, amount in steps:
            known = account(store, "u").balance
            try:
                match what:
                    case "grant":
                        store.grant("t1", amount, "u")
                    case "allow":
                        store.allow("t1", amount, "u", period=10.0)
                    case "allow for ever":
                        store.allow("t1", amount, "u")
                    case "wait":
                        clock.now += amount
                    case "debit":
                        pay(store, Debit(amount, "u"))
                        effects += 1
            except InsufficientCreditsError:
                needless += (known - amount if what == "debit" else known + amount) >= 0
        lines = entries(store, "u", most=1000)
        ((kept,),) = store.read("SELECT coalesce(sum(balance), 0) FROM failwell_accounts")
        last, made = account(store, "u"), things(store)

    assert sum(line.amount for line in lines) == kept
    assert all(line.balance >= 0 for line in lines)
    running = 0
    for line in lines:
        running += line.amount
        assert running == line.balance
    assert last.balance >= 0
    assert made == effects
    assert not needless, "nothing was refused that could be paid"


# --- through the gates ---


def making(*debits: Debit) -> Any:
    async def handler(request: Request) -> Response:
        answer = await exchange_of(request).commit(_insert, *debits)
        return Response(answer.body, answer.status, answer.headers)

    return handler


def paid(folder: Path, handler: Any = None, **row: Any) -> Any:
    row = {"idempotency": "transactional", "debits": (Debit(3),), **row}
    return place(folder, handler or making(), **row)


def test_without_credits_the_handler_is_not_asked(tmp_path: Path) -> None:
    with paid(tmp_path) as here:
        here.store.grant("t1", 2)
        refused = here.run()
        here.store.grant("t1", 1)
        made = here.run()

    assert code_of(refused) == (402, "insufficient_credits")
    assert b"3 credits are needed, 2 are left" in refused.body
    assert "retry-after" not in refused.headers
    assert made.status == 201, "the refusal freed the key"
    assert here.handled == 1


def test_each_effect_is_paid_for_once_and_replays_cost_nothing(tmp_path: Path) -> None:
    with paid(tmp_path) as here:
        here.store.grant("t1", 4)
        answers = [here.run() for _ in range(3)]
        other = here.run(key="k2")
        lines = entries(here.store)

    assert [a.status for a in answers] == [201, 201, 201]
    assert answers[2].headers["idempotent-replayed"] == "true"
    assert code_of(other) == (402, "insufficient_credits")
    assert [line.amount for line in lines] == [4, -3]
    assert lines[1].request_id == answers[0].headers["x-request-id"]


def test_without_an_idempotency_key_each_request_pays(tmp_path: Path) -> None:
    with paid(tmp_path) as here:
        here.store.grant("t1", 7)
        statuses = [here.run(key=None).status for _ in range(3)]

    assert statuses == [201, 201, 402]


def test_a_price_that_the_handler_finds_is_paid_with_the_table_s(tmp_path: Path) -> None:
    with paid(tmp_path, making(Debit(1), Debit(2, "bytes"))) as here:
        here.store.grant("t1", 4)
        refused = here.run()
        rolled_back = things(here.store), account(here.store).balance
        here.store.grant("t1", 2, "bytes")
        made = here.run()

    assert code_of(refused) == (402, "insufficient_credits")
    assert b"2 bytes are needed, 0 are left" in refused.body
    assert rolled_back == (0, 4)
    assert (made.status, here.handled) == (201, 2)


def test_two_that_could_each_pay_cannot_both(tmp_path: Path) -> None:
    """Both pass the gate while there is enough; the ledger decides in the transaction."""

    async def race(here: Place) -> list[Answer]:
        return list(await asyncio.gather(here.ask(key="a"), here.ask(key="b")))

    together = asyncio.Barrier(2)

    async def handler(request: Request) -> Response:
        await together.wait()
        answer = await exchange_of(request).commit(_insert)
        return Response(answer.body, answer.status)

    with paid(tmp_path, handler) as here:
        here.store.grant("t1", 5)
        answers = asyncio.run(race(here))
        made = things(here.store)

    assert sorted(a.status for a in answers) == [201, 402]
    assert made == 1


@pytest.mark.parametrize("period", [None, 60.0])
def test_a_spent_quota_is_refused_as_such(tmp_path: Path, period: float | None) -> None:
    with paid(tmp_path, debits=(Debit(3, "scans"),)) as here:
        here.store.allow("t1", 5, "scans", period=period)
        made, refused = here.run(key="a"), here.run(key="b")
        here.clock.now += 60.0
        later = here.run(key="b")

    assert made.status == 201
    assert code_of(refused) == (403, "quota_exceeded")
    assert b"quota of 5 scans is spent: 2 are left" in refused.body
    assert (b"renews_at" in refused.body) == (period is not None)
    assert later.status == (403 if period is None else 201)


@pytest.mark.parametrize("level", ["resumable", "transactional"])
def test_who_cannot_pay_keeps_no_slot_and_loses_no_step(tmp_path: Path, level: str) -> None:
    """A retry that finds its account empty may come back with money and goes on where it was."""
    done: list[str] = []

    async def handler(request: Request) -> Response:
        async def work(key: str) -> int:
            done.append(key)
            return 1

        await exchange_of(request).step("a", work)
        if here.handled == 1:
            return Response(status_code=503)
        answer = await exchange_of(request).commit(_insert)
        return Response(answer.body, answer.status)

    with paid(tmp_path, handler, idempotency=level) as here:
        here.store.grant("t1", 3)
        first = here.run()
        pay(here.store, Debit(3))
        refused = here.run()
        here.store.grant("t1", 3)
        last = here.run()

    assert [first.status, refused.status, last.status] == [503, 402, 201]
    assert len(done) == 1


# --- what is no amount ---

ODD: list[tuple[Any, type[Exception], str]] = [
    (1.5, TypeError, "smaller unit"),
    (True, TypeError, "whole number"),
    ("1", TypeError, "whole number"),
    (float("nan"), TypeError, "whole number"),
    (2**53 + 1, ValueError, "to 9007199254740992, not 9007199254740993"),
]


@pytest.mark.parametrize(("amount", "kind", "said"), [*ODD, (-(2**53) - 1, ValueError, "from -9007")])
def test_a_debit_of_no_amount_is_refused_where_it_is_said(
    amount: Any, kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        Debit(amount)


@pytest.mark.parametrize(("amount", "kind", "said"), ODD)
def test_an_account_gets_whole_amounts_only(
    store: SQLiteStore, amount: Any, kind: type[Exception], said: str
) -> None:
    """A refused one leaves no line in the ledger."""
    with pytest.raises(kind, match=said):
        store.grant("t1", amount)
    with pytest.raises(kind, match=said):
        store.allow("t1", amount, "credits", period=DAY)

    assert entries(store) == []


def test_an_allowance_is_not_less_than_nothing(store: SQLiteStore) -> None:
    with pytest.raises(ValueError, match="an allowance is from 0 to"):
        store.allow("t1", -1, "credits")


@pytest.mark.parametrize("period", [0, -1.0, float("inf"), float("nan")])
def test_a_period_has_a_length(store: SQLiteStore, period: float) -> None:
    with pytest.raises(ValueError, match=r"more than 0 seconds.*None"):
        store.allow("t1", 5, "credits", period=period)


@pytest.mark.parametrize("period", ["86400", True])
def test_a_period_is_a_number_of_seconds(store: SQLiteStore, period: Any) -> None:
    with pytest.raises(TypeError, match="a number of seconds, or None"):
        store.allow("t1", 5, "credits", period=period)


def test_nothing_is_an_amount(store: SQLiteStore) -> None:
    """A price that is worked out may be 0, and an account is opened with nothing in it."""
    store.grant("t1", 0)
    store.allow("t1", 0, "seats")
    pay(store, Debit(0), Debit(0, "seats"))

    assert (account(store).balance, account(store, "seats").balance) == (0, 0)
