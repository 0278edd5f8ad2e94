"""
The rules that a rehearsal is held to, each with a code: what it is, why it is, what to do about a finding.

A code is never used for anything else, and does not change.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from failwell.errors import UsageError


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One rule.

    Attributes:
        code: Such as "FD-ledger".
        rule: What has to be so, in one sentence.
        why: What it costs if it is not.
        do: What to do about a finding.
    """

    code: str
    rule: str
    why: str
    do: str


RULES: dict[str, Rule] = {
    rule.code: rule
    for rule in (
        Rule(
            "FD-outcome",
            "A call succeeds where it can, and fails where it has to.",
            "A failure that is taken for a success is found weeks later; one that could have been mastered "
            "wakes somebody for nothing.",
            "If the call returned, look at what it returned: half an answer, an error page, what a proxy "
            "said. If it raised, look at whether another try was allowed, and why it was not made.",
        ),
        Rule(
            "FD-class",
            "The exception is the class that the contract names, shares the SDK's base, and is exported.",
            "Callers catch what is documented. Anything else passes by their except.",
            "Add the status, code or reason to the contract's table, or the class to what the SDK exports.",
        ),
        Rule(
            "FD-fact",
            "Attributes of the error say what happened: reason, status, retry_after, request_id, its own.",
            "Programs decide by them, and support asks for them.",
            "Take the value from the answer (or the engine's exception) where the error is made.",
        ),
        Rule(
            "FD-text",
            "The message says what happened, in words a person can search for.",
            "“Connection error” costs an hour where “the certificate has expired” costs none.",
            "Put the cause's own words into the message.",
        ),
        Rule(
            "FD-cause",
            "__cause__ is the exception of the HTTP library.",
            "Without it, what the socket said is lost, and nobody can tell a proxy from a firewall.",
            "Raise with `from`, and let nothing in between swallow it.",
        ),
        Rule(
            "FD-requests",
            "The server sees as many requests, and as many connections are tried, as the rules allow.",
            "One too few gives up what would have worked; one too many is a second effect, or a storm.",
            "Look at the timeline: which attempt should not have been made, or was not. Transports that "
            "repeat by themselves have to be told not to.",
        ),
        Rule(
            "FD-count",
            "The client reports exactly the attempts that arrived, with the statuses they got.",
            "A log that says “one try” while the server counted three misleads everybody.",
            "Count where the request is sent; and look for a transport that repeats behind your back.",
        ),
        Rule(
            "FD-key",
            "One write has one idempotency key: the same on every attempt, and on the error.",
            "A new key for each try is a new order for each try.",
            "Make the key once, outside the loop of tries, and put it on the error.",
        ),
        Rule(
            "FD-ledger",
            "The service holds exactly the effects there have to be.",
            "This is what all the others are about: nothing lost, nothing done twice.",
            "Duplicated: a write was repeated that may not be, or the service does not know the key. Lost: "
            "an answer was believed that was no answer.",
        ),
        Rule(
            "FD-unsound",
            "What the client claims of the effect is true.",
            "Callers who are told “not applied” do it again.",
            "Claim by the phase in which it failed, not by the class of the exception: unknown, unless "
            "something proves more.",
        ),
        Rule(
            "FD-claim",
            "What the client claims of the effect is what the wire proves, and not luck.",
            "It was true this time. With the same bytes it will be false another time.",
            "After a request has left, only a status proves anything: claim unknown without one.",
        ),
        Rule(
            "FD-vague",
            "The client does not say “unknown” where the wire proves more.",
            "A client that always says unknown is never wrong, and never of use: each of its errors has to "
            "be looked into by hand.",
            "Nothing was sent: not_sent. A 4xx came: not_applied. A 2xx came, its body did not: applied.",
        ),
        Rule(
            "FD-reuse",
            "No connection with unread bytes is used again, and none of a call that ended stays open.",
            "The next call reads the answer of the one before, with status 200.",
            "Give a connection back only if its answer was read to its end; else close it.",
        ),
        Rule(
            "FD-leak",
            "The API key goes to no origin but the service's.",
            "Whoever can redirect a request would be given the key.",
            "Follow redirects to the same origin alone, or take the credentials off before.",
        ),
        Rule(
            "FD-size",
            "Of an answer that is too large, no more is taken than shows it.",
            "A gigabyte that is read in order to be refused has filled the memory all the same.",
            "Look at Content-Length before reading, count while reading and unpacking, and hang up.",
        ),
        Rule(
            "FD-wait",
            "No attempt comes earlier than the service asked, and none much later.",
            "Too early is a ban, or keeps a service down; a day too late is a hang.",
            "Read Retry-After in all its forms, seconds, dates by the answer's own Date, and senseless ones "
            "as none; never wait less than it says.",
        ),
        Rule(
            "FD-time",
            "The call ends when it has to.",
            "A timeout for each read lets an answer trickle for hours.",
            "Keep one deadline for the whole call, and look at it between pieces, tries and waits.",
        ),
        Rule(
            "FD-promise",
            "The error survives pickle, and no API key can be read in it, in a log or in a traceback.",
            "Errors travel: through process pools, to trackers, into tickets.",
            "Give the class a __reduce__; keep secrets out of what an error, a log line and a frame hold.",
        ),
        Rule(
            "FD-hang",
            "The call ends at all.",
            "A thread that never comes back takes a worker with it.",
            "Find the wait that has no limit: a read, a lock, a pool.",
        ),
        Rule(
            "FD-events",
            "Each event of a stream is handed over once, whole and in order.",
            "A piece that is missing or told twice is a text that nobody wrote.",
            "Keep what came before a break, drop what is told again, and hand over whole events only.",
        ),
        Rule(
            "FD-content",
            "What is there in the end is what was sent, to the last byte.",
            "A stream or a file that is cut and taken for whole is found by its readers.",
            "Wait for the stream's own last event; compare length and digest of a file.",
        ),
        Rule(
            "FD-resume",
            "After a break, what follows the last event that came is asked for.",
            "A stream that begins again costs its answer twice; one that goes on too late has a hole.",
            "Send Last-Event-ID with the id of the last event that was handed over whole.",
        ),
        Rule(
            "FD-parts",
            "Only the parts that are missing travel.",
            "An upload that begins again with each break never ends on a bad line.",
            "Ask the service what it has, and send the rest.",
        ),
        Rule(
            "FD-circuit",
            "An open circuit sends nothing, one caller probes, and everybody is told when to come back.",
            "A crowd that probes keeps the service down.",
            "Let one probe through when it is half open, and open for longer if it fails.",
        ),
        Rule(
            "FD-bound",
            "What is measured of a crowd stays within its bound.",
            "One client that tries three times is patient; a thousand are an outage.",
            "Look at which bound it is: a budget for retries, a circuit, jitter between tries.",
        ),
        Rule(
            "FD-whole",
            "Every documented exception is raised, every raised one documented, every attribute filled.",
            "What is documented and never happens is code that nobody has ever run.",
            "Find the cause that raises or fills it, or take it out of the documentation.",
        ),
        Rule(
            "FD-better",
            "What could have been better, and was nobody's promise; it fails nothing.",
            "Somebody's own client promises less than an SDK, and is judged by what it promises.",
            "Read it as advice.",
        ),
        Rule(
            "FD-trouble",
            "The rehearsal could be carried out.",
            "What was not rehearsed proves nothing.",
            "Look at what is said: usually a client that could not be made, or a wrong base URL.",
        ),
        Rule(
            "FD-drill",
            "The drill itself, its proxy and its service, worked.",
            "A fault of the drill must not look like one of the client.",
            "Run it again alone. If it stays, the service did not answer the proxy, or it is a bug here.",
        ),
    )
}


def rule(code: str) -> Rule:
    """
    The rule with `code`, in any case, with or without "FD-".

    Raises:
        UsageError: there is none.
    """
    wanted = code.strip().lower().removeprefix("fd-")
    names = {c.removeprefix("FD-"): c for c in RULES}
    if wanted in names:
        return RULES[names[wanted]]
    near = get_close_matches(wanted, names, 1)
    there = f"did you mean {names[near[0]]}?" if near else f"there are {', '.join(RULES)}"
    raise UsageError(f"no rule is called {code!r}; {there}")
