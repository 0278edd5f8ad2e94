"""The command line as a program: exit statuses, sentences, pipes, signals, what it loads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import failwell as library
from failwell.cli import known

Run = Callable[..., Any]

ANSWER = b"HTTP/1.1 404 Not Found\nA: b\n\n{}"
COMMAND = [sys.executable, "-m", "failwell"]


def program(*arguments: str, **options: Any) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, timeout=60, check=False, **options)


def test_the_program_explains_its_standard_input() -> None:
    done = program("explain", input=ANSWER)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"404 Not Found")


def test_the_version_is_printed(failwell: Run) -> None:
    outcome = failwell("--version")

    assert (outcome.status, outcome.out) == (0, f"failwell {library.__version__}\n")


def test_help_names_every_command(failwell: Run) -> None:
    outcome = failwell("--help")

    assert outcome.status == 0
    assert all(name in outcome.out for name in ("explain", "drill", "sandbox"))


def test_help_of_explain_shows_how_to_call_it(failwell: Run) -> None:
    outcome = failwell("explain", "--help")

    assert outcome.status == 0
    assert "failwell explain --status 429" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["explain"], "something to explain"),
        (["explain", ""], "Give me something to explain"),
        (["explain", "/"], "is a directory"),
        (["explain", "no-such-file.txt"], "There is no file no-such-file.txt."),
        (["explain", "some/where"], "There is no file"),
        (["explain", "a", "b"], "unexpected extra argument"),
        (["explain", "--status", "abc"], "--status"),
        (["explain", "--status", "42", "--body", "x"], "42 is no HTTP status"),
        (["explain", "--status", "404", "--header", "nonsense", "--body", "x"], "Name: value"),
        (["explain", "429", "--status", "404"], "is a name"),
        (["explain", "--status", "404", "--body", "@no-such-file"], "There is no file no-such-file."),
        (["explain", "--nonsense"], "--nonsense"),
        (["nonsense"], "nonsense"),
        (["drill", "--only", "S999"], "S999"),
        (["drill", "nobody"], "nobody"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_status_2(
    arguments: list[str], sentence: str, failwell: Run
) -> None:
    outcome = failwell(*arguments)

    assert (outcome.status, outcome.out) == (2, "")
    assert sentence in outcome.err
    assert outcome.err.startswith("failwell: ")
    assert outcome.err.count("\n") == 1
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("data", [b"", b"\x00\xff" * 99], ids=["empty", "binary"])
def test_unreadable_input_is_status_2(data: bytes, failwell: Run) -> None:
    outcome = failwell("explain", piped=data)

    assert (outcome.status, outcome.out) == (2, "")
    assert outcome.err.startswith("failwell: The input is")


def test_a_file_that_is_too_large_is_refused(failwell: Run, tmp_path: Path) -> None:
    file = tmp_path / "huge.txt"
    with file.open("wb") as out:
        out.truncate(17 * 2**20)

    outcome = failwell("explain", str(file))

    assert outcome.status == 2
    assert "16 MiB" in outcome.err


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(failwell: Run, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(ANSWER)
    file.chmod(0)

    assert "Permission denied" in failwell("explain", str(file)).err


def test_a_file_is_explained(failwell: Run, tmp_path: Path) -> None:
    file = tmp_path / "answer"
    file.write_bytes(ANSWER)

    assert failwell("explain", str(file), "--json").json()["status"] == 404


def test_a_dash_is_standard_input(failwell: Run) -> None:
    assert failwell("explain", "-", "--json", piped=ANSWER).json()["status"] == 404


def test_a_name_wins_over_standard_input(failwell: Run) -> None:
    assert failwell("explain", "429", "--json", piped=ANSWER).json()["status"] == 429


def test_a_reader_that_has_seen_enough_ends_it_quietly() -> None:
    process = subprocess.Popen(
        [*COMMAND, "explain", "--json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()

    _, errors = process.communicate(ANSWER, timeout=60)

    assert errors == b""
    assert process.returncode in (0, -signal.SIGPIPE)


def test_ctrl_c_ends_it_with_130_and_without_a_traceback() -> None:
    process = subprocess.Popen(
        [*COMMAND, "explain"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 60
    while not _is_reading(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)

    _, errors = process.communicate(timeout=60)

    assert (process.returncode, errors) == (130, b"")


def _is_reading(pid: int) -> bool:
    """Whether the process sleeps in a read of its standard input."""
    try:
        return (
            Path(f"/proc/{pid}/wchan").read_text() in ("pipe_read", "anon_pipe_read")
            or _syscall(pid) == "0 0x0"
        )
    except OSError:
        return False


def _syscall(pid: int) -> str:
    return " ".join(Path(f"/proc/{pid}/syscall").read_text().split()[:2])


def test_without_its_libraries_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text(
        "raise ModuleNotFoundError(\"No module named 'typer'\", name='typer')\n"
    )

    done = program("explain", "429", env={**os.environ, "PYTHONPATH": str(tmp_path)})

    assert done.returncode == 2
    assert done.stderr.decode().strip() == (
        "The command line of failwell needs typer and rich. Install them with: pip install 'failwell[cli]'"
    )


def test_explaining_a_name_loads_no_engine() -> None:
    """It is to feel instant."""
    code = (
        "import sys; from failwell.cli import run; run(['explain', '429']);"
        "print([m for m in ('httpx2', 'aiohttp', 'asyncio', 'ssl', 'failwell.client', 'failwell.drill')"
        " if m in sys.modules], file=sys.stderr)"
    )
    # The SDKs that are installed here bring what they import; they are not what is asked about.
    code = "from failwell.cli import known; known.GROUP = 'nobody.here'; " + code

    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )

    assert done.stderr.strip() == "[]"


# --- Contracts of SDKs ------------------------------------------------------------------------


@pytest.fixture
def announced(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Announces contracts as an installed SDK would."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(
        "importlib.metadata.entry_points", lambda group: [p for p in points if p.group == group]
    )

    def announce(name: str, value: str) -> None:
        points.append(EntryPoint(name, value, known.GROUP))

    return announce


def test_contracts_of_installed_sdks_are_found(announced: Callable[..., None]) -> None:
    announced("toys", "toy_contract:TOY")

    found = known.contracts()

    assert list(found.contracts) == ["toys", "standard"]
    assert found.problems == []


def test_an_sdk_that_cannot_be_loaded_is_told_and_stops_nothing(
    announced: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = ModuleType("broken_sdk")
    broken.__dict__["CONTRACT"] = "not a contract"
    monkeypatch.setitem(sys.modules, "broken_sdk", broken)
    announced("gone", "no_such_module_anywhere:CONTRACT")
    announced("nameless", "broken_sdk:NOTHING")
    announced("odd", "broken_sdk:CONTRACT")

    found = known.contracts()

    assert list(found.contracts) == ["standard"]
    assert [p.split()[2] for p in found.problems] == ["gone", "nameless", "odd"]
    assert "No module named 'no_such_module_anywhere'" in found.problems[0]


def test_problems_of_sdks_are_notes(failwell: Run, toys: known.Known) -> None:
    toys.problems.append("The contract x could not be loaded: ImportError: y.")

    assert "Note: The contract x could not be loaded" in failwell("explain", "429").out
    assert failwell("explain", "429", "--json").json()["notes"] == toys.problems


@pytest.mark.parametrize("distribution", ["agoralia", "argus", "kneo_client", "pictograph", "scopix"])
def test_the_sdks_announce_their_contracts(distribution: str) -> None:
    import tomllib

    root = Path(__file__).parents[2]
    with (root / "sdks" / distribution / "pyproject.toml").open("rb") as file:
        points = tomllib.load(file)["project"]["entry-points"][known.GROUP]
    for name, value in points.items():
        contract = EntryPoint(name, value, known.GROUP).load()

        assert contract.name == name


# --- The other commands -----------------------------------------------------------------------


class Rehearsed:
    def __init__(self, ok: bool) -> None:
        self.ok = ok

    def to_dict(self) -> dict[str, Any]:
        return {"ok": self.ok}

    def to_html(self) -> str:
        return "<html></html>"

    def to_markdown(self) -> str:
        return "# drill\n"

    def to_junit(self) -> str:
        return "<testsuites/>\n"

    rows: Sequence[Any] = ()
    seconds = 1.0


@pytest.mark.parametrize(("ok", "status"), [(True, 0), (False, 1)])
def test_a_drill_that_failed_is_status_1_and_leaves_its_reports(
    ok: bool, status: int, failwell: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def run(sdks: Any, **options: Any) -> Rehearsed:
        asked.update(options, sdks=sdks)
        return Rehearsed(ok)

    monkeypatch.setattr("failwell.drill.run", run)

    outcome = failwell(
        "drill", "kneo", "--only", "S54", "--seed", "7", "--report", str(tmp_path / "out"), "--json"
    )

    assert outcome.status == status
    assert outcome.json() == {"ok": ok}
    assert (asked["sdks"], asked["only"], asked["seed"]) == (["kneo"], ["S54"], 7)
    assert json.loads((tmp_path / "out" / "drill.json").read_text()) == {"ok": ok}
    assert (tmp_path / "out" / "drill.html").read_text() == "<html></html>"
    assert (tmp_path / "out" / "report.md").read_text() == "# drill\n"
    assert (tmp_path / "out" / "junit.xml").read_text() == "<testsuites/>\n"
    assert asked["modes"] == ("sync", "async")


def test_a_drill_can_be_of_one_form_and_run_several_times(
    failwell: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def run(sdks: Any, **options: Any) -> Rehearsed:
        asked.append(options["modes"])
        return Rehearsed(ok=True)

    monkeypatch.setattr("failwell.drill.run", run)
    outcome = failwell("drill", "--form", "async", "--repeat", "3", "--report", str(tmp_path), "--json")

    assert outcome.status == 0
    assert asked == [("async",)] * 3
    assert outcome.json()["repeated"]["runs"] == 3
    assert json.loads((tmp_path / "drill.json").read_text())["repeated"]["ok"] is True


@pytest.mark.parametrize("option", ["--list", "--faults"])
def test_what_would_be_rehearsed_is_listed_and_nothing_is_run(
    option: str, failwell: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from failwell.drill.selftest.toy import Toy

    monkeypatch.setattr("failwell.drill.known", lambda: ["toy"])
    monkeypatch.setattr("failwell.drill.load", lambda _: Toy())
    monkeypatch.setattr("failwell.drill.run", lambda *_, **__: pytest.fail("it was run"))

    table, data = failwell("drill", option, "--only", "S54"), failwell("drill", option, "--json")

    assert (table.status, data.status) == (0, 0)
    assert "S54" in table.out
    assert len(data.json()) >= 37


def test_a_rule_is_explained(failwell: Run) -> None:
    outcome = failwell("drill", "--explain", "FD-vague")

    assert outcome.status == 0
    assert "where the wire proves more" in outcome.out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--explain", "FD-vage"], "did you mean FD-vague"),
        (["--list", "--only", "S999"], "S999"),
        (["--faults", "nobody"], "nobody"),
        (["--form", "trio"], "trio"),
        (["--repeat", "0"], "--repeat"),
    ],
)
def test_what_a_drill_cannot_list_or_do_is_refused(arguments: list[str], says: str, failwell: Run) -> None:
    outcome = failwell("drill", *arguments)

    assert outcome.status == 2
    assert says in outcome.err


def test_a_report_directory_that_is_a_file_is_refused(failwell: Run, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")

    outcome = failwell("drill", "--report", str(file))

    assert outcome.status == 2
    assert "--report takes a directory" in outcome.err


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], None]:
    """Installs a sandbox whose `serve` is `serve`; None for none."""

    def install(serve: Any) -> None:
        point = SimpleNamespace(load=lambda: serve)
        found = [] if serve is None else [point]
        monkeypatch.setattr("failwell.cli.sandbox.entry_points", lambda **_: found)

    return install


def test_the_sandbox_is_served_as_asked(
    failwell: Run, installed: Callable[[Any], None], tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}
    installed(lambda **options: asked.update(options))

    outcome = failwell("sandbox", "kneo", "--port", "kneo=8001", "--state", str(tmp_path))

    assert outcome.status == 0
    assert asked == {"services": ["kneo"], "host": "127.0.0.1", "ports": {"kneo": 8001}, "state": tmp_path}


def test_the_sandbox_is_told_its_store_and_its_workers(
    failwell: Run, installed: Callable[[Any], None]
) -> None:
    asked: dict[str, Any] = {}
    installed(lambda **options: asked.update(options))

    outcome = failwell("sandbox", "--store", "redis://localhost/0", "--workers", "4")

    assert outcome.status == 0
    assert (asked["store"], asked["workers"]) == ("redis://localhost/0", 4)


def test_without_the_sandbox_it_says_what_to_install(failwell: Run, installed: Callable[[Any], None]) -> None:
    installed(None)

    outcome = failwell("sandbox")

    assert outcome.status == 2
    assert "pip install failwell-sandbox" in outcome.err


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (ValueError("no service is called x; there are kneo"), "no service is called x"),
        (RuntimeError("a worker process did not start"), "a worker process did not start"),
        (OSError(98, "Address already in use"), "Address already in use"),
    ],
)
def test_a_sandbox_that_cannot_be_served_says_why(
    error: Exception, sentence: str, failwell: Run, installed: Callable[[Any], None]
) -> None:
    def serve(**_: Any) -> None:
        raise error

    installed(serve)

    outcome = failwell("sandbox")

    assert outcome.status == 2
    assert sentence in outcome.err


@pytest.mark.parametrize("port", ["8001", "kneo=", "kneo=x", "kneo=70000"])
def test_a_port_that_is_none_is_refused(port: str, failwell: Run, installed: Callable[[Any], None]) -> None:
    installed(lambda **_: pytest.fail("must not be served"))

    outcome = failwell("sandbox", "--port", port)

    assert outcome.status == 2
    assert "--port" in outcome.err
