"""
Uploads one file in parts, in a process of its own that may be killed at any moment.

Says in lines of JSON what the upload is called as soon as it is known, and at the end what the service
made of the file, the seconds it took and the most memory this process ever had.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import failwell
from failwell import Operation, Part, PartUpload, RetryPolicy, UploadSession, WholeFile
from machine import forget_proxies, pin


def session(answer: failwell.Response) -> UploadSession:
    """What the service says of an upload."""
    data = answer.json()
    parts = {int(number): digest for number, digest in data["parts"].items()}
    done = {"id": data["id"], "sha256": data["sha256"]} if "sha256" in data else None
    return UploadSession(data["id"], data["part_bytes"], parts, data["size"], done)


def upload(path: Path, upload_id: str | None, at_once: int) -> PartUpload[Any]:
    """The upload, as an SDK would describe it."""

    def send(known: UploadSession, part: Part) -> Operation[Any]:
        where = f"/uploads/{known.upload_id}/parts/{part.number}"
        return Operation("PUT", where, lambda answer: answer.json(), content=part.content)

    def complete(known: UploadSession, whole: WholeFile) -> Operation[Any]:
        where = f"/uploads/{known.upload_id}/complete"
        return Operation("POST", where, lambda answer: answer.json(), json={"sha256": whole.sha256})

    return PartUpload(
        path,
        begin=lambda size: Operation("POST", "/uploads", session, json={"size": size}),
        send=send,
        complete=complete,
        look=lambda known: Operation("GET", f"/uploads/{known}", session),
        upload_id=upload_id,
        concurrency=at_once,
        begun=lambda known: say({"upload_id": known.upload_id}),
    )


def say(told: dict[str, Any]) -> None:
    print(json.dumps(told), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("file", type=Path)
    parser.add_argument("--resume", metavar="ID")
    parser.add_argument("--at-once", type=int, default=8)
    parser.add_argument("--awaiting", action="store_true")
    parser.add_argument("--engine", default="httpx")
    parser.add_argument("--cpu", type=int)
    given = parser.parse_args()
    pin(given.cpu)
    forget_proxies()
    order = upload(given.file, given.resume, given.at_once)
    settings: dict[str, Any] = {"retry": RetryPolicy(base=0.05), "deadline": None, "engine": given.engine}
    began, used = time.perf_counter(), time.process_time()
    if given.awaiting:

        async def send() -> Any:
            async with failwell.AsyncClient(given.url, **settings) as client:
                return await client.perform(order)

        result = asyncio.run(send())
    else:
        with failwell.Client(given.url, **settings) as client:
            result = client.perform(order)
    # Kilobytes on Linux, bytes on macOS.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    say(
        {
            "sha256": result["sha256"],
            "wall": time.perf_counter() - began,
            "cpu": time.process_time() - used,
            "peak": peak,
        }
    )


if __name__ == "__main__":
    main()
