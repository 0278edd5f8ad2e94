"""Open a store by its URL, so that a service moves from one to another by its settings."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from failwell.errors import ConfigurationError

if TYPE_CHECKING:
    from failwell.service.stores.base import Store

KINDS = ("sqlite:///file.db", "postgresql://host/database", "redis://host/0")


def open_store(url: str, **settings: Any) -> Store:
    """
    The store at `url`.

    Args:
        url: `sqlite:///relative.db` or `sqlite:////absolute.db`; `postgresql://…` as libpq reads
            it; `redis://…`, `rediss://…` or `unix://…` as redis-py reads it.
        settings: Further arguments of `SQLiteStore`, `PostgresStore` or `RedisStore`.

    Raises:
        ConfigurationError: there is no store of that kind, its package is not installed, or what the
            URL names cannot be: a file that cannot be opened or is no database, a port that is no
            number.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(f"this is no URL of a store: use {', '.join(KINDS)}") from None
    match parts.scheme:
        case "sqlite":
            from failwell.service.stores.sqlite import SQLiteStore

            path = sqlite_path(url)
            if not path:
                raise ConfigurationError("a SQLite store needs a file: sqlite:///file.db")
            return SQLiteStore(path, **settings)
        case "postgresql" | "postgres":
            from failwell.service.stores.postgres import PostgresStore

            return PostgresStore(url, **settings)
        case "redis" | "rediss" | "unix":
            from failwell.service.stores.redis import RedisStore

            return RedisStore(url, **settings)
    # The URL may hold a password: it is not repeated.
    raise ConfigurationError(f"no store is called {parts.scheme or 'that'}: use {', '.join(KINDS)}")


def sqlite_path(url: str) -> str:
    """The file that a `sqlite:///` URL names; empty if it names none."""
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    return "" if parts.netloc or path == ":memory:" or "\0" in path else path


def has_ports(ports: object) -> bool:
    """Whether what stands for the port in a PostgreSQL URL is one, or one for each of its hosts."""
    each = [] if ports is None else [port for port in str(ports).split(",") if port]
    return all(re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536 for port in each)


def names_a_redis_database(url: str) -> bool:
    """Whether the path of a URL is one: redis-py takes database 0 for what is no number."""
    parts = urlsplit(url)
    number = unquote(parts.path.removeprefix("/"))
    return parts.scheme == "unix" or not number or (number.isascii() and number.isdigit())
