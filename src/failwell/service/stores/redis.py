"""
The store on Redis, for a service on several machines whose effects are elsewhere.

It shares no transaction with the service's own tables, so that it keeps two levels of
idempotency, `resumable` and `at_most_once`, and no credits. What it promises holds as long as
Redis keeps what it was told: `appendonly yes`, and `maxmemory-policy noeviction`, because a claim
that was evicted lets a second effect through. `failwell doctor` looks.

One trip, one script: they stand in `redis_scripts`. An answer that is lost is asked for again, on
another connection, until `patience` is over. The scripts are made for that; so are they for
redis-py's own repeating, which is switched off here only because it knows no end in seconds.

The keys, all beginning with `prefix`:

    {keys}:<public part>        a hash: the key
    {keys}                      a set: the tenants that are shut out
    {limit:<subject>}           a string: when each allowance is whole again, microseconds
    {limit:<subject>}:<token>   a string: what a request was told, for as long as it may ask again
    {records}:<slot>            a hash: the claim, its steps, the answer
    {records}                   a sorted set: the `at_most_once` claims by when their leases lapse
    {records}:told:<token>      a string: that a claim was settled, as above
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import time
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar

from failwell.answer import Answer
from failwell.errors import ConfigurationError
from failwell.service.idempotency import Claim, InFlight, Mismatch, Recorded, Unsettled, replayable
from failwell.service.keys import StoredKey
from failwell.service.limits import MICROSECONDS, Limit, decision
from failwell.service.stores import redis_scripts as scripts
from failwell.service.stores.base import StoreBusyError, fenced_unless
from failwell.service.stores.urls import names_a_redis_database

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence

    from failwell.service.idempotency import Claimed, Level
    from failwell.service.limits import Decision
    from failwell.service.stores.base import Counting
    from failwell.service.stores.redis_scripts import Script

T = TypeVar("T")

# 5.2.1 is the first whose asyncio pools are sound; 8.0.0 and 8.0.1 cap a pool at 100 connections
# whatever it is told and hang at that.
LEAST_REDIS_PY = (5, 2, 1)
REFUSED_REDIS_PY = frozenset({(8, 0, 0), (8, 0, 1)})

# For one event loop. A script takes microseconds; what waits is the way there and back.
MOST_CONNECTIONS = 32

# Between two tries to get an answer: the first, which each further one doubles, and the longest.
FIRST_WAIT = 0.01
LONGEST_WAIT = 0.25

# What a server says that cannot answer now, or cannot take a write: it runs somebody's script, is
# starting, follows another, is full, cannot save, or is being moved. Up to Redis 6 the word stands
# in the middle of the error of a script.
_BUSY = re.compile(r"(?:^|-)(BUSY|LOADING|READONLY|OOM|MISCONF|MASTERDOWN|NOREPLICAS|CLUSTERDOWN|TRYAGAIN) ")
_BUSY_CLASSES = ("OutOfMemoryError", "ReadOnlyError", "MasterDownError", "ClusterDownError", "TryAgainError")


class RedisStore:
    """
    A store in one Redis, or whatever speaks its protocol and runs its scripts.

    Nothing is connected to before the first call.

    Args:
        url: `redis://host/0`, `rediss://…` or `unix://…`, as redis-py reads it.
        prefix: What every key begins with; services that share a database have different ones.
        patience: Seconds a call waits for an answer before `StoreBusyError`. Then it is not
            known whether the call was carried out; asked for again, it is safe.
        clock: Unix seconds, for tests; None for the server's own.

    Raises:
        ConfigurationError: redis-py is not installed, is one of the versions that lose
            connections, or cannot read the URL; or the prefix has braces.
    """

    levels: frozenset[Level] = frozenset({"resumable", "at_most_once"})

    def __init__(
        self,
        url: str,
        *,
        prefix: str = "failwell",
        patience: float = 5.0,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._redis = _redis_py()
        self._errors = self._redis.exceptions
        if not prefix or "{" in prefix or "}" in prefix:
            # Redis hashes what stands in the first braces of a key.
            raise ConfigurationError("the prefix of a Redis store needs a character, and no braces")
        if not names_a_redis_database(url):
            raise ConfigurationError("a database of Redis is a number: redis://host/0")
        self.prefix = prefix
        self._url = url
        self._patience = patience
        self._clock = clock
        # Longer than anybody repeats a call: to the end of his patience, and the server's.
        self._told_for = b"%d" % math.ceil(patience * 2000 + 1000)
        self._shut = _name(prefix, "keys")
        self._index = _name(prefix, "records")
        self._closed = False
        # A connection of redis.asyncio belongs to the event loop that made it.
        self._links: dict[asyncio.AbstractEventLoop, _Link] = {}
        pool = self._pool(self._redis, self._redis.retry.Retry)
        try:
            # Whether it knows the options of the URL shows with the first connection.
            pool.connection_class(**pool.connection_kwargs)
        except (TypeError, ValueError, self._errors.RedisError):
            raise ConfigurationError(
                "redis-py does not know an option of the URL of the Redis store"
            ) from None
        self._blocking = self._redis.Redis(connection_pool=pool)

    def _pool(self, package: Any, retry: Any) -> Any:
        try:
            return package.BlockingConnectionPool.from_url(
                self._url,
                max_connections=MOST_CONNECTIONS,
                timeout=self._patience,
                # One that hears nothing leaves half of the patience for another.
                socket_timeout=self._patience / 2,
                socket_connect_timeout=self._patience / 2,
                retry=retry(self._redis.backoff.NoBackoff(), 0),
                # The newer protocol has nothing for us, and costs a greeting.
                protocol=2,
                decode_responses=False,
            )
        except ValueError:
            # Its text could repeat the URL, which may hold a password.
            raise ConfigurationError("redis-py cannot read the URL of the Redis store") from None

    # --- how a call is made ---

    def _now(self) -> bytes:
        return b"" if self._clock is None else b"%d" % int(self._clock() * MICROSECONDS)

    async def _run(self, script: Script, keys: Sequence[bytes], *args: Any) -> Any:
        """What a script says."""
        words = (len(keys), *keys, *args)
        link = await self._link()
        link.begin()
        try:
            with self._busy():
                async with asyncio.timeout(self._patience):
                    return await self._until_heard(link, script, words)
        finally:
            link.end()

    async def _until_heard(self, link: _Link, script: Script, words: Sequence[Any]) -> Any:
        deadline = time.monotonic() + self._patience
        wait = FIRST_WAIT
        while True:
            try:
                try:
                    return await link.client.evalsha(script.sha, *words)
                except self._errors.NoScriptError:
                    # A server that was started since, or never asked; this one remembers it.
                    return await link.client.eval(script.source, *words)
            except (self._errors.ConnectionError, self._errors.TimeoutError) as exc:
                if self._is_hopeless(exc) or time.monotonic() + wait > deadline:
                    raise
            await asyncio.sleep(wait)
            wait = min(wait * 2, LONGEST_WAIT)

    def _run_blocking(self, work: Callable[[Any], T]) -> T:
        """What `work` returns, on a client that blocks."""
        if self._closed:
            raise StoreBusyError("the store is closed")
        deadline = time.monotonic() + self._patience
        wait = FIRST_WAIT
        with self._busy():
            while True:
                try:
                    return work(self._blocking)
                except (self._errors.ConnectionError, self._errors.TimeoutError) as exc:
                    if self._is_hopeless(exc) or time.monotonic() + wait > deadline:
                        raise
                time.sleep(wait)
                wait = min(wait * 2, LONGEST_WAIT)

    def _is_hopeless(self, exc: Exception) -> bool:
        # They are called errors of the connection, but it stands, and the next will say the same.
        return isinstance(exc, (self._errors.AuthenticationError, self._errors.AuthorizationError))

    @contextmanager
    def _busy(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError as exc:
            raise StoreBusyError("Redis does not answer") from exc
        except self._errors.RedisError as exc:
            if self._is_busy(exc):
                raise StoreBusyError(f"Redis cannot answer now: {type(exc).__name__}") from exc
            raise

    def _is_busy(self, exc: Exception) -> bool:
        if isinstance(exc, (self._errors.ConnectionError, self._errors.TimeoutError)):
            return not self._is_hopeless(exc)
        classes = tuple(getattr(self._errors, name) for name in _BUSY_CLASSES)
        return isinstance(exc, classes) or _BUSY.search(str(exc)) is not None

    async def _link(self) -> _Link:
        """The connections of this event loop."""
        if self._closed:
            raise StoreBusyError("the store is closed")
        loop = asyncio.get_running_loop()
        link = self._links.get(loop)
        if link is None:
            package = self._redis.asyncio
            client = package.Redis(connection_pool=self._pool(package, package.retry.Retry))
            link = self._links[loop] = _Link(client)
            link.keeper = self._keep(loop, link)
            await anext(link.keeper)
        return link

    async def _keep(self, loop: asyncio.AbstractEventLoop, link: _Link) -> AsyncGenerator[None]:
        """
        Let go of the connections of a loop when the loop ends.

        A loop finalizes the asynchronous generators that were begun in it before it closes
        (`loop.shutdown_asyncgens`, which `asyncio.run` calls); nothing else is told of its end.
        """
        try:
            yield
        finally:
            self._links.pop(loop, None)
            await link.close(self._patience)

    async def aclose(self) -> None:
        """See `Store.aclose`."""
        self._closed = True
        link = self._links.get(asyncio.get_running_loop())
        if link is not None:
            await link.keeper.aclose()
        self.close()

    def close(self) -> None:
        """See `Store.close`. A loop that runs lets go of its connections by itself, when it ends."""
        self._closed = True
        for loop, link in list(self._links.items()):
            if loop.is_closed():
                del self._links[loop]
            elif not loop.is_running() and not _in_a_loop():
                loop.run_until_complete(link.keeper.aclose())
        self._blocking.close()
        self._blocking.connection_pool.disconnect()

    # --- keys ---

    def add_keys(self, keys: Iterable[StoredKey], /) -> None:
        """See `Store.add_keys`."""
        rows = [(self._key_name(key.public), _row(key)) for key in keys]

        def add(client: Any) -> None:
            with client.pipeline(transaction=True) as together:
                for name, row in rows:
                    together.delete(name)
                    together.hset(name, mapping=row)
                together.execute()

        if rows:
            self._run_blocking(add)

    def revoke_key(self, public: str, /) -> bool:
        """See `Store.revoke_key`."""
        source, name = scripts.REVOKE.source, self._key_name(public)
        return bool(self._run_blocking(lambda client: client.eval(source, 1, name)))

    def set_tenant_active(self, tenant: str, active: bool, /) -> None:
        """See `Store.set_tenant_active`."""
        command = "SREM" if active else "SADD"
        self._run_blocking(lambda client: client.execute_command(command, self._shut, _bytes(tenant)))

    async def admit(self, public: str, counting: Counting, /) -> tuple[StoredKey | None, Decision | None]:
        """See `Store.admit`. In two trips, because only the key says what is to be counted."""
        row = await self._run(scripts.FIND, (self._key_name(public), self._shut))
        key = None if row is None else _stored_key(public, *row)
        counted = counting(key)
        return key, None if counted is None else await self.take(*counted)

    def _key_name(self, public: str) -> bytes:
        return self._shut + b":" + _bytes(public)

    # --- limits ---

    async def take(self, subject: str, limits: Sequence[Limit], /) -> Decision:
        """See `Store.take`."""
        numbers = _name(self.prefix, f"limit:{subject}")
        told = b"%s:%s" % (numbers, os.urandom(12).hex().encode())
        spans = [number for limit in limits for number in (limit.interval, limit.span)]
        outcome = await self._run(scripts.TAKE, (numbers, told), self._now(), self._told_for, *spans)
        allowed, now, *tats = map(int, outcome.split())
        return decision(limits, bool(allowed), tats, now)

    # --- idempotency ---

    def _record(self, slot: bytes) -> bytes:
        return b"%s:%s" % (self._index, slot.hex().encode())

    async def claim(self, wanted: Claim, /, *, lease: float, keep: float, take_over: bool = True) -> Claimed:
        """See `Store.claim`."""
        kind, *facts = await self._run(
            scripts.CLAIM, (self._record(wanted.slot), self._index), self._now(), wanted.slot,
            wanted.fingerprint, wanted.token, _bytes(wanted.request_id), int(take_over),
            _microseconds(lease), _microseconds(keep),
        )  # fmt: skip
        match kind:
            case b"mismatch":
                return Mismatch()
            case b"recorded":
                request_id, status, headers, body = facts
                return Recorded(_answer(status, headers, body), _text(request_id))
            case b"in_flight":
                return InFlight(int(facts[0]) / MICROSECONDS)
            case b"unsettled":
                return Unsettled(wanted.slot, _text(facts[0]), int(facts[1]) / MICROSECONDS)
        if not facts:
            return wanted
        steps = {_text(name): json.loads(result) for name, result in zip(*[iter(facts)] * 2, strict=True)}
        return Claim(wanted.slot, wanted.fingerprint, wanted.token, wanted.request_id, steps)

    async def renew(self, claim: Claim, /, *, lease: float) -> bool:
        """See `Store.renew`."""
        return await self._by_holder(scripts.RENEW, claim, _microseconds(lease))

    async def keep_step(self, claim: Claim, name: str, result: Any, /) -> None:
        """See `Store.keep_step`."""
        said = json.dumps(result)
        keys = (self._record(claim.slot),)
        fenced_unless(bool(await self._run(scripts.KEEP_STEP, keys, claim.token, _bytes(name), said)))

    async def record(self, claim: Claim, answer: Answer | None, /, *, keep: float) -> None:
        """See `Store.record`."""
        fenced_unless(
            await self._by_holder(scripts.RECORD, claim, _microseconds(keep), *_columns(answer)),
        )

    async def release(self, claim: Claim, /) -> None:
        """See `Store.release`."""
        await self._by_holder(scripts.RELEASE, claim)

    async def _by_holder(self, script: Script, claim: Claim, *args: Any) -> bool:
        keys = (self._record(claim.slot), self._index)
        return bool(await self._run(script, keys, self._now(), claim.slot, claim.token, *args))

    async def unsettled(self, *, most: int = 100) -> list[Unsettled]:
        """See `Store.unsettled`."""
        found: list[Unsettled] = []
        passed = 0
        while len(found) < most:
            more = most - len(found)
            slots = await self._run(scripts.LAPSED, (self._index,), self._now(), passed, more)
            if not slots:
                break
            keys = (self._index, *map(self._record, slots))
            said = await self._run(scripts.LOOK, keys, self._now(), *slots)
            # What is gone has left the index, and the next ones have moved up.
            passed += sum(one != b"gone" for one in said)
            found += [
                Unsettled(slot, _text(one[0]), int(one[1]) / MICROSECONDS)
                for slot, one in zip(slots, said, strict=True)
                if isinstance(one, list)
            ]
        return found

    async def settle(self, unsettled: Unsettled, answer: Answer | None, /, *, keep: float) -> bool:
        """See `Store.settle`."""
        slot, token = unsettled.slot, os.urandom(16)
        keys = (self._record(slot), self._index, b"%s:told:%s" % (self._index, token.hex().encode()))
        columns = () if answer is None else _columns(answer)
        return bool(
            await self._run(
                scripts.SETTLE, keys, self._now(), slot, _bytes(unsettled.request_id),
                _microseconds(unsettled.since), token, self._told_for, _microseconds(keep), *columns,
            )
        )  # fmt: skip


class _Link:
    """
    The connections of one event loop.

    Attributes:
        client: The client of redis-py.
        keeper: Closes this when the loop ends, or before.
    """

    keeper: AsyncGenerator[None]

    def __init__(self, client: Any) -> None:
        self.client = client
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def begin(self) -> None:
        self._under_way += 1
        self._idle.clear()

    def end(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()

    async def close(self, patience: float) -> None:
        """Let what was begun come to its end, and close."""
        try:
            async with asyncio.timeout(patience):
                await self._idle.wait()
        except TimeoutError:  # it would have been told the same by now
            pass
        await self.client.aclose(close_connection_pool=True)


def _redis_py() -> Any:
    """
    The package `redis`.

    Raises:
        ConfigurationError: there is none, or one that cannot be used.
    """
    try:
        import redis
        import redis.asyncio.retry
        import redis.backoff
        import redis.retry
    except ImportError as exc:
        raise ConfigurationError('a Redis store needs redis-py: pip install "failwell[redis]"') from exc
    version = tuple(int(number) for number in re.findall(r"\d+", redis.__version__)[:3])
    if version < LEAST_REDIS_PY or version in REFUSED_REDIS_PY:
        raise ConfigurationError(
            f"redis-py {redis.__version__} cannot be used: a Redis store needs 5.2.1 or newer, but not "
            '8.0.0 or 8.0.1: pip install "failwell[redis]"'
        )
    return redis


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _name(prefix: str, tag: str) -> bytes:
    """A key whose last part Redis hashes; what would end that part early is spelled otherwise."""
    tag = tag.replace("%", "%25").replace("}", "%7D")
    return _bytes(f"{prefix}:{{{tag}}}")


def _microseconds(seconds: float) -> int:
    return round(seconds * MICROSECONDS)


def _row(key: StoredKey) -> dict[str, Any]:
    row = {
        "digest": key.digest, "tenant": _bytes(key.tenant), "principal": _bytes(key.principal),
        "scopes": _bytes(" ".join(sorted(key.scopes))), "role": _bytes(key.role), "tier": _bytes(key.tier),
        "state": key.state,
        "limits": json.dumps([[limit.name, limit.requests, limit.window] for limit in key.limits]),
    }  # fmt: skip
    if key.expires_at is not None:
        row["expires_at"] = repr(float(key.expires_at))
    return row


# The same key asks again and again, and what is kept of it seldom changes.
@lru_cache(maxsize=1024)
def _stored_key(public: str, digest: bytes, *row: Any) -> StoredKey:
    *words, expires_at, limits, shut_out = row
    tenant, principal, scopes, role, tier, state = map(_text, words)
    return StoredKey(
        public=public, digest=digest, tenant=tenant, principal=principal, scopes=frozenset(scopes.split()),
        role=role, tier=tier, state="active" if state == "active" else "revoked",
        expires_at=None if expires_at is None else float(expires_at),
        limits=tuple(Limit(requests, window, name) for name, requests, window in json.loads(limits)),
        tenant_active=not shut_out,
    )  # fmt: skip


def _columns(answer: Answer | None) -> tuple[Any, ...]:
    if answer is None:
        return (0,)
    return answer.status, json.dumps(replayable(answer.headers)), answer.body


def _answer(status: bytes, headers: bytes, body: bytes) -> Answer | None:
    return None if status == b"0" else Answer(int(status), json.loads(headers), body)
