"""The storm with real clients and a real service, in numbers that take a second or two: counts only."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from failwell import AsyncClient, CallError, RetryPolicy, Timeouts, UsageError
from failwell.cli import run as failwell
from failwell.engines.base import Connections
from failwell.storm import POLICIES, Run, World, limited, run_real
from failwell.storm import crowd as crowds
from failwell.storm.crowd import SETTINGS, Crowd, calls
from failwell.storm.limited import LimitedService
from failwell.storm.page import real_page
from failwell.storm.real import REAL_POLICIES, Measured, Pair, RealResult, _Helpers, measure, modelled
from failwell.storm.results import named, run

TINY = World(load=0.5, capacity=40.0, clients=4, timeout=5.0, begins=0.25, outage=0.25, after=0.6)
PLAIN = Connections(verify=False, trust_env=False)
# Its trigger is over before the first call, and only the queue is looked at.
CALM = replace(TINY, begins=0.0, outage=0.0)


def pair(world: World = TINY, policy: str = "jitter") -> Pair:
    modelled = run(world, policies=named([policy]), seeds=2).rows[0]
    seconds = [10] * world.seconds
    return Pair(Measured(Run(world, seconds, seconds, seconds), 10, 10, 0.01, 0), modelled)


def test_each_policy_of_real_clients_is_one_of_the_model() -> None:
    assert set(REAL_POLICIES) == set(SETTINGS) <= {policy.name for policy in POLICIES}


def test_processes_divide_the_same_calls_among_them() -> None:
    world = World(clients=5)
    whole = calls(world, 7)

    assert whole == calls(world, 7) != calls(world, 8)
    assert {number for _, number, _ in whole} == set(range(5))
    parts = [Crowd(world, "failwell", seed=7, port=1, part=part, parts=2)._mine for part in range(2)]
    assert sorted(parts[0] + parts[1]) == whole


async def served(world: World, number: int) -> list[int]:
    """What `number` of calls at once are answered, by a service of `world`; 0 for no answer."""
    service = LimitedService(world)
    await service.open()
    service.begin(monotonic())
    retry = RetryPolicy(max_attempts=1)
    settings: dict[str, Any] = {
        "retry": retry,
        "timeouts": Timeouts(read=20.0),
        "breaker": False,
        "connections": PLAIN,
    }

    async def call(client: AsyncClient, key: int) -> int:
        try:
            return (await client.request("GET", f"/things/{key}")).status
        except CallError as exc:
            return exc.failure.status or 0

    async with AsyncClient(f"http://127.0.0.1:{service.port}", **settings) as client:
        found = await asyncio.gather(*(call(client, key) for key in range(number)))
    await service.close()
    assert service.late >= 0.0
    return found


def test_the_service_answers_what_it_is_asked() -> None:
    assert asyncio.run(served(CALM, 6)) == [200] * 6


def test_one_key_fails_while_a_partial_outage_lasts() -> None:
    world = replace(TINY, trigger="partial", begins=0.0, outage=600.0, after=1.0)

    assert asyncio.run(served(world, 3)) == [500, 200, 200]


def test_what_waited_too_long_is_answered_503_and_takes_no_worker() -> None:
    """Of six at once two begin, and the others have waited when a worker is free."""
    world = replace(CALM, queue=1e-9)

    assert sorted(asyncio.run(served(world, 6))) == [200, 200, 503, 503, 503, 503]


def test_nobody_listens_while_connections_are_refused_and_the_port_stays() -> None:
    world = replace(TINY, trigger="refuse", begins=0.0, outage=0.4)

    async def refused_then_answered() -> tuple[list[int], int]:
        service = LimitedService(world)
        await service.open()
        service.begin(monotonic())
        statuses = []
        client = AsyncClient(
            f"http://127.0.0.1:{service.port}",
            retry=RetryPolicy(max_attempts=1),
            breaker=False,
            connections=PLAIN,
        )
        async with client:
            while 200 not in statuses:
                try:
                    statuses.append((await client.request("GET", "/things/1")).status)
                except CallError:
                    statuses.append(0)
                    await asyncio.sleep(0.02)
        await service.close()
        return statuses, service.seen

    statuses, seen = asyncio.run(refused_then_answered())

    assert statuses[0] == 0
    assert seen >= 1


def test_a_request_in_two_pieces_is_one_and_who_left_is_not_answered() -> None:
    async def asked() -> tuple[bytes, bytes, list[bool], int]:
        service = LimitedService(CALM)
        await service.open()
        reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
        writer.write(b"GET /things/1 HTTP/1.1\r\nho")
        await writer.drain()
        await asyncio.sleep(0.01)
        writer.write(b"st: x\r\n\r\n")
        said = await reader.readuntil(b"\r\n\r\n")
        _, left = await asyncio.open_connection("127.0.0.1", service.port)
        left.write(b"GET /things/1 HTTP/1.1\r\n\r\n")
        await left.drain()
        left.close()
        while service.seen < 2:
            await asyncio.sleep(0.01)
        # Who comes next is answered after who has left would have been.
        writer.write(b"GET /things/1 HTTP/1.1\r\n\r\n")
        again = await reader.readuntil(b"\r\n\r\n")
        at_work = [not task.done() for task in service._tasks]
        await service.close()
        writer.close()
        return said, again, at_work, service.seen

    said, again, at_work, seen = asyncio.run(asked())

    assert said.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"HTTP/1.1 200 OK\r\n" in again
    assert all(at_work)
    assert seen == 3


def test_a_crowd_makes_all_its_calls_and_counts_as_the_service_does() -> None:
    async def both() -> tuple[Crowd, LimitedService, list[float]]:
        service = LimitedService(CALM)
        await service.open()
        parts: list[float] = []
        crowd = Crowd(replace(CALM, after=2.0, capacity=20.0), "failwell", seed=3, port=service.port)
        await crowd.run(monotonic() - 1.9, parts.append)
        await service.close()
        return crowd, service, parts

    crowd, service, parts = asyncio.run(both())

    assert sum(crowd.calls) == len(crowd._mine) == sum(crowd.answered)
    assert crowd.sent == service.seen
    assert crowd.unfinished == 0
    assert parts == [0.5]


def test_a_call_without_an_end_is_given_up_and_counted() -> None:
    stopped = replace(TINY, begins=0.0, outage=600.0, after=1.0)

    async def unanswered() -> tuple[Crowd, LimitedService]:
        service = LimitedService(stopped)
        await service.open()
        service.begin(monotonic())
        world = replace(TINY, capacity=20.0, timeout=60.0)
        crowd = Crowd(world, "no retries", seed=1, port=service.port)
        running = asyncio.create_task(crowd.run(monotonic() - 1.0, lambda part: None))
        while service.seen < len(calls(world, 1)):
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await service.close()
        return crowd, service

    crowd, service = asyncio.run(unanswered())

    assert crowd.unfinished == sum(crowd.calls) == service.seen > 0
    assert sum(crowd.answered) == 0


def test_who_has_no_parent_any_more_ends() -> None:
    lines, ends = iter(["more\n", ""]), []
    crowds.end_with(lambda: next(lines), ends.append)

    assert ends == [1]


def lines_of(*facts: dict[str, Any] | None) -> Iterator[str]:
    return iter(["" if each is None else json.dumps(each) + "\n" for each in facts])


def test_a_process_that_is_told_nothing_more_before_the_world_begins_ends() -> None:
    told: list[dict[str, Any]] = []
    world = {"world": asdict(CALM)}
    asyncio.run(limited.run(lines_of(world, None).__next__, told.append))
    facts = world | {"policy": "jitter", "seed": 1, "port": told[0]["port"]}
    asyncio.run(crowds.run(lines_of(facts, None).__next__, told.append))

    assert told[1]["seen"] == 0
    assert told[2] == {"ready": True}
    assert len(told) == 3


def test_a_real_run_counts_every_call_once_and_leaves_no_process() -> None:
    parts: list[float] = []
    helpers: list[Any] = []
    world = replace(TINY, after=2.0)
    real = measure(world, "failwell", seed=1, processes=2, progress=parts.append, known=helpers.append)

    assert sum(real.run.calls) == len(calls(world, 1))
    assert sum(real.run.answered) <= sum(real.run.calls)
    assert real.seen == real.sent
    assert real.unfinished == 0
    assert parts
    assert len(helpers) == 3
    assert all(helper.process.returncode is not None for helper in helpers)


def test_a_process_that_ends_early_ends_the_run_and_all_others() -> None:
    with _Helpers(600.0) as helpers:
        service = helpers.start("failwell.storm.limited", {"world": asdict(TINY)})
        service.heard()
        wrong = helpers.start("failwell.storm.limited", {"world": {"load": 1.0, "capacity": 5.0}})
        wrong.tell(None)
        wrong.heard()
        wrong.heard()
        with pytest.raises(RuntimeError, match=r"storm\.limited ended with 0"):
            wrong.heard()

    assert service.process.returncode is not None


def test_who_says_nothing_for_too_long_is_killed() -> None:
    with _Helpers(600.0) as helpers:
        silent = helpers.start("failwell.storm.limited", {"world": asdict(TINY)})
        silent.heard()
        helpers._guard.function()  # what the timer does when the time is up
        with pytest.raises(RuntimeError, match="ended with"):
            silent.heard()


def test_the_model_has_the_calls_that_were_made() -> None:
    model = modelled(TINY, "jitter", seed=4, seeds=2)

    assert len(model.runs) == 2
    for ran in model.runs:
        assert ran.calls == [
            sum(int(moment) == s for moment, _, _ in calls(TINY, 4)) for s in range(len(ran.calls))
        ]


def test_the_model_is_off_by_the_mean_of_what_lies_between() -> None:
    world = World(load=0.5, outage=0.0, begins=0.0, after=10.0)
    model = run(world, policies=named(["no retries"]), seeds=1).rows[0]
    none, half = [0] * 10, [5] * 10

    def off(answered: list[int]) -> float:
        return Pair(Measured(Run(world, [10] * 10, answered, none), 0, 0, 0.0, 0), model).deviation

    assert off(none) == 1.0
    assert off(half) == 0.5


def test_the_page_shows_both_and_needs_nothing_else() -> None:
    drawn = real_page(RealResult(TINY, 1, 2, (pair(),)), "<title>")

    assert "&lt;title&gt;" in drawn
    assert drawn.count("<polyline") == 4
    assert "measured" in drawn
    assert "http" not in drawn


def test_a_policy_without_real_clients_is_refused() -> None:
    with pytest.raises(UsageError, match="no real clients with the policy 'Finagle'"):
        run_real(TINY, policies=["Finagle"])


@pytest.fixture
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The run itself has tests of its own."""

    def measured(world: World, name: str, **asked: Any) -> Measured:
        asked["progress"](0.5)
        return pair(world, name).measured

    monkeypatch.setattr("failwell.storm.real.measure", measured)


@pytest.mark.usefixtures("no_waiting")
def test_the_command_shows_what_was_measured_beside_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["storm", "--real", "--seeds", "2", "--outage", "2", "--after", "6", "--report", str(tmp_path)]

    assert failwell(asked) == 0

    said = capsys.readouterr().out
    assert "20 real clients at 80.0% of the capacity of a real service, 50 requests a second" in said
    assert "off by" in said
    told = json.loads((tmp_path / "storm.json").read_text())
    assert [each["policy"] for each in told["pairs"]] == list(REAL_POLICIES)
    assert told["world"]["outage"] == 2.0
    assert "model" in (tmp_path / "storm.html").read_text()


def test_the_command_says_why_a_real_run_broke_off(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **asked: Any) -> Measured:
        raise RuntimeError("a process ended with 1 before its time")

    monkeypatch.setattr("failwell.storm.real.measure", broken)

    assert failwell(["storm", "--real", "--report", str(tmp_path)]) == 1
    assert "The real run broke off: a process ended with 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--real", "--sweep"], "give one of them"),
        (["--every", "5", "--capacity", "5"], "give one of them"),
        (["--real", "--policy", "gRPC"], "no real clients"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failwell(["storm", *options, "--report", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT to a process")
def test_ctrl_c_ends_the_run_and_all_its_processes(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from failwell.storm import World\n"
        "from failwell.storm.real import measure\n"
        "ids = []\n"
        "try:\n"
        "    world = World(load=0.5, capacity=40.0, clients=2, begins=0.0, outage=0.0, after=600.0)\n"
        "    measure(world, 'jitter', seed=1, processes=1, progress=lambda part: print(*ids, flush=True),\n"
        "            known=lambda helper: ids.append(helper.process.pid))\n"
        "except KeyboardInterrupt:\n"
        "    sys.exit(7)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as whole:
        assert whole.stdout is not None
        ids = [int(each) for each in whole.stdout.readline().split()]  # the first second is over
        whole.send_signal(signal.SIGINT)
        whole.stdout.read()

    assert whole.returncode == 7
    assert len(ids) == 2
    for each in ids:
        with pytest.raises(ProcessLookupError):
            os.kill(each, 0)


def test_a_crowd_says_what_came_of_it_to_who_started_it() -> None:
    async def both() -> list[dict[str, Any]]:
        service = LimitedService(CALM)
        await service.open()
        said: list[dict[str, Any]] = []
        facts = {"world": asdict(CALM), "policy": "jitter", "seed": 1, "port": service.port}
        await crowds.run(lines_of(facts, {"began": monotonic() - 1.0}).__next__, said.append)
        await service.close()
        return said

    ready, *_, told = asyncio.run(both())

    assert ready == {"ready": True}
    assert sum(told["answered"]) == sum(told["calls"]) == told["sent"] == len(calls(CALM, 1))


def test_a_crowd_that_has_nothing_to_do_ends() -> None:
    crowd = Crowd(replace(TINY, load=1e-9), "failwell", seed=1, port=1)
    asyncio.run(crowd.run(monotonic(), lambda part: None))

    assert crowd.calls == [0]


def test_a_service_says_in_the_end_what_it_saw() -> None:
    said: list[dict[str, Any]] = []
    lines = lines_of({"world": asdict(CALM)}, {"began": monotonic()}, None)
    asyncio.run(limited.run(lines.__next__, said.append))

    assert said[1] == {"seen": 0, "late": 0.0}


def test_a_service_that_never_listened_can_be_closed() -> None:
    async def closed() -> int:
        service = LimitedService(CALM)
        await service.close()
        return service.seen

    assert asyncio.run(closed()) == 0
