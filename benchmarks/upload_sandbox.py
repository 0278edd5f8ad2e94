"""
The sandbox's Pictograph, in a process of its own: the real service, which keeps what it is sent.

Prints where it listens and a key, one JSON object, and serves until its standard input ends.
"""

from __future__ import annotations

import argparse
import json
import sys

import failwell_sandbox
from machine import pin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cpu", type=int)
    pin(parser.parse_args().cpu)
    with failwell_sandbox.running(("pictograph",)) as sandbox:
        service = sandbox.pictograph
        print(json.dumps({"url": service.url, "key": service.keys.full}), flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
