"""What a key may do: its role, its tier and the scopes, and whose limits it is held to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from service_place import code_of, fine, place
from service_world import KEYS

from failwell.service import (
    Limit,
    stored,
)


@pytest.mark.parametrize(
    ("role", "status"), [("", 403), ("viewer", 403), ("member", 201), ("owner", 201), ("unheard of", 403)]
)
def test_a_role_is_at_least_the_one_asked_for(tmp_path: Path, role: str, status: int) -> None:
    with place(tmp_path, fine, role="member", roles=("viewer", "member", "owner")) as here:
        answer = here.run(api_key=here.new_key(role=role))

    assert answer.status == status
    if status == 403:
        assert code_of(answer) == (403, "insufficient_role")
        assert b"lacks the role member" in answer.body


@pytest.mark.parametrize(("tier", "status"), [("", 403), ("free", 403), ("pro", 201), ("team", 201)])
def test_some_operations_are_for_some_tiers(tmp_path: Path, tier: str, status: int) -> None:
    with place(tmp_path, fine, tiers=frozenset({"pro", "team"})) as here:
        answer = here.run(api_key=here.new_key(tier=tier))

    assert answer.status == status
    if status == 403:
        assert code_of(answer) == (403, "tier_required")


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"state": "revoked"}, "api_key_revoked"),
        ({"expires_at": 1.0}, "api_key_expired"),
        ({"state": "revoked", "expires_at": 1.0}, "api_key_revoked"),
    ],
)
def test_what_became_of_a_key_is_told_to_who_has_all_of_it(tmp_path: Path, facts: Any, code: str) -> None:
    with place(tmp_path, fine) as here:
        key = here.new_key(**facts)
        owner = here.run(api_key=key)
        guesser = here.run(api_key=key[:-1] + ("a" if key[-1] != "a" else "b"))

    assert code_of(owner) == (401, code)
    assert code_of(guesser) == (401, "api_key_invalid")
    assert owner.headers["www-authenticate"] == KEYS.challenge


def test_guessing_keys_is_counted_by_address(tmp_path: Path) -> None:
    with place(tmp_path, fine, stranger_limit=Limit(2, 60.0)) as here:
        guesses = [here.run(api_key=KEYS.new()) for _ in range(3)]
        neighbour = here.run(api_key=KEYS.new(), address="10.0.0.2")
        known = here.run()

    assert [g.status for g in guesses] == [401, 401, 429]
    assert guesses[1].headers["x-ratelimit-remaining"] == "0"
    assert guesses[2].headers["retry-after"] == "30"
    assert (neighbour.status, known.status) == (401, 201)


def test_a_key_s_limits_go_before_its_tier_s_and_those_before_the_service_s(tmp_path: Path) -> None:
    settings = {"limit": Limit(100, 60.0), "tier_limits": {"pro": [Limit(500, 60.0)]}}
    with place(tmp_path, fine, **settings) as here:
        asked = [
            here.run(api_key=here.new_key(**facts)).headers["x-ratelimit-limit"]
            for facts in ({}, {"tier": "free"}, {"tier": "pro"}, {"tier": "pro", "limit": Limit(7, 1.0)})
        ]

    assert asked == ["100", "100", "500", "7"]


def test_a_scope_is_a_word() -> None:
    for scopes in (["two words"], [""]):
        with pytest.raises(ValueError, match="without blanks"):
            stored(KEYS.new(), KEYS, tenant="t", scopes=scopes)


def test_scope_goes_before_role_before_tier_before_tenant(tmp_path: Path) -> None:
    row = {"scope": "w", "role": "member", "tiers": frozenset({"pro"}), "roles": ("member",)}
    facts: dict[str, Any] = {"tenant": "shut"}
    codes = []
    with place(tmp_path, fine, **row) as here:
        here.store.set_tenant_active("shut", False)
        for more in ({}, {"scopes": ["w"]}, {"role": "member"}, {"tier": "pro"}):
            facts.update(more)
            codes.append(code_of(here.run(api_key=here.new_key(**facts)))[1])

    assert codes == ["insufficient_scope", "insufficient_role", "tier_required", "tenant_suspended"]
