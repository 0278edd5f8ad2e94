"""The flow that reads a stream of events: played by hand, without I/O, clock or dice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

import failwell
from failwell import (
    BadAnswerError,
    CallError,
    CallTimeoutError,
    ConnectError,
    Contract,
    Effect,
    Failure,
    NotFoundError,
    Operation,
    RateLimitError,
    ResumePolicy,
    Rule,
    ServerSentEvent,
    Stream,
    StreamError,
    UnavailableError,
    UsageError,
)
from failwell.call.messages import Broken, Phase, Reason, Response, Sleep
from failwell.contract import STANDARD
from failwell.operations.streams import Came, Connect, Deliver, Read, SeenIds, stream_flow

ASK = Operation("GET", "/answers")
EVENTS = {"content-type": "text/event-stream; charset=utf-8", "x-request-id": "req_1"}
NO_WAIT = ResumePolicy(wait=0.0)


def done(event: ServerSentEvent) -> bool:
    return event.type == "done"


def text(event: ServerSentEvent) -> str | None:
    """The data of whatever is no ping."""
    return None if event.type == "ping" else event.data


STREAM: Stream[str] = Stream(ASK, text, done, policy=NO_WAIT)


def head(status: int = 200, **headers: str) -> Response:
    fields = {**EVENTS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Response(status, list(fields.items()), b"", "https://api.example/answers?key=s3cr3t")


def cut(reason: Reason = Reason.CUT) -> Broken:
    return Broken(Phase.ANSWERED, reason, ConnectionResetError("reset by peer"), 200)


END = b""


class Played:
    """
    A stream, played: each `Connect` is answered with the next entry of `script`, each `Read` with the
    next of what stands behind it. Numbers among these are seconds that pass.
    """

    def __init__(self, stream: Stream[Any], *script: Any, contract: Contract = STANDARD) -> None:
        self.items: list[Any] = []
        self.ids: list[str] = []
        self.connects: list[Connect] = []
        self.sleeps: list[float] = []
        self.whys: list[str] = []
        self.error: CallError | None = None
        self.left: Any = None
        self._now = 100.0
        self._script = iter(script)
        self._pieces: Iterator[Any] = iter(())
        flow = stream_flow(stream, contract, now=self._now, random=lambda: 1.0)
        try:
            effect = next(flow)
            while True:
                effect = flow.send(self._answered(effect))
        except StopIteration:
            pass
        except CallError as exc:
            self.error = exc
        self.left = list(self._pieces)

    def _answered(self, effect: Any) -> Came:
        if isinstance(effect, Sleep):
            self._now += effect.seconds
            self.sleeps.append(effect.seconds)
            self.whys.append(effect.why)
            return Came(self._now)
        if isinstance(effect, Deliver):
            self.items += [item for item, _ in effect.items]
            self.ids += [name for _, name in effect.items]
            return Came(self._now)
        if isinstance(effect, Read):
            piece = next(self._pieces)
            while isinstance(piece, float):
                self._now += piece
                piece = next(self._pieces)
            return Came(self._now, piece=piece)
        assert isinstance(effect, Connect)
        self.connects.append(effect)
        news = next(self._script)
        if isinstance(news, CallError):
            return Came(self._now, error=news)
        first, *pieces = news if isinstance(news, tuple) else (news,)
        self._pieces = iter(pieces)
        return Came(self._now, response=first, secrets=("s3cr3t",))

    @property
    def asked_after(self) -> list[str | None]:
        """The id each connection asked to go on after."""
        return [dict(c.operation.headers).get("last-event-id") for c in self.connects]


def event(number: int, data: str | None = None) -> bytes:
    return f"id: {number}\ndata: {number if data is None else data}\n\n".encode()


DONE = b"event: done\ndata: bye\n\n"


def test_a_stream_is_complete_with_its_last_event() -> None:
    played = Played(STREAM, (head(), event(1) + event(2)[:5], event(2)[5:], DONE + event(3), END))

    assert ["1", "2", "bye"] == played.items
    assert ["1", "2", "2"] == played.ids
    assert played.error is None
    assert [END] == played.left, "nothing was read behind it"


def test_it_is_asked_for_as_browsers_ask() -> None:
    played = Played(STREAM, (head(), DONE))

    (connect,) = played.connects
    assert {
        "accept": "text/event-stream",
        "cache-control": "no-store",
        "accept-encoding": "identity",
    } == dict(connect.operation.headers)
    assert (False, None, 60.0) == (connect.again, connect.deadline, connect.idle)


def test_headers_of_the_operation_go_first() -> None:
    own = replace(ASK, headers={"accept": "text/event-stream, application/json", "x-own": "1"})
    played = Played(replace(STREAM, open=own), (head(), DONE))

    assert "1" == played.connects[0].operation.headers["x-own"]
    assert "text/event-stream, application/json" == played.connects[0].operation.headers["accept"]


@pytest.mark.parametrize("end", [END, cut(), cut(Reason.READ_TIMEOUT), cut(Reason.NOT_HTTP)])
def test_it_goes_on_behind_the_last_id_after_every_kind_of_end(end: Any) -> None:
    """An end in good order is a break like another, as long as the last event did not come."""
    played = Played(STREAM, (head(), event(1), event(2), end), (head(), event(3), DONE))

    assert ["1", "2", "3", "bye"] == played.items
    assert [None, "2"] == played.asked_after
    assert [False, True] == [c.again for c in played.connects]


def test_an_event_that_was_cut_in_two_is_asked_for_again() -> None:
    played = Played(STREAM, (head(), event(1), event(2)[:-1], cut()), (head(), event(2), DONE))

    assert ["1", "2", "bye"] == played.items
    assert [None, "1"] == played.asked_after


def test_events_that_were_seen_are_dropped_wherever_the_service_begins_again() -> None:
    """Here it ignores the id and begins with the first; then it breaks before anything new."""
    played = Played(
        STREAM,
        (head(), *map(event, (1, 2, 3)), cut()),
        (head(), event(1), event(2), cut()),
        (head(), *map(event, (1, 2, 3, 4)), DONE),
    )

    assert ["1", "2", "3", "4", "bye"] == played.items
    assert [None, "3", "3"] == played.asked_after, "the id to go on after never goes back"


def test_another_event_under_an_id_that_was_seen_is_not_dropped_but_told() -> None:
    """A service that counts anew would otherwise lose events, and the stream pass for complete."""
    sent = (event(1), event(2), event(1, "other"), event(2, "others"), DONE)
    for played in (
        Played(STREAM, (head(), *sent)),
        Played(STREAM, (head(), *sent[:2], cut()), (head(), *sent[2:])),
    ):
        assert ["1", "2"] == played.items
        assert isinstance(played.error, StreamError)
        assert ("regressed", "ids_regressed", "2") == (
            played.error.failure.reason, played.error.failure.stopped, played.error.last_event_id
        )  # fmt: skip
        assert not played.error.retryable
        assert "has another event under the id '1', which was seen" in str(played.error)


def test_a_last_event_under_an_id_that_was_seen_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    last = b"id: 1\nevent: done\ndata: bye\n\n"

    assert "ids_regressed" == Played(STREAM, (head(), event(1), last)).error.failure.stopped  # type: ignore[union-attr]


def test_of_an_id_of_long_ago_only_the_beginning_of_a_connection_is_told_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("failwell.operations.streams._MOST_SAID", 2)
    first = (head(), *map(event, (1, 2, 3)))
    again = Played(STREAM, (*first, cut()), (head(), event(1), event(4), DONE))
    anew = Played(STREAM, (*first, cut()), (head(), event(4), event(1), DONE))

    assert ["1", "2", "3", "4", "bye"] == again.items
    assert ["1", "2", "3", "4"] == anew.items
    assert isinstance(anew.error, StreamError)
    assert "ids_regressed" == anew.error.failure.stopped


def test_ids_need_be_neither_numbers_nor_in_order() -> None:
    sent = [b"id: b7\ndata: b\n\n", b"id: 17\ndata: 17\n\n", b"id: 5\ndata: 5\n\n"]
    played = Played(STREAM, (head(), *sent, cut()), (head(), *sent, b"id: a1\ndata: a\n\n", DONE))

    assert ["b", "17", "5", "a", "bye"] == played.items
    assert [None, "5"] == played.asked_after


def test_a_last_event_that_was_seen_ends_the_stream_all_the_same() -> None:
    last = b"id: 2\nevent: done\ndata: bye\n\n"
    stream = replace(STREAM, last_event_id="2")

    assert [] == Played(stream, (head(), last)).items


def test_an_id_without_data_is_an_id_to_go_on_after() -> None:
    played = Played(STREAM, (head(), event(1), b"id: 5\n\n", cut()), (head(), event(6), DONE))

    assert [None, "5"] == played.asked_after


def test_an_id_is_sent_in_utf_8() -> None:
    sent = "id: …\ndata: x\n\n".encode()
    played = Played(STREAM, (head(), sent, cut()), (head(), DONE))

    after = played.asked_after[1]
    assert after is not None
    assert "…".encode() == after.encode("latin-1")


def test_it_can_begin_behind_an_id() -> None:
    played = Played(replace(STREAM, last_event_id="41"), (head(), event(41), event(42), DONE))

    assert ["42", "bye"] == played.items
    assert ["41"] == played.asked_after


def test_an_operation_of_its_own_can_go_on() -> None:
    stream = replace(
        STREAM,
        open=Operation("POST", "/answers", json={"q": "why"}),
        resume=lambda name: Operation("GET", f"/answers/7/events?after={name}"),
    )
    played = Played(stream, (head(), event(1), cut()), (head(), event(2), DONE))

    assert ["1", "2", "bye"] == played.items
    assert [("POST", "/answers"), ("GET", "/answers/7/events?after=1")] == [
        (c.operation.method, c.operation.path) for c in played.connects
    ]
    assert [False, False] == [c.again for c in played.connects]
    assert [None, None] == played.asked_after
    assert "text/event-stream" == played.connects[1].operation.headers["accept"]


# --- what cannot go on ---


def test_a_write_is_not_asked_for_again_unless_it_is_said_that_it_may_be() -> None:
    stream = replace(STREAM, open=Operation("POST", "/answers"))
    played = Played(stream, (head(), event(1), cut()))

    assert isinstance(played.error, StreamError)
    assert "not_repeatable" == played.error.failure.stopped
    assert (
        "The stream broke (cut), before its last event, after 1 item; it may not be asked for again"
        in str(played.error)
    )
    assert Effect.APPLIED is played.error.effect

    again = Played(replace(stream, repeats=True), (head(), event(1), cut()), (head(), event(2), DONE))
    assert ["1", "2", "bye"] == again.items
    assert [False, True] == [c.again for c in again.connects]
    assert [None, "1"] == again.asked_after


def test_what_asking_again_brought_says_nothing_of_what_opening_it_did() -> None:
    stream = replace(STREAM, open=Operation("POST", "/answers"), resume=lambda name: ASK)
    gone = NotFoundError.from_failure(Failure(status=404, method="GET", effect=Effect.NOT_APPLIED))
    never = NotFoundError.from_failure(Failure(status=404, method="POST", effect=Effect.NOT_APPLIED))
    broken = Played(stream, (head(), event(1), cut()), gone)
    unopened = Played(stream, never)

    assert [NotFoundError, NotFoundError] == [type(broken.error), type(unopened.error)]
    assert [Effect.APPLIED, Effect.NOT_APPLIED] == [p.error.effect for p in (broken, unopened) if p.error]


def test_items_without_ids_cannot_be_asked_for_again() -> None:
    played = Played(STREAM, (head(), event(1), b"data: nameless\n\n", cut()))

    assert ["1", "nameless"] == played.items
    assert isinstance(played.error, StreamError)
    assert "not_resumable" == played.error.failure.stopped
    assert "it cannot be resumed, for its last events have no id" in str(played.error)
    assert ("1", 2, 1) == (played.error.last_event_id, played.error.events, played.error.connections)


def test_pings_without_ids_do_not_stand_in_the_way() -> None:
    played = Played(STREAM, (head(), event(1), b"event: ping\ndata:\n\n", cut()), (head(), DONE))

    assert ["1", "bye"] == played.items


def test_a_stream_that_broke_before_anything_came_begins_anew() -> None:
    played = Played(STREAM, (head(), b"event: ping\ndata:\n\n", cut()), (head(), b"data: x\n\n", DONE))

    assert ["x", "bye"] == played.items
    assert [None, None] == played.asked_after


def test_an_id_that_no_header_can_carry_cannot_be_asked_for() -> None:
    played = Played(STREAM, (head(), b"id: \x01\ndata: x\n\n", cut()))

    assert isinstance(played.error, StreamError)
    assert "its last id cannot be sent" in str(played.error)


def test_an_id_that_was_taken_back_is_not_gone_on_after() -> None:
    """`id` without a value; what comes then has no id to go on after."""
    played = Played(STREAM, (head(), event(1), b"id\ndata: x\n\n", cut()))

    assert isinstance(played.error, StreamError)
    assert "not_resumable" == played.error.failure.stopped


# --- how often, and when ---


def test_waits_grow_and_what_is_new_begins_the_count_anew() -> None:
    stream = replace(STREAM, policy=ResumePolicy(wait=1.0, growth=2.0, cap=3.0, reconnects=3))
    nothing = (head(), b": hello\n\n", cut())
    played = Played(stream, nothing, nothing, (head(), event(1), cut()), nothing, nothing, nothing, nothing)

    assert [1.0, 2.0, 1.0, 2.0, 3.0] == played.sleeps
    assert isinstance(played.error, StreamError)
    assert "reconnects_exhausted" == played.error.failure.stopped
    assert ("1", 1, 6) == (played.error.last_event_id, played.error.events, played.error.connections)
    assert 6 == len(played.error.attempts)
    assert ["cut"] * 6 == [attempt.outcome for attempt in played.error.attempts]
    assert "reconnects_exhausted" == played.error.attempts[-1].stopped
    assert [1.0, 2.0, 1.0, 2.0, 3.0, 0.0] == [attempt.wait for attempt in played.error.attempts]
    assert "req_1" == played.error.request_id
    assert isinstance(played.error.__cause__, ConnectionResetError)
    assert played.whys[0] == "broke (cut)"


def test_events_that_were_seen_are_nothing_new() -> None:
    """A service that begins anew each time, and breaks at the same place, is not asked for ever."""
    stream = replace(STREAM, policy=ResumePolicy(wait=0.0, reconnects=2))
    same = (head(), event(1), event(2), END)
    played = Played(stream, same, same, same)

    assert ["1", "2"] == played.items
    assert isinstance(played.error, StreamError)
    assert "The stream ended, before its last event, after 2 items; 3 connections in all" in str(played.error)


@pytest.mark.parametrize("asked", [b"retry: 5000\n\n", b"retry: 5000\n"])
def test_the_service_is_left_alone_for_as_long_as_it_asks(asked: bytes) -> None:
    stream = replace(STREAM, policy=ResumePolicy(wait=0.1, cap=1.0))
    nothing = (head(), cut())
    played = Played(stream, (head(), asked, cut()), nothing, nothing, (head(), DONE))

    assert [6.0, 6.0, 6.0] == played.sleeps, "and a fifth more by chance, but none less"


def test_a_part_of_each_wait_is_chance_and_none_is_shorter_than_asked_for() -> None:
    policy = ResumePolicy(wait=2.0, cap=30.0)

    assert [1.0, 1.5, 2.0] == [policy.delay(1, None, lambda at=at: at) for at in (0.0, 0.5, 1.0)]
    assert [5.0, 6.0] == [policy.delay(1, 5.0, lambda at=at: at) for at in (0.0, 1.0)]
    assert 8.0 == policy.delay(3, 5.0, lambda: 1.0)
    assert 30.0 == policy.delay(5000, None, lambda: 1.0)


def test_a_wait_longer_than_allowed_is_an_answer() -> None:
    stream = replace(STREAM, policy=ResumePolicy(max_wait=60.0))
    played = Played(stream, (head(), event(1), b"retry: 90000\n\n", cut()))

    assert isinstance(played.error, StreamError)
    assert "retry_after" == played.error.failure.stopped
    assert 90.0 == played.error.retry_after
    assert [] == played.sleeps


def unavailable(**facts: Any) -> CallError:
    failure = Failure(status=503, message="Busy", retryable=True, **facts)
    return UnavailableError.from_failure(failure)


def test_connecting_that_fails_counts_as_a_break() -> None:
    stream = replace(STREAM, policy=ResumePolicy(wait=0.5, reconnects=2))
    played = Played(stream, (head(), event(1), cut()), unavailable(retry_after=7.0), (head(), event(2), DONE))

    assert ["1", "2", "bye"] == played.items
    assert [0.5, 7.0 * 1.2] == played.sleeps
    assert "could not be opened again (Busy)" == played.whys[1]

    lost = Played(stream, (head(), event(1), cut()), unavailable(), unavailable())
    assert isinstance(lost.error, StreamError)
    assert isinstance(lost.error.__cause__, UnavailableError)
    assert "could not be opened again (Busy), before its last event, after 1 item" in str(lost.error)
    assert ["cut", "status", "status"] == [a.outcome for a in lost.error.attempts]
    assert [200, 503, 503] == [a.status for a in lost.error.attempts]


def test_connecting_that_fails_for_good_is_raised_as_what_it_is() -> None:
    gone = NotFoundError.from_failure(Failure(status=404, message="The session is over."))
    played = Played(STREAM, (head(), event(1), cut()), gone)

    assert played.error is gone
    assert {"last_event_id": "1", "events": 1, "connections": 2} == dict(gone.failure.details)


def test_a_stream_that_never_opened_is_raised_as_what_it_is() -> None:
    """The client has tried as often as it may."""
    refused = ConnectError.from_failure(Failure(reason="refused", retryable=True))
    played = Played(STREAM, refused)

    assert played.error is refused
    assert {} == dict(refused.failure.details)


def test_the_deadline_is_for_all_of_it() -> None:
    stream = replace(STREAM, policy=ResumePolicy(wait=1.0, deadline=10.0, reconnects=99, idle=None))
    played = Played(stream, (head(), 4.0, event(1), cut()), (head(), 7.0, cut(Reason.DEADLINE)))

    assert isinstance(played.error, CallTimeoutError)
    assert "The stream was not complete after 12.0 s" in str(played.error)
    assert ("deadline", "deadline") == (played.error.failure.reason, played.error.failure.stopped)
    assert "1" == played.error.failure.details["last_event_id"]
    assert [10.0, 5.0] == [c.deadline for c in played.connects]
    assert [110.0, 110.0] == [c.until for c in played.connects]
    assert float("inf") == played.connects[0].idle


def test_no_wait_is_begun_that_nothing_can_follow() -> None:
    stream = replace(STREAM, policy=ResumePolicy(wait=3.0, deadline=10.0))
    played = Played(stream, (head(), 8.0, event(1), cut()))

    assert isinstance(played.error, CallTimeoutError)
    assert [] == played.sleeps


def test_a_machine_that_oversleeps_does_not_begin_after_the_deadline() -> None:
    stream = replace(STREAM, policy=ResumePolicy(wait=1.0, deadline=10.0))
    flow = stream_flow(stream, STANDARD, now=0.0, random=lambda: 1.0)
    assert isinstance(next(flow), Connect)
    assert isinstance(flow.send(Came(0.0, response=head())), Read)
    assert isinstance(flow.send(Came(0.0, piece=END)), Sleep)

    with pytest.raises(CallTimeoutError):
        flow.send(Came(11.0))


def test_the_operations_own_deadline_bounds_one_opening() -> None:
    stream = replace(STREAM, open=replace(ASK, deadline=4.0), policy=ResumePolicy(deadline=10.0))
    played = Played(stream, (head(), DONE))

    assert 4.0 == played.connects[0].deadline


@pytest.mark.parametrize(
    "wrong",
    [
        {"idle": 0},
        {"deadline": -1.0},
        {"reconnects": -1},
        {"reconnects": True},
        {"wait": -0.1},
        {"cap": "30"},
        {"growth": 0.5},
        {"max_wait": None},
    ],
)
def test_a_policy_refuses_what_makes_no_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        ResumePolicy(**wrong)


# --- what is no stream, or over ---


@pytest.mark.parametrize("kind", ["text/html", "application/json", "text/x-bogus", "text/event-stream-x", ""])
def test_another_content_type_is_an_answer_that_cannot_be_used(kind: str) -> None:
    """WPT format-mime-bogus, format-mime-valid-bogus."""
    played = Played(STREAM, (head(content_type=kind), event(1)))

    assert isinstance(played.error, BadAnswerError)
    assert ("format", 200) == (played.error.failure.reason, played.error.status)
    assert (kind or "of no content type") in str(played.error)
    assert 1 == len(played.connects)


@pytest.mark.parametrize(
    "kind", ["text/event-stream", "TEXT/Event-Stream;charset=windows-1252", "text/event-stream ;x"]
)
def test_the_type_of_a_stream_may_be_spelled_in_all_ways(kind: str) -> None:
    """WPT format-mime-trailing-semicolon, format-utf-8."""
    assert ["bye"] == Played(STREAM, (head(content_type=kind), DONE)).items


@pytest.mark.parametrize("status", [204, 205])
def test_a_204_ends_a_stream_that_has_no_last_event(status: int) -> None:
    """WPT request-status-error, eventsource-reconnect."""
    endless = replace(STREAM, ends=None)
    played = Played(endless, (head(), event(1), END), head(status))

    assert (["1"], None) == (played.items, played.error)


def test_a_204_does_not_make_a_stream_complete_that_lacks_its_last_event() -> None:
    played = Played(STREAM, (head(), event(1), END), head(204))

    assert isinstance(played.error, StreamError)
    assert "no_content" == played.error.failure.stopped
    assert "is over for the service (204), before its last event, after 1 item" in str(played.error)


def test_the_end_of_an_endless_stream_is_a_break() -> None:
    played = Played(replace(STREAM, ends=None), (head(), event(1), END), (head(), event(2), END), head(204))

    assert ["1", "2"] == played.items


# --- what events report ---


class ShopError(failwell.CallError):
    """Base."""


class BusyError(ShopError, failwell.UnavailableError):
    """Busy."""


class SpentError(ShopError, failwell.QuotaExceededError):
    """Spent."""


class BrokenOffError(ShopError, failwell.StreamError):
    """Broken off."""


class UnreadableError(ShopError, failwell.BadAnswerError):
    """Unreadable."""


class LateError(ShopError, failwell.CallTimeoutError):
    """Late."""


SHOP = Contract(
    "shop",
    base=ShopError,
    rules=[
        Rule(SpentError, status=429, code="quota_spent", message="No quota is left."),
        Rule(BusyError, status=503),
        Rule(BusyError, code="overloaded"),
    ],
    broken={StreamError: BrokenOffError, BadAnswerError: UnreadableError, CallTimeoutError: LateError},
)


def reported(data: str, contract: Contract = SHOP) -> CallError:
    played = Played(
        STREAM, (head(), event(1), f"event: error\ndata: {data}\n\n".encode(), DONE), contract=contract
    )
    assert ["1"] == played.items, "what came before it is handed over"
    assert played.error is not None
    return played.error


@pytest.mark.parametrize(
    ("data", "cls", "status", "code"),
    [
        ('{"status": 503, "message": "Too busy."}', BusyError, 503, None),
        ('{"error": {"status_code": 503, "message": "Too busy."}}', BusyError, 503, None),
        ('{"status": 429, "code": "quota_spent", "message": "Spent."}', SpentError, 429, "quota_spent"),
        ('{"code": "quota_spent", "message": "Spent."}', SpentError, 429, "quota_spent"),
        ('{"code": "overloaded", "message": "Too busy."}', BusyError, None, "overloaded"),
        ('{"error": {"type": "overloaded", "message": "Too busy."}}', BusyError, None, "overloaded"),
        ('{"status": 418, "message": "A teapot."}', ShopError, 418, None),
        ('{"code": "who_knows", "message": "Odd."}', BrokenOffError, None, "who_knows"),
        ('{"status": 200, "message": "Odd."}', BrokenOffError, None, None),
        ("it broke", BrokenOffError, None, None),
        ("", BrokenOffError, None, None),
    ],
)
def test_an_event_that_reports_an_error_is_the_class_the_table_names(
    data: str, cls: type[CallError], status: int | None, code: str | None
) -> None:
    error = reported(data)

    assert cls is type(error)
    assert (status, code) == (error.status, error.code)
    assert "req_1" == error.request_id
    assert {"last_event_id": "1", "events": 1, "connections": 1}.items() <= dict(
        error.failure.details
    ).items()
    assert "reported" == error.failure.stopped


def test_an_error_says_what_its_event_says() -> None:
    error = reported('{"status": 503, "message": "Too busy.", "request_id": "req_2"}')

    assert "Too busy." == error.message
    assert error.retryable
    assert "GET" == error.failure.method
    assert "s3cr3t" not in str(error.failure)


def test_a_secret_that_the_service_repeats_is_not_kept() -> None:
    error = reported('{"status": 503, "message": "No key s3cr3t here."}')

    assert "s3cr3t" not in str(error.failure)


@pytest.mark.parametrize(
    ("data", "cls"),
    [
        ('{"status": 429, "message": "Slow down."}', RateLimitError),
        ('{"error": {"type": "rate_limit_error", "message": "Slow down."}}', RateLimitError),
        ('{"error": {"message": "Odd."}}', StreamError),
    ],
)
def test_without_a_table_the_meaning_decides(data: str, cls: type[CallError]) -> None:
    assert cls is type(reported(data, STANDARD))


def test_what_counts_as_an_error_can_be_said() -> None:
    stream = replace(STREAM, failed=lambda event: '"error"' in event.data)
    played = Played(stream, (head(), b'data: {"error": {"status": 503}}\n\n'), contract=SHOP)

    assert BusyError is type(played.error)


# --- what is not as promised ---


def test_an_event_that_cannot_be_read_is_an_answer_that_cannot_be_used() -> None:
    stream: Stream[int] = Stream(ASK, lambda event: int(event.data), done)
    played = Played(stream, (head(), event(1), event(2, "two")), contract=SHOP)

    assert [1] == played.items
    assert isinstance(played.error, UnreadableError)
    assert "ValueError: invalid literal for int() with base 10: 'two'" in str(played.error)
    assert isinstance(played.error.__cause__, ValueError)
    assert "format" == played.error.failure.reason
    assert not played.error.retryable


def test_a_cause_that_quotes_a_secret_is_left_behind() -> None:
    stream: Stream[int] = Stream(ASK, lambda event: int(event.data), done)
    played = Played(stream, (head(), event(1, "s3cr3t")))

    assert played.error is not None
    assert played.error.__cause__ is None
    assert "s3cr3t" not in str(played.error)


def test_a_bug_passes_through() -> None:
    def broken(event: ServerSentEvent) -> str:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        Played(replace(STREAM, item=broken), (head(), event(1)))


def test_an_event_that_is_too_large_is_an_answer_that_cannot_be_used() -> None:
    stream = replace(STREAM, max_event_chars=50)
    played = Played(stream, (head(), event(1), b"data: " + b"x" * 60, END), contract=SHOP)

    assert ["1"] == played.items
    assert isinstance(played.error, UnreadableError)
    assert "an event of more than 50 characters" in str(played.error)
    assert "too_large" == played.error.failure.reason


def test_no_more_items_come_than_allowed() -> None:
    played = Played(replace(STREAM, max_events=2), (head(), event(1) + event(2) + event(3)), contract=SHOP)

    assert ["1", "2"] == played.items
    assert isinstance(played.error, BrokenOffError)
    assert ("max_events", "2") == (played.error.failure.stopped, played.error.last_event_id)


def test_the_contract_names_the_classes() -> None:
    stream = replace(STREAM, policy=ResumePolicy(reconnects=0))
    lost = Played(stream, (head(), event(1), cut()), contract=SHOP)
    late = Played(
        replace(STREAM, policy=ResumePolicy(deadline=1.0)),
        (head(), 2.0, cut(Reason.DEADLINE)),
        contract=SHOP,
    )

    assert (BrokenOffError, LateError) == (type(lost.error), type(late.error))


def test_of_very_many_connections_the_last_are_told() -> None:
    news = [(head(), event(number), cut()) for number in range(150)]
    played = Played(STREAM, *news, *[(head(), cut())] * 5)

    assert isinstance(played.error, StreamError)
    assert 155 == played.error.connections
    assert 100 == len(played.error.attempts)
    assert played.error.connections == played.error.attempts[-1].number


# --- the ids that were seen ---


def test_numbers_that_follow_each_other_are_kept_as_one_range() -> None:
    seen = SeenIds()
    for number in [*range(10, 5000), *range(6000, 6005), 7]:
        assert str(number) not in seen
        seen.add(str(number))

    assert ["10", "4999", "6004", "7"] == [name for name in ("10", "4999", "6004", "7") if name in seen]
    assert [] == [name for name in ("5000", "9", "6005", "0", "010", "٣", "x") if name in seen]
    assert 3 == len(seen._starts)


def test_an_id_that_was_added_twice_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = SeenIds()
    for name in ("5", "5", "6", "5", "x", "x"):
        seen.add(name)

    assert ([5], [6], {"x": None}) == (seen._starts, seen._ends, seen._texts)


def test_the_oldest_ids_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("failwell.operations.streams._MOST_IDS", 3)
    seen = SeenIds()
    for name in ("a", "b", "c", "d", "10", "20", "30", "40"):
        seen.add(name)

    assert ["b", "c", "d", "20", "30", "40"] == [
        name for name in ("a", "b", "c", "d", "10", "20", "30", "40") if name in seen
    ]


def test_an_error_of_a_stream_says_what_it_knows_without_details() -> None:
    error = StreamError("made by hand")

    assert (None, 0, 0) == (error.last_event_id, error.events, error.connections)
