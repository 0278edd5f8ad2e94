"""What the doctor says of a Redis server and of the claims in it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import pytest
from doctor_findings import findings, verdicts
from redis_server import RedisServer, fresh_redis, new_redis

from failwell.service.doctor import CannotLookError, examine
from failwell.service.doctor import redis as redis_doctor
from failwell.service.idempotency import Claim
from failwell.service.stores.redis import RedisStore


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    server = new_redis("--appendonly", "yes", "--appendfsync", "always")
    yield server
    server.stop()


def test_a_redis_store_at_work_is_well(redis: RedisServer) -> None:
    url = redis.url(1)
    work_in(url)

    examination = examine(url)

    assert {f.check: f.found for f in examination.findings if f.verdict != "well"} == {}
    assert examination.ok


def work_in(url: str, lease: float = 60.0, *, prefix: str = "failwell") -> None:
    """Leave a claim that only a person could settle, once its lease has lapsed."""

    async def claim() -> None:
        store = RedisStore(url, prefix=prefix)
        await store.claim(CLAIM, lease=lease, keep=60, take_over=False)
        await store.claim(HELD, lease=60, keep=60, take_over=False)
        await store.aclose()

    asyncio.run(claim())


CLAIM = Claim(b"\xff" * 32, b"f" * 32, b"t" * 16, "req_lost")
HELD = Claim(b"\xc3\x28" * 16, b"f" * 32, b"t" * 16, "req_held")


def test_an_unsettled_claim_in_redis_is_named(redis: RedisServer) -> None:
    url = redis.url(2)
    work_in(url, 0.001, prefix="größe")
    time.sleep(0.01)

    found = findings(url, prefix="größe")["unsettled"]

    assert found.verdict == "wrong"
    assert "1 at_most_once" in found.found
    assert "req_lost" in found.found


def test_of_many_unsettled_claims_in_redis_some_are_named(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_doctor, "SHOWN", 0)
    work_in(redis.url(8), 0.001)
    time.sleep(0.01)

    assert "and 1 more" in findings(redis.url(8))["unsettled"].found


def test_what_is_settled_meanwhile_is_not_unsettled(redis: RedisServer) -> None:
    url = redis.url(3)
    work_in(url, 0.001)
    time.sleep(0.01)
    record = f"failwell:{{records}}:{CLAIM.slot.hex()}"
    redis.command("HSET", record, "status", "201", database=3)

    assert verdicts(url)["unsettled"] == "well"


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["--maxmemory-policy", "allkeys-lru", "--maxmemory", "100mb"], {"eviction": "wrong"}),
        (["--maxmemory-policy", "volatile-ttl"], {"eviction": "advice", "memory": "well"}),
        (["--maxmemory", "900kb"], {"memory": "wrong"}),
        (["--save", "60", "1"], {"persistence": "wrong"}),
        (["--appendonly", "yes", "--appendfsync", "everysec"], {"persistence": "advice"}),
        (["--appendonly", "yes", "--appendfsync", "no"], {"persistence": "wrong"}),
        (["--replicaof", "127.0.0.1", "1"], {"role": "wrong"}),
        (["--cluster-enabled", "yes", "--databases", "1"], {"cluster": "wrong"}),
    ],
    ids=lambda v: " ".join(v),
)
def test_a_redis_that_is_set_up_badly_is_wrong(settings: list[str], expected: dict[str, str]) -> None:
    server = new_redis(*settings)
    try:
        assert expected.items() <= verdicts(server.url()).items()
    finally:
        server.stop()


def test_a_replica_of_redis_is_noticed_on_both_sides(redis: RedisServer) -> None:
    replica = new_redis("--replicaof", "127.0.0.1", str(redis.port), "--repl-diskless-sync-delay", "0")
    try:
        until = time.monotonic() + 30
        while verdicts(redis.url(9))["replicas"] != "advice" and time.monotonic() < until:
            time.sleep(0.05)
        assert verdicts(redis.url(9))["replicas"] == "advice"
        assert verdicts(replica.url())["role"] == "wrong"
    finally:
        replica.stop()


def test_a_server_that_could_not_save_is_wrong() -> None:
    info = {"aof_enabled": 1, "rdb_last_bgsave_status": "err"}
    found = redis_doctor.persistence(info, {"appendfsync": "always", "save": ""})

    assert [("saving", "wrong"), ("persistence", "well")] == [(f.check, f.verdict) for f in found]


def test_a_redis_that_keeps_nothing_on_disk_is_wrong() -> None:
    assert "Nothing is kept on disk" in findings(fresh_redis())["persistence"].found


def test_what_an_acl_hides_is_not_known(redis: RedisServer) -> None:
    redis.command("ACL", "SETUSER", "blind", "on", ">hunter22", "~*", "+ping", "+select", "+client", "+hello")
    redis.command("ACL", "SETUSER", "short", "on", ">hunter22", "~*", "+ping", "+select", "+info", "+eval",
                  "+time")  # fmt: skip

    blind = verdicts(f"redis://blind:hunter22@127.0.0.1:{redis.port}/0")
    short = verdicts(f"redis://short:hunter22@127.0.0.1:{redis.port}/0")

    assert {
        "version": "unknown", "role": "unknown", "eviction": "unknown", "memory": "unknown",
        "persistence": "unknown", "scripts": "wrong", "clock": "wrong",
    }.items() <= blind.items()  # fmt: skip
    assert {
        "version": "well", "scripts": "well", "clock": "well", "persistence": "unknown",
        "keyspace": "unknown", "unsettled": "unknown",
    }.items() <= short.items()  # fmt: skip


def test_without_its_settings_a_redis_without_a_log_is_wrong_all_the_same() -> None:
    (found,) = redis_doctor.persistence({"aof_enabled": 0}, {"appendfsync": None, "save": None})

    assert found.verdict == "wrong"


def test_keys_of_others_in_the_database_are_noticed(redis: RedisServer) -> None:
    redis.command("SET", "cache:1", "x", database=4)
    assert "Is this the database" in findings(redis.url(4))["keyspace"].do

    work_in(redis.url(4))
    assert "database of its own" in findings(redis.url(4))["keyspace"].do


def test_a_large_database_is_looked_at_in_part(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_doctor, "LOOKED_AT", 1)
    for n in range(2000):
        redis.command("SET", f"failwell:{n}", "x", database=5)

    assert findings(redis.url(5))["keyspace"].found.startswith("The first 1,0")


@pytest.mark.parametrize(
    ("used", "verdict"), [(10, "well"), (79, "well"), (80, "advice"), (95, "wrong"), (100, "wrong")]
)
def test_a_memory_that_is_nearly_full_is_named(used: int, verdict: str) -> None:
    assert verdict == redis_doctor.memory({"maxmemory": 100 * 2**20, "used_memory": used * 2**20}).verdict


@pytest.mark.parametrize(
    ("spelled", "verdict"),
    [
        ("5.2.0", "wrong"),
        ("5.2.1", "well"),
        ("8.0.0", "wrong"),
        ("8.0.1", "wrong"),
        ("8.0.2", "well"),
        ("8.1.0", "well"),
    ],
)
def test_versions_of_redis_py_that_hang_are_wrong(spelled: str, verdict: str) -> None:
    assert verdict == redis_doctor.driver(spelled).verdict


@pytest.mark.parametrize(("spelled", "verdict"), [("6.0.16", "wrong"), ("6.2.0", "well"), ("7.0.15", "well")])
def test_an_old_redis_is_wrong(spelled: str, verdict: str) -> None:
    assert verdict == redis_doctor.version({"redis_version": spelled}).verdict


def test_a_wrong_password_is_not_repeated(redis: RedisServer) -> None:
    with pytest.raises(CannotLookError) as caught:
        examine(f"redis://nobody:hunter22@127.0.0.1:{redis.port}/0")

    assert "hunter22" not in str(caught.value)


def test_no_password_of_redis_is_in_an_examination(redis: RedisServer) -> None:
    redis.command("ACL", "SETUSER", "full", "on", ">hunter22", "~*", "+@all")

    assert "hunter22" not in str(examine(f"redis://full:hunter22@127.0.0.1:{redis.port}/7").to_dict())
