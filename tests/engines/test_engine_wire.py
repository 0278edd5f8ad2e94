"""What a wire knows, and how the system's errors are read."""

from __future__ import annotations

import errno
import socket
import ssl
import subprocess
import sys
import time

import httpcore2
import pytest

from failwell.call.messages import Phase, Reason, Request, Send, Timeouts
from failwell.engines.network import _reason_of_loss
from failwell.engines.wire import (
    Wire,
    chain,
    ended_early,
    reason_of_connect,
    reason_of_handshake,
    without_frames,
)


def wire(seconds: float = 60.0, **timeouts: float) -> Wire:
    order = Send(Request("GET", "http://a.test/"), Timeouts(**timeouts), time.monotonic() + seconds)
    return Wire(order, 0, 1000)


def raised(exc: BaseException, cause: BaseException | None = None) -> BaseException:
    try:
        raise exc from cause
    except BaseException as caught:
        return caught


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (socket.gaierror(-2, "Name or service not known"), Reason.DNS),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), Reason.REFUSED),
        (OSError(errno.ENETUNREACH, "unreachable"), Reason.UNREACHABLE),
        (OSError(errno.EMFILE, "too many open files"), Reason.UNREACHABLE),
        (ssl.SSLCertVerificationError(1, "self-signed"), Reason.TLS_UNTRUSTED),
        (ssl.SSLError(1, "wrong version number"), Reason.TLS),
        # asyncio of Python 3.11, when two addresses fail in different words.
        (
            OSError("Multiple exceptions: [Errno 111] ('::1', 1), [Errno 111] ('127.0.0.1', 1)"),
            Reason.REFUSED if errno.ECONNREFUSED == 111 else Reason.UNREACHABLE,
        ),
        (ExceptionGroup("all failed", [ConnectionRefusedError(errno.ECONNREFUSED, "no")]), Reason.REFUSED),
        (RuntimeError("what"), Reason.UNREACHABLE),
    ],
    ids=repr,
)
def test_the_reason_is_that_of_the_operating_system(exc: BaseException, reason: Reason) -> None:
    """
    However many exceptions a library wraps it in.
    """
    assert reason_of_connect(exc) is reason
    assert reason_of_connect(raised(OSError("wrapped"), raised(ValueError("again"), exc))) is reason


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), Reason.TLS_CLOSED),
        (ssl.SSLZeroReturnError(6, "closed"), Reason.TLS_CLOSED),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Reason.TLS_CLOSED),
        (OSError(errno.EHOSTUNREACH, "no route"), Reason.TLS_CLOSED),
        (raised(ConnectionResetError(), ssl.SSLWantReadError(2, "more")), Reason.TLS_CLOSED),
        (ssl.SSLError(1, "wrong version number"), Reason.TLS),
        (raised(ConnectionResetError(), ssl.SSLError(1, "alert handshake failure")), Reason.TLS),
        (raised(ConnectionResetError(), ssl.SSLCertVerificationError(1, "expired")), Reason.TLS_UNTRUSTED),
        (RuntimeError("what"), Reason.TLS),
    ],
    ids=repr,
)
def test_a_handshake_that_ended_is_told_from_one_that_was_refused(exc: BaseException, reason: Reason) -> None:
    assert reason_of_handshake(exc) is reason


def test_a_connection_that_ended_before_its_request_ended_in_the_handshake_if_there_is_tls() -> None:
    """
    As far as a library can tell that does both in one step.
    """
    lost = ConnectionResetError(errno.ECONNRESET, "reset")
    assert reason_of_connect(lost, tls=True) is Reason.TLS_CLOSED
    assert reason_of_connect(lost) is Reason.UNREACHABLE
    assert reason_of_connect(OSError(errno.EMFILE, "too many open files"), tls=True) is Reason.UNREACHABLE
    assert reason_of_connect(raised(lost, ConnectionRefusedError()), tls=True) is Reason.REFUSED


@pytest.mark.parametrize(
    ("behind", "reason"),
    [
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), Reason.RESET),
        (ConnectionResetError(errno.ECONNRESET, "reset"), Reason.RESET),
        (ssl.SSLError(1, "alert bad certificate"), Reason.TLS),
    ],
    ids=repr,
)
def test_a_connection_that_ends_after_its_handshake_was_lost(behind: BaseException, reason: Reason) -> None:
    """
    But for an alert: in TLS 1.3 a client's certificate is refused so.
    """
    assert _reason_of_loss(wire(), raised(httpcore2.WriteError("lost"), behind)) is reason


def test_frames_are_taken_from_the_whole_chain() -> None:
    inner = raised(ValueError("inner"))
    group = raised(ExceptionGroup("group", [ValueError("member")]), inner)
    outer = raised(OSError("outer"), group)
    inner.__cause__ = outer  # a ring must not make it run for ever

    assert without_frames(outer) is outer
    assert len(list(chain(outer))) == 4
    assert all(each.__traceback__ is None for each in chain(outer))


def test_each_wait_is_clipped_by_the_deadline() -> None:
    """
    And whichever comes first is the reason if it passes.
    """
    late = wire(seconds=1.0, connect=5.0, read=5.0, write=5.0)
    for seconds in (late.time_to_connect(), late.time_to_read(), late.time_to_write()):
        assert 0.5 < seconds <= 1.0
        assert late.reason is Reason.DEADLINE
    early = wire(connect=1.0, read=2.0, write=3.0)
    assert (early.time_to_read(), early.reason) == (2.0, Reason.READ_TIMEOUT)
    assert (early.time_to_write(), early.reason) == (3.0, Reason.WRITE_TIMEOUT)
    assert 0.5 < early.time_to_connect() <= 1.0
    assert early.reason is Reason.CONNECT_TIMEOUT
    assert wire(seconds=-1.0).time_to_read() < 0


def test_connecting_has_one_clock_for_all_its_steps() -> None:
    first = wire(connect=1.0)
    began = first.time_to_connect()
    time.sleep(0.02)

    assert first.time_to_connect() < began


def test_the_phase_follows_the_bytes() -> None:
    attempt = wire()
    assert attempt.phase is Phase.NOT_SENT
    attempt.sent = True
    assert attempt.phase is Phase.SENT
    attempt.answered = True
    assert attempt.phase is Phase.ANSWERED


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"", Reason.CLOSED),
        (b"H", Reason.CUT),
        (b"HTTP/1.1 20", Reason.CUT),
        (b"HTML", Reason.NOT_HTTP),
        (b"<html>", Reason.NOT_HTTP),
    ],
)
def test_an_early_end_is_judged_by_how_it_began(first: bytes, reason: Reason) -> None:
    assert ended_early(first, Reason.CLOSED) is reason


def test_importing_the_engines_loads_none_of_their_libraries() -> None:
    code = (
        "import sys, failwell, failwell.engines, failwell.engines.base; "
        "print(sorted({'httpx2', 'httpcore2', 'httpx', 'aiohttp', 'pyreqwest'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
