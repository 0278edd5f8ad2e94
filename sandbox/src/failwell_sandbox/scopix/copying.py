"""Imports, exports and syncs: what is copied by a process of its own, some files at a time."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from failwell.service import StoreBusyError
from failwell_sandbox.child import Child, ChildFailedError, result_of
from failwell_sandbox.database import Connection
from failwell_sandbox.job_queue import Job, JobFailedError, JobQueue
from failwell_sandbox.parameters import is_name
from failwell_sandbox.scopix.accounts import OverQuotaError, account_of
from failwell_sandbox.scopix.core import FILES, Core
from failwell_sandbox.scopix.files import MOST_AT_ONCE, MOST_BYTES, Stored, insert_file
from failwell_sandbox.scopix.kinds_of_file import LOOKED_AT, kind_by_content, kind_by_name
from failwell_sandbox.scopix.looking import WORK, Looking
from failwell_sandbox.scopix.places import environment, place_of
from failwell_sandbox.scopix.tables import OUTCOMES

if TYPE_CHECKING:
    from failwell_sandbox.stored_files import Incoming

# Files that one process copies.
AT_ONCE = 32

# Of a place: what becomes of each stands in the row of its job.
MOST_LISTED = 2_000
LIST_SECONDS = 60.0

# A file that says nothing for so long is given up, seconds.
SILENCE = 300.0

LOOK_EVERY = 0.25


class Copying:
    """
    Carries out the jobs that copy.

    Args:
        core: The service's.
        looking: Woken for files that were imported.
        queue: The service's jobs.
    """

    def __init__(self, core: Core, looking: Looking, queue: JobQueue) -> None:
        self._core = core
        self._looking = looking
        self._queue = queue

    async def fetch(self, job: Job) -> None:
        """Import the files that a job names, or those of a place that are new."""
        place = await self._place(job)
        wanted = [{"path": path, "version": None} for path in job.items]
        if job.kind == "sync":
            wanted = await listed(place)
        state: dict[str, Any] = {"files": [], **job.state, "total": len(wanted)}
        done = {each["path"] for each in state["files"]}
        left = [each for each in wanted if each["path"] not in done]
        if job.kind == "sync":
            state, left = await self._without_unchanged(job, state, left)
        for start in range(0, len(left), AT_ONCE):
            state = await self._fetch_some(job, place, left[start : start + AT_ONCE], state)
        await self._end(job, state)

    async def _without_unchanged(
        self, job: Job, state: dict[str, Any], left: list[dict[str, Any]]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        rows = await self._core.database.read(
            "SELECT path, version FROM synced_objects WHERE connection_id = ?", job.target
        )
        known = dict(rows)
        changed = [each for each in left if known.get(each["path"]) != each["version"]]
        state = {**state, "unchanged": len(left) - len(changed)}
        await self._queue.tell(job, _progress(state), state)
        return state, changed

    async def _fetch_some(
        self, job: Job, place: Mapping[str, Any], some: Sequence[Mapping[str, Any]], state: dict[str, Any]
    ) -> dict[str, Any]:
        with ExitStack() as stack:
            files = {each["path"]: stack.enter_context(self._core.files.begin()) for each in some}
            versions = {each["path"]: each["version"] for each in some}
            account = await account_of(self._core.database, job.tenant)
            # What has no space is refused at the end; an equal file needs none.
            most = min(MOST_BYTES, max(account.most_bytes - account.used_bytes, 0) + MOST_AT_ONCE)
            task = {
                "kind": "fetch", "place": place,
                "files": [{"path": path, "to": str(file.path), "most": most} for path, file in files.items()],
            }  # fmt: skip
            async with Child(WORK, task, environment=environment()) as child:
                for path in files:
                    said = await self._heard(job, child, state)
                    state = await self._keep(job, path, versions[path], files[path], said, state)
        self._looking.wake()
        return state

    async def _heard(self, job: Job, child: Child, state: Mapping[str, Any]) -> dict[str, Any]:
        """What became of the next file."""
        since = time.monotonic()
        while True:
            said = await child.hear(LOOK_EVERY)
            if said is not None and "result" not in said:
                return said
            if said is not None or time.monotonic() - since > SILENCE:
                raise ChildFailedError("crashed", "The process says nothing of a file.")
            await self._queue.tell(job, _progress(state), state)

    async def _keep(
        self, job: Job, path: str, version: str | None, file: Incoming, said: Mapping[str, Any],
        state: dict[str, Any],
    ) -> dict[str, Any]:  # fmt: skip
        """Make a file of what was fetched, and note that it is done."""
        new, error = None, said.get("error")
        if error is None:
            new, error = _recognized(path, file, said)
        if new is not None:
            await asyncio.to_thread(file.keep, FILES, new.stored)
        made: list[bool] = []

        def step(db: Connection) -> tuple[float, dict[str, Any]]:
            outcome = {"path": path, "file_id": None, "status": "failed", "error": error}
            if new is not None:
                try:
                    row, is_new = insert_file(db, job.tenant, new)
                except OverQuotaError as exc:
                    outcome["error"] = f"There is too little space: {exc.available} {exc.unit} are left."
                else:
                    made.append(is_new)
                    outcome = {
                        "path": path, "file_id": row[0], "status": "completed" if is_new else "skipped",
                        "error": None,
                    }  # fmt: skip
                    if version is not None:
                        _note_synced(db, job.target, path, version)
            after = _after(state, outcome)
            return _progress(after), after

        try:
            after = await self._queue.advance(job, step)
        except StoreBusyError:  # nothing was written, so nobody knows of the file
            file.discard()
            raise
        if not made or not made[-1]:
            file.discard()
        return dict(after)

    async def export(self, job: Job) -> None:
        """Copy files of the account to a place."""
        place = await self._place(job)
        state: dict[str, Any] = {"files": [], **job.state, "total": len(job.items)}
        done = {each["file_id"] for each in state["files"]}
        left = [each for each in job.items if each["file_id"] not in done]
        for start in range(0, len(left), AT_ONCE):
            state = await self._put_some(job, place, left[start : start + AT_ONCE], state)
        await self._end(job, state)

    async def _put_some(
        self, job: Job, place: Mapping[str, Any], some: Sequence[Mapping[str, Any]], state: dict[str, Any]
    ) -> dict[str, Any]:
        places = ", ".join("?" * len(some))
        rows = await self._core.database.read(
            f"SELECT id, stored, size FROM files WHERE tenant = ? AND id IN ({places})",  # noqa: S608  # values are bound
            job.tenant, *(each["file_id"] for each in some),
        )  # fmt: skip
        there = {file_id: (stored, size) for file_id, stored, size in rows}
        files = [
            {"path": each["path"], "from": str(self._core.files.path(FILES, there[each["file_id"]][0]))}
            for each in some
            if each["file_id"] in there
        ]
        task = {"kind": "put", "place": place, "files": files}
        async with Child(WORK, task, environment=environment()) as child:
            for each in some:
                outcome = {"path": each["path"], "file_id": each["file_id"], "status": "failed"}
                if each["file_id"] not in there:
                    outcome["error"] = "The file was deleted."
                else:
                    said = await self._heard(job, child, state)
                    error = said.get("error")
                    if error is None and said["size"] != there[each["file_id"]][1]:
                        error = "The storage has another file than was sent."
                    outcome |= {"status": "completed" if error is None else "failed", "error": error}
                state = _after(state, outcome)
                await self._queue.tell(job, _progress(state), state)
        return state

    async def _place(self, job: Job) -> dict[str, Any]:
        found = await place_in(self._core, job.tenant, job.target)
        if found is None:
            raise JobFailedError("connection_gone", "The connection was deleted.")
        return found

    async def _end(self, job: Job, state: Mapping[str, Any]) -> None:
        if state.get("failed") == len(state["files"]) + state.get("unchanged", 0):
            first = next(each["error"] for each in state["files"] if each["status"] == "failed")
            raise JobFailedError("nothing_copied", f"No file was copied. {first}")
        await self._queue.complete(job, state)


async def place_in(core: Core, tenant: str, connection_id: str) -> dict[str, Any] | None:
    """What the process that copies has to know of a connection; None if there is none."""
    rows = await core.database.read(
        "SELECT provider, options, secret FROM connections "
        "LEFT JOIN connection_secrets ON connection_secrets.connection_id = connections.id "
        "WHERE tenant = ? AND id = ?",
        tenant, connection_id,
    )  # fmt: skip
    for provider, options, secret in rows:
        return place_of(
            provider, json.loads(options), json.loads(secret or "{}"), folder=core.files.folder, tenant=tenant
        )
    return None


async def listed(place: Mapping[str, Any]) -> list[dict[str, Any]]:
    """
    The files of a place, by path: `path`, `size` and `version`.

    Raises:
        ChildFailedError: it cannot be used.
    """
    task = {"kind": "list", "place": place, "most": MOST_LISTED}
    try:
        said = await result_of(WORK, task, LIST_SECONDS, environment=environment())
    except TimeoutError:
        raise ChildFailedError("unreachable", "The storage does not answer.") from None
    found: list[dict[str, Any]] = said["files"]
    return found


def _recognized(path: str, file: Incoming, said: Mapping[str, Any]) -> tuple[Stored | None, str | None]:
    """What was fetched, as a file of the account's; or what is wrong with it."""
    name = path.rpartition("/")[2]
    if not is_name(name):
        return None, "A file cannot be called that."
    if not said["size"]:
        return None, "The file is empty."
    start = next(file.chunks(), b"")[:LOOKED_AT]
    known = kind_by_name(name) or kind_by_content(start, whole=len(start) == said["size"])
    if known is None:
        return None, "This is no image, no video, no PDF and no text in UTF-8."
    return Stored(known[0], name, secrets.token_hex(16), said["size"], said["sha256"], known[1]), None


def _after(state: Mapping[str, Any], outcome: Mapping[str, Any]) -> dict[str, Any]:
    counted = OUTCOMES[outcome["status"]]
    return {**state, counted: state.get(counted, 0) + 1, "files": [*state["files"], dict(outcome)]}


def _progress(state: Mapping[str, Any]) -> float:
    done = len(state["files"]) + state.get("unchanged", 0)
    return float(min(done / max(state["total"], 1), 0.999))


def _note_synced(db: Connection, connection_id: str, path: str, version: str) -> None:
    db.execute("DELETE FROM synced_objects WHERE connection_id = ? AND path = ?", connection_id, path)
    db.execute(
        "INSERT INTO synced_objects (connection_id, path, version) VALUES (?, ?, ?)",
        connection_id, path, version,
    )  # fmt: skip
