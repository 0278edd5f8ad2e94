"""Argus on PostgreSQL and Redis, with several workers: stored once, whoever asks how often."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "service"))

from postgres_server import fresh_database
from redis_server import fresh_redis

import failwell_sandbox
from argus import Argus, ArgusAPIError, ArgusNotFoundError, ArgusPermissionError
from failwell.engines.base import Connections

URLS: dict[str, Callable[[], str]] = {"postgres": fresh_database, "redis": lambda: fresh_redis(tcp=True)}


@pytest.fixture(scope="module", params=URLS)
def service(request: pytest.FixtureRequest) -> Iterator[Any]:
    with failwell_sandbox.running(("argus",), store=URLS[request.param](), workers=2, wait=5.0) as sandbox:
        yield sandbox.argus


def client(service: Any, key: str = "") -> Argus:
    return Argus(
        key or service.keys.full, base_url=f"{service.url}/v1", connections=Connections(trust_env=False)
    )


def test_a_result_is_stored_under_its_asset_and_listed_again(service: Any) -> None:
    with client(service) as argus:
        asset = argus.assets.create(f"site-{uuid4()}", competitors=["Globex", "nul\0l"])
        batch = argus.check_batch(["Globxe", "a\0b", "x" * 100_000], asset_id=asset.id, save=True)

        assert argus.assets.get(asset.id) == asset
        assert list(argus.assets.results(asset.id)) == list(batch)[::-1]
        assert [result.flagged for result in batch] == [True, False, False]
        with pytest.raises(ArgusNotFoundError):
            argus.check("x", asset_id="asset\0")


def test_many_at_once_with_one_key_are_one_result(service: Any) -> None:
    key = str(uuid4())
    with client(service) as argus:
        asset = argus.assets.create(f"site-{uuid4()}")
        with ThreadPoolExecutor(8) as pool:
            tasks = [
                pool.submit(argus.check, "Globex", asset_id=asset.id, save=True, idempotency_key=key)
                for _ in range(16)
            ]
            results = [task.result() for task in tasks]

        assert {result.id for result in results} == {argus.assets.results(asset.id)[0].id}
        assert service.effects(key) == 1


def test_a_name_is_given_once_and_a_free_key_has_no_assets(service: Any) -> None:
    name = f"site-{uuid4()}"
    with client(service) as argus, client(service, service.keys.free) as free:
        argus.assets.create(name)
        with pytest.raises(ArgusAPIError) as caught:
            argus.assets.create(name)
        with pytest.raises(ArgusPermissionError):
            free.assets.create(f"{name}-2")
        assert free.check("ada@example.com").flagged

    assert caught.value.code == "name_taken"
