"""
What the catalogue of failures asks for, what rehearses it with each SDK, and what does not, and why.

    python -m failwell.drill.scope > docs/drill-scenarios.md

The page is made of what the drill runs: a scenario that nobody rehearses is in it with its reason,
or a test fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from failwell.drill.clients import known, load
from failwell.drill.plan import Scenario
from failwell.drill.scenarios import catalogue
from failwell.drill.subject import Kind, Subject

ASKED: Mapping[str, str] = {
    "S01": "The name does not exist; its look-up takes too long, or fails for now",
    "S02": "Refused twice, then the service is back",
    "S03": "Refused for good",
    "S04": "A connection request that is not answered",
    "S05": "A certificate that is untrusted, expired, or another host's",
    "S06": "Plain text where TLS is expected",
    "S07": "A TLS handshake that stalls, or ends without a word",
    "S08": "A read loses its connection",
    "S09": "A write without a key loses its connection",
    "S10": "A write with a key loses its connection",
    "S11": "The request is read, nothing comes back",
    "S12": "A kept connection was closed while idle",
    "S13": "A request is read on a reused connection, then it ends",
    "S14": "The call is cancelled, or its deadline passes, in the middle",
    "S15": "The answer is not HTTP, or its status is no number",
    "S16": "The answer is cut in its headers",
    "S17": "A header of 200 kB",
    "S18": "A body cut by FIN before its length",
    "S19": "A body cut by RST",
    "S20": "Chunks without the last",
    "S21": "A chunk whose length is no number",
    "S22": "A body cut whose length was never announced",
    "S23": "A compressed body cut, with the length of what is there",
    "S24": "A compressed body that is damaged",
    "S25": "A body that stops in the middle",
    "S26": "A body that trickles past the deadline",
    "S27": "A body larger than allowed: announced, without an end, or once it is unpacked",
    "S28": "An HTML page with the right status",
    "S29": "An empty body",
    "S30": "A body that is no JSON",
    "S31": "JSON of another shape",
    "S32": "A 502 with a page of the gateway's own",
    "S33": "A 103 before the answer, or a 100 that nobody waits for",
    "S34": "A 101 that nobody asked for",
    "S35": "An answer that is sent twice",
    "S36": "An answer longer than it says",
    "S37": "Redirected without end, or to nowhere",
    "S38": "Redirected to another origin",
    "S39": "A write that is redirected",
    "S40": "400, 401, 403, 404, 409, 422 from their real causes",
    "S41": "500, 502, 503, 504, for a while and for good; back by degrees",
    "S42": "Asked to wait a second, in all its spellings",
    "S43": "Asked to wait until a date",
    "S44": "Asked to wait until a date, by a clock that is an hour off",
    "S45": "Asked to wait in words that mean nothing",
    "S46": "Asked to wait for a day",
    "S47": "One of ten keys fails, the others are well",
    "S48": "An outage opens the circuit, and nothing more is sent",
    "S49": "The circuit is probed once, whoever waits, and opens for longer if that fails",
    "S50": "An outage of a minute, and a hundred clients",
    "S51": "A service that comes back to a backlog, at three loads",
    "S52": "A layer behind another, both trying again",
    "S53": "A thousand clients that are reset at once",
    "S54": "The answer is lost after the commit",
    "S55": "The service's process is killed, and another goes on",
    "S56": "The second try meets the first at work; an answer too late",
    "S57": "A key used again with another body",
    "S58": "Twenty callers at once with one key",
    "S59": "A claim that a killed process left behind",
    "S60": "A caller that ended before it saw an answer",
    "S61": "A key that the service has forgotten",
    "S62": "Work of several parts, done in part",
    "S63": "A job that does not end in time",
    "S64": "A job whose service says when to look again",
    "S65": "The answer to the creation of a job is lost",
    "S66": "A stream of events is cut between two",
    "S67": "A stream is cut inside an event",
    "S68": "A stream is cut inside a character, or between CR and LF",
    "S69": "A stream is told again, or its ids begin again",
    "S70": "A stream falls silent",
    "S71": "A stream asks for a pause, also in words that mean nothing",
    "S72": "A stream that is asked for again is refused: 204, 401, 410",
    "S73": "A stream ends in order before its last event",
    "S74": "A stream breaks again and again",
    "S75": "A part of an upload fails",
    "S76": "The answer to a part, or to the end of an upload, is lost",
    "S77": "The service has less, or other parts than the client thinks",
    "S78": "What is to be sent in parts can be read only once",
    "S79": "An upload is gone in the middle of it",
    "S80": "A part of an upload, or a download, is damaged",
    "S81": "Every exception is raised",
    "S82": "Every exception that is raised is documented, and its attributes are filled",
    "S83": "Pickle, copies and texts of each error",
    "S84": "The engine's own exception behind each error without an answer",
    "S85": "The attempts that events and log lines tell of",
    "S86": "The code in the documents",
    "S87": "The drill's own bad clients",
}

# Of the causes that rehearse one number, in its row.
SHOWN = 3

# About a circuit, and why there is none.
OF_A_CIRCUIT = ("S48", "S49")
NO_CIRCUIT = "its document names no circuit, and it has none"
# About what not every SDK has.
OF_A_STREAM = tuple(f"S{number}" for number in range(66, 75))
OF_PARTS = tuple(f"S{number}" for number in range(75, 81))
NO_STREAM = "its document has no streams of events"
NO_PARTS = "its SDK sends no file in parts"

# Of no SDK, and why.
NOT_REHEARSED: Mapping[str, str] = {
    "S86": "each SDK's tests run every example of its document, word by word",
    "S87": "it is about the drill: `failwell drill --self-test`, and a test that asks a plant of each rule",
    "S61": "keys are kept for a day, and no call lasts so long: who uses one later makes a new call, "
    "which no client can tell from an old one",
}

LIMITS = (
    "From outside, a service can be killed at work and after its commit. "
    "[Crashes](service-crashes.md) has all the other points, from inside.",
    "A slow name server is played in this process, before the resolver is asked; the report says so.",
    "Blocking code cannot leave `getaddrinfo()` before it is over: a slow look-up ends with it there.",
    "That a text of unknown length was cut shows in its format alone: in JSON it does, in a plain text not.",
    "A 404 right after a creation, and a job that goes back in its states, need a service that contradicts "
    "itself: the sandbox's do not.",
)


def rehearsals(number: str, scenarios: Iterable[Scenario]) -> list[str]:
    """Ids of the rehearsals that are about the scenario `number` of the catalogue."""
    return [s.id for s in scenarios if any(f"{i}-".startswith(f"{number}-") for i in (s.id, *s.proves))]


def missing(subjects: Sequence[Subject]) -> list[str]:
    """What nobody rehearses and nobody explains, and what is explained although it is rehearsed."""
    wrong = []
    for subject in subjects:
        scenarios = catalogue(subject)
        for number in ASKED:
            why = _why_not(number, subject)
            there = rehearsals(number, scenarios)
            if not there and why is None:
                wrong.append(f"{number} is not rehearsed with {subject.name}, and nobody says why")
            if there and why is not None:
                wrong.append(f"{number} is rehearsed with {subject.name}, and somebody says why not")
    return wrong


def page(subjects: Sequence[Subject]) -> str:
    """The table as Markdown."""
    lines = [
        "<!-- Made by `python -m failwell.drill.scope`: do not edit. -->",
        "",
        "# What the drill rehearses",
        "",
        "How many rehearsals there are of each failure, with each SDK; most run with its two forms.",
        "`failwell drill --only S18` runs those of a row.",
        "",
        f"| | what goes wrong | {' | '.join(s.title for s in subjects)} | rehearsed as |",
        f"|---|---|{'--:|' * len(subjects)}---|",
    ]
    listed = {subject.name: catalogue(subject) for subject in subjects}
    notes: list[str] = []
    for number, what in ASKED.items():
        cells = []
        for subject in subjects:
            count = len(rehearsals(number, listed[subject.name]))
            cells.append(str(count) if count else _noted(number, subject, notes))
        names = dict.fromkeys(n for scenarios in listed.values() for n in rehearsals(number, scenarios))
        lines.append(f"| {number} | {what} | {' | '.join(cells)} | {_named(number, list(names))} |")
    lines += ["", "## Why not", ""]
    lines += [f"{at}. {note[0].upper()}{note[1:]}." for at, note in enumerate(notes, 1)]
    lines += ["", "## What cannot be done on one machine, or not yet", ""]
    lines += [f"- {limit}" for limit in LIMITS]
    return "\n".join(lines) + "\n"


def _why_not(number: str, subject: Subject) -> str | None:
    no_circuit = NO_CIRCUIT if number in OF_A_CIRCUIT and subject.opens_after is None else None
    no_stream = NO_STREAM if number in OF_A_STREAM and Kind.STREAM not in subject.kinds else None
    no_parts = NO_PARTS if number in OF_PARTS and Kind.PART_UPLOAD not in subject.kinds else None
    return NOT_REHEARSED.get(number) or subject.without.get(number) or no_circuit or no_stream or no_parts


def _noted(number: str, subject: Subject, notes: list[str]) -> str:
    why = _why_not(number, subject) or "nobody says why"
    if why not in notes:
        notes.append(why)
    return f"– ({notes.index(why) + 1})"


def _named(number: str, names: Sequence[str]) -> str:
    """The rehearsals' names, those of the catalogue's ids in short: `-once`."""
    own = [name.removeprefix(number) or name for name in names if f"{name}-".startswith(f"{number}-")]
    others = [name for name in names if not f"{name}-".startswith(f"{number}-")]
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    return ", ".join(f"`{name}`" for name in (*own, *others[:SHOWN])) + more


if __name__ == "__main__":
    print(page([load(name) for name in known()]), end="")
