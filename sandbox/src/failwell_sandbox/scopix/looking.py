"""
Look at what was uploaded: describe images, read documents.

A file's row says that it is to be looked at. Who takes it up writes its name and a term into it, as
with jobs; some are taken up together, because a process for each would take longer than looking.
What is found goes into the index first, and into the row last.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from failwell.service import StoreBusyError
from failwell_sandbox.child import Child, ChildFailedError
from failwell_sandbox.database import Connection
from failwell_sandbox.scopix.core import FILES, Core
from failwell_sandbox.scopix.search import Passage
from failwell_sandbox.worker import Worker

log = logging.getLogger("failwell_sandbox")

WORK = "failwell_sandbox.scopix.work"

# Taken up together.
AT_ONCE = {"image": 32, "document": 8}

# A file that takes longer, seconds, is given up.
MOST_SECONDS = {"image": 60.0, "document": 180.0}

# A file whose process, or whose service, died so often is no longer looked at.
MOST_ATTEMPTS = 5

# After the first time, seconds; twice as long after each further one.
PAUSE = 0.5

# Between two looks whether the files are still wanted, seconds.
LOOK_EVERY = 0.25

_OPEN = "(status = 'pending' OR (status = 'processing' AND held_until <= {now}))"

_TAKE = f"""
UPDATE files SET status = 'processing', attempts = attempts + 1, holder = ?, held_until = {{now}} + ?
WHERE seq IN (SELECT seq FROM files WHERE kind = ? AND {_OPEN} ORDER BY seq LIMIT ? {{skip_locked}})
RETURNING seq, id, tenant, name, stored, content_type, attempts
"""  # noqa: S608  # constant words

_OURS = "holder = ? AND status = 'processing'"

_END = f"UPDATE files SET status = ?, found = ?, error = ?, holder = NULL WHERE seq = ? AND {_OURS}"  # noqa: S608  # constant words

_RENEW = f"UPDATE files SET held_until = {{now}} + ? WHERE kind = ? AND {_OURS}"  # noqa: S608  # constant words

_GIVE_BACK = f"""
UPDATE files SET status = 'pending', holder = NULL, attempts = attempts - 1 WHERE seq = ? AND {_OURS}
"""  # noqa: S608  # constant words

_BROKE_OFF = f"UPDATE files SET holder = NULL, held_until = {{now}} + ? WHERE seq = ? AND {_OURS}"  # noqa: S608  # constant words


class _File(NamedTuple):
    """A row that was taken up."""

    seq: int
    id: str
    tenant: str
    name: str
    stored: str
    content_type: str
    attempts: int


class Looking:
    """
    Looks at files in the background.

    Args:
        core: The service's.
        lease: Seconds after which a file is taken over, if nothing is heard of who looks at it.
    """

    def __init__(self, core: Core, lease: float) -> None:
        self._core = core
        self._lease = lease
        self._workers = [Worker(self._next_of(kind), f"scopix-{kind}s") for kind in AT_ONCE]

    def start(self) -> None:
        """Begin, on the running loop."""
        for worker in self._workers:
            worker.start()

    def wake(self) -> None:
        """Say that there is something to look at."""
        for worker in self._workers:
            worker.wake()

    async def stop(self) -> None:
        """Give back what is being looked at, and end."""
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def _next_of(self, kind: str) -> Callable[[], Awaitable[bool]]:
        async def look_at_next() -> bool:
            """Look at the oldest files that wait for it, or that their worker left behind."""
            database = self._core.database
            # A look spares all the others the lock of a write.
            waiting = f"SELECT 1 FROM files WHERE kind = ? AND {_OPEN} LIMIT 1"  # noqa: S608  # constant words
            if not await database.read(waiting, kind):
                return False
            holder = secrets.token_hex(8)

            def take(db: Connection) -> list[_File]:
                rows = db.rows(_TAKE, holder, self._lease, kind, AT_ONCE[kind])
                return sorted(_File(*row) for row in rows)

            files = await database.write(take)
            if files:
                await self._look_at(kind, files, holder)
            return bool(files)

        return look_at_next

    async def _look_at(self, kind: str, files: Sequence[_File], holder: str) -> None:
        left = {file.id: file for file in files}
        try:
            for file in files:
                if file.attempts > MOST_ATTEMPTS:
                    await self._end(file, holder, error=f"It broke off {MOST_ATTEMPTS} times.")
                    del left[file.id]
            await self._listen(kind, left, holder)
        except asyncio.CancelledError:
            # This process ends: another one need not wait for the term.
            with suppress(StoreBusyError):
                await self._give_back(left.values(), holder)
            raise
        except ChildFailedError as exc:
            if exc.code != "crashed":
                for file in list(left.values()):
                    await self._end(file, holder, error=str(exc))
                return
            # Files are looked at in their order: the first that is left broke it, and only it was tried.
            culprit, *others = left.values()
            log.warning("looking at %s broke off, attempt %d", culprit.id, culprit.attempts)
            await self._give_back(others, holder)
            pause = PAUSE * 2 ** (culprit.attempts - 1)
            await self._core.database.write(lambda db: db.execute(_BROKE_OFF, pause, culprit.seq, holder))

    async def _listen(self, kind: str, left: dict[str, _File], holder: str) -> None:
        if not left:
            return
        task = {
            "kind": kind,
            "files": [
                {
                    "id": file.id, "path": str(self._core.files.path(FILES, file.stored)),
                    "type": file.content_type,
                }
                for file in left.values()
            ],
        }  # fmt: skip
        async with Child(WORK, task) as child:
            heard = renewed = time.monotonic()
            while left:
                said = await child.hear(LOOK_EVERY)
                now = time.monotonic()
                if now - renewed > self._lease / 3:
                    renewed = now
                    await self._renew(kind, holder)
                if said is None:
                    if now - heard > MOST_SECONDS[kind]:
                        slow = left.pop(next(iter(left)))
                        await self._end(slow, holder, error="It takes too long to look at.")
                        # The others were not begun.
                        await self._give_back(left.values(), holder)
                        return
                    continue
                heard = now
                if "result" in said:
                    raise ChildFailedError("crashed", "The process said nothing of a file.")
                await self._keep(left.pop(said["file"]), said, holder)

    async def _keep(self, file: _File, said: Mapping[str, Any], holder: str) -> None:
        if "error" in said:
            await self._end(file, holder, error=said["error"])
            return
        passages = [Passage(*each) for each in said["passages"]]
        await asyncio.to_thread(self._core.search.replace, file.tenant, file.id, passages)
        if not await self._end(file, holder, found=said["found"]):
            rows = await self._core.database.read("SELECT 1 FROM files WHERE id = ?", file.id)
            if not rows:
                await asyncio.to_thread(self._core.search.forget, [file.id])

    async def _end(
        self, file: _File, holder: str, *, found: Mapping[str, Any] | None = None, error: str | None = None
    ) -> int:
        values = (
            "completed" if error is None else "failed", None if found is None else json.dumps(found), error,
            file.seq, holder,
        )  # fmt: skip
        return await self._core.database.write(lambda db: db.execute(_END, *values))

    async def _renew(self, kind: str, holder: str) -> None:
        await self._core.database.write(lambda db: db.execute(_RENEW, self._lease, kind, holder))

    async def _give_back(self, files: Iterable[_File], holder: str) -> None:
        some = list(files)

        def give_back(db: Connection) -> None:
            for file in some:
                db.execute(_GIVE_BACK, file.seq, holder)

        if some:
            await self._core.database.write(give_back)
