"""
Work in the background that survives a restart.

A job is a row. Who takes it up writes its name and a term into it, and renews that while it works;
when the term is over without news, another one takes it up again. Each change asks that the row be
still ours, so that whoever was overtaken, or whose job was cancelled, changes nothing any more.

The table is called `jobs`, and has at least these columns: seq, id, tenant, kind, facts, items, status,
progress, state, error, attempts, request_id, started_at, finished_at, holder, held_until; and the one that
says what a job is done to.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from failwell.answer import Answer
from failwell.service import Debit, StoreBusyError
from failwell_sandbox.child import Child, ChildFailedError
from failwell_sandbox.database import Connection, Database
from failwell_sandbox.worker import Worker

State = TypeVar("State", bound=Mapping[str, Any])

log = logging.getLogger("failwell_sandbox")

# Between two looks whether a job is still wanted, seconds.
LOOK_EVERY = 0.25

# A job whose process, or whose service, died so often is no longer taken up.
MOST_ATTEMPTS = 5

# After the first time, seconds; twice as long after each further one. What ails a machine, such as
# too little memory, is seldom over at once.
PAUSE = 0.5

_OPEN = "(status = 'queued' OR (status = 'running' AND held_until <= {now}))"

_TAKE = """
UPDATE jobs SET status = 'running', started_at = coalesce(started_at, {now}), attempts = attempts + 1,
                holder = ?, held_until = {now} + ?
WHERE seq = (SELECT seq FROM jobs WHERE kind IN (KINDS) AND OPEN ORDER BY seq LIMIT 1 {skip_locked})
RETURNING seq, id, tenant, kind, TARGET, facts, items, state, attempts, request_id
""".replace("OPEN", _OPEN)

_OURS = "WHERE seq = ? AND holder = ? AND status = 'running'"

_RENEW = f"UPDATE jobs SET held_until = {{now}} + ?, progress = ?, state = ? {_OURS}"  # noqa: S608  # constant words

_GIVE_BACK = f"""
UPDATE jobs SET status = 'queued', holder = NULL, held_until = NULL, attempts = attempts - 1 {_OURS}
"""  # noqa: S608  # constant words

_BROKE_OFF = f"UPDATE jobs SET holder = NULL, held_until = {{now}} + ? {_OURS}"  # noqa: S608  # constant words

_END = f"""
UPDATE jobs SET status = ?, state = ?, error = ?, finished_at = {{now}}, holder = NULL {_OURS}
"""  # noqa: S608  # constant words


class OvertakenError(Exception):
    """The job is no longer ours."""


class JobFailedError(Exception):  # no failure of a call: it becomes the job's `error`
    """
    A job that cannot be done.

    Attributes:
        code: For programs.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Job:
    """
    A job that is being carried out.

    Attributes:
        seq: Its row.
        id: Its name on the wire.
        tenant: Whose.
        kind: What is to be done.
        target: To what.
        facts: How.
        items: With what.
        state: How far it was when it was last left.
        attempts: How often it was taken up, this time included.
        request_id: Of the request that asked for it.
        holder: Who does it: nobody else's news of it count.
        more: The further columns that the service asked for, by name.
    """

    seq: int
    id: str
    tenant: str
    kind: str
    target: str
    facts: dict[str, Any]
    items: list[Any]
    state: dict[str, Any]
    attempts: int
    request_id: str
    holder: str
    more: dict[str, Any]


class JobQueue:
    """
    Carries out what is queued.

    Args:
        database: The service's.
        lease: Seconds after which a job is taken over, if nothing is heard of who carries it out.
        work: Does a job; it ends it by `complete`, or raises `JobFailedError`.
        lanes: The kinds of jobs that each worker takes up.
        error_of: The `error` of a job that failed, by the job, the code and the message.
        name: Of the service, for the log.
        target: The column with `Job.target`.
        more: Further columns, for `Job.more`.
        cost_of: Credits that are given back for a job that failed.
    """

    def __init__(
        self,
        database: Database,
        lease: float,
        work: Callable[[Job], Awaitable[None]],
        lanes: Sequence[Sequence[str]],
        error_of: Callable[[Job, str, str], Mapping[str, Any]],
        name: str,
        *,
        target: str = "target",
        more: Sequence[str] = (),
        cost_of: Callable[[Job], int] = lambda job: 0,
    ) -> None:
        self._database = database
        self._lease = lease
        self._work = work
        self._error_of = error_of
        self._more = tuple(more)
        self._cost_of = cost_of
        self._take = _TAKE.replace("TARGET", target).rstrip() + "".join(f", {column}" for column in more)
        self._workers = [
            Worker(self._next_of(kinds), f"{name}-{at}-{kinds[0]}") for at, kinds in enumerate(lanes)
        ]

    def start(self) -> None:
        """Begin, on the running loop."""
        for worker in self._workers:
            worker.start()

    def wake(self) -> None:
        """Say that there is something to do."""
        for worker in self._workers:
            worker.wake()

    async def stop(self) -> None:
        """Give back what is being done, and end."""
        await asyncio.gather(*(worker.stop() for worker in self._workers))

    def _next_of(self, kinds: Sequence[str]) -> Callable[[], Awaitable[bool]]:
        listed = ", ".join(f"'{kind}'" for kind in kinds)
        taking = self._take.replace("KINDS", listed)
        looking = f"SELECT 1 FROM jobs WHERE kind IN ({listed}) AND {_OPEN} LIMIT 1"  # noqa: S608  # constant words

        async def carry_out_next() -> bool:
            """Carry out the oldest job that is queued, or that its worker left behind."""
            # A look spares all the others the lock of a write.
            looked = await self._database.read(looking)
            job = await self._database.write(lambda db: self._taken(db, taking)) if looked else None
            if job is None:
                return False
            await self._carry_out(job)
            return True

        return carry_out_next

    def _taken(self, db: Connection, taking: str) -> Job | None:
        holder = secrets.token_hex(8)
        for row in db.rows(taking, holder, self._lease):
            seq, job_id, tenant, kind, target, facts, items, state, attempts, request_id, *more = row
            return Job(
                seq, job_id, tenant, kind, target, json.loads(facts), json.loads(items), json.loads(state),
                attempts, request_id, holder, dict(zip(self._more, more, strict=True)),
            )  # fmt: skip
        return None

    async def _carry_out(self, job: Job) -> None:
        try:
            if job.attempts > MOST_ATTEMPTS:
                raise JobFailedError("abandoned", f"It broke off {MOST_ATTEMPTS} times.")
            await self._work(job)
        except OvertakenError:
            return
        except asyncio.CancelledError:
            # This process ends: another one need not wait for the term.
            with suppress(StoreBusyError):
                await self._database.write(lambda db: db.execute(_GIVE_BACK, job.seq, job.holder))
            raise
        except ChildFailedError as exc:
            if exc.code == "crashed":
                # Nobody holds it from now on, and it is taken up again after a while, if not for ever.
                log.warning("job %s broke off, attempt %d", job.id, job.attempts)
                pause = PAUSE * 2 ** (job.attempts - 1)
                await self._database.write(lambda db: db.execute(_BROKE_OFF, pause, job.seq, job.holder))
                return
            await self._fail(job, exc.code, str(exc))
        except JobFailedError as exc:
            await self._fail(job, exc.code, str(exc))

    async def _fail(self, job: Job, code: str, message: str) -> None:
        """Write down that it cannot be done, and give back what was paid for it."""
        error = json.dumps(self._error_of(job, code, message))
        cost = self._cost_of(job)

        def end(raw: Any) -> Answer:
            db = self._database.on(raw)
            # What was done of it by then stands in the row.
            rows = db.rows("SELECT state FROM jobs WHERE seq = ? {for_update}", job.seq)
            state = rows[0][0] if rows else "{}"
            if not db.execute(_END, "failed", state, error, job.seq, job.holder):
                raise OvertakenError
            return Answer(200, {}, b"")

        with suppress(OvertakenError):
            await self._database.store.commit(
                None, end, keep=1.0, tenant=job.tenant, request_id=job.request_id,
                debits=(Debit(-cost),) if cost else (),
            )  # fmt: skip

    async def tell(self, job: Job, progress: float, state: Mapping[str, Any]) -> None:
        """
        Write down how far a job is, and that somebody is at it.

        Raises:
            OvertakenError: it was cancelled, or is another one's.
        """
        await self.advance(job, lambda db: (progress, state))

    async def advance(self, job: Job, step: Callable[[Connection], tuple[float, State]]) -> State:
        """
        Do a step of a job, and write down in the same transaction how far it is.

        Args:
            job: Which.
            step: Gives the job's progress and its state.

        Returns:
            The state.

        Raises:
            OvertakenError: it was cancelled, or is another one's; nothing was done.
        """

        def work(db: Connection) -> State:
            progress, state = step(db)
            if not db.execute(_RENEW, self._lease, progress, json.dumps(state), job.seq, job.holder):
                raise OvertakenError
            return state

        return await self._database.write(work)

    async def complete(
        self, job: Job, state: Mapping[str, Any], also: Callable[[Connection], object] = lambda db: None
    ) -> None:
        """
        Write down that a job is done, and in the same transaction what else there is to be written.

        Raises:
            OvertakenError: it was cancelled, or is another one's; nothing was written.
        """

        def end(db: Connection) -> None:
            if not db.execute(_END, "completed", json.dumps(state), None, job.seq, job.holder):
                raise OvertakenError
            also(db)

        await self._database.write(end)

    async def done_by_child(
        self, job: Job, module: str, task: Mapping[str, Any], state: Mapping[str, Any]
    ) -> dict[str, Any]:
        """
        What a child process makes of a task.

        Args:
            job: Whose term is renewed meanwhile, and whose progress is that of the child.
            module, task: See `Child`.
            state: Of the job, meanwhile; what else the child says goes into it.

        Raises:
            ChildFailedError: it cannot be done.
            OvertakenError: the job was cancelled, or is another one's.
        """
        progress = 0.0
        async with Child(module, task) as child:
            while "result" not in (said := await child.hear_or_end(LOOK_EVERY)):
                if said:
                    progress = min(said.pop("progress"), 0.999)
                    state = {**state, **said}
                await self.tell(job, progress, state)
        result: dict[str, Any] = said["result"]
        return result
