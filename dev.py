#!/usr/bin/env python3
"""
Everything this repository does, in one command each, on a machine that has only Python 3.11+.

    python3 dev.py drill     rehearse the failures of the SDKs over real sockets
    python3 dev.py test      run the tests
    python3 dev.py lint      look for mistakes without running anything: lint, layout, types
    python3 dev.py check     everything CI checks: lint, and the tests with their coverage
    python3 dev.py setup     only make the environment (.venv)

What follows the name is handed on: `python3 dev.py test tests/call -k budget`.
The environment is made once, from names and versions in constraints.txt, and again when the
files that describe it change. `--venv DIR` in front of the name puts it elsewhere.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
OLDEST = (3, 11)
PACKAGES = [
    ".[all]",
    "sdks/agoralia[requests]",
    "sdks/argus",
    "sdks/kneo_client",
    "sdks/pictograph[progress]",
    "sdks/scopix[progress]",
    "sandbox[learning,scopix]",
]
DESCRIBED_BY = [
    "constraints.txt",
    "requirements-dev.txt",
    *(f"{p.partition('[')[0]}/pyproject.toml" for p in PACKAGES),
]


def main(arguments: list[str]) -> int:
    if sys.version_info < OLDEST:
        return fail(
            f"failwell needs Python {OLDEST[0]}.{OLDEST[1]} or newer; this is {sys.version.split()[0]}."
        )
    venv = ROOT / ".venv"
    if len(arguments) >= 2 and arguments[0] == "--venv":
        venv, arguments = Path(arguments[1]).resolve(), arguments[2:]
    if not arguments or arguments[0] not in COMMANDS:
        print(__doc__.strip())
        return 0 if arguments in ([], ["-h"], ["--help"], ["help"]) else 2
    name, *rest = arguments
    try:
        python = environment(venv)
        return COMMANDS[name](python, rest)
    except subprocess.CalledProcessError as exc:
        return fail(f"this did not work: {' '.join(map(str, exc.cmd[1:6]))} ...", exc.returncode)
    except KeyboardInterrupt:
        return 130


def environment(venv: Path) -> Path:
    """The interpreter of an environment with everything in it, made if it is not there."""
    python = venv / ("Scripts" if os.name == "nt" else "bin") / "python"
    stamp = venv / ".made-from"
    wanted = hashlib.sha256(
        b"\0".join((ROOT / f).read_bytes() for f in DESCRIBED_BY) + str(ROOT).encode()
    ).hexdigest()
    if python.exists() and stamp.exists() and stamp.read_text() == wanted:
        return python
    if not has_pip(python):
        say(f"making {venv.name} with Python {sys.version.split()[0]}")
        make_venv(venv)
    say("installing failwell, its SDKs, the sandbox and what the tests need (once, about a minute)")
    # Builds happen in environments of their own: the variable reaches those too.
    constrained = {
        **os.environ,
        "PIP_CONSTRAINT": str(ROOT / "constraints.txt"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    editable = [part for package in PACKAGES for part in ("-e", package)]
    subprocess.run(
        [python, "-m", "pip", "install", "-q", "-r", "requirements-dev.txt", *editable],
        check=True,
        cwd=ROOT,
        env=constrained,
        stdin=subprocess.DEVNULL,
    )
    stamp.write_text(wanted)
    return python


def has_pip(python: Path) -> bool:
    """Whether the environment was finished: pip is the last thing that goes into a new one."""
    try:
        tried = subprocess.run([python, "-m", "pip", "--version"], capture_output=True, check=False)
    except OSError:  # not there, or a link to a Python that is gone
        return False
    return tried.returncode == 0


def make_venv(venv: Path) -> None:
    # What an interrupted run left is in the way; what is no environment is not ours to clear.
    clear = ["--clear"] if (venv / "pyvenv.cfg").exists() else []
    made = subprocess.run(
        [sys.executable, "-m", "venv", *clear, venv], capture_output=True, text=True, check=False
    )
    if made.returncode:
        # Debian keeps ensurepip in a package of its own.
        version = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise SystemExit(
            f"{made.stdout}{made.stderr}\nPython could not make a virtual environment. "
            f"On Debian and Ubuntu: apt install python{version}-venv"
        )


def drill(python: Path, rest: list[str]) -> int:
    return run(python, "-m", "failwell", "drill", *rest)


def test(python: Path, rest: list[str]) -> int:
    return run(python, "-m", "pytest", *(rest or ["-q", "-n", "auto"]))


def lint(python: Path, rest: list[str]) -> int:
    steps: list[tuple[str, ...]] = [
        ("-m", "ruff", "check", "."),
        ("-m", "ruff", "format", "--check", "."),
        ("-m", "mypy", "src", *(f"{p.partition('[')[0]}/src" for p in PACKAGES[1:])),
        ("-m", "pyright"),
    ]
    for step in steps:
        say(" ".join(step[1:4]))
        if code := run(python, *step):
            return code
    return 0


def check(python: Path, rest: list[str]) -> int:
    if code := lint(python, []):
        return code
    say("pytest")
    return test(python, ["-q", "-n", "auto", "--cov", "--cov-report=term:skip-covered", *rest])


def run(python: Path, *arguments: str) -> int:
    return subprocess.run([python, *arguments], cwd=ROOT, check=False).returncode


def say(text: str) -> None:
    print(f"· {text}", file=sys.stderr, flush=True)


def fail(text: str, code: int = 1) -> int:
    print(text, file=sys.stderr)
    return code or 1


COMMANDS = {"drill": drill, "test": test, "lint": lint, "check": check, "setup": lambda python, rest: 0}

if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
