"""
Where files are imported from and exported to: a folder the sandbox owns, or a bucket of S3.

A connection's secrets stand in a table of their own, which no list reads, and go to the process that
copies by its standard input.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

# Hosts besides this machine that S3 may be at, with commas between them.
ENDPOINTS_VARIABLE = "FAILWELL_SCOPIX_ENDPOINTS"

SECRETS = ("access_key_id", "secret_access_key", "session_token")

# What the process that copies sees of our environment: no proxies, and nobody else's keys.
_KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "COVERAGE_PROCESS_START")
_NO_OTHER_KEYS = {
    "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}  # fmt: skip


def environment() -> dict[str, str]:
    """That of a process that copies."""
    return {name: os.environ[name] for name in _KEPT if name in os.environ} | _NO_OTHER_KEYS


def allowed_hosts() -> frozenset[str]:
    """The hosts that S3 may be at, besides this machine."""
    return frozenset(host for host in os.environ.get(ENDPOINTS_VARIABLE, "").lower().split(",") if host)


def is_allowed(host: str | None, allowed: Collection[str]) -> bool:
    """Whether S3 may be at a host: this machine, by a name that is always its own, or an allowed one."""
    if not host:
        return False
    if host.lower() == "localhost" or host.lower() in allowed:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def fault_of_endpoint(url: str, allowed: Collection[str]) -> str | None:
    """What is wrong with the URL of an S3; None if it may be asked."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "This is no URL."
    if parts.scheme not in ("http", "https") or parts.username or parts.query or parts.fragment:
        return "An endpoint is http:// or https:// and a host, without a user or a query."
    if not is_allowed(host, allowed):
        return "An endpoint has to be on this machine."
    return None


def is_path(path: str) -> bool:
    """Whether that is a path below a place: names with one slash between each two, none of them `..`."""
    return (
        0 < len(path) <= 1000
        and path.isprintable()
        and "\\" not in path
        and all(part not in ("", ".", "..") for part in path.split("/"))
    )


def below(root: Path, path: str) -> Path | None:
    """
    A path in a folder; None if it leads out of it, also by a link.

    Args:
        root: The folder, without links in its own path.
        path: See `is_path`.
    """
    found = (root / PurePosixPath(path)).resolve()
    return found if found == root or found.is_relative_to(root) else None


def place_of(
    provider: str, options: Mapping[str, Any], secret: Mapping[str, Any], *, folder: Path, tenant: str
) -> dict[str, Any]:
    """
    What the process that copies has to know of a connection.

    Args:
        provider: `local` or `s3`.
        options: Of the connection.
        secret: Of the connection.
        folder: The service's; local places are in it, a folder for each tenant.
        tenant: Whose.
    """
    if provider == "local":
        return {"provider": "local", "root": str(local_root(folder, tenant)), "path": options["path"]}
    return {"provider": "s3", **options, **secret, "allowed": sorted(allowed_hosts())}


def local_root(folder: Path, tenant: str) -> Path:
    """Where a tenant's local places are; made if it is not there."""
    root = folder.resolve() / "local" / tenant
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    return root
