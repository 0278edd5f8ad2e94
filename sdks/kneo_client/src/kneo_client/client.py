"""
The clients: blocking and awaiting, over the same operations.

    with KneoClient() as client:
        run = client.platform.runs.create({"spec_id": "spec_1"})

    async with AsyncKneoClient() as client:
        run = await client.platform.runs.create({"spec_id": "spec_1"})
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import failwell
from failwell.call.retry import RetryPolicy as _AnyRetryPolicy
from failwell.redaction import Secret
from failwell.resources import SDK, AsyncSDK
from failwell.settings import masked, user_agent
from kneo_client import __version__
from kneo_client.core.contract import CONTRACT
from kneo_client.core.profile import Profile, resolve
from kneo_client.core.retry import RetryPolicy
from kneo_client.platform import AsyncPlatform, Platform, check

if TYPE_CHECKING:
    from failwell.clock import Clock
    from failwell.telemetry import Listener


DEFAULT_DEADLINE = 60.0


class _Settings:
    """What both clients are told when they are made: one signature for the twins."""

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        profile: str | None = None,
        retry: _AnyRetryPolicy | None = None,
        deadline: float | None = DEFAULT_DEADLINE,
        timeouts: failwell.Timeouts | None = None,
        breaker: failwell.Breaker | bool = False,
        engine: Any = "httpx",
        connections: failwell.Connections | None = None,
        listeners: Sequence[Listener] = (),
        clock: Clock | None = None,
        random: Callable[[], float] | None = None,
    ) -> None:
        """
        A client with these settings.

        Args:
            api_key: By default looked up; `kneo_client.core.profile` says where.
            base_url: Scheme, host and perhaps a path; by default looked up in the same places.
            profile: The name of a profile, which goes before the environment.
            retry: Which failures are tried again, how often and after what wait.
            deadline: Seconds for a whole call, all tries and waits included; None for no limit.
            timeouts: For each wait within an attempt.
            breaker: True or a `failwell.Breaker` for one; off by default. An open circuit raises
                `KneoNetworkError` with the effect `not_sent` and `retry_after`.
            engine: "httpx" (the default, on httpx2), or a client or transport of httpx2 or httpx that
                you bring, and close. Other engines of failwell work too; `__cause__` is then theirs.
            connections: How the engine connects.
            listeners: Called with each `failwell.telemetry.Event`.
            clock: The time to go by; for tests.
            random: Gives a number from 0 up to 1; for tests.

        Raises:
            failwell.ConfigurationError: no API key or base URL is found, or one cannot be used.
            failwell.UsageError: another setting cannot be used.
        """
        api_key = masked(api_key)  # this frame is in the traceback of a setting that is refused
        self.profile: Profile = resolve(api_key, base_url, profile)
        if retry is not None and not isinstance(retry, _AnyRetryPolicy):
            raise check.wrong_type("retry", retry, "a kneo_client.RetryPolicy")
        self._open(
            base_url=self.profile.base_url,
            contract=CONTRACT,
            credentials={"authorization": Secret(f"Bearer {self.profile.api_key}")},
            headers={"user-agent": user_agent("kneo-client", __version__)},
            retry=retry or RetryPolicy(),
            name="kneo_client",  # the logger is kneo_client.transport
            deadline=deadline,
            timeouts=timeouts,
            breaker=breaker,
            engine=engine,
            connections=connections,
            listeners=listeners,
            clock=clock,
            random=random,
        )

    def _open(self, **told: Any) -> None:
        """Make the failwell client that is told this, and the platform on it."""
        raise NotImplementedError


class KneoClient(_Settings, SDK):
    """
    A client for the Kneo platform, blocking. Safe to share between threads.

    Attributes:
        platform: What the platform offers: `runs`, `specs`, `environments`, `health`.
        profile: The API key (masked), the base URL, and where each came from.
    """

    def _open(self, **told: Any) -> None:
        self._client = failwell.Client(**told)
        self.platform = Platform(self._client)


class AsyncKneoClient(_Settings, AsyncSDK):
    """
    A client for the Kneo platform, awaiting, under asyncio or trio.

    Attributes:
        platform: What the platform offers: `runs`, `specs`, `environments`, `health`.
        profile: The API key (masked), the base URL, and where each came from.
    """

    def _open(self, **told: Any) -> None:
        self._client = failwell.AsyncClient(**told)
        self.platform = AsyncPlatform(self._client)
