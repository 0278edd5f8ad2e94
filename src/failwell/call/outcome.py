"""What a broken attempt means: its class, its effect, whether another can help."""

from __future__ import annotations

from failwell.call.messages import Broken, Phase, Reason
from failwell.contract import SAFE_METHODS, effect_of
from failwell.errors import (
    BadAnswerError,
    CallError,
    CallTimeoutError,
    ConnectError,
    ConnectionLostError,
    UploadError,
)
from failwell.failure import Effect

STANDARD_CLASS: dict[Reason, type[CallError]] = {
    Reason.DNS: ConnectError,
    Reason.REFUSED: ConnectError,
    Reason.UNREACHABLE: ConnectError,
    Reason.TLS: ConnectError,
    Reason.TLS_CLOSED: ConnectError,
    Reason.TLS_UNTRUSTED: ConnectError,
    Reason.PROXY: ConnectError,
    Reason.BAD_URL: ConnectError,
    Reason.CONNECT_TIMEOUT: CallTimeoutError,
    Reason.POOL_TIMEOUT: CallTimeoutError,
    Reason.WRITE_TIMEOUT: CallTimeoutError,
    Reason.READ_TIMEOUT: CallTimeoutError,
    Reason.DEADLINE: CallTimeoutError,
    Reason.RESET: ConnectionLostError,
    Reason.CLOSED: ConnectionLostError,
    Reason.NOT_HTTP: BadAnswerError,
    Reason.CUT: BadAnswerError,
    Reason.ENCODING: BadAnswerError,
    Reason.TOO_LARGE: BadAnswerError,
    Reason.FORMAT: BadAnswerError,
    Reason.SOURCE: UploadError,
}

# These come out the same the next time: a certificate does not heal in a second, an answer
# that is too large or in another format will be so again, and so will a file that changed.
LASTING = frozenset(
    {Reason.TLS, Reason.TLS_UNTRUSTED, Reason.BAD_URL, Reason.TOO_LARGE, Reason.FORMAT, Reason.SOURCE}
)

WORDS: dict[Reason, str] = {
    Reason.DNS: "The host name could not be resolved",
    Reason.REFUSED: "The connection was refused",
    Reason.UNREACHABLE: "The host cannot be reached",
    Reason.TLS: "The TLS handshake failed",
    Reason.TLS_CLOSED: "The connection was closed in the TLS handshake",
    Reason.TLS_UNTRUSTED: "The server's certificate is not trusted",
    Reason.PROXY: "The proxy did not let the connection through",
    Reason.BAD_URL: "The URL cannot be used",
    Reason.CONNECT_TIMEOUT: "No connection in the time allowed",
    Reason.POOL_TIMEOUT: "No free connection in the time allowed",
    Reason.WRITE_TIMEOUT: "The request could not be sent in the time allowed",
    Reason.READ_TIMEOUT: "No answer in the time allowed",
    Reason.DEADLINE: "The deadline passed while the answer was awaited",
    Reason.RESET: "The connection was reset before an answer came",
    Reason.CLOSED: "The connection was closed before an answer came",
    Reason.NOT_HTTP: "The answer is not HTTP",
    Reason.CUT: "The answer was cut short",
    Reason.ENCODING: "The answer's content encoding is broken",
    Reason.TOO_LARGE: "The answer is larger than allowed",
    Reason.FORMAT: "The answer is not in the promised format",
    Reason.SOURCE: "What was to be sent could not be read",
}


def words(broken: Broken) -> str:
    """What happened to the attempt, for a person, with the engine's own words behind it."""
    text = WORDS[broken.reason]
    if broken.phase is Phase.ANSWERED and broken.expected is not None and broken.reason is Reason.CUT:
        text = f"{text} ({broken.received} of {broken.expected} bytes)"
    cause = engine_words(broken)
    return f"{text}: {cause}" if cause else text


def engine_words(broken: Broken) -> str:
    """What the engine's exception says, in one line."""
    return " ".join(str(broken.cause).split()) if broken.cause is not None else ""


def effect_of_broken(method: str | None, broken: Broken, *, keyed: bool = False) -> Effect:
    """
    Whether a call whose attempt broke was carried out, by how far it came.

    Args:
        method: The HTTP method.
        broken: How it broke.
        keyed: Whether the request had an idempotency key.
    """
    if broken.phase is Phase.NOT_SENT:
        return Effect.NOT_SENT
    if broken.phase is Phase.ANSWERED and broken.status is not None:
        # The lost body may have said that the first request with the key is still being worked on.
        if broken.status == 409 and keyed and method not in SAFE_METHODS:
            return Effect.UNKNOWN
        return effect_of(method, broken.status)
    return Effect.NOT_APPLIED if method in SAFE_METHODS else Effect.UNKNOWN


def effect_of_call(earlier: Effect, last: Effect) -> Effect:
    """
    The effect of a whole call: what the attempts before it left open stays open.

    A refusal of the last attempt says nothing of the one before it whose answer was lost.
    """
    if earlier is Effect.APPLIED or last is Effect.APPLIED:
        return Effect.APPLIED
    if earlier is Effect.UNKNOWN or last is Effect.UNKNOWN:
        return Effect.UNKNOWN
    if Effect.NOT_APPLIED in (earlier, last):
        return Effect.NOT_APPLIED
    return Effect.NOT_SENT
