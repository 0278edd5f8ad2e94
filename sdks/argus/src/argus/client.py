"""The Argus API: what can be asked of it, blocking and awaiting."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from argus.contract import CONTRACT
from argus.models import Asset, BatchResult, CheckResult, Page
from failwell import settings
from failwell.arguments import Arguments
from failwell.call.operation import Operation
from failwell.call.retry import RetryPolicy
from failwell.client import AsyncClient, Client
from failwell.operations.steps import Steps, do
from failwell.resources import SDK, AsyncResource, AsyncSDK, Resource, awaiting, operation

if TYPE_CHECKING:
    from failwell.clock import Clock
    from failwell.engines.base import Connections
    from failwell.telemetry import Listener

BASE_URL = "https://api.argus.example/v1"
KEY_VARIABLE = "ARGUS_API_KEY"
URL_VARIABLE = "ARGUS_BASE_URL"

# What can be looked for.
DETECTORS = ("competitors", "secrets", "personal_data")

# Texts in one call of `check_batch`, and things on one page of a list.
MAX_TEXTS = 100
MAX_LIMIT = 100

# Seconds for a whole call, tries and waits included.
DEADLINE = 60.0

_KEY = re.compile(r"r?sk_[A-Za-z0-9_-]+")

# The result of a no-op: nothing was looked for, and it says so.
_NOTHING = CheckResult(())

_log = logging.getLogger("argus")

arguments = Arguments(CONTRACT)


def _settings(
    api_key: str | None,
    base_url: str | None,
    max_retries: int,
    timeout: float,
    deadline: float | None,
    listeners: Sequence[Listener],
    clock: Clock | None,
) -> dict[str, Any]:
    """What both clients tell failwell's."""
    key = settings.api_key(
        api_key,
        variable=KEY_VARIABLE,
        pattern=_KEY,
        called="an Argus API key",
        rule="those start with sk_ (free) or rsk_ (Runtime Security Key)",
        check=arguments,
    )
    return {
        "base_url": settings.setting(
            "base_url", base_url, variable=URL_VARIABLE, default=BASE_URL, check=arguments
        ),
        "contract": CONTRACT,
        "credentials": {"authorization": f"Bearer {key}"},
        "retry": RetryPolicy(
            max_attempts=settings.max_attempts(max_retries, check=arguments),
            statuses=frozenset({429, 500, 502, 503, 504}),
        ),
        "timeouts": settings.timeouts(timeout, check=arguments),
        "deadline": deadline,
        "listeners": listeners,
        "clock": clock,
        "name": "argus",
    }


class Argus(SDK):
    """
    Checks texts with Argus, blocking.

    Args:
        api_key: Starts with `sk_` (free) or `rsk_` (runtime, with platform features); by default
            the environment's `ARGUS_API_KEY`.
        strict: Whether an empty list is refused. If not, a call that is given one is a no-op:
            nothing is sent, its result is `skipped`, and a warning is logged on `argus`.
        base_url: Where the API is; by default the environment's `ARGUS_BASE_URL`, else Argus's own.
        max_retries: Further tries of each call; 0 turns retrying off.
        timeout: Seconds for one wait: between two pieces of an answer, for instance.
        deadline: Seconds for a whole call, all tries and waits included; None for no limit.
        engine: What carries requests out, as for `failwell.Client`.
        connections: How it connects.
        listeners: Called with each `failwell.telemetry.Event`.
        clock: The time to go by; for tests.

    Attributes:
        assets: What is checked, and the results stored for it.

    Raises:
        ArgusTypeError: a setting has the wrong type. Nothing was sent.
        ArgusValueError: the key is malformed, or another setting cannot be used. Nothing was sent.
    """

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
        api_key = settings.masked(api_key)  # this frame is in the traceback of a setting that is refused
        told = _settings(api_key, base_url, max_retries, timeout, deadline, listeners, clock)
        self._strict = arguments.flag("strict", strict)
        self._client = Client(told.pop("base_url"), engine=engine, connections=connections, **told)
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
            competitors: Names to look for; None for none but the asset's. An empty list is refused
                in strict mode; otherwise it makes the call a no-op, which sends nothing.
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
        body = {"text": arguments.text("text", text)}
        empty = _fill(body, self._strict, competitors, detect, min_score, asset_id, save)
        if empty:
            _warn(empty)
            return _NOTHING
        return (
            yield from do(
                Operation(
                    "POST", "/checks", CheckResult.from_response, json=body,
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
            competitors: Names to look for; None for none but the asset's. An empty list is refused
                in strict mode; otherwise it makes the call a no-op, which sends nothing.
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
        body: dict[str, Any] = {"texts": given}
        empty = _fill(body, self._strict, competitors, detect, min_score, asset_id, save)
        if not given:
            empty = _empty("texts", self._strict)
        if empty:
            _warn(empty)
            return BatchResult(tuple(_NOTHING for _ in given))
        return (
            yield from do(
                Operation(
                    "POST", "/checks/batch", BatchResult.from_response, json=body,
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
            name: 1 to 100 characters; no two assets of an account are called alike.
            competitors: Looked for in each text that is checked for this asset; None for none, and
                so is an empty list, which is refused in strict mode.
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
        body: dict[str, Any] = {"name": arguments.text("name", name, empty=False)}
        if competitors is not None:
            body["competitors"] = _list("competitors", competitors, self._strict)
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


class AsyncArgus(AsyncSDK):
    """
    Checks texts with Argus, awaiting: under asyncio or trio on the default engine.

    Arguments as for `Argus`; `engine` may also be "aiohttp".
    """

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
        api_key = settings.masked(api_key)  # this frame is in the traceback of a setting that is refused
        told = _settings(api_key, base_url, max_retries, timeout, deadline, listeners, clock)
        self._strict = arguments.flag("strict", strict)
        self._client = AsyncClient(told.pop("base_url"), engine=engine, connections=connections, **told)
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
    strict: bool,
    competitors: Sequence[str] | None,
    detect: Sequence[str] | None,
    min_score: float | None,
    asset_id: str | None,
    save: bool,
) -> str:
    """Add what was passed to `body`; gives the name of a list that is empty, or nothing."""
    empty = ""
    if competitors is not None:
        body["competitors"] = _list("competitors", competitors, strict)
        empty = "" if body["competitors"] else "competitors"
    if detect is not None:
        body["detect"] = _list("detect", detect, strict)
        for n, each in enumerate(body["detect"]):
            arguments.one_of(f"detect[{n}]", each, DETECTORS)
        empty = empty if body["detect"] else "detect"
    if min_score is not None:
        body["min_score"] = arguments.number("min_score", min_score, least=0.0, most=1.0)
    if asset_id is not None:
        body["asset_id"] = arguments.text("asset_id", asset_id, empty=False)
    if arguments.flag("save", save):
        if asset_id is None:
            raise arguments.refused("save=True needs an asset_id: results are stored under an asset")
        body["save"] = True
    return empty


def _list(name: str, value: object, strict: bool) -> list[str]:
    """A list of strings that are not blank; in strict mode with at least one."""
    given = arguments.texts(name, value, empty=False)
    if strict and not given:
        raise _refused_as_empty(name)
    return given


def _refused_as_empty(name: str) -> Exception:
    return arguments.refused(f"{name} is an empty list, which strict mode does not allow")


def _empty(name: str, strict: bool) -> str:
    if strict:
        raise _refused_as_empty(name)
    return name


def _warn(empty: str) -> None:
    _log.warning("%s is an empty list: nothing was sent and nothing was checked", empty)


def _paging(limit: int | None, cursor: str | None) -> dict[str, Any]:
    return {
        "limit": arguments.optional(arguments.whole, "limit", limit, least=1, most=MAX_LIMIT),
        "cursor": arguments.optional(arguments.text, "cursor", cursor),
    }
