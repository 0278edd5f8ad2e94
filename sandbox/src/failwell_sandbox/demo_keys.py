"""Keys for every state a key can be in, made afresh for each state directory."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from failwell.service import KeyFormat, Limit, Store, stored


@dataclass(frozen=True, slots=True)
class DemoKeys:
    """
    The demo keys of one service, by what they are for.

    Attributes:
        full: Every scope of the first tenant.
        read_only: Only the scopes that change nothing.
        limited: Like `full`, with a rate limit that a few requests reach.
        revoked: Was taken out of use.
        expired: Its time is over.
        other_tenant: Every scope of the second tenant.
        suspended: Every scope of a tenant that is shut out.
        unknown: Well formed, and no key at all.
        free: Every scope of the first tenant, of the free tier, where the service has one with keys
            of its own; else empty.
    """

    full: str
    read_only: str
    limited: str
    revoked: str
    expired: str
    other_tenant: str
    suspended: str
    unknown: str
    free: str = ""

    def __repr__(self) -> str:
        return "<DemoKeys>"


def seed_keys(
    store: Store,
    keys: KeyFormat,
    scopes: Iterable[str],
    *,
    tenants: tuple[str, str, str],
    limited: Limit,
    kept_in: Path,
    roles: tuple[str, str] = ("", ""),
    tier: str = "",
    free: str = "",
) -> DemoKeys:
    """
    The demo keys of a service, in its store; the same ones again if they are kept already.

    Args:
        store: The service's.
        keys: How its keys look.
        scopes: All of its scopes; those that end in `:read` are the read-only ones.
        tenants: The first, the other and the suspended one.
        limited: The limit of the limited key.
        kept_in: A file for the keys, readable by its owner only: the store has their hashes.
        roles: Of those that may everything, and of the read-only one.
        tier: Of all of them, but for the free one.
        free: What a key of the free tier begins with; empty if there is none.
    """
    first, other, shut = tenants
    every = frozenset(scopes)
    reading = frozenset(s for s in every if s.endswith(":read"))
    demo = _kept(kept_in)
    if demo is None:
        names = DemoKeys.__dataclass_fields__.keys() - {"free"}
        demo = DemoKeys(**{name: keys.new() for name in names}, free=keys.new(free) if free else "")
        _keep(demo, kept_in)
    role, reader = roles
    all_of: Any = {"scopes": every, "role": role, "tier": tier}
    only_reads: Any = {"scopes": reading, "role": reader, "tier": tier}
    store.add_keys(
        [
            stored(demo.full, keys, tenant=first, principal="full", **all_of),
            stored(demo.read_only, keys, tenant=first, principal="read_only", **only_reads),
            stored(demo.limited, keys, tenant=first, principal="limited", limit=limited, **all_of),
            stored(demo.revoked, keys, tenant=first, state="revoked", **all_of),
            stored(demo.expired, keys, tenant=first, expires_at=time.time() - 1, **all_of),
            stored(demo.other_tenant, keys, tenant=other, principal="full", **all_of),
            stored(demo.suspended, keys, tenant=shut, principal="full", **all_of),
        ]
    )
    if demo.free:
        store.add_keys(
            [stored(demo.free, keys, tenant=first, principal="free", scopes=every, role=role, tier="free")]
        )
    store.set_tenant_active(shut, False)
    return demo


def _kept(path: Path) -> DemoKeys | None:
    try:
        return DemoKeys(**json.loads(path.read_text("utf-8")))
    except FileNotFoundError:
        return None


def _keep(demo: DemoKeys, path: Path) -> None:
    # Nobody else may read it, not even between its making and a later chmod.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(demo), file, indent=1)
