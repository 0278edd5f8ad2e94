"""httpcore pools for the origins an engine is asked about: URLs, proxies, certificates, leftovers."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

import httpcore2
import httpx2

from failwell.engines.routes import proxy_for
from failwell.errors import ConfigurationError

if TYPE_CHECKING:
    import ssl
    from typing import Any, TypeAlias

    from failwell.engines.base import Connections

    AnyPool: TypeAlias = httpcore2.ConnectionPool | httpcore2.AsyncConnectionPool

_URL = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*://[^/?#]+)([^#]*)")
# A path and query that `httpx2.URL` would leave as they are; any other goes through it.
_PLAIN_TARGET = re.compile(r"/(?:[A-Za-z0-9_~!$&()*+,;=:@/?-]|(?<!/)\.|%[0-9A-F]{2})*")
_MOST_URLS = 1024


class BadURLError(Exception):
    """A URL that no request can be sent to."""


class Route:
    """
    How to reach one origin.

    Attributes:
        pool: The pool to ask.
        layer: The number of TLS layers between the socket and the request.
        host_header: The `Host` of requests.
        authorization: What user info in the URL stands for; None without.
    """

    __slots__ = ("authorization", "host", "host_header", "layer", "pool", "port", "scheme")

    def __init__(self, url: httpx2.URL, pool: Any, layer: int) -> None:
        self.scheme = url.raw_scheme
        self.host = url.raw_host
        self.port = url.port
        self.host_header = url.netloc
        self.pool = pool
        self.layer = layer
        self.authorization = _basic(url)


def _basic(url: httpx2.URL) -> bytes | None:
    if not url.userinfo:
        return None
    from base64 import b64encode

    return b"Basic " + b64encode(f"{url.username}:{url.password}".encode())


class Pools:
    """
    The pools of one engine: one for each proxy, apart for http and https.

    Args:
        connections: How to connect; `max_connections` and `max_idle` hold for each pool.
        network: The network backend of the pools.
        awaited: Whether the pools are asynchronous.

    Attributes:
        closed: Whether `aclose` was called.
    """

    def __init__(self, connections: Connections, network: Any, *, awaited: bool) -> None:
        self._connections = connections
        self._network = network
        self._kind: Any = _AsyncPool if awaited else _Pool
        self._pools: dict[tuple[str | None, bool], AnyPool] = {}
        self._routes: dict[str, Route] = {}
        self._found: dict[str, tuple[httpcore2.URL, Route]] = {}
        self._context: ssl.SSLContext | None = None
        self.closed = False

    def all(self) -> list[Any]:
        """Every pool there is."""
        return list(self._pools.values())

    async def aclose(self) -> None:
        """Close every pool, if they are asynchronous."""
        self.closed = True
        for pool in self.all():
            await pool.aclose()

    def find(self, url: str) -> tuple[httpcore2.URL, Route]:
        """
        The URL as httpcore takes it, and the way to it.

        Raises:
            BadURLError: it is no URL, or not one of http or https.
            ConfigurationError: its proxy or the certificates cannot be used.
        """
        found = self._found.get(url)
        if found is None:
            found = self._find(url)
            if len(self._found) >= _MOST_URLS:
                self._found.clear()
            self._found[url] = found
        return found

    def _find(self, url: str) -> tuple[httpcore2.URL, Route]:
        match = _URL.match(url)
        if match is None:
            raise BadURLError
        origin, target = match.groups()
        try:
            route = self._routes.get(origin) or self._new_route(origin)
            if not _PLAIN_TARGET.fullmatch(target):
                target = httpx2.URL(url).raw_path.decode("ascii")
        except httpx2.InvalidURL:
            raise BadURLError from None
        return httpcore2.URL(scheme=route.scheme, host=route.host, port=route.port, target=target), route

    def _new_route(self, origin: str) -> Route:
        url = httpx2.URL(origin)
        if url.scheme not in ("http", "https") or not url.host:
            raise BadURLError
        tls = url.scheme == "https"
        proxy = proxy_for(url, self._connections)
        layer = int(tls) + int(proxy is not None and proxy.lower().startswith("https:"))
        pool = self._pools.get((proxy, tls))
        if pool is None:
            # Two threads may come here at once; one pool stays.
            pool = self._pools.setdefault((proxy, tls), self._new_pool(proxy, tls))
        if len(self._routes) >= _MOST_URLS:
            self._routes.clear()
        self._routes[origin] = route = Route(url, pool, layer)
        return route

    def _new_pool(self, proxy: str | None, tls: bool) -> AnyPool:
        connections = self._connections
        pool: _Pool | _AsyncPool = self._kind(
            # Reading the machine's certificates takes tens of milliseconds: not for plain http.
            ssl_context=self._tls_context() if tls else None,
            proxy=None if proxy is None else self._proxy(proxy),
            max_connections=connections.max_connections,
            max_keepalive_connections=connections.max_idle,
            keepalive_expiry=connections.idle_seconds,
            network_backend=self._network,
        )
        pool.tunnels = tls and proxy is not None
        return pool

    def _tls_context(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = tls_context(self._connections)
        return self._context

    def _proxy(self, url: str) -> httpcore2.Proxy:
        proxy = usable_proxy(url)
        raw = proxy.url
        return httpcore2.Proxy(
            httpcore2.URL(scheme=raw.raw_scheme, host=raw.raw_host, port=raw.port, target=raw.raw_path),
            auth=proxy.raw_auth,
            headers=proxy.headers.raw,
            ssl_context=self._tls_context() if raw.scheme == "https" else None,
        )


def tls_context(connections: Connections) -> ssl.SSLContext:
    """
    The TLS context that `httpx2.Client` would have.

    Raises:
        ConfigurationError: the certificates that the environment names cannot be read.
    """
    try:
        return httpx2.create_ssl_context(verify=connections.verify, trust_env=connections.trust_env)
    except OSError as exc:
        raise ConfigurationError(
            f"The certificates that SSL_CERT_FILE or SSL_CERT_DIR names cannot be read: {exc}"
        ) from exc


def usable_proxy(url: str) -> httpx2.Proxy:
    """
    The proxy at `url`.

    Raises:
        ConfigurationError: it is of no kind we can use. The message does not quote the URL,
            which may hold a password.
    """
    proxy: httpx2.Proxy | None = None
    with suppress(ValueError, httpx2.InvalidURL):
        proxy = httpx2.Proxy(url)
    if proxy is None:
        raise ConfigurationError("The proxy's URL cannot be used: it must begin with http, https or socks5.")
    if proxy.url.scheme.startswith("socks"):
        try:
            import socksio  # type: ignore[import-not-found]  # noqa: F401  # only whether it is there
        except ImportError:
            raise ConfigurationError(
                "The proxy is a SOCKS proxy, which needs another package: pip install 'httpx2[socks]'."
            ) from None
    return proxy


class _Pool(httpcore2.ConnectionPool):
    """
    A pool that gets the place of a failed tunnel back.

    httpcore2 2.16 leaves a tunnel whose TLS handshake failed in the pool as if it were in use, so
    that `max_connections` of them block the pool for good.
    """

    tunnels = False

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.ConnectionInterface:
        connection = super().create_connection(origin)
        carry_out = connection.handle_request

        def handle_request(request: httpcore2.Request) -> httpcore2.Response:
            try:
                return carry_out(request)
            except httpcore2.ConnectionNotAvailable:
                raise  # another request has it
            except BaseException:
                connection.close()
                raise

        if self.tunnels:
            connection.handle_request = handle_request  # type: ignore[method-assign]  # httpcore2 has no other place
        return connection


class _AsyncPool(httpcore2.AsyncConnectionPool):
    """As `_Pool`."""

    tunnels = False

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        connection = super().create_connection(origin)
        carry_out = connection.handle_async_request

        async def handle_async_request(request: httpcore2.Request) -> httpcore2.Response:
            try:
                return await carry_out(request)
            except httpcore2.ConnectionNotAvailable:
                raise  # another request has it
            except BaseException:
                await connection.aclose()
                raise

        if self.tunnels:
            connection.handle_async_request = handle_async_request  # type: ignore[method-assign]  # httpcore2 has no other place
        return connection


def parser_of(pool: AnyPool, stream: Any) -> Any:
    """
    The h11 connection that reads from `stream`, a connection of `pool`; None if it cannot be found.

    h11 keeps what follows an answer in its buffer and takes it for the answer to the next
    request, of another caller. httpcore looks for leftovers in the socket only, and shows its
    h11 connection nowhere; so this goes through names that it calls private. Whoever gets None
    must not use the connection again; a test notices.
    """
    for connection in pool.connections:
        inner: Any = connection
        while hasattr(inner, "_connection"):
            inner = inner._connection
        if getattr(inner, "_network_stream", None) is stream:
            return getattr(inner, "_h11_state", None)
    return None


def has_leftovers(pool: AnyPool, stream: Any) -> bool:
    """Whether something came after the answer that was just read whole from `stream`."""
    parser = stream.parser
    if parser is None:
        stream.parser = parser = parser_of(pool, stream)
        if parser is None:
            return True
    return bool(parser.trailing_data[0])


def forget(pool: httpcore2.ConnectionPool, request: httpcore2.Request) -> None:
    """
    Give back what `request`, which was interrupted, still holds of `pool`.

    Ctrl-C can come up between two statements of httpcore and h11, where nothing puts in order
    what was begun: places of the pool would be lost for good, its lock kept, half a step of h11
    met by the next request. What httpcore calls private is needed for this alone; without it,
    things stay as they are.
    """
    inside: Any = pool
    with suppress(AttributeError):
        lock = inside._optional_thread_lock._lock
        while lock._is_owned():  # nothing further out in this thread has it
            lock.release()
        with lock:
            mine = [each for each in inside._requests if each.request is request]
            inside._requests[:] = [each for each in inside._requests if each not in mine]
            used = [each.connection for each in inside._requests]
            lost = [each.connection for each in mine if each.connection is not None]
            # Under the lock, whatever is neither idle nor closed belongs to a request.
            lost += [c for c in pool.connections if not (c.is_idle() or c.is_closed() or c in used)]
            inside._connections[:] = [c for c in pool.connections if c not in lost]
            lost += inside._assign_requests_to_connections()
        inside._close_connections(lost)
