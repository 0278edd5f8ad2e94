"""A scope is one word, in every store."""

from __future__ import annotations

import asyncio

import pytest
from opened_stores import KINDS, shared
from service_world import KEYS

from failwell.service import stored


@pytest.mark.parametrize("scope", ["", " ", "a b", "a\nb", "a\tb", "a\n", "\u2003a", "a\x1fb", "a\u00a0b"])
def test_what_would_come_back_as_another_scope_is_refused(scope: str) -> None:
    with pytest.raises(ValueError, match="a scope is a word without blanks"):
        stored(KEYS.new(), KEYS, tenant="t1", scopes=[scope])


@pytest.mark.parametrize("kind", KINDS)
def test_every_other_comes_back_as_it_was(kind: str) -> None:
    scopes = frozenset({"orders:write", "https://example.com/auth#all", "größe", "a,b;c", "\u200b"})
    key = KEYS.new()
    store = shared(kind)(None)
    store.add_keys([stored(key, KEYS, tenant="t1", scopes=scopes)])

    async def admitted() -> frozenset[str]:
        found, _ = await store.admit(KEYS.public_part(key), lambda key: None)
        await store.aclose()
        assert found is not None
        return found.scopes

    assert asyncio.run(admitted()) == scopes
