"""Starting and stopping the sandbox."""

from __future__ import annotations

import gc
import http.client
import io
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest
from sandbox_caller import Caller

import failwell_sandbox
from failwell.errors import ConfigurationError
from failwell_sandbox import ledger, server
from failwell_sandbox.worker import Worker


def test_nothing_is_left_behind() -> None:
    """
    No thread, no open file, no listening port, no directory.
    """
    before = set(threading.enumerate())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with failwell_sandbox.running() as sandbox:
            port = int(sandbox.kneo.url.rpartition(":")[2])
            folder = Path(sandbox.kneo.store.path).parent
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            client.request("GET", "/livez")
            assert client.getresponse().status == 200
        client.close()
        gc.collect()

    assert before >= set(threading.enumerate())
    assert not folder.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_one_service_alone_on_a_port_of_ones_own() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with failwell_sandbox.running(("agoralia",), ports={"agoralia": port}) as sandbox:
        assert f"http://127.0.0.1:{port}" == sandbox.agoralia.url
        assert [service.name for service in sandbox] == ["agoralia"]


def test_an_unknown_service_is_named() -> None:
    with pytest.raises(ValueError, match="nothing"), failwell_sandbox.running(("nothing",)):
        pass


def test_a_taken_port_is_an_error_and_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        ports = {"kneo": taken.getsockname()[1]}
        with pytest.raises(OSError, match="in use"), failwell_sandbox.running(("kneo",), ports=ports):
            pass

    assert before >= set(threading.enumerate())


def test_no_key_is_in_the_database_or_its_journal(tmp_path: Path) -> None:
    with failwell_sandbox.running(("kneo",), state=tmp_path) as sandbox:
        key = sandbox.kneo.keys.full
        files = [p for p in tmp_path.iterdir() if "demo-keys" not in p.name]
        held = b"".join(p.read_bytes() for p in files)

    assert files
    assert key.encode() not in held


def test_demo_keys_do_not_show_in_a_traceback() -> None:
    with failwell_sandbox.running(("kneo",)) as sandbox:
        keys = sandbox.kneo.keys

    assert keys.full not in repr(keys) + repr(sandbox.kneo) + repr(sandbox)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_prints_where_and_the_keys_and_ends_on_a_signal(number: int) -> None:
    code = "import failwell_sandbox; failwell_sandbox.serve(('kneo',))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        name, url = process.stdout.readline().split()
        role, key = process.stdout.readline().split()
        lines = list(iter(process.stdout.readline, "Stop with Ctrl-C.\n"))
        answer = Caller(url, "Authorization", "Bearer ")("GET", "/v1/specs", key=key)
        process.send_signal(number)
        _, complaints = process.communicate(timeout=30)

    assert (name, role, answer.status) == ("kneo", "full", 200)
    assert "other_tenant" in "".join(lines)
    assert (process.returncode, complaints) == (0, "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_during_the_start_undoes_it(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    undone = []

    @contextmanager
    def starting(*_: object, **__: object) -> Iterator[None]:
        try:
            signal.raise_signal(number)
            yield
        finally:
            signal.raise_signal(number)  # an impatient one does not cut the clearing up short
            undone.append(True)

    monkeypatch.setattr(server, "running", starting)
    before = signal.getsignal(number)
    screen = io.StringIO()
    failwell_sandbox.serve(out=screen)

    assert (undone, screen.getvalue()) == ([True], "")
    assert signal.getsignal(number) is before


def test_a_signal_at_the_end_of_the_start_ends_it_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(io.StringIO):
        def flush(self) -> None:
            signal.raise_signal(signal.SIGTERM)

    with failwell_sandbox.running(("kneo",)) as sandbox:
        monkeypatch.setattr(server, "running", lambda *_, **__: nullcontext(sandbox))
        failwell_sandbox.serve(out=Broken())  # just before it would wait


def test_a_port_for_what_does_not_run_is_refused() -> None:
    with (
        pytest.raises(ValueError, match="a port is for agoralia, and only kneo runs"),
        failwell_sandbox.running(("kneo",), ports={"kneo": 0, "agoralia": 1}),
    ):
        pass


def test_a_sandbox_of_a_thousand_workers_is_refused() -> None:
    with (
        pytest.raises(ConfigurationError, match="64 workers at the most, not 1000"),
        failwell_sandbox.running(store="redis://127.0.0.1:1/0", workers=1000),
    ):
        pass


def test_an_effect_is_found_by_each_of_its_facts() -> None:
    with failwell_sandbox.running(("kneo",)) as sandbox:
        assert sandbox.kneo.effects() == 0
        with pytest.raises(ValueError, match="colour"):
            ledger.effects(sandbox.kneo.database, colour="red")


def test_a_service_that_cannot_start_says_so_and_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Worker) -> None:
        raise LookupError("no worker today")

    before = set(threading.enumerate())
    monkeypatch.setattr(Worker, "start", broken)
    with pytest.raises(RuntimeError, match="did not start"), failwell_sandbox.running(("kneo",)):
        pass

    assert before >= set(threading.enumerate())


def test_answers_are_not_held_back_by_nagle() -> None:
    """
    asyncio sets TCP_NODELAY only on sockets that name their protocol; without, an answer takes 40 ms.
    """
    with server._listening("127.0.0.1", 0) as sock:
        assert sock.proto == socket.IPPROTO_TCP


def test_it_listens_on_ipv6_too() -> None:
    with failwell_sandbox.running(("kneo",), host="::1") as sandbox:
        assert sandbox.kneo.url.startswith("http://[::1]:")
        assert Caller(sandbox.kneo.url, "Authorization", "Bearer ")("GET", "/livez").status == 200


def test_a_key_may_be_made_for_any_purpose() -> None:
    with failwell_sandbox.running(("kneo",)) as sandbox:
        ask = Caller(sandbox.kneo.url, "Authorization", "Bearer ")
        poor = sandbox.kneo.new_key(["specs:read"], tenant="globex")

        assert ask("GET", "/v1/specs", key=poor).status == 200
        assert ask("GET", "/v1/runs", key=poor).status == 403


def test_a_busy_service_does_what_needs_no_thread_and_the_rest_afterwards() -> None:
    with failwell_sandbox.running(("kneo",)) as sandbox, ThreadPoolExecutor(1) as pool:
        kneo = Caller(sandbox.kneo.url, "Authorization", "Bearer ")
        full = sandbox.kneo.keys.full
        sealed = {"spec_id": "spec_sealed", "input": {"text": "x", "rounds": 1}}
        with sandbox.kneo.busy():
            waiting = pool.submit(kneo, "POST", "/v1/runs", key=full, json_body=sealed)
            assert kneo("POST", "/v1/runs", key=full, json_body={"spec_id": "spec_text_stats"}).status == 201
            assert not waiting.done()
        assert waiting.result().status == 201


def test_threads_of_other_processes_cannot_be_taken() -> None:
    with failwell_sandbox.running(("kneo",)) as sandbox:
        running = sandbox.kneo
        elsewhere = server.RunningService(
            "kneo", running.url, running.keys, running._storage, running.store, running.database, print
        )
        with pytest.raises(RuntimeError, match="one worker"), elsewhere.busy():
            pass
