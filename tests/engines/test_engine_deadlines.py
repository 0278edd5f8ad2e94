"""The shared timer ends who is late, and nobody else."""

from __future__ import annotations

import asyncio

import pytest

from failwell.engines.deadlines import Deadlines

pytestmark = pytest.mark.anyio

SHORT, LONG = 0.02, 60.0


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def deadlines() -> Deadlines:
    return Deadlines(asyncio.get_running_loop())


async def waited(shared: Deadlines, seconds: float) -> str:
    try:
        with shared.until(seconds):
            await asyncio.Event().wait()
    except TimeoutError:
        return "late"
    return "done"


async def test_a_block_that_outlives_its_time_ends_in_a_timeout() -> None:
    assert "late" == await waited(deadlines(), SHORT)


async def test_time_that_is_already_up_ends_the_first_wait() -> None:
    assert "late" == await waited(deadlines(), -1.0)


async def test_a_task_goes_on_after_its_timeout_as_if_it_was_never_cancelled() -> None:
    await waited(deadlines(), SHORT)
    task = asyncio.current_task()
    assert task is not None

    assert 0 == task.cancelling()
    await asyncio.sleep(0)


async def test_a_later_block_with_less_time_moves_the_timer_forward() -> None:
    shared = deadlines()
    patient = asyncio.create_task(waited(shared, LONG))
    await asyncio.sleep(0)

    assert "late" == await waited(shared, SHORT)
    assert not patient.done()
    patient.cancel()


async def test_the_timer_goes_on_to_the_next_deadline() -> None:
    shared = deadlines()

    assert ["late"] * 5 == await asyncio.gather(*(waited(shared, SHORT * n) for n in (5, 1, 4, 2, 3)))


async def test_a_block_in_time_costs_no_timer_of_its_own() -> None:
    shared = deadlines()
    with shared.until(LONG):
        await asyncio.sleep(0)
    timer = shared._timer

    for _ in range(100):
        with shared.until(LONG):
            await asyncio.sleep(0)

    assert timer is shared._timer
    assert not shared._waiting


async def test_a_timer_that_rings_for_a_block_that_ended_rings_for_nobody() -> None:
    shared = deadlines()
    with shared.until(SHORT):
        await asyncio.sleep(0)

    await asyncio.sleep(SHORT * 3)

    assert shared._timer is None


async def test_a_cancellation_from_outside_passes_through() -> None:
    task = asyncio.create_task(waited(deadlines(), LONG))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_outside_goes_before_a_timeout_at_the_same_moment() -> None:
    shared = deadlines()
    task = asyncio.create_task(waited(shared, SHORT))
    await asyncio.sleep(0)
    (block,) = shared._waiting
    shared._waiting.clear()
    block.ring()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_stays_what_it_is_when_the_time_is_up() -> None:
    async def translated() -> None:
        with deadlines().until(SHORT):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ValueError("own") from None

    with pytest.raises(ValueError, match="own"):
        await translated()


async def test_a_closed_one_leaves_no_timer_in_the_loop() -> None:
    shared = deadlines()
    with shared.until(LONG):
        await asyncio.sleep(0)
    timer = shared._timer
    assert timer is not None

    shared.close()

    assert timer.cancelled()
    shared.close()


async def test_closing_takes_no_deadline_from_a_block_that_is_open() -> None:
    shared = deadlines()
    late = asyncio.create_task(waited(shared, SHORT))
    await asyncio.sleep(0)

    shared.close()

    assert "late" == await late


async def test_outside_a_task_it_says_so() -> None:
    shared = deadlines()
    said = asyncio.get_running_loop().create_future()

    def enter() -> None:
        try:
            with shared.until(LONG):
                pass
        except RuntimeError as exc:
            said.set_result(str(exc))

    asyncio.get_running_loop().call_soon(enter)

    assert "a deadline is for a task of asyncio" == await said
