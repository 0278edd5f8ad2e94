"""
Interrupts an upload of a folder at half, runs it again, and looks whether anything is twice or missing.

    python benchmarks/interrupted_uploads.py                  2,000 images of 200 kB, by SIGINT and by SIGKILL
    python benchmarks/interrupted_uploads.py --images 100     shorter

The first upload is a process of its own, which is ended by the signal while sixteen files are on their
way to the sandbox's Pictograph; the second has `skip_existing=True`. Prints one line for each signal,
and fails if an image is stored twice, is missing, or is not the file's bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2

from machine import forget_proxies
from sides import Talking
from tables import say
from uploads import SANDBOX, dataset, images

UPLOAD = """
import sys, pictograph

url, key, dataset, folder, half = sys.argv[1:]

def tell(result, done, total):
    if done == int(half):
        print("half", flush=True)

with pictograph.Client(key, base_url=url) as client:
    pictograph.upload_folder(client, dataset, folder, progress=tell)
"""


def stored(where: dict[str, str], dataset_id: str) -> list[dict[str, Any]]:
    """What the service says it has of a dataset."""
    found: list[dict[str, Any]] = []
    headers = {"authorization": f"Bearer {where['key']}"}
    with httpx2.Client(base_url=where["url"], headers=headers, trust_env=False, timeout=60) as client:
        query: dict[str, Any] = {"limit": 1000}
        while True:
            page = client.get(f"/v1/datasets/{dataset_id}/images", params=query).raise_for_status().json()
            found += page["items"]
            if page["next_cursor"] is None:
                return found
            query["cursor"] = page["next_cursor"]


def interrupted(where: dict[str, str], folder: Path, how: signal.Signals) -> dict[str, Any]:
    """Upload until half, end it by `how`, upload again; what came of both."""
    from pictograph import Client, upload_folder

    digests = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    with dataset(where) as made:
        command = [sys.executable, "-c", UPLOAD, where["url"], where["key"], made["id"], str(folder)]
        with subprocess.Popen(
            [*command, str(len(digests) // 2)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as first:
            assert first.stdout is not None
            first.stdout.readline()
            first.send_signal(how)
            code = first.wait()
        before = {image["id"] for image in stored(where, made["id"])}
        with Client(where["key"], base_url=where["url"]) as client:
            results = upload_folder(client, made["id"], folder, skip_existing=True)
        after = stored(where, made["id"])
    names = Counter(image["name"] for image in after)
    statuses = Counter(result.status for result in results)
    return {
        "signal": how.name,
        "exit code": code,
        "at the interruption": len(before),
        "skipped": statuses["skipped"],
        "uploaded": statuses["uploaded"],
        "stored": len(after),
        "twice": sum(number - 1 for number in names.values()),
        "missing": len(digests.keys() - names.keys()),
        "other bytes": sum(digests[image["name"]] != image["sha256"] for image in after),
        "stored anew": len(before - {image["id"] for image in after}),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--image-kb", type=int, default=200)
    given = parser.parse_args()
    forget_proxies()
    wrong = 0
    server = Talking(SANDBOX, core=None)
    try:
        where: dict[str, str] = json.loads(server.line())
        with tempfile.TemporaryDirectory(prefix="failwell-interrupted-") as made:
            folder = images(Path(made) / "images", given.images, given.image_kb * 1000)
            for how in (signal.SIGINT, signal.SIGKILL):
                say(f"{how.name}: {given.images:,} images")
                found = interrupted(where, folder, how)
                say("")
                print(", ".join(f"{name}: {value}" for name, value in found.items()), flush=True)
                faults = ("twice", "missing", "other bytes", "stored anew")
                wrong += sum(found[name] for name in faults) + abs(found["stored"] - given.images)
    finally:
        server.close()
    if wrong:
        raise SystemExit("nothing may be twice, and nothing missing")


if __name__ == "__main__":
    main()
