"""
The score card of anybody's client: how many rehearsals of each theme it passed, and what was found.

    python -m failwell.drill.anybody.card > docs/score-card.md

makes the card of all that are shipped, and are installed, in some minutes.
"""

from __future__ import annotations

import platform
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum

import failwell
from failwell.drill import DrillResult, run
from failwell.drill.anybody.fair import BETTER
from failwell.drill.anybody.shipped import SHIPPED, client_called
from failwell.drill.anybody.subject import AnybodysClient
from failwell.drill.verdict import Row, Verdict
from failwell.errors import UsageError

# Theme, and the first and the last number of the catalogue that belong to it.
THEMES = (
    ("name, connection, TLS", 1, 7),
    ("sent, and silence", 8, 14),
    ("damaged answers", 15, 32),
    ("surprises", 33, 36),
    ("redirects", 37, 39),
    ("statuses and waits", 40, 46),
    ("exactly once", 54, 65),
)
OTHERS = "others"
LONGEST = 160


class Mark(str, Enum):
    """What one rehearsal counts as."""

    PASSED = "passed"
    BETTER = "could be better"
    FAILED = "failed"
    NOT_APPLICABLE = "not applicable"
    UNPROVABLE = "unprovable"

    __str__ = str.__str__


@dataclass(slots=True)
class Score:
    """
    What one client came to.

    Attributes:
        client: Its name.
        version: Of its library, and what stands under it.
        rows: Its rehearsals.
        themes: How many of each mark, by theme.
        total: How many of each mark.
    """

    client: str
    version: str
    rows: list[Row]
    themes: dict[str, Counter[Mark]] = field(default_factory=dict)
    total: Counter[Mark] = field(default_factory=Counter)


def score(subject: AnybodysClient, result: DrillResult) -> Score:
    """Count what `result` has of `subject`."""
    rows = [row for row in result.rows if row.subject == subject.name]
    made = Score(subject.name, subject.version, rows)
    for row in rows:
        mark = mark_of(row)
        made.themes.setdefault(theme_of(row), Counter())[mark] += 1
        made.total[mark] += 1
    return made


def mark_of(row: Row) -> Mark:
    """What `row` counts as; a rehearsal whose fault never acted is failed, for it has to be looked at."""
    if row.verdict is Verdict.PASS:
        return Mark.BETTER if any(f.code == BETTER for f in row.findings) else Mark.PASSED
    if row.verdict is Verdict.SKIPPED:
        return Mark.NOT_APPLICABLE
    return Mark.UNPROVABLE if row.verdict is Verdict.UNPROVABLE else Mark.FAILED


def theme_of(row: Row) -> str:
    """Under which heading `row` is counted."""
    number = row.scenario.id.partition("-")[0].removeprefix("S")
    at = int(number) if number.isdecimal() else 0
    return next((title for title, first, last in THEMES if first <= at <= last), OTHERS)


def failures(score: Score) -> Iterator[tuple[Row, str]]:
    """Each rehearsal that failed, and in one line why."""
    for row in score.rows:
        if mark_of(row) is Mark.FAILED:
            found = [str(f) for f in row.findings if f.code != BETTER]
            yield row, short("; ".join(found or row.notes))


def better(score: Score) -> dict[str, list[str]]:
    """What would have been better, and in which rehearsals."""
    found: dict[str, list[str]] = {}
    for row in score.rows:
        for finding in row.findings:
            if finding.code == BETTER and mark_of(row) is Mark.BETTER:
                found.setdefault(_general(finding.text), []).append(row.scenario.id)
    return found


def _general(text: str) -> str:
    """A finding without what is only this rehearsal's, such as a class or a time: it stands behind a `;`."""
    return text.partition("; ")[0]


def in_short(ids: Sequence[str]) -> str:
    """Ids of rehearsals by their numbers in the catalogue, with how many of each: "S02 (2), S08"."""
    counted = Counter(i.partition("-")[0] for i in ids)
    return ", ".join(f"{number} ({count})" if count > 1 else number for number, count in counted.items())


def short(text: str) -> str:
    """One line of it that fits."""
    line = " ".join(text.split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


# --- Markdown --------------------------------------------------------------------------------


def markdown(scores: Sequence[Score], *, on: datetime, command: str) -> str:
    """The card as a page."""
    return "\n".join(_page(scores, on, command)) + "\n"


def _page(scores: Sequence[Score], on: datetime, command: str) -> Iterator[str]:
    yield from (
        f"<!-- Made by `{command}`: do not edit. -->",
        "",
        "# Score card",
        "",
        "What ordinary HTTP clients, and the SDKs of three well-known APIs, make of the failures that the "
        "[drill](drill.md#anybodys-client) rehearses with failwell's own.",
        "Each is used as its documentation says, with the timeouts of the scenario and its own retries, "
        "over real sockets, against a real service with a ledger.",
        "The last row is a client made with failwell, by the same rules and against the same service.",
        "All answers are JSON, so that half of one shows; in a text without an end of its own, it would not.",
        "",
        f"{on:%Y-%m-%d}, Python {platform.python_version()}, failwell {failwell.__version__}; made by "
        f"`{command}`.",
        "One of them alone: `failwell drill --client requests`; your own: `--client my.module:call`.",
        "",
        "| client | version | passed | could be better | failed | not applicable |",
        "|---|---|--:|--:|--:|--:|",
    )
    for s in scores:
        counts = " | ".join(
            str(s.total[m]) for m in (Mark.PASSED, Mark.BETTER, Mark.FAILED, Mark.NOT_APPLICABLE)
        )
        yield f"| {s.client} | {s.version} | {counts} |"
    yield from (
        "",
        "*Failed*: it broke what anybody may ask of any client, such as to call no damaged answer a "
        "success, to do nothing twice, and to end in time.",
        "*Could be better*: it promised nothing else, and broke nothing; mostly a call that could safely "
        "have been tried again.",
        "*Not applicable*: it has not what the scenario needs, such as a connection that is kept.",
        "[The rules](drill.md#anybodys-client) are the same for all.",
        "",
        "## By theme",
        "",
        "Passed, could be better, **failed**.",
        "",
    )
    themes = [title for title, _, _ in THEMES if any(title in s.themes for s in scores)]
    yield f"| client | {' | '.join(themes)} |"
    yield f"|---|{'---|' * len(themes)}"
    for s in scores:
        yield f"| {s.client} | {' | '.join(_cell(s.themes.get(t, Counter())) for t in themes)} |"
    for s in scores:
        yield from _findings(s)


def _cell(counts: Counter[Mark]) -> str:
    failed = f"**{counts[Mark.FAILED]}**" if counts[Mark.FAILED] else "0"
    return f"{counts[Mark.PASSED]}, {counts[Mark.BETTER]}, {failed}"


def _findings(s: Score) -> Iterator[str]:
    yield from ("", f"## {s.client}", "")
    failed = list(failures(s))
    if not failed:
        yield "Nothing failed."
    for row, why in failed:
        yield f"- **{row.scenario.id}** {row.scenario.title}. *{_escaped(why)}* (`{row.repeat}`)"
    found = better(s)
    if not found:
        return
    yield from ("", "Could be better:", "")
    for text, ids in found.items():
        yield f"- {_escaped(text)}: {in_short(ids)}"


def _escaped(text: str) -> str:
    """`text` as Markdown that shows it as it is."""
    return text.replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")


def installed(names: Iterable[str] = tuple(SHIPPED)) -> Iterator[AnybodysClient]:
    """Those of `names` whose libraries are here; the others are told of on standard error."""
    for name in names:
        try:
            yield client_called(name)
        except UsageError as exc:
            print(f"left out: {exc}", file=sys.stderr)


def main() -> None:
    """Drill one after another, so that none keeps another waiting, and print the page."""
    scores = []
    for subject in installed():
        result = run([subject])
        scores.append(score(subject, result))
        print(f"{subject.name}: {result.seconds:.0f} s", file=sys.stderr)
    command = "python -m failwell.drill.anybody.card > docs/score-card.md"
    print(markdown(scores, on=datetime.now(UTC), command=command), end="")


if __name__ == "__main__":
    main()
