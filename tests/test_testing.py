"""The tools for tests are tested, too: a tool that finds nothing proves nothing."""

from __future__ import annotations

import asyncio
import doctest
import itertools
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

import failwell
import failwell.testing as tools
from failwell import CallError, Client, Effect, Failure, Secret
from failwell.call.messages import Phase, Reason, Request, Send, Timeouts
from failwell.testing import (
    AsyncScriptedEngine,
    FakeClock,
    JumpingClock,
    ScriptedEngine,
    answer,
    assert_no_secret,
    broken,
    make_error,
    play,
)

KEY = "s3cr3t-value"
ORDER = Send(Request("GET", "https://h/"), Timeouts(), 1001.0)


def test_the_examples_are_true() -> None:
    result = doctest.testmod(tools, optionflags=doctest.ELLIPSIS)

    assert result.attempted > 15
    assert result.failed == 0


def test_the_clock_stands_still_until_somebody_waits() -> None:
    clock = FakeClock(10.0, 100.0)
    clock.sleep(1.5)
    asyncio.run(clock.asleep(0.5))
    clock.advance(3.0)

    assert (clock.monotonic(), clock.unix(), clock.sleeps) == (15.0, 105.0, [1.5, 0.5])
    with pytest.raises(ValueError, match="a wait of -1 s"):
        clock.sleep(-1)


def test_a_script_may_raise_call_and_run_out() -> None:
    engine = ScriptedEngine([answer(200), lambda order: answer(order.number), KeyError, KeyError("x")])

    assert engine.send(ORDER).status == 200
    assert engine.send(ORDER).status == 1
    for _ in range(2):
        with pytest.raises(KeyError):
            engine.send(ORDER)
    with pytest.raises(AssertionError, match="no answer to request 1, <Request GET https://h/>"):
        engine.send(ORDER)
    assert len(engine.orders) == 5
    assert repr(engine) == "<ScriptedEngine after 5 requests>"


def test_an_attempt_takes_its_time_and_ends_at_its_deadline() -> None:
    clock = FakeClock()
    engine = ScriptedEngine(itertools.repeat(answer(200)), clock, seconds=0.6)
    results = [engine.send(ORDER) for _ in range(3)]

    assert clock.monotonic() == 1001.0
    assert repr(results) == "[<Response 200, 0 bytes>, <Broken sent deadline>, <Broken not_sent deadline>]"
    assert len(engine.orders) == 2


def test_the_awaiting_engine_does_the_same() -> None:
    async def main() -> None:
        engine = AsyncScriptedEngine([answer(200)])
        assert (await engine.send(ORDER)).status == 200
        await engine.aclose()
        assert engine.closed
        assert [request.method for request in engine.requests] == ["GET"]

    asyncio.run(main())


@pytest.mark.parametrize("reason", list(Reason), ids=str)
def test_a_break_comes_as_far_as_it_usually_does(reason: Reason) -> None:
    by_phase = {
        Phase.NOT_SENT: "dns refused unreachable tls tls_closed tls_untrusted proxy bad_url "
        "connect_timeout pool_timeout",
        Phase.SENT: "write_timeout read_timeout deadline reset closed not_http source",
        Phase.ANSWERED: "cut encoding too_large format",
    }

    assert reason.value in by_phase[broken(reason.value).phase].split()
    assert broken(reason, Phase.SENT, status=200).status == 200


def test_an_answer_has_the_body_it_is_given() -> None:
    assert answer(200, {"a": 1}).json() == {"a": 1}
    assert answer(200, content=b"x", headers={"X-A": "1"}).headers == {"x-a": "1"}
    assert answer(200, {}, headers={"Content-Type": "own"}).headers == {"content-type": "own"}


def test_a_flow_is_played_to_its_error_or_the_end_of_the_script() -> None:
    from failwell import RetryPolicy
    from failwell.call.flow import Call, Policies, call_flow
    from failwell.contract import STANDARD

    def flow() -> Any:
        call = Call(Request("GET", "https://h/"), STANDARD)
        return call_flow(
            call, Policies(RetryPolicy(), Timeouts()), None, now=5.0, epoch=0.0, random=lambda: 0.0
        )

    failed = play(flow(), [answer(503), answer(404)], now=5.0, seconds=0.5)
    assert type(failed.error) is failwell.NotFoundError
    assert (len(failed.requests), failed.sleeps, failed.response) == (2, [0.5], None)
    assert [a.duration for a in failed.error.attempts] == [0.5, 0.5]
    with pytest.raises(AssertionError, match="no answer to request 2"):
        play(flow(), [answer(503)], now=5.0)


# --- make_error -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "facts", "known"),
    [
        (failwell.NotFoundError, {}, {"status": 404, "retryable": False, "effect": Effect.NOT_APPLIED}),
        (failwell.UnavailableError, {}, {"status": 503, "retryable": True, "effect": Effect.UNKNOWN}),
        (failwell.UnavailableError, {"method": "GET"}, {"effect": Effect.NOT_APPLIED}),
        (failwell.QuotaExceededError, {}, {"status": 429, "retryable": False}),
        (failwell.ConnectError, {}, {"status": None, "reason": "refused", "effect": Effect.NOT_SENT}),
        (failwell.CallTimeoutError, {}, {"reason": "read_timeout", "effect": Effect.UNKNOWN}),
        (failwell.CallTimeoutError, {"status": 200}, {"status": 200, "reason": None}),
        (failwell.CircuitOpenError, {}, {"retry_after": 5.0, "attempts": ()}),
        (failwell.DeadlineExceededError, {}, {"retry_after": None, "attempts": ()}),
        (failwell.JobFailedError, {"code": "oom"}, {"status": None, "code": "oom"}),
        (failwell.BatchError, {"message": "Some"}, {"message": "Some"}),
    ],
)
def test_an_error_is_made_with_facts_that_fit_it(
    cls: type[CallError], facts: dict[str, Any], known: dict[str, Any]
) -> None:
    error = make_error(cls, **facts)

    assert type(error) is cls
    assert known == {name: getattr(error.failure, name) for name in known}


def test_an_sdks_contract_says_what_fits_its_classes() -> None:
    from kneo_client import KneoConflictError, KneoServerError

    conflict = make_error(KneoConflictError)

    assert (conflict.status, conflict.code) == (409, "conflict")
    assert make_error(KneoServerError).status == 500
    assert make_error(KneoServerError, status=502).status == 502


def test_a_row_that_says_more_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = failwell.Rule(failwell.ConflictError, status=409, retry=True, effect=Effect.UNKNOWN)
    monkeypatch.setattr(failwell, "CONTRACT", failwell.Contract("own", rules=[rule]), raising=False)
    error = make_error(failwell.ConflictError)

    assert (error.retryable, error.effect) == (True, Effect.UNKNOWN)


@pytest.mark.parametrize("cls", [ValueError, failwell.UsageError, "APIError", None], ids=str)
def test_another_class_is_refused(cls: Any) -> None:
    with pytest.raises(failwell.ArgumentTypeError, match="is no class of a failed call"):
        make_error(cls)


def test_another_fact_is_refused() -> None:
    with pytest.raises(failwell.UsageError, match="a Failure has no color, size"):
        make_error(failwell.APIError, size=1, color=2, status=500)


# --- assert_no_secret -----------------------------------------------------------------------


def plain(**facts: Any) -> CallError:
    return failwell.APIError.from_failure(Failure(**{"message": "It broke", **facts}))


def caused_by(cause: BaseException) -> CallError:
    error = plain()
    error.__cause__ = cause
    return error


def in_context(context: BaseException) -> CallError:
    error = plain()
    error.__context__ = context
    return error


def with_note() -> CallError:
    error = plain()
    error.add_note(KEY)
    return error


PLACES: dict[str, tuple[Callable[[], BaseException], str]] = {
    "message": (lambda: plain(message=KEY), "args, log, pickle 0"),
    "body": (lambda: plain(body={"a": [KEY]}), "to_dict"),
    "headers": (lambda: plain(headers={"a": KEY}), "vars"),
    "fields": (lambda: plain(fields=(failwell.FieldError((KEY,)),)), "vars"),
    "hidden by a Secret": (lambda: plain(body=Secret(KEY)), "vars"),
    "in a set": (lambda: ValueError({KEY}), "args"),
    "note": (with_note, "vars"),
    "cause": (lambda: caused_by(ValueError(KEY)), "of ValueError"),
    "cause of the cause": (lambda: caused_by(caused_by(ValueError(KEY))), "of ValueError"),
    "context": (lambda: in_context(ValueError(KEY)), "of ValueError"),
    "item of a batch": (lambda: failwell.BatchError("x", [ValueError(KEY)]), "of ValueError"),
    "not to be pickled": (lambda: ValueError(lambda: 1, KEY), "args"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_secret_is_found_wherever_it_is(place: str) -> None:
    make, found = PLACES[place]
    with pytest.raises(AssertionError, match=found) as caught:
        assert_no_secret(make(), KEY)

    assert KEY not in str(caught.value)
    assert_no_secret(make(), "another secret")


def test_a_secret_in_a_log_is_found(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("x").warning("sent %s", KEY)

    with pytest.raises(AssertionError, match=r"the secret is in log line 1$"):
        assert_no_secret(plain(), KEY, logs=caplog.messages)


def test_a_suppressed_context_is_not_shown_and_not_looked_at() -> None:
    error = in_context(ValueError(KEY))
    error.__suppress_context__ = True

    assert_no_secret(error, KEY)


def test_a_ring_of_causes_ends() -> None:
    one, two = plain(), plain()
    one.__cause__, two.__cause__ = two, one

    assert_no_secret(one, KEY)


class Careless:
    """A dialect whose frame holds what it should not, and an object that cannot be shown."""

    name = "careless"

    def __repr__(self) -> str:
        raise RuntimeError("half made")


def test_a_local_of_ours_is_found_and_one_of_the_callers_is_not() -> None:
    def leak(order: Send) -> Any:
        held, odd = KEY, Careless()
        del order
        raise MemoryError(len(held), type(odd))

    mine = KEY
    client = Client("https://h", engine=ScriptedEngine([leak]))
    with pytest.raises(MemoryError) as caught:
        client.request("GET", "/")

    with pytest.raises(AssertionError, match=r"local 'held' of leak\(\) of MemoryError"):
        assert_no_secret(caught.value, mine)


def test_an_error_of_somebodys_own_code_is_looked_at_without_its_frames() -> None:
    held = KEY
    try:
        raise ValueError(len(held))
    except ValueError as exc:
        error = exc

    assert_no_secret(error, KEY)


def test_an_empty_secret_would_be_found_everywhere() -> None:
    with pytest.raises(failwell.UsageError, match="empty"):
        assert_no_secret(plain(), "")


def test_a_jumping_clock_is_the_machine_s_and_its_waits() -> None:
    clock = JumpingClock()
    monotonic, unix = time.monotonic(), time.time()
    clock.sleep(1000)
    asyncio.run(clock.asleep(500))

    assert 1500 <= clock.monotonic() - monotonic < 1600
    assert 1500 <= clock.unix() - unix < 1600
    assert clock.sleeps == [1000, 500]
