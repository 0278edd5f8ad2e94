"""
Decode answers made at random until something breaks.

    python fuzz/decode.py --seconds 60 [--seed 7]

With `atheris` installed its coverage guides the bytes; otherwise hypothesis makes answers of known
shapes, bends them, and prints the seed of every round. Exit status 1, with the answer, if
decoding raised, gave an error that does not travel, or took longer than a second.
"""

from __future__ import annotations

import argparse
import json
import pickle
import random
import sys
import time
from importlib import import_module

from failwell.answer import Answer
from failwell.contract import STANDARD
from failwell.dialects import DIALECTS

KNOWN = [None, *DIALECTS.values()]
STATUSES = (200, 302, 400, 401, 403, 404, 409, 422, 429, 500, 503, 999)
TYPES = (
    "application/json",
    "application/problem+json",
    "application/vnd.api+json",
    "text/html",
    "text/xml",
    "",
)
SEEDS = (
    b'{"error":{"code":"not_found","message":"No such thing.","errors":[{"field":"a[0].b","msg":"bad"}]}}',
    b'{"type":"about:blank","title":"Not Found","status":404,"errors":[{"pointer":"#/a","detail":"bad"}]}',
    b'{"detail":[{"loc":["body","a",0],"msg":"field required","type":"missing"}]}',
    b'{"errors":{"a":{"0":{"_errors":[{"code":"X","message":"must be one of"}]}}},"message":"Invalid"}',
    b'[{"errorCode":"REQUEST_LIMIT_EXCEEDED","message":"TotalRequests Limit exceeded.","fields":["a"]}]',
    b'{"errors":[{"message":"x y","locations":[],"path":["a"],"extensions":{"code":"C"}}],"data":null}',
    b"<Response><Errors><Error><Code>Bad.Id</Code><Message>Bad id</Message></Error></Errors></Response>",
    b"<html><head><title>502 Bad Gateway</title></head><body><h1>502</h1><p>It is gone.</p></body></html>",
    b"error=invalid_grant&error_description=It+has+expired",
    b'event: error\ndata: {"error":{"message":"Overloaded now"}}\n\n',
)


def decode(status: int, content_type: str, wait: str, body: bytes) -> None:
    """Decode one answer in every way; raises whatever is wrong."""
    headers = {
        "content-type": content_type,
        "retry-after": wait,
        "x-ratelimit-reset": wait,
        "ratelimit": wait,
    }
    answer = Answer(status, headers, body)
    start = time.process_time()
    error = STANDARD.decode(answer)
    took = time.process_time() - start
    if took > 1.0:
        raise RuntimeError(f"{took:.1f} s for {len(body)} bytes")
    for dialect in KNOWN[1:]:
        if dialect is not None and body[:1] in (b"{", b"["):
            try:
                value = json.loads(body)
            except (ValueError, RecursionError):
                break
            dialect.read(answer, value)
    if error is not None:
        str(error).encode()
        pickle.loads(pickle.dumps(error))
        json.dumps(error.to_dict())


def bent(body: bytes, dice: random.Random) -> bytes:
    """`body` with a few pieces cut, doubled, swapped or replaced."""
    for _ in range(dice.randint(0, 6)):
        start = dice.randrange(len(body) + 1)
        end = min(len(body), start + dice.randint(0, 20))
        piece = dice.choice(
            (b"", body[start:end] * 2, dice.randbytes(3), b'"', b"{", b"[", b"\\u", b"null", b"<", b"0" * 30,
             dice.choice(SEEDS), b":", b"\xff\xfe", b"-->", b"NaN")
        )  # fmt: skip
        body = body[:start] + piece + body[end:]
    return body


def by_chance(seconds: float, seed: int) -> int:
    """Random rounds until `seconds` are over; the number of answers decoded."""
    deadline = time.monotonic() + seconds
    rounds = 0
    while time.monotonic() < deadline:
        dice = random.Random(f"{seed}.{rounds}")  # reproducible, not secret
        wait = dice.choice(
            ("", "5", "1m30s", "Sun, 01 Mar 2026 12:00:30 GMT", '"a";r=0;t=5', str(dice.random() * 1e20))
        )
        case = (dice.choice(STATUSES), dice.choice(TYPES), wait, bent(dice.choice(SEEDS), dice))
        try:
            decode(*case)
        except Exception as exc:
            print(f"seed {seed}, round {rounds}: {type(exc).__name__}: {exc}\n{case!r}", file=sys.stderr)
            raise
        rounds += 1
    return rounds


def by_coverage(seconds: float) -> None:
    """Let atheris choose the bytes."""
    atheris = import_module("atheris")

    def one(data: bytes) -> None:
        feed = atheris.FuzzedDataProvider(data)
        status = feed.ConsumeIntInRange(100, 999)
        wait = feed.ConsumeString(30)
        decode(status, feed.PickValueInList(list(TYPES)), wait, feed.ConsumeBytes(100_000))

    atheris.Setup([sys.argv[0], f"-max_total_time={int(seconds)}"], one)
    atheris.instrument_all()
    atheris.Fuzz()


def main() -> int:
    """Run until the time is over or something breaks."""
    arguments = argparse.ArgumentParser(description="Decode answers made at random until something breaks.")
    arguments.add_argument("--seconds", type=float, default=60.0)
    arguments.add_argument("--seed", type=int, default=None, help="to repeat a run")
    given = arguments.parse_args()
    try:
        import_module("atheris")
    except ImportError:
        seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
        print(f"seed {seed}")
        try:
            rounds = by_chance(given.seconds, seed)
        except Exception:
            return 1
        print(f"{rounds} answers decoded, none broke")
        return 0
    by_coverage(given.seconds)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
