"""One effect, however often the request comes, and whenever the process dies."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from service_asgi import ask
from service_world import KEYS, SCHEMA, Clock, World, world
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.service import FencedError, Service, SQLiteStore, exchange_of, install, routes_for
from failwell.service.idempotency import (
    Claim,
    InFlight,
    Mismatch,
    Recorded,
    fingerprint_of,
    parse_key,
    slot_of,
)
from failwell.service.stores import sqlite

SLOT, OTHER = slot_of("t", "p", "POST", "/things", "k"), slot_of("t", "p", "POST", "/things", "other")
SAME, CHANGED = fingerprint_of("k", b"/things", b"", b"{}"), fingerprint_of("k", b"/things", b"", b"{ }")
DONE = Answer(201, {"content-type": "application/json", "set-cookie": "secret=1"}, b'{"id": 1}')


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[SQLiteStore]:
    store = SQLiteStore(tmp_path / "s.db", schema=SCHEMA, clock=clock, patience=0.05)
    yield store
    store.close()


@pytest.fixture
def here(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def claim(store: SQLiteStore, slot: bytes = SLOT, fingerprint: bytes = SAME, request_id: str = "r1") -> Any:
    wanted = Claim(slot, fingerprint, os.urandom(16), request_id)
    return asyncio.run(store.claim(wanted, lease=30.0, keep=3600.0))


def thing(name: str) -> Any:
    def insert(db: sqlite3.Connection) -> Answer:
        db.execute("INSERT INTO things (name) VALUES (?)", (name,))
        return DONE

    return insert


def things(store: SQLiteStore) -> list[str]:
    return [name for (name,) in store.read("SELECT name FROM things ORDER BY id")]


# --- the header ---


@pytest.mark.parametrize(
    ("value", "key"),
    [
        ("8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ('"8e03978e-40d5-43dd-bc93-6894a57f9324"', "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("KG5LxwFBepaKHyUD", "KG5LxwFBepaKHyUD"),
        (' "with blanks inside" ', "with blanks inside"),
        (r'"a \"quoted\" \\ one"', r'a "quoted" \ one'),
        ("a:b/c=d+e~f", "a:b/c=d+e~f"),
        ("x" * 255, "x" * 255),
        ("", None),
        ('""', None),
        ("x" * 256, None),
        ('"' + "x" * 256 + '"', None),
        ("two words", None),
        ("one, two", None),
        ('"one", "two"', None),
        ('"open', None),
        ('"a";v=1', None),
        ('"a\\b"', None),
        ('"ä"', None),
        ("ä", None),
        ('"tab\there"', None),
    ],
)
def test_a_key_is_read_quoted_or_bare_and_is_one_string(value: str, key: str | None) -> None:
    assert key == parse_key(value)


def test_no_two_lists_of_parts_share_a_slot() -> None:
    assert slot_of("a", "bc", "POST", "/", "k") != slot_of("ab", "c", "POST", "/", "k")
    parts = {"tenant": "t", "principal": "p", "method": "POST", "route": "/x", "key": "k"}
    changed = [slot_of(**{**parts, name: "other"}) for name in parts]
    assert len({slot_of(**parts), *changed}) == 6


def test_a_fingerprint_knows_path_query_and_body_apart() -> None:
    prints = {
        fingerprint_of("k", b"/a", b"b", b"c"),
        fingerprint_of("k", b"/ab", b"", b"c"),
        fingerprint_of("k", b"/a", b"bc", b""),
        fingerprint_of("k", b"/a", b"", b"bc"),
        fingerprint_of("other", b"/a", b"b", b"c"),
    }

    assert len(prints) == 5


# --- the store ---


def test_a_slot_is_claimed_once_then_in_flight_then_recorded(store: SQLiteStore) -> None:
    first = claim(store)
    second = claim(store, request_id="r2")
    asyncio.run(store.commit(first, thing("a"), keep=3600.0))
    third = claim(store, request_id="r3")

    assert isinstance(first, Claim)
    assert InFlight(30.0) == second
    assert isinstance(third, Recorded)
    assert third.answer is not None
    assert (third.answer.status, third.answer.body, third.request_id) == (201, b'{"id": 1}', "r1")
    assert "set-cookie" not in third.answer.headers
    assert things(store) == ["a"]


def test_a_mismatch_goes_before_in_flight_and_before_the_record(store: SQLiteStore) -> None:
    first = claim(store)
    while_in_flight = claim(store, fingerprint=CHANGED)
    asyncio.run(store.commit(first, thing("a"), keep=3600.0))

    assert Mismatch() == while_in_flight
    assert Mismatch() == claim(store, fingerprint=CHANGED)


def test_a_released_slot_is_free_even_for_another_payload(store: SQLiteStore) -> None:
    first = claim(store)
    asyncio.run(store.release(first))

    assert isinstance(claim(store, fingerprint=CHANGED), Claim)


def test_a_release_by_who_no_longer_holds_it_changes_nothing(store: SQLiteStore, clock: Clock) -> None:
    first = claim(store)
    clock.now += 31
    second = claim(store)
    asyncio.run(store.release(first))

    assert isinstance(claim(store), InFlight)
    assert isinstance(second, Claim)


def test_a_recorded_answer_cannot_be_released(store: SQLiteStore) -> None:
    first = claim(store)
    asyncio.run(store.commit(first, thing("a"), keep=3600.0))
    asyncio.run(store.release(first))

    assert isinstance(claim(store), Recorded)


def test_a_lapsed_lease_is_taken_over_and_the_late_worker_undone(store: SQLiteStore, clock: Clock) -> None:
    """
    The zombie's effect is rolled back, because its token is gone.
    """
    zombie = claim(store)
    clock.now += 30.0
    heir = claim(store, request_id="r2")
    assert isinstance(heir, Claim)

    with pytest.raises(FencedError):
        asyncio.run(store.commit(zombie, thing("zombie"), keep=3600.0))
    asyncio.run(store.commit(heir, thing("heir"), keep=3600.0))
    with pytest.raises(FencedError):
        asyncio.run(store.record(zombie, DONE, keep=3600.0))

    assert things(store) == ["heir"]


def test_a_late_worker_that_nobody_replaced_may_finish(store: SQLiteStore, clock: Clock) -> None:
    late = claim(store)
    clock.now += 1000.0
    asyncio.run(store.commit(late, thing("late"), keep=3600.0))

    assert things(store) == ["late"]


def test_a_lapsed_claim_still_belongs_to_its_payload(store: SQLiteStore, clock: Clock) -> None:
    claim(store)
    clock.now += 31

    assert Mismatch() == claim(store, fingerprint=CHANGED)


def test_a_record_is_kept_from_its_completion_on(store: SQLiteStore, clock: Clock) -> None:
    first = claim(store)
    clock.now += 20
    asyncio.run(store.commit(first, thing("a"), keep=3600.0))
    clock.now += 3599
    before = claim(store)
    clock.now += 1
    after = claim(store, fingerprint=CHANGED)

    assert isinstance(before, Recorded)
    assert isinstance(after, Claim)


def test_slots_do_not_touch_each_other(store: SQLiteStore) -> None:
    assert isinstance(claim(store), Claim)
    assert isinstance(claim(store, slot=OTHER, fingerprint=CHANGED), Claim)


def test_expired_records_are_forgotten_at_the_next_start(tmp_path: Path) -> None:
    clock = Clock()
    store = SQLiteStore(tmp_path / "s.db", schema=SCHEMA, clock=clock)
    claim(store)
    store.close()
    clock.now += 3601
    store = SQLiteStore(tmp_path / "s.db", schema=SCHEMA, clock=clock)
    rows = store.read("SELECT count(*) FROM failwell_idempotency")
    store.close()

    assert [tuple(row) for row in rows] == [(0,)]


def test_a_service_that_never_restarts_forgets_expired_records_too(
    store: SQLiteStore, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "CLAIMS_BETWEEN", 10)
    for number in range(9):
        claim(store, slot=b"%d" % number)
    clock.now += 3601
    claim(store)

    assert [bytes(slot) for (slot,) in store.read("SELECT slot FROM failwell_idempotency")] == [SLOT]


# --- killed ---

_KILLED = """
import asyncio, os, sys
from failwell.answer import Answer
from failwell.service import SQLiteStore
from failwell.service.idempotency import Claim, fingerprint_of, slot_of

store = SQLiteStore(sys.argv[1], schema={schema!r}, clock=lambda: {now})
moment = sys.argv[2]

async def main():
    slot = slot_of("t", "p", "POST", "/things", "k")
    fingerprint = fingerprint_of("k", b"/things", b"", b"{{}}")
    claim = await store.claim(Claim(slot, fingerprint, os.urandom(16), "killed"), lease=30.0, keep=3600.0)
    if moment == "after the claim":
        os._exit(9)

    def effect(db):
        db.execute("INSERT INTO things (name) VALUES ('killed')")
        if moment == "after the effect":
            os._exit(9)
        return Answer(201, {{}}, b"from the killed one")

    finish = store._record
    def finish_and_die(*args):
        done = finish(*args)
        if moment == "after the record":
            os._exit(9)
        return done
    store._record = finish_and_die
    await store.commit(claim, effect, keep=3600.0)
    os._exit(9)

asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("moment", "outcome"),
    [
        ("after the claim", ["retry"]),
        ("after the effect", ["retry"]),
        ("after the record", ["retry"]),
        ("after the commit", ["killed"]),
    ],
)
def test_killed_at_any_moment_the_work_is_done_once(tmp_path: Path, moment: str, outcome: list[str]) -> None:
    """
    A process is killed for good; the retry waits for the lease and then does the work, or finds it done.
    """
    clock = Clock()
    path = tmp_path / "s.db"
    code = _KILLED.format(schema=SCHEMA, now=clock.now)
    killed = subprocess.run([sys.executable, "-c", code, str(path), moment], timeout=60, check=False)
    assert killed.returncode == 9
    store = SQLiteStore(path, schema=SCHEMA, clock=clock)
    try:
        found = claim(store)
        if moment != "after the commit":
            assert InFlight(30.0) == found
            assert things(store) == []
            clock.now += 30.0
            found = claim(store)
            asyncio.run(store.commit(found, thing("retry"), keep=3600.0))
        else:
            assert isinstance(found, Recorded)
            assert found.answer is not None
            assert found.answer.body == b"from the killed one"
        assert outcome == things(store)
    finally:
        store.close()


# --- through the gates ---


async def post(
    here: World, body: Any, *, key: str | None = "k", path: str = "/things", api_key: str | None = None,
    service: Service | None = None,
) -> Answer:  # fmt: skip
    headers = {"authorization": f"Bearer {api_key or here.key}"}
    if key is not None:
        headers["idempotency-key"] = key
    return await ask(service or here.service, "POST", path, headers=headers, json_body=body)


async def begun(here: World, body: Any, **asked: Any) -> tuple[asyncio.Task[Answer], asyncio.Event]:
    """A request whose handler has begun, and waits for what is returned with it; later ones do not."""
    here.gate = gate = asyncio.Event()
    before = here.handled
    task = asyncio.create_task(post(here, body, **asked))
    while here.handled == before:
        await asyncio.sleep(0)
    here.gate = None
    return task, gate


async def claimed(here: World) -> float:
    """Waits until the slot of a request is claimed; when the lease ends."""
    while not (rows := here.store.read("SELECT lease_until FROM failwell_idempotency")):
        await asyncio.sleep(0.001)
    return float(rows[0][0])


def run(here: World, body: Any, **asked: Any) -> Answer:
    return asyncio.run(post(here, body, **asked))


def code_of(answer: Answer) -> str:
    code: str = json.loads(answer.body)["code"]
    return code


def test_two_hundred_at_once_with_one_key_have_one_effect(tmp_path: Path) -> None:
    async def all_at_once(here: World) -> list[Answer]:
        return await asyncio.gather(*(post(here, {"name": "a"}) for _ in range(200)))

    with world(tmp_path, wait=30.0) as here:
        answers = asyncio.run(all_at_once(here))
        made = here.things()

    assert made == ["a"]
    assert here.handled == 1
    assert {(201, b'{"id": 1, "name": "a"}')} == {(a.status, a.body) for a in answers}
    assert sum("idempotent-replayed" in a.headers for a in answers) == 199


def test_without_waiting_the_others_are_told_to_come_back(here: World) -> None:
    async def all_at_once() -> list[Answer]:
        here.gate = asyncio.Event()
        first = asyncio.create_task(post(here, {"name": "a"}))
        while here.handled == 0:
            await asyncio.sleep(0)
        others = await asyncio.gather(*(post(here, {"name": "a"}) for _ in range(20)))
        changed = await post(here, {"name": "b"})
        here.gate.set()
        return [await first, *others, changed]

    first, *others, changed = asyncio.run(all_at_once())

    assert first.status == 201
    assert {(409, "idempotency_in_flight", "30")} == {
        (a.status, code_of(a), a.headers["retry-after"]) for a in others
    }
    assert (changed.status, code_of(changed)) == (409, "idempotency_mismatch")
    assert "retry-after" not in changed.headers
    assert here.things() == ["a"]


def test_what_belongs_to_one_request_is_not_replayed(here: World) -> None:
    first, again = (run(here, {"status": 200}, path="/plain") for _ in range(2))

    assert first.body == again.body
    assert (first.headers["x-kept"], again.headers["x-kept"]) == ("yes", "yes")
    assert "set-cookie" in first.headers
    assert "set-cookie" not in again.headers
    assert first.headers["x-request-id"] == again.headers["idempotent-original-request"]
    assert first.headers["x-ratelimit-remaining"] != again.headers["x-ratelimit-remaining"]


@pytest.mark.parametrize(("status", "handled"), [(200, 1), (204, 1), (400, 2), (404, 2), (500, 2), (503, 2)])
def test_a_success_is_recorded_and_other_answers_free_the_key(here: World, status: int, handled: int) -> None:
    answers = [run(here, {"status": status}, path="/plain") for _ in range(2)]

    assert [status, status] == [a.status for a in answers]
    assert handled == here.handled


def test_a_4xx_that_is_declared_final_is_recorded(here: World) -> None:
    answers = [run(here, {"name": "a", "within": "conflict"}) for _ in range(2)]

    assert [a.status for a in answers] == [409, 409]
    assert answers[0].body == answers[1].body
    assert (here.handled, answers[1].headers["idempotent-replayed"]) == (1, "true")


@pytest.mark.parametrize("ending", ["not_found", "bug"])
def test_a_failure_that_is_not_final_frees_the_key(here: World, ending: str) -> None:
    first = run(here, {"name": "a", "within": ending})
    second = run(here, {"name": "b"})

    assert first.status >= 400
    assert second.status == 201
    assert here.things() == ["b"]


def test_what_was_committed_is_replayed_although_the_answer_was_lost(here: World) -> None:
    """
    The handler fails after its commit: the client sees a 500, and the retry the real outcome.
    """
    first = run(here, {"name": "a", "after": "bug"})
    again = run(here, {"name": "a", "after": "bug"})

    assert (first.status, again.status) == (500, 201)
    assert here.things() == ["a"]


def test_a_request_that_was_refused_before_its_claim_is_not_recorded(here: World) -> None:
    refused = asyncio.run(
        ask(
            here.service, "POST", "/things", body=b"{",
            headers={"authorization": f"Bearer {here.key}", "idempotency-key": "k"},
        )
    )  # fmt: skip

    assert refused.status == 422
    assert run(here, {"name": "a"}).status == 201


def test_the_same_key_elsewhere_is_another_request(here: World) -> None:
    """
    Tenant, principal, operation: each has its own; paths of one operation share, by fingerprint.
    """
    body = {"name": "a"}
    other_tenant = here.new_key(tenant="t2")
    other_principal = here.new_key()
    statuses = [
        run(here, body).status,
        run(here, body, api_key=other_tenant).status,
        run(here, body, api_key=other_principal).status,
        run(here, body, path="/things/1/poke").status,
        run(here, body, path="/things/2/poke").status,
    ]

    assert statuses == [201, 201, 201, 201, 409]


def test_a_new_key_of_the_same_principal_may_repeat_the_request(here: World) -> None:
    old, new = here.new_key(principal="billing"), here.new_key(principal="billing")
    first, again = (run(here, {"name": "a"}, api_key=key) for key in (old, new))

    assert first.body == again.body
    assert here.things() == ["a"]


def test_without_a_key_nothing_is_recorded(here: World) -> None:
    answers = [run(here, {"name": "a"}, key=None) for _ in range(2)]

    assert [a.status for a in answers] == [201, 201]
    assert here.things() == ["a", "a"]


def test_a_cancelled_request_has_done_nothing_and_the_next_may_begin(here: World) -> None:
    async def cancel_midway() -> Answer:
        task, _ = await begun(here, {"name": "a"})
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await post(here, {"name": "a"})

    assert asyncio.run(cancel_midway()).status == 201
    assert here.things() == ["a"]


def test_a_cancelled_request_that_had_a_claim_leaves_it_to_the_lease(tmp_path: Path) -> None:
    async def cancel_midway(here: World) -> tuple[Answer, Answer]:
        task, _ = await begun(here, {"name": "a"})
        await claimed(here)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        refused = await post(here, {"name": "a"})
        here.clock.now += 30.0
        return refused, await post(here, {"name": "a"})

    with world(tmp_path, lease=0.03) as here:
        refused, created = asyncio.run(cancel_midway(here))
        assert here.things() == ["a"]

    assert (refused.status, created.status) == (409, 201)


def test_a_slow_handler_claims_its_slot_and_keeps_it(tmp_path: Path) -> None:
    """
    The lease is renewed while it works: at three times its length, nobody has taken over.
    """

    async def slowly(here: World) -> tuple[Answer, Answer]:
        slow, gate = await begun(here, {"name": "a"})
        for _ in range(3):
            start = here.clock.now
            here.clock.now += 0.02
            while await claimed(here) < start + 0.05:
                await asyncio.sleep(0.001)
        refused = await post(here, {"name": "a"}, service=here.elsewhere)
        gate.set()
        return await slow, refused

    with world(tmp_path, lease=0.03) as here:
        slow, refused = asyncio.run(slowly(here))

    assert slow.status == 201
    assert (refused.status, code_of(refused)) == (409, "idempotency_in_flight")


def test_of_two_processes_at_work_on_one_key_one_has_an_effect(here: World) -> None:
    async def together() -> tuple[Answer, Answer]:
        slow, gate = await begun(here, {"name": "a"})
        fast = await post(here, {"name": "a"}, service=here.elsewhere)
        gate.set()
        return fast, await slow

    fast, slow = asyncio.run(together())

    assert (here.handled, here.things()) == (2, ["a"])
    assert (201, 201, fast.body) == (fast.status, slow.status, slow.body)
    assert "idempotent-replayed" not in fast.headers
    assert slow.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize("ending", ["conflict", "not_found", "bug"])
def test_who_stumbles_over_the_effect_of_his_own_first_try_gets_its_answer(here: World, ending: str) -> None:
    """
    A handler finds that there is such a thing already, and it is the one that its client asked for.
    """

    async def together() -> tuple[Answer, Answer]:
        slow, gate = await begun(here, {"name": "a", "before": ending}, service=here.elsewhere)
        # Its own handler, asked the same, finds nothing in its way.
        fast = await post(here, {"name": "a", "before": ending}, service=finding_nothing(here))
        gate.set()
        return fast, await slow

    fast, slow = asyncio.run(together())

    assert here.things() == ["a"]
    assert (201, 201, fast.body) == (fast.status, slow.status, slow.body)
    assert slow.headers["idempotent-replayed"] == "true"


def finding_nothing(here: World) -> Service:
    """The service, whose handler does not end the way that it is asked to."""

    async def create(request: Request) -> Response:
        exchange_of(request).input.pop("before")
        return await here.create(request)

    operations = tuple(
        replace(operation, endpoint=create) if operation.endpoint == here.create else operation
        for operation in here.operations
    )
    app = Starlette(routes=routes_for(operations))
    return install(app, STANDARD, store=here.store, keys=KEYS, operations=operations)


@pytest.mark.parametrize("ending", ["", "not_found"])
def test_of_two_bodies_at_once_with_one_key_the_second_is_a_mismatch(here: World, ending: str) -> None:
    async def together() -> tuple[Answer, Answer]:
        slow, gate = await begun(here, {"name": "b", "before": ending}, service=here.elsewhere)
        fast = await post(here, {"name": "a"})
        gate.set()
        return fast, await slow

    fast, slow = asyncio.run(together())

    assert fast.status == 201
    assert (slow.status, code_of(slow)) == (409, "idempotency_mismatch")
    assert here.things() == ["a"]


def test_what_has_no_effect_is_recorded_once_by_whoever_is_first(here: World) -> None:
    """
    Two processes answer the same request without a commit: the second sends what the first recorded.
    """

    async def together() -> tuple[Answer, Answer]:
        slow, gate = await begun(here, {"name": "a", "before": "conflict"})
        fast = await post(here, {"name": "a", "before": "conflict"}, service=here.elsewhere)
        gate.set()
        return fast, await slow

    fast, slow = asyncio.run(together())

    assert (fast.status, slow.status) == (409, 409)
    assert "idempotent-replayed" not in fast.headers
    assert slow.headers["idempotent-original-request"] == fast.headers["x-request-id"]


def test_only_who_holds_a_claim_renews_it(store: SQLiteStore, clock: Clock) -> None:
    first = claim(store)
    clock.now += 20
    renewed = asyncio.run(store.renew(first, lease=30.0))
    clock.now += 29
    held = claim(store)
    clock.now += 1
    heir = claim(store)

    assert renewed
    assert held == InFlight(1.0)
    assert isinstance(heir, Claim)
    assert not asyncio.run(store.renew(first, lease=30.0))


def test_who_was_too_slow_answers_with_the_outcome_of_who_took_over(tmp_path: Path) -> None:
    async def overtaken(here: World) -> list[Answer]:
        slow, gate = await begun(here, {"name": "a"})
        await claimed(here)
        here.clock.now += 31.0
        fast = await post(here, {"name": "a"}, service=here.elsewhere)
        gate.set()
        return [fast, await slow]

    with world(tmp_path, lease=0.03) as here:
        # It is not heard of any more.
        here.store.renew = not_renewed
        fast, slow = asyncio.run(overtaken(here))
        assert here.things() == ["a"]

    assert (201, 201, fast.body) == (fast.status, slow.status, slow.body)
    assert slow.headers["idempotent-replayed"] == "true"


async def not_renewed(claim: Claim, /, *, lease: float) -> bool:
    return False


def test_who_was_overtaken_by_a_failure_is_told_to_come_back(here: World) -> None:
    """
    The heir's work failed and freed the key: the late worker has no outcome to answer with.
    """

    async def overtaken() -> Answer:
        slow, gate = await begun(here, {"name": "a"})
        slot, fingerprint = slot_and_fingerprint(here, {"name": "a"})
        heir = await here.store.claim(Claim(slot, fingerprint, b"h" * 16, "heir"), lease=30.0, keep=3600.0)
        assert isinstance(heir, Claim)
        look_up = here.store.look_up

        async def after_the_heir_failed(wanted: Claim, /) -> Any:
            await here.store.release(heir)
            return await look_up(wanted)

        here.store.look_up = after_the_heir_failed
        gate.set()
        answer = await slow
        here.store.look_up = look_up
        return answer

    answer = asyncio.run(overtaken())

    assert (answer.status, code_of(answer)) == (409, "idempotency_in_flight")
    assert answer.headers["retry-after"] == "1"
    assert here.things() == []
    assert run(here, {"name": "a"}).status == 201


def slot_and_fingerprint(here: World, body: Any) -> tuple[bytes, bytes]:
    principal = KEYS.public_part(here.key)
    fingerprint = fingerprint_of("k", b"/things", b"", json.dumps(body).encode())
    return slot_of("t1", principal, "POST", "/things", "k"), fingerprint


def test_a_locked_database_is_a_503_and_the_key_stays_good(here: World) -> None:
    db = sqlite3.connect(here.store.path, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    refused = run(here, {"name": "a"})
    db.execute("ROLLBACK")
    db.close()

    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert run(here, {"name": "a"}).status == 201


def test_a_database_locked_after_the_claim_leaves_no_effect(here: World) -> None:
    db = sqlite3.connect(here.store.path, isolation_level=None)

    async def lock_midway() -> Answer:
        here.gate = asyncio.Event()
        task = asyncio.create_task(post(here, {"name": "a"}))
        while here.handled == 0:
            await asyncio.sleep(0)
        db.execute("BEGIN IMMEDIATE")
        here.gate.set()
        return await task

    refused = asyncio.run(lock_midway())
    db.execute("ROLLBACK")
    db.close()

    assert refused.status == 503
    assert here.things() == []
    here.gate = None
    here.clock.now += 30.0  # the claim could not be released either
    assert run(here, {"name": "a"}).status == 201


def test_a_claim_that_cannot_be_released_is_left_to_its_lease(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def lock_midway(here: World) -> Answer:
        slow, gate = await begun(here, {"name": "a", "before": "not_found"})
        await claimed(here)
        db = sqlite3.connect(here.store.path, isolation_level=None)
        db.execute("BEGIN IMMEDIATE")
        gate.set()
        answer = await slow
        db.execute("ROLLBACK")
        db.close()
        return answer

    with world(tmp_path, lease=0.03) as here:
        refused = asyncio.run(lock_midway(here))
        again = run(here, {"name": "a"}, service=here.elsewhere)

    assert refused.status == 404, "the answer is the handler's, whatever became of the claim"
    assert "could not release" in caplog.text
    assert again.status == 409
