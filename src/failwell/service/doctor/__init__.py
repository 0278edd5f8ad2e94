"""
What is wrong with a store's set-up, and what to do about it.

    examination = examine("sqlite:///orders.db")
    for finding in examination.findings:
        print(finding.verdict, finding.found, finding.do)

A store that works on a good day can still break what the levels of idempotency promise: a Redis
that evicts claims, a PostgreSQL that loses commits with the power, a SQLite file on a network.
The doctor looks and writes nothing.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from failwell.redaction import kept_url, scrub, secrets_in_url
from failwell.service.doctor.findings import CannotLookError, Examination, Finding
from failwell.service.stores.urls import KINDS, sqlite_path

__all__ = ["CannotLookError", "Examination", "Finding", "examine"]


def examine(url: str, *, prefix: str = "failwell", workers: int = 1, connections: int = 4) -> Examination:
    """
    Examine the store at `url`, from this machine and as this user.

    Args:
        url: As `open_store` takes it.
        prefix: What the keys in Redis begin with.
        workers: How many processes of the service use the store at once.
        connections: How many connections each of them holds to PostgreSQL.

    Raises:
        CannotLookError: there is no such store, nobody answers there, we are not let in, or the
            driver's package is not installed.
    """
    shown = kept_url(url)
    try:
        scheme = urlsplit(url).scheme
    except ValueError:
        # Its text may quote what stands there.
        raise CannotLookError("The URL cannot be read; a password must be percent-encoded in it") from None
    try:
        match scheme:
            case "sqlite":
                from failwell.service.doctor.sqlite import examine_sqlite

                path = sqlite_path(url)
                if not path:
                    raise CannotLookError("A SQLite store is a file: sqlite:///file.db")
                findings = examine_sqlite(path)
            case "postgresql" | "postgres":
                from failwell.service.doctor.postgres import examine_postgres

                shown, findings = examine_postgres(url, workers=workers, connections=connections)
            case "redis" | "rediss" | "unix":
                from failwell.service.doctor.redis import examine_redis

                findings = examine_redis(url, prefix=prefix)
            case _:
                # What was typed in the wrong place may be a password.
                raise CannotLookError(f"No store is like that. Use {', '.join(KINDS)}")
    except CannotLookError as exc:
        raise CannotLookError(_without_secrets(str(exc), url)) from None
    return Examination(
        shown,
        tuple(
            Finding(f.check, f.verdict, _without_secrets(f.found, url), _without_secrets(f.do, url))
            for f in findings
        ),
    )


def _without_secrets(text: str, url: str) -> str:
    # The second net: what a server says may repeat how it was asked. A user's name is no secret,
    # and often a word that our own sentences need.
    user = urlsplit(url).username
    cleaned: str = scrub(text, [secret for secret in secrets_in_url(url) if secret != user])
    return cleaned
