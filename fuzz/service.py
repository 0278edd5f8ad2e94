"""
Ask the sandbox's services at random until an answer is wrong.

    python fuzz/service.py [--requests 10000] [--seed 7] [--store postgresql://…] [--service kneo]

Half of the requests are made by schemathesis from the service's own OpenAPI document, with data
that fits it and data that does not; the other half, by hypothesis, keeps to no document. They go
over real sockets. No answer may be a 500, have a status or an error that is declared nowhere, be
one that the SDK cannot decode, or lack its request id; and neither an answer nor a log may repeat a
key or a planted password. Exit status 1, with the request, if one does.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

from service_fuzzer import Fuzzer
from service_targets import fault, summary, target

import failwell_sandbox

SERVICES = ("kneo", "agoralia", "argus", "pictograph", "scopix")


def main() -> int:
    """Try each service; 1 if an answer is wrong, 2 if something is missing."""
    parser = argparse.ArgumentParser(description="Ask the sandbox's services at random.")
    parser.add_argument("--requests", type=int, default=10_000, help="for each service")
    parser.add_argument("--seed", type=int, default=None, help="to repeat a run")
    parser.add_argument(
        "--store", default="", help="sqlite:///, postgresql:// or redis://; SQLite by default"
    )
    parser.add_argument("--service", choices=SERVICES, action="append", help="only this one")
    given = parser.parse_args()
    seed = random.SystemRandom().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}", flush=True)
    services = given.service or SERVICES
    wrong = False
    with failwell_sandbox.running(services, store=given.store) as sandbox:
        for running in sandbox:
            start = time.monotonic()
            fuzzer = Fuzzer(target(running), lambda line: print(line, file=sys.stderr, flush=True))
            try:
                outcome = fuzzer.run(given.requests, seed)
            except ImportError as exc:
                print(f"{exc.name} is not installed: pip install schemathesis", file=sys.stderr)
                return 2
            print(summary(running.name, outcome, time.monotonic() - start), flush=True)
            if outcome.faults:
                wrong = True
                print(fault(running.name, outcome, seed), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
