"""
The clients: blocking and awaiting, over the same operations.

    with Client() as client:
        dataset = client.datasets.get("street")
        client.images.upload(dataset_id=dataset.id, file_path="x.jpg")

    async with AsyncClient() as client:
        dataset = await client.datasets.get("street")
        await client.images.upload(dataset_id=dataset.id, file_path="x.jpg")

What the document leaves open is decided so: `timeout` bounds each wait within a try (for a connection,
for the next piece of an answer), `deadline` a whole call with all its tries and waits. Either one that
is over is a `RequestTimeoutError`. So is a deadline that has no room for the next of the waits of 1, 2
and 4 s: its `__cause__` is what went wrong with the last try. Only where the service itself asked for a
wait (`Retry-After`) that does not fit, what it answered is raised, because it says when to come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import failwell
from failwell import settings
from failwell.call.budget import RetryBudget
from failwell.call.operation import Operation
from failwell.call.retry import DocumentedWaits
from failwell.redaction import Secret
from failwell.resources import SDK, AsyncSDK, awaiting, operation
from pictograph import __version__
from pictograph.contract import CONTRACT
from pictograph.exceptions import PictographCallError, RequestTimeoutError
from pictograph.models import Organization
from pictograph.resources import (
    MAX_RETRY_AFTER,
    Annotations,
    AsyncAnnotations,
    AsyncAutoAnnotations,
    AsyncDatasets,
    AsyncExports,
    AsyncImages,
    AsyncImports,
    AsyncModels,
    AsyncTraining,
    AutoAnnotations,
    Datasets,
    Exports,
    Images,
    Imports,
    Models,
    Training,
    check,
)

if TYPE_CHECKING:
    from failwell.call.messages import Response
    from failwell.clock import Clock
    from failwell.engines.base import Connections
    from failwell.telemetry import Listener

BASE_URL = "https://api.pictograph.io"
KEY_VARIABLE = "PICTOGRAPH_API_KEY"
URL_VARIABLE = "PICTOGRAPH_BASE_URL"

# The document: 3 retries, after 1, 2 and 4 s.
MAX_RETRIES = 3
TIMEOUT = 60.0

# Three waits of 120 s, and four tries around them.
DEADLINE = 600.0


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
        engine: Any = "httpx",
        connections: Connections | None = None,
        listeners: Sequence[Listener] = (),
        clock: Clock | None = None,
    ) -> None:
        """
        A client with these settings.

        Args:
            api_key: By default the environment's `PICTOGRAPH_API_KEY`.
            base_url: Where the API is; by default the environment's `PICTOGRAPH_BASE_URL`, else
                Pictograph's.
            timeout: Seconds for each wait within a try; connecting has at most 5 of them.
            max_retries: How often a call is tried again; 0 for a single try.
            deadline: Seconds for a whole call, all tries and waits included; None for no limit. An upload
                has more, by its size.
            engine: What carries requests out, as for `failwell.Client` and `failwell.AsyncClient`.
            connections: How it connects.
            listeners: Called with each `failwell.telemetry.Event`.
            clock: The time to go by; for tests.

        Raises:
            ConfigurationError: the key, the base URL or the engine is missing or cannot be used.
            PictographValueError: another setting cannot be used.
        """
        api_key = settings.masked(api_key)  # this frame is in the traceback of a setting that is refused
        key = settings.api_key(api_key, variable=KEY_VARIABLE, check=check)
        tries = settings.max_attempts(max_retries, check=check)
        self._open(
            base_url=settings.setting(
                "base_url", base_url, variable=URL_VARIABLE, default=BASE_URL, check=check
            ),
            contract=CONTRACT,
            credentials={"authorization": Secret(f"Bearer {key}")},
            headers={"user-agent": settings.user_agent("pictograph", __version__)},
            retry=DocumentedWaits(max_attempts=tries, max_retry_after=MAX_RETRY_AFTER),
            # The document promises each call its retries, however many calls fail at once.
            budget=RetryBudget(retry_cost=0, throttle_cost=0),
            timeouts=settings.timeouts(timeout, check=check),
            name="pictograph",
            deadline=deadline,
            engine=engine,
            connections=connections,
            listeners=listeners,
            clock=clock,
        )

    def _open(self, **told: Any) -> None:
        """Make the failwell client that is told this, and the resources on it."""
        raise NotImplementedError


class Client(_Settings, SDK):
    """
    Calls the Pictograph API, blocking. Safe to share between threads.

    Attributes:
        datasets: Create, list, find, export and delete datasets.
        images: Upload, list, download and delete images.
        annotations: Save and list what is annotated in an image.
        training: Start, watch and cancel training runs.
        models: What training has made; ask it what it sees.
        exports: The files that training learns from.
        imports: Copy one dataset into another.
        auto_annotation: Annotate many images in a batch.
    """

    def _open(self, **told: Any) -> None:
        self._client = _Client(**told)
        self._client.patience = told["deadline"]
        self.datasets = Datasets(self._client)
        self.images = Images(self._client)
        self.annotations = Annotations(self._client)
        self.training = Training(self._client)
        self.models = Models(self._client)
        self.exports = Exports(self._client)
        self.imports = Imports(self._client)
        self.auto_annotation = AutoAnnotations(self._client)

    @operation
    def organization(self) -> Operation[Organization]:
        """Whose API key this is, what it may do, and how many credits are left."""
        return Operation("GET", "/v1/organization", Organization.from_response)


class AsyncClient(_Settings, AsyncSDK):
    """
    Calls the Pictograph API, awaiting, under asyncio or trio.

    Attributes:
        datasets: Create, list, find, export and delete datasets.
        images: Upload, list, download and delete images.
        annotations: Save and list what is annotated in an image.
        training: Start, watch and cancel training runs.
        models: What training has made; ask it what it sees.
        exports: The files that training learns from.
        imports: Copy one dataset into another.
        auto_annotation: Annotate many images in a batch.
    """

    def _open(self, **told: Any) -> None:
        self._client = _AwaitingClient(**told)
        self._client.patience = told["deadline"]
        self.datasets = AsyncDatasets(self._client)
        self.images = AsyncImages(self._client)
        self.annotations = AsyncAnnotations(self._client)
        self.training = AsyncTraining(self._client)
        self.models = AsyncModels(self._client)
        self.exports = AsyncExports(self._client)
        self.imports = AsyncImports(self._client)
        self.auto_annotation = AsyncAutoAnnotations(self._client)

    organization = awaiting(Client.organization)


class _Client(failwell.Client):
    """
    A client that says so when the time allowed is over between two tries.

    Attributes:
        patience: Seconds for a call that uploads nothing; None for no limit.
    """

    patience: float | None = None

    def _run(self, *call: Any, **told: Any) -> Response:
        try:
            return super()._run(*call, **told)
        except PictographCallError as error:
            late = _out_of_time(error)
            if late is None:
                raise
            raise late from error


class _AwaitingClient(failwell.AsyncClient):
    """
    A client that says so when the time allowed is over between two tries.

    Attributes:
        patience: Seconds for a call that uploads nothing; None for no limit.
    """

    patience: float | None = None

    async def _run(self, *call: Any, **told: Any) -> Response:
        try:
            return await super()._run(*call, **told)
        except PictographCallError as error:
            late = _out_of_time(error)
            if late is None:
                raise
            raise late from error


def _out_of_time(error: PictographCallError) -> RequestTimeoutError | None:
    """The error of a call whose deadline had no room for the next try; None if `error` is of another kind."""
    failure = error.failure
    if failure.stopped != "deadline" or failure.retry_after or isinstance(error, RequestTimeoutError):
        return None
    message = f"The time allowed was over before another try: {error.headline()}"
    return RequestTimeoutError.from_failure(replace(failure, message=message))
