"""
Certificates that a client has to refuse, made on the spot by an authority of the drill's own.

Needs trustme (`failwell[drill]`).
"""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING

from failwell.drill.faults import Action

if TYPE_CHECKING:
    import trustme

LOOPBACK = "127.0.0.1"
_making = Lock()


def _authority() -> trustme.CA:
    """The authority that `trusting()` trusts: without it, an expired certificate is untrusted first."""
    with _making:  # a cache alone would let two threads make two
        return _the_authority()


@cache
def _the_authority() -> trustme.CA:
    import trustme

    return trustme.CA(organization_name="failwell drill")


def trusting() -> ssl.SSLContext:
    """A client's TLS that trusts this process's drill, and nobody else."""
    context = ssl.create_default_context()
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT  # Python 3.13 asks more than trustme's authority has
    _authority().configure_trust(context)
    return context


def serving(fault: Action | None = None) -> ssl.SSLContext:
    """
    A server's TLS for 127.0.0.1.

    Args:
        fault: What is wrong with its certificate: `UNTRUSTED`, `EXPIRED` or `WRONG_HOST`; None for nothing.

    Raises:
        ModuleNotFoundError: trustme is not installed.
    """
    import trustme

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority = trustme.CA(organization_name="nobody's") if fault is Action.UNTRUSTED else _authority()
    now = datetime.now(UTC)
    ends = now - timedelta(days=365) if fault is Action.EXPIRED else now + timedelta(days=2)
    host = "other.invalid" if fault is Action.WRONG_HOST else LOOPBACK
    begins = now - timedelta(days=700)
    authority.issue_cert(host, not_before=begins, not_after=ends).configure_cert(context)
    return context
