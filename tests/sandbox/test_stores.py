"""Both services on PostgreSQL and Redis, with several worker processes, some of which are killed."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sandbox_caller import Caller, finished, has_status, said, until

sys.path.insert(0, str(Path(__file__).parents[1] / "service"))

from postgres_server import fresh_database
from redis_server import fresh_redis

import failwell_sandbox
from agoralia import Agoralia
from failwell.answer import Answer
from failwell.engines.base import Connections
from failwell.errors import CallError, ConfigurationError
from failwell.service import Limit
from failwell.service.check import check
from failwell_sandbox import Sandbox, processes, storage
from failwell_sandbox.database import DuplicateError
from failwell_sandbox.server import KINDS
from kneo_client import KneoClient

URLS: dict[str, Callable[[], str]] = {"postgres": fresh_database, "redis": lambda: fresh_redis(tcp=True)}
WORKERS = 4

RUN = {"spec_id": "spec_text_stats", "input": {"text": "to be or not to be"}}
CAMPAIGN = {"name": "Spring", "purpose": "quote_request", "agent_ref_id": 1}


@pytest.fixture(scope="module", params=URLS)
def sandbox(request: pytest.FixtureRequest) -> Iterator[Sandbox]:
    """Both services with four workers, for all tests of this module that kill none of them."""
    with failwell_sandbox.running(store=URLS[request.param](), workers=WORKERS, wait=5.0) as sandbox:
        yield sandbox


@pytest.fixture
def kneo(sandbox: Sandbox) -> Caller:
    return Caller(sandbox.kneo.url, "Authorization", "Bearer ")


@pytest.fixture
def agoralia(sandbox: Sandbox) -> Caller:
    return Caller(sandbox.agoralia.url, "X-API-Key", "")


def completed(agoralia: Caller, key: str, campaign_id: int) -> list[Any]:
    """The results of a campaign, once it is completed."""
    path = f"/api/v1/campaigns/{campaign_id}"
    has_status(agoralia, key, path, "completed")
    page = said(agoralia("GET", f"{path}/results?limit=100", key=key))
    items: list[Any] = page["items"]
    return items


# --- the main flows ---


def test_a_run_is_made_once_carried_out_and_found(kneo: Caller, sandbox: Sandbox) -> None:
    full, key = sandbox.kneo.keys.full, str(uuid4())
    first, again = (
        kneo("POST", "/v1/runs", key=full, headers={"Idempotency-Key": key}, json_body=RUN) for _ in range(2)
    )
    run = finished(kneo, full, said(first)["id"])
    page = said(kneo("GET", "/v1/runs?status=succeeded&limit=100", key=full))

    assert (201, 201, first.body) == (first.status, again.status, again.body)
    assert again.headers["idempotent-replayed"] == "true"
    assert (first.headers["etag"], first.headers["location"]) == ('"1"', f"/v1/runs/{run['id']}")
    assert (run["status"], run["version"]) == ("succeeded", 3)
    assert run["output"]["words"] == 6
    assert run["id"] in [item["id"] for item in page["items"]]
    assert sandbox.effects("kneo", key) == 1


def test_a_key_used_for_another_payload_and_a_stranger_are_refused(kneo: Caller, sandbox: Sandbox) -> None:
    keys, key = sandbox.kneo.keys, {"Idempotency-Key": str(uuid4())}
    run_id = said(kneo("POST", "/v1/runs", key=keys.full, headers=key, json_body=RUN))["id"]
    other = {**RUN, "input": {"text": "other"}}

    assert kneo("POST", "/v1/runs", key=keys.full, headers=key, json_body=other).status == 409
    assert kneo("GET", f"/v1/runs/{run_id}", key=keys.other_tenant).status == 404
    assert kneo("GET", f"/v1/runs/{run_id}", key=keys.revoked).status == 401
    assert kneo("GET", f"/v1/runs/{run_id}", key=keys.suspended).status == 403
    assert kneo("POST", "/v1/runs", key=keys.read_only, json_body=RUN).status == 403


def test_a_spec_is_made_changed_and_held_to_its_version(kneo: Caller, sandbox: Sandbox) -> None:
    full, name = sandbox.kneo.keys.full, f"spec-{uuid4()}"
    body = {"name": name, "definition": {"steps": ["tokenize"]}}
    spec = said(kneo("POST", "/v1/specs", key=full, json_body=body))
    path = f"/v1/specs/{spec['id']}"

    assert kneo("POST", "/v1/specs", key=full, json_body=body).status == 409, "the name is taken"
    assert said(kneo("GET", path, key=full)) == spec
    assert said(kneo("PUT", path, key=full, json_body={**body, "version": 1}))["version"] == 2
    assert kneo("PUT", path, key=full, json_body={**body, "version": 1}).status == 409
    assert kneo("PUT", "/v1/specs/spec_text_stats", key=full, json_body=body).status == 403
    assert sandbox.effects("kneo", name=name) == 2


def test_one_of_many_changes_at_once_wins(kneo: Caller, sandbox: Sandbox) -> None:
    """
    An optimistic lock holds across processes: of eight changes to version 1, one is made.
    """
    full, name = sandbox.kneo.keys.full, f"spec-{uuid4()}"
    body = {"name": name, "definition": {"steps": ["tokenize"]}}
    path = f"/v1/specs/{said(kneo('POST', '/v1/specs', key=full, json_body=body))['id']}"

    def change(_: int) -> int:
        return kneo("PUT", path, key=full, json_body={**body, "version": 1}).status

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(change, range(8)))

    assert [200] + [409] * 7 == statuses


def test_an_environment_name_is_given_once_to_many_at_once(kneo: Caller, sandbox: Sandbox) -> None:
    full, name = sandbox.kneo.keys.full, f"env-{uuid4()}"

    def create(_: int) -> int:
        return kneo("POST", "/v1/environments", key=full, json_body={"name": name}).status

    with ThreadPoolExecutor(8) as pool:
        statuses = sorted(pool.map(create, range(8)))

    assert [201] + [409] * 7 == statuses
    assert sandbox.effects("kneo", name=name) == 1


def test_that_a_run_had_ended_is_the_recorded_outcome(kneo: Caller, sandbox: Sandbox) -> None:
    full, headers = sandbox.kneo.keys.full, {"Idempotency-Key": str(uuid4())}
    run_id = said(kneo("POST", "/v1/runs", key=full, json_body=RUN))["id"]
    finished(kneo, full, run_id)
    first, again = (kneo("POST", f"/v1/runs/{run_id}/cancel", key=full, headers=headers) for _ in range(2))

    assert (409, 409, first.body) == (first.status, again.status, again.body)
    assert again.headers["idempotent-replayed"] == "true"


def test_a_run_is_cancelled_wherever_it_runs(kneo: Caller, sandbox: Sandbox) -> None:
    full = sandbox.kneo.keys.full
    body = {"spec_id": "spec_hash_chain", "input": {"text": "x", "rounds": 2_000_000_000}}
    run_id = said(kneo("POST", "/v1/runs", key=full, json_body=body))["id"]
    path = f"/v1/runs/{run_id}"
    until(lambda: said(kneo("GET", path, key=full))["status"] == "running", "it does not begin")

    assert kneo("POST", f"{path}/cancel", key=full).status == 200
    assert said(kneo("GET", path, key=full))["status"] == "cancelled"


def test_a_limit_holds_over_all_workers(kneo: Caller, sandbox: Sandbox) -> None:
    key = sandbox.kneo.new_key(limit=Limit(5, 3600.0))

    statuses = [kneo("GET", "/v1/specs", key=key).status for _ in range(12)]

    assert [200] * 5 + [429] * 7 == statuses


def test_a_key_is_refused_everywhere_from_the_moment_it_is_revoked(kneo: Caller, sandbox: Sandbox) -> None:
    key = sandbox.kneo.new_key()
    before = {kneo("GET", "/v1/specs", key=key).status for _ in range(8)}
    sandbox.kneo.revoke(key)

    assert before == {200}
    assert {kneo("GET", "/v1/specs", key=key).status for _ in range(12)} == {401}


def test_a_text_that_postgresql_could_not_keep_is_nobodys_bug(kneo: Caller, agoralia: Caller,
                                                              sandbox: Sandbox) -> None:  # fmt: skip
    full, other = sandbox.kneo.keys.full, sandbox.agoralia.keys.full
    spec = {"name": "a\0b", "definition": {"steps": ["hash"]}}
    named = {**RUN, "metadata": {"name": "a\0b"}, "input": {"text": "a\0b"}}

    assert kneo("POST", "/v1/specs", key=full, json_body=spec).status == 422
    assert kneo("PUT", "/v1/specs/%00", key=full, json_body={**spec, "name": "x"}).status == 404
    assert kneo("GET", "/v1/runs/%00", key=full).status == 404
    assert said(kneo("GET", "/v1/runs?status=%00", key=full))["items"] == []
    assert finished(kneo, full, said(kneo("POST", "/v1/runs", key=full, json_body=named))["id"])["output"]
    assert (
        agoralia("POST", "/api/v1/campaigns", key=other, json_body={**CAMPAIGN, "name": "\0"}).status == 422
    )
    contacts = [{"name": "Ada", "transcript": "Email: a\0@b.io."}]
    campaign = agoralia("POST", "/api/v1/campaigns", key=other, json_body={**CAMPAIGN, "contacts": contacts})
    assert len(completed(agoralia, other, said(campaign)["id"])) == 1


def test_a_campaign_makes_each_call_once(agoralia: Caller, sandbox: Sandbox) -> None:
    full, key = sandbox.agoralia.keys.full, str(uuid4())
    contacts = [{"name": f"contact {n}", "transcript": "Budget: 5."} for n in range(40)]
    body = {**CAMPAIGN, "contacts": contacts}
    made = [
        agoralia("POST", "/api/v1/campaigns", key=full, headers={"Idempotency-Key": key}, json_body=body)
        for _ in range(2)
    ]
    results = completed(agoralia, full, said(made[0])["id"])

    assert made[0].body == made[1].body
    assert [f"contact {n}" for n in range(40)] == [result["contact"] for result in results]
    assert sandbox.effects("agoralia", key) == 1


def test_runs_are_shared_out_and_each_is_carried_out_once(kneo: Caller, sandbox: Sandbox) -> None:
    full = sandbox.kneo.keys.full

    def run(_: int) -> Any:
        return finished(kneo, full, said(kneo("POST", "/v1/runs", key=full, json_body=RUN))["id"])

    with ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(run, range(40)))

    # Created is version 1, begun is 2, ended is 3: a run that was begun twice has more.
    assert {("succeeded", 3)} == {(run["status"], run["version"]) for run in runs}


# --- one effect ---


def test_many_at_once_with_one_key_are_one_run(kneo: Caller, sandbox: Sandbox) -> None:
    full, key = sandbox.kneo.keys.full, str(uuid4())

    def post(_: int) -> Answer:
        return kneo("POST", "/v1/runs", key=full, headers={"Idempotency-Key": key}, json_body=RUN)

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(post, range(40)))
    done = [answer for answer in answers if answer.status == 201]

    assert sandbox.effects("kneo", key) == 1
    assert {201, 409} >= {answer.status for answer in answers}
    assert {done[0].body} == {answer.body for answer in done}
    assert {"idempotency_in_flight"} >= {said(a)["error"]["code"] for a in answers if a.status == 409}


def test_many_at_once_with_one_key_are_one_campaign(agoralia: Caller, sandbox: Sandbox) -> None:
    full, key = sandbox.agoralia.keys.full, str(uuid4())

    def post(_: int) -> Answer:
        headers = {"Idempotency-Key": key}
        return agoralia("POST", "/api/v1/campaigns", key=full, headers=headers, json_body=CAMPAIGN)

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(post, range(40)))
    done = [answer for answer in answers if answer.status == 201]

    assert sandbox.effects("agoralia", key) == 1
    assert {201, 409} >= {answer.status for answer in answers}
    assert {done[0].body} == {answer.body for answer in done}


# --- workers that are killed ---


@pytest.mark.parametrize("kind", URLS)
def test_workers_are_killed_and_every_write_of_both_sdks_has_one_effect(kind: str) -> None:
    """
    While both clients write, one worker after the other is killed. Every write succeeds, has one
    effect, and what it began in the background is carried out once.
    """
    seed = random.randrange(2**32)
    print(f"seed {seed}")  # shown if it fails
    with failwell_sandbox.running(store=URLS[kind](), workers=3, wait=3.0, lease=2.0) as sandbox:
        ended = threading.Event()
        killed: list[int] = []
        killer = threading.Thread(
            target=_kill_now_and_then, args=(sandbox, random.Random(seed), ended, killed)
        )
        killer.start()
        made: dict[str, str] = {}
        try:
            with ThreadPoolExecutor(6) as pool:
                begun = time.monotonic()
                # As long as it takes to kill several, however many are written meanwhile.
                while (took := time.monotonic() - begun) < 120 and (
                    len(killed) < 2 or (took < 8 and len(made) < 600)
                ):
                    batch = [str(uuid4()) for _ in range(12)]
                    made.update(zip(batch, pool.map(lambda name: _write(sandbox, name), batch), strict=True))
        finally:
            ended.set()
            killer.join()
        kneo = Caller(sandbox.kneo.url, "Authorization", "Bearer ")
        agoralia = Caller(sandbox.agoralia.url, "X-API-Key", "")
        until(lambda: len(sandbox.pids) == 3, "a worker is not started again")

        assert len(killed) >= 2
        for name, made_id in made.items():
            service = sandbox["kneo" if made_id.startswith("run_") else "agoralia"]
            assert [made_id] == [row["resource"] for row in service.ledger(name)], service
            if service.name == "kneo":
                run = finished(kneo, service.keys.full, made_id)
                assert (run["status"], run["output"]["words"]) == ("succeeded", 3), run
            else:
                results = completed(agoralia, service.keys.full, int(made_id))
                assert ["a", "b", "c"] == [result["contact"] for result in results]


def _write(sandbox: Sandbox, name: str) -> str:
    """One write of an SDK, repeated by the SDK as often as it takes."""
    direct = Connections(trust_env=False)
    if int(name[0], 16) % 2:
        with KneoClient(
            sandbox.kneo.keys.full, base_url=sandbox.kneo.url, deadline=90.0, connections=direct
        ) as client:
            return _at_last(
                lambda: client.platform.runs.create({**RUN, "input": {"text": "one two three"}},
                                                    idempotency_key=name).id
            )  # fmt: skip
    contacts = [{"name": letter, "transcript": "Budget: 1."} for letter in "abc"]
    with Agoralia(
        sandbox.agoralia.keys.full,
        base_url=f"{sandbox.agoralia.url}/api/v1",
        deadline=90.0,
        connections=direct,
    ) as other:
        return _at_last(
            lambda: str(
                other.campaigns.create(
                    name="c", purpose="quote_request", agent_ref_id=1, extra={"contacts": contacts},
                    idempotency_key=name,
                ).id
            )
        )  # fmt: skip


def _at_last(write: Callable[[], str]) -> str:
    """An SDK tries a few times; who wants more asks it again, with the same key."""
    deadline = time.monotonic() + 90
    while True:
        try:
            return write()
        except CallError as exc:
            if not exc.retryable or time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def _kill_now_and_then(
    sandbox: Sandbox, dice: random.Random, ended: threading.Event, killed: list[int]
) -> None:
    while not ended.wait(dice.uniform(0.3, 1.2)):
        pids = sandbox.pids
        if len(pids) < 2:  # one is always there to answer
            continue
        victim = dice.choice(pids)
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
            killed.append(victim)


@pytest.mark.parametrize("kind", URLS)
def test_a_run_is_taken_over_from_a_worker_that_was_killed(kind: str) -> None:
    with failwell_sandbox.running(("kneo",), store=URLS[kind](), workers=2, lease=1.0) as sandbox:
        ask, full = Caller(sandbox.kneo.url, "Authorization", "Bearer "), sandbox.kneo.keys.full
        body = {"spec_id": "spec_hash_chain", "input": {"text": "x", "rounds": 1_000_000}}
        run_id = said(ask("POST", "/v1/runs", key=full, json_body=body))["id"]
        until(lambda: said(ask("GET", f"/v1/runs/{run_id}", key=full))["status"] == "running", "not begun")
        before = sandbox.pids
        for pid in before:
            os.kill(pid, signal.SIGKILL)
        until(lambda: len(set(sandbox.pids) - set(before)) == 2, "they are not started again")
        run = finished(ask, full, run_id)

    # Begun, begun again, ended.
    assert (run["status"], run["version"]) == ("succeeded", 4)


# --- processes ---


def test_a_worker_apart_can_be_killed_on_sqlite_and_ended_before_what_it_wrote_is_read() -> None:
    with failwell_sandbox.running(("kneo",), apart=True) as sandbox:
        ask, full = Caller(sandbox.kneo.url, "Authorization", "Bearer "), sandbox.kneo.keys.full
        (first,) = sandbox.pids
        key = {"Idempotency-Key": str(uuid4())}
        written = ask("POST", "/v1/runs", key=full, json_body=RUN, headers=key)
        os.kill(first, signal.SIGKILL)
        until(lambda: set(sandbox.pids) - {first}, "it is not started again")
        again = ask("POST", "/v1/runs", key=full, json_body=RUN, headers=key)
        sandbox.end_workers()

        assert first != os.getpid()
        assert (written.status, again.status) == (201, 201)
        assert said(written)["id"] == said(again)["id"]
        assert sandbox.pids == ()
        assert sandbox.effects("kneo") == 1


def test_where_this_process_serves_there_are_no_workers_to_end() -> None:
    with failwell_sandbox.running(("kneo",)) as sandbox:
        sandbox.end_workers()

        assert Caller(sandbox.kneo.url, "Authorization", "Bearer ")("GET", "/livez").status == 200


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    # Nobody may be there to bury it.
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_nothing_is_left_behind_in_either_store(tmp_path: Path) -> None:
    postgres, redis_url = fresh_database(), fresh_redis(tcp=True)
    pids: tuple[int, ...] = ()
    for url in (postgres, redis_url):
        with failwell_sandbox.running(("kneo",), store=url, workers=2) as sandbox:
            pids += sandbox.pids

    import psycopg
    import redis

    assert len(pids) == 4
    assert all(gone(pid) for pid in pids)
    with psycopg.connect(postgres) as db:
        left = db.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'failwell%'").fetchall()
    assert left == []
    with contextlib.closing(redis.Redis.from_url(redis_url)) as cache:
        assert cache.dbsize() == 0


@pytest.mark.parametrize("kind", URLS)
def test_a_state_directory_is_gone_on_with(kind: str, tmp_path: Path) -> None:
    url, key = URLS[kind](), {"Idempotency-Key": str(uuid4())}
    bodies, keys = [], []
    for _ in range(2):
        with failwell_sandbox.running(("kneo",), store=url, state=tmp_path) as sandbox:
            ask = Caller(sandbox.kneo.url, "Authorization", "Bearer ")
            keys.append(sandbox.kneo.keys.full)
            answer = ask("POST", "/v1/runs", key=keys[-1], headers=key, json_body=RUN)
            bodies.append(answer.body)
            effects = sandbox.effects("kneo", key["Idempotency-Key"])

    assert keys[0] == keys[1]
    assert bodies[0] == bodies[1]
    assert answer.headers["idempotent-replayed"] == "true"
    assert effects == 1


def test_an_effect_whose_record_is_lost_is_not_done_again() -> None:
    """
    As after a kill between the effect, which is in the database, and its record, which is in Redis.
    """
    import redis

    url, key = fresh_redis(tcp=True), str(uuid4())
    with failwell_sandbox.running(("kneo",), store=url) as sandbox:
        ask, full = Caller(sandbox.kneo.url, "Authorization", "Bearer "), sandbox.kneo.keys.full
        headers = {"Idempotency-Key": key}
        answers = []
        for body in (RUN, RUN, {**RUN, "input": {"text": "other"}}):
            answers.append(ask("POST", "/v1/runs", key=full, headers=headers, json_body=body))
            with contextlib.closing(redis.Redis.from_url(url)) as cache:
                records = list(cache.scan_iter(match="*:{records}:*"))
                assert bool(records) == (answers[-1].status == 201)
                cache.delete("none", *records)
        effects = sandbox.effects("kneo", key)

    first, again, other = answers
    assert (201, 201, 409) == (first.status, again.status, other.status)
    assert first.body == again.body
    assert said(other)["error"]["code"] == "idempotency_mismatch"
    assert effects == 1


def test_workers_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time, failwell_sandbox\n"
        "with failwell_sandbox.running(('kneo',), store=sys.argv[1], workers=2) as sandbox:\n"
        "    print(*sandbox.pids, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, fresh_redis(tcp=True)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},  # it cannot take its directory away
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        alive = [not gone(pid) for pid in pids]
        parent.kill()

    assert alive == [True, True]
    until(lambda: all(gone(pid) for pid in pids), "a worker outlives its parent")


def test_ctrl_c_at_a_terminal_ends_them_all_without_a_word() -> None:
    """
    Whoever holds the port has ended, too.
    """
    code = "import sys, failwell_sandbox\nfailwell_sandbox.serve(('kneo',), store=sys.argv[1], workers=2)\n"
    with subprocess.Popen(
        [sys.executable, "-c", code, fresh_redis(tcp=True)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        port = int(parent.stdout.readline().rpartition(":")[2])
        list(iter(parent.stdout.readline, "Stop with Ctrl-C.\n"))
        os.killpg(parent.pid, signal.SIGINT)
        _, complaints = parent.communicate(timeout=60)

    assert (parent.returncode, complaints) == (0, "")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=5)


def test_ctrl_c_at_a_terminal_does_not_reach_the_workers(sandbox: Sandbox) -> None:
    """
    One that is just being started would die of it with a traceback.
    """
    assert os.getpgrp() not in {os.getpgid(pid) for pid in sandbox.pids}


def test_a_worker_that_cannot_start_says_why_and_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Noted(subprocess.Popen[bytes]):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(processes.subprocess, "Popen", Noted)
    orders = {"wait": 0.0, "lease": 1.0, "services": {"nobody": {}}}

    with pytest.raises(RuntimeError, match="did not start: KeyError: 'nobody'"):
        processes.Workers(2, orders, [])

    assert [1, 1] == [process.returncode for process in started]


def test_all_workers_drain_also_one_that_is_started_meanwhile() -> None:
    with failwell_sandbox.running(("kneo",), store=fresh_redis(tcp=True), workers=2) as sandbox:
        ask = Caller(sandbox.kneo.url, "Authorization", "Bearer ")
        with sandbox.kneo.draining():
            draining = {ask("GET", "/readyz").status for _ in range(10)}
            before = sandbox.pids
            os.kill(before[0], signal.SIGKILL)
            until(lambda: len(set(sandbox.pids) - set(before)) == 1, "it is not started again")
            until(lambda: ask("GET", "/livez").status == 200, "nobody answers")
            draining |= {ask("GET", "/readyz").status for _ in range(10)}
        after = {ask("GET", "/readyz").status for _ in range(10)}

    assert (draining, after) == ({503}, {200})


@pytest.mark.parametrize("kind", URLS)
def test_a_locked_database_refuses_writes_and_takes_reads(kind: str) -> None:
    with failwell_sandbox.running(("kneo",), store=URLS[kind]()) as sandbox:
        ask, full = Caller(sandbox.kneo.url, "Authorization", "Bearer "), sandbox.kneo.keys.full
        headers = {"Idempotency-Key": str(uuid4())}
        with sandbox.kneo.locked():
            refused = ask("POST", "/v1/runs", key=full, headers=headers, json_body=RUN)
            read = ask("GET", "/v1/specs", key=full)
        after = ask("POST", "/v1/runs", key=full, headers=headers, json_body=RUN)

    assert (refused.status, refused.headers["retry-after"]) == (503, "1")
    assert (read.status, after.status) == (200, 201)


# --- what cannot be ---


@pytest.mark.parametrize(
    ("store", "workers", "sentence"),
    [
        ("", 2, "SQLite serves one worker"),
        ("sqlite:///x.db", 2, "SQLite serves one worker"),
        ("", 0, "needs a worker"),
        ("sqlite:///", 1, "needs a file"),
        ("mysql://u:hunter2@host/x", 1, "no store is called mysql"),
        ("postgresql://u:hunter2@127.0.0.1:1/x", 2, "the store at postgresql://127.0.0.1:1/x cannot be used"),
        ("postgresql://127.0.0.1:1/x?password=hunter2", 1, "cannot be used"),
        ("postgresql://127.0.0.1/x?nothing=hunter2", 1, "no URL of a PostgreSQL database"),
        ("redis://:hunter2@127.0.0.1:1/0", 2, "the store at redis://127.0.0.1:1/0 cannot be used"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_sentence_without_its_password(
    store: str, workers: int, sentence: str, tmp_path: Path
) -> None:
    with (
        pytest.raises(ConfigurationError, match=sentence) as caught,
        failwell_sandbox.running(("kneo",), store=store, workers=workers, state=tmp_path),
    ):
        pass

    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_role_that_may_not_write_is_told_so() -> None:
    url = f"{fresh_database()}?options=-cdefault_transaction_read_only%3Don"

    with pytest.raises(ConfigurationError, match="read-only"), failwell_sandbox.running(("kneo",), store=url):
        pass


def test_without_psycopg_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)

    with (
        pytest.raises(ConfigurationError, match="pip install"),
        failwell_sandbox.running(("kneo",), store="postgresql://localhost/x"),
    ):
        pass


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_database_file_that_cannot_be_is_one_sentence(kind: str, tmp_path: Path) -> None:
    (tmp_path / "kneo.db").mkdir()
    url = fresh_redis(tcp=True) if kind == "redis" else ""

    with (
        pytest.raises(ConfigurationError, match="cannot be used: unable to open"),
        failwell_sandbox.running(("kneo",), store=url, state=tmp_path),
    ):
        pass


def test_a_statement_that_is_wrong_is_no_duplicate(tmp_path: Path) -> None:
    place = storage.Storage("kneo", "", str(tmp_path), "", lasting=False, shared=False)
    store, database = place.open("CREATE TABLE IF NOT EXISTS t (a TEXT UNIQUE NOT NULL, b TEXT NOT NULL);")
    try:
        database.write_blocking(lambda db: db.execute("INSERT INTO t VALUES (?, ?)", "a", "b"))
        with pytest.raises(DuplicateError):
            database.write_blocking(lambda db: db.execute("INSERT INTO t VALUES (?, ?)", "a", "c"))
        with pytest.raises(sqlite3.IntegrityError, match="NOT NULL"):
            database.write_blocking(lambda db: db.execute("INSERT INTO t VALUES (?, ?)", "d", None))
    finally:
        store.close()


def test_a_sqlite_url_keeps_its_state_beside_the_file(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/sandbox.db"
    keys = []
    for _ in range(2):
        with failwell_sandbox.running(store=url) as sandbox:
            keys.append((sandbox.kneo.keys.full, sandbox.agoralia.keys.full))

    assert keys[0] == keys[1]
    assert {"sandbox-kneo.db", "sandbox-agoralia.db"} <= {path.name for path in tmp_path.iterdir()}


def test_a_search_path_joins_the_options_that_are_there() -> None:
    path = "-csearch_path%3Dours"

    assert f"postgresql://h/d?options={path}" == storage.with_search_path("postgresql://h/d", "ours")
    assert f"postgresql://h/d?a=b&options={path}" == storage.with_search_path("postgresql://h/d?a=b", "ours")
    assert f"postgresql://h/d?options=-cx%3Dy%20{path}&a=b" == storage.with_search_path(
        "postgresql://h/d?options=-cx%3Dy&a=b", "ours"
    )


# --- what they say of themselves ---


def test_each_service_serves_its_openapi_document(kneo: Caller, agoralia: Caller) -> None:
    ours, theirs = said(kneo("GET", "/openapi.json")), said(agoralia("GET", "/api/v1/openapi.json"))

    assert {"404", "409", "422"} <= set(ours["paths"]["/v1/runs"]["post"]["responses"])
    assert "404" in theirs["paths"]["/api/v1/campaigns"]["post"]["responses"]


@pytest.mark.parametrize("name", KINDS)
def test_every_error_that_a_handler_raises_is_declared(name: str, tmp_path: Path) -> None:
    kind = KINDS[name]
    place = storage.Storage(name, "", str(tmp_path), "", lasting=False, shared=False)
    store, database = place.open(kind.schema)
    try:
        check(kind.service(store, database, place, wait=0.0, lease=30.0))
    finally:
        store.close()
