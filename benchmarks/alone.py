"""
What is measured without a second library: failwell's own share of a call, imports, decoding, an outage.

    python benchmarks/alone.py [--calls N] [--runs N] [--cpu N]

prints one JSON object. The numbers in it are microseconds for calls, milliseconds for imports,
requests per call for the outage.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import failwell
from contenders import BODY, TOKEN
from failwell.call.messages import Response, Send
from failwell.clock import SystemClock
from machine import forget_proxies, pin
from server import THING

HERE = Path(__file__).parent
HEADERS = [(b"content-type", b"application/json"), (b"x-request-id", b"req_1")]
# Nothing listens there, and nothing asks.
NOWHERE = "http://127.0.0.1:9"

# About 300 bytes each, in three spellings that unknown services use.
FAILURES: dict[str, tuple[int, dict[str, Any]]] = {
    "one error in an envelope": (
        429,
        {
            "error": {
                "type": "rate_limit_exceeded",
                "code": "too_many_requests",
                "message": "This key has made more than 600 requests in the last minute. Wait before you "
                "ask again, or write to us for a higher limit.",
                "doc_url": "https://docs.example.com/errors#too_many_requests",
            },
            "request_id": "req_8f14e45fceea167a",
        },
    ),
    "problem details": (
        409,
        {
            "type": "https://docs.example.com/problems/name-taken",
            "title": "The name is taken",
            "status": 409,
            "detail": "Another project of this account is called 'northern lights'. Choose another name or "
            "rename that project first.",
            "instance": "/projects/prj_5d41402abc4b2a76",
            "code": "name_taken",
        },
    ),
    "validation, field by field": (
        422,
        {
            "detail": [
                {
                    "type": "missing",
                    "loc": ["body", "items", 0, "name"],
                    "msg": "Field required",
                    "input": {"n": 1},
                },
                {
                    "type": "greater_than",
                    "loc": ["body", "items", 0, "count"],
                    "msg": "Input should be greater than 0",
                    "input": -1,
                    "ctx": {"gt": 0},
                },
            ]
        },
    ),
}


class Stub:
    """An engine that answers at once."""

    name = "stub"

    def send(self, order: Send, /) -> Response:
        return Response(200, HEADERS, THING, order.request.url)

    def close(self) -> None:
        pass


class AsyncStub:
    """The same, to be awaited."""

    name = "stub"

    async def send(self, order: Send, /) -> Response:
        return Response(200, HEADERS, THING, order.request.url)

    async def aclose(self) -> None:
        pass


def _client(kind: Any, stub: Any) -> Any:
    client = kind(NOWHERE, breaker=True, credentials={"authorization": TOKEN})
    client._engine = stub
    return client


def own_share(calls: int) -> float:
    """Microseconds that a successful call costs without its engine, over `calls` of one client."""
    client = _client(failwell.Client, Stub())
    began = time.perf_counter()
    for _ in range(calls):
        client.request("POST", "/things", json=BODY)
    return (time.perf_counter() - began) / calls * 1e6


def own_share_async(calls: int) -> float:
    """The same, awaiting."""

    async def run() -> float:
        client = _client(failwell.AsyncClient, AsyncStub())
        began = time.perf_counter()
        for _ in range(calls):
            await client.request("POST", "/things", json=BODY)
        return (time.perf_counter() - began) / calls * 1e6

    return asyncio.run(run())


def blocks_kept(calls: int) -> int:
    """Blocks of memory that a client holds after `calls` and did not after the first hundred."""
    client = _client(failwell.Client, Stub())
    for _ in range(100):
        client.request("POST", "/things", json=BODY)
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(calls):
        client.request("POST", "/things", json=BODY)
    gc.collect()
    return sys.getallocatedblocks() - before


def overhead(calls: int) -> dict[str, Any]:
    """What failwell itself adds to a successful call, at a hundredth, a tenth and all of `calls`."""
    counts = [max(10, calls // 100), max(10, calls // 10), calls]
    found: dict[str, Any] = {"sync": {}, "async": {}, "blocks_kept": blocks_kept(calls)}
    own_share(1000)
    own_share_async(1000)
    for name, measured in (("sync", own_share), ("async", own_share_async)):
        # The short ones are noisy alone; each count gets about as many calls in sum.
        rounds: dict[int, list[float]] = {count: [] for count in counts}
        for _ in range(5):
            for count in counts:
                rounds[count] += [measured(count) for _ in range(min(20, calls // count))]
        found[name] = {count: median(values) for count, values in rounds.items()}
    return found


def imports(runs: int) -> dict[str, Any]:
    """Milliseconds that an import takes above a bare interpreter, and what else it loads."""
    codes = {
        "bare": "pass",
        "failwell.RateLimitError": "import failwell; failwell.RateLimitError",
        "kneo_client.core.errors": "import kneo_client.core.errors",
    }
    walls: dict[str, list[float]] = {name: [] for name in codes}
    for _ in range(runs + 1):
        for name, code in codes.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-I", "-c", code], check=True)
            walls[name].append((time.perf_counter() - began) * 1e3)
    bare = median(walls["bare"][1:])  # the first round reads files that are not in memory yet
    found: dict[str, Any] = {"bare": bare}
    for name, code in codes.items():
        if name != "bare":
            # The difference within a round: whatever else the machine does then meets both.
            above = [wall - base for wall, base in zip(walls[name][1:], walls["bare"][1:], strict=True)]
            found[name] = {"above": median(above), "foreign": foreign_modules(code)}
    return found


def foreign_modules(code: str) -> list[str]:
    """Top-level modules that `code` loads and that are neither the standard library nor ours."""
    told = f"import sys; before = set(sys.modules); {code}; print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-I", "-c", told], check=True, capture_output=True, text=True)
    tops = {name.partition(".")[0] for name in run.stdout.split()}
    return sorted(tops - sys.stdlib_module_names - {"failwell", "kneo_client"})


def _microseconds(do: Callable[[], object], calls: int) -> float:
    rounds = []
    for _ in range(9):
        began = time.perf_counter()
        for _ in range(calls):
            do()
        rounds.append((time.perf_counter() - began) / calls * 1e6)
    return median(rounds)


def decoding(calls: int) -> dict[str, Any]:
    """Microseconds from a failed answer to its exception, above `json.loads` of its body."""
    found = {}
    for name, (status, value) in FAILURES.items():
        body = json.dumps(value).encode()
        headers = {
            "content-type": "application/json",
            "date": "Tue, 03 Nov 2026 08:00:00 GMT",
            "x-request-id": "req_1",
        }

        def decode(status: int = status, headers: dict[str, str] = headers, body: bytes = body) -> object:
            return failwell.decode(failwell.Answer(status, headers, body))

        def loads(body: bytes = body) -> object:
            return json.loads(body)

        loaded = _microseconds(loads, calls)
        found[name] = {
            "bytes": len(body),
            "above": _microseconds(decode, calls) - loaded,
            "json.loads": loaded,
        }
    return found


class JumpingClock(SystemClock):
    """The machine's clock, where waits do not wait but jump ahead."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead

    def unix(self) -> float:
        return time.time() + self._ahead

    def sleep(self, seconds: float, /) -> None:  # type: ignore[override]
        self._ahead += seconds


def outage(calls: int) -> dict[str, Any]:
    """Requests per call that a service counts which answers 503 to each, over real sockets."""
    found = {}
    with subprocess.Popen(
        [sys.executable, str(HERE / "server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}"
        for name, breaker in (("off", False), ("on", True)):
            count = failwell.Client(url)
            count.request("GET", "/count")
            with failwell.Client(url, breaker=breaker, clock=JumpingClock()) as client:
                for _ in range(calls):
                    try:
                        client.request("POST", "/down", json=BODY)
                    except (failwell.UnavailableError, failwell.CircuitOpenError):
                        continue
                    raise AssertionError("an outage has no successes")
            found[name] = int(count.request("GET", "/count").content) / calls
            count.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=100_000, help="calls of the longest run")
    parser.add_argument("--runs", type=int, default=41, help="runs of each import")
    parser.add_argument("--cpu", type=int, default=None, help="the core to stay on")
    given = parser.parse_args()
    pin(given.cpu)
    forget_proxies()
    print(
        json.dumps(
            {
                "overhead": overhead(given.calls),
                "imports": imports(given.runs),
                "decoding": decoding(max(10, given.calls // 50)),
                "outage": outage(300),
            }
        )
    )


if __name__ == "__main__":
    main()
