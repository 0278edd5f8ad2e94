"""What can be wrong with a Redis server as a store."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from failwell.service.doctor.findings import (
    CannotLookError,
    advice,
    clock_skew,
    unknown,
    well,
    wrong,
)
from failwell.service.doctor.tables import SHOWN, unsettled
from failwell.service.stores.redis import LEAST_REDIS_PY, REFUSED_REDIS_PY
from failwell.service.stores.urls import names_a_redis_database

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from failwell.service.doctor.findings import Finding

LEAST_VERSION = (6, 2)
PATIENCE = 5.0  # seconds
LOOKED_AT = 10_000  # keys, so that a large database is not held up


def examine_redis(url: str, *, prefix: str) -> list[Finding]:
    """
    The findings about the server and the database at `url`. Nothing is written.

    Raises:
        CannotLookError: nobody answers, we are not let in, or redis-py is not installed.
    """
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise CannotLookError(
            "Redis needs redis-py, which is not installed. Run: pip install 'failwell[redis]'"
        ) from None
    if not names_a_redis_database(url):
        raise CannotLookError("A database of Redis is a number: redis://host/0")
    try:
        # Slots are bytes, and so are the keys of others: what is no text comes back as it was.
        db = redis.Redis.from_url(
            url, decode_responses=True, encoding_errors="surrogateescape", socket_timeout=PATIENCE,
            socket_connect_timeout=PATIENCE, retry=Retry(NoBackoff(), 0),
        )  # fmt: skip
    except ValueError:
        # It is quoted there, and may hold a password.
        raise CannotLookError("The URL cannot be read; a password must be percent-encoded in it") from None
    try:
        with db:
            db.ping()
            return [driver(redis.__version__), *_looked_at(db, prefix, redis.ResponseError)]
    except TypeError:
        # Of an option of the URL, once there is a connection to be made with it.
        raise CannotLookError("The URL has an option that redis-py does not know") from None
    except (redis.RedisError, OSError) as exc:
        raise CannotLookError(f"Redis cannot be examined: {str(exc).rstrip('.')}") from None


def _looked_at(db: Any, prefix: str, refused: type[Exception]) -> list[Finding]:
    def ask(question: Callable[[], Any]) -> Any:
        # A hosted server forbids some commands, and an ACL more.
        try:
            return question()
        except refused:
            return None

    info: Mapping[str, Any] = ask(db.info) or {}
    kept: Mapping[str, Any] = {
        "appendfsync": (ask(lambda: db.config_get("appendfsync")) or {}).get("appendfsync"),
        "save": (ask(lambda: db.config_get("save")) or {}).get("save"),
    }
    findings = [
        version(info),
        role(info),
        cluster(info),
        eviction(info),
        memory(info),
        *persistence(info, kept),
        replicas(info),
        scripts(ask(lambda: db.eval("return 1", 0)) == 1),
    ]
    before = time.time()
    now = ask(db.time)
    after = time.time()
    if now is None:
        do = "Allow it the command TIME: leases and limits go by the server's clock."
        return [*findings, wrong("clock", "This user may not ask for the time.", do)]
    theirs = now[0] + now[1] / 1e6
    findings.append(clock_skew(theirs - (before + after) / 2, after - before))
    return [*findings, keyspace(db, prefix, ask), *open_questions(db, prefix, theirs, ask)]


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text)[:3])


def driver(spelled: str) -> Finding:
    """Whether this redis-py is to be used."""
    number = _numbers(spelled)
    if number in REFUSED_REDIS_PY:
        do = "Install 8.0.2 or newer: the store refuses 8.0.0 and 8.0.1, which hang with many connections."
        return wrong("driver", f"redis-py is {spelled}.", do)
    if number < LEAST_REDIS_PY:
        do = f"Install {'.'.join(map(str, LEAST_REDIS_PY))} or newer."
        return wrong("driver", f"redis-py is {spelled}.", do)
    return well("driver", f"redis-py is {spelled}.")


def version(info: Mapping[str, Any]) -> Finding:
    """Whether the server is new enough."""
    spelled = str(info.get("redis_version", ""))
    if not spelled:
        return unknown("version", "This user may not ask for INFO.", "Allow it, and look again.")
    if _numbers(spelled) < LEAST_VERSION:
        return wrong("version", f"The server is Redis {spelled}.", "Upgrade to 6.2 or newer.")
    return well("version", f"The server is Redis {spelled}.")


def role(info: Mapping[str, Any]) -> Finding:
    """Whether the server takes writes."""
    if info.get("role") == "slave":
        do = "Name the primary in the URL: a replica is read-only, and what it lets through is lost."
        return wrong("role", "The server is a replica.", do)
    if "role" not in info:
        return unknown("role", "It is not known whether the server is a replica.")
    return well("role", "The server is a primary.")


def cluster(info: Mapping[str, Any]) -> Finding:
    """Whether all keys are on one server."""
    if info.get("cluster_enabled"):
        do = "Use a server without cluster mode: the store speaks to one node, which sends it elsewhere."
        return wrong("cluster", "The server is in cluster mode.", do)
    return well("cluster", "Cluster mode is off.")


def eviction(info: Mapping[str, Any]) -> Finding:
    """Whether a claim stays until it ends."""
    policy = info.get("maxmemory_policy")
    if policy is None:
        return unknown("eviction", "The maxmemory-policy is not known.", "See to it that it is noeviction.")
    if policy == "noeviction":
        return well("eviction", "Nothing is evicted.")
    found = f"maxmemory-policy is {policy}: an evicted claim is an effect done twice."
    do = "CONFIG SET maxmemory-policy noeviction, and the same in redis.conf."
    if not info.get("maxmemory"):
        return advice("eviction", f"{found} While maxmemory is 0, nothing is evicted.", do)
    return wrong("eviction", found, do)


def memory(info: Mapping[str, Any]) -> Finding:
    """Whether there is room."""
    most, used = info.get("maxmemory"), info.get("used_memory")
    if most is None or used is None:
        return unknown("memory", "What is used of the memory is not known.")
    if not most:
        return well("memory", f"{used / 2**20:,.0f} MiB are used; maxmemory is not set.")
    found = f"{used / 2**20:,.0f} of {most / 2**20:,.0f} MiB are used."
    do = "Raise maxmemory, or keep records for a shorter time: when it is full, writes are refused."
    if used >= 0.95 * most:
        return wrong("memory", found, do)
    if used >= 0.8 * most:
        return advice("memory", found, do)
    return well("memory", found)


def persistence(info: Mapping[str, Any], settings: Mapping[str, Any]) -> list[Finding]:
    """
    What a crash of the server loses.

    Args:
        info: The server's INFO.
        settings: `appendfsync` and `save`; None for one that it does not tell.
    """
    if "aof_enabled" not in info:
        return [unknown("persistence", "It is not known what the server keeps on disk.")]
    findings = []
    if info.get("aof_last_write_status") == "err" or info.get("rdb_last_bgsave_status") == "err":
        do = "Look into the server's log; a full disk is the usual cause. Writes may be refused until then."
        findings.append(wrong("saving", "The server could not write to its disk the last time.", do))
    if not info["aof_enabled"]:
        snapshots = "Only snapshots are kept" if settings["save"] else "Nothing is kept on disk"
        if settings["save"] is None:
            snapshots = "There is no append-only file"
        return [
            *findings,
            wrong(
                "persistence",
                f"{snapshots}: a restart forgets claims and records, and a retry does the work again.",
                "Set appendonly yes and appendfsync always.",
            ),
        ]
    mode = settings["appendfsync"]
    loses = {
        "everysec": "a power cut loses up to two seconds of claims and records",
        "no": "a power cut loses claims and records of half a minute and more",
    }
    if mode == "always":
        findings.append(well("persistence", "Every write is on disk before it is answered."))
    elif mode in loses:
        found = f"appendfsync is {mode}: {loses[mode]}."
        do = "Set appendfsync always, if what a retry then does twice matters."
        findings.append((wrong if mode == "no" else advice)("persistence", found, do))
    else:
        do = "See to it that it is always."
        findings.append(unknown("persistence", "The append-only file is on; appendfsync is not known.", do))
    return findings


def replicas(info: Mapping[str, Any]) -> Finding:
    """Whether a failover can lose records."""
    number = info.get("connected_slaves", 0)
    if number:
        return advice(
            "replicas",
            f"{number} replica or more: they are asynchronous, so that a failover loses the last claims.",
            "Nothing helps wholly; where an effect must not happen twice, use PostgreSQL.",
        )
    return well("replicas", "No replica is connected.")


def scripts(allowed: bool) -> Finding:
    """Whether scripts may be run."""
    if not allowed:
        do = "Allow this user EVAL, EVALSHA and SCRIPT LOAD: each step of the store is a script."
        return wrong("scripts", "This user may not run scripts.", do)
    return well("scripts", "Scripts may be run.")


def keyspace(db: Any, prefix: str, ask: Callable[[Callable[[], Any]], Any]) -> Finding:
    """Whose keys are in the database."""
    seen, ours, cursor = 0, 0, 0
    while seen < LOOKED_AT:
        page = ask(partial(db.scan, cursor, count=1000))
        if page is None:
            return unknown("keyspace", "This user may not look through the keys.")
        cursor, names = page
        seen += len(names)
        ours += sum(name.startswith(f"{prefix}:") for name in names)
        if cursor == 0:
            break
    if not seen:
        return well("keyspace", "The database is empty.")
    of = "All" if cursor == 0 else "The first"
    found = f"{of} {seen:,} keys were looked at: {ours:,} begin with {prefix}:."
    if not ours:
        do = "Is this the database, and the prefix, that the service uses?"
        return advice("keyspace", found, do)
    if ours < seen:
        do = "Give the service a database of its own: what fills or flushes this one takes claims with it."
        return advice("keyspace", found, do)
    return well("keyspace", found)


def open_questions(
    db: Any, prefix: str, now: float, ask: Callable[[Callable[[], Any]], Any]
) -> list[Finding]:
    """The claims of level `at_most_once` that only a person can settle; see `RedisStore` for the keys."""
    index = f"{prefix}:{{records}}"
    lapsed = ask(lambda: db.zrangebyscore(index, "-inf", now * 1e6, 0, LOOKED_AT, withscores=True))
    if lapsed is None:
        return [unknown("unsettled", "This user may not look for unsettled requests.")]
    ids: list[str] = []
    first, number = 0.0, 0
    for slot, at in lapsed:
        name = f"{index}:{slot.encode('utf-8', 'surrogateescape').hex()}"
        request_id, lapses, ends, status = db.hmget(name, "request_id", "lapses", "ends", "status")
        if request_id is None or status is not None or float(ends) <= now * 1e6 or float(lapses) > now * 1e6:
            continue
        number += 1
        first = first or at / 1e6
        if len(ids) < SHOWN:
            ids.append(request_id)
    return unsettled(number, first, ids)
