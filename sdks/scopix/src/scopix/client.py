"""
The clients: awaiting and blocking, over the same operations.

    async with Scopix() as client:
        results = await client.files.upload_batch("photos/*.jpg")

    with ScopixSync() as client:
        results = client.files.upload_batch("photos/*.jpg")

What the document leaves open is decided so: `timeout` bounds each wait within a try (for a connection,
for the next piece of an answer), `deadline` a whole call with all its tries and waits. The circuit
breaker is on: a service that keeps failing is left alone, and a call then raises `CircuitBreakerError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import failwell
from failwell import settings
from failwell.arguments import Arguments
from failwell.call.operation import Operation
from failwell.call.retry import RetryPolicy
from failwell.redaction import Secret
from failwell.resources import SDK, AsyncSDK, awaiting, operation
from scopix import __version__
from scopix.calls import check
from scopix.chat import AsyncChat, Chat
from scopix.cloud_storage import AsyncCloudStorage, CloudStorage
from scopix.contract import CONTRACT
from scopix.errors import MissingKeyError
from scopix.files import AsyncFiles, Files
from scopix.models import Usage
from scopix.s3_connector import AsyncS3Connector, S3Connector
from scopix.video_analysis import AsyncVideoAnalyses, VideoAnalyses
from scopix.videos import AsyncVideos, Videos

if TYPE_CHECKING:
    from failwell.call.breaker import Breaker
    from failwell.clock import Clock
    from failwell.engines.base import Connections
    from failwell.errors import UsageError
    from failwell.telemetry import Listener

BASE_URL = "https://api.scopix.ai"
KEY_VARIABLE = "SCOPIX_API_KEY"
URL_VARIABLE = "SCOPIX_BASE_URL"

MAX_RETRIES = 3
TIMEOUT = 60.0
DEADLINE = 600.0

# Seconds that a file of a batch waits in all for the limits of its key, besides its retries.
PATIENCE = 1800.0

# A service that asks for more than this is not waited for: `retry_after` says when to come back.
MAX_RETRY_AFTER = 120.0


class _Settings:
    """What both clients are told when they are made: one signature for the twins."""

    def __init__(
        self,
        api_key: str | None = None,
        *,
        base_url: str | None = None,
        timeout: float = TIMEOUT,
        max_retries: int = MAX_RETRIES,
        deadline: float | None = DEADLINE,
        breaker: Breaker | bool = True,
        engine: Any = "httpx",
        connections: Connections | None = None,
        listeners: Sequence[Listener] = (),
        clock: Clock | None = None,
    ) -> None:
        """
        A client with these settings.

        Args:
            api_key: By default the environment's `SCOPIX_API_KEY`.
            base_url: Where the API is; by default the environment's `SCOPIX_BASE_URL`, else Scopix's.
            timeout: Seconds for each wait within a try; connecting has at most 5 of them.
            max_retries: How often a call is tried again; 0 for a single try.
            deadline: Seconds for a whole call, all tries and waits included; None for no limit. An upload
                has more, by its size.
            breaker: True or a `failwell.Breaker` for one, False for none. Clients can share one.
            engine: What carries requests out, as for `failwell.Client` and `failwell.AsyncClient`.
            connections: How it connects.
            listeners: Called with each `failwell.telemetry.Event`.
            clock: The time to go by; for tests.

        Raises:
            AuthenticationError: there is no API key, or what was given cannot be one.
            ValidationError: another setting cannot be used.
        """
        api_key = settings.masked(api_key)  # this frame is in the traceback of a setting that is refused
        key = settings.api_key(api_key, variable=KEY_VARIABLE, check=_check_key)
        tries = settings.max_attempts(max_retries, check=check)
        self._open(
            base_url=settings.setting(
                "base_url", base_url, variable=URL_VARIABLE, default=BASE_URL, check=check
            ),
            contract=CONTRACT,
            credentials={"authorization": Secret(f"Bearer {key}")},
            headers={"user-agent": settings.user_agent("scopix", __version__)},
            retry=RetryPolicy(max_attempts=tries, max_retry_after=MAX_RETRY_AFTER),
            timeouts=settings.timeouts(timeout, check=check),
            name="scopix",
            deadline=deadline,
            breaker=breaker,
            engine=engine,
            connections=connections,
            listeners=listeners,
            clock=clock,
            patience=PATIENCE if tries > 1 else 0.0,
        )

    if TYPE_CHECKING:

        def _open(self, *, patience: float, **told: Any) -> None:
            """Make the failwell client that is told this, and the resources on it."""


class ScopixSync(_Settings, SDK):
    """
    Calls the Scopix API, blocking. Safe to share between threads.

    Attributes:
        files: Upload, find, download and delete images and documents.
        videos: Upload videos in parts; find, download and delete them.
        video_analysis: What is in a video.
        cloud_storage: Import files from, and export them to, a cloud storage.
        s3_connector: Buckets whose files are taken over.
        chat: Ask about files.
    """

    def _open(self, *, patience: float, **told: Any) -> None:
        self._client = failwell.Client(**told)
        self.files = Files(self._client, told["deadline"], patience)
        self.videos = Videos(self._client, told["deadline"])
        self.video_analysis = VideoAnalyses(self._client)
        self.cloud_storage = CloudStorage(self._client)
        self.s3_connector = S3Connector(self._client)
        self.chat = Chat(self._client)

    @operation
    def usage(self) -> Operation[Usage]:
        """How much of the account's quotas is used."""
        return Operation("GET", "/v1/usage", Usage.from_response)


class Scopix(_Settings, AsyncSDK):
    """
    Calls the Scopix API, awaiting, under asyncio or trio.

    Attributes:
        files: Upload, find, download and delete images and documents.
        videos: Upload videos in parts; find, download and delete them.
        video_analysis: What is in a video.
        cloud_storage: Import files from, and export them to, a cloud storage.
        s3_connector: Buckets whose files are taken over.
        chat: Ask about files.
    """

    def _open(self, *, patience: float, **told: Any) -> None:
        self._client = failwell.AsyncClient(**told)
        self.files = AsyncFiles(self._client, told["deadline"], patience)
        self.videos = AsyncVideos(self._client, told["deadline"])
        self.video_analysis = AsyncVideoAnalyses(self._client)
        self.cloud_storage = AsyncCloudStorage(self._client)
        self.s3_connector = AsyncS3Connector(self._client)
        self.chat = AsyncChat(self._client)

    usage = awaiting(ScopixSync.usage)


class _KeyArguments(Arguments):
    """Refuses an API key as the document says: by the class that a wrong one raises, too."""

    __slots__ = ()

    def misconfigured(self, message: str) -> UsageError:
        """The refusal, not raised, of a key that is missing or malformed."""
        return MissingKeyError(message)


_check_key = _KeyArguments(CONTRACT)
