"""Every example of the platform's document, in its own words, against real answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from failwell import Connections
from kneo_client import AsyncKneoClient
from kneo_client.core.errors import (
    KneoAuthError,
    KneoError,
    KneoIdempotencyMismatchError,
    KneoNetworkError,
    KneoNotFoundError,
    KneoPermissionError,
    KneoRateLimited,
    KneoServerError,
)

log = logging.getLogger("application")


@pytest.fixture
def on_client(script: Any, clock: Any, key: str) -> Callable[[Callable[[Any], Awaitable[Any]]], Any]:
    """Runs a coroutine function on the awaiting client, which the document is written for."""

    def run(example: Callable[[Any], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with AsyncKneoClient(
                key, base_url=script.base_url, clock=clock, connections=Connections(trust_env=False)
            ) as client:
                return await example(client)

        return asyncio.run(main())

    return run


def test_catch_broadly_and_log_richly(on_client: Any, script: Any, caplog: pytest.LogCaptureFixture) -> None:
    payload = {"spec_id": "spec_1", "environment_id": "env_1"}
    script.will_refuse(500, "internal_error", "Internal server error.", X_Request_ID="req_7")

    async def example(client: Any) -> None:
        try:
            await client.platform.runs.create(payload)
        except KneoError as exc:
            log.error(
                "create_run failed status=%s request_id=%s idempotency_key=%s body=%r",
                exc.status,
                exc.request_id,
                exc.idempotency_key,
                exc.body,
            )
            raise

    with pytest.raises(KneoServerError):
        on_client(example)

    (line,) = [r.getMessage() for r in caplog.records if r.name == "application"]
    sent = script.asked[0].headers["idempotency-key"]
    assert line == (
        f"create_run failed status=500 request_id=req_7 idempotency_key={sent} "
        "body={'error': {'code': 'internal_error', 'message': 'Internal server error.'}}"
    )


@pytest.mark.parametrize(
    ("status", "told", "raised"),
    [
        (401, "API key is missing, invalid, or revoked.", KneoAuthError),
        (404, "run 'run_1' does not exist.", None),
        (429, "rate-limited; server suggests waiting 90.0s", KneoRateLimited),
        (500, "platform 5xx (after retries): {'error': {'code': 'x', 'message': 'm'}}", KneoServerError),
    ],
)
def test_branch_on_what_it_means(
    on_client: Any,
    script: Any,
    clock: Any,
    status: int,
    told: str,
    raised: type[KneoError] | None,
) -> None:
    said: list[str] = []
    slept: list[float] = []
    # 90 seconds are longer than the policy waits, so the error comes at once and says them.
    script.will_refuse(status, "x", "m", Retry_After="90")

    async def example(client: Any) -> Any:
        run_id = "run_1"
        try:
            return await client.platform.runs.get(run_id)
        except KneoAuthError:
            said.append("API key is missing, invalid, or revoked.")
            raise
        except KneoNotFoundError:
            said.append(f"run {run_id!r} does not exist.")
            return None
        except KneoRateLimited as exc:
            said.append(f"rate-limited; server suggests waiting {exc.retry_after}s")
            slept.append(exc.retry_after or 10)
            raise
        except KneoServerError as exc:
            said.append(f"platform 5xx (after retries): {exc.body}")
            raise

    if raised is None:
        assert on_client(example) is None
    else:
        with pytest.raises(raised):
            on_client(example)

    assert said == [told]
    assert slept == ([90.0] if status == 429 else [])
    assert clock.waits == []


def test_a_reused_key_is_loud(on_client: Any, script: Any) -> None:
    payload, key = {"spec_id": "spec_1", "environment_id": "env_1"}, "key_1"
    script.will_refuse(409, "idempotency_mismatch", "The key was used.")

    async def example(client: Any) -> None:
        try:
            await client.platform.runs.create(payload, idempotency_key=key)
        except KneoIdempotencyMismatchError as exc:
            raise RuntimeError(
                f"Idempotency-Key {exc.idempotency_key!r} was reused with a different payload."
            ) from exc

    with pytest.raises(RuntimeError, match=r"^Idempotency-Key 'key_1' was reused") as caught:
        on_client(example)

    assert isinstance(caught.value.__cause__, KneoIdempotencyMismatchError)


def test_a_platform_that_cannot_be_reached(on_client: Any, script: Any, clock: Any) -> None:
    for _ in range(4):
        script.will_hang_up()
    said: list[str] = []

    async def example(client: Any) -> None:
        try:
            await client.platform.health.readyz()
        except KneoNetworkError as exc:
            said.append(f"could not reach the platform: {exc}")
            raise

    with pytest.raises(KneoNetworkError):
        on_client(example)

    assert said[0].startswith("could not reach the platform: The connection was closed")
    assert "4 tries" in said[0]
    assert len(script.asked) == 4


def test_the_log_line_of_the_document(on_client: Any, script: Any, caplog: pytest.LogCaptureFixture) -> None:
    """INFO kneo_client.transport: transport error on attempt 1; sleeping 0.20s: ..."""
    script.will_hang_up()
    script.will_answer(200, {"status": "ok"})
    logging.getLogger("kneo_client.transport").setLevel(logging.INFO)
    try:
        on_client(lambda client: client.platform.health.readyz())
    finally:
        logging.getLogger("kneo_client.transport").setLevel(logging.NOTSET)

    (record,) = [r for r in caplog.records if r.name == "kneo_client.transport"]
    line = logging.Formatter("%(levelname)s %(name)s: %(message)s").format(record)
    assert line.startswith(
        "INFO kneo_client.transport: transport error on attempt 1; sleeping 0.20s: The connection was closed"
    )


def user_message(exc: KneoError) -> str:
    if isinstance(exc, KneoAuthError):
        return "Your API key is invalid. Please check your credentials."
    if isinstance(exc, KneoPermissionError):
        return "You don't have permission to perform this action."
    if isinstance(exc, KneoNotFoundError):
        return "The requested item could not be found."
    if isinstance(exc, KneoRateLimited):
        wait = exc.retry_after or 60
        return f"Too many requests. Please try again in {int(wait)}s."
    if isinstance(exc, KneoServerError):
        return f"Server error (request {exc.request_id}). Please report this."
    if isinstance(exc, KneoNetworkError):
        return "Could not reach the server. Check your network connection."
    return f"Unexpected error: {exc}"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (KneoAuthError("x"), "Your API key is invalid. Please check your credentials."),
        (KneoPermissionError("x"), "You don't have permission to perform this action."),
        (KneoNotFoundError("x"), "The requested item could not be found."),
        (KneoRateLimited("x", retry_after=12.9), "Too many requests. Please try again in 12s."),
        (KneoRateLimited("x"), "Too many requests. Please try again in 60s."),
        (KneoServerError("x", request_id="req_7"), "Server error (request req_7). Please report this."),
        (KneoNetworkError("x"), "Could not reach the server. Check your network connection."),
        (KneoError("odd", status=418), "Unexpected error: odd (418)"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_message_for_users_is_built_from_the_class_and_its_facts(error: KneoError, text: str) -> None:
    assert user_message(error) == text
