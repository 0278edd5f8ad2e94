"""API keys: their form, what is stored of them, and how they are compared."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from failwell.service import KeyFormat, Limit, SQLiteStore, stored
from failwell.service.keys import StoredKey, digest

AGO = KeyFormat("ago_", lengths=(31, 32), header="x-api-key", scheme="")
BEARER = KeyFormat("key_", lengths=(20,))


@pytest.mark.parametrize(
    ("key", "well_formed"),
    [
        ("ago_ETWIQRPbBXBrMxwcyxqUFLlYGErtFOaa", True),
        ("ago_" + "x" * 31, True),
        ("ago_" + "x" * 30, False),
        ("ago_" + "x" * 33, False),
        ("AGO_" + "x" * 32, False),
        ("ago_" + "x" * 31 + "-", False),
        ("ago_" + "x" * 31 + "\n", False),
        ("ago_" + "é" * 32, False),
        ("ago_" + "٣" * 32, False),
        ("", False),
    ],
)
def test_a_key_has_its_prefix_and_as_many_letters_or_digits(key: str, well_formed: bool) -> None:
    assert well_formed == AGO.well_formed(key)


@pytest.mark.parametrize("facts", [{"lengths": (19, 40)}, {"lengths": (5,)}, {"lengths": ()}, {"public": 21}])
def test_a_format_whose_keys_can_be_guessed_is_refused(facts: Any) -> None:
    """
    Of a short one, the public part is all there is, and stands in logs.
    """
    with pytest.raises(ValueError, match="can be guessed: 12 must be secret"):
        KeyFormat("key_", **facts)
    KeyFormat("key_", lengths=(20,), public=8)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"key": "key_too-short"}, "no key of the format key_…"),
        ({"key": AGO.new()}, "no key of the format key_…"),
        ({"scopes": "things:write"}, "not one text"),
        ({"state": "Revoked"}, "active or revoked, not 'Revoked'"),
    ],
)
def test_what_would_be_stored_otherwise_than_it_was_meant_is_refused(facts: Any, why: str) -> None:
    key = facts.pop("key", BEARER.new())

    with pytest.raises(ValueError, match=re.escape(why)) as caught:
        stored(key, BEARER, tenant="t1", **facts)
    assert key not in str(caught.value)


def test_fresh_keys_are_well_formed_and_differ() -> None:
    keys = {AGO.new() for _ in range(50)}

    assert len(keys) == 50
    assert all(map(AGO.well_formed, keys))
    assert {36} == {len(key) for key in keys}


@pytest.mark.parametrize(
    ("sent", "key"),
    [
        ("Bearer abc", "abc"),
        ("bearer  abc ", "abc"),
        ("Basic abc", ""),
        ("abc", ""),
        ("Bearer", ""),
        ("", ""),
    ],
)
def test_a_key_stands_behind_its_scheme(sent: str, key: str) -> None:
    assert key == BEARER.presented(sent)


def test_a_key_without_a_scheme_is_the_whole_header() -> None:
    assert AGO.presented("\tabc ") == "abc"


def test_only_the_whole_key_opens() -> None:
    key = BEARER.new()
    record = stored(key, BEARER, tenant="t")

    assert record.opens(key)
    assert not record.opens(record.public)
    assert not record.opens(key + "x")
    assert not record.opens(key[:-1] + "\udcff")


def test_the_record_holds_nothing_of_the_secret_part() -> None:
    key = BEARER.new()

    assert key[len("key_") + BEARER.public :] not in repr(stored(key, BEARER, tenant="t"))
    assert len(digest(key)) == 32


@pytest.mark.parametrize("keys", [AGO, BEARER, KeyFormat("rsk_", also=("sk_", "x+_"), scheme="A (b")])
@pytest.mark.parametrize("around", ["{}", " {}\t", "{} ", "x{}", "{}x", "{},", "{} {}", ""])
def test_a_key_is_read_from_a_header_in_one_go_as_step_by_step(keys: KeyFormat, around: str) -> None:
    key = keys.new()
    for scheme in (f"{keys.scheme} ", f"{keys.scheme.upper()} ", "Basic ", "", f"{keys.scheme}  "):
        value = around.format(scheme + key, key)
        presented = keys.presented(value)
        public = keys.public_part(presented) if keys.well_formed(presented) else ""
        assert keys.read(value) == (presented, public)


@pytest.mark.parametrize(
    ("expires_at", "now", "expired"),
    [(None, 1e12, False), (100.0, 99.9, False), (100.0, 100.0, True), (100.0, 101.0, True)],
)
def test_a_key_is_over_at_its_time(expires_at: float | None, now: float, expired: bool) -> None:
    assert expired == stored(BEARER.new(), BEARER, tenant="t", expires_at=expires_at).expired(now)


def found_as(store: SQLiteStore, public: str) -> StoredKey | None:
    async def admitted() -> Any:
        return await store.admit(public, lambda _: None)

    key, decision = asyncio.run(admitted())
    assert decision is None
    return key


def test_a_stored_key_comes_back_as_it_was(tmp_path: Path) -> None:
    store = SQLiteStore(tmp_path / "s.db")
    plain = stored(BEARER.new(), BEARER, tenant="t")
    full = stored(
        BEARER.new(), BEARER, tenant="t", principal="p", scopes=("b:write", "a:read"),
        role="member", tier="free", expires_at=5.0, limit=[Limit(3, 1.5), Limit(9, 60, "minute")],
    )  # fmt: skip
    store.add_keys([plain, full])
    found = [found_as(store, key.public) for key in (plain, full)]
    missing = found_as(store, "key_nobody")
    revoked = store.revoke_key(full.public), store.revoke_key("key_nobody")
    after = found_as(store, full.public)
    store.set_tenant_active("t", False)
    shut = found_as(store, plain.public)
    store.set_tenant_active("t", True)
    open_again = found_as(store, plain.public)
    store.close()

    assert [plain, full] == found
    assert plain.public == plain.principal
    assert missing is None
    assert revoked == (True, False)
    assert after is not None
    assert after.state == "revoked"
    assert shut is not None
    assert not shut.tenant_active
    assert open_again is not None
    assert open_again.tenant_active


def test_keys_may_begin_with_several_prefixes_and_are_else_alike() -> None:
    keys = KeyFormat("rsk_", also=("sk_", "x+_"))

    assert keys.new().startswith("rsk_")
    assert all(keys.well_formed(keys.new(prefix)) for prefix in ("rsk_", "sk_", "x+_"))
    assert not any(keys.well_formed(prefix + "a" * 32) for prefix in ("xsk_", "k_", "xx_", ""))
    assert not keys.well_formed(keys.new("sk_") + "a")
    assert len({keys.public_part(keys.new("sk_")) for _ in range(100)}) == 100
