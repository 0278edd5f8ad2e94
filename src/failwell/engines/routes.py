"""Which proxy a URL is asked through: as `httpx2.Client` decides, for every engine."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.request import getproxies

import httpx2

from failwell.redaction import Secret

if TYPE_CHECKING:
    from failwell.engines.base import Connections


def proxy_for(url: httpx2.URL, connections: Connections) -> str | None:
    """
    The URL of the proxy for `url`; None to connect directly.

    The variables are read when it is asked, which an engine does once for each origin. The URL
    prints as a mask: it may hold a password.
    """
    if connections.proxy is not None:
        return connections.proxy
    if not connections.trust_env:
        return None
    patterns = _patterns(getproxies())
    if not patterns:
        return None
    # httpx2's own matching, asked by way of transports that answer with their proxy's URL.
    direct = _Says(None)
    mounts: dict[str, httpx2.BaseTransport | None] = {}
    for pattern, proxy in patterns.items():
        try:
            httpx2.Client(trust_env=False, transport=direct, mounts={pattern: None})
        except httpx2.InvalidURL:
            continue  # as curl and Go do with entries that cannot be parsed
        mounts[pattern] = None if proxy is None else _Says(proxy)
    with httpx2.Client(trust_env=False, transport=direct, mounts=mounts) as client:
        answer = client.get(url)
    return Secret(answer.text) if answer.text else None


class _Says(httpx2.BaseTransport):
    """Answers every request with the URL of a proxy."""

    def __init__(self, proxy: str | None) -> None:
        self._proxy = proxy or ""

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, text=self._proxy)


def _patterns(environment: dict[str, str]) -> dict[str, str | None]:
    """
    The proxies of the environment as httpx's URL patterns; None for "connect directly".

    Source:
        curl's description of `NO_PROXY`, as httpx reads it: `.example.org` leaves out
        subdomains, `example.org` the domain as well, addresses may be networks, and a `*`
        among the names turns every proxy off.
    """
    patterns: dict[str, str | None] = {}
    for scheme in ("http", "https", "all"):
        proxy = environment.get(scheme)
        if proxy:
            patterns[f"{scheme}://"] = Secret(proxy if "://" in proxy else f"http://{proxy}")
    if not patterns:
        return {}
    for entry in environment.get("no", "").split(","):
        host = entry.strip()
        if host == "*":
            return {}
        if host:
            pattern = _exception(host)
            if pattern is not None:
                patterns[pattern] = None
    return patterns


def _exception(host: str) -> str | None:
    """The pattern of one entry of `NO_PROXY`; None for an entry that means nothing."""
    if "://" in host:
        return host
    address, slash, prefix = host.partition("/")
    try:
        version: int = ipaddress.ip_address(address).version
    except ValueError:
        version = 0
    if version == 6:
        return f"all://[{address}]{slash}{prefix}"
    if version == 4 or host.lower() == "localhost" or host.startswith("["):
        return f"all://{host}"
    if slash:
        return None
    return f"all://{host}" if host.startswith("*.") else f"all://*{host}"
