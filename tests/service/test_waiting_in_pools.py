"""Who waits for a session, a trip or a claim, and goes away or loses its event loop meanwhile."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import pytest
from greenlet import getcurrent

from failwell.service.holding import Holding
from failwell.service.idempotency import Claim
from failwell.service.stores.base import StoreBusyError
from failwell.service.stores.postgres_pool import Batch, Pool, _tell, _tell_all, _Waiting
from failwell.service.stores.switching import carried_out, is_switching, turn, waited_for

OF_REQUEST: ContextVar[str] = ContextVar("OF_REQUEST", default="nobody's")
OF_REQUEST_ITSELF: ContextVar[Any] = ContextVar("OF_REQUEST_ITSELF")


class NoConnector:
    """Nothing is connected to: a session without a connection is handed around."""


def on_another_thread(work: Callable[[], Any]) -> Any:
    said: list[Any] = []
    thread = threading.Thread(target=lambda: said.append(work()))
    thread.start()
    thread.join()
    return said[0]


def closed_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.close()
    return loop


# --- switching ---


def test_what_is_waited_for_raises_where_it_is_waited_for() -> None:
    """So a synchronous function cleans up, or goes on, as if it had waited itself."""
    seen: list[Any] = []

    async def fails() -> None:
        raise LookupError("no")

    async def says(word: str) -> str:
        return word

    def work(word: str) -> str:
        assert is_switching()
        with pytest.raises(LookupError, match="no"):
            waited_for(fails())
        seen.append(waited_for(says(word)))
        return "went on"

    assert asyncio.run(carried_out(work, "then")) == "went on"
    assert seen == ["then"]
    assert not is_switching()


def test_work_has_the_context_of_who_asks_for_it() -> None:
    def work() -> tuple[str, str]:
        before = OF_REQUEST.get()
        turn()
        return before, OF_REQUEST.get()

    async def ask(name: str) -> tuple[str, str]:
        OF_REQUEST.set(name)
        return await carried_out(work)

    async def two() -> list[tuple[str, str]]:
        return [*await asyncio.gather(ask("first"), ask("second"))]

    assert asyncio.run(two()) == [("first", "first"), ("second", "second")]


def test_a_turn_lets_those_go_first_who_have_something_to_do() -> None:
    async def take_turns() -> list[str]:
        told: list[str] = []

        def work() -> None:
            told.append("before")
            turn()
            told.append("after")

        asyncio.get_running_loop().call_soon(told.append, "other")
        await carried_out(work)
        return told

    assert asyncio.run(take_turns()) == ["before", "other", "after"]


def wait_until_ended(ended: list[str]) -> None:
    try:
        waited_for(asyncio.Event().wait())
    finally:
        ended.append("cleaned up")


def test_a_cancelled_wait_ends_the_work() -> None:
    ended: list[str] = []

    async def cancelled() -> None:
        task = asyncio.create_task(carried_out(wait_until_ended, ended))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())

    assert ended == ["cleaned up"]


class Asked:
    """What a work is given, and may be let go of after it."""


async def beside_other_work(work: Any) -> Any:
    """What `work` comes to, while something else is being done all the time."""
    gate = asyncio.Event()
    other = asyncio.create_task(carried_out(lambda: waited_for(gate.wait())))
    await asyncio.sleep(0)
    try:
        return await work
    finally:
        gate.set()
        await other


def test_a_greenlet_does_one_work_after_another() -> None:
    """A new one asks the system for memory."""

    async def where() -> list[Any]:
        return [await carried_out(getcurrent) for _ in range(3)]

    first, *others = asyncio.run(beside_other_work(where()))

    assert all(other is first for other in others)


def test_a_work_that_fails_keeps_no_greenlet_from_the_next() -> None:
    def fails() -> None:
        seen.append(getcurrent())
        raise LookupError("no")

    async def run() -> Any:
        with pytest.raises(LookupError, match="no"):
            await carried_out(fails)
        return await carried_out(getcurrent)

    seen: list[Any] = []
    assert asyncio.run(beside_other_work(run())) is seen[0]


@pytest.mark.parametrize("fails", [False, True])
def test_a_greenlet_without_work_keeps_nothing_of_the_last(fails: bool) -> None:
    """Neither what it was given, nor what came of it, nor the context: they may be large, or secret."""
    given: list[weakref.ref[Any]] = []

    def work(asked: Asked) -> Asked:
        OF_REQUEST_ITSELF.set(made := Asked())
        given.extend(map(weakref.ref, (asked, made, result := Asked())))
        if fails:
            raise LookupError(result)
        return result

    async def run() -> None:
        with suppress(LookupError):
            await carried_out(work, Asked())

    async def look() -> list[Any]:
        await run()
        gc.collect()
        return [kept() for kept in given]

    assert asyncio.run(beside_other_work(look())) == [None, None, None]


def test_no_greenlet_is_kept_without_work() -> None:
    """Nor by a thread that ends: it could not be ended any more."""

    async def several() -> list[Any]:
        return [weakref.ref(one) for one in await asyncio.gather(*[carried_out(where) for _ in range(10)])]

    def where() -> Any:
        turn()
        return getcurrent()

    kept = [*asyncio.run(several()), *on_another_thread(lambda: asyncio.run(several()))]
    gc.collect()

    assert [one() for one in kept] == [None] * 20


def test_work_that_nobody_comes_back_to_is_ended() -> None:
    ended: list[str] = []

    waits = carried_out(wait_until_ended, ended)
    loop = asyncio.new_event_loop()
    loop.call_soon(waits.send, None)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    waits.close()

    assert ended == ["cleaned up"]


# --- waiting for a session ---


def test_who_is_cancelled_while_it_waits_for_a_session_takes_none_along() -> None:
    async def run() -> list[str]:
        pool = Pool(NoConnector(), 1, 5.0)  # type: ignore[arg-type]  # it connects to nothing
        gate = asyncio.Event()
        first = asyncio.create_task(pool.run(lambda *_: waited_for(gate.wait())))
        await asyncio.sleep(0)
        second = pool.start(lambda *_: "never")
        await asyncio.sleep(0)
        second.cancel()
        third = asyncio.create_task(pool.run(lambda *_: "third"))
        await asyncio.sleep(0)
        gate.set()
        await first
        return [await third, await pool.run(lambda *_: "fourth"), str(second.cancelled())]

    assert asyncio.run(run()) == ["third", "fourth", "True"]


def test_who_waits_too_long_for_a_session_is_told_so() -> None:
    async def run() -> None:
        pool = Pool(NoConnector(), 1, 0.01)  # type: ignore[arg-type]  # it connects to nothing
        gate = asyncio.Event()
        first = asyncio.create_task(pool.run(lambda *_: waited_for(gate.wait())))
        await asyncio.sleep(0)
        with pytest.raises(StoreBusyError):
            await pool.run(lambda *_: "never")
        gate.set()
        await first

    asyncio.run(run())


def test_a_session_for_another_loops_waiter_that_went_away_comes_back() -> None:
    session: Any = object()

    async def run(gone: bool) -> tuple[bool, list[Any], Any]:
        loop = asyncio.get_running_loop()
        waiting = _Waiting(loop, loop.create_future())
        back: list[Any] = []
        if gone:
            waiting.future.cancel()
        taken = on_another_thread(lambda: waiting.take(session, back.append))
        await asyncio.sleep(0)
        waiting.give_up()  # too late to change anything
        return taken, back, None if gone else await waiting.future

    assert asyncio.run(run(gone=True)) == (True, [session], None)
    assert asyncio.run(run(gone=False)) == (True, [], session)


def test_a_session_does_not_go_to_a_loop_that_is_closed() -> None:
    loop = closed_loop()

    assert not _Waiting(loop, loop.create_future()).take(object(), lambda _: None)  # type: ignore[arg-type]  # any object


# --- what several ask for at once ---


class OneTask:
    """A pool that carries out each job as a task of the loop that begins it."""

    patience = 5.0

    def is_waited_for(self) -> bool:
        return False

    def start(self, work: Any) -> asyncio.Task[None]:
        async def carry_out() -> None:
            await asyncio.sleep(0)
            await carried_out(work, None, 0.0)

        return asyncio.get_running_loop().create_task(carry_out())


def doubled(session: Any, until: float, items: Sequence[int]) -> list[tuple[int, None]]:
    return [(2 * item, None) for item in items]


@pytest.mark.parametrize("error", [StopIteration("odd"), KeyboardInterrupt(), SystemExit(1)], ids=repr)
def test_what_a_future_cannot_carry_is_told_as_broken_off(error: BaseException) -> None:
    """Who ends the process by it is one; who merely waited is another."""

    def fail(*_: Any) -> Any:
        raise error

    async def ask() -> None:
        await Batch[int](OneTask(), fail).ask(1)  # type: ignore[arg-type]  # a pool as far as it goes

    with pytest.raises(StoreBusyError, match="broken off") as told:
        asyncio.run(ask())
    assert told.value.__cause__ is error


def test_two_loops_ask_in_one_batch() -> None:
    """The one that asks while another's job is under way is told on its own loop."""
    batch = Batch[int](OneTask(), doubled)  # type: ignore[arg-type]  # a pool as far as it goes
    begun, asked = threading.Event(), threading.Event()
    told: list[int] = []

    def other() -> None:
        async def ask() -> int:
            asking = asyncio.create_task(batch.ask(21))
            await asyncio.sleep(0)
            asked.set()
            answer: int = await asking
            return answer

        begun.wait(20)
        told.append(asyncio.run(ask()))

    async def here() -> int:
        asking = asyncio.create_task(batch.ask(4))
        await asyncio.sleep(0)
        begun.set()
        await asyncio.to_thread(asked.wait, 20)
        answer: int = await asking
        return answer

    thread = threading.Thread(target=other)
    thread.start()
    assert asyncio.run(here()) == 8
    thread.join(20)
    assert told == [42]


def test_those_whose_loop_was_closed_hold_nobody_up() -> None:
    batch = Batch[int](OneTask(), doubled)  # type: ignore[arg-type]  # a pool as far as it goes
    gone = closed_loop()

    async def ask() -> list[int]:
        first = asyncio.create_task(batch.ask(1))
        await asyncio.sleep(0)
        # It has asked, and its loop was closed before it was its turn.
        batch._waiting.append((7, gone, gone.create_future()))
        batch._waiting.append((8, asyncio.get_running_loop(), asyncio.get_running_loop().create_future()))
        last = batch._waiting[-1][2]
        batch._go_on(gone)
        return [await first, await last]

    assert asyncio.run(ask()) == [2, 16]


def test_an_outcome_for_a_closed_loop_is_nobodys() -> None:
    gone = closed_loop()

    async def tell() -> None:
        _tell_all([(1, gone, gone.create_future())], [(2, None)])
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        done.set_result(1)
        _tell(done, 2, None)
        assert await done == 1

    asyncio.run(tell())


# --- the claim of work that takes long ---


class Claims:
    """A store that counts who claims."""

    def __init__(self) -> None:
        self.claimed = 0

    async def claim(self, wanted: Claim, /, **_: Any) -> Claim:
        self.claimed += 1
        return wanted

    async def renew(self, claim: Claim, /, **_: Any) -> bool:
        return True


def test_a_slot_is_not_claimed_while_its_commit_is_under_way() -> None:
    """It would be in the way of its own record; after the commit, work that goes on claims it."""

    async def run() -> list[int]:
        store: Any = Claims()
        holding = Holding(store, Claim(b"s", b"f", b"t", "r"), lease=0.03, keep=60.0, taken=False)
        seen = []
        with holding:
            holding.committing = True
            await asyncio.sleep(0.1)
            seen.append(store.claimed)
            holding.committing = False
            for _ in range(500):
                if store.claimed:
                    break
                await asyncio.sleep(0.01)
            seen.append(store.claimed)
        assert await holding.is_taken()
        return seen

    assert asyncio.run(run()) == [0, 1]
