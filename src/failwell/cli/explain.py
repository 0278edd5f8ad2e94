"""`failwell explain`: what somebody has in hand -> what it means."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from failwell.cli import tokens
from failwell.cli.exchange import INPUT_LIMIT, Exchange, UnreadableError

if TYPE_CHECKING:
    from failwell.cli.explanation import Explanation
    from failwell.cli.known import Known

NOTHING = (
    "Give me something to explain: pipe in the output of `curl -i`, or name a file, a status, "
    "an exception or a code. `failwell explain --help` shows examples."
)


@dataclass(slots=True)
class Given:
    """
    What the command line was given.

    Attributes:
        what: A file, a name, "-" for standard input; None if it was left out.
        status: Of the answer.
        headers: "Name: value" each.
        body: The body; "@file" reads it, "@-" from standard input.
        method: Of the request.
        url: Of the request.
        entry: Which entry of a HAR file, from 1.
    """

    what: str | None = None
    status: int | None = None
    headers: list[str] = field(default_factory=list)
    body: str | None = None
    method: str | None = None
    url: str | None = None
    entry: int | None = None


def explain(given: Given, known: Known, now: datetime | None = None) -> list[Explanation]:
    """
    What `given` means: one explanation, or for a HAR file one for the entry that failed last,
    with a note of the others.

    Raises:
        UnreadableError: it cannot be read; the text says why.
    """
    moment = datetime.now(UTC) if now is None else now
    if given.what is not None and given.what != "-" and _is_name(given.what):
        from failwell.cli import names

        if given.status or given.headers or given.body is not None:
            raise UnreadableError(
                f"{tokens.masked(given.what)!r} is a name; --status, --header and --body describe an answer."
            )
        return [names.explain(given.what, known, moment)]
    exchanges = _exchanges(given)
    chosen = _chosen(exchanges, given.entry)
    for exchange in chosen:
        _add_options(exchange, given)
    from failwell.cli.explanation import of_exchange

    found = [of_exchange(exchange, known, moment) for exchange in chosen]
    if len(exchanges) > 1 and given.entry is None:
        _add_others(found[0], exchanges, chosen[0])
    return found


def _is_name(what: str) -> bool:
    """Whether `what` is a name and not a file. A status is always a status."""
    if not what.strip():  # `explain "$UNSET"`; as a path it would be the current directory
        raise UnreadableError(NOTHING)
    if what.isdigit() and len(what) == 3:
        return True
    path = Path(what)
    try:
        if path.exists():
            return False
    except (OSError, ValueError):
        return True
    if (
        "/" in what
        or "\\" in what
        or path.suffix.lower() in (".har", ".txt", ".json", ".log", ".xml", ".html", ".out")
    ):
        raise UnreadableError(f"There is no file {tokens.masked(what)[:200]}.")
    return True


def _exchanges(given: Given) -> list[Exchange]:
    from failwell.cli import pasted

    described = given.status is not None or bool(given.headers) or given.body is not None
    if given.what is None and described and (given.body is not None or not _is_piped()):
        return [Exchange("the options", given.status)]
    if given.what is None and not _is_piped():
        raise UnreadableError(NOTHING)
    data = _stdin() if given.what in (None, "-") else _file(Path(given.what))
    if described and not data.strip():
        return [Exchange("the options", given.status)]
    return pasted.read(data)


def _chosen(exchanges: list[Exchange], entry: int | None) -> list[Exchange]:
    from failwell.cli import har

    if entry is not None:
        if not 1 <= entry <= len(exchanges):
            raise UnreadableError(f"There is no entry {entry}: the input has {len(exchanges)}.")
        return [exchanges[entry - 1]]
    failed = [e for e in exchanges if har.failed(e)]
    return [(failed or exchanges)[-1]]


def _add_options(exchange: Exchange, given: Given) -> None:
    """What the options say goes before what was read."""
    if given.status is not None:
        if not 100 <= given.status <= 999:
            raise UnreadableError(f"{given.status} is no HTTP status: they go from 100 to 599.")
        exchange.notes = [
            n for n in exchange.notes if "no status" not in n and "taken from the body" not in n
        ]
        exchange.status, exchange.broken = given.status, None
    for line in given.headers:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or " " in name.strip():
            raise UnreadableError("A --header looks like 'Name: value'.")
        exchange.headers[name.strip().lower()] = value.strip()
        exchange.secrets += tokens.in_headers({name.strip().lower(): value.strip()})
    if given.body is not None:
        exchange.body = _body(given.body)
    if given.method is not None:
        exchange.method = given.method.upper()
    if given.url is not None:
        exchange.url = given.url
        exchange.secrets += tokens.in_url(given.url)
    exchange.secrets = list(tokens.ordered(exchange.secrets))


def _add_others(explanation: Explanation, exchanges: list[Exchange], chosen: Exchange) -> None:
    """Note the other entries of a HAR file that failed."""
    from failwell.cli import har
    from failwell.redaction import kept_url

    if not har.failed(chosen):
        explanation.notes.insert(0, f"None of the {len(exchanges)} entries failed; this is the last.")
        return
    others = [(n, e) for n, e in enumerate(exchanges, 1) if har.failed(e) and e is not chosen]
    if not others:
        return
    lines = []
    for number, each in others[-5:]:
        url = tokens.masked(kept_url(each.url or ""), each.secrets)
        lines.append(f"  --entry {number}: {each.status or 'no answer'} {each.method or ''} {url}"[:90])
    more = f" ({len(others) - 5} before these)" if len(others) > 5 else ""
    entries = "entries" if len(others) > 1 else "entry"
    explanation.notes.append("\n".join([f"{len(others)} other {entries} failed{more}:", *lines]))


def _body(text: str) -> bytes:
    if text == "@-":
        return _stdin()
    return _file(Path(text[1:])) if text.startswith("@") else text.encode("utf-8", "surrogateescape")


def _is_piped() -> bool:
    try:
        return not sys.stdin.isatty()
    except (AttributeError, ValueError):  # no standard input at all, or a closed one
        return False


def _stdin() -> bytes:
    return _limited(sys.stdin.buffer.read(INPUT_LIMIT + 1), "The input")


def _file(path: Path) -> bytes:
    shown = tokens.masked(str(path))[:200]
    try:
        if path.is_dir():
            raise UnreadableError(f"{shown} is a directory. Give me one file.")
        with path.open("rb") as file:
            return _limited(file.read(INPUT_LIMIT + 1), shown)
    except FileNotFoundError:
        raise UnreadableError(f"There is no file {shown}.") from None
    except (OSError, ValueError) as exc:
        why = getattr(exc, "strerror", None) or "it cannot be opened"
        raise UnreadableError(f"{shown} cannot be read: {why}.") from None


def _limited(data: bytes, what: str) -> bytes:
    if len(data) > INPUT_LIMIT:
        raise UnreadableError(
            f"{what} is larger than {INPUT_LIMIT // 2**20} MiB. Give me one answer, not a recording."
        )
    return data
