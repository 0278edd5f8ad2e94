"""What cannot be a store, or does not let us in, is one sentence and never a traceback."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from postgres_server import fresh_database, shared_server
from redis_server import RedisServer, new_redis

from failwell.errors import ConfigurationError
from failwell.service import open_store
from failwell.service.doctor import CannotLookError, examine

URLS = [
    "postgresql://u:s3[kret-word@h/db",
    "redis://u:s3[kret-word@h/0",
    "sqlite:///a%00b",
    "sqlite:///a\x00b",
    "sqlite:///%00",
    "postgresql://[::1/db",
    "//[",
    "postgresql://\udce9@127.0.0.1:1/db",
    "postgresql://h/d%00b",
    "redis://127.0.0.1:1/0?nonsense=1",
]


@pytest.mark.parametrize("url", URLS)
def test_the_doctor_cannot_look(url: str) -> None:
    with pytest.raises(CannotLookError) as caught:
        examine(url)
    assert "kret-word" not in str(caught.value)


@pytest.mark.parametrize("url", URLS)
def test_no_store_is_opened(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_store(url)
    assert "kret-word" not in str(caught.value)


def failwell(*arguments: str) -> SimpleNamespace:
    """What the command prints and ends with, in a process of its own."""
    command = [sys.executable, "-m", "failwell", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    return SimpleNamespace(status=ended.returncode, out=ended.stdout, err=ended.stderr)


def assert_one_sentence(outcome: Any, *words: str) -> None:
    assert (outcome.status, outcome.out) == (2, ""), outcome.err
    assert outcome.err.startswith("failwell: ")
    assert outcome.err.endswith(".\n")
    assert outcome.err.count("\n") == 1
    assert all(word in outcome.err for word in words), outcome.err
    assert "hunter-2222" not in outcome.err


@pytest.mark.parametrize("url", ["postgresql://u:hunter-2222[@h/db", "sqlite:///a%00b"])
def test_the_commands_say_it_in_one_sentence(url: str) -> None:
    assert_one_sentence(failwell("doctor", url))
    assert_one_sentence(failwell("sandbox", "kneo", "--store", url))


@pytest.fixture(scope="module")
def guarded_redis() -> Iterator[RedisServer]:
    """A server with a password, and a user who may do next to nothing."""
    import redis

    server = new_redis()
    with redis.Redis(port=server.port) as client:
        client.execute_command(
            "ACL", "SETUSER", "poor", "on", ">hunter-2222", "~*", "+ping", "+hello", "+select", "+client"
        )
        client.config_set("requirepass", "right")
    yield server
    server.stop()


@pytest.mark.parametrize(
    ("who", "database", "words"),
    [
        (":hunter-2222@", 0, "invalid username-password pair"),
        ("", 0, "Authentication required"),
        (":right@", 99_999, "out of range"),
        ("poor:hunter-2222@", 0, "no permissions"),
    ],
)
def test_the_sandbox_says_why_a_redis_does_not_let_it_in(
    guarded_redis: RedisServer, who: str, database: int, words: str
) -> None:
    url = f"redis://{who}127.0.0.1:{guarded_redis.port}/{database}"

    assert_one_sentence(failwell("sandbox", "kneo", "--store", url), "The store cannot be used", words)


def test_the_sandbox_says_what_a_role_of_postgresql_may_not() -> None:
    url = fresh_database()
    name = url.rpartition("/")[2]
    shared_server().execute(f"CREATE ROLE poor_{name} LOGIN")

    outcome = failwell("sandbox", "kneo", "--store", url.replace("postgres@", f"poor_{name}:hunter-2222@"))

    assert_one_sentence(outcome, "permission denied")


def test_what_is_no_fault_of_the_store_is_not_called_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from failwell.cli import sandbox

    def serve(**_: Any) -> None:
        raise KeyError("a mistake of ours")

    point = SimpleNamespace(load=lambda: serve)
    monkeypatch.setattr(sandbox, "entry_points", lambda **_: [point])

    with pytest.raises(KeyError):
        sandbox.sandbox(None, "127.0.0.1", [], tmp_path)
