"""What the benchmarks share: their options, what they note of the machine, and their tables."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from machine import description, load

HERE = Path(__file__).parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"

US, MS = "µs", "ms"


@dataclass(frozen=True)
class Row:
    """
    One line of the table.

    Attributes:
        measure: What is compared.
        target: The bound, in `unit`.
        at_most: Whether the target bounds from above; else from below.
        reached: What was measured.
        unit: Behind the numbers; "times" for a ratio.
        note: What the number does not say.
    """

    measure: str
    target: float
    at_most: bool
    reached: float
    unit: str
    note: str = ""

    @property
    def met(self) -> bool:
        """Whether the target holds."""
        return self.reached <= self.target if self.at_most else self.reached >= self.target


@dataclass(frozen=True)
class Time:
    """Microseconds a call: the median of its rounds, by the clock and of processor time."""

    wall: float
    cpu: float
    rounds: int


def options(doc: str | None, *, compared: str, rounds: int, seconds: float) -> argparse.ArgumentParser:
    """
    A parser with the options that every race has.

    Args:
        doc: The help.
        compared: What `--compare` measures too.
        rounds: Unless others are asked for.
        seconds: Length of one turn, unless another is asked for.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", action="store_true", help=f"measure {compared} too")
    parser.add_argument("--only", action="append", metavar="TEXT", help="those whose name has this in it")
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--seconds", type=float, default=seconds, help="length of one turn")
    parser.add_argument("--warm-up", type=int, default=1024, help="calls of each side, made twice")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the tables between its markers")
    return parser


def noted(script: str, given: argparse.Namespace, packages: Mapping[str, str]) -> dict[str, Any]:
    """When and how `script` measures, on what machine and with which versions."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "command": f"python benchmarks/{script}" + (" --compare" if given.compare else ""),
        "machine": description(),
        "load": load(),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "versions": dict(packages),
    }


def wanted(given: argparse.Namespace, name: str) -> bool:
    """Whether `--only` lets `name` through."""
    return not given.only or any(text in name for text in given.only)


def versions(python: Path, packages: Iterable[str]) -> dict[str, str]:
    """Which versions of `packages` that interpreter has."""
    names = [name.partition("[")[0] for name in packages]
    code = "import sys; from importlib.metadata import version; print(*map(version, sys.argv[1:]))"
    told = subprocess.run(
        [str(python), "-c", code, *names], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    return dict(zip(names, told, strict=True))


def _number(value: float, unit: str) -> str:
    digits = 1 if unit in (US, MS) else 0 if unit in ("blocks", "%", "files", "parts") else 2
    return f"{value:.{digits}f} {unit}".strip()


def rows_table(rows: list[Row]) -> list[str]:
    """The rows as a Markdown table, one line each."""
    lines = ["| measure | target | reached | met |", "|---|---|---|---|"]
    for row in rows:
        bound = "at most" if row.at_most else "at least"
        reached = _number(row.reached, row.unit) + (f" ({row.note})" if row.note else "")
        target = f"{bound} {row.target:g} {row.unit}".strip()
        lines.append(f"| {row.measure} | {target} | {reached} | {'yes' if row.met else '**no**'} |")
    return lines


def heading(result: dict[str, Any], each: str = "") -> list[str]:
    """When, where and how often it was measured; `each` is said behind the length of a round."""
    with_versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    return [
        f"Measured on {result['date']} by `{result['command']}` on {result['machine']}; "
        f"load of the machine before: {result['load']:.1f}.",
        f"Medians of {result['rounds']} rounds of {result['seconds']:g} s{each}.",
        f"With {with_versions}.",
    ]


def tell(
    given: argparse.Namespace, result: dict[str, Any], times: Mapping[str, Time], rows: list[Row], text: str
) -> None:
    """Print what was measured, as `text` or as JSON, and write it into the page that is asked for."""
    say("")
    if given.write is not None:
        write_into(given.write, text)
    if given.json:
        result["times"] = {name: asdict(t) for name, t in times.items()}
        result["rows"] = [asdict(row) | {"met": row.met} for row in rows]
        text = json.dumps(result, indent=2, ensure_ascii=False)
    print(text)


def measured(
    script: str, before: float, packages: Iterable[str], *how: str, after: float | None = None
) -> list[str]:
    """
    The lines that stand above the tables: when, where, how and with what `script` has measured.

    Args:
        script: Its name.
        before: The load of the machine when it began.
        packages: Whose versions count.
        how: Lines of its own.
        after: The load when it ended, if that is told.
    """
    ended = "" if after is None else f", after: {after:.1f}"
    names = ", ".join(f"{n} {v}" for n, v in versions(Path(sys.executable), packages).items())
    return [
        f"Measured on {time.strftime('%Y-%m-%d')} by `python benchmarks/{script}` on {description()}; "
        f"load of the machine before: {before:.1f}{ended}.",
        *how,
        f"With {names}.",
        "",
    ]


def conclude(given: argparse.Namespace, rows: list[Row], lines: list[str], **more: Any) -> None:
    """Print `lines`, or the rows and what there is more as JSON, and write the page that is asked for."""
    text = "\n".join(lines)
    if given.write is not None:
        write_into(given.write, text)
    if given.json:
        text = json.dumps({**more, "rows": [asdict(row) | {"met": row.met} for row in rows]}, indent=2)
    print(text)


def write_into(page: Path, text: str) -> None:
    """Replace what stands between the two markers of `page`."""
    old = page.read_text()
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{page} has no {BEGIN} ... {END}")
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def say(text: str) -> None:
    """Show how far it is, in place of what was shown before."""
    print(f"\r\033[K{text}" if sys.stderr.isatty() else text, end="", file=sys.stderr, flush=True)
    if not sys.stderr.isatty():
        print(file=sys.stderr)
