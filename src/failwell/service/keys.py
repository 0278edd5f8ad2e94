"""
API keys: how they look, how they are kept, and what they say about who is asking.

A key is a public part, by which it is found, and a secret rest. Only the SHA-256 of the whole
is stored: a key is random enough that a slow hash would cost every request and protect nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from dataclasses import dataclass, field
from itertools import permutations

from failwell.service.limits import Limit, checked

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Literal

    KeyState = Literal["active", "revoked"]

ALPHABET = string.ascii_letters + string.digits

# Characters behind the public part: 71 bits of chance, which nobody tries out.
LEAST_SECRET = 12

_ALNUM = re.compile("[A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class KeyFormat:
    """
    How a service's keys look and where a request carries them.

    Attributes:
        prefix: What every key begins with, such as `ago_`.
        lengths: How many letters or digits may follow it.
        public: How many of them are the public part, together with what the key begins with.
        header: The request header that carries the key, in lower case.
        scheme: The word before the key in that header, such as `Bearer`; empty for none.
        challenge: The `WWW-Authenticate` value of a 401 (RFC 9110, section 11.6.1).
        also: What other keys may begin with, such as one prefix for each tier.

    Raises:
        ValueError: fewer than 12 characters of the shortest key are no part of the public one, or that
            has no character of its own; `also` is one text; or a key could begin with either of two
            prefixes, one of which begins with the other, and its public part be either of two.
    """

    prefix: str
    lengths: tuple[int, ...] = (32,)
    public: int = 8
    header: str = "authorization"
    scheme: str = "Bearer"
    challenge: str = "Bearer"
    also: tuple[str, ...] = ()
    # Worked out once: each request asks for them.
    # The groups of both: the key, and its public part.
    _form: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _opening: str = field(init=False, repr=False, compare=False)
    _whole: Callable[[str], re.Match[str] | None] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._check_public()
        begins = (self.prefix, *self.also)
        self._check_told_apart(begins)
        # A class of ASCII characters: `str.isalnum` would take letters of every script.
        rests = "|".join(f"[A-Za-z0-9]{{{length - self.public}}}" for length in self.lengths)
        public = f"(?:{'|'.join(map(re.escape, begins))})[A-Za-z0-9]{{{self.public}}}"
        form = f"(({public})(?:{rests}))"
        object.__setattr__(self, "_form", re.compile(form))
        object.__setattr__(self, "_opening", opening := f"{self.scheme} " if self.scheme else "")
        object.__setattr__(self, "_whole", re.compile(re.escape(opening) + form).fullmatch)

    def _check_public(self) -> None:
        if self.public < 1:
            raise ValueError(
                f"keys with {self.public} public characters cannot be told apart: at least one must be public"
            )
        shortest = min(self.lengths, default=0)
        if shortest - self.public < LEAST_SECRET:
            raise ValueError(
                f"keys of {shortest} characters, {self.public} of them public, can be guessed: "
                f"{LEAST_SECRET} must be secret"
            )

    def _check_told_apart(self, begins: tuple[str, ...]) -> None:
        also: object = self.also
        if isinstance(also, str):
            raise ValueError(f"`also` has several texts, also of one: also=[{also!r}]")
        for one, other in permutations(begins, 2):
            more = other[len(one) :] if other.startswith(one) else ""
            if _ALNUM.fullmatch(more) and any(length + len(more) in self.lengths for length in self.lengths):
                raise ValueError(
                    f"a key that begins with {other!r} could be one of {one!r}, too: choose other prefixes "
                    "or lengths"
                )

    def new(self, prefix: str | None = None) -> str:
        """A fresh key of the longest form, that begins with `prefix`, by default the first of them."""
        begins = self.prefix if prefix is None else prefix
        return begins + "".join(secrets.choice(ALPHABET) for _ in range(max(self.lengths)))

    def well_formed(self, key: str) -> bool:
        """Whether `key` could be one of ours."""
        return self._form.fullmatch(key) is not None

    def public_part(self, key: str) -> str:
        """
        What may be written into logs and looked up in an index.

        Returns:
            What the key begins with and `public` characters; empty if it is none of ours, of which
            nobody knows what is secret.
        """
        found = self._form.fullmatch(key)
        return found[2] if found is not None else ""

    def read(self, value: str) -> tuple[str, str]:
        """
        The key in a header value, as `presented`, and its public part; that is empty if it is none of ours.
        """
        found = self._whole(value)
        if found is not None:  # as nearly every key is sent
            return found[1], found[2]
        key = self.presented(value)
        return key, self.public_part(key)

    def presented(self, value: str) -> str:
        """
        The key in a header value.

        Returns:
            The key as sent, well formed or not; empty if the value has another scheme.
        """
        value = value.strip(" \t")
        if not self.scheme:
            return value
        if value.startswith(self._opening):
            return value[len(self._opening) :].strip(" ")
        # RFC 9110, section 11.1: the scheme is compared without regard to case.
        scheme, _, key = value.partition(" ")
        return key.strip(" ") if scheme.lower() == self.scheme.lower() else ""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """
    A key as the store holds it.

    Attributes:
        public: The public part.
        digest: SHA-256 of the whole key.
        tenant: Whose data it opens.
        principal: Who holds it; keys that replace each other share one, so that a write can be
            repeated with the new key.
        scopes: What it may do.
        role: One of the service's roles, such as `member`; empty for none.
        tier: What the tenant pays for, such as `free`; decides the limits where the service has
            some for it. Empty for none.
        state: Active or revoked.
        expires_at: Unix seconds after which it is no longer taken, by the clock of the worker that
            is asked; None for never.
        limits: How often it may ask; empty for those of its tier, or the service's.
        tenant_active: Whether the tenant may do anything at all.
    """

    public: str
    digest: bytes
    tenant: str
    principal: str
    scopes: frozenset[str] = frozenset()
    role: str = ""
    tier: str = ""
    state: KeyState = "active"
    expires_at: float | None = None
    limits: tuple[Limit, ...] = ()
    tenant_active: bool = True

    def opens(self, key: str) -> bool:
        """Whether `key` is this key, compared in constant time."""
        return hmac.compare_digest(self.digest, digest(key))

    def expired(self, now: float) -> bool:
        """Whether it was over before `now`, unix seconds."""
        return self.expires_at is not None and self.expires_at <= now


def digest(key: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


def stored(
    key: str,
    keys: KeyFormat,
    *,
    tenant: str,
    principal: str | None = None,
    scopes: Iterable[str] = (),
    role: str = "",
    tier: str = "",
    state: KeyState = "active",
    expires_at: float | None = None,
    limit: Limit | Iterable[Limit] = (),
) -> StoredKey:
    """
    The record of a new `key`; the principal is the public part unless one is named.

    Raises:
        ValueError: `key` is not one of `keys`, `scopes` is one text or a scope has a blank in it,
            there is no such state, or the limits cannot hold at once.
    """
    if not keys.well_formed(key):
        # Nobody could use it, and what is its public part is anybody's guess.
        raise ValueError(f"this is no key of the format {keys.prefix}…")
    if isinstance(scopes, str):
        raise ValueError("scopes are several words, such as ['orders:write'], and not one text")
    if state not in ("active", "revoked"):
        raise ValueError(f"a key is active or revoked, not {state!r}")
    public = keys.public_part(key)
    granted = frozenset(scopes)
    # As it is read back: a store keeps them as one text.
    if any(scope.split() != [scope] for scope in granted):
        raise ValueError("a scope is a word without blanks")
    return StoredKey(
        public=public, digest=digest(key), tenant=tenant, principal=principal or public, scopes=granted,
        role=role, tier=tier, state=state, expires_at=expires_at,
        limits=checked((limit,) if isinstance(limit, Limit) else tuple(limit)),
    )  # fmt: skip
