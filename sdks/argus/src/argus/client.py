"""The Argus API: what can be asked of it, blocking and awaiting."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from argus import __version__
from argus.contract import CONTRACT
from argus.models import Asset, BatchResult, CheckResult, Page
from failwell import settings
from failwell.arguments import Arguments
from failwell.call.operation import Operation
from failwell.call.retry import RetryPolicy
from failwell.client import AsyncClient, Client
from failwell.operations.steps import Steps, do
from failwell.redaction import Secret
from failwell.resources import SDK, AsyncResource, AsyncSDK, Resource, awaiting, operation

if TYPE_CHECKING:
    from failwell.call.messages import Response
    from failwell.clock import Clock
    from failwell.engines.base import Connections
    from failwell.telemetry import Listener

BASE_URL = "https://api.argus.example/v1"
KEY_VARIABLE = "ARGUS_API_KEY"
URL_VARIABLE = "ARGUS_BASE_URL"

# What can be looked for.
DETECTORS = ("competitors", "secrets", "personal_data")

# What one call takes: code points of its texts together, texts of `check_batch`, competitors and the
# code points of each, the code points of an asset's name, things on one page of a list.
MAX_TEXT = 1_000_000
MAX_TEXTS = 100
MAX_COMPETITORS = 100
MAX_NAME = 100
MAX_LIMIT = 100

# Seconds for a whole call, tries and waits included.
DEADLINE = 60.0

# What stands behind the prefix is the service's own affair.
_KEY = re.compile(r"r?sk_[\x21-\x7e]+")

# The result of a no-op: nothing was looked for, and it says so.
_NOTHING = CheckResult(())

_log = logging.getLogger("argus")

arguments = Arguments(CONTRACT)


class _Settings:
    """What both clients are told when they are made: one signature for the twins."""

    def __init__(
        self,
        api_key: str | None = None,
        *,
        strict: bool = False,
        base_url: str | None = None,
        max_retries: int = 2,
        timeout: float = 30.0,
        deadline: float | None = DEADLINE,
        engine: Any = "httpx",
        connections: Connections | None = None,
        listeners: Sequence[Listener] = (),
        clock: Clock | None = None,
    ) -> None:
        """
        A client with these settings.

        Args:
            api_key: Starts with `sk_` (free) or `rsk_` (runtime, with platform features); by default
                the environment's `ARGUS_API_KEY`.
            strict: Whether an empty list is refused. If not, a call that is given one is a no-op:
                nothing is sent, its result is `skipped`, and a warning is logged on `argus`.
            base_url: Where the API is; by default the environment's `ARGUS_BASE_URL`, else Argus's own.
            max_retries: Further tries of each call; 0 turns retrying off.
            timeout: Seconds for one wait: between two pieces of an answer, for instance.
            deadline: Seconds for a whole call, all tries and waits included; None for no limit.
            engine: What carries requests out, as for `failwell.Client`; of `AsyncArgus` it may also
                be "aiohttp".
            connections: How it connects.
            listeners: Called with each `failwell.telemetry.Event`.
            clock: The time to go by; for tests.

        Raises:
            ArgusTypeError: a setting has the wrong type. Nothing was sent.
            ArgusValueError: the key is malformed, or another setting cannot be used. Nothing was sent.
        """
        api_key = settings.masked(api_key)  # this frame is in the traceback of a setting that is refused
        key = settings.api_key(
            api_key,
            variable=KEY_VARIABLE,
            pattern=_KEY,
            called="an Argus API key",
            rule="those start with sk_ (free) or rsk_ (Runtime Security Key)",
            check=arguments,
        )
        tries = settings.max_attempts(max_retries, check=arguments)
        self._strict = arguments.flag("strict", strict)
        self._open(
            base_url=settings.setting(
                "base_url", base_url, variable=URL_VARIABLE, default=BASE_URL, check=arguments
            ),
            contract=CONTRACT,
            credentials={"authorization": Secret(f"Bearer {key}")},
            headers={"user-agent": settings.user_agent("argus", __version__)},
            retry=RetryPolicy(max_attempts=tries, statuses=frozenset({429, 500, 502, 503, 504})),
            timeouts=settings.timeouts(timeout, check=arguments),
            deadline=deadline,
            engine=engine,
            connections=connections,
            listeners=listeners,
            clock=clock,
            name="argus",
        )

    def _open(self, **told: Any) -> None:
        """Make the failwell client that is told this, and the resources on it."""
        raise NotImplementedError


class Argus(_Settings, SDK):
    """
    Checks texts with Argus, blocking. Safe to share between threads.

    Attributes:
        assets: What is checked, and the results stored for it.
    """

    def _open(self, **told: Any) -> None:
        self._client = Client(**told)
        self.assets = Assets(self._client, self._strict)

    @operation
    def check(
        self,
        text: str,
        *,
        competitors: Sequence[str] | None = None,
        detect: Sequence[str] | None = None,
        min_score: float | None = None,
        asset_id: str | None = None,
        save: bool = False,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Steps[CheckResult]:
        """
        What is in `text` that should not be there.

        Args:
            text: Up to 1,000,000 code points.
            competitors: Up to 100 names to look for, of up to 100 characters; None for none but the
                asset's. An empty list is refused in strict mode; otherwise it makes the call a
                no-op, which sends nothing.
            detect: What to look for: any of "competitors", "secrets", "personal_data"; None for
                all. An empty list is treated as one of `competitors` is.
            min_score: Findings that are less sure are left out, from 0 to 1; None for the
                service's default.
            asset_id: The asset the text belongs to: its competitors are looked for, too. Needs a
                Runtime Security Key (`rsk_`).
            save: Whether the result is stored under the asset. Needs `asset_id`.
            idempotency_key: 1 to 255 visible ASCII characters, sent with every try; by default one
                is made. The same key with the same arguments brings the first answer again.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            ArgusTypeError: an argument has the wrong type. Nothing was sent.
            ArgusValueError: an argument cannot be used: an empty list in strict mode, `save=True`
                without `asset_id`. Nothing was sent.
            ArgusPermissionError: a free key (`sk_`) asked for `asset_id` or `save`.
            ArgusNotFoundError: there is no such asset in the account.
            ArgusAPIError: Argus answered with another failure.
            ArgusConnectionError: no usable answer came, all tries included.
        """
        body: dict[str, Any] = {"text": arguments.text("text", text, longest=MAX_TEXT)}
        _fill(body, competitors, detect, min_score, asset_id, save)
        if _is_no_op(body, self._strict):
            return _NOTHING
        return (
            yield from do(
                Operation(
                    "POST", "/checks", _result_for(text), json=body,
                    idempotency_key=idempotency_key, deadline=deadline,
                )
            )
        )  # fmt: skip

    @operation
    def check_batch(
        self,
        texts: Sequence[str],
        *,
        competitors: Sequence[str] | None = None,
        detect: Sequence[str] | None = None,
        min_score: float | None = None,
        asset_id: str | None = None,
        save: bool = False,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Steps[BatchResult]:
        """
        What is in each of `texts` that should not be there.

        Args:
            texts: Up to 100, together up to 1,000,000 code points. An empty list is refused in
                strict mode; otherwise it makes the call a no-op, which sends nothing and has no
                results.
            competitors: Up to 100 names to look for, of up to 100 characters; None for none but the
                asset's. An empty list is refused in strict mode; otherwise it makes the call a
                no-op, which sends nothing.
            detect: What to look for: any of "competitors", "secrets", "personal_data"; None for
                all. An empty list is treated as one of `competitors` is.
            min_score: Findings that are less sure are left out, from 0 to 1; None for the
                service's default.
            asset_id: The asset the texts belong to: its competitors are looked for, too. Needs a
                Runtime Security Key (`rsk_`).
            save: Whether the results are stored under the asset, all or none. Needs `asset_id`.
            idempotency_key: 1 to 255 visible ASCII characters, sent with every try; by default one
                is made. The same key with the same arguments brings the first answer again.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            ArgusTypeError: an argument has the wrong type. Nothing was sent.
            ArgusValueError: an argument cannot be used: an empty list in strict mode, `save=True`
                without `asset_id`. Nothing was sent.
            ArgusPermissionError: a free key (`sk_`) asked for `asset_id` or `save`.
            ArgusNotFoundError: there is no such asset in the account.
            ArgusAPIError: Argus answered with another failure.
            ArgusConnectionError: no usable answer came, all tries included.
        """
        given = arguments.texts("texts", texts, most=MAX_TEXTS)
        length = sum(map(len, given))
        if length > MAX_TEXT:
            raise arguments.refused(f"texts have {length} characters together; they have {MAX_TEXT} or less")
        body: dict[str, Any] = {"texts": given}
        _fill(body, competitors, detect, min_score, asset_id, save)
        if _is_no_op(body, self._strict):
            return BatchResult(tuple(_NOTHING for _ in given))
        return (
            yield from do(
                Operation(
                    "POST", "/checks/batch", _results_for(given), json=body,
                    idempotency_key=idempotency_key, deadline=deadline,
                )
            )
        )  # fmt: skip


class Assets(Resource):
    """What is checked, such as a chatbot or a website. Needs a Runtime Security Key (`rsk_`)."""

    def __init__(self, client: Client, strict: bool = False) -> None:
        super().__init__(client)
        self._strict = strict

    @operation
    def create(
        self,
        name: str,
        *,
        competitors: Sequence[str] | None = None,
        idempotency_key: str | None = None,
        deadline: float | None = None,
    ) -> Operation[Asset]:
        """
        The asset that was created.

        Args:
            name: 1 to 100 characters, none of them zero; no two assets of an account are called alike.
            competitors: Up to 100, looked for in each text that is checked for this asset; None for
                none, and so is an empty list, which is refused in strict mode.
            idempotency_key: 1 to 255 visible ASCII characters, sent with every try; by default one
                is made.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            ArgusTypeError: an argument has the wrong type. Nothing was sent.
            ArgusValueError: an argument cannot be used. Nothing was sent.
            ArgusPermissionError: the key is a free one (`sk_`).
            ArgusAPIError: the name is taken (409), or Argus answered with another failure.
            ArgusConnectionError: no usable answer came, all tries included.
        """
        body: dict[str, Any] = {"name": arguments.text("name", name, empty=False, longest=MAX_NAME)}
        if "\0" in name:
            raise arguments.refused("name holds a zero character")
        if competitors is not None:
            body["competitors"] = _names(competitors)
            _refuse_empty(body, self._strict)
        return Operation(
            "POST", "/assets", Asset.from_response, json=body,
            idempotency_key=idempotency_key, deadline=deadline,
        )  # fmt: skip

    @operation
    def get(self, asset_id: str, *, deadline: float | None = None) -> Operation[Asset]:
        """
        One asset.

        Args:
            asset_id: Its `id`.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            ArgusNotFoundError: there is no such asset in the account.
            ArgusAPIError: Argus answered with another failure.
            ArgusConnectionError: no usable answer came, all tries included.
        """
        path = f"/assets/{arguments.segment('asset_id', asset_id)}"
        return Operation("GET", path, Asset.from_response, deadline=deadline)

    @operation
    def list(
        self, *, limit: int | None = None, cursor: str | None = None, deadline: float | None = None
    ) -> Operation[Page[Asset]]:
        """
        A page of assets, the newest first.

        Args:
            limit: How many, 1 to 100; 20 by the service's default.
            cursor: `next_cursor` of the page before; None for the first.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            ArgusAPIError: Argus answered with a failure.
            ArgusConnectionError: no usable answer came, all tries included.
        """
        params = _paging(limit, cursor)
        return Operation("GET", "/assets", Page.of(Asset.from_json), params=params, deadline=deadline)

    @operation
    def results(
        self,
        asset_id: str,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        deadline: float | None = None,
    ) -> Operation[Page[CheckResult]]:
        """
        A page of the results stored under an asset, the newest first.

        Args:
            asset_id: Its `id`.
            limit: How many, 1 to 100; 20 by the service's default.
            cursor: `next_cursor` of the page before; None for the first.
            deadline: Seconds for the whole call, all tries and waits; None for the client's.

        Raises:
            ArgusNotFoundError: there is no such asset in the account.
            ArgusAPIError: Argus answered with another failure.
            ArgusConnectionError: no usable answer came, all tries included.
        """
        path = f"/assets/{arguments.segment('asset_id', asset_id)}/results"
        read = Page.of(CheckResult.from_json)
        return Operation("GET", path, read, params=_paging(limit, cursor), deadline=deadline)


class AsyncArgus(_Settings, AsyncSDK):
    """
    Checks texts with Argus, awaiting, under asyncio or trio.

    Attributes:
        assets: What is checked, and the results stored for it.
    """

    def _open(self, **told: Any) -> None:
        self._client = AsyncClient(**told)
        self.assets = AsyncAssets(self._client, self._strict)

    check = awaiting(Argus.check)
    check_batch = awaiting(Argus.check_batch)


class AsyncAssets(AsyncResource):
    """What is checked, such as a chatbot or a website. Needs a Runtime Security Key (`rsk_`)."""

    def __init__(self, client: AsyncClient, strict: bool = False) -> None:
        super().__init__(client)
        self._strict = strict

    create = awaiting(Assets.create)
    get = awaiting(Assets.get)
    list = awaiting(Assets.list)
    results = awaiting(Assets.results)


def _fill(
    body: dict[str, Any],
    competitors: Sequence[str] | None,
    detect: Sequence[str] | None,
    min_score: float | None,
    asset_id: str | None,
    save: bool,
) -> None:
    """Add what was passed to `body`."""
    if competitors is not None:
        body["competitors"] = _names(competitors)
    if detect is not None:
        kinds = arguments.items("detect", detect, _detector, wanted="a list of strings")
        body["detect"] = list(dict.fromkeys(kinds))
    if min_score is not None:
        body["min_score"] = arguments.number("min_score", min_score, least=0.0, most=1.0)
    if asset_id is not None:
        body["asset_id"] = arguments.text("asset_id", asset_id, empty=False)
    if arguments.flag("save", save):
        if asset_id is None:
            raise arguments.refused("save=True needs an asset_id: results are stored under an asset")
        body["save"] = True


def _names(competitors: Sequence[str]) -> list[str]:
    return arguments.texts("competitors", competitors, most=MAX_COMPETITORS, empty=False, longest=MAX_NAME)


def _detector(name: str, value: object) -> str:
    return arguments.one_of(name, value, DETECTORS)


def _is_no_op(body: dict[str, Any], strict: bool) -> bool:
    """Whether a list in `body` is empty, so that there is nothing to ask; a warning says so."""
    empty = _refuse_empty(body, strict)
    if empty:
        _log.warning("%s is an empty list: nothing was sent and nothing was checked", empty)
    return bool(empty)


def _refuse_empty(body: dict[str, Any], strict: bool) -> str:
    """The name of a list in `body` that is empty, or nothing; in strict mode it is refused."""
    empty = next((name for name in ("texts", "competitors", "detect") if body.get(name) == []), "")
    if empty and strict:
        raise arguments.refused(f"{empty} is an empty list, which strict mode does not allow")
    return empty


def _result_for(text: str) -> Callable[[Response], CheckResult]:
    """What reads the result of a check of `text`."""
    return lambda response: _about(text, CheckResult.from_response(response))


def _results_for(texts: list[str]) -> Callable[[Response], BatchResult]:
    """What reads the results of a check of `texts`."""

    def read(response: Response) -> BatchResult:
        batch = BatchResult.from_response(response)
        if len(batch) != len(texts):
            raise ValueError(f"batch result: there are {len(batch)} results for {len(texts)} texts")
        for text, result in zip(texts, batch, strict=True):
            _about(text, result)
        return batch

    return read


def _about(text: str, result: CheckResult) -> CheckResult:
    """`result`, which is taken for an answer only if it can be one about `text`."""
    if not result.checked:
        raise ValueError("check result: checked is missing, so that nobody knows what was looked for")
    if any(finding.end > len(text) for finding in result):
        raise ValueError("check result: a finding ends behind the text")
    return result


def _paging(limit: int | None, cursor: str | None) -> dict[str, Any]:
    return {
        "limit": arguments.optional(arguments.whole, "limit", limit, least=1, most=MAX_LIMIT),
        "cursor": arguments.optional(arguments.text, "cursor", cursor, empty=False),
    }
