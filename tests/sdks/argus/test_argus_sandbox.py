"""Both clients against the service of the sandbox: every method, and every exception from its cause."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio
from sdk_clients import on

import failwell_sandbox
from argus import (
    Argus,
    ArgusAPIError,
    ArgusAuthenticationError,
    ArgusInternalServerError,
    ArgusNotFoundError,
    ArgusPermissionError,
    AsyncArgus,
)
from failwell import Connections
from failwell.service import Limit

DIRECT = Connections(trust_env=False)
TEXT = "Try Globex instead: ada@example.com"


@pytest.fixture(scope="module")
def service() -> Iterator[Any]:
    with failwell_sandbox.running(("argus",)) as sandbox:
        yield sandbox.argus


@pytest.fixture(params=[Argus, AsyncArgus])
def use(request: pytest.FixtureRequest, service: Any) -> Callable[..., Any]:
    """Runs one function on the blocking or on the awaiting client, the same way for a test."""

    def use(call: Callable[[Any], Any], key: str | None = None, **settings: Any) -> Any:
        chosen = {"api_key": key or service.keys.full, "base_url": f"{service.url}/v1", "connections": DIRECT}
        return on(request.param, call, chosen | settings)

    return use


def new_asset(use: Any, **members: Any) -> Any:
    return use(lambda c: c.assets.create(f"site-{time.time_ns()}", **members))


def test_what_is_found_can_be_cut_out_of_the_text(use: Any, service: Any) -> None:
    for key in (service.keys.free, service.keys.full):
        result = use(lambda c: c.check(TEXT, competitors=["Globex"]), key)

        assert [(f.kind, f.type, f.of(TEXT)) for f in result] == [
            ("competitor", "exact", "Globex"),
            ("personal_data", "email", "ada@example.com"),
        ]
        assert (result.flagged, result.saved, result.id, result.extra) == (True, False, None, {})


def test_a_span_counts_code_points(use: Any) -> None:
    text = "\U0001f600\U0001f600 e\u0301 Globex"

    (finding,) = use(lambda c: c.check(text, competitors=["Globex"]))

    assert (finding.start, finding.of(text), finding.extra) == (6, "Globex", {})


def test_a_saved_result_is_listed_under_its_asset(use: Any) -> None:
    asset = new_asset(use, competitors=["Globex"])

    result = use(lambda c: c.check(TEXT, asset_id=asset.id, save=True))
    again = use(lambda c: c.assets.results(asset.id))

    assert list(again) == [result]
    assert (result.saved, result.asset_id, result.findings[0].name) == (True, asset.id, "Globex")
    assert result.text_length == len(TEXT)
    assert use(lambda c: c.assets.get(asset.id)) == asset
    assert asset in list(use(lambda c: c.assets.list(limit=100)))


def test_a_batch_has_a_result_for_each_text(use: Any) -> None:
    asset = new_asset(use)

    batch = use(
        lambda c: c.check_batch(
            [TEXT, "nothing", "Globxe"], competitors=["Globex"], asset_id=asset.id, save=True
        )
    )
    listed = use(lambda c: c.assets.results(asset.id, limit=2))
    rest = use(lambda c: c.assets.results(asset.id, cursor=listed.next_cursor))

    assert [result.flagged for result in batch] == [True, False, True]
    assert (batch.flagged, batch.flagged_share, batch.skipped) == (True, 0.6667, False)
    assert (len(batch), batch[1].flagged) == (3, False)
    assert [*listed, *rest] == list(batch)[::-1]


def test_only_what_is_asked_for_is_looked_for(use: Any) -> None:
    result = use(lambda c: c.check(TEXT, competitors=["Globex"], detect=["competitors"]))

    assert [finding.kind for finding in result] == ["competitor"]
    assert result.checked == ("competitors",)


def test_less_sure_findings_come_if_they_are_asked_for(use: Any) -> None:
    def how_many(**settings: Any) -> int:
        return len(use(lambda c: c.check("Globxe", competitors=["Globex"], **settings)))

    assert (how_many(), how_many(min_score=0.9), how_many(min_score=0.5)) == (1, 0, 1)


def test_the_same_key_brings_the_same_result_and_is_stored_once(use: Any, service: Any) -> None:
    asset, key = new_asset(use), f"key-{time.time_ns()}"

    def save(client: Any) -> Any:
        return client.check(TEXT, asset_id=asset.id, save=True, idempotency_key=key)

    assert use(save) == use(save)
    assert service.effects(key) == 1
    with pytest.raises(ArgusAPIError) as caught:
        use(lambda c: c.check("other", asset_id=asset.id, save=True, idempotency_key=key))
    assert (type(caught.value), caught.value.status_code) == (ArgusAPIError, 409)


def test_a_batch_is_stored_as_a_whole_and_once(use: Any, service: Any) -> None:
    asset, key = new_asset(use), f"key-{time.time_ns()}"

    def save(client: Any) -> Any:
        return client.check_batch([TEXT, "", "Globxe"], asset_id=asset.id, save=True, idempotency_key=key)

    assert use(save) == use(save)
    assert service.effects(key) == 3
    assert len(use(lambda c: c.assets.results(asset.id))) == 3


def test_nothing_of_a_batch_is_stored_that_is_refused(use: Any, service: Any) -> None:
    asset, key = new_asset(use), f"key-{time.time_ns()}"

    with service.locked(), pytest.raises(ArgusInternalServerError):
        use(
            lambda c: c.check_batch([TEXT, TEXT], asset_id=asset.id, save=True, idempotency_key=key),
            max_retries=0,
        )

    assert service.effects(key) == 0
    assert list(use(lambda c: c.assets.results(asset.id))) == []


@pytest.mark.parametrize("state", ["unknown", "revoked", "expired"])
def test_a_key_that_is_no_good(use: Any, service: Any, state: str) -> None:
    with pytest.raises(ArgusAuthenticationError) as caught:
        use(lambda c: c.check(TEXT), getattr(service.keys, state))

    assert (caught.value.status_code, len(caught.value.attempts)) == (401, 1)


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.check(TEXT, asset_id="asset_1"),
        lambda c: c.check(TEXT, asset_id="asset_1", save=True),
        lambda c: c.check_batch([TEXT], asset_id="asset_1"),
        lambda c: c.assets.create("site"),
        lambda c: c.assets.list(),
        lambda c: c.assets.get("asset_1"),
        lambda c: c.assets.results("asset_1"),
    ],
)
def test_a_free_key_has_no_platform_features(use: Any, service: Any, call: Any) -> None:
    with pytest.raises(ArgusPermissionError) as caught:
        use(call, service.keys.free)

    assert caught.value.status_code == 403
    assert caught.value.response_body["request_id"] == caught.value.request_id


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.assets.get("asset_1"),
        lambda c: c.assets.results("asset_1"),
        lambda c: c.check(TEXT, asset_id="asset_1"),
        lambda c: c.check_batch([TEXT], asset_id="asset_1", save=True),
        lambda c: c.check(TEXT, asset_id="asset_1" + "\U0001f600" * 1000),
    ],
)
def test_an_asset_that_is_not_in_the_account(use: Any, call: Any) -> None:
    with pytest.raises(ArgusNotFoundError) as caught:
        use(call)

    assert caught.value.status_code == 404
    shown = caught.value.response_body["details"]["asset_id"]
    assert shown.startswith("asset_1")
    assert len(shown) <= 100


def test_a_server_that_is_about_to_end(use: Any, service: Any) -> None:
    with service.draining(), pytest.raises(ArgusInternalServerError) as caught:
        use(lambda c: c.check(TEXT), max_retries=0)

    assert (caught.value.status_code, caught.value.retryable) == (503, True)


def test_a_limit_that_opens_in_an_hour_is_not_waited_for(use: Any, service: Any) -> None:
    key = service.new_key(limit=Limit(1, 3600.0))
    use(lambda c: c.check(TEXT), key)

    with pytest.raises(ArgusAPIError) as caught:
        use(lambda c: c.check(TEXT), key)

    error = caught.value
    assert (type(error), error.status_code, len(error.attempts)) == (ArgusAPIError, 429, 1)
    assert error.retry_after is not None
    assert 60 < error.retry_after


def test_after_a_server_error_the_same_can_be_asked_again(use: Any, service: Any) -> None:
    """The document: "It is safe to retry the request after a short delay"."""
    name = f"site-{time.time_ns()}"
    with service.locked(), pytest.raises(ArgusInternalServerError) as caught:
        use(lambda c: c.assets.create(name), max_retries=0)
    assert service.effects(name=name) == 0

    key = caught.value.idempotency_key
    asset = use(lambda c: c.assets.create(name, idempotency_key=key))
    again = use(lambda c: c.assets.create(name, idempotency_key=key))

    assert asset == again
    assert service.effects(name=name) == 1


def test_a_bug_of_the_service_has_what_support_asks_for(use: Any) -> None:
    """The SDK asks for no batch without texts, so the request is made by hand."""
    with pytest.raises(ArgusInternalServerError) as caught:
        use(lambda c: c._client.request("POST", "/checks/batch", json={"texts": []}), max_retries=0)

    assert caught.value.status_code == 500
    assert caught.value.request_id
    assert caught.value.response_body["request_id"] == caught.value.request_id


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer sk_", "Basic c2s6"])
def test_a_key_that_is_missing(use: Any, authorization: str) -> None:
    """The SDK sends none without a key, so the header is taken away by hand."""
    with pytest.raises(ArgusAuthenticationError) as caught:
        use(lambda c: c._client.request("GET", "/assets", headers={"authorization": authorization}))

    assert caught.value.status_code == 401


def test_a_megabyte_is_checked(use: Any) -> None:
    text = "x" * 999_990 + " Globex"

    (finding,) = use(lambda c: c.check(text, competitors=["Globex"]))

    assert finding.of(text) == "Globex"


def test_it_runs_under_trio(service: Any) -> None:
    async def check() -> Any:
        async with AsyncArgus(service.keys.full, base_url=f"{service.url}/v1", connections=DIRECT) as argus:
            return await argus.check(TEXT, competitors=["Globex"])

    assert len(trio.run(check)) == 2


def test_many_at_once_are_each_answered_with_their_own(service: Any) -> None:
    async def check_all() -> Any:
        async with AsyncArgus(service.keys.full, base_url=f"{service.url}/v1", connections=DIRECT) as argus:
            texts = [f"{'x' * n} Globex" for n in range(50)]
            return await asyncio.gather(*(argus.check(text, competitors=["Globex"]) for text in texts))

    assert [result.findings[0].start for result in asyncio.run(check_all())] == list(range(1, 51))
