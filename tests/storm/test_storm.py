"""The storm: its model on paper, its policies against what is known of them, and its two reports."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from failwell.cli import run as failwell
from failwell.errors import UsageError
from failwell.storm import POLICIES, Policy, World, run, simulate, sweep
from failwell.storm.page import page
from failwell.storm.policies import _GRPC, _Botocore, _Finagle, _Share
from failwell.storm.results import Cell, edges, named
from failwell.storm.terminal import with_progress

# Enough for the shape of things, and quick.
SMALL = World(clients=5, capacity=20.0, after=60.0)


def policy(name: str) -> Policy:
    return named([name])[0]


def test_without_a_trigger_everybody_is_answered() -> None:
    calm = World(load=0.5, outage=0.0, after=30.0)

    for each in POLICIES:
        ran = simulate(calm, each, seed=1)
        assert (ran.share, ran.peak, ran.recovery) == (1.0, 1.0, 0), each.name


def test_the_same_seed_brings_the_same_run_and_another_seed_another() -> None:
    first, again, other = (simulate(SMALL, policy("failwell"), seed=seed) for seed in (7, 7, 8))

    assert first == again
    assert first.attempts != other.attempts


def test_as_many_calls_begin_as_the_load_says_whatever_becomes_of_them() -> None:
    world = World(load=0.5, outage=50.0, after=200.0)

    ran = simulate(world, policy("no retries"), seed=1)

    assert ran.calls == simulate(world, policy("no retries"), seed=1).calls
    # A Poisson process of mean m is within five times its root of m but once in a million times.
    mean = world.load * world.capacity * world.seconds
    assert abs(sum(ran.calls) - mean) < 5 * mean**0.5


def test_without_retries_a_backlog_drains_as_fast_as_the_slack_allows() -> None:
    """What came in the outage, 10 s of 0.8 C, is worked off by 0.2 C: about 40 s later it is gone."""
    world = World(load=0.8, timeout=1.0, after=120.0)

    recoveries = [simulate(world, policy("no retries"), seed=seed).recovery for seed in range(1, 6)]

    assert all(r is not None and 28 <= r <= 55 for r in recoveries), recoveries


def test_three_retries_never_let_a_service_come_back_that_without_them_would() -> None:
    """HotOS 2021: the retries alone are more than it can answer."""
    world = World(load=0.85, capacity=50.0, clients=10, after=110.0)

    assert simulate(world, policy("jitter"), seed=1).recovery is None
    assert simulate(world, policy("one retry"), seed=1).recovery is None
    assert simulate(world, policy("no retries"), seed=1).recovery is not None


def test_our_defaults_are_back_long_before_a_client_that_does_not_retry() -> None:
    world = World(load=0.85, capacity=50.0, clients=10, after=120.0)
    ours = run(world, policies=[policy("failwell")], seeds=2).rows[0]
    none = run(world, policies=[policy("no retries")], seeds=2).rows[0]

    assert ours.recovery is not None
    assert none.recovery is not None
    assert ours.recovery * 5 < none.recovery
    assert ours.share > 0.85 > none.share
    assert ours.amplification <= 1.05


def test_while_connections_are_refused_retries_are_what_the_policies_say() -> None:
    world = World(load=0.5, clients=10, capacity=50.0, trigger="refuse", outage=60.0, after=5.0)

    told = {p.name: simulate(world, p, seed=1).amplification for p in POLICIES}

    assert told["no retries"] == 1.0
    assert told["naive"] == 4.0
    assert told["failwell"] < 0.5 < told["failwell, no breaker"] < 1.2
    assert told["gRPC"] < 1.1
    assert told["10 % budget"] < 1.25


def test_of_a_partial_outage_only_those_keys_fail() -> None:
    world = World(load=0.3, trigger="partial", outage=100.0, after=10.0)

    ran = simulate(world, policy("no retries"), seed=1)

    assert 0.87 < ran.share_during < 0.93
    assert ran.amplification == 1.0


def test_a_service_that_drops_what_waited_too_long_is_back_at_once_whatever_clients_do() -> None:
    """Where each client calls once in a while, none of them can help; the service can."""
    world = World(clients=400, after=40.0).where_each_calls(20.0)

    assert simulate(world, policy("failwell"), seed=1).recovery is None
    for each in ("failwell", "no retries", "jitter"):
        ran = simulate(replace(world, queue=0.5), policy(each), seed=1)
        assert ran.recovery is not None, each
        assert ran.recovery <= 3, each


def test_the_capacity_follows_from_how_often_clients_call() -> None:
    world = World(load=0.5, clients=500).where_each_calls(10.0)

    assert world == World(load=0.5, clients=500, capacity=100.0)
    with pytest.raises(UsageError, match="every is 0"):
        World().where_each_calls(0.0)


def test_a_share_of_retries_is_kept_to() -> None:
    budget = _Share(0.1)
    granted = 0
    for second in range(1000):
        budget.called(float(second))
        granted += budget.may_retry(float(second))

    assert 90 <= granted <= 112


def test_finagle_s_reserve_lets_ten_a_second_through_without_any_call() -> None:
    budget = _Finagle()
    while budget.may_retry(0.0):
        pass
    granted = sum(budget.may_retry(now / 100) for now in range(1, 1001))

    assert 60 <= granted <= 101


def test_grpc_stops_at_half_of_its_tokens() -> None:
    budget = _GRPC()
    for _ in range(4):
        budget.ended(answered=False, retried=False)
    assert budget.may_retry(0.0)
    budget.ended(answered=False, retried=False)
    assert not budget.may_retry(0.0)
    budget.ended(answered=True, retried=False)
    assert budget.may_retry(0.0)


def test_botocore_s_tokens_pay_for_35_retries_and_come_back_with_success() -> None:
    budget = _Botocore()

    assert sum(budget.may_retry(0.0) for _ in range(100)) == 500 // 14
    budget.ended(answered=True, retried=True)
    assert budget.may_retry(0.0)


@pytest.mark.parametrize(
    "facts",
    [
        {"load": 0.0}, {"load": float("nan")}, {"capacity": -1.0}, {"capacity": float("inf")},
        {"timeout": 0.0}, {"queue": 0.0}, {"outage": -1.0}, {"clients": 0}, {"after": 0.0},
        {"trigger": "earthquake"},
    ],
)  # fmt: skip
def test_a_world_that_cannot_be_is_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(facts))):
        World(**facts)


def test_who_waits_for_a_storm_is_told_how_far_it_is() -> None:
    told: list[tuple[str, float]] = []
    result = run(
        SMALL, policies=[policy("no retries"), policy("gRPC")], seeds=1,
        progress=lambda *said: told.append(said),
    )  # fmt: skip
    sweep(
        SMALL, policies=[policy("jitter")], loads=(0.3,), outages=(1.0,), seeds=1,
        progress=lambda *said: told.append(said),
    )  # fmt: skip

    assert {name for name, _ in told} == {"no retries", "gRPC", "jitter", ""}
    assert all(0 <= part <= 1 for _, part in told)
    assert [part for name, part in told if not name] == [1.0, 1.0]
    assert result.row("gRPC") is result.rows[1]
    with pytest.raises(KeyError):
        result.row("magic")


def test_on_a_terminal_a_bar_shows_how_far_it_is() -> None:
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100)
    with_progress(console, lambda tell: tell("jitter", 0.5))

    assert "storm" in written.getvalue()


def test_nothing_to_run_is_refused() -> None:
    with pytest.raises(UsageError, match="one seed"):
        run(seeds=0)
    with pytest.raises(UsageError, match="no policy 'magic'; there are failwell"):
        named(["magic"])


def test_a_sweep_has_a_cell_for_each_load_and_outage() -> None:
    cells = sweep(SMALL, policies=[policy("jitter")], loads=(0.3, 0.9), outages=(1.0, 10.0), seeds=1)

    assert [(c.load, c.outage) for c in cells] == [(0.3, 1.0), (0.3, 10.0), (0.9, 1.0), (0.9, 10.0)]
    assert cells[0].recovery is not None


def test_the_edge_is_the_highest_load_below_which_every_load_is_survived() -> None:
    recoveries = {(0.3, 1.0): 0.0, (0.6, 1.0): 9.0, (0.3, 10.0): 5.0, (0.6, 10.0): None, (0.9, 10.0): 4.0}
    cells = [Cell("a", load, outage, found) for (load, outage), found in recoveries.items()]
    cells.append(Cell("b", 0.3, 20.0, None))

    assert edges(cells, "a") == {1.0: 0.6, 10.0: 0.3, 20.0: None}


def test_a_swept_page_and_table_name_the_edge(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [Cell("no retries", 0.3, 1.0, 0.0), Cell("no retries", 0.6, 1.0, None)]
    cells += [Cell("no retries", 0.3, 5.0, None), Cell("no retries", 0.6, 5.0, None)]
    monkeypatch.setattr("failwell.storm.results.sweep", lambda *args, **asked: cells)
    monkeypatch.setattr("failwell.storm.sweep", lambda *args, **asked: cells, raising=False)
    asked = ["storm", "--seeds", "1", "--policy", "no retries", "--after", "20", "--sweep"]

    assert failwell([*asked, "--report", str(tmp_path)]) == 0

    assert "up to" in capsys.readouterr().out
    drawn = (tmp_path / "storm.html").read_text()
    assert "<b>up to</b><td class=n><b>30.0%</b><td class=n><b>none</b>" in drawn
    assert json.loads((tmp_path / "storm.json").read_text())["edges"] == {
        "no retries": {"1.0": 0.3, "5.0": None}
    }


def test_the_page_escapes_and_needs_nothing_else() -> None:
    odd = Policy("<b>", "says", "from", policy("no retries").client)
    result = run(SMALL, policies=[odd], seeds=1)

    drawn = page(result, "<title>")

    assert "<b>" not in drawn.replace("<b>&lt;b&gt;</b>", "")
    assert "&lt;title&gt;" in drawn
    assert "http" not in drawn


def test_the_command_writes_its_reports_and_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["storm", "--seeds", "1", "--policy", "no retries", "--after", "20", "--report", str(tmp_path)]

    assert failwell(asked) == 0

    said = capsys.readouterr().out
    assert "20 clients at 93.3% of the capacity" in said
    assert str(tmp_path / "storm.html") in said
    told = json.loads((tmp_path / "storm.json").read_text())
    assert told["rows"][0]["policy"] == "no retries"
    assert len(told["rows"][0]["goodput"]) == 50


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--load", "0"], "load is 0"),
        (["--trigger", "flood"], "hold, refuse or partial"),
        (["--every", "0"], "every is 0"),
        (["--queue", "-1"], "queue is -1"),
        (["--policy", "magic"], "there is no policy 'magic'"),
        (["--seeds", "0"], "greater than or equal to 1"),
    ],
)
def test_the_command_refuses_what_cannot_be_run(
    option: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert failwell(["storm", *option, "--report", str(tmp_path / "r")]) == 2
    assert said in capsys.readouterr().err
